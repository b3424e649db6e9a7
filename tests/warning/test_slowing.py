"""Critical slowing down against pandas, SciPy and ewstools."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from trajhmm.warning.detectors import make_detector
from trajhmm.warning.detectors.slowing import detrended, rolling_indicators, trailing_tau

from .made import made_run


def slowing_series(n=300, seed=0):
    """An autoregression whose memory rises to 1, as on the way to a tipping point."""
    rng = np.random.default_rng(seed)
    values = np.zeros(n)
    for t in range(1, n):
        values[t] = min(t / n, 0.99) * values[t - 1] + rng.normal()
    return values


def test_indicators_are_those_of_pandas():
    values = slowing_series()
    rolling = pd.Series(values).rolling(40)
    variance, memory = rolling_indicators(values, 40)
    np.testing.assert_allclose(variance, rolling.var(), rtol=1e-9)
    np.testing.assert_allclose(memory, rolling.apply(lambda inside: pd.Series(inside).autocorr(1), raw=True), rtol=1e-9)


def test_indicators_and_trend_are_those_of_ewstools():
    ewstools = pytest.importorskip("ewstools", reason="ewstools is not installed: pip install ewstools")
    values = slowing_series()
    series = ewstools.TimeSeries(pd.Series(values))
    series.compute_var(rolling_window=50)
    series.compute_auto(rolling_window=50, lag=1)
    variance, memory = rolling_indicators(values, 50)
    np.testing.assert_allclose(variance, series.ews["variance"], rtol=1e-9)
    np.testing.assert_allclose(memory, series.ews["ac1"], rtol=1e-9)
    series.compute_ktau(tmin=250, tmax=299)
    assert trailing_tau(variance, 50)[299] == pytest.approx(series.ktau["variance"])
    assert trailing_tau(memory, 50)[299] == pytest.approx(series.ktau["ac1"])


@pytest.mark.parametrize("digits", [8, 0])
def test_tau_is_that_of_scipy(digits):
    values = np.round(slowing_series(120), digits)  # with 0 digits there are ties
    found = trailing_tau(values, 25)
    expected = [kendalltau(np.arange(25), values[t - 24 : t + 1]).statistic for t in range(24, 120)]
    np.testing.assert_allclose(found[24:], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found[:24], 0)


def test_the_trend_is_taken_from_behind():
    values, sigma = slowing_series(60), 3.0
    expected = []
    for t in range(60):
        lags = np.arange(min(12, t) + 1)
        weights = np.exp(-(lags**2) / (2 * sigma**2))
        expected.append(values[t] - np.sum(weights * values[t - lags]) / weights.sum())
    np.testing.assert_allclose(detrended(values, sigma), expected, rtol=1e-9, atol=1e-12)


def test_the_kernel_has_its_quartiles_at_a_quarter_of_the_bandwidth():
    """What ewstools says of its bandwidth, for the half of the kernel that looks back."""
    impulse = np.zeros(2001)
    impulse[0] = 1.0
    weights = -detrended(impulse, 0.25 / 0.675 * 400)[1:]  # weight of lag t, over the weights so far
    density = np.exp(-0.5 * (np.arange(1, 2001) / (0.25 / 0.675 * 400)) ** 2)
    reached = int(4 * 0.25 / 0.675 * 400)
    np.testing.assert_allclose(weights[:reached] * (1 + np.cumsum(density[:reached])), density[:reached], rtol=1e-9)
    inside = density[:100].sum() / density[:reached].sum()
    assert abs(inside - 0.5) < 0.01


def test_score_is_the_mean_of_both_trends():
    values = slowing_series()
    residuals = detrended(values, 0.25 / 0.675 * 50)
    variance, memory = rolling_indicators(residuals, 50)
    expected = np.zeros(300)
    for t in range(98, 300):
        expected[t] = np.mean([kendalltau(np.arange(50), one[t - 49 : t + 1]).statistic for one in (variance, memory)])
    np.testing.assert_allclose(make_detector("slowing_down").scores(made_run(values)), expected, rtol=1e-9, atol=1e-12)


def test_what_stands_still_has_no_trend():
    variance, memory = rolling_indicators(np.full(60, 0.1), 20)
    np.testing.assert_array_equal(memory[19:], 0)
    np.testing.assert_array_equal(trailing_tau(np.full(60, 2.0), 20), 0)
    assert np.isnan(variance[:19]).all()


def test_slowing_down_is_seen():
    """Higher before the tipping point than on a stationary series, in most of 20 pairs."""
    detector = make_detector("slowing_down")
    wins = 0
    for seed in range(20):
        still = np.random.default_rng(seed + 100).normal(size=300)
        wins += (
            detector.scores(made_run(slowing_series(seed=seed)))[150:].mean()
            > detector.scores(made_run(still))[150:].mean()
        )
    assert wins >= 16
