"""Who is compared with whom, on paths small enough to read."""

from dataclasses import replace

import numpy as np

from trajhmm.dynamics.detours.branches import compare_visits, done_states
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.evidence import _entry_steps
from trajhmm.dynamics.maps.training_map import TrainingMap, forks_in
from trajhmm.hmm.certificate import Certificate, Halves
from trajhmm.hmm.inference.outliers import outlier_states, settled


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


def with_outliers(paths, stray, *, every):
    """The same, one row in ``every`` inside a stay in another state: noise with heavy tails fills one."""
    strayed = [list(path) for path in paths]
    for path, before in zip(strayed, paths, strict=True):
        for t in range(2, len(path) - 1, every):
            if before[t - 1] == before[t] == before[t + 1]:
                path[t] = stray
    return strayed


def outlier_states_of(paths, converged_at):
    training_map = decoded(paths, converged_at)[0]
    return outlier_states(training_map.path, training_map.lengths, 6)


def many_paths(*, seed=0, n=24):
    """Runs that leave 1 for 3, or by way of 2, and then are in 4; and the rows at which they converge."""
    rng = np.random.default_rng(seed)
    paths, converged_at = [], []
    for run in range(n):
        stays = [(0, rng.integers(4, 9)), (1, rng.integers(4, 12)), (3, rng.integers(4, 9)), (4, 12)]
        if run % 2:
            stays.insert(2, (2, rng.integers(8, 16)))
        paths.append([state for state, length in stays for _ in range(length)])
        converged_at.append(len(paths[-1]) - 12)
    return paths, converged_at


def test_a_run_that_strays_for_a_row_has_not_left():
    paths, converged_at = many_paths()
    strayed = with_outliers(paths, 5, every=4)
    assert outlier_states_of(strayed, converged_at) == {5}
    assert outlier_states_of(paths, converged_at) == frozenset()
    for state in range(5):
        expected, found = compare(paths, converged_at, state), compare(strayed, converged_at, state)
        assert found.is_excursion == expected.is_excursion
        np.testing.assert_array_equal(found.visited, expected.visited)
        assert [members(stratum) for stratum in found.strata] == [members(stratum) for stratum in expected.strata]
    astray = compare(strayed, converged_at, 5)
    assert astray.is_excursion
    assert astray.visited.all()
    forks = [
        forks_in(decoded(some, converged_at)[0].settled(), np.array(list(map(len, some))), 6)
        for some in (paths, strayed)
    ]
    np.testing.assert_array_equal(forks[0], [False, True, False, False, False, False])
    np.testing.assert_array_equal(forks[1], forks[0])
    # Without a word of strays runs that flicker would be the controls.
    assert len(compare(paths, converged_at, 2).strata) == 1


def test_a_run_that_strays_on_its_way_is_where_it_goes_to_then_and_where_it_begins_at_once():
    paths, converged_at = many_paths()
    strayed = with_outliers(paths, 5, every=4)
    for path, before in zip(strayed, paths, strict=True):
        path[before.index(3)] = 5  # the first row after 1 or 2
        path[0] = 5
    training_map = decoded(strayed, converged_at)[0]
    assert outlier_states_of(strayed, converged_at) == {5}
    path = settled(training_map.path, training_map.lengths, frozenset({5}))
    assert not (path == 5).any()
    assert path[0] == 0
    assert path[paths[0].index(3)] == 1


def test_what_is_left_for_elsewhere_or_lasts_or_is_seldom_is_no_stray():
    paths, converged_at = many_paths()
    door = [[5 if path[t - 1] != path[t] else path[t] for t in range(len(path))] for path in paths]  # of one row each
    assert not outlier_states_of(door, converged_at)
    longer = [path[:5] + [5] * 4 + path[5:] for path in paths]
    assert not outlier_states_of(longer, converged_at)
    seldom = [path if i > 1 else with_outliers([path], 5, every=9)[0] for i, path in enumerate(paths)]
    assert not outlier_states_of(seldom, converged_at)


def test_states_between_which_runs_swing_are_no_strays():
    paths, converged_at = many_paths()
    swinging = [path[:6] + [4, 5] * 8 + path[6:] for path in paths]
    assert not outlier_states_of(swinging, [at + 16 for at in converged_at])


def test_a_run_may_stray_through_two_outlier_states_in_turn():
    strayed = [
        [s for t, state in enumerate(path) for s in ([state, 5, 6] if t % 5 == 3 and path[t - 1] == state else [state])]
        for path in many_paths()[0]
    ]
    lengths = np.array(list(map(len, strayed)))
    path = np.concatenate(strayed)
    assert outlier_states(path, lengths, 7) == {5, 6}
    assert not (settled(path, lengths, frozenset({5, 6})) > 4).any()


# Heavy tails where no state is left for them: single rows in states in which runs are much longer else.
HOME, WIDE = [1] * 9 + [0] + [1] * 8, [2] * 30


def settled_of(*runs):
    lengths = np.array(list(map(len, runs)))
    return np.split(settled(np.concatenate(runs), lengths, frozenset(), strays=True), np.cumsum(lengths)[:-1])


