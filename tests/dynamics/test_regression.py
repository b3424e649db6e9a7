"""Regression and dissimilarity against statsmodels, scipy and counting by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.dissimilarity import dissimilarity_of, transport_cost
from trajhmm.dynamics.regression import bag_of_states, r_squared, regress


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


def test_transport_cost_is_the_wasserstein_distance_on_a_line():
    rng = np.random.default_rng(3)
    places = np.array([0.0, 1.5, 2.0, 7.0])
    ground = np.abs(places[:, np.newaxis] - places)
    for _ in range(20):
        p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
        q[rng.integers(4)] = 0
        q /= q.sum()
        assert transport_cost(p, q, ground) == pytest.approx(stats.wasserstein_distance(places, places, p, q), abs=1e-9)


def test_total_variation_does_not_depend_on_numbering_and_the_published_version_does():
    bags = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.1, 0.2, 0.7]])
    means = np.array([[0.0], [1.0], [3.0]])
    one = dissimilarity_of(bags, means)
    order = [0, 2, 1]
    other = dissimilarity_of(bags[:, order], means[order])
    assert one.total_variation.mean == pytest.approx((0.5 + 0.7 + 0.4) / 3)
    assert other.total_variation.mean == pytest.approx(one.total_variation.mean)
    assert other.wasserstein_means.mean == pytest.approx(one.wasserstein_means.mean)
    # By hand: |cumulative differences| of the pairs, states one apart.
    assert one.wasserstein_index.mean == pytest.approx((0.5 + (0.4 + 0.7) + (0.4 + 0.2)) / 3)
    assert other.wasserstein_index.mean != pytest.approx(one.wasserstein_index.mean)


def test_interval_of_the_mean_distance_covers_it():
    rng = np.random.default_rng(4)
    covered = 0
    truth = np.mean([np.abs(a - b).sum() / 2 for a, b in rng.dirichlet([1, 2, 3], size=(20000, 2))])
    for seed in range(60):
        distance = dissimilarity_of(rng.dirichlet([1, 2, 3], size=12), np.eye(3), seed=seed).total_variation
        covered += distance.ci_low <= truth <= distance.ci_high
    # 95% of 60 is 57; fewer than 50 has a probability under 1e-3.
    assert covered >= 50
