"""Three phases are said to be there where they were made, and not where runs go back or no phase can be told."""

import json

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.instability.threephases import three_phases
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

ROWS, METRICS = 90, 4


def path(kind, rng):
    """(T,) where a run stands on the road from 0 to 2."""
    first, second = 20 + rng.integers(20), 55 + rng.integers(20)
    at = np.arange(ROWS)
    if kind == "smooth":
        return 2 * (1 - np.exp(-at / 30))
    stairs = (at >= first).astype(float)
    if kind == "two":
        return 2 * stairs
    stairs += at >= second
    if kind == "back and forth":
        stairs[(at > 40) & (at % 12 < 5)] = 0
    if kind == "four":
        stairs += at >= 80
    return stairs


def logs(kind, n_runs=12, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    ways = np.array([[0, 0, 0, 0], [3, 1, -2, 0], [3, 4, 0, 2], [0, 4, 3, 5]], dtype=float)
    frames = []
    for run in range(n_runs):
        road = path(kind, rng)
        low = np.minimum(road.astype(int), 2)
        values = ways[low] + (road - low)[:, np.newaxis] * (ways[low + 1] - ways[low])
        values = values + noise * rng.standard_normal((ROWS, METRICS))
        frames.append(pd.DataFrame(values, columns=list("abcd")).assign(run=f"r{run}", step=10 * np.arange(ROWS)))
    return RunSet.from_frame(pd.concat(frames, ignore_index=True))


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("three", "three"), ("two", "fewer"), ("four", "more"), ("smooth", "more"), ("back and forth", "out of order")],
)
@pytest.mark.sampled(1)
def test_the_verdict_is_what_the_logs_were_made_with(kind, verdict):
    found = three_phases(logs(kind))
    assert found.verdict == verdict
    if kind == "three":
        # Entered between rows 20 and 39, and 55 and 74.
        assert found.starts == (pytest.approx(300, abs=60), pytest.approx(650, abs=60))
        assert found.third.value > 1.0 > 10 * abs(found.fourth.value)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["verdict"] == verdict
    tried = [(one["topology"], one["n_states"]) for one in told["evidence"]]
    assert tried == [("left-right", 2), ("left-right", 3), ("left-right", 4), ("free", 3)]
    assert told["gains"]["third"]["ci_low"] <= told["gains"]["third"]["nats_a_row"]


def test_evidence_is_of_runs_held_out_and_differences_are_those_of_its_rates():
    found = three_phases(logs("three", n_runs=8, seed=2))
    nats = {(one.topology, one.n_states): one.nats.value for one in found.evidence}
    assert found.third.value == pytest.approx(nats["left-right", 3] - nats["left-right", 2])
    assert found.freedom.value == pytest.approx(nats["free", 3] - nats["left-right", 3])
    assert (found.n_runs, found.n_rows, found.metrics) == (8, 8 * ROWS, ("a", "b", "c", "d"))


def test_long_runs_are_thinned_and_few_runs_refused():
    runs = logs("three", n_runs=4)
    rows = runs.frame()
    long = pd.concat([rows.assign(step=rows["step"] + 900 * part) for part in range(4)], ignore_index=True)
    thinned = three_phases(RunSet.from_frame(long.sort_values(["run", "step"])))
    assert (thinned.n_rows, thinned.n_runs) == (4 * 120, 4)
    assert {start % 30 for start in thinned.starts} == {0}  # every third row counts
    with pytest.raises(AnalysisError, match="3 runs of at most 90 rows: expected at least 4 runs"):
        three_phases(runs.select_runs(runs.runs[:3]))
