"""Predictions from the first rows: held out, nothing of the future, and right where the states decide."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import trajhmm as th
from trajhmm.dynamics.detours import prefix
from trajhmm.dynamics.detours.again import RawRows
from trajhmm.dynamics.detours.convergence import Convergence, convergence_of
from trajhmm.dynamics.detours.prefix import _folds, _predicted, _ridge, _View, prefix_curve
from trajhmm.simulate import Emissions, drift
from trajhmm.simulate.emissions import spread_means
from trajhmm.simulate.paths import lay_out
from trajhmm.simulate.result import observe

# Rows at which all runs have taken one of the two branches, and many have yet to converge.
BRANCHED, MANY = 60, 20


def decided(seed, n_runs=40, n_rows=300):
    """Early for a random time, then half of the runs 60 rows in one state, half 160 in another, then 40 in late."""
    rng = np.random.default_rng(seed)
    early = np.rint(30 * np.exp(0.3 * rng.standard_normal(n_runs)))
    long = rng.permutation(n_runs) < n_runs // 2
    dwells = np.column_stack([early, ~long * 60, long * 160, np.full(n_runs, 40), np.full(n_runs, n_rows)])
    paths = lay_out(np.tile(np.arange(5), (n_runs, 1)), dwells.astype(np.int64), n_rows=n_rows)
    means = spread_means(n_states=5, n_metrics=8, separation=2.5, rng=rng)
    names = ("early", "short", "long", "late", "done")
    return observe(paths, means, names, emissions=Emissions(offset_sd=1.0), step=10, rng=rng).logs


def prepared(logs, states, **options):
    model = th.fit(logs, states=states, halves=0, **options)
    values = logs.values[:, [logs.metrics.index(metric) for metric in model.metrics]]
    return model, model.scaled(logs), values


@pytest.fixture(scope="module")
def setup():
    logs = decided(0)
    return logs, *prepared(logs, 5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("scaling", ["mixed", "own-start", "per-run"])
@pytest.mark.slow
def test_where_the_state_decides_the_rest_the_first_rows_tell_it(scaling):
    logs = decided(1)
    model, scaled, values = prepared(logs, 5, scaling=scaling)
    points = prefix_curve(model, scaled, RawRows(values=values, loss=None), convergence_of(logs, "eval_accuracy > 0.9"))
    told = [point.r2_states for point in points if point.rows >= BRANCHED and point.n_runs >= MANY]
    # Measured .95 to 1.00 on three seeds; what is left are rows around a change of state.
    assert len(told) >= 5
    assert min(told) > 0.9
    # Before the branch only the time spent so far is known, which says little.
    assert points[0].rows < 30
    assert points[0].r2_states < 0.3


@pytest.mark.slow
def test_states_that_say_nothing_predict_nothing():
    logs = drift(n_runs=40, n_rows=100, speed_sd=0.3, seed=0).logs
    model, scaled, values = prepared(logs, 4, scaling="own-start")
    found = []
    for draw in range(3):
        # A constant hazard: how long a run still needs has nothing to do with anything logged.
        rows = np.random.default_rng([0, draw]).geometric(1 / 30, size=40)
        converged = rows < 100
        times = Convergence(
            condition="", runs=scaled.runs, steps=np.where(converged, rows * 10, 990), converged=converged
        )
        points = prefix_curve(model, scaled, RawRows(values=values, loss=None), times, seed=draw)
        found += [point.r2_states for point in points]
    # Thirty numbers of sd about .05 that hang together; the former regression gave -20 to .36.
    assert np.mean(found) == pytest.approx(0, abs=0.05)
    assert min(found) > -0.5


def test_what_predicts_a_run_was_made_without_it(setup):
    logs, model, scaled, values = setup
    held = np.arange(40) % 5 == 0
    rows = np.repeat(held, scaled.lengths)
    other = np.where(rows[:, np.newaxis], np.random.default_rng(0).permutation(values) + 7, values)
    one, again = (_View.without(held, model, v, scaled.lengths, 0) for v in (values, other))
    for name in ("startprob", "transmat", "means", "covars", "shift_variance"):
        np.testing.assert_array_equal(getattr(one.parameters, name), getattr(again.parameters, name))
    np.testing.assert_array_equal(one.scaler.centre, again.scaler.centre)
    # Nor does the regression know when it converged.
    times = convergence_of(logs, "eval_accuracy > 0.9")
    late = replace(times, steps=np.where(held, times.steps + 500, times.steps))
    raw = RawRows(values=values, loss=None)
    np.testing.assert_array_equal(_predicted(one, 20, scaled, raw, times), _predicted(one, 20, scaled, raw, late))
    not_held = replace(times, steps=np.where(held, times.steps, times.steps + 500))
    moved = _predicted(one, 20, scaled, raw, not_held)[:2, held] - _predicted(one, 20, scaled, raw, times)[:2, held]
    np.testing.assert_allclose(moved, 500)


def test_rows_to_come_do_not_change_what_is_predicted_now(setup):
    logs, model, scaled, values = setup
    times = convergence_of(logs, "eval_accuracy > 0.9")
    view = _View.without(np.arange(40) % 5 == 0, model, values, scaled.lengths, 0)
    row = np.arange(len(values)) % 300
    before = _predicted(view, 70, scaled, RawRows(values=values, loss=None), times)
    future = np.where((row >= 70)[:, np.newaxis], np.random.default_rng(0).permutation(values) * 3, values)
    after = _predicted(view, 70, scaled, RawRows(values=future, loss=None), times)
    np.testing.assert_array_equal(after, before)
    past = np.where((row >= 69)[:, np.newaxis], future + 5, values)
    assert (_predicted(view, 70, scaled, RawRows(values=past, loss=None), times)[0] != before[0])[view.held].any()


@pytest.mark.once
def test_rows_that_remember_are_freed_of_it_without_the_run(setup):
    logs, model, scaled, values = setup
    remembers = replace(model, parameters=replace(model.parameters, autoregression=np.full(8, 0.5)))
    held = np.arange(40) % 5 == 0
    view = _View.without(held, remembers, values, scaled.lengths, 0)
    # Learnt anew: these rows remember nothing.
    assert view.parameters.autoregression.max() < 0.1
    raw = RawRows(values=values, loss=None)
    times = convergence_of(logs, "eval_accuracy > 0.9")
    plain = _View.without(held, model, values, scaled.lengths, 0)
    one, other = (_predicted(v, 70, scaled, raw, times)[0, held] for v in (view, plain))
    np.testing.assert_allclose(one, other, atol=30)


@pytest.mark.slow
def test_a_loss_that_is_the_remaining_time_is_found_out(setup):
    logs, model, scaled, values = setup
    times = convergence_of(logs, "eval_accuracy > 0.9")
    remaining = np.repeat(times.steps, 300) - logs.steps
    points = prefix_curve(model, scaled, RawRows(values=values, loss=remaining.astype(float)), times)
    # But for the slight shrinkage of the ridge penalty.
    assert min(point.r2_loss for point in points if point.n_runs >= MANY) > 0.98
    assert all(point.r2_step == pytest.approx(0, abs=1e-9) for point in points)
    for point in points:
        assert point.n_runs == (times.converged & (times.steps > point.step)).sum()
    assert [point.n_runs for point in points] == sorted((point.n_runs for point in points), reverse=True)


@pytest.mark.once
def test_the_same_whatever_the_threads_and_another_with_another_seed():
    logs = decided(0, n_runs=20)
    model, scaled, values = prepared(logs, 5, scaling="own-start")
    times = convergence_of(logs, "eval_accuracy > 0.9")
    raw = RawRows(values=values, loss=None)
    one = prefix_curve(model, scaled, raw, times)
    assert len(one) > 1
    assert prefix_curve(model, scaled, raw, times, jobs=2) == one
    assert prefix_curve(model, scaled, raw, times, seed=1) != one


def test_too_few_converging_runs_give_no_curve(setup):
    logs, model, scaled, values = setup
    times = convergence_of(logs, "eval_accuracy > 0.9 and seed < 9")
    assert prefix_curve(model, scaled, RawRows(values=values, loss=None), times) == ()


def test_folds_hold_runs_of_all_kinds():
    rng = np.random.default_rng(0)
    steps, converged = rng.integers(1000, size=23), np.arange(23) % 4 > 0
    times = Convergence(condition="", runs=tuple(map(str, range(23))), steps=steps, converged=converged)
    fold = _folds(times, 0)
    assert set(np.bincount(fold)) <= {4, 5}
    order = np.flatnonzero(converged)[np.argsort(steps[converged], kind="stable")]
    for first in range(0, 15, 5):
        assert set(fold[order[first : first + 5]]) == set(range(5))


def test_the_regression_is_ridge_with_the_penalty_that_runs_left_out_allow(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(14, 4))
    y = x @ [3.0, -2.0, 0.0, 1.0] + rng.normal(size=14) + 50
    new = rng.normal(size=(5, 4)) / 4

    def left_out(penalty):
        rest = [np.arange(14) != i for i in range(14)]
        return np.array([y[i] - Ridge(penalty).fit(x[r], y[r]).predict(x[[i]])[0] for i, r in enumerate(rest)]) ** 2

    errors = {penalty: left_out(penalty) for penalty in prefix._PENALTIES[:-1]}
    best = min(errors.values(), key=np.mean)
    allowed = best.mean() + best.std(ddof=1) / np.sqrt(14)
    chosen = max(penalty for penalty, error in errors.items() if error.mean() <= allowed)
    np.testing.assert_allclose(_ridge(x, y, new), Ridge(chosen).fit(x, y).predict(new), rtol=1e-9)
    # Without a relation, the mean.
    np.testing.assert_allclose(_ridge(rng.normal(size=(200, 4)), np.tile([0.0, 1.0], 100), new), 0.5)
    # Far from what was seen, not far outside what was seen.
    far = _ridge(x, y, 1000 * new)
    assert far.max() <= y.max() + 0.25 * np.ptp(y)
    assert far.min() >= y.min() - 0.25 * np.ptp(y)
