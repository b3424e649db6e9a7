"""A blank cell is a metric logged less often, or a value that could not be written down: which of the two."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import RunSet, read_logs
from trajhmm.features import map_sequences
from trajhmm.files import BLANKS_ARE_BLANK
from trajhmm.logs.assembly.blanks import missed_in_succession

N = 60
STEPS = np.arange(N)


def metrics(seed=0):
    """loss, grad_norm and lr at every row."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"step": STEPS, "loss": rng.lognormal(size=N), "grad_norm": rng.lognormal(size=N), "lr": STEPS / N}
    )


def events(runs):
    """Name to the steps of the first run at which it is not finite."""
    bad = runs.logged & ~np.isfinite(runs.values)
    return {m: runs.steps[bad[:, d]].tolist() for d, m in enumerate(runs.metrics) if bad[:, d].any()}


LESS_OFTEN = {
    "every tenth row": STEPS % 10 == 0,
    "every tenth row, from the ninth on": STEPS % 10 == 9,
    "log-spaced": np.isin(STEPS, [1, 2, 4, 8, 16, 32]),
    "every second row": STEPS % 2 == 0,
    "two rows of three": STEPS % 3 != 2,
    "only at the end": STEPS == N - 1,
    "stopped half-way": (STEPS % 10 == 0) & (STEPS < 30),
    "begun half-way": (STEPS % 10 == 0) & (STEPS > 30),
    "at random": np.random.default_rng(3).random(N) < 0.3,
    "denser early on": (STEPS < 8) | (STEPS % 8 == 0),
}


@pytest.mark.parametrize("cadence", LESS_OFTEN)
@pytest.mark.parametrize("several", [False, True], ids=["one evaluation", "three evaluations"])
def test_metrics_logged_less_often_are_no_events(cadence, several):
    frame = metrics()
    for name in ["eval_loss", "eval_acc", "eval_f1"] if several else ["eval_loss"]:
        frame[name] = np.where(LESS_OFTEN[cadence], np.random.default_rng(1).random(N), np.nan)
    runs = RunSet.from_frame(frame)
    assert events(runs) == {}
    sequences = map_sequences(runs, ["loss", "grad_norm"])
    assert sequences.diverged == {}
    assert sequences.steps.tolist() == STEPS.tolist()


@pytest.mark.parametrize("cadence", LESS_OFTEN)
def test_evaluations_on_rows_of_their_own_are_no_events(cadence, tmp_path):
    """As a tracker logs them: a row with the training metrics, then one with the evaluation, of the same step."""
    train, often = metrics(), LESS_OFTEN[cadence]
    evals = pd.DataFrame({"step": STEPS[often], "eval_loss": STEPS[often] / 7, "eval_acc": STEPS[often] / 9})
    interleaved = pd.concat([train, evals]).sort_values("step", kind="stable")
    interleaved.to_csv(tmp_path / "a.csv", index=False)
    runs = read_logs(tmp_path)
    assert events(runs) == {}
    assert runs.steps.tolist() == STEPS.tolist()
    np.testing.assert_array_equal(runs.column("loss"), train["loss"])
    if often.sum() > 1:
        np.testing.assert_array_equal(runs.column("eval_acc"), np.where(often, STEPS / 9, np.nan))


def test_evaluations_at_steps_of_their_own_are_no_events():
    train = metrics().assign(step=2 * STEPS)
    evals = pd.DataFrame({"step": 2 * STEPS[::6] + 1, "eval_loss": STEPS[::6] / 7})
    runs = RunSet.from_frame(pd.concat([train, evals]).sort_values("step"))
    assert events(runs) == {}
    assert runs.n_rows == N + len(evals)


