"""What detectors are handed."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import LogError
from trajhmm.features import causal_runs
from trajhmm.features.causal import LARGEST
from trajhmm.warning import Kind, RunTruth, trials_of

NAN, INF = np.nan, np.inf


@pytest.fixture
def logs():
    """Loss at every row, accuracy at every other; NaN logged once, infinity once, and a huge value."""
    frame = pd.DataFrame(
        {
            "run": ["a"] * 5 + ["b"] * 3,
            "step": [0, 10, 20, 30, 40, 0, 10, 20],
            "loss": [5.0, NAN, 3.0, 2.0, INF, 1e200, 2.0, 1.0],
            "accuracy": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
            "seed": [1] * 5 + [2] * 3,
        }
    )
    runs = th.RunSet.from_frame(frame)
    logged = np.array(runs.logged)
    logged[:, runs.metrics.index("loss")] = True
    logged[[0, 1, 3], runs.metrics.index("accuracy")] = False
    return th.RunSet(
        **{name: getattr(runs, name) for name in runs.__dataclass_fields__ if name != "logged"}, logged=logged
    )


def test_last_finite_value_stands_until_the_next(logs):
    a, b = causal_runs(logs, ["loss", "accuracy"])
    assert (a.run, b.run) == ("a", "b")
    np.testing.assert_array_equal(a.steps, [0, 10, 20, 30, 40])
    np.testing.assert_array_equal(a.values, [[5, NAN], [5, NAN], [3, 0.3], [2, 0.3], [2, 0.5]])
    np.testing.assert_array_equal(a.logged, [[True, False], [False, False], [True, True], [True, False], [False, True]])
    np.testing.assert_array_equal(a.events, [False, True, False, False, True])
    np.testing.assert_array_equal(b.values[:, 0], [LARGEST, 2, 1])


def test_events_are_those_of_the_metrics_asked_for(logs):
    a, _ = causal_runs(logs, ["accuracy"])
    assert not a.events.any()
    assert causal_runs(logs)[0].metrics == logs.metrics


def test_the_first_rows_are_the_run_as_it_stood(logs):
    early = causal_runs(logs, ["loss"])[0].first_rows(2)
    assert early.n_rows == 2
    np.testing.assert_array_equal(early.events, [False, True])


def test_a_metric_that_is_not_there_is_an_error(logs):
    with pytest.raises(LogError, match="no metric 'lr' in these logs"):
        causal_runs(logs, ["lr"])
    with pytest.raises(LogError, match="run a: no metric 'lr'"):
        causal_runs(logs)[0].index_of("lr")


def test_trials_join_logs_and_truth(logs):
    truths = {"a": RunTruth(onset=10, collapse_step=30), "b": RunTruth()}
    a, b = trials_of(logs, truths, condition="seed", group="seed")
    assert (a.run.run, a.truth.collapse_step, a.condition, a.group) == ("a", 30, "1", "1")
    assert trials_of(logs, truths, condition="seed")[1].group == "b"
    assert (a.truth.kind, b.truth.kind) == (Kind.COLLAPSED, Kind.HEALTHY)
    assert RunTruth(onset=3).kind is Kind.SURVIVED


def test_trials_need_attributes_and_truth(logs):
    with pytest.raises(LogError, match="no attribute 'lr'"):
        trials_of(logs, {}, condition="lr")
    with pytest.raises(LogError, match="run b: the truth does not name it"):
        trials_of(logs, {"a": RunTruth()}, condition="seed")
