"""What the first rows of a run say of the time it still needs: the claim about the future.

Over a whole run, time spent in the states before convergence *is* the convergence time, so a regression on whole runs
explains little however well it fits. Here everything is held out by run: scale, hidden Markov model and regression that
predict a run's remaining time come from other runs alone; and of a run, held out or not, they are shown its first rows
and nothing after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.again import PrefixPoint, RawRows
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.errors import FitError
from trajhmm.features import PooledScaler, Scaling, Sequences
from trajhmm.features.pooled import learn_scaler
from trajhmm.hmm import Model
from trajhmm.hmm.inference.levels import whitened
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.inference.shifts import possible, without_shifts
from trajhmm.hmm.learning.autoregression import learn_autoregression
from trajhmm.hmm.learning.fitting import Data, Job, run_jobs
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.parallel import Progress, in_threads
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.settings import Settings
from trajhmm.logs.runset import offsets_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS = 10
FEWEST_RUNS = 10
_FOLDS = 5
# In squares of shares summed over runs, rising; the last leaves nothing but the mean.
_PENALTIES = np.append(np.logspace(-4, 3, 22), np.inf)
_LEAST_FREE = 1e-9
# Predictions leave the range of what was seen by at most this share of it.
_MARGIN = 0.25


def prefix_curve(
    model: Model,
    scaled: Sequences,
    raw: RawRows,
    convergence: Convergence,
    *,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[PrefixPoint, ...]:
    """Predict the remaining time to convergence from the first m rows, for several m.

    Five folds of runs, those that converge dealt out by when they do, so that no fold holds all of one kind. Without
    each fold in turn a scale is learnt, an HMM is fitted with the model's settings and number of states, and a ridge
    regression (penalty by leave-one-out) from what is known of the first m rows to the time that remains; it predicts
    the runs of the fold. No numbers of states are compared between fits, so none have to be matched.

    Known of a run are the filtered probabilities of its first m rows, under a model with shifts less the shift that
    these rows alone let on. z-scores within runs see the future: a model on these is fitted again on one scale for all
    runs, with shifts, which are what a run can know of its own level at any time.

    Parameters
    ----------
    model : whose settings and number of states are asked about.
    scaled : its `Model.scaled` rows: whose lengths and steps these are.
    raw : the same rows as logged.
    convergence : of the same runs.
    seed : of folds and fits.
    jobs : threads; the result does not depend on it.
    progress : called with (folds done, folds in all).

    Returns
    -------
    Points at up to ten m, while at least ten runs are left; empty if never.
    """
    grid = _grid(scaled, convergence)
    if not grid:
        return ()
    held = _folds(convergence, seed)

    def predictions(fold: int) -> list[Floats]:
        view = _View.without(held == fold, model, raw.values, scaled.lengths, seed)
        return [_predicted(view, m, scaled, raw, convergence) for m in grid]

    try:
        parts = in_threads(predictions, range(_FOLDS), n_jobs=jobs, progress=progress)
    except FitError:
        return ()
    points = []
    for index, m in enumerate(grid):
        # A run is predicted by the fold that left it out, and NaN in the others.
        predicted = np.array([part[index] for part in parts])[held, :, np.arange(len(held))]
        point = _point(m, predicted, scaled, convergence)
        if point is not None:
            points.append(point)
    return tuple(points)


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What some runs teach: a scale and an HMM.

    Attributes
    ----------
    held : (R,) bool, the runs that it was made without.
    scaler, parameters : from the others.
    """

    held: NDArray[np.bool_]
    scaler: PooledScaler
    parameters: Parameters

    @classmethod
    def without(cls, held: NDArray[np.bool_], model: Model, values: Floats, lengths: Ints, seed: int) -> _View:
        """Learn from the (N, D) ``values`` of runs with (R,) ``lengths``, those that are ``held`` left out.

        Raises
        ------
        FitError
            Too few rows, or all fits degenerate.
        """
        settings = _settings(model, seed)
        rows, others = values[np.repeat(~held, lengths)], lengths[~held]
        scaling: Scaling = "mixed" if settings.shifts else "own-start" if model.scaler.kind == "own-start" else "shared"
        scaler = learn_scaler(rows, others, scaling)
        source = InMemory.of(np.ascontiguousarray(scaler.transform(rows, others)), offsets_of(others))
        if model.parameters.autoregression is not None:
            learnt = learn_autoregression(source, settings).parameters
            return cls(held=held, scaler=scaler, parameters=possible(learnt, settings.topology))
        job = Job(settings=settings, data=Data(source=source, weights=np.ones(len(others))), finals=1)
        fit = job.choose(run_jobs([job])[0])
        return cls(held=held, scaler=scaler, parameters=possible(fit.parameters, settings.topology))

    def filtered(self, prefixes: Floats) -> Floats:
        """(n, m, K) p(s_t = k | z_1…t, the shift that rows 1…m let on) from (n, m, D) first rows as logged."""
        n, m, d = prefixes.shape
        lengths = np.full(n, m, dtype=np.int64)
        offsets = offsets_of(lengths)
        rows = self.scaler.transform(prefixes.reshape(n * m, d), lengths)
        rows = whitened(rows, offsets, self.parameters.autoregression)
        rows = without_shifts(rows, offsets, self.parameters)
        return np.exp(filter_rows(rows, offsets, self.parameters)[0]).reshape(n, m, -1)


