"""Rows that remember: their likelihood, the coefficients and the states they leave, and what a model keeps of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

import trajhmm as th
from trajhmm.errors import FitError
from trajhmm.features import map_sequences
from trajhmm.hmm.estimator import GaussianHMM
from trajhmm.hmm.inference.matching import adjusted_rand, contingency
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.inference.residuals import pseudo_residuals, summarise_residuals
from trajhmm.hmm.inference.shifts import without_shifts
from trajhmm.hmm.learning.autoregression import (
    _at,
    learn_autoregression,
    likeliest,
    log_jacobian,
    select_with_autoregression,
    whitened,
)
from trajhmm.hmm.learning.selection import select_states
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.shifts import Shifts
from trajhmm.logs import scan_logs, write_logs
from trajhmm.simulate import planted

from .made import random_parameters

LONG = {"layout": "spread", "n_rows": 400, "stays": (64, 56, 48), "detour_stay": 144, "offset_sd": 1.0}


def settings(states, **options):
    return GaussianHMM(states, search="wide", **options).settings


def drawn(parameters, phi, lengths, rng, shift_sd=0.0):
    """(N, D) rows of runs that remember, (N,) their states and (R + 1,) offsets; covariances are of the innovations."""
    rows, states = [], []
    for length in lengths:
        shift = shift_sd * rng.standard_normal(parameters.n_metrics)
        state = rng.choice(parameters.n_states, p=parameters.startprob)
        row = parameters.means[state] + shift
        for _ in range(length):
            innovation = rng.multivariate_normal(np.zeros(parameters.n_metrics), parameters.matrices()[state])
            level = parameters.means[state] + shift
            row = level + phi * (row - level) + innovation
            rows.append(row)
            states.append(state)
            state = rng.choice(parameters.n_states, p=parameters.transmat[state])
    return np.array(rows), np.array(states), np.concatenate(([0], np.cumsum(lengths)))


def sticky(rng, k, d, stay=0.97, covariance_type="diag"):
    p = random_parameters(rng, k, d, covariance_type)
    return replace(p, transmat=stay * np.eye(k) + (1 - stay) / k)


@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied", "spherical"])
def test_the_likelihood_is_that_of_the_rows(covariance_type):
    """Against a forward recursion in which each state's density of a row is written out with the row before it."""
    rng = np.random.default_rng(0)
    p = random_parameters(rng, 3, 2, covariance_type)
    phi = np.array([0.3, 0.8])
    values, _, offsets = drawn(p, phi, [7, 1, 5], rng)
    innovation = p.matrices() * (1 - phi)[:, np.newaxis] * (1 - phi)
    expected = []
    for begin, end in pairwise(offsets):
        known = np.log(p.startprob)
        for t in range(begin, end):
            centres = p.means if t == begin else p.means + phi * (values[t - 1] - p.means)
            spreads = p.matrices() if t == begin else innovation
            states = zip(centres, spreads, strict=True)
            joint = known + [stats.multivariate_normal.logpdf(values[t], *state) for state in states]
            expected.append(logsumexp(joint))
            known = logsumexp((joint - expected[-1])[:, np.newaxis] + np.log(p.transmat), axis=0)
    predictive = filter_rows(whitened(values, offsets, phi), offsets, p)[1] + log_jacobian(offsets, phi)
    np.testing.assert_allclose(predictive, expected, rtol=1e-10)


def test_the_coefficient_is_the_likeliest_for_the_states_as_they_are():
    rng = np.random.default_rng(1)
    phi = np.array([0.2, 0.6, 0.9])
    p = replace(sticky(rng, 3, 3), shift_variance=np.ones(3))
    values, _, offsets = drawn(p, phi, [60] * 6, rng, shift_sd=1.0)
    lengths = np.diff(offsets)
    shifts = Shifts(
        mean=rng.normal(size=(6, 3)), variance=rng.uniform(0.01, 0.1, size=(6, 3)), log_scale=np.zeros((6, 3))
    )
    found = likeliest(Chunk.of(values, offsets), phi, p, shifts)
    probs = smooth_rows(shifts.taken_from(whitened(values, offsets, phi), lengths), offsets, p)
    innovation = p.variances() * (1 - phi) ** 2
    for d in range(3):

        def expected(candidate, d=d):
            rows = whitened(values, offsets, np.full(3, candidate))[:, d] - np.repeat(shifts.mean[:, d], lengths)
            variance = innovation[:, d] / (1 - candidate) ** 2
            square = (rows[:, np.newaxis] - p.means[:, d]) ** 2 + np.repeat(shifts.variance[:, d], lengths)[
                :, np.newaxis
            ]
            density = -0.5 * np.log(variance) - 0.5 * square / variance
            # The density of the rows themselves: those with a past were divided by 1 - φ.
            past = np.ones(len(values))
            past[offsets[:-1]] = 0
            return -(probs * density).sum() + past.sum() * np.log1p(-candidate)

        best = minimize_scalar(expected, bounds=(0, 0.99), method="bounded", options={"xatol": 1e-8}).x
        assert found[d] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied"])
