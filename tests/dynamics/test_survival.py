"""Censored times against published results, statsmodels and closed forms."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.multitest import multipletests

from trajhmm.dynamics.detours import delays
from trajhmm.dynamics.detours.branches import Stratum
from trajhmm.dynamics.detours.delays import delay_of, stratified_rank_test
from trajhmm.dynamics.survival import (
    cox_hazard_ratio,
    gehan_scores,
    holm,
    logrank_p,
    restricted_mean,
)


def stratum(times, converged, visiting):
    n = len(times)
    return Stratum(
        runs=np.arange(n),
        visiting=np.asarray(visiting, dtype=bool),
        times=np.asarray(times, dtype=float),
        converged=np.asarray(converged, dtype=bool),
    )


# Remission times in weeks of 42 leukaemia patients (Freireich et al. 1963), the data of Gehan (1965).
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TREATED_ENDED = [1] * 9 + [0] * 12
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_gehan_scores_give_the_published_statistic():
    times = np.array(TREATED + PLACEBO, dtype=float)
    ended = np.array(TREATED_ENDED + [1] * 21, dtype=bool)
    # Gehan (1965) finds W = 271 for these data.
    assert gehan_scores(times, ended)[:21].sum() == 271
    assert gehan_scores(times, ended).sum() == 0


def test_log_rank_agrees_with_the_published_test():
    times = np.array(TREATED + PLACEBO, dtype=float)
    ended = np.array(TREATED_ENDED + [1] * 21, dtype=bool)
    # χ² = 16.79 with one degree of freedom (Kleinbaum & Klein, Survival Analysis, chapter 2).
    assert logrank_p(times, ended, np.arange(42) < 21) == pytest.approx(stats.chi2.sf(16.79, 1), rel=0.01)
    assert logrank_p(times, ended, np.ones(42, dtype=bool)) is None


def test_cox_regression_of_a_visit_from_the_start_agrees_with_the_published_ratio():
    times = np.array(TREATED + PLACEBO, dtype=float)
    ended = np.array(TREATED_ENDED + [1] * 21, dtype=bool)
    # Visiting just after 0: the treated go into remission's end at 0.22 times the rate (Kleinbaum & Klein, chapter 3).
    entry = np.where(np.arange(42) < 21, 1e-9, np.inf)
    ratio = cox_hazard_ratio(entry, times, ended)
    assert ratio.ratio == pytest.approx(0.221, abs=0.01)
    assert ratio.ci_high < 0.5


def test_cox_regression_is_not_fooled_by_immortal_time():
    rng = np.random.default_rng(0)
    times = rng.exponential(100, size=400)
    entry = rng.exponential(100, size=400)
    entry[entry >= times] = np.inf
    ended = np.ones(400, dtype=bool)
    assert logrank_p(times, ended, np.isfinite(entry)) < 1e-6
    ratio = cox_hazard_ratio(entry, times, ended)
    assert ratio.ci_low < 1 < ratio.ci_high


def test_rank_test_by_permutation_is_exact_for_two_small_groups():
    # Three visiting runs later than all four others: 1 of C(7, 3) = 35 choices, and its mirror image.
    result = stratified_rank_test(
        [stratum([1, 2, 3, 4, 5, 6, 7], [1] * 7, [0, 0, 0, 0, 1, 1, 1])],
        permutations=20000,
        rng=np.random.default_rng(0),
    )
    assert result[0] > 0
    assert result[1] == pytest.approx(2 / 35, abs=0.006)


def test_rank_test_holds_its_level_with_censoring_and_unequal_strata():
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        strata = []
        for n, scale in ((8, 10), (15, 200)):
            times, ends = rng.exponential(scale, size=n), rng.exponential(2 * scale, size=n)
            strata.append(stratum(np.minimum(times, ends), times <= ends, rng.permutation(n) < n // 3))
        p_values.append(stratified_rank_test(strata, permutations=199, rng=rng)[1])
    # 5% of 300 is 15; more than 26 has a probability under 1e-2.
    assert np.mean(np.array(p_values) <= 0.05) <= 26 / 300
    assert 0.4 < np.mean(p_values) < 0.6


def test_restricted_mean_is_the_area_under_kaplan_meier():
    rng = np.random.default_rng(2)
    times = rng.integers(1, 30, size=40).astype(float)
    converged = rng.random(40) < 0.7
    horizon = 25.0
    curve = SurvfuncRight(times, converged.astype(int))
    knots = np.concatenate(([0], curve.surv_times[curve.surv_times < horizon], [horizon]))
    heights = np.concatenate(([1], curve.surv_prob[curve.surv_times < horizon]))
    expected = (heights * np.diff(knots)).sum()
    assert restricted_mean(times, converged, np.ones((1, 40)), horizon)[0] == pytest.approx(expected, rel=1e-12)


def test_weights_are_copies():
    times, converged = np.array([1.0, 3.0, 3.0, 8.0]), np.array([True, False, True, True])
    weights = np.array([[2.0, 1.0, 0.0, 3.0]])
    copies = np.repeat(np.arange(4), weights[0].astype(int))
    expected = restricted_mean(times[copies], converged[copies], np.ones((1, 6)), 7.0)
    np.testing.assert_allclose(restricted_mean(times, converged, weights, 7.0), expected)


def test_delay_is_the_difference_of_means_and_its_interval_covers():
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(150):
        visiting = np.arange(40) < 15
        times = rng.gamma(4, 10, size=40) + np.where(visiting, rng.gamma(4, 20, size=40), 0)
        delay = delay_of([stratum(times, [1] * 40, visiting)], bootstraps=500, rng=np.random.default_rng(seed))
        if seed == 0:
            assert delay.effect == pytest.approx(times[:15].mean() - times[15:].mean(), rel=1e-9)
        covered += delay.ci_low <= 80 <= delay.ci_high
    # 95% of 150 is 142.5; fewer than 134 has a probability under 1e-2.
    assert covered >= 134


def test_strata_weigh_by_their_visiting_runs():
    # Delays of 100 and of 10; three visiting runs in the first, one in the second, however many stay aside.
    one = stratum([150.0, 150, 150, 50], [1] * 4, [1, 1, 1, 0])
    two = stratum([30.0, 20, 20, 20, 20, 20], [1] * 6, [1, 0, 0, 0, 0, 0])
    delay = delay_of([one, two], bootstraps=50, rng=np.random.default_rng(0))
    assert delay.effect == pytest.approx((3 * 100 + 1 * 10) / 4)


def test_a_delay_is_counted_as_far_as_both_sides_were_watched():
    visiting = np.array([True] * 4 + [False] * 4)
    times = np.array([50.0, 60, 70, 80, 10, 10, 10, 20])
    known = delay_of([stratum(times, [1] * 8, visiting)], bootstraps=50, rng=np.random.default_rng(0))
    censored = delay_of([stratum(times, [1] * 7 + [0], visiting)], bootstraps=50, rng=np.random.default_rng(0))
    assert known.effect == pytest.approx(65 - 12.5)
    # What became of one control in four after 20 is not known: up to there the others are delayed by 7.5.
    assert censored.horizon == 20
    assert censored.effect == pytest.approx(20 - (3 * 10 + 20) / 4)
    lost = delay_of([stratum(times, [0] + [1] * 7, visiting)], bootstraps=50, rng=np.random.default_rng(0))
    assert (lost.horizon, lost.effect) == (80, pytest.approx(200 / 3 + 10 / 3 - 12.5))  # others were watched for longer


def test_visiting_runs_that_were_watched_for_less_long_are_not_taken_never_to_converge():
    """Both sides take as long; the one was watched for 60 steps, the other for 1,000."""
    rng = np.random.default_rng(7)
    visiting, watched = np.repeat([True, False], 20), np.repeat([60.0, 1000.0], 20)
    holds, above = 0, 0
    for _ in range(100):
        takes = rng.exponential(100, 40)
        one = stratum(np.minimum(takes, watched), takes <= watched, visiting)
        delay = delay_of([one], bootstraps=200, rng=rng)
        holds += delay.ci_low <= 0 <= delay.ci_high
        above += delay.ci_low > 0
    # 95 and 2.5 of 100; before, 38 and 62.
    assert holds >= 88
    assert above <= 8


def test_resamples_keep_the_levels_and_draw_compared_runs_only():
    runs = np.array([0, 2, 3, 5, 6, 7])
    one = Stratum(runs=runs, visiting=runs > 3, times=np.ones(6), converged=np.ones(6, dtype=bool))
    within = np.array([0, 9, 0, 1, 9, 1, 1, 1])
    drawn = delays._resamples([one], bootstraps=200, within=within, rng=np.random.default_rng(0))
    assert drawn[:, [1, 4]].sum() == 0
    assert (drawn[:, within == 0].sum(axis=1) == 2).all()
    assert (drawn[:, within == 1].sum(axis=1) == 4).all()


def test_log_rank_without_variance_is_undefined():
    same = np.full(8, 5.0)
    assert logrank_p(same, np.ones(8, dtype=bool), np.arange(8) < 4) is None
    # One event, when only one run is left.
    assert logrank_p(np.array([1.0, 1, 3]), np.array([False, False, True]), np.arange(3) < 2) is None


def cox_by_hand(entry, times, converged, coefficients):
    """Log partial likelihood; a run counts as visiting at steps after its entry, and is at risk once."""
    found = np.zeros(len(coefficients))
    for run in np.flatnonzero(converged):
        at_risk = times >= times[run]
        visiting = (entry < times[run]) & at_risk
        risk = visiting.sum() * np.exp(coefficients) + (at_risk & ~visiting).sum()
        found += coefficients * visiting[run] - np.log(risk)
    return found


def test_cox_regression_counts_nobody_twice_where_runs_enter_as_others_converge():
    # Whole steps, few of them: many runs enter at a step at which another converges.
    rng = np.random.default_rng(6)
    times = rng.permutation(np.arange(2, 62)).astype(float)
    entry = np.where(rng.random(60) < 0.6, rng.integers(1, 40, size=60), np.inf).astype(float)
    entry[entry >= times] = np.inf
    converged = rng.random(60) < 0.8
    coefficients = np.linspace(-2, 2, 40001)
    expected = coefficients[cox_by_hand(entry, times, converged, coefficients).argmax()]
    ratio = cox_hazard_ratio(entry, times, converged)
    # The grid is 1e-4 wide.
    assert np.log(ratio.ratio) == pytest.approx(expected, abs=2e-4)


@pytest.mark.once
def test_holm_steps_down_as_that_of_statsmodels():
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1, and never smaller than the one before.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert len(holm([])) == 0
    rng = np.random.default_rng(0)
    for n in range(1, 9):
        p_values = np.round(rng.random(n) ** 2, 1)
        np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])
