"""Which metrics are fitted when nobody says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm import RunSet
from trajhmm.features.choose import default_metrics

N = 40


def runs_with(names, blank=None, n_runs=2):
    """Runs whose metrics all change; ``blank`` maps a name to the rows at which it is not logged."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_runs * N, len(names)))
    row = np.tile(np.arange(N), n_runs)
    for name, rows in (blank or {}).items():
        values[rows(row), names.index(name)] = np.nan
    runs = tuple(f"r{index}" for index in range(n_runs))
    return RunSet(
        runs=runs,
        lengths=np.full(n_runs, N),
        steps=row,
        values=values,
        logged=~np.isnan(values),
        metrics=tuple(names),
        attributes=pd.DataFrame(index=pd.Index(runs, name="run")),
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("epoch", "a clock"),
        ("train/global_step", "a clock"),
        ("_timestamp", "a clock"),
        ("wall_time", "a clock"),
        ("accuracy", "an outcome"),
        ("eval_accuracy", "an outcome"),
        ("val/acc", "an outcome"),
        ("Test.F1", "an outcome"),
        ("rollout/episode_return", "an outcome"),
        ("score", "an outcome"),
        ("learning_rate", "a schedule"),
        ("optim/lr", "a schedule"),
    ],
)
def test_outcomes_schedules_and_clocks_are_not_fitted_and_said(name, reason):
    metrics, notes = default_metrics(runs_with(["loss", name]))
    assert metrics == ("loss",)
    assert [note.text for note in notes] == [f"{name} is not fitted: {reason} (name it in the metrics to have it)"]


@pytest.mark.parametrize(
    "name", ["loss", "eval_loss", "weight_l2", "accumulated", "lrp", "timeless", "acceleration", "L1/L2"]
)
def test_metrics_that_only_sound_like_one_are_fitted(name):
    assert default_metrics(runs_with(["norm", name]))[0] == ("norm", name)


def test_a_log_of_outcomes_alone_keeps_them():
    assert default_metrics(runs_with(["accuracy", "lr"]))[0] == ("accuracy", "lr")


def test_metrics_logged_less_often_are_not_fitted():
    runs = runs_with(
        ["loss", "eval_loss", "norm"], {"eval_loss": lambda row: row % 10 != 0, "norm": lambda row: row == 0}
    )
    metrics, notes = default_metrics(runs)
    assert metrics == ("loss", "norm")
    assert [note.text.split(" (")[0] for note in notes] == ["eval_loss is not fitted: logged less often"]


def test_density_counts_within_each_run():
    """Ten rows of forty may be blank at the start or the end; every second row is less often."""
    blank = {"a": lambda row: row < 10, "b": lambda row: row >= 30, "c": lambda row: row % 2 == 0}
    assert default_metrics(runs_with(["a", "b", "c"], blank))[0] == ("a", "b")


def test_where_each_metric_is_missing_in_some_run_those_logged_most_often_are_fitted():
    runs = runs_with(["a", "b", "c"], n_runs=3)
    logged = runs.logged.copy()
    for run, metric in enumerate("abc"):
        logged[N * run : N * run + 30 + 2 * run, runs.metrics.index(metric)] = False
    metrics, notes = default_metrics(replace(runs, logged=logged))
    assert metrics == ("a",)
    assert [note.text.split(" (")[0] for note in notes] == [
        "b is not fitted: logged less often",
        "c is not fitted: logged less often",
    ]
