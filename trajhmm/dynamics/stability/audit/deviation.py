"""How far a run's latent states are from those of healthy runs at the same step; filtered, never smoothed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.errors import AnalysisError, TrajHMMError
from trajhmm.features.choose import default_metrics
from trajhmm.hmm import Model, Parameters, fit
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.logs import RunSet
from trajhmm.warning.evaluation import conformal_threshold

STATES = range(2, 7)
"""Numbers of states tried by default."""
BUDGET = 0.05
"""Share of healthy runs that may ever pass the threshold."""
WINDOWS = (5, 10, 20, 40)
"""Rows up to and with a row over which a deviation is averaged: the fewest at which healthy runs do not part wholly."""
# Where healthy runs part as wholly as can be, what lies between their deviation and 1 is rounding.
_HIGHEST = 0.99
# Runs that each of the two maps needs.
_FEWEST = 3
# The state for rows that no healthy run was like: so many times as wide as all healthy rows together, entered and left
# with such probabilities.
_WIDE, _ENTERED, _LEFT = 3.0, 1e-3, 1e-2
_HELD_OUT = re.compile(r"^(eval|val|valid|validation|test|heldout|holdout)([_/.-])")
_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """The deviation of one run.

    Attributes
    ----------
    steps : (T,) of the rows that the map sees.
    values : (T,) total variation between the run's filtered probabilities of the states and the mean of those of
        healthy runs, of none of which it shares the seed, at the same step: 0 to 1.
    """

    steps: NDArray[np.int64]
    values: _Array

    def averaged(self, window: int) -> _Array:
        """(T,) the mean of each row and those before it, so many in all."""
        total = np.cumsum(np.concatenate([np.zeros(1), self.values]))
        first = np.maximum(np.arange(len(self.values)) + 1 - window, 0)
        mean: _Array = (total[1:] - total[first]) / (np.arange(len(self.values)) + 1 - first)
        return mean

    def mean_between(self, first: float, last: float = np.inf) -> float:
        """The mean over rows after one step, up to and with another; NaN if there are none."""
        inside = (self.steps > first) & (self.steps <= last)
        return float(self.values[inside].mean()) if inside.any() else np.nan

    def first_above(self, threshold: float, window: int, first: float, last: float) -> int | None:
        """The first step strictly between two at which the average is above a threshold; None if there is none."""
        found = np.flatnonzero((self.steps > first) & (self.steps < last) & (self.averaged(window) > threshold))
        return int(self.steps[found[0]]) if len(found) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Deviations:
    """The deviations of perturbed and of healthy runs of the plain arm.

    Attributes
    ----------
    perturbed, healthy : run to path; the healthy ones each under a map that was fitted without them.
    seeds : run to what it is paired by.
    threshold : that at most one in twenty healthy runs passes from the earliest onset on, if such there is below 0.99.
    window : rows that are averaged for that, see `WINDOWS`.
    of_others : for each healthy run the threshold of the others alone: what a run helped to set it cannot pass.
    passed : how many healthy runs pass theirs there.
    metrics : that the maps see.
    states : of the maps.
    """

    perturbed: Mapping[str, Path]
    healthy: Mapping[str, Path]
    seeds: Mapping[str, object]
    threshold: float
    window: int
    of_others: Mapping[str, float]
    passed: int
    metrics: tuple[str, ...]
    states: int

    def excess(self, run: str, onset: int) -> float:
        """The mean deviation of a perturbed run after the onset, less that of healthy runs over the same steps.

        NaN where it has no row after the onset, or no healthy run of another seed has.
        """
        path = self.perturbed[run]
        others = [
            one.mean_between(onset, path.steps[-1])
            for name, one in self.healthy.items()
            if self.seeds[name] != self.seeds[run]
        ]
        known = [one for one in others if not np.isnan(one)]
        return path.mean_between(onset) - float(np.mean(known)) if known else np.nan

    def healthy_means(self, onsets: Iterable[float], runs: Iterable[str]) -> _Array:
        """(H,) mean deviation of each healthy run, over the steps after each onset up to the end of each run."""
        windows = [
            (float(onset), self.perturbed[run].steps[-1])
            for onset, run in zip(onsets, runs, strict=True)
            if run in self.perturbed and len(self.perturbed[run].steps)
        ]
        means = np.array([[path.mean_between(*window) for window in windows] for path in self.healthy.values()])
        known = np.isfinite(means).any(axis=1) if means.size else np.zeros(len(self.healthy), dtype=bool)
        found = np.full(len(self.healthy), np.nan)
        found[known] = np.nanmean(means[known], axis=1) if known.any() else np.nan
        return found

    def healthy_share(self, first: float, last: float) -> _Array:
        """(H,) 1 for each healthy run that passes the threshold of the others between two steps, 0 for the rest."""
        passed = [
            path.first_above(self.of_others[run], self.window, first, last) is not None
            for run, path in self.healthy.items()
        ]
        return np.array(passed, dtype=np.float64)

    def first_above(self, path: Path, first: float, last: float) -> int | None:
        """The first step strictly between two at which a path passes the threshold; None if there is none."""
        return path.first_above(self.threshold, self.window, first, last)


def deviations_of(
    runs: RunSet,
    design: Design,
    *,
    performance: str,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] = STATES,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Deviations | str:
    """Fit maps of the baselines, and follow all plain runs under a map that no run of their seed was fitted to.

    The baselines are split in two by seed; each half gets a map, the second with as many states as the first, and is
    followed under the other's. To the states of each map one is added for rows that no healthy run was like, as a map
    of healthy runs alone would have to put them into one of its own. One scale for all runs, so that nothing of a run's
    future is in its path.

    Parameters
    ----------
    runs : the logs.
    design : what was done to them.
    performance : metric that collapse and recovery are of, which the maps do not see, nor others of the same held-out
        data, as ``eval_loss`` beside ``eval_accuracy``: a deviation of theirs would be the collapse itself.
    metrics : that the maps see, if not those.
    states : a number of states, or those to choose from.
    seed : of the fits.
    jobs : threads.
    progress : of the first fit.

    Returns
    -------
    The deviations, or why there are none.

    Raises
    ------
    AnalysisError
        Performance is all that is logged.
    TrajHMMError
        No map can be fitted to ``metrics``; to those of its own choice that is a reason why there are none.
    """
    baselines = design.baselines()
    keys = list(dict.fromkeys(baselines["seed"]))
    if len(keys) < 2 * _FEWEST:
        return (
            f"the latent path needs baselines of at least {2 * _FEWEST} values of {' '.join(design.columns.pair_by)} "
            f"to fit a map of one half and follow the other, found {len(keys)}"
        )
    fold_of = {key: number % 2 for number, key in enumerate(keys)}
    folds = [[str(run) for run, key in baselines["seed"].items() if fold_of[key] == fold] for fold in (0, 1)]
    chosen = _metrics_of(runs.select_runs(baselines.index), performance) if metrics is None else tuple(metrics)
    tried = [int(states)] if isinstance(states, (int, np.integer)) else sorted(states)
    tried = [k for k in tried if k <= min(map(len, folds))] or [min(map(len, folds))]
    try:
        return _followed(runs, design, fold_of, folds, chosen, tried, seed=seed, jobs=jobs, progress=progress)
    except TrajHMMError as error:
        if metrics is not None:
            raise
        return f"no map of the baselines: {error}"


def _followed(
    runs: RunSet,
    design: Design,
    fold_of: Mapping[object, int],
    folds: Sequence[Sequence[str]],
    metrics: tuple[str, ...],
    tried: Sequence[int],
    *,
    seed: int,
    jobs: int,
    progress: Progress | None,
) -> Deviations:
    """The deviations of all plain runs under maps of the baselines of either fold; see `deviations_of`."""
    perturbed = design.perturbed()
    healthy: dict[str, Path] = {}
    others: dict[str, Path] = {}
    n_states = 0
    for fold, fitted in enumerate(folds):
        model = fit(
            runs.select_runs(fitted),
            metrics=metrics,
            states=tried if fold == 0 else n_states,
            scaling="shared",
            halves=2 if fold == 0 and len(tried) > 1 else 0,
            restarts=3,
            seed=seed,
            jobs=jobs,
            progress=progress if fold == 0 else None,
        )
        n_states, metrics = model.n_states, model.metrics
        followed = [str(run) for run, key in perturbed["seed"].items() if fold_of.get(key, 1) != fold]
        paths = _paths(runs, model, fitted, [*folds[1 - fold], *followed])
        healthy |= {run: paths[run] for run in folds[1 - fold] if run in paths}
        others |= {run: paths[run] for run in followed if run in paths}
    threshold, window, of_others, passed = _threshold(healthy, since=int(perturbed["onset"].min()))
    return Deviations(
        perturbed=others,
        healthy=healthy,
        seeds={str(run): key for run, key in design.runs["seed"].items()},
        threshold=threshold,
        window=window,
        of_others=of_others,
        passed=passed,
        metrics=metrics,
        states=n_states,
    )


def _threshold(healthy: Mapping[str, Path], since: int) -> tuple[float, int, dict[str, float], int]:
    """The threshold of healthy runs after a step, and its window; that of each one's others, and how many pass that."""
    for window in WINDOWS:
        maxima = np.array([path.averaged(window)[path.steps > since].max(initial=0.0) for path in healthy.values()])
        threshold = conformal_threshold(maxima, BUDGET).value
        if threshold < _HIGHEST:
            break
    of_others = [
        min(conformal_threshold(np.delete(maxima, place), BUDGET).value, _HIGHEST) for place in range(len(maxima))
    ]
    passed = int((maxima > of_others).sum())
    return min(threshold, _HIGHEST), window, dict(zip(healthy, of_others, strict=True)), passed


