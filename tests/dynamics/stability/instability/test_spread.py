"""Seeds that part until some step are seen to, and those that part for ever, or never, as well."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.instability.spread import SPREAD_COLUMNS, across_runs, spread_table, spreads, stop_of
from trajhmm.logs import RunSet

ROWS, EVERY = 150, 10


def courses(kind, rng, n_runs, n_metrics=3):
    """(R, T, D) of runs that part."""
    at = np.arange(ROWS)[np.newaxis, :, np.newaxis]
    own = rng.standard_normal((n_runs, 1, n_metrics))
    noise = 0.2 * rng.standard_normal((n_runs, ROWS, n_metrics))
    walk = np.cumsum(rng.standard_normal((n_runs, ROWS, n_metrics)), axis=1) / 8
    if kind == "drift until 60":
        return own * np.minimum(at, 60) / 60 + noise
    if kind == "walk until 90":
        return walk[:, np.minimum(np.arange(ROWS), 90)] + noise
    if kind == "walk for ever":
        return walk + noise
    if kind == "drift for ever":
        return own * at / ROWS + noise
    if kind == "part and meet":
        return own * np.where(at < 50, at / 50, np.maximum(1 - (at - 50) / 100, 0)) + noise
    return own + noise


def logs(kind, n_runs=12, seed=0):
    values = courses(kind, np.random.default_rng(seed), n_runs)
    frames = [
        pd.DataFrame(values[run], columns=["a", "b", "c"]).assign(
            run=f"r{run}", step=EVERY * np.arange(ROWS), kind=kind
        )
        for run in range(n_runs)
    ]
    return RunSet.from_frame(pd.concat(frames, ignore_index=True))


@pytest.mark.parametrize(
    ("kind", "truth", "near"), [("drift until 60", 600, 120), ("walk until 90", 900, 450), ("part and meet", 500, 120)]
)
def test_spread_stops_growing_where_it_was_made_to(kind, truth, near):
    found = [spreads(logs(kind, seed=seed))[0] for seed in range(5)]
    stops = np.array([one.stop_step for one in found])
    assert np.median(np.abs(stops - truth)) <= near
    assert np.sum([one.stop_low <= truth <= one.stop_high for one in found]) >= 4
    assert sum(one.still_growing for one in found) <= 1


@pytest.mark.parametrize("kind", ["walk for ever", "drift for ever"])
def test_spread_that_grows_for_ever_does_not_stop_for_sure(kind):
    found = [spreads(logs(kind, seed=seed))[0] for seed in range(5)]
    assert all(one.stop_high >= 0.93 * EVERY * ROWS for one in found)
    if kind == "drift for ever":
        assert sum(one.still_growing for one in found) >= 4


def test_seeds_that_never_part_stop_at_the_start():
    found = [spreads(logs("apart from the start", seed=seed))[0] for seed in range(5)]
    assert np.median([one.stop_step for one in found]) == 0


def test_spread_is_that_across_runs_in_units_of_all_rows():
    values = np.random.default_rng(3).standard_normal((10, 5, 2)) * [1.0, 20.0]
    frame = pd.concat(
        [pd.DataFrame(values[run], columns=["a", "b"]).assign(run=f"r{run}", step=range(5)) for run in range(10)],
        ignore_index=True,
    )
    (found,) = spreads(RunSet.from_frame(frame))
    scale = values.reshape(-1, 2).std(axis=0)
    expected = np.sqrt((values.std(axis=0, ddof=1) ** 2 / scale**2).mean(axis=1))
    np.testing.assert_allclose(found.spread, expected, rtol=1e-6)


@pytest.mark.parametrize("n_runs", [5, 20])
def test_the_interval_of_a_spread_holds_the_truth(n_runs):
    rng = np.random.default_rng(4)
    found = [across_runs(rng.standard_normal((n_runs, 5, 2)) * [1.0, 2.0]) for _ in range(200)]
    held = np.array([(low <= np.sqrt(2.5)) & (np.sqrt(2.5) <= high) for _, low, high in found])
    assert 0.9 <= held.mean() <= 0.99


def test_curves_stop_where_a_power_does():
    at = np.arange(100.0)
    for power in (0.25, 0.5, 1.0, 2.0):
        curve = 1 + (np.minimum(at, 40) / 40) ** power
        assert stop_of(curve[np.newaxis], at)[0] == pytest.approx(40, abs=2)
    assert stop_of((5 - at / 50)[np.newaxis], at).tolist() == [0]
    assert stop_of(at[np.newaxis], at).tolist() == [99]


def test_the_table_has_a_row_for_each_group_and_step():
    one, other = logs("drift until 60", 5).frame(), logs("drift for ever", 5).frame()
    two = other[other["run"] < "r2"].assign(run=lambda rows: "few" + rows["run"], kind="few")
    both = pd.concat([one, other.assign(run=lambda rows: "x" + rows["run"]), two], ignore_index=True)
    table = spread_table(spreads(RunSet.from_frame(both), ["kind"]), ["kind"])
    assert table.columns.tolist() == ["kind", *SPREAD_COLUMNS]
    assert table.groupby("kind").size().to_dict() == {"drift for ever": ROWS, "drift until 60": ROWS}
    assert (table["n_runs"] == 5).all()
    assert table.groupby("kind")["stop_step"].nunique().tolist() == [1, 1]


def test_a_run_that_ends_early_is_named_and_cuts_off_no_other():
    whole = logs("drift for ever")
    frame = whole.frame()
    cut = frame[~frame["run"].eq("r3") | (frame["step"] < 20 * EVERY)]
    said = []
    (found,) = spreads(RunSet.from_frame(cut), said=said)
    assert found.n_runs == 11
    assert found.steps[-1] == EVERY * (ROWS - 1)
    assert found.stop_step > EVERY * ROWS / 2
    assert said == ["spread across seeds: without runs that end early: r3"]
    nearly = frame[~frame["run"].eq("r3") | (frame["step"] < EVERY * (ROWS - 3))]
    (found,) = spreads(RunSet.from_frame(nearly))
    assert found.n_runs == 12  # a few rows less are no reason


def test_a_group_without_a_spread_has_a_reason():
    frame = logs("drift for ever").frame()
    said = []
    assert spreads(RunSet.from_frame(frame[frame["run"].isin(["r0", "r1"])]), said=said) == ()
    assert said == ["no spread across seeds: it wants 3 runs of a group"]
    number = frame["run"].str[1:].astype(int)
    said.clear()
    assert spreads(RunSet.from_frame(frame.assign(step=frame["step"] + number)), said=said) == ()
    assert said[-1] == "no spread across seeds: its runs have 0 steps in common; it wants 5"


def test_many_small_groups_are_told_of_in_one_line():
    frame = logs("drift for ever").frame()
    said = []
    assert spreads(RunSet.from_frame(frame.assign(lr=frame["run"].str[1:].astype(float))), ["lr"], said=said) == ()
    assert said == ["no spread across seeds of 12 groups: it wants 3 runs of a group"]
