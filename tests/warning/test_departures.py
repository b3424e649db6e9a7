"""Departures from healthy runs at the same step: logarithms, moderated spreads, compressed tails."""

import numpy as np
import pytest

from trajhmm.features import Departures, SameStep

from .made import healthy_runs, made_run, training


def test_against_the_formula():
    """Written out, one step and metric at a time."""
    rng = np.random.default_rng(0)
    runs = healthy_runs(4, rng, rows=30)
    run = made_run(training(rng, 30, drift=1.0, onset=15))
    values = np.array([one.values for one in runs])
    positive = (values > 0).all(axis=(0, 1))
    assert positive.any()
    taken = np.where(positive, np.log(np.where(positive, values, 1.0)), values)
    tested = np.where(positive, np.log(np.where(positive, run.values, 1.0)), run.values)
    squares = ((taken - np.median(taken, axis=0)) ** 2).sum(axis=0)
    usual = np.median(np.sqrt(squares / 4), axis=0)
    spread = np.sqrt((squares + 10 * usual**2) / 14)
    expected = np.arcsinh((tested - np.median(taken, axis=0)) / spread)
    np.testing.assert_allclose(Departures.of(runs).transform(run), expected, rtol=1e-9)


def test_a_positive_metric_departs_by_factors():
    """Seeds that differ by factors of e: twice and half the median are as far off."""
    runs = [made_run(np.full(20, level)) for level in np.exp([-1.0, 0.0, 1.0])]
    departures = Departures.of(runs)
    up, down = (departures.transform(made_run(np.full(20, level)))[0, 0] for level in (2.0, 0.5))
    assert up == pytest.approx(-down)
    # Spread at each step √(2/3), and that is the usual one.
    assert up == pytest.approx(np.arcsinh(np.log(2) / np.sqrt(2 / 3)))


def test_a_metric_that_may_be_negative_departs_by_amounts():
    runs = [made_run(np.full(20, level)) for level in (-1.0, 0.0, 1.0)]
    assert Departures.of(runs).transform(made_run(np.full(20, 2.0)))[0, 0] == pytest.approx(
        np.arcsinh(2 / np.sqrt(2 / 3))
    )


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_a_positive_metric_that_vanishes_is_far_off_and_finite(value):
    runs = [made_run(np.full(20, level)) for level in (1.0, 1.1, 1.2)]
    away = Departures.of(runs).transform(made_run(np.full(20, value)))
    assert np.isfinite(away).all()
    assert (away < -4).all()


def test_few_seeds_that_agree_by_chance_at_a_step_do_not_make_it_strict():
    """At step 10 the three seeds are nearly at one value; the spread there is still most of the usual one."""
    values = np.array([np.full(21, level) for level in (-1.0, 0.0, 1.0)])
    values[:, 10] = [-1e-3, 0.0, 1e-3]
    runs = [made_run(one) for one in values]
    spread = Departures.of(runs).same_step.spread[:, 0]
    usual = np.sqrt(2 / 3)
    assert spread[10] == pytest.approx(usual * np.sqrt(10 / 13), rel=1e-3)
    assert SameStep.of(runs, floor=0.0).spread[10, 0] < 1e-2


def test_a_healthy_spike_of_one_metric_counts_as_its_logarithm():
    """A seed five hundred spreads off in one row is not fifty times as surprising as one ten spreads off."""
    runs = [made_run(np.full(20, level)) for level in (-1.0, 0.0, 1.0)]
    departures = Departures.of(runs)
    ten, hundreds = (departures.transform(made_run(np.full(20, far)))[0, 0] for far in (10.0, 500.0))
    assert hundreds == pytest.approx(ten + np.log(50), rel=1e-2)
