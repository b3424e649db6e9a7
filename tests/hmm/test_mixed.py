"""The mixed-effects HMM: its bound against brute force, its M-step block by block, its shifts against the truth."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference import statistics
from trajhmm.hmm.inference.paths import paths_of
from trajhmm.hmm.inference.recursions import Exact
from trajhmm.hmm.inference.shifts import ByRun, infer_shifts, rescaled, updated_shifts
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.learning.em import NativeEngine, Start, climb
from trajhmm.hmm.learning.mixed import LEAST_SHIFT, shifted_mstep
from trajhmm.hmm.learning.mstep import Prior, floored, mstep
from trajhmm.hmm.learning.selection import _scores
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.shifts import Shifts

from .made import in_logarithms, piece_by_piece, random_parameters

# A sum of some hundred terms, each exact to rounding, in another order.
ROUNDING = 1e-9
# Central differences of a smooth function: what is cut off is of the order of the step squared, 1e-10, and what is left
# of rounding a bound of some hundred nats is 1e-13 over the step.
STEP, FLAT = 1e-5, 1e-5


def chunk_of(rng, lengths, d, *, missing=0.0, without=None):
    """Rows of runs that differ by offsets; some missing; metric ``without[1]`` missing in all of run ``without[0]``."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    values = rng.normal(scale=2, size=(offsets[-1], d))
    values += np.repeat(rng.normal(size=(len(lengths), d)), lengths, axis=0)
    values[rng.random(values.shape) < missing] = np.nan
    if without is not None:
        run, metric = without
        values[offsets[run] : offsets[run + 1], metric] = np.nan
    return Chunk.of(values, offsets)


def mixed_parameters(rng, k, d, covariance_type, *, scales=False):
    return replace(
        random_parameters(rng, k, d, covariance_type),
        shift_variance=rng.uniform(0.3, 2.0, size=d),
        scale_variance=rng.uniform(0.01, 0.1, size=d) if scales else None,
    )


def random_shifts(rng, n_runs, d, *, scales=False):
    return Shifts(
        mean=rng.normal(size=(n_runs, d)),
        variance=rng.uniform(0.01, 0.3, size=(n_runs, d)),
        log_scale=rng.normal(scale=0.2 if scales else 0.0, size=(n_runs, d)),
    )


def own_moments(chunk, parameters, shifts):
    return ByRun.of(estep(chunk, parameters, shifts=shifts).by_run, chunk.n_runs)


def settled(chunk, parameters, shifts, times=200):
    """The best q(a_r) for fixed parameters, and (R,) the bound on each run's log-likelihood there."""
    for _ in range(times):
        shifts = updated_shifts(own_moments(chunk, parameters, shifts), shifts, parameters)
    bound = own_moments(chunk, parameters, shifts).log_likelihood
    return shifts, bound + shifts.log_density(parameters.shift_variance, parameters.scale_variance)


# --- the bound


