"""Hours of watching in short: jobs by the hundred, faults by the thousand; every alarm is told once, as in a batch.

The default suite watches 60 jobs; ``pytest -m slow tests/soak`` a thousand.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import RunSet, read_logs
from trajhmm.logs.settings import Settings
from trajhmm.warning import statefile
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning

from .world import METRICS, Full, Job, Locked, back, healthy, hurt, litter

pytest.importorskip("resource")
HOW = Settings.of(run_by=(), rename=None, where=None, step=None)
# What is known of a run, however its rows were dealt out.
KNOWN = ("last_step", "values", "memory", "largest", "alarm_step")


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame(healthy(rng, 150), columns=list(METRICS)).assign(run=f"h{i}") for i in range(20)]
    logs = pd.concat([frame.assign(step=10 * np.arange(150)) for frame in frames])
    return fit_warning(RunSet.from_frame(logs), states=2, restarts=1, iterations=20)


def handles():
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208 (as fast as it can be)


def memory():
    """MB that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Hour:
    """A folder of jobs under a watch, in which something goes wrong all the time.

    Attributes
    ----------
    watch, told, happened : the watch, how often it told each alarm, and how often which fault happened.
    used : handles and memory after each poll.
    """

    def __init__(self, model, tmp_path, *, jobs, rows, seed, a_poll, faults):
        self.model, self.logs, self.state = model, tmp_path / "logs", tmp_path / "state.db"
        self.logs.mkdir()
        self.rng, self.a_poll, self.faults = np.random.default_rng(seed), a_poll, faults
        suffixes = self.rng.choice(["csv", "jsonl", "parquet"], jobs, p=[0.5, 0.45, 0.05])
        self.jobs = [
            Job(self.logs / f"job-{i}.{how}", np.random.default_rng([seed, i]), rows) for i, how in enumerate(suffixes)
        ]
        self.litters, self.happened, self.told = litter(self.logs), Counter(), Counter()
        self.watch, self.trouble, self.used = self.begun(), None, []

    def begun(self):
        return Watch(self.model, [self.logs], HOW, state=self.state)

    def poll(self):
        self.told.update((tracker.run, alarm.step) for tracker, alarm in self.watch.poll())
        for job in self.jobs:
            job.unread = job.away is not None

    def run(self):
        """Until all jobs are over."""
        while not all(job.over and not job.waits and job.away is None for job in self.jobs):
            self.jobs_go_on()
            self.something_happens()
            self.poll()
            gc.collect()
            self.used.append((handles(), memory()))
        if self.trouble is not None:
            self.trouble.end()
        for job in self.jobs:
            if job.how == "parquet":
                job.write_whole()
        self.poll()
        self.poll()

    def jobs_go_on(self):
        for job in self.jobs:
            back(job)
            if self.rng.random() < self.faults:
                self.happened[hurt(job)] += 1
            if self.rng.random() < self.a_poll:
                job.write(int(self.rng.integers(1, 12)))

    def something_happens(self):
        """To the folder, the disk, or the watch."""
        if self.litters and self.rng.random() < 0.2:
            name = next(iter(self.litters))
            self.litters.pop(name)()
            self.happened[name] += 1
        if self.trouble is not None:
            self.trouble.end()
            self.trouble = None
        elif self.rng.random() < 0.15:
            kind = ("lock", "full disk", "restart", "kill")[int(self.rng.integers(4))]
            self.happened[kind] += 1
            if kind == "lock":
                self.trouble = Locked(self.state)
            elif kind == "full disk":
                self.trouble = Full(self.state.stat().st_size)
            else:
                if kind == "kill":  # amid a poll: what was told then and not kept is told again
                    next(self.watch.poll(), None)
                self.watch = self.begun()


def batch(model, tmp_path, running):
    """What a batch over the rows that count says."""
    clean = tmp_path / "clean"
    clean.mkdir()
    for job in running:
        job.frame().to_parquet(clean / f"{job.path.stem}.parquet")
    whole = Monitor(model)
    whole.score(read_logs(clean))
    return whole


def hold(hour, whole):
    """Every alarm of a batch is told, once, and no other; and all that is known of each run is as in a batch."""
    expected = {(run, tracker.alarm_step) for run, tracker in whole.trackers.items() if tracker.alarm_step is not None}
    assert set(hour.told) == expected
    assert set(hour.told.values()) == {1}
    for run, tracker in whole.trackers.items():
        live, own = hour.watch.monitor.trackers[run].to_dict(), tracker.to_dict()
        assert {name: live[name] for name in KNOWN} == {name: own[name] for name in KNOWN}, run
    assert hour.watch.unsaved is None


@pytest.mark.once
def test_a_short_watch_with_faults_of_every_kind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(statefile, "_PATIENCE", 0.01)
    hour = Hour(model, tmp_path, jobs=60, rows=120, seed=1, a_poll=0.5, faults=0.12)
    hour.run()
    hold(hour, batch(model, tmp_path, hour.jobs))
    assert len(hour.happened) >= 30
    assert set(hour.told.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_an_hour_of_a_thousand_jobs_in_short(model, tmp_path, monkeypatch, seed):
    """Memory and handles are flat: no more in the last quarter than in the second, but for what more runs need."""
    monkeypatch.setattr(statefile, "_PATIENCE", 0.01)
    hour = Hour(model, tmp_path, jobs=1000, rows=400, seed=seed, a_poll=0.3, faults=0.02)
    hour.run()
    hold(hour, batch(model, tmp_path, hour.jobs))
    polls, used = len(hour.used), np.array(hour.used)
    early, late = used[polls // 4 : polls // 2], used[-polls // 4 :]
    sys.stdout.write(
        f"{polls} polls, {sum(hour.happened.values())} faults: {dict(hour.happened)}; {len(hour.told)} alarms; handles "
        f"{early[:, 0].max()}, {late[:, 0].max()}; MB {early[:, 1].max():.0f}, {late[:, 1].max():.0f}\n"
    )
    assert late[:, 0].max() <= early[:, 0].max()
    assert late[:, 1].max() <= early[:, 1].max() + 30.0
