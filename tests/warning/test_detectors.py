"""What holds for every detector."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from trajhmm.errors import FitError, LogError
from trajhmm.warning.detectors import DETECTORS, Reference, baselines, make_detector
from trajhmm.warning.detectors.peers import Peer

from .made import healthy_runs, made_run, made_trials, reference_of, training

NAN = np.nan


def needs_its_package(name):
    if name == "adwin":
        pytest.importorskip("river", reason="ADWIN is run by river: pip install 'trajhmm[baselines]'")
    if issubclass(DETECTORS[name], Peer):
        try:
            DETECTORS[name]()._require()
        except FitError as error:
            pytest.skip(str(error))


def widened(run):
    """The run with each metric twice more: a library's matrix products round differently with more rows from some
    eight columns on.
    """
    return replace(
        run,
        metrics=(*run.metrics, *(f"{metric}/{part}" for part in "ab" for metric in run.metrics)),
        values=np.hstack([run.values, np.sqrt(np.abs(run.values)), run.values[:, ::-1] + 1]),
        logged=np.hstack([run.logged, run.logged, run.logged[:, ::-1]]),
    )


@pytest.fixture(scope="module")
def reference():
    trials = [replace(trial, run=widened(trial.run)) for trial in made_trials(n_healthy=8, n_seeds=2)]
    return reference_of(trials)


@pytest.fixture(scope="module", params=list(DETECTORS))
def fitted(request, reference):
    needs_its_package(request.param)
    return make_detector(request.param).fit(reference)


def patchy_run(rows=150):
    """A run that deviates, with a metric that comes late, one that is logged less often, and a non-finite event."""
    rng = np.random.default_rng(7)
    values = training(rng, rows, drift=1.0, onset=80)
    values[:6, 1] = NAN
    logged = np.ones(values.shape, dtype=bool)
    logged[:6, 1] = False
    logged[np.arange(rows) % 5 != 0, 2] = False
    values[:, 2] = values[np.arange(rows) // 5 * 5, 2]
    events = np.zeros(rows, dtype=bool)
    events[[40, 120]] = True
    return widened(made_run(values, run="patchy", steps=3 * np.arange(rows), logged=logged, events=events))


def test_names_are_keys():
    assert all(detector.name == name for name, detector in baselines().items())


@pytest.mark.sampled(8)
def test_scores_depend_on_no_later_row(fitted):
    run = patchy_run()
    whole = fitted.scores(run)
    assert whole.shape == (run.n_rows,)
    assert whole.dtype == np.float64
    rng = np.random.default_rng(zlib.crc32(fitted.name.encode()))
    for n in [1, 2, 3, 149, *rng.integers(4, 149, 12).tolist()]:
        assert fitted.scores(run.first_rows(n)).tobytes() == whole[:n].tobytes(), n


@pytest.mark.sampled(8)
def test_scores_depend_on_no_later_value(fitted):
    run = patchy_run()
    whole = fitted.scores(run)
    values, logged, events = (np.array(array) for array in (run.values, run.logged, run.events))
    values[90:] = 1e12 * np.random.default_rng(0).standard_normal((60, 9))
    logged[90:], events[90:] = True, True
    later = np.where(np.arange(run.n_rows) >= 90, run.steps + 1000, run.steps)
    other = replace(run, steps=later, values=values, logged=logged, events=events)
    assert fitted.scores(other)[:90].tobytes() == whole[:90].tobytes()


@pytest.mark.sampled(8)
def test_events_score_infinity_and_nothing_else_does(fitted):
    run = patchy_run()
    np.testing.assert_array_equal(np.isinf(fitted.scores(run)), run.events)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 3)),
        np.full((1, 3), NAN),
        np.full((60, 3), NAN),
        np.zeros((60, 3)),
        np.full((60, 3), 0.1),
        np.full((200, 3), -3.5e7),
        1e12 * np.random.default_rng(0).standard_normal((200, 3)),
        1e-12 * np.random.default_rng(0).standard_normal((200, 3)),
        np.where(np.arange(200)[:, np.newaxis] == 150, 1e12, np.ones((200, 3))),
        np.where(np.arange(200)[:, np.newaxis] == 150, 1e100, np.zeros((200, 3))),
        np.where(np.arange(200)[:, np.newaxis] % 2 == 0, 1e-300, -1e-300) * np.ones((200, 3)),
        np.cumprod(np.full((200, 3), 2.0), axis=0),
    ],
)
@pytest.mark.sampled(16)
def test_scores_are_finite_for_any_finite_input(fitted, values):
    assert np.isfinite(fitted.scores(widened(made_run(values)))).all()


@pytest.mark.parametrize(
    "values",
    [
        np.full((40, 3), 0.1),
        np.zeros((40, 3)),
        1e12 * np.random.default_rng(0).standard_normal((40, 3)),
        1e-12 * np.random.default_rng(0).standard_normal((40, 3)),
        1e-300 * np.random.default_rng(0).standard_normal((40, 3)),
        1e100 * np.sign(np.random.default_rng(0).standard_normal((40, 3))),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        *("envelope", "adwin", "bayes_changepoint", "isolation_forest", "logistic"),
        *("mixture", "mixture_differences", "mixture_own_past"),
    ],
)
@pytest.mark.sampled(8)
def test_a_dull_or_wild_reference_is_no_trouble(name, values, reference):
    needs_its_package(name)
    healthy = tuple(widened(made_run(values + 1e-3 * seed * values, run=str(seed))) for seed in range(4))
    fitted = make_detector(name).fit(Reference(healthy=healthy, labelled=reference.labelled))
    assert np.isfinite(fitted.scores(widened(made_run(training(np.random.default_rng(0)))))).all()


@pytest.mark.sampled(8)
def test_no_rows_have_no_scores(fitted):
    assert fitted.scores(patchy_run().first_rows(0)).shape == (0,)


@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.sampled(8)
def test_a_fit_leaves_the_detector_as_it_was(name, reference):
    needs_its_package(name)
    detector = make_detector(name)
    before = {key: value for key, value in vars(detector).items() if key.endswith("_")}
    fitted = detector.fit(reference)
    assert {key: value for key, value in vars(detector).items() if key.endswith("_")} == before
    again = make_detector(name).fit(reference)
    run = patchy_run()
    assert fitted.scores(run).tobytes() == fitted.scores(run).tobytes() == again.scores(run).tobytes()


@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.sampled(8)
def test_what_learns_says_that_it_has_not(name, reference):
    needs_its_package(name)
    detector = make_detector(name)
    if detector.fit(reference) is detector:
        detector.scores(patchy_run())
    else:
        with pytest.raises(FitError, match=rf"{name}: not fitted; call fit\(reference\)"):
            detector.scores(patchy_run())


@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.sampled(8)
def test_no_healthy_run_is_an_error(name):
    with pytest.raises(FitError, match="the reference holds no healthy run"):
        make_detector(name).fit(Reference(healthy=()))


def test_an_unknown_detector_is_an_error():
    with pytest.raises(FitError, match=r"no detector 'oracle' \(found: random, .* and 23 more\)"):
        make_detector("oracle")


def test_metrics_are_found_by_name_in_any_order(reference):
    run = patchy_run()
    turned = replace(run, metrics=run.metrics[::-1], values=run.values[:, ::-1], logged=run.logged[:, ::-1])
    for name in ("envelope", "mahalanobis", "olmo_core", "bayes_changepoint"):
        fitted = make_detector(name).fit(reference)
        np.testing.assert_array_equal(fitted.scores(turned), fitted.scores(run))


def test_a_metric_that_is_missing_is_an_error(reference):
    lone = made_run(np.arange(30.0), metrics=("weight_l2",))
    for name in ("mahalanobis", "envelope"):
        with pytest.raises(LogError, match="run run: no metric 'train_loss'"):
            make_detector(name).fit(reference).scores(lone)
    with pytest.raises(LogError, match="zclip watches grad_norm, found only weight_l2; name the columns with metrics="):
        make_detector("zclip").fit(Reference(healthy=(lone,))).scores(lone)


def test_other_columns_can_be_watched():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    named = make_detector("wandb", metrics=("loss/train",)).scores(made_run(values, metrics=("loss/train",)))
    np.testing.assert_array_equal(named, make_detector("wandb").scores(made_run(values)))


def test_only_logged_rows_count_and_scores_stand_in_between():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    dense = make_detector("wandb").scores(made_run(values))
    logged = np.zeros((180, 1), dtype=bool)
    logged[2::3] = True
    spread = np.concatenate([[NAN, NAN], np.repeat(values, 3)])[:180, np.newaxis]
    sparse = make_detector("wandb").scores(made_run(spread, metrics=("train_loss",), logged=logged))
    np.testing.assert_array_equal(sparse[2:], np.repeat(dense, 3)[:178])
    np.testing.assert_array_equal(sparse[:2], 0)


def test_a_deviation_scores_higher_than_health(reference):
    """A detector that learns from healthy runs ranks a run far off above those that are not."""
    rng = np.random.default_rng(3)
    off = widened(made_run(training(rng, drift=3.0, onset=60)))
    mixtures = ("mixture", "mixture_differences", "mixture_own_past")
    for name in ("envelope", "mahalanobis", *mixtures, "autoregression", "logistic"):
        fitted = make_detector(name).fit(reference)
        usual = max(fitted.scores(widened(run))[60:].max() for run in healthy_runs(5, rng))
        assert fitted.scores(off)[-1] > usual, name
