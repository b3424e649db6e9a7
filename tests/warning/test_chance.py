"""Detectors that look at nothing."""

import numpy as np
import pytest

from trajhmm.warning import RunTruth, Trial
from trajhmm.warning.detectors import Reference, make_detector

from .made import made_run


def runs(n, rows=100, end=None):
    return [made_run(np.zeros(rows), run=f"run {i}", steps=10 * np.arange(rows)) for i in range(n)]


def test_random_scores_are_even_and_apart():
    detector = make_detector("random")
    scores = np.array([detector.scores(run) for run in runs(200)])
    assert abs((scores < 0.3).mean() - 0.3) < 4 * np.sqrt(0.21 / scores.size)
    assert np.abs(np.corrcoef(scores)[np.triu_indices(200, 1)]).mean() < 0.1
    assert not np.array_equal(scores, [make_detector("random", seed=1).scores(run) for run in runs(200)])


def test_non_finite_check_has_nothing_else_to_say():
    detector = make_detector("nonfinite")
    events = np.zeros(5, dtype=bool)
    events[3] = True
    scores = detector.scores(made_run(np.arange(5.0), events=events))
    np.testing.assert_array_equal(scores > detector.published_threshold, events)


def labelled(collapses, rows=100):
    return tuple(
        Trial(run=run, truth=RunTruth(onset=0, collapse_step=step), condition="x", group=run.run)
        for run, step in zip(runs(len(collapses), rows), collapses, strict=True)
    )


def test_hazard_is_that_of_nelson_and_aalen():
    # Ends, in order: 200 collapse (6 at risk), 500 twice (5), 990 three times without: two healthy runs, one survivor.
    reference = Reference(healthy=tuple(runs(2)), labelled=labelled([200, 500, 500, None]))
    fitted = make_detector("step_hazard", ahead=0.2).fit(reference)  # looks 198 steps ahead
    np.testing.assert_allclose(
        fitted.hazard(np.array([1, 2, 199, 200, 301, 302, 400, 499])),
        [0.01 * (1 / 6 + 2 / 5), 1 / 6, 1 / 6, 0.01 * (1 / 6 + 2 / 5), 0.01 * (1 / 6 + 2 / 5), 2 / 5, 2 / 5, 2 / 5],
    )


def test_alarms_come_in_proportion_to_the_hazard():
    reference = Reference(healthy=tuple(runs(3)), labelled=labelled([400] * 3))
    fitted = make_detector("step_hazard").fit(reference)
    hazard = fitted.hazard(10 * np.arange(100))
    scores = np.array([fitted.scores(run) for run in runs(3000)])
    threshold = 5.0
    expected = 1 - np.exp(-hazard / threshold)
    high = hazard > hazard.min()
    for rows in (high, ~high):
        share, chance = (scores[:, rows] > threshold).mean(), expected[rows].mean()
        assert abs(share - chance) < 4 * np.sqrt(chance / (3000 * rows.sum()))


def test_without_collapses_all_steps_are_alike():
    fitted = make_detector("step_hazard").fit(Reference(healthy=tuple(runs(3))))
    np.testing.assert_array_equal(fitted.hazard(np.array([0, 50, 10_000])), 1.0)


@pytest.mark.parametrize("name", ["random", "step_hazard"])
def test_a_run_draws_the_same_numbers_each_time(name):
    reference = Reference(healthy=tuple(runs(3)), labelled=labelled([400] * 3))
    one, other = (make_detector(name).fit(reference).scores(runs(1)[0]) for _ in range(2))
    np.testing.assert_array_equal(one, other)
