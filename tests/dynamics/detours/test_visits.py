import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from trajhmm.dynamics.detours.branches import compare_visits
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.delays import delay_of
from trajhmm.dynamics.detours.visits import convergence_by_visit
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.errors import AnalysisError


def runs(seed=0, n=30):
    """Runs from 0 to 1 and on to 3, some of them by way of 2, which takes time."""
    rng = np.random.default_rng(seed)
    paths = []
    for run in range(n):
        middle = [2] * int(rng.integers(20, 40)) if run % 3 == 0 else []
        paths.append([0] * int(rng.integers(5, 15)) + [1] * 5 + middle + [3] * int(rng.integers(30, 60)))
    lengths = np.array([len(path) for path in paths])
    converged = np.arange(n) % 5 != 4
    steps = np.array([path.index(3) + int(rng.integers(1, 20)) for path in paths])
    training_map = TrainingMap(
        metrics=("loss",), states=(None,) * 4, edges=(), runs=tuple(map(str, range(n))), lengths=lengths,
        steps=np.concatenate([np.arange(length) for length in lengths]), path=np.concatenate(paths),
    )  # fmt: skip
    convergence = Convergence(
        condition="loss < 1", runs=training_map.runs, steps=np.where(converged, steps, lengths - 1), converged=converged
    )
    return training_map, convergence


def test_curves_since_the_start_are_those_of_statsmodels():
    training_map, convergence = runs()
    visits = convergence_by_visit(training_map, convergence, 2, since="start")
    for curve, side in ((visits.visiting, np.arange(30) % 3 == 0), (visits.others, np.arange(30) % 3 != 0)):
        times, converged = convergence.steps[side], convergence.converged[side]
        oracle = SurvfuncRight(times, converged.astype(int))
        for step, share, at_risk in zip(oracle.surv_times, oracle.surv_prob, oracle.n_risk, strict=True):
            assert curve.remaining[curve.steps == step][-1] == pytest.approx(share, rel=1e-12)
            assert curve.at_risk(step) == at_risk
        assert curve.censored.sum() == (~converged).sum()


def test_the_area_between_the_curves_after_the_branch_is_the_delay():
    training_map, convergence = runs()
    visits = convergence_by_visit(training_map, convergence, 2)
    strata = compare_visits(training_map, convergence, 2).strata
    delay = delay_of(strata, bootstraps=10, rng=np.random.default_rng(0))

    def area(curve, horizon):
        steps = np.concatenate([[0.0], np.minimum(curve.steps, horizon), [horizon]])
        return float(np.append(1.0, curve.remaining) @ np.diff(steps))

    horizon = max(arm.steps[~arm.censored].max() for arm in (visits.visiting, visits.others))
    assert delay.horizon == horizon
    # Sums of a few dozen terms.
    assert area(visits.visiting, horizon) - area(visits.others, horizon) == pytest.approx(delay.effect, rel=1e-9)


def test_runs_are_counted_once():
    training_map, convergence = runs()
    visits = convergence_by_visit(training_map, convergence, 2)
    assert visits.visiting.at_risk(0) == 10
    assert visits.others.at_risk(0) == 20


@pytest.mark.parametrize(
    ("state", "since", "said"),
    [
        (4, "start", "state 4: expected 0 to 3"),
        (0, "branch", "state 0: no runs part before it"),
        (0, "start", "every run visits it before convergence"),
    ],
)
def test_what_cannot_be_compared_is_said(state, since, said):
    training_map, convergence = runs()
    with pytest.raises(AnalysisError, match=said):
        convergence_by_visit(training_map, convergence, state, since=since)
