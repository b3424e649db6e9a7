"""Exponents of multipliers and of Jacobians against closed forms and published numbers."""

import numpy as np
import pytest
from scipy.special import digamma

from trajhmm.dynamics.stability.exponents.multipliers import jacobian_exponents, multiplier_exponent

# Of arXiv 2303.13093: h = x², x ~ N(0, 1).
PUBLISHED = {0.3: -0.395, 1.0: -0.417, 2.0: -0.116, 3.0: 0.144}
ROUNDED = 0.003


def curvatures(n_runs, n_steps, seed=0):
    return np.random.default_rng(seed).standard_normal((n_runs, n_steps)) ** 2


@pytest.mark.parametrize("rate", PUBLISHED)
def test_exponents_of_rank_one_are_the_published_ones(rate):
    found = multiplier_exponent(1 - rate * curvatures(1000, 2000))
    assert found.value == pytest.approx(PUBLISHED[rate], abs=ROUNDED)
    assert found.ci_high - found.ci_low < 2 * ROUNDED
    assert found.n_runs == 1000


def test_the_exponent_changes_its_sign_where_it_was_published_to():
    """At 2.421 ± 0.005: the slope there is 0.26, and the standard error of five million draws is 0.0006."""
    h = curvatures(1000, 5000, seed=1)
    assert multiplier_exponent(1 - 2.416 * h).value < 0 < multiplier_exponent(1 - 2.426 * h).value


def test_runs_are_the_unit_of_the_interval():
    """Multipliers that are the same throughout a run say as much as one of them."""
    m = np.exp(np.random.default_rng(2).normal(size=(12, 1)))
    one, repeated = multiplier_exponent(m), multiplier_exponent(np.repeat(m, 50, axis=1))
    assert (repeated.ci_low, repeated.ci_high) == pytest.approx((one.ci_low, one.ci_high))
    logs = np.log(m)
    assert one.value == pytest.approx(logs.mean())
    # Student's 0.975 point with 11 degrees of freedom, from tables.
    assert one.ci_high - one.value == pytest.approx(2.20099 * logs.std(ddof=1) / np.sqrt(12), rel=1e-5)


def test_a_multiplier_of_nothing_makes_the_exponent_minus_infinity():
    found = multiplier_exponent(np.array([[1.0, 0.0], [2.0, 2.0]]))
    assert found.value == -np.inf
    assert np.isnan([found.ci_low, found.ci_high]).all()


def test_matrices_that_commute_have_the_exponents_of_their_axes():
    rng = np.random.default_rng(3)
    logs = rng.normal(loc=[0.3, -0.1, -0.5], scale=0.2, size=(20, 100, 3))
    signs = rng.choice([-1, 1], size=logs.shape)
    found = jacobian_exponents((np.exp(logs) * signs)[..., np.newaxis] * np.eye(3))
    assert [one.value for one in found] == pytest.approx(logs.mean(axis=(0, 1)))
    alone = [multiplier_exponent(np.exp(logs[..., axis])) for axis in range(3)]
    assert [one.ci_low for one in found] == pytest.approx([one.ci_low for one in alone])


@pytest.mark.parametrize("growth", [[-0.5, 0.3], [0.3, -0.5]])
def test_the_largest_comes_first_though_the_frame_never_turns(growth):
    rng = np.random.default_rng(8)
    jacobians = np.zeros((10, 200, 2, 2))
    jacobians[..., [0, 1], [0, 1]] = np.exp(rng.normal(growth, 0.1, size=(10, 200, 2)))
    jacobians[..., 0, 1] = rng.normal(size=(10, 200))  # triangular: the first coordinate is left to itself
    found = jacobian_exponents(jacobians)
    assert [one.value for one in found] == pytest.approx([0.3, -0.5], abs=0.02)
    assert found[0].ci_low > 0 > found[1].ci_high


@pytest.mark.parametrize("size", [2, 4])
def test_gaussian_matrices_have_newmans_exponents(size):
    """Newman 1986: independent standard normal entries, exponents (ln 2 + ψ((d − i + 1)/2))/2, i from 1."""
    found = jacobian_exponents(np.random.default_rng(4).standard_normal((200, 200, size, size)))
    exact = 0.5 * (np.log(2) + digamma((size - np.arange(size)) / 2))
    for one, value in zip(found, exact, strict=True):
        reach = one.ci_high - one.ci_low  # four standard errors in all, nearly
        assert one.value == pytest.approx(value, abs=reach)
        assert reach < 0.04


def test_descent_in_many_dimensions_grows_as_its_largest_exponent():
    """I − λxxᵀ with x ~ N(0, I): no direction is special, so that one step from any tells the largest exponent."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((100, 400, 3))
    found = jacobian_exponents(np.eye(3) - 0.4 * x[..., :, np.newaxis] * x[..., np.newaxis, :])
    drawn = rng.standard_normal((1_000_000, 3))
    first = np.array([1.0, 0, 0]) - 0.4 * drawn * drawn[:, :1]
    exact = np.log(np.linalg.norm(first, axis=1)).mean()
    assert found[0].value == pytest.approx(exact, abs=found[0].ci_high - found[0].ci_low)
    # All exponents together are the mean of ln|det| = ln|1 − λ‖x‖²|.
    together = np.log(abs(1 - 0.4 * (x**2).sum(axis=-1))).mean()
    assert sum(one.value for one in found) == pytest.approx(together, abs=1e-9)


def test_the_first_jacobian_is_applied_first():
    rng = np.random.default_rng(6)
    jacobians = rng.standard_normal((1, 30, 2, 2))
    product = np.eye(2)
    for jacobian in jacobians[0]:
        product = jacobian @ product
    grown = np.log(np.linalg.norm(product[:, 0])) / 30
    assert jacobian_exponents(jacobians)[0].value == pytest.approx(grown, abs=1e-9)


def test_steps_that_turn_the_frame_can_be_left_out():
    turned = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    constant = np.broadcast_to(turned @ np.diag([0.5, 2.0]) @ turned.T, (3, 60, 2, 2))
    found = [one.value for one in jacobian_exponents(constant, discard=40)]
    assert found == pytest.approx([np.log(2), np.log(0.5)], abs=1e-12)
    assert jacobian_exponents(constant[:, :5])[0].value < np.log(2) - 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: multiplier_exponent(np.ones(3)),
            r"multipliers: expected 2 dimensions, none of them empty, found \(3,\)",
        ),
        (lambda: multiplier_exponent(np.array([[1.0, np.inf]])), r"multipliers: not finite at \(0, 1\); cut the run"),
        (lambda: jacobian_exponents(np.ones((1, 2, 2, 3))), "jacobians: expected square matrices, found 2 × 3"),
        (lambda: jacobian_exponents(np.ones((1, 2, 2, 2)), discard=2), "discard = 2: expected 0 to 1"),
    ],
)
def test_arrays_that_make_no_sense_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
