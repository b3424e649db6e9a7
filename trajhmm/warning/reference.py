"""The reference for warnings: an HMM of healthy runs, and a threshold calibrated on runs that it had not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun, Departures, causal_runs
from trajhmm.features.sequences import chosen_metrics
from trajhmm.hmm import Model, SelectionPoint
from trajhmm.hmm.parameters import CovarianceType, count_parameters
from trajhmm.hmm.rows.parallel import Progress, in_threads
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import Note, RunSet
from trajhmm.warning.calibration import SECTION, Calibration, RiskCurve
from trajhmm.warning.detectors import HMMSurprise, Reference
from trajhmm.warning.detectors.hmm import usual_states
from trajhmm.warning.evaluation.thresholds import Threshold, conformal_threshold
from trajhmm.warning.risk import DEFAULT_RISK, learn_risk, levels
from trajhmm.warning.runs import Kind, RunTruth, Trial

DEFAULT_BUDGET = 0.05
_FOLDS = 10
_FEWEST = 3


def fit_warning(
    runs: RunSet,
    *,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] | None = None,
    covariance: CovarianceType = "full",
    restarts: int = 4,
    iterations: int = 100,
    shrinkage: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
    false_alarm: float = DEFAULT_BUDGET,
    truth: Mapping[str, RunTruth] | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a reference for warnings to healthy runs.

    Each run is scored by a model that was fitted to others (in up to ten folds); the threshold is the score that at
    most the share ``false_alarm`` of them passes, by the conformal rule. The model that is kept is the one that had not
    seen the run which set the threshold: a new run is then held against that one by a model that knows neither, as in
    the jackknife+ (Barber et al. 2021). A model fitted to all would know it, be the less surprised by new runs, and
    alarm on three healthy ones where the budget allows five.

    Parameters
    ----------
    runs : logs of healthy runs; one with a non-finite value is none and is left out. Others only with ``truth``.
    metrics : names; by default all that are logged at every row, save outcomes, schedules and clocks.
    states : number of states; of several the one that explains runs best which were left out. By default one for every
        five runs, up to four.
    covariance, restarts, iterations, seed : of EM, see `trajhmm.GaussianHMM`.
    shrinkage : runs a metric that draw covariances to the diagonal, see `trajhmm.warning.detectors.HMMSurprise`.
    jobs : threads; the model does not depend on it.
    false_alarm : share of healthy runs that may ever alarm.
    truth : run to what became of it, where some of the runs collapsed or were perturbed: these are no reference, and
        teach the risk. By default all are healthy, and the risk is the one that comes with trajhmm.
    progress : called with (fits done, fits in all).

    Raises
    ------
    LogError
        Unknown metrics, or none that changes; ``truth`` does not name a run.
    FitError
        Fewer than three healthy runs, or a share that is none.
    """
    sound, ended = _told_apart(runs, truth)
    names, said = chosen_metrics(sound, metrics)
    healthy, notes = _healthy(causal_runs(sound, names))
    if len(healthy) < _FEWEST:
        raise FitError(
            f"a reference for warnings needs at least {_FEWEST} healthy runs, found {len(healthy)} "
            f"(19 for a false-alarm budget of 5%){f'; left out: {notes[0]}' if notes else ''}"
        )
    wanted = usual_states(len(healthy)) if states is None else states
    tried = [wanted] if isinstance(wanted, int) else sorted(set(wanted))
    if not tried or tried[0] < 1:
        raise FitError(f"states {tried}: expected whole numbers from 1 on")
    base = HMMSurprise(covariance=covariance, restarts=restarts, iterations=iterations, shrinkage=shrinkage, seed=seed)
    folds = np.random.default_rng([seed, 0xCA11]).permutation(len(healthy)) % min(_FOLDS, len(healthy))
    told = _counted(progress, len(tried) * (int(folds.max()) + 1))
    crossed = {k: _cross_fitted(replace(base, states=k), healthy, folds, jobs, told) for k in tried}
    best = max(tried, key=lambda k: crossed[k].explained.mean())
    threshold = conformal_threshold(crossed[best].maxima, false_alarm)
    setting = int(np.argmax(crossed[best].maxima == threshold.value))
    fitted = crossed[best].detectors[folds[setting]]
    text = f"sets the threshold, by its score at step {crossed[best].at[setting]}"
    notes.append(Note(kind="threshold", run=healthy[setting].run, text=text))
    risk = DEFAULT_RISK
    if ended is not None and truth is not None:
        labelled = tuple(
            Trial(run=run, truth=truth[run.run], condition="", group=run.run) for run in causal_runs(ended, names)
        )
        risk = learn_risk(departures_of(fitted), labelled, crossed[best].levels)
        notes.append(
            Note(
                kind="left-out",
                text=f"{risk.collapsed} runs that collapsed and {risk.survived} that were "
                "perturbed and lived are no reference; they teach the risk",
            )
        )
    return _model(fitted, best, crossed, healthy, threshold, risk, seed, (*said, *notes))


