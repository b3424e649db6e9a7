"""The risk learnt from runs whose end is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from trajhmm.errors import FitError, LogError
from trajhmm.logs import RunSet
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.calibration import RiskCurve, calibration_of
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.risk import DEFAULT_RISK, learn_risk, rows_since
from trajhmm.warning.runs import RunTruth, Trial
from trajhmm.warning.views.crossfit import cross_fitted

from .logs import frame_of
from .made import healthy_runs, made_run, training


def ended(n, drift, seed, *, collapse):
    """n runs that drift from row 30 on, and collapse at row 70 or not at all."""
    rng = np.random.default_rng(seed)
    truth = RunTruth(onset=30, collapse_step=70 if collapse else None)
    drifts = drift * rng.uniform(0, 2, n)
    runs = [made_run(training(rng, 100, drift=each, onset=30)) for each in drifts]
    return [Trial(run=run, truth=truth, condition="", group=str(i)) for i, run in enumerate(runs)]


@pytest.fixture(scope="module")
def portfolio():
    healthy = healthy_runs(12, np.random.default_rng(0), rows=100)
    settings = {"covariance": "diag", "restarts": 1, "iterations": 20, "shrinkage": 1.0, "seed": 0}
    return cross_fitted(healthy, np.arange(12) % 2, states=2, **settings).portfolios[0]


THRESHOLD = 3.0


def rows_of(portfolio, trial):
    """Rows 10, 20, 40 and 80 after the first at which the score is above the threshold, before the collapse."""
    over = np.flatnonzero(portfolio.scores(trial.run).score > THRESHOLD)
    end = 70 if trial.truth.collapse_step else 100
    return [] if not len(over) else [row for row in over[0] + np.array([10, 20, 40, 80]) if row < end]


def test_the_average_is_pandas():
    values = np.random.default_rng(0).normal(size=40)
    expected = pd.Series(values).ewm(span=7, adjust=False).mean()
    np.testing.assert_allclose(exponential_average(values, 7.0, np.nan), expected, rtol=1e-12)
    begun = exponential_average(values[:9], 7.0, np.nan)
    np.testing.assert_array_equal(
        np.concatenate([begun, exponential_average(values[9:], 7.0, begun[-1])]),
        exponential_average(values, 7.0, np.nan),
    )


def test_the_curve():
    curve = RiskCurve(constant=-2.0, off=3.0, lasting=-0.5)
    level, since = np.array([0.0, 0.5, 0.5, 3.0, 3.0]), np.array([10, 10, 40, 9, -1])
    odds = np.exp([-2.0, -2.0 + 3.0 * np.tanh(0.5), -2.0 + 3.0 * np.tanh(0.5) - 0.5 * np.log(4)])
    np.testing.assert_allclose(curve.at(level, since), [*(odds / (1 + odds)), np.nan, np.nan])


def test_rows_since_the_alarm():
    over = np.array([False, False, True, False, True, True])
    counted = np.array([True, True, True, False, True, True])
    assert rows_since(over, counted).tolist() == [-1, -1, 0, 0, 1, 2]
    assert rows_since(over, counted, before=3).tolist() == [4, 5, 6, 6, 7, 8]
    assert rows_since(np.zeros(3, dtype=bool), np.ones(3, dtype=bool)).tolist() == [-1, -1, -1]


@pytest.mark.once
def test_many_runs_outweigh_the_prior(portfolio):
    """Against scikit-learn's regression without any prior, on the same rows."""
    labelled = ended(800, 1.0, 2, collapse=True) + ended(800, 0.4, 3, collapse=False)
    learnt = learn_risk(portfolio, labelled, THRESHOLD)
    terms, outcome, weights, told = [], [], [], {True: 0, False: 0}
    for trial in labelled:
        rows, collapsed = rows_of(portfolio, trial), trial.truth.collapse_step is not None
        told[collapsed] += len(rows) > 0
        for number, row in enumerate(rows):
            terms.append([np.tanh(portfolio.scores(trial.run).level[row]), number * np.log(2)])
            outcome.append(collapsed)
            weights.append(1 / len(rows))
    free = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(terms, outcome, sample_weight=weights)
    level, since = np.linspace(0, 2.5, 9), np.tile([10, 20, 40], 3)
    expected = free.predict_proba(np.column_stack([np.tanh(level), np.log(since / 10)]))[:, 1]
    np.testing.assert_allclose(learnt.at(level, since), expected, atol=0.05)
    assert 100 < told[True] == learnt.collapsed
    assert 100 < told[False] == learnt.survived


