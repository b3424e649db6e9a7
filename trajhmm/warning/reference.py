"""The reference for warnings: an HMM of healthy runs, and a threshold calibrated on runs that it had not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun, causal_runs
from trajhmm.features.sequences import chosen_metrics
from trajhmm.hmm import GaussianHMM, Model, SelectionPoint
from trajhmm.hmm.parameters import CovarianceType, count_parameters
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import Note, RunSet
from trajhmm.naming import called_seed
from trajhmm.warning.calibration import PORTFOLIO, SECTION, WAIT, Calibration, RiskCurve
from trajhmm.warning.evaluation.thresholds import Threshold, conformal_threshold
from trajhmm.warning.onmap.reading import check_map, read_forwards
from trajhmm.warning.onmap.states import MAP
from trajhmm.warning.risk import DEFAULT_RISK, learn_risk
from trajhmm.warning.runs import Kind, RunTruth, Trial
from trajhmm.warning.views.crossfit import CrossFitted, cross_fitted, usual_phases
from trajhmm.warning.views.phases import BURN_IN
from trajhmm.warning.views.portfolio import Portfolio

DEFAULT_BUDGET = 0.05
_FOLDS = 10
# The largest score of one run is far above those of all others from so many times the next largest on; rows are its
# first ones within this share of them.
_FAR_ABOVE, _START = 3.0, 1 / 3
_FEWEST = 3


def fit_warning(
    runs: RunSet,
    *,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] | None = None,
    covariance: CovarianceType = "diag",
    restarts: int = 4,
    iterations: int = 100,
    shrinkage: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
    false_alarm: float = DEFAULT_BUDGET,
    truth: Mapping[str, RunTruth] | None = None,
    map: Model | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a reference for warnings to healthy runs.

    Each run is scored by a model that was fitted to others (in up to ten folds); the threshold is the score that at
    most the share ``false_alarm`` of them passes, by the conformal rule. The model that is kept is the one that had not
    seen the run which set the threshold: a new run is then held against that one by a model that knows neither, as in
    the jackknife+ (Barber et al. 2021). A model fitted to all would know it, be the less surprised by new runs, and
    alarm on three healthy ones where the budget allows five. With too few runs to promise the budget, the threshold is
    no lower than the score that so small a share would reach, see `trajhmm.warning.views.portfolio.Rarity`.

    Parameters
    ----------
    runs : logs of healthy runs; one with a non-finite value is none and is left out. Others only with ``truth``.
    metrics : names; by default all that are logged at every row, save outcomes, schedules and clocks.
    states : number of phases of training; of several the one that explains runs best which were left out. By default
        one for every two runs, up to five.
    covariance, restarts, iterations, seed : of EM, see `trajhmm.GaussianHMM`.
    shrinkage : see `trajhmm.warning.views.surprise.fit_surprise`.
    jobs : threads; the model does not depend on it.
    false_alarm : share of healthy runs that may ever alarm.
    truth : run to what became of it, where some of the runs collapsed or were perturbed: these are no reference, and
        teach the risk. By default all are healthy, and the risk is the one that comes with trajhmm.
    map : a map of such runs, whose states are shown beside scores and alarms in place of phases of training. It is
        read row by row, see `trajhmm.hmm.inference.forwards`, and changes no score.
    progress : called with (fits done, fits in all).

    Raises
    ------
    LogError
        Unknown metrics, or none that changes; ``truth`` does not name a run.
    FitError
        Fewer than three healthy runs, a metric that too few of them log, or a share that is none; a map of metrics that
        are not watched, or one that sees whole runs (``per-run``).
    """
    sound, ended = _told_apart(runs, truth)
    names, said = chosen_metrics(sound, metrics)
    if map is not None:
        check_map(map, names, sound.metrics)
    healthy, notes = _healthy(causal_runs(sound, names))
    if len(healthy) < _FEWEST:
        raise FitError(
            f"a reference for warnings needs at least {_FEWEST} healthy runs, found {len(healthy)} "
            f"(19 for a false-alarm budget of 5%){f'; left out: {notes[0]}' if notes else ''}"
        )
    wanted = usual_phases(len(healthy)) if states is None else states
    tried = [int(wanted)] if isinstance(wanted, int | Integral) else sorted({int(k) for k in wanted})
    if not tried or tried[0] < 1:
        raise FitError(f"states {tried}: expected whole numbers from 1 on")
    if tried[-1] > len(healthy):
        raise FitError(
            f"{tried[-1]} phases of training need at least {tried[-1]} healthy runs, found {len(healthy)}; ask for "
            "fewer with --states"
        )
    settings: dict[str, Any] = {
        "covariance": covariance,
        "restarts": restarts,
        "iterations": iterations,
        "shrinkage": shrinkage,
    }
    configurations = _configurations(sound, [run.run for run in healthy])
    folds = _folds(configurations, np.random.default_rng([seed, 0xCA11]))
    told = _counted(progress, len(tried) * (int(folds.max()) + 2))
    crossed = {k: cross_fitted(healthy, folds, jobs=jobs, told=told, states=k, seed=seed, **settings) for k in tried}
    best = max(tried, key=lambda k: crossed[k].explained.mean())
    threshold = conformal_threshold(crossed[best].maxima, false_alarm)
    setting = int(np.argmax(crossed[best].maxima == threshold.value))
    fitted = crossed[best].portfolios[folds[setting]]
    row = crossed[best].rows[setting][crossed[best].scores[setting].argmax()]
    view = fitted.views[fitted.scores(healthy[setting]).view[row]].name
    step = healthy[setting].steps[row]
    text = f"sets the threshold, by its score at step {step} under a model without it (view: {view})"
    least = -float(np.log(false_alarm))
    if not threshold.within_budget and threshold.value < least:
        # A score says how few healthy runs get as far, also beyond the few that there are.
        text = f"comes nearest the threshold, at step {healthy[setting].steps[row]} (view: {view})"
        threshold = replace(threshold, value=least)
    notes.append(Note(kind="threshold", run=healthy[setting].run, text=text))
    if threshold.value == crossed[best].maxima[setting]:
        notes += _alone_at_the_top(healthy[setting], crossed[best], setting, least)
    if fitted.surprise.parameters.n_states < best:
        few = fitted.surprise.parameters.n_states
        notes.append(Note(kind="phases", text=f"{few} phases of training, not {best}: fits of more of them degenerate"))
    notes.append(Note(kind="situation", text=_situation(fitted, configurations)))
    states_of_map = None if map is None else read_forwards(map, sound, healthy, fitted.phases)
    if states_of_map is not None:
        notes.append(Note(kind="map", text=str(states_of_map)))
    risk = DEFAULT_RISK
    if ended is not None and truth is not None:
        labelled = tuple(
            Trial(run=run, truth=truth[run.run], condition="", group=run.run) for run in causal_runs(ended, names)
        )
        risk = learn_risk(fitted, labelled, threshold.value)
        collapsed = sum(trial.truth.collapse_step is not None for trial in labelled)
        notes.append(
            Note(
                kind="left-out",
                text=f"{collapsed} runs that collapsed and {len(labelled) - collapsed} that were perturbed and lived "
                f"are no reference; {risk.collapsed} and {risk.survived}, which alarm and live on for {WAIT} rows, "
                "teach the risk",
            )
        )
    hmm = crossed[best].hmms[folds[setting]]
    model = _model(fitted, hmm, best, crossed, healthy, threshold, risk, seed, (*said, *notes))
    if states_of_map is None:
        return model
    return replace(model, sections={**model.sections, MAP: states_of_map.to_dict()})


