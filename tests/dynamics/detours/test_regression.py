"""Regression and dissimilarity against statsmodels, scipy and counting by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from trajhmm.dynamics.detours import regression
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.regression import bag_of_states, r_squared, regress
from trajhmm.dynamics.maps import dissimilarity
from trajhmm.dynamics.maps.dissimilarity import MOST_PAIRS, _some_pairs, dissimilarity_of, transport_costs


def converging(steps, converged=None):
    steps = np.asarray(steps, dtype=np.int64)
    return Convergence(
        condition="x > 0",
        runs=tuple(map(str, range(len(steps)))),
        steps=steps,
        converged=np.ones(len(steps), dtype=bool) if converged is None else converged,
    )


def test_bag_of_states_counts_rows():
    bags = bag_of_states(np.array([0, 0, 1, 2, 2, 2]), np.array([4, 2]), 4)
    np.testing.assert_array_equal(bags, [[0.5, 0.25, 0.25, 0], [0, 0, 1, 0]])


def test_least_squares_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    bags = rng.dirichlet([2, 3, 4], size=25)
    steps = (1000 * bags[:, 0] + 400 * bags[:, 1] + rng.normal(scale=60, size=25)).astype(int)
    ours = regress(bags, converging(steps))
    # The shares add up to 1: with an intercept instead of the last share the fit is the same.
    theirs = sm.OLS(steps.astype(float), sm.add_constant(bags[:, :2])).fit()
    assert ours.r2 == pytest.approx(theirs.rsquared, rel=1e-9)
    assert ours.f_p_value == pytest.approx(theirs.f_pvalue, rel=1e-6)
    np.testing.assert_allclose(ours.coefficients[2], theirs.params[0], rtol=1e-8)
    np.testing.assert_allclose(ours.coefficients[:2], theirs.params[0] + theirs.params[1:], rtol=1e-8)
    errors = theirs.resid / (1 - theirs.get_influence().hat_matrix_diag)
    others = steps - (steps.sum() - steps) / 24
    assert ours.loro_r2 == pytest.approx(1 - (errors**2).sum() / (others**2).sum(), rel=1e-8)


def test_permutation_p_is_small_for_a_relation_and_uniform_without_one():
    rng = np.random.default_rng(1)
    bags = rng.dirichlet([2, 3, 4], size=20)
    related = regress(bags, converging((1000 * bags[:, 0]).astype(int)))
    assert related.permutation_p == pytest.approx(1e-4)
    unrelated = [
        regress(rng.dirichlet([2, 3, 4], size=20), converging(rng.integers(100, 900, size=20)), seed=s).permutation_p
        for s in range(60)
    ]
    assert stats.kstest(unrelated, "uniform").pvalue > 0.01


def test_runs_that_never_converge_are_left_out_and_the_papers_coding_stands_beside():
    rng = np.random.default_rng(2)
    bags = rng.dirichlet([2, 3, 4], size=20)
    steps = (1000 * bags[:, 0]).astype(int)
    converged = np.arange(20) < 15
    censored = np.where(converged, steps, 3000)
    result = regress(bags, converging(censored, converged))
    assert result.n_runs == 15
    assert result.r2 > 0.999
    assert result.paper.n_runs == 20
    assert result.paper.r2 == pytest.approx(r_squared(bags, censored.astype(float))[0])
    assert result.paper.r2 < 0.9


def test_too_few_runs_give_no_numbers_rather_than_perfect_ones():
    result = regress(np.eye(3), converging([10, 20, 30]))
    assert (result.r2, result.loro_r2, result.permutation_p) == (None, None, None)


def alone_in_a_state(shift=0):
    """Bags of 12 runs, one of which is the only one in the last state, and their convergence."""
    rng = np.random.default_rng(7)
    bags = np.zeros((12, 4))
    bags[:, :3] = rng.dirichlet([2, 3, 4], size=12)
    bags[0] = [0.1, 0.1, 0.3, 0.5]
    steps = (1000 * bags[:, 0] + 400 * bags[:, 1] + rng.normal(scale=60, size=12)).astype(int)
    return bags, converging(steps + shift)


def test_nothing_depends_on_where_steps_are_counted_from():
    bags, convergence = alone_in_a_state()
    there = regress(bags, convergence)
    shifted = regress(*alone_in_a_state(10**6))
    # Steps of a million have ten digits left after the point.
    assert shifted.r2 == pytest.approx(there.r2, abs=1e-8)
    assert shifted.loro_r2 == pytest.approx(there.loro_r2, abs=1e-8)
    assert (shifted.f_p_value, shifted.permutation_p) == pytest.approx((there.f_p_value, there.permutation_p), rel=1e-6)
    for name in ("coefficients", "fitted", "left_out"):
        np.testing.assert_allclose(getattr(shifted, name) - 10**6, getattr(there, name), atol=1e-5)


def test_steps_that_are_not_counted_from_their_mean_are_noticed(monkeypatch):
    def from_zero(x, y):
        return np.linalg.lstsq(x, y, rcond=None)[0]

    monkeypatch.setattr(regression, "_coefficients", from_zero)
    assert regress(*alone_in_a_state(10**6)).loro_r2 < -1000 < regress(*alone_in_a_state()).loro_r2


@pytest.mark.parametrize(
    ("steps", "converged", "said"),
    [
        ([50] * 8, [True] * 8, "all 8 runs that converge do so at the same step"),
        ([50] * 8, [False] * 8, "no run converges"),
        ([50] * 8, [True] + [False] * 7, "one run converges"),
        ([10, 20, 30] + [50] * 5, [True] * 3 + [False] * 5, "3 runs converge, too few to regress on 3 shares"),
        ([10, 20, 30, 40] + [50] * 4, [True] * 4 + [False] * 4, None),
    ],
)
def test_where_there_is_no_regression_the_reason_is_told(steps, converged, said):
    bags = np.random.default_rng(0).dirichlet([2, 3, 4], size=8)
    result = regress(bags, converging(steps, np.array(converged)))
    assert (result.r2 is None) is (said is not None)
    if said is None:
        assert result.why_not is None
    else:
        assert result.why_not.startswith(said)


def test_transport_cost_is_the_wasserstein_distance_on_a_line(monkeypatch):
    monkeypatch.setattr(dissimilarity, "_TOGETHER", 7)
    rng = np.random.default_rng(3)
    places = np.array([0.0, 1.5, 2.0, 7.0])
    ground = np.abs(places[:, np.newaxis] - places)
    p, q = rng.dirichlet(np.ones(4), size=20), rng.dirichlet(np.ones(4), size=20)
    q[np.arange(20), rng.integers(4, size=20)] = 0
    q /= q.sum(axis=1, keepdims=True)
    q[[0, 5]] = p[[0, 5]]  # nothing is to be moved
    q[7:14] = p[7:14]  # of a whole part
    expected = [stats.wasserstein_distance(places, places, *pair) for pair in zip(p, q, strict=True)]
    np.testing.assert_allclose(transport_costs(p, q, ground), expected, rtol=0, atol=1e-9)
    assert transport_costs(p[:0], q[:0], ground).shape == (0,)


def test_transport_costs_off_a_line():
    """Mass goes the cheapest way: by hand, 0.3 from the first to the third, 0.2 from the second to the fourth."""
    ground = np.array([[0.0, 1, 2, 9], [1, 0, 9, 3], [2, 9, 0, 1], [9, 3, 1, 0]])
    p, q = np.array([[0.5, 0.4, 0.1, 0.0]]), np.array([[0.2, 0.2, 0.4, 0.2]])
    assert transport_costs(p, q, ground) == pytest.approx([0.3 * 2 + 0.2 * 3])
    assert transport_costs(q, p, ground) == pytest.approx([0.3 * 2 + 0.2 * 3])


def test_total_variation_does_not_depend_on_numbering_and_the_published_version_does():
    bags = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.1, 0.2, 0.7]])
    means = np.array([[0.0], [1.0], [3.0]])
    one = dissimilarity_of(bags, means)
    few = dissimilarity_of(bags[:3], means).total_variation
    assert few.mean is not None  # of three runs the mean, and no interval
    assert (few.ci_low, few.ci_high) == (None, None)
    order = [0, 2, 1]
    other = dissimilarity_of(bags[:, order], means[order])
    assert one.total_variation.mean == pytest.approx((0.5 + 0.7 + 0.4) / 3)
    assert other.total_variation.mean == pytest.approx(one.total_variation.mean)
    assert other.wasserstein_means.mean == pytest.approx(one.wasserstein_means.mean)
    # By hand: |cumulative differences| of the pairs, states one apart.
    assert one.wasserstein_index.mean == pytest.approx((0.5 + (0.4 + 0.7) + (0.4 + 0.2)) / 3)
    assert other.wasserstein_index.mean != pytest.approx(one.wasserstein_index.mean)


@pytest.mark.slow
def test_interval_of_the_mean_distance_covers_it():
    rng = np.random.default_rng(4)
    covered = 0
    truth = np.mean([np.abs(a - b).sum() / 2 for a, b in rng.dirichlet([1, 2, 3], size=(20000, 2))])
    for seed in range(60):
        distance = dissimilarity_of(rng.dirichlet([1, 2, 3], size=12), np.eye(3), seed=seed).total_variation
        covered += distance.ci_low <= truth <= distance.ci_high
    # 95% of 60 is 57; fewer than 50 has a probability under 1e-3.
    assert covered >= 50


def test_a_random_two_thousand_pairs_are_pairs_each_as_likely():
    rng = np.random.default_rng(0)
    drawn = np.zeros((80, 80))
    for _ in range(300):
        first, second = _some_pairs(80, rng)
        assert len(first) == MOST_PAIRS
        assert (first < second).all()
        np.add.at(drawn, (first, second), 1)
    assert drawn.max() <= 300  # none twice
    expected = 300 * MOST_PAIRS / (80 * 79 / 2)
    upper = drawn[np.triu_indices(80, 1)]
    assert abs(upper - expected).max() < 6 * np.sqrt(expected * (1 - MOST_PAIRS / 3160))
    assert not np.tril(drawn).any()
    few = _some_pairs(5, rng)
    np.testing.assert_array_equal(few, np.triu_indices(5, 1))
