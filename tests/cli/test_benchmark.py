"""``trajhmm benchmark``: tables and a page, the same bytes twice."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.once
def test_a_benchmark_of_a_few_is_written_and_told(trajhmm_process, tmp_path):
    line = (
        "--data",
        DATA,
        "--set",
        "classifier",
        "--detector",
        "nonfinite,olmo_core",
        "--budget",
        "0.1",
        "--jobs",
        "1",
    )
    first = trajhmm_process("benchmark", "-o", tmp_path / "a", *line)
    assert first.code == 0, first.err
    assert "olmo_core             recall 0.77 (0.63–0.88)" in first.out
    assert first.err.endswith("a: results.csv, runs.csv, index.html\n")
    trajhmm_process("benchmark", "-o", tmp_path / "b", *line)
    names = ["index.html", "results.csv", "runs.csv"]
    for folder in ("a", "b"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    page = (tmp_path / "a" / "index.html").read_text()
    assert hashlib.sha256((DATA / "audit_classifier/runs.parquet").read_bytes()).hexdigest()[:12] in page
    assert "http://" not in page
    assert "https://" not in page
    table = pd.read_csv(tmp_path / "a" / "results.csv")
    recall = table.query("detector == 'olmo_core' and situation == 'matched'")["recall"].iloc[0]
    assert f"{recall:.2f} (" in page


def test_a_folder_that_holds_no_data_is_said(trajhmm, tmp_path):
    told = trajhmm("benchmark", "-o", tmp_path / "a", "--data", tmp_path)
    assert told.code == 1
    assert "missing; --data names the folder data/" in told.err
