"""Phases of a log: where they begin, how often healthy runs were logged in them, and which rows of a run count."""

import statistics
from itertools import pairwise

import numpy as np
import pytest

from trajhmm.warning.views.phases import COUNTED, MEMORY, Phases

from .made import made_run

LOWEST = np.iinfo(np.int64).min


def runs_at(*steps):
    return [made_run(np.zeros((len(one), 3)), steps=np.asarray(one)) for one in steps]


def counted(phases, steps, fresh=None, memory=None):
    steps = np.asarray(steps, dtype=np.int64)
    fresh = np.ones((len(steps), 3), dtype=bool) if fresh is None else fresh
    return phases.counting(steps, fresh, np.zeros(MEMORY) if memory is None else memory)


def log_spaced(n=200, growth=1.02):
    return np.unique(np.round(50 * growth ** np.arange(n)).astype(np.int64))


def test_phases_begin_at_rows_30_60_120():
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    assert phases.begins.tolist() == [LOWEST, 300, 600, 1200, 2400]
    assert phases.spacing.tolist() == [10] * 5
    assert phases.last_step == 2990
    assert phases.at(np.array([-5, 0, 299, 300, 599, 600, 2400, 10**9])).tolist() == [0, 0, 0, 1, 1, 2, 4, 4]


def test_begins_and_spacing_are_medians_over_runs_of_any_length_and_spacing():
    rng = np.random.default_rng(0)
    steps = [np.cumsum(rng.integers(1, 20, n)) for n in (40, 90, 130, 150, 151, 400, 500)]
    phases = Phases.of(runs_at(*steps))
    longest = int(statistics.median(len(one) for one in steps))
    usual = []
    for row in range(longest):
        median = int(statistics.median(one[row] for one in steps if len(one) > row))
        usual.append(max(median, *usual[-1:]) if usual else median)
    rows = [row for row in (30, 60, 120, 240) if row < longest]
    assert phases.begins.tolist() == [LOWEST, *(usual[row] for row in rows)]
    gaps = [b - a for a, b in pairwise(usual)]
    for phase, (first, end) in enumerate(pairwise([0, *rows, longest])):
        # The gap before a row belongs to the row.
        assert phases.spacing[phase] == statistics.median(gaps[max(first - 1, 0) : end - 1])
    assert phases.last_step == int(statistics.median(one[-1] for one in steps))


def test_a_run_that_is_logged_as_the_reference_counts_whole():
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    memory = np.zeros(MEMORY)
    assert counted(phases, 10 * np.arange(500), memory=memory).all()
    assert memory[COUNTED] == 500
    rng = np.random.default_rng(1)
    assert counted(phases, np.cumsum(rng.integers(8, 13, 400))).all()
    assert counted(phases, 70 * np.arange(100)).all()  # or less often


def test_rows_that_are_farther_apart_than_in_the_reference_are_told_once_there_are_enough():
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))

    def rarer(steps):
        memory = np.zeros(MEMORY)
        counted(phases, steps, memory=memory)
        return phases.rarer(memory)

    assert rarer(30 * np.arange(12)) == pytest.approx(3.0)
    assert rarer(30 * np.arange(11)) is None
    assert rarer(14 * np.arange(100)) is None
    assert rarer(5 * np.arange(100)) is None
    assert rarer(np.concatenate([10 * np.arange(100), 1000 + 20 * np.arange(60)])) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("every", "of"), [(1, 10), (2, 10), (5, 10), (10, 100)])
def test_of_a_run_that_is_logged_more_often_about_as_many_rows_count(every, of):
    phases = Phases.of(runs_at(*[of * np.arange(300)] * 3))
    steps = np.arange(0, 300 * of, every)
    rows = np.flatnonzero(counted(phases, steps))
    assert rows[0] == 0
    gaps = np.diff(steps[rows[2:]])  # by then it is known
    assert 0.95 * of <= gaps.min()
    assert gaps.max() <= of + every
    assert 300 * of / (of + every) <= len(rows) <= 300 / 0.95 + 2


def test_a_run_that_comes_to_be_logged_more_often_is_noticed():
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    steps = np.concatenate([10 * np.arange(100), np.arange(1000, 2000)])
    rows = counted(phases, steps)
    assert rows[:100].all()
    assert 90 <= rows[150:].sum() <= 105


def test_rows_without_a_metric_do_not_count_nor_change_what_does():
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    steps = np.arange(0, 3000, 5)
    fresh = np.ones((600, 3), dtype=bool)
    fresh[1::2] = False
    assert counted(phases, steps, fresh).tolist() == [True, False] * 300
    fresh[1::2, 1] = True  # one metric will do: now it is logged twice as often
    assert counted(phases, steps, fresh).sum() <= 302


def test_steps_as_in_the_reference_count_though_they_are_ever_farther_apart():
    """Nearly all: where a phase begins they are closer than is usual in it."""
    phases = Phases.of(runs_at(*[log_spaced()] * 3))
    steps = log_spaced()
    assert phases.begins[1:].tolist() == steps[[30, 60, 120]].tolist()
    gaps = np.diff(steps)
    expected = [np.median(part) for part in (gaps[:29], gaps[29:59], gaps[59:119], gaps[119:])]
    assert phases.spacing.tolist() == expected
    assert counted(phases, steps).mean() > 0.85


@pytest.mark.parametrize("seed", range(5))
def test_rows_count_alike_however_they_are_dealt_out(seed):
    rng = np.random.default_rng(seed)
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    steps = np.cumsum(rng.choice([1, 3, 10, 30], 400))
    fresh = rng.random((400, 3)) < 0.4
    whole, known = np.zeros(MEMORY), np.zeros(MEMORY)
    expected = counted(phases, steps, fresh, whole)
    cuts = [0, *np.sort(rng.integers(0, 400, 30)), 400]
    parts = [counted(phases, steps[a:b], fresh[a:b], known) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    np.testing.assert_array_equal(known, whole)


def test_after_a_step_back_rows_count_as_before():
    """A run that is resumed from a checkpoint is not logged more often."""
    phases = Phases.of(runs_at(*[10 * np.arange(300)] * 3))
    assert counted(phases, 10 * np.concatenate([np.arange(80), np.arange(30, 100)])).all()


def test_a_reference_of_few_rows_is_one_phase():
    for n in (1, 2, 30):
        phases = Phases.of(runs_at(*[7 * np.arange(n)] * 3))
        assert phases.begins.tolist() == [LOWEST]
        assert phases.spacing.tolist() == [7.0 if n > 1 else 1.0]


def test_what_is_stored_comes_back():
    phases = Phases.of(runs_at(*[log_spaced()] * 3))
    again = Phases.from_dict(phases.to_dict())
    np.testing.assert_array_equal(again.begins, phases.begins)
    np.testing.assert_array_equal(again.spacing, phases.spacing)
    assert again.last_step == phases.last_step
