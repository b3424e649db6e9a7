"""Which metrics are fitted when nobody says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm import RunSet, read_logs, scan_logs
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


def logs_of(n_runs=3, n=30, **columns):
    """Runs with a loss and columns made of (n,) steps and the number of the run."""
    rng = np.random.default_rng(1)
    frames = [
        pd.DataFrame(
            {"run": f"r{r}", "step": np.arange(n), "loss": rng.lognormal(size=n)}
            | {name: made(np.arange(n), r) for name, made in columns.items()}
        )
        for r in range(n_runs)
    ]
    return RunSet.from_frame(pd.concat(frames))


def test_what_grows_by_a_constant_in_every_run_is_a_clock_whatever_its_name():
    runs = logs_of(
        seen=lambda t, r: 512.0 * t + 3 * r,
        drifting=lambda t, _: 512.0 * t + (t % 2),
        lr=lambda t, _: 1e-3 * (1 - t / 40),
        falling=lambda t, _: 9.0 - t / 10,
        train_loss_step=lambda t, r: np.random.default_rng(r).random(len(t)),
        train_loss=lambda t, _: 1.0 + t,
        one_run_stops=lambda t, r: t * 2.0 if r else np.minimum(t, 20) * 2.0,
    )
    metrics, notes = default_metrics(runs)
    assert metrics == ("loss", "drifting", "falling", "train_loss_step", "train_loss", "one_run_stops")
    assert [note.text.partition(" is not fitted: ")[::2] for note in notes] == [
        ("seen", "a clock (name it in the metrics to have it)"),
        ("lr", "a schedule (name it in the metrics to have it)"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "total_timesteps", "elapsed_seconds", "iteration", "num_updates", "tokens", "eta_seconds", "num_episodes",
        "time/total_timesteps", "_runtime", "trainer/global_step", "train/num_input_tokens_seen", "Wall time",
        "time_this_iter_s", "total_flos", "episodes_total",
    ],
)  # fmt: skip
def test_clocks_are_known_by_name_where_they_do_not_keep_pace(name):
    runs = logs_of(**{name: lambda t, r: np.cumsum(np.random.default_rng(r).integers(1, 9, len(t))).astype(float)})
    assert default_metrics(runs)[0] == ("loss",)


@pytest.mark.parametrize(
    "name",
    [
        "train_loss_epoch",
        "power_iterations",
        "clip_fraction",
        "time_to_target",
        "token_accuracy_gap",
        "weight_l2",
        "episode_len",
    ],
)
def test_names_that_hold_such_a_word_are_none(name):
    runs = logs_of(**{name: lambda t, r: np.random.default_rng(r).random(len(t))})
    assert name in default_metrics(runs)[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("steps_per_second", "of the machine"), ("train_samples_per_second", "of the machine"),
        ("gpu_mem", "of the machine"), ("system/gpu/0/temp", "of the machine"), ("time/fps", "of the machine"),
        ("loss_scale", "a schedule"), ("seq_len", "a schedule"), ("train/temperature", "a schedule"),
        ("grad_clip", "a schedule"),
    ],
)  # fmt: skip
def test_what_the_machine_does_and_what_is_set_is_not_how_training_goes(name, reason):
    runs = logs_of(**{name: lambda t, r: np.random.default_rng(r).random(len(t))})
    metrics, notes = default_metrics(runs)
    assert metrics == ("loss",)
    assert any(f"{name} is not fitted: {reason}" in note.text for note in notes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_metric_that_is_nowhere_finite_in_some_runs_is_left_out_rather_than_the_runs(value):
    runs = logs_of(norm=lambda t, r: np.full(len(t), value) if r == 1 else np.random.default_rng(r).random(len(t)))
    metrics, notes = default_metrics(runs)
    assert metrics == ("loss",)
    assert "norm is not fitted: NaN or blank throughout 1 of 3 runs (name it in the metrics to have it)" in [
        note.text for note in notes
    ]


def test_a_metric_that_some_runs_lost_early_stays():
    def lost(t, r):
        values = np.random.default_rng(r).random(len(t))
        return np.where((r == 0) & (t > 2), np.nan, values)

    assert "norm" in default_metrics(logs_of(5, norm=lost))[0]
    assert "norm" not in default_metrics(logs_of(2, norm=lost))[0]


def test_a_scan_chooses_the_same(tmp_path):
    runs = logs_of(
        seen=lambda t, r: 2.0 * t + r,
        norm=lambda t, r: np.sin(t + r),
        lacks=lambda t, r: np.full(len(t), np.nan) if r else t % 3 * 1.0,
    )
    for run, part in runs.frame().groupby("run"):
        part.to_csv(tmp_path / f"{run}.csv", index=False)
    expected = default_metrics(read_logs(tmp_path))
    assert expected[0] == ("loss", "norm")
    assert default_metrics(scan_logs(tmp_path, max_rows=1)) == expected
