"""What it is worth to stop runs by their risk: steps saved on runs that collapse, less those thrown away on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.evaluation.intervals import RESAMPLES, Estimate, group_counts, percentile_interval
from trajhmm.warning.runs import Trial

RISKS = (0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A rule by which runs are stopped, against never stopping one.

    Attributes
    ----------
    rule : ``first alarm``, or ``risk > 0.5`` and so on.
    collapsed, others : how many runs are stopped that collapse, after they were perturbed and before they do; and how
        many that do not, or while nothing was wrong with them yet.
    saved : steps that the first would have gone on for, to the end of their logs.
    wasted : steps that the others had come when they were stopped, which have to be run again.
    net : saved less wasted, as a share of the steps of all runs, with its interval over groups of runs; without one
        where no run is stopped.
    """

    rule: str
    collapsed: int
    others: int
    saved: int
    wasted: int
    net: Estimate

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "net": self.net.to_dict()}


def decide(
    trials: Sequence[Trial],
    alarms: Mapping[str, int | None],
    risks: Mapping[str, NDArray[np.float64]],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[Decision, ...]:
    """Count what runs cost that are stopped at their first alarm, and when their risk first passes a limit.

    How much a rule saves depends on how many of the runs collapse; a reader whose runs seldom do saves less.
    Intervals come from a bootstrap over the groups of the trials.

    Parameters
    ----------
    trials : runs whose end is known.
    alarms : run to the step of its first alarm; None without one.
    risks : run to its (T,) risks; NaN where it is too early to tell.
    """
    rules: dict[str, list[int | None]] = {"first alarm": [alarms[trial.run.run] for trial in trials]}
    for limit in RISKS:
        rules[f"risk > {limit}"] = [_first_above(trial, risks[trial.run.run], limit) for trial in trials]
    lengths = np.array([trial.run.steps[-1] - trial.run.steps[0] for trial in trials], dtype=np.float64)
    counts = np.vstack(
        [np.ones(len(trials), dtype=np.int64), group_counts([trial.group for trial in trials], resamples, rng)]
    )
    return tuple(_decision(rule, trials, stops, lengths, counts) for rule, stops in rules.items())


def _first_above(trial: Trial, risk: NDArray[np.float64], limit: float) -> int | None:
    rows = np.flatnonzero(risk > limit)
    return int(trial.run.steps[rows[0]]) if len(rows) else None


def _decision(
    rule: str,
    trials: Sequence[Trial],
    stops: Sequence[int | None],
    lengths: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> Decision:
    saved, wasted = np.zeros(len(trials)), np.zeros(len(trials))
    in_time = others = 0
    for place, (trial, stop) in enumerate(zip(trials, stops, strict=True)):
        if stop is None:
            continue
        collapse, onset = trial.truth.collapse_step, trial.truth.onset
        if collapse is None or (onset is not None and stop < onset):
            wasted[place], others = stop - trial.run.steps[0], others + 1
        elif stop < collapse:
            saved[place], in_time = trial.run.steps[-1] - stop, in_time + 1
    whole = counts @ lengths
    net = np.divide(counts @ (saved - wasted), whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return Decision(
        rule=rule,
        collapsed=in_time,
        others=others,
        saved=int(saved.sum()),
        wasted=int(wasted.sum()),
        net=percentile_interval(float(net[0]), net[1:]) if saved.any() or wasted.any() else _nobody(net[0]),
    )


def _nobody(net: float) -> Estimate:
    """Where no run was stopped, what stopping some would have been worth is not known."""
    return Estimate(value=float(net), low=np.nan, high=np.nan)
