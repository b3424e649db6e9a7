"""Layers that part at one time of training are told from layers that swing each for itself."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.instability.formation import (
    FORMATION_COLUMNS,
    formation_table,
    formations,
    rise_and_fall,
)
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

ROWS, LAYERS = 300, 4


def swings(rng, phi=0.9):
    drawn = rng.standard_normal((ROWS, LAYERS)) * [0.5, 1.0, 1.0, 2.0]
    for row in range(1, ROWS):
        drawn[row] += phi * drawn[row - 1]
    return 1e-3 * drawn


def bump(centre):
    """Once in training, which it goes round: near the end it begins again at the start."""
    away = np.abs(np.arange(ROWS) - centre)
    return np.exp(-0.5 * (np.minimum(away, ROWS - away) / 25.0) ** 2)


APART = np.array([-1, 0, 0.5, 1.5])
ADDED = {
    "none": lambda _: np.zeros((ROWS, LAYERS)),
    "breaks": lambda rng: 0.02 * bump(150)[:, np.newaxis] * rng.permutation(APART),
    "together": lambda _: 0.02 * bump(150)[:, np.newaxis],
    "each at its own time": lambda rng: 0.02 * np.stack([bump(rng.integers(ROWS)) for _ in range(LAYERS)], axis=1),
    "apart at first": lambda _: 0.04 * np.exp(-np.arange(ROWS) / 20.0)[:, np.newaxis] * APART,
    "apart at first, and breaks": lambda _: (
        (0.08 * np.exp(-np.arange(ROWS) / 20.0) + 0.02 * bump(180))[:, np.newaxis] * APART
    ),
    "apart at last": lambda _: 0.02 * np.linspace(0, 1, ROWS)[:, np.newaxis] ** 2 * APART,
}


def changes(kind, rng):
    """(T, L) changes of ln‖W‖ a row."""
    return swings(rng) + ADDED[kind](rng)


def logs(kind, n_runs, seed):
    rng = np.random.default_rng(seed)
    frames = []
    for run in range(n_runs):
        norms = 10 * np.exp(np.cumsum(changes(kind, rng), axis=0))
        columns = {f"weight_l2/fc{layer + 1}": norms[:, layer] for layer in range(LAYERS)}
        frames.append(pd.DataFrame({"run": f"r{run}", "step": 10 * np.arange(ROWS), **columns, "kind": kind}))
    return RunSet.from_frame(pd.concat(frames, ignore_index=True))


def test_layers_that_part_at_one_time_and_rejoin_are_found():
    (found,) = formations(logs("breaks", 8, 0), ["kind"], permutations=199)
    assert found.verdict == "breaks and rejoins"
    assert found.p_value <= 0.01
    assert found.peak_step == pytest.approx(1500, abs=250)
    assert 0 < found.ci_low < found.rise_and_fall < found.ci_high
    table = formation_table([found], ["kind"])
    assert table.columns.tolist() == ["kind", *FORMATION_COLUMNS]
    assert table.loc[0, ["kind", "n_runs", "n_layers"]].tolist() == ["breaks", 8, LAYERS]


def test_layers_that_part_together_are_told_from_chance_in_one_run():
    values = [formations(logs("breaks", 1, seed), permutations=39)[0].p_value for seed in range(6)]
    assert np.max(values) <= 0.05


@pytest.mark.parametrize("kind", ["apart at first", "apart at last"])
def test_a_start_or_an_end_at_which_layers_differ_most_is_no_rise_and_fall(kind):
    (found,) = formations(logs(kind, 8, 1), permutations=99)
    assert found.verdict == "not told from chance"
    assert found.rise_and_fall < 0.3


@pytest.mark.parametrize("kind", ["none", "together", "each at its own time"])
@pytest.mark.once
def test_layers_that_do_not_part_together_are_seldom_said_to(kind):
    values = [formations(logs(kind, 5, 100 + repeat), permutations=39)[0].p_value for repeat in range(40)]
    # Of 40, binomial: six or more at a true 5% in 1.4% of cases.
    assert np.sum(np.array(values) <= 0.05) <= 5
    assert np.median(values) > 0.15


def test_a_start_that_hides_what_comes_later_can_be_left_out():
    (whole,) = formations(logs("apart at first, and breaks", 8, 5), permutations=199)
    (later,) = formations(logs("apart at first, and breaks", 8, 5), after=0.25, permutations=199)
    assert whole.verdict == "not told from chance"
    assert later.verdict == "breaks and rejoins"
    assert later.peak_step == pytest.approx(1800, abs=250)
    (first,) = formations(logs("apart at first", 8, 1), after=0.25, permutations=99)
    assert first.verdict == "not told from chance"
    with pytest.raises(ValueError, match="after = 1: expected a share"):
        formations(logs("none", 2, 0), after=1.0)


def test_the_statistic_is_the_lesser_of_rise_and_fall():
    hill = np.array([1.0, 1, 1, 2, 5, 5, 5, 3, 2, 2, 2])
    value, peak = rise_and_fall(np.stack([hill, hill[::-1], np.arange(11.0)]))
    assert value.tolist() == [3.0, 3.0, 0.0]
    assert peak[:2].tolist() == [5, 5]


def test_groups_are_told_apart_and_short_runs_left_out():
    part = logs("breaks", 4, 3).frame()
    calm = logs("none", 4, 4).frame().assign(run=lambda rows: "c" + rows["run"])
    short = part[part["run"] == "r0"].iloc[:30].assign(run="short")
    runs = RunSet.from_frame(pd.concat([part, calm, short], ignore_index=True))
    found = {one.group.values["kind"]: one for one in formations(runs, ["kind"], permutations=99)}
    assert found["breaks"].n_runs == 4
    assert found["breaks"].p_value <= 0.03 < found["none"].p_value


def test_fewer_than_three_layers_are_no_formation():
    runs = RunSet.from_frame(pd.DataFrame({"step": range(5), "weight_l2": range(5), "weight_l2/a": range(5)}))
    with pytest.raises(AnalysisError, match=r"1 columns weight_l2/…; expected the norms of three layers"):
        formations(runs)
