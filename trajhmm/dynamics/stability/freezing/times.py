"""Freezing: the step after which a run no longer changes, and the published proxy of it by the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.freezing.changes import Changes
from trajhmm.dynamics.stability.groups import Group, groups_of
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    import pandas as pd

FREEZING_COLUMNS = ("freezing_step", "censored")
PROXY_COLUMNS = ("proxy_step", "censored")
LOSS_BOUND = 0.1
"""Of the published proxy (arXiv 2601.10962): the first step with a training loss no higher."""
DOUBT = 0.05
"""How often a run that goes on as before may show a stretch without change as long as its last one."""


def freezing_table(runs: RunSet, changes: Changes, by: Sequence[str] = ()) -> pd.DataFrame:
    """One row a run: ``run``, the attributes, ``freezing_step`` and ``censored``.

    ``freezing_step`` is the step of the last change, or the run's first where it never changes. It is ``censored``, so
    that the run may freeze later than that, where the stretch behind it is no longer than one that still hops would
    show, see :func:`may_hop_again`, or where the run diverged. Runs that never change have no stretches of their own to
    compare with; those of the runs that share their attributes stand in, and where these do not change either, a run
    counts as frozen from the start. One that is watched at a single row says nothing, and is censored there.

    Parameters
    ----------
    runs : the logs.
    changes : of their states, or of the sign of a column.
    by : attributes whose values make the groups.

    Raises
    ------
    AnalysisError
        The runs have no such attribute, or the changes are those of other runs.
    """
    import pandas as pd

    rows = []
    for group, members in grouped(runs, changes, by):
        mine = changes.take(members)
        stretches = [np.diff(np.append(first, own)) for first, own in zip(mine.first, mine.by_run, strict=True)]
        others = np.concatenate(stretches)
        for run, (own, stretch) in enumerate(zip(mine.by_run, stretches, strict=True)):
            first, last = int(mine.first[run]), int(mine.last[run])
            frozen = int(own[-1]) if len(own) else first
            may_hop = may_hop_again(stretch if len(own) else others, float(last - frozen))
            rows.append(
                {
                    "run": mine.runs[run],
                    **group.values,
                    "freezing_step": frozen,
                    "censored": bool(mine.diverged[run]) or first == last or may_hop,
                }
            )
    table = pd.DataFrame(rows, columns=["run", *by, *FREEZING_COLUMNS])
    place = {name: number for number, name in enumerate(runs.runs)}
    return table.sort_values("run", key=lambda names: names.map(place), ignore_index=True)


def may_hop_again(stretches: NDArray[np.float64] | NDArray[np.int64], last: float) -> bool:
    """Whether a run that goes on changing as before would show a ``last`` stretch as long as this in 5% and more.

    The stretch that the end of a log cuts is met by chance in proportion to its length, so that its expected length is
    Σd² / 2Σd (the mean backward recurrence time of renewal theory; for exponential d their mean), however many short
    ones a run shows while it crosses a border to and fro. With an effective number of stretches m = (Σd)² / Σd² the
    ratio of the last to this has the tail (1 + r/m)^(−m), that of exponential stretches whose mean is not known.

    Parameters
    ----------
    stretches : (m,) steps from each change to the next, the first from the run's start; none, and nothing may hop.
    last : steps from the last change to the end of the log.
    """
    total, squares = float(np.sum(stretches)), float(np.sum(np.square(stretches, dtype=np.float64)))
    if total <= 0.0:
        return False
    expected, many = squares / (2.0 * total), total**2 / squares
    return bool((1.0 + last / expected / many) ** -many > DOUBT)


def loss_proxy(
    runs: RunSet, by: Sequence[str] = (), *, metric: str = "train_loss", bound: float = LOSS_BOUND
) -> pd.DataFrame:
    """One row a run: ``run``, the attributes, ``proxy_step`` at which the loss is first no higher than a bound.

    The published proxy of freezing (arXiv 2601.10962). Where it is ``censored``, the step is the last that is logged.

    Raises
    ------
    AnalysisError
        The loss is not logged, or the runs have no such attribute.
    """
    import pandas as pd

    if metric not in runs.metrics:
        raise AnalysisError(f"no metric {metric!r} for the proxy of freezing{instead_of(metric, runs.metrics)}")
    groups_of(runs, by)
    values = runs.column(metric)
    rows = []
    for number, (name, mine) in enumerate(runs.slices()):
        below = np.isfinite(values[mine]) & (values[mine] <= bound)
        reached = bool(below.any())
        step = runs.steps[mine][below.argmax() if reached else -1]
        attributes = {one: runs.attributes[one].iloc[number] for one in by}
        rows.append({"run": name, **attributes, "proxy_step": int(step), "censored": not reached})
    return pd.DataFrame(rows, columns=["run", *by, *PROXY_COLUMNS])


def grouped(runs: RunSet, changes: Changes, by: Sequence[str]) -> list[tuple[Group, NDArray[np.int64]]]:
    """Groups of runs, each with the numbers of its runs among the changes; groups without any are left out.

    Raises
    ------
    AnalysisError
        The runs have no such attribute, or the changes are those of other runs.
    """
    number = {name: place for place, name in enumerate(changes.runs)}
    strangers = set(changes.runs) - set(runs.runs)
    if strangers:
        raise AnalysisError(f"states of run {min(strangers)!r}, which these logs do not hold; decode these logs")
    found = []
    for group in groups_of(runs, by):
        names = [runs.runs[run] for run in group.runs.tolist()]
        members = np.array([number[name] for name in names if name in number], dtype=np.int64)
        if len(members):
            found.append((group, members))
    return found
