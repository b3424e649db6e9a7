"""CSV and TSV as people have them: whole, and as they grow, line by line."""

import codecs

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import TrajHMMError, read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats.registry import format_of
from trajhmm.logs.settings import Settings

PLAIN = "step,loss,acc\n0,3,0.1\n1,2.5,0.2\n2,1e-3,0.4\n"
STEPS, LOSS, ACC = [0, 1, 2], [3, 2.5, 1e-3], [0.1, 0.2, 0.4]


def table_of(path):
    return format_of(path).read(path, "run")


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def kinds(table):
    return [note.kind for note in table.notes]


READ = {
    "semicolons": ("a.csv", PLAIN.replace(",", ";"), ["layout"]),
    "semicolons and decimal commas": ("a.csv", PLAIN.replace(",", ";").replace(".", ","), ["layout", "layout"]),
    "tabs in .csv": ("a.csv", PLAIN.replace(",", "\t"), ["layout"]),
    "commas in .tsv": ("a.tsv", PLAIN, ["layout"]),
    "bars": ("a.csv", PLAIN.replace(",", "|"), ["layout"]),
    "UTF-8 with a mark": ("a.csv", "\ufeff" + PLAIN, []),
    "UTF-16": ("a.csv", PLAIN.encode("utf-16"), ["layout"]),
    "UTF-16, most significant byte first": ("a.csv", codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"), ["layout"]),
    "UTF-16 without a mark": ("a.csv", PLAIN.encode("utf-16-le"), ["layout"]),
    "UTF-16 and tabs": ("a.csv", PLAIN.replace(",", "\t").encode("utf-16"), ["layout", "layout"]),
    "a comment": ("a.csv", "# started 2024-01-01, seed 3\n" + PLAIN, ["left-out"]),
    "comments and blank lines": ("a.csv", "\n# a\n\n#b,c\n\n" + PLAIN, ["left-out"]),
    "names in a comment": ("a.csv", "# " + PLAIN, []),
    "what separates cells in a line of its own": ("a.csv", "sep=;\n" + PLAIN.replace(",", ";"), ["left-out", "layout"]),
    "a comma at the end of rows": ("a.csv", PLAIN.replace("\n", ",\n").replace("acc,\n", "acc\n"), []),
    "old line ends": ("a.csv", PLAIN.replace("\n", "\r"), []),
    "a mark, comments, semicolons and Windows line ends": (
        "a.csv", ("\ufeff# c\n" + PLAIN.replace(",", ";")).replace("\n", "\r\n"), ["left-out", "layout"],
    ),
    "NUL bytes before the header": ("a.csv", "\0\0\0\n" + PLAIN, []),
}  # fmt: skip


@pytest.mark.parametrize("way", READ)
def test_what_is_unambiguous_is_read_and_noted(way, tmp_path):
    name, text, noted = READ[way]
    table = table_of(written(tmp_path / name, text))
    assert [table.numbers[column].tolist() for column in ("step", "loss", "acc")] == [STEPS, LOSS, ACC]
    assert (table.texts, table.present, kinds(table)) == ({}, {}, noted)


def test_commas_part_thousands_where_other_numbers_have_points_and_are_decimal_elsewhere(tmp_path):
    rows = ["999;{}", "1,000;{}", "-12,345,678;{}", "1,000.5;{}"]
    pointed = table_of(written(tmp_path / "a.csv", "\n".join(["tokens;loss", *rows]).format(*["0.5"] * 4)))
    assert pointed.numbers["tokens"].tolist() == [999, 1000, -12345678, 1000.5]
    assert kinds(pointed) == ["layout"]  # semicolons, and no decimal commas
    text = "tokens;loss\n0,125;0.5\n1,000;0.25\n"
    assert table_of(written(tmp_path / "b.csv", text)).numbers["tokens"].tolist() == [0.125, 1]
    text = "tokens;loss\n2,125;1\n1,000;2\n"
    assert table_of(written(tmp_path / "c.csv", text)).numbers["tokens"].tolist() == [2.125, 1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PLAIN.replace(",", " "), r"a\.csv: looks separated by spaces"),
        ("step;loss, train;acc\n0;3;0.1\n1;2;0.2\n", r"a\.csv: not a table .* looks separated by semicolons"),
        ("step;loss|acc\n0;3|0.1\n", r"a\.csv: semicolons and bars stand in the line of names"),
        ("step;loss\n0;1.234,5\n1;2,5\n2;0.5\n", r"column 'loss' has points and commas in its numbers \('1\.234,5'\)"),
        ("0,3\n1,2.5\n2,1\n", r"a\.csv: the first line holds numbers \(0,3\); add a line of names"),
        ("step,loss\n0,2,1\n1,1,9\n", r"a\.csv: not a table .*line 2 has 3 cells, expected 2"),
        (b"step,loss,run\n0,1,\xe9\n1,2,\xe9\n", r"a\.csv: line 2 is not UTF-8 text \(byte 0xe9\); save"),
        (b"step,l\xf6ss\n0,1\n", r"a\.csv: the line of names is not UTF-8"),
        ("step,loss\n\n0,1\n\n1\n2,oops\n3,1\n", r"a\.csv: line 6, column 'loss': expected a number, found 'oops'"),
        ("", r"a\.csv: holds no rows$"),
        (" \n\n", r"a\.csv: holds no rows$"),
        ("# nothing yet\n", r"a\.csv: holds no rows$"),
        (b"\0" * 64, r"a\.csv: holds no rows$"),
    ],
)  # fmt: skip
def test_what_is_not_is_an_error_that_names_the_cause(text, complaint, tmp_path):
    with pytest.raises(TrajHMMError, match=complaint) as error:
        read_logs(written(tmp_path / "a.csv", text))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("empty", ["", "\n", " \n\t\n", "\ufeff", "step,loss,acc", "step,loss,acc\n", "\0\0"])
