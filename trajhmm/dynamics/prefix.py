"""What the first rows of a run say of the time it still needs: the claim about the future.

Over a whole run, time spent in the states before convergence *is* the convergence time, so a regression on whole runs
explains little however well it fits. Here everything is held out by run: the model that decodes a run was fitted
without it, its scale comes from other runs, and its remaining time is predicted by a regression fitted without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.regression import bag_of_states
from trajhmm.errors import FitError
from trajhmm.features import Sequences
from trajhmm.hmm import GaussianHMM, Model
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.logs.runset import offsets_of

POINTS = 10
FEWEST_RUNS = 10
_FOLDS = 5
_RESTARTS = 2
_ITERATIONS = 50
_LOSSES = ("eval_loss", "train_loss", "val_loss", "validation_loss", "test_loss", "loss")
_PENALTIES = np.logspace(-3, 3, 13)


@dataclass(frozen=True, kw_only=True)
class PrefixPoint:
    """Leave-one-run-out R² of the remaining steps to convergence, from the first ``rows`` rows.

    Attributes
    ----------
    rows : m.
    step : mean step of row m.
    n_runs : runs that had not converged by then and did later.
    r2_states : from bag of states, current state and step of the first m rows.
    r2_step : from m (the step) alone.
    r2_loss : from the loss at row m alone; None if the logs hold no loss.
    """

    rows: int
    step: float
    n_runs: int
    r2_states: float
    r2_step: float
    r2_loss: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RawRows:
    """Unscaled rows beside `Sequences`: (N, D) ``values`` of the model's metrics, and the (N,) ``loss`` if any."""

    values: NDArray[np.float64]
    loss: NDArray[np.float64] | None


def loss_name(metrics: tuple[str, ...]) -> str | None:
    """The metric to take as the loss."""
    return next((name for name in _LOSSES if name in metrics), None)


def prefix_curve(
    model: Model, sequences: Sequences, raw: RawRows, convergence: Convergence, *, seed: int = 0, jobs: int = 1
) -> tuple[PrefixPoint, ...]:
    """Predict the remaining time to convergence from the first m rows, for several m.

    Five folds of runs: the HMM (with the model's number of states) is fitted without the fold; rows of the fold are
    scaled by the mean and spread that the other runs have on average over their whole length, and filtered, so that
    nothing of their future is used. The regression (ridge, penalty by leave-one-out on the training runs) leaves out
    one run at a time.

    Returns
    -------
    Points at up to ten m, while at least ten runs are left; empty if never.
    """
    n_runs = sequences.n_runs
    if not _grid(sequences, convergence):
        return ()
    order = np.random.default_rng([seed, 0x9EF1]).permutation(n_runs)
    folds = [np.sort(order[fold::_FOLDS]) for fold in range(_FOLDS)]

    def held_out(held: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        others = np.setdiff1d(np.arange(n_runs), held)
        return _filter_held_out(model, sequences, raw.values, others, held, seed)

    try:
        filtered = in_threads(held_out, folds, n_jobs=jobs)
    except FitError:
        return ()
    probs = np.full((sequences.n_rows, model.n_states), np.nan)
    for held, results in zip(folds, filtered, strict=True):
        for r, result in zip(held, results, strict=True):
            probs[sequences.offsets[r] : sequences.offsets[r + 1]] = result
    states = probs.argmax(axis=1)
    points = []
    for m in _grid(sequences, convergence):
        point = _point(m, states, model.n_states, sequences, raw.loss, convergence)
        if point is not None:
            points.append(point)
    return tuple(points)


def _filter_held_out(
    model: Model,
    sequences: Sequences,
    values: NDArray[np.float64],
    others: NDArray[np.int64],
    held: NDArray[np.int64],
    seed: int,
) -> list[NDArray[np.float64]]:
    """Filtered probabilities of each held-out run, by a model and a scale that come from the others."""
    offsets = sequences.offsets
    train_rows = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in others])
    lengths = sequences.lengths[others]
    hmm = GaussianHMM(
        model.n_states,
        covariance_type=model.hmm.covariance_type,
        n_restarts=_RESTARTS,
        n_iter=_ITERATIONS,
        random_state=seed,
    ).fit(sequences.values[train_rows], lengths)
    starts = np.cumsum(lengths) - lengths
    raw = values[train_rows]
    mean = np.add.reduceat(raw, starts, axis=0) / lengths[:, np.newaxis]
    spread = np.sqrt(np.add.reduceat((raw - np.repeat(mean, lengths, axis=0)) ** 2, starts, axis=0) / lengths[:, None])
    centre, scale = mean.mean(axis=0), spread.mean(axis=0)
    results = []
    for r in held:
        run = (values[offsets[r] : offsets[r + 1]] - centre) / np.where(scale > 0, scale, 1.0)
        log_probs, _ = filter_rows(np.ascontiguousarray(run), offsets_of(np.array([len(run)])), hmm.parameters)
        results.append(np.exp(log_probs))
    return results


def _grid(sequences: Sequences, convergence: Convergence) -> list[int]:
    """Numbers of rows m: evenly spaced until only `FEWEST_RUNS` runs have yet to converge."""
    rows_before = [
        int((sequences.steps[rows] < convergence.steps[r]).sum())
        for r, (_, rows) in enumerate(sequences.slices())
        if convergence.converged[r]
    ]
    if len(rows_before) < FEWEST_RUNS:
        return []
    last = sorted(rows_before, reverse=True)[FEWEST_RUNS - 1]
    return sorted({int(m) for m in np.linspace(1, last, POINTS + 1)[1:] if m >= 2})


def _point(
    m: int,
    states: NDArray[np.int64],
    n_states: int,
    sequences: Sequences,
    loss: NDArray[np.float64] | None,
    convergence: Convergence,
) -> PrefixPoint | None:
    offsets, lengths = sequences.offsets, sequences.lengths
    last = offsets[:-1] + np.minimum(m, lengths) - 1
    at_risk = convergence.converged & (lengths >= m) & (sequences.steps[last] < convergence.steps)
    chosen = np.flatnonzero(at_risk)
    if len(chosen) < FEWEST_RUNS:
        return None
    step = sequences.steps[last[chosen]].astype(np.float64)
    remaining = convergence.steps[chosen] - step
    if np.ptp(remaining) == 0:
        return None
    rows = np.concatenate([np.arange(offsets[r], offsets[r] + m) for r in chosen])
    bags = bag_of_states(states[rows], np.full(len(chosen), m), n_states)
    current = np.eye(n_states)[states[last[chosen]]]
    r2_loss = None
    if loss is not None and np.isfinite(loss[last[chosen]]).all():
        r2_loss = _held_out_r2(loss[last[chosen], np.newaxis], remaining)
    return PrefixPoint(
        rows=m,
        step=float(step.mean()),
        n_runs=len(chosen),
        r2_states=_held_out_r2(np.column_stack([bags, current, step]), remaining),
        r2_step=_held_out_r2(step[:, np.newaxis], remaining),
        r2_loss=r2_loss,
    )


def _held_out_r2(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Leave-one-out R² of a ridge regression, against predicting the mean of the others."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    errors = spread = 0.0
    for left_out in range(len(y)):
        others = np.arange(len(y)) != left_out
        regression = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES)).fit(x[others], y[others])
        errors += float((y[left_out] - regression.predict(x[[left_out]])[0]) ** 2)
        spread += float((y[left_out] - y[others].mean()) ** 2)
    return 1 - errors / spread