def _alone_at_the_top(run: CausalRun, crossed: CrossFitted, number: int, least: float) -> Iterator[Note]:
    """What to do where one run sets the threshold, far above those below it, as that hides what is as bad.

    Parameters
    ----------
    run, number : that set it, and its place among all.
    least : score that the budget alone would have.
    """
    largest = crossed.maxima[number]
    below = crossed.maxima[crossed.maxima < largest]
    others = float(below.max()) if len(below) else largest
    if largest <= max(_FAR_ABOVE * others, least):
        return
    # Without its first rows it is to be like the others, or at least no longer far above them.
    lasts = (crossed.rows_above(number, max(level, least))[-1] for level in (others, _FAR_ABOVE * others))
    last = next((row for row in lasts if row < _START * run.n_rows), None)
    if last is not None:
        what = f"only its first rows do; if runs start so, leave these out: --where 'step > {run.steps[last]}'"
    else:
        what = f"if it is not healthy, leave it out: --where \"run != '{run.run}'\""
    text = f"gets to {largest:.4g}, the next below it to {others:.4g}: collapses in between are missed; {what}"
    yield Note(kind="alone", run=run.run, text=text)


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


def _situation(portfolio: Portfolio, configurations: Sequence[int]) -> str:
    """What the healthy runs have in common, and what new runs are looked at by."""
    alike = "of one configuration" if portfolio.situation == "matched" else "of several configurations"
    n = max(configurations) + 1
    told = f", by their attributes {n}, each held out whole" if n >= _FEWEST else ""
    views = ", ".join(view.name for view in portfolio.views)
    return (
        f"{portfolio.situation}: at the same step the healthy runs agree to {portfolio.agreement:.2f}, as runs {alike} "
        f"do{told}; views: {views}"
    )


