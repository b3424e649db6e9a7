"""The envelope of healthy seeds."""

import numpy as np
import pytest

from trajhmm.warning.detectors import Reference, StandardisedMetrics, make_detector

from .made import healthy_runs, made_run, training


def fit(*runs, **settings):
    return make_detector("envelope", **settings).fit(Reference(healthy=tuple(runs)))


def test_largest_departure_from_the_median_of_seeds():
    """Written out, one step and metric at a time."""
    rng = np.random.default_rng(0)
    runs = healthy_runs(3, rng, rows=60)
    run = made_run(training(rng, 60, drift=1.0, onset=30))
    scaling = StandardisedMetrics.of(runs)
    seeds = np.array([scaling.transform(one) for one in runs])
    spread = np.empty((60, 3))
    for t in range(60):
        for d in range(3):
            median = np.median(seeds[:, t, d])
            spread[t, d] = np.sqrt(np.mean((seeds[:, t, d] - median) ** 2))
    raised = np.maximum(spread, 0.25 * np.median(spread, axis=0))
    expected = [
        max(abs(scaling.transform(run)[t, d] - np.median(seeds[:, t, d])) / raised[t, d] for d in range(3))
        for t in range(60)
    ]
    np.testing.assert_allclose(fit(*runs).scores(run), expected, rtol=1e-9)
    assert (raised > spread).any()


def test_scores_are_in_units_of_the_spread():
    """Three seeds at -1, 0 and 1 at every step: the spread is √(2/3)."""
    runs = [made_run(np.full(20, level)) for level in (-1.0, 0.0, 1.0)]
    scores = fit(*runs).scores(made_run(np.full(20, 2.0)))
    np.testing.assert_allclose(scores, 2 / np.sqrt(2 / 3))


def test_seeds_that_agree_at_some_steps_do_not_blow_up():
    """From step 50 on all seeds stand at exactly 500, as returns do; a departure of 1 is then worth what it was."""
    rng = np.random.default_rng(0)
    values = [np.concatenate([500 - 20 * rng.random(50), np.full(50, 500.0)]) for _ in range(8)]
    fitted = fit(*(made_run(one) for one in values))
    usual = np.median(np.std(np.array(values)[:, :50], axis=0))
    late = fitted.scores(made_run(np.full(100, 499.0)))[60]
    assert late == pytest.approx(1 / (0.25 * usual), rel=0.3)


def test_a_metric_on_which_all_seeds_agree_throughout():
    schedule = np.linspace(1, 0, 50)
    fitted = fit(*(made_run(schedule) for _ in range(4)))
    np.testing.assert_array_equal(fitted.scores(made_run(schedule)), 0)
    restart = fitted.scores(made_run(np.where(np.arange(50) >= 30, 1.0, schedule)))
    assert np.isfinite(restart).all()
    assert restart[30] > 100


def test_steps_that_the_reference_lacks():
    """The last step before, the first if there is none, and the last that at least half of the seeds reach."""
    steps = 10 * np.arange(2, 12)
    runs = [made_run(steps / 10.0 + offset, steps=steps) for offset in (-0.5, 0.0, 0.5, 0.0)]
    runs[0], runs[1], runs[2] = (run.first_rows(6) for run in runs[:3])
    fitted = fit(*runs, floor=1e-3)

    def at(step, value):
        return fitted.scores(made_run(np.array([value]), steps=[step]))[0]

    assert at(20, 2.0) == at(25, 2.0) == at(29, 2.0) == at(5, 2.0) == 0
    assert at(30, 3.0) == at(39, 3.0) == 0
    assert at(29, 3.0) > 1
    # Only one of four seeds goes on past step 70, so step 110 is compared with step 70.
    assert at(110, 7.0) == at(70, 7.0) == 0
    assert at(110, 11.0) > 1


def test_seeds_may_log_at_different_steps():
    one = made_run(np.array([1.0, 2.0, 3.0]), steps=[0, 20, 40])
    other = made_run(np.array([1.0, 4.0, 3.0]), steps=[0, 10, 40])
    fitted = fit(one, other)
    np.testing.assert_array_equal(fitted.same_step_.steps, [0, 10, 20, 40])
    np.testing.assert_allclose(fitted.same_step_.median[:, 0], [1.0, 2.5, 3.0, 3.0])
