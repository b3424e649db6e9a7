"""How few healthy runs get as far: by hand, in plain Python, and the promise that runs left out keep."""

import math
import statistics

import numpy as np
import pytest

from trajhmm.warning.evaluation.thresholds import conformal_threshold
from trajhmm.warning.views.portfolio import Rarity, largest_scores

HALF, QUARTER = math.log(2), math.log(4)


def quantile(values, share):
    """By linear interpolation between the sorted values."""
    values = sorted(values)
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def rarity_of(largest, score, phase):
    """The rarity of one score of one view in plain Python; ``largest`` is a list of runs of lists of phases."""
    columns = list(zip(*largest, strict=True))
    centres = [statistics.median(column) for column in columns]
    own = [quantile(column, 0.75) - centre for column, centre in zip(columns, centres, strict=True)]
    sizes = [max(0.5 * statistics.median(own) + 0.5 * size, 1.0) for size in own]
    reached = [max((x - c) / s for x, c, s in zip(run, centres, sizes, strict=True)) for run in largest]
    known = [quantile(reached, share) for share in (0.5, 0.75, 1.0)]
    known[1] = max(known[1], known[0] + 0.25)
    known[2] = max(known[2], known[1] + 0.25)
    at, most = (score - centres[phase]) / sizes[phase], math.log(len(largest) + 1)
    if at <= known[1]:
        told = HALF + (QUARTER - HALF) * (at - known[0]) / (known[1] - known[0])
    elif at <= known[2]:
        told = QUARTER + (most - QUARTER) * (at - known[1]) / (known[2] - known[1])
    else:
        told = most + (most - HALF) * (at - known[2]) / (known[2] - known[0])
    return max(told, 0.0)


def test_by_hand():
    """Runs at 0, 2, 4, 6 and 20: median 4, a unit is 2; median, upper quartile and largest at 0, 1 and 8 units."""
    rarity = Rarity.of(np.array([[[0.0], [2.0], [4.0], [6.0], [20.0]]]))
    assert (rarity.centre.tolist(), rarity.size.tolist(), rarity.n_runs) == ([[4.0]], [[2.0]], 5)
    np.testing.assert_allclose(rarity.knots, [[0, 1, 8]])
    most = math.log(6)
    expected = {4: HALF, 6: QUARTER, 20: most, 13: (QUARTER + most) / 2, 3: HALF / 2, 2: 0.0, -50: 0.0}
    expected[36] = most + (most - HALF)  # as far beyond the largest as that is from the median
    scores = np.array([list(expected)], dtype=float)
    np.testing.assert_allclose(rarity.apply(scores, np.zeros(8, dtype=int))[0], list(expected.values()), atol=1e-12)


def test_a_unit_is_drawn_half_way_to_that_of_the_other_phases_and_is_one_at_least():
    """Phases in which quartile and median are 2, 6 and 6 apart; and a view that stays at 0 in most runs."""
    runs = np.array([0.0, 0.0, 0.0, 1.0, 1.0])[:, np.newaxis] * [2.0, 6.0, 6.0]
    still = np.zeros((5, 3))
    still[4] = 30.0
    rarity = Rarity.of(np.stack([runs, still]))
    np.testing.assert_allclose(rarity.size, [[4, 6, 6], [1, 1, 1]])
    np.testing.assert_array_equal(rarity.centre, 0)


@pytest.mark.parametrize("seed", range(3))
def test_as_in_plain_python(seed):
    rng = np.random.default_rng(seed)
    largest = 5 * rng.standard_t(3, size=(2, 12, 3)) + rng.normal(0, 20, 3)
    rarity = Rarity.of(largest)
    scores, phases = rng.normal(0, 60, (2, 200)), rng.integers(0, 3, 200)
    expected = [
        [rarity_of(of_view.tolist(), score, phase) for score, phase in zip(row, phases, strict=True)]
        for of_view, row in zip(largest, scores, strict=True)
    ]
    np.testing.assert_allclose(rarity.apply(scores, phases), expected, rtol=1e-9, atol=1e-9)


def test_half_a_quarter_and_the_largest_of_the_runs_themselves():
    largest = np.random.default_rng(5).normal(0, 10, (1, 21, 1))
    told = np.sort(Rarity.of(largest).apply(largest[:, :, 0], np.zeros(21, dtype=int))[0])
    np.testing.assert_allclose(told[[10, 15, 20]], [HALF, QUARTER, math.log(22)])


def test_the_farther_the_rarer_and_without_an_end():
    rarity = Rarity.of(np.random.default_rng(6).normal(0, 10, (1, 20, 2)))
    told = rarity.apply(np.linspace(-50, 1e6, 5000)[np.newaxis], np.ones(5000, dtype=int))[0]
    assert (np.diff(told) >= 0).all()
    assert told[-1] > 1e3
    assert np.isfinite(told).all()


