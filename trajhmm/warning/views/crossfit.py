"""Views fitted to healthy runs, each run seen by what had not seen it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import CausalRun, LevelsAndInnovations
from trajhmm.features.events import is_loss
from trajhmm.features.samestep import agreement_of
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.warning.views.interface import View
from trajhmm.warning.views.losses import LossRise, LossSum
from trajhmm.warning.views.phases import BURN_IN, MEMORY, Phases
from trajhmm.warning.views.portfolio import VIEWS, Portfolio, Rarity, largest_scores
from trajhmm.warning.views.surprise import Surprise, fit_surprise, rows_of

# Percentiles of healthy values that are told beside an alarm.
_BAND = (0.05, 0.95)
_RUNS_A_STATE, _MOST_STATES = 2, 5


def usual_phases(n_runs: int) -> int:
    """States of an HMM of so many healthy runs: one for every two, up to five."""
    return min(max(n_runs // _RUNS_A_STATE, 1), _MOST_STATES)


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossFitted:
    """Each run under views fitted to others.

    Attributes
    ----------
    portfolios, hmms : one a fold, fitted to the runs of the others; the units are common to all.
    seen : each run by that of its own fold.
    explained : (R,) minus the mean surprise of each run.
    """

    portfolios: tuple[Portfolio, ...]
    hmms: tuple[GaussianHMM, ...]
    maxima: NDArray[np.float64]
    at: NDArray[np.int64]
    explained: NDArray[np.float64]


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
    """
    phases = Phases.of(healthy)
    counting = [phases.counting(run.steps, run.logged, np.zeros(MEMORY)) for run in healthy]

    # Searched once; each fold climbs from there to its own optimum, so that states mean the same in all of them.
    first, _ = fit_surprise(healthy, counting, **settings)
    told(1)

    def fitted_without(fold: int) -> tuple[Surprise, GaussianHMM]:
        others = np.flatnonzero(folds != fold).tolist()
        known = [healthy[i] for i in others], [counting[i] for i in others]
        return fit_surprise(*known, **settings, start=first.parameters)

    fitted = in_threads(fitted_without, range(int(folds.max()) + 1), n_jobs=jobs)
    told(len(fitted))
    others = [_loss_views(surprise.features) for surprise, _ in fitted]
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
    agreement = agreement_of(healthy, [first.features.scales(run.values) for run in healthy])
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
        maxima=np.array([one.max() for one in rare]),
        at=np.array(
            [np.flatnonzero(kept)[part][one.argmax()] for one, kept, part in zip(rare, counting, judged, strict=True)]
        ),
        explained=np.array([-score[0].mean() for score in scores]),
    )


def _bands(healthy: Sequence[CausalRun], phases: Phases) -> NDArray[np.float64]:
    """(B, D, 2) 5th and 95th percentile of the values of healthy runs in each phase; NaN where there are none."""
    at = [phases.at(run.steps) for run in healthy]
    bands = np.full((len(phases.begins), len(healthy[0].metrics), 2), np.nan)
    for phase in range(len(bands)):
        here = np.concatenate([run.values[places == phase] for run, places in zip(healthy, at, strict=True)])
        told = ~np.isnan(here).all(axis=0)
        if told.any():
            bands[phase, told] = np.nanquantile(here[:, told], _BAND, axis=0).T
    return bands


def _loss_views(features: LevelsAndInnovations) -> tuple[LossSum | LossRise, ...]:
    losses = np.array([d for d, metric in enumerate(features.metrics) if is_loss(metric)], dtype=np.int64)
    return tuple(view(losses, features.floors) for view in VIEWS.values()) if len(losses) else ()
