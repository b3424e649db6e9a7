"""The E-step: fast path against logarithms and enumeration, cuts, weights, missing values."""

from dataclasses import fields, replace

import numpy as np
import pytest

from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference import statistics
from trajhmm.hmm.inference.recursions import Exact, Scaled
from trajhmm.hmm.inference.statistics import Statistics, estep
from trajhmm.hmm.learning.mstep import mstep
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters
from trajhmm.hmm.rows.chunk import Chunk

from .made import in_logarithms, piece_by_piece, random_parameters

# Sums of thousands of terms, each exact to rounding, added in another order.
ROUNDING = 1e-10
SUMS = [field for field in fields(Statistics) if field.name != "by_run"]


def runs_of(rng, lengths, d):
    values = rng.normal(scale=2, size=(sum(lengths), d))
    return Chunk.of(values, np.concatenate(([0], np.cumsum(lengths))))


def assert_same(found, expected):
    for field in SUMS:
        one, other = getattr(found, field.name), getattr(expected, field.name)
        size = max(np.abs(other).max(), expected.n_rows)
        np.testing.assert_allclose(one, other, rtol=ROUNDING, atol=ROUNDING * size, err_msg=field.name)


def by_logarithms(chunk, parameters, monkeypatch):
    with monkeypatch.context() as patch:
        in_logarithms(patch)
        return estep(chunk, parameters)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("left_to_right", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5, 9, 16, 33])
def test_scaled_agrees_with_logarithms_on_ragged_runs(k, covariance_type, left_to_right, monkeypatch):
    rng = np.random.default_rng([k, left_to_right])
    parameters = random_parameters(rng, k, 3, covariance_type, left_to_right=left_to_right)
    chunk = runs_of(rng, [1, 700, 1, 2, 513, 30], 3)
    assert_same(estep(chunk, parameters), by_logarithms(chunk, parameters, monkeypatch))


@pytest.mark.parametrize("exact", [False, True])
def test_runs_longer_than_a_stretch_are_cut_without_a_trace(exact, monkeypatch):
    rng = np.random.default_rng(1)
    parameters = random_parameters(rng, 3, 2, "diag")
    chunk = runs_of(rng, [1, 800, 5, 64, 63, 129], 2)
    whole = estep(chunk, parameters)
    monkeypatch.setattr(statistics, "STRETCH", 64)
    if exact:
        in_logarithms(monkeypatch)
    assert_same(estep(chunk, parameters), whole)


def test_a_path_that_only_logarithms_keep_alive_is_counted_and_no_other_run_pays(monkeypatch):
    # State 1 cannot be entered again; one row speaks against it by 5,000 nats, all rows after it for it.
    parameters = Parameters(
        startprob=np.array([0.5, 0.5]),
        transmat=np.array([[1.0, 0.0], [0.5, 0.5]]),
        means=np.array([[0.0], [100.0]]),
        covars=np.ones((2, 1)),
        covariance_type="diag",
    )
    # Slowly, so that no single row underflows: 20 rows, each for state 1 by 450 nats.
    slow = np.concatenate(([[100.0], [0.0]], np.full((20, 1), 54.5)))
    hard = [np.array([[100.0], [0.0], [100.0], [100.0]]), slow]
    easy = np.random.default_rng(0).normal(size=(50, 1))
    values = np.concatenate([easy, hard[0], easy, hard[1]])
    chunk = Chunk.of(values, np.cumsum([0, 50, 4, 50, 22]))
    sent = []
    monkeypatch.setattr(statistics, "Exact", lambda emissions: sent.append(1) or Exact(emissions))
    found = estep(chunk, parameters)
    assert len(sent) == 2
    assert_same(found, by_logarithms(chunk, parameters, monkeypatch))
    assert found.transitions[1, 1] == pytest.approx(3 + 21)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("recursion", [None, Scaled, Exact])
def test_a_weight_counts_a_run_so_many_times(covariance_type, recursion, monkeypatch):
    if recursion is not None:
        piece_by_piece(monkeypatch, recursion)
    rng = np.random.default_rng(2)
    parameters = random_parameters(rng, 3, 2, covariance_type)
    chunk = runs_of(rng, [20, 30, 10], 2)
    weighted = estep(chunk, parameters, np.array([2.0, 0.0, 0.5]))
    one, _, third = (estep(chunk.runs(r, r + 1), parameters) for r in range(3))
    assert_same(weighted, one + one + scaled(third, 0.5))


