"""Healthy runs judged by what was learnt from others: whole configurations are left out together, and nothing leaks."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import RunSet
from trajhmm.warning import reference
from trajhmm.warning.evaluation.thresholds import conformal_threshold
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.views.crossfit import cross_fitted, fit_surprise
from trajhmm.warning.views.phases import BURN_IN
from trajhmm.warning.views.portfolio import Rarity

from .logs import frame_of
from .made import healthy_runs, training

FIT = {"states": 1, "covariance": "diag", "restarts": 1, "iterations": 20, "shrinkage": 1.0, "seed": 0}


def sweep(configurations, seeds, *, apart=0.0, told=True):
    """Logs of healthy runs, some seeds of each configuration; these are so far apart in their weight norm."""
    rng = np.random.default_rng(0)
    frames = []
    for c in range(configurations):
        for seed in range(seeds):
            values = training(rng, 100)
            values[:, 2] += apart * c
            frame = frame_of(values, f"c{c} s{seed}").assign(seed=seed)
            frames.append(frame.assign(lr=0.1 / (c + 1)) if told else frame)
    return RunSet.from_frame(pd.concat(frames))


@pytest.fixture
def folds_of(monkeypatch):
    """The folds that a fit makes of logs."""
    made = {}
    through = cross_fitted

    def spy(healthy, folds, **settings):
        made.update({run.run: int(fold) for run, fold in zip(healthy, folds, strict=True)})
        return through(healthy, folds, **settings)

    monkeypatch.setattr(reference, "cross_fitted", spy)

    def of(logs):
        made.clear()
        fit_warning(logs, states=1, restarts=1)
        return dict(made)

    return of


def test_runs_of_one_configuration_are_left_out_together(folds_of):
    folds = folds_of(sweep(5, 4))
    for c in range(5):
        assert len({folds[f"c{c} s{seed}"] for seed in range(4)}) == 1
    assert len(set(folds.values())) == 5


def test_of_many_configurations_several_make_one_of_ten_folds(folds_of):
    folds = folds_of(sweep(14, 2))
    assert all(folds[f"c{c} s0"] == folds[f"c{c} s1"] for c in range(14))
    assert sorted(set(folds.values())) == list(range(10))


def test_of_one_or_two_configurations_runs_are_left_out_one_by_one(folds_of):
    for logs in (sweep(1, 8), sweep(2, 4), sweep(8, 1, told=False)):
        folds = folds_of(logs)
        assert sorted(folds.values()) == list(range(8))


@pytest.mark.once
def test_configurations_that_are_far_apart_show_only_if_they_are_left_out():
    """Six configurations whose weight norms differ: a new one is far off, which runs of seen ones cannot tell."""
    known, unknown = (
        fit_warning(sweep(6, 4, apart=8.0, told=told), states=6, restarts=1).curve[0].heldout for told in (True, False)
    )
    assert known < unknown - 0.5  # nats a row


def test_what_judges_a_run_has_not_seen_it():
    """However far a run of one fold is changed, the parameters that judge it stay; those of the other folds do not."""
    runs = list(healthy_runs(9, np.random.default_rng(1), rows=80))
    folds = np.arange(9) % 3
    one = cross_fitted(runs, folds, **FIT)
    moved = runs[4].values.copy()
    moved[:, 1] *= 3.0
    runs[4] = type(runs[4])(**{**vars(runs[4]), "values": moved})
    other = cross_fitted(runs, folds, **FIT)
    for fold in range(3):
        same = fold == folds[4]
        for a, b in zip(surprises(one, fold), surprises(other, fold), strict=True):
            assert np.allclose(a, b, rtol=1e-9) == same


def surprises(crossed, fold):
    surprise = crossed.portfolios[fold].surprise
    return surprise.parameters.means, surprise.features.centre


def test_each_maximum_is_told_by_a_model_and_rarities_of_others():
    """Put together by hand: fits to the other folds, scores of the runs of this one, rarities of all but the run."""
    runs = healthy_runs(8, np.random.default_rng(2), rows=80)
    folds = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    crossed = cross_fitted(runs, folds, **FIT)
    whole = np.ones(80, dtype=bool)
    ends = [(BURN_IN, 30), (30, 60), (60, 80)]
    largest = np.empty((3, 8, 3))
    for r, run in enumerate(runs):
        others = [runs[i] for i in range(8) if folds[i] != folds[r]]
        surprise, _ = fit_surprise(others, [whole] * len(others), **FIT)
        portfolio = crossed.portfolios[folds[r]]
        np.testing.assert_allclose(portfolio.surprise.parameters.means, surprise.parameters.means, rtol=1e-9)
        rows, _ = portfolio.rows(run.steps, run.values, run.logged, portfolio.start())
        for v, view in enumerate((surprise, *portfolio.others)):
            scores = view.scores(rows, view.start())
            largest[v, r] = [scores[a:b].max() for a, b in ends]
    for r in range(8):
        told = Rarity.of(np.delete(largest, r, axis=1)).apply(largest[:, r], np.arange(3))
        assert crossed.maxima[r] == pytest.approx(told.max(), rel=1e-6)
        a, b = ends[int(told.max(axis=0).argmax())]
        assert a <= crossed.rows[r][crossed.scores[r].argmax()] < b
        np.testing.assert_array_equal(crossed.rows[r], np.arange(BURN_IN, 80))
    np.testing.assert_allclose(crossed.portfolios[0].rarity.knots, Rarity.of(largest).knots, rtol=1e-6)


@pytest.mark.slow
def test_of_new_runs_no_more_alarm_than_promised():
    """40 references of 19 runs, 20 new runs each: on average no more than 5%."""
    shares = []
    for draw in range(40):
        runs = healthy_runs(39, np.random.default_rng([3, draw]), rows=60)
        crossed = cross_fitted(runs[:19], np.arange(19) % 5, **FIT)
        threshold = conformal_threshold(crossed.maxima, 0.05).value
        kept = crossed.portfolios[np.arange(19)[crossed.maxima == threshold][0] % 5]
        shares.append(np.mean([kept.scores(run).score.max() > threshold for run in runs[19:]]))
    mean, error = np.mean(shares), np.std(shares) / np.sqrt(len(shares))
    assert mean < 0.05 + 2.58 * error, f"{mean:.4f} ± {error:.4f}"