def _settings(model: Model, seed: int) -> Settings:
    return replace(
        model.settings.anew(model.n_states, seed),
        engine="native",
        search="wide",
        shifts=model.settings.shifts or model.scaler.kind == "per-run",
    )


def _folds(convergence: Convergence, seed: int) -> Ints:
    """(R,) fold of each run; runs that converge one after the other are in different folds."""
    rng = np.random.default_rng([seed, 0x9EF1])
    order = np.lexsort((convergence.steps, ~convergence.converged))
    blocks = -(-len(order) // _FOLDS)
    fold = np.concatenate([rng.permutation(_FOLDS) for _ in range(blocks)])[: len(order)]
    found = np.empty(len(order), dtype=np.int64)
    found[order] = fold
    return found


def _grid(scaled: Sequences, convergence: Convergence) -> list[int]:
    """Numbers of rows m: evenly spaced until only `FEWEST_RUNS` runs have yet to converge."""
    rows_before = [
        int((scaled.steps[rows] < convergence.steps[r]).sum())
        for r, (_, rows) in enumerate(scaled.slices())
        if convergence.converged[r]
    ]
    if len(rows_before) < FEWEST_RUNS:
        return []
    last = sorted(rows_before, reverse=True)[FEWEST_RUNS - 1]
    return sorted({int(m) for m in np.linspace(1, last, POINTS + 1)[1:] if m >= 2})


@dataclass(frozen=True, kw_only=True, eq=False)
class _AtRisk:
    """Runs that have not converged by row m and do later.

    Attributes
    ----------
    runs : (n,) which.
    first, last : (n,) their rows 1 and m.
    step, remaining : (n,) step of row m, and steps from there to convergence.
    """

    runs: Ints
    first: Ints
    last: Ints
    step: Floats
    remaining: Floats

    @classmethod
    def at(cls, m: int, scaled: Sequences, convergence: Convergence) -> _AtRisk:
        first = scaled.offsets[:-1]
        last = first + np.minimum(m, scaled.lengths) - 1
        at_risk = convergence.converged & (scaled.lengths >= m) & (scaled.steps[last] < convergence.steps)
        runs = np.flatnonzero(at_risk)
        step = scaled.steps[last[runs]].astype(np.float64)
        return cls(runs=runs, first=first[runs], last=last[runs], step=step, remaining=convergence.steps[runs] - step)


def _predicted(view: _View, m: int, scaled: Sequences, raw: RawRows, convergence: Convergence) -> Floats:
    """(4, R) remaining time of the runs held out, NaN elsewhere: by states, by step, by loss, and by the mean."""
    risk = _AtRisk.at(m, scaled, convergence)
    predicted = np.full((4, scaled.n_runs), np.nan)
    test = view.held[risk.runs]
    if not test.any() or test.all():
        return predicted
    known = view.filtered(raw.values[risk.first[:, np.newaxis] + np.arange(m)])
    step = _standardised(risk.step, ~test)
    # Shares are left on their own scale: a state that the others hardly visit must not weigh in as if it varied.
    features = [np.column_stack([known.mean(axis=1), known[:, -1], step]), step]
    if raw.loss is not None and np.isfinite(raw.loss[risk.last]).all():
        features.append(_standardised(raw.loss[risk.last], ~test))
    held = risk.runs[test]
    for row, x in enumerate(features):
        predicted[row, held] = _ridge(x[~test], risk.remaining[~test], x[test])
    predicted[3, held] = risk.remaining[~test].mean()
    return predicted


def _standardised(x: Floats, train: NDArray[np.bool_]) -> Floats:
    """(n, 1) of (n,) numbers, less the mean and over the spread of those to ``train`` on; 0 if these do not vary."""
    centred = x - x[train].mean()
    spread = x[train].std()
    scaled: Floats = centred / spread if spread > 0 else np.zeros_like(centred)
    return scaled[:, np.newaxis]


def _ridge(x: Floats, y: Floats, new: Floats) -> Floats:
    """(n,) predictions for ``new`` (n, p) by a ridge regression of (k,) ``y`` on ``x`` (k, p), the mean among them.

    The largest penalty is taken whose leave-one-out error is within a standard error of the least (Breiman, Friedman,
    Olshen and Stone 1984): the least itself is, with ten runs, as often chance as not. No prediction is far outside
    the range of ``y``, or one run that is unlike all others would decide everything.
    """
    centre, mean = x.mean(axis=0), y.mean()
    u, size, v = np.linalg.svd(x - centre, full_matrices=False)
    along = u.T @ (y - mean)
    shrunk = size**2 / (size**2 + _PENALTIES[:, np.newaxis])
    leverage = shrunk @ (u**2).T + 1 / len(y)
    errors = ((y - mean - (shrunk * along) @ u.T) / np.maximum(1 - leverage, _LEAST_FREE)) ** 2
    score = errors.mean(axis=1)
    best = int(score.argmin())
    allowed = score[best] + errors[best].std(ddof=1) / np.sqrt(len(y))
    chosen = int(np.flatnonzero(score <= allowed)[-1])
    coefficients = np.divide(shrunk[chosen] * along, size, out=np.zeros_like(size), where=size > 0)
    margin = _MARGIN * np.ptp(y)
    predicted = mean + (new - centre) @ (coefficients @ v)
    within: Floats = np.clip(predicted, y.min() - margin, y.max() + margin)
    return within


def _point(m: int, predicted: Floats, scaled: Sequences, convergence: Convergence) -> PrefixPoint | None:
    """Compare (R, 4) predictions with what happened; None where there are too few runs or all need as long."""
    risk = _AtRisk.at(m, scaled, convergence)
    if len(risk.runs) < FEWEST_RUNS or np.ptp(risk.remaining) == 0:
        return None
    error = (risk.remaining[:, np.newaxis] - predicted[risk.runs]) ** 2
    r2: Sequence[float] = (1 - error.sum(axis=0) / error[:, 3].sum()).tolist()
    return PrefixPoint(
        rows=m,
        step=float(risk.step.mean()),
        n_runs=len(risk.runs),
        r2_states=r2[0],
        r2_step=r2[1],
        r2_loss=None if np.isnan(r2[2]) else r2[2],
    )
