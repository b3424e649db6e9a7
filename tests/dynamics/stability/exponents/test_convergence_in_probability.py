"""Shares of runs below a bound go one way while moments go the other."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.exponents.convergence_in_probability import (
    CONVERGENCE_COLUMNS,
    by_step,
    convergence_in_probability,
    convergence_table,
)
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.simulate import rank_one


def test_a_distance_converges_in_probability_while_its_second_moment_grows():
    logs = rank_one(learning_rates=[1.0, 3.0], n_runs=2000, n_steps=60).logs.values.reshape(2, 2000, 61)
    small = convergence_in_probability(logs[0], bound=1e-3)
    assert small.share[[0, 60]] == pytest.approx([0, 1], abs=0.05)
    assert small.ci_low[60] > 0.9
    # E (1 − x²)² = 2 a step, exact; from the sample while it holds the runs that make it.
    assert small.log_second_moment[:4] == pytest.approx(np.log(2) * np.arange(4), abs=0.4)
    # E |1 − x²| = 4 φ(1) a step.
    assert small.log_first_moment[:4] == pytest.approx(np.log(0.96788) * np.arange(4), abs=0.1)
    large = convergence_in_probability(logs[1], bound=1e-3)
    assert large.share[60] < 0.1


def test_shares_and_moments_are_those_of_the_runs_at_each_step():
    inf, nan = np.inf, np.nan
    logs = np.array([[0.0, -5.0, -inf, nan], [0.0, 1.0, 800.0, nan], [0.0, -1.0, inf, nan], [nan, -3.0, nan, nan]])
    found = convergence_in_probability(logs, bound=0.5)
    np.testing.assert_array_equal(found.n_runs, [3, 4, 3, 0])
    np.testing.assert_allclose(found.share, [0, 0.75, 1 / 3, nan])
    expected = [0.0, np.log(np.exp([-5.0, 1.0, -1.0, -3.0]).mean()), inf, nan]
    np.testing.assert_allclose(found.log_first_moment, expected)
    np.testing.assert_allclose(found.log_second_moment[1], np.log(np.exp([-10.0, 2.0, -2.0, -6.0]).mean()))
    huge = convergence_in_probability(np.array([[800.0], [802.0], [-np.inf]]), bound=1.0)
    assert huge.log_first_moment[0] == pytest.approx(802 + np.log((1 + np.exp(-2)) / 3))


@pytest.mark.parametrize("n_runs", [10, 40])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.9])
def test_intervals_hold_the_true_share(share, n_runs):
    drawn = np.random.default_rng(2).random((n_runs, 200))
    found = convergence_in_probability(np.log(drawn), bound=share)  # uniform: below a bound with that probability
    assert 180 <= ((found.ci_low <= share) & (share <= found.ci_high)).sum() <= 198


def test_runs_that_diverged_stay_away_and_runs_that_just_end_are_not_counted():
    frame = pd.DataFrame(
        {
            "run": ["a"] * 4 + ["b"] * 2 + ["c"] * 2 + ["d"] * 3,
            "step": [0, 1, 2, 3, 0, 1, 0, 1, 0, 1, 2],
            "distance": [1, 0.1, 0.1, 0.1, 1, np.inf, 1, 0.1, 1, np.inf, 0.2],
            "kind": "x",
        }
    )
    table = convergence_table(RunSet.from_frame(frame), ["kind"], quantity="distance", bound=0.5)
    assert table.columns.tolist() == ["kind", *CONVERGENCE_COLUMNS]
    assert table["step"].tolist() == [0, 1, 2, 3]
    assert table["n_runs"].tolist() == [4, 4, 3, 2]
    assert table["share"].tolist() == pytest.approx([0, 2 / 4, 2 / 3, 1 / 2])


def test_separations_that_both_twins_log_count_once():
    rng = np.random.default_rng(3)
    pairs = pd.DataFrame(
        {"run": np.repeat(list("abcdef"), 8), "step": np.tile(np.arange(8), 6), "separation": rng.random(48)}
    )
    once = convergence_table(RunSet.from_frame(pairs), quantity="separation", bound=0.5)
    assert (once["n_runs"] == 6).all()
    for labels in ((0, 1), ("a", None)):
        both = pd.concat([pairs.assign(seed=pairs["run"], run=pairs["run"] + str(n), twin=label)
                          for n, label in enumerate(labels)])  # fmt: skip
        found = convergence_table(RunSet.from_frame(both), quantity="separation", bound=0.5)
        pd.testing.assert_frame_equal(found, once)


def test_groups_that_do_not_log_the_distance_are_left_out():
    frame = pd.DataFrame(
        {
            "run": ["a"] * 3 + ["b"] * 3,
            "step": [0, 1, 2] * 2,
            "distance": [1.0, 0.5, 0.1, None, None, None],
            "loss": np.arange(6.0),
            "kind": ["x"] * 3 + ["y"] * 3,
        }
    )
    table = convergence_table(RunSet.from_frame(frame), ["kind"], quantity="distance", bound=0.3)
    assert table["kind"].tolist() == ["x"] * 3
    assert table["share"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("cells", [1, 7, 50])
def test_many_steps_a_few_at_a_time_are_told_as_all_at_once(monkeypatch, cells):
    rng = np.random.default_rng(4)
    parts = []
    for run in range(7):
        values = np.exp(rng.standard_normal(12))
        values[-1:] = [np.inf, 0.0, 1.0][run % 3]
        steps = np.sort(rng.choice(200, 12, replace=False))
        parts.append(pd.DataFrame({"run": f"r{run}", "step": steps, "distance": values}))
    runs = RunSet.from_frame(pd.concat(parts, ignore_index=True))
    whole = convergence_table(runs, quantity="distance", bound=0.5)
    assert len(whole) > 60
    assert whole["n_runs"].max() > 3
    monkeypatch.setattr("trajhmm.dynamics.stability.exponents.convergence_in_probability._CELLS", cells)
    pd.testing.assert_frame_equal(convergence_table(runs, quantity="distance", bound=0.5), whole)


def test_logarithms_at_the_end_of_what_numbers_hold_make_no_warning():
    found = convergence_in_probability(np.array([[1e308, -1e308], [1.0, -1e308]]), bound=1.0)
    assert found.log_second_moment.tolist() == [np.inf, -np.inf]


def test_what_is_no_number_has_diverged():
    at, laid_out = by_step(np.array([0.0, np.nan, 1.0]), np.array([0, 1, 4]), np.array([2, 1]))
    np.testing.assert_array_equal(at, [0, 1, 4])
    np.testing.assert_array_equal(laid_out, [[0, np.inf, np.inf], [np.nan, np.nan, 1]])


def test_runs_are_taken_by_groups_and_logarithms_as_they_are():
    sweep = rank_one(learning_rates=[0.3, 3.0], n_runs=30, n_steps=20)
    table = convergence_table(sweep.logs, ["learning_rate"], quantity="log_distance", bound=0.1)
    assert len(table) == 2 * 21
    expected = (sweep.logs.values.reshape(2, 30, 21) < np.log(0.1)).mean(axis=1)
    np.testing.assert_allclose(table["share"].to_numpy().reshape(2, 21), expected)


def test_what_is_no_distance_is_refused():
    logs = rank_one(n_runs=1, n_steps=2).logs
    with pytest.raises(AnalysisError, match=r"'loss' is no distance that these runs log \(found: log_distance"):
        convergence_table(logs, quantity="loss", bound=1.0)
    with pytest.raises(ValueError, match="bound = 0: expected a distance above 0"):
        convergence_table(logs, quantity="log_distance", bound=0.0)
