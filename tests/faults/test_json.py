"""JSON that is nothing but small lists: read without the collector, or refused by what it would take in memory."""

import gc
import json

import pytest

from trajhmm import jsontext
from trajhmm.errors import LogError
from trajhmm.jsontext import TooManyValuesError, loads
from trajhmm.logs import read_logs

LONG = "[" + "[1]," * 30_000 + "[2]]"


@pytest.mark.parametrize("wrap", [str, str.encode])
def test_what_is_read_is_what_json_reads_and_the_collector_waits(monkeypatch, wrap):
    seen, read = [], json.loads

    def watched(text):
        seen.append(gc.isenabled())
        return read(text)

    monkeypatch.setattr(json, "loads", watched)
    assert loads(wrap(LONG)) == read(LONG)
    assert loads(wrap("[1]")) == [1]
    assert seen == [False, True]
    assert gc.isenabled()
    with pytest.raises(ValueError, match="Expecting"):
        loads(wrap(LONG[:-1]))
    assert gc.isenabled()


def test_who_has_the_collector_off_keeps_it_off():
    gc.disable()
    try:
        loads(LONG)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_takes_much_more_memory_than_its_text_is_refused(monkeypatch, tmp_path):
    assert len(loads(LONG)) == 30_001
    monkeypatch.setattr(jsontext, "_MOST", 3 << 20)
    with pytest.raises(TooManyValuesError, match="more values than fit in 3 MiB of memory"):
        loads(LONG)
    assert len(loads(json.dumps(["a" * 10_000] * 50))) == 50  # a long text is not many values
    rows = [{"step": step, "loss": 1.0 / (1 + step)} for step in range(5)]
    (tmp_path / "a.json").write_text(json.dumps([*rows, {"step": 5, "loss": json.loads(LONG)}]))
    with pytest.raises(LogError, match=r"a\.json: more values than fit .* in one JSON value; write one object a line"):
        read_logs(tmp_path / "a.json", format="json")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"loss": json.loads(LONG)}]))
    runs = read_logs(tmp_path / "a.jsonl")
    assert runs.steps.tolist() == [0, 1, 2, 3, 4]
    assert any("line 6 is not JSON (more values than fit in 3 MiB" in note.text for note in runs.notes)
