"""What the summary says in words."""

from dataclasses import replace

import pytest

import trajhmm as th
from trajhmm.dynamics.prefix import PrefixPoint
from trajhmm.dynamics.summary import summarize
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
