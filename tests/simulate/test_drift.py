"""Runs that drift go down one road at their own speeds."""

import numpy as np
import pytest
from scipy import stats

from trajhmm.simulate import drift

RUNS, ROWS = 40, 200


def left_out(truth, values, run):
    """(T, D) what the other runs show where they are as far as one run, interpolated, and what it shows itself."""
    own = np.repeat(np.arange(RUNS), ROWS) == run
    order = np.argsort(truth.progress[~own])
    progress, others = truth.progress[~own][order], values[~own][order]
    inside = truth.progress[own] <= progress[-1]
    here = truth.progress[own][inside]
    return np.column_stack([np.interp(here, progress, column) for column in others.T]), values[own][inside]


def test_runs_of_all_speeds_trace_the_same_curve():
    truth = drift(seed=1)
    assert np.ptp(np.log(truth.speeds)) > 2
    for run in range(RUNS):
        expected, found = left_out(truth, truth.road, run)
        # Eight thousand rows, gaps in progress below 0.1: what interpolation misses is under gap² · (1.5 π)² · e / 8.
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_what_is_logged_is_the_road_and_noise():
    truth = drift(seed=2, noise=0.05)
    values = truth.logs.values[:, :8]
    rest = np.concatenate([np.log(values[:, :4] / truth.road[:, :4]), values[:, 4:] - truth.road[:, 4:]], axis=1)
    # 8,000 values a metric: relative standard error 0.8%; eight metrics. Runs: 1,600 values each.
    np.testing.assert_allclose(rest.std(axis=0), 0.05, rtol=0.03)
    assert abs(rest.reshape(RUNS, ROWS * 8).mean(axis=1)).max() < 4 * 0.05 / np.sqrt(1600)
    assert (values[:, :4] > 0).all()
    assert (values[:, 4:] < 0).any()


def test_the_road_is_curved():
    truth = drift(seed=0)
    line = np.column_stack([np.ones(RUNS * ROWS), truth.progress])
    residual = truth.road - line @ np.linalg.lstsq(line, truth.road, rcond=None)[0]
    assert np.sqrt((residual**2).mean(axis=0)).max() > 5 * 0.03


def test_runs_differ_only_in_speed():
    truth = drift(seed=3)
    # −log(1 − progress) is the clock of the road.
    clock = -np.log1p(-truth.progress.reshape(RUNS, ROWS)[:, :30])
    rate = clock[:, 1:] / np.arange(1, 30)
    np.testing.assert_allclose(rate / truth.speeds[:, np.newaxis], rate[0, 0] / truth.speeds[0], rtol=1e-6)


def test_speeds_are_lognormal_and_the_slowest_runs_do_not_arrive():
    sets = [drift(seed=s) for s in range(50)]
    logs = np.log(np.concatenate([one.speeds for one in sets]))
    assert logs.std() == pytest.approx(0.8, rel=4 / np.sqrt(2 * 2000))
    assert logs.mean() == pytest.approx(0.0, abs=4 * 0.8 / np.sqrt(2000))
    late = np.concatenate([one.convergence_steps < 0 for one in sets])
    share = stats.norm.cdf(np.log(0.4) / 0.8)
    assert late.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 2000))
    for one in sets:
        arrived = one.convergence_steps >= 0
        order = np.argsort(one.speeds[arrived])
        # Noise of the accuracy moves a crossing by a few rows where runs are slow: ranks all but agree.
        assert stats.spearmanr(one.speeds[arrived], one.convergence_steps[arrived]).statistic < -0.99
        assert order.size < 2 or one.speeds[~arrived].max(initial=0) < 0.45


def test_truth_agrees_with_the_logs():
    truth = drift(seed=4, step=7)
    good = truth.logs.column("eval_accuracy").reshape(RUNS, ROWS) > 0.9
    np.testing.assert_array_equal(truth.convergence_steps, np.where(good.any(axis=1), 7 * good.argmax(axis=1), -1))
    assert truth.truth_table().columns.tolist() == ["run", "onset", "collapse_step", "convergence_step", "speed"]


def test_without_a_spread_all_converge_at_forty_percent_of_the_log():
    steps = drift(speed_sd=0.0, step=1).convergence_steps
    assert abs(steps - 0.4 * ROWS).max() <= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed_sd": -1.0}, "speed_sd = -1: expected a standard deviation"),
        ({"noise": float("inf")}, "noise = inf: expected a standard deviation"),
        ({"n_metrics": 0}, "n_metrics = 0: expected 1 or more"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        drift(**settings)