def climbs(chunk, start, iterations=12):
    """What EM maximises, iteration by iteration."""
    engine = NativeEngine(InMemory(chunk=chunk))
    start = replace(start, parameters=floored(start.parameters, start.prior.floor))
    reached = []
    for _ in range(iterations):
        (step,) = engine.steps([start])
        reached.append(step.log_likelihood + start.beside)
        start = replace(start, parameters=floored(step.parameters, start.prior.floor), shifts=step.shifts)
    return np.array(reached)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 4),
    d=st.integers(1, 3),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    missing=st.sampled_from([0.0, 0.2]),
    whole=st.booleans(),
    weights=st.sampled_from([(1, 1, 1, 1, 1), (1, 0, 1, 1, 0), (0.3, 2.5, 0, 1, 0.01)]),
    scales=st.booleans(),
    floor=st.sampled_from([1e-6, 0.5]),
    shrinkage=st.sampled_from([0.0, 3.0]),
    stretch=st.sampled_from([7, 8192]),
    exact=st.booleans(),
)
@pytest.mark.once
def test_the_bound_never_falls(
    seed, k, d, covariance_type, missing, whole, weights, scales, floor, shrinkage, stretch, exact
):
    rng = np.random.default_rng(seed)
    scales = scales and covariance_type in ("diag", "spherical")
    chunk = chunk_of(rng, [12, 1, 30, 2, 20], d, missing=missing, without=(2, 0) if whole else None)
    variance = np.nan_to_num(np.nanvar(chunk.values, axis=0), nan=1.0) + 1e-3
    start = Start(
        parameters=mixed_parameters(rng, k, d, covariance_type, scales=scales),
        weights=np.array(weights, dtype=float),
        prior=Prior(floor=floor * variance, target=variance, rows=shrinkage),
        shifts=random_shifts(rng, chunk.n_runs, d, scales=scales),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "STRETCH", stretch)
        if exact:
            in_logarithms(patch)
        reached = climbs(chunk, start)
    assert np.isfinite(reached).all()
    assert (np.diff(reached) >= -ROUNDING * np.abs(reached[1:])).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_cuts_and_logarithms_leave_no_trace(covariance_type, missing, monkeypatch):
    rng = np.random.default_rng(1)
    chunk = chunk_of(rng, [1, 80, 5, 33], 2, missing=missing)
    scales = covariance_type in ("diag", "spherical")
    parameters = mixed_parameters(rng, 3, 2, covariance_type, scales=scales)
    shifts = random_shifts(rng, 4, 2, scales=scales)
    whole = estep(chunk, parameters, shifts=shifts)
    by_run = ByRun.of(whole.by_run, 4)
    ways = [(16, None), (16, statistics.Scaled), (16, Exact)]
    if parameters.is_diagonal:
        ways.append((8192, statistics.Scaled))
    for stretch, recursion in ways:
        monkeypatch.setattr(statistics, "STRETCH", stretch)
        if recursion is not None:
            piece_by_piece(monkeypatch, recursion)
        found = estep(chunk, parameters, shifts=shifts)
        assert found.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
        np.testing.assert_allclose(found.second, whole.second, atol=1e-10 * chunk.n_rows)
        parts = ByRun.of(found.by_run, 4)
        for name in ("log_likelihood", "mass", "absent", "first", "second"):
            np.testing.assert_allclose(getattr(parts, name), getattr(by_run, name), atol=1e-9, err_msg=name)


def in_logarithms_alone():
    """Parameters and rows of which one run is out of reach of ordinary numbers: 5,000 nats against, as many for."""
    parameters = Parameters(
        startprob=np.array([0.5, 0.5]),
        transmat=np.array([[1.0, 0.0], [0.5, 0.5]]),
        means=np.array([[0.0], [100.0]]),
        covars=np.ones((2, 1)),
        covariance_type="diag",
        shift_variance=np.array([0.5]),
    )
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(9, 1)), [[100.0], [0.0], [100.0], [100.0]], rng.normal(size=(5, 1))])
    return parameters, Chunk.of(values, np.array([0, 9, 13, 18]))


