"""One run as it was judged, row by row: what figures and reports of an alarm are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.features import causal_runs
from trajhmm.hmm import Model
from trajhmm.hmm.model import with_metrics
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of
from trajhmm.warning.calibration import portfolio_of
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.runs import RunTruth
from trajhmm.warning.tracking import Alarm, Scorer
from trajhmm.warning.views.alone import Alone
from trajhmm.warning.views.portfolio import Portfolio

Floats = NDArray[np.float64]

# Without a model what was usual is taken so often: more often than a figure can show.
_MOMENTS = 400


def _contributions(one: RunSet, portfolio: Portfolio) -> Floats:
    """(T, D) what each metric adds to the surprise at each row; a row that does not count repeats the one before."""
    (run,) = causal_runs(one, portfolio.features.metrics)
    memory = portfolio.start()
    rows, kept = portfolio.rows(run.steps, run.values, run.logged, memory)
    shares = np.vstack([np.zeros(len(run.metrics)), portfolio.surprise.shares(rows, memory.views[0])])
    return shares[np.searchsorted(kept, np.arange(run.n_rows), side="right")]


def _by_its_own_past(one: RunSet, alone: Alone, alarm: Alarm | None) -> tuple[Floats, Floats]:
    """(T, D) what each metric adds to a view's score, at most, and (T, D, 2) where it usually was before each row.

    A row that does not count repeats the contributions of the one before. In a long run what was usual is that of some
    rows before, save at the alarm; from there on it stays what it was, as the run's own past is what rings.
    """
    (run,) = causal_runs(one, alone.metrics)
    kept = alone.rows(run.steps, run.values, run.logged, alone.start())[1]
    of_views, _ = alone.shares(run.steps, run.values, run.logged, alone.start())
    of_limits = (of_views / alone.limits[:, np.newaxis, np.newaxis]).max(axis=0)
    shares = np.vstack([np.zeros(len(run.metrics)), of_limits])
    contributions = shares[np.searchsorted(kept, np.arange(run.n_rows), side="right")]
    moments = np.linspace(0, run.n_rows, min(run.n_rows, _MOMENTS) + 1).astype(np.int64)
    if alarm is not None:
        moments = np.union1d(moments, np.searchsorted(run.steps, alarm.step))
    names = [view.name for view in alone.views]
    rang_by = None if alarm is None or not alarm.drivers else alarm.drivers[0].view
    view = names.index(rang_by) if rang_by in names else None
    usual, memory = np.empty((run.n_rows, len(run.metrics), 2)), alone.start()
    for begin, end in zip(moments[:-1].tolist(), moments[1:].tolist(), strict=True):
        usual[begin:end] = alone.band(int(run.steps[begin]), memory, view)
        alone.advance(run.steps[begin:end], run.values[begin:end], run.logged[begin:end], memory)
    if alarm is not None:
        rang = int(np.searchsorted(run.steps, alarm.step))
        usual[rang:] = usual[rang]
    return contributions, usual


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """A run's T rows as they were judged: under a model for warning, or by its own past.

    Attributes
    ----------
    run : its name.
    metrics : D names.
    steps : (T,)
    values : (T, D) as logged; NaN where not.
    contributions : (T, D) what each metric adds to the surprise of a row, in nats; without a model to the score of any
        view, as a share of its limit.
    score, risk : (T,); the score is infinite where a value was not finite.
    states : (T,) likeliest state given the rows so far, see `Scored`; -1 where that is not known.
    n_states : number of states, K; 0 without a model.
    threshold : of the score.
    alarm : the run's; None without one.
    truth : what became of the run, as far as it is known.
    usual : (T, D, 2) between which values nine of ten healthy rows were in that phase of training; without a model,
        see `trajhmm.warning.views.alone.Alone.band`. NaN, or None, if not known.
    outcome : name and (T,) values of the metric by which the run is said to collapse; None if there is none.
    of_map : whether these are the states of a map, which the model carries; else they are phases of training.
    unit : of contributions.
    """

    run: str
    metrics: tuple[str, ...]
    steps: NDArray[np.int64]
    values: Floats
    contributions: Floats
    score: Floats
    risk: Floats
    states: NDArray[np.int64]
    n_states: int
    threshold: float
    alarm: Alarm | None
    truth: RunTruth
    usual: Floats | None = None
    outcome: tuple[str, Floats] | None = None
    of_map: bool = False
    unit: str = "nats"


def timeline_of(
    runs: RunSet, run: str, model: Model | None, *, truth: RunTruth | None = None, outcome: str | None = None
) -> Timeline:
    """Score one run of some logs.

    Parameters
    ----------
    runs : the logs.
    run : its name.
    model : for warning; None to judge the run by its own past, as `Monitor` does.
    truth : what became of it, to be shown beside.
    outcome : metric by which it is said to collapse, to be shown beside; one that is not logged is left out.

    Raises
    ------
    AnalysisError
        No such run.
    ModelFileError
        The model is a map, or the logs lack a metric of it.
    """
    if run not in runs.runs:
        raise AnalysisError(f"no run {run!r} in these logs{instead_of(run, runs.runs)}")
    monitor, one = Monitor(model), runs.select_runs([run])
    scored = monitor.score(one)[run]
    alarm, metrics = monitor.trackers[run].alarm, monitor.metrics
    one = with_metrics(one, metrics)
    if model is None:
        contributions, usual = _by_its_own_past(one, Alone(metrics), alarm)
        n_states, unit = 0, "limits"
    else:
        scorer, portfolio = Scorer(model), portfolio_of(model)
        contributions, usual = _contributions(one, portfolio), portfolio.bands[portfolio.phases.at(scored.steps)]
        n_states, unit = model.n_states if scorer.map is None else scorer.map.n_states, "nats"
    return Timeline(
        run=run,
        metrics=metrics,
        steps=scored.steps,
        values=one.values[:, [one.metrics.index(metric) for metric in metrics]],
        contributions=contributions,
        score=scored.score,
        risk=scored.risk,
        states=scored.state,
        n_states=n_states,
        of_map=monitor.shows_map,
        threshold=monitor.threshold,
        alarm=alarm,
        truth=RunTruth() if truth is None else truth,
        usual=usual,
        outcome=(outcome, one.column(outcome)) if outcome is not None and outcome in one.metrics else None,
        unit=unit,
    )
