"""Forecast pseudo-residuals: standard normal and uncorrelated under the model, and telling where it is wrong."""

import json
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

import trajhmm as th
from trajhmm.hmm.inference.residuals import pseudo_residuals, residuals_over, summarise_residuals
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.source import InMemory
from trajhmm.simulate import planted

from .made import random_parameters

TYPES = ("diag", "full", "tied", "spherical")


def drawn(parameters, lengths, rng):
    """(N, D) rows of runs with these lengths, drawn from the model."""
    rows = []
    for length in lengths:
        state = rng.choice(parameters.n_states, p=parameters.startprob)
        for _ in range(length):
            rows.append(rng.multivariate_normal(parameters.means[state], parameters.matrices()[state]))
            state = rng.choice(parameters.n_states, p=parameters.transmat[state])
    return np.array(rows), np.concatenate(([0], np.cumsum(lengths)))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_under_the_model_they_are_standard_normal_and_uncorrelated(covariance_type):
    rng = np.random.default_rng(7)
    parameters = random_parameters(rng, 3, 2, covariance_type)
    values, offsets = drawn(parameters, [200] * 40, rng)
    residuals = pseudo_residuals(values, offsets, parameters)
    summary = summarise_residuals(residuals, offsets, ("a", "b"))
    n = len(values)
    for d, metric in enumerate(summary.metrics):
        assert stats.kstest(stats.norm.cdf(residuals[:, d]), "uniform").pvalue > 0.01
        # Four standard errors of n independent standard normals.
        assert metric.mean.value == pytest.approx(0, abs=4 / np.sqrt(n))
        assert metric.sd.value == pytest.approx(1, abs=4 / np.sqrt(2 * n))
        assert metric.autocorrelation.value == pytest.approx(0, abs=4 / np.sqrt(n))
        assert metric.beyond.value == pytest.approx(0.0027, abs=4 * np.sqrt(0.0027 / n))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_they_agree_with_the_enumeration_of_all_paths(covariance_type):
    rng = np.random.default_rng(3)
    p = random_parameters(rng, 2, 3, covariance_type)
    lengths = (4, 3)
    values, offsets = drawn(p, lengths, rng)
    found = pseudo_residuals(values, offsets, p)
    for begin, length in zip(offsets, lengths, strict=False):
        for t in range(length):
            weight = np.zeros(2)
            for path in product(range(2), repeat=t + 1):
                joint = p.startprob[path[0]]
                for before, (state, after) in enumerate(pairwise(path)):
                    row = values[begin + before]
                    joint *= stats.multivariate_normal.pdf(row, p.means[state], p.matrices()[state])
                    joint *= p.transmat[state, after]
                weight[path[-1]] += joint
            weight /= weight.sum()
            u = weight @ stats.norm.cdf(values[begin + t], p.means, np.sqrt(p.variances()))
            # Starts and transitions are floored at 1e-8.
            np.testing.assert_allclose(found[begin + t], stats.norm.ppf(u), rtol=0, atol=1e-6)


def test_far_out_in_both_tails_they_stay_exact():
    one = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=np.array([[2.0]]),
        covars=np.array([[4.0]]),
        covariance_type="diag",
    )
    away = np.array([-1e4, -300.0, -38.0, -9.0, -1e-9, 0.0, 1e-9, 9.0, 38.0, 300.0, 1e4])
    values = (2.0 + 2.0 * away)[:, np.newaxis]
    found = pseudo_residuals(values, np.array([0, len(values)]), one)[:, 0]
    np.testing.assert_allclose(found, away, rtol=1e-9, atol=1e-15)
    # Between two states as likely, the nearer one's half counts.
    two = Parameters(
        startprob=np.full(2, 0.5),
        transmat=np.full((2, 2), 0.5),
        means=np.array([[-1.0], [1.0]]),
        covars=np.ones((2, 1)),
        covariance_type="diag",
    )
    values = np.array([[-21.0], [21.0]])
    found = pseudo_residuals(values, np.array([0, 2]), two)[:, 0]
    expected = stats.norm.isf(0.5 * stats.norm.sf(20.0))
    np.testing.assert_allclose(found, [-expected, expected], rtol=1e-9)