@pytest.mark.parametrize("first", [1, 2, 5])
def test_a_metric_that_is_missing_at_first_is_no_event(first):
    """A gradient norm has no value before the first step of the optimizer."""
    frame = metrics()
    frame.loc[: first - 1, "grad_norm"] = np.nan
    runs = RunSet.from_frame(frame)
    assert events(runs) == {}
    sequences = map_sequences(runs, ["loss", "grad_norm"])
    assert sequences.diverged == {}
    assert sequences.steps.tolist() == STEPS[first:].tolist()


WENT_BLANK = {
    "loss alone": ["loss"],
    "loss and gradient norm": ["loss", "grad_norm"],
    "whole rows": ["loss", "grad_norm", "lr"],
}


@pytest.mark.parametrize("blank", WENT_BLANK)
@pytest.mark.parametrize("write", ["parquet", "csv", "tsv", "jsonl"])
def test_metrics_that_pandas_left_blank_where_they_were_due_are_events(blank, write, tmp_path):
    """pandas writes NaN as a blank cell or as null."""
    frame = metrics()
    if blank != "whole rows":
        frame["eval_loss"] = np.where(STEPS % 10 == 0, STEPS / 3, np.nan)
    frame.loc[40:, WENT_BLANK[blank]] = np.nan
    path = tmp_path / f"a.{write}"
    if write == "parquet":
        frame.to_parquet(path)
    elif write == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="," if write == "csv" else "\t")
    runs = read_logs(path)
    assert events(runs) == dict.fromkeys(WENT_BLANK[blank], STEPS[40:].tolist())
    sequences = map_sequences(runs, ["loss", "grad_norm"])
    assert sequences.diverged == {"a": 40}
    assert sequences.steps.tolist() == STEPS[:40].tolist()


def test_a_lone_metric_that_goes_blank_is_an_event():
    frame = metrics()[["step", "loss"]]
    frame.loc[40:, "loss"] = np.nan
    assert events(RunSet.from_frame(frame)) == {"loss": STEPS[40:].tolist()}


def test_a_lone_metric_logged_less_often_is_no_event():
    frame = metrics()[["step", "loss"]]
    frame.loc[STEPS % 10 != 0, "loss"] = np.nan
    assert events(RunSet.from_frame(frame)) == {}


def test_an_evaluation_that_goes_blank_beside_one_that_goes_on_is_an_event():
    frame = metrics()
    frame["eval_loss"] = np.where((STEPS % 5 == 0) & (STEPS < 40), 1.0 + STEPS, np.nan)
    frame["eval_acc"] = np.where(STEPS % 5 == 0, 2.0 + STEPS, np.nan)
    runs = RunSet.from_frame(frame)
    assert events(runs) == {"eval_loss": [40, 45, 50, 55]}
    sequences = map_sequences(runs, ["loss", "eval_loss"])
    assert sequences.diverged == {"run": 40}
    assert sequences.steps.tolist() == list(range(0, 40, 5))


def test_only_files_that_do_not_tell_blanks_are_judged(tmp_path):
    """Of two runs that lose their loss half-way, one says that it was not logged."""
    for run in ("a", "b"):
        frame = metrics().assign(run=run)
        frame.loc[40:, "loss"] = np.nan
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(
            table.replace_schema_metadata(BLANKS_ARE_BLANK if run == "b" else {}), tmp_path / f"{run}.parquet"
        )
    runs = read_logs(tmp_path)
    assert runs.logged[:, 0].tolist() == [*[True] * N, *[True] * 40, *[False] * 20]


def test_a_run_that_lacks_a_metric_of_the_others_has_no_events():
    frame = pd.concat([metrics(0).assign(run="a"), metrics(1).drop(columns="grad_norm").assign(run="b")])
    runs = RunSet.from_frame(frame)
    assert events(runs) == {}
    sequences = map_sequences(runs, ["loss", "grad_norm"])
    assert sequences.runs == ("a",)
    assert "run b: grad_norm NaN or blank throughout, run left out" in map(str, sequences.notes)