def test_healthy_runs_that_are_all_alike_make_no_number_that_is_not_finite():
    rarity = Rarity.of(np.zeros((2, 10, 3)))
    told = rarity.apply(np.array([[0.0, 1.0, 100.0]] * 2), np.arange(3))
    assert np.isfinite(told).all()
    assert (told[:, 2] > told[:, 1]).all()


def test_where_few_runs_were_the_phase_before_counts():
    """The last phase is reached by four of ten; of two phases that nobody was in, the first is like what follows."""
    rng = np.random.default_rng(7)
    largest = rng.normal(0, 10, (1, 10, 4))
    largest[:, :, 0] = np.nan
    largest[:, 4:, 3] = np.nan
    rarity = Rarity.of(largest)
    known = Rarity.of(largest[:, :, 1:3])
    np.testing.assert_array_equal(rarity.centre, known.centre[:, [0, 0, 1, 1]])
    np.testing.assert_array_equal(rarity.size, known.size[:, [0, 0, 1, 1]])


def test_the_largest_of_each_phase():
    scores = np.array([[1.0, 5.0, 2.0, 9.0, -3.0], [0.0, -1.0, -2.0, 4.0, 8.0]])
    found = largest_scores(scores, np.array([0, 0, 2, 2, 2]), 4)
    np.testing.assert_array_equal(found, [[5, np.nan, 9, np.nan], [0, np.nan, 8, np.nan]])


def maxima_left_out(healthy):
    """(R,) largest rarity of each run, told by the others; a view's scores are (V, R, B)."""
    phases = np.arange(healthy.shape[2])
    return np.array(
        [Rarity.of(np.delete(healthy, r, axis=1)).apply(healthy[:, r], phases).max() for r in range(healthy.shape[1])]
    )


def drawn(rng, views, runs, *, heavy, phases=3):
    """Scores of runs that differ, each alike in its phases; with tails some of them lie far out."""
    scores = rng.normal(size=(views, runs, 1)) + rng.normal(size=(views, runs, phases))
    if heavy:
        scores = np.sinh(2 * scores)
    return scores * np.arange(1, views + 1)[:, np.newaxis, np.newaxis]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("views", [1, 3])
def test_the_promise_is_kept_of_runs_that_were_left_out(views, heavy):
    """Over draws of reference and new runs no more than the budget alarms, nor far less of it than could."""
    rng, runs, new = np.random.default_rng(1), 19, 100
    shares = {0.05: [], 0.2: []}
    for _ in range(100):
        scores = drawn(rng, views, runs + new, heavy=heavy)
        healthy, fresh = scores[:, :runs], scores[:, runs:]
        maxima = maxima_left_out(healthy)
        told = Rarity.of(healthy).apply(fresh.reshape(views, -1), np.tile(np.arange(3), new)).max(axis=0)
        for budget, share in shares.items():
            share.append((told.reshape(new, 3).max(axis=1) > conformal_threshold(maxima, budget).value).mean())
    for budget, share in shares.items():
        # Runs of one draw share a threshold, so draws are the unit.
        mean, error = np.mean(share), np.std(share) / np.sqrt(len(share))
        assert budget / 2 - 2.58 * error < mean < budget + 2.58 * error, f"{budget}: {mean:.4f} ± {error:.4f}"


def test_a_view_in_which_healthy_runs_go_astray_does_not_silence_another():
    """Three runs of 40 are far out in the first view; what one is in the second tells as before."""
    rng = np.random.default_rng(2)
    calm = rng.normal(0, 3, (2, 40, 3))
    wild = calm.copy()
    wild[0, [3, 17, 28]] += 1e4
    ill = np.array([[0.0], [25.0]])
    told = [Rarity.of(largest).apply(ill, np.array([1])) for largest in (calm, wild)]
    assert told[0][1] == told[1][1]
    for largest, (_, second) in zip((calm, wild), told, strict=True):
        assert second > conformal_threshold(maxima_left_out(largest), 0.1).value
    # The scores as they are, less median over quartile, would have been judged by what those three runs do.
    centre, size = np.median(wild, axis=(1, 2)), np.quantile(wild, 0.75, axis=(1, 2)) - np.median(wild, axis=(1, 2))
    plain = ((wild - centre[:, None, None]) / size[:, None, None]).max(axis=(0, 2))
    assert conformal_threshold(plain, 0.05).value > (25 - centre[1]) / size[1]


def test_what_is_stored_comes_back():
    rarity = Rarity.of(np.random.default_rng(8).normal(size=(2, 9, 3)))
    again = Rarity.from_dict(rarity.to_dict())
    for name in ("centre", "size", "knots"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rarity, name))
    assert again.n_runs == 9