def test_a_row_knows_nothing_of_those_after_nor_of_other_runs():
    rng = np.random.default_rng(0)
    parameters = random_parameters(rng, 3, 2, "full")
    values, offsets = drawn(parameters, [30, 30], rng)
    whole = pseudo_residuals(values, offsets, parameters)
    np.testing.assert_array_equal(pseudo_residuals(values[:17], np.array([0, 17]), parameters), whole[:17])
    np.testing.assert_array_equal(pseudo_residuals(values[30:], np.array([0, 30]), parameters), whole[30:])


def test_missing_values_have_none_and_leave_the_others_right():
    rng = np.random.default_rng(1)
    parameters = random_parameters(rng, 3, 2, "full")
    values, offsets = drawn(parameters, [100] * 60, rng)
    gone = rng.random(values.shape) < 0.3
    residuals = pseudo_residuals(np.where(gone, np.nan, values), offsets, parameters)
    np.testing.assert_array_equal(np.isnan(residuals), gone)
    summary = summarise_residuals(residuals, offsets, ("a", "b"))
    for d, metric in enumerate(summary.metrics):
        assert metric.n_rows == (~gone[:, d]).sum()
        assert stats.kstest(residuals[~gone[:, d], d], "norm").pvalue > 0.01
        assert metric.autocorrelation.value == pytest.approx(0, abs=4 / np.sqrt(0.49 * len(values)))


@pytest.mark.once
def test_rows_that_remember_are_found_out():
    correlated, independent = (
        planted(layout="spread", ar=ar, n_runs=20, n_rows=400, stays=(64, 56, 48), detour_stay=144, offset_sd=1, seed=0)
        for ar in (0.5, 0.0)
    )
    for truth, expected in ((correlated, 0.5), (independent, 0.0)):
        model = th.fit(truth.logs, states=truth.n_states, halves=0)
        rows = model.sequences(truth.logs)
        residuals = pseudo_residuals(rows.values, rows.offsets, model.parameters)
        summary = summarise_residuals(residuals, rows.offsets, rows.metrics)
        found = [metric.autocorrelation.value for metric in summary.metrics]
        # States are known but for a row or two around a change, and 8,000 rows have an error of .01.
        np.testing.assert_allclose(found, expected, atol=0.06)
        assert sum(m.autocorrelation.ci_low <= expected <= m.autocorrelation.ci_high for m in summary.metrics) >= 5


def test_statistics_are_those_of_the_rows():
    rng = np.random.default_rng(5)
    residuals = rng.standard_t(3, size=(70, 2)) + np.array([0.3, 0.0])
    residuals[rng.random(residuals.shape) < 0.1] = np.nan
    offsets = np.array([0, 30, 31, 70])
    summary = summarise_residuals(residuals, offsets, ("a", "b"))
    for d, metric in enumerate(summary.metrics):
        r = residuals[:, d]
        assert metric.mean.value == pytest.approx(np.nanmean(r))
        assert metric.sd.value == pytest.approx(np.nanstd(r))
        assert metric.beyond.value == pytest.approx((np.abs(r[~np.isnan(r)]) > 3).mean())
        away = r - np.nanmean(r)
        pairs = [(away[t - 1], away[t]) for t in range(1, 70) if t not in offsets]
        x, y = np.array([pair for pair in pairs if not np.isnan(pair).any()]).T
        assert metric.autocorrelation.value == pytest.approx(2 * (x @ y) / (x @ x + y @ y))


def test_intervals_are_over_runs():
    rng = np.random.default_rng(2)
    # Runs differ in their level, rows do not vary within: what is known of the mean is what runs say.
    levels = rng.normal(size=50)
    offsets = np.arange(0, 5001, 100)
    summary = summarise_residuals(np.repeat(levels, 100)[:, np.newaxis], offsets, ("a",), seed=1)
    mean = summary.metrics[0].mean
    half = 1.96 * levels.std() / np.sqrt(50)
    # A bootstrap of 999 draws: a tenth of the interval.
    assert mean.ci_low == pytest.approx(levels.mean() - half, abs=0.2 * half)
    assert mean.ci_high == pytest.approx(levels.mean() + half, abs=0.2 * half)
    again = summarise_residuals(np.repeat(levels, 100)[:, np.newaxis], offsets, ("a",), seed=1)
    assert again == summary
    assert summarise_residuals(np.repeat(levels, 100)[:, np.newaxis], offsets, ("a",), seed=2) != summary


