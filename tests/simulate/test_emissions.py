"""Noise, offsets, scales and growth have the sizes asked for."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from trajhmm.simulate import Emissions
from trajhmm.simulate.emissions import emit, pooled_sd, spread_means


def noise_of(*, runs=2000, rows=50, metrics=4, seed=0, **settings):
    """(R, T, D) emissions of a single state with mean 0."""
    paths = np.zeros((runs, rows), dtype=np.int64)
    return emit(paths, np.zeros((1, metrics)), Emissions(**settings), np.random.default_rng(seed))


def emitted(*, seed=0, **settings):
    """(R, T, D) emissions of 40 runs that cross three states, one row apart."""
    paths = np.minimum((np.arange(100) + np.arange(40)[:, np.newaxis]) // 40, 2)
    means = spread_means(n_states=3, n_metrics=8, separation=2.5, rng=np.random.default_rng(0))
    return emit(paths, means, Emissions(**settings), np.random.default_rng(seed))


def autocorrelation(noise):
    """Of neighbouring rows, about the true mean 0."""
    return (noise[:, 1:] * noise[:, :-1]).mean() / (noise**2).mean()


@pytest.mark.parametrize("ar", [0.0, 0.5, 0.9])
def test_neighbouring_rows_correlate_as_asked_and_every_row_has_the_same_variance(ar):
    noise = noise_of(ar=ar, noise=0.35)
    # 392,000 pairs: standard error at most 1 / √392,000 = 0.0016.
    assert autocorrelation(noise) == pytest.approx(ar, abs=0.0064)
    # 8,000 values a row: relative standard error of their standard deviation 1 / √16,000 = 0.8%; 50 rows.
    np.testing.assert_allclose(noise.std(axis=(0, 2)), 0.35, rtol=0.034)


def test_heavy_tails_are_those_of_t_at_the_same_variance():
    scaled = noise_of(tails=3, noise=0.35).ravel() * np.sqrt(3) / 0.35
    # 400,000 values; the 0.999 point of the Kolmogorov–Smirnov statistic is 1.95 / √n.
    assert stats.kstest(scaled, stats.t(3).cdf).statistic < 1.95 / np.sqrt(len(scaled))
    assert stats.kstest(scaled / np.sqrt(3), stats.norm.cdf).statistic > 10 / np.sqrt(len(scaled))
    moderate = noise_of(tails=10, noise=0.35).ravel()
    # t with 10 degrees of freedom: excess kurtosis 6 / (10 − 4); standard error about 0.04 at 400,000 values.
    assert stats.kurtosis(moderate) == pytest.approx(1.0, abs=0.16)
    assert moderate.std() == pytest.approx(0.35, rel=0.006)
    assert stats.kurtosis(noise_of().ravel()) == pytest.approx(0.0, abs=4 * np.sqrt(24 / 400_000))


def test_autoregression_with_heavy_tails_keeps_variance():
    noise = noise_of(tails=10, ar=0.9, noise=0.35)
    assert autocorrelation(noise) == pytest.approx(0.9, abs=0.0064)
    np.testing.assert_allclose(noise.std(axis=(0, 2)), 0.35, rtol=0.04)


@pytest.mark.parametrize("offset_sd", [0.5, 3.0])
def test_offsets_are_measured_in_pooled_standard_deviations(offset_sd):
    sizes = []
    for seed in range(20):
        without, shifted = emitted(seed=seed, scale_sd=0.3), emitted(seed=seed, scale_sd=0.3, offset_sd=offset_sd)
        shift = shifted - without
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-12)
        sizes.append(shift[:, 0] / without.reshape(-1, 8).std(axis=0))
    # 20 sets of 40 runs and 8 metrics: relative standard error 1 / √12,800 = 0.9%.
    assert np.std(sizes) == pytest.approx(offset_sd, rel=0.036)
    assert np.mean(sizes) == pytest.approx(0, abs=4 * offset_sd / np.sqrt(6400))


def test_offsets_can_be_measured_in_the_noise():
    sizes = [emitted(seed=s, offset_sd=None)[:, 0] - emitted(seed=s)[:, 0] for s in range(20)]
    assert np.std(sizes) == pytest.approx(0.35, rel=0.036)


def test_scales_multiply_each_run_and_metric():
    logs = []
    for seed in range(20):
        ratio = emitted(seed=seed, scale_sd=0.3) / emitted(seed=seed)
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-9)
        logs.append(np.log(ratio[:, 0]))
    assert np.std(logs) == pytest.approx(0.3, rel=0.036)
    assert np.mean(logs) == pytest.approx(0, abs=4 * 0.3 / np.sqrt(6400))


def test_growth_is_a_straight_rise_by_pooled_standard_deviations():
    before = emitted()
    rise = emitted(growth=2.0) - before
    expected = 2.0 * before.reshape(-1, 8).std(axis=0) * np.linspace(0, 1, 100)[:, np.newaxis]
    np.testing.assert_allclose(rise, np.broadcast_to(expected, rise.shape), atol=1e-12)


def test_pooled_over_rows_and_runs():
    values = np.random.default_rng(0).normal(size=(5, 7, 3)) * [1, 2, 3] + np.arange(5)[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(pooled_sd(values), values.reshape(35, 3).std(axis=0))


@pytest.mark.parametrize(("states", "metrics"), [(5, 8), (6, 5), (4, 14)])
def test_spread_means_are_all_equally_far_apart(states, metrics):
    means = spread_means(n_states=states, n_metrics=metrics, separation=2.5, rng=np.random.default_rng(3))
    assert means.shape == (states, metrics)
    np.testing.assert_allclose(pdist(means), 2.5)
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=1e-12)
    other = spread_means(n_states=states, n_metrics=metrics, separation=2.5, rng=np.random.default_rng(4))
    assert abs(means - other).max() > 0.1


@pytest.mark.parametrize("metrics", [1, 2, 4])
def test_where_there_is_no_room_the_closest_means_are_as_far_apart_as_asked(metrics):
    means = spread_means(n_states=6, n_metrics=metrics, separation=2.5, rng=np.random.default_rng(3))
    assert pdist(means).min() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": -1.0}, "noise = -1: expected a standard deviation"),
        ({"offset_sd": float("nan")}, "offset_sd = nan: expected a standard deviation"),
        ({"scale_sd": -0.1}, "scale_sd = -0.1: expected a standard deviation"),
        ({"ar": 1.0}, "ar = 1: expected a coefficient from 0 to below 1"),
        ({"tails": 2.0}, "tails = 2: expected more than 2 degrees of freedom"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        Emissions(**settings)
