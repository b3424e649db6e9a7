"""One scale for all runs: logarithms of what is positive, a centre, a spread; each run's own first rows where asked."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm.features import PerRunScaler, PooledScaler, map_sequences, scaler_from_dict, sequences
from trajhmm.features.pooled import SCALINGS, learn_scaler, learn_scaler_over, pooled_kind
from trajhmm.features.scalers import Unscaled
from trajhmm.features.sequences import changing
from trajhmm.features.spread import spread_about_runs, spread_of_rows
from trajhmm.logs import RunSet

# Sums of some hundred terms, each exact to rounding, in another order.
ROUNDING = 1e-12
POOLED = [scaling for scaling in SCALINGS if scaling != "per-run"]


def runs_of(seed, lengths):
    """Rows of a positive metric, one that is negative once, and one of both signs; runs differ by offsets."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    values = rng.normal(size=(n, 3)) + np.repeat(rng.normal(size=(len(lengths), 3)), lengths, axis=0)
    values[:, 0] = np.exp(values[:, 0])
    values[:, 1] = np.exp(values[:, 1])
    values[n // 2, 1] = -1e-3
    return values, np.array(lengths)


def by_run(values, lengths):
    return np.split(values, np.cumsum(lengths)[:-1])


def test_logarithms_of_positive_metrics_alone_over_the_spread_that_was_asked_for():
    values, lengths = runs_of(0, [30, 1, 200])
    shared, mixed = (learn_scaler(values, lengths, scaling) for scaling in ("shared", "mixed"))
    np.testing.assert_array_equal(shared.logs, [True, False, False])
    taken = np.column_stack([np.log(values[:, 0]), values[:, 1:]])
    expected = (taken - taken.mean(axis=0)) / taken.std(axis=0)
    np.testing.assert_allclose(shared.transform(values, lengths), expected, atol=ROUNDING)
    # The spread about the runs' own means, which offsets of runs do not widen.
    within = np.concatenate([run - run.mean(axis=0) for run in by_run(taken, lengths)])
    np.testing.assert_allclose(mixed.spread, np.sqrt((within**2).mean(axis=0)), rtol=ROUNDING)
    np.testing.assert_allclose(mixed.centre, taken.mean(axis=0), rtol=ROUNDING)
    assert (mixed.spread < shared.spread).all()
    assert (pooled_kind("mixed"), pooled_kind("shared"), pooled_kind("own-start")) == ("shared", "shared", "own-start")


def test_own_start_takes_from_each_run_the_mean_of_its_first_rows():
    values, lengths = runs_of(1, [40, 1, 200])
    scaler = learn_scaler(values, lengths, "own-start")
    taken = np.column_stack([np.log(values[:, 0]), values[:, 1:]])
    # 3% of a run, at least one row.
    less = np.concatenate(
        [run - run[:few].mean(axis=0) for run, few in zip(by_run(taken, lengths), (1, 1, 6), strict=True)]
    )
    expected = (less - less.mean(axis=0)) / less.std(axis=0)
    np.testing.assert_allclose(scaler.transform(values, lengths), expected, atol=1e-11)
    # So a run's offset, of a positive metric a factor, leaves no trace.
    moved = values + np.repeat([[0.0, 0.0, 5.0], [0.0, 0.0, -7.0], [0.0, 0.0, 1.0]], lengths, axis=0)
    moved[:, 0] *= np.repeat([2.0, 0.5, 3.0], lengths)
    one, other = (learn_scaler(some, lengths, "own-start").transform(some, lengths) for some in (values, moved))
    np.testing.assert_allclose(other[:, [0, 2]], one[:, [0, 2]], atol=1e-11)


@pytest.mark.parametrize("scaling", POOLED)
@pytest.mark.parametrize("torn", [1e6, -1e12, 1e300])
def test_one_torn_value_does_not_set_the_scale_of_all_runs_and_is_told(scaling, torn):
    values, lengths = runs_of(7, [100, 80, 120])
    sound = learn_scaler(values, lengths, scaling)
    values[130, 2] = torn
    scaler = learn_scaler(values, lengths, scaling)
    # It counts as far as 100 calm spreads: in one of 300 rows that is a spread of six, not of 10⁴ or more.
    assert 3 < scaler.spread[2] / sound.spread[2] < 10
    np.testing.assert_allclose(scaler.spread[:2], sound.spread[:2], rtol=1e-12)
    scaled, beyond = scaler.transform_and_count(values, lengths)
    np.testing.assert_array_equal(beyond, [0, 0, 1])
    assert np.argmax(np.abs(scaled[:, 2])) == 130
    assert np.sign(scaled[130, 2]) == np.sign(torn)
    (note,) = [n for n in map_sequences(run_set(values, lengths), scaling=scaling).notes if n.kind == "far-off"]
    assert "m2 (1)" in note.text
    assert not [
        n for n in map_sequences(run_set(*runs_of(7, [100, 80, 120])), scaling=scaling).notes if n.kind == "far-off"
    ]


def test_what_is_seldom_zero_is_still_taken_by_its_logarithm():
    values, lengths = runs_of(8, [200, 200])
    least = values[1:, 0].min()
    values[0, 0] = 0.0  # a gradient norm before the first gradient, say
    scaler = learn_scaler(values, lengths, "mixed")
    np.testing.assert_array_equal(scaler.logs, [True, False, False])
    assert scaler.least[0] == least
    assert scaler.transform(values, lengths)[0, 0] == scaler.transform(values, lengths)[np.argmin(values[1:, 0]) + 1, 0]
    values[:9, 0] = 0.0  # in more than one row in a hundred it is no rarity
    assert not learn_scaler(values, lengths, "mixed").logs[0]


def test_what_starts_at_zero_in_most_runs_is_not_taken_by_its_logarithm():
    values, lengths = runs_of(8, [200, 200, 200])
    values[[0, 200], 0] = 0.0  # biases, which start at 0
    assert not learn_scaler(values, lengths, "mixed").logs[0]
    values[0, 0] = 1.0
    assert learn_scaler(values, lengths, "mixed").logs[0]


def test_what_is_not_positive_counts_as_the_least_that_was_learnt_and_what_is_less_as_itself():
    values, lengths = runs_of(2, [40, 40])
    scaler = learn_scaler(values, lengths, "shared")
    least = np.array([[values[:, 0].min(), -3.0, -50.0]])
    for low in (0.0, -1.0, -np.finfo(float).max):
        new = np.array([[low, -3.0, -50.0]])
        np.testing.assert_array_equal(scaler.transform(new, np.array([1])), scaler.transform(least, np.array([1])))
    # What is missing stays so.
    assert np.isnan(scaler.transform(np.array([[np.nan, -3.0, -50.0]]), np.array([1]))[0, 0])
    # A new run may be a factor below all that were fitted, as it may be one above.
    small = np.array([[least[0, 0] / 100, -3.0, -50.0]])
    moved = scaler.transform(small, np.array([1])) - scaler.transform(least, np.array([1]))
    assert moved[0, 0] == pytest.approx(-np.log(100) / scaler.spread[0])
    # Of a metric that is not taken by its logarithm nothing is cut.
    assert scaler.transform(np.array([[1.0, -3.0, -50.0]]), np.array([1]))[0, 2] < -20


@pytest.mark.parametrize("scaling", POOLED)
def test_a_scaler_round_trips_through_json_bit_for_bit(scaling):
    values, lengths = runs_of(3, [20, 30])
    scaler = learn_scaler(values, lengths, scaling)
    back = scaler_from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert isinstance(back, PooledScaler)
    assert back.to_dict() == scaler.to_dict()
    np.testing.assert_array_equal(back.transform(values, lengths), scaler.transform(values, lengths))
    kept = np.array([2, 0])
    np.testing.assert_array_equal(
        scaler.take(kept).transform(values[:, kept], lengths), scaler.transform(values, lengths)[:, kept]
    )


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    cut=st.integers(0, 8),
    scaling=st.sampled_from(POOLED),
    seed=st.integers(0, 10**6),
)
def test_block_by_block_is_all_at_once(lengths, cut, scaling, seed):
    values, lengths = runs_of(seed, lengths)
    whole = learn_scaler(values, lengths, scaling)
    cut = min(cut, len(lengths))
    rows = lengths[:cut].sum()
    parts = [(values[:rows], lengths[:cut]), (values[rows:], lengths[cut:])]
    parts = [part for part in parts if len(part[1])]
    found, beyond = learn_scaler_over(lambda function: reduce(add, (function(*part) for part in parts)), scaling)
    np.testing.assert_array_equal(found.logs, whole.logs)
    np.testing.assert_array_equal(found.least, whole.least)
    np.testing.assert_array_equal(beyond, 0)
    np.testing.assert_allclose(found.reach, whole.reach, rtol=1e-11)
    np.testing.assert_allclose(found.centre, whole.centre, atol=1e-11)
    np.testing.assert_allclose(found.spread, whole.spread, rtol=1e-11)
    pieces = [whole.transform(*part) for part in parts]
    np.testing.assert_array_equal(np.concatenate(pieces), whole.transform(values, lengths))


