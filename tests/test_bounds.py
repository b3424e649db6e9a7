"""Intervals that rest on few runs."""

import numpy as np
import pytest
from scipy import stats

from trajhmm.bounds import expanded_tail, student_bounds


def test_expanded_percentiles_tend_to_the_plain_ones():
    assert expanded_tail(10**6) == pytest.approx(0.025, rel=1e-3)
    # Student's 97.5% quantile with 9 degrees of freedom is 2.262157.
    assert expanded_tail(10) == pytest.approx(stats.norm.cdf(-np.sqrt(10 / 9) * 2.262157), rel=1e-6)
    assert expanded_tail(5) < expanded_tail(10) < 0.025


def test_student_bounds_reach_beyond_the_few_values_of_a_small_arm():
    rng = np.random.default_rng(5)
    values = np.array([1.0, 2.0, 3.0, 10.0])
    drawn = values[rng.integers(4, size=(4000, 4))].mean(axis=1)
    low, high = student_bounds(values.mean(), drawn, 4)
    # Student's interval of the mean, 4 ± 3.182 · 4.082 / 2; the bootstrap has 2% Monte Carlo error.
    assert low == pytest.approx(4 - 6.495, abs=0.15)
    assert high == pytest.approx(4 + 6.495, abs=0.15)
    # With many values, plain percentiles.
    many = rng.normal(size=4000)
    np.testing.assert_allclose(student_bounds(0.0, many, 10**6), (-1.96, 1.96), atol=0.12)
    assert np.isnan(student_bounds(1.0, many, 1)).all()
