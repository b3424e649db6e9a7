"""Following again after a restart: files that come then belong to runs that were seen before."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def write(folder, name, steps, seed, run="r"):
    frame = pd.DataFrame({"run": run, "step": steps, "loss": np.random.default_rng(seed).random(len(steps))})
    frame.to_csv(folder / name, index=False)


def followed(folder, parts, *, restart_behind):
    """Steps by poll, and why files were not read; a new follower goes on from what was seen behind some polls."""
    follower, told = Follower([folder], ["loss"], HOW), []
    for number, part in enumerate(parts):
        write(folder, *part)
        told.append([step for rows in follower.poll() for step in rows.steps.tolist()])
        if number in restart_behind:
            seen = {found.real: found.seen for found in follower._listing.there.values()}
            follower = Follower([folder], ["loss"], HOW)
            follower.resume(seen)
    return told, [reason.split(",")[0] for reason in follower.torn.values()]


PARTS = [("x0.csv", range(10), 0), ("x1.csv", range(10, 20), 1), ("x2.csv", range(10, 25), 2)]


@pytest.mark.parametrize("restarts", [(), (0,), (1,), (0, 1)])
def test_a_run_that_resumes_into_a_new_file_goes_on(restarts, tmp_path):
    told, torn = followed(tmp_path, PARTS, restart_behind=restarts)
    assert told == [list(steps) for _, steps, _ in PARTS]
    assert torn == []


@pytest.mark.parametrize("restarts", [(), (0,)])
def test_another_run_of_the_name_is_refused_all_the_same(restarts, tmp_path):
    told, torn = followed(tmp_path, [PARTS[0], ("y.csv", range(12), 5)], restart_behind=restarts)
    assert told == [list(range(10)), []]
    assert torn == [f"run 'r' is in {tmp_path / 'x0.csv'} and in {tmp_path / 'y.csv'}"]


@pytest.mark.parametrize("restarts", [(), (0,)])
def test_a_copy_with_more_rows_tells_these_alone(restarts, tmp_path):
    told, torn = followed(tmp_path, [("x0.csv", range(10), 0), ("z.csv", range(14), 0)], restart_behind=restarts)
    assert told == [list(range(10)), [10, 11, 12, 13]]
    assert torn == []


def test_where_a_run_began_is_read_again_without_watching_more(tmp_path):
    frame = pd.DataFrame({"run": "r", "step": range(10), "loss": np.arange(10.0), "norm": np.arange(10.0) ** 2})
    frame.to_csv(tmp_path / "x0.csv", index=False)
    first = Follower([tmp_path], ["loss"], HOW)
    assert len(list(first.poll())) == 1
    asked = []
    again = Follower([tmp_path], ["loss"], HOW, more=lambda names: asked.extend(names) or ["loss", *names])
    again.resume({found.real: found.seen for found in first._listing.there.values()})
    write(tmp_path, "x1.csv", range(10, 20), 1)
    (rows,) = again.poll()
    assert rows.values.shape == (10, 1)
    assert asked == []
