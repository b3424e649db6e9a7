"""Files as spreadsheets, other systems and hurried people write them."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import RunSet, TrajHMMError, read_logs, scan_logs
from trajhmm.logs.inspect import describe

PLAIN = "step,loss,acc\n0,3,0.1\n1,2.5,0.2\n2,1e-3,0.4\n"
ODD = {
    "byte order mark": "\ufeff" + PLAIN,
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "no newline at the end": PLAIN[:-1],
    "spaces after commas": PLAIN.replace(",", ", "),
    "spaces in the header": PLAIN.replace("step,loss,acc", " step ,loss , acc"),
    "quoted header": PLAIN.replace("step,loss,acc", '"step","loss","acc"'),
    "quoted numbers": PLAIN.replace("2.5", '"2.5"').replace("1,", '"1",'),
    "an index without a name": ",step,loss,acc\n" + "".join(f"{i},{row}\n" for i, row in enumerate(PLAIN.split()[1:])),
    "commas at the ends of lines": PLAIN.replace("\n", ",,\n"),
    "steps as floats": PLAIN.replace("0,3", "0.0,3").replace("1,2.5", "1.0,2.5"),
    "blank lines at the end": PLAIN + "\n\n",
    "signs and exponents": PLAIN.replace("2.5", "+25e-1"),
}


@pytest.mark.parametrize("way", ODD)
def test_csv_files_may_be_odd(way, tmp_path):
    (tmp_path / "a.csv").write_bytes(ODD[way].encode())
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss", "acc")
    assert runs.steps.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(runs.values, [[3, 0.1], [2.5, 0.2], [1e-3, 0.4]])
    assert not [note for note in runs.notes if note.kind in ("non-finite", "blank", "constant")]


@pytest.mark.parametrize("word", ["None", "none", "null", "NULL", "NA", "n/a", "-", " ", '""'])
def test_words_for_a_blank_are_blanks_among_numbers(word, tmp_path):
    (tmp_path / "a.csv").write_text(f"step,loss,acc\n0,3,{word}\n1,2,0.5\n2,1,{word}\n3,0.5,0.7\n")
    np.testing.assert_array_equal(read_logs(tmp_path).column("acc"), [np.nan, 0.5, np.nan, 0.7])
    assert read_logs(tmp_path).logged[:, 1].tolist() == [False, True, False, True]


def test_a_setting_called_none_is_a_name_where_others_have_names(tmp_path):
    for name, norm in {"a": "none", "b": "ln"}.items():
        (tmp_path / f"{name}.csv").write_text(f"step,loss,norm\n0,3,{norm}\n1,2,{norm}\n")
    assert read_logs(tmp_path).attributes["norm"].tolist() == ["none", "ln"]


def test_a_metric_that_is_none_throughout_one_run_is_blank_there(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,acc\n0,3,None\n1,2,None\n")
    (tmp_path / "b.csv").write_text("step,loss,acc\n0,3,0.5\n1,2,0.7\n")
    np.testing.assert_array_equal(read_logs(tmp_path).column("acc"), [np.nan, np.nan, 0.5, 0.7])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_compressed_text_is_read(suffix, tmp_path):
    text = {
        "csv": PLAIN,
        "tsv": PLAIN.replace(",", "\t"),
        "jsonl": '{"step": 0, "loss": 3}\n{"step": 1, "loss": 2.5}\n',
    }
    (tmp_path / f"a.{suffix}.gz").write_bytes(gzip.compress(text[suffix].encode()))
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    assert runs.column("loss")[:2].tolist() == [3, 2.5]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_torn_compressed_text_is_an_error_that_names_the_file(suffix, tmp_path):
    whole = gzip.compress(b"".join(b'{"step": %d, "loss": %d}\n' % (i, i * i) for i in range(500)))
    (tmp_path / f"a.{suffix}.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrajHMMError, match=rf"a\.{suffix}\.gz: "):
        read_logs(tmp_path)


def test_json_lines_may_start_with_a_byte_order_mark_and_have_windows_line_ends(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"step": 0, "loss": 3}\r\n\r\n{"step": 1, "loss": 2}\r\n')
    assert read_logs(tmp_path).values.tolist() == [[3], [2]]


def test_lists_in_json_lines_are_left_out_and_said(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 0, "loss": 3, "h": [1, 2]}\n{"step": 1, "loss": 2, "h": null}\n')
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    assert [note.text.rpartition("/")[2] for note in runs.notes] == ["a.jsonl: neither numbers nor text, left out: h"]


def test_numbers_that_json_lines_spell_out_are_numbers(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": "0", "loss": "3"}\n{"step": "1", "loss": "2.5"}\n')
    assert read_logs(tmp_path).values.tolist() == [[3], [2.5]]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "step,loss\n0,1\n1,oops\n2,3\n", r"a\.csv: line 3, column 'loss': expected a number, found 'oops'"),
        ("a.jsonl", '{"step":0,"loss":1}\n\n{"step":1,"loss":"oops"}\n{"step":2,"loss":3}\n', r"line 3, column 'loss'"),
        ("a.csv", "step,loss\n0,1\n1,2,3\n", r"a\.csv: not a table with a header and rows of one width"),
        ("a.csv", "step,loss,acc\n0,1,2\n1,2\n", r"a\.csv: not a table with a header and rows of one width"),
        ("a.csv", "", r"a\.csv: holds no rows$"),
        ("a.csv", "step,loss\n", r"a\.csv: holds no rows$"),
        ("a.jsonl", "", r"a\.jsonl: holds no rows$"),
        ("a.jsonl", '{"_meta": {"seed": 1}}\n', r"a\.jsonl: holds no rows$"),
        ("a.csv", "tick,loss\n0,1\n", r"a\.csv: no column 'step' .*--step COLUMN"),
        ("a.csv", 'step,loss\n"1,000",1\n"2,000",2\n', r"a\.csv: column 'step' is text \('1,000'\)"),
        ("a.csv", "step,loss\n0,1\n0.5,2\n", r"a\.csv: column 'step' must hold whole numbers, found 0\.5"),
        ("a.csv", "step,loss\n0,1\n1e300,2\n", r"a\.csv: column 'step' holds 1e\+300; expected steps below 2\^53"),
        ("a.csv", "step,loss\n0,1\n9223372036854775807,2\n", r"a\.csv: column 'step' holds 9\.22337e\+18"),
        ("a.csv", "step,loss\n,1\n,2\n", r"a\.csv: no rows with a step"),
        ("a.csv", "step,name\n0,x\n1,y\n", r"no numeric metric besides 'step'"),
        ("a.csv", "step\n0\n1\n", r"no numeric metric besides 'step'"),
        ("a.csv", "step,lr\n0,0.1\n1,0.1\n", r"no numeric metric besides 'step' \(constant within each run: lr\)"),
        ("a.jsonl", "[1, 2]\n", r"a\.jsonl: line 1 is not an object but '\[1, 2\]'"),
        ("a.jsonl", '{"step": 0\n{"step": 1}\n', r"a\.jsonl: line 1 is not JSON"),
        ("a.jsonl", '{"step": 0, "loss": ' + "[" * 9999 + "\n{}\n", r"a\.jsonl: line 1 is not JSON"),
        ("a.jsonl", '{"step": 0, "loss": 1' + "0" * 9999 + "}\n{}\n", r"a\.jsonl: line 1 is not JSON"),
        ("a.txt", PLAIN, r"a\.txt: no reader for '\.txt' that begins like this; known are parquet"),
        ("a", PLAIN, r"a: no reader for 'a file without a suffix'"),
        ("a.parquet.gz", PLAIN, r"a\.parquet\.gz: no reader for '\.gz'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error_that_says_where(name, text, complaint, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(TrajHMMError, match=complaint) as error:
        read_logs(tmp_path / name)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_bytes_that_are_no_text_are_an_error(suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_bytes(
        b'step,run\n0,"\xe9"\n' if suffix == "csv" else b'{"step": 0, "run": "\xe9"}\n'
    )
    with pytest.raises(TrajHMMError, match=rf"a\.{suffix}: "):
        read_logs(tmp_path)


def test_an_integer_beyond_all_floats_is_an_event(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 0, "loss": 1}\n{"step": 1, "loss": -1' + "0" * 400 + "}\n")
    assert read_logs(tmp_path).values.tolist() == [[1], [-np.inf]]


def test_files_without_rows_beside_others_are_left_out_and_said(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "b.csv").write_text("step,loss,acc\n")
    (tmp_path / "c.jsonl").write_text('{"_meta": {"seed": 1}}\n')
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    assert [str(note).rpartition("/")[2] for note in runs.notes] == [
        "b.csv: holds no rows, left out",
        "c.jsonl: holds no rows, left out",
    ]


def test_the_file_that_lacks_the_step_is_named(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "b.csv").write_text(PLAIN.replace("step", "tick"))
    with pytest.raises(TrajHMMError, match=r"b\.csv: no column 'step' \(found: tick, loss, acc\)"):
        read_logs(tmp_path)


def test_a_metric_that_is_text_in_another_file_is_an_error_that_names_both(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,acc\n0,3,0.5\n1,2,0.5\n")
    (tmp_path / "b.csv").write_text(PLAIN)
    (tmp_path / "c.csv").write_text("step,loss,acc\n0,3,low\n1,2,high\n")
    with pytest.raises(TrajHMMError, match=r"c\.csv: column 'acc' is text \('low'\) but holds numbers in .*b\.csv"):
        read_logs(tmp_path)


def test_whole_numbers_booleans_and_small_floats_are_metrics(tmp_path):
    columns = {
        "step": pa.array([0, 1, 2], type=pa.uint8()),
        "count": pa.array([1, 2**40, 3], type=pa.int64()),
        "half": pa.array(np.array([0.1, 0.2, 0.3], dtype=np.float16)),
        "single": pa.array([0.1, 0.2, 0.3], type=pa.float32()),
        "decimal": pa.array([1, 2, 3], type=pa.decimal128(8, 2)),
        "flag": pa.array([True, False, None]),
        "times": pa.array([1, 2, 3], type=pa.duration("s")),
        "lists": pa.array([[1], [2], [3]]),
        "when": pa.array([1, 2, 3], type=pa.timestamp("s")),
        "nothing": pa.nulls(3),
        "no text": pa.array([None, None, None], type=pa.string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    runs = read_logs(tmp_path)
    assert runs.metrics == ("count", "half", "single", "decimal", "flag")
    np.testing.assert_array_equal(runs.column("count"), [1, 2**40, 3])
    np.testing.assert_array_equal(runs.column("half"), np.array([0.1, 0.2, 0.3], dtype=np.float16))
    np.testing.assert_array_equal(runs.column("single"), np.array([0.1, 0.2, 0.3], dtype=np.float32))
    np.testing.assert_array_equal(runs.column("flag"), [1, 0, np.nan])
    said = " ".join(note.text for note in runs.notes if note.kind == "left-out")
    for name in ("times (duration[s])", "lists (list", "text column when", "column nothing", "column no text"):
        assert name in said


def test_text_columns_may_be_encoded_in_any_way(tmp_path):
    chunks = [pa.array(["ln", "ln"]).dictionary_encode(), pa.array(["bn", "bn"]).dictionary_encode()]
    columns = {
        "step": [0, 1, 0, 1],
        "loss": [1.0, 2, 3, 4.5],
        "run": pa.chunked_array(chunks),
        "large": pa.array(["x", "x", "y", "y"], type=pa.large_string()),
        "level": pa.array([5, 5, 6, 6]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    runs = read_logs(tmp_path)
    assert runs.runs == ("bn", "ln")
    assert runs.values[:, 0].tolist() == [3, 4.5, 1, 2]
    assert runs.attributes.to_dict("list") == {"large": ["y", "x"], "level": [6, 5]}


@pytest.mark.parametrize("length", [50, 9_000])
def test_text_is_read_alike_from_small_and_large_files(length, tmp_path):
    """Large ones are read as codes, with words of their own in each row group."""
    runs = [f"r{number}" for number in range(4)]
    columns = {
        "run": np.repeat(runs, length),
        "step": np.tile(np.arange(length), 4),
        "loss": np.random.default_rng(0).normal(size=4 * length),
        "norm": np.repeat(np.array(["ln", None, "bn", "ln"], dtype=object), length),
        "host": np.tile(np.arange(length).astype(str), 4),
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet", row_group_size=length + length // 3)
    read = read_logs(tmp_path)
    assert read.runs == tuple(runs)
    np.testing.assert_array_equal(read.column("loss"), columns["loss"])
    assert read.attributes["norm"].fillna("-").tolist() == ["ln", "-", "bn", "ln"]
    assert read.attributes.columns.tolist() == ["norm"]


def test_two_columns_of_one_name_in_parquet_are_both_read(tmp_path):
    table = pa.table([pa.array([0, 1]), pa.array([1.0, 2]), pa.array([1.0, 3])], names=["step", "loss", "loss"])
    pq.write_table(table, tmp_path / "a.parquet")
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss", "loss.1")
    np.testing.assert_array_equal(runs.values, [[1, 1], [2, 3]])
    assert any("two columns are called loss; the later one is read as loss.1" in note.text for note in runs.notes)
    copies = table.select([0, 1]).append_column("loss", table.column(1))
    pq.write_table(copies, tmp_path / "a.parquet")
    assert read_logs(tmp_path).metrics == ("loss",)
    assert scan_logs([tmp_path]).metrics == ("loss",)
    with pytest.raises(TrajHMMError, match="DataFrame: "):
        RunSet.from_frame(pd.DataFrame([[0, 1, 2]], columns=["step", "loss", "loss"]))


def test_a_parquet_file_in_which_nothing_is_yet_is_left_out_of_its_folder(tmp_path):
    pd.DataFrame({"step": range(40), "loss": np.arange(40.0)}).to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "begun.parquet").touch()
    runs = read_logs(tmp_path)
    assert runs.runs == ("whole",)
    assert any(note.text.endswith("begun.parquet: holds no rows, left out") for note in runs.notes)


@pytest.mark.parametrize("bytes_left", [1, 3, 4, 8, 100, -1000, -500, -9, -8, -4, -1])
def test_torn_parquet_is_an_error_that_names_the_file(bytes_left, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"step": range(400), "loss": rng.normal(size=400), "acc": rng.normal(size=400)})
    frame.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    assert len(whole) > 2000
    (tmp_path / "torn.parquet").write_bytes(whole[:bytes_left])
    with pytest.raises(TrajHMMError, match=r"torn\.parquet: not a whole Parquet file, torn or half-written") as error:
        read_logs(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_parquet_file_torn_in_the_middle_is_an_error(tmp_path):
    """The end, which is read first, is whole."""
    pd.DataFrame({"step": range(4000), "loss": np.random.default_rng(0).normal(size=4000)}).to_parquet(
        tmp_path / "a.parquet"
    )
    raw = bytearray((tmp_path / "a.parquet").read_bytes())
    raw[100:4000] = bytes(3900)
    (tmp_path / "a.parquet").write_bytes(raw)
    with pytest.raises(TrajHMMError, match=r"a\.parquet: not a whole Parquet file"):
        read_logs(tmp_path)


@pytest.mark.once
def test_a_long_csv_may_change_from_whole_numbers_to_fractions(tmp_path):
    """pyarrow reads in blocks of a megabyte and must not settle on integers at the first."""
    lines = (f"{i},{0 if i < 90_000 else 0.5},{'' if i < 120_000 else i / 3}" for i in range(130_000))
    (tmp_path / "a.csv").write_text("step,loss,rare\n" + "\n".join(lines))
    runs = read_logs(tmp_path)
    assert runs.column("loss")[[0, 89_999, 90_000]].tolist() == [0, 0, 0.5]
    assert runs.column("rare")[120_000] == 40_000


def test_an_attribute_may_be_blank_at_first(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,seed,norm\n0,3,,\n1,2,7,ln\n2,1,7,ln\n")
    assert read_logs(tmp_path).attributes.loc["a"].tolist() == [7, "ln"]


def test_one_row_and_one_run_can_be_read(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,acc\n7,1,nan\n")
    runs = read_logs(tmp_path)
    assert (runs.runs, runs.metrics, runs.steps.tolist()) == (("a",), ("loss", "acc"), [7])


def test_negative_and_large_steps_are_kept_exactly(tmp_path):
    (tmp_path / "a.csv").write_text(f"step,loss\n-5,1\n0,2\n{2**53 - 1},3\n")
    assert read_logs(tmp_path).steps.tolist() == [-5, 0, 2**53 - 1]


@pytest.mark.parametrize(
    ("where", "steps"),
    [
        ("step > 0", [1, 2, 1, 2]),
        ("loss < 2.4 and norm == 'ln'", [1, 2]),
        ("run == 'b'", [0, 1, 2]),
        ("run in ('a', 'b') and step == 2", [2, 2]),
        ("seed == 1", [0, 1, 2]),
    ],
)
def test_where_keeps_the_rows_that_meet_it(where, steps, tmp_path):
    (tmp_path / "a.csv").write_text("step,loss,norm,seed\n0,3,ln,0\n1,2,ln,0\n2,1,ln,0\n")
    (tmp_path / "b.csv").write_text("step,loss,norm,seed\n0,3.5,bn,1\n1,2.5,bn,1\n2,2.3,bn,1\n")
    assert read_logs(tmp_path, where=where).steps.tolist() == steps


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"where": "foo > 1"}, r"--where 'foo > 1': no column 'foo' \(found: step, loss, acc\)"),
        ({"where": "drop(acc) > 0.1"}, r"--where 'drop\(acc\) > 0.1': drop and ratio look back along a run"),
        ({"where": "step > 9"}, r"--where 'step > 9': none of 3 rows meets the condition"),
        ({"run_by": "seed"}, r"a\.csv: no column 'seed' for --run-by \(found: step, loss, acc\)"),
        ({"step": "it"}, r"a\.csv: no column 'it' for --step"),
        ({"step": "acc"}, r"a\.csv: column 'acc' must hold whole numbers, found 0\.1"),
        ({"rename": {"foo": "bar"}}, r"--rename foo=bar: no column 'foo'"),
        ({"rename": {"foo": "loss"}}, r"--rename foo=loss: no column 'foo'"),
        ({"rename": {"acc": "loss"}}, r"a\.csv: --rename gives 2 columns the name 'loss'"),
        ({"rename": {"acc": "x", "loss": "x"}}, r"a\.csv: --rename gives 2 columns the name 'x'"),
        ({"format": "xlsx"}, r"no reader called 'xlsx'; known are parquet, .*csv, tsv, json, jsonl"),
        ({"format": "parquet"}, r"a\.csv: not a whole Parquet file"),
    ],
)
def test_settings_that_do_not_fit_the_logs_are_errors(settings, complaint, tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    with pytest.raises(TrajHMMError, match=complaint):
        read_logs(tmp_path / "a.csv", **settings)


def test_text_cannot_count_steps(tmp_path):
    (tmp_path / "a.csv").write_text("when,loss\nMonday,3\nTuesday,2\n")
    with pytest.raises(TrajHMMError, match="column 'when' is text; the step must be a whole number"):
        read_logs(tmp_path, step="when")


@pytest.mark.parametrize("paths", [[], ["nowhere.csv"], ["empty"]])
def test_nothing_to_read_is_an_error(paths, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    with pytest.raises(TrajHMMError, match=r"no such file or folder|no log files"):
        read_logs([tmp_path / path for path in paths])


def test_describe_counts_what_is_in_the_logs(tmp_path):
    (tmp_path / "a.csv").write_text(
        "step,loss,acc,lr\n0,3,0.1,0.5\n10,2,0.5,0.5\n20,nan,,0.5\n10,2.5,,0.5\n20,inf,0.7,0.5\n"
    )
    (tmp_path / "b.csv").write_text("step,loss,acc,lr\n" + "".join(f"{s},{s},,0.1\n" for s in (0, 1, 2, 3, 4, 5, 8)))
    described = describe(read_logs(tmp_path))
    assert (described["n_runs"], described["n_rows"]) == (2, 10)
    assert (described["first_step"], described["last_step"]) == (0, 20)
    a, b = described["runs"]
    assert a == {
        "run": "a",
        "rows": 3,
        "first_step": 0,
        "last_step": 20,
        "gaps": 0,
        "resumes": 1,
        "non_finite": 1,
        "attributes": {"lr": 0.5},
    }
    assert (b["gaps"], b["resumes"], b["non_finite"], b["attributes"]) == (1, 0, 0, {"lr": 0.1})
    loss, acc = described["metrics"]
    assert loss == {"metric": "loss", "logged": 1.0, "non_finite": 1, "min": 0.0, "max": 8.0}
    assert acc == {"metric": "acc", "logged": 0.2, "non_finite": 0, "min": 0.1, "max": 0.7}


def assert_read_or_refused(path):
    """Read a file into runs that hold together, or refuse it with one or two lines."""
    try:
        runs = read_logs(path)
    except TrajHMMError as refusal:
        runs, message = None, str(refusal)
        assert 0 < len(message.splitlines()) <= 2
    if runs is not None:
        assert runs.n_rows == len(runs.steps) == len(runs.values) == runs.lengths.sum() > 0
        assert all((np.diff(runs.steps[rows]) > 0).all() for _, rows in runs.slices())


PIECES = [
    "step",
    "loss",
    "run",
    ",",
    "\n",
    "\t",
    '"',
    "{",
    "}",
    ":",
    "0",
    "1",
    "2.5",
    "-3e9",
    "nan",
    "null",
    "x",
    "\u00e9",
    "",
    "\r\n",
]


@settings(max_examples=300, deadline=None)
@given(
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
    start=st.sampled_from(["", PLAIN, '{"step": 0, "loss": 1}\n{"step": 1, "loss": 2}\n', "step,loss\n0,1\n1,2\n"]),
    rest=st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
)
@pytest.mark.once
def test_any_text_is_read_or_is_an_error_with_a_message(suffix, start, rest, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / f"a.{suffix}"
    path.write_text(start + rest)
    assert_read_or_refused(path)


@settings(max_examples=200, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damaged_parquet_is_read_or_is_an_error_with_a_message(damage, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "a.parquet"
    pd.DataFrame({"run": ["a"] * 9 + ["ü"] * 9, "step": [*range(9)] * 2, "loss": np.arange(18) / 7}).to_parquet(path)
    raw = bytearray(path.read_bytes())
    for place, byte in damage:
        raw[place % len(raw)] = byte
    path.write_bytes(raw)
    assert_read_or_refused(path)
