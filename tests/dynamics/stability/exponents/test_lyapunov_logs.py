"""Exponents from logs: intervals hold the truth as often as they say, and runs that end early do not deceive them."""

import numpy as np
import pytest
from scipy.signal import lfilter

from trajhmm.dynamics.stability.exponents.finite_time import finite_time_exponent, log_separation
from trajhmm.dynamics.stability.rates import rate_over_runs
from trajhmm.simulate.rank_one import rank_one_exponent

REPEATS = 200
LEAST, MOST = 180, 198  # 90 and 99% of 200


def increments_of(kind, n_runs, n_steps, rng):
    """(R, T) changes of ln distance, and their true mean."""
    if kind == "rank one":
        return np.log(abs(1 - 1.0 * rng.standard_normal((n_runs, n_steps)) ** 2)), rank_one_exponent(1.0)
    if kind == "correlated":  # autoregression of 0.95: some twenty steps are one
        noise = rng.standard_normal((n_runs, n_steps + 200))
        return -0.1 + lfilter([1], [1, -0.95], noise, axis=1)[:, 200:], -0.1
    noise = rng.standard_normal((n_runs, n_steps))  # runs differ, as by their initialisation
    return 0.05 + 0.3 * rng.standard_normal((n_runs, 1)) + noise, 0.05


def exponent_of(walks, **settings):
    """The exponent of walks of any lengths, each from 0."""
    lengths = np.array([len(walk) for walk in walks])
    steps = np.concatenate([np.arange(n) for n in lengths])
    return finite_time_exponent(np.concatenate(walks), steps, lengths, **settings)


def walks_of(increments):
    return np.concatenate([np.zeros((len(increments), 1)), np.cumsum(increments, axis=1)], axis=1)


def holds(rate, truth):
    return rate.ci_low <= truth <= rate.ci_high


@pytest.mark.parametrize("line", ["ends", "least-squares"])
@pytest.mark.parametrize("n_runs", [5, 10])
@pytest.mark.parametrize("kind", ["rank one", "correlated", "different"])
@pytest.mark.sampled(4)
def test_intervals_hold_the_truth(kind, n_runs, line):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(REPEATS):
        increments, truth = increments_of(kind, n_runs, 60, rng)
        held += holds(exponent_of(walks_of(increments), line=line).exponent, truth)
    assert LEAST <= held <= MOST


def stopped(rng, n_runs):
    """Walks of drift 0.05 a step that end at 4, where a run has diverged, or after 100 steps."""
    walks = walks_of(0.05 + rng.standard_normal((n_runs, 100)))
    ends = [int(np.argmax(walk > 4)) if (walk > 4).any() else 100 for walk in walks]
    return [walk[: end + 1] for walk, end in zip(walks, ends, strict=True)]


@pytest.mark.parametrize("n_runs", [10, 20])
def test_runs_that_end_because_they_diverge_do_not_raise_the_exponent(n_runs):
    rng = np.random.default_rng(2)
    held = naive = 0
    for _ in range(REPEATS):
        walks = stopped(rng, n_runs)
        held += holds(exponent_of(walks).exponent, 0.05)
        own = np.array([walk[-1] / (len(walk) - 1) for walk in walks])
        naive += holds(rate_over_runs(own, np.ones(n_runs)), 0.05)
    assert LEAST <= held <= MOST
    assert naive < 0.8 * REPEATS  # the mean of the runs' own rates


def test_ends_are_best_for_walks_and_least_squares_for_scatter_about_a_line():
    rng = np.random.default_rng(3)
    lines_through = ("ends", "least-squares")
    errors, scattered = {line: [] for line in lines_through}, {line: [] for line in lines_through}
    for _ in range(100):
        walks = walks_of(rng.standard_normal((20, 50)))
        lines = -0.1 * np.arange(51) + rng.standard_normal((20, 51))
        for line in lines_through:
            errors[line].append(exponent_of(walks, line=line).exponent.value)
            scattered[line].append(exponent_of(lines, line=line).exponent.value + 0.1)
    assert np.std(errors["ends"]) < np.std(errors["least-squares"]) < 1.25 * np.std(errors["ends"])
    # Theory: √(2/T²) against √(12/T³), so √(T/6) = 2.9 times.
    assert np.std(scattered["ends"]) > 2 * np.std(scattered["least-squares"])


