"""From a `RunSet` to what the HMM sees: rows aligned, blanks carried forward, runs cut where they diverge."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from trajhmm import RunSet, TrajHMMError
from trajhmm.features import carried_forward, map_sequences
from trajhmm.features.events import divergence, is_loss

NAN = np.nan


def run_set(*runs, metrics=("loss", "eval"), logged=None, **attributes):
    """Runs from (n, D) tables; NaN is a blank unless ``logged`` says that it was logged."""
    values = np.concatenate([np.asarray(run, dtype=float) for run in runs])
    names = tuple(f"r{index}" for index in range(len(runs)))
    return RunSet(
        runs=names,
        lengths=np.array([len(run) for run in runs]),
        steps=np.concatenate([10 * np.arange(len(run)) for run in runs]),
        values=values,
        logged=~np.isnan(values) if logged is None else np.asarray(logged, dtype=bool),
        metrics=metrics,
        attributes=pd.DataFrame(attributes, index=pd.Index(names, name="run")),
    )


def texts(sequences):
    return [str(note) for note in sequences.notes]


def test_blanks_carry_the_last_value_forward_and_none_from_the_future():
    values = np.array([[NAN, 1], [5, NAN], [NAN, NAN], [6, 2], [NAN, NAN]])
    carried = carried_forward(values, ~np.isnan(values))
    np.testing.assert_array_equal(carried, [[NAN, 1], [5, 1], [5, 1], [6, 2], [6, 2]])


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_carrying_forward_is_what_pandas_does(data):
    cells = data.draw(
        st.lists(st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=2, max_size=2), min_size=1, max_size=20)
    )
    values = np.array([[NAN if cell is None else cell for cell in row] for row in cells])
    carried = carried_forward(values, ~np.isnan(values))
    np.testing.assert_array_equal(carried, pd.DataFrame(values).ffill().to_numpy())


def test_a_logged_nan_is_carried_forward_as_nan():
    values = np.array([[1.0], [NAN], [NAN]])
    np.testing.assert_array_equal(carried_forward(values, np.array([[True], [True], [False]])), [[1], [NAN], [NAN]])


def test_rows_are_those_of_the_metric_logged_least_often():
    loss = np.array([5.0, 4, 3, 2.5, 2, 1])
    rare = np.array([NAN, 0.1, NAN, NAN, 0.4, NAN])
    sequences = map_sequences(run_set(np.column_stack([loss, rare])), ["loss", "eval"])
    assert sequences.steps.tolist() == [10, 40]
    assert sequences.rows.tolist() == [1, 4]
    np.testing.assert_allclose(sequences.values, zscore([[4, 0.1], [2, 0.4]], axis=0), atol=1e-12)
    assert texts(sequences) == []


def test_metrics_logged_at_other_rows_carry_their_last_value():
    loss = np.array([5.0, NAN, 3, NAN, 2, NAN])
    rare = np.array([NAN, 0.1, NAN, NAN, NAN, 0.4])
    sequences = map_sequences(run_set(np.column_stack([loss, rare])), ["loss", "eval"])
    assert sequences.steps.tolist() == [10, 50]
    np.testing.assert_allclose(sequences.values, zscore([[5, 0.1], [2, 0.4]], axis=0), atol=1e-12)
    assert "aligned to the 2 rows of eval; others carry their last value" in texts(sequences)


def test_nothing_is_carried_from_one_run_into_the_next():
    first = [[1, 1], [2, NAN], [3, NAN], [4, 3]]
    second = [[NAN, 4], [5, 5], [7, 9]]
    sequences = map_sequences(run_set(first, second), ["loss", "eval"])
    assert sequences.lengths.tolist() == [2, 2]
    assert sequences.rows.tolist() == [0, 3, 5, 6]


@pytest.mark.parametrize("event", [NAN, np.inf, -np.inf])
@pytest.mark.parametrize("at", [1, 4, 24])
@pytest.mark.parametrize("lasts", [1, 9, 10, 30])
def test_rows_are_cut_where_a_loss_is_not_finite_and_does_not_come_back_within_ten(event, at, lasts):
    table = np.random.default_rng(0).normal(size=(25, 2))
    torn = table.copy()
    torn[at : at + lasts, 0] = event
    sequences = map_sequences(run_set(table, torn, logged=np.ones((50, 2))), ["loss", "eval"])
    back = lasts < 10 and at + lasts < 25
    assert sequences.diverged == ({} if back else {"r1": 10 * at})
    assert sequences.lengths.tolist() == [25, 25 - lasts if back else at]
    if back:
        expected = f"run r1: {lasts} rows left out at which loss is not finite, first at step {10 * at}"
        assert expected in texts(sequences)
        np.testing.assert_allclose(
            sequences.values[25:], zscore(np.delete(table, slice(at, at + lasts), 0)), atol=1e-12
        )
    else:
        assert f"run r1: diverged: loss not finite from step {10 * at} on, cut there" in texts(sequences)
        np.testing.assert_allclose(sequences.values[25:], zscore(table[:at]) if at > 1 else 0, atol=1e-12)


def test_a_metric_that_is_no_loss_costs_rows_and_not_the_run():
    table = np.random.default_rng(0).normal(size=(25, 2))
    table[7:, 1] = NAN
    sequences = map_sequences(run_set(table, logged=np.ones((25, 2))), ["loss", "eval"])
    assert sequences.diverged == {}
    assert sequences.steps.tolist() == [10 * row for row in range(7)]
    assert "run r0: 18 rows left out at which eval is not finite, first at step 70" in texts(sequences)


def test_without_a_loss_most_metrics_tell():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(25, 3))
    table[8:, 0], table[12:, 1] = NAN, np.inf
    metrics = ("a", "b", "c")
    assert divergence(metrics, table, np.ones(table.shape, dtype=bool)) == (12, ("a", "b"))
    table[12:, 1] = 0.0
    assert divergence(metrics, table, np.ones(table.shape, dtype=bool)) is None
    assert divergence(("a_loss", "b", "c"), table, np.ones(table.shape, dtype=bool)) == (8, ("a_loss",))


def test_what_was_never_finite_is_not_known_yet():
    table = np.random.default_rng(0).normal(size=(25, 2))
    table[:, 0] = NAN
    assert divergence(("loss", "eval"), table, np.ones(table.shape, dtype=bool)) is None
    table[20:, 0] = 1.0
    assert divergence(("loss", "eval"), table, np.ones(table.shape, dtype=bool)) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", True),
        ("train/loss", True),
        ("eval_NLL", True),
        ("val_perplexity", True),
        ("head/ce", True),
        ("train_loss_step", True),
        ("Loss/train", True),
        ("losses/total", True),
        ("train-loss", True),
        ("Train Loss", True),
        ("trainLoss", True),
        ("val_ppl", True),
        ("loss/step", True),
        ("Loss/Validation", True),
        ("losses/policy_loss", True),
        ("losses/value", True),
        ("val/mse", True),
        ("train_rmse", True),
        ("loss_bbox", True),
        ("train/loss_rpn_cls", True),
        ("Loss_G", False),
        ("loss_weight", False),
        ("loss_scaler", False),
        ("loss_ratio", False),
        ("loss_entropy", False),
        ("loss_bbox_weight", False),
        ("loss_adversarial", False),
        ("loss_dn_ce_0", False),
        ("loss_ce_0", True),
        ("losses/explained_variance", False),
        ("losses/entropy", False),
        ("losses/clipfrac", False),
        ("losses/approx_kl", False),
        ("loss/grad_norm", False),
        ("closs", False),
        ("lossless", False),
        ("loss_scale", False),
        ("pace", False),
        ("grad_norm", False),
    ],
)
def test_a_loss_is_known_by_the_last_part_of_its_name(name, expected):
    assert is_loss(name) == expected


def test_an_event_in_a_metric_that_is_not_asked_for_cuts_nothing():
    table = np.arange(12.0).reshape(6, 2)
    table[2, 1] = np.inf
    sequences = map_sequences(run_set(table), ["loss"])
    assert sequences.diverged == {}
    assert sequences.lengths.tolist() == [6]


@pytest.mark.parametrize("constant", [0.0, 0.3, 1e12 / 7])
def test_a_constant_metric_is_left_out_and_said(constant):
    table = np.column_stack([np.arange(6.0), np.full(6, constant)])
    sequences = map_sequences(run_set(table, table), ["loss", "eval"])
    assert sequences.metrics == ("loss",)
    assert sequences.values.shape == (12, 1)
    assert "constant within each run, left out of the fit: eval" in texts(sequences)


def test_a_metric_that_changes_in_one_run_is_kept_and_zero_in_the_others():
    changes, constant = np.column_stack([np.arange(6.0)] * 2), np.column_stack([np.arange(6.0), np.full(6, 0.3)])
    sequences = map_sequences(run_set(changes, constant), ["loss", "eval"])
    assert sequences.metrics == ("loss", "eval")
    np.testing.assert_array_equal(sequences.values[6:, 1], 0)


def test_a_fitted_model_keeps_metrics_that_do_not_change_here():
    table = np.column_stack([np.arange(6.0), np.full(6, 0.3)])
    sequences = map_sequences(run_set(table), ["eval", "loss"], keep_constant=True)
    assert sequences.metrics == ("eval", "loss")
    np.testing.assert_array_equal(sequences.values[:, 0], 0)


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        (["losss"], r"no metric 'losss' in these logs; did you mean 'loss'\?"),
        (["foo"], r"no metric 'foo' in these logs \(found: loss, eval\)"),
        (["seed"], r"none of seed changes within a run; nothing is left to fit"),
    ],
)
def test_metrics_that_are_not_there_are_errors(metrics, complaint):
    table = np.arange(12.0).reshape(6, 2)
    with pytest.raises(TrajHMMError, match=complaint):
        map_sequences(run_set(table, seed=[3]), metrics)


def test_only_constant_metrics_are_an_error():
    with pytest.raises(TrajHMMError, match="none of loss, eval changes within a run; nothing is left to fit"):
        map_sequences(run_set(np.ones((6, 2))), ["loss", "eval"])


def test_no_run_with_a_finite_row_is_an_error():
    table = np.full((6, 2), NAN)
    with pytest.raises(TrajHMMError, match="no run has a row with finite values of loss; choose others with --metrics"):
        map_sequences(run_set(table, logged=np.ones((6, 2))), ["loss"])


def test_an_attribute_among_the_metrics_is_left_out_and_said():
    sequences = map_sequences(run_set(np.arange(12.0).reshape(6, 2), seed=[3]), ["loss", "seed", "eval", "loss"])
    assert sequences.metrics == ("loss", "eval")
    assert "seed never changes within a run, left out of the fit" in texts(sequences)


def test_metrics_come_in_the_order_asked_for():
    table = np.random.default_rng(0).normal(size=(6, 2))
    runs = run_set(table)
    one, other = map_sequences(runs, ["loss", "eval"]), map_sequences(runs, ["eval", "loss"])
    np.testing.assert_array_equal(one.values, other.values[:, ::-1])


def test_the_logs_are_left_alone_and_the_sequences_cannot_be_written():
    runs = run_set(np.column_stack([[5.0, NAN, 3, 1], [NAN, 2.0, 1, 4]]))
    before = runs.values.copy()
    sequences = map_sequences(runs, ["loss", "eval"])
    np.testing.assert_array_equal(runs.values, before)
    with pytest.raises(ValueError, match="read-only"):
        sequences.values[0, 0] = 7


@pytest.mark.parametrize("seed", range(5))
def test_what_was_aligned_is_what_was_logged(seed):
    """Rows, steps and raw values agree, run by run, with a slow reading of the same logs."""
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(4):
        table = rng.normal(size=(30, 3))
        table[rng.random((30, 3)) < [0.0, 0.4, 0.2]] = NAN
        tables.append(table)
    runs = run_set(*tables, metrics=("loss", "eval", "norm"))
    sequences = map_sequences(runs, ["loss", "eval", "norm"])
    for (_, rows), table in zip(sequences.slices(), tables, strict=True):
        kept = []
        last = np.full(3, NAN)
        for step, row in enumerate(table):
            last = np.where(np.isnan(row), last, row)
            if not np.isnan(row[1]) and not np.isnan(last).any():
                kept.append((10 * step, *last))
        expected = np.array(kept)
        assert sequences.steps[rows].tolist() == expected[:, 0].tolist()
        np.testing.assert_allclose(sequences.values[rows], zscore(expected[:, 1:], axis=0), atol=1e-12)


def test_blocks_leave_no_trace(monkeypatch):
    rng = np.random.default_rng(8)
    tables = [np.cumsum(rng.normal(size=(n, 2)), axis=0) for n in (7, 1, 12, 30, 5)]
    tables[2][8:, 1] = np.nan
    runs = run_set(*tables)
    whole = map_sequences(runs, ["loss", "eval"])
    monkeypatch.setattr("trajhmm.features.sequences._BLOCK", 10)
    cut = map_sequences(runs, ["loss", "eval"])
    for name in ("values", "rows", "steps", "lengths"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
    assert (cut.runs, cut.diverged, cut.notes) == (whole.runs, whole.diverged, whole.notes)
