"""Choosing the number of states: restarts for each K, and a criterion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from trajhmm.errors import FitError
from trajhmm.hmm.em import Outcome, Restart
from trajhmm.hmm.estimator import GaussianHMM
from trajhmm.hmm.parallel import Progress, in_threads
from trajhmm.logs.runset import offsets_of

Criterion = Literal["bic", "aic", "heldout"]
CRITERIA: tuple[Criterion, ...] = ("bic", "aic", "heldout")

_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class SelectionPoint:
    """What is known of one number of states.

    Attributes
    ----------
    states : K.
    outcome : of the best restart; ``degenerate`` if none was usable, and then the numbers are None.
    log_likelihood : total over training runs, in nats.
    n_parameters : free parameters.
    bic, aic : on the total log-likelihood; lower is better.
    heldout : log-likelihood per row of runs left out of the fit, averaged over runs, in nats; None if not asked for.
    heldout_se : its standard error over runs.
    restart_log_likelihoods : of every usable restart, best first.
    """

    states: int
    outcome: Outcome
    log_likelihood: float | None
    n_parameters: int | None
    bic: float | None
    aic: float | None
    heldout: float | None
    heldout_se: float | None
    restart_log_likelihoods: tuple[float, ...]


def select_states(
    values: NDArray[np.float64],
    lengths: NDArray[np.int64],
    estimator: GaussianHMM,
    *,
    states: Sequence[int],
    criterion: Criterion,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[GaussianHMM, tuple[SelectionPoint, ...]]:
    """Fit every number of states and choose one.

    Parameters
    ----------
    values, lengths : (N, D) rows, (R,) run lengths.
    estimator : settings of every fit.
    states : numbers of states to try.
    criterion : ``bic``, ``aic``, or ``heldout``: log-likelihood of runs that were left out, in five folds.
    n_jobs : threads; the result does not depend on it.
    progress : called with (fits done, fits in all).

    Raises
    ------
    FitError
        No number of states can be fitted.
    """
    offsets = offsets_of(lengths)
    tasks: list[tuple[int, int, int]] = [(k, -1, restart) for k in states for restart in range(estimator.n_restarts)]
    folds = _folds(len(lengths), estimator.random_state) if criterion == "heldout" else []
    tasks += [(k, f, restart) for k in states for f in range(len(folds)) for restart in range(estimator.n_restarts)]

    def run(task: tuple[int, int, int]) -> Restart:
        k, fold, restart = task
        model: GaussianHMM = clone(estimator).set_params(n_components=k)
        if fold < 0:
            return model.run_restart(values, offsets, restart)
        rows, sizes = _rows_of(np.flatnonzero(folds[fold] == 0), offsets)
        return model.run_restart(values[rows], offsets_of(sizes), restart)

    done = dict(zip(tasks, in_threads(run, tasks, n_jobs=n_jobs, progress=progress), strict=True))
    models: dict[int, GaussianHMM] = {}
    points = []
    for k in states:
        restarts = [done[k, -1, restart] for restart in range(estimator.n_restarts)]
        heldout = _heldout(k, done, folds, values, offsets, estimator) if folds else None
        model: GaussianHMM = clone(estimator).set_params(n_components=k)
        try:
            models[k] = model.choose(values, offsets, restarts)
        except FitError:
            points.append(_no_point(k))
            continue
        points.append(_point(k, models[k], restarts, len(values), heldout))
    if not models:
        raise FitError(
            f"every restart at every number of states ({', '.join(map(str, states))}) degenerated; "
            "give more rows, fewer states or fewer metrics"
        )
    return models[_best(points, criterion)], tuple(points)


def _point(
    k: int, model: GaussianHMM, restarts: list[Restart], n_rows: int, heldout: NDArray[np.float64] | None
) -> SelectionPoint:
    likelihood = restarts[model.status_.chosen].log_likelihood
    usable = [restart.log_likelihood for restart in restarts if restart.outcome != "degenerate"]
    return SelectionPoint(
        states=k,
        outcome=model.status_.outcome,
        log_likelihood=likelihood,
        n_parameters=model.n_parameters,
        bic=float(model.n_parameters * np.log(n_rows) - 2 * likelihood),
        aic=2 * model.n_parameters - 2 * likelihood,
        heldout=None if heldout is None else float(heldout.mean()),
        heldout_se=None if heldout is None else float(heldout.std(ddof=1) / np.sqrt(len(heldout))),
        restart_log_likelihoods=tuple(sorted(usable, reverse=True)),
    )


def _no_point(k: int) -> SelectionPoint:
    return SelectionPoint(
        states=k,
        outcome="degenerate",
        log_likelihood=None,
        n_parameters=None,
        bic=None,
        aic=None,
        heldout=None,
        heldout_se=None,
        restart_log_likelihoods=(),
    )


def _best(points: Iterable[SelectionPoint], criterion: Criterion) -> int:
    scores = []
    for point in points:
        score = {"bic": point.bic, "aic": point.aic, "heldout": point.heldout}[criterion]
        if score is not None:
            scores.append((-score if criterion == "heldout" else score, point.states))
    if not scores:
        raise FitError("no number of states could be fitted in every fold; use --criterion bic or fewer states")
    return min(scores)[1]


def _folds(n_runs: int, seed: int) -> list[NDArray[np.int64]]:
    """For each fold, (R,) 1 where the run is held out."""
    if n_runs < 2:
        raise FitError("criterion heldout needs at least 2 runs, found 1; use --criterion bic")
    order = np.random.default_rng([seed, 0xF01D]).permutation(n_runs)
    n_folds = min(_FOLDS, n_runs)
    return [(np.isin(np.arange(n_runs), order[fold::n_folds])).astype(np.int64) for fold in range(n_folds)]


def _heldout(
    k: int,
    done: dict[tuple[int, int, int], Restart],
    folds: list[NDArray[np.int64]],
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    estimator: GaussianHMM,
) -> NDArray[np.float64] | None:
    """(R,) log-likelihood per row of each run under the fit that left it out; None if a fold could not be fitted."""
    per_run = np.full(len(offsets) - 1, np.nan)
    for f, fold in enumerate(folds):
        restarts = [done[k, f, restart] for restart in range(estimator.n_restarts)]
        usable = [restart for restart in restarts if restart.outcome != "degenerate"]
        if not usable:
            return None
        best = max(usable, key=lambda restart: restart.log_likelihood)
        model = GaussianHMM.from_parameters(best.parameters)
        for r in np.flatnonzero(fold):
            run = values[offsets[r] : offsets[r + 1]]
            per_run[r] = model.score(run) / len(run)
    return per_run


def _rows_of(runs: NDArray[np.int64], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in runs])
    return rows, np.diff(offsets)[runs]