def test_least_squares_is_the_slope():
    steps = np.array([0, 1, 5, 7])
    values = np.array([1.0, 0.2, 3.0, 2.0])
    found = finite_time_exponent(values, steps, np.array([4]), line="least-squares")
    assert found.exponent.value == pytest.approx(np.polyfit(steps, values, 1)[0])
    assert np.isnan([found.exponent.ci_low, found.exponent.ci_high]).all()
    assert found.exponent.n_runs == 1


def test_a_run_counts_from_its_first_finite_value_to_before_the_next_that_is_not():
    inf, nan = np.inf, np.nan
    walks = [
        np.array([-inf, 1.0, 2.0, 3.0]),  # twins that are still one at first
        np.array([0.0, 1.0, nan, 50.0]),  # an event
        np.array([0.0, 4.0, inf, inf]),  # diverged
        np.array([nan, nan, 1.0, nan]),  # too little
        np.array([nan, nan, nan, nan]),
        np.array([-inf, -inf, 3.0, 8.0, inf]),  # both
    ]
    found = exponent_of(walks)
    assert found.exponent.value == pytest.approx((2 + 1 + 4 + 5) / (2 + 1 + 1 + 1))
    assert (found.exponent.n_runs, found.n_cut, found.n_without) == (4, 3, 2)


def test_steps_count_and_not_rows():
    steps = np.array([0, 10, 40, 100, 120])
    found = finite_time_exponent(np.array([0.0, 1, 8, 5, 7]), steps, np.array([3, 2]))
    assert found.exponent.value == pytest.approx((8 + 2) / (40 + 20))
    assert found.second_moment is None
    assert found.l2_stable is None
    assert found.probability_stable is False


def test_the_second_moment_is_that_of_single_steps():
    steps = np.array([0, 1, 2, 12, 13])
    values = np.array([0.0, 0.5, 0.2, 9.0, 8.0])
    found = finite_time_exponent(values, steps, np.array([5]))
    assert found.second_moment.value == pytest.approx((np.exp(1.0) + np.exp(-0.6) + np.exp(-2.0)) / 3)
    assert found.l2_stable is False


@pytest.mark.parametrize(("rate", "stable"), [(0.6, True), (0.65, True), (0.69, False), (0.75, False)])
def test_the_edge_of_l2_stability_is_at_two_thirds(rate, stable):
    rng = np.random.default_rng(4)
    walks = walks_of(np.log(abs(1 - rate * rng.standard_normal((200, 2000)) ** 2)))
    found = exponent_of(walks)
    assert found.l2_stable is stable
    assert found.second_moment.value == pytest.approx(1 - 2 * rate + 3 * rate**2, abs=0.006)
    assert found.probability_stable is True
    # Over 50 steps the second moment shrinks in any sample, whatever the truth: so it is not asked.
    sparse = walks[:, ::50]
    assert np.exp(2 * np.diff(sparse, axis=1)).mean() < 1
    steps = np.tile(50 * np.arange(sparse.shape[1]), 200)
    assert finite_time_exponent(sparse.ravel(), steps, np.full(200, sparse.shape[1])).l2_stable is None


def test_growth_beyond_all_numbers_is_not_stable():
    found = exponent_of([np.array([0.0, 800.0]), np.array([0.0, -800.0])])
    assert found.l2_stable is False
    assert found.second_moment.value == np.inf


