"""When runs converge."""

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