def with_elsewhere(parameters: Parameters, values: _Array) -> Parameters:
    """Add a state for rows unlike all that a map was fitted to: three times as wide as those together, and rare.

    Parameters
    ----------
    parameters : of a map with diagonal covariances.
    values : (N, D) the rows that it was fitted to.
    """
    k = parameters.n_states
    transmat = np.zeros((k + 1, k + 1))
    transmat[:k, :k] = parameters.transmat * (1 - _ENTERED)
    transmat[:k, k], transmat[k, :k], transmat[k, k] = _ENTERED, _LEFT / k, 1 - _LEFT
    return replace(
        parameters,
        startprob=np.append(parameters.startprob * (1 - _ENTERED), _ENTERED),
        transmat=transmat,
        means=np.vstack([parameters.means, values.mean(axis=0)]),
        covars=np.vstack([parameters.covars, _WIDE**2 * values.var(axis=0)]),
    )


def total_variation(
    probs: _Array, steps: NDArray[np.int64], reference: Sequence[tuple[NDArray[np.int64], _Array]]
) -> _Array:
    """(T,) half the sum of absolute differences between a run's filtered probabilities and the mean of other runs'.

    Parameters
    ----------
    probs : (T, K) of the run; a row that is not finite is unlike any.
    steps : (T,) of the run.
    reference : (S,) steps and (S, K) probabilities of each other run; of its rows, the last up to a step stands.
    """
    mean = np.mean(
        [other[np.maximum(np.searchsorted(at, steps, side="right") - 1, 0)] for at, other in reference], axis=0
    )
    distance: _Array = 0.5 * np.abs(probs - mean).sum(axis=1)
    return np.where(np.isfinite(distance), distance, 1.0)