def test_what_is_transformed_is_left_as_it_was():
    values, lengths = runs_of(4, [20, 30])
    before = values.copy()
    for scaling in POOLED:
        learn_scaler(values, lengths, scaling).transform(values, lengths)
    np.testing.assert_array_equal(values, before)


def run_set(values, lengths):
    import pandas as pd

    frame = pd.DataFrame(values, columns=[f"m{number}" for number in range(values.shape[1])])
    frame.insert(0, "step", np.concatenate([np.arange(n) for n in lengths]))
    frame.insert(0, "run", np.repeat([f"r{number}" for number in range(len(lengths))], lengths))
    return RunSet.from_frame(frame)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_sequences_are_scaled_alike_in_blocks_and_by_a_scaler_that_was_learnt_before(scaling, monkeypatch):
    values, lengths = runs_of(5, [40, 25, 60])
    runs = run_set(values, lengths)
    whole = map_sequences(runs, scaling=scaling)
    assert isinstance(whole.scaler, PerRunScaler if scaling == "per-run" else PooledScaler)
    monkeypatch.setattr(sequences, "_BLOCK", 30)
    # Learnt block by block: sums in another order.
    np.testing.assert_allclose(map_sequences(runs, scaling=scaling).values, whole.values, rtol=1e-11, atol=1e-11)
    again = map_sequences(runs, whole.metrics, scaler=scaler_from_dict(whole.scaler.to_dict()))
    np.testing.assert_array_equal(again.values, whole.values)
    bare = map_sequences(runs, scaler=Unscaled())
    np.testing.assert_array_equal(bare.values, values)


