"""Log files that are hostile, or just unlucky: an error of one line, or what can be read, soon and in little room."""

import gzip
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trajhmm.errors import ConditionError, LogError, TrajHMMError
from trajhmm.logs import parse_condition, read_logs
from trajhmm.logs.assembly import blanks
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats import encodings, lines, table, tensorboard
from trajhmm.logs.formats.points import Points
from trajhmm.logs.settings import Settings
from trajhmm.warning.evaluation import attribute_onsets, read_truth

from .room import LONG, little_room

CSV = "step,loss\n" + "".join(f"{step},{1 / (step + 1)}\n" for step in range(50))
JSONL = "".join(f'{{"step": {step}, "loss": {1 / (step + 1)}}}\n' for step in range(20))
ONE_LINE = 400


def refusal(path, **settings):
    """Why a file is refused: one line that names it, of a length that can be read, after a short while."""
    started = time.monotonic()
    with pytest.raises(TrajHMMError) as refused:
        read_logs(path, **settings)
    assert time.monotonic() - started < LONG
    said = str(refused.value)
    assert "\n" not in said
    assert str(path) in said
    assert len(said) < len(str(path)) + ONE_LINE
    return said


@pytest.fixture(name="little_room")
def _little_room():
    with little_room():
        yield


pytestmark = pytest.mark.usefixtures("little_room")


# Files without an end.


