"""Where on a map a run under way is: which states are told, from what, in what words, and what is refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import FitError, ModelFileError
from trajhmm.features import causal_runs, map_sequences
from trajhmm.hmm import load_model
from trajhmm.logs import RunSet
from trajhmm.simulate import planted
from trajhmm.warning.monitor import Monitor, fingerprint
from trajhmm.warning.onmap.states import MAP, MapStates, Place, map_states_of
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.timeline import timeline_of

from .logs import drifting, frame_of, healthy_logs
from .made import METRICS, training

HEALTHY = healthy_logs(10)
SCALINGS = ("mixed", "own-start", "shared")


def map_of(scaling="mixed", logs=HEALTHY, **settings):
    return th.fit(logs, states=3, scaling=scaling, halves=0, restarts=2, iterations=50, **settings)


def reference(on_map, **settings):
    return fit_warning(HEALTHY, states=2, restarts=1, iterations=20, map=on_map, **settings)


@pytest.fixture(scope="module")
def maps():
    return {scaling: map_of(scaling) for scaling in SCALINGS} | {"ar": map_of(emissions="ar")}


@pytest.fixture(scope="module")
def carrying(maps):
    """References that carry these maps; and one that carries none."""
    return {name: reference(on_map) for name, on_map in maps.items()} | {"none": reference(None)}


def states_of(model):
    return map_states_of(model, len(model.sections["portfolio"]["phases"]["spacing"]))


@pytest.fixture(scope="module")
def logs():
    values = drifting()
    return RunSet.from_frame(
        pd.concat([frame_of(values, "bad"), frame_of(training(np.random.default_rng(3), 100), "fine")])
    )


@pytest.mark.once
def test_a_map_changes_no_score_and_no_alarm(carrying, logs):
    plain = Monitor(carrying["none"])
    expected = plain.score(logs)
    for name in (*SCALINGS, "ar"):
        monitor = Monitor(carrying[name])
        found = monitor.score(logs)
        for run, scored in found.items():
            np.testing.assert_array_equal(scored.score, expected[run].score)
            np.testing.assert_array_equal(scored.risk, expected[run].risk)
            np.testing.assert_array_equal(scored.phase, expected[run].state)
            assert scored.state.max() < 3
        alarm, before = monitor.trackers["bad"].alarm, plain.trackers["bad"].alarm
        assert (alarm.step, alarm.drivers, alarm.phase) == (before.step, before.drivers, before.state)
    assert before.place is None
    assert "state" not in str(before)


@pytest.mark.parametrize("name", [*SCALINGS, "ar"])
def test_states_are_those_of_the_map(maps, carrying, name):
    """Of runs that neither the map nor the reference has seen."""
    fresh = healthy_logs(8, seed=77)
    found = Monitor(carrying[name]).score(fresh)
    told = np.concatenate([found[run].state for run in fresh.runs])
    same = (told == maps[name].decode(fresh).path).mean()
    assert same > 0.93
    # Planted error: the phases of training in their place.
    assert (np.concatenate([found[run].phase for run in fresh.runs]) == maps[name].decode(fresh).path).mean() < same
    states = states_of(carrying[name])
    assert states.agreement > 0.93 >= states.agreement - 0.07
    assert 0.7 < states.worst <= states.agreement


@pytest.mark.once
def test_runs_that_differ_by_offsets_are_found_out_row_by_row():
    simulated = planted(n_runs=30, n_rows=120, layout="spread", offset_sd=1.0, seed=2)
    logs, metrics = simulated.logs, simulated.logs.metrics[:-1]
    half, other = logs.select_runs(logs.runs[:15]), logs.select_runs(logs.runs[15:])
    on_map = th.fit(half, metrics=metrics, states=simulated.n_states, halves=0, restarts=3)
    model = fit_warning(half, metrics=metrics, states=2, restarts=1, iterations=10, map=on_map)
    states = states_of(model)
    assert np.isinf(states.forwards.visit)  # rows of this simulation stand alone
    path = on_map.decode(other).path
    found = Monitor(model).score(other)
    assert (np.concatenate([found[run].state for run in other.runs]) == path).mean() > 0.98
    # Planted error: a map that knows of no offsets.
    blind = json.loads(json.dumps(model.sections[MAP])) | {"shift_variance": None}
    wrong = Monitor(dataclasses.replace(model, sections={**model.sections, MAP: blind})).score(other)
    assert (np.concatenate([wrong[run].state for run in other.runs]) == path).mean() < 0.9


def test_own_starts_are_means_of_the_first_rows_so_far(maps, carrying):
    states = states_of(carrying["own-start"])
    assert states.first_rows == 3  # 3% of 100 rows
    (run,) = causal_runs(HEALTHY.select_runs(["healthy 0"]), METRICS)
    scaler = maps["own-start"].scaler
    rows = np.column_stack(
        [np.log(column) if log else column for column, log in zip(run.values.T, scaler.logs, strict=True)]
    )
    starts = np.array([rows[: min(t + 1, 3)].mean(axis=0) for t in range(len(rows))])
    memory = states.start()
    columns = [METRICS.index(name) for name in states.metrics]
    found = states._rows(np.ascontiguousarray(run.values[:, columns]), memory)
    expected = (rows - starts - scaler.centre) / scaler.spread
    np.testing.assert_allclose(found, expected[:, columns], rtol=1e-9, atol=1e-9)
    # From the third row on they are what the finished run is scaled to.
    whole = map_sequences(HEALTHY.select_runs(["healthy 0"]), maps["own-start"].metrics, scaler=scaler).values
    np.testing.assert_allclose(found[2:], whole[2:], rtol=1e-9, atol=1e-9)


def test_an_own_start_is_of_the_rows_at_which_a_metric_is_there(carrying):
    states = states_of(carrying["own-start"])
    (run,) = causal_runs(HEALTHY.select_runs(["healthy 0"]), states.metrics)
    plain, gap = run.values[:10].copy(), run.values[:10].copy()
    gap[:2, 1] = np.nan  # of the three first rows only the third
    whole, found = states._rows(plain, states.start()), states._rows(gap, states.start())
    np.testing.assert_array_equal(found[:, [0, 2]], whole[:, [0, 2]])
    assert np.isnan(found[:2, 1]).all()
    own = -states.scaler.centre[1] / states.scaler.spread[1]
    assert found[2, 1] == pytest.approx(own)  # it is its own start
    np.testing.assert_allclose(np.diff(found[2:, 1]), np.diff(whole[2:, 1]), rtol=1e-9, atol=1e-9)


def test_rows_at_which_the_map_has_none_repeat_the_state():
    """A row of the map is one at which what is logged least often stands."""
    sparse = RunSet.from_frame(pd.concat([seldom_healthy(i) for i in range(6)]))
    on_map = map_of("shared", sparse, metrics=METRICS)
    model = fit_warning(sparse, metrics=METRICS, states=1, restarts=1, iterations=5, map=on_map)
    states = states_of(model)
    assert states.rows_of == ("weight_l2",)
    scored = Monitor(model).score(sparse)["healthy 0"].state
    assert len(set(scored)) > 1
    for row in range(60):
        assert scored[row] == scored[row - row % 3]


def seldom_healthy(i):
    frame = frame_of(training(np.random.default_rng(50 + i), 60), f"healthy {i}")
    return frame.assign(weight_l2=frame["weight_l2"].where(np.arange(60) % 3 == 0))


def test_before_the_first_row_of_the_map_no_state_is_known(carrying):
    values = drifting()
    values[:4] = np.nan
    values[:4, 0] = 2.0
    frame = frame_of(values, "late")
    model = carrying["mixed"]
    lead = states_of(model)
    only = dataclasses.replace(lead, rows_of=("weight_l2",)).to_dict()
    scored = Monitor(dataclasses.replace(model, sections={**model.sections, MAP: only})).score(RunSet.from_frame(frame))
    assert (scored["late"].state[:4] == -1).all()
    assert (scored["late"].state[4:] >= 0).all()
    seen = timeline_of(
        RunSet.from_frame(frame), "late", dataclasses.replace(model, sections={**model.sections, MAP: only})
    )
    assert seen.of_map
    assert seen.n_states == 3


def test_what_is_left_is_the_state_of_before():
    states = Monitor(reference(map_of("shared"))).score(HEALTHY)["healthy 2"]
    path, left = states.state, -1
    for row in range(1, len(path)):
        if path[row] != path[row - 1]:
            left = path[row - 1]
        assert states.left[row] == left
    assert left >= 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(state=2, left=1, healthy=(2, 3)), "in state 2, where healthy runs stay"),
        (Place(state=0, left=2, healthy=(2, 3)), "left state 2, where healthy runs stay, for state 0"),
        (Place(state=0, left=1, healthy=(2, 3)), "in state 0, where healthy runs are not (in 2, 3)"),
        (Place(state=0, left=None, healthy=(1,)), "in state 0, where healthy runs are not (in 1)"),
    ],
)
def test_a_place_in_words(place, words):
    assert str(place) == words


def test_healthy_runs_stay_where_their_rows_are(carrying):
    """Written out: shares of the states of healthy runs, told row by row, in each phase of training."""
    model = carrying["mixed"]
    states, scored = states_of(model), Monitor(model).score(HEALTHY)
    begins = model.sections["portfolio"]["phases"]["begins"]
    steps = np.concatenate([scored[run].steps for run in HEALTHY.runs])
    path = np.concatenate([scored[run].state for run in HEALTHY.runs])
    phases = np.searchsorted(begins, steps, side="right")
    for phase, usual in enumerate(states.usual):
        np.testing.assert_allclose(usual, np.bincount(path[phases == phase], minlength=3) / (phases == phase).sum())
    place = states.place(int(usual.argmax()), -1, phase)
    assert place.healthy == tuple(np.flatnonzero(usual >= 0.05))
    assert states.place(-1, -1, phase) is None


def test_an_alarm_says_where_on_the_map(carrying, logs):
    monitor = Monitor(carrying["mixed"])
    monitor.score(logs)
    alarm = monitor.trackers["bad"].alarm
    assert f"; {alarm.place}, risk too early to tell" in str(alarm)
    assert alarm.state == alarm.place.state
    assert monitor.shows_map
    assert not Monitor(carrying["none"]).shows_map
    assert not Monitor().shows_map


def test_a_model_keeps_its_map_in_its_file_and_one_without_has_none(carrying, tmp_path):
    for name, model in carrying.items():
        model.save(tmp_path / "m.json")
        again = load_model(tmp_path / "m.json")
        assert (MAP in json.loads((tmp_path / "m.json").read_text())) == (name != "none")
        if name != "none":
            assert states_of(again).to_dict() == states_of(model).to_dict() == model.sections[MAP]
        assert fingerprint(again) == fingerprint(model)
    assert len({fingerprint(model) for model in carrying.values()}) == 5


def test_what_cannot_be_shown_beside_alarms_is_refused(maps, carrying):
    with pytest.raises(FitError, match=r"scales each run by the whole of it .* --scaling mixed, own-start or shared"):
        reference(map_of("per-run"))
    with pytest.raises(FitError, match="covariances are full; fit it with --covariance diag"):
        reference(map_of("shared", covariance="full"))
    with pytest.raises(FitError, match="a model for warning, no map"):
        reference(carrying["none"])
    with pytest.raises(
        FitError, match="the map needs weight_l2, which the reference leaves out; name all with --metrics"
    ):
        reference(maps["mixed"], metrics=("train_loss", "grad_norm"))
    frame = pd.concat([frame_of(training(np.random.default_rng(i), 40), f"r{i}") for i in range(4)])
    with pytest.raises(FitError, match="the map needs weight_l2, which these logs lack"):
        fit_warning(RunSet.from_frame(frame.drop(columns="weight_l2")), states=1, restarts=1, map=maps["mixed"])


def test_a_map_of_other_metrics_or_phases_than_the_model_is_damaged(carrying):
    model = carrying["mixed"]
    for change, says in (
        (
            {"metrics": ["train_loss", "grad_norm", "other"], "rows_of": ["train_loss"]},
            "'other', which the model does not",
        ),
        ({"usual": [[0.0, 0.0, 1.0]]}, "map.usual of 1 phases of training; expected"),
    ):
        wrong = dataclasses.replace(model, sections={**model.sections, MAP: {**model.sections[MAP], **change}})
        with pytest.raises(ModelFileError, match=says):
            Monitor(wrong)


def test_how_well_a_map_is_read_is_said(carrying):
    model = carrying["mixed"]
    (said,) = (note.text for note in model.notes if note.kind == "map")
    states = states_of(model)
    assert said == str(states)
    assert f"finished runs in {states.agreement:.0%} of healthy rows" in said
    assert "which is little" not in said
    assert "which is little" in str(dataclasses.replace(states, agreement=0.79))
    assert isinstance(states, MapStates)
