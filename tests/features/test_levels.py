"""Levels and innovations: each metric among all healthy rows, and against its own past."""

import json

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun, LevelsAndInnovations, causal_runs, scaler_from_dict
from trajhmm.features.departures import squeezed
from trajhmm.logs import RunSet

METRICS = ("train_loss", "reward", "constant", "late")


def run_of(values, name="run", metrics=METRICS):
    values = np.asarray(values, dtype=float)
    logged = ~np.isnan(values)
    return CausalRun(
        run=name,
        metrics=metrics[: values.shape[1]],
        steps=np.arange(len(values)),
        values=pd.DataFrame(values).ffill().to_numpy(),
        logged=logged,
        events=np.zeros(len(values), dtype=bool),
    )


def made(seed, n=80):
    """A loss, a reward of either sign, a constant, and a metric that begins at row 30."""
    rng = np.random.default_rng(seed)
    late = np.exp(rng.normal(0, 1, n))
    late[:30] = np.nan
    return np.column_stack([np.exp(rng.normal(-2, 1, n)), rng.normal(0, 3, n), np.full(n, 7.0), late])


@pytest.fixture
def runs():
    return [run_of(made(seed), f"run {seed}") for seed in range(4)]


def innovations_of(values, floor, span=120):
    """The definition in plain Python, of a metric that is logged at every row and never wild."""
    mean, spread, told = values[0], 0.0, []
    for n, value in enumerate(values):
        told.append((value - mean) / (spread + floor) if n >= 5 else 0.0)
        away, weight = value - mean, max(2 / (span + 1), 1 / (n + 1))
        unit = spread + floor
        if n >= 10:
            away = np.clip(away, -4 * unit, 4 * unit)
        spread += weight * (np.sqrt(np.pi / 2) * abs(away) - spread)
        mean += weight * away
    return np.array(told)


def test_rows_are_what_numpy_and_plain_python_make_of_them(runs):
    features = LevelsAndInnovations.of(runs)
    z = features.transform(runs[0])
    assert z.shape == (80, 8) == (80, features.n_features)
    together = np.concatenate([run.values for run in runs])
    loss, reward = np.log(together[:, 0]), together[:, 1]
    own_loss, own_reward = np.log(runs[0].values[:, 0]), runs[0].values[:, 1]
    np.testing.assert_allclose(z[:, 0], np.arcsinh((own_loss - loss.mean()) / loss.std()), rtol=1e-9)
    np.testing.assert_allclose(z[:, 1], np.arcsinh((own_reward - reward.mean()) / reward.std()), rtol=1e-9)
    np.testing.assert_allclose(z[:, 4], np.arcsinh(innovations_of(own_loss, 1e-4)), rtol=1e-8)
    np.testing.assert_allclose(z[:, 5], np.arcsinh(innovations_of(own_reward, 1e-4 * reward.std())), rtol=1e-8)


def test_a_metric_is_missing_before_its_first_value_and_its_past_begins_there(runs):
    features = LevelsAndInnovations.of(runs)
    z = features.transform(runs[1])
    assert np.isnan(z[:30, [3, 7]]).all()
    assert np.isfinite(z[30:, :7]).all()
    assert np.isfinite(z[:30, [0, 1, 2, 4, 5, 6]]).all()
    own = np.log(runs[1].values[30:, 3])
    assert np.isnan(z[30:60, 7]).all()  # until its past is as long as it kept waiting
    np.testing.assert_allclose(z[60:, 7], np.arcsinh(innovations_of(own, 1e-4))[30:], rtol=1e-8)


def test_a_metric_waits_for_a_past_no_longer_than_that_which_counts(runs):
    features = LevelsAndInnovations.of(runs)
    values = np.column_stack([made(9, 600)[:, :3], np.exp(np.random.default_rng(0).normal(0, 1, 600))])
    values[:400, 3] = np.nan
    values[3, 0] = np.nan
    z = features.transform(run_of(values))
    assert np.isnan(z[:520, 7]).all()
    assert np.isfinite(z[520:, 7]).all()
    assert np.isfinite(z[:, [4, 5, 6]]).all()  # a blank in between is none
    memory, whole = features.memory(), features.transform(run_of(values))[:, 4:]
    parts = []
    scaled, fresh = features.scales(pd.DataFrame(values).ffill().to_numpy()), ~np.isnan(values)
    for first, stop in ((0, 1), (1, 399), (399, 401), (401, 402), (402, 519), (519, 600)):
        parts.append(features.innovations(scaled[first:stop], fresh[first:stop], memory))
    found = np.where(np.isnan(scaled), np.nan, np.concatenate(parts))
    np.testing.assert_allclose(np.arcsinh(found), whole, rtol=1e-12)


