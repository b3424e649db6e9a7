"""Distances, densities, innovations and isolation against scikit-learn, SciPy and planted truth."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn import ensemble, mixture
from sklearn.covariance import LedoitWolf

from trajhmm.errors import FitError
from trajhmm.warning.detectors import Reference, StandardisedMetrics, make_detector
from trajhmm.warning.detectors.densities import Whitening
from trajhmm.warning.detectors.standardise import (
    FARTHEST,
    LevelsAndDifferences,
    LevelsAndOwnPast,
    LogLevels,
    row_products,
)

from .made import METRICS, healthy_runs, made_run, training

NAN = np.nan


@pytest.fixture(scope="module")
def runs():
    return healthy_runs(5, np.random.default_rng(0))


@pytest.fixture(scope="module")
def off():
    return made_run(training(np.random.default_rng(1), drift=1.0, onset=60))


def fit(name, runs, **settings):
    return make_detector(name, **settings).fit(Reference(healthy=tuple(runs)))


def stacked(runs):
    values = np.concatenate([run.values for run in runs])
    return values, values.mean(axis=0), values.std(axis=0)


def test_metrics_are_standardised_over_all_healthy_rows(runs, off):
    _, mean, spread = stacked(runs)
    np.testing.assert_allclose(StandardisedMetrics.of(runs).transform(off), (off.values - mean) / spread, rtol=1e-9)


def test_what_is_not_logged_stands_at_the_mean():
    runs = (
        made_run([[NAN, 1.0], [2.0, 3.0]], metrics=METRICS[:2]),
        made_run([[4.0, NAN], [NAN, 5.0]], metrics=METRICS[:2]),
    )
    scaling = StandardisedMetrics.of(runs)
    np.testing.assert_array_equal(scaling.centre, [3.0, 3.0])
    np.testing.assert_allclose(scaling.spread, [1.0, np.sqrt(8 / 3)])
    np.testing.assert_array_equal(scaling.transform(runs[0])[:, 0], [0.0, -1.0])


def test_what_the_reference_never_logs_says_nothing():
    never = made_run(np.column_stack([np.arange(5.0), np.full(5, NAN)]), metrics=METRICS[:2])
    logs = made_run(np.column_stack([np.arange(5.0), np.arange(5.0)]), metrics=METRICS[:2])
    np.testing.assert_array_equal(StandardisedMetrics.of([never]).transform(logs)[:, 1], 0)
    with pytest.raises(FitError, match="no finite value of train_loss"):
        StandardisedMetrics.of([made_run(np.full(4, NAN))])


def test_a_metric_that_stands_still_has_a_unit():
    scaling = StandardisedMetrics.of([made_run(np.full((4, 2), [5.0, 0.0]), metrics=METRICS[:2])])
    np.testing.assert_allclose(scaling.spread, [5e-6, 1.0])
    assert scaling.transform(made_run([[1e9, 2.0]], metrics=METRICS[:2])).tolist() == [[FARTHEST, 2.0]]


def test_row_products_are_products():
    rng = np.random.default_rng(0)
    rows, matrix = rng.normal(size=(20, 4)), rng.normal(size=(4, 3))
    np.testing.assert_allclose(row_products(rows, matrix), rows @ matrix, rtol=1e-12)


def test_mahalanobis_distance(runs, off):
    values, mean, spread = stacked(runs)
    shrunk = LedoitWolf().fit((values - mean) / spread)
    rows = (off.values - mean) / spread
    inverse = np.linalg.inv(shrunk.covariance_)
    expected = cdist(rows, [shrunk.location_], "mahalanobis", VI=inverse)[:, 0]
    np.testing.assert_allclose(fit("mahalanobis", runs).scores(off), expected, rtol=1e-6)


def test_no_distance_without_spread():
    with pytest.raises(FitError, match="never change"):
        Whitening.of(np.zeros((10, 2)))


def test_mixture_is_that_of_scikit_learn(runs, off):
    values, mean, spread = stacked(runs)
    model = mixture.GaussianMixture(4, reg_covar=1e-3, random_state=0, max_iter=200).fit((values - mean) / spread)
    expected = -model.score_samples((off.values - mean) / spread)
    np.testing.assert_allclose(fit("mixture", runs, states=4).scores(off), expected, rtol=1e-7)


def test_mixture_of_one_is_a_normal(runs, off):
    values, mean, spread = stacked(runs)
    rows = (values - mean) / spread
    normal = multivariate_normal(rows.mean(axis=0), np.cov(rows.T, bias=True) + 1e-3 * np.eye(3))
    found = fit("mixture", runs, states=1).scores(off)
    np.testing.assert_allclose(found, -normal.logpdf((off.values - mean) / spread), rtol=1e-7)


def test_mixture_needs_rows():
    with pytest.raises(FitError, match="mixture: 4 healthy rows are too few for 6 components"):
        fit("mixture", [made_run(np.arange(4.0))])


def test_the_seed_decides_the_mixture(runs, off):
    one, other, third = (fit("mixture", runs, states=5, seed=seed).scores(off) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, third)


def test_other_features_can_be_given(runs, off):
    """The mixture on the features of an HMM: here, differences."""

    class Differences:
        def transform(self, run):
            return np.diff(run.values, axis=0, prepend=run.values[:1])

    found = fit("mixture", runs, states=2, learn_features=lambda _: Differences()).scores(off)
    rows = np.concatenate([Differences().transform(run) for run in runs])
    model = mixture.GaussianMixture(2, reg_covar=1e-3, random_state=0, max_iter=200).fit(rows)
    np.testing.assert_allclose(found, -model.score_samples(Differences().transform(off)), rtol=1e-7)


def log_levels(runs, run):
    """Loss, gradient and weights of the tests are positive in all healthy rows: standardised logarithms."""
    logs = np.log(np.concatenate([healthy.values for healthy in runs]))
    return (np.log(run.values) - logs.mean(axis=0)) / logs.std(axis=0)


def test_levels_are_logarithms_of_what_is_positive():
    healthy = [made_run([[1.0, -1.0], [np.e, 1.0]], metrics=METRICS[:2])]
    levels = LogLevels.of(healthy)
    np.testing.assert_allclose(levels.transform(healthy[0]), [[-1.0, -1.0], [1.0, 1.0]])
    other = made_run([[NAN, 3.0], [np.e**2, 0.0], [0.0, 0.0]], metrics=METRICS[:2])
    vanished = (np.log(1e-6) - 0.5) / 0.5
    np.testing.assert_allclose(levels.transform(other), [[0.0, 3.0], [3.0, 0.0], [vanished, 0.0]])


def test_levels_and_differences(runs, off):
    rows = LevelsAndDifferences.of(runs).transform(off)
    np.testing.assert_allclose(rows[:, :3], log_levels(runs, off), rtol=1e-9)

    def differences(run):
        levels = log_levels(runs, run)
        return np.array([levels[t] - levels[max(t - 20, 0)] for t in range(len(levels))])

    spread = np.sqrt(np.mean(np.concatenate([differences(run) for run in runs]) ** 2, axis=0))
    np.testing.assert_allclose(rows[:, 3:], differences(off) / spread, rtol=1e-9, atol=1e-12)


def own_past(runs, run):
    """Each level against the up to 120 before it, squashed; 0 while there are fewer than 20."""
    levels = log_levels(runs, run)
    past = np.zeros(levels.shape)
    for t in range(20, len(levels)):
        before = levels[max(0, t - 120) : t]
        past[t] = (levels[t] - before.mean(axis=0)) / before.std(axis=0)
    return np.arcsinh(np.hstack([levels, past]))


def test_levels_and_own_past(runs, off):
    np.testing.assert_allclose(LevelsAndOwnPast.of(runs).transform(off), own_past(runs, off), rtol=1e-9, atol=1e-12)


def test_the_own_past_begins_when_a_metric_is_first_logged(runs):
    features = LevelsAndOwnPast.of(runs)
    whole = made_run(training(np.random.default_rng(2)))
    values = np.vstack([np.full((7, 3), NAN), whole.values])
    late = made_run(np.column_stack([values[:, :1], np.ones((157, 2))]))
    np.testing.assert_array_equal(features.transform(late)[7:, 3], features.transform(whole)[:, 3])
    assert not features.transform(late)[:27, 3].any()


def test_the_own_past_is_that_of_the_run_whatever_its_level(runs, off):
    """Ten times the loss is far from health, and no departure from the run's own past."""
    features = LevelsAndOwnPast.of(runs)
    louder = made_run(off.values * [10.0, 1.0, 1.0])
    np.testing.assert_allclose(features.transform(louder)[:, 3:], features.transform(off)[:, 3:], atol=1e-9)
    assert (features.transform(louder)[:, 0] > features.transform(off)[:, 0]).all()


