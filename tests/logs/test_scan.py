"""Pieces of logs that do not fit in memory: together they are what `read_logs` gives for the whole."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import RunLogger, TrajHMMError, read_logs, scan_logs
from trajhmm.files import BLANKS_ARE_BLANK
from trajhmm.logs.pieces import scan

LENGTHS = {"a_2": 30, "a_10": 12, "b": 25, "c": 1, "d": 40}


@pytest.fixture
def frame():
    """Runs of different lengths with what makes reading hard, in an order of their own.

    A metric logged less often, one that is blank where it was due, one that changes in a single run, a run that was
    resumed, and attributes that are whole numbers, fractions, text, and missing in some runs.
    """
    rng = np.random.default_rng(5)
    runs = []
    for number, (run, length) in enumerate(LENGTHS.items()):
        steps = np.arange(length)
        rows = pd.DataFrame({"run": run, "step": 5 * steps, "loss": rng.lognormal(size=length)})
        rows["grad_norm"] = np.where(steps < 20, rng.lognormal(size=length), np.nan)
        rows["eval_loss"] = np.where(steps % 4 == 0, rng.lognormal(size=length), np.nan)
        rows["phase"] = np.where((run == "b") & (steps > 9), 2.0, 1.0)
        rows["seed"] = number
        rows["lr"] = [0.1, 3][number % 2]
        rows["clip"] = 1.0 if number > 1 else np.nan
        rows["norm"] = ["ln", "bn", None][number % 3]
        runs.append(rows)
    resumed = runs[-1].iloc[10:35].assign(loss=lambda rows: rows["loss"] + 1)
    return pd.concat([runs[4], resumed, *runs[:4]], ignore_index=True)


def csv_files(frame, folder):
    for run, rows in frame.groupby("run"):
        rows.drop(columns="run").to_csv(folder / f"{run}.csv", index=False)


def csv_files_of_two_runs(frame, folder):
    frame[frame["run"].isin(["a_2", "c"])].to_csv(folder / "one.csv", index=False)
    frame[~frame["run"].isin(["a_2", "c"])].drop(columns="clip").to_csv(folder / "two.csv", index=False)


def files_of_several_formats(frame, folder):
    for run, rows in frame.groupby("run"):
        if run < "b":
            rows.to_json(folder / f"{run}.jsonl", orient="records", lines=True)
        else:
            rows.to_parquet(folder / f"{run}.parquet")


def parts_of_run_loggers(frame, folder):
    metrics = ["loss", "grad_norm", "eval_loss", "phase"]
    for run, rows in frame.groupby("run"):
        attributes = rows.iloc[0].drop(["run", "step", *metrics]).dropna().to_dict()
        # A resume starts a logger anew.
        for _, part in rows.groupby((rows["step"].diff() < 0).cumsum()):
            with RunLogger(folder, run, attributes=attributes, rows=7) as logger:
                for row in part[["step", *metrics]].to_dict("records"):
                    logger.log(row.pop("step"), {name: value for name, value in row.items() if np.isfinite(value)})


def parts_in_two_files(frame, folder):
    """The metrics of a run in one file, its evaluations in another."""
    for run, rows in frame.drop(columns="run").groupby(frame["run"]):
        (folder / run).mkdir()
        rows.drop(columns="eval_loss").to_csv(folder / run / "part-0.csv", index=False)
        rows[["step", "eval_loss"]].dropna().to_csv(folder / run / "part-1.csv", index=False)


def hive_partitions(frame, folder):
    frame.drop(columns="run").to_parquet(folder, partition_cols=["seed"])


def one_parquet_file(frame, folder):
    """With a row group every 16 rows, so that runs straddle them."""
    frame.to_parquet(folder / "all.parquet", row_group_size=16)


def one_parquet_file_that_tells_blanks(frame, folder):
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(BLANKS_ARE_BLANK)
    pq.write_table(table, folder / "all.parquet", row_group_size=16)


def parquet_files_some_of_which_tell_blanks(frame, folder):
    for run, rows in frame.groupby("run"):
        table = pa.Table.from_pandas(rows, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(BLANKS_ARE_BLANK if run < "b" else {}), folder / f"{run}.parquet")


def two_parquet_files_by_step(frame, folder):
    """Rows of each run in both."""
    early = (frame["step"] < 40) | (frame["run"] == "d")
    frame[early].to_parquet(folder / "early.parquet", row_group_size=16)
    frame[~early].to_parquet(folder / "late.parquet", row_group_size=16)


LAYOUTS = {
    write.__name__: write
    for write in (
        csv_files,
        csv_files_of_two_runs,
        files_of_several_formats,
        parts_of_run_loggers,
        parts_in_two_files,
        hive_partitions,
        one_parquet_file,
        one_parquet_file_that_tells_blanks,
        parquet_files_some_of_which_tell_blanks,
        two_parquet_files_by_step,
    )
}
WAYS = {
    "as it is": {},
    "renamed": {"rename": {"loss": "L", "eval_loss": "loss"}},
    "with a condition": {"where": "step > 20 and not grad_norm > 3"},
    "with a condition that drops runs": {"where": "lr < 1"},
    "by a column": {"run_by": "seed"},
    "by two columns, one renamed": {"run_by": ["seed", "rate"], "rename": {"lr": "rate"}},
}


def cells_of(attributes):
    """Run to name to cell; None where there is none."""
    return attributes.astype(object).where(attributes.notna(), None).to_dict("index")


def assert_pieces_are_the_whole(scanned, whole):
    """Compare run by run, as a file of several runs gives them in its own order."""
    assert scanned.metrics == whole.metrics
    assert sorted(scanned.runs) == sorted(whole.runs)
    rows, attributes, run = dict(whole.slices()), [], 0
    for piece in scanned.pieces:
        read = pickle.loads(pickle.dumps(piece)).read()  # noqa: S301 (written in the same breath)
        assert (read.runs, read.n_rows, read.metrics) == (piece.runs, piece.n_rows, whole.metrics)
        for name, here in read.slices():
            there = rows[name]
            assert scanned.runs[run] == name
            assert scanned.lengths[run] == there.stop - there.start
            np.testing.assert_array_equal(read.steps[here], whole.steps[there])
            np.testing.assert_array_equal(read.values[here], whole.values[there])
            np.testing.assert_array_equal(read.logged[here], whole.logged[there])
            np.testing.assert_array_equal(scanned.logged_counts[run], whole.logged[there].sum(axis=0))
            finite = [column[np.isfinite(column)] for column in whole.values[there].T]
            assert scanned.changes[run].tolist() == [len(set(column.tolist())) > 1 for column in finite]
            run += 1
        attributes.append(read.attributes)
        numbers = whole.attributes.select_dtypes("number")
        pd.testing.assert_series_equal(read.attributes[list(numbers)].dtypes, numbers.dtypes)
    together = {run: cells for part in attributes for run, cells in cells_of(part).items()}
    assert together == cells_of(whole.attributes)


def texts(notes, *, of_runs):
    return {str(note) for note in notes if (note.run is not None) == of_runs}


@pytest.mark.sampled(10)
@pytest.mark.parametrize("max_rows", [1, 45, 1000])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_together_are_the_whole(layout, way, max_rows, frame, tmp_path):
    LAYOUTS[layout](frame, tmp_path)
    if layout == "parts_in_two_files" and "run_by" in WAYS[way]:
        pytest.skip("evaluations are in files without these columns")
    whole = read_logs(tmp_path, **WAYS[way])
    scanned = scan_logs(tmp_path, **WAYS[way], max_rows=max_rows)
    assert_pieces_are_the_whole(scanned, whole)
    assert texts(scanned.notes, of_runs=False) == texts(whole.notes, of_runs=False)
    said = {text for piece in scanned.pieces for text in texts(piece.read().notes, of_runs=True)}
    assert said == texts(whole.notes, of_runs=True)
    if max_rows == 1000:
        assert len(scanned.pieces) == 1
        assert scanned.runs == whole.runs
    elif max_rows == 45 and "one_parquet_file" in layout:
        assert len(scanned.pieces) > 1


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    group=st.integers(1, 40),
    max_rows=st.integers(1, 120),
    seed=st.integers(0, 10**6),
)
@pytest.mark.once
def test_a_file_is_cut_between_runs_wherever_its_row_groups_end(lengths, group, max_rows, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "all.parquet"
    rng = np.random.default_rng(seed)
    run = np.repeat(rng.permutation(len(lengths)), lengths)
    frame = pd.DataFrame(
        {"run": [f"r{r}" for r in run], "step": np.arange(len(run)), "loss": rng.normal(size=len(run))}
    )
    frame.to_parquet(path, row_group_size=group)
    scanned = scan_logs(path, max_rows=max_rows)
    assert_pieces_are_the_whole(scanned, read_logs(path))
    assert scan_logs(path, max_rows=1).runs == tuple(dict.fromkeys(frame["run"]))
    sizes = [piece.n_rows for piece in scanned.pieces]
    assert all(size <= max_rows or len(piece.runs) == 1 for size, piece in zip(sizes, scanned.pieces, strict=True))
    assert all(one + other > max_rows for one, other in pairwise(sizes))


def test_small_files_share_a_piece_and_pieces_follow_the_order_of_runs(tmp_path):
    for run in range(12):
        (tmp_path / f"seed_{run}.csv").write_text("step,loss\n0,3\n1,2\n2,1.5\n")
    scanned = scan_logs(tmp_path, max_rows=9)
    assert [len(piece.runs) for piece in scanned.pieces] == [3, 3, 3, 3]
    assert scanned.runs == tuple(f"seed_{run}" for run in range(12))


def test_pieces_follow_the_order_of_runs_and_not_of_folders(tmp_path):
    for place in ("lr=1/run=b", "lr=2/run=a_10", "lr=3/run=a_2"):
        (tmp_path / place).mkdir(parents=True)
        pd.DataFrame({"step": range(3), "loss": [3.0, 2.0, 1.5]}).to_parquet(tmp_path / place / "log.parquet")
    assert scan_logs(tmp_path, max_rows=1).runs == ("a_2", "a_10", "b")


def test_a_metric_that_is_constant_in_one_piece_is_a_metric_there(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,phase\n0,3,1\n1,2,1\n")
    (tmp_path / "b.csv").write_text("step,loss,phase\n0,3,1\n1,2,2\n")
    (tmp_path / "c.csv").write_text("step,loss\n0,3\n1,2\n")
    scanned = scan_logs(tmp_path, max_rows=1)
    assert [piece.read().metrics for piece in scanned.pieces] == [("loss", "phase")] * 3
    assert scanned.changes.tolist() == [[True, False], [True, True], [True, False]]
    assert scanned.logged_counts.tolist() == [[2, 2], [2, 2], [2, 0]]


def test_a_run_that_lost_its_loss_is_the_same_in_its_piece(tmp_path):
    whole = "".join(f"{step},{step / 7},{step / 3}\n" for step in range(20))
    torn = "".join(f"{step},{'' if step > 6 else step},{step / 5}\n" for step in range(20))
    (tmp_path / "a.csv").write_text("step,loss,norm\n" + whole)
    (tmp_path / "b.csv").write_text("step,loss,norm\n" + torn)
    scanned = scan_logs(tmp_path, max_rows=1)
    assert scanned.pieces[1].read().logged.all()
    assert scanned.logged_counts.tolist() == [[20, 20], [20, 20]]
    assert scanned.known.all()
    assert "run b: loss is not finite (NaN) from step 7, 13 rows" in map(str, scanned.pieces[1].read().notes)


def test_a_condition_may_name_what_some_files_lack(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,run\n0,3,x\n1,2,x\n")
    (tmp_path / "b.csv").write_text("step,loss,norm\n0,3,ln\n1,2,ln\n")
    for where in ("norm == 'ln'", "not norm == 'ln'", "run == 'x'", "run == 'b' or run == 'x'"):
        assert_pieces_are_the_whole(scan_logs(tmp_path, where=where, max_rows=1), read_logs(tmp_path, where=where))


def test_only_the_row_groups_of_a_piece_are_read(tmp_path):
    path = tmp_path / "all.parquet"
    frame = pd.DataFrame({"run": np.repeat(["a", "b"], 4000), "step": [*range(4000)] * 2})
    frame["loss"] = np.random.default_rng(0).normal(size=8000)
    frame.to_parquet(path, row_group_size=1000)
    first, second = scan_logs(path, max_rows=4000).pieces
    start = pq.read_metadata(path).row_group(4).column(0).dictionary_page_offset
    raw = bytearray(path.read_bytes())
    raw[start : start + 4000] = bytes(4000)
    path.write_bytes(raw)
    np.testing.assert_array_equal(first.read().column("loss"), frame["loss"][:4000])
    with pytest.raises(TrajHMMError, match=r"all\.parquet: not a whole Parquet file"):
        second.read()


def test_runs_that_are_mixed_in_a_file_are_one_piece_if_they_are_few(frame, tmp_path):
    frame.sort_values("step", kind="stable").to_parquet(tmp_path / "all.parquet", row_group_size=16)
    assert_pieces_are_the_whole(scan_logs(tmp_path, max_rows=200), read_logs(tmp_path))
    with pytest.raises(
        TrajHMMError, match=r"all\.parquet: runs are mixed \('\w+' goes on at row \d+\) .* sort the file"
    ):
        scan_logs(tmp_path, max_rows=100)


def test_a_run_that_was_resumed_at_the_end_of_its_file_is_found(tmp_path):
    """More rows than are looked at in one go lie between."""
    names = np.repeat(["a", "b", "a"], [10, 70_000, 5])
    steps = np.concatenate([np.arange(10), np.arange(70_000), np.arange(6, 11)])
    loss = np.random.default_rng(0).normal(size=len(names))
    pd.DataFrame({"run": names, "step": steps, "loss": loss}).to_parquet(tmp_path / "all.parquet")
    with pytest.raises(TrajHMMError, match=r"'a' goes on at row 70010"):
        scan_logs(tmp_path, max_rows=100)
    assert scan_logs(tmp_path).lengths.tolist() == [11, 70_000]


def test_a_text_file_of_several_runs_is_one_piece_however_long(frame, tmp_path):
    frame.to_csv(tmp_path / "all.csv", index=False)
    assert len(scan_logs(tmp_path, max_rows=10).pieces) == 1


def test_text_files_that_share_runs_are_read_together_or_refused(tmp_path):
    train, evals = "run,step,loss\n", "run,step,acc\n"
    for run in ("x", "y"):
        train += "".join(f"{run},{step},{step / 7}\n" for step in range(8))
        evals += "".join(f"{run},{step},{step / 3}\n" for step in range(0, 8, 2))
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "eval.csv").write_text(evals)
    assert_pieces_are_the_whole(scan_logs(tmp_path, max_rows=24), read_logs(tmp_path))
    with pytest.raises(TrajHMMError, match=r"run 'x' is in .*eval\.csv and in .*train\.csv: .* 24 rows.*sorted by run"):
        scan_logs(tmp_path, max_rows=23)


def test_a_run_in_two_pieces_is_an_error_that_names_the_files(tmp_path, monkeypatch):
    """As when files change between the two looks at them."""
    rows = "run,step,loss\nx,0,3\nx,1,2\n"
    (tmp_path / "a.csv").write_text(rows)
    (tmp_path / "b.csv").write_text(rows)
    together = scan.cut
    monkeypatch.setattr(
        scan, "cut", lambda outlines, max_rows: [(s,) for piece in together(outlines, max_rows) for s in piece]
    )
    with pytest.raises(TrajHMMError, match=r"run 'x' turns up in .*a\.csv and again in .*b\.csv, .*; scan them again"):
        scan_logs(tmp_path)


def test_files_that_changed_since_they_were_scanned_are_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n0,3\n1,2\n")
    (piece,) = scan_logs(tmp_path).pieces
    (tmp_path / "a.csv").write_text("step,loss\n0,3\n1,2\n2,1\n")
    with pytest.raises(
        TrajHMMError, match=r"a\.csv: other runs or rows than when the logs were scanned; scan them again"
    ):
        piece.read()


@pytest.mark.parametrize(
    ("way", "complaint"),
    [
        ({"max_rows": 0}, r"max_rows = 0: expected at least 1"),
        ({"where": "foo > 1"}, r"--where 'foo > 1': no column 'foo' \(found: step, loss"),
        ({"where": "step > 9"}, r"--where 'step > 9': none of 4 rows meets the condition"),
        ({"run_by": "seed"}, r"a\.csv: no column 'seed' for --run-by"),
        ({"step": "it"}, r"a\.csv: no column 'it' for --step"),
        ({"rename": {"foo": "bar"}}, r"--rename foo=bar: no column 'foo'"),
        ({"rename": {"loss": "step"}}, r"a\.csv: --rename gives 2 columns the name 'step'"),
        ({"format": "xlsx"}, r"no reader called 'xlsx'"),
        ({"format": "parquet"}, r"a\.csv: not a whole Parquet file"),
    ],
)
def test_settings_that_do_not_fit_the_logs_are_errors(way, complaint, tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n0,3\n1,2\n")
    (tmp_path / "b.csv").write_text("step,loss,text\n0,3,u\n1,2,v\n")
    with pytest.raises(TrajHMMError, match=complaint):
        scan_logs(tmp_path, **way)


def test_a_column_that_is_text_in_one_piece_and_changing_numbers_in_another_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,acc\n0,3,0.5\n1,2,0.7\n")
    (tmp_path / "b.csv").write_text("step,loss,acc\n0,3,low\n1,2,high\n")
    with pytest.raises(TrajHMMError, match=r"b\.csv: column 'acc' is text \('low'\) but holds numbers in .*a\.csv"):
        scan_logs(tmp_path, max_rows=1)


def test_files_that_are_no_logs_are_left_out_and_said(tmp_path):
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\na,-1,-1\n")
    with pytest.raises(TrajHMMError, match=r"truth\.csv: a truth table that trajhmm wrote"):
        scan_logs(tmp_path)
    (tmp_path / "a.csv").write_text("step,loss\n0,3\n1,2\n")
    (tmp_path / "b.csv").write_text("step,loss\n")
    assert [note.kind for note in scan_logs(tmp_path).notes] == ["left-out", "left-out"]


def test_a_piece_is_cheap_to_send(tmp_path, frame):
    one_parquet_file(frame, tmp_path)
    for piece in scan_logs(tmp_path, max_rows=45).pieces:
        assert len(pickle.dumps(piece)) < 4000


PEAK = """
import json, re, sys
from pathlib import Path
from trajhmm import scan_logs
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
scan_logs(sys.argv[2], max_rows=10_000).pieces[0].read()
before = peak()
for piece in scan_logs(sys.argv[1], max_rows=10_000).pieces:
    piece.read()
print(json.dumps(peak() - before))
"""


@pytest.mark.once
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of memory")
def test_memory_does_not_grow_with_the_data(tmp_path):
    """Beyond what an eighth of the data needs, all of it needs less than a quarter of its own size."""
    rng = np.random.default_rng(0)
    metrics = {f"m{d}": rng.normal(size=400_000) for d in range(14)}
    frame = pd.DataFrame({"run": np.repeat(np.arange(100), 4000).astype(str), "step": np.tile(np.arange(4000), 100)})
    table = pa.table({**{name: frame[name] for name in frame}, **metrics})
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=20_000)
    pq.write_table(table[:50_000], tmp_path / "eighth.parquet", row_group_size=20_000)
    command = [sys.executable, "-c", PEAK, tmp_path / "all.parquet", tmp_path / "eighth.parquet"]
    grown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 0.25 * 8 * 14 * 350_000