def test_the_sign_decides_and_says_how_sure_it_is():
    rng = np.random.default_rng(5)
    right = confident = decided = 0
    for _ in range(400):
        found = exponent_of(walks_of(-0.02 + rng.standard_normal((10, 40))))
        rate = found.exponent
        right += found.probability_stable
        assert found.probability_stable == (rate.value < 0)
        confident += rate.confidence_of_sign
        decided += rate.sign_is_decided
        assert rate.sign_is_decided == (rate.confidence_of_sign > 0.975)
    # Of the estimates a share Φ(0.02 √400) = 0.655 has the right sign.
    assert right / 400 == pytest.approx(0.655, abs=4 * np.sqrt(0.655 * 0.345 / 400))
    assert 0.6 < confident / 400 < 0.85
    assert decided < 60


def test_runs_that_all_agree_are_sure():
    found = rate_over_runs(np.array([-2.0, -4.0]), np.array([1.0, 2.0]))
    assert (found.value, found.ci_low, found.ci_high, found.confidence_of_sign) == (-2.0, -2.0, -2.0, 1.0)


def test_no_runs_no_rate():
    found = finite_time_exponent(np.empty(0), np.empty(0, dtype=np.int64), np.zeros(2, dtype=np.int64))
    assert np.isnan(found.exponent.value)
    assert (found.exponent.n_runs, found.n_without) == (0, 2)
    assert found.probability_stable is None


def test_twins_are_as_far_apart_as_their_weights():
    rng = np.random.default_rng(6)
    one, other = rng.standard_normal((2, 30, 7))
    np.testing.assert_allclose(log_separation(one, other), np.log(np.linalg.norm(one - other, axis=1)))
    np.testing.assert_allclose(log_separation(one[:, 0], other[:, 0]), np.log(abs(one[:, 0] - other[:, 0])))
    tiny = log_separation(1e-200 * one, np.zeros_like(one))  # squares of these are 0
    np.testing.assert_allclose(tiny, np.log(1e-200) + np.log(np.linalg.norm(one, axis=1)))
    assert log_separation(one[:1], one[:1])[0] == -np.inf


def test_separating_twins_tell_the_largest_exponent():
    """Two descents on the same data from nearly one place: here the order is the same, the place is not."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((20, 800, 2))
    walks = []
    for run in x:
        twins = np.array([[1.0, 0.3], [1.0, 0.3]]) + 1e-6 * rng.standard_normal((2, 2))
        separations = []
        for step in run:
            separations.append(twins.copy())
            twins = twins - 0.5 * (twins @ step)[:, np.newaxis] * step
        weights = np.array(separations)
        walks.append(log_separation(weights[:, 0], weights[:, 1])[:80])
    drawn = rng.standard_normal((500_000, 2))
    exact = np.log(np.linalg.norm(np.array([1.0, 0]) - 0.5 * drawn * drawn[:, :1], axis=1)).mean()
    found = exponent_of(walks).exponent
    assert found.value == pytest.approx(exact, abs=found.ci_high - found.ci_low)


def test_twins_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"twins: expected two series of the same steps.*found \(3,\) and \(4,\)"):
        log_separation(np.zeros(3), np.zeros(4))


@pytest.mark.parametrize(("rows", "expected"), [(2000, 126), (150, None), (200, None)])
def test_a_separation_that_levels_off_is_known_and_one_that_grows_to_the_end_is_not_called_so(rows, expected):
    """Twins part by a tenth a step and are as far apart as they can be from step 140 on."""
    rng, n = np.random.default_rng(0), 8
    at = np.arange(rows)
    logs = np.minimum(0.1 * at, 14.0) - 14.0 + 0.02 * rng.normal(size=(n, rows))
    found = finite_time_exponent(logs.ravel(), np.tile(at, n), np.full(n, rows))
    assert found.levels_off == (expected if expected is None else pytest.approx(expected, abs=4))


def test_a_random_walk_that_grows_does_not_level_off():
    rng, n, rows = np.random.default_rng(1), 12, 400
    logs = np.cumsum(0.05 + 0.3 * rng.normal(size=(n, rows)), axis=1)
    assert finite_time_exponent(logs.ravel(), np.tile(np.arange(rows), n), np.full(n, rows)).levels_off is None
    shrinks = finite_time_exponent(-logs.ravel(), np.tile(np.arange(rows), n), np.full(n, rows))
    assert shrinks.levels_off is None
