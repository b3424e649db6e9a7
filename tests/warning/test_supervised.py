"""Logistic regression on windows."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trajhmm.errors import FitError
from trajhmm.warning import RunTruth, Trial
from trajhmm.warning.detectors import Reference, StandardisedMetrics, make_detector
from trajhmm.warning.detectors.supervised import _labels

from .made import made_run, made_trials, reference_of


def test_features_are_level_mean_and_change():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    found = np.sinh(make_detector("logistic", window=4).window_features(rows))
    for t in range(30):
        window = rows[max(0, t - 3) : t + 1]
        change = rows[t] - rows[max(0, t - 4)]
        np.testing.assert_allclose(found[t], [*rows[t], *window.mean(axis=0), *change], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("truth", "kept", "doomed"),
    [
        (RunTruth(onset=30), range(10), []),
        (RunTruth(onset=30, collapse_step=70), range(7), [3, 4, 5, 6]),
        (RunTruth(collapse_step=70), range(7), [4, 5, 6]),
        (RunTruth(collapse_step=20), range(2), [0, 1]),
        (RunTruth(collapse_step=0), [], []),
    ],
)
def test_rows_between_onset_and_collapse_are_the_class(truth, kept, doomed):
    run = made_run(np.zeros(10), steps=10 * np.arange(10))
    found = _labels(Trial(run=run, truth=truth, condition="x", group="0"), 3)
    np.testing.assert_array_equal(np.flatnonzero(found[0]), list(kept))
    np.testing.assert_array_equal(np.flatnonzero(found[1]), doomed)


def test_scores_are_the_log_odds_of_scikit_learn():
    reference = reference_of(made_trials(n_healthy=6, n_seeds=2))
    detector = make_detector("logistic", every=3)
    scaling = StandardisedMetrics.of(reference.healthy)
    rows, classes = [], []
    for run in reference.healthy:
        rows.append(detector.window_features(scaling.transform(run))[::3])
        classes.append(np.zeros(len(rows[-1])))
    for trial in reference.labelled:
        steps, truth = trial.run.steps, trial.truth
        before = steps < (np.inf if truth.collapse_step is None else truth.collapse_step)
        rows.append(detector.window_features(scaling.transform(trial.run))[before][::3])
        classes.append(((truth.collapse_step is not None) & (steps >= truth.onset))[before][::3])
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
    model.fit(np.concatenate(rows), np.concatenate(classes))
    run = reference.labelled[0].run
    expected = model.decision_function(detector.window_features(scaling.transform(run)))
    np.testing.assert_allclose(detector.fit(reference).scores(run), expected, rtol=1e-9)


def test_collapses_are_told_from_deviations_that_live_on():
    trials = made_trials(n_healthy=12, n_seeds=6)
    reference = reference_of([trial for trial in trials if trial.group not in ("0", "1", "2")])
    fitted = make_detector("logistic").fit(reference)
    tested = [trial for trial in trials if trial.group in ("0", "1", "2") and trial.condition in "bc"]
    highest = {condition: [] for condition in "bc"}
    for trial in tested:
        after = trial.run.steps >= trial.truth.onset + 20
        highest[trial.condition].append(np.median(fitted.scores(trial.run)[after]))
    assert min(highest["b"]) > max(highest["c"])


def test_it_needs_collapses():
    reference = reference_of(made_trials(n_healthy=4, n_seeds=1))
    lived = Reference(healthy=reference.healthy, labelled=tuple(t for t in reference.labelled if t.condition == "c"))
    with pytest.raises(FitError, match="the reference holds no collapsed run"):
        make_detector("logistic").fit(lived)
    run = reference.healthy[0]
    at_once = Trial(run=run, truth=RunTruth(collapse_step=0), condition="x", group="0")
    with pytest.raises(FitError, match="no row of the reference lies between an onset and a collapse"):
        make_detector("logistic").fit(Reference(healthy=reference.healthy, labelled=(at_once,)))
