"""A new format in one file and one line: lines of ``key=value``, as an example to copy."""

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import LogError
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats import registry
from trajhmm.logs.formats.format import Format, Growth
from trajhmm.logs.formats.lines import Lines
from trajhmm.logs.formats.table import table_from_cells
from trajhmm.logs.settings import Settings

# --- the one file ---


def read_key_values(path, name):
    """Read lines such as ``step=10 loss=0.25 phase=train``."""
    return read_some(Lines(header=b"", raw=path.read_bytes(), first=1), path, name)


def read_some(lines, path, name):
    """Read some lines of such a file."""
    rows = [dict(cell.split("=", 1) for cell in line.split()) for line in lines.raw.decode().splitlines()]
    columns = {key: [row.get(key) for row in rows] for row in rows for key in row}
    numbers = range(lines.first, lines.first + len(rows))
    return table_from_cells(columns, lines=numbers, path=path, name=name, attributes={}, as_text=lines.texts)


KEY_VALUES = Format(
    name="key-values",
    title="lines of key=value",
    names=r"\.log",
    read=read_key_values,
    takes=lambda _path, head: head.startswith(b"step="),
    growth=Growth(read=read_some),
)

# --- and the one line ---


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", (KEY_VALUES, *registry.FORMATS))


def line(step, *, phase="train"):
    return f"step={step} loss={1 / (1 + step)} phase={phase}\n"


def test_it_is_known_by_its_content_read_converted_and_said(tmp_path):
    (tmp_path / "a.log").write_text("".join(map(line, range(20))))
    (tmp_path / "b.log").write_text("Starting the server\n")
    (tmp_path / "c.csv").write_text("step,loss\n0,1\n1,0.5\n")
    runs = th.read_logs(tmp_path)
    assert runs.runs == ("a", "c")
    np.testing.assert_array_equal(runs.column("loss")[:20], 1 / (1 + np.arange(20)))
    assert runs.attributes["phase"].fillna("").tolist() == ["train", ""]
    assert [title for _, title in runs.files] == ["lines of key=value", "CSV"]
    assert th.read_logs(tmp_path / "a.log", format="key-values").n_rows == 20
    assert th.scan_logs(tmp_path).pieces[0].read().n_rows == 22
    with pytest.raises(LogError, match=r"b\.log: no reader for '\.log' that begins like this"):
        th.read_logs(tmp_path / "b.log")


def test_it_is_followed_line_by_line(tmp_path):
    follower = Follower([tmp_path], ["loss"], Settings.of(run_by=(), rename=None, where=None, step=None))
    path = tmp_path / "a.log"
    path.write_text(line(0) + line(1) + "step=2 lo")
    assert [rows.steps.tolist() for rows in follower.poll()] == [[0, 1]]
    with path.open("a") as file:
        file.write("ss=0.25 phase=train\n" + line(3))
    (rows,) = follower.poll()
    assert (rows.run, rows.steps.tolist(), rows.values[:, 0].tolist()) == ("a", [2, 3], [0.25, 0.25])