def test_a_constant_metric_says_nothing_until_it_moves(runs):
    features = LevelsAndInnovations.of(runs)
    values = made(9)
    values[50:, 2] = 7.1
    z = features.transform(run_of(values))
    np.testing.assert_allclose(z[:50, [2, 6]], 0, atol=1e-6)
    assert z[50, 2] > np.arcsinh(100)
    assert z[50, 6] > np.arcsinh(100)
    assert np.isfinite(z[60:]).all()


def test_what_was_positive_in_all_healthy_rows_may_fall_to_zero_or_below(runs):
    features = LevelsAndInnovations.of(runs)
    assert (features.least > 0).tolist() == [True, False, True, True]
    values = made(9)
    values[40:, 0] = [0.0, -1.0] * 20
    z = features.transform(run_of(values))
    assert np.isfinite(z[:, 0]).all()
    assert z[40, 0] < z[:40, 0].min()


def test_the_unit_of_a_metric_does_not_matter(runs):
    units = np.array([1e6, 1e-9, 1e3, 1e-3])
    other = [run_of(made(seed) * units, f"run {seed}") for seed in range(4)]
    np.testing.assert_allclose(
        LevelsAndInnovations.of(other).transform(other[0]),
        LevelsAndInnovations.of(runs).transform(runs[0]),
        rtol=1e-5,
        atol=1e-8,
    )


def test_the_past_alone_counts(runs):
    features = LevelsAndInnovations.of(runs)
    values = made(9)
    whole = features.transform(run_of(values))
    np.testing.assert_array_equal(features.transform(run_of(values[:55])), whole[:55])


def test_logs_are_run_by_run_what_the_runs_are():
    frame = pd.concat(
        [pd.DataFrame(made(seed), columns=list(METRICS)).assign(run=f"run {seed}", step=range(80)) for seed in range(3)]
    )
    logs = RunSet.from_frame(frame)
    names = ("train_loss", "reward", "late")
    features = LevelsAndInnovations.of(causal_runs(logs, names))
    sequences = features.sequences(logs)
    expected = np.concatenate([features.transform(run) for run in causal_runs(logs, names)])
    np.testing.assert_array_equal(sequences.values, expected)
    assert sequences.metrics[:3] == names
    assert sequences.metrics[4] == "reward against its own past"
    assert sequences.lengths.tolist() == [80] * 3


def test_what_is_stored_comes_back_to_the_last_bit(runs):
    features = LevelsAndInnovations.of(runs)
    again = scaler_from_dict(json.loads(json.dumps(features.to_dict())))
    assert isinstance(again, LevelsAndInnovations)
    assert again.metrics == features.metrics
    for name in ("least", "centre", "spread"):
        np.testing.assert_array_equal(getattr(again, name), getattr(features, name))
    np.testing.assert_array_equal(again.transform(runs[2]), features.transform(runs[2]))


def test_runs_without_a_finite_value_or_a_metric_are_refused(runs):
    with pytest.raises(FitError, match="no finite value of train_loss, reward in 2 healthy runs"):
        LevelsAndInnovations.of([run_of(np.full((5, 2), np.nan))] * 2)
    with pytest.raises(LogError, match="run short: no metric 'constant'"):
        LevelsAndInnovations.of([*runs, run_of(made(5)[:, :2], "short")])


def test_squeezed_values_are_the_inverse_hyperbolic_sine_from_the_smallest_to_the_largest():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 4)) * 10.0 ** rng.uniform(-12, 8, size=(500, 4))
    values[:2] = [[0.0, -0.0, np.nan, np.inf], [-np.inf, 1e-4, -1e-4, 9.99e-5]]
    centre, spread = rng.normal(size=4), rng.uniform(0.1, 2.0, size=4)
    for middle, size in ((np.zeros(4), np.ones(4)), (centre, spread)):
        expected = np.arcsinh(np.clip((values - middle) / size, -1e6, 1e6))
        found = squeezed(values, middle, size)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=0)
        usual = np.abs(expected) > 0.1
        np.testing.assert_allclose(found[usual], expected[usual], rtol=3e-15, atol=0)
    np.testing.assert_array_equal(squeezed(values[5:6], centre, spread), squeezed(values, centre, spread)[5:6])