def test_only_the_run_that_went_blank_diverged():
    sound, torn = metrics(0).assign(run="a"), metrics(1).assign(run="b")
    torn.loc[20:, ["loss", "grad_norm"]] = np.nan
    sequences = map_sequences(RunSet.from_frame(pd.concat([sound, torn])), ["loss", "grad_norm"])
    assert sequences.diverged == {"b": 20}
    assert sequences.lengths.tolist() == [N, 20]


@settings(max_examples=60, deadline=None)
@given(every=st.integers(2, 20), offset=st.integers(0, 19), width=st.integers(1, 4), rows=st.integers(10, 100))
def test_a_regular_cadence_beside_dense_metrics_is_never_missed(every, offset, width, rows):
    """Evaluations at every second row or rarer, beside metrics at every row."""
    present = np.ones((rows, 2 + width), dtype=bool)
    present[:, 2:] = (np.arange(rows) % every == offset % every)[:, np.newaxis]
    assert not missed_in_succession(present, present).any()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_is_missed_follows_from_the_rows_so_far_and_never_where_a_value_stands(data):
    present = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=4, max_size=60)))
    tells = (
        np.array(data.draw(st.lists(st.integers(0, 60), min_size=3, max_size=3))) <= np.arange(len(present))[:, None]
    )
    cut = data.draw(st.integers(1, len(present)))
    missed = missed_in_succession(present, tells)
    assert not missed[present].any()
    np.testing.assert_array_equal(missed_in_succession(present[:cut], tells[:cut]), missed[:cut])


def test_missed_rows_are_counted_in_succession_over_rows_that_concern_the_metric():
    """Columns: loss, rate, evaluation; the evaluation stands in rows of its own."""
    train, evaluation, torn = [True, True, False], [False, False, True], [False, True, False]
    present = np.array([*[train] * 6, evaluation, torn, evaluation, torn, torn, train, torn])
    missed = missed_in_succession(present, np.ones(present.shape, dtype=bool))
    assert missed[:, 0].tolist() == [0] * 7 + [1, 0, 2, 3, 0, 0]  # the last: three like it were torn before
    assert not missed[:, 1:].any()


@pytest.mark.parametrize(("gap", "cut"), [(2, None), (5, None), (9, None), (10, 30), (25, 30)])
@pytest.mark.parametrize("spelled", [True, False], ids=["NaN", "blank"])
def test_a_loss_that_comes_back_within_ten_rows_did_not_diverge(gap, cut, spelled, tmp_path):
    frame = metrics()
    cells = frame["loss"].astype(object)
    cells[30 : 30 + gap] = "nan" if spelled else None
    frame.assign(loss=cells).to_csv(tmp_path / "a.csv", index=False)
    sequences = map_sequences(read_logs(tmp_path), ["loss", "grad_norm"])
    if not spelled and gap >= 10:
        cut = None  # blanks that end were rows without a loss
    assert sequences.diverged == ({} if cut is None else {"a": cut})
    kept = [step for step in STEPS if not 30 <= step < 30 + gap] if cut is None else list(range(30))
    assert sequences.steps.tolist() == kept


def test_a_partial_last_row_is_no_divergence_and_its_totals_are_no_columns(tmp_path):
    rows = "".join(f"{step},{3 - step / 50},{1 + step % 3},,\n" for step in range(40))
    (tmp_path / "a.csv").write_text(f"step,loss,grad_norm,train_runtime,train_loss\n{rows}40,,,99.5,2.5\n")
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss", "grad_norm")
    assert runs.attribute_names == ()
    assert "closing totals, left out: train_runtime, train_loss" in map(str, runs.notes)
    assert map_sequences(runs).lengths.tolist() == [40]
    assert events(runs) == {}


def test_a_last_evaluation_is_no_closing_total(tmp_path):
    rows = "".join(f"{step},{3 - step / 50},\n" for step in range(40))
    (tmp_path / "a.csv").write_text(f"step,loss,test_accuracy\n{rows}40,,0.75\n")
    assert read_logs(tmp_path).attributes["test_accuracy"].tolist() == [0.75]
