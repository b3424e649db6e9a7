"""Reading event files of a million points, beside TensorBoard's own `EventAccumulator`.

``pytest tests/benchmarks/test_tensorboard.py -s --override-ini addopts=``: seconds in one process and how many times as
fast; the accumulator keeps a sample of 10,000 numbers a tag, and of 10 tensors. "In pieces" is what following a file
costs, all of it new. The first reading in a process also loads what was compiled.
"""

import statistics
import struct
import time
from functools import cache

import numpy as np
import pytest

from trajhmm import read_logs
from trajhmm.logs.formats.lines import GrowingFile, Place
from trajhmm.logs.formats.tensorboard import EVENTS, read_event_file

pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install 'trajhmm[tensorboard]'")
pytestmark = pytest.mark.filterwarnings("default")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

POINTS, TAGS = 1_000_000, 20
REPEATS = 5


def simple(tag, value):
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])


def by_step():
    return ((t, d) for t in range(POINTS // TAGS) for d in range(TAGS))


def by_tag():
    return ((t, d) for d in range(TAGS) for t in range(POINTS // TAGS))


CASES = {
    "numbers, step by step": (simple, by_step),
    "tensors, step by step": (scalar_pb, by_step),
    "numbers, tag by tag": (simple, by_tag),
}


def masked(data):
    """TensorBoard's own checksum would take longer than all that is measured, and its reader checks these."""
    from trajhmm.logs.formats.eventfiles import checksum

    return struct.pack("<I", int(checksum(np.frombuffer(data, dtype=np.uint8), 0, len(data))))


@cache
def before(size):
    """What stands before that many bytes of data."""
    length = struct.pack("<Q", size)
    return length + masked(length)


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """Name of a case, its file, and the (steps, tags) values in it."""
    make, order = CASES[request.param]
    values = np.random.default_rng(0).normal(size=(POINTS // TAGS, TAGS)).astype(np.float32)
    path = tmp_path / "run" / "events.out.tfevents.1700000000.host.1.0"
    path.parent.mkdir()
    with path.open("wb") as file:
        for t, d in order():
            summary = make(f"train/metric_{d}", float(values[t, d]))
            event = event_pb2.Event(wall_time=1.7e9 + t, step=t, summary=summary)
            data = event.SerializeToString()
            file.write(before(len(data)) + data + masked(data))
    return request.param, path, values


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def in_pieces(path):
    with path.open("rb") as stream:
        growing = GrowingFile(stream, header=False, cut=EVENTS.growth.cut)
        return sum(EVENTS.growth.read(lines, path, "run").n for lines, _ in growing.lines_behind(Place()))


def test_a_million_points(case):
    name, path, values = case
    print(f"\n{name}: {path.stat().st_size / 1e6:.0f} MB")
    first, _ = seconds(lambda: read_event_file(path, "run"))
    taken = {"a table": [], "in pieces": [], "read_logs": []}
    for _ in range(REPEATS):
        one, table = seconds(lambda: read_event_file(path, "run"))
        two, n_rows = seconds(lambda: in_pieces(path))
        three, runs = seconds(lambda: read_logs(path))
        for called, time_taken in zip(taken, (one, two, three), strict=True):
            taken[called].append(time_taken)
    np.testing.assert_array_equal(np.stack([table.numbers[f"train/metric_{d}"] for d in range(TAGS)], axis=1), values)
    np.testing.assert_array_equal(runs.values, values)
    assert n_rows == POINTS
    # Where steps go back it would purge the points behind, in time that grows with their square.
    other, theirs = seconds(lambda: EventAccumulator(str(path), purge_orphaned_data=False).Reload())
    called = "train/metric_0"
    kept = theirs.Scalars(called) if called in theirs.Tags()["scalars"] else theirs.Tensors(called)
    print(f"    EventAccumulator: {other:.1f} s, keeping {len(kept):,} a tag")
    medians = {called: statistics.median(times) for called, times in taken.items()}
    for called, median in {"a table, the first time": first, **medians}.items():
        print(f"    {called}: {median:.2f} s, {other / median:.0f} times as fast")
    assert other / medians["a table"] > 10