def test_an_empty_file_beside_others_is_left_out_and_said(empty, tmp_path):
    written(tmp_path / "a.csv", PLAIN)
    written(tmp_path / "b.csv", empty)
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    assert [note.text.rpartition("/")[2] for note in runs.notes] == ["b.csv: holds no rows, left out"]


# Columns of one name


def test_equal_columns_of_one_name_are_kept_once(tmp_path):
    text = "step,loss,norm,norm, norm ,host,host\n0,3,1,1,1,a,a\n1,2,,,,b,b\n2,1,nan,nan,nan,b,b\n"
    table = table_of(written(tmp_path / "a.csv", text))
    assert table.columns == ("step", "loss", "norm", "host")
    (note,) = table.notes
    assert note.kind == "duplicate"
    assert note.text.endswith("a.csv: columns twice under one name, the same, kept once: norm, host")


@pytest.mark.parametrize("second", ["4", "", "nan"])
def test_columns_of_one_name_that_differ_are_told_apart(second, tmp_path):
    path = written(tmp_path / "a.csv", f"step,loss,loss,loss.1\n0,3,{second},7\n1,2,2,8\n2,1,1,9\n")
    table = table_of(path)
    assert table.columns == ("step", "loss", "loss.2", "loss.1")
    assert [note.text.rpartition(": ")[2] for note in table.notes if note.kind == "duplicate"] == [
        "two columns are called loss; the later one is read as loss.2"
    ]
    runs = read_logs(path, rename={"loss.2": "other", "loss.1": "third"})
    assert runs.metrics == ("loss", "other", "third")
    assert runs.column("other").tolist()[1:] == [2, 1]


# Lines that are no rows

ROWS = [f"{step},{1 / (step + 1)},{step / 7}" for step in range(8)]
NO_ROWS = {
    "step,loss,acc": "repeats the header",
    " step , loss,acc": "repeats the header",
    "3,0.2": "has 2 cells, expected 3",
    "3,0.23,0.25,1": "has 4 cells, expected 3",
    "\0\0\0\0": "holds NUL bytes",
    "\0\0\0004,0.2,0.5": "holds NUL bytes",
    '3,"0.2,1': "has a quote that does not end",
    "# resumed": "is a comment",
}


def with_lines(lines):
    return "\n".join(["step,loss,acc", *lines]) + "\n"