def test_another_coefficient_leaves_levels_and_innovations(covariance_type):
    p = random_parameters(np.random.default_rng(6), 3, 2, covariance_type)
    before, after = np.array([0.3, 0.8]), np.array([0.5, 0.1])
    moved = _at(p, before, after)
    np.testing.assert_array_equal(moved.means, p.means)
    then, now = ((1 - phi)[:, np.newaxis] * (1 - phi) for phi in (before, after))
    np.testing.assert_allclose(moved.matrices() * now, p.matrices() * then, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied", "spherical"])
@pytest.mark.sampled(1)
def test_the_likelihood_never_falls_and_is_what_it_says(covariance_type):
    rng = np.random.default_rng(2)
    p = sticky(rng, 3, 3, covariance_type=covariance_type)
    values, _, offsets = drawn(p, np.array([0.2, 0.5, 0.8]), [120] * 8, rng)
    learnt = learn_autoregression(InMemory.of(values, offsets), settings(3, covariance_type=covariance_type))
    assert len(learnt.log_likelihoods) > 2
    assert (np.diff(learnt.log_likelihoods) >= 0).all()
    levels = whitened(values, offsets, learnt.autoregression)
    reached = filter_rows(levels, offsets, learnt.parameters)[1].sum()
    reached += log_jacobian(offsets, learnt.autoregression).sum()
    assert learnt.log_likelihoods[-1] == pytest.approx(reached, rel=1e-9)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shift_sd", [0.0, 2.0])
@pytest.mark.once
def test_coefficients_and_states_of_rows_that_remember_are_found(shift_sd):
    rng = np.random.default_rng(3)
    p = sticky(rng, 3, 4)
    phi = np.array([0.0, 0.3, 0.6, 0.9])
    values, states, offsets = drawn(p, phi, [300] * 20, rng, shift_sd)
    learnt = learn_autoregression(InMemory.of(values, offsets), settings(3, shifts=shift_sd > 0))
    # Standard errors are sqrt((1 - φ²) / 6000), .013 at most; what levels are learnt with costs some.
    np.testing.assert_allclose(learnt.autoregression, phi, atol=0.04)
    levels = without_shifts(whitened(values, offsets, learnt.autoregression), offsets, learnt.parameters)
    path = decode_rows(levels, offsets, learnt.parameters)[0]
    assert adjusted_rand(contingency(states, path, 3, 3)) > 0.9


def test_rows_that_do_not_remember_keep_none():
    rng = np.random.default_rng(4)
    p = sticky(rng, 3, 3)
    values, _, offsets = drawn(p, np.zeros(3), [200] * 20, rng)
    learnt = learn_autoregression(InMemory.of(values, offsets), settings(3))
    assert learnt.autoregression.max() < 4 / np.sqrt(4000)


@pytest.fixture(scope="module")
def fitted():
    truth = planted(**LONG, n_runs=20, ar=0.5, seed=0)
    model = th.fit(truth.logs, states=truth.n_states, emissions="ar", halves=0)
    return truth, model, th.fit(truth.logs, states=truth.n_states, halves=0)


def test_a_map_of_rows_that_remember(fitted):
    truth, model, independent = fitted
    # Rows around a change of state, of which the planted ones take their memory along, weigh it down from .5.
    np.testing.assert_allclose(model.parameters.autoregression, 0.5, atol=0.1)
    assert independent.parameters.autoregression is None
    k = truth.n_states
    decoded = model.decode(truth.logs)
    assert decoded.path.shape == truth.states.shape
    assert adjusted_rand(contingency(truth.states, decoded.path, k, k)) > 0.99
    # Levels, on the scale that both share; a standard error is .35 · √3 / √(rows of a state) / spread.
    away = model.parameters.means - independent.parameters.means
    np.testing.assert_allclose(away - away.mean(axis=0), 0, atol=0.1)
    # One φ for each metric more, and an innovation of √(1 - φ²) of the spread.
    assert model.curve[0].n_parameters == independent.curve[0].n_parameters + 8
    assert model.curve[0].bic < independent.curve[0].bic
    gained = (model.curve[0].log_likelihood - independent.curve[0].log_likelihood) / truth.logs.values[:, :8].size
    assert gained == pytest.approx(-0.5 * np.log(1 - 0.5**2), rel=0.15)
    assert model.filter(truth.logs).log_likelihood > independent.filter(truth.logs).log_likelihood


def test_its_pseudo_residuals_do_not_remember(fitted):
    truth, model, independent = fitted
    for one, expected in ((model, 0.0), (independent, 0.5)):
        rows = one.sequences(truth.logs)
        residuals = pseudo_residuals(rows.values, rows.offsets, one.parameters)
        summary = summarise_residuals(residuals, rows.offsets, rows.metrics)
        found = [metric.autocorrelation.value for metric in summary.metrics]
        np.testing.assert_allclose(found, expected, atol=0.08)


def test_the_model_file_keeps_it(fitted, tmp_path):
    truth, model, independent = fitted
    for number, one in enumerate((model, independent)):
        one.save(tmp_path / f"{number}.json")
        loaded = th.load_model(tmp_path / f"{number}.json")
        np.testing.assert_equal(loaded.parameters.autoregression, one.parameters.autoregression)
        np.testing.assert_array_equal(loaded.decode(truth.logs).path, one.decode(truth.logs).path)


def test_a_row_tells_a_level_with_the_one_before_it_alone(fitted):
    truth, model, _ = fitted
    rows = map_sequences(truth.logs, model.metrics, scaler=model.scaler).values
    phi = model.parameters.autoregression
    scaled = model.scaled(truth.logs)
    for t in (0, 1, 399, 400, 401):
        level = rows[t] if t % 400 == 0 else (rows[t] - phi * rows[t - 1]) / (1 - phi)
        np.testing.assert_allclose(scaled.values[t], level, rtol=1e-12)


@pytest.mark.once
def test_the_memory_is_that_of_the_number_of_states_chosen():
    rng = np.random.default_rng(5)
    values, _, offsets = drawn(sticky(rng, 3, 3), np.full(3, 0.5), [100] * 8, rng)
    source, chosen = InMemory.of(values, offsets), settings(3)
    asked = []

    def select(levels):
        asked.append(levels.chunk.values)
        return select_states(levels, chosen, states=[2], criterion="bic")

    selection = select_with_autoregression(source, chosen, 4, select)
    wanted = {k: learn_autoregression(source, settings(k)).autoregression for k in (2, 4)}
    assert np.abs(wanted[2] - wanted[4]).max() > 0.1
    assert len(asked) == 2
    for levels, k in zip(asked, (4, 2), strict=True):
        np.testing.assert_array_equal(levels, whitened(values, offsets, wanted[k]))
    np.testing.assert_array_equal(selection.fit.parameters.autoregression, wanted[2])
    more = log_jacobian(offsets, wanted[2]).sum()
    plain = select_states(InMemory.of(asked[1], offsets), chosen, states=[2], criterion="bic")
    assert selection.fit.log_likelihood == pytest.approx(plain.fit.log_likelihood + more)
    assert selection.curve[0].log_likelihood == pytest.approx(selection.fit.log_likelihood)
    assert selection.fit.status.log_likelihoods[0][-1] == pytest.approx(selection.fit.objective)
    n_parameters = plain.curve[0].n_parameters + 3
    expected = n_parameters * np.log(800) - 2 * selection.fit.log_likelihood
    assert selection.curve[0].bic == pytest.approx(expected)


@pytest.mark.slow
def test_reproducible_states_of_rows_that_remember():
    truth = planted(**LONG, n_runs=16, ar=0.5, detour=False, seed=1)
    model = th.fit(truth.logs, states=range(3, 6), emissions="ar", halves=2)
    assert model.n_states == truth.n_states == 4
    np.testing.assert_allclose(model.parameters.autoregression, 0.5, atol=0.1)
    assert model.certificate.reproducible


def test_what_cannot_be_fitted_is_said(tmp_path):
    truth = planted(n_runs=4, n_rows=40, seed=0)
    with pytest.raises(FitError, match="expected one of gaussian, ar"):
        th.fit(truth.logs, states=2, emissions="garch")
    write_logs(truth.logs, tmp_path / "logs.parquet")
    with pytest.raises(FitError, match="in memory: fit without --stream and --dask"):
        th.fit(scan_logs([tmp_path / "logs.parquet"]), states=2, emissions="ar")


@pytest.mark.once
def test_the_command_line_fits_it(tmp_path, trajhmm):
    logs, model = tmp_path / "logs.parquet", tmp_path / "model.json"
    write_logs(planted(n_runs=6, n_rows=60, ar=0.5, seed=0).logs, logs)
    command = ["fit", logs, "-o", model, "--emissions", "ar"]
    options = ["--states", "3", "--halves", "0"]
    done = trajhmm(*command, *options)
    assert done.code == 0, done.err
    assert th.load_model(model).parameters.autoregression.shape == (14,)
    streamed = trajhmm(*command, *options, "--stream")
    assert streamed.code == 1
    assert "emissions 'ar' need all rows in memory" in streamed.err
    assert trajhmm(*command, "--for", "warning").code == 2
