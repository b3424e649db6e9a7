"""The view of where a run is and where it is going, against scipy and pandas; in sweeps alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from trajhmm.features import LevelsAndInnovations
from trajhmm.hmm.parameters import Parameters
from trajhmm.stored import StoredError
from trajhmm.warning.tracking import Alarm, Driver
from trajhmm.warning.views.course import Course, fit_course
from trajhmm.warning.views.crossfit import cross_fitted
from trajhmm.warning.views.interface import Rows

from .made import healthy_runs, made_run, training

D = 2
CENTRE, SPREAD = np.array([1.0, -2.0, 0.0, 0.0]), np.array([0.5, 2.0, 0.1, 0.3])
MEAN = np.array([0.1, -0.2, 0.0, 0.3])
MIXED = np.random.default_rng(0).normal(size=(2 * D, 2 * D))
COVARIANCE = MIXED @ MIXED.T + np.eye(2 * D)
FIT = {"states": 2, "covariance": "diag", "restarts": 1, "iterations": 20, "shrinkage": 1.0, "seed": 0}


def view():
    normal = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=MEAN[np.newaxis],
        covars=COVARIANCE[np.newaxis],
        covariance_type="full",
    )
    return Course(CENTRE, SPREAD, normal)


def rows_of(values):
    return Rows(scaled=values, fresh=~np.isnan(values), moved=np.zeros(values.shape))


def wandering(rows=60, late=0):
    values = np.random.default_rng(1).normal(size=(rows, D)).cumsum(axis=0)
    values[:late, 1] = np.nan
    return values


def columns_of(values):
    """Levels and departures from the exponential average of 20 rows, squeezed, by pandas."""
    average = pd.DataFrame(values).ewm(span=20, adjust=False).mean().to_numpy()
    return np.arcsinh((np.hstack([values, values - average]) - CENTRE) / SPREAD)


def test_the_score_is_the_surprise_of_levels_and_departures():
    values = wandering()
    expected = -multivariate_normal(MEAN, COVARIANCE).logpdf(columns_of(values))
    np.testing.assert_allclose(view().scores(rows_of(values), view().start()), expected, rtol=1e-10)


def test_a_metric_that_is_not_logged_yet_takes_no_part():
    values = wandering(late=30)
    found = view().scores(rows_of(values), view().start())
    z = columns_of(values)
    alone = multivariate_normal(MEAN[[0, 2]], COVARIANCE[np.ix_([0, 2], [0, 2])]).logpdf(z[:30][:, [0, 2]])
    np.testing.assert_allclose(found[:30], -alone, rtol=1e-10)
    np.testing.assert_allclose(found[30:], -multivariate_normal(MEAN, COVARIANCE).logpdf(z[30:]), rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_however_rows_are_dealt_out_scores_are_the_same_to_the_last_bit(seed):
    values, rng = wandering(late=seed * 7), np.random.default_rng(seed)
    course = view()
    whole = course.start()
    expected = course.scores(rows_of(values), whole)
    memory, parts = course.start(), []
    for a, b in pairwise([0, *np.sort(rng.integers(0, 60, 9)).tolist(), 60]):
        parts.append(course.scores(rows_of(values[a:b]), memory))
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    np.testing.assert_array_equal(memory, whole)


def test_shares_add_up_to_what_a_row_is_off():
    values = wandering()
    shares = view().shares(rows_of(values), view().start())
    away = columns_of(values) - MEAN
    expected = 0.5 * np.einsum("ni,ij,nj->n", away, np.linalg.inv(COVARIANCE), away)
    np.testing.assert_allclose(shares.sum(axis=1), expected, rtol=1e-9)


def test_a_run_that_begins_again_is_compared_with_nothing_before():
    memory = view().start()
    view().scores(rows_of(wandering()), memory)
    view().begin_again(memory)
    again = view().scores(rows_of(wandering()), memory)
    np.testing.assert_array_equal(again, view().scores(rows_of(wandering()), view().start()))


@pytest.mark.parametrize("most", [100_000, 400])
def test_the_normal_is_that_of_healthy_rows_drawn_a_little_apart(most):
    runs = healthy_runs(6, np.random.default_rng(3))
    features = LevelsAndInnovations.of(runs)
    course = fit_course(runs, [np.ones(150, dtype=bool)] * 6, features, most_rows=most)
    stride = -(-900 // most)
    parts = []
    for run in runs:
        scaled = pd.DataFrame(features.scales(run.values))
        parts.append(np.hstack([scaled, scaled - scaled.ewm(span=20, adjust=False).mean()])[::stride])
    rows = np.concatenate(parts)
    moved = np.sqrt((rows[:, 3:] ** 2).mean(axis=0))
    z = np.arcsinh((rows - np.append(features.centre, np.zeros(3))) / np.append(features.spread, moved))
    together = np.cov(z.T, bias=True)
    expected = (6 * together + np.diag(np.diag(together))) / 7  # six runs, and one in which nothing goes together
    np.testing.assert_allclose(course.parameters.means[0], z.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(course.parameters.covars[0], expected, atol=1e-12)


def test_metrics_that_never_change_or_are_the_same_twice_have_a_normal_as_well():
    rng = np.random.default_rng(0)
    runs = []
    for number in range(4):
        values = training(rng, 60)
        values[:, 1], values[:, 2] = values[:, 0], 3.0
        runs.append(made_run(values, run=str(number)))
    course = fit_course(runs, [np.ones(60, dtype=bool)] * 4, LevelsAndInnovations.of(runs), most_rows=1000)
    scaled = LevelsAndInnovations.of(runs).scales(runs[0].values)
    assert np.isfinite(course.scores(rows_of(scaled), course.start())).all()
    assert np.linalg.eigvalsh(course.parameters.covars[0])[0] > 0


def together(rng, parts_from=None):
    """A run of a sweep: its level is its own, and so is where it goes, but two metrics go together in each."""
    t = np.arange(150)
    own = rng.normal(0, [0.3, 0.6, 0.8])
    road = np.exp(-t / rng.uniform(15, 60))
    values = np.column_stack([2 * road + 0.5, 1 + road, 5 + own[2] - road]) * np.exp([own[0], own[1], 0.0])
    values[:, 2] = 3 * values[:, 0] ** 0.5
    if parts_from is not None:
        values[parts_from:, 2] *= np.exp(-0.01 * np.arange(150 - parts_from))
    return values * np.exp(rng.normal(0, 0.01, (150, 3)))


def test_in_a_sweep_what_goes_together_in_healthy_runs_and_parts_in_another_is_seen_by_this_view():
    rng = np.random.default_rng(0)
    healthy = [made_run(together(rng), run=f"h{i}") for i in range(20)]
    portfolio = cross_fitted(healthy, np.arange(20) % 5, **FIT).portfolios[0]
    assert portfolio.situation == "sweep"
    found, missed = 0, 0
    for _ in range(10):
        rare = portfolio.rarities(made_run(together(rng, parts_from=70)))
        found += rare["course"].max() > np.log(21)
        missed += rare["phase"].max() <= np.log(21)
    assert found >= 9
    assert missed >= 5


def test_healthy_runs_of_one_configuration_are_not_looked_at_by_it():
    crossed = cross_fitted(healthy_runs(12, np.random.default_rng(0)), np.arange(12) % 3, **FIT)
    assert crossed.portfolios[0].situation == "matched"
    assert [one.name for one in crossed.portfolios[0].views] == ["phase", "loss sum", "loss rise"]


def test_it_comes_back_from_a_file_to_the_last_bit():
    again = Course.from_dict(view().to_dict())
    values = rows_of(wandering())
    np.testing.assert_array_equal(again.scores(values, again.start()), view().scores(values, view().start()))


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("centre", [1.0]),
        ("centre", [1.0, 2.0, 3.0]),
        ("centre", []),
        ("spread", [1.0, 1.0, 0.0, 1.0]),
        ("spread", [1.0, 1.0, 1.0]),
        ("mean", [0.0, np.nan, 0.0, 0.0]),
        ("covariance", np.zeros((4, 4)).tolist()),
        ("covariance", np.triu(np.ones((4, 4))).tolist()),
        ("covariance", (-np.eye(4)).tolist()),
        ("covariance", np.eye(3).tolist()),
        ("covariance", "round"),
    ],
)
def test_a_damaged_part_is_refused(name, to):
    with pytest.raises(StoredError, match="course"):
        Course.from_dict({**view().to_dict(), name: to})


def test_an_alarm_whose_metrics_are_usual_each_says_that_together_they_are_not():
    usual = Driver(
        metric="a", contribution=3.0, view="course", value=2.0, direction="up", healthy_low=1, healthy_high=3
    )
    odd = replace(usual, metric="b", value=4.0)
    of = {"run": "r", "step": 5, "score": 9.0, "threshold": 3.0, "risk": None, "state": 0}
    said = "a 2 ↑ (usual here 1–3): each as usual, but not together; score 9"
    assert said in str(Alarm(drivers=(usual,), **of))
    for drivers in ((usual, odd), (replace(usual, view="phase"),), (replace(usual, value=None),), ()):
        assert "together" not in str(Alarm(drivers=drivers, **of))


@pytest.mark.parametrize(
    "odd",
    [
        lambda i, t, rng: np.where(t < 40, np.nan, rng.normal(size=60) + i),
        lambda i, _t, rng: -1e140 * rng.random(60) * 10.0 ** (-20 * i),
        lambda _i, t, _rng: np.where(t == 30, 1.0, 0.0),
        lambda _i, _t, rng: np.where(rng.random(60) < 0.5, 0.0, 10.0 ** rng.uniform(-8, 8, 60)),
        lambda _i, t, rng: np.where(t % 2, np.nan, rng.normal(size=60)),
    ],
    ids=["late", "huge", "flat but for a step", "zero at half of the rows", "logged at every other row"],
)
@pytest.mark.filterwarnings("error")
def test_whatever_a_metric_of_a_sweep_is_scores_are_finite_and_come_back_from_a_file(odd):
    t, runs = np.arange(60), []
    for i in range(6):
        rng = np.random.default_rng(i)
        own = np.exp(-t / rng.uniform(5, 60) + rng.normal()) * np.exp(rng.normal(0, 0.05, 60))
        logged = pd.DataFrame({"a": own, "b": own**2 * np.exp(rng.normal(0, 2)), "c": odd(i, t, rng)})
        runs.append(made_run(logged.ffill().to_numpy(), run=str(i), logged=logged.notna().to_numpy()))
    portfolio = cross_fitted(runs, np.arange(6) % 3, **FIT).portfolios[0]
    assert portfolio.views[-1].name == "course"
    again = Course.from_dict(portfolio.views[-1].to_dict())
    for run in runs:
        rows, _ = portfolio.rows(run.steps, run.values, run.logged, portfolio.start())
        scores = again.scores(rows, again.start())
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(scores, portfolio.views[-1].scores(rows, again.start()))