@pytest.mark.parametrize("n_runs", [4, 8])
def test_intervals_of_few_runs_hold_what_is_true(n_runs):
    """Rows as the model expects them: mean 0, standard deviation 1, no memory."""
    true = {"mean": 0.0, "sd": 1.0, "autocorrelation": 0.0}
    holds = dict.fromkeys(true, 0)
    offsets = np.arange(0, 60 * n_runs + 1, 60)
    for seed in range(100):
        rows = np.random.default_rng(seed).normal(size=(60 * n_runs, 1))
        found = summarise_residuals(rows, offsets, ("a",), seed=seed).metrics[0]
        for name, value in true.items():
            estimate = getattr(found, name)
            holds[name] += estimate.ci_low <= value <= estimate.ci_high
    # A plain percentile bootstrap holds 80 of four runs, and 85 to 91 of eight.
    assert min(holds.values()) >= 88
    few = summarise_residuals(np.random.default_rng(0).normal(size=(180, 1)), np.arange(0, 181, 60), ("a",)).metrics[0]
    assert few.mean.value is not None
    assert few.mean.ci_low is None


def test_what_cannot_be_known_is_none_and_json():
    residuals = np.array([[0.5, np.nan], [0.1, np.nan]])
    one = summarise_residuals(residuals, np.array([0, 2]), ("a", "b")).to_dict()
    assert one["n_runs"] == 1
    assert one["metrics"][0]["mean"] == {"value": pytest.approx(0.3), "ci_low": None, "ci_high": None}
    assert one["metrics"][1]["n_rows"] == 0
    assert one["metrics"][1]["mean"] == one["metrics"][1]["autocorrelation"]
    assert one["metrics"][1]["sd"]["value"] is None
    json.dumps(one, allow_nan=False)
    # Runs of one row have no neighbours.
    single = summarise_residuals(np.ones((3, 1)), np.arange(4), ("a",)).metrics[0]
    assert single.autocorrelation.value is None
    assert single.sd.value == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"emissions": "ar"}, {"scaling": "shared"}])
def test_a_certificate_holds_those_of_its_map(options):
    logs = planted(n_runs=8, n_rows=60, seed=3, offset_sd=2.0, ar=0.5).logs
    model = th.fit(logs, metrics=["weight_l2", "trace", "singular_var"], states=3, halves=1, restarts=2, **options)
    sequences = model.sequences(logs)  # less the shifts of the runs, and as levels where rows remember
    residuals = pseudo_residuals(sequences.values, sequences.offsets, model.parameters)
    assert model.certificate.residuals == summarise_residuals(residuals, sequences.offsets, model.metrics)
    memory = [one.autocorrelation.value for one in model.certificate.residuals.metrics]
    assert (np.median(memory) > 0.3) == (options != {"emissions": "ar"})


def test_without_halves_there_is_no_certificate():
    logs = planted(n_runs=6, n_rows=30, seed=3).logs
    assert th.fit(logs, metrics=["trace"], states=2, halves=0, restarts=1).certificate is None


def test_rows_in_parts_give_those_of_all():
    rng = np.random.default_rng(5)
    parameters = random_parameters(rng, 3, 2, "diag")
    values, offsets = drawn(parameters, [20, 30, 25, 40], rng)
    whole = summarise_residuals(pseudo_residuals(values, offsets, parameters), offsets, ("a", "b"))

    class Cut:
        def map(self, function):
            for runs in (slice(0, 2), slice(2, 3), slice(3, 4)):
                begin, end = offsets[runs.start], offsets[runs.stop]
                part = InMemory.of(values[begin:end], offsets[runs.start : runs.stop + 1] - begin)
                yield from part.map(function)

    assert residuals_over(Cut(), parameters, ("a", "b")) == whole
