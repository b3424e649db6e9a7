"""The rules, apart from the comparison they rest on."""

import numpy as np
import pytest

import trajhmm as th
from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.detours import find_detours, holm
from trajhmm.dynamics.regression import bag_of_states, regress
from trajhmm.dynamics.training_map import TrainingMap
from trajhmm.errors import AnalysisError
from trajhmm.simulate import planted


def test_holm_steps_down():
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1, and never smaller than the one before.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert len(holm([])) == 0


def parting_runs(delay):
    """24 runs from state 0 by 1 or by 2 to 3, where they converge; those by 2 are ``delay`` rows later."""
    rng = np.random.default_rng(0)
    paths, steps = [], []
    for run in range(24):
        through = 2 if run % 2 else 1
        stay = rng.integers(18, 23) + (delay if through == 2 else 0)
        paths.append(np.concatenate([np.zeros(20, int), np.full(stay, through), np.full(100 - 20 - stay, 3)]))
        steps.append(20 + stay)
    lengths = np.full(24, 100)
    training_map = TrainingMap(
        metrics=(),
        states=(None,) * 4,
        edges=(),
        runs=tuple(map(str, range(24))),
        lengths=lengths,
        steps=np.tile(np.arange(100), 24),
        path=np.concatenate(paths),
    )
    convergence = Convergence(
        condition="accuracy > 0.9",
        runs=training_map.runs,
        steps=np.array(steps),
        converged=np.ones(24, dtype=bool),
    )
    regression = regress(bag_of_states(training_map.path, lengths, 4), convergence)
    return find_detours(training_map, convergence, regression)


def test_of_two_ways_the_slower_is_a_detour():
    evidence = parting_runs(15)
    assert [e.state for e in evidence if e.is_strict] == [2]
    assert evidence[2].delay.effect == pytest.approx(15, abs=1.5)
    assert evidence[1].delay.effect == pytest.approx(-15, abs=1.5)
    assert (evidence[2].runs_with, evidence[2].runs_without) == (12, 12)
    # Each is tested against the other: Holm doubles the smaller p.
    assert evidence[2].p_adjusted == pytest.approx(2 * evidence[2].p_value)


def test_of_two_ways_that_take_as_long_none_is_a_detour_but_the_published_rule_says_both():
    evidence = parting_runs(0)
    assert [e.state for e in evidence if e.is_strict] == []
    assert [e.state for e in evidence if e.is_paper] == [1, 2]


def test_an_unknown_rule_is_refused():
    logs = planted(n_runs=4, n_rows=30).logs
    model = th.fit(logs, states=2, restarts=1, iterations=2)
    with pytest.raises(AnalysisError, match="expected one of strict, paper"):
        th.analyze(logs, model, converged="eval_accuracy > 0.5", rule="loose")