def test_a_metric_changes_if_it_does_in_some_run_beyond_rounding(monkeypatch):
    lengths = np.array([3, 2, 3])
    nothing = np.repeat([1.0, 2.0, 3.0], lengths)  # between runs alone
    once = nothing + (np.arange(8) == 7)
    rounding = 0.1 + np.array([0, 1, 0, 0, 0, 0, 0, 0]) * 1e-17
    single = np.float32(0.1) + np.spacing(np.float32(0.1)) * np.array([0, 1, 0, 0, 0, 0, 0, 0])
    values = np.column_stack([nothing, once, rounding, single])
    np.testing.assert_array_equal(changing(values, lengths), [False, True, False, False])
    monkeypatch.setattr(sequences, "_BLOCK", 3)
    np.testing.assert_array_equal(changing(values, lengths), [False, True, False, False])
    kept = map_sequences(run_set(values, lengths), scaling="mixed")
    assert kept.metrics == ("m1",)


def test_spreads_of_parts_add_up_and_missing_values_take_no_part():
    rng = np.random.default_rng(6)
    lengths = np.array([20, 1, 30])
    values = rng.normal(size=(51, 2)) * [1.0, 5.0] + 1e6
    values[rng.random(values.shape) < 0.2] = np.nan
    weights = np.array([1.0, 2.0, 0.5])
    runs = by_run(values, lengths)
    total = reduce(add, (spread_of_rows(run) for run in runs))
    np.testing.assert_allclose(total.mean, np.nanmean(values, axis=0), rtol=ROUNDING)
    np.testing.assert_allclose(total.variance, np.nanvar(values, axis=0), rtol=1e-8)
    within = spread_about_runs(values, lengths, weights)
    counts = [np.sum(~np.isnan(run), axis=0) for run in runs]
    squares = sum(
        w * np.nansum((run - np.nanmean(run, axis=0)) ** 2, axis=0) for w, run in zip(weights, runs, strict=True)
    )
    mass = sum(w * count for w, count in zip(weights, counts, strict=True))
    np.testing.assert_allclose(within.variance, squares / mass, rtol=1e-8)