def test_a_row_elsewhere_and_back_is_no_leaving():
    run = [0] * 12 + HOME + [2, 2] + [1] * 5 + WIDE
    (found,) = settled_of(run)
    assert found.tolist() == [0] * 12 + [1] * 25 + WIDE
    # Three rows are a stay; so is what leads on, what ends a run, and what begins one.
    for kept in (
        [0] * 12 + [1] * 9 + [2] * 3 + [1] * 9 + WIDE * 2,
        [0] * 12 + [1] + WIDE,
        WIDE + [1] * 9 + [2],
        [2] + [1] * 9 + WIDE,
        [0] * 12 + [1] * 2 + [0] + [1] * 2 + WIDE,  # between short stays
    ):
        assert settled_of(kept, run)[0].tolist() == kept
    # What follows in another run is not what a run goes back to.
    one, other = settled_of([0] * 12 + [1] * 9 + [0], [1] * 9 + WIDE)
    assert (one[-1], other[0]) == (0, 1)


def test_short_stays_in_a_state_of_short_stays_are_left_as_they_are():
    """As where logs are coarse: who is there for two rows has been there as who is for three."""
    coarse = [1] * 5 + [0] * 3 + [1] * 5 + [0] * 2 + [1] * 5 + [0] * 4 + [1] * 5 + [0] + [1] * 5
    assert settled_of(coarse)[0].tolist() == coarse
    # Stays of four rows in the mean that scatter as chance has it.
    rows = np.random.default_rng(0).geometric(0.25, size=200)
    scattered = [s for length in rows for s in [1] * 9 + [0] * int(length)] + [1] * 9
    assert settled_of(scattered)[0].tolist() == scattered


def test_a_place_that_many_outliers_share_is_kept_and_they_are_not():
    """Two kinds of stays: of a row, a fifth of all rows; and of thirty."""
    run = [0] * 20 + [s for _ in range(16) for s in [1] * 9 + [2]] + [1] * 9 + [2] * 60
    astray = [t for t in range(20, len(run) - 60) if run[t] == 2]
    assert len(astray) == 16
    found = settled_of(run)[0]
    assert found[astray].tolist() == [1] * 16
    assert found[-60:].tolist() == [2] * 60
    # One among rows by the hundred is astray, whatever lies between.
    one = [0] * 20 + [1] * 9 + [2] + [1] * 9 + [2] * 5 + [1] * 9 + [2] * 60
    assert settled_of(one)[0].tolist() == [0] * 20 + [1] * 19 + [2] * 5 + [1] * 9 + [2] * 60
    # With stays of up to six rows between the two kinds it is one kind that scatters.
    between = (
        [0] * 20 + [s for _ in range(16) for s in [1] * 9 + [2]] + [s for _ in range(3) for s in [1] * 9 + [2] * 5]
    )
    between += [1] * 9 + [2] * 60
    assert settled_of(between)[0].tolist() == between


def test_a_stray_before_an_outlier_is_a_row_and_no_stay_of_three():
    run = [0] * 12 + [1] * 9 + [2, 5, 5] + [1] * 9 + [5, 5, 2] + [1] * 9 + WIDE
    found = settled(np.array(run), np.array([len(run)]), frozenset({5}), strays=True)
    assert found.tolist() == [0] * 12 + [1] * 33 + WIDE


def outlying_certificate():
    own = Halves(states=5, agreement=(1.0,), recovery=(1.0,) * 5, seeds=(1.0,), outliers=0)
    more = Halves(states=6, agreement=(0.9,), recovery=(0.9,) * 6, seeds=(1.0,), outliers=1)
    return Certificate(states=5, halves=(own, more))


def test_where_outliers_are_known_of_runs_elsewhere_for_a_row_are_compared_as_if_they_had_stayed():
    paths, converged_at = many_paths()
    paths, converged_at = [[s for s in path for _ in range(3)] for path in paths], [3 * at for at in converged_at]
    rng = np.random.default_rng(5)
    strayed = [list(path) for path in paths]
    for path, before in zip(strayed, paths, strict=True):
        inside = [t for t in range(4, len(path) - 4) if len(set(before[t - 4 : t + 5])) == 1]
        if inside:
            path[int(rng.choice(inside))] = 2 if before[inside[0]] != 2 else 3
    assert sum(one != other for one, other in zip(strayed, paths, strict=True)) >= 12
    training_map, convergence = decoded(strayed, converged_at)
    known = replace(training_map, certificate=outlying_certificate())
    for state in range(5):
        expected, found = compare(paths, converged_at, state), compare_visits(known, convergence, state)
        np.testing.assert_array_equal(found.visited, expected.visited)
        assert [members(stratum) for stratum in found.strata] == [members(stratum) for stratum in expected.strata]
        steps = _entry_steps(known, state, found.visited)
        np.testing.assert_array_equal(steps, _entry_steps(decoded(paths, converged_at)[0], state, expected.visited))
    # Where nothing tells of outliers, who is there for a row has been there: to pass over short stays is to choose
    # visitors by how long they stay.
    assert any(
        (compare(strayed, converged_at, state).visited != compare(paths, converged_at, state).visited).any()
        for state in range(5)
    )
