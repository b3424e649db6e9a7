"""Faults found by somebody who set out to find some: inputs that were lost, watches that went blind or stood still."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from trajhmm import TrajHMMError, fit_warning, read_logs
from trajhmm.cache.store import Store
from trajhmm.cli.options.common import _opened_with
from trajhmm.cli.warn.remarks import Remarks
from trajhmm.figures import plot_warning_timeline, save_figure
from trajhmm.integrations.loops import RunMonitor
from trajhmm.logs.settings import Settings
from trajhmm.metrics import RunLogger
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.statefile import _claim
from trajhmm.warning.timeline import timeline_of

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def rows(first, stop, bad=10**9):
    return "".join(f"{10 * t},{'nan' if t >= bad else 2 - t / 100}\n" for t in range(first, stop))


def test_a_cache_lets_go_of_nothing_that_it_did_not_write(tmp_path):
    mine = [tmp_path / "weights.npz", tmp_path / "old.tmp"]
    for path in mine:
        path.write_bytes(bytes(1000))
        os.utime(path, (1, 1))
    own = tmp_path / f"{'ab' * 32}.npz"
    own.write_bytes(bytes(1000))
    store = Store(tmp_path, most_bytes=10)
    store._trim()
    assert all(path.exists() for path in mine)
    assert not own.exists()


def test_a_named_log_that_becomes_a_pipe_blinds_no_other(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("step,loss\n" + rows(0, 30))
    watch = Watch(None, [tmp_path / "a.csv", tmp_path / "b.csv"], HOW, metrics=["loss"])
    assert not list(watch.poll())
    (tmp_path / "a.csv").unlink()
    os.mkfifo(tmp_path / "a.csv")
    with (tmp_path / "b.csv").open("a") as file:
        file.write(rows(30, 40, bad=35))
    assert [alarm.run for _, alarm in watch.poll()] == ["b"]
    assert any("no file but a folder, pipe, device or socket" in why for why in watch.follower.torn.values())


@pytest.mark.parametrize("word", ["<NA>", "#N/A"])
def test_what_pandas_and_spreadsheets_write_for_nothing_is_a_blank(word, tmp_path):
    text = "step,loss,norm\n" + "".join(f"{t},{word if t % 3 else 1.5 + t},{t / 7}\n" for t in range(9))
    (tmp_path / "a.csv").write_text(text)
    assert np.isfinite(read_logs(tmp_path).column("loss")).tolist() == [t % 3 == 0 for t in range(9)]


def test_a_logger_lets_no_value_end_a_training(tmp_path):
    reference = fit_warning(
        read_logs(
            pd.concat(
                pd.DataFrame({"run": f"r{r}", "step": range(60), "loss": 2 + np.random.default_rng(r).random(60)})
                for r in range(4)
            )
        ),
        states=1,
        restarts=1,
    )
    logger = RunLogger(tmp_path, "q")
    monitor = RunMonitor(reference, logger)
    with pytest.warns(match=r"2\^53 and more are left out"):
        logger.log(2**63, loss=1.0)
    logger.log(0, loss=np.ma.masked)
    logger.log(1, loss=np.ma.array([7.0], mask=[True]))
    logger.log(2, loss=2.5)
    logger.log(3, loss=2.25)
    logger.close()
    loss = read_logs(tmp_path).column("loss")
    assert loss[np.isfinite(loss)].tolist() == [2.5, 2.25]
    assert monitor.alarm is None
    odd = tmp_path / "f"
    odd.mkdir()
    os.mkfifo(odd / "part-000000.parquet")
    with pytest.warns(match="not a whole part of a log"):
        RunLogger(tmp_path, "f").close()


def test_a_state_file_with_a_view_is_refused_at_once(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n" + rows(0, 30))
    state = tmp_path / "state.db"
    list(Watch(None, [tmp_path / "a.csv"], HOW, metrics=["loss"], state=state).poll())
    with sqlite3.connect(state) as database:
        database.execute("DROP TABLE runs")
        database.execute(
            "CREATE VIEW runs AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT x AS run, '{}' AS known FROM c WHERE x < 0"
        )
    database.close()
    with pytest.raises(TrajHMMError, match="no state file of trajhmm"):
        Watch(None, [tmp_path / "a.csv"], HOW, metrics=["loss"], state=state)


def test_a_state_file_is_held_by_whatever_link_it_is_named(tmp_path):
    state = tmp_path / "state.db"
    _claim(state)
    (tmp_path / "link.db").symlink_to(state)
    call = f"_claim(Path({str(tmp_path / 'link.db')!r}))"
    code = f"from pathlib import Path; from trajhmm.warning.statefile import _claim; {call}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another watch keeps its state in it" in ended.stderr


@pytest.mark.once
@pytest.mark.parametrize(("text", "code"), [("not json\n" * 30, 1), ("", 0)])
def test_a_watch_that_could_read_nothing_says_so_in_its_exit_code(text, code, tmp_path):
    (tmp_path / "a.jsonl").write_text(text)
    line = [sys.executable, "-m", "trajhmm", "warn", str(tmp_path), "--follow", "--interval", "0.1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as watch:
        for told in watch.stderr:
            if "waiting for rows" in told:
                break
        time.sleep(0.5)
        watch.send_signal(signal.SIGINT)
        assert "stopped; no rows seen" in watch.stderr.read()
        assert watch.wait(20) == code


def test_a_metric_that_overflows_is_drawn(tmp_path):
    def frame(run, grows=False):
        rng, t = np.random.default_rng(len(run)), np.arange(60)
        loss = np.where(
            (t > 30) & grows, np.minimum(10.0 ** np.clip(12 * (t - 30), 0, 300), 1.7e308), 1 + rng.random(60)
        )
        return pd.DataFrame({"run": run, "step": t, "loss": loss, "norm": rng.random(60)})

    model = fit_warning(read_logs(pd.concat(frame("h" * n) for n in range(1, 6))), states=1, restarts=1)
    runs = read_logs(frame("div", grows=True))
    save_figure(plot_warning_timeline(timeline_of(runs, "div", model)), tmp_path / "o.png")
    assert (tmp_path / "o.png").stat().st_size > 5000


def test_what_is_read_with_a_log_is_not_written_over(tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    for name in ("loss", "norm"):
        (folder / name).touch()
    assert {folder / "loss", folder / "norm"} <= set(_opened_with(folder / "norm"))
    assert tmp_path / "k.db-wal" in set(_opened_with(tmp_path / "k.db"))


def test_no_more_metrics_are_watched_than_memory_bears():
    monitor = Monitor()
    for step in range(3):
        monitor.update("a", step, {f"m{step}_{n}": 1.0 + step for n in range(400)})
    assert len(monitor.metrics) == 512


def test_a_run_whose_last_lines_were_all_passed_over_was_not_read_to_its_end(tmp_path):
    log = tmp_path / "a.csv"
    log.write_text("step,loss\n" + rows(0, 30))
    watch = Watch(None, [log], HOW, metrics=["loss"])
    list(watch.poll())
    remarks = Remarks(watch, [log], 100)
    with log.open("a") as file:
        file.write("".join(f"{10 * t},-1.#IND\n" for t in range(30, 35)))
    list(watch.poll())
    assert remarks.lost() == [f"the last lines were all passed over: {log}"]
    with log.open("a") as file:
        file.write(rows(35, 40))
    list(watch.poll())
    assert remarks.lost() == []