def hole(path, begins, size=20 * 2**30):
    """A file that begins with some bytes, and holds nothing to its end, far away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(begins)
    os.truncate(path, size)
    return path


HOLES = {
    "a.csv": b"",
    "b.csv": CSV.encode(),
    "c.csv": CSV.replace("\n", "\r").encode(),
    "d.csv": CSV.encode("utf-16"),
    "a.tsv": b"step\tloss\n",
    "a.jsonl": b"",
    "b.jsonl": JSONL.encode(),
    "a.json": b'[{"step": 0, "loss": 1},',
    "trainer_state.json": b'{"global_step": 3, "log_history": [{"step": 1, "loss": 2},',
    "monitor.csv": b'#{"t_start": 1, "env_id": "a"}\nr,l,t\n1,2,3\n',
    "a.parquet": b"PAR1",
    "a.wandb": b":W&B" + struct.pack("<HB", 0xBEE1, 0),
    "a.db": b"SQLite format 3\0",
    "events.out.tfevents.1.a": b"",
    "plots/metrics/loss.tsv": b"step\tloss\n1\t2\n",
    "0/" + "a" * 32 + "/metrics/loss": b"1 2.0 3\n" * 1000,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name.startswith("events.out") else name for name in HOLES]
)
@pytest.mark.sampled(5)
def test_a_file_that_was_made_longer_than_what_was_written_is_refused_soon(name, tmp_path):
    path = hole(tmp_path / name, HOLES[name], 3 * 2**30 if name.endswith("wandb") else 20 * 2**30)
    (path.parent.parent / "meta.yaml").write_text("run_name: a\n")
    refusal(path)


def test_zeros_behind_the_last_row_cost_no_row(tmp_path):
    """As some file systems leave them where the machine went down."""
    for name, text in (("a.csv", CSV), ("a.jsonl", JSONL)):
        (tmp_path / name).write_bytes(text.encode() + bytes(100_000))
        runs = read_logs(tmp_path / name)
        assert runs.n_rows == text.count("\n") - (name == "a.csv")
        assert [note.kind for note in runs.notes] == ["torn"]


def test_the_same_of_zeros_that_were_written_among_records_and_lines(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV.encode() + bytes(10_000) + b"\n50,0.5\n")
    assert read_logs(tmp_path / "a.csv").steps[-1] == 50
    (tmp_path / "b.jsonl").write_bytes(JSONL.encode() + bytes(10_000) + b'\n{"step": 20, "loss": 1}\n')
    assert read_logs(tmp_path / "b.jsonl").steps[-1] == 20


def test_what_stands_before_the_names_of_columns_is_bounded(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"#\n" * 6_000_000 + CSV.encode())
    assert "no line of names in" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"# by hand\n" * 1000 + CSV.encode())
    assert read_logs(tmp_path / "b.csv").n_rows == 50


# Bombs.


@pytest.mark.parametrize(
    ("name", "again"), [("a.csv.gz", b"51,1\n"), ("a.jsonl.gz", b"{}\n"), ("a.json.gz", b'{"step": 1},')]
)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused(name, again, tmp_path):
    begins = {"a.csv.gz": CSV.encode(), "a.jsonl.gz": JSONL.encode(), "a.json.gz": b"[" + b'{"step": 1},' * 9}[name]
    with gzip.open(tmp_path / name, "wb", 1) as file:
        file.write(begins)
        for _ in range(40):
            file.write(again * (2**20 // len(again)))
        if name == "a.json.gz":
            file.write(b'{"step": 2}]')
    assert (tmp_path / name).stat().st_size < 2**20
    refusal(tmp_path / name, format=name.split(".")[1])


def test_a_log_that_shrank_to_a_twentieth_is_read(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("step,loss\n" + "".join(f"{step},1.{step % 7}\n" for step in range(100_000)))
    assert read_logs(tmp_path / "a.csv.gz").n_rows == 100_000


def same_word(path, length, n):
    """A Parquet file that holds one long word, and says it in each of n rows."""
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), ["x" * length])
    columns = {"step": range(n), "loss": np.arange(n) / 7, "config": word}
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 2**17 + 16 * n
    return path


@pytest.mark.slow
def test_a_parquet_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    assert "unpacks to" in refusal(same_word(tmp_path / "a.parquet", 10**8, 2))


def test_a_long_word_in_each_of_many_rows_is_kept_once(tmp_path):
    runs = read_logs(same_word(tmp_path / "a.parquet", 10**6, 8000))
    assert runs.n_rows == 8000
    assert len(runs.attributes["config"].iloc[0]) == 10**6


def test_columns_that_a_database_works_out_as_they_are_read_are_bounded(tmp_path):
    for name, columns in (
        ("blob", "x AS (zeroblob(1000000000))"),
        ("many", ", ".join(f"x{i} AS (1)" for i in range(1900))),
    ):
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            connection.execute(f"CREATE TABLE t (step, loss, {columns})")
            connection.executemany(
                "INSERT INTO t (step, loss) VALUES (?, ?)", [(i, 1 / (i + 1)) for i in range(50_000)]
            )
        connection.close()
        refusal(tmp_path / f"{name}.db")


# Rows with columns of their own.


def test_new_keys_in_each_row_are_refused_before_they_are_laid_out(tmp_path):
    with (tmp_path / "a.jsonl").open("w") as file:
        for step in range(16_000):
            file.write(json.dumps({"step": step, f"k{step}": 1}) + "\n")
    said = refusal(tmp_path / "a.jsonl")
    assert "16,001 columns in 16,000 rows are 256 million cells" in said
    assert "give metrics the same names in each row" in said


def test_a_few_thousand_of_them_are_read(tmp_path):
    rows = [{"step": step, "loss": 1 / (step + 1), f"only {step}": step} for step in range(1500)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    runs = read_logs(tmp_path / "a.jsonl")
    assert runs.n_rows == 1500
    np.testing.assert_array_equal(runs.column("loss"), [row["loss"] for row in rows])
    for step in (0, 7, 1499):
        assert f"only {step}" in runs.metrics or f"only {step}" in runs.attributes


def test_cells_of_json_lines_stand_where_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"step": step} | {name: rng.normal() for name in "abcde" if rng.random() < 0.4} for step in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    runs = read_logs(tmp_path / "a.jsonl")
    expected = pd.DataFrame(rows).reindex(columns=list(runs.metrics))
    np.testing.assert_array_equal(runs.values, expected)
    np.testing.assert_array_equal(runs.logged, expected.notna())


@pytest.mark.parametrize("kind", ["settings", "tables", "trackio", "mlflow"])
@pytest.mark.sampled(1)
def test_other_ways_to_rows_with_columns_of_their_own_are_refused(kind, tmp_path):
    path = tmp_path
    if kind == "settings":
        path = tmp_path / "a.jsonl"
        settings = {"_meta": {f"setting {i}": i for i in range(10_000)}}
        path.write_text(
            json.dumps(settings) + "\n" + "".join(f'{{"step": {i}, "loss": {i}.5}}\n' for i in range(10_000))
        )
    elif kind == "tables":
        for run in range(100):
            names = ",".join(f"m{run}_{i}" for i in range(100))
            (tmp_path / f"{run}.csv").write_text(
                f"step,{names}\n" + "".join(f"{i}{',1.5' * 100}\n" for i in range(100))
            )
        path = tmp_path
    elif kind == "trackio":
        path = tmp_path / "a.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE metrics (run_name, step, metrics, timestamp)")
            rows = [("a", i, json.dumps({f"m{i}": 1.0}), "") for i in range(10_000)]
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
        connection.close()
    else:
        path = tmp_path / "a.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE runs (run_uuid, name, lifecycle_stage, experiment_id, start_time)")
            connection.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
            connection.execute("CREATE TABLE params (key, value, run_uuid)")
            connection.execute("CREATE TABLE tags (key, value, run_uuid)")
            connection.execute("INSERT INTO runs VALUES ('a', 'a', 'active', 0, 0)")
            rows = [(f"m{i}", 1.0, i, "a", i, 0) for i in range(10_000)]
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.close()
    started = time.monotonic()
    with pytest.raises(LogError, match=r"columns in [\d,]+ rows are [\d,]+ million cells"):
        read_logs(path)
    assert time.monotonic() - started < LONG


def test_tags_of_an_event_file_that_stand_once_each_are_refused(monkeypatch, tmp_path):
    points = tensorboard._Points()
    n = 6000
    points.records = points.steps = points.tags = [np.arange(n)]
    points.values, points.names = [np.ones(n)], {f"tag {i}": i for i in range(n)}
    with pytest.raises(LogError, match=r"6000 tags at 6000 steps make a table of 0\.3 GB, nearly all blank"):
        points.table(tmp_path / "a", "a", [], joined=True)


@pytest.mark.slow
def test_more_columns_than_a_log_has_are_refused_at_once(tmp_path):
    names = ",".join(f"m{i}" for i in range(100_000))
    (tmp_path / "a.csv").write_text(f"step,{names}\n" + ("1" + ",2" * 100_000 + "\n") * 3)
    assert "100,001 columns; expected at most 16,384" in refusal(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text(json.dumps([{"step": i} | {f"m{j}": i for j in range(20_000)} for i in range(3)]))
    assert "20,001 columns" in refusal(tmp_path / "a.json")
    wide = pa.table({"step": [1, 2]} | {f"m{i}": [1.0, 2.0] for i in range(20_000)})
    pq.write_table(wide, tmp_path / "a.parquet")
    assert "20,001 columns" in refusal(tmp_path / "a.parquet")


def test_a_wide_log_with_blanks_takes_seconds(tmp_path):
    """It took the square of its columns."""
    frame = pd.DataFrame({"step": range(40)} | {f"layer{i}/norm": np.arange(40.0) for i in range(2000)})
    for i in range(2000):
        frame.loc[frame.index % 4 == i % 4, f"layer{i}/norm"] = np.nan
    frame.to_csv(tmp_path / "a.csv", index=False)
    started = time.monotonic()
    runs = read_logs(tmp_path / "a.csv")
    assert time.monotonic() - started < 8
    assert runs.values.shape == (40, 2000)


def test_columns_that_stand_in_the_same_rows_are_judged_as_each_by_itself():
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(5, 60))
        present = rng.random((n, 3)) < rng.choice([0.2, 0.8, 0.97], 3)
        tells = np.logical_or.accumulate(rng.random((n, 3)) < 0.2, axis=0)
        together = np.repeat(present, 4, axis=1)
        missed = blanks.missed_in_succession(together, np.repeat(tells, 4, axis=1))
        np.testing.assert_array_equal(missed, np.repeat(blanks.missed_in_succession(present, tells), 4, axis=1))


def test_a_run_whose_metrics_go_back_and_forth_is_laid_out_in_time():
    n = 20_000
    steps = np.tile([5.0, 3.0], n // 2)
    points = Points(
        names=tuple(f"m{i}" for i in range(4000)), metric=np.arange(n) // 2 % 4000, steps=steps, values=np.ones(n)
    )
    started = time.monotonic()
    with pytest.raises(LogError, match="million cells"):
        points.rows("a", {}, "a.db")
    assert time.monotonic() - started < LONG


def passes_by_hand(metric, steps):
    """The rows of points as they were found before: each pass lowers the last step of every metric."""
    last, times, passes, places = {}, {}, 0, []
    for one, step in zip(metric, steps, strict=True):
        if step < last.get(one, -np.inf):
            passes += 1
            last = {name: min(before, np.nextafter(step, -np.inf)) for name, before in last.items()}
        times[one] = times.get(one, 0) + 1 if step == last.get(one) else 0
        last[one] = step
        places.append((passes, step, times[one]))
    return places


def test_passes_are_the_same_as_when_every_metric_was_lowered_by_hand():
    rng = np.random.default_rng(2)
    for _ in range(200):
        n = int(rng.integers(1, 40))
        metric, steps = rng.integers(0, 3, n), rng.integers(0, 6, n).astype(float)
        points = Points(names=("a", "b", "c"), metric=metric, steps=steps, values=np.arange(n, dtype=float))
        found_steps, row = points._in_passes()
        unique, expected = np.unique(np.array(passes_by_hand(metric, steps)), axis=0, return_inverse=True)
        np.testing.assert_array_equal(found_steps, unique[:, 1])
        np.testing.assert_array_equal(row, expected.reshape(-1))


def test_copies_of_names_are_numbered_in_time(tmp_path):
    names = ["a"] * 4000 + [f"a.{i}" for i in range(1, 4000)]
    (tmp_path / "a.csv").write_text(
        f"step,{','.join(names)}\n{',' * len(names)}\n{'1,' * len(names)}2\n2{',3' * len(names)}\n"
    )
    started = time.monotonic()
    read_logs(tmp_path / "a.csv")
    assert time.monotonic() - started < 8


def test_a_chart_whose_names_hold_thousands_of_dashes_is_read_in_little_room(tmp_path):
    runs = [f"run {i} - loss" for i in range(200)] + ["odd" + " - x" * 20_000 + " - loss"]
    names = [name for run in runs for name in (run, f"{run}__MIN", f"{run}__MAX")]
    rows = "".join(f"{step}" + f",{step}.5" * len(names) + "\n" for step in range(5))
    (tmp_path / "a.csv").write_text(f"Step,{','.join(names)}\n{rows}")
    runs = read_logs(tmp_path / "a.csv")
    assert runs.n_runs == 201
    assert runs.metrics == ("loss",)


# Nested, long, and odd values.


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_brackets_without_end_are_torn(name, tmp_path):
    (tmp_path / name).write_text("[" * 200_000 + "]" * 200_000)
    refusal(tmp_path / name, format=name[2:])
    deep = f'{{"step": 1, "loss": {"[" * 200_000}{"]" * 200_000}}}'
    (tmp_path / name).write_text(f"[{deep}]" if name == "a.json" else f"{JSONL}{deep}\n")
    if name == "a.json":
        refusal(tmp_path / name)
    else:
        runs = read_logs(tmp_path / name)
        assert runs.n_rows == 20
        assert "line 21" in runs.notes[0].text


@pytest.mark.parametrize("key", ["", "a", "k" * 900])
@pytest.mark.parametrize("depth", [5, 100, 900, 5000])
def test_objects_within_objects_are_read_as_deep_as_people_nest_them(key, depth, tmp_path):
    rows = [f'{{"step": {i}, "loss": {i}.5, "d": ' + f'{{"{key}": ' * depth + f"{i}" + "}" * depth for i in range(9)]
    (tmp_path / "a.jsonl").write_text(JSONL + "".join(f"{row}}}\n" for row in rows))
    runs = read_logs(tmp_path / "a.jsonl")
    # At 5000, a matter of the Python: from 3.12 on its reader takes so many, before that it gives up on the line.
    assert runs.column("loss")[1] in ((0.5, 1.5) if depth == 5000 else (1.5,))
    assert max(map(len, runs.metrics)) < 2500
    if depth == 5 and len(key) < 100:
        assert runs.column("/".join(["d", *[key] * 5]))[:9].tolist() == [*range(9)]


def test_integers_of_thousands_of_digits_are_infinite_or_torn(tmp_path):
    huge, beyond = "9" * 400, "9" * 10_000
    rows = [f'{{"step": {i}, "loss": 1.5, "big": {huge if i < 18 else beyond}}}\n' for i in range(20)]
    meta = f'{{"_meta": {{"seed": {huge}, "lr": 0.1}}}}\n'
    (tmp_path / "a.jsonl").write_text(meta + "".join(rows))
    runs = read_logs(tmp_path / "a.jsonl")
    assert runs.n_rows == 18
    assert np.isposinf(runs.column("big")).all()
    (tmp_path / "b.csv").write_text(f"{CSV}50,{beyond}\n{beyond},3\n")
    runs = read_logs(tmp_path / "b.csv")
    assert runs.steps.tolist() == [*range(51)]
    assert np.isposinf(runs.column("loss")[-1])
    (tmp_path / "c.jsonl").write_text(f'{{"step": {huge}, "loss": 1}}\n' * 3)
    refusal(tmp_path / "c.jsonl")


def test_totals_and_steps_beyond_all_floats_are_said(tmp_path):
    state = {"log_history": [{"step": 1, "loss": 2}, {"step": 2, "loss": 1}, {"train_runtime": int("9" * 400)}]}
    state["max_steps"] = int("9" * 400)
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert read_logs(tmp_path / "trainer_state.json").n_rows == 2
    folder = tmp_path / "0" / ("a" * 32)
    (folder / "metrics").mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_name: a\n")
    (folder / "metrics" / "loss").write_text(f"1 2.0 {'9' * 400}\n")
    assert "expected time, value and step" in refusal(folder / "metrics" / "loss")


HALVES = {
    "a.jsonl": '{{"step": {i}, "loss": {i}.5, "x\\ud800": {i}, "word": "a\\udfff"}}\n',
    "b.jsonl": '{{"step": {i}, "loss": {i}.5, "run": "r\\ud800"}}\n',
    "c.json": '{{"step": {i}, "loss": {i}.5, "x\\ud800": {{"y\\udc00": {i}}}}}',
    "d.jsonl": '{{"step": {i}, "loss": {i}.5, "nul\\u0000": {i}}}\n',
}


@pytest.mark.parametrize("name", [*HALVES, "e.json"])
def test_halves_of_characters_in_json_are_read_shown_and_written(name, tmp_path, trajhmm):
    if name == "e.json":
        text = '{"step": [0, 1, 2], "loss": [2, 1.5, 1], "x\\ud800": [1, 2, 4]}'
    else:
        rows = [HALVES[name].format(i=i) for i in range(9)]
        text = f"[{','.join(rows)}]" if name.endswith("json") else "".join(rows)
    (tmp_path / name).write_text(text)
    names = [text.encode() for text in (*read_logs(tmp_path / name).runs, *read_logs(tmp_path / name).metrics)]
    assert all(names)
    assert trajhmm("inspect", tmp_path / name).code == 0
    assert trajhmm("convert", tmp_path / name, "-o", tmp_path / "out.parquet").code == 0
    assert read_logs(tmp_path / "out.parquet").metrics == read_logs(tmp_path / name).metrics


def test_what_stands_before_the_rows_may_hold_halves_of_characters(tmp_path):
    first = '#{"t_start": 1.0, "env_id": "a\\ud800"}\n'
    (tmp_path / "monitor.csv").write_text(first + "r,l,t\n" + "".join(f"{i}.5,3,{i}.1\n" for i in range(9)))
    assert read_logs(tmp_path / "monitor.csv").attributes["env_id"].tolist() == ["a\\ud800"]


def test_one_tracker_writes_halves_of_characters_too(tmp_path):
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE metrics (run_name, step, metrics, timestamp)")
        connection.execute("CREATE TABLE configs (run_name, config)")
        rows = [("a", i, f'{{"loss": {i}.5, "x\\ud800": {i}}}', "") for i in range(5)]
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
        connection.execute("INSERT INTO configs VALUES ('a', ?)", ['{"k\\ud800": "\\ud800", "seed": 3}'])
    connection.close()
    runs = read_logs(path)
    assert set(runs.metrics) == {"loss", "x\\ud800"}
    assert runs.attributes.loc["a"].to_dict() == {"k\\ud800": "\\ud800", "seed": 3}


# Encodings, and names of files.


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_text_of_other_systems_is_read_with_a_mark_or_without(encoding, name, tmp_path):
    text = {"a.tsv": CSV.replace(",", "\t"), "a.csv": CSV, "a.jsonl": JSONL}.get(
        name, f"[{JSONL.strip()}]".replace("\n", ",")
    )
    (tmp_path / name).write_bytes(text.encode(encoding))
    if name == "a.json" and encoding.startswith("utf-16"):
        assert "no reader" in refusal(tmp_path / name)  # such files are known by their first bytes
        return
    assert read_logs(tmp_path / name).n_rows == (50 if name in ("a.csv", "a.tsv") else 20)


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-7", "cp500", "latin-1", "shift-jis"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_text_in_other_encodings_is_read_or_refused_in_a_line(encoding, name, tmp_path):
    text = CSV.replace("loss", "löss" if encoding == "latin-1" else "損失" if encoding == "shift-jis" else "loss")
    (tmp_path / name).write_bytes((JSONL if name == "a.jsonl" else text).encode(encoding))
    try:
        read_logs(tmp_path / name)
    except TrajHMMError:
        refusal(tmp_path / name)


def test_a_byte_of_latin_1_in_header_or_body_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV.replace("loss", "löss").encode("latin-1"))
    assert "the line of names is not UTF-8" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(f"{CSV}50,é\n".encode("latin-1"))
    assert "line 52 is not UTF-8 text (byte 0xe9)" in refusal(tmp_path / "b.csv")


def odd_names(folder):
    """Write logs whose names are not UTF-8, a format each."""
    for seed, suffix in enumerate((".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz")):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"step": range(60), "loss": np.repeat([3.0, 1.0], 30) + 0.1 * rng.normal(size=60)})
        path = folder / os.fsdecode(b"caf\xe9") / f"{seed}"
        path.mkdir(parents=True)
        path /= os.fsdecode(b"run \xe9") + suffix
        if suffix == ".jsonl":
            path.write_text(frame.to_json(orient="records", lines=True))
        elif suffix == ".parquet":
            path.write_bytes(frame.to_parquet())
        else:
            text = frame.to_csv(index=False, sep="\t" if suffix == ".tsv" else ",").encode()
            path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    return folder


EVERY_VERB = """
import sys
from trajhmm.cli import main
folder, out = sys.argv[1:]
fit = ["--states", "2", "--restarts", "1", "--halves", "0"]
for verb in (["inspect", folder], ["inspect", folder, "--json"], ["convert", folder, "-o", f"{out}.parquet"],
             ["fit", folder, "-o", f"{out}.json", *fit],
             ["decode", folder, "--model", f"{out}.json", "-o", f"{out}.states.parquet"]):
    sys.argv = ["trajhmm", *verb]
    try:
        main()
    except SystemExit as ended:
        print(verb[0], "ended with", ended.code or 0, flush=True)
