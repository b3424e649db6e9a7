"""What became of runs, and which belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trajhmm.errors import LogError
from trajhmm.features import CausalRun, causal_runs
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of


class Kind(StrEnum):
    """What became of a run: never perturbed, perturbed and survived, or collapsed."""

    HEALTHY = "healthy"
    SURVIVED = "survived"
    COLLAPSED = "collapsed"


@dataclass(frozen=True, kw_only=True)
class RunTruth:
    """What became of a run.

    Attributes
    ----------
    onset : step at which it was perturbed; None if it was not.
    collapse_step : step at which it collapsed; None if it did not.
    spikes : dips that recovered, which are no collapse.
    """

    onset: int | None = None
    collapse_step: int | None = None
    spikes: int = 0

    @property
    def kind(self) -> Kind:
        """What became of it in a word."""
        if self.collapse_step is not None:
            return Kind.COLLAPSED
        return Kind.HEALTHY if self.onset is None else Kind.SURVIVED


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A run, what became of it, and what it shares with others.

    Attributes
    ----------
    run, truth : the run and what became of it.
    condition : how it was trained and perturbed; held out as a whole.
    group : runs of one group (a seed) share weights or data, so that one tells of the others.
    """

    run: CausalRun
    truth: RunTruth
    condition: str
    group: str


def trials_of(
    runs: RunSet,
    truths: Mapping[str, RunTruth],
    *,
    condition: str | None = None,
    group: str | None = None,
    metrics: Sequence[str] | None = None,
) -> tuple[Trial, ...]:
    """Join logs with what became of the runs.

    Parameters
    ----------
    runs : the logs.
    truths : run to what became of it; all runs of the logs.
    condition : attribute that names how a run was trained and perturbed; by default that was the same for all.
    group : attribute whose values runs that belong together share, such as ``seed``; by default each is on its own.
    metrics : as for `causal_runs`.

    Raises
    ------
    LogError
        An attribute that the logs do not have, or a run of which the truth is not known.
    """
    for name in (condition, group):
        if name is not None and name not in runs.attributes.columns:
            raise LogError(f"no attribute {name!r} in these logs{instead_of(name, runs.attributes.columns)}")
    missing = [run for run in runs.runs if run not in truths]
    if missing:
        raise LogError(
            f"run {missing[0]}: the truth does not name it ({len(missing)} such runs); add it, or leave it out"
        )
    return tuple(
        Trial(
            run=run,
            truth=truths[run.run],
            condition="" if condition is None else str(runs.attributes[condition].iloc[index]),
            group=run.run if group is None else str(runs.attributes[group].iloc[index]),
        )
        for index, run in enumerate(causal_runs(runs, metrics))
    )
