"""Changes a step: counted as they fell, with intervals that hold the truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.freezing.changes import Changes, changes_of_sign
from trajhmm.dynamics.stability.freezing.hazard import HAZARD_COLUMNS, bins_for, gamma_interval, hazard_of, hazard_table
from trajhmm.logs import RunSet

STEPS = 1000
EDGES = np.linspace(0, STEPS, 6)


def hopping(rng, n_runs, hazard, frailty=0.0):
    """Runs that change at each step by chance, each at a rate of its own."""
    own = rng.gamma(1 / frailty, frailty, n_runs) if frailty else np.ones(n_runs)
    hit = rng.random((n_runs, STEPS)) < hazard * own[:, np.newaxis]
    return made(n_runs, np.nonzero(hit)[1] + 1, hit.sum(axis=1))


def made(n_runs, steps, counts, last=STEPS):
    return Changes(
        runs=tuple(map(str, range(n_runs))),
        first=np.zeros(n_runs, dtype=np.int64),
        last=np.broadcast_to(last, n_runs).astype(np.int64),
        steps=np.asarray(steps, dtype=np.int64),
        counts=np.asarray(counts, dtype=np.int64),
        diverged=np.zeros(n_runs, dtype=bool),
    )


@pytest.mark.parametrize("frailty", [0.0, 0.5])
@pytest.mark.parametrize("n_runs", [10, 30])
@pytest.mark.parametrize("shape", ["constant", "falling"])
@pytest.mark.sampled(2)
def test_intervals_hold_a_known_hazard(shape, n_runs, frailty):
    at = np.arange(1, STEPS + 1)
    hazard = np.full(STEPS, 0.02) if shape == "constant" else 0.05 * np.exp(-at / 400)
    truth = hazard.reshape(len(EDGES) - 1, -1).mean(axis=1)
    rng = np.random.default_rng(5)
    held = np.zeros((200, len(truth)), dtype=bool)
    for repeat in range(200):
        found = hazard_of(hopping(rng, n_runs, hazard, frailty), EDGES)
        held[repeat] = (found.ci_low <= truth) & (truth <= found.ci_high)
    # Of a bin 200 repeats scatter by 0.015; all bins together less.
    assert 0.93 <= held.mean() <= 0.99
    assert held.mean(axis=0).min() >= 0.9


def test_changes_of_a_run_count_against_its_own_watch():
    changes = made(3, [50, 70, 90, 110, 60, 80], [4, 0, 2], last=[120, 300, 400])
    found = hazard_of(changes, np.array([0.0, 200.0]))
    expected = gamma_interval(np.array([4.0, 0.0, 2.0]), np.array([120.0, 200.0, 200.0]))
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx(expected)


def test_changes_count_where_they_fall_over_those_who_are_watched():
    changes = made(2, [0 + 200, 201, 1000, 350], [3, 1], last=[1000, 400])
    found = hazard_of(changes, EDGES)
    assert found.events.tolist() == [1, 2, 0, 0, 1]
    assert found.at_risk.tolist() == [400, 400, 200, 200, 200]
    np.testing.assert_allclose(found.hazard, [1 / 400, 2 / 400, 0, 0, 1 / 200])
    assert np.isnan(found.ci_low[2:]).all()  # one run is left
    assert (found.ci_low[:2] < found.hazard[:2]).all()
    assert (found.hazard[:2] < found.ci_high[:2]).all()


def test_runs_that_begin_late_are_at_risk_from_there():
    late = replace(made(2, [500, 950], [1, 1]), first=np.array([0, 450]))
    assert hazard_of(late, EDGES).at_risk.tolist() == [200, 200, 350, 400, 400]


def test_no_change_has_an_upper_bound_and_volleys_a_wider_interval():
    calm = hazard_of(made(20, [], np.zeros(20)), EDGES)
    assert (calm.ci_low == 0).all()
    # Poisson: 3.7 changes at most where none was seen; its mid-P value is 3.0.
    assert calm.ci_high == pytest.approx(np.full(5, 3.3 / (20 * 200)), rel=0.15)
    spread = np.sort(np.random.default_rng(0).integers(1, 200, (20, 1)) + np.arange(20), axis=1)
    alike = hazard_of(made(20, spread[:10].ravel(), [20] * 10 + [0] * 10), np.array([0.0, 1000.0]))
    even = hazard_of(made(20, spread[:, :10].ravel(), [10] * 20), np.array([0.0, 1000.0]))
    assert alike.hazard == even.hazard
    assert (alike.ci_high - alike.ci_low)[0] > 2 * (even.ci_high - even.ci_low)[0]


def test_the_table_has_a_row_for_each_group_and_bin():
    rng = np.random.default_rng(2)
    parts = []
    for run in range(8):
        heat = run % 2
        flips = rng.random(400) < (0.1 if heat else 0.02)
        signs = np.where(np.cumsum(flips) % 2, 1.0, -1.0)
        parts.append(pd.DataFrame({"run": f"r{run}", "step": 5 * np.arange(400), "x": signs, "heat": heat}))
    runs = RunSet.from_frame(pd.concat(parts, ignore_index=True))
    table = hazard_table(runs, changes_of_sign(runs, "x"), ["heat"], bins=4)
    assert table.columns.tolist() == ["heat", *HAZARD_COLUMNS]
    assert table["step"].tolist() == [249, 748, 1246, 1745] * 2
    means = table.groupby("heat")["hazard"].mean()
    assert means[0] == pytest.approx(0.02 / 5, rel=0.3)
    assert means[1] == pytest.approx(0.1 / 5, rel=0.15)


def test_few_changes_get_few_bins():
    assert [bins_for(n, 1000) for n in (0, 9, 55, 5000)] == [1, 1, 5, 20]
    assert bins_for(5000, 3) == 3
