"""Paths keep the dwell times and the turns of their description."""

import numpy as np
import pytest
from scipy import stats

from trajhmm.simulate.paths import Phase, at_risk, lay_out, state_names, walk

RUNS = 4000


def test_visits_are_laid_out_as_repeat_does():
    rng = np.random.default_rng(0)
    visits = rng.integers(0, 5, size=(20, 6))
    dwells = rng.integers(0, 4, size=(20, 6))
    dwells[:, -1] = 30
    expected = [np.repeat(v, d)[:30] for v, d in zip(visits, dwells, strict=True)]
    np.testing.assert_array_equal(lay_out(visits, dwells, n_rows=30), expected)


@pytest.mark.parametrize("stages", [1, 8])
def test_dwell_times_are_sums_of_geometric_ones(stages):
    phases = {"a": Phase(state="a", stay=24, stages=stages, then={"b": 1}), "b": Phase(state="b")}
    rows = (walk(phases, n_runs=RUNS, n_rows=600, rng=np.random.default_rng(1)) == 0).sum(axis=1)
    leave = stages / 24
    variance = stages * (1 - leave) / leave**2
    assert rows.mean() == pytest.approx(24, abs=4 * np.sqrt(variance / RUNS))
    # The variance of a sum of geometric times has a relative standard error of at most 4.5% (kurtosis 9, stages 1).
    assert rows.var() == pytest.approx(variance, rel=0.18)
    assert rows.min() >= stages


def test_turns_are_taken_as_often_as_they_are_likely():
    phases = {
        "a": Phase(state="a", stay=2, then={"c": 0.7, "b": 0.3}),
        "b": Phase(state="b"),
        "c": Phase(state="c"),
    }
    last = walk(phases, n_runs=RUNS, n_rows=100, rng=np.random.default_rng(2))[:, -1]
    assert set(last) == {1, 2}
    assert (last == 2).mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / RUNS))


def test_phases_that_show_one_state_are_one_state():
    phases = {
        "a": Phase(state="x", then={"b": 1}),
        "b": Phase(state="y", then={"c": 1}),
        "c": Phase(state="x"),
    }
    assert state_names(phases) == ("x", "y")
    path = walk(phases, n_runs=1, n_rows=6, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(path, [[0, 1, 0, 0, 0, 0]])


def test_at_risk_every_row_ends_as_likely():
    phases = {
        "a": at_risk("a", hazard=0.05, moves={"b": 0.2, "c": 0.1}, end="end"),
        "b": at_risk("b", hazard=0.05, moves={"a": 0.5}, end="end"),
        "c": at_risk("c", hazard=0.05, moves={}, end="end"),
        "end": Phase(state="end"),
    }
    path = walk(phases, n_runs=RUNS, n_rows=500, rng=np.random.default_rng(3))
    for state, moves in enumerate([{1: 0.2, 2: 0.1}, {0: 0.5}, {}]):
        at = path[:, :-1] == state
        follows = path[:, 1:][at]
        n = at.sum()
        assert (follows == 3).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
        for other, rate in moves.items():
            p = 0.95 * rate
            assert (follows == other).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n))
    rows = (path != 3).sum(axis=1)
    # Ties only make the Kolmogorov–Smirnov test of a discrete distribution more lenient.
    assert stats.kstest(rows, stats.geom(0.05).cdf).statistic < 1.95 / np.sqrt(RUNS) + stats.geom(0.05).pmf(1)
