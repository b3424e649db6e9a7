"""The hazard of a change over training: how many changes a run makes a step, with an interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trajhmm.bounds import expanded_tail
from trajhmm.dynamics.stability.freezing.changes import Changes
from trajhmm.dynamics.stability.freezing.times import grouped
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

HAZARD_COLUMNS = ("step", "hazard", "ci_low", "ci_high")
BINS = 20
"""Of a group's training, at most; as many changes as bins are too few for that, see `bins_for`."""
CHANGES_A_BIN = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Hazard:
    """Changes a step in each of B bins of training.

    Attributes
    ----------
    edges : (B + 1,) steps; a bin holds what comes after its first edge, up to its second.
    hazard : (B,) increments of the Nelson–Aalen estimate of recurrent events, over the width of the bin.
    ci_low, ci_high : (B,) 95% interval over runs; NaN with fewer than two runs.
    events : (B,) changes.
    at_risk : (B,) steps of all runs that are watched there.
    """

    edges: NDArray[np.float64]
    hazard: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]
    events: NDArray[np.int64]
    at_risk: NDArray[np.float64]


def hazard_table(runs: RunSet, changes: Changes, by: Sequence[str] = (), *, bins: int | None = None) -> pd.DataFrame:
    """One row for each group and bin of training: the attributes, then `HAZARD_COLUMNS`.

    ``step`` is the middle of a bin, ``hazard`` changes a step.

    Parameters
    ----------
    runs : the logs.
    changes : of their states, or of the sign of a column.
    by : attributes whose values make the groups.
    bins : number of bins; by default at most 20, fewer where there are fewer than ten changes for each.

    Raises
    ------
    AnalysisError
        The runs have no such attribute, or the changes are those of other runs.
    """
    import pandas as pd

    tables = []
    for group, members in grouped(runs, changes, by):
        mine = changes.take(members)
        low, high = int(mine.first.min()), int(mine.last.max())
        if high <= low:
            continue
        n_bins = bins_for(len(mine.steps), high - low) if bins is None else bins
        found = hazard_of(mine, np.linspace(low, high, n_bins + 1))
        middle = np.floor(0.5 * (found.edges[:-1] + found.edges[1:])).astype(np.int64)
        columns = {"step": middle, **{name: getattr(found, name) for name in HAZARD_COLUMNS[1:]}}
        tables.append(pd.DataFrame({**group.values, **columns}))
    wanted = [*by, *HAZARD_COLUMNS]
    return pd.concat(tables, ignore_index=True)[wanted] if tables else pd.DataFrame(columns=wanted)


def bins_for(changes: int, steps: int) -> int:
    """How many bins so many changes in so many steps allow."""
    return int(np.clip(changes // CHANGES_A_BIN, 1, min(BINS, max(steps, 1))))


def hazard_of(changes: Changes, edges: NDArray[np.float64]) -> Hazard:
    """The hazard of a change in bins of training.

    Runs may change again and again, so that each stays at risk to the end of its log. The interval is that of a gamma
    distribution with the mean and the variance of the rate (Fay and Feuer 1997), the latter robust, from how runs
    differ (Lawless and Nadeau 1995): it holds where runs differ in their rates and where changes come in volleys, and
    has an upper end where there is no change. Its tails are those that so few runs ask for (Hesterberg 2015).

    Parameters
    ----------
    changes : of R runs.
    edges : (B + 1,) steps, rising.
    """
    n_runs, n_bins = len(changes.runs), len(edges) - 1
    counted = np.zeros((n_runs, n_bins))
    for run, steps in enumerate(changes.by_run):
        bins = np.searchsorted(edges, steps, side="left") - 1
        np.add.at(counted[run], bins[(bins >= 0) & (bins < n_bins)], 1.0)
    first, last = changes.first[:, np.newaxis], changes.last[:, np.newaxis]
    exposed = np.clip(np.minimum(last, edges[1:]) - np.maximum(first, edges[:-1]), 0.0, None)
    events, at_risk = counted.sum(axis=0), exposed.sum(axis=0)
    watched = at_risk > 0.0
    rate = np.divide(events, at_risk, out=np.full(n_bins, np.nan), where=watched)
    low, high = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
    for one in np.flatnonzero(watched):
        seen = exposed[:, one] > 0.0
        low[one], high[one] = gamma_interval(counted[seen, one], exposed[seen, one])
    return Hazard(edges=edges, hazard=rate, ci_low=low, ci_high=high, events=events.astype(np.int64), at_risk=at_risk)


def gamma_interval(counts: NDArray[np.float64], exposed: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of Σ counts / Σ exposed over (R,) runs; NaN with fewer than two."""
    n = len(counts)
    if n < 2:
        return np.nan, np.nan
    events, total = float(counts.sum()), float(exposed.sum())
    robust = n / (n - 1) * float(((counts - exposed * events / total) ** 2).sum())
    # As many runs as happen to make one change each say nothing of a variance below that of a few chance events.
    variance = max(robust, events / n)
    tail = expanded_tail(n)
    heaviest = max(1.0, variance / events) if events else 1.0
    low = float(stats.gamma.ppf(tail, events**2 / variance, scale=variance / events)) if events else 0.0
    middle, spread = events + 0.5 * heaviest, variance + 0.5 * heaviest**2
    high = float(stats.gamma.ppf(1.0 - tail, middle**2 / spread, scale=spread / middle))
    return low / total, high / total
