"""Names of runs: different runs have different names, or it is said."""

import pandas as pd
import pytest

from trajhmm.errors import LogError
from trajhmm.logs import read_logs


def test_runs_numbered_beyond_what_floats_hold_stay_apart(tmp_path):
    first, second = 2**60 + 1, 2**60 + 2
    frame = pd.DataFrame({"run": [first] * 5 + [second] * 5, "step": [*range(5)] * 2, "loss": range(10)})
    frame.to_parquet(tmp_path / "logs.parquet")
    runs = read_logs(tmp_path)
    assert runs.runs == (str(first), str(second))
    assert runs.lengths.tolist() == [5, 5]
    assert not [note for note in runs.notes if note.kind == "resumed"]


def test_small_numbers_name_runs_as_they_are_written(tmp_path):
    pd.DataFrame({"run": [10, 10, 9, 9], "step": [0, 1] * 2, "loss": range(4)}).to_parquet(tmp_path / "logs.parquet")
    assert read_logs(tmp_path).runs == ("9", "10")


def test_two_runs_of_which_columns_make_one_name_are_refused(tmp_path):
    frame = pd.DataFrame(
        {
            "env": ["x/y"] * 4 + ["x"] * 4,
            "algorithm": ["z"] * 4 + ["y/z"] * 4,
            "step": [*range(4)] * 2,
            "loss": range(8),
        }
    )
    frame.to_csv(tmp_path / "logs.csv", index=False)
    with pytest.raises(LogError, match="two runs would be called 'x/y/z', by other values of env, algorithm"):
        read_logs(tmp_path, run_by=["env", "algorithm"])
    assert len(read_logs(tmp_path, run_by=["env"]).runs) == 2
