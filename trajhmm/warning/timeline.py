"""One run under a model for warning, row by row: what figures and reports of an alarm are made of."""

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
from trajhmm.warning.views.portfolio import Portfolio

Floats = NDArray[np.float64]


def _contributions(one: RunSet, portfolio: Portfolio) -> Floats:
    """(T, D) what each metric adds to the surprise at each row; a row that does not count repeats the one before."""
    (run,) = causal_runs(one, portfolio.features.metrics)
    memory = portfolio.start()
    rows, kept = portfolio.rows(run.steps, run.values, run.logged, memory)
    shares = np.vstack([np.zeros(len(run.metrics)), portfolio.surprise.shares(rows, memory.views[0])])
    return shares[np.searchsorted(kept, np.arange(run.n_rows), side="right")]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """A run's T rows as a model for warning saw them.

    Attributes
    ----------
    run : its name.
    metrics : D names.
    steps : (T,)
    values : (T, D) as logged; NaN where not.
    contributions : (T, D) what each metric adds to the surprise of a row, in nats.
    score, risk : (T,); the score is infinite where a value was not finite.
    states : (T,) likeliest state given the rows so far, see `Scored`; -1 where that is not known.
    n_states : number of states, K.
    threshold : of the score.
    alarm : the run's; None without one.
    truth : what became of the run, as far as it is known.
    usual : (T, D, 2) between which values nine of ten healthy rows were in that phase of training; None if not known.
    outcome : name and (T,) values of the metric by which the run is said to collapse; None if there is none.
    of_map : whether these are the states of a map, which the model carries; else they are phases of training.
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


def timeline_of(
    runs: RunSet, run: str, model: Model, *, truth: RunTruth | None = None, outcome: str | None = None
) -> Timeline:
    """Score one run of some logs.

    Parameters
    ----------
    runs : the logs.
    run : its name.
    model : for warning.
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
    monitor, scorer, portfolio = Monitor(model), Scorer(model), portfolio_of(model)
    one = with_metrics(runs.select_runs([run]), model.metrics)
    scored = monitor.score(one)[run]
    return Timeline(
        run=run,
        metrics=model.metrics,
        steps=scored.steps,
        values=one.values[:, [one.metrics.index(metric) for metric in model.metrics]],
        contributions=_contributions(one, portfolio),
        score=scored.score,
        risk=scored.risk,
        states=scored.state,
        n_states=model.n_states if scorer.map is None else scorer.map.n_states,
        of_map=scorer.map is not None,
        threshold=scorer.threshold,
        alarm=monitor.trackers[run].alarm,
        truth=RunTruth() if truth is None else truth,
        usual=portfolio.bands[portfolio.phases.at(scored.steps)],
        outcome=(outcome, one.column(outcome)) if outcome is not None and outcome in one.metrics else None,
    )
