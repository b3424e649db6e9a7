"""Numbers as large and as small as floats hold: the same results as of others, or an error of one line; no warning."""

import warnings

import numpy as np
import pandas as pd
import pytest

from trajhmm import fit, read_logs
from trajhmm.dynamics.stability.exponents.finite_time import finite_time_exponent
from trajhmm.dynamics.stability.rates import rate_over_runs
from trajhmm.errors import TrajHMMError
from trajhmm.features.pooled import learn_scaler
from trajhmm.features.spread import Spread, spread_about_runs, spread_of_rows
from trajhmm.figures.style import drawable

SCALINGS = ["mixed", "shared", "own-start"]
# Powers of ten of numbers whose squares floats do not hold.
EXPONENTS = [-315, -165, -120, 101, 155, 165, 200, 307]


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def rows(seed=0, n=60, runs=6):
    """(N, 2) rows of runs, which are not positive throughout, and their lengths."""
    rng = np.random.default_rng(seed)
    level = np.tile(np.repeat([-1.0, 1.0], n // 2), runs)
    return np.column_stack([level + 0.1 * rng.normal(size=n * runs), rng.normal(size=n * runs)]), np.full(runs, n)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_scale_of_extreme_numbers_is_that_of_others(exponent, scaling):
    """The square of the spread was infinite, and each value over it 0; or 0, and the metric one that stands still."""
    values, lengths = rows()
    extreme = values * [10.0**exponent, 1.0]
    expected = learn_scaler(values, lengths, scaling).transform(values, lengths)
    found = learn_scaler(extreme, lengths, scaling).transform(extreme, lengths)
    # Of numbers below 1e-308 floats hold fewer digits.
    np.testing.assert_allclose(found, expected, rtol=1e-5 if exponent < -300 else 1e-9, atol=1e-9)


def test_a_number_far_off_among_others_does_not_make_their_scale():
    values, lengths = rows()
    expected = learn_scaler(values, lengths, "mixed")
    values[70, 0] = 1e200
    found = learn_scaler(values, lengths, "mixed")
    assert found.spread[0] < 10 * expected.spread[0]
    assert abs(found.transform(values, lengths)[70, 0]) < 200


def test_the_spread_of_numbers_that_floats_hold_no_squares_of_is_none():
    values = np.array([[-1e160], [1e160], [-1e160], [1e160]])
    for spread in (spread_of_rows(values), spread_about_runs(values, np.array([2, 2]))):
        assert np.isnan(spread.variance).all()
        assert np.isnan((spread + spread).variance).all()
    apart = Spread(mass=np.ones(1), mean=np.array([-1.7e308]), squares=np.zeros(1))
    assert np.isnan((apart + Spread(mass=np.ones(1), mean=np.array([1.7e308]), squares=np.zeros(1))).variance).all()


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_cannot_be_scaled_is_refused_by_its_name(scaling):
    rng = np.random.default_rng(0)
    frames = {}
    for seed in range(6):
        level = np.repeat([3.0, 1.0], 30)
        far = np.where(rng.random(60) < 0.5, -1.7e308, 1.7e308)
        # So far from one run to the other that a difference of two is no number.
        frames[f"r{seed}"] = pd.DataFrame(
            {"step": range(60), "loss": level + 0.1 * rng.normal(size=60), "far": far * (1 - 0.1 * rng.random(60))}
        )
    runs = read_logs(frames)
    if scaling == "own-start":
        with pytest.raises(TrajHMMError, match=r"^run r\d: far is .*leave the run out"):
            fit(runs, states=2, scaling=scaling, restarts=1, halves=0, seed=0)
        return
    model = fit(runs, states=2, scaling=scaling, restarts=1, halves=0, seed=0)
    assert np.isfinite(model.scaler.spread).all()
    assert np.abs(model.parameters.means[:, 1]).max() > 0


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e155, 1e200, 1e300])
def test_a_rate_of_extreme_numbers_is_that_of_others(factor):
    totals, spans = np.random.default_rng(0).normal(0.3, 1.0, 20), np.full(20, 10.0)
    expected, found = rate_over_runs(totals, spans), rate_over_runs(totals * factor, spans)
    for name in ("value", "ci_low", "ci_high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name) * factor, rel=1e-12)
    assert found.confidence_of_sign == pytest.approx(expected.confidence_of_sign, rel=1e-12)


def test_a_rate_of_others_is_to_the_last_digit_what_it_was():
    rng = np.random.default_rng(1)
    totals, spans = rng.normal(size=9), rng.integers(1, 50, 9).astype(float)
    value = totals.sum() / spans.sum()
    assert rate_over_runs(totals, spans).value == value
    assert rate_over_runs(totals * 0.0, spans).value == 0.0
    assert rate_over_runs(np.append(totals, np.inf), np.append(spans, 1.0)).value == np.inf


def test_exponents_of_distances_as_large_as_floats_hold():
    lengths, steps = np.full(4, 20), np.tile(np.arange(20), 4)
    for distance in (1e160, 1.7e308):
        found = finite_time_exponent(distance * np.tile([-1.0, 1.0], 40), steps, lengths)
        assert found.exponent.n_runs == 4


def test_what_is_too_far_off_for_an_axis_is_drawn_at_its_end():
    values = np.array([[np.nan, np.inf, -np.inf], [1.7e308, -1.7e308, 0.1]])
    np.testing.assert_array_equal(drawable(values), [[np.nan, np.inf, -np.inf], [1e150, -1e150, 0.1]])


@pytest.mark.once
def test_figures_of_numbers_as_large_as_floats_hold_are_drawn(tmp_path, trajhmm):
    (tmp_path / "logs").mkdir()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        level = np.repeat([3.0, 1.0], 30)
        loss = np.where(rng.random(60) < 0.5, -1.7e308, 1.7e308)
        frame = pd.DataFrame({"step": range(60), "norm": level + 0.1 * rng.normal(size=60), "train_loss": loss})
        frame.to_csv(tmp_path / "logs" / f"{seed}.csv", index=False)
    line = ["--states", "2", "--restarts", "1", "--halves", "0", "--metrics", "norm"]
    assert trajhmm("fit", tmp_path / "logs", "-o", tmp_path / "m.json", *line).code == 0
    options = ["--model", tmp_path / "m.json", "--metric", "norm,train_loss", "-o", tmp_path / "c.png"]
    ended = trajhmm("figure", "curves", tmp_path / "logs", *options)
    assert ended.code in (0, 1)
    assert "not foreseen" not in ended.err
    ended = trajhmm("stability", tmp_path / "logs", "-o", tmp_path / "out")
    assert (ended.code, "warning" in ended.err) == (0, False), ended.err
