"""Tests for drift against river."""

import numpy as np
import pytest

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
