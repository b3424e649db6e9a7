"""``trajhmm fit --for warning`` and ``trajhmm warn``: what a user types, reads and gets."""

import contextlib
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.cli.warn.commands import AT_ONCE
from trajhmm.hmm import load_model
from trajhmm.logs import read_logs
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Monitor, Watch

METRICS = ("train_loss", "grad_norm")
HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def frame_of(run, seed, *, rows=80, jump=None):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    values = np.column_stack([2 * np.exp(-t / 30) + 0.5, 1 + np.exp(-t / 20)]) + rng.normal(0, 0.05, size=(rows, 2))
    if jump is not None:
        values[jump:, 1] += 3.0
    frame = pd.DataFrame(values, columns=list(METRICS))
    frame.insert(0, "run", run)
    frame.insert(1, "step", 10 * t)
    return frame


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with healthy runs, running ones, and a reference that `trajhmm fit` made."""
    folder = tmp_path_factory.mktemp("shop")
    pd.concat([frame_of(f"h{i}", i) for i in range(8)]).to_parquet(folder / "healthy.parquet")
    pd.concat([frame_of("fine", 20), frame_of("ill", 21, jump=40)]).to_parquet(folder / "running.parquet")
    frame_of("fine", 20).to_parquet(folder / "fine.parquet")
    line = ["fit", "healthy.parquet", "--for", "warning", "-o", "reference.json", "--states", "2", "--restarts", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "trajhmm", *line], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "at most 11.1% of healthy runs alarm, calibrated on 8" in done.stderr
    assert "so few healthy runs cannot promise 5.0%; 19 could" in done.stderr
    return folder


def test_one_alarm_and_one_quiet_run(shop, trajhmm):
    ended = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json")
    assert ended.code == 3
    alarm, rest = ended.out.splitlines()
    who = r"grad_norm [\d.]+ ↑ \(usual here [\d.]+–[\d.]+\)(, train_loss .*)?"
    score = r"score [\d.]+ \(threshold [\d.]+\), risk too early to tell; \d+% 20 rows on, step 6\d0"
    assert re.fullmatch(f"alarm: run ill at step 400: {who}; {score}", alarm)
    assert rest.startswith("no alarm: 1 of 2 runs; largest score ")
    assert rest.endswith(", run fine")


def test_json_has_an_object_a_run_and_scores_a_row_a_row(shop, trajhmm, tmp_path):
    ended = trajhmm(
        "warn",
        shop / "running.parquet",
        "--model",
        shop / "reference.json",
        "--json",
        "--scores",
        tmp_path / "scores.parquet",
    )
    fine, ill = map(json.loads, ended.out.splitlines())
    keys = ["run", "alarm", "step", "score", "threshold", "risk", "last_step", "state", "at_alarm", "drivers"]
    assert list(fine) == list(ill) == [*keys, "situation"]
    assert (fine["alarm"], fine["step"], fine["drivers"], fine["last_step"]) == (False, None, [], 790)
    assert (ill["alarm"], ill["step"], ill["drivers"][0]["metric"]) == (True, 400, "grad_norm")
    assert fine["score"] < fine["threshold"] == ill["threshold"] < ill["at_alarm"]["score"]
    assert (fine["at_alarm"], ill["at_alarm"]["step"]) == (None, 400)
    first = ill["drivers"][0]
    assert (first["view"], first["direction"]) == ("phase", "up")
    assert first["healthy_low"] < first["healthy_high"] < first["value"]
    assert fine["situation"] == ill["situation"] == "matched"
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores) == ["run", "step", "score", "threshold", "risk", "state"]
    expected = Monitor(load_model(shop / "reference.json")).score(read_logs(shop / "running.parquet"))
    of_ill = scores[scores["run"] == "ill"].set_index("step")
    np.testing.assert_array_equal(of_ill["score"], expected["ill"].score)
    assert (ill["score"], ill["at_alarm"]["score"]) == (of_ill["score"][790], of_ill["score"][400])
    assert ill["risk"] == of_ill["risk"][790]
    assert (ill["at_alarm"]["risk"], fine["risk"]) == (None, None)  # too early to tell, and nothing to tell
    assert np.isnan(of_ill["risk"][400])


@pytest.fixture(scope="module")
def on_map(shop):
    """The same shop, with a map, and a reference that carries it."""
    for line in (
        ["fit", "healthy.parquet", "-o", "map.json", "--states", "3", "--restarts", "2", "--halves", "0"],
        [
            *("fit", "healthy.parquet", "--for", "warning", "--map", "map.json", "-o", "on_map.json"),
            *("--states", "2", "--restarts", "2"),
        ],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "trajhmm", *line], cwd=shop, capture_output=True, text=True, check=True
        )
    said = r"the 3 states beside an alarm are those of the map: told row by row .* in \d+% of healthy rows"
    assert re.search(said, done.stderr)
    return shop


@pytest.mark.once
def test_with_a_map_states_are_the_maps_in_words_json_and_scores(on_map, trajhmm, tmp_path):
    line = ("warn", on_map / "running.parquet", "--model")
    (alarm, *_) = trajhmm(*line, on_map / "on_map.json").out.splitlines()
    (plain, *_) = trajhmm(*line, on_map / "reference.json").out.splitlines()
    place = r"; (left|in) state \d, where healthy runs (stay(, for state \d)?|are not \(in \d(, \d)*\))"
    assert re.sub(place, "", alarm, count=1) == plain != alarm
    ended = trajhmm(*line, on_map / "on_map.json", "--json", "--scores", tmp_path / "scores.parquet")
    before = trajhmm(*line, on_map / "reference.json", "--json", "--scores", tmp_path / "before.parquet")
    scores, plain = (pd.read_parquet(tmp_path / name) for name in ("scores.parquet", "before.parquet"))
    assert list(scores) == [*plain, "phase"]
    pd.testing.assert_frame_equal(
        scores.drop(columns=["state", "phase"]).assign(state=scores["phase"])[list(plain)], plain
    )
    for found, known in zip(
        map(json.loads, ended.out.splitlines()), map(json.loads, before.out.splitlines()), strict=True
    ):
        last = scores[scores["run"] == found["run"]].iloc[-1]
        assert (found["state"], found["phase"]) == (last["state"], last["phase"]) == (found["state"], known["state"])
        assert found["healthy_states"] == sorted(found["healthy_states"]) != []
        at, then = found.pop("at_alarm"), known.pop("at_alarm")
        told = {name: found.pop(name) for name in ("state", "phase", "left", "healthy_states")}
        assert found == {name: value for name, value in known.items() if name != "state"}
        if at is not None:
            assert (at["phase"], at["step"], at["score"]) == (then["state"], then["step"], then["score"])
            assert set(at) == {*then, "phase", "left", "healthy_states"}
            assert told["left"] in (None, 0, 1, 2)


@pytest.mark.once
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (("--for", "map", "--map", "map.json"), 2, "--map is for warning"),
        (("--for", "warning", "--map", "none.json"), 1, "none.json"),
        (("--for", "warning", "--map", "reference.json"), 1, "a model for warning, no map"),
        (("--for", "warning", "--map", "per_run.json"), 1, "scales each run by the whole of it"),
        (
            ("--for", "warning", "--map", "map.json", "--metrics", "grad_norm"),
            1,
            "the map needs train_loss, which the reference",
        ),
    ],
)
def test_a_map_that_cannot_be_shown_is_refused_in_a_line(on_map, trajhmm, monkeypatch, line, code, says):
    monkeypatch.chdir(on_map)
    if "per_run.json" in line:
        options = ("--scaling", "per-run", "--states", "2", "--halves", "0", "--restarts", "1")
        assert trajhmm("fit", "healthy.parquet", "-o", "per_run.json", *options).code == 0
    ended = trajhmm("fit", "healthy.parquet", "-o", "refused.json", *line)
    assert ended.code == code
    assert says in " ".join(ended.err.split())
    assert not (on_map / "refused.json").exists()


@pytest.mark.once
def test_a_map_cannot_warn_and_a_reference_makes_no_map(shop, trajhmm, tmp_path):
    assert trajhmm("fit", shop / "healthy.parquet", "-o", tmp_path / "map.json", "--states", 2).code == 0
    ended = trajhmm("warn", shop / "running.parquet", "--model", tmp_path / "map.json")
    assert ended.code == 1
    assert "sees whole runs and cannot warn" in ended.error[0]
    ended = trajhmm(
        "analyze",
        shop / "healthy.parquet",
        "--model",
        shop / "reference.json",
        "--converged",
        "train_loss < 1",
        "-o",
        tmp_path,
    )
    assert ended.code == 1
    assert "a map needs one of 'trajhmm fit' without --for" in " ".join(ended.error)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--state", "x.json"], "--state says nothing without --follow"),
        (["--follow", "--scores", "x.parquet"], "--scores does not go with --follow"),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_command(shop, trajhmm, options, says):
    ended = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json", *options)
    assert ended.code == 2
    assert says in ended.err


def test_logs_without_a_metric_of_the_model_are_refused_by_name(shop, trajhmm, tmp_path):
    frame_of("a", 3).drop(columns="grad_norm").to_parquet(tmp_path / "a.parquet")
    ended = trajhmm("warn", tmp_path / "a.parquet", "--model", shop / "reference.json")
    assert ended.code == 1
    assert "these logs lack grad_norm" in ended.error[0]


def test_a_metric_that_happens_not_to_change_is_still_there(shop, trajhmm, tmp_path):
    frame_of("a", 3).assign(grad_norm=1.0).to_parquet(tmp_path / "a.parquet")
    ended = trajhmm("warn", tmp_path / "a.parquet", "--model", shop / "reference.json", "--json")
    assert json.loads(ended.out)["last_step"] == 790


def test_evaluate_by_a_condition_and_by_a_file_of_truth(shop, trajhmm, tmp_path):
    """The ill run jumps at step 400 and its accuracy falls from step 500 on; the fine one does not."""
    frames = []
    for run, jump in (("fine", None), ("ill", 40)):
        frame = frame_of(run, 20 + bool(jump), jump=jump)
        frames.append(frame.assign(accuracy=np.where((run == "ill") & (frame["step"] >= 500), 0.1, 0.9)))
    pd.concat(frames).to_parquet(tmp_path / "logs.parquet")
    asked = ["evaluate", tmp_path / "logs.parquet", "--model", shop / "reference.json"]
    ended = trajhmm(*asked, "--collapse", "accuracy < 0.5", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert (found["report"]["collapsed"], found["report"]["healthy"]) == (1, 1)
    assert found["report"]["recall"]["value"] == 1.0
    assert found["report"]["lead_steps"]["value"] == 100
    ill = next(run for run in found["runs"] if run["run"] == "ill")
    assert (ill["outcome"], ill["alarm_step"]) == ("true", 400)
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\nfine,-1,-1\nill,450,500\n")
    ended = trajhmm(*asked, "--truth", tmp_path / "truth.csv")
    lines = ended.out.splitlines()
    assert lines[0] == "1 runs collapsed, 0 were perturbed and survived, 1 stayed healthy"
    assert lines[1].endswith("0 (0 to 0.975)")  # the alarm came before the perturbation
    assert "1 perturbed runs alarmed before their onset" in ended.out


def test_evaluate_needs_to_know_what_became_of_runs(shop, trajhmm, tmp_path):
    asked = ["evaluate", shop / "running.parquet", "--model", shop / "reference.json"]
    assert trajhmm(*asked).code == 2
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\nfine,-1,-1\n")
    ended = trajhmm(*asked, "--truth", tmp_path / "truth.csv")
    assert ended.code == 1
    assert "does not name run 'ill'" in ended.error[0]


def many_ill(folder, n):
    frames = [frame_of(f"ill {i:03d}", 100 + i, jump=40) for i in range(n)]
    pd.concat(frames).to_parquet(folder / "many.parquet")
    return folder / "many.parquet"


@contextlib.contextmanager
def watching(shop, logs, *options, **settings):
    """`trajhmm warn --follow` in a process of its own, which does not outlive a test that fails."""
    line = [sys.executable, "-m", "trajhmm", "warn", logs, "--model", shop / "reference.json", "--follow"]
    line += ["--interval", "0.05", *options]
    with subprocess.Popen([str(part) for part in line], text=True, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_no_alarm_is_said_in_words_with_how_near_it_came(shop, trajhmm, tmp_path):
    asked = ["warn", shop / "fine.parquet", "--model", shop / "reference.json"]
    trajhmm(*asked, "--scores", tmp_path / "scores.parquet")
    fine = pd.read_parquet(tmp_path / "scores.parquet")
    trajhmm(*asked, "--scores", tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), fine, check_dtype=False, rtol=1e-12)
    ended = trajhmm(*asked)
    score = f"largest score {fine['score'].max():.4g} (threshold {fine['threshold'][0]:.4g})"
    assert ended.code == 0
    assert ended.out == f"no alarm: run fine, 80 rows up to step 790, {score}\n"


def test_runs_that_log_more_rarely_than_the_reference_are_named(shop, trajhmm, tmp_path):
    frames = [frame_of(run, seed, rows=160)[::3] for run, seed in (("a", 30), ("b", 31))]
    pd.concat([*frames, frame_of("c", 32)]).to_parquet(tmp_path / "rare.parquet")
    ended = trajhmm("warn", tmp_path / "rare.parquet", "--model", shop / "reference.json")
    told = "run a and 1 other log more rarely than the reference, rows 3 times as far apart: no share of false alarms"
    assert told in ended.err
    assert "more rarely" not in trajhmm("warn", shop / "fine.parquet", "--model", shop / "reference.json").err


def test_every_run_alarmed_is_said_so(shop, trajhmm, tmp_path):
    ended = trajhmm("warn", many_ill(tmp_path, 2), "--model", shop / "reference.json")
    assert [line.split(" at ")[0] for line in ended.out.splitlines()] == [
        "alarm: run ill 000",
        "alarm: run ill 001",
        "every run raised an alarm",
    ]


def test_an_alarm_says_which_command_draws_it_and_that_does(shop, trajhmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ("warn", many_ill(tmp_path, 2), "--model", shop / "reference.json")
    (look,) = [line for line in trajhmm(*line).err.splitlines() if line.startswith("look: ")]
    assert "--run 'ill 000'" in look
    drawn = trajhmm(*shlex.split(look.removeprefix("look: trajhmm ")))
    assert drawn.code == 0
    assert drawn.err.endswith("timeline.png: written\n")
    # Of the rows that were judged: others would be judged otherwise.
    (look,) = [said for said in trajhmm(*line, "--where", "step > 20").err.splitlines() if said.startswith("look: ")]
    assert "--where 'step > 20'" in look
    assert trajhmm(*shlex.split(look.removeprefix("look: trajhmm "))).code == 0
    assert "look:" not in trajhmm(*line, "--json").err
    assert "look:" not in trajhmm("warn", shop / "fine.parquet", "--model", shop / "reference.json").err


def test_of_several_alarms_those_that_did_not_heal_are_named_and_the_worst_is_drawn(tmp_path, trajhmm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, well = np.random.default_rng(0), np.exp(-np.arange(600) / 60) + 0.5

    def log(name, loss):
        table = {"step": np.arange(600), "train_loss": loss + 0.01 * rng.normal(size=600)}
        pd.DataFrame(table).to_csv(f"{name}.csv", index=False)

    spike = np.where((np.arange(600) >= 200) & (np.arange(600) < 212), 2.0, 0.0)
    log("heals", well + spike)
    ended = trajhmm("warn", "heals.csv")
    assert ended.code == 3
    assert "that alarmed" not in ended.err
    log("heals_too", well + 0.5 * spike)
    assert "\nnone of the 2 that alarmed is above the threshold at its last row\n" in trajhmm("warn", ".").err
    log("ill", well + np.maximum(np.arange(600) - 300, 0) / 100)
    told = trajhmm("warn", ".").err
    assert "\n1 of the 3 that alarmed is above the threshold at the last row: ill\n" in told
    assert "look: trajhmm figure timeline . --run ill -o timeline.png" in told
    log("ill_too", well + np.maximum(np.arange(600) - 300, 0) / 100)
    told = trajhmm("warn", "ill.csv", "ill_too.csv").err
    assert "\nall 2 that alarmed are above the threshold at the last row: ill, ill_too\n" in told


def test_an_alarm_without_a_model_is_drawn_as_well(tmp_path, trajhmm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loss = np.r_[np.exp(-np.arange(200) / 60), 3.0 + 0.1 * np.arange(40)] + 0.01 * np.cos(np.arange(240))
    pd.DataFrame({"step": np.arange(240), "train_loss": loss}).to_csv("run.csv", index=False)
    ended = trajhmm("warn", "run.csv")
    assert ended.out.startswith("alarm: run run at step 20")
    (look,) = [line for line in ended.err.splitlines() if line.startswith("look: ")]
    assert look == "look: trajhmm figure timeline run.csv --run run -o timeline.png"
    assert trajhmm(*shlex.split(look.removeprefix("look: trajhmm "))).code == 0
    assert trajhmm("figure", "drivers", "run.csv", "--run", "run", "-o", "drivers.svg").code == 0
    assert "limits" in Path("drivers.svg").read_text()


@pytest.mark.once
def test_a_command_gets_the_object_that_json_prints(shop, trajhmm_process, tmp_path):
    asked = ["warn", shop / "running.parquet", "--model", shop / "reference.json", "--json"]
    ended = trajhmm_process(*asked, "--exec", "cat > told.json; echo heard; echo me >&2", cwd=tmp_path)
    assert ended.code == 3
    _, ill = ended.out.splitlines()
    assert (tmp_path / "told.json").read_text() == f"{ill}\n"
    assert "heard\nme\n" in ended.err


@pytest.mark.once
def test_without_an_alarm_no_command_runs(shop, trajhmm_process, tmp_path):
    asked = ["warn", shop / "fine.parquet", "--model", shop / "reference.json", "--exec", "touch ran"]
    assert trajhmm_process(*asked, cwd=tmp_path).code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("exit 5", "exit code 5"),
        ("no-such-command-anywhere", "exit code 127 (command not found)"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_command_that_fails_is_told_once_and_changes_nothing_else(shop, trajhmm, command, how):
    plain = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json")
    ended = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json", "--exec", command)
    assert (ended.code, ended.out) == (3, plain.out)
    assert [line for line in ended.err.splitlines() if line.startswith("warning")] == [
        f"warning: the command for run ill ended with {how}"
    ]


@pytest.mark.once
def test_a_command_that_hangs_and_never_reads_holds_up_neither_alarms_nor_the_end(shop, tmp_path):
    """Eight hang: as many as may run at once; the alarms go on, Ctrl-C ends the watch, and the commands live on."""
    logs = many_ill(tmp_path, AT_ONCE)
    done = tmp_path / "done"
    hang = f"echo $$ >> {tmp_path}/pids; until [ -e {done} ]; do sleep 0.05; done; echo over >> {tmp_path}/over"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with watching(shop, tmp_path, "--exec", hang, **settings) as process:
        for _ in range(AT_ONCE):
            assert process.stdout.readline().startswith("alarm: run ill")
        until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == AT_ONCE)
        frame_of("late", 7, jump=40).to_parquet(tmp_path / "late.parquet")
        assert process.stdout.readline().startswith("alarm: run late")
        frame_of("later", 8, jump=40).to_parquet(tmp_path / "later.parquet")
        assert process.stdout.readline().startswith("alarm: run later")
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does; asks to start those that wait
        while not (line := process.stderr.readline()).startswith("waiting for"):
            assert line, "the watch ended without waiting"
        os.killpg(process.pid, signal.SIGINT)  # not even that
        said = process.stderr.read()
        assert process.wait(timeout=60) == 3
    assert f"{AT_ONCE} commands still running, left to finish" in said
    assert "warning: 2 commands never started: for late, later" in said
    assert logs.exists()
    assert not (tmp_path / "over").exists()
    done.touch()
    until(lambda: (tmp_path / "over").exists() and (tmp_path / "over").read_text() == "over\n" * AT_ONCE)


@pytest.mark.once
def test_many_alarms_at_once_start_few_commands_at_once_and_all_in_the_end(shop, trajhmm_process, tmp_path):
    """Each command takes down how many of them it sees running."""
    logs = many_ill(tmp_path, 200)
    mark = "d=$(mktemp -d on.XXXXXX); ls -d on.* | wc -l >> seen; cat >> told; rmdir $d"
    ended = trajhmm_process("warn", logs, "--model", shop / "reference.json", "--json", "--exec", mark, cwd=tmp_path)
    assert ended.code == 3
    seen = [int(count) for count in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 200
    assert max(seen) <= AT_ONCE
    assert sorted((tmp_path / "told").read_text().splitlines()) == sorted(ended.out.splitlines())


@pytest.mark.once
def test_commands_that_ended_leave_no_zombies(shop, tmp_path):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with watching(shop, many_ill(tmp_path, 5), "--exec", f"echo x >> {tmp_path}/ran", **settings) as process:
        until(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").read_text() == "x\n" * 5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("the system does not list children of processes")
        until(lambda: children.read_text() == "")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 3


@pytest.mark.once
def test_following_what_is_not_there_or_lacks_a_metric_is_said(shop, tmp_path):
    logs = tmp_path / "logs"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with watching(shop, logs, **settings) as process:
        assert process.stderr.readline() == f"watching {logs}; Ctrl-C ends\n"
        assert process.stderr.readline() == f"no such file or folder yet: {logs}\n"
        logs.mkdir()
        frame_of("a", 3).drop(columns="grad_norm").to_parquet(tmp_path / "a.parquet")
        (tmp_path / "a.parquet").rename(logs / "a.parquet")
        assert process.stderr.readline() == "1 run so far\n"
        assert process.stderr.readline().startswith("warning: no run has logged grad_norm so far")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "stopped; 1 run seen, 0 alarmed\n"
        assert process.wait(timeout=60) == 0


@pytest.mark.once
def test_a_finished_file_is_scored_without_what_takes_long_to_load(shop):
    program = (
        f"import sys; sys.argv = ['trajhmm', 'warn', {str(shop / 'fine.parquet')!r}, '--model', "
        f"{str(shop / 'reference.json')!r}]\nfrom trajhmm.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('sklearn', 'scipy.stats', 'statsmodels', 'matplotlib', 'hmmlearn', 'networkx', "
        "'rich.live') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def terminal(shop):
    """Start a watch on a terminal of 80 by 12; yields (start, everything that it printed so far)."""
    pty, fcntl, termios = (
        pytest.importorskip(name, reason="no terminals here") for name in ("pty", "fcntl", "termios")
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 80, 0, 0))
    os.set_blocking(ours, False)
    printed = bytearray()

    def screen():
        with contextlib.suppress(BlockingIOError):
            while True:
                printed.extend(os.read(ours, 65536))
        return printed.decode()

    def start(logs, *options):
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "12"}
        return watching(shop, logs, *options, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)

    yield start, screen
    os.close(ours)
    os.close(theirs)


@pytest.mark.once
def test_a_terminal_shows_runs_in_a_live_table_and_is_left_as_it_was(terminal, tmp_path):
    start, screen = terminal
    frames = [frame_of(f"fine [{i}]", 20) for i in range(20)]
    pd.concat(frames).to_parquet(tmp_path / "fine.parquet")
    with start(tmp_path) as process:
        until(lambda: "20 runs, 0 alarms" in screen())
        frame_of("a", 21, jump=40).to_parquet(tmp_path / "a.parquet")
        until(lambda: "21 runs, 1 alarm;" in screen())
        process.send_signal(signal.SIGINT)
        until(lambda: "stopped; 21 runs seen, 1 alarmed" in screen())
        assert process.wait(timeout=60) == 3
    shown = screen()
    assert "\x1b[?25l" in shown, "else the cursor was never hidden, and its return would not show"
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    last = shown[shown.rindex("21 runs, 1 alarm;") :]
    rows = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in last.splitlines()]
    assert rows[1].split() == ["run", "step", *rows[1].split()[2:]]
    assert rows[2].startswith("a ")
    assert "at 400: grad_norm" in rows[2]
    assert rows[3].startswith("fine [")
    assert rows[10].startswith("and 13 more")  # 12 lines less the header, the titles, this one and the cursor's
    assert "alarm: run a at step 400: grad_norm" in shown


@pytest.mark.once
def test_a_terminal_that_asks_for_json_gets_plain_lines(terminal, tmp_path):
    start, screen = terminal
    frame_of("ill", 21, jump=40).to_parquet(tmp_path / "ill.parquet")
    with start(tmp_path, "--json") as process:
        until(lambda: '"run": "ill"' in screen())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 3
    # colorama, where some other package brought it, resets the terminal when the process ends.
    assert "\x1b" not in screen().removesuffix("\x1b[0m")


@pytest.mark.once
def test_of_many_files_that_cannot_be_read_a_few_are_named(shop, tmp_path):
    for i in range(9):
        frame_of(f"run {i}", i).drop(columns="step").to_csv(tmp_path / f"{i}.csv", index=False)
    with watching(shop, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = [process.stderr.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert sum("tried again as long as it stays so" in line for line in said) == 3
    assert said[-1] == "warning: so are 6 other files; is an option mistyped?\n"
    assert "warning" not in rest


@pytest.mark.parametrize("written", ["NaN", "blank"])
@pytest.mark.parametrize("way", ["with a model", "alone", "followed"])
def test_a_loss_that_is_not_known_yet_is_no_alarm(way, written, shop, trajhmm, tmp_path):
    """A loss of evaluations, or of a learner that fills its buffer first, has no value at first: NaN in some logs."""
    frame = frame_of("late", 22).drop(columns="run").astype(object)
    frame.loc[:19, "train_loss"] = "NaN" if written == "NaN" else ""
    frame.to_csv(tmp_path / "late.csv", index=False)
    model = [] if way == "alone" else ["--model", str(shop / "reference.json")]
    if way == "followed":
        watch = Watch(load_model(shop / "reference.json"), [tmp_path / "late.csv"], HOW)
        assert not list(watch.poll())
        assert watch.monitor.trackers["late"].unknown_losses == {}
        return
    ended = trajhmm("warn", tmp_path / "late.csv", *model)
    assert ended.code == 0, ended.out
    assert "no alarm: run late, 80 rows" in ended.out
    if written == "NaN" and model:
        frame.loc[:, "train_loss"] = "NaN"
        frame.to_csv(tmp_path / "late.csv", index=False)
        never = trajhmm("warn", tmp_path / "late.csv", *model)
        assert never.code == 0, never.out
        assert "run late: train_loss not finite in any of the first 80 rows: taken for not known yet" in never.err


def test_more_alarms_than_a_few_are_told(shop, trajhmm, tmp_path):
    pd.concat([frame_of(f"r{seed}", seed, jump=50) for seed in range(30, 36)]).to_csv(tmp_path / "all.csv", index=False)
    ended = trajhmm("warn", tmp_path / "all.csv", "--model", shop / "reference.json")
    assert "6 of 6 runs alarmed, and of runs like the reference's 11.1% would: unless they are known" in ended.err
    pd.concat([frame_of("r0", 30, jump=50), *[frame_of(f"r{seed}", seed) for seed in range(31, 34)]]).to_csv(
        tmp_path / "all.csv", index=False
    )
    one = trajhmm("warn", tmp_path / "all.csv", "--model", shop / "reference.json")
    assert "alarm: run r0" in one.out
    assert "runs like the reference's" not in one.err


@pytest.mark.parametrize("late", [7, 9, 12, 20, 40])
def test_a_metric_that_begins_late_does_not_stand_still_before_it_has_a_past(late, shop):
    """It counted as one that never moves, which in a loss that falls is unlikely: each healthy run alarmed."""
    frames = [frame_of(f"r{seed}", seed) for seed in range(50, 62)]
    for frame in frames:
        frame.loc[: late - 1, "train_loss"] = np.nan
    monitor = Monitor(load_model(shop / "reference.json"))
    monitor.score(read_logs(pd.concat(frames, ignore_index=True)))
    assert sum(tracker.alarm is not None for tracker in monitor.trackers.values()) <= 2
