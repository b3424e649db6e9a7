"""The stability profile: for each dimension and strength what became of its runs, each with an interval over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trajhmm.dynamics.stability.audit.deviation import Deviations
from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.dynamics.stability.intervals import UNDEFINED, Interval, mean_over_seeds, median_time, share


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A quantity of the profile.

    Attributes
    ----------
    column : of the number.
    bounds : what the columns of its bounds begin with.
    heading, form : in the table of the summary, and how its numbers are written there.
    title : in a table for print.
    panel : of a figure, in two lines.
    """

    column: str
    bounds: str
    heading: str
    form: str
    title: str
    panel: str

    @property
    def low(self) -> str:
        """Column of the lower bound."""
        return f"{self.bounds}_low"

    @property
    def high(self) -> str:
        """Column of the upper bound."""
        return f"{self.bounds}_high"


_QUANTITIES = (
    Quantity(
        column="collapsed",
        bounds="collapsed",
        heading="collapsed",
        form="{:.0%}",
        title="Share that collapses (95%)",
        panel="share that\ncollapses",
    ),
    Quantity(
        column="recovery_steps",
        bounds="recovery",
        heading="recovery, steps",
        form="{:.0f}",
        title="Steps to recover (95%)",
        panel="steps to\nrecover",
    ),
    Quantity(
        column="area_ratio",
        bounds="area",
        heading="area",
        form="{:.2f}",
        title="Area, of baseline (95%)",
        panel="area, of\nbaseline",
    ),
    Quantity(
        column="deviation",
        bounds="deviation",
        heading="deviation",
        form="{:.2f}",
        title="Latent deviation (95%)",
        panel="latent\ndeviation",
    ),
    Quantity(
        column="lead_share",
        bounds="lead",
        heading="lead",
        form="{:.0%}",
        title="Deviates first (95%)",
        panel="deviates\nfirst",
    ),
)
QUANTITIES = {quantity.column: quantity for quantity in _QUANTITIES}
"""What a profile tells, by its columns, in their order; tables and figures name and order them by this."""


def profile_of(
    outcomes: pd.DataFrame, design: Design, rng: np.random.Generator, deviations: Deviations | None = None
) -> pd.DataFrame:
    """One row a dimension and strength of the plain arm.

    ``collapsed`` and ``lead_share`` (of runs that collapse, those whose deviation comes first) have Wilson's intervals
    over runs, or what resampling seeds gives where that is wider and seeds have several runs; ``recovery_steps`` is
    Kaplan and Meier's median, infinite where the logs end before half are back; ``area_ratio`` and ``deviation`` are
    means, with intervals that resample seeds. NaN where there is nothing to tell.

    Parameters
    ----------
    outcomes : one row a run, with deviations.
    design : what was done.
    rng : for the draws.
    deviations : of healthy runs, whose mean is taken off that of perturbed ones and is no better known than it is.
    """
    perturbed = outcomes.loc[design.perturbed().index]
    rows = []
    for dimension, strength in design.cells():
        cell = perturbed[(perturbed["dimension"] == dimension) & (perturbed["strength"] == strength)]
        seeds = cell["seed"].tolist()
        areas = cell["area_ratio"].to_numpy(dtype=np.float64)
        known = cell[cell["recovery_steps"].notna()]
        observed = known["recovery_censored"].to_numpy() == False  # noqa: E712 (a column of objects)
        ahead = cell["preceded"].dropna()
        found = {
            "collapsed": _share_of(cell["collapsed"].astype(float), seeds, rng),
            "recovery_steps": median_time(known["recovery_steps"].to_numpy(dtype=np.float64), observed),
            "area_ratio": _mean_area(areas, seeds, rng),
            "deviation": _mean_deviation(cell, deviations, rng) if cell["deviation"].notna().any() else UNDEFINED,
            "lead_share": _share_of(ahead.astype(float), cell.loc[ahead.index, "seed"].tolist(), rng),
        }
        row: dict[str, object] = {"dimension": dimension, "strength": strength, "n_runs": len(cell)}
        for name, interval in found.items():
            row |= _columns(name, interval)
            if name == "recovery_steps":
                row["n_censored"] = int((~observed).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def _mean_area(areas: NDArray[np.float64], seeds: list[object], rng: np.random.Generator) -> Interval:
    """The mean of (n,) areas, below 0 only where one is; of areas beyond all bounds nothing more is said."""
    least = float(areas[~np.isnan(areas)].min(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_over_seeds(areas, seeds, rng).within(-np.inf if least < 0 else 0.0, np.inf)


def _share_of(hits: pd.Series[float], seeds: list[object], rng: np.random.Generator) -> Interval:
    """Share of runs, by Wilson; where seeds have several runs, which end alike, the wider of that and over seeds."""
    found = share(int(hits.sum()), len(hits))
    if len(set(seeds)) == len(seeds):
        return found
    values = np.asarray(hits, dtype=np.float64)
    return found.united(mean_over_seeds(values, seeds, rng).within(0.0, 1.0))


def _mean_deviation(cell: pd.DataFrame, deviations: Deviations | None, rng: np.random.Generator) -> Interval:
    """The mean of a cell's deviations beyond those of healthy runs; what is not known of either counts."""
    own = mean_over_seeds(cell["deviation"].to_numpy(dtype=np.float64), cell["seed"].tolist(), rng)
    if deviations is None:
        return own.within(-1.0, 1.0)
    healthy = deviations.healthy_means(cell["onset"], [str(run) for run in cell.index])
    null = mean_over_seeds(healthy, [deviations.seeds[run] for run in deviations.healthy], rng)
    # Taken off already is what healthy runs of other seeds do; here only how well that is known counts.
    around = Interval(value=0.0, low=null.low - null.value, high=null.high - null.value)
    return own.less(around).within(-1.0, 1.0)


def _columns(name: str, found: Interval) -> dict[str, float]:
    quantity = QUANTITIES[name]
    return {quantity.column: found.value, quantity.low: found.low, quantity.high: found.high}


def one_fate(profile: pd.DataFrame) -> tuple[int, int, float]:
    """In how many cells all runs collapse or none does, how many of two runs or more there are, the share by chance.

    By chance is where the strength says nothing, and each run collapses with the probability of all.
    """
    some = profile[profile["n_runs"] > 1]
    n, collapsed = some["n_runs"].to_numpy(dtype=np.float64), some["collapsed"].to_numpy(dtype=np.float64)
    p = float(n @ collapsed / n.sum()) if len(some) else 0.0
    chance = float(np.mean(p**n + (1 - p) ** n)) if len(some) else 1.0
    return int(np.isin(collapsed, [0.0, 1.0]).sum()), len(some), chance
