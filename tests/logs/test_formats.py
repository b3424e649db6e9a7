"""The same runs, written in every format and layout, are read as the same `RunSet`."""

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trajhmm import RunSet, read_logs

RUNS = ("a_2", "a_10", "b")
ROWS = 12
EVERY = 4


def logged_values():
    """(3, 12, 3) values of loss, grad_norm and eval_loss; eval_loss is blank but for every fourth row."""
    values = np.random.default_rng(7).lognormal(size=(len(RUNS), ROWS, 3))
    values[:, np.arange(ROWS) % EVERY != 0, 2] = np.nan
    return values


@pytest.fixture
def frame():
    """One row a step: run, step, three metrics, and a number and a text that do not change within a run."""
    values = logged_values()
    return pd.concat(
        pd.DataFrame(
            {
                "run": run,
                "step": 5 * np.arange(ROWS),
                "loss": values[r, :, 0],
                "grad_norm": values[r, :, 1],
                "eval_loss": values[r, :, 2],
                "lr": [0.1, 0.01, 0.001][r],
                "condition": ["ln", "ln", "bn"][r],
            }
        )
        for r, run in enumerate(RUNS)
    ).reset_index(drop=True)


@pytest.fixture
def expected():
    """What was written, put together without the reader."""
    values = logged_values().reshape(-1, 3)
    return RunSet(
        runs=RUNS,
        lengths=np.full(len(RUNS), ROWS),
        steps=np.tile(5 * np.arange(ROWS), len(RUNS)),
        values=values,
        logged=~np.isnan(values),
        metrics=("loss", "grad_norm", "eval_loss"),
        attributes=pd.DataFrame(
            {"lr": [0.1, 0.01, 0.001], "condition": ["ln", "ln", "bn"]}, index=pd.Index(RUNS, name="run")
        ),
    )


def records(frame):
    """Rows as dicts, blank cells alternately left out and null."""
    for number, row in enumerate(frame.to_dict("records")):
        blank = {key for key, value in row.items() if isinstance(value, float) and np.isnan(value)}
        yield {key: None if key in blank else value for key, value in row.items() if number % 2 or key not in blank}


def json_lines(frame):
    return "".join(json.dumps(record) + "\n" for record in records(frame))