"""


@pytest.mark.slow
def test_a_name_that_is_no_text_is_shown_by_its_numbers_by_every_verb(tmp_path):
    folder, out = odd_names(tmp_path / "logs"), os.fsencode(tmp_path) + b"/\xe9"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-c", EVERY_VERB, folder, out]
    done = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=200)
    assert done.stdout.count(b" ended with 0\n") == 5, done.stderr.decode(errors="replace")[-2000:]
    assert b"Traceback" not in done.stderr
    assert done.stdout.count(rb"udce9/4") >= 2
    assert read_logs(os.fsdecode(out + b".parquet")).n_rows == 300
    with Path(os.fsdecode(out + b".states.parquet")).open("rb") as states:
        assert pd.read_parquet(states)["run"].nunique() == 5
    runs = read_logs(folder)
    assert runs.runs == tuple(f"caf\\udce9/{seed}" for seed in range(5))


# What is no file.


def test_pipes_devices_and_sockets_are_no_files(tmp_path, trajhmm):
    os.mkfifo(tmp_path / "a.csv")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "b.csv"))
        (tmp_path / "c.csv").symlink_to("/dev/zero")
        for name, kind in (("a", "a named pipe"), ("b", "a socket"), ("c", "a device")):
            path = tmp_path / f"{name}.csv"
            said = f"{path}: is {kind}, no file; write what comes out of it to a file, and name that"
            assert refusal(path) == said
            assert trajhmm("inspect", path).error == [f"error: {said}"]
        (tmp_path / "d.csv").write_text(CSV)
        assert read_logs(tmp_path).runs == ("d",)
    assert "is a device" in refusal("/dev/null")


def test_a_pipe_does_not_hold_up_a_watch(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text(CSV)
    settings = Settings.of(run_by=(), rename=None, where=None, step=None)
    follower = Follower([tmp_path / name for name in ("a.csv", "b.parquet", "c.csv")], ["loss"], settings)
    assert sum(len(rows.steps) for rows in follower.poll()) == 50
    assert [str(path.name) for path in follower.torn] == ["a.csv", "b.parquet"]
    assert all("no file but a folder, pipe, device or socket" in reason for reason in follower.torn.values())


def test_a_link_that_leads_to_itself_hides_no_other_file(tmp_path):
    for run in range(40):
        (tmp_path / f"{run}.csv").write_text(CSV.replace(",0.5\n", f",0.5{run + 10}\n"))
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    runs = read_logs(tmp_path)
    assert runs.n_runs == 40
    assert [note.text for note in runs.notes] == [
        f"{tmp_path / 'loop.csv'}: cannot be looked at (Too many levels of symbolic links), passed over"
    ]


def test_folders_that_nobody_may_look_into_are_noted(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "closed").mkdir(mode=0)
    script = (
        "import os, sys; from trajhmm import read_logs\n"
        "read_logs(sys.argv[1] + '/a.csv')\n"
        "if not os.geteuid(): os.seteuid(65534)\n"
        "os.chdir('/proc'); runs = read_logs(sys.argv[1])\n"
        "print(*[note.text for note in runs.notes], sep='\\n')"
    )
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{tmp_path / 'closed'}: cannot be looked at (Permission denied), passed over\n", done.stderr


def test_a_reader_that_fails_in_a_way_that_nobody_foresaw_is_an_error_in_a_line(tmp_path, monkeypatch, trajhmm):
    from trajhmm.logs.sources import paths

    (tmp_path / "a.csv").write_text(CSV)
    for error in (KeyError("x"), RecursionError("deep\nand deeper"), MemoryError(), OSError(5, "Input/output error")):

        def fails(path, name, error=error):
            raise error

        found = paths.find_log_files(tmp_path / "a.csv")[0].format
        with monkeypatch.context() as patch:
            patch.setitem(found.__dict__, "read", fails)
            refusal(tmp_path / "a.csv")
            ended = trajhmm("inspect", tmp_path / "a.csv")
        assert (ended.code, len(ended.error)) == (1, 1)


# Conditions.


@pytest.mark.parametrize(
    "text",
    [
        "(" * 400 + "loss > 1" + ")" * 400,
        "not " * 4000 + "loss > 1",
        "loss > " + "1" * 50_000,
        "loss > " + "1" * 9000 + "x",
        "loss > 1" + "e1" * 4000,
        "loss > 1." + "1" * 9000 + "x",
        "`" + "a" * 50_000 + "` > 1",
        '"' * 9999,
        "loss in (" * 1000,
        "drop(" * 1000,
    ],
    ids=lambda text: text[:12],
)
def test_conditions_without_end_are_refused_at_once_in_a_line(text, tmp_path, trajhmm):
    started = time.monotonic()
    with pytest.raises(ConditionError) as refused:
        parse_condition(text)
    assert time.monotonic() - started < 1
    assert len(str(refused.value)) < 700
    (tmp_path / "a.csv").write_text(CSV)
    ended = trajhmm("inspect", tmp_path / "a.csv", "--where", text)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_conditions_that_a_person_may_write_are_evaluated():
    steps = {"step": np.arange(10.0)}
    many = parse_condition(" or ".join(f"step == {i}" for i in range(600)))
    assert many.evaluate(steps).all()
    few = parse_condition(" and ".join(f"step != {i}" for i in range(1, 600)))
    assert few.evaluate(steps).tolist() == [True] + [False] * 9
    deep = parse_condition("(" * 40 + "step > 4" + ")" * 40)
    assert deep.evaluate(steps).sum() == 5
    assert parse_condition("not not step > " + "0" * 400 + "4").evaluate(steps).sum() == 5
    assert parse_condition("step < " + "9" * 5000).evaluate(steps).all()
    assert parse_condition("step > 1.5e0 and step < .5e1").evaluate(steps).sum() == 3


# Tables of truth.


@pytest.mark.parametrize(
    "text",
    [
        "run,onset,collapse_step\n" + "x" * 131_072 + ",1,2\n",
        "run,onset,collapse_step\na,1," + "2" * 131_073 + "\n",
        "run,onset,collapse_step\na,1," + "2" * 4000 + "\n",
        "run,onset,collapse_step\na,1," + "2" * 5000 + "\n",
        f"run,onset,collapse_step\na,1,{2**63}\n",
        'run,onset,collapse_step\n"' + "a\n" * 100_000,
        "run,onset,collapse_step\na,1,2\na,1,2\n",
        "run,onset,collapse_step\na\n",
        ",".join(f"c{i}" for i in range(9000)) + "\n",
        "x" * 200_000,
        "\0" * 1000,
        "run,onset,collapse_step\na,\0,2\n",
    ],
    ids=lambda text: f"{text[24:40]!r} {len(text)}",
)
def test_truth_that_is_no_table_is_refused_in_a_line(text, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(LogError) as refused:
        read_truth(path)
    said = str(refused.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert len(said) < len(str(path)) + ONE_LINE


def test_truth_that_never_ends_or_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (
        hole(tmp_path / "truth.csv", b"run,onset,collapse_step\n"),
        tmp_path / "pipe.csv",
        "/dev/zero",
        tmp_path,
    ):
        with pytest.raises(LogError):
            read_truth(path)


def test_an_onset_that_is_text_is_refused_by_its_name(tmp_path):
    frame = pd.DataFrame({"run": ["a"] * 3, "step": range(3), "loss": [3.0, 2, 1], "onset": "late"})
    with pytest.raises(LogError, match=r"attribute 'onset' is text \('late'\); .* --onset"):
        attribute_onsets(read_logs(frame))


def test_the_bounds_are_what_the_messages_say():
    assert lines.LONGEST_LINE == 2**26
    assert encodings._MOST_UNPACKED < lines.LONGEST_LINE < lines.LONGEST
    assert table.MOST_COLUMNS == 16_384
