"""EM: it never falls, agrees with hmmlearn, keeps its floor, and tells how it ended."""

import re
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.statistics import Statistics, estep
from trajhmm.hmm.learning.em import NativeEngine, climb
from trajhmm.hmm.learning.fitting import Data, Job
from trajhmm.hmm.learning.hmmlearn_engine import HmmlearnEngine
from trajhmm.hmm.learning.mstep import floored, mstep
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory


def blobs(seed, *, runs=6, rows=50, d=3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=3, size=(3, d))
    path = np.concatenate([np.sort(rng.integers(3, size=rows)) for _ in range(runs)])
    return centres[path] + rng.normal(size=(runs * rows, d)), np.full(runs, rows), path


def chunk_of(values, lengths):
    return Chunk.of(values, np.concatenate(([0], np.cumsum(lengths))))


def start(chunk, k, covariance_type, restart=1, **settings_):
    model = GaussianHMM(k, covariance_type=covariance_type, **settings_)
    data = Data(source=InMemory(chunk=chunk), weights=np.ones(chunk.n_runs))
    return Job(settings=model.settings, data=data).start(restart)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("floor", [1e-12, 0.05])
@pytest.mark.sampled(2)
def test_engines_agree_iteration_by_iteration(covariance_type, floor):
    chunk = chunk_of(*blobs(0)[:2])
    begin = start(chunk, 4, covariance_type, floor=floor)
    source = InMemory(chunk=chunk)
    (ours,) = climb(NativeEngine(source), [begin], n_iter=32, tol=-1.0)
    (theirs,) = climb(HmmlearnEngine(source), [begin], n_iter=32, tol=-1.0)
    shared = min(len(ours.log_likelihoods), len(theirs.log_likelihoods))
    assert shared > 20
    np.testing.assert_allclose(ours.log_likelihoods[:shared], theirs.log_likelihoods[:shared], rtol=1e-8)
    np.testing.assert_allclose(ours.parameters.means, theirs.parameters.means, atol=1e-6)
    np.testing.assert_allclose(ours.parameters.covars, theirs.parameters.covars, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 5),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    floor=st.sampled_from([1e-6, 1e-3, 0.5]),
    shrinkage=st.sampled_from([0.0, 3.0]),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_what_em_maximises_never_falls(seed, k, covariance_type, floor, shrinkage, missing):
    values, lengths, _ = blobs(seed, runs=4, rows=30)
    values[np.random.default_rng(seed).random(values.shape) < missing] = np.nan
    chunk = chunk_of(values, lengths)
    begin = start(chunk, k, covariance_type, floor=floor, shrinkage=shrinkage)
    prior, parameters = begin.prior, floored(begin.parameters, begin.prior.floor)
    last = -np.inf
    for _ in range(15):
        statistics = estep(chunk, parameters)
        objective = statistics.log_likelihood + prior.log_density(parameters)
        assert objective >= last - 1e-9 * abs(last)
        last = objective
        parameters = floored(mstep(statistics, parameters, prior), prior.floor)


def test_floor_of_a_full_covariance_is_the_constrained_maximum():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(3, 3))
    sample = root @ np.diag([4.0, 0.5, 1e-4]) @ root.T
    floor = np.array([0.2, 0.1, 0.3])
    parameters = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=np.zeros((1, 3)),
        covars=sample[np.newaxis],
        covariance_type="full",
    )
    best = floored(parameters, floor).covars[0]
    assert np.linalg.eigvalsh(best - np.diag(floor)).min() > -1e-12

    def objective(matrix):
        return -np.linalg.slogdet(matrix)[1] - np.trace(np.linalg.solve(matrix, sample))

    for _ in range(200):
        wobble = rng.normal(scale=0.05, size=(3, 3))
        root = np.linalg.cholesky(best - np.diag(floor) + 1e-12 * np.eye(3)) + wobble
        candidate = np.diag(floor) + root @ root.T
        assert objective(candidate) <= objective(best) + 1e-9


