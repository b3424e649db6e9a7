"""Scores are those of the rows before, to the bit, whatever stands in the window."""

import numpy as np
import pytest

from trajhmm.dynamics.stability.instability.scores import (
    FEWEST_BEFORE,
    THRESHOLD,
    olmo_scores,
    on_its_scale,
    previous_ranks,
    robust_score,
    robust_scores,
)


def lines():
    """Values of many kinds: of two decimals, that stand still, that fall, of a size, that are lost for a while."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(400)
    lost = drawn.copy()
    lost[[30, 31, 200]] = np.inf
    most = drawn.copy()
    most[100:180] = np.inf
    return {
        "drawn": drawn,
        "ties": drawn.round(1),
        "still": np.ones(400),
        "falling": -np.arange(400.0),
        "large": 1e300 * drawn,
        "lost": lost,
        "mostly lost": most,
        "few": drawn[:25],
        "none": drawn[:0],
    }


def by_numpy(before):
    """Median, median absolute deviation and upper rank of the values before one, by numpy."""
    level = np.median(before)
    with np.errstate(invalid="ignore"):
        deviation = np.median(np.abs(before - level))
    return level, deviation, np.sort(before)[int(np.ceil(0.95 * len(before))) - 1]


@pytest.mark.parametrize("kind", lines())
@pytest.mark.parametrize("window", [33, 100])
def test_ranks_in_the_running_window_are_numpys_to_the_bit(kind, window):
    values = lines()[kind]
    found = np.array(previous_ranks(values, window, FEWEST_BEFORE))
    assert found.shape == (3, len(values))
    assert np.isnan(found[:, :FEWEST_BEFORE]).all()
    for row in range(FEWEST_BEFORE, len(values)):
        np.testing.assert_array_equal(found[:, row], by_numpy(values[max(0, row - window) : row]))


def test_scores_look_at_nothing_but_the_past():
    values = np.exp(np.random.default_rng(6).standard_normal(300))
    for score in (robust_scores, olmo_scores):
        whole = score(values)
        assert np.isnan(whole[:20]).all()
        for cut in (50, 137, 299):
            np.testing.assert_array_equal(score(values[:cut]), whole[:cut])


def test_scores_are_what_they_say():
    values = np.random.default_rng(8).standard_normal(1400)
    scores = olmo_scores(values)
    for row in (500, 1300):
        before = values[max(0, row - 1000) : row]
        assert scores[row] == pytest.approx((values[row] - before.mean()) / before.std())
    before = values[800:900]
    spread = max(1.4826 * np.median(np.abs(before - np.median(before))),
                 (np.sort(before)[94] - np.median(before)) / 1.645)  # fmt: skip
    assert robust_scores(values)[900] == (values[900] - np.median(before)) / spread
    assert THRESHOLD == 7.0


def test_scores_of_values_that_stand_still_are_0_and_infinite_beside_them():
    values = np.ones(40)
    values[30] = 2.0
    assert olmo_scores(values)[[29, 30]].tolist() == [0.0, np.inf]
    assert robust_scores(values)[[29, 30]].tolist() == [0.0, pytest.approx(np.log(2) / 0.01)]


def test_the_scale_is_the_logarithm_where_it_can_be():
    scaled, least = on_its_scale(np.array([1.0, np.e, np.nan, np.inf]))
    np.testing.assert_array_equal(scaled, [0.0, 1.0, np.inf, np.inf])
    assert least == 0.01
    scaled, least = on_its_scale(np.array([0.0, -300.0, 100.0, np.nan]))
    np.testing.assert_array_equal(scaled, [0.0, -300.0, 100.0, np.inf])
    assert least == pytest.approx(1.0)
    for values in (np.zeros(3), np.full(3, np.nan), np.empty(0)):
        assert on_its_scale(values)[1] == 0.01


def test_sizes_at_the_end_of_what_numbers_hold_are_judged_without_a_warning():
    rng = np.random.default_rng(1)
    for values in (rng.choice([1e308, -1e308], 200), rng.random(200) * 1e-310 - 5e-311, np.full(200, 5e-324)):
        scaled, least = on_its_scale(values)
        assert least > 0.0
        assert robust_score(scaled, least).shape == olmo_scores(values).shape == (200,)
