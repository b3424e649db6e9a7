"""Intervals of shares, against scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest

from trajhmm.shares import exact_interval, score_intervals


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("trials", [1, 5, 40])
def test_both_are_what_scipy_gives(trials, level):
    hits = np.arange(trials + 1)
    found = {
        "wilson": np.stack(score_intervals(hits, np.full(trials + 1, trials), level), axis=1),
        "exact": np.array([exact_interval(int(k), trials, level) for k in hits]),
    }
    for method, intervals in found.items():
        expected = [binomtest(int(k), trials).proportion_ci(confidence_level=level, method=method) for k in hits]
        np.testing.assert_allclose(intervals, expected, atol=1e-10, err_msg=method)
        assert (intervals[0, 0], intervals[-1, 1]) == (0.0, 1.0)
        assert ((intervals[:, 0] <= hits / trials) & (hits / trials <= intervals[:, 1])).all()


def test_of_none_nothing_is_known():
    assert exact_interval(0, 0) == (0.0, 1.0)
    low, high = score_intervals([0, 1], [0, 2])
    assert np.isnan([low[0], high[0]]).all()
    assert 0 < low[1] < 0.5 < high[1] < 1
