"""Two weights near their saddle: sums and differences grow by exact exponents, whose signs are the published phases."""

import numpy as np
import pytest
from scipy import stats

from trajhmm.simulate import scalar_net
from trajhmm.simulate.scalar_net import phase_of, scalar_net_exponents

# arXiv 2303.13093: with little signal, learning, collapse, divergence; with nothing but signal no collapse.
PHASES = {
    0.1: {0.01: "correct", 0.05: "saddle", 0.1: "saddle", 0.2: "saddle", 0.5: "unstable", 1.0: "unstable"},
    1.0: {0.01: "correct", 0.1: "correct", 1.0: "correct", 2.0: "unstable"},
}


@pytest.mark.parametrize("mu", PHASES)
def test_phases_are_the_published_ones(mu):
    found = {rate: phase_of(*scalar_net_exponents(mu, rate)) for rate in PHASES[mu]}
    assert found == PHASES[mu]


def test_phases_of_logs_are_the_published_ones():
    for mu, expected in PHASES.items():
        table = scalar_net(mus=[mu], learning_rates=list(expected), n_runs=1, n_steps=1).truth_table()
        assert dict(zip(expected, table["phase"], strict=True)) == expected


@pytest.mark.parametrize(("plus", "minus"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_signs_name_the_phase(plus, minus):
    named = {(1, 1): "unstable", (1, -1): "correct", (-1, 1): "incorrect", (-1, -1): "saddle"}
    assert phase_of(0.1 * plus, 0.2 * minus) == named[plus, minus]


@pytest.mark.parametrize(("mu", "rate"), [(0.0, 0.2), (0.1, 0.05), (0.5, 0.3), (1.0, 0.1), (1.0, 2.0)])
def test_exact_exponents_are_means_of_logarithms(mu, rate):
    x, noise = np.random.default_rng(0).standard_normal((2, 1_000_000))
    pull = 2 * rate * x * (mu * x + (1 - mu) * 2 * noise)
    for sign, exact in zip((1, -1), scalar_net_exponents(mu, rate), strict=True):
        drawn = np.log(abs(1 + sign * pull))
        assert exact == pytest.approx(drawn.mean(), abs=4 * stats.sem(drawn))


def test_logs_are_those_of_two_weights_that_pull_at_each_other():
    truth = scalar_net(mus=[0.1, 0.4], learning_rates=[0.05, 0.5], n_runs=2, n_steps=50, seed=3)
    # Run 1 of μ = 0.4, λ = 0.05, which is the third setting: u ← u + 2λxy w, w ← w + 2λxy u from u = 1, w = 0.
    draws = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(2, 1))).standard_normal((50, 2))
    u, w = 1.0, 0.0
    expected = [(0.0, 0.0)]
    for x, noise in draws:
        pull = 2 * 0.05 * x * (0.4 * x + 0.6 * 2 * noise)
        u, w = u + pull * w, w + pull * u
        expected.append((np.log(abs(u + w)), np.log(abs(u - w))))
    run = truth.logs.select_runs(["mu_0.4_learning_rate_0.05_seed_1"])
    np.testing.assert_allclose(run.values, expected, atol=1e-9)


def test_logs_drift_at_the_exact_exponents():
    truth = scalar_net(mus=[0.1], learning_rates=[0.01, 0.2], n_runs=50, n_steps=2000, every=2000, seed=4)
    last = truth.logs.values.reshape(2, 50, 2, 2)[:, :, -1] / 2000
    exact = truth.truth_table()[["exponent_plus", "exponent_minus"]].to_numpy().reshape(2, 50, 2)[:, 0]
    np.testing.assert_array_less(abs(last.mean(axis=1) - exact), 4 * stats.sem(last, axis=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mus": [1.5]}, "mus = 1.5: expected numbers from 0 to 1"),
        ({"mus": [float("nan")]}, "mus = nan: expected numbers from 0 to 1"),
        ({"learning_rates": [-1.0]}, "learning_rates = -1: expected numbers above 0"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        scalar_net(**settings)