def test_a_run_that_needs_logarithms_keeps_its_moments_and_others_pay_nothing(monkeypatch):
    parameters, chunk = in_logarithms_alone()
    shifts = random_shifts(np.random.default_rng(1), 3, 1)
    sent = []
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "Exact", lambda emissions: sent.append(1) or Exact(emissions))
        found = own_moments(chunk, parameters, shifts)
    assert len(sent) == 1
    in_logarithms(monkeypatch)
    expected = own_moments(chunk, parameters, shifts)
    for name in ("log_likelihood", "mass", "first", "second"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(found.mass[1], [0, 4], atol=1e-12)


# --- against brute force: all paths, and an integral over the shift


def exact_log_likelihood(values, parameters, *, sds=9.0, points=6001):
    """log ∫ N(a; 0, τ²) Σ_paths p(path) Π_t N(z_t; a + μ, σ²) da of one run of one metric, over what is there."""
    tau = np.sqrt(parameters.shift_variance[0])
    a = np.linspace(-sds * tau, sds * tau, points)
    variances = parameters.variances()[:, 0]
    log_start, log_transmat = np.log(parameters.startprob), np.log(parameters.transmat)
    joint = []
    for path in product(range(parameters.n_states), repeat=len(values)):
        log = np.full(points, log_start[path[0]] + sum(log_transmat[i, j] for i, j in pairwise(path)))
        for z, k in zip(values, path, strict=True):
            if not np.isnan(z):
                away = z - a - parameters.means[k, 0]
                log = log - 0.5 * (np.log(2 * np.pi * variances[k]) + away**2 / variances[k])
        joint.append(log)
    prior = -0.5 * (np.log(2 * np.pi * tau**2) + a**2 / tau**2)
    return logsumexp(logsumexp(joint, axis=0) + prior) + np.log(a[1] - a[0])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.sampled(2)
def test_the_bound_is_below_the_likelihood_and_near_it_where_states_stand_apart(covariance_type, gaps):
    rng = np.random.default_rng(5)
    lengths = [6, 1, 4]
    for apart, gap in ((0.5, 0.5), (8.0, 1e-6)):
        covars = {"diag": [[0.4], [0.9]], "full": [[[0.4]], [[0.9]]], "tied": [[0.6]], "spherical": [0.4, 0.9]}
        parameters = Parameters(
            startprob=np.array([0.7, 0.3]),
            transmat=np.array([[0.8, 0.2], [0.3, 0.7]]),
            means=np.array([[0.0], [apart]]),
            covars=np.array(covars[covariance_type]),
            covariance_type=covariance_type,
            shift_variance=np.array([0.5]),
        )
        path = np.concatenate([rng.integers(2, size=n) for n in lengths])
        values = apart * path + rng.normal(scale=0.7, size=sum(lengths)) + np.repeat(rng.normal(size=3), lengths) * 0.7
        if gaps and parameters.is_diagonal:
            values[[2, 8]] = np.nan
        chunk = Chunk.of(values[:, np.newaxis], np.concatenate(([0], np.cumsum(lengths))))
        _, bound = settled(chunk, parameters, random_shifts(rng, 3, 1))
        runs = np.split(values, np.cumsum(lengths)[:-1])
        exact = np.array([exact_log_likelihood(run, parameters) for run in runs])
        assert (bound <= exact + 1e-9).all()
        assert (exact - bound).max() < gap


def test_one_state_makes_the_bound_the_likelihood():
    """Then a run's rows are jointly normal, and so is its shift given them."""
    rng = np.random.default_rng(6)
    parameters = replace(mixed_parameters(rng, 1, 1, "diag"), means=np.array([[0.3]]))
    chunk = chunk_of(rng, [1, 2, 5], 1)
    _, bound = settled(chunk, parameters, random_shifts(rng, 3, 1), times=3)
    sigma, tau = parameters.covars[0, 0], parameters.shift_variance[0]
    for run in range(3):
        z = chunk.runs(run, run + 1).values[:, 0] - 0.3
        matrix = sigma * np.eye(len(z)) + tau
        expected = -0.5 * (np.linalg.slogdet(2 * np.pi * matrix)[1] + z @ np.linalg.solve(matrix, z))
        assert bound[run] == pytest.approx(expected, abs=1e-9)


def test_a_metric_that_a_run_misses_changes_nothing_else():
    rng = np.random.default_rng(7)
    parameters = mixed_parameters(rng, 2, 2, "diag", scales=True)
    chunk = chunk_of(rng, [6, 4], 2, without=(0, 1))
    shifts, bound = settled(chunk, parameters, random_shifts(rng, 2, 2, scales=True))
    only = replace(
        parameters,
        means=parameters.means[:, :1],
        covars=parameters.covars[:, :1],
        shift_variance=parameters.shift_variance[:1],
        scale_variance=parameters.scale_variance[:1],
    )
    first = Chunk.of(np.ascontiguousarray(chunk.values[:6, :1]), np.array([0, 6]))
    alone = Shifts(mean=shifts.mean[:1, :1], variance=shifts.variance[:1, :1], log_scale=shifts.log_scale[:1, :1])
    found, likely = settled(first, only, alone)
    np.testing.assert_allclose(found.mean[0, 0], shifts.mean[0, 0], atol=1e-9)
    # What is not there says nothing: its shift is what shifts are, and costs nothing; its scale is none.
    np.testing.assert_allclose([shifts.mean[0, 1], shifts.log_scale[0, 1]], 0, atol=1e-9)
    assert shifts.variance[0, 1] == pytest.approx(parameters.shift_variance[1], rel=1e-12)
    scale_of_none = -0.5 * np.log(2 * np.pi * parameters.scale_variance[1])
    assert bound[0] == pytest.approx(likely[0] + scale_of_none, abs=1e-8)


def test_without_variance_of_shifts_it_is_the_plain_hmm():
    rng = np.random.default_rng(8)
    chunk = chunk_of(rng, [20, 15, 1], 2, missing=0.1)
    for covariance_type in COVARIANCE_TYPES:
        plain = random_parameters(rng, 3, 2, covariance_type)
        nothing = replace(plain, shift_variance=np.full(2, 1e-12))
        shifts, bound = settled(chunk, nothing, Shifts.none(3, 2), times=5)
        np.testing.assert_allclose(shifts.mean, 0, atol=1e-9)
        assert bound.sum() == pytest.approx(estep(chunk, plain).log_likelihood, abs=1e-8)


def test_with_any_shift_allowed_each_run_has_a_level_of_its_own():
    rng = np.random.default_rng(9)
    chunk = chunk_of(rng, [30, 20], 2)
    parameters = replace(mixed_parameters(rng, 2, 2, "diag"), shift_variance=np.full(2, 1e8))
    far = Chunk.of(chunk.values + np.repeat([[1000.0], [-500.0]], [30, 20], axis=0), chunk.offsets)
    here, there = (infer_shifts(some, parameters) for some in (chunk, far))
    np.testing.assert_allclose(there.mean - here.mean, np.outer([1000.0, -500.0], np.ones(2)), atol=0.02)
    tight = replace(parameters, shift_variance=np.full(2, 1e-8))
    np.testing.assert_allclose(infer_shifts(far, tight).mean, 0, atol=1e-3)


# --- the M-step, against a bound written out row by row


def posteriors(chunk, parameters, shifts):
    """(N, K) of the states, by enumeration of all paths under expected log-densities."""
    probs = []
    for run in range(chunk.n_runs):
        log = expected_log_densities(chunk, parameters, shifts, run)
        paths = list(product(range(parameters.n_states), repeat=len(log)))
        joint = [
            np.log(parameters.startprob[path[0]])
            + sum(np.log(parameters.transmat[i, j]) for i, j in pairwise(path))
            + sum(log[t, k] for t, k in enumerate(path))
            for path in paths
        ]
        weight = np.exp(joint - logsumexp(joint))
        marks = np.eye(parameters.n_states)[np.array(paths)]
        probs.append(np.einsum("p,ptk->tk", weight, marks))
    return probs


def expected_log_densities(chunk, parameters, shifts, run):
    """(n, K) mean over q(a_r) of log N(exp(b_r) z; a_r + μ_k, Σ_k) + Σ_d b_rd, over the metrics that are there."""
    found = []
    for z in chunk.runs(run, run + 1).values:
        there = ~np.isnan(z)
        row = []
        for k in range(parameters.n_states):
            matrix = parameters.matrices()[k][np.ix_(there, there)]
            b, m, v = (array[run, there] for array in (shifts.log_scale, shifts.mean, shifts.variance))
            away = np.exp(b) * z[there] - m - parameters.means[k, there]
            inverse = np.linalg.inv(matrix)
            log_norm = np.linalg.slogdet(2 * np.pi * matrix)[1]
            row.append(b.sum() - 0.5 * (log_norm + away @ inverse @ away + np.diag(inverse) @ v))
        found.append(row)
    return np.array(found)


def written_out(chunk, weights, probs, parameters, shifts, prior):
    """The bound as a function of everything but the posteriors of the states; the transitions left out."""
    total = prior.log_density(parameters)
    for run, weight in enumerate(weights):
        if not weight:
            continue
        own = (probs[run] * expected_log_densities(chunk, parameters, shifts, run)).sum()
        tau, v, m = parameters.shift_variance, shifts.variance[run], shifts.mean[run]
        own += (0.5 * np.log(v / tau) - 0.5 * (v + m**2) / tau).sum()
        if parameters.scale_variance is not None:
            own -= 0.5 * (shifts.log_scale[run] ** 2 / parameters.scale_variance).sum()
            own -= 0.5 * np.log(parameters.scale_variance).sum()
        total += weight * own
    if parameters.scale_variance is not None:
        # Two more runs whose scales vary by 0.05.
        total -= (np.log(parameters.scale_variance) + 0.05**2 / parameters.scale_variance).sum()
    return total


def slopes(function, at, *, positive=False):
    """Central differences of a function of an array, element by element; by its logarithm if it is ``positive``."""
    found = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[place] = STEP * (at[place] if positive else 1.0)
        found[place] = (function(at + step) - function(at - step)) / (2 * STEP)
    return found


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("shrinkage", [0.0, 2.0])
@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.sampled(5)
def test_an_m_step_is_the_maximum_over_each_block(covariance_type, shrinkage, missing):
    rng = np.random.default_rng([11, len(covariance_type), int(shrinkage)])
    diagonal = covariance_type in ("diag", "spherical")
    chunk = chunk_of(rng, [5, 4, 6, 3], 2, missing=missing if diagonal else 0.0)
    weights = np.array([1.0, 0.4, 2.0, 0.0])
    old = mixed_parameters(rng, 2, 2, covariance_type)
    shifts = random_shifts(rng, 4, 2)
    prior = Prior(floor=np.zeros(2), target=np.array([0.5, 1.5]), rows=shrinkage)
    new, moved = shifted_mstep(estep(chunk, old, weights, shifts), old, shifts, weights, prior)
    probs = posteriors(chunk, old, shifts)

    def bound(parameters, shifts_):
        return written_out(chunk, weights, probs, parameters, shifts_, prior)

    used = weights > 0
    np.testing.assert_array_equal(moved.mean[~used], shifts.mean[~used])
    np.testing.assert_array_equal(moved.variance[~used], shifts.variance[~used])
    np.testing.assert_allclose(weights @ moved.mean, 0, atol=1e-9)
    # Means and shifts, under the old covariances. Where metrics hang together shifts follow the means, which are then
    # the best for the old shifts only; and what shifts have in common is the states'.
    around = replace(old, means=new.means)
    before = replace(shifts, mean=moved.mean)
    if diagonal:
        flat = slopes(lambda means: bound(replace(around, means=means), before), new.means)
        np.testing.assert_allclose(flat, 0, atol=FLAT)
        flat = slopes(lambda mean: bound(around, replace(before, mean=mean)), moved.mean)
        np.testing.assert_allclose(flat, 0, atol=FLAT)
    assert bound(around, before) >= bound(old, shifts)
    # Covariances.
    spread = replace(around, covars=new.covars)

    def with_covars(covars):
        symmetric = covars if diagonal else (covars + np.swapaxes(covars, -1, -2)) / 2
        return bound(replace(spread, covars=symmetric), before)

    np.testing.assert_allclose(slopes(with_covars, new.covars), 0, atol=FLAT)
    # What is not known of shifts.
    known = replace(before, variance=moved.variance)
    flat = slopes(lambda variance: bound(spread, replace(known, variance=variance)), moved.variance, positive=True)
    np.testing.assert_allclose(flat, 0, atol=FLAT)
    # Their variance over runs.
    flat = slopes(lambda tau: bound(replace(spread, shift_variance=tau), moved), new.shift_variance, positive=True)
    np.testing.assert_allclose(flat, 0, atol=FLAT)
    assert bound(new, moved) > bound(old, shifts)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_scales_climb_to_their_maximum_and_their_variance_is_the_likeliest(covariance_type):
    rng = np.random.default_rng(12)
    chunk = chunk_of(rng, [5, 4, 6, 3], 2, missing=0.1)
    weights = np.array([1.0, 0.4, 2.0, 0.0])
    old = mixed_parameters(rng, 2, 2, covariance_type, scales=True)
    shifts = random_shifts(rng, 4, 2, scales=True)
    prior = Prior(floor=np.zeros(2), target=np.ones(2), rows=0.0)
    new, moved = shifted_mstep(estep(chunk, old, weights, shifts), old, shifts, weights, prior)
    probs = posteriors(chunk, old, shifts)

    def bound(parameters, shifts_):
        return written_out(chunk, weights, probs, parameters, shifts_, prior)

    np.testing.assert_array_equal(moved.log_scale[3], shifts.log_scale[3])
    upsilon = new.scale_variance
    flat = slopes(lambda variance: bound(replace(new, scale_variance=variance), moved), upsilon, positive=True)
    np.testing.assert_allclose(flat, 0, atol=FLAT)
    assert bound(new, moved) > bound(old, shifts)
    # For fixed states of the rows and fixed parameters, scales and shifts go on to the top.
    even = np.ones(4)
    probs = posteriors(chunk, old, shifts)
    best = shifts
    for _ in range(60):
        moments = fixed_moments(chunk, probs, old, best)
        best = rescaled(moments, best, old)
    for name in ("mean", "log_scale"):
        flat = slopes(
            lambda array, name=name: written_out(chunk, even, probs, old, replace(best, **{name: array}), prior),
            getattr(best, name),
        )
        np.testing.assert_allclose(flat, 0, atol=10 * FLAT)


def fixed_moments(chunk, probs, parameters, shifts):
    """`ByRun` for given (n, K) posteriors of each run, by its definition."""
    k, d = parameters.means.shape
    mass, absent = np.zeros((chunk.n_runs, k)), np.zeros((chunk.n_runs, k, d))
    first, second = absent.copy(), absent.copy()
    for run in range(chunk.n_runs):
        z = chunk.runs(run, run + 1).values
        away = np.exp(shifts.log_scale[run]) * z - shifts.mean[run]
        for state in range(k):
            share = probs[run][:, state, np.newaxis]
            apart = away - parameters.means[state]
            mass[run, state] = share.sum()
            absent[run, state] = (share * np.isnan(z)).sum(axis=0)
            first[run, state] = np.nansum(share * apart, axis=0)
            second[run, state] = np.nansum(share * apart**2, axis=0)
    return ByRun(log_likelihood=np.zeros(chunk.n_runs), mass=mass, absent=absent, first=first, second=second)


def test_moments_of_runs_are_those_of_their_definition():
    rng = np.random.default_rng(13)
    chunk = chunk_of(rng, [5, 1, 6], 2, missing=0.2)
    parameters = mixed_parameters(rng, 2, 2, "diag", scales=True)
    shifts = random_shifts(rng, 3, 2, scales=True)
    expected = fixed_moments(chunk, posteriors(chunk, parameters, shifts), parameters, shifts)
    found = own_moments(chunk, parameters, shifts)
    for name in ("mass", "absent", "first", "second"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-10, err_msg=name)
    by_paths = [
        logsumexp(
            [
                np.log(parameters.startprob[path[0]])
                + sum(np.log(parameters.transmat[i, j]) for i, j in pairwise(path))
                + sum(log[t, k] for t, k in enumerate(path))
                for path in product(range(2), repeat=len(log))
            ]
        )
        for log in (expected_log_densities(chunk, parameters, shifts, run) for run in range(3))
    ]
    np.testing.assert_allclose(found.log_likelihood, by_paths, rtol=1e-10)


def test_runs_never_differ_by_nothing_at_all():
    rng = np.random.default_rng(14)
    chunk = chunk_of(rng, [30, 30], 1)
    parameters = replace(mixed_parameters(rng, 1, 1, "diag"), shift_variance=np.array([1e-9]))
    prior = Prior(floor=np.zeros(1), target=np.array([2.0]), rows=0.0)
    none = Shifts.none(2, 1)
    shifts = replace(none, variance=np.full((2, 1), 1e-12))
    new, _ = shifted_mstep(estep(chunk, parameters, shifts=shifts), parameters, shifts, np.ones(2), prior)
    assert new.shift_variance[0] == LEAST_SHIFT * 2.0


def test_no_scale_stretches_a_metric_that_never_changes_without_end():
    """Where nothing but the shift is left of a run's metric, a larger scale is always likelier."""
    rng = np.random.default_rng(15)
    values = np.concatenate([np.full(120, 1.3), np.repeat([0.0, 1.0], 60), np.repeat([0.0, 1.0], 60)])[:, np.newaxis]
    chunk = Chunk.of(
        values + np.where(np.arange(360) < 120, 0, 0.03 * rng.normal(size=360))[:, np.newaxis],
        np.array([0, 120, 240, 360]),
    )
    parameters = Parameters(
        startprob=np.ones(2) / 2,
        transmat=np.array([[0.9, 0.1], [0.1, 0.9]]),
        means=np.array([[0.0], [1.0]]),
        covars=np.full((2, 1), 1e-3),
        covariance_type="diag",
        shift_variance=np.ones(1),
        scale_variance=np.full(1, 0.05),
    )
    prior = Prior(floor=np.full(1, 1e-3), target=np.ones(1), rows=0.0)
    start = Start(parameters=parameters, weights=np.ones(3), prior=prior, shifts=random_shifts(rng, 3, 1))
    reached = climbs(chunk, start, iterations=40)
    assert (np.diff(reached) >= -ROUNDING * np.abs(reached[1:])).all()


def test_plain_statistics_have_no_runs():
    rng = np.random.default_rng(16)
    chunk = chunk_of(rng, [4, 5], 2)
    parameters = random_parameters(rng, 2, 2, "diag")
    found = estep(chunk, parameters)
    assert found.by_run == ()
    assert mstep(found, parameters).shift_variance is None


# --- shifts of runs that no fit has seen


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_what_is_inferred_of_a_run_does_not_depend_on_the_others(covariance_type):
    rng = np.random.default_rng(17)
    scales = covariance_type in ("diag", "spherical")
    parameters = mixed_parameters(rng, 3, 2, covariance_type, scales=scales)
    # One row in 32 of the longest would leave the others one or two rows to be judged by.
    chunk = chunk_of(rng, [40, 1, 3100, 30, 250], 2, missing=0.1)
    together = infer_shifts(chunk, parameters)
    for run in range(chunk.n_runs):
        alone = infer_shifts(
            Chunk.of(chunk.runs(run, run + 1).values, np.diff(chunk.offsets)[run] * np.arange(2)), parameters
        )
        for name in ("mean", "variance", "log_scale"):
            np.testing.assert_allclose(getattr(together, name)[run], getattr(alone, name)[0], rtol=1e-9, atol=1e-12)
    order = np.array([3, 0, 4, 2, 1])
    rows = np.concatenate([chunk.runs(run, run + 1).values for run in order])
    turned = infer_shifts(Chunk.of(rows, np.concatenate(([0], np.cumsum(np.diff(chunk.offsets)[order])))), parameters)
    np.testing.assert_allclose(turned.mean, together.mean[order], rtol=1e-9, atol=1e-12)


def test_a_run_that_no_state_can_emit_takes_nothing_from_the_others():
    rng = np.random.default_rng(18)
    parameters = mixed_parameters(rng, 2, 2, "diag")
    chunk = chunk_of(rng, [20, 10, 20], 2)
    expected = infer_shifts(chunk, parameters)
    values = chunk.values.copy()
    values[25] = 1e160  # its square is more than floats hold
    with np.errstate(over="ignore", invalid="ignore"):
        impossible = Chunk.of(values, chunk.offsets)
        found = infer_shifts(impossible, parameters)
        likely = own_moments(impossible, parameters, expected).log_likelihood
    np.testing.assert_array_equal(np.isneginf(likely), [False, True, False])
    for name in ("mean", "variance"):
        np.testing.assert_array_equal(getattr(found, name)[[0, 2]], getattr(expected, name)[[0, 2]])
    assert np.isfinite(found.mean).all()


def fitted_and_new(*, scales=False, seed=0):
    """A fitted estimator, its rows, and rows of runs that it has not seen; two states apart, runs shifted."""
    rng = np.random.default_rng(seed)
    lengths = np.full(24, 40)
    path = np.concatenate([np.repeat([0, 1], [n, 40 - n]) for n in rng.integers(10, 30, size=24)])
    values = np.array([[0.0, 0.0], [4.0, -3.0]])[path] + 0.5 * rng.normal(size=(960, 2))
    values += np.repeat(1.5 * rng.normal(size=(24, 2)), lengths, axis=0)
    if scales:
        values *= np.repeat(np.exp(0.15 * rng.normal(size=(24, 2))), lengths, axis=0)
    model = GaussianHMM(2, shifts=True, scales=scales, search="wide").fit(values[:640], lengths[:16])
    return model, values, lengths, path


@pytest.mark.parametrize("scales", [False, True])
def test_runs_that_were_not_fitted_are_shifted_and_decoded_as_those_that_were(scales):
    model, values, lengths, path = fitted_and_new(scales=scales)
    np.testing.assert_array_equal(model.predict(values[:640], lengths[:16]), path[:640])
    np.testing.assert_array_equal(model.predict(values[640:], lengths[16:]), path[640:])
    alone = np.concatenate([model.predict(values[at : at + 40]) for at in range(640, 960, 40)])
    np.testing.assert_array_equal(alone, path[640:])


@pytest.mark.parametrize("scales", [False, True])
def test_the_score_of_runs_is_the_bound_where_states_stand_apart(scales):
    model, values, lengths, _ = fitted_and_new(scales=scales)
    trace = model.status_.log_likelihoods[model.status_.chosen]
    constant = 0.0
    if scales:  # EM counts two more runs: the prior of the variance of scales
        upsilon = model.scale_variance_
        constant = (np.log(upsilon) + 0.05**2 / upsilon).sum()
    # EM stops where a row gains less than 1e-6; shifts are inferred anew from other sides.
    assert model.score(values[:640], lengths[:16]) == pytest.approx(trace[-1] + constant, abs=640 * 1e-5)
    # In other units of the same rows, a likelihood of rows as they were logged changes by the units alone.
    assert model.score(values[640:], lengths[16:]) / 320 == pytest.approx(trace[-1] / 640, abs=0.3)


def test_one_state_makes_the_score_the_likelihood():
    rng = np.random.default_rng(19)
    parameters = replace(mixed_parameters(rng, 1, 1, "diag"), means=np.array([[0.3]]))
    chunk = chunk_of(rng, [1, 2, 5], 1)
    model = GaussianHMM.from_parameters(parameters, shifts=True, search="wide")
    sigma, tau = parameters.covars[0, 0], parameters.shift_variance[0]
    expected = 0.0
    for run in range(3):
        z = chunk.runs(run, run + 1).values[:, 0] - 0.3
        matrix = sigma * np.eye(len(z)) + tau
        expected -= 0.5 * (np.linalg.slogdet(2 * np.pi * matrix)[1] + z @ np.linalg.solve(matrix, z))
    assert model.score(chunk.values, np.diff(chunk.offsets)) == pytest.approx(expected, abs=1e-6)
    joint = paths_of(chunk, [parameters], np.ones(3)).joint
    assert joint == pytest.approx(expected, abs=1e-6)
    fold_of = np.array([1, 0, 1])
    scores = _scores(chunk, [parameters, parameters], fold_of)
    assert scores @ np.diff(chunk.offsets) == pytest.approx(expected, abs=1e-6)


def test_with_scales_the_log_likelihood_that_counts_for_bic_holds_no_prior():
    model, values, lengths, _ = fitted_and_new(scales=True)
    chunk = Chunk.of(np.ascontiguousarray(values[:640]), np.concatenate(([0], np.cumsum(lengths[:16]))))
    p = model.parameters
    shifts = infer_shifts(chunk, p)
    prior = Prior(target=p.variances()[0], rows=0.0, floor=np.zeros(2))
    start = Start(parameters=p, weights=np.ones(16), prior=prior, shifts=shifts)
    (restart,) = climb(NativeEngine(InMemory(chunk=chunk)), [start], n_iter=20, tol=1e-9)
    assert restart.log_likelihood == pytest.approx(model.score(values[:640], lengths[:16]), abs=0.1)
    assert abs(restart.log_likelihoods[-1] - restart.log_likelihood) > 1  # the log-density of the prior