def test_floor_of_variances_raises_only_those_below_it():
    parameters = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=np.zeros((1, 3)),
        covars=np.array([[4.0, 0.2, 0.01]]),
        covariance_type="diag",
    )
    np.testing.assert_array_equal(floored(parameters, np.array([1.0, 0.1, 0.3])).covars, [[4.0, 0.2, 0.3]])


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    values, lengths, _ = blobs(4)
    chunk = chunk_of(values, lengths)
    parameters = start(chunk, 3, "full").parameters
    parts = estep(chunk.runs(0, 2), parameters) + estep(chunk.runs(2, 6), parameters)
    assert_same_statistics(parts, estep(chunk, parameters))


def assert_same_statistics(found, expected, rtol=1e-11):
    for field in fields(Statistics):
        if field.name == "by_run":
            continue
        one, other = getattr(found, field.name), getattr(expected, field.name)
        size = max(np.abs(other).max(), expected.n_rows)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * size, err_msg=field.name)


def test_status_says_when_iterations_ran_out_and_when_a_restart_degenerated():
    values, lengths, _ = blobs(5)
    model = GaussianHMM(3, n_restarts=2, n_iter=2, tol=1e-12).fit(values, lengths)
    assert model.status_.outcome == "max_iterations"
    assert [len(trace) for trace in model.status_.log_likelihoods] == [3, 3]
    patient = GaussianHMM(3, n_restarts=2, n_iter=500, tol=1e-6).fit(values, lengths)
    assert patient.status_.outcome == "converged"
    for trace in patient.status_.log_likelihoods:
        rises = np.diff(trace)
        assert rises[-1] <= 1e-6 * len(values) < rises[:-1].min()
    with pytest.raises(FitError, match="all 3 restarts degenerated"):
        GaussianHMM(4, n_restarts=3).fit(np.repeat([[0.0], [1.0]], 2, axis=0), [4])


def test_final_likelihood_is_that_of_the_parameters():
    values, lengths, _ = blobs(6)
    for n_iter in (3, 300):
        model = GaussianHMM(3, n_iter=n_iter, covariance_type="full").fit(values, lengths)
        trace = model.status_.log_likelihoods[model.status_.chosen]
        assert model.score(values, lengths) == pytest.approx(trace[-1], rel=1e-12)
        assert (np.diff(trace) >= 0).all()


def test_states_come_in_the_order_in_which_runs_enter_them():
    values, lengths, path = blobs(7)
    model = GaussianHMM(3).fit(values, lengths)
    decoded = model.predict(values, lengths)
    assert decoded[0] == 0
    assert (np.diff(decoded.reshape(6, 50)[0]) >= 0).all()
    assert np.mean(decoded == path) > 0.95


def test_same_seed_same_parameters_and_another_seed_other_starts():
    values, lengths, _ = blobs(8)
    one, two, other = (GaussianHMM(4, random_state=s, n_iter=3).fit(values, lengths) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.means_, two.means_)
    assert one.status_.log_likelihoods == two.status_.log_likelihoods
    assert one.status_.log_likelihoods != other.status_.log_likelihoods


@settings(max_examples=30, deadline=None)
@given(
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e12]),
    shift=st.sampled_from([0.0, -1e6, 1e9]),
    covariance_type=st.sampled_from(["diag", "full"]),
    seed=st.integers(0, 100),
)
@pytest.mark.once
def test_no_nan_and_same_states_whatever_the_units(scale, shift, covariance_type, seed):
    values, lengths, _ = blobs(seed, runs=3, rows=20)
    base = GaussianHMM(2, covariance_type=covariance_type, n_restarts=1).fit(values, lengths)
    moved = GaussianHMM(2, covariance_type=covariance_type, n_restarts=1).fit(values * scale, lengths)
    np.testing.assert_array_equal(moved.predict(values * scale, lengths), base.predict(values, lengths))
    shifted = GaussianHMM(2, covariance_type=covariance_type, n_restarts=1).fit(values + shift, lengths)
    assert np.isfinite(shifted.means_).all()
    assert np.isfinite(shifted.covars_).all()
    np.testing.assert_allclose(shifted.predict_proba(values + shift, lengths).sum(axis=1), 1, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), covariance_type=st.sampled_from(COVARIANCE_TYPES), data=st.data())
