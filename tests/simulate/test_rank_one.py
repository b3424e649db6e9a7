"""The distance is multiplied by 1 − λx², and the exact exponent is that of the published table."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

from trajhmm.simulate import rank_one
from trajhmm.simulate.log_moments import mean_log_distance
from trajhmm.simulate.rank_one import rank_one_exponent, rank_one_second_moment, walk

# Arrangements of arXiv 2303.13093, with the tolerance that they are given with.
PUBLISHED = {0.3: -0.395, 1.0: -0.417, 2.0: -0.116, 3.0: 0.144}
ROUNDED = 0.003


@pytest.mark.parametrize("learning_rate", PUBLISHED)
def test_the_exact_exponent_is_the_published_one(learning_rate):
    assert rank_one_exponent(learning_rate) == pytest.approx(PUBLISHED[learning_rate], abs=ROUNDED)


@pytest.mark.parametrize("learning_rate", [0.01, 0.3, 1.0, 2.0, 3.0, 40.0])
def test_the_exact_exponent_is_the_integral(learning_rate):
    pole = 1 / np.sqrt(learning_rate)

    def integrand(x):
        return 2 * stats.norm.pdf(x) * np.log(abs(1 - learning_rate * x * x))

    parts = [quad(integrand, *ends, limit=400)[0] for ends in ((0, min(pole, 12)), (min(pole, 12), 12))]
    # Quadrature at a logarithmic pole; beyond 12 standard deviations nothing is left.
    assert rank_one_exponent(learning_rate) == pytest.approx(sum(parts), abs=1e-7)


def test_the_mean_logarithm_at_zero_is_half_that_of_chi_squared():
    expected = 0.5 * stats.chi2(1).expect(np.log)
    assert mean_log_distance(0.0) == pytest.approx(expected, abs=1e-6)


def test_the_edges_of_stability():
    assert brentq(rank_one_exponent, 2, 3) == pytest.approx(2.421, abs=0.005)
    assert brentq(lambda rate: rank_one_second_moment(rate) - 1, 0.1, 2) == pytest.approx(2 / 3, abs=1e-9)


def test_the_second_moment_is_that_of_the_multipliers():
    for rate in (0.3, 0.7, 2.0):
        expected = stats.chi2(1).expect(lambda h, rate=rate: (1 - rate * h) ** 2)
        assert rank_one_second_moment(rate) == pytest.approx(expected, rel=1e-6)


def test_the_logs_are_logarithms_of_the_product_and_do_not_underflow():
    truth = rank_one(learning_rates=[0.3, 3.0], n_runs=3, n_steps=2000, seed=1)
    # The very numbers of run 2 of the second learning rate, multiplied up while that is possible.
    x = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(1, 2))).standard_normal(2000)
    product, distance = 1.0, [1.0]
    for draw in x[:200]:
        product *= 1 - 3.0 * draw**2
        distance.append(abs(product))
    logs = truth.logs.values.reshape(6, 2001)
    np.testing.assert_allclose(np.exp(logs[5, :201]), distance, rtol=1e-9)
    assert np.isfinite(logs).all()
    assert logs[0, -1] == pytest.approx(-790, abs=200)  # e^-790 is 0 to float64; the spread of the sum is about 50
    assert logs[:, 0].tolist() == [0] * 6


def test_runs_drift_at_the_exact_exponent():
    truth = rank_one(n_runs=200, n_steps=500, seed=2)
    last = truth.logs.values.reshape(4, 200, 501)[:, :, -1] / 500
    exact = truth.truth_table()["exponent"].to_numpy().reshape(4, 200)[:, 0]
    np.testing.assert_array_less(abs(last.mean(axis=1) - exact), 4 * stats.sem(last, axis=1))
    assert exact == pytest.approx(list(PUBLISHED.values()), abs=ROUNDED)


def test_truth_says_what_is_stable():
    table = rank_one(learning_rates=[0.66, 0.67, 2.4, 2.45], n_runs=1, n_steps=1).truth_table()
    assert table["l2_stable"].tolist() == [True, False, False, False]
    assert table["probability_stable"].tolist() == [True, True, True, False]


def test_a_multiplier_of_nothing_is_the_end():
    np.testing.assert_array_equal(walk(np.array([1.0, 0.0, 5.0])), [0, 0, -np.inf, -np.inf])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rates": [0.3, 0.0]}, "learning_rates = 0: expected numbers above 0"),
        ({"learning_rates": [np.inf]}, "learning_rates = inf: expected numbers above 0"),
        ({"learning_rates": [0.3, 0.3]}, "learning_rate: expected one value or more, each once, found 0.3, 0.3"),
        ({"learning_rates": []}, "learning_rate: expected one value or more, each once, found none"),
        ({"n_runs": 0}, "n_runs = 0: expected 1 or more"),
        ({"n_steps": 10, "every": 11}, "every = 11: expected 1 to n_steps = 10"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        rank_one(**settings)
