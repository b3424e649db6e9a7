"""The z-score within each run, against numpy and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from trajhmm.features import PerRunScaler, scaler_from_dict
from trajhmm.features.scalers import per_run_moments
from trajhmm.stored import StoredError

# Both sides divide by a spread; what is left of rounding grows with mean over spread, which the tests keep below 1e3.
ROUNDING = 1e-11


def runs_of(seed, lengths, metrics=4):
    rng = np.random.default_rng(seed)
    return rng.normal(
        loc=rng.normal(size=metrics), scale=np.exp(rng.normal(size=metrics)), size=(sum(lengths), metrics)
    )


def run_by_run(values, lengths):
    return np.split(values, np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("lengths", [[50], [20, 1, 30], [2, 2, 2], [7, 400, 3]])
def test_each_run_is_scaled_as_scipy_scales_it(lengths):
    values = runs_of(0, lengths)
    scaled = PerRunScaler().transform(values, np.array(lengths))
    for ours, run in zip(run_by_run(scaled, lengths), run_by_run(values, lengths), strict=True):
        if len(run) > 1:
            np.testing.assert_allclose(ours, zscore(run, axis=0), atol=ROUNDING)
            np.testing.assert_allclose(ours, (run - run.mean(axis=0)) / run.std(axis=0), atol=ROUNDING)
        else:
            np.testing.assert_array_equal(ours, 0)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 30), min_size=1, max_size=5),
    seed=st.integers(0, 10**6),
    power=st.sampled_from([-300, -150, -12, 0, 12, 150, 300]),
)
def test_each_run_has_mean_zero_and_spread_one_at_any_magnitude(lengths, seed, power):
    values = runs_of(seed, lengths) * 10.0**power
    scaled = PerRunScaler().transform(values, np.array(lengths))
    for ours, run in zip(run_by_run(scaled, lengths), run_by_run(values / 10.0**power, lengths), strict=True):
        # Two rows may happen to be close together: rounding then counts as much as their distance is short.
        loss = np.abs(run).max(axis=0) / run.std(axis=0)
        assert (np.abs(ours.mean(axis=0)) < 1e-14 * loss + 1e-14).all()
        np.testing.assert_allclose(ours.std(axis=0), 1, atol=1e-11)
        assert (np.abs(ours - zscore(run, axis=0)).max(axis=0) < 1e-14 * loss + 1e-13).all()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("offset", [0, 5])
def test_the_unit_of_a_metric_does_not_matter(scale, offset):
    values = runs_of(1, [40, 25]) + offset
    np.testing.assert_allclose(
        PerRunScaler().transform(values * scale, np.array([40, 25])),
        PerRunScaler().transform(values, np.array([40, 25])),
        atol=ROUNDING,
    )


def test_a_large_offset_does_not_drown_the_changes():
    """A counter of tokens near 1e12 that moves by single tokens still moves."""
    steps = np.arange(50.0)
    scaled = PerRunScaler().transform((1e12 + steps)[:, np.newaxis], np.array([50]))
    # At 1e12 floats are 1.2e-4 apart, and the spread is 14.
    np.testing.assert_allclose(scaled[:, 0], zscore(steps), atol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e-12, 1e12 / 3, 1e300, 5e-324])
def test_a_metric_that_is_constant_in_a_run_becomes_zero_there(constant):
    lengths = np.array([30, 30])
    values = np.full((60, 2), constant)
    values[30:, 1] = np.arange(30) * max(abs(constant), 1.0)
    scaled = PerRunScaler().transform(values, lengths)
    np.testing.assert_array_equal(scaled[:, 0], 0)
    np.testing.assert_array_equal(scaled[:30, 1], 0)
    np.testing.assert_allclose(scaled[30:, 1], zscore(np.arange(30)), atol=ROUNDING)


def test_rounding_noise_is_constant():
    """A sum in another order differs in its last bits, and that is no signal to blow up to spread one."""
    values = np.full((40, 1), 1 / 3)
    values[::2] = np.nextafter(1 / 3, 1)
    np.testing.assert_array_equal(PerRunScaler().transform(values, np.array([40])), 0)


@pytest.mark.parametrize("constant", [0.1, -3e-5, 1 / 3, 1e-40, 0.99999994, 12345.678])
def test_rounding_noise_of_single_precision_is_constant(constant):
    """A metric of float32 that is summed in another order differs in its last bits."""
    lengths = np.array([40, 40])
    near = np.float32(constant)
    logged = np.full(80, near)
    logged[::2] = np.nextafter(near, np.float32(0))
    logged[1::7] = np.nextafter(np.nextafter(near, np.float32(0)), np.float32(0))
    logged[40:] = near * np.linspace(0.5, 1, 40, dtype=np.float32)
    assert logged.dtype == np.float32
    assert len(np.unique(logged[:40])) == 3
    values = np.column_stack([logged.astype(np.float64), np.random.default_rng(0).normal(size=80)])
    scaled = PerRunScaler().transform(values, lengths)
    np.testing.assert_array_equal(scaled[:40, 0], 0)
    np.testing.assert_allclose(scaled[40:].std(axis=0), 1)
    np.testing.assert_allclose(scaled[:40, 1].std(), 1)


def test_what_single_precision_tells_apart_still_moves():
    small = np.float32(0.1) + 16 * np.spacing(np.float32(0.1)) * np.arange(30, dtype=np.float32)
    double = 0.1 + 1e-9 * np.arange(30)  # no float32 could tell these apart: logged in double precision
    counts = 1e7 + np.arange(3.0)  # whole numbers are exact, though these are float32 too
    for column in (small.astype(np.float64), double, counts):
        scaled = PerRunScaler().transform(column[:, np.newaxis], np.array([len(column)]))
        assert scaled[:, 0].std() == pytest.approx(1)


def test_runs_do_not_touch_each_other():
    values, lengths = runs_of(2, [30, 20]), np.array([30, 20])
    together = PerRunScaler().transform(values, lengths)
    changed = values.copy()
    changed[30:] = 1e6 * changed[30:] + 7
    np.testing.assert_array_equal(PerRunScaler().transform(changed, lengths)[:30], together[:30])
    np.testing.assert_array_equal(PerRunScaler().transform(values[:30], lengths[:1]), together[:30])


def test_the_values_given_are_left_alone():
    values = runs_of(3, [10, 10])
    before = values.copy()
    PerRunScaler().transform(values, np.array([10, 10]))
    np.testing.assert_array_equal(values, before)


def test_moments_are_population_moments_within_each_run():
    values, lengths = runs_of(4, [6, 9]), np.array([6, 9])
    centred, spread = per_run_moments(values, lengths)
    # Both in units of the largest magnitude of the run, so that squares cannot overflow.
    for part, wide, run in zip(
        run_by_run(centred, lengths), run_by_run(spread, lengths), run_by_run(values, lengths), strict=True
    ):
        unit = np.abs(run).max(axis=0)
        np.testing.assert_allclose(part * unit, run - run.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(wide * unit, np.tile(run.std(axis=0, ddof=0), (len(run), 1)), atol=1e-14)


def test_a_scaler_is_stored_and_read_back():
    assert scaler_from_dict(PerRunScaler().to_dict()) == PerRunScaler()
    with pytest.raises(StoredError, match=r"scaler.kind 'unheard of': expected one of per-run"):
        scaler_from_dict({"kind": "unheard of"})
