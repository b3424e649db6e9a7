"""A map read row by row: against the formulas written out, against all paths, and whatever rows come as."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from trajhmm.errors import ArrayError
from trajhmm.hmm.inference.forwards import Forwards
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.inference.shifts import possible
from trajhmm.hmm.parameters import Parameters

from .made import random_parameters

# Sums of some tens of terms in another order, and logarithms of products in place of sums of logarithms.
ROUNDING = 1e-9


def mixed(rng, k, d, covariance_type="diag"):
    return replace(random_parameters(rng, k, d, covariance_type), shift_variance=rng.uniform(0.3, 3.0, d))


def read(parameters, rows, *, reach=np.inf, **settings):
    ready = Forwards(parameters=parameters, reach=np.full(parameters.n_metrics, reach), **settings)
    memory = ready.start()
    return ready.advance(np.ascontiguousarray(rows), memory), memory


def rows_of(rng, n, d, missing=0.2):
    rows = rng.normal(scale=2, size=(n, d))
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows


def as_written(p, rows, reach=np.inf):
    """The docstring's formulas, one beginning after the other: (n, K) probabilities."""
    likely, k = possible(p), p.n_states
    leaves = 1.0 - np.diag(likely.transmat)
    starts = np.eye(k) + 1e-8
    starts /= starts.sum(axis=1, keepdims=True)
    weights, of_each = [], []
    for start, begins in zip(starts, likely.startprob, strict=True):
        n, s = 1.0 / p.shift_variance, np.zeros(p.n_metrics)
        gammas, weights_here, gamma, weight = [], [], None, np.log(begins)
        for z in rows:
            there = ~np.isnan(z)
            before = start if gamma is None else gamma @ likely.transmat
            away = np.clip(z - p.means - s / n, -reach, reach)
            total = p.variances() + 1.0 / n
            logs = np.log(before) - 0.5 * (away**2 / total + np.log(total))[:, there].sum(axis=1)
            weight += logsumexp(logs)
            gamma = np.exp(logs - logsumexp(logs))
            told = (gamma * leaves)[:, np.newaxis] / p.variances()
            s = s + np.where(there, (told * np.where(there, s / n + away, 0.0)).sum(axis=0), 0.0)
            n = n + np.where(there, told.sum(axis=0), 0.0)
            gammas.append(gamma)
            weights_here.append(weight)
        of_each.append(gammas)
        weights.append(weights_here)
    shares = np.exp(np.array(weights) - logsumexp(weights, axis=0))
    return np.einsum("ht,htk->tk", shares, np.array(of_each))


@pytest.mark.parametrize("reach", [np.inf, 1.5])
@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_it_is_as_it_is_written(covariance_type, reach):
    rng = np.random.default_rng(3)
    p, rows = mixed(rng, 3, 6, covariance_type), rows_of(rng, 12, 6)
    found, _ = read(p, rows, reach=reach)
    np.testing.assert_allclose(np.exp(found), as_written(p, rows, reach), rtol=ROUNDING, atol=1e-12)
    # Planted error: a visit that counts for twice as much.
    other, _ = read(p, rows, reach=reach, visit=2.0)
    assert not np.allclose(np.exp(other), as_written(p, rows, reach), rtol=ROUNDING, atol=1e-12)


def test_where_states_are_plain_it_is_the_sum_over_all_paths():
    """Each row counts in full, and which state a row is in leaves no doubt: then the approximation is none."""
    rng = np.random.default_rng(5)
    k, d, n = 3, 2, 6
    p = replace(mixed(rng, k, d), means=40.0 * rng.normal(size=(k, d)))
    rows = p.means[rng.integers(k, size=n)] + rng.normal(size=d) + rng.normal(size=(n, d))
    likely, evidence = possible(p), np.full((n, k), -np.inf)
    for t in range(n):
        for path in product(range(k), repeat=t + 1):
            log_joint = np.log(likely.startprob[path[0]]) + sum(
                np.log(likely.transmat[i, j]) for i, j in pairwise(path)
            )
            for metric in range(d):
                covariance = np.diag(p.variances()[list(path), metric]) + p.shift_variance[metric]
                away = rows[: t + 1, metric] - p.means[list(path), metric]
                log_joint -= 0.5 * (away @ np.linalg.solve(covariance, away) + np.linalg.slogdet(covariance)[1])
            evidence[t, path[-1]] = np.logaddexp(evidence[t, path[-1]], log_joint)
    exact = np.exp(evidence - logsumexp(evidence, axis=1, keepdims=True))
    found, _ = read(p, rows, visit=np.inf)
    # What is left is exp(-GIVEN_UP), and the start in another state than the beginning's.
    np.testing.assert_allclose(np.exp(found), exact, atol=1e-6)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_without_shifts_it_is_the_filter(covariance_type):
    rng = np.random.default_rng(7)
    p, rows = random_parameters(rng, 4, 5, covariance_type), rows_of(rng, 60, 5)
    exact, _ = filter_rows(rows, np.array([0, len(rows)]), possible(p))
    np.testing.assert_allclose(read(p, rows)[0], exact, rtol=ROUNDING, atol=ROUNDING)


