"""One run under a model for warning, row by row."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import AnalysisError
from trajhmm.figures import plot_drivers, plot_warning_timeline, save_figure
from trajhmm.logs import RunSet
from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.runs import RunTruth
from trajhmm.warning.timeline import timeline_of
from trajhmm.warning.views.alone import LIMITS

from .logs import drifting, frame_of, healthy_logs
from .made import METRICS, training


@pytest.fixture(scope="module")
def model():
    return fit_warning(healthy_logs(10), states=2, restarts=1, iterations=20)


@pytest.fixture(scope="module")
def logs():
    frames = [frame_of(drifting(seed), run) for seed, run in ((7, "a"), (8, "b"))]
    return RunSet.from_frame(pd.concat(frames))


def test_it_is_what_the_monitor_says(model, logs):
    monitor = Monitor(model)
    scored = monitor.score(logs)["b"]
    seen = timeline_of(logs, "b", model, truth=RunTruth(onset=500, collapse_step=800))
    np.testing.assert_array_equal(seen.score, scored.score)
    np.testing.assert_array_equal(seen.risk, scored.risk)
    np.testing.assert_array_equal(seen.states, scored.state)
    assert seen.alarm == monitor.trackers["b"].alarm
    assert seen.threshold == calibration_of(model).threshold
    assert (seen.truth.onset, seen.truth.collapse_step) == (500, 800)
    np.testing.assert_array_equal(seen.values[:, METRICS.index("weight_l2")], drifting(8)[:, 2])


def test_contributions_at_the_alarm_are_its_drivers(model, logs):
    seen = timeline_of(logs, "a", model)
    row = np.searchsorted(seen.steps, seen.alarm.step)
    found = dict(zip(seen.metrics, seen.contributions[row], strict=True))
    assert {driver.metric for driver in seen.alarm.drivers} == {name for name, share in found.items() if share > 0}
    for driver in seen.alarm.drivers:
        assert found[driver.metric] == pytest.approx(driver.contribution)


def test_contributions_add_up_to_half_the_distance_from_the_states(model, logs):
    """Written out for each row and state."""
    seen = timeline_of(logs, "a", model)
    rows, probs = model.sequences(logs.select_runs(["a"])).values, model.filter(logs.select_runs(["a"])).probs
    inverse = np.linalg.inv(model.parameters.matrices())
    expected = [
        sum(
            0.5 * p * (z - mean) @ inv @ (z - mean)
            for p, mean, inv in zip(g, model.parameters.means, inverse, strict=True)
        )
        for z, g in zip(rows, probs, strict=True)
    ]
    np.testing.assert_allclose(seen.contributions.sum(axis=1), expected, rtol=1e-9)


def test_without_a_model_a_run_is_judged_by_its_own_past(logs):
    monitor = Monitor()
    scored = monitor.score(logs)["b"]
    seen = timeline_of(logs, "b", None)
    np.testing.assert_array_equal(seen.score, scored.score)
    assert seen.alarm == monitor.trackers["b"].alarm
    assert (seen.n_states, seen.threshold, seen.of_map) == (0, 1.0, False)
    row = int(np.searchsorted(seen.steps, seen.alarm.step))
    found = dict(zip(seen.metrics, seen.contributions[row], strict=True))
    assert {driver.metric for driver in seen.alarm.drivers} <= {name for name, share in found.items() if share > 0}
    assert max(found.values()) == pytest.approx(seen.alarm.drivers[0].contribution / LIMITS[seen.alarm.drivers[0].view])
    np.testing.assert_array_equal(seen.usual[row:], np.broadcast_to(seen.usual[row], seen.usual[row:].shape))
    for driver in seen.alarm.drivers:
        assert found[driver.metric] >= driver.contribution / LIMITS[driver.view]
        low, high = seen.usual[row, seen.metrics.index(driver.metric)]
        assert (low, high) == (driver.healthy_low, driver.healthy_high)


def test_without_a_model_what_was_usual_is_of_rows_before_alone(logs):
    """In a run of more rows than are looked at one by one too."""
    short = timeline_of(logs, "a", None)
    whole = frame_of(training(np.random.default_rng(1), 900), "long")
    many = timeline_of(RunSet.from_frame(whole), "long", None)
    first = timeline_of(RunSet.from_frame(whole.iloc[: len(whole) // 2]), "long", None)
    n = len(first.steps)
    assert len(many.steps) > 400
    assert many.alarm is None  # where what was usual would stay as it is
    assert np.isnan(short.usual[0]).all()
    moved = np.flatnonzero((np.diff(many.usual[:, 0], axis=0) != 0).any(axis=1)) + 1
    assert len(moved) > 300
    both = np.intersect1d(moved, np.flatnonzero((np.diff(first.usual[:, 0], axis=0) != 0).any(axis=1)) + 1)
    assert len(both) > 100
    np.testing.assert_array_equal(many.usual[both], first.usual[both])
    np.testing.assert_array_equal(many.contributions[:n], first.contributions)


ODD = {
    "one row": {"train_loss": [1.0], "norm": [2.0]},
    "stands still": {"train_loss": np.ones(40), "norm": np.full(40, 3.0)},
    "outcomes alone": {"accuracy": np.linspace(0, 1, 60)},
    "a loss at its largest": {
        "train_loss": np.r_[np.geomspace(1, 0.1, 40), np.full(5, 1e308)],
        "norm": np.arange(45.0),
    },
    "no longer finite": {"train_loss": np.r_[np.geomspace(1, 0.1, 40), np.nan, np.inf], "norm": np.arange(42.0)},
    "negative": {"train_loss": np.r_[-np.linspace(0, 1, 60), np.linspace(-1, 5, 60)], "norm": np.arange(120.0)},
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_runs_without_a_model_are_drawn(kind, tmp_path):
    """Beside a run that moves, as a log in which nothing does is refused."""
    rows = [pd.DataFrame({"step": np.arange(len(next(iter(ODD[kind].values())))), **ODD[kind]}).assign(run="odd")]
    moves = {name: np.random.default_rng(0).random(50) for name in ODD[kind]}
    runs = RunSet.from_frame(pd.concat([*rows, pd.DataFrame({"step": np.arange(50), **moves}).assign(run="moves")]))
    seen = timeline_of(runs, "odd", None)
    assert (seen.alarm is not None) == (kind in ("a loss at its largest", "no longer finite", "negative"))
    for plot in (plot_warning_timeline, plot_drivers):
        save_figure(plot(seen), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_run_that_is_not_there_is_named(model, logs):
    with pytest.raises(AnalysisError, match=r"no run 'c' in these logs \(found: a, b\)"):
        timeline_of(logs, "c", model)
