"""What `write_logs` writes, `read_logs` reads back: bit for bit, blanks as blanks, NaN as NaN."""

import pickle

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trajhmm import RunSet, read_logs, write_logs


def run_set(values, logged, lengths, **attributes):
    """Runs named as people name them, with steps that differ from run to run."""
    names = tuple(f"run {r} ü" for r in range(len(lengths)))
    return RunSet(
        runs=names,
        lengths=np.asarray(lengths, dtype=np.int64),
        steps=np.concatenate([7 * r + 3 * np.arange(length) for r, length in enumerate(lengths)]).astype(np.int64),
        values=np.where(logged, values, np.nan),
        logged=logged,
        metrics=tuple(f"m/{d}" for d in range(values.shape[1])),
        attributes=pd.DataFrame(attributes, index=pd.Index(names, name="run")),
    )


def bits(values):
    """Bits of each float; NaN is one value, whatever its payload."""
    return np.where(np.isnan(values), np.uint64(0x7FF8 << 48), np.ascontiguousarray(values).view(np.uint64))


def read_back(runs, folder):
    write_logs(runs, folder / "logs.parquet")
    return read_logs(folder / "logs.parquet")


def assert_same_bits(found, written):
    assert found.runs == written.runs
    assert found.metrics == written.metrics
    np.testing.assert_array_equal(found.lengths, written.lengths)
    np.testing.assert_array_equal(found.steps, written.steps)
    np.testing.assert_array_equal(found.logged, written.logged)
    np.testing.assert_array_equal(bits(found.values), bits(written.values))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_values_blanks_and_events_come_back(data, tmp_path_factory):
    lengths = data.draw(st.lists(st.integers(2, 8), min_size=1, max_size=4))
    shape = (sum(lengths), data.draw(st.integers(1, 3)))
    values = data.draw(arrays.arrays(np.float64, shape, elements=st.floats(width=64)))
    logged = data.draw(arrays.arrays(np.bool_, shape))
    # A metric that does not change within any run would come back as an attribute, one that is blank as nothing.
    starts = np.cumsum([0, *lengths[:-1]])
    values[starts], values[starts + 1] = 1.0, 2.0
    logged[starts] = logged[starts + 1] = True
    runs = run_set(values, logged, lengths)
    assert_same_bits(read_back(runs, tmp_path_factory.mktemp("logs")), runs)


@pytest.mark.parametrize("cell", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e12 + 1e-4, 2.0**53 + 2])
def test_a_value_comes_back_bit_for_bit(cell, tmp_path):
    values = np.array([[1.0], [cell], [2.0]])
    assert_same_bits(
        read_back(run_set(values, np.ones((3, 1), dtype=bool), [3]), tmp_path).select_runs(["run 0 ü"]),
        run_set(values, np.ones((3, 1), dtype=bool), [3]),
    )


def test_blanks_where_a_value_was_due_stay_blank(tmp_path):
    """Read from a file that did not say what a blank means, the same cells would be events."""
    values = np.random.default_rng(0).normal(size=(40, 3))
    logged = np.ones((40, 3), dtype=bool)
    logged[20:, 0] = False
    runs = run_set(values, logged, [40])
    assert_same_bits(read_back(runs, tmp_path), runs)
    foreign = pq.read_table(tmp_path / "logs.parquet").to_pandas()
    assert RunSet.from_frame(foreign).logged[20:, 0].all()


def test_attributes_come_back(tmp_path, assert_same_logs):
    values, logged = np.random.default_rng(0).normal(size=(9, 2)), np.ones((9, 2), dtype=bool)
    runs = run_set(
        values,
        logged,
        [3, 2, 4],
        seed=[0, 1, 10],
        lr=[1e-3, 0.1, np.nan],
        condition=["ln", None, "ü, 1"],
        code=["007", "08", "1e5"],
    )
    assert_same_logs(read_back(runs, tmp_path), runs)


def test_logs_that_were_read_come_back(tmp_path, assert_same_logs):
    """Resumes, pieces, blanks and events are settled once, when first read."""
    lines = [
        (0, 1.0, "", 0.1),
        (1, 0.9, 5, 0.1),
        (2, 0.8, "", 0.2),
        (1, 0.7, 4, 0.2),
        (2, "", "", 0.3),
        (3, "inf", 3, 0.4),
    ]
    text = "step,loss,acc,lr\n" + "".join(",".join(map(str, line)) + "\n" for line in lines)
    (tmp_path / "a.csv").write_text(text)
    runs = read_logs(tmp_path / "a.csv")
    again = read_back(runs, tmp_path)
    assert_same_bits(again, runs)
    assert_same_logs(again, runs)


@pytest.mark.parametrize("blanks", [False, True])
def test_what_is_logged_is_an_array_like_any_other(blanks, tmp_path):
    """Even where nothing is blank, and it needs no memory of its own."""
    logged = np.ones((6, 2), dtype=bool)
    logged[4, 1] = not blanks
    runs = read_back(run_set(np.random.default_rng(0).normal(size=(6, 2)), logged, [4, 2]), tmp_path)
    assert (runs.logged.dtype, runs.logged.shape) == (np.bool_, (6, 2))
    assert not runs.logged.flags.writeable
    for one in (pickle.loads(pickle.dumps(runs)), runs.select_runs(runs.runs)):  # noqa: S301 (written just now)
        np.testing.assert_array_equal(one.logged, logged)
    np.testing.assert_array_equal(runs.logged[:, 1], logged[:, 1])


def test_the_same_runs_give_the_same_bytes(tmp_path):
    runs = run_set(np.random.default_rng(0).normal(size=(6, 2)), np.ones((6, 2), dtype=bool), [4, 2], seed=[1, 2])
    write_logs(runs, tmp_path / "one.parquet")
    write_logs(read_logs(tmp_path / "one.parquet"), tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
