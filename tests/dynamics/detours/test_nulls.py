"""How often the branch test flags a state that costs nothing, finds one that delays, and how well it says by how much.

Shares over hundreds of sets are for the slow tests; the others run the same worlds a few times and would still notice
the faults that are planted here.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from trajhmm.dynamics.detours import branches, delays
from trajhmm.dynamics.detours.branches import Stratum, compare_visits
from trajhmm.dynamics.detours.delays import delay_of
from trajhmm.dynamics.detours.evidence import branch_tests

_SPEC = importlib.util.spec_from_file_location("paths_made", Path(__file__).with_name("paths_made.py"))
made = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(made)

FEW = 24
"""Sets of a null in the quick test. At 5%, 7 or more are flagged with a probability of 1.7e-4 for each null."""


def flagged(world, n_states, *, n_runs, sets, seed=0, n_rows=400):
    """For each set, the states that pass the test, and those that can be tested."""
    rng = np.random.default_rng([seed, n_runs])
    for at in range(sets):
        runs = made.drawn(world, n_states, n_runs, rng, n_rows=n_rows)
        tests = branch_tests(*runs, seed=at, permutations=199, bootstraps=150)
        yield (
            [test.comparison.state for test in tests if test.is_strict],
            [test.comparison.state for test in tests if test.p_value is not None],
        )


def false_alarms(name, **options):
    return sum(bool(found) for found, _ in flagged(*made.NULLS[name], **options))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", made.NULLS)
def test_what_costs_nothing_is_seldom_flagged(name):
    assert false_alarms(name, n_runs=20, sets=FEW) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("n_runs", [12, 20, 40])
@pytest.mark.parametrize("name", made.NULLS)
def test_what_costs_nothing_is_flagged_in_at_most_one_set_of_twenty(name, n_runs):
    # 5% of 300 is 15; 25 or more have a probability under 1e-2.
    assert false_alarms(name, n_runs=n_runs, sets=300) < 25


def chosen_by_their_future(runs, visits, done):
    """The controls as they used to be: runs that never visit the state, from where they leave the branch for good."""
    for r, (run, visit) in enumerate(zip(runs, visits, strict=True)):
        if 0 < visit < len(run.stays):
            yield (run.stays[visit - 1].state, 1), (r, True, run.end - run.entry(visit), run.converged)
        if visit == len(run.stays):
            for branch in {stay.state for stay in run.stays}:
                last = max(i for i, stay in enumerate(run.stays) if stay.state == branch)
                left = run.entry(last + 1) if last + 1 < visit else run.end
                yield (branch, 1), (r, False, run.end - left, run.converged)


@pytest.mark.parametrize(
    ("name", "function", "planted"),
    [
        ("skips, hazard", "_at_the_same_exit", chosen_by_their_future),
        ("forward, hazard", "_at_the_same_exit", chosen_by_their_future),
        ("spikes over the plateau, geometric", "_is_excursion", lambda *_: False),
    ],
)
def test_a_comparison_that_is_wrong_is_noticed(name, function, planted, monkeypatch):
    monkeypatch.setattr(branches, function, planted)
    assert false_alarms(name, n_runs=20, sets=FEW) > 6


def test_a_stay_that_is_not_told_from_the_first_is_noticed(monkeypatch):
    # Runs that come back stand beside those that have just come: further on, and after spikes that come early.
    whole = branches._until_convergence

    def numbered_alike(run):
        found = whole(run)
        stays = tuple(branches._Stay(state=s.state, nth=1, first=s.first, last=s.last) for s in found.stays)
        return branches._Run(stays=stays, steps=found.steps, end=found.end, converged=found.converged)

    monkeypatch.setattr(branches, "_until_convergence", numbered_alike)
    assert false_alarms("spikes over the early plateau", n_runs=40, sets=FEW) > 6


TRUTHS = {
    "long": (functools.partial(made.detour, delay=36.0), made.DETOUR),
    "short": (functools.partial(made.detour, delay=12.0), made.DETOUR),
    "beside a bystander": (functools.partial(made.detour, delay=36.0, bystander=0.4), made.DETOUR),
    "many runs never converge": (functools.partial(made.detour, delay=36.0, never=0.3), made.DETOUR),
    "excursions": (functools.partial(made.costly_spikes, delay=36.0), made.COSTLY),
}


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.sampled(1)
def test_what_delays_is_found_and_nothing_else(name):
    world, state = TRUTHS[name]
    sets = list(flagged(world, 6, n_runs=30, sets=12, n_rows=400))
    found = sum(state in passed for passed, _ in sets)
    # At least 95% are found in long runs of sets (below), so that fewer than 9 of 12 have a probability under 3e-3.
    assert found >= 9
    assert sum(passed not in ([], [state]) for passed, _ in sets) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUTHS)
def test_what_delays_is_found_in_nine_sets_of_ten_with_40_runs(name):
    world, state = TRUTHS[name]
    # Logs of 120 rows, as those of `planted`: some runs in the detour do not get to their end.
    sets = list(flagged(world, 6, n_runs=40, sets=200, n_rows=400 if name == "excursions" else 120))
    assert np.mean([state in passed for passed, _ in sets]) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["long", "short"])
def test_with_12_runs_what_delays_is_found_wherever_it_can_be_tested(name):
    world, state = TRUTHS[name]
    sets = list(flagged(functools.partial(world, never=0.0), 6, n_runs=12, sets=300, n_rows=120))
    # Four runs on either side have a probability of 0.76; three standard errors are 0.075.
    assert np.mean([state in testable for _, testable in sets]) == pytest.approx(0.76, abs=0.075)
    assert np.mean([state in passed for passed, testable in sets if state in testable]) >= 0.95
    assert np.mean([state in passed for passed, _ in sets]) >= 0.7


def covered(n_runs, *, delay, stages, never=0.0, sets, seed=0):
    """Share of intervals that hold the delay, and of those that lie above it; at least four runs on a side."""
    rng = np.random.default_rng([seed, n_runs])
    held, above = [], []
    while len(held) < sets:
        visiting = rng.random(n_runs) < 0.4
        if not 4 <= visiting.sum() <= n_runs - 4:
            continue
        times = np.array([made.dwell(rng, 12, stages) + visits * made.dwell(rng, delay, stages) for visits in visiting])
        converged = rng.random(n_runs) >= never
        stratum = Stratum(
            runs=np.arange(n_runs),
            visiting=visiting,
            times=np.where(converged, times, 400.0 - rng.integers(60, size=n_runs)),
            converged=converged,
        )
        found = delay_of([stratum], bootstraps=300, rng=rng)
        assert found.is_restricted is not bool(converged.all())
        held.append(found.ci_low <= delay <= found.ci_high)
        above.append(found.ci_low > delay)
    return float(np.mean(held)), float(np.mean(above))


@pytest.mark.parametrize("n_runs", [8, 20])
def test_the_interval_holds_the_delay(n_runs):
    # 95% of 100 is 95; fewer than 88 have a probability under 2e-3.
    assert covered(n_runs, delay=36.0, stages=1, sets=100)[0] >= 0.88


def test_an_interval_that_is_too_narrow_is_noticed(monkeypatch):
    monkeypatch.setattr(delays, "student_bounds", lambda _, drawn, __: tuple(np.quantile(drawn, [0.1, 0.9])))
    assert covered(8, delay=36.0, stages=1, sets=100)[0] < 0.88


@pytest.mark.slow
@pytest.mark.parametrize("n_runs", [8, 12, 20, 40])
@pytest.mark.parametrize("stages", [1, 8])
@pytest.mark.parametrize("delay", [12.0, 36.0, 72.0])
def test_the_interval_holds_the_delay_in_19_sets_of_20(n_runs, stages, delay):
    # 0.905 (eight runs, a long and geometric stay) to 0.990 in 1500 sets each; with 500 sets, two standard errors are
    # 0.027 at the one end and 0.009 at the other.
    assert 0.90 - 0.027 <= covered(n_runs, delay=delay, stages=stages, sets=500)[0] <= 0.99 + 0.009


@pytest.mark.slow
@pytest.mark.parametrize("n_runs", [8, 12, 20, 40])
@pytest.mark.parametrize("never", [0.1, 0.3])
def test_where_runs_never_converge_the_lower_limit_is_one(n_runs, never):
    # The whole delay is longer than what is estimated; of lower limits 2.5% may be above it. More than 18 of 400 have a
    # probability under 1e-2.
    assert covered(n_runs, delay=36.0, stages=8, never=never, sets=400)[1] <= 18 / 400


def mantel_byar(entered, visited, end):
    """Z of Mantel and Byar (1974): runs count as visiting from their visit on; the clock starts when they ``enter``."""
    observed = expected = variance = 0.0
    for time in np.unique(end - entered):
        at_risk = (end - entered >= time) & (end > entered)
        after = at_risk & (visited - entered < time)
        ending = at_risk & (end - entered == time)
        n, n_after, n_ending = at_risk.sum(), after.sum(), ending.sum()
        observed += (ending & after).sum()
        expected += n_ending * n_after / n
        variance += n_ending * n_after * (n - n_after) * (n - n_ending) / (n**2 * max(n - 1, 1))
    return (observed - expected) / np.sqrt(variance) if variance > 0 else 0.0


@pytest.mark.slow
def test_mantel_and_byar_are_fooled_where_runs_go_through_stages_and_the_branch_test_is_not():
    rng = np.random.default_rng(0)
    world, n_states = made.NULLS["spikes over the plateau"]
    fooled = []
    for _ in range(200):
        training_map, convergence = made.drawn(world, n_states, 40, rng)
        path = training_map.path.reshape(40, -1)
        spikes = path == 3
        visited = np.where(spikes.any(axis=1), 10.0 * spikes.argmax(axis=1), np.inf)
        entered = 10.0 * np.minimum(
            (path == 1).argmax(axis=1), np.where(spikes.any(axis=1), spikes.argmax(axis=1), 400)
        )
        fooled.append([mantel_byar(clock, visited, convergence.steps) for clock in (np.full(40, -1.0), entered)])
    # 15% and 28% in other sets of 200; three standard errors at 5% reach 9.6%.
    assert (np.mean(np.array(fooled) < stats.norm.ppf(0.025), axis=0) > 0.096).all()
    assert false_alarms("spikes over the plateau", n_runs=40, sets=200) / 200 < 0.096


def test_levels_within_which_runs_are_compared_take_a_confounder_away():
    # Runs of one kind are slow, and nine of ten go through 1, of the others one; 1 takes no longer than 2 does.
    rng = np.random.default_rng(0)
    plain = np.arange(40) < 20
    runs = []
    for run, is_plain in enumerate(plain):
        through = 1 if (run % 10 > 0) == is_plain else 2
        stays = [(0, 10), (through, made.dwell(rng, 16)), (3, made.dwell(rng, 60 if is_plain else 10))]
        runs.append((stays, made.ends_of(stays)))
    decoded = made.made(runs, n_states=5, n_rows=400)
    options = {"seed": 0, "permutations": 999, "bootstraps": 300}
    assert branch_tests(*decoded, **options)[1].is_strict
    within = branch_tests(*decoded, **options, within=plain.astype(np.int64))[1]
    assert within.p_value > 0.05
    assert within.delay.ci_low < 0 < within.delay.ci_high
    strata = compare_visits(*decoded, 1, within=plain.astype(np.int64)).strata
    assert all(len(set(plain[stratum.runs])) == 1 for stratum in strata)