@pytest.mark.parametrize(
    ("name", "features"), [("mixture_differences", LevelsAndDifferences.of), ("mixture_own_past", LevelsAndOwnPast.of)]
)
def test_the_other_mixtures_are_those_of_scikit_learn(name, features, runs, off):
    learnt = features(runs)
    rows = np.concatenate([learnt.transform(run) for run in runs])
    model = mixture.GaussianMixture(3, reg_covar=1e-3, random_state=0, max_iter=200).fit(rows)
    expected = -model.score_samples(learnt.transform(off))
    np.testing.assert_allclose(fit(name, runs, states=3).scores(off), expected, rtol=1e-7)


@pytest.fixture(scope="module")
def autoregressions():
    """Runs of a known first-order autoregression with correlated innovations, and the innovations."""
    rng = np.random.default_rng(2)
    matrix = np.array([[0.8, 0.1, 0.0], [0.0, 0.5, 0.3], [-0.2, 0.0, 0.6]])
    mixing = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 2.0]])
    runs, innovations = [], []
    for _ in range(10):
        noise = rng.normal(size=(500, 3)) @ mixing
        values = np.zeros((500, 3))
        for t in range(1, 500):
            values[t] = [1.0, 2.0, 3.0] + values[t - 1] @ matrix + noise[t]
        runs.append(made_run(values[50:]))
        innovations.append(noise[50:])
    return matrix, mixing, runs, innovations


