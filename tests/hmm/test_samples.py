"""What a search looks at: the same rows of the same runs, whatever their order and however a source cuts them."""

import numpy as np
import pytest

from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.learning.samples import take_sample
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory, spread_within


def source_of(runs):
    return InMemory.of(np.concatenate(runs), np.concatenate(([0], np.cumsum([len(run) for run in runs]))))


def test_few_runs_are_sampled_evenly_with_their_first_rows():
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=(n, 2)) for n in (7000, 3000, 1, 5000)]
    sample = take_sample(source_of(runs), np.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(sample.runs, [0, 1, 2])
    assert sample.every == 2
    np.testing.assert_array_equal(np.diff(sample.chunk.offsets), [3500, 1500, 1])
    for number, run in enumerate(runs[:3]):
        np.testing.assert_array_equal(sample.chunk.runs(number, number + 1).values, run[::2])


@pytest.mark.parametrize("alike", [False, True])
def test_of_many_runs_the_same_are_taken_whatever_their_order(alike):
    rng = np.random.default_rng(1)
    runs = [rng.normal(size=(20, 2)) for _ in range(300)]
    if alike:  # as where each run's first rows are taken from it
        runs = [run - run[0] for run in runs]
    order = rng.permutation(300)
    one, other = (take_sample(source_of(some), np.ones(300)) for some in (runs, [runs[r] for r in order]))
    assert len(one.runs) == 128
    np.testing.assert_array_equal(np.sort(order[other.runs]), one.runs)
    assert one.chunk.n_rows == 128 * 20


def test_what_rounding_leaves_of_a_constant_is_no_spread_within_runs():
    runs = [np.column_stack([np.full(7, level), np.arange(7.0)]) for level in (0.1, 0.3, 1e9 / 3)]
    assert any(run[:, 0].mean() != run[0, 0] for run in runs)  # rounding
    chunk = Chunk.of(np.concatenate(runs), np.array([0, 7, 14, 21]))
    np.testing.assert_array_equal(spread_within(chunk, np.ones(3)).variance, [1.0, 4.0])


def test_a_wide_search_takes_no_start():
    start = GaussianHMM(2).fit(np.random.default_rng(2).normal(size=(30, 1))).parameters
    with pytest.raises(FitError, match="looks for starts of its own"):
        GaussianHMM(2, start=start, search="wide").fit(np.zeros((5, 1)))
    with pytest.raises(FitError, match="shifts need search='wide'"):
        GaussianHMM(2, shifts=True).fit(np.zeros((5, 1)))
    with pytest.raises(FitError, match="only beside shifts"):
        GaussianHMM(2, scales=True, search="wide").fit(np.zeros((5, 1)))
    with pytest.raises(FitError, match="only with diagonal"):
        GaussianHMM(2, scales=True, shifts=True, covariance_type="full", search="wide").fit(np.zeros((5, 1)))
