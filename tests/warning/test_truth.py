"""What became of runs."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import AnalysisError, LogError
from trajhmm.warning import RunTruth
from trajhmm.warning.evaluation import attribute_onsets, derive_truth, read_truth
from trajhmm.warning.evaluation.truth import find_collapse

NAN, INF = np.nan, np.inf


def test_truth_is_read_and_minus_one_is_none(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("run,onset,collapse_step,comment\na,-1,-1,x\nb,10,-1,\nc,10,30,\nd,-1,0,\n")
    assert read_truth(path) == {
        "a": RunTruth(),
        "b": RunTruth(onset=10),
        "c": RunTruth(onset=10, collapse_step=30),
        "d": RunTruth(collapse_step=0),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run,onset\na,1\n", r"no column 'collapse_step' \(found: run, onset\)"),
        ("", r"no column 'run' \(found: none\)"),
        ("run,onset,collapse_step\na,1,x\n", "line 2: collapse_step must be a whole number, -1 for none; found 'x'"),
        ("run,onset,collapse_step\na,1\n", "line 2: collapse_step must be a whole number, -1 for none; found ''"),
        ("run,onset,collapse_step\na,1,2\na,1,2\n", "line 3: run 'a' stands there twice"),
        ("run,onset,collapse_step\na,5,2\n", "line 2: collapse_step 2 comes before the onset 5"),
    ],
)
def test_a_truth_that_makes_no_sense_is_an_error(text, complaint, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(LogError, match=complaint) as error:
        read_truth(path)
    assert str(path) in str(error.value)


def test_a_truth_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(LogError, match="No such file"):
        read_truth(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"run,onset,collapse_step\n\xe9,1,2\n")
    with pytest.raises(LogError, match="cannot be read"):
        read_truth(tmp_path / "latin.csv")


def bits(text):
    return np.array([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("holds", "broken", "row", "spikes"),
    [
        ("0000000", "", None, 0),
        ("0001110", "", 3, 0),
        ("0000111", "", 4, 0),
        ("0001100", "", None, 1),
        ("0000011", "", None, 0),  # the log ends before it is known
        ("0101101110", "", 6, 2),
        ("0111001110", "", 1, 0),
        ("0000000", "0000100", 4, 0),
        ("0111000", "0000100", 1, 0),
        ("0000111", "0010000", 2, 0),
        ("0101000", "0000010", 5, 2),
        ("0011100", "0000100", 4, 0),
        ("1110000", "", None, 0),  # the run had yet to learn
        ("1110111", "", 4, 0),
        ("1111111", "", 0, 0),
        ("1100000", "", None, 0),
        ("1110000", "1000000", 0, 0),
    ],
)
def test_the_first_stretch_that_lasts_three_rows(holds, broken, row, spikes):
    broken = bits(broken) if broken else np.zeros(len(holds), dtype=bool)
    assert find_collapse(bits(holds), broken, 3) == (row, spikes)


def test_a_stretch_from_the_onset_on_is_a_collapse():
    assert find_collapse(bits("1110000"), bits("0000000"), 3, from_start=False) == (0, 0)


def logs_of(**columns):
    """A run for each name with its accuracies, at steps 0, 10, 20, …; blank where None."""
    frames = [
        pd.DataFrame(
            {
                "run": run,
                "step": 10 * np.arange(len(values)),
                "loss": 1.0 + np.arange(len(values)) % 3,
                "accuracy": values,
                "onset": {"late": 20, "never": -1}.get(run, 0),
            }
        )
        for run, values in columns.items()
    ]
    return th.RunSet.from_frame(pd.concat(frames))


def collapse_of(condition, values, **settings):
    return derive_truth(logs_of(a=values), condition, **settings)["a"].collapse_step


def test_collapse_is_the_first_row_of_the_stretch():
    assert collapse_of("accuracy < 0.5", [0.9, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.9], sustained=3) == 40
    assert collapse_of("accuracy < 0.5", [0.9, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.9], sustained=2) == 10
    assert collapse_of("accuracy < 0.5", [0.9, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.9]) is None
    assert derive_truth(logs_of(a=[0.9, 0.4, 0.9, 0.1, 0.9]), "accuracy < 0.5")["a"].spikes == 2


def test_collapse_relative_to_the_best_so_far():
    values = [0.2, 0.8, 0.6, 0.45, 0.45, 0.9, 0.5, 0.5, 0.5]
    assert collapse_of("drop(accuracy) > 0.3", values, sustained=2) == 30
    assert collapse_of("drop(accuracy) > 0.38", values, sustained=2) == 60
    assert collapse_of("ratio(accuracy) < 0.6", values, sustained=2) == 30
    assert collapse_of("ratio(accuracy) < 0.56", values, sustained=2) == 60
    assert collapse_of("ratio(accuracy) < 0.5", values, sustained=2) is None


def test_rows_count_where_the_metric_is_logged():
    values = [0.9, None, 0.4, None, 0.4, None, 0.9, None, 0.4, None, 0.4, None, 0.4]
    assert collapse_of("accuracy < 0.5", values, sustained=3) == 80
    assert collapse_of("accuracy < 0.5", values, sustained=2) == 20
    # With the loss, which is logged at every row, every row counts and the accuracy stands in between.
    assert collapse_of("accuracy < 0.5 and loss > 0", values, sustained=4) == 20


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_value_that_is_not_finite_is_a_collapse_at_once(value):
    logs = logs_of(a=[0.9, 0.4, 0.4, value, 0.9, 0.9])
    logged = np.ones_like(logs.logged)
    logs = th.RunSet(
        **{name: getattr(logs, name) for name in logs.__dataclass_fields__ if name != "logged"}, logged=logged
    )
    assert derive_truth(logs, "accuracy < 0.5", sustained=3)["a"].collapse_step == 30
    assert derive_truth(logs, "accuracy < 0.5", sustained=2)["a"].collapse_step == 10
    assert derive_truth(logs, "loss > 9", sustained=2)["a"].collapse_step is None


def test_a_run_that_is_perturbed_before_it_has_learnt_did_not_collapse_at_its_first_row():
    curve = [0.1, 0.2, 0.3, 0.4, 0.45, 0.6, 0.9, 0.9, 0.9]
    falls = [0.9] * 4 + [0.1] * 5
    logs = logs_of(from_the_start=curve, before_the_first=curve, never=[0.1] * 9, late=curve, falls=falls)
    onsets = {"from_the_start": 0, "before_the_first": -5, "never": 0, "late": 20, "falls": 20}
    found = derive_truth(logs, "accuracy < 0.5", sustained=3, onsets=onsets)
    assert {run: truth.collapse_step for run, truth in found.items()} == {
        "from_the_start": None,
        "before_the_first": None,
        "never": 10,  # which never learns: it ended at its first row behind the onset
        "late": None,
        "falls": 40,
    }


def test_nothing_collapses_before_its_onset():
    low = [0.9, 0.4, 0.4, 0.4, 0.4, 0.9]
    logs = logs_of(late=low, never=low, at_start=[0.4] * 5)
    onsets = attribute_onsets(logs)
    assert onsets == {"late": 20, "at_start": 0}
    truths = derive_truth(logs, "accuracy < 0.5", sustained=2, onsets=onsets)
    assert truths["late"] == RunTruth(onset=20, collapse_step=30)
    assert truths["never"] == RunTruth(collapse_step=10)
    assert truths["at_start"] == RunTruth(onset=0, collapse_step=10)


def test_the_best_so_far_counts_from_the_first_row():
    truths = derive_truth(
        logs_of(late=[1.0, 1.0, 0.5, 0.5, 0.5]), "ratio(accuracy) < 0.6", sustained=2, onsets={"late": 20}
    )
    assert truths["late"].collapse_step == 30


def test_a_condition_that_cannot_be_met_is_an_error():
    logs = logs_of(a=[0.9, 0.4])
    with pytest.raises(AnalysisError, match="no column 'acc'"):
        derive_truth(logs, "acc < 0.5")
    with pytest.raises(AnalysisError, match="names no metric"):
        derive_truth(logs, "step > 3")
    with pytest.raises(AnalysisError, match="sustained must be at least 1 row, found 0"):
        derive_truth(logs, "accuracy < 0.5", sustained=0)
    with pytest.raises(LogError, match="no attribute 'start'"):
        attribute_onsets(logs, "start")
