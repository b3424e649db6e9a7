"""Views of the losses: sums and rises, as plain Python and pandas have them."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from trajhmm.warning.views.interface import Rows
from trajhmm.warning.views.losses import LossRise, LossSum

FLOOR = 0.01
NORMAL = math.sqrt(math.pi / 2)


def rows_of(values, fresh=None):
    values = np.asarray(values, dtype=float)
    values = values.reshape(-1, 1) if values.ndim == 1 else values
    fresh = ~np.isnan(values) if fresh is None else fresh
    known = pd.DataFrame(np.where(fresh, values, np.nan)).ffill().to_numpy()
    return Rows(scaled=known, fresh=fresh, moved=np.zeros(values.shape))


def scores(kind, values, fresh=None, *, floor=FLOOR):
    rows = rows_of(values, fresh)
    view = kind(np.arange(rows.scaled.shape[1]), np.full(rows.scaled.shape[1], floor))
    return view.scores(rows, view.start())


def falling(seed, n=300, noise=0.05, rise_from=None):
    """The logarithm of a loss that falls, and from a row on rises; noise has no tails."""
    rng = np.random.default_rng(seed)
    curve = 1.5 * np.exp(-np.arange(n) / 40)
    if rise_from is not None:
        curve += 0.02 * np.maximum(np.arange(n) - rise_from, 0)
    return curve + rng.uniform(-noise, noise, n)


def averaged(values, span):
    """The mean of all so far as long as these are few, then pandas's exponential average."""
    values, first = pd.Series(values), int((span + 1) / 2)
    early = values[:first].expanding().mean()
    late = pd.concat([early[-1:], values[first:]]).ewm(span=span, adjust=False).mean()
    return pd.concat([early[:-1], late]).to_numpy()


def sums_one_by_one(values):
    """Page's sum over innovations against the last 200 rows, in plain Python."""
    total, mean, spread, told = 0.0, values[0], 0.0, []
    for n, value in enumerate(values):
        unit, weight = spread + FLOOR, max(2 / 201, 1 / (n + 1))
        if n >= 10:
            total = max(0.0, total + min((value - mean) / unit, 8.0) - 1.0)
        away = value - mean if n < 10 else min(max(value - mean, -4 * unit), 4 * unit)
        spread += weight * (NORMAL * abs(away) - spread)
        mean += weight * away
        told.append(total)
    return np.array(told)


def rises_one_by_one(values):
    """How far the average of ten rows is above its best, once it has fallen, in plain Python."""
    told, recents, noise = [], [], 0.0
    fallen = False
    for n, value in enumerate(values):
        if n:
            away = abs(value - recents[-1])
            if n >= 12:
                away = min(away, 4 * noise)
            noise += max(2 / 61, 1 / (n + 1)) * (NORMAL * away - noise)
        before = recents[-1] if n else value
        recents.append(before + max(2 / 11, 1 / (n + 1)) * (value - before))
        if n < 12:
            told.append(0.0)
            continue
        best, size = min(recents[12:]), noise + 10 * FLOOR
        fallen |= recents[4] - best >= 5 * size
        told.append(min((recents[-1] - best) / size, 1e6) if fallen else 0.0)
    return np.array(told)


@pytest.mark.parametrize("seed", range(3))
def test_as_one_by_one_in_python(seed):
    values = falling(seed, rise_from=150)
    values[[10, 60, 61, 200]] += 5.0
    np.testing.assert_allclose(scores(LossSum, values), sums_one_by_one(values), rtol=1e-8, atol=1e-9)
    expected = rises_one_by_one(values)
    assert expected[:150].max() < expected[200:].max()
    np.testing.assert_allclose(scores(LossRise, values), expected, rtol=1e-8, atol=1e-9)


