"""CUSUM and growth against slow, direct readings and published numbers, the other tests for drift against river."""

import statistics

import numpy as np
import pytest
from scipy import stats
from statsmodels.tsa.stattools import acf

from trajhmm.errors import FitError
from trajhmm.warning.detectors import Reference, make_detector
from trajhmm.warning.detectors import drift as room

from .made import made_run, series_of

NEEDS_RIVER = "river is not installed: pip install 'trajhmm[baselines]'"


@pytest.fixture
def river_drift():
    return pytest.importorskip("river.drift", reason=NEEDS_RIVER)


def first_detection(detector, values):
    for t, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return t
    return None


def slow_cusum(values, window, least, slack):
    """Two sums a value, as Page has them, on the median and MAD of the values before it."""
    up = down = 0.0
    sums = []
    for i, value in enumerate(values):
        before = values[max(0, i - window) : i]
        if i >= least:
            median = statistics.median(before)
            spread = 1.4826 * statistics.median(abs(other - median) for other in before)
            up = max(0.0, up + (value - median) / spread - slack)
            down = max(0.0, down - (value - median) / spread - slack)
        sums.append((up, down))
    return np.array(sums)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("window", "least", "slack"), [(200, 30, 1.0), (50, 10, 0.5)])
def test_cusum(seed, window, least, slack):
    rng = np.random.default_rng(seed)
    values = series_of(rng) + rng.normal(0, 0.01, 400)  # without a window that stands still
    up, down = slow_cusum(values.tolist(), window, least, slack).T
    settings = {"window": window, "least": least, "slack": slack}
    rose = make_detector("cusum", **settings).scores(made_run(values))
    either = make_detector("cusum", both_sides=True, **settings).scores(made_run(values))
    np.testing.assert_allclose(rose, up, rtol=1e-9, atol=1e-9)  # sums of hundreds, each of a few roundings
    np.testing.assert_allclose(either, np.maximum(up, down), rtol=1e-9, atol=1e-9)
    assert (up > 5).any()
    assert (down > up).any()


def test_cusum_by_hand():
    """Median 10 and MAD 1 of what came before; departures of 3, 0.5, 2, -5 and 1.5 standard deviations, slack 1."""
    before = [9.0, 10.0, 11.0, 9.0, 11.0] * 40
    values = [*before, *(10 + 1.4826 * np.array([3.0, 0.5, 2.0, -5.0, 1.5]))]
    found = make_detector("cusum", window=1000).scores(made_run(values))
    np.testing.assert_allclose(found[200:], [2.0, 1.5, 2.5, 0.0, 0.5], rtol=1e-9)
    assert not found[:200].any()


@pytest.mark.parametrize(("slack", "threshold"), [(0.25, 8.01), (0.5, 4.77), (1.0, 2.52), (1.5, 1.61)])
def test_cusum_alarms_as_rarely_as_published(slack, threshold):
    """Both sides together once in 370 independent normal values: Hawkins (1993), in Montgomery's table 9.3."""
    rng = np.random.default_rng(0)
    waited = []
    for _ in range(3000):
        departures = rng.normal(size=4000)  # e^-11 wait longer
        sums = np.maximum(room.cumulative_sum(departures, slack), room.cumulative_sum(-departures, slack))
        waited.append(np.argmax(sums > threshold) + 1)
    # The wait is geometric, but for its start: standard error 370 / sqrt(3000) = 7; the thresholds have three digits.
    assert np.mean(waited) == pytest.approx(370, abs=28)


def test_cusum_finds_what_lasts_and_no_single_value_shows():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 330) + 2.0 * (np.arange(330) >= 300)
    found = make_detector("cusum").scores(made_run(values))
    alarm = first_above(found, make_detector("cusum").published_threshold)
    assert 300 < alarm < 315
    assert make_detector("median_mad").scores(made_run(values)).max() < 6


def first_above(scores, threshold):
    above = np.flatnonzero(scores > threshold)
    return int(above[0]) if len(above) else None


def slow_growth(values, share, least):
    """The last part of the values so far, by SciPy's line, statsmodels' autocorrelation and Student's distribution."""
    scores = []
    for i in range(1, len(values) + 1):
        n = int(share * i)
        part = values[i - n : i]
        if n < least or np.ptp(part) < 1e-9:
            scores.append(0.0)
            continue
        line = stats.linregress(np.arange(n), part)
        left = part - line.intercept - line.slope * np.arange(n)
        alike = max(0.0, acf(left, nlags=1, adjusted=False)[1])
        freedom = n * (1 - alike) / (1 + alike) - 2
        error = line.stderr * np.sqrt((n - 2) / freedom) if freedom > 0 else np.inf
        p = 2 * stats.t.sf(line.slope / error, freedom) if freedom > 0 else 1.0
        scores.append(line.slope * (n - 1) / np.median(np.abs(part)) if p < 0.05 else 0.0)
    return np.array(scores)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("share", "least"), [(0.25, 10), (0.5, 20)])
