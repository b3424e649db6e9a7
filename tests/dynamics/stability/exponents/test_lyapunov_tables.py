"""Exponents and phases of whole sweeps of logs, as they are written."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.exponents.quantities import quantities_of
from trajhmm.dynamics.stability.exponents.tables import (
    counted,
    exponent_remarks,
    group_exponents,
    lyapunov_table,
    phase_of,
    phase_table,
)
from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.simulate import rank_one, scalar_net
from trajhmm.simulate.rank_one import rank_one_exponent
from trajhmm.simulate.scalar_net import phase_of as simulated_phase_of

COLUMNS = ["quantity", "exponent", "ci_low", "ci_high", "n_runs", "l2_stable", "probability_stable"]
PHASES = {
    (0.1, 0.01): "correct",
    (0.1, 0.05): "saddle",
    (0.1, 0.1): "saddle",
    (0.1, 0.2): "saddle",
    (0.1, 0.5): "unstable",
    (0.1, 1.0): "unstable",
    (1.0, 0.01): "correct",
    (1.0, 0.1): "correct",
    (1.0, 1.0): "correct",
    (1.0, 2.0): "unstable",
}


def logs_of(rows):
    return RunSet.from_frame(pd.DataFrame(rows))


def walks(n_runs, *, drift=-0.1, n_rows=30, seed=0, **columns):
    """Rows of runs that log ``column = exp(a random walk)`` under each name, with other walks for other names."""
    rng = np.random.default_rng(seed)
    rows = {"run": np.repeat([f"r{i}" for i in range(n_runs)], n_rows), "step": np.tile(np.arange(n_rows), n_runs)}
    for name in columns["names"]:
        rows[name] = np.exp(np.cumsum(drift + rng.standard_normal((n_runs, n_rows)), axis=1)).ravel()
    return pd.DataFrame(rows)


def test_rank_one_logs_have_their_exponents_and_both_edges_of_stability():
    rates = [0.3, 1.0, 2.0, 3.0]
    exponents = group_exponents(rank_one(learning_rates=rates, n_runs=100, n_steps=1000).logs, ["learning_rate"])
    table = lyapunov_table(exponents, ["learning_rate"])
    assert table.columns.tolist() == ["learning_rate", *COLUMNS]
    assert table["learning_rate"].tolist() == rates
    assert set(table["quantity"]) == {"log_distance"}
    assert table["l2_stable"].tolist() == [True, False, False, False]
    assert table["probability_stable"].tolist() == [True, True, True, False]
    exact = np.array([rank_one_exponent(rate) for rate in rates])
    reach = (table["ci_high"] - table["ci_low"]).to_numpy()
    np.testing.assert_array_less(abs(table["exponent"].to_numpy() - exact), reach)  # four standard errors
    assert reach.max() < 0.025
    assert (table["n_runs"] == 100).all()
    assert exponent_remarks(exponents) == ()


def test_phases_of_scalar_nets_are_the_published_ones_label_for_label():
    by = ["mu", "learning_rate"]
    tables = [
        phase_table(group_exponents(scalar_net(mus=[mu], learning_rates=rates, n_runs=20, n_steps=2000).logs, by), by)
        for mu in (0.1, 1.0)
        for rates in [[rate for share, rate in PHASES if share == mu]]
    ]
    table = pd.concat(tables)
    assert table.columns.tolist() == ["mu", "learning_rate", "exponent_plus", "exponent_minus", "phase"]
    assert dict(zip(zip(table["mu"], table["learning_rate"], strict=True), table["phase"], strict=True)) == PHASES


def test_phases_are_named_as_the_simulation_names_them():
    for plus in (-0.1, 0.2):
        for minus in (-0.3, 0.4):
            assert phase_of(plus, minus) == simulated_phase_of(plus, minus)
    assert phase_of(np.nan, 1.0) is None


def test_without_attributes_all_runs_are_one_group():
    logs = rank_one(learning_rates=[1.0], n_runs=8, n_steps=50).logs
    table = lyapunov_table(group_exponents(logs))
    assert table.columns.tolist() == COLUMNS
    last = logs.values.reshape(8, 51)[:, -1]
    assert table["exponent"].tolist() == pytest.approx([last.mean() / 50])


def test_distances_are_known_by_name_and_proxies_are_labelled():
    found = {one.column: (one.is_log, one.of_twins, one.proxy is not None) for one in quantities_of(
        ["loss", "weight_l2", "log_distance", "distance_to_init", "separation", "log_separation/0", "weight_l2/fc",
         "distances", "log_plus", "log_minus", "distance"]
    )}  # fmt: skip
    assert found == {
        "log_distance": (True, False, False),
        "distance_to_init": (False, False, False),
        "separation": (False, True, False),
        "log_separation/0": (True, True, False),
        "log_plus": (True, False, False),
        "log_minus": (True, False, False),
        "distance": (False, False, False),
        "weight_l2": (False, False, True),
    }
    assert list(found)[-1] == "weight_l2"


def test_distances_that_are_logged_as_such_are_taken_by_their_logarithm():
    frame = walks(6, names=["distance", "weight_l2"])
    exponents = group_exponents(logs_of(frame))
    table = lyapunov_table(exponents).set_index("quantity")
    assert table.index.tolist() == ["distance", "weight_l2 (proxy)"]
    for column, label in (("distance", "distance"), ("weight_l2", "weight_l2 (proxy)")):
        logs = np.log(frame[column].to_numpy()).reshape(6, 30)
        assert table.loc[label, "exponent"] == pytest.approx((logs[:, -1] - logs[:, 0]).mean() / 29)
    assert any(
        remark.startswith("weight_l2 (proxy): ") and "origin" in remark for remark in exponent_remarks(exponents)
    )


def test_blank_rows_are_no_events():
    frame = walks(4, names=["distance"])
    expected = lyapunov_table(group_exponents(logs_of(frame)))
    frame["loss"] = 1.0 + np.arange(len(frame))
    sparse = frame.copy()
    sparse.loc[sparse["step"] % 29 != 0, "distance"] = None
    exponents = group_exponents(logs_of(sparse))
    table = lyapunov_table(exponents)
    assert table["exponent"].tolist() == pytest.approx(expected["exponent"].tolist())
    assert table["l2_stable"].isna().all()
    assert exponent_remarks(exponents)[-1].startswith("l2_stable is blank for distance: no two rows are one step apart")


def test_separations_that_both_twins_log_count_once():
    pairs = walks(5, names=["separation"])
    both = pd.concat([pairs.assign(twin=twin, run=pairs["run"] + f"_{twin}") for twin in (0, 1)])
    both["seed"] = both["run"].str[1].astype(int)
    once = lyapunov_table(group_exponents(logs_of(pairs)))
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(logs_of(both))), once)
    only_second = both.copy()
    only_second["loss"] = np.arange(len(both)) / 7.0
    only_second.loc[only_second["twin"] == 0, "separation"] = None
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(logs_of(only_second))), once)


def twins_of(pairs, labels, *, seeds=True):
    """Both runs of each pair, that log the same separation, and what they say under ``twin``."""
    both = pd.concat([pairs.assign(twin=label, run=pairs["run"] + f"_{n}") for n, label in enumerate(labels)])
    return both.assign(seed=both["run"].str[1].astype(int)) if seeds else both


@pytest.mark.parametrize(
    ("labels", "least"),
    [
        ((0, 1), 0),
        ((2.5, 1), 1),
        ((None, 1), 1),
        ((1, None), 0),
        (("b", "a"), 1),
        ((None, "a"), 1),
        (("b", None), 0),
        (("first", "0"), 1),
        ((" ", "x"), 1),
        (("10", "9"), 1),
    ],
)
@pytest.mark.parametrize("seeds", [True, False])
def test_twins_count_once_whatever_they_are_called(labels, least, seeds):
    pairs = walks(5, names=["separation"])
    runs = logs_of(twins_of(pairs, labels, seeds=seeds))
    assert "twin" in runs.attribute_names
    once = lyapunov_table(group_exponents(logs_of(pairs)))
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(runs)), once)
    (members,) = counted(runs, quantities_of(["separation"])[0], groups_of(runs))
    assert [runs.runs[run] for run in members] == [f"r{pair}_{least}" for pair in range(5)]


def test_of_each_pair_that_twin_counts_that_logs_the_separation():
    pairs = walks(6, names=["separation", "loss"])
    both = twins_of(pairs, (0, 1)).assign(cell="one")
    # Twin 0 alone in the first two, twin 1 alone in the next two, both in the last two.
    silent = ((both["seed"] < 2) & (both["twin"] == 1)) | (both["seed"].isin([2, 3]) & (both["twin"] == 0))
    both.loc[silent, "separation"] = None
    once = lyapunov_table(group_exponents(logs_of(pairs)))
    assert once["n_runs"].tolist() == [6]
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(logs_of(both))), once)
    (members,) = counted(logs_of(both), quantities_of(["separation"])[0], groups_of(logs_of(both)))
    assert [logs_of(both).runs[run] for run in members] == ["r0_0", "r1_0", "r2_1", "r3_1", "r4_0", "r5_0"]


def test_attributes_that_are_each_runs_own_tell_no_pairs():
    pairs = walks(5, names=["separation"])
    both = twins_of(pairs, (0, 1))
    both["order"] = both["seed"] * 2 + both["twin"]  # another in each run
    both["kind"] = both["twin"].map({0: "first", 1: "second"})  # goes with the twin
    both["name"] = both["run"].where(both["run"] != "r3_1")  # of its own, or none
    once = lyapunov_table(group_exponents(logs_of(pairs)))
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(logs_of(both))), once)
    alone = both[both["twin"] == 1].assign(twin=0)
    pd.testing.assert_frame_equal(lyapunov_table(group_exponents(logs_of(alone))), once)


def test_twins_asked_for_by_name_are_told_each_by_itself():
    both = twins_of(walks(5, names=["separation"]), (0, 1))
    table = lyapunov_table(group_exponents(logs_of(both), ["twin"]), ["twin"])
    assert table["n_runs"].tolist() == [5, 5]


def test_distances_that_are_no_separation_are_of_every_run():
    both = twins_of(walks(5, names=["distance"]), (0, 1))
    assert lyapunov_table(group_exponents(logs_of(both)))["n_runs"].tolist() == [10]


def test_groups_follow_the_values_of_attributes_blank_ones_too():
    frame = walks(6, names=["distance"]).assign(rate=np.repeat([0.5, 0.1, np.nan, 0.1, 0.5, 0.5], 30), kind="a")
    table = lyapunov_table(group_exponents(logs_of(frame), ["rate", "kind"]), ["rate", "kind"])
    assert table["rate"].tolist()[:2] == [0.1, 0.5]
    assert table["n_runs"].tolist() == [2, 3, 1]
    logs = np.log(frame["distance"].to_numpy()).reshape(6, 30)
    grown = (logs[:, -1] - logs[:, 0]) / 29
    assert table["exponent"].tolist() == pytest.approx([grown[[1, 3]].mean(), grown[[0, 4, 5]].mean(), grown[2]])


def test_remarks_name_what_the_runs_do_not_decide():
    frame = walks(3, drift=0.0, names=["distance"], seed=3).assign(rate=1.0)
    frame.loc[(frame["run"] == "r0") & (frame["step"] > 20), "distance"] = np.inf
    frame.loc[frame["run"] == "r1", "distance"] = np.where(frame.loc[frame["run"] == "r1", "step"] < 1, 1.0, 0.0)
    exponents = group_exponents(logs_of(frame), ["rate"])
    remarks = exponent_remarks(exponents)
    assert "distance, rate 1: 1 runs count up to their first value that is not finite" in remarks
    assert "distance, rate 1: 1 runs have not two finite values, and do not count" in remarks
    (undecided,) = [remark for remark in remarks if "holds 0" in remark]
    rate = exponents[0].finite_time.exponent
    assert rate.ci_low < 0 < rate.ci_high
    assert f"its sign is {rate.confidence_of_sign:.0%} sure" in undecided
    one = group_exponents(logs_of(frame[frame["run"] == "r2"]), [])
    assert "distance, all runs: one run, so no interval; more seeds give one" in exponent_remarks(one)


def test_remarks_say_where_the_second_moment_is_not_decided():
    exponents = group_exponents(rank_one(learning_rates=[2 / 3], n_runs=20, n_steps=100).logs)
    assert any("holds 1: L2 stability is not decided" in remark for remark in exponent_remarks(exponents))


def test_where_nothing_is_a_distance_the_tables_are_empty_and_say_what_to_log():
    logs = logs_of({"run": ["a", "a", "b"], "step": [0, 1, 0], "loss": [1.0, 2.0, 3.0]})
    exponents = group_exponents(logs)
    assert lyapunov_table(exponents).columns.tolist() == COLUMNS
    assert lyapunov_table(exponents).empty
    assert phase_table(exponents).columns.tolist() == ["exponent_plus", "exponent_minus", "phase"]
    assert phase_table(exponents).empty
    (remark,) = exponent_remarks(exponents)
    assert "log the separation of twin runs" in remark


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("mood", "'mood' is no column; expected a column that is constant within each run \\(found: learning_rate"),
        ("log_distance", "'log_distance' is a metric: it changes within a run; expected a column"),
    ],
)
def test_columns_that_do_not_group_runs_are_refused(by, message):
    with pytest.raises(AnalysisError, match=message):
        group_exponents(rank_one(n_runs=1, n_steps=2).logs, [by])
