"""Who is compared with whom, on paths small enough to read."""

from dataclasses import replace

import numpy as np

from trajhmm.dynamics.detours.branches import compare_visits, done_states
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.maps.training_map import TrainingMap


def decoded(paths, converged_at):
    """Runs on equal steps of 1; ``converged_at`` is the row of convergence, None for never."""
    lengths = np.array([len(path) for path in paths])
    training_map = TrainingMap(
        metrics=(),
        states=(None,) * 6,
        edges=(),
        runs=tuple(map(str, range(len(paths)))),
        lengths=lengths,
        steps=np.concatenate([np.arange(n) for n in lengths]),
        path=np.concatenate([np.array(path) for path in paths]),
    )
    convergence = Convergence(
        condition="done > 0",
        runs=training_map.runs,
        steps=np.array([n - 1 if at is None else at for at, n in zip(converged_at, lengths, strict=True)]),
        converged=np.array([at is not None for at in converged_at]),
    )
    return training_map, convergence


def compare(paths, converged_at, state, **options):
    return compare_visits(*decoded(paths, converged_at), state, **options)


def members(stratum):
    rows = zip(
        stratum.runs.tolist(),
        stratum.visiting.tolist(),
        stratum.times.tolist(),
        stratum.converged.tolist(),
        strict=True,
    )
    return sorted(rows)


def test_both_arms_start_their_clock_where_they_leave_the_same_state():
    paths = [
        [0, 1, 1, 2, 2, 2, 3, 4],  # through 2, entered at step 3, converged at 7
        [0, 1, 1, 1, 1, 3, 4, 4],  # leaves 1 at step 5 for 3, converged at 6
        [0, 1, 3, 3, 3, 3, 3, 3],  # leaves 1 at step 2, never converges
        [0, 0, 1, 1, 1, 1, 1, 1],  # never leaves 1: not comparable
    ]
    comparison = compare(paths, [7, 6, None, None], 2)
    (stratum,) = comparison.strata
    assert members(stratum) == [(0, True, 4, True), (1, False, 1, True), (2, False, 5, False)]
    assert comparison.visited.tolist() == [True, False, False, False]
    assert not comparison.is_excursion


def test_who_converges_on_leaving_is_no_control_that_takes_no_time():
    assert compare([[0, 1, 2, 2, 4], [0, 1, 1, 4, 4]], [4, 3], 2).strata == ()


def test_who_leaves_for_where_runs_are_once_converged_is_no_control():
    # Two of three enter 4 as they converge; the last is there a row too soon.
    paths = [[0, 1, 2, 2, 4, 4], [0, 1, 3, 3, 4, 4], [0, 1, 1, 4, 4, 4]]
    (stratum,) = compare(paths, [4, 4, 4], 2).strata
    assert members(stratum) == [(0, True, 2, True), (1, False, 2, True)]


def test_done_states_are_those_that_most_enter_at_convergence_or_later():
    paths = [[0, 1, 1, 4, 4], [0, 1, 4, 4, 4], [0, 1, 4, 4, 2], [0, 5, 1, 4, 4], [0, 1, 1, 4, 5], [3, 3, 3, 3, 3]]
    training_map, convergence = decoded(paths, [2, 2, 3, 3, 3, None])
    # 1 is entered before; 2 after; 4 at convergence or later by four of five; 5 by one of two; 3 by none that does.
    assert done_states(training_map, convergence) == {2, 4}


def test_a_control_stays_one_whatever_it_visits_later():
    paths = [[0, 1, 2, 2, 3, 3], [0, 1, 3, 3, 2, 2], [0, 1, 3, 2, 2, 3]]
    comparison = compare(paths, [5, 3, 5], 2)
    (first,) = comparison.strata
    assert members(first) == [(0, True, 3, True), (1, False, 1, True), (2, False, 3, True)]
    assert comparison.visited.tolist() == [True, False, True]


def test_who_comes_back_to_the_branch_is_compared_there_anew():
    # Run 1 first leaves 1 for 3, then for 2; run 2 leaves it twice for 3.
    paths = [[0, 1, 2, 2, 4, 4, 4, 4], [0, 1, 3, 1, 2, 2, 2, 4], [0, 1, 3, 1, 1, 3, 4, 4], [0, 1, 3, 3, 3, 3, 3, 4]]
    first, second = compare(paths, [4, 7, 6, 7], 2).strata
    assert members(first) == [(0, True, 2, True), (1, False, 5, True), (2, False, 4, True), (3, False, 5, True)]
    assert members(second) == [(1, True, 3, True), (2, False, 1, True)]