def scaled(found, by):
    return replace(found, **{field.name: getattr(found, field.name) * by for field in SUMS})


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_missing_values_count_as_the_states_expect_them(covariance_type):
    # Against the definition: E[z | what is there, s = k] and E[zzᵀ | …], row by row.
    rng = np.random.default_rng(3)
    k, d = 3, 4
    parameters = random_parameters(rng, k, d, covariance_type)
    values = runs_of(rng, [40, 25], d).values
    values = np.where(rng.random(values.shape) < 0.3, np.nan, values)
    values[7] = np.nan
    chunk = Chunk.of(values, np.array([0, 40, 65]))
    found = estep(chunk, parameters)
    posterior = GaussianHMM.from_parameters(parameters).predict_proba(values, [40, 25])
    first, second = np.zeros((k, d)), np.zeros((k, d, d))
    absent = np.zeros((k, d))
    for row, probs in zip(values, posterior, strict=True):
        gone, there = np.isnan(row), ~np.isnan(row)
        for state in range(k):
            mean, matrix = parameters.means[state], parameters.matrices()[state]
            expected, unknown = row - mean, np.zeros((d, d))
            gain = matrix[np.ix_(gone, there)] @ np.linalg.pinv(matrix[np.ix_(there, there)])
            expected[gone] = gain @ expected[there]
            unknown[np.ix_(gone, gone)] = matrix[np.ix_(gone, gone)] - gain @ matrix[np.ix_(there, gone)]
            absent[state] += probs[state] * gone
            first[state] += probs[state] * expected
            second[state] += probs[state] * (np.outer(expected, expected) + unknown)
    if parameters.is_diagonal:
        # There what is missing is left out rather than filled in; the better estimate is the same in the end.
        variances = parameters.variances()
        np.testing.assert_allclose(found.absent, absent, rtol=ROUNDING)
        np.testing.assert_allclose(found.first, first, atol=1e-9)
        np.testing.assert_allclose(found.second, np.diagonal(second, axis1=1, axis2=2) - absent * variances, atol=1e-9)
    else:
        np.testing.assert_allclose(found.first, first, atol=1e-9)
        np.testing.assert_allclose(found.second, second, atol=1e-9)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_a_fit_sees_through_missing_values(covariance_type):
    rng = np.random.default_rng(4)
    path = np.repeat([0, 1, 0, 1], 250)
    root = np.linalg.cholesky(np.array([[1.0, 0.8], [0.8, 1.0]]) if covariance_type == "full" else np.eye(2))
    values = np.array([[0.0, 0.0], [4.0, -4.0]])[path] + rng.normal(size=(1000, 2)) @ root.T
    values[rng.random(values.shape) < 0.3] = np.nan
    model = GaussianHMM(2, covariance_type=covariance_type).fit(values, [500, 500])
    np.testing.assert_allclose(model.means_, [[0, 0], [4, -4]], atol=0.2)
    np.testing.assert_allclose(model.parameters.matrices(), [root @ root.T] * 2, atol=0.2)
    assert (model.predict(values, [500, 500]) == path).mean() > 0.99


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_shrinkage_gives_each_state_rows_of_the_target(covariance_type):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(50, 3)) * [1.0, 2.0, 3.0]
    model = GaussianHMM(1, covariance_type=covariance_type, shrinkage=10.0, floor=0.0).fit(values)
    scatter = np.cov(values.T, bias=True)
    expected = (50 * scatter + 10 * np.diag(np.diag(scatter))) / 60
    if covariance_type == "diag":
        expected = np.diag(np.diag(expected))
    if covariance_type == "spherical":
        expected = np.eye(3) * np.diag(expected).mean()
    np.testing.assert_allclose(model.parameters.matrices()[0], expected, rtol=1e-10)


def test_offsets_cost_no_digits():
    rng = np.random.default_rng(6)
    chunk = runs_of(rng, [200, 300], 3)
    far = Chunk.of(chunk.values + 2.0**30, chunk.offsets)
    for covariance_type in ("diag", "full"):
        here = random_parameters(rng, 3, 3, covariance_type)
        there = replace(here, means=here.means + 2.0**30)
        one, other = mstep(estep(chunk, here), here), mstep(estep(far, there), there)
        # 2**30 leaves 22 bits after the point: 1e-7.
        np.testing.assert_allclose(other.means - 2.0**30, one.means, atol=1e-5)
        np.testing.assert_allclose(other.covars, one.covars, atol=1e-5)
