"""Steps that repeat or go back: which rows stand, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import RunSet, TrajHMMError, read_logs
from trajhmm.logs.assembly import resume
from trajhmm.logs.assembly.resume import _Cells, alike, standing_rows


def table(*rows, columns="step,loss"):
    return columns + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def attempt(steps, attempt_number):
    """Rows whose loss tells the attempt apart."""
    return [(step, attempt_number + step / 1000) for step in steps]


def read(tmp_path, **files):
    for name, text in files.items():
        path = tmp_path / f"{name.replace('__', '/')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_logs(tmp_path)


def kinds(runs):
    return sorted(note.kind for note in runs.notes if note.run is not None)


def test_a_resume_in_one_file_lets_the_later_rows_win(tmp_path):
    runs = read(tmp_path, a=table(*attempt(range(8), 1), *attempt(range(5, 11), 2)))
    assert runs.steps.tolist() == list(range(11))
    np.testing.assert_array_equal(np.floor(runs.column("loss")), [1] * 5 + [2] * 6)
    assert "run a: steps repeat or go back at step 5: resumed, 3 earlier rows replaced" in map(str, runs.notes)


def test_a_resume_that_does_not_repeat_the_exact_steps_lets_the_later_rows_win(tmp_path):
    runs = read(tmp_path, a=table(*attempt([0, 10, 20, 30], 1), *attempt([15, 25, 35], 2)))
    assert runs.steps.tolist() == [0, 10, 15, 25, 35]
    np.testing.assert_array_equal(np.floor(runs.column("loss")), [1, 1, 2, 2, 2])
    assert kinds(runs) == ["resume"]


def test_a_resume_that_repeats_the_same_values_is_a_resume(tmp_path):
    runs = read(tmp_path, a=table(*attempt(range(8), 1), *attempt(range(5, 11), 1)))
    np.testing.assert_array_equal(runs.column("loss"), 1 + np.arange(11) / 1000)
    assert kinds(runs) == ["resume"]


def test_a_resume_may_add_columns(tmp_path):
    first = [(step, 1 + step / 1000, "", "") for step in range(8)]
    second = [(step, 2 + step / 1000, step / 7, "node 2") for step in range(5, 11)]
    runs = read(tmp_path, a=table(*first, *second, columns="step,loss,norm,host"))
    np.testing.assert_array_equal(np.floor(runs.column("loss")), [1] * 5 + [2] * 6)
    assert runs.attributes["host"].tolist() == ["node 2"]


def test_a_resume_that_ends_early_drops_what_the_earlier_attempt_had_beyond_it(tmp_path):
    runs = read(tmp_path, a=table(*attempt(range(10), 1), *attempt(range(4, 6), 2)))
    assert runs.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert "run a: steps repeat or go back at step 4: resumed, 6 earlier rows replaced" in map(str, runs.notes)


def test_resumes_of_resumes(tmp_path):
    attempts = [*attempt(range(20), 1), *attempt(range(12, 25), 2), *attempt(range(16, 30), 3)]
    runs = read(tmp_path, a=table(*attempts))
    np.testing.assert_array_equal(np.floor(runs.column("loss")), [1] * 12 + [2] * 4 + [3] * 14)
    (note,) = (note for note in runs.notes if note.kind == "resume")
    assert note.text == "steps repeat or go back at step 12, 16: resumed, 17 earlier rows replaced"


def test_a_resume_drops_metrics_of_the_earlier_attempt_that_are_logged_less_often(tmp_path):
    rows = [(0, 1, ""), (1, 1.1, ""), (2, 1.2, ""), (2, "", 9), (3, 1.3, ""), (1, 2.1, ""), (2, 2.2, ""), (3, 2.3, "")]
    runs = read(tmp_path, a=table(*rows, (4, 2.4, ""), (4, "", 7), (6, 2.6, ""), (6, "", 5), columns="step,loss,acc"))
    assert runs.steps.tolist() == [0, 1, 2, 3, 4, 6]
    np.testing.assert_array_equal(runs.column("loss"), [1, 2.1, 2.2, 2.3, 2.4, 2.6])
    np.testing.assert_array_equal(runs.column("acc"), [np.nan, np.nan, np.nan, np.nan, 7, 5])


def test_an_evaluation_that_comes_late_after_a_resume_is_no_second_resume(tmp_path):
    first = [(0, 1.0, 10), (2, 1.2, ""), (4, 1.4, ""), (6, 1.6, ""), (8, 1.8, ""), (5, "", 15)]
    second = [(4, 2.4, ""), (6, 2.6, ""), (5, "", 25), (8, 2.8, "")]
    runs = read(tmp_path, a=table(*first, *second, columns="step,loss,acc"))
    assert runs.steps.tolist() == [0, 2, 4, 5, 6, 8]
    np.testing.assert_array_equal(runs.column("loss"), [1, 1.2, 2.4, np.nan, 2.6, 2.8])
    assert runs.column("acc")[3] == 25
    assert "run a: steps repeat or go back at step 4: resumed, 4 earlier rows replaced" in map(str, runs.notes)


def test_a_resume_across_part_files(tmp_path):
    first, second = table(*attempt(range(8), 1)), table(*attempt(range(5, 11), 2))
    runs = read(tmp_path, a__part_0=first, a__part_1=second)
    assert runs.runs == ("a",)
    assert runs.steps.tolist() == list(range(11))
    np.testing.assert_array_equal(np.floor(runs.column("loss")), [1] * 5 + [2] * 6)
    assert kinds(runs) == ["resume"]


def test_part_ten_resumes_after_part_nine(tmp_path):
    """Parts are taken in natural order, not as a shell sorts them."""
    parts = {f"a__part_{k}": table(*attempt(range(4 * k, 4 * k + 6), k)) for k in range(12)}
    runs = read(tmp_path, **parts)
    expected = np.minimum(np.arange(50) // 4, 11)
    np.testing.assert_array_equal(np.floor(runs.column("loss")), expected)


def test_part_files_that_do_not_overlap_are_no_resume_in_any_order(tmp_path):
    runs = read(tmp_path, a__part_0=table(*attempt(range(5, 9), 2)), a__part_1=table(*attempt(range(5), 1)))
    assert runs.steps.tolist() == list(range(9))
    assert kinds(runs) == []


def test_a_gap_in_the_steps_is_said(tmp_path):
    runs = read(tmp_path, a=table(*attempt([*range(10), *range(15, 20)], 1)))
    assert "run a: 1 gap in the steps, about 5 rows missing, first after step 9" in map(str, runs.notes)


def test_identical_rows_in_two_files_are_taken_once(tmp_path):
    rows = table(*attempt(range(5), 1))
    runs = read(tmp_path, a__part_0=rows, a__part_1=rows)
    assert runs.steps.tolist() == list(range(5))
    assert kinds(runs) == ["duplicate"]
    (note,) = (note for note in runs.notes if note.kind == "duplicate")
    assert "5 identical rows" in note.text
    assert "part_0.csv" in note.text
    assert "part_1.csv" in note.text


def test_two_runs_of_one_name_with_the_same_steps_are_an_error(tmp_path):
    columns = "run,step,loss"
    first = table(("x", 0, 1), ("x", 1, 2), ("x", 2, 3), columns=columns)
    second = table(("x", 0, 1), ("x", 1, 2), ("x", 2, 3.5), columns=columns)
    with pytest.raises(TrajHMMError) as error:
        read(tmp_path, one=first, two=second)
    message = str(error.value)
    assert "run 'x' is in" in message
    assert "one.csv" in message
    assert "two.csv" in message
    assert "the same steps 0…2 but other values" in message
    assert "--run-by" in message


@pytest.mark.parametrize("order", ["one after the other", "by step", "the second starts later"])
def test_several_seeds_in_one_file_are_an_error_that_names_the_column(order, tmp_path):
    starts = {0: 0, 1: 3 if order == "the second starts later" else 0, 2: 0}
    rows = [(seed, step, seed + step / 7) for seed in range(3) for step in range(starts[seed], 9)]
    if order == "by step":
        rows.sort(key=lambda row: row[1])
    with pytest.raises(TrajHMMError, match=r"run 'all': .* several runs in one; tell them apart with --run-by seed"):
        read(tmp_path, all=table(*rows, columns="seed,step,loss"))


def test_rows_out_of_order_are_sorted(tmp_path):
    shuffled = np.random.default_rng(0).permutation(40)
    runs = read(tmp_path, a=table(*attempt(shuffled, 1)), b=table(*attempt(range(40)[::-1], 2)))
    assert runs.steps.tolist() == [*range(40), *range(40)]
    np.testing.assert_array_equal(runs.column("loss"), np.repeat([1, 2], 40) + np.tile(np.arange(40) / 1000, 2))
    assert kinds(runs) == ["unsorted", "unsorted"]


def test_rows_out_of_order_with_whole_numbers_are_not_taken_for_several_runs(tmp_path):
    shuffled = np.random.default_rng(0).permutation(40)
    down = table(*[(step, 2 * step) for step in range(40)[::-1]])
    runs = read(tmp_path, a=table(*[(step, 2 * step) for step in shuffled]), b=down)
    np.testing.assert_array_equal(runs.column("loss"), np.tile(2 * np.arange(40), 2))


def test_rows_out_of_order_with_a_step_logged_twice_have_its_mean(tmp_path):
    shuffled = np.random.default_rng(0).permutation(40)
    runs = read(tmp_path, a=table(*attempt(shuffled, 1), (7, 99)))
    assert runs.steps.tolist() == list(range(40))
    assert runs.column("loss")[6] == 1.006
    assert runs.column("loss")[7] == pytest.approx((1.007 + 99) / 2, rel=1e-12)
    assert kinds(runs) == ["duplicate", "unsorted"]


def test_metrics_logged_in_pieces_are_one_row_wherever_the_pieces_stand(tmp_path):
    train = [(step, step / 7, "") for step in range(12)]
    evals = [(step, "", step / 3) for step in range(0, 12, 4)]
    near = sorted([*train, *evals], key=lambda row: row[0])
    late = sorted([*train, *evals], key=lambda row: row[0] + 2 * (row[1] == ""))
    names = {"after": [*train, *evals], "before": [*evals, *train], "late": late, "near": near}
    runs = read(tmp_path, **{name: table(*rows, columns="step,loss,acc") for name, rows in names.items()})
    for _, rows in runs.slices():
        assert runs.steps[rows].tolist() == list(range(12))
        np.testing.assert_array_equal(runs.column("loss")[rows], np.arange(12) / 7)
        expected = np.where(np.arange(12) % 4 == 0, np.arange(12) / 3, np.nan)
        np.testing.assert_array_equal(runs.column("acc")[rows], expected)
    assert "resume" not in kinds(runs)
    assert kinds(runs).count("merged") == 4


def test_metrics_of_one_run_in_files_of_their_own_are_one_row(tmp_path):
    train = table(*[("x", step, step / 7, 0.1) for step in range(8)], columns="run,step,loss,lr")
    evals = table(*[("x", step, step / 3, 0.1) for step in range(0, 8, 2)], columns="run,step,acc,lr")
    runs = read(tmp_path, train=train, eval=evals)
    assert runs.runs == ("x",)
    assert runs.steps.tolist() == list(range(8))
    np.testing.assert_array_equal(runs.column("loss"), np.arange(8) / 7)
    np.testing.assert_array_equal(runs.column("acc"), np.where(np.arange(8) % 2 == 0, np.arange(8) / 3, np.nan))


def test_pieces_of_one_step_may_have_been_logged_at_different_times(tmp_path):
    """A clock tells when a row was written, not what was measured."""
    rows = [(0, 0.5, "", 1.0), (0, "", 3, 1.2), (1, 0.4, "", 2.0), (1, "", 2, 2.2), (2, 0.3, "", 3.0), (2, "", 1, 3.2)]
    runs = read(tmp_path, a=table(*rows, columns="step,loss,acc,_timestamp"))
    np.testing.assert_array_equal(runs.column("loss"), [0.5, 0.4, 0.3])
    np.testing.assert_array_equal(runs.column("acc"), [3, 2, 1])
    np.testing.assert_array_equal(runs.column("_timestamp"), [1.2, 2.2, 3.2])


def test_what_the_last_piece_of_a_step_lacks_is_taken_from_the_latest_that_has_it(tmp_path):
    rows = [
        (s, *cells) for s in range(4) for cells in ((s / 7, "", "", 1.0 + s), ("", s / 3, "", 1.2 + s), ("", "", s, ""))
    ]
    runs = read(tmp_path, a=table(*rows, columns="step,loss,acc,norm,_timestamp"))
    np.testing.assert_array_equal(runs.column("_timestamp"), 1.2 + np.arange(4))


def test_pieces_that_say_what_they_are_are_one_row_all_the_same(tmp_path):
    rows = [(0, 0.5, "", "train"), (0, "", 3, "eval"), (1, 0.4, "", "train"), (1, "", 2, "eval")]
    runs = read(tmp_path, a=table(*rows, columns="step,loss,acc,split"))
    np.testing.assert_array_equal(runs.column("loss"), [0.5, 0.4])
    np.testing.assert_array_equal(runs.column("acc"), [3, 2])


def test_rows_of_one_metric_that_say_what_they_are_have_to_be_told_apart(tmp_path):
    rows = [(0, 0.5, "train"), (0, 0.7, "eval"), (1, 0.4, "train"), (1, 0.6, "eval")]
    with pytest.raises(
        TrajHMMError, match=r"step 0 is logged 2 times with different values, each with another 'split'"
    ):
        read(tmp_path, a=table(*rows, columns="step,loss,split"))


def test_text_of_the_earlier_piece_stays(tmp_path):
    rows = [(0, 0.5, "", "ln"), (0, "", 3, ""), (1, 0.4, "", "ln"), (1, "", 2, "")]
    assert read(tmp_path, a=table(*rows, columns="step,loss,acc,kind")).attributes["kind"].tolist() == ["ln"]


def test_rows_without_a_step_are_left_out_and_counted(tmp_path):
    runs = read(tmp_path, a="step,loss\n0,1\n,2\n2,3\nnan,4\n")
    assert runs.steps.tolist() == [0, 2]
    assert any(note.text.endswith("a.csv: 2 rows without a step, left out") for note in runs.notes)


def plain_resume(steps, losses):
    """The rule itself, row by row: a row drops all at its step or beyond; of a step logged again at once, the mean."""
    kept, times, before = [], 1, None
    for step, loss in zip(steps, losses, strict=True):
        if kept and kept[-1][0] == step and before == step:
            times += 1
            kept[-1] = (step, kept[-1][1] + (loss - kept[-1][1]) / times)
        else:
            kept, times = [*(old for old in kept if old[0] < step), (step, loss)], 1
        before = step
    return kept


def read_or_none(frame):
    """The runs; None where a counter that begins again is refused."""
    try:
        return RunSet.from_frame(frame)
    except TrajHMMError as error:
        if "as a counter within epochs does" in str(error):
            return None
        raise


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=4))
def test_attempts_of_one_run_stand_as_the_rule_says(attempts):
    """Each attempt is (first step, number of rows), and goes on by one step a row."""
    steps = np.concatenate([np.arange(first, first + length) for first, length in attempts])
    losses = np.arange(len(steps)) + 0.5
    frame = pd.DataFrame({"step": [*steps, 100], "loss": [*losses, -1.0], "extra": 1 / (2 + np.arange(len(steps) + 1))})
    runs = read_or_none(frame)
    if runs is None:  # stretches of one length from one step on, as counters within epochs have
        assert len({first for first, _ in attempts}) < len(attempts)
        return
    if any(note.kind == "unsorted" for note in runs.notes):
        return
    expected = plain_resume([*steps.tolist(), 100], [*losses.tolist(), -1.0])
    assert runs.steps.tolist() == [step for step, _ in expected]
    np.testing.assert_allclose(runs.column("loss"), [loss for _, loss in expected], rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(0, 2), min_size=1)), min_size=1, max_size=25))
def test_rows_that_stand_are_sorted_and_the_last_row_read_stands(pieces):
    steps = np.array([step for step, _ in pieces])
    logged = np.array([[metric in metrics for metric in range(3)] for _, metrics in pieces])
    values = np.where(logged, np.arange(len(pieces))[:, np.newaxis] + 0.5, np.nan)
    standing = standing_rows("a", steps, values, logged)
    assert (np.diff(steps[standing.keep]) > 0).all()
    assert len(pieces) - 1 in {*standing.keep.tolist(), *(row for _, rows in standing.merge for row in rows)}
    for row, earlier in standing.merge:
        assert row > max(earlier)
        assert set(steps[earlier].tolist()) == {steps[row]}


def test_copies_with_nan_or_with_several_rows_a_step_are_taken_once(tmp_path):
    rows = [(0, 0.5, "nan"), (1, 0.4, "nan"), (1, 0.4, "2"), (2, 0.25, "3"), (2, 0.25, "3.5")]
    once = read(tmp_path, a=table(*rows, columns="step,loss,acc"))
    (tmp_path / "b").mkdir()
    text = table(*((*row, "one") for row in rows), columns="step,loss,acc,run")
    (tmp_path / "b" / "x.csv").write_text(text)
    (tmp_path / "b" / "y.csv").write_text(text)
    runs = read_logs(tmp_path / "b")
    assert "5 identical rows" in next(note.text for note in runs.notes if note.kind == "duplicate")
    np.testing.assert_array_equal(runs.values, once.values)


def test_the_mean_of_rows_that_a_text_column_tells_apart_is_said(tmp_path):
    lines = [f"{step},train,{1 + step / 100}" for step in range(40)]
    lines += [f"{step},val,{2 + step / 100}" for step in range(0, 40, 10)]
    (tmp_path / "a.csv").write_text(
        "\n".join(["step,split,loss", *sorted(lines, key=lambda line: int(line.split(",")[0]))])
    )
    runs = read_logs(tmp_path)
    assert runs.column("loss")[:2].tolist() == [1.5, 1.01]
    assert [note.text for note in runs.notes if note.kind == "mixed"] == [
        "the means of 4 steps mix rows of several split (train, val); choose some with --where \"split == 'train'\""
    ]
    train = read_logs(tmp_path, where="split == 'train'")
    assert train.column("loss")[:2].tolist() == [1, 1.01]
    assert not [note for note in train.notes if note.kind in ("mixed", "duplicate")]


def test_what_rows_of_one_step_hold_together_against_all_pairs():
    rng = np.random.default_rng(5)
    for _ in range(200):
        values = rng.choice([0.0, 1.0, np.nan, np.inf, 1.0 + 1e-12], size=(8, 3))
        logged = rng.random((8, 3)) < 0.5
        cells = _Cells(3)
        for row in range(8):
            both = logged[:row] & logged[row]
            assert cells.takes(values[row], logged[row]) == bool((alike(values[:row], values[row]) | ~both).all())
            cells.add(values[row], logged[row], row % 2)
        assert (cells.n, cells.writers) == (8, {0, 1})
        np.testing.assert_array_equal(cells.logged, logged.any(axis=0))


@pytest.mark.parametrize("n", [200, 400])
def test_many_rows_of_one_step_are_compared_once_each(n, monkeypatch):
    """Each with all before it, 20,000 rows of one step took more than a minute."""
    compared = []
    monkeypatch.setattr(resume, "alike", lambda one, other: compared.append(one.size) or alike(one, other))
    values = np.random.default_rng(0).random((n, 2))
    standing_rows("r", np.full(n, 7), values, np.ones((n, 2), dtype=bool))
    assert sum(compared) <= 6 * n