def test_autoregression_finds_what_was_planted(autoregressions):
    matrix, mixing, runs, innovations = autoregressions
    fitted = fit("autoregression", runs[1:])
    spread = fitted.features_.spread
    np.testing.assert_allclose(fitted.matrix_ * spread / spread[:, np.newaxis], matrix, atol=0.05)
    size = np.sqrt(np.einsum("td,de,te->t", innovations[0], np.linalg.inv(mixing.T @ mixing), innovations[0]))
    found = fitted.scores(runs[0])
    assert found[0] == 0.0
    np.testing.assert_allclose(found[1:], size[1:], atol=0.25)


def test_autoregression_is_ridge_regression(runs, off):
    from sklearn.linear_model import Ridge

    fitted = fit("autoregression", runs)
    rows = [StandardisedMetrics.of(runs).transform(run) for run in runs]
    before, after = np.concatenate([r[:-1] for r in rows]), np.concatenate([r[1:] for r in rows])
    ridge = Ridge(alpha=1.0).fit(before, after)
    np.testing.assert_allclose(fitted.matrix_, ridge.coef_.T, rtol=1e-6)
    shrunk = LedoitWolf().fit(after - ridge.predict(before))
    scaled = StandardisedMetrics.of(runs).transform(off)
    left = scaled[1:] - ridge.predict(scaled[:-1]) - shrunk.location_
    expected = np.sqrt(np.einsum("td,de,te->t", left, np.linalg.inv(shrunk.covariance_), left))
    np.testing.assert_allclose(fitted.scores(off)[1:], expected, rtol=1e-5)


def test_autoregression_needs_two_rows():
    with pytest.raises(FitError, match="no healthy run has two rows"):
        fit("autoregression", [made_run([[1.0, 2.0]], metrics=METRICS[:2])])


def test_isolation_forest_is_that_of_scikit_learn(runs, off):
    values, mean, spread = stacked(runs)
    model = ensemble.IsolationForest(n_estimators=50, random_state=3).fit((values - mean) / spread)
    fitted = fit("isolation_forest", runs, trees=50, seed=3)
    found = fitted.scores(off)
    rows = (off.values - mean) / spread
    np.testing.assert_allclose(found, -model.score_samples(rows), rtol=1e-6)
    np.testing.assert_array_equal(found > fitted.published_threshold, model.predict(rows) == -1)
