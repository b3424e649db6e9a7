"""What the summary says in words."""

from dataclasses import replace

import pytest

import trajhmm as th
from trajhmm.dynamics.confounding import Association
from trajhmm.dynamics.detours import StateEvidence, Survival
from trajhmm.dynamics.prefix import PrefixPoint
from trajhmm.dynamics.summary import describe_detour, summarize
from trajhmm.dynamics.survival import Delay
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def analysed():
    logs = planted(n_runs=12, n_rows=40, seed=0).logs
    model = th.fit(logs, states=2, restarts=1)
    return th.analyze(logs, model, converged="eval_accuracy > 0.9", refits=0), model


def summary(analysed, *, states, loss):
    analysis, model = analysed
    point = PrefixPoint(rows=8, step=7.0, n_runs=10, r2_states=states, r2_step=0.0, r2_loss=loss)
    return " ".join(summarize(replace(analysis, prefix=(point,)), model).split())


def test_states_that_say_more_than_the_loss_add_to_it(analysed):
    assert "at 1 of 1 points, so they add to it" in summary(analysed, states=0.3, loss=0.2)
    assert "at 0 of 1 points, so they add little to it" in summary(analysed, states=0.2, loss=0.3)


@pytest.mark.parametrize("states", [0.0, 0.004, -0.01])
def test_states_that_say_nothing_add_nothing_to_a_loss_that_says_less(analysed, states):
    assert "at 0 of 1 points, so they add little to it" in summary(analysed, states=states, loss=-0.06)


def evidence(*, with_=(12, 12), without=(10, 10), **changed):
    """A state that passes the test; of the runs on each side, how many converge."""
    converged = with_[0] + without[0] == with_[1] + without[1]
    found = {
        "state": 2, "runs_ever": 14, "runs_with": 12, "runs_without": 12, "converged_with": 12, "converged_without": 12,
        "comparable_with": with_[1], "comparable_without": without[1],
        "comparable_converged_with": with_[0], "comparable_converged_without": without[0],
        "watched_until": None if converged else 9600, "is_excursion": False, "coefficient": 1.0,
        "delay": Delay(effect=1234.0, ci_low=400.0, ci_high=2100.0, horizon=5000.0, is_lower_bound=not converged),
        "p_value": 0.001, "p_adjusted": 0.003, "logrank_p": None, "hazard_ratio": None,
        "passes_test": True, "is_paper": False,
    }  # fmt: skip
    return StateEvidence(**{**found, **changed})


def test_a_detour_is_told_with_its_delay_and_interval():
    assert describe_detour(evidence()) == (
        "State 2 is a detour: runs that pass through it (12) converge 1,234 steps later after the branch than runs "
        "that leave the same state for another (10), 95% interval 400 to 2,100, p = 0.001, 0.003 after Holm's "
        "correction."
    )


def test_runs_that_never_converge_are_counted_before_a_lower_bound_is_told():
    told = describe_detour(evidence(with_=(2, 6), without=(34, 34)))
    assert "2 of 6 converge by step 9,600, against 34 of 34 runs that leave the same state for another" in told
    assert "The delay is a lower bound: counted up to 5,000 steps after the branch" in told
    assert "steps later" not in told


def test_an_excursion_is_compared_with_runs_that_stayed_as_long():
    assert "than runs that had been as long in the state they left" in describe_detour(evidence(is_excursion=True))


def test_a_confounded_detour_says_so():
    by = Association(
        attribute="optimizer", p_value=0.001, p_adjusted=0.002, levels=(("plain", 40, 40), ("stabilised", 10, 40))
    )
    told = describe_detour(evidence(confounded_by=(by,)))
    assert "visiting goes with optimizer (plain: 40 of 40, stabilised: 10 of 40)" in told


def test_what_refits_do_not_find_again_is_not_called_a_detour():
    told = describe_detour(evidence(survival=Survival(found=3, refits=20)))
    assert told.startswith("State 2, on this fit: runs that pass through it")
    assert "fewer than half: do not build on it" in told
    assert describe_detour(evidence(delay=None)) == ""


def test_why_there_is_no_regression_is_told(analysed):
    analysis, model = analysed
    regression = replace(analysis.regression, r2=None, why_not="all 8 runs converge at the same step")
    told = summarize(replace(analysis, regression=regression), model)
    assert "No regression of convergence on the states: all 8 runs converge at the same step." in " ".join(told.split())