@pytest.mark.once
def test_the_order_of_runs_does_not_matter(seed, covariance_type, data):
    rng = np.random.default_rng(seed)
    values, _, _ = blobs(seed, runs=5, rows=30)
    runs = [values[30 * r : 30 * r + rng.integers(1, 31)] for r in range(5)]
    order = data.draw(st.permutations(range(5)))
    model = GaussianHMM(3, covariance_type=covariance_type, n_iter=20)
    one, other = (
        model.__class__(**model.get_params()).fit(np.concatenate(some), [len(run) for run in some])
        for some in (runs, [runs[r] for r in order])
    )
    assert one.status_.outcomes == other.status_.outcomes
    for mine, yours in zip(one.status_.log_likelihoods, other.status_.log_likelihoods, strict=True):
        shared = min(len(mine), len(yours))
        np.testing.assert_allclose(mine[:shared], yours[:shared], rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1e-12, 1e12, 5e-324, np.nan]),
    ),
    k=st.integers(1, 5),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    shrinkage=st.sampled_from([0.0, 1.0]),
)
def test_whatever_the_values_there_is_a_finite_fit_or_a_reason(values, k, covariance_type, shrinkage):
    model = GaussianHMM(k, covariance_type=covariance_type, n_restarts=3, n_iter=10, shrinkage=shrinkage)
    try:
        model.fit(values)
    except FitError as error:
        reason = str(error)
    else:
        reason = None
    if reason is not None:
        assert re.search("need at least|degenerated|missing in every row|do not hold the square", reason)
        return
    assert model.parameters.is_finite
    np.testing.assert_allclose(model.transmat_.sum(axis=1), 1, rtol=1e-12)
    assert model.startprob_.sum() == pytest.approx(1)
    np.testing.assert_allclose(model.predict_proba(values).sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(model.filter(values).sum(axis=1), 1, rtol=1e-12)
    assert np.isfinite(model.score(values))


def test_rows_of_constant_duplicate_or_single_values_give_no_nan():
    constant = np.column_stack([np.ones(30), np.random.default_rng(0).normal(size=30)])
    model = GaussianHMM(2, covariance_type="full").fit(constant, [10, 20])
    assert np.isfinite(model.score(constant, [10, 20]))
    ones = GaussianHMM(1).fit(np.ones((5, 2)), [1, 1, 1, 1, 1])
    assert np.isfinite(ones.score(np.ones((5, 2)), [1, 1, 1, 1, 1]))
    np.testing.assert_array_equal(ones.transmat_, [[1.0]])


def test_input_that_is_infinite_or_of_the_wrong_length_is_refused():
    values = np.zeros((4, 2))
    values[2, 1] = np.inf
    with pytest.raises(FitError, match="row 2, column 1 is inf"):
        GaussianHMM(1).fit(values)
    with pytest.raises(FitError, match="add up to 3, but there are 4 rows"):
        GaussianHMM(1).fit(np.zeros((4, 2)), [3])
    with pytest.raises(FitError, match="one number for each of 2 runs"):
        GaussianHMM(1).fit(np.zeros((4, 2)), [2, 2], sample_weight=[1.0])
    with pytest.raises(FitError, match="none negative"):
        GaussianHMM(1).fit(np.zeros((4, 2)), [2, 2], sample_weight=[1.0, -1.0])
    with pytest.raises(FitError, match="n_restarts 0"):
        GaussianHMM(1, n_restarts=0).fit(np.zeros((4, 2)))
