"""Intervals of audits against closed forms, other software and resampling done by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.proportion import proportion_confint

from trajhmm.dynamics.stability.intervals import (
    _ranks,
    _spearman,
    difference_of_shares,
    mean_over_seeds,
    median_time,
    paired_shares,
    rank_correlation,
    share,
)


def test_shares_are_wilson_s():
    for hits, n in [(0, 6), (3, 6), (6, 6), (48, 96)]:
        found = share(hits, n)
        assert found.value == hits / n
        np.testing.assert_allclose((found.low, found.high), proportion_confint(hits, n, method="wilson"), atol=1e-12)


def test_with_one_run_a_seed_the_interval_of_a_mean_is_student_s():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    found = mean_over_seeds(values, list(range(5)), np.random.default_rng(1))
    low, high = stats.t.interval(0.95, 4, loc=0, scale=stats.sem(values))
    assert found.value == 0
    # 2,000 draws know a standard error to 2%.
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=0.03 * (high - low))
    low, high = stats.t.interval(0.8, 4, loc=0, scale=stats.sem(values))
    found = mean_over_seeds(values, list(range(5)), np.random.default_rng(1), level=0.8)
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=0.03 * (high - low))


def test_a_skewed_mean_reaches_as_far_as_its_draws_with_tails_for_few_seeds():
    """One of six runs has it: of the means of draws 0.9% are 4/6 or more, and the tail is 0.24% for six seeds."""
    found = mean_over_seeds(np.array([0.0, 0, 0, 0, 0, 1]), list(range(6)), np.random.default_rng(0))
    assert found.high == pytest.approx(4 / 6)


def test_runs_of_one_seed_count_once():
    values, rng = np.repeat([0.0, 1.0, 2.0, 5.0], 25), np.random.default_rng(0)
    found = mean_over_seeds(values, np.repeat(range(4), 25).tolist(), rng)
    once = mean_over_seeds(np.array([0.0, 1.0, 2.0, 5.0]), list(range(4)), np.random.default_rng(0))
    assert (found.low, found.value, found.high) == pytest.approx((once.low, once.value, once.high))
    assert found.high - found.low > 5


def test_a_single_seed_has_no_interval_and_what_is_not_known_is_left_out():
    found = mean_over_seeds(np.array([1.0, 3.0]), [7, 7], np.random.default_rng(0))
    assert found.value == 2.0
    assert np.isnan([found.low, found.high]).all()
    found = mean_over_seeds(np.array([1.0, np.nan, 3.0, np.nan]), [0, 1, 2, 3], np.random.default_rng(0))
    assert found.value == 2.0
    assert found.low < 1.0


def test_medians_of_uncensored_times_lie_between_order_statistics():
    found = median_time(np.array([50.0, 10.0, 30.0, 20.0, 60.0, 40.0]), np.ones(6, dtype=bool))
    assert (found.low, found.value, found.high) == (10.0, 30.0, 60.0)


@pytest.mark.parametrize("grid", [1, 60])
@pytest.mark.parametrize("seed", range(6))
def test_medians_of_censored_times_are_those_of_statsmodels(seed, grid):
    """On a coarse grid many end at one step, some of them censored."""
    rng = np.random.default_rng(seed)
    times, ends = (grid * (np.ceil(rng.exponential(mean, size=30) / grid)) for mean in (100, 200))
    observed = times <= ends
    watched = np.minimum(times, ends)
    found, beside = median_time(watched, observed), SurvfuncRight(watched, observed.astype(int))
    assert found.value == beside.quantile(0.5)
    with np.errstate(all="ignore"):  # statsmodels takes logarithms of 0 where the curve ends
        assert (found.low, found.high) == pytest.approx(beside.quantile_ci(0.5, method="cloglog"))


def test_medians_beyond_the_log_are_infinite_and_bounded_by_what_was_watched():
    found = median_time(np.array([90.0, 80.0, 70.0, 60.0, 50.0, 40.0]), np.zeros(6, dtype=bool))
    assert (found.low, found.value, found.high) == (40.0, np.inf, np.inf)
    few = median_time(np.array([90.0, 80.0, 70.0]), np.zeros(3, dtype=bool))
    assert (few.low, few.value, few.high) == (0.0, np.inf, np.inf)
    few = median_time(np.array([10.0, 20.0, 30.0, 40.0, 50.0]), np.ones(5, dtype=bool))
    assert (few.low, few.value, few.high) == (0.0, 30.0, np.inf)
    some = median_time(np.array([30.0, 80.0, 80.0, 80.0, 80.0, 80.0]), np.arange(6) == 0)
    assert some.value == some.high == np.inf


def test_runs_that_need_no_recovery_count_with_zero():
    found = median_time(np.array([0.0, 0.0, 0.0, 0.0, 40.0, 90.0]), np.array([True] * 5 + [False]))
    assert found.value == found.low == 0.0


def test_pairs_that_agree_leave_room_for_doubt():
    found = paired_shares(0, 0, 48)
    assert found.value == 0.0
    assert found.high == -found.low == pytest.approx(1.959964 / 50)  # one discordant pair is added in all
    # Agresti and Min (2005), their table 1: 132 and 107 discordant of 1,144 pairs, difference (0.022) as by Wald.
    found = paired_shares(132, 107, 1144)
    assert found.value == pytest.approx(25 / 1144)
    wald = 1.959964 * np.sqrt(132 + 107 - 25**2 / 1144) / 1144
    assert (found.low, found.high) == pytest.approx((25 / 1144 - wald, 25 / 1144 + wald), abs=2e-4)


def test_rank_correlations_are_spearman_s_and_monotone_changes_leave_them():
    rng = np.random.default_rng(3)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    seeds = list(np.arange(40) % 8)
    found = rank_correlation(x, y, seeds, np.random.default_rng(0))
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    again = rank_correlation(np.exp(x), y**3, seeds, np.random.default_rng(0))
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    assert -1 < found.low < found.value < found.high < 1
    assert np.isnan(rank_correlation(x, np.ones(40), seeds, rng).value)


def test_resampled_rank_correlations_are_those_of_the_runs_drawn():
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 8, size=30).astype(float), rng.normal(size=30)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=20)
    found = _spearman(_ranks(x, counts), _ranks(y, counts), counts)
    drawn = [stats.spearmanr(np.repeat(x, often), np.repeat(y, often)).statistic for often in counts]
    np.testing.assert_allclose(found, drawn, atol=1e-12)


def test_difference_of_shares_against_published_numbers():
    """Newcombe (1998), table II, method 10: 56 of 70 less 48 of 80, and 9 of 10 less 3 of 10."""
    found = difference_of_shares(56, 70, 48, 80)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    found = difference_of_shares(9, 10, 3, 10)
    assert (found.low, found.high) == pytest.approx((0.1705, 0.8090), abs=1e-4)
    found = difference_of_shares(10, 10, 0, 10)
    assert (found.low, found.high) == pytest.approx((0.6075, 1.0), abs=1e-4)


@pytest.mark.parametrize("n", [4, 5, 6, 10, 40])
def test_pairs_in_perfect_order_are_not_certain(n):
    x = np.arange(n, dtype=float)
    found = rank_correlation(x, x**3, list(range(n)), np.random.default_rng(0))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < {4: 0.0, 5: 0.4, 6: 0.8, 10: 0.97, 40: 1.0}[n]
    other = rank_correlation(x, -x, list(range(n)), np.random.default_rng(0))
    assert (other.value, other.low, other.high) == (-1.0, -1.0, pytest.approx(-found.low))


@pytest.mark.once
@pytest.mark.parametrize(("rho", "n"), [(0.95, 6), (0.8, 8), (0.0, 8)])
def test_intervals_of_rank_correlations_hold_the_truth(rho, n):
    """Of normal pairs, whose rank correlation is 6/pi asin(rho/2)."""
    truth, inside = 6 / np.pi * np.arcsin(rho / 2), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, e = rng.normal(size=(2, n))
        found = rank_correlation(x, rho * x + np.sqrt(1 - rho**2) * e, list(range(n)), rng)
        inside.append(found.low <= truth <= found.high)
    assert np.mean(inside) >= 0.92