@pytest.mark.sampled(2)
def test_growth(seed, share, least):
    values = series_of(np.random.default_rng(seed))
    found = make_detector("loss_growth", share=share, least=least).scores(made_run(values))
    np.testing.assert_allclose(found, slow_growth(values, share, least), rtol=1e-7, atol=1e-9)
    assert 1 < (found > 0).sum() < 300


def test_growth_by_hand():
    """Losses 1, 2, …: the last ten of 40 rise by 9, and their median is 35.5. Nothing is said of 39."""
    found = make_detector("loss_growth").scores(made_run(np.arange(1.0, 41.0)))
    assert not found[:39].any()
    assert found[39] == pytest.approx(9 / 35.5)


@pytest.mark.parametrize(
    "values", [np.full(80, 0.1), np.zeros(80), -np.arange(80.0), 2 * np.exp(-np.arange(80.0) / 20)]
)
def test_what_stands_still_or_falls_has_not_grown(values):
    np.testing.assert_array_equal(make_detector("loss_growth").scores(made_run(values)), 0)


def test_neighbours_that_are_alike_are_no_trend():
    """A stationary autoregression: its slope is taken for a trend in about 2.5% of windows, not in a third of them."""
    rng = np.random.default_rng(0)
    naive, ours = [], []
    for _ in range(400):
        values = rng.normal(size=400)
        for i in range(1, 400):
            values[i] += 0.8 * values[i - 1]
        line = stats.linregress(np.arange(100), values[300:])
        naive.append(line.slope > 0 and line.pvalue < 0.05)
        ours.append(make_detector("loss_growth").scores(made_run(10 + values))[-1] > 0)
    assert np.mean(naive) > 0.2
    assert np.mean(ours) < 0.06  # 2.5% with a standard error of 0.8%, and the autocorrelation of 100 rows is estimated


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 2.0, 10.0, 50.0, 200.0, 1e4])
def test_page_hinkley_alarms_first_where_river_does(seed, threshold, river_drift):
    values = series_of(np.random.default_rng(seed)) * (1 if seed < 2 else -1)
    scores = make_detector("page_hinkley").scores(made_run(values))
    above = np.flatnonzero(scores > threshold)
    found = int(above[0]) if len(above) else None
    assert found == first_detection(river_drift.PageHinkley(threshold=threshold), values)


def test_page_hinkley_has_rivers_defaults(river_drift):
    theirs, ours = river_drift.PageHinkley(), make_detector("page_hinkley")
    assert (theirs.min_instances, theirs.delta, theirs.alpha) == (ours.least, ours.delta, ours.forgetting)
    assert (theirs.threshold, theirs.mode) == (ours.published_threshold, "both")


@pytest.mark.parametrize("seed", range(3))
def test_adwin_alarms_where_river_does(seed, river_drift):
    values = series_of(np.random.default_rng(seed), 800)
    healthy = made_run([0.0, 10.0])
    detector = make_detector("adwin").fit(Reference(healthy=(healthy,)))
    scores = detector.scores(made_run(values))
    alarm = np.flatnonzero(scores > detector.published_threshold)
    assert alarm[0] == first_detection(river_drift.ADWIN(), values / 10)
    for delta in (1e-4, 1e-13):
        detected = first_detection(river_drift.ADWIN(delta=delta), values / 10)
        above = np.flatnonzero(scores >= -np.log10(delta))
        assert (int(above[0]) if len(above) else None) == detected


def test_adwin_scales_the_range_of_healthy_runs_to_one():
    pytest.importorskip("river", reason=NEEDS_RIVER)
    healthy = (made_run([2.0, 4.0]), made_run([3.0, 6.0]))
    detector = make_detector("adwin").fit(Reference(healthy=healthy))
    np.testing.assert_array_equal(detector.scaled(np.array([2.0, 3.0, 8.0]), "train_loss"), [0.0, 0.25, 1.5])


def test_adwin_without_river_says_what_to_install(monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FitError, match=r"pip install 'trajhmm\[baselines\]'"):
        make_detector("adwin").fit(Reference(healthy=(made_run([1.0, 2.0]),)))


def test_adwin_needs_a_loss():
    pytest.importorskip("river", reason=NEEDS_RIVER)
    with pytest.raises(FitError, match="no finite value of train_loss in 1 healthy runs"):
        make_detector("adwin").fit(Reference(healthy=(made_run([np.nan, np.nan]),)))
