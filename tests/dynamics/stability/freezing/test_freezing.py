"""When runs change for the last time, and which of them may change again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.freezing.changes import changes_of_sign, changes_of_states
from trajhmm.dynamics.stability.freezing.hazard import hazard_table
from trajhmm.dynamics.stability.freezing.times import freezing_table, loss_proxy, may_hop_again
from trajhmm.errors import AnalysisError
from trajhmm.hmm import Smoothed
from trajhmm.logs import RunSet
from trajhmm.simulate import two_valley


def logs(columns, **attributes):
    """Runs of one metric each: name to values, at steps 0, 10, 20, …."""
    parts = [
        pd.DataFrame(
            {"run": name, "step": 10 * np.arange(len(values)), "x": values, "other": np.arange(len(values))}
        ).assign(**{key: given[name] for key, given in attributes.items()})
        for name, values in columns.items()
    ]
    return RunSet.from_frame(pd.concat(parts, ignore_index=True))


def test_signs_freeze_when_the_simulator_says_at_full_resolution():
    made = two_valley(etas=[0.01, 0.1], sigmas=[0.1], n_runs=20, n_steps=6000, every=1, seed=3)
    truth = made.truth_table().set_index("run")["freezing_step"]
    table = freezing_table(made.logs, changes_of_sign(made.logs, "x"), ["eta", "sigma"])
    assert table.columns.tolist() == ["run", "eta", "sigma", "freezing_step", "censored"]
    assert table["run"].tolist() == list(made.logs.runs)
    assert (table.set_index("run")["freezing_step"] == truth.reindex(table["run"])).all()
    assert len(set(truth)) > 20


def test_signs_of_every_nth_step_freeze_at_the_row_after_the_change():
    made = two_valley(etas=[0.05], sigmas=[0.1], n_runs=10, n_steps=4000, every=20, seed=1)
    truth = made.truth_table().set_index("run")["freezing_step"]
    found = freezing_table(made.logs, changes_of_sign(made.logs, "x")).set_index("run")["freezing_step"]
    late = found - truth.reindex(found.index)
    assert (found % 20 == 0).all()
    # Never more than a row late; earlier where a hop and its return fall between two rows.
    assert late.max() < 20
    assert ((late >= 0) & (late < 20)).mean() >= 0.7


def test_states_freeze_at_their_last_change_and_start_where_they_never_change():
    runs = logs({"a": np.ones(6), "b": np.ones(8), "c": np.ones(6)})
    path = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 1])
    steps = runs.steps
    decoded = Smoothed(runs=runs.runs, lengths=runs.lengths, steps=steps, probs=np.eye(3)[path], path=path)
    changes = changes_of_states(decoded)
    assert changes.steps.tolist() == [10, 30, 50]
    assert changes.counts.tolist() == [2, 0, 1]
    table = freezing_table(runs, changes)
    assert table["freezing_step"].tolist() == [30, 0, 50]
    cut = changes_of_states(decoded, {"b"})
    assert cut.diverged.tolist() == [False, True, False]
    assert freezing_table(runs, cut)["censored"].tolist() == [True, True, True]
    assert changes_of_states(replace(decoded, lengths=np.array([6, 0, 8]), runs=("a", "x", "c"))).runs == ("a", "c")
    assert table["censored"].tolist() == [True, True, True]  # b is no longer than what a and c show between changes


def by_hand(values, steps, logged):
    """Steps of the changes of sign of one run, up to its first value that is not finite."""
    found, before = [], None
    for value, step, there in zip(values, steps, logged, strict=True):
        if not there:
            continue
        if not np.isfinite(value):
            break
        if before is not None and (value >= 0) != before:
            found.append(step)
        before = value >= 0
    return found


def test_changes_are_those_of_each_run_whatever_the_lengths_and_what_is_missing():
    rng = np.random.default_rng(5)
    parts = []
    for run in range(60):
        n_rows = int(rng.choice([1, 2, 3, 40, 90]))
        values = rng.standard_normal(n_rows) + rng.choice([-0.5, 0.0, 0.5])
        values[rng.random(n_rows) < 0.02] = np.inf
        values[rng.random(n_rows) < 0.2] = np.nan
        steps = np.sort(rng.choice(500, n_rows, replace=False))
        parts.append(pd.DataFrame({"run": f"r{run:02d}", "step": steps, "x": values, "other": rng.random(n_rows)}))
    runs = RunSet.from_frame(pd.concat(parts, ignore_index=True))
    expected = {
        name: by_hand(runs.column("x")[rows], runs.steps[rows], runs.logged[rows, runs.metrics.index("x")])
        for name, rows in runs.slices()
    }
    changes = changes_of_sign(runs, "x")
    assert 30 < len(changes.runs) < 60
    assert sum(map(len, expected.values())) > 100
    assert {name: steps.tolist() for name, steps in zip(changes.runs, changes.by_run, strict=True)} == {
        name: expected[name] for name in changes.runs
    }
    drawn = rng.permutation(len(changes.runs))[:20]
    some = changes.take(drawn)
    assert [steps.tolist() for steps in some.by_run] == [expected[name] for name in some.runs]
    assert some.runs == tuple(changes.runs[run] for run in drawn)
    last = {name: steps[-1] for name, steps in expected.items() if steps}
    table = freezing_table(runs, changes).set_index("run")["freezing_step"]
    assert table[list(last.keys() & set(table.index))].to_dict() == {run: last[run] for run in last if run in table}


def test_decoded_runs_without_a_row_are_left_out():
    path = np.array([0, 1, 1, 2])
    for lengths in ([2, 0, 2], [0, 2, 2], [2, 2, 0]):
        decoded = Smoothed(
            runs=("a", "b", "c"), lengths=np.array(lengths), steps=np.array([0, 5, 0, 7]), probs=np.eye(3)[path],
            path=path,
        )  # fmt: skip
        changes = changes_of_states(decoded)
        assert changes.runs == tuple(name for name, length in zip("abc", lengths, strict=True) if length)
        assert [steps.tolist() for steps in changes.by_run] == [[5], [7]]
        assert changes.last.tolist() == [5, 7]


def test_a_run_of_one_row_is_not_told_as_frozen():
    runs = logs({"a": [1.0], "b": [1.0, 2.0, 1.0], "c": [-1.0], "d": [1.0, np.nan, np.nan]})
    changes = changes_of_sign(runs, "x")
    table = freezing_table(runs, changes).set_index("run")
    assert table["censored"].to_dict() == {"a": True, "b": False, "c": True, "d": True}
    assert (table["freezing_step"] == 0).all()
    ones = runs.select_runs(["a", "c"])
    assert freezing_table(ones, changes_of_sign(ones, "x"))["censored"].all()
    assert hazard_table(ones, changes_of_sign(ones, "x")).empty


@pytest.mark.parametrize("shape", ["exponential", "volleys", "regular"])
def test_runs_that_go_on_hopping_are_seldom_called_frozen(shape):
    rng = np.random.default_rng(0)
    called = []
    for _ in range(400):
        stretches = {
            "exponential": rng.exponential(1.0, 400),
            "volleys": np.where(rng.random(400) < 0.8, 0.02, 5.0) * rng.exponential(1.0, 400),
            "regular": rng.gamma(4.0, 0.25, 400),
        }[shape]
        times = np.cumsum(stretches)
        end = 40.0
        seen = times[times < end]
        called.append(not may_hop_again(np.diff(np.concatenate(([0.0], seen))), end - seen[-1]))
    assert np.mean(called) <= 0.1


def test_runs_that_have_frozen_long_ago_are_said_to():
    rng = np.random.default_rng(1)
    frozen = [not may_hop_again(rng.exponential(1.0, 10), 10.0) for _ in range(200)]
    assert np.mean(frozen) >= 0.9
    assert may_hop_again(np.array([3.0]), 20.0)  # one stretch tells little of the next
    assert not may_hop_again(np.array([3.0]), 60.0)
    assert may_hop_again(np.array([5, 5, 5]), 5.0)
    assert not may_hop_again(np.array([]), 5.0)


def test_a_run_that_never_hopped_is_judged_by_runs_of_its_own_group():
    hopping = np.tile([1.0, 1.0, -1.0, -1.0], 5)
    runs = logs({"a": hopping, "b": np.ones(4), "c": np.ones(20)}, heat={"a": "hot", "b": "hot", "c": "cold"})
    changes = changes_of_sign(runs, "x")
    table = freezing_table(runs, changes, ["heat"]).set_index("run")
    assert table["freezing_step"].to_dict() == {"a": 180, "b": 0, "c": 0}
    assert table["censored"].to_dict() == {"a": True, "b": True, "c": False}


def test_what_diverged_has_not_frozen_and_zero_counts_as_above():
    runs = logs({"a": [1.0, -1.0, *[-1.0] * 60, np.inf, 1.0], "b": [1.0, 0.0, -0.0, 1.0]})
    table = freezing_table(runs, changes_of_sign(runs, "x")).set_index("run")
    assert table.loc["a"].tolist() == [10, True]
    assert table.loc["b"].tolist() == [0, True]  # judged by the only stretch there is, of a


def test_rows_that_do_not_log_the_column_are_passed_over():
    frame = pd.DataFrame(
        {"run": "a", "step": np.arange(6), "x": [1, np.nan, -1, np.nan, -1, -1], "loss": [3.0, 2, 1, 1, 1, 1]}
    )
    changes = changes_of_sign(RunSet.from_frame(frame), "x")
    assert changes.steps.tolist() == [2]
    assert not changes.diverged.any()


def test_the_proxy_is_the_first_step_with_a_loss_no_higher():
    frame = pd.DataFrame(
        {
            "run": ["a"] * 4 + ["b"] * 3,
            "step": [0, 5, 10, 15, 0, 5, 10],
            "train_loss": [1.0, 0.1, 0.5, 0.05, 1.0, np.nan, 0.2],
            "rate": [2.0] * 4 + [3.0] * 3,
        }
    )
    table = loss_proxy(RunSet.from_frame(frame), ["rate"])
    assert table.to_dict("list") == {
        "run": ["a", "b"], "rate": [2.0, 3.0], "proxy_step": [5, 10], "censored": [False, True]
    }  # fmt: skip


def test_a_loss_that_is_no_number_is_not_low():
    frame = pd.DataFrame({"run": "a", "step": np.arange(4), "train_loss": [1.0, -np.inf, np.nan, 0.05]})
    assert loss_proxy(RunSet.from_frame(frame))["proxy_step"].tolist() == [3]


def test_what_cannot_be_asked_says_why():
    runs = logs({"a": [1.0, -1.0]})
    with pytest.raises(AnalysisError, match=r"no metric 'y' \(found: "):
        changes_of_sign(runs, "y")
    with pytest.raises(AnalysisError, match="finite in no run"):
        changes_of_sign(logs({"a": [np.inf, -1.0]}), "x")
    with pytest.raises(AnalysisError, match="states of run 'a', which these logs do not hold"):
        freezing_table(logs({"b": [1.0, -1.0]}), changes_of_sign(runs, "x"))
    with pytest.raises(AnalysisError, match="'nothing' is no column"):
        freezing_table(runs, changes_of_sign(runs, "x"), ["nothing"])
    with pytest.raises(AnalysisError, match="no metric 'train_loss'"):
        loss_proxy(runs)