WRITERS = {
    "parquet": lambda frame, path: frame.to_parquet(path),
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda frame, path: path.write_text(json_lines(frame)),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "jsonl.gz": lambda frame, path: path.write_bytes(gzip.compress(json_lines(frame).encode())),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_file_with_a_column_run(suffix, frame, expected, tmp_path, assert_same_logs):
    WRITERS[suffix](frame, tmp_path / f"all.{suffix}")
    assert_same_logs(read_logs(tmp_path / f"all.{suffix}"), expected)


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_of_several_runs_may_be_mixed(suffix, frame, expected, tmp_path, assert_same_logs):
    mixed = frame.sort_values(["step", "run"], ascending=[True, False])
    WRITERS[suffix](mixed, tmp_path / f"all.{suffix}")
    assert_same_logs(read_logs(tmp_path), expected)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_folder_with_a_file_for_each_run(suffix, frame, expected, tmp_path, assert_same_logs):
    for run, rows in frame.groupby("run"):
        WRITERS[suffix](rows.drop(columns="run"), tmp_path / f"{run}.{suffix}")
    assert_same_logs(read_logs(tmp_path), expected)
    assert_same_logs(read_logs(sorted(tmp_path.iterdir())), expected)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_folder_for_each_run_with_part_files(suffix, frame, expected, tmp_path, assert_same_logs):
    for run, rows in frame.groupby("run"):
        (tmp_path / run).mkdir()
        for part, start in enumerate(range(0, ROWS, 5)):
            piece = rows.drop(columns="run").iloc[start : start + 5]
            WRITERS[suffix](piece, tmp_path / run / f"part-{part}.{suffix}")
    assert_same_logs(read_logs(tmp_path), expected)


def test_runs_in_files_of_several_formats(frame, expected, tmp_path, assert_same_logs):
    for suffix, (run, rows) in zip(["parquet", "csv", "jsonl"], frame.groupby("run"), strict=True):
        WRITERS[suffix](rows.drop(columns="run"), tmp_path / f"{run}.{suffix}")
    assert_same_logs(read_logs(tmp_path), expected)


def test_hive_partitions_that_pandas_writes(frame, expected, tmp_path, assert_same_logs):
    frame.to_parquet(tmp_path / "logs", partition_cols=["run"])
    assert_same_logs(read_logs(tmp_path / "logs"), expected)


def test_hive_partitions_by_several_columns(frame, expected, tmp_path, assert_same_logs):
    frame.to_parquet(tmp_path / "logs", partition_cols=["condition", "run"])
    assert_same_logs(read_logs(tmp_path / "logs"), expected)


def test_hive_partitions_with_a_number_name_runs_by_it(frame, expected, tmp_path):
    frame.drop(columns="run").to_parquet(tmp_path / "logs", partition_cols=["lr"])
    runs = read_logs(tmp_path / "logs", run_by="lr")
    assert runs.runs == ("0.001", "0.01", "0.1")
    assert runs.attributes["lr"].tolist() == [0.001, 0.01, 0.1]
    rows = dict(runs.slices())
    theirs = dict(expected.slices())
    np.testing.assert_array_equal(runs.column("loss")[rows["0.1"]], expected.column("loss")[theirs["a_2"]])
    np.testing.assert_array_equal(runs.column("loss")[rows["0.001"]], expected.column("loss")[theirs["b"]])


def test_hive_partitions_named_one_by_one(frame, expected, tmp_path, assert_same_logs):
    frame.to_parquet(tmp_path / "logs", partition_cols=["run"])
    assert_same_logs(read_logs(sorted((tmp_path / "logs").iterdir())), expected)
    assert_same_logs(read_logs(sorted((tmp_path / "logs").rglob("*.parquet"))), expected)


def test_hive_folders_are_unquoted(frame, tmp_path):
    frame["run"] = frame["run"].replace({"b": "b/c=ü 1"})
    frame.to_parquet(tmp_path / "logs", partition_cols=["run"])
    assert read_logs(tmp_path / "logs").runs == ("a_2", "a_10", "b/c=ü 1")


def test_a_dataframe(frame, expected, assert_same_logs):
    assert_same_logs(RunSet.from_frame(frame), expected)
    assert_same_logs(RunSet.from_frame(expected.frame()), expected)


@pytest.mark.parametrize("column", ["global_step", "epoch", "iteration"])
def test_the_step_may_have_other_names(column, frame, expected, tmp_path, assert_same_logs):
    frame.rename(columns={"step": column}).to_csv(tmp_path / "all.csv", index=False)
    step = "iteration" if column == "iteration" else None
    assert_same_logs(read_logs(tmp_path, step=step), expected)


def test_a_column_step_beside_the_one_that_counts_is_left_out(frame, expected, tmp_path, assert_same_logs):
    frame.assign(step=frame["step"] % 20, total=frame["step"]).to_csv(tmp_path / "all.csv", index=False)
    runs = read_logs(tmp_path, step="total")
    assert_same_logs(runs, expected)
    assert "column step is left out: total counts the steps" in map(str, runs.notes)


def test_columns_are_renamed_before_all_else(frame, expected, tmp_path, assert_same_logs):
    names = {"loss": "L", "step": "it", "run": "name"}
    frame.rename(columns=names).to_csv(tmp_path / "all.csv", index=False)
    back = {new: old for old, new in names.items()}
    assert_same_logs(read_logs(tmp_path, rename=back), expected)
    swapped = frame.rename(columns={"loss": "grad_norm", "grad_norm": "loss"})
    swapped.to_csv(tmp_path / "all.csv", index=False)
    swap = {"loss": "grad_norm", "grad_norm": "loss"}
    assert_same_logs(read_logs(tmp_path, rename=swap), expected)


def test_meta_lines_give_attributes_and_other_lines_are_left_out(frame, expected, tmp_path, assert_same_logs):
    for run, rows in frame.groupby("run"):
        meta = {"lr": rows["lr"].iloc[0], "condition": rows["condition"].iloc[0], "tags": ["x"], "none": None}
        text = json.dumps({"_meta": meta}) + "\n" + json_lines(rows.drop(columns=["run", "lr", "condition"]))
        (tmp_path / f"{run}.jsonl").write_text(text + '{"_summary": {"step": 99, "loss": 0.0}}\n')
    runs = read_logs(tmp_path)
    assert_same_logs(runs, expected)
    assert sum("line _summary is not a step, left out" in str(note) for note in runs.notes) == 3


def test_a_setting_that_is_not_finite_is_no_event(tmp_path):
    meta = '{"_meta": {"clip": Infinity, "target": NaN, "seed": 3, "nested": {"wd": 0.5}, "amp": true}}\n'
    (tmp_path / "a.jsonl").write_text(meta + '{"step": 0, "loss": 2.0}\n{"step": 1, "loss": 1.0}\n')
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    assert runs.attributes.loc["a"].to_dict() == {"seed": 3, "nested/wd": 0.5, "amp": 1}


def test_nested_objects_become_columns(tmp_path):
    lines = [
        '{"step": 0, "train": {"loss": 2.0, "aux": {"z": 1}}}',
        '{"step": 1, "train": {"loss": 1.0, "aux": {"z": 3}}}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    runs = read_logs(tmp_path)
    assert runs.metrics == ("train/loss", "train/aux/z")
    np.testing.assert_array_equal(runs.values, [[2, 1], [1, 3]])


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_half_written_last_line_is_left_out(cut, frame, expected, tmp_path):
    text = json_lines(frame[frame["run"] == "b"])
    (tmp_path / "b.jsonl").write_text(text[: -1 - cut])
    runs = read_logs(tmp_path)
    theirs = dict(expected.slices())["b"]
    np.testing.assert_array_equal(runs.column("loss"), expected.column("loss")[theirs][:-1])
    assert any(note.kind == "torn" and "b.jsonl" in note.text for note in runs.notes)


SPELLINGS = {
    "parquet": lambda frame, path: pq.write_table(
        pa.table({name: pa.array(column.to_numpy(), from_pandas=False) for name, column in frame.items()}), path
    ),
    "csv": lambda frame, path: frame.astype(object).map(str).to_csv(path, index=False),
    "tsv": lambda frame, path: frame.replace(np.inf, "Infinity").to_csv(path, index=False, sep="\t", na_rep="NaN"),
    "jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps(record) + "\n" for record in frame.to_dict("records"))
    ),
    "text.jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps({**record, "loss": str(record["loss"])}) + "\n" for record in frame.to_dict("records"))
    ),
}


@pytest.mark.parametrize("suffix", SPELLINGS)
def test_non_finite_values_are_events_in_every_spelling(suffix, tmp_path):
    loss = [3.0, 2.5, 2.0, np.inf, np.nan, np.nan]
    frame = pd.DataFrame({"step": range(6), "loss": loss, "accuracy": np.linspace(0, 1, 6)})
    SPELLINGS[suffix](frame, tmp_path / f"a.{suffix}")
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.column("loss"), loss)
    assert runs.logged.all()
    (note,) = (note for note in runs.notes if note.kind == "non-finite")
    assert note.text == "loss is not finite (inf) from step 3, 3 rows"
