"""The longer a run takes, the more it visits: that alone must not make a detour."""

import numpy as np
import pytest

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.evidence import find_detours
from trajhmm.dynamics.detours.regression import bag_of_states, regress
from trajhmm.dynamics.maps.training_map import TrainingMap

RUNS, ROWS = 40, 400
EXCURSION, DONE = 4, 3


def sets_with_harmless_excursions(n):
    """Runs through states 0, 1, 2 to 3; now and then, at random, a few rows are in state 4 and change nothing."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        paths, ends = [], []
        for _ in range(RUNS):
            path = np.repeat([0, 1, 2], rng.geometric([1 / 25, 1 / 30, 1 / 20]))[: ROWS - 1]
            end, row = len(path), 0
            while (row := row + int(rng.exponential(150))) < end:
                path[row : row + rng.geometric(1 / 8)] = EXCURSION
            paths.append(np.concatenate([path, np.full(ROWS - end, DONE)]))
            ends.append(end)
        lengths = np.full(RUNS, ROWS)
        training_map = TrainingMap(
            metrics=(),
            states=(None,) * 5,
            edges=(),
            runs=tuple(map(str, range(RUNS))),
            lengths=lengths,
            steps=np.tile(np.arange(ROWS), RUNS),
            path=np.concatenate(paths),
        )
        convergence = Convergence(
            condition="done", runs=training_map.runs, steps=np.array(ends), converged=np.ones(RUNS, dtype=bool)
        )
        regression = regress(bag_of_states(training_map.path, lengths, 5), convergence)
        yield find_detours(training_map, convergence, regression, permutations=499, bootstraps=300)[EXCURSION]


@pytest.mark.parametrize("n", [20, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.once
def test_harmless_excursions_are_seldom_a_detour_though_log_rank_says_so(n):
    evidence = list(sets_with_harmless_excursions(n))
    branch = np.mean([e.is_strict for e in evidence])
    naive = np.mean([e.logrank_p is not None and e.logrank_p <= 0.05 for e in evidence])
    assert branch <= 0.08, (branch, naive)
    assert naive >= 0.3, (branch, naive)
