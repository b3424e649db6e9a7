"""Views fitted to healthy runs, each run seen by what had not seen it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun, LevelsAndInnovations
from trajhmm.features.events import is_loss
from trajhmm.features.samestep import agreement_of
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.parameters import CovarianceType, Parameters
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.warning.views.course import Course, fit_course
from trajhmm.warning.views.interface import Floats, View
from trajhmm.warning.views.losses import LossRise, LossSum
from trajhmm.warning.views.phases import BURN_IN, MEMORY, Phases
from trajhmm.warning.views.portfolio import Portfolio, Rarity, largest_scores, situation_of
from trajhmm.warning.views.surprise import Surprise, rows_of

# Percentiles of healthy values that are told beside an alarm.
_BAND = (0.05, 0.95)
_RUNS_A_STATE, _MOST_STATES = 2, 5
# With fewer folds each is searched by itself.
_FOLDS_TO_HALVE = 6
# Rows that EM sees at most, give or take one a run; and nats a row by which it still rises at the end.
MOST_ROWS, _TOLERANCE = 30_000, 1e-5


def usual_phases(n_runs: int) -> int:
    """States of an HMM of so many healthy runs: one for every two, up to five."""
    return min(max(n_runs // _RUNS_A_STATE, 1), _MOST_STATES)


def fit_surprise(
    runs: Sequence[CausalRun],
    taken: Sequence[NDArray[np.bool_]],
    *,
    states: int,
    covariance: CovarianceType,
    restarts: int,
    iterations: int,
    shrinkage: float,
    seed: int,
    start: Parameters | None = None,
) -> tuple[Surprise, GaussianHMM]:
    """Fit the HMM to healthy runs; with fewer states if EM degenerates with so many.

    Of many rows EM sees every so many, evenly: means and variances need no more, and probabilities of staying are
    those of so many steps, of which the root is taken.

    Parameters
    ----------
    runs, taken : healthy runs, and which of their rows count.
    states, covariance, restarts, iterations, seed : of the HMM and EM.
    shrinkage : runs a column with the whole data's variances, shared among the states: rows of a run are far from
        independent, so what is known of how metrics vary grows with runs, not rows.
    start : parameters to start from, once, in place of ``restarts``.

    Raises
    ------
    FitError
        It degenerates with one state, too, or no metric has a finite value.
    """
    features = LevelsAndInnovations.of(runs)
    stride = -(-sum(int(kept.sum()) for kept in taken) // MOST_ROWS)
    parts = []
    for run, kept in zip(runs, taken, strict=True):
        rows = rows_of(features, run, kept).at(slice(None, None, stride))
        parts.append(features.rows(rows.scaled, rows.moved))
    values, lengths = np.concatenate(parts), [len(part) for part in parts]
    # Of a metric that has no past in any of these rows anything may come: as far off as a usual one, either way.
    unknown = np.isnan(values).all(axis=0)
    values[:, unknown] = np.where(np.arange(len(values)) % 2, 1.0, -1.0)[:, np.newaxis]
    first = min(states, len(values)) if start is None else start.n_states
    for k in range(first, 0, -1):
        given = start if start is not None and start.n_states == k else None
        hmm = GaussianHMM(
            k,
            covariance_type=covariance,
            n_restarts=restarts if k > 1 and given is None else 1,
            n_iter=iterations,
            tol=_TOLERANCE,
            shrinkage=shrinkage * values.shape[1] * (len(values) / len(runs)) / k,
            start=given,
            random_state=seed,
        )
        try:
            hmm.fit(values, lengths)
        except FitError:
            if k == 1:
                raise
            continue
        hmm.take(replace(hmm.parameters, transmat=_root(hmm.parameters.transmat, stride)), hmm.status_)
        return Surprise(features, hmm.parameters), hmm
    raise FitError("the healthy runs hold no row")


def _root(transmat: Floats, steps: int) -> Floats:
    """(K, K) transitions of one step from those of several: the same next states, and as long a stay."""
    stay = np.diag(transmat) ** (1.0 / steps)
    leaves = 1.0 - np.diag(transmat)
    away = np.where(leaves > 0.0, (1.0 - stay) / np.where(leaves > 0.0, leaves, 1.0), 0.0)
    root: Floats = transmat * away[:, np.newaxis]
    np.fill_diagonal(root, stay)
    return root


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossFitted:
    """Each run under views fitted to others.

    Attributes
    ----------
    portfolios, hmms : one a fold, fitted to the runs of the others; what is rare is common to all.
    scores, rows : of each run its scores from the first row on that is judged, and the positions of these rows; what is
        rare is told by the other runs.
    explained : (R,) minus the mean surprise of each run.
    """

    portfolios: tuple[Portfolio, ...]
    hmms: tuple[GaussianHMM, ...]
    scores: tuple[NDArray[np.float64], ...]
    rows: tuple[NDArray[np.int64], ...]
    explained: NDArray[np.float64]

    @property
    def maxima(self) -> NDArray[np.float64]:
        """(R,) largest score of each run."""
        return np.array([one.max() for one in self.scores])

    def rows_above(self, run: int, level: float) -> NDArray[np.int64]:
        """Positions of the rows of a run, by its number, that score more than ``level``."""
        above: NDArray[np.int64] = self.rows[run][self.scores[run] > level]
        return above


def cross_fitted(
    healthy: Sequence[CausalRun],
    folds: NDArray[np.int64],
    *,
    jobs: int = 1,
    told: Callable[[int], None] = lambda _: None,
    **settings: Any,
) -> CrossFitted:
    """Fit views to the runs of all folds but one, for each fold, and score its runs with them.

    Parameters
    ----------
    folds : (R,) of each run.
    settings : of `fit_surprise`.

    Raises
    ------
    FitError
        A metric is logged by too few runs for each fold's others to hold one.
    """
    _check_spread(healthy, folds)
    phases = Phases.of(healthy)
    counting = [phases.counting(run.steps, run.logged, np.zeros(MEMORY)) for run in healthy]
    n_folds = int(folds.max()) + 1

    def fitted_to(some: NDArray[np.bool_], start: Parameters | None = None) -> tuple[Surprise, GaussianHMM]:
        kept = np.flatnonzero(some).tolist()
        return fit_surprise([healthy[i] for i in kept], [counting[i] for i in kept], **settings, start=start)

    # The search for an optimum is what takes long: made once in either half of the folds, from which the folds of the
    # other half climb on, so that nothing of a run is in what it is seen by.
    halves = [folds % 2 == 0, folds % 2 == 1]
    starts = [fitted_to(half)[0].parameters for half in halves] if n_folds >= _FOLDS_TO_HALVE else None
    told(1)

    def fitted_without(fold: int) -> tuple[Surprise, GaussianHMM]:
        return fitted_to(folds != fold, None if starts is None else starts[1 - fold % 2])

    fitted = in_threads(fitted_without, range(n_folds), n_jobs=jobs)
    told(len(fitted))
    agreement = agreement_of(healthy, fitted[0][0].features.scales)

    def others_without(fold: int) -> tuple[LossSum | LossRise | Course, ...]:
        features = fitted[fold][0].features
        losses = _loss_views(features)
        if situation_of(agreement) == "matched":  # there it finds nothing that the others do not, and costs time
            return losses
        kept = np.flatnonzero(folds != fold).tolist()
        some, taken = [healthy[i] for i in kept], [counting[i] for i in kept]
        return (*losses, fit_course(some, taken, features, most_rows=MOST_ROWS))

    others = in_threads(others_without, range(n_folds), n_jobs=jobs)
    views: list[tuple[View, ...]] = [(surprise, *more) for (surprise, _), more in zip(fitted, others, strict=True)]
    scores = []
    for fold, run, kept in zip(folds, healthy, counting, strict=True):
        rows = rows_of(fitted[fold][0].features, run, kept)
        scores.append(np.array([view.scores(rows, view.start()) for view in views[fold]]))
    at = [phases.at(run.steps[kept]) for run, kept in zip(healthy, counting, strict=True)]
    judged = [slice(min(BURN_IN, len(phase) - 1), None) for phase in at]
    largest = np.array(
        [
            largest_scores(score[:, part], phase[part], len(phases.begins))
            for score, phase, part in zip(scores, at, judged, strict=True)
        ]
    ).transpose(1, 0, 2)
    rarity = Rarity.of(largest)
    bands = _bands(healthy, phases)
    portfolios = tuple(
        Portfolio(surprise=surprise, others=more, phases=phases, rarity=rarity, bands=bands, agreement=agreement)
        for (surprise, _), more in zip(fitted, others, strict=True)
    )
    # A new run is no part of what tells how rare it is; nor is one of these.
    rare = [
        Rarity.of(np.delete(largest, r, axis=1)).apply(score[:, part], phase[part]).max(axis=0)
        for r, (score, phase, part) in enumerate(zip(scores, at, judged, strict=True))
    ]
    return CrossFitted(
        portfolios=portfolios,
        hmms=tuple(hmm for _, hmm in fitted),
        scores=tuple(rare),
        rows=tuple(np.flatnonzero(kept)[part] for kept, part in zip(counting, judged, strict=True)),
        explained=np.array([-score[0].mean() for score in scores]),
    )


def _check_spread(healthy: Sequence[CausalRun], folds: NDArray[np.int64]) -> None:
    """Refuse a metric that is in no run of some of the parts that are learnt from: all folds but one, half of them."""
    halved = int(folds.max()) + 1 >= _FOLDS_TO_HALVE
    for column, metric in enumerate(healthy[0].metrics):
        there = np.array([bool(np.isfinite(run.values[:, column]).any()) for run in healthy])
        held = set(folds[there].tolist())
        if len(held) < 2 or (halved and len({fold % 2 for fold in held}) < 2):
            raise FitError(
                f"{metric}: logged by {there.sum()} of {len(healthy)} healthy runs, and a reference tells what is "
                "usual by comparing many; leave it out with --metrics"
            )


def _bands(healthy: Sequence[CausalRun], phases: Phases) -> NDArray[np.float64]:
    """(B, D, 2) 5th and 95th percentile of the values of healthy runs in each phase; NaN where there are none."""
    at = [phases.at(run.steps) for run in healthy]
    bands = np.full((len(phases.begins), len(healthy[0].metrics), 2), np.nan)
    for phase in range(len(bands)):
        rows = [places == phase for places in at]
        for column in range(bands.shape[1]):  # one after the other, as all together are half of what there is
            here = np.concatenate([run.values[some, column] for run, some in zip(healthy, rows, strict=True)])
            if not np.isnan(here).all():
                bands[phase, column] = np.nanquantile(here, _BAND)
    return bands


def _loss_views(features: LevelsAndInnovations) -> tuple[LossSum | LossRise, ...]:
    losses = np.array([d for d, metric in enumerate(features.metrics) if is_loss(metric)], dtype=np.int64)
    return (LossSum(losses, features.floors), LossRise(losses, features.floors)) if len(losses) else ()
