"""Thresholds that keep a budget."""

import numpy as np
import pytest

from trajhmm.errors import FitError
from trajhmm.warning.evaluation import conformal_threshold, runs_needed


@pytest.mark.parametrize(
    ("n", "budget", "rank", "attainable"),
    [
        (19, 0.05, 19, 0.05),
        (18, 0.05, 18, 1 / 19),  # too few: 1/19 is all that can be promised
        (20, 0.05, 20, 1 / 21),
        (39, 0.05, 38, 0.05),
        (38, 0.05, 38, 1 / 39),
        (9, 0.1, 9, 0.1),
        (19, 0.1, 18, 0.1),
        (99, 0.07, 93, 0.07),
        (99, 0.29, 71, 0.29),
        (1, 0.05, 1, 0.5),
        (1, 0.6, 1, 0.5),
        (3, 0.5, 2, 0.5),
    ],
)
def test_rank_of_the_threshold(n, budget, rank, attainable):
    maxima = np.random.default_rng(0).permutation(n) + 1.0  # 1, 2, …, n: the k-th smallest is k
    found = conformal_threshold(maxima, budget)
    assert found.value == rank
    assert found.attainable == pytest.approx(attainable)
    assert found.within_budget == (attainable <= budget + 1e-12)
    assert found.runs == n


@pytest.mark.parametrize(("budget", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.07, 14), (0.5, 1)])
def test_runs_needed(budget, needed):
    assert runs_needed(budget) == needed
    assert conformal_threshold(np.arange(needed), budget).within_budget
    if needed > 1:
        assert not conformal_threshold(np.arange(needed - 1), budget).within_budget


def test_what_is_attainable_is_said():
    assert str(conformal_threshold(np.arange(19.0), 0.05)) == "18 (at most 5.0% of healthy runs, from 19)"
    assert str(conformal_threshold(np.arange(8.0), 0.05)) == "7 (8 healthy runs promise 11.1% at best, not 5.0%)"


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, 5.0])
def test_a_budget_is_a_share(budget):
    with pytest.raises(FitError, match="between 0 and 1"):
        conformal_threshold(np.arange(5.0), budget)


def test_no_run_promises_nothing():
    with pytest.raises(FitError, match="no healthy run left to calibrate"):
        conformal_threshold(np.empty(0), 0.05)


@pytest.mark.parametrize(("n", "budget"), [(19, 0.05), (25, 0.1), (12, 0.2), (5, 0.05)])
def test_the_promise_is_kept_on_average(n, budget):
    """Over random splits of runs with heavy-tailed maxima, the mean share that alarms is what was promised."""
    rng = np.random.default_rng(3)
    splits, tested = 2000, 10
    shares = []
    for _ in range(splits):
        maxima = np.exp(2 * rng.standard_normal(n + tested))
        threshold = conformal_threshold(maxima[:n], budget)
        shares.append((maxima[n:] > threshold.value).mean())
    error = np.std(shares) / np.sqrt(splits)
    assert abs(np.mean(shares) - threshold.attainable) < 4 * error
    assert threshold.attainable <= max(budget, 1 / (n + 1))


def test_ties_only_make_alarms_rarer():
    rng = np.random.default_rng(4)
    alarms = []
    for _ in range(2000):
        maxima = rng.integers(0, 3, 20).astype(float)
        alarms.append(maxima[19] > conformal_threshold(maxima[:19], 0.1).value)
    assert np.mean(alarms) <= 0.1