def _paths(runs: RunSet, model: Model, fitted: Sequence[str], followed: Sequence[str]) -> dict[str, Path]:
    """The deviations of runs from those that a map was fitted to."""
    healthy = model.scaled(runs.select_runs(fitted))
    parameters = with_elsewhere(model.parameters, healthy.values)
    reference = [
        (
            healthy.steps[rows],
            np.exp(filter_rows(healthy.values[rows], np.array([0, rows.stop - rows.start]), parameters)[0]),
        )
        for _, rows in healthy.slices()
    ]
    ends = {run: int(runs.steps[rows][-1]) for run, rows in runs.slices()}
    scaled = model.scaled(runs.select_runs(followed))
    found = {}
    for run, rows in scaled.slices():
        log_probs, _ = filter_rows(scaled.values[rows], np.array([0, rows.stop - rows.start]), parameters)
        steps = scaled.steps[rows]
        distance = total_variation(np.exp(log_probs), steps, reference)
        if steps[-1] < ends[run]:  # it diverged, and was cut: what follows is unlike any healthy row
            rest = np.unique(np.concatenate([at for at, _ in reference]))
            rest = rest[(rest > steps[-1]) & (rest <= ends[run])]
            steps, distance = np.concatenate([steps, rest]), np.concatenate([distance, np.ones(len(rest))])
        found[run] = Path(steps=steps, values=distance)
    return found


def _metrics_of(baselines: RunSet, performance: str) -> tuple[str, ...]:
    """The metrics of a map by default, less performance and what is held out with it; those too, if no other is left.

    Raises
    ------
    AnalysisError
        Performance is all that is logged.
    """
    usual = default_metrics(baselines)[0]
    split = _HELD_OUT.match(performance)
    others = [metric for metric in usual if metric != performance]
    own = [metric for metric in others if split is None or not metric.startswith(split[0])]
    if not others:
        raise AnalysisError(
            f"{performance} is the only metric that the baselines log; latent states need others: log some, or name "
            "them with --metrics"
        )
    return tuple(own or others)


def deviation_columns(found: Deviations | str, outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes with ``deviation`` (see `Deviations.excess`), and where they pass the threshold after the onset.

    ``deviation_step`` is the first step at which they do, ``preceded`` whether it comes before the collapse (of runs
    that collapse), ``lead_steps`` by how much.
    """
    names = ("deviation", "deviation_step", "lead_steps", "preceded")
    columns: dict[str, dict[str, object]] = {name: {} for name in names}
    onsets, collapses = outcomes["onset"], outcomes["collapse_step"]
    if isinstance(found, Deviations):
        for run, path in found.perturbed.items():
            onset, collapse = int(onsets[run]), float(collapses[run])
            columns["deviation"][run] = found.excess(run, onset)
            step = found.first_above(path, onset, np.inf)
            columns["deviation_step"][run] = np.nan if step is None else step
            if np.isfinite(collapse):
                ahead = step is not None and step < collapse
                columns["preceded"][run] = float(ahead)
                columns["lead_steps"][run] = collapse - step if ahead and step is not None else 0
    added = {name: pd.Series(values, dtype=np.float64).reindex(outcomes.index) for name, values in columns.items()}
    return outcomes.assign(**added)