def test_what_comes_after_a_collapse_teaches_nothing(portfolio):
    early = [replace(trial, truth=RunTruth(onset=30, collapse_step=60)) for trial in ended(5, 2.0, 2, collapse=True)]
    late, lived = ended(6, 2.0, 4, collapse=True), ended(5, 0.4, 3, collapse=False)
    cut = [replace(trial, run=trial.run.first_rows(60)) for trial in early]
    whole = learn_risk(portfolio, [*early, *late, *lived], THRESHOLD)
    assert learn_risk(portfolio, [*cut, *late, *lived], THRESHOLD) == whole != DEFAULT_RISK


def test_few_runs_change_it_little_and_none_not_at_all(portfolio):
    level, since = np.linspace(0, 4, 9), np.full(9, 15)
    one = learn_risk(portfolio, ended(1, 2.0, 2, collapse=True), THRESHOLD)
    assert 0.001 < np.abs(one.at(level, since) - DEFAULT_RISK.at(level, since)).max() < 0.25
    none = learn_risk(portfolio, [], THRESHOLD)
    np.testing.assert_allclose(none.at(level, since), DEFAULT_RISK.at(level, since), atol=1e-6)


def test_a_run_that_is_farther_off_is_never_at_less_risk(portfolio):
    """Taught that those who drift far live and those who drift little die."""
    contrary = ended(50, 3.0, 2, collapse=False) + ended(50, 0.5, 3, collapse=True)
    learnt = learn_risk(portfolio, contrary, THRESHOLD)
    assert learnt.off < DEFAULT_RISK.off / 2
    assert (np.diff(learnt.at(np.linspace(0, 3, 30), np.full(30, 20))) > 0).all()


def logs_with_ends():
    """20 healthy runs, six that drift and collapse, six that drift less and live; steps are 10 apart."""
    rng = np.random.default_rng(5)
    doomed = [frame_of(training(rng, 100, drift=1.5, onset=30), f"doomed {i}") for i in range(6)]
    shaken = [frame_of(training(rng, 100, drift=0.2, onset=30), f"shaken {i}") for i in range(6)]
    healthy = [frame_of(training(rng, 100), f"healthy {i}") for i in range(20)]
    return RunSet.from_frame(pd.concat([*healthy, *doomed, *shaken]))


def truth_of(run):
    if run.startswith("healthy"):
        return RunTruth()
    return RunTruth(onset=300, collapse_step=700 if run.startswith("doomed") else None)


def test_runs_whose_end_is_known_are_no_reference_and_teach_the_risk():
    logs = logs_with_ends()
    truth = {run: truth_of(run) for run in logs.runs}
    settings = {"states": 1, "restarts": 1}
    taught = fit_warning(logs, truth=truth, **settings)
    plain = fit_warning(logs.select_runs(run for run in logs.runs if run.startswith("healthy")), **settings)
    assert calibration_of(taught).maxima == calibration_of(plain).maxima
    assert (calibration_of(taught).risk.collapsed, calibration_of(taught).risk.survived) == (6, 6)
    assert calibration_of(plain).risk == DEFAULT_RISK
    assert any("6 runs that collapsed and 6 that were perturbed and lived" in note.text for note in taught.notes)


def test_truth_must_name_every_run_and_leave_some_healthy():
    logs = logs_with_ends()
    truth = {run: truth_of(run) for run in logs.runs}
    with pytest.raises(LogError, match="run doomed 0: the truth does not name it"):
        fit_warning(logs, truth={run: known for run, known in truth.items() if run != "doomed 0"})
    with pytest.raises(FitError, match="0 of 32 runs were never perturbed"):
        fit_warning(logs, truth=dict.fromkeys(logs.runs, RunTruth(onset=300)))


@pytest.mark.parametrize(
    ("risk", "told"),
    [
        ({"constant": -2.5, "near": 2.5, "far": 0.5, "collapsed": 0, "survived": 0}, "older trajhmm.*fit it again"),
        ({"constant": "x"}, r"risk\.constant 'x': expected a finite number"),
        ({"constant": True}, r"risk\.constant True: expected a finite number"),
        ({"lasting": np.nan}, r"risk\.lasting nan: expected a finite number"),
        ({"off": -5.0}, r"risk\.off -5\.0: expected a finite number, at least 1e-300"),
        ({"off": 1e300}, r"risk\.off 1e\+300: expected a finite number, .* at most 1000"),
        ({"collapsed": 1.5}, r"risk\.collapsed 1\.5: expected a whole number"),
    ],
)
@pytest.mark.sampled(2)
def test_a_damaged_or_older_risk_is_refused_in_words(risk, told):
    from trajhmm.errors import ModelFileError

    logs = logs_with_ends()
    model = fit_warning(logs.select_runs(run for run in logs.runs if run.startswith("healthy")), states=1, restarts=1)
    calibration = model.sections["calibration"]
    damaged = {**calibration, "risk": risk if "near" in risk else {**calibration["risk"], **risk}}
    with pytest.raises(ModelFileError, match=told):
        calibration_of(replace(model, sections={**model.sections, "calibration": damaged}))
