"""The 14 weight metrics against closed forms and plain numpy."""

import numpy as np
import pytest

from trajhmm.metrics import WEIGHT_METRICS, weight_metrics


def test_closed_forms_of_a_diagonal_and_a_rank_one_matrix():
    row = weight_metrics([np.diag([3.0, -4.0]), np.ones((2, 3))], [np.array([1.0, 2.0]), np.array([6.0])])
    assert row["weight_l1"] == pytest.approx((7 + 6) / 2)
    assert row["weight_l2"] == pytest.approx((5 + 6**0.5) / 2)
    assert row["weight_l1_over_l2"] == pytest.approx((7 / 5 + 6 / 6**0.5) / 2)
    assert row["trace"] == pytest.approx((-1 + 2) / 2)
    assert row["spectral_norm"] == pytest.approx((4 + 6**0.5) / 2)
    assert row["trace_over_spectral"] == pytest.approx((-1 / 4 + 2 / 6**0.5) / 2)
    assert row["singular_mean"] == pytest.approx((3.5 + 6**0.5 / 2) / 2)
    assert row["singular_var"] == pytest.approx((0.25 + (6**0.5 / 2) ** 2) / 2)
    entries = [3, 0, 0, -4, 1, 1, 1, 1, 1, 1]
    assert row["weight_mean"] == pytest.approx(np.mean(entries))
    assert row["weight_median"] == pytest.approx(np.median(entries))
    assert row["weight_var"] == pytest.approx(np.var(entries))
    assert (row["bias_mean"], row["bias_median"]) == pytest.approx((3, 2))
    assert row["bias_var"] == pytest.approx(np.var([1, 2, 6]))
    assert tuple(row) == WEIGHT_METRICS


def test_singular_values_under_the_threshold_count_as_zero():
    tiny = weight_metrics([np.diag([1.0, 9e-6])])
    kept = weight_metrics([np.diag([1.0, 2e-5])])
    assert (tiny["singular_mean"], tiny["singular_var"]) == pytest.approx((0.5, 0.25))
    assert kept["singular_mean"] == pytest.approx((1 + 2e-5) / 2, rel=1e-12)


def test_a_matrix_of_zeros_has_ratios_of_zero_and_one_that_is_not_finite_has_nan():
    zeros = weight_metrics([np.zeros((2, 2))])
    assert zeros["weight_l1_over_l2"] == zeros["trace_over_spectral"] == 0
    broken = weight_metrics([np.eye(2), np.array([[np.inf, 0], [0, 1]])])
    assert np.isnan(broken["weight_l2"])
    assert np.isnan(broken["spectral_norm"])


def test_no_matrix_is_an_error():
    with pytest.raises(ValueError, match="at least one weight matrix"):
        weight_metrics([])
