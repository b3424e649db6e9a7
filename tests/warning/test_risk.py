"""Risk against the end of perturbed runs."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from trajhmm.warning import RunTruth, Trial
from trajhmm.warning.evaluation import evaluate_risk
from trajhmm.warning.evaluation.intervals import auroc_interval, group_counts
from trajhmm.warning.evaluation.risk import reliability, weighted_auroc

from .made import made_run

STEPS = 10 * np.arange(20)


def trial(name, onset, collapse_step=None, group=None, steps=STEPS):
    run = made_run(np.zeros(len(steps)), run=name, steps=steps)
    truth = RunTruth(onset=onset, collapse_step=collapse_step)
    return Trial(run=run, truth=truth, condition="x", group=group or name)


def test_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    counts = np.vstack([np.ones(60, dtype=int), rng.integers(0, 3, (5, 60))])
    found = weighted_auroc(scores, positive, counts)
    expected = [roc_auc_score(positive, scores, sample_weight=count) for count in counts]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_area_by_hand():
    one = np.ones((1, 3), dtype=int)
    assert weighted_auroc(np.array([1.0, 2, 3]), np.array([False, False, True]), one) == [1.0]
    assert weighted_auroc(np.array([1.0, 3, 2]), np.array([False, False, True]), one) == [0.5]
    assert weighted_auroc(np.array([2.0, 2, 2]), np.array([False, False, True]), one) == [0.5]
    assert weighted_auroc(np.array([1.0, np.inf, np.inf]), np.array([False, False, True]), one) == [0.75]
    assert np.isnan(weighted_auroc(np.array([1.0, 2, 3]), np.ones(3, dtype=bool), one)).all()


def test_ranks_without_a_mistake_are_not_certain():
    """Six that collapse above six that live: as good could come of an area from which 1 is 1.96 errors off."""
    trials = [trial(str(i), 0, 150 if i < 6 else None) for i in range(12)]
    risks = {str(i): np.full(20, 0.9 if i < 6 else 0.1) for i in range(12)}
    (found,) = evaluate_risk(trials, risks, [50], rng=np.random.default_rng(0))
    assert (found.auroc.value, found.auroc.high) == (1.0, 1.0)
    a = found.auroc.low
    first, second = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2  # Hanley and McNeil (1982)
    error = np.sqrt((a * (1 - a) + 5 * first + 5 * second) / 36)
    assert (1 - a) / error == pytest.approx(1.96, abs=0.01)
    assert 0.6 < a < 0.8
    grouped = [trial(str(i), 0, 150 if i < 6 else None, group=str(i % 3)) for i in range(12)]
    (coarse,) = evaluate_risk(grouped, risks, [50], rng=np.random.default_rng(0))
    assert coarse.auroc.low < a - 0.1


@pytest.mark.once
@pytest.mark.parametrize("apart", [0.5, 2.5])
def test_intervals_of_areas_hold_the_truth_as_often_as_they_say(apart):
    """Of 15 and 10 runs with normal scores; where the two are far apart most samples show no mistake."""
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores, positive = np.r_[rng.normal(apart, 1, 15), rng.normal(0, 1, 10)], np.arange(25) < 15
        counts = np.vstack([np.ones(25, dtype=np.int64), group_counts(range(25), 300, rng)])
        areas = weighted_auroc(scores, positive, counts)
        found = auroc_interval(float(areas[0]), areas[1:], 15, 10)
        inside.append(found.low <= norm.cdf(apart / np.sqrt(2)) <= found.high)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_who_is_looked_at_and_when():
    trials = [
        trial("doomed", 45, 150),
        trial("gone", 45, 80),  # collapsed by then
        trial("lives", 52),
        trial("healthy", None),
        trial("short", 45, steps=STEPS[:8]),  # not logged so far
    ]
    row = {"doomed": 8, "lives": 9}  # the last row at most 40 steps after the onset: 85 and 92
    risks = {one.run.run: np.full(one.run.n_rows, np.nan) for one in trials}
    for name, place in row.items():
        risks[name][place] = {"doomed": 0.8, "lives": 0.3}[name]
    (found,) = evaluate_risk(trials, risks, [40], rng=np.random.default_rng(0), resamples=10)
    assert (found.after, found.collapsed, found.survived) == (40, 1, 1)
    assert found.auroc.value == 1.0
    assert found.brier.value == pytest.approx((0.2**2 + 0.3**2) / 2)


def test_a_run_that_collapses_at_that_very_step_is_left_out():
    trials = [trial("at", 40, 80), trial("after", 40, 81)]
    risks = {"at": np.ones(20), "after": np.ones(20)}
    (found,) = evaluate_risk(trials, risks, [40], rng=np.random.default_rng(0), resamples=10)
    assert found.collapsed == 1


def test_calibration():
    risk = np.array([0.05, 0.15, 0.15, 0.95, 1.0, 0.0])
    collapsed = np.array([False, True, False, True, True, False])
    bins = reliability(risk, collapsed)
    assert [(one.runs, one.collapsed.value) for one in bins] == [(2, 0.0), (2, 0.5), (2, 1.0)]
    assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
    assert bins[2].mean_risk == pytest.approx(0.975)
    trials = [trial(str(i), 0, 150 if bad else None) for i, bad in enumerate(collapsed)]
    risks = {str(i): np.full(20, value) for i, value in enumerate(risk)}
    (found,) = evaluate_risk(trials, risks, [50], rng=np.random.default_rng(0))
    assert found.brier.value == pytest.approx(brier_score_loss(collapsed, risk))
    assert found.reliability == bins
    assert found.brier.low < found.brier.value < found.brier.high


def test_a_score_that_is_no_probability_is_only_ranked():
    trials = [trial(str(i), 0, 150 if i % 2 else None) for i in range(8)]
    risks = {str(i): np.full(20, 3.0 * i) for i in range(8)}
    (found,) = evaluate_risk(trials, risks, [50], rng=np.random.default_rng(0))
    assert found.auroc.value == 10 / 16
    assert np.isnan(found.brier.value)
    assert found.reliability == ()


def test_runs_of_one_group_are_drawn_together():
    """Copies of the same six runs must not make the interval narrower."""
    rng = np.random.default_rng(5)
    values = rng.random(12)

    def interval(copies, grouped):
        trials = [
            trial(f"{i} {copy}", 0, 150 if i % 2 else None, group=str(i) if grouped else None)
            for i in range(12)
            for copy in range(copies)
        ]
        risks = {one.run.run: np.full(20, values[int(one.run.run.split()[0])]) for one in trials}
        found = evaluate_risk(trials, risks, [50], rng=np.random.default_rng(0), resamples=4000)[0].auroc
        return found.high - found.low

    assert interval(8, grouped=True) == pytest.approx(interval(1, grouped=True), abs=0.02)
    assert interval(8, grouped=False) < 0.6 * interval(1, grouped=True)


def test_nobody_to_rank():
    (found,) = evaluate_risk([], {}, [10], rng=np.random.default_rng(0), resamples=10)
    assert np.isnan(found.auroc.value)
    assert (found.collapsed, found.survived) == (0, 0)