def test_the_rise_is_of_pandas_averages():
    values = falling(0, rise_from=150)
    recent = averaged(values, 10)
    away = np.abs(values - np.concatenate([[values[0]], recent[:-1]]))
    noise = averaged(NORMAL * away, 60)
    size = noise + 10 * FLOOR
    best = np.concatenate([np.full(12, np.nan), np.minimum.accumulate(recent[12:])])
    expected = (recent - best) / size
    # Nothing is cut off, and from row 100 on the loss has fallen far enough.
    assert (away[12:] < 4 * noise[11:-1]).all()
    np.testing.assert_allclose(scores(LossRise, values)[100:], expected[100:], rtol=1e-9)
    assert expected[299] > 3


@pytest.mark.parametrize("kind", [LossSum, LossRise])
def test_a_rise_tells_and_a_fall_does_not(kind):
    quiet, ill = scores(kind, falling(1)), scores(kind, falling(1, rise_from=150))
    np.testing.assert_array_equal(ill[:150], quiet[:150])
    assert ill[200:].max() > 3 * max(quiet.max(), 1.0)


def test_a_loss_that_never_fell_tells_nothing_by_rising():
    values = np.random.default_rng(3).uniform(-0.05, 0.05, 200) + 0.02 * np.arange(200)
    np.testing.assert_array_equal(scores(LossRise, values), 0)
    assert scores(LossSum, values).max() > 5


@pytest.mark.parametrize("kind", [LossSum, LossRise])
def test_one_wild_value_counts_for_little(kind):
    values = falling(2)
    values[150] += 1e6
    told = scores(kind, values)
    assert np.isfinite(told).all()
    assert told[200] < 3 + scores(kind, falling(2))[200]


@pytest.mark.parametrize("kind", [LossSum, LossRise])
def test_rows_between_repeat_and_do_not_count(kind):
    values, at = falling(4, rise_from=150), np.sort(np.random.default_rng(4).choice(900, 300, replace=False))
    spread_out, fresh = np.full((900, 1), np.nan), np.zeros((900, 1), dtype=bool)
    spread_out[at, 0], fresh[at] = values, True
    expected = pd.Series(np.nan, index=range(900))
    expected[at] = scores(kind, values)
    np.testing.assert_array_equal(scores(kind, spread_out, fresh), expected.ffill().fillna(0.0))


@pytest.mark.parametrize("kind", [LossSum, LossRise])
def test_of_several_losses_the_largest_counts_and_other_metrics_do_not(kind):
    values = np.column_stack([falling(5), 10 * falling(8, rise_from=30), falling(6, rise_from=150), falling(7)])
    view = kind(np.array([0, 2, 3]), np.full(4, FLOOR))
    rows = rows_of(values)
    each = np.column_stack([scores(kind, values[:, d]) for d in (0, 2, 3)])
    np.testing.assert_array_equal(view.scores(rows, view.start()), each.max(axis=1))
    shares = view.shares(rows, view.start())
    np.testing.assert_array_equal(shares[:, [0, 2, 3]], each)
    np.testing.assert_array_equal(shares[:, 1], 0)


@pytest.mark.parametrize("kind", [LossSum, LossRise])
@pytest.mark.parametrize("seed", range(3))
def test_any_split_is_the_same_to_the_last_bit(kind, seed):
    rng = np.random.default_rng(seed)
    values = np.column_stack([falling(seed, rise_from=150), falling(seed + 9)])
    fresh = rng.random(values.shape) < 0.8
    fresh[:20, 1] = False
    rows = rows_of(values, fresh)
    view = kind(np.arange(2), np.full(2, FLOOR))
    whole = view.start()
    expected = view.scores(rows, whole)
    known = view.start()
    cuts = [0, *np.sort(rng.integers(0, 300, 15)), 300]
    parts = [view.scores(rows.at(slice(a, b)), known) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    np.testing.assert_array_equal(known, whole)


@pytest.mark.parametrize("kind", [LossSum, LossRise])
def test_what_is_stored_comes_back(kind):
    view = kind(np.array([0, 2]), np.array([0.1, 0.2, 0.3]))
    again = kind.from_dict(view.to_dict())
    np.testing.assert_array_equal(again.columns, view.columns)
    np.testing.assert_array_equal(again.floors, view.floors)
