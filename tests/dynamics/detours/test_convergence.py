"""When runs converge."""

import re

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.dynamics.detours.convergence import convergence_of
from trajhmm.errors import AnalysisError


@pytest.fixture
def runs():
    frame = pd.DataFrame(
        {
            "run": ["a"] * 5 + ["b"] * 4,
            "step": [0, 10, 20, 30, 40, 0, 10, 20, 30],
            "loss": [5.0, 4, 3, 2, 1, 5, 5, 5, 5],
            "eval": [0.1, None, 0.6, None, 0.9, 0.1, None, 0.2, None],
            "optimizer": ["sgd"] * 5 + ["adam"] * 4,
        }
    )
    return th.RunSet.from_frame(frame)


@pytest.mark.parametrize(
    ("condition", "steps", "converged"),
    [
        ("loss < 2.5", [30, 30], [True, False]),
        ("eval > 0.5", [20, 30], [True, False]),
        ("eval > 0.5 and loss < 2.5", [30, 30], [True, False]),
        ("step >= 20", [20, 20], [True, True]),
        ("drop(loss) > 2.5", [30, 30], [True, False]),
        ('optimizer == "adam" or loss <= 1', [40, 0], [True, True]),
        ('run == "b"', [40, 0], [False, True]),
    ],
)
def test_first_row_at_which_the_condition_holds(runs, condition, steps, converged):
    found = convergence_of(runs, condition)
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_array_equal(found.converged, converged)


def test_an_unknown_column_is_named(runs):
    with pytest.raises(AnalysisError, match="no column 'accuracy'"):
        convergence_of(runs, "accuracy > 0.9")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("eval > 0.95", "eval lies between 0.1 and 0.9 in these runs; 2 of 2 would meet --converged 'eval > 0.19'"),
        ("loss < 0.5", "loss lies between 1 and 5 in these runs; 2 of 2 would meet --converged 'loss < 5.1'"),
        ("loss < 0 and step < 0", "loss lies between 1 and 5 in these runs"),
        ('optimizer == "lion"', "check the names and the values in the condition"),
        ("drop(loss) > 40", "loss lies between 1 and 5 in these runs"),
    ],
)  # fmt: skip
def test_a_condition_that_no_run_meets_says_what_the_logs_hold_and_what_to_try(runs, condition, told):
    found = convergence_of(runs, condition)
    assert not found.converged.any()
    assert found.unmet == told
    suggested = re.search(r"(\d) of 2 would meet --converged '(.*)'", told)
    if suggested:
        assert int(convergence_of(runs, suggested[2]).converged.sum()) == int(suggested[1])
        assert convergence_of(runs, suggested[2]).unmet == ""


def test_metrics_that_are_never_a_number_are_said_to_be(runs):
    frame = runs.frame().assign(eval=np.nan, other=1.0)
    frame.loc[0, "eval"] = np.inf
    assert "eval is never a number in these runs" in convergence_of(th.RunSet.from_frame(frame), "eval < 1").unmet


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9, -1.0, 0.0])
@pytest.mark.parametrize("sign", [">", "<"])
def test_what_is_suggested_is_met_by_half_of_the_runs(scale, sign):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"run": np.repeat(list("abcdefg"), 9), "step": np.tile(np.arange(9), 7)})
    frame["m"], frame["other"] = scale * rng.uniform(0.5, 1, 63), rng.uniform(size=63)
    frame.loc[5, "m"] += 1e-12
    runs = th.RunSet.from_frame(frame)
    told = convergence_of(runs, f"m {sign} {'1e99' if sign == '>' else '-1e99'}").unmet
    met, condition = re.search(r"(\d) of 7 would meet --converged '(.*)'", told).groups()
    assert int(convergence_of(runs, condition).converged.sum()) == int(met) >= 4
