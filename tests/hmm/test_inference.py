"""Filter, smoother, path and likelihood against enumeration of all paths, and against hmmlearn."""

import itertools

import numpy as np
import pytest
from scipy import stats

from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows, log_density, smooth_rows
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.learning.hmmlearn_engine import from_hmmlearn, to_hmmlearn
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters
from trajhmm.hmm.rows.chunk import Chunk

from .made import random_parameters

# Both sides are exact up to rounding of a few hundred double operations.
EXACT = 1e-10


def enumerate_paths(values, parameters):
    """Every path of one run with its log joint probability with the values."""
    density = np.stack(
        [
            stats.multivariate_normal(m, c).logpdf(values).reshape(-1)
            for m, c in zip(parameters.means, parameters.matrices(), strict=True)
        ],
        axis=1,
    )
    paths = np.array(list(itertools.product(range(parameters.n_states), repeat=len(values))))
    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(parameters.startprob), np.log(parameters.transmat)
    joint = log_start[paths[:, 0]] + density[np.arange(len(values)), paths].sum(axis=1)
    joint = joint + log_transmat[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return paths, joint


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("left_to_right", [False, True])
@pytest.mark.parametrize(("k", "t"), [(1, 4), (2, 1), (2, 6), (3, 5), (3, 6)])
def test_agrees_with_enumeration_of_all_paths(k, t, covariance_type, left_to_right):
    rng = np.random.default_rng([k, t, left_to_right])
    parameters = random_parameters(rng, k, 2, covariance_type, left_to_right=left_to_right)
    values = rng.normal(scale=2, size=(t, 2))
    offsets = np.array([0, t])
    paths, joint = enumerate_paths(values, parameters)
    weights = np.exp(joint - joint.max())
    posterior = weights / weights.sum()

    log_probs, predictive = filter_rows(values, offsets, parameters)
    total = joint.max() + np.log(weights.sum())
    assert predictive.sum() == pytest.approx(total, abs=EXACT)

    smoothed = np.stack([[posterior[paths[:, s] == j].sum() for j in range(k)] for s in range(t)])
    np.testing.assert_allclose(smooth_rows(values, offsets, parameters), smoothed, atol=EXACT)

    for s in range(t):
        seen, seen_joint = enumerate_paths(values[: s + 1], parameters)
        probability = np.exp(seen_joint - seen_joint.max())
        probability /= probability.sum()
        expected = [probability[seen[:, s] == j].sum() for j in range(k)]
        np.testing.assert_allclose(np.exp(log_probs[s]), expected, atol=EXACT)

    path, score = decode_rows(values, offsets, parameters)
    assert score == pytest.approx(joint.max(), abs=EXACT)
    np.testing.assert_array_equal(path, paths[joint.argmax()])

    statistics = estep(Chunk.of(values, offsets), parameters)
    expected = np.zeros((k, k))
    for path_, p in zip(paths, posterior, strict=True):
        np.add.at(expected, (path_[:-1], path_[1:]), p)
    np.testing.assert_allclose(statistics.transitions, expected, atol=EXACT)
    np.testing.assert_allclose(statistics.start, smoothed[0], atol=EXACT)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_agrees_with_hmmlearn_on_ragged_runs(covariance_type):
    rng = np.random.default_rng(5)
    parameters = random_parameters(rng, 4, 3, covariance_type)
    lengths = np.array([1, 40, 7, 1, 120])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    values = rng.normal(scale=2, size=(lengths.sum(), 3))
    reference = to_hmmlearn(parameters)
    likelihood, posterior = reference.score_samples(values, lengths)
    assert filter_rows(values, offsets, parameters)[1].sum() == pytest.approx(likelihood, rel=EXACT)
    np.testing.assert_allclose(smooth_rows(values, offsets, parameters), posterior, atol=EXACT)
    path_score, path = reference.decode(values, lengths)
    ours, score = decode_rows(values, offsets, parameters)
    np.testing.assert_array_equal(ours, path)
    assert score == pytest.approx(path_score, rel=EXACT)
    back = from_hmmlearn(reference)
    np.testing.assert_array_equal(back.covars, parameters.covars)
    np.testing.assert_array_equal(back.transmat, parameters.transmat)


def test_a_path_whose_probability_underflows_for_a_while_is_not_lost():
    # One way through: state 1 cannot be entered again. Row 2 speaks against it by 5,000 nats, the rows after for it by
    # far more, so that only sums of logarithms keep it alive.
    parameters = Parameters(
        startprob=np.array([0.5, 0.5]),
        transmat=np.array([[1.0, 0.0], [0.5, 0.5]]),
        means=np.array([[0.0], [100.0]]),
        covars=np.ones((2, 1)),
        covariance_type="diag",
    )
    values = np.array([[100.0], [0.0], [100.0], [100.0]])
    paths, joint = enumerate_paths(values, parameters)
    offsets = np.array([0, 4])
    log_probs, predictive = filter_rows(values, offsets, parameters)
    assert predictive.sum() == pytest.approx(joint.max(), rel=1e-12)
    np.testing.assert_allclose(np.exp(log_probs[-1]), [0, 1], atol=1e-12)
    np.testing.assert_allclose(smooth_rows(values, offsets, parameters)[:, 1], 1, atol=1e-12)
    np.testing.assert_allclose(estep(Chunk.of(values, offsets), parameters).transitions, [[0, 0], [0, 3]], atol=1e-12)
    np.testing.assert_array_equal(decode_rows(values, offsets, parameters)[0], paths[joint.argmax()])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_the_filter_does_not_see_the_future(covariance_type):
    rng = np.random.default_rng(1)
    parameters = random_parameters(rng, 3, 12, covariance_type)
    values = rng.normal(size=(60, 12))
    whole = filter_rows(values, np.array([0, 60]), parameters)
    for cut in rng.integers(1, 60, size=10):
        part = filter_rows(values[:cut], np.array([0, cut]), parameters)
        np.testing.assert_array_equal(part[0], whole[0][:cut])
        np.testing.assert_array_equal(part[1], whole[1][:cut])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_density_is_the_normal_density(covariance_type):
    rng = np.random.default_rng(2)
    parameters = random_parameters(rng, 2, 3, covariance_type)
    values = rng.normal(size=(5000, 3))  # more rows than a block
    missing = rng.random(values.shape) < 0.2
    missing[:2] = [[True, True, True], [False, False, False]]
    with_gaps = np.where(missing, np.nan, values)
    for k in range(2):
        mean, matrix = parameters.means[k], parameters.matrices()[k]
        expected = stats.multivariate_normal(mean, matrix).logpdf(values)
        np.testing.assert_allclose(log_density(values, parameters)[:, k], expected, rtol=EXACT)
        marginal = log_density(with_gaps, parameters)[:, k]
        assert marginal[0] == pytest.approx(0.0, abs=EXACT)
        for row in range(1, 200):
            there = ~missing[row]
            if there.any():
                density = stats.multivariate_normal(mean[there], matrix[np.ix_(there, there)])
                assert marginal[row] == pytest.approx(density.logpdf(values[row, there]), rel=EXACT)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_densities_by_row_do_not_depend_on_the_other_rows_whatever_is_missing(covariance):
    rng = np.random.default_rng(3)
    matrices = np.array([m @ m.T + np.eye(4) for m in rng.normal(size=(2, 4, 4))])
    emissions = Emissions.of(
        Parameters(
            startprob=np.full(2, 0.5),
            transmat=np.full((2, 2), 0.5),
            means=rng.normal(size=(2, 4)),
            covars=matrices if covariance == "full" else matrices[0],
            covariance_type=covariance,
        )
    )
    values = rng.normal(size=(60, 4))
    values[rng.random((60, 4)) < 0.3] = np.nan
    values[7] = np.nan
    together = emissions.log_densities_by_row(values)
    alone = np.concatenate([emissions.log_densities_by_row(row[np.newaxis]) for row in values])
    np.testing.assert_array_equal(alone, together)
    for row, found in zip(values, together, strict=True):
        known = ~np.isnan(row)
        for k in range(2):
            matrix = emissions.parameters.matrices()[k][np.ix_(known, known)]
            mean = emissions.parameters.means[k][known]
            expected = stats.multivariate_normal(mean, matrix).logpdf(row[known]) if known.any() else 0.0
            assert found[k] == pytest.approx(expected, rel=1e-10)