@pytest.mark.parametrize("line", NO_ROWS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_line_that_is_no_row_is_skipped_and_told_by_its_number(line, ends, tmp_path):
    text = with_lines([*ROWS[:3], "", line, *ROWS[3:]]).replace("\n", ends)
    table = table_of(written(tmp_path / "a.csv", text))
    assert table.numbers["step"].tolist() == list(range(8))
    assert table.numbers["acc"].tolist() == [step / 7 for step in range(8)]
    (note,) = table.notes
    assert (note.kind, note.text.rpartition("/")[2]) == (
        "torn", f"a.csv: 1 line is no row, left out: line 6 {NO_ROWS[line]}"
    )  # fmt: skip


def test_all_lines_that_are_no_rows_are_one_note(tmp_path):
    table = table_of(written(tmp_path / "a.csv", with_lines([*ROWS, *NO_ROWS, *ROWS])))
    assert table.n == 16
    (note,) = table.notes
    assert "a.csv: 8 lines are no rows, left out: line 10 repeats the header" in note.text
    assert note.text.endswith("line 14 holds NUL bytes and 3 more")


def test_the_half_written_row_of_a_job_that_was_killed_is_left_out(tmp_path):
    table = table_of(written(tmp_path / "a.csv", "step,loss,acc\n0,0.3"))
    assert table.n == 0
    assert table.notes[0].text.endswith("a.csv: 1 line is no row, left out: line 2 is half-written")
    assert table_of(written(tmp_path / "a.csv", with_lines(ROWS)[:-3].rpartition(",")[0])).n == 7


def test_a_file_most_of_whose_lines_are_torn_stays_an_error(tmp_path):
    path = written(tmp_path / "a.csv", with_lines([*ROWS, *["1,2"] * 7]))
    assert table_of(path).n == 8
    written(path, with_lines([*ROWS, *["1,2"] * 8]))
    with pytest.raises(TrajHMMError, match=r"a\.csv: not a table with .*line 10 has 2 cells, expected 3"):
        table_of(path)


def test_a_word_in_a_cell_of_numbers_is_an_error_beside_a_torn_line_too(tmp_path):
    with pytest.raises(TrajHMMError, match="line 12, column 'acc': expected a number, found 'x'"):
        table_of(written(tmp_path / "a.csv", with_lines([*ROWS, "", "1", "9,1,x"])))


def test_names_of_columns_in_cells_are_no_header(tmp_path):
    """A text column may hold its own name, a table of text alone too as long as no row is the header."""
    table = table_of(written(tmp_path / "a.csv", "step,host\n0,host\n1,step\n"))
    assert table.texts["host"].cells().tolist() == ["host", "step"]
    table = table_of(written(tmp_path / "b.csv", "run,host\nrun,a\nb,host\n"))
    assert table.n == 2


# Growing

LINES = {
    "rows": ROWS,
    "header again": [*ROWS[:4], "step,loss,acc", *ROWS[2:]],
    "torn": [*ROWS[:4], "4,0.1", "4,0.1,", "\0\0\0", "5,0.14,0.2", *ROWS[6:], "step,loss,acc", "9,,nan"],
}
SHAPES = {
    "csv": ("a.csv", lambda text: text, "utf-8"),
    "tsv": ("a.tsv", lambda text: text.replace(",", "\t"), "utf-8"),
    "semicolons": ("a.csv", lambda text: text.replace(",", ";").replace(".", ","), "utf-8-sig"),
    "comments": ("a.csv", lambda text: "# a\n\n# b\n" + text, "utf-8"),
    "savetxt": ("a.csv", lambda text: "# by a script\n# " + text, "utf-8"),
    "utf16": ("a.csv", lambda text: text, "utf-16"),
    "utf16-be": ("a.tsv", lambda text: "\ufeff" + text.replace(",", "\t"), "utf-16-be"),
    "copies": ("a.csv", lambda text: "".join(f"{line},{line}\n" if line[:1] != "#" else line for line in text.split()),
               "utf-8"),
}  # fmt: skip


def followed(follower):
    """Rows of a poll, as bytes."""
    found = [(rows.steps, rows.values, rows.logged) for rows in follower.poll()]
    return [np.concatenate(column).tolist() for column in zip(*found, strict=True)] if found else [[], [], []]


@settings(deadline=None, max_examples=80)
@given(data=st.data(), shape=st.sampled_from(sorted(SHAPES)), lines=st.sampled_from(sorted(LINES)))
def test_rows_are_the_same_live_as_in_a_batch(tmp_path_factory, data, shape, lines):
    name, reshaped, encoding = SHAPES[shape]
    raw = reshaped(with_lines(LINES[lines])).encode(encoding)
    folder = tmp_path_factory.mktemp("logs")
    path, whole = folder / name, folder / "whole" / name
    whole.parent.mkdir()
    table = table_of(written(whole, raw))
    follower = Follower([path], ("loss", "acc"), Settings.of(run_by=(), rename=None, where=None, step=None))
    found, at = [[], [], []], 0
    for cut in [*sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=8))), len(raw)]:
        with path.open("ab") as file:
            file.write(raw[at:cut])
        at = cut
        found = [one + more for one, more in zip(found, followed(follower), strict=True)]
    assert not follower.torn
    steps, values, logged = found
    np.testing.assert_array_equal(steps, table.numbers["step"])
    np.testing.assert_array_equal(np.transpose(values), [table.numbers["loss"], table.numbers["acc"]])
    stands = [table.present.get(name, np.ones(table.n, dtype=bool)) for name in ("loss", "acc")]
    np.testing.assert_array_equal(np.transpose(logged), stands)


def test_a_log_of_keras_by_the_name_that_its_documentation_gives(tmp_path):
    (tmp_path / "training.log").write_text("epoch,accuracy,loss\n0,0.5,2.0\n1,0.75,1.5\n")
    (tmp_path / "server.log").write_text("12:00 started, epoch 1\n12:01 done, ok\n")
    (tmp_path / "empty.log").write_text("")
    runs = read_logs(tmp_path)
    assert (runs.runs, runs.column("loss").tolist()) == (("training",), [2.0, 1.5])
    assert read_logs(tmp_path / "training.log").n_rows == 2
