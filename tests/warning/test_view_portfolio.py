"""Several views as one score: live as in a batch, from the past alone, and not before a run can be judged."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from trajhmm.warning.views.crossfit import cross_fitted
from trajhmm.warning.views.phases import BURN_IN

from .made import healthy_runs, made_run, training
from .test_view_rarity import rarity_of

FIT = {"states": 2, "covariance": "diag", "restarts": 1, "iterations": 20, "shrinkage": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def crossed():
    return cross_fitted(healthy_runs(12, np.random.default_rng(0)), np.arange(12) % 3, **FIT)


@pytest.fixture(scope="module")
def portfolio(crossed):
    return crossed.portfolios[0]


@pytest.fixture(scope="module", params=["matched", "sweep"])
def either(request, portfolio):
    """Of healthy runs that are alike, and of others whose levels and roads are their own."""
    if request.param == "matched":
        assert portfolio.situation == "matched"
        return portfolio
    rng = np.random.default_rng(20)
    runs = []
    for i in range(12):
        curve = training(rng)
        curve = np.column_stack([np.interp(np.arange(150) * rng.uniform(0.3, 1), np.arange(150), c) for c in curve.T])
        runs.append(made_run(curve * np.exp(rng.normal(0, 1.0, 3)), run=f"run {i}"))
    found = cross_fitted(runs, np.arange(12) % 3, **FIT).portfolios[0]
    assert [view.name for view in found.views] == ["phase", "loss sum", "loss rise", "course"]
    return found


def told(portfolio, run, cuts=(), *, stored=False):
    """All columns of what is told of a run whose rows come in blocks; through JSON in between where asked."""
    memory, parts = portfolio.start(), []
    for a, b in pairwise([0, *cuts, run.n_rows]):
        if stored:
            memory = portfolio.start().taken_from(json.loads(json.dumps(memory.to_list(), allow_nan=False)))
        parts.append(portfolio.advance(run.steps[a:b], run.values[a:b], run.logged[a:b], memory))
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("score", "view", "state", "level")
    }
    return columns, memory


def gappy(seed, rows=300):
    """A run that goes wrong, with metrics that begin late or are logged at some rows, and rows as dense as may be."""
    rng = np.random.default_rng(seed)
    values = training(rng, rows, drift=1.0, onset=200)
    logged = rng.random(values.shape) < [0.9, 0.7, 0.3]
    logged[:40, 2] = False
    values = pd.DataFrame(np.where(logged, values, np.nan)).ffill().to_numpy()
    return made_run(values, steps=np.cumsum(rng.choice([0.2, 1, 1, 3], rows)).round().astype(int), logged=logged)


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "through a state file"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.sampled(5)
def test_live_is_batch_to_the_last_bit(either, seed, stored):
    portfolio, run = either, gappy(seed)
    expected, behind = told(portfolio, run)
    rng = np.random.default_rng(seed)
    for cuts in (range(1, run.n_rows), np.sort(rng.integers(0, run.n_rows, 12))):
        found, memory = told(portfolio, run, cuts, stored=stored)
        for name, column in expected.items():
            np.testing.assert_array_equal(found[name], column, err_msg=name)
        assert memory.to_list() == behind.to_list()


def test_the_past_alone_counts(either):
    portfolio = either
    for seed in range(3):
        run = gappy(seed)
        whole, _ = told(portfolio, run)
        cut = int(np.random.default_rng(seed).integers(50, 280))
        part, _ = told(portfolio, run.first_rows(cut))
        for name, column in part.items():
            np.testing.assert_array_equal(whole[name][:cut], column)


def test_a_copy_of_what_is_known_is_one_of_its_own(portfolio):
    run = gappy(0)
    memory = portfolio.start()
    portfolio.advance(run.steps[:100], run.values[:100], run.logged[:100], memory)
    before = memory.to_list()
    portfolio.advance(run.steps[100:], run.values[100:], run.logged[100:], memory.copy())
    assert memory.to_list() == before
    assert all(isinstance(number, float | str) for number in before)


def test_the_score_is_the_rarity_of_the_rarest_view_in_plain_python(portfolio, crossed):
    run = made_run(training(np.random.default_rng(3), 150, drift=0.5, onset=100))
    found = portfolio.scores(run)
    rows, kept = portfolio.rows(run.steps, run.values, run.logged, portfolio.start())
    assert len(kept) == 150
    phases = (np.searchsorted([30, 60, 120], run.steps, side="right")).tolist()
    each = [view.scores(rows, view.start()) for view in portfolio.views]
    largest = largest_of_the_healthy(crossed)
    for t in range(BURN_IN, 150, 7):
        rare = [rarity_of(of_view, scores[t], phases[t]) for of_view, scores in zip(largest, each, strict=True)]
        assert found.score[t] == pytest.approx(max(rare), rel=1e-9)
        assert found.view[t] == int(np.argmax(rare))
    assert set(found.view[BURN_IN:]) == {0, 1, 2}


def largest_of_the_healthy(crossed):
    """(V, R, B) largest score of each healthy run under views that did not see it, in each phase."""
    largest = np.empty((3, 12, 4))
    for r, run in enumerate(healthy_runs(12, np.random.default_rng(0))):
        portfolio = crossed.portfolios[r % 3]
        rows, _ = portfolio.rows(run.steps, run.values, run.logged, portfolio.start())
        for v, view in enumerate(portfolio.views):
            scores = view.scores(rows, view.start())
            for phase, (a, b) in enumerate(pairwise([BURN_IN, 30, 60, 120, 150])):
                largest[v, r, phase] = max(scores[a:b].tolist())
    return largest.tolist()


def test_a_run_is_not_judged_in_its_first_rows(portfolio):
    for wild in (3, BURN_IN - 1, BURN_IN):
        values = training(np.random.default_rng(4), 40)
        values[wild] += 50.0
        seen = portfolio.scores(made_run(values))
        assert (seen.score[:BURN_IN] == 0).all()
        assert (seen.level[:BURN_IN] == 0).all()
        assert wild < BURN_IN or seen.score[wild] > 10


def test_rows_that_do_not_count_repeat_the_last_score_and_do_not_age_a_run(portfolio):
    values = training(np.random.default_rng(5), 60, drift=3.0, onset=30)
    between = np.repeat(values, 2, axis=0)
    logged = np.ones(between.shape, dtype=bool)
    logged[1::2] = False
    run = made_run(between, steps=np.arange(120), logged=logged)
    expected = portfolio.scores(made_run(values, steps=2 * np.arange(60)))
    found = portfolio.scores(run)
    np.testing.assert_array_equal(found.score, np.repeat(expected.score, 2))
    np.testing.assert_array_equal(found.state, np.repeat(expected.state, 2))


def test_a_healthy_run_that_is_logged_ten_times_as_often_tells_about_the_same():
    """Of runs logged every tenth step the reference is made; runs that log each step are judged at as many rows."""
    rng = np.random.default_rng(6)
    sparse = [made_run(training(rng), run=f"run {i}", steps=10 * np.arange(150)) for i in range(20)]
    portfolio = cross_fitted(sparse, np.arange(20) % 2, **FIT).portfolios[0]

    def dense(drift):
        curve = training(np.random.default_rng(7), 150, drift, 100)
        noise = np.random.default_rng(8).normal(0, [0.05, 0.1, 0.02], (1500, 3))
        smooth = pd.DataFrame(curve).rolling(15, min_periods=1, center=True).mean().to_numpy()
        at = np.arange(1500) / 10
        return made_run(np.column_stack([np.interp(at, np.arange(150), part) for part in smooth.T]) + noise)

    healthy = [portfolio.scores(run).score.max() for run in sparse]
    assert portfolio.scores(dense(0.0)).score.max() < 2 * max(healthy)
    ill = portfolio.scores(dense(2.0)).score
    assert ill[:1000].max() < 2 * max(healthy)
    assert ill[1000:].max() > 5 * max(healthy)


def test_without_a_loss_the_phase_alone_is_a_view():
    rng = np.random.default_rng(9)
    runs = [made_run(training(rng)[:, 1:], run=f"run {i}", metrics=("grad_norm", "weight_l2")) for i in range(8)]
    portfolio = cross_fitted(runs, np.arange(8) % 2, **FIT).portfolios[0]
    assert [view.name for view in portfolio.views] == ["phase"]
    seen = portfolio.scores(runs[0])
    assert np.isfinite(seen.score).all()
    assert (seen.view == 0).all()


def test_the_shares_of_a_view_of_losses_are_its_score_and_of_the_phase_they_say_who(portfolio):
    values = training(np.random.default_rng(10), 100)
    values[80:, 2] += 5.0
    run = made_run(values)
    shares, rows = portfolio.shares(run.steps, run.values, run.logged, portfolio.start())
    assert shares.shape == (3, 100, 3)
    assert rows.scaled.shape == (100, 3)
    for view, share in zip(portfolio.views[1:], shares[1:], strict=True):
        np.testing.assert_array_equal(share.sum(axis=1), view.scores(rows, view.start()))
    assert shares[0, 82].argmax() == 2
