"""Which column counts the steps."""

import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import LogError

NAMES = [
    "_step",
    "Step",
    "global_step",
    "iteration",
    "iter",
    "total_timesteps",
    "num_timesteps",
    "time/total_timesteps",
]


def log(**columns):
    return pd.DataFrame({**columns, "loss": [3.0, 2.0, 1.5, 1.25]})


@pytest.mark.parametrize("name", NAMES)
def test_a_column_that_is_called_like_a_step_counts_them_with_a_note(name, tmp_path):
    log(**{"a/x": [0.1, 0.3, 0.2, 0.5], name: [5, 10, 15, 20]}).to_csv(tmp_path / "a.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert runs.steps.tolist() == [5, 10, 15, 20]
    assert runs.metrics == ("a/x", "loss")
    assert f"no column 'step': {name} counts the steps" in [note.text for note in runs.notes]


@pytest.mark.parametrize(
    ("columns", "counts"),
    [
        (["epoch", "iteration"], "iteration"),
        (["epoch", "time/total_timesteps"], "time/total_timesteps"),
        (["trainer/global_step", "_step"], "_step"),
        (["rollout/step", "iter"], "iter"),
        (["loop/iter", "train/epoch"], "loop/iter"),
        (["Iteration", "STEP"], "STEP"),
    ],
)
def test_of_several_the_finest_counts_and_whole_names_come_first(columns, counts, tmp_path):
    steps = {name: [n, n + 1, n + 2, n + 3] for n, name in enumerate(columns)}
    log(**steps).to_csv(tmp_path / "a.csv", index=False)
    assert th.read_logs(tmp_path).steps.tolist() == steps[counts]


def test_each_file_of_a_folder_has_its_own_and_a_condition_may_still_name_it(tmp_path):
    log(step=[0, 1, 2, 3]).to_csv(tmp_path / "a.csv", index=False)
    log(epoch=[10, 11, 12, 13]).to_csv(tmp_path / "b.csv", index=False)
    log(epoch=[0, 0, 1, 1], step=[6, 7, 8, 9]).to_csv(tmp_path / "c.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert runs.steps.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 6, 7, 8, 9]
    kept = th.read_logs(tmp_path, where="epoch >= 12 or epoch == 1")
    assert [(run, kept.steps[rows].tolist()) for run, rows in kept.slices()] == [("b", [12, 13]), ("c", [8, 9])]
    scan = th.scan_logs(tmp_path, where="epoch >= 12 or epoch == 1")
    assert [piece.read().steps.tolist() for piece in scan.pieces] == [[12, 13, 8, 9]]


def test_files_that_share_a_global_step_are_counted_by_it(tmp_path):
    log(step=[0, 1, 2, 3], global_step=[100, 101, 102, 103]).to_csv(tmp_path / "a.csv", index=False)
    log(global_step=[100, 101, 102, 103]).to_csv(tmp_path / "b.csv", index=False)
    assert th.read_logs(tmp_path).steps.tolist() == [100, 101, 102, 103] * 2


def test_where_nothing_counts_the_error_names_what_there_is(tmp_path):
    log(**{f"m{i}": [1, 2, 3, 4] for i in range(20)}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(LogError, match=r"no column 'step' \(found: m0, .*m7 and 13 more\); .*--step COLUMN"):
        th.read_logs(tmp_path)


def test_an_index_of_a_frame_that_has_a_name_is_a_column():
    frame = log(step=[5, 10, 15, 20])
    assert th.read_logs(frame.set_index("step")).steps.tolist() == [5, 10, 15, 20]
    several = th.read_logs({"a": frame.set_index("step"), "b": frame})
    assert (several.runs, several.steps.tolist()) == (("a", "b"), [5, 10, 15, 20] * 2)


def test_what_is_measured_by_step_does_not_count_them(tmp_path):
    log(epoch=[0, 1, 2, 3], **{"loss/step": [9, 7, 6, 5]}).to_csv(tmp_path / "a.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert runs.steps.tolist() == [0, 1, 2, 3]
    assert "loss/step" in runs.metrics


def test_one_metric_a_file_is_no_counter_within_epochs(tmp_path):
    for name, steps in (("acc", [0, 1, 2]), ("loss", [0, 1, 2]), ("val", [0, 2])):
        pd.DataFrame({"run": "a", "step": steps, name: [1 / (2 + s) for s in steps]}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    runs = th.read_logs(tmp_path)
    assert (runs.runs, runs.steps.tolist()) == (("a",), [0, 1, 2])
    assert set(runs.metrics) == {"acc", "loss", "val"}


def test_a_blank_name_of_a_run_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("run,step,loss\na,0,3\n,1,2\nb,0,3\n,1,2.5\n")
    said = [str(note) for note in th.read_logs(tmp_path).notes]
    assert f"{tmp_path / 'x.csv'}: column 'run' is blank in 2 rows, which are named after the file; fill it" in said
