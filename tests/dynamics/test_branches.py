"""Who is compared with whom, on paths small enough to read."""

import numpy as np

from trajhmm.dynamics.branches import compare_visits
from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.training_map import TrainingMap


def compare(paths, converged_at, state):
    """Compare on equal steps of 1; ``converged_at`` is the row of convergence, None for never."""
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
    return compare_visits(training_map, convergence, state)


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


def test_leaving_for_the_final_state_at_convergence_counts_as_leaving():
    paths = [[0, 1, 2, 2, 4], [0, 1, 1, 4, 4]]
    (stratum,) = compare(paths, [4, 3], 2).strata
    assert members(stratum) == [(0, True, 2, True), (1, False, 0, True)]


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


def test_a_visit_after_convergence_is_no_visit_and_disqualifies_a_control():
    paths = [[0, 1, 2, 2, 3, 3], [0, 1, 3, 3, 2, 2], [0, 1, 3, 3, 3, 3]]
    comparison = compare(paths, [5, 3, 4], 2)
    (stratum,) = comparison.strata
    assert members(stratum) == [(0, True, 3, True), (2, False, 2, True)]
    assert comparison.visited.tolist() == [True, False, False]


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


def test_excursions_are_compared_at_the_same_step_with_runs_in_the_same_state():
    paths = [
        [1, 1, 2, 1, 1, 3],  # excursion at step 2, back in 1, converged at 5
        [1, 1, 1, 1, 3, 3],  # in 1 at step 2, converged at 4
        [1, 3, 3, 3, 3, 3],  # no longer in 1 at step 2, converged at 1
        [1, 1, 1, 2, 1, 1],  # enters 2 itself at step 3: censored there as a control of the first
    ]
    comparison = compare(paths, [5, 4, 1, None], 2)
    assert comparison.is_excursion
    first, second = comparison.strata
    assert members(first) == [(0, True, 3, True), (1, False, 2, True), (3, False, 1, False)]
    # At step 3 the first run has been in 2 already; only the second is comparable.
    assert members(second) == [(1, False, 1, True), (3, True, 2, False)]
