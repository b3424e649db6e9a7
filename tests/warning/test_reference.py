"""The reference for warnings: calibrated on runs that it had not seen, kept in its file, honest about its promise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import FitError, ModelFileError
from trajhmm.features import LevelsAndInnovations, causal_runs
from trajhmm.hmm import load_model
from trajhmm.logs import RunSet, read_logs
from trajhmm.simulate import planted
from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.tracking import Scorer
from trajhmm.warning.views.crossfit import fit_surprise

from .logs import drifting, frame_of, healthy_logs
from .made import training

DATA = Path(__file__).parents[2] / "data"


def fit(runs, **settings):
    return fit_warning(runs, **{"states": 2, "restarts": 2, "iterations": 20, **settings})


def test_the_threshold_is_the_conformal_quantile_of_runs_left_out():
    model = fit(healthy_logs(20), false_alarm=0.1)
    calibration = calibration_of(model)
    assert calibration.n_runs == len(calibration.maxima) == 20
    # ⌊21 · 0.1⌋ = 2 of 21 may lie above: the second largest of 20.
    assert calibration.threshold == sorted(calibration.maxima)[-2]
    assert calibration.attainable == pytest.approx(2 / 21)


def test_the_model_that_is_kept_had_not_seen_the_run_that_set_the_threshold():
    logs = healthy_logs(8)
    model = fit(logs, false_alarm=0.05, states=1)
    (run,) = [note.run for note in model.notes if note.kind == "threshold"]
    # Eight runs are eight folds.
    others = causal_runs(logs.select_runs(one for one in logs.runs if one != run), model.metrics)
    whole = [np.ones(one.n_rows, dtype=bool) for one in others]
    expected, _ = fit_surprise(
        others, whole, states=1, covariance="diag", restarts=2, iterations=20, shrinkage=1.0, seed=0
    )
    np.testing.assert_allclose(model.parameters.means, expected.parameters.means, rtol=1e-9)
    np.testing.assert_array_equal(model.scaler.centre, expected.features.centre)
    np.testing.assert_array_equal(model.scaler.least, expected.features.least)
    # The others' rarities do not know that run either: of what is left, none goes as far.
    largest = {one: part.score.max() for one, part in Monitor(model).score(logs).items()}
    assert max(largest, key=lambda one: largest[one]) == run


def test_few_runs_promise_what_they_can():
    calibration = calibration_of(fit(healthy_logs(6), false_alarm=0.05))
    assert calibration.attainable == pytest.approx(1 / 7)
    # As they all stay below what one run in twenty reaches, that is the threshold.
    assert max(calibration.maxima) < calibration.threshold == -np.log(0.05)
    enough = calibration_of(fit(healthy_logs(6), false_alarm=0.2))
    assert enough.threshold == max(enough.maxima) == max(calibration.maxima)
    with pytest.raises(FitError, match="at least 3 healthy runs, found 2"):
        fit(healthy_logs(2))


def test_with_three_healthy_runs_what_they_did_themselves_is_no_alarm():
    """The largest of three is not rare: one of four new runs goes as far."""
    for seed in range(4):
        logs = healthy_logs(3, seed=seed)
        monitor = Monitor(fit(logs))
        monitor.score(logs)
        assert [run for run, tracker in monitor.trackers.items() if tracker.alarm is not None] == []


def test_runs_with_a_non_finite_value_are_no_healthy_runs():
    logs = healthy_logs(6)
    values = logs.values.copy()
    values[120:123, 1] = np.inf
    broken = RunSet(**{**vars(logs), "values": values})
    model = fit(broken)
    assert model.n_runs == 5
    assert [note.run for note in model.notes if "grad_norm not finite at step" in note.text] == ["healthy 1"]


def test_the_run_and_the_step_that_set_the_threshold_are_named():
    logs = healthy_logs(6)
    values = logs.values.copy()
    at = int(logs.offsets[4]) + 47
    values[at] += 3.0
    model = fit(RunSet(**{**vars(logs), "values": values}))
    (note,) = [note for note in model.notes if note.kind == "threshold"]
    told = f"run {logs.runs[4]}: sets the threshold, by its score at step {logs.steps[at]} under a model without it"
    assert str(note) == f"{told} (view: phase)"


def test_runs_that_are_too_short_or_log_nothing_are_no_healthy_runs():
    """A run is judged from its 13th row on; one that ends before tells nothing of what is rare."""
    whole = healthy_logs(5)
    empty = frame_of(np.full((100, 3), np.nan), "empty").assign(acc=0.5)
    short = frame_of(training(np.random.default_rng(0), 12), "short").assign(acc=0.5)
    frames = [frame_of(whole.values[rows], run).assign(acc=0.5) for run, rows in whole.slices()]
    model = fit(RunSet.from_frame(pd.concat([*frames, empty, short])), metrics=whole.metrics)
    assert model.n_runs == 5
    left_out = {note.run: note.text for note in model.notes if note.run in ("empty", "short")}
    assert left_out == {
        "empty": "0 rows with a metric; a run is judged from row 13 on, run left out",
        "short": "12 rows with a metric; a run is judged from row 13 on, run left out",
    }
    with pytest.raises(FitError, match=r"at least 3 healthy runs, found 0.*5 rows with a metric"):
        fit(healthy_logs(6, rows=5))


def test_several_numbers_of_states_are_compared_on_runs_left_out():
    model = fit(healthy_logs(8), states=[1, 2, 3])
    assert [point.states for point in model.curve] == [1, 2, 3]
    best = max(model.curve, key=lambda point: point.heldout)
    assert model.n_states == best.states


def test_the_model_file_keeps_everything_bit_for_bit(tmp_path):
    model = fit(healthy_logs(6))
    model.save(tmp_path / "reference.json")
    again = load_model(tmp_path / "reference.json")
    assert calibration_of(again) == calibration_of(model)
    assert isinstance(again.scaler, LevelsAndInnovations)
    logs = RunSet.from_frame(frame_of(drifting(), "a"))
    one, other = Monitor(model).score(logs)["a"], Monitor(again).score(logs)["a"]
    np.testing.assert_array_equal(one.score, other.score)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "reference.json").read_bytes()


def test_same_seed_same_model_whatever_the_threads():
    one, other = fit(healthy_logs(6), jobs=1), fit(healthy_logs(6), jobs=2)
    assert calibration_of(one) == calibration_of(other)
    np.testing.assert_array_equal(one.hmm.means_, other.hmm.means_)


def test_a_map_cannot_warn():
    from trajhmm.hmm import fit as fit_map

    with pytest.raises(ModelFileError, match="fitted for a map, which sees whole runs and cannot warn"):
        Scorer(fit_map(healthy_logs(4), states=2, restarts=1))


def test_a_jump_that_all_healthy_runs_make_is_no_alarm_in_a_new_one():
    """A jump that every healthy run makes at step 300 is none at step 300, but one at step 200."""
    rng = np.random.default_rng(3)

    def jumping(at):
        values = training(rng, 60)
        values[at // 10 :] += 5.0
        return values

    model = fit(RunSet.from_frame(pd.concat([frame_of(jumping(300), f"healthy {i}") for i in range(24)])))
    monitor = Monitor(model)
    for i in range(20):
        monitor.score(RunSet.from_frame(frame_of(jumping(300), f"as usual {i}")))
    # Each may with one in 25: more than three of 20 less than once in a hundred times.
    assert sum(tracker.alarm is not None for tracker in monitor.trackers.values()) <= 3
    monitor.score(RunSet.from_frame(frame_of(jumping(200), "early")))
    assert monitor.trackers["early"].alarm.step == 200


@pytest.mark.slow
@pytest.mark.parametrize("source", ["planted", "audit_classifier", "audit_lm", "audit_rl"])
def test_the_promise_is_kept_over_many_splits(source):
    """Over 200 splits of healthy runs the mean share of test runs that alarm is at most the budget, within its error.

    And no less than half of it: how rare a calibration run is, is told by one run fewer than how rare a new one is.
    """
    audited = None
    if source != "planted":
        audited = read_logs(DATA / source, where="buffer == 'none' and condition == 'baseline'")
    rng = np.random.default_rng(11)
    shares = []
    for split in range(200):
        logs = planted(n_runs=40, seed=1000 + split).logs if audited is None else audited
        chosen = set(rng.permutation(logs.n_runs)[:19].tolist())
        reference = logs.select_runs(logs.runs[i] for i in chosen)
        rest = logs.select_runs(logs.runs[i] for i in range(logs.n_runs) if i not in chosen)
        monitor = Monitor(fit_warning(reference, states=1, restarts=1, false_alarm=0.05))
        monitor.score(rest)
        shares.append(np.mean([tracker.alarm is not None for tracker in monitor.trackers.values()]))
    # Runs of one split share a threshold, so splits are the unit.
    mean, error = np.mean(shares), np.std(shares) / np.sqrt(200)
    assert 0.025 - 2.58 * error < mean < 0.05 + 2.58 * error, f"{mean:.4f} ± {error:.4f}"


@pytest.mark.parametrize(("runs", "holding", "refused"), [(12, 1, True), (4, 1, True), (4, 2, False), (12, 8, False)])
def test_a_metric_of_too_few_runs_is_refused_by_name(runs, holding, refused):
    names = healthy_logs(runs).metrics
    logs = healthy_logs(runs).frame().copy()
    lacking = logs["run"].isin(sorted(logs["run"].unique())[holding:])
    logs.loc[lacking, "grad_norm"] = np.nan
    logs = RunSet.from_frame(logs)
    if refused:
        with pytest.raises(FitError, match=rf"^grad_norm: logged by {holding} of {runs} healthy runs"):
            fit_warning(logs, metrics=names, states=1, restarts=1)
    else:
        assert fit_warning(logs, metrics=names, states=1, restarts=1).metrics == names


def test_metrics_that_are_missing_are_named():
    model = fit(healthy_logs(4))
    frame = frame_of(drifting(), "a").drop(columns="grad_norm")
    with pytest.raises(ModelFileError, match="these logs lack grad_norm"):
        Monitor(model).score(RunSet.from_frame(frame))
    assert causal_runs(RunSet.from_frame(frame))[0].metrics == ("train_loss", "weight_l2")


def runs_of_steps(*steps):
    frames = []
    for number, of_one in enumerate(steps):
        rng, n = np.random.default_rng(number), len(of_one)
        loss = 2 * np.exp(-np.arange(n) / 60) + 0.5 + 0.02 * rng.normal(size=n)
        frames.append(pd.DataFrame({"run": f"r{number}", "step": of_one, "loss": loss, "norm": 1 + rng.random(n)}))
    return RunSet.from_frame(pd.concat(frames))


@pytest.mark.parametrize(
    "steps",
    [
        [range(0, 10_000, 100), range(0, 10_000, 100), range(1000), range(1000)],
        [range(200), range(0, 2000, 10), range(0, 20_000, 100)],
        [range(25), range(200), range(100, 300)],
    ],
    ids=["logged at two intervals", "at three", "one short, one resumed"],
)
def test_runs_that_are_logged_apart_make_a_reference_that_can_be_read(steps, tmp_path):
    logs = runs_of_steps(*map(np.array, steps))
    model = fit(logs, states=1, restarts=1, iterations=5)
    model.save(tmp_path / "reference.json")
    again = Monitor(load_model(tmp_path / "reference.json")).score(logs)
    for run, scored in Monitor(model).score(logs).items():
        np.testing.assert_array_equal(again[run].score, scored.score)
        assert np.isfinite(scored.score).all()