@given(st.data())
def test_rows_give_the_same_bits_however_they_come(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    p, rows = mixed(rng, 3, 5), rows_of(rng, 40, 5)
    if data.draw(st.booleans()):
        p = replace(p, shift_variance=None)
    whole, kept = read(p, rows)
    ready = Forwards(parameters=p, reach=np.full(5, np.inf))
    memory, parts = ready.start(), []
    cuts = sorted(data.draw(st.sets(st.integers(0, 40), max_size=10)))
    for begin, end in zip([0, *cuts], [*cuts, 40], strict=True):
        memory = np.array([float(repr(number)) for number in memory.tolist()])  # as a state file holds them
        parts.append(ready.advance(rows[begin:end], memory))
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert memory.tobytes() == kept.tobytes()
    assert ready.size == len(kept)


def test_a_metric_that_is_missing_has_no_part():
    rng = np.random.default_rng(9)
    p, rows = mixed(rng, 3, 4), rows_of(rng, 30, 4, missing=0.0)
    rows[:, 2] = np.nan
    kept = [0, 1, 3]
    less = replace(p, means=p.means[:, kept], covars=p.covars[:, kept], shift_variance=p.shift_variance[kept])
    np.testing.assert_allclose(read(p, rows)[0], read(less, rows[:, kept])[0], rtol=ROUNDING, atol=ROUNDING)


def road(seed=0, k=4, d=6):
    """States one after the other; a path of 160 rows through all of them, and rows of it."""
    rng = np.random.default_rng(seed)
    transmat = np.eye(k) * 0.97 + np.diag(np.full(k - 1, 0.03), 1)
    transmat[-1, -1] = 1.0
    p = Parameters(
        startprob=np.eye(k)[0],
        transmat=transmat,
        means=3.0 * rng.normal(size=(k, d)),
        covars=np.full((k, d), 0.3),
        covariance_type="diag",
        shift_variance=np.full(d, 25.0),
    )
    path = np.repeat(np.arange(k), 160 // k)
    return p, path, p.means[path] + rng.normal(0, 0.3**0.5, size=(160, d))


@pytest.mark.parametrize("shift", [0.0, 4.0, -11.0])
def test_a_run_that_is_shifted_is_in_the_same_states(shift):
    p, path, rows = road()
    assert (read(p, rows + shift)[0].argmax(axis=1) == path).mean() > 0.97
    # Planted error: a filter that knows of no shifts.
    if shift:
        blind = replace(p, shift_variance=None)
        assert (read(blind, rows + shift)[0].argmax(axis=1) == path).mean() < 0.97


@pytest.mark.parametrize("begin", [45, 85])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_that_begins_elsewhere_is_found_out(seed, begin, monkeypatch):
    """In the second state that it comes to: before it looks the same, shifted, as one that began as usual."""
    p, path, rows = road(seed)
    shift = 4.0
    settled = path[begin:] == 3

    def found():
        told = read(p, rows[begin:] + shift)[0].argmax(axis=1)
        return (told == path[begin:])[settled].mean()

    assert found() > 0.9
    # Planted error: all begin in the usual state.
    monkeypatch.setattr(Forwards, "_starts", np.tile(possible(p).startprob, (4, 1)))
    assert found() < 0.1


def test_one_torn_number_does_not_move_a_run():
    p, path, rows = road()
    rows[20, 3] = 1e12
    assert (read(p, rows, reach=10.0)[0].argmax(axis=1) == path).mean() > 0.95
    assert (read(p, rows)[0].argmax(axis=1) == path).mean() < 0.95


def test_a_run_that_goes_back_keeps_its_shift():
    p, path, rows = road()
    ready = Forwards(parameters=p, reach=np.full(6, np.inf))
    memory = ready.start()
    ready.begin_again(memory)
    assert memory.tobytes() == ready.start().tobytes()  # nothing to go back to yet
    ready.advance(rows + 7.0, memory)
    known = memory.copy()
    ready.begin_again(memory)
    again = ready.advance(rows[50:70] + 7.0, memory).argmax(axis=1)
    assert (again == path[50:70]).mean() > 0.9
    assert (known != memory).any()


def test_rows_as_far_off_as_they_may_be_give_probabilities():
    rng = np.random.default_rng(2)
    p = mixed(rng, 3, 4)
    far = replace(p, covars=np.full((3, 4), 1e-60), shift_variance=np.array([1e-60, 1e60, 1.0, 1e-60]))
    rows = rng.choice([-1e60, 0.0, 1e60, np.nan], size=(50, 4))
    for parameters in (p, far, replace(far, shift_variance=None)):
        found, memory = read(parameters, rows)
        assert not np.isnan(found).any()
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-6)
        assert not np.isnan(memory).any()


def test_what_cannot_be_read_forwards_is_refused():
    rng = np.random.default_rng(1)
    full = replace(random_parameters(rng, 2, 3, "full"), shift_variance=np.ones(3))
    with pytest.raises(ValueError, match=r"covariances are full; fit it with --covariance diag"):
        Forwards(parameters=full, reach=np.full(3, np.inf))
    with pytest.raises(ValueError, match=r"scales of their own .* --scaling own-start"):
        Forwards(parameters=replace(mixed(rng, 2, 3), scale_variance=np.ones(3)), reach=np.full(3, np.inf))
    with pytest.raises(ArrayError, match=r"reach has shape \(2,\); expected \(3\)"):
        Forwards(parameters=mixed(rng, 2, 3), reach=np.full(2, np.inf))
    with pytest.raises(ArrayError, match=r"rows has shape \(4, 2\); expected \(any, 3\)"):
        read(mixed(rng, 2, 3), np.zeros((4, 2)))