def departures_of(detector: HMMSurprise) -> Departures:
    """What a fitted detector knows of healthy runs.

    Raises
    ------
    FitError
        It was fitted on other features.
    """
    if not isinstance(detector.features_, Departures):
        raise FitError("a reference for warnings is made of departures at the same step")
    return detector.features_


def _told_apart(runs: RunSet, truth: Mapping[str, RunTruth] | None) -> tuple[RunSet, RunSet | None]:
    """Healthy runs, and those that were perturbed or collapsed; None if there is none."""
    if truth is None:
        return runs, None
    missing = [run for run in runs.runs if run not in truth]
    if missing:
        raise LogError(f"run {missing[0]}: the truth does not name it ({len(missing)} such runs)")
    healthy = [run for run in runs.runs if truth[run].kind is Kind.HEALTHY]
    if len(healthy) < _FEWEST:
        raise FitError(
            f"{len(healthy)} of {runs.n_runs} runs were never perturbed and did not collapse; at least "
            f"{_FEWEST} are needed (19 for a false-alarm budget of 5%)"
        )
    others = [run for run in runs.runs if truth[run].kind is not Kind.HEALTHY]
    return runs.select_runs(healthy), runs.select_runs(others) if others else None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Crossed:
    """Each run under a model fitted to others.

    Attributes
    ----------
    detectors : one a fold, fitted to the runs of the others.
    maxima, explained : (R,) largest score of each run, and its mean score, negative.
    at : (R,) step of the largest score of each run.
    levels : how far off each run is at each of its rows.
    """

    detectors: tuple[HMMSurprise, ...]
    maxima: NDArray[np.float64]
    explained: NDArray[np.float64]
    at: NDArray[np.int64]
    levels: tuple[NDArray[np.float64], ...]


def _cross_fitted(
    detector: HMMSurprise,
    healthy: Sequence[CausalRun],
    folds: NDArray[np.int64],
    jobs: int,
    told: Callable[[int], None],
) -> _Crossed:
    def fitted_without(fold: int) -> HMMSurprise:
        return detector.fit(Reference(healthy=tuple(run for run, f in zip(healthy, folds, strict=True) if f != fold)))

    detectors = in_threads(fitted_without, range(int(folds.max()) + 1), n_jobs=jobs)
    told(len(detectors))
    scores = [detectors[fold].scores(run) for run, fold in zip(healthy, folds, strict=True)]
    known = [departures_of(detectors[fold]) for fold in folds]
    return _Crossed(
        detectors=tuple(detectors),
        maxima=np.array([part.max() for part in scores]),
        explained=np.array([-part.mean() for part in scores]),
        at=np.array([run.steps[part.argmax()] for run, part in zip(healthy, scores, strict=True)]),
        levels=tuple(
            levels(departures.spreads(run.steps, run.columns(departures.metrics)))
            for run, departures in zip(healthy, known, strict=True)
        ),
    )


def _healthy(runs: Sequence[CausalRun]) -> tuple[tuple[CausalRun, ...], list[Note]]:
    kept = tuple(run for run in runs if run.n_rows and not run.events.any())
    notes = [Note(kind="left-out", run=run.run, text=_why_not_healthy(run)) for run in runs if run.events.any()]
    return kept, notes


def _why_not_healthy(run: CausalRun) -> str:
    row = int(np.argmax(run.events))
    broken = [metric for metric, logged in zip(run.metrics, run.logged[row], strict=True) if not logged]
    return f"{', '.join(broken)} not finite at step {run.steps[row]}, which is not healthy, run left out"


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    return told


def _model(
    fitted: HMMSurprise,
    best: int,
    crossed: dict[int, _Crossed],
    healthy: Sequence[CausalRun],
    threshold: Threshold,
    risk: RiskCurve,
    seed: int,
    notes: tuple[Note, ...],
) -> Model:
    hmm, features = fitted.hmm, departures_of(fitted)
    calibration = Calibration(
        threshold=threshold.value,
        budget=threshold.budget,
        attainable=threshold.attainable,
        n_runs=threshold.runs,
        span=fitted.span,
        risk=risk,
        maxima=tuple(np.sort(crossed[best].maxima).tolist()),
    )
    return Model(
        metrics=features.metrics,
        scaler=features,
        parameters=hmm.parameters,
        settings=hmm.settings,
        criterion="heldout",
        curve=tuple(_point(k, found, hmm.covariance_type, len(features.metrics)) for k, found in crossed.items()),
        status=hmm.status_,
        purpose="warning",
        seed=seed,
        n_runs=len(healthy),
        n_rows=sum(run.n_rows for run in healthy),
        versions=software_versions(),
        notes=notes,
        sections={SECTION: calibration.to_dict()},
    )


def _point(states: int, found: _Crossed, covariance: CovarianceType, n_metrics: int) -> SelectionPoint:
    return SelectionPoint(
        states=states,
        outcome="converged",
        log_likelihood=None,
        n_parameters=count_parameters(states, n_metrics, covariance),
        bic=None,
        aic=None,
        icl=None,
        heldout=float(found.explained.mean()),
        heldout_se=float(found.explained.std(ddof=1) / np.sqrt(len(found.explained))),
        restart_log_likelihoods=(),
        reached_best=0,
        agreement=None,
    )