def test_runs_are_compared_within_the_levels_asked_for():
    paths = [[0, 1, 2, 2, 4], [0, 1, 3, 3, 4], [0, 1, 2, 3, 4], [0, 1, 3, 3, 4], [0, 1, 3, 4, 4]]
    strata = compare(paths, [4, 4, 4, 4, 3], 2, within=np.array([1, 0, 0, 1, 1])).strata
    assert [stratum.runs.tolist() for stratum in strata] == [[1, 2], [0, 3, 4]]


def test_entering_the_state_at_the_row_of_convergence_is_no_visit():
    comparison = compare([[0, 1, 1, 2, 2], [0, 1, 3, 3, 3], [0, 1, 2, 4, 4]], [3, 4, 3], 2)
    assert comparison.visited.tolist() == [False, False, True]
    (stratum,) = comparison.strata
    assert members(stratum) == [(1, False, 2, True), (2, True, 1, True)]


def test_a_state_on_everybodys_way_is_not_compared_with_runs_that_converge_at_its_door():
    # Both go 0, 1, 2; the second meets the condition while still in 1.
    paths = [[0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 2]]
    comparison = compare(paths, [5, 3], 2)
    assert comparison.strata == ()
    assert comparison.visited.tolist() == [True, False]


def test_a_run_that_begins_in_the_state_has_left_nothing_for_it():
    # It is in 0 just before it converges, as the other is before it leaves: no ground for a comparison either.
    paths = [[2, 2, 0, 3, 3], [0, 0, 3, 3, 3]]
    comparison = compare(paths, [3, 3], 2)
    assert comparison.strata == ()
    assert comparison.visited.tolist() == [True, False]


def test_beginning_in_a_state_does_not_make_it_an_excursion():
    paths = [[0, 2, 2, 3, 3], [0, 2, 2, 3, 3], [0, 2, 3, 3, 3], [2, 2, 0, 3, 3], [0, 1, 3, 3, 3]]
    comparison = compare(paths, [3, 3, 3, 3, 3], 2)
    assert not comparison.is_excursion
    (stratum,) = comparison.strata
    assert [member[:2] for member in members(stratum)] == [(0, True), (1, True), (2, True), (4, False)]


def test_excursions_are_compared_with_runs_that_have_been_as_long_in_the_state_they_left():
    paths = [
        [1, 1, 2, 1, 1, 1, 3],  # goes after two rows in 1, comes back, converges at 6
        [0, 1, 1, 1, 1, 3, 3],  # has been two rows in 1 at step 3, converges at 5
        [1, 3, 3, 3, 3, 3, 3],  # was in 1 for one row only
        [1, 1, 1, 2, 1, 2, 1],  # goes after three rows, and after one in its second stay
    ]
    comparison = compare(paths, [6, 5, 1, None], 2)
    assert comparison.is_excursion
    second_row, third_row, second_stay = comparison.strata
    assert members(second_row) == [(0, True, 4, True), (1, False, 2, True), (3, False, 4, False)]
    assert members(third_row) == [(1, False, 1, True), (3, True, 3, False)]
    # In its second stay the first run has been in 1 for a row at step 4.
    assert members(second_stay) == [(0, False, 2, True), (3, True, 1, False)]
    assert comparison.members(visiting=True).tolist() == [0, 3]
    assert comparison.members(visiting=False).tolist() == [0, 1, 3]


def test_a_run_that_leaves_elsewhere_at_that_very_row_had_been_there_as_long():
    paths = [[1, 1, 2, 1, 3], [1, 1, 0, 0, 3], [1, 1, 3, 3, 3]]
    comparison = compare(paths, [4, 4, 2], 2)
    (stratum,) = comparison.strata
    # The third has converged by then.
    assert members(stratum) == [(0, True, 2, True), (1, False, 2, True)]


def test_times_are_in_steps_even_where_rows_are_not_evenly_spaced():
    training_map, convergence = decoded([[0, 1, 2, 4], [0, 1, 3, 4]], [3, 3])
    training_map = replace(training_map, steps=np.array([0, 10, 50, 60, 0, 20, 30, 90]))
    convergence = replace(convergence, steps=np.array([60, 90]))
    (stratum,) = compare_visits(training_map, convergence, 2).strata
    assert members(stratum) == [(0, True, 10, True), (1, False, 60, True)]
