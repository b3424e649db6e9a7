"""JSON lines under any name, whole JSON files, and what is no log."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import TrajHMMError, read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats.registry import format_of, recognised
from trajhmm.logs.settings import Settings

ROWS = [{"iteration": 20 * t, "loss": 1 / (t + 1), "lr": 0.1} for t in range(6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table_of(path):
    return format_of(path).read(path, "run")


@pytest.mark.parametrize("name", ["metrics.json", "a.json", "a.log", "log.txt", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_lines_are_known_by_what_they_hold(name, encoding, tmp_path):
    table = table_of(written(tmp_path / name, LINES.encode(encoding)))
    assert table.numbers["iteration"].tolist() == [0, 20, 40, 60, 80, 100]
    assert table.numbers["loss"].tolist() == [1 / (t + 1) for t in range(6)]


def test_json_lines_in_utf16_are_read(tmp_path):
    assert table_of(written(tmp_path / "a.jsonl", LINES.encode("utf-16"))).n == 6


def test_a_first_line_of_settings_may_be_long(tmp_path):
    settings = json.dumps({"env": "x" * 10_000, "seed": 3}) + "\n"
    assert table_of(written(tmp_path / "a.log", settings + LINES)).n == 7


FRAME = pd.DataFrame({"step": range(4), "loss": [3.5, 2.0, None, 1.0]})


@pytest.mark.parametrize(
    "text",
    [
        FRAME.to_json(orient="records"),
        json.dumps(json.loads(FRAME.to_json(orient="records")), indent=2),
        json.dumps({"step": [0, 1, 2, 3], "loss": [3.5, 2, None, 1]}),
        json.dumps({"step": [0, 1, 2, 3], "loss": [3.5, 2, None, 1]}, indent=1),
    ],
)
def test_one_array_of_rows_and_one_object_of_columns_are_read(text, tmp_path):
    table = table_of(written(tmp_path / "a.json", text))
    assert table.numbers["step"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(table.numbers["loss"], [3.5, 2, np.nan, 1])
    assert table.present["loss"].tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"lr": 0.1, "epochs": 3, "optimizer": {"betas": [0.9, 0.95]}}, indent=2),
        json.dumps({"lr": 0.1, "step": 3}),
        json.dumps({"step": 1000, "eval_loss": 0.25}) + "\n",
        json.dumps({"betas": [0.9, 0.999], "shape": [8, 8]}),
        json.dumps([{"name": "a"}, {"name": "b"}]),
        '{"text": "one", "label": 0}\n{"text": "two", "label": 1}\n{"text": "three", "label": 1}\n',
        "[1, 2, 3]",
        "{",
        "null",
        "",
        "\0\0\0",
        "some words\nand more",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "train.log", "notes.txt"])
def test_what_is_no_log_is_passed_over_in_a_folder(text, name, tmp_path):
    written(tmp_path / "run.csv", "step,loss\n0,2\n1,1.5\n")
    path = written(tmp_path / name, text)
    assert recognised(path) is None
    runs = read_logs(tmp_path)
    assert (runs.runs, runs.notes) == (("run",), ())
    with pytest.raises(TrajHMMError, match=rf"{name}: no reader for .*convert --from") as error:
        read_logs(path)
    assert len(str(error.value).splitlines()) == 1


TORN = {
    '{"step": 3, "lo{"step": 3, "loss": 1}': "is not JSON",
    '{"step": 3, "loss"': "is not JSON",
    "0.25}": "is not JSON",
    "25": "is not an object but '25'",
    "\0\0\0": "holds NUL bytes",
    '\0\0{"step": 3}': "holds NUL bytes",
    b'{"step": 3, "\xff"}': "is not UTF-8 text",
}
STEPS = [json.dumps({"step": t, "loss": [t / 3, float("nan"), None][t % 3]}) for t in range(9)]


@pytest.mark.parametrize("line", TORN)
def test_a_torn_line_is_skipped_and_told(line, tmp_path):
    torn = line if isinstance(line, bytes) else line.encode()
    path = written(tmp_path / "a.jsonl", "\n".join(STEPS).encode() + b"\n\n" + torn + b"\n" + STEPS[0].encode())
    table = table_of(path)
    assert table.numbers["step"].tolist() == [*range(9), 0]
    (note,) = table.notes
    assert note.kind == "torn"
    assert f"a.jsonl: 1 line is no row, left out: line 11 {TORN[line]}" in note.text


def test_mostly_torn_json_stays_an_error(tmp_path):
    with pytest.raises(TrajHMMError, match=r"a\.jsonl: line 10 is not JSON"):
        table_of(written(tmp_path / "a.jsonl", "\n".join(STEPS + ["{"] * 9) + "\n"))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(["a.jsonl", "metrics.json"]))
def test_rows_are_the_same_live_as_in_a_batch(tmp_path_factory, data, name):
    lines = [*STEPS[:6], '{"_summary": {"x": 1}}', '{"step": 3, "lo{"step": 3}', "\0\0", *STEPS[6:], *STEPS[4:]]
    ends = np.cumsum([len(line) + 1 for line in lines])
    raw = ("\n".join(lines) + "\n").encode()
    folder = tmp_path_factory.mktemp("logs")
    path, table = folder / name, table_of(written(folder / "whole" / name, raw))
    follower = Follower([path], ("loss",), Settings.of(run_by=(), rename=None, where=None, step=None))
    least = 1 if name == "metrics.json" else int(ends[1])
    cuts = sorted(data.draw(st.sets(st.integers(least, len(raw)), max_size=8)))
    found, at = [], 0
    for cut in [*cuts, len(raw)]:
        with path.open("ab") as file:
            file.write(raw[at:cut])
        at = cut
        found += [(rows.steps, rows.values[:, 0], rows.logged[:, 0]) for rows in follower.poll()]
        assert not follower.torn
    steps, loss, logged = (np.concatenate(column) for column in zip(*found, strict=True))
    np.testing.assert_array_equal(steps, table.numbers["step"])
    np.testing.assert_array_equal(loss, table.numbers["loss"])
    np.testing.assert_array_equal(logged, table.present["loss"])
