"""Rules of training frameworks against slow, direct readings of their published definitions, value by value."""

import statistics
from collections import deque

import numpy as np
import pytest

from trajhmm.warning.detectors import make_detector

from .made import made_run, series_of

TIGHT = 1e-9  # relative; sums of a few hundred numbers in another order


def scores(name, values, **settings):
    return make_detector(name, **settings).scores(made_run(values))


@pytest.fixture(params=range(4))
def values(request):
    return series_of(np.random.default_rng(request.param))


def test_olmo_core(values):
    history, expected, spikes = [], [], []
    for value in values.tolist():
        score, spike = 0.0, False
        if len(history) == 128:
            mean, spread = statistics.fmean(history), statistics.pstdev(history)
            if spread >= 1e-10:
                score = (value - mean) / spread
                spike = value > mean + 6 * spread
        expected.append(score)
        spikes.append(spike)
        history = [*history, value][-128:]
    found = scores("olmo_core", values)
    np.testing.assert_allclose(found, expected, rtol=TIGHT, atol=TIGHT)
    np.testing.assert_array_equal(found > make_detector("olmo_core").published_threshold, spikes)
    assert any(spikes)


def test_olmo_core_leaves_a_loss_that_stands_still_alone():
    values = np.concatenate([np.full(128, 2.0), [3.0], np.full(5, 2.0)])
    np.testing.assert_array_equal(scores("olmo_core", values)[:129], 0)


def test_olmo_core_watches_loss_and_gradient():
    rng = np.random.default_rng(0)
    loss, gradient = rng.normal(size=(2, 200))
    loss[150], gradient[180] = 20.0, 30.0
    detector = make_detector("olmo_core")
    both = detector.scores(made_run(np.column_stack([loss, gradient]), metrics=("train_loss", "grad_norm")))
    alone = [detector.scores(made_run(column)) for column in (loss, gradient)]
    np.testing.assert_array_equal(both, np.maximum(*alone))
    assert set(np.flatnonzero(both > 6)) == {150, 180}


@pytest.mark.parametrize("window", [1000, 150])
def test_olmo_2(values, window):
    expected = np.zeros(len(values))
    for t in range(100, len(values)):
        before = values[max(0, t - window) : t]
        expected[t] = abs(values[t] - np.mean(before)) / np.std(before)
    found = scores("olmo2", values, window=window)
    np.testing.assert_allclose(found, expected, rtol=TIGHT)
    threshold = make_detector("olmo2").published_threshold
    assert threshold < 7 <= np.nextafter(threshold, np.inf)


def test_olmo_2_counts_exactly_seven():
    """Mean 0, standard deviation 1: 7 is at least seven standard deviations away, and so is -7."""
    values = np.concatenate([np.tile([1.0, -1.0], 500), [7.0]])
    for sign in (1, -1):
        assert scores("olmo2", sign * values)[-1] > make_detector("olmo2").published_threshold
        assert scores("olmo2", sign * np.where(values == 7, 6.999, values))[-1] < 7


def test_weights_and_biases(values):
    expected = np.zeros(len(values))
    for t in range(30, len(values)):
        before = values[t - 30 : t]
        spread = np.std(before)
        if spread > 1e-12:
            expected[t] = abs(values[t] - np.mean(before)) / spread
    found = scores("wandb", values)
    moving = expected > 0
    np.testing.assert_allclose(found[moving], expected[moving], rtol=1e-6)
    assert make_detector("wandb").published_threshold == 3.0


def test_a_step_out_of_a_standstill_is_huge_and_finite():
    values = np.concatenate([np.full(40, 2.0), [2.1], np.full(10, 2.0)])
    for name in ("wandb", "median_mad"):
        found = scores(name, values)
        assert found[39] == 0
        assert 1e3 < found[40] < 1e12


def test_median_and_mad(values):
    expected = np.zeros(len(values))
    for t in range(21, len(values)):
        before = values[t - 21 : t]
        median = statistics.median(before)
        deviation = statistics.median(abs(value - median) for value in before)
        if deviation > 1e-12:
            expected[t] = 0.6745 * abs(values[t] - median) / deviation
    found = scores("median_mad", values)
    moving = expected > 0
    assert moving.sum() > 300
    np.testing.assert_allclose(found[moving], expected[moving], rtol=1e-4)  # 0.6745 is 1 / 1.4826 to four digits


def killed_at(losses):
    """Rows at which MosaicML's callback would end the run."""
    window, outliers, ends = deque(maxlen=100), 0, []
    for loss in losses.tolist():
        end = False
        if len(window) == 100:
            if loss >= 2 * statistics.fmean(window):
                outliers += 1
                end = outliers > 4
            else:
                outliers = 0
        ends.append(end)
        window.append(loss)
    return ends


def test_loss_spike_killer_on_made_up_losses():
    losses = np.full(400, 1.0)
    losses[150:154] = 2.5  # four in a row: not yet
    losses[250:255] = 2.5  # five
    losses[320:335] = 5.0
    found = scores("loss_spike_killer", losses) > make_detector("loss_spike_killer").published_threshold
    np.testing.assert_array_equal(found, killed_at(losses))
    assert np.flatnonzero(found)[0] == 254


@pytest.mark.parametrize("seed", range(6))
def test_loss_spike_killer_on_random_losses(seed):
    """Losses that linger, of either sign: the rule is met in some rows and not in others."""
    rng = np.random.default_rng(seed)
    losses = np.exp(np.cumsum(rng.normal(0.005, 0.15, 600))) - (0.5 if seed % 2 else 0.0)
    found = scores("loss_spike_killer", losses) > make_detector("loss_spike_killer").published_threshold
    expected = np.array(killed_at(losses))
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected[100:].sum() < 500


def test_loss_spike_killer_scores_the_multiple_that_was_kept_up():
    losses = np.concatenate([np.full(100, 1.0), [3.0, 4.0, 5.0, 6.0, 7.0]])
    means = [np.mean(losses[t - 100 : t]) for t in range(100, 105)]
    assert scores("loss_spike_killer", losses)[-1] == pytest.approx(min(losses[100:] / means), rel=1e-12)


def test_loss_spike_killer_below_zero():
    """A mean of -2: losses at and above -4 meet the rule, and score by how far above, in units of the mean's size."""
    for loss, score in ((-4.0, 2.0), (-5.0, 1.5), (2.0, 5.0)):
        found = scores("loss_spike_killer", np.concatenate([np.full(100, -2.0), [loss]]), in_a_row=1)
        assert found[-1] == pytest.approx(score, rel=1e-12)


def test_zclip(values):
    values = np.abs(values) + 0.1
    expected = np.zeros(len(values))
    warm = values[:25].tolist()
    mean = sum(warm) / 25
    variance = sum((value - mean) ** 2 for value in warm) / 25
    clipped = 0
    for t in range(25, len(values)):
        z = (values[t] - mean) / (variance**0.5 + 1e-6)
        expected[t] = z
        effective = values[t]
        if z > 2.5:
            clipped += 1
            effective = mean + (2.5 * variance**0.5) / (z / 2.5)
        mean = 0.97 * mean + 0.03 * effective
        variance = 0.97 * variance + 0.03 * (effective - mean) ** 2
    found = make_detector("zclip").scores(made_run(values, metrics=("grad_norm",)))
    np.testing.assert_allclose(found, expected, rtol=TIGHT)
    assert clipped > 3
    assert make_detector("zclip").published_threshold == 2.5
