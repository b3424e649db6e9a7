"""Innovations of a metric against its own past: plain Python and pandas, whatever blocks rows come in."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from trajhmm.features import innovations

SPAN = 20.0
# Sums in another order.
ROUNDING = 1e-10


def advanced(values, fresh=None, *, floor=1e-3, span=SPAN, memory=None):
    """(n, D) innovations and what is known behind them."""
    values = np.asarray(values, dtype=float)
    values = values.reshape(-1, 1) if values.ndim == 1 else values
    fresh = np.ones(values.shape, dtype=bool) if fresh is None else fresh
    memory = np.zeros((values.shape[1], innovations.MEMORY)) if memory is None else memory
    found = np.empty(values.shape)
    innovations.advance(values, fresh, np.full(values.shape[1], floor), span, memory, found)
    return found, memory


def one_by_one(values, fresh, *, floor=1e-3, span=SPAN):
    """The definition, of a single metric, in plain Python."""
    innovation, mean, spread, seen, told = 0.0, None, 0.0, 0, []
    for value, there in zip(values, fresh, strict=True):
        if there:
            mean = value if mean is None else mean
            unit = spread + floor
            innovation = (value - mean) / unit if seen >= 5 else 0.0
            innovation = math.copysign(min(abs(innovation), 1e6), innovation)
            counted = value if seen < 10 else min(max(value, mean - 4 * unit), mean + 4 * unit)
            weight = max(2 / (span + 1), 1 / (seen + 1))
            spread = (1 - weight) * spread + weight * math.sqrt(math.pi / 2) * abs(counted - mean)
            mean = (1 - weight) * mean + weight * counted
            seen += 1
        told.append(innovation)
    return told


def averaged(values, span=SPAN):
    """The mean of all so far as long as these are few, then pandas's exponential average."""
    values = pd.Series(values)
    first = int((span + 1) / 2)
    early = values[:first].expanding().mean()
    late = pd.concat([early[-1:], values[first:]]).ewm(span=span, adjust=False).mean()
    return pd.concat([early[:-1], late]).to_numpy()


def noise(seed, n, d=1, wild=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 0.5, (n, d)).cumsum(axis=0) / 10
    values[rng.integers(0, n, wild)] += rng.normal(0, 30, (wild, d))
    return values


def test_mean_and_spread_are_pandas_averages_of_the_rows_before():
    values = np.random.default_rng(0).uniform(-1, 1, 80)  # within four spreads: nothing is cut
    found, memory = advanced(values, floor=0.01)
    mean = averaged(values)
    before = np.concatenate([[values[0]], mean[:-1]])
    spread = averaged(np.sqrt(np.pi / 2) * np.abs(values - before))
    expected = (values - before)[5:] / (spread[4:-1] + 0.01)
    np.testing.assert_array_equal(found[:5], 0)
    np.testing.assert_allclose(found[5:, 0], expected, rtol=ROUNDING)
    np.testing.assert_allclose(memory[0], [80, mean[-1], spread[-1], expected[-1], 80], rtol=ROUNDING)


def test_the_spread_is_the_standard_deviation_of_a_normal():
    _, memory = advanced(np.random.default_rng(1).normal(5, 2, 20_000), span=5000)
    assert memory[0, 2] == pytest.approx(2, rel=0.05)  # of 5,000 rows: three standard errors


@pytest.mark.parametrize("seed", range(3))
def test_wild_values_gaps_and_floors_as_one_by_one_in_python(seed):
    values = noise(seed, 200, 3, wild=9)
    fresh = np.random.default_rng(seed).random(values.shape) < [1.0, 0.6, 0.1]
    found, _ = advanced(values, fresh, floor=0.05)
    for d in range(3):
        np.testing.assert_allclose(found[:, d], one_by_one(values[:, d], fresh[:, d], floor=0.05), rtol=1e-8)


def test_by_hand():
    """Five rows about 1: deviations 0, 2, 1, 4/3, 1 from the mean before them; mean 1.2."""
    found, memory = advanced([0.0, 2.0, 0.0, 2.0, 2.0, 4.2], floor=0.0)
    spread = np.sqrt(np.pi / 2) * np.mean([0, 2, 1, 4 / 3, 1])
    np.testing.assert_allclose(found[:, 0], [0, 0, 0, 0, 0, 3 / spread], rtol=ROUNDING)
    assert memory[0, 0] == 6


def test_a_wild_value_does_not_hide_the_next():
    values = np.random.default_rng(2).normal(0, 1, 60)
    values[40] = values[42] = 1e9
    found, _ = advanced(values)
    assert found[40, 0] == found[42, 0] == innovations.FARTHEST
    assert np.abs(found[43:, 0]).max() < 5


def test_a_row_that_is_not_logged_repeats_and_changes_nothing():
    values = noise(3, 60)
    rows = np.sort(np.random.default_rng(3).choice(200, 60, replace=False))
    spread_out, fresh = np.full((200, 1), 77.0), np.zeros((200, 1), dtype=bool)
    spread_out[rows], fresh[rows] = values, True
    found, memory = advanced(spread_out, fresh)
    dense, dense_memory = advanced(values)
    expected = pd.Series(np.nan, index=range(200))
    expected[rows] = dense[:, 0]
    np.testing.assert_array_equal(found[:, 0], expected.ffill().fillna(0.0))
    np.testing.assert_array_equal(memory, dense_memory)


@pytest.mark.parametrize("seed", range(5))
def test_any_split_into_blocks_is_the_same_to_the_last_bit(seed):
    rng = np.random.default_rng(seed)
    values, fresh = noise(seed, 300, 4, wild=6), rng.random((300, 4)) < 0.7
    whole, memory = advanced(values, fresh)
    cuts = [0, *np.sort(rng.integers(0, 300, 20)), 300]
    parts, known = [], np.zeros((4, innovations.MEMORY))
    for a, b in pairwise(cuts):
        part, known = advanced(values[a:b], fresh[a:b], memory=known)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(known, memory)


def test_the_past_alone_counts():
    values = noise(4, 100, 2)
    changed = values.copy()
    changed[60:] = -50
    np.testing.assert_array_equal(advanced(values)[0][:60], advanced(changed)[0][:60])


def test_a_metric_that_stands_still_has_no_innovation_and_one_that_leaves_has_a_finite_one():
    values = np.full(40, 2.0)
    values[30:] = 1e100
    found, _ = advanced(values, floor=1e-4)
    np.testing.assert_array_equal(found[:30], 0)
    assert np.isfinite(found).all()
    assert found[30, 0] == innovations.FARTHEST


def test_what_begins_again_keeps_its_spread_and_takes_its_mean_anew():
    values = np.random.default_rng(5).normal(3, 0.5, (200, 1))
    fresh, memory = np.ones((200, 1), dtype=bool), np.zeros((1, innovations.MEMORY))
    innovations.advance(values, fresh, np.full(1, 1e-3), 120.0, memory, np.empty((200, 1)))
    spread = memory[0, 2]
    innovations.begin_again(memory)
    moved = np.empty((40, 1))
    there = 50 + np.random.default_rng(6).normal(0, 0.5, (40, 1))
    innovations.advance(there, fresh[:40], np.full(1, 1e-3), 120.0, memory, moved)
    np.testing.assert_array_equal(moved[:5], 0)
    assert memory[0, 1] == pytest.approx(there.mean(), abs=0.01)
    expected = (there[5, 0] - there[:5].mean()) / (spread + 1e-3)
    assert moved[5, 0] == pytest.approx(expected, rel=0.1)  # the spread moved on for four rows
    assert np.abs(moved[5:]).max() < 5
