"""What passes over the rows add up to: spread, samples, agreement of paths."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from trajhmm.hmm.inference.matching import adjusted_rand
from trajhmm.hmm.learning.starts import sample_rows
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory, spread_of


def runs_of(rng, lengths, *, offset=0.0):
    values = rng.normal(size=(sum(lengths), 3)) * [1.0, 10.0, 0.1] + offset
    values += np.repeat(np.arange(len(lengths)), lengths)[:, np.newaxis]
    return Chunk.of(values, np.cumsum([0, *lengths]))


@pytest.mark.parametrize("offset", [0.0, 2.0**30])
def test_variance_of_parts_adds_up_whatever_the_offset(offset):
    rng = np.random.default_rng(0)
    chunk = runs_of(rng, [5000, 6000, 1, 9000], offset=offset)
    values = chunk.values.copy()
    values[rng.random(values.shape) < 0.1] = np.nan
    chunk = Chunk.of(values, chunk.offsets)
    weights = np.array([1.0, 0.0, 2.0, 1.0])
    kept = np.concatenate([values[:5000], np.repeat(values[11000:11001], 2, axis=0), values[11001:]])
    expected = np.nanvar(kept, axis=0)
    parts = [spread_of(part, weights) for part in (chunk.runs(0, 2), chunk.runs(2, 4))]
    # 2**30 leaves 22 bits after the point.
    np.testing.assert_allclose(reduce(add, parts).variance, expected, rtol=1e-10 if offset == 0 else 1e-5)
    np.testing.assert_allclose(spread_of(chunk, weights).variance, expected, rtol=1e-10 if offset == 0 else 1e-5)


def test_a_metric_that_does_not_vary_has_variance_one():
    chunk = Chunk.of(np.tile([0.1, 3.0], (1000, 1)) * [[1.0, 0.0]], np.array([0, 1000]))
    np.testing.assert_array_equal(spread_of(chunk, np.ones(1)).variance, [1.0, 1.0])


def test_a_sample_is_spread_over_runs_and_leaves_out_those_of_no_weight():
    rng = np.random.default_rng(1)
    chunk = runs_of(rng, [20_000, 10_000, 30_000])
    sample = sample_rows(InMemory(chunk=chunk), np.array([1.0, 0.0, 1.0]))
    assert 7000 < sample.n_rows < 8400
    np.testing.assert_allclose(np.diff(sample.offsets) / sample.n_rows, [0.4, 0.6], atol=0.01)
    assert not (sample.values[:, np.newaxis, 0] == chunk.values[np.newaxis, 20_000:30_000, 0]).any()


def test_agreement_is_scikit_learns_adjusted_rand_index():
    rng = np.random.default_rng(2)
    for _ in range(20):
        one, other = rng.integers(4, size=(2, 50))
        other = np.where(rng.random(50) < 0.5, one, other)
        table = np.bincount(one * 4 + other, minlength=16).reshape(4, 4).astype(float)
        assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)
