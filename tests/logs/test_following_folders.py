"""Following runs of which each metric is in a file of its own: MLflow's folders, DVCLive's."""

import numpy as np
import pytest

from trajhmm.logs import read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


class Mlflow:
    def __init__(self, folder):
        self.folder = folder / "mlruns" / "0" / ("0" * 32)
        (self.folder / "metrics").mkdir(parents=True)
        (self.folder / "meta.yaml").write_text("lifecycle_stage: active\nrun_name: a\n")
        self.times = 0

    def log(self, metric, steps):
        with (self.folder / "metrics" / metric).open("a") as file:
            for step in steps:
                self.times += 1
                file.write(f"{self.times} {step / 7} {step}\n")


class DVCLive:
    def __init__(self, folder):
        self.folder = folder / "dvclive" / "plots" / "metrics"
        self.folder.mkdir(parents=True)

    def log(self, metric, steps):
        path = self.folder / f"{metric}.tsv"
        known = path.exists()
        with path.open("a") as file:
            file.write("" if known else f"step\t{metric}\n")
            file.writelines(f"{step}\t{step / 7}\n" for step in steps)


@pytest.fixture(params=[Mlflow, DVCLive], ids=["MLflow", "DVCLive"])
def run(request, tmp_path):
    return request.param(tmp_path)


def steps_of(follower):
    return [step for rows in follower.poll() for step in rows.steps.tolist()]


def test_a_metric_that_is_logged_goes_on_though_the_last_file_does_not_change(run, tmp_path):
    run.log("loss", range(5))
    run.log("zeta", [0])
    follower = Follower([tmp_path], ["loss", "zeta"], HOW)
    assert steps_of(follower) == [0, 1, 2, 3, 4]
    assert steps_of(follower) == []
    for begin in range(5, 40, 7):
        run.log("loss", range(begin, begin + 7))
        assert steps_of(follower) == list(range(begin, begin + 7))
        assert steps_of(follower) == []
    assert not follower.torn
    assert read_logs(tmp_path).n_rows == 40


def test_points_that_come_late_neither_repeat_a_row_nor_hide_one(run, tmp_path):
    run.log("loss", range(0, 50, 10))
    run.log("zeta", [0])
    follower = Follower([tmp_path], ["loss", "zeta"], HOW)
    assert steps_of(follower) == [0, 10, 20, 30, 40]
    run.log("loss", range(50, 90, 10))
    run.log("zeta", [25, 35])  # between rows that were given
    assert steps_of(follower) == [50, 60, 70, 80]
    run.log("zeta", [45])
    assert steps_of(follower) == []
    run.log("loss", [90])
    run.log("zeta", [95])
    found = [(rows.steps.tolist(), rows.logged.tolist()) for rows in follower.poll()]
    assert found == [([90, 95], [[True, False], [False, True]])]


def test_a_metric_in_a_file_that_is_new_counts_from_its_first_row(run, tmp_path):
    run.log("zeta", range(3))
    follower = Follower([tmp_path], ["alpha", "zeta"], HOW)
    assert steps_of(follower) == [0, 1, 2]
    run.log("alpha", [3, 4])
    steps = [*steps_of(follower), *steps_of(follower)]
    assert steps == [3, 4]


def test_what_was_seen_is_known_after_a_restart(run, tmp_path):
    run.log("loss", range(5))
    run.log("zeta", [0])
    first = Follower([tmp_path], ["loss", "zeta"], HOW)
    assert len(steps_of(first)) == 5
    list(first.poll())  # which takes note of all files together
    again = Follower([tmp_path], ["loss", "zeta"], HOW)
    again.resume({real: seen for real, seen, _ in first.unsaved()})
    assert steps_of(again) == []
    run.log("loss", [5, 6])
    assert steps_of(again) == [5, 6]
    assert np.isfinite(read_logs(tmp_path).column("loss")).all()


def test_a_run_that_begins_anew_in_its_folder_is_new(run, tmp_path):
    run.log("loss", range(3, 30))
    run.log("zeta", [3])
    follower = Follower([tmp_path], ["loss", "zeta"], HOW)
    assert steps_of(follower) == list(range(3, 30))
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.stem in {"loss", "zeta"}:
            path.unlink()
    run.log("loss", range(8))
    run.log("zeta", [0])
    assert steps_of(follower) == list(range(8))
    run.log("loss", range(8, 10))
    assert steps_of(follower) == [8, 9]