def _configurations(runs: RunSet, names: Sequence[str]) -> list[int]:
    """Number of the configuration of each run: runs are of one that differ in no attribute but a seed."""
    attributes = runs.attributes.loc[list(names)]
    told = [column for column in attributes.columns if not called_seed(str(column))]
    rows = [tuple(row) for row in attributes[told].astype(str).to_numpy()]  # also where there are no columns
    known = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    return [known[row] for row in rows]


def _folds(configurations: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """(R,) fold of each run; whole configurations are left out together where there are three or more."""
    n = max(configurations) + 1
    if n < _FEWEST:
        return rng.permutation(len(configurations)) % min(_FOLDS, len(configurations))
    fold_of: NDArray[np.int64] = (rng.permutation(n) % min(_FOLDS, n))[np.asarray(configurations)]
    return fold_of


def _healthy(runs: Sequence[CausalRun]) -> tuple[tuple[CausalRun, ...], list[Note]]:
    reasons = {run.run: reason for run in runs if (reason := _why_not_healthy(run)) is not None}
    notes = [Note(kind="left-out", run=run, text=f"{reason}, run left out") for run, reason in reasons.items()]
    return tuple(run for run in runs if run.run not in reasons), notes


def _why_not_healthy(run: CausalRun) -> str | None:
    if not run.events.any():
        rows = int(np.logical_or.reduce(run.logged, axis=1).sum())
        return None if rows > BURN_IN else f"{rows} rows with a metric; a run is judged from row {BURN_IN + 1} on"
    row = int(np.argmax(run.events))
    broken = [metric for metric, logged in zip(run.metrics, run.logged[row], strict=True) if not logged]
    return f"{', '.join(broken)} not finite at step {run.steps[row]}, which is not healthy"


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    return told


def _model(
    fitted: Portfolio,
    hmm: GaussianHMM,
    best: int,
    crossed: dict[int, CrossFitted],
    healthy: Sequence[CausalRun],
    threshold: Threshold,
    risk: RiskCurve,
    seed: int,
    notes: tuple[Note, ...],
) -> Model:
    features = fitted.features
    calibration = Calibration(
        threshold=threshold.value,
        budget=threshold.budget,
        attainable=threshold.attainable,
        n_runs=threshold.runs,
        risk=risk,
        maxima=tuple(np.sort(crossed[best].maxima).tolist()),
    )
    return Model(
        metrics=features.metrics,
        scaler=features,
        parameters=fitted.surprise.parameters,
        settings=hmm.settings,
        criterion="heldout",
        curve=tuple(_point(k, found, hmm.covariance_type, features.n_features) for k, found in crossed.items()),
        status=hmm.status_,
        purpose="warning",
        seed=seed,
        n_runs=len(healthy),
        n_rows=sum(run.n_rows for run in healthy),
        versions=software_versions(),
        notes=notes,
        sections={SECTION: calibration.to_dict(), PORTFOLIO: fitted.to_dict()},
    )


def _point(states: int, found: CrossFitted, covariance: CovarianceType, n_columns: int) -> SelectionPoint:
    return SelectionPoint(
        states=states,
        outcome="converged",
        log_likelihood=None,
        n_parameters=count_parameters(states, n_columns, covariance),
        bic=None,
        aic=None,
        icl=None,
        heldout=float(found.explained.mean()),
        heldout_se=float(found.explained.std(ddof=1) / np.sqrt(len(found.explained))),
        restart_log_likelihoods=(),
        reached_best=0,
        agreement=None,
    )
