"""Whether a risk score tells, among perturbed runs, those that will collapse from those that will live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from trajhmm.warning.evaluation.intervals import (
    RESAMPLES,
    Estimate,
    auroc_interval,
    group_counts,
    percentile_interval,
    share,
)
from trajhmm.warning.runs import Trial

BINS = 10


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Runs whose risk lies between ``low`` and ``high``: how many, their mean risk, the share that collapsed."""

    low: float
    high: float
    runs: int
    mean_risk: float
    collapsed: Estimate


@dataclass(frozen=True, kw_only=True)
class RiskAt:
    """The risk of perturbed runs at one time after their onset, against their end.

    Runs that collapsed by then, or that are not logged so far, are left out: there is nothing left to predict, or
    nothing to predict from. So are those whose risk is not told, as it is too early; they are counted.

    Attributes
    ----------
    after : steps since the onset.
    collapsed, survived : number of runs of either end whose risk is told.
    untold : number of runs for which it is too early.
    auroc : probability that a run that will collapse has a higher risk than one that will live, ties counted half.
    brier : mean squared difference of risk and end; NaN where scores are no probabilities.
    reliability : bins of equal width that hold any run.
    """

    after: int
    collapsed: int
    survived: int
    auroc: Estimate
    brier: Estimate
    untold: int
    reliability: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, object]:
        """For JSON; None where not defined."""
        return {
            "after": self.after,
            "collapsed": self.collapsed,
            "survived": self.survived,
            "untold": self.untold,
            "auroc": self.auroc.to_dict(),
            "brier": self.brier.to_dict(),
            "reliability": [{**vars(found), "collapsed": found.collapsed.to_dict()} for found in self.reliability],
        }


def moments_after_onset(trials: Sequence[Trial]) -> tuple[int, ...]:
    """A quarter, a half and three quarters of the median time from onset to collapse, in steps; none if none is known.

    At such times there are runs of either end left to tell apart.
    """
    times = [
        trial.truth.collapse_step - trial.truth.onset
        for trial in trials
        if trial.truth.collapse_step is not None and trial.truth.onset is not None
    ]
    if not times:
        return ()
    return tuple(dict.fromkeys(int(share * np.median(times)) for share in (0.25, 0.5, 0.75)))


def evaluate_risk(
    trials: Sequence[Trial],
    risks: Mapping[str, NDArray[np.float64]],
    after: Sequence[int],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[RiskAt, ...]:
    """Judge a risk score at fixed times after the onset.

    Intervals come from a bootstrap over the groups of the trials, so that runs that share a seed are drawn together.

    Parameters
    ----------
    trials : runs; those without an onset are passed over.
    risks : run to its (T,) scores, a number in [0, 1] or anything that is higher where collapse is likelier; NaN where
        it is too early to tell.
    after : steps since the onset, rising.
    """
    return tuple(_risk_at(trials, risks, steps, rng, resamples) for steps in after)


def _risk_at(
    trials: Sequence[Trial],
    risks: Mapping[str, NDArray[np.float64]],
    after: int,
    rng: np.random.Generator,
    resamples: int,
) -> RiskAt:
    scores, ends, groups, untold = [], [], [], 0
    for trial in trials:
        row = _row_at(trial, after)
        if row is not None and np.isnan(risks[trial.run.run][row]):
            untold += 1
        elif row is not None:
            scores.append(risks[trial.run.run][row])
            ends.append(trial.truth.collapse_step is not None)
            groups.append(trial.group)
    risk, collapsed = np.array(scores, dtype=np.float64), np.array(ends, dtype=bool)
    counts = np.vstack([np.ones(len(risk), dtype=np.int64), group_counts(groups, resamples, rng)])
    by_end = [[group for group, end in zip(groups, ends, strict=True) if end is which] for which in (True, False)]
    is_probability = bool(((risk >= 0) & (risk <= 1)).all())
    ranked = weighted_auroc(risk, collapsed, counts)
    squared = _weighted_mean((risk - collapsed) ** 2, counts) if is_probability else np.full(len(counts), np.nan)
    return RiskAt(
        after=after,
        collapsed=int(collapsed.sum()),
        survived=int((~collapsed).sum()),
        auroc=auroc_interval(float(ranked[0]), ranked[1:], *(len(set(of)) for of in by_end)),
        brier=percentile_interval(float(squared[0]), squared[1:]),
        untold=untold,
        reliability=reliability(risk, collapsed) if is_probability else (),
    )


def _row_at(trial: Trial, after: int) -> int | None:
    """The last row at most ``after`` steps past the onset; None for runs that are left out."""
    if trial.truth.onset is None:
        return None
    moment, steps = trial.truth.onset + after, trial.run.steps
    if trial.truth.collapse_step is not None and trial.truth.collapse_step <= moment:
        return None
    row = int(np.searchsorted(steps, moment, side="right")) - 1
    return row if row >= 0 and moment <= steps[-1] else None


def weighted_auroc(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Area under the receiver operating characteristic of a sample, as often as it was drawn.

    P(score of a positive > score of a negative) + ½ P(equal): the statistic of Mann and Whitney over the number of
    pairs.

    Parameters
    ----------
    scores, positive : (n,)
    counts : (B, n) how often each stands in each of B samples.

    Returns
    -------
    (B,); NaN where a sample lacks either kind.
    """
    order = rankdata(scores, method="dense") if len(scores) else np.zeros(0)
    above, below = order[positive][:, np.newaxis], order[~positive][np.newaxis, :]
    wins = (above > below) + 0.5 * (above == below)
    ups, downs = counts[:, positive].astype(np.float64), counts[:, ~positive].astype(np.float64)
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    won = np.einsum("bi,ij,bj->b", ups, wins, downs, optimize=True)
    area: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return area


def reliability(risk: NDArray[np.float64], collapsed: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Sort (n,) risks in [0, 1] into bins of equal width and compare each with the share that collapsed."""
    edges = np.linspace(0, 1, BINS + 1)
    place = np.minimum(np.searchsorted(edges, risk, side="right") - 1, BINS - 1)
    return tuple(
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            runs=int(inside.sum()),
            mean_risk=float(risk[inside].mean()),
            collapsed=share(int(collapsed[inside].sum()), int(inside.sum())),
        )
        for b in range(BINS)
        if (inside := place == b).any()
    )


def _weighted_mean(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    weight = counts.sum(axis=1)
    mean: NDArray[np.float64] = np.divide(counts @ values, weight, out=np.full(len(counts), np.nan), where=weight > 0)
    return mean
