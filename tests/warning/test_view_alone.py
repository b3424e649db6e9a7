"""Runs judged without a reference: against plain pandas, in any unit, whatever other runs log."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.logs import RunSet
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.tracking import Scorer, _Known
from trajhmm.warning.views.alone import LIMITS, Alone
from trajhmm.warning.views.interface import Rows
from trajhmm.warning.views.losses import LossRise
from trajhmm.warning.views.movement import Movement
from trajhmm.warning.views.ownlosses import LongSum, ShortSum
from trajhmm.warning.views.phases import BURN_IN

from .logs import frame_of
from .made import METRICS, training


def learning(seed, rows=300):
    """(T, 3): a loss that falls by far more than its noise, and two norms."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    curve = np.column_stack([2 * np.exp(-t / 60) + 0.3, 1 + np.exp(-t / 20), 5 + 0.002 * t])
    return curve * np.exp(rng.normal(0, [0.03, 0.1, 0.003], (rows, 3)))


def failing(seed, rows=300, onset=200):
    values = learning(seed, rows)
    values[onset:, 0] *= np.exp(0.02 * np.arange(rows - onset))
    return values


def scored(values, metrics=METRICS, **more):
    alone = Alone(metrics)
    fresh = ~np.isnan(values)
    carried = pd.DataFrame(values).ffill().to_numpy()
    return alone.advance(np.arange(len(values)), carried, fresh, more.get("memory") or alone.start())


def test_movement_is_the_mean_squared_squeezed_innovation_averaged_as_pandas_does():
    rng = np.random.default_rng(0)
    moved, levels = rng.normal(0, 3, (60, 3)), rng.normal(size=(60, 3))
    levels[:20, 2] = np.nan  # not logged yet
    counted = np.arcsinh(moved) ** 2 * [1.0, 0.0, 1.0]  # the second is a loss
    squares = pd.DataFrame(np.where(np.isnan(levels), np.nan, counted)).mean(axis=1)
    expected = squares.ewm(span=5, adjust=False).mean()
    view = Movement(np.array([1]))
    rows = Rows(scaled=levels, fresh=~np.isnan(levels), moved=moved)
    np.testing.assert_allclose(view.scores(rows, view.start()), expected, rtol=1e-12)
    shares = view.shares(rows, view.start())
    np.testing.assert_allclose(shares.sum(axis=1), squares, rtol=1e-12)


def test_a_score_is_a_views_over_its_limit_and_none_before_the_burn_in():
    values = failing(1)
    seen = scored(values)
    assert (seen.score[: BURN_IN + 1] == 0).all()  # a metric counts from when it first moves: not at the first row
    assert (seen.state == -1).all()
    assert np.isnan(seen.level).all()
    alone = Alone(METRICS)
    rows, _ = alone.rows(np.arange(300), values, np.ones((300, 3), dtype=bool), alone.start())
    each = [view.scores(rows, view.start()) / LIMITS[view.name] for view in alone.views]
    np.testing.assert_array_equal(seen.score[1 + BURN_IN :], np.max(each, axis=0)[BURN_IN:])


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_rises_rings_and_one_that_falls_does_not(seed):
    assert scored(learning(seed)).score.max() < 1
    seen = scored(failing(seed))
    first = int(np.argmax(seen.score > 1))
    assert 200 < first < 240
    assert Alone(METRICS).views[seen.view[first]].name in (LossRise.name, ShortSum.name)


def test_a_loss_that_rises_from_the_start_tells_nothing_by_rising():
    values = learning(3)
    values[:, 0] = 0.5 + 0.01 * np.arange(300) * np.exp(np.random.default_rng(0).normal(0, 0.03, 300))
    alone = Alone(METRICS)
    rows, _ = alone.rows(np.arange(300), values, np.ones((300, 3), dtype=bool), alone.start())
    assert (alone.views[0].scores(rows, alone.views[0].start()) == 0).all()


def sums_of(kind, loss, fresh=None):
    """Scores of one loss."""
    values = np.arcsinh(np.asarray(loss, dtype=float))[:, np.newaxis]
    fresh = np.ones(values.shape, dtype=bool) if fresh is None else fresh[:, np.newaxis]
    view = kind(np.array([0]), np.array([1e-4]), np.array([False]))
    return view.scores(Rows(scaled=values, fresh=fresh, moved=np.zeros(values.shape)), view.start())


def test_the_long_sum_is_pages_against_the_median_of_200_rows():
    """Written out with numpy's medians."""
    rng = np.random.default_rng(4)
    loss = 20 + rng.standard_t(3, 500) - 0.01 * np.arange(500) + 5.0 * (np.arange(500) > 420)
    loss[200], loss[480] = 35.0, 500.0
    loss[300:340:3] = 0.0
    expected, total = [], 0.0
    for t, value in enumerate(loss):
        window = loss[max(t - 200, 0) : t]
        if t >= 30:
            centre = np.median(window)
            upper = (np.sort(window)[int(0.9 * len(window))] - centre) / 1.2816
            size = max(1.4826 * np.median(np.abs(window - centre)), upper) + 1e-3 * np.abs(window).max()
            total = max(0.0, total + min((value - centre) / size, 10.0) - 1.0)
        expected.append(total)
    scores = sums_of(LongSum, loss)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)
    assert max(expected) > LIMITS[LongSum.name]


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_short_sum_is_pages_against_a_robust_mean(memory):
    rng = np.random.default_rng(5)
    noise = pd.Series(rng.standard_t(3, 300)).ewm(alpha=1 - memory, adjust=False).mean().to_numpy()
    loss = 20 + noise + 0.05 * np.maximum(np.arange(300) - 200, 0)
    expected, total, mean, away, last, together = [], 0.0, loss[0], 0.0, 0.0, 0.0
    for t, value in enumerate(loss):
        size = np.sqrt(np.pi / 2) * away + 1 / 300
        if t >= 30:
            wider = np.sqrt((1 + together) / (1 - together))
            total = max(0.0, total + min((value - mean) / (size * wider), 5.0) - 0.25)
        expected.append(total)
        off, weight = value - mean, max(2 / 31, 1 / (t + 1))
        spread = abs(off) if t < 10 else min(abs(off), 2.5 * size)
        if t >= 10:
            off = np.clip(off, -1.5 * size, 1.5 * size)
            together += max(2 / 201, 1 / t) * (last * off / size**2 - together)
            together = np.clip(together, 0.0, 0.95)
        last = off
        away += weight * (spread - away)
        mean += weight * off
    np.testing.assert_allclose(sums_of(ShortSum, loss), expected, rtol=1e-9, atol=1e-9)
    assert max(expected) > 10


@pytest.mark.parametrize("kind", [ShortSum, LongSum])
def test_rows_at_which_a_loss_is_not_logged_do_not_count_for_its_sums(kind):
    rng = np.random.default_rng(6)
    loss = 3 + rng.normal(0, 0.1, 150) + 0.01 * np.maximum(np.arange(150) - 100, 0)
    scores = sums_of(kind, np.repeat(loss, 3), np.tile([True, False, False], 150))
    np.testing.assert_array_equal(scores[::3], sums_of(kind, loss))
    np.testing.assert_array_equal(scores[2::3], scores[::3])


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("stray", [0.0, 1.1, 3.0, 1e6])
def test_one_row_far_off_rings_nothing(noise, stray):
    """As where a batch is bad: the loss is where it was at the next; nor is a row far below a best to rise from."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        loss = (1.0 + 2.0 * np.exp(-np.arange(400) / 30)) * np.exp(rng.normal(0, noise, 400))
        loss[250] *= stray
        seen = scored(loss[:, np.newaxis], ("train_loss",))
        assert seen.score.max() < 1, (seed, Alone(("train_loss",)).views[seen.view[seen.score.argmax()]].name)


def test_a_loss_that_falls_rings_nothing():
    """As one that was stuck on a plateau and learns at last."""
    for seed in range(10):
        t, rng = np.arange(600), np.random.default_rng(seed)
        loss = 0.693 + 1e-4 * rng.normal(size=600) - 0.5 * (1 - np.exp(-np.maximum(t - 300, 0) / 60))
        assert scored(loss[:, np.newaxis], ("train_loss",)).score.max() < 1


@pytest.mark.parametrize("loss", [np.zeros(300), np.ones(300), np.r_[np.ones(299), 2.0], np.full(300, 1e300)])
@pytest.mark.parametrize("kind", [ShortSum, LongSum])
def test_a_loss_that_stands_still_has_a_finite_sum(kind, loss):
    assert np.isfinite(sums_of(kind, loss)).all()


def test_sums_are_of_losses_of_the_whole_task():
    """That of a policy or a value goes up while an agent learns; that of an evaluation, where there is no other."""

    def summed(*metrics):
        alone = Alone(metrics)
        return [[metrics[d] for d in view.columns] for view in alone.views if isinstance(view, LongSum)]

    assert summed("train_loss", "eval_loss", "aux_loss", "grad_norm") == [["train_loss"]]
    assert summed("eval/loss", "grad_norm") == [["eval/loss"]]
    assert summed("loss", "train/nll") == [["loss", "train/nll"]]
    assert summed("losses/policy_loss", "actor_loss", "grad_norm") == []
    assert summed("train/loss", "train/value_loss") == []
    assert summed("train/entropy_loss", "grad_norm") == []


DOUBLING = np.r_[0, 2 ** np.arange(10), 1000 * np.arange(1, 41)]


def test_rows_that_come_further_apart_are_looked_at_first():
    """What a metric moves by from 3,000 to 4,000 is more than from 256 to 512, and no news."""
    rng = np.random.default_rng(0)
    values = np.column_stack([5 + DOUBLING * 3e-3, 9 - DOUBLING * 1e-4, 2 + DOUBLING * 1e-3])
    values += rng.normal(0, 0.01, values.shape)
    steady = Alone(("a", "b", "c")).advance(np.arange(51), values, np.ones((51, 3), dtype=bool), Alone("abc").start())
    assert steady.score.max() > 1  # as if rows were as far apart as before
    seen = Alone(("a", "b", "c")).advance(DOUBLING, values, np.ones((51, 3), dtype=bool), Alone("abc").start())
    assert seen.score.max() < 1
    assert (seen.score[DOUBLING <= 1000 * (3 + BURN_IN)] == 0).all()
    assert (seen.score[DOUBLING > 1000 * (3 + BURN_IN)] > 0).all()


def test_a_row_that_is_lost_is_no_other_way_to_log():
    steps = np.delete(np.arange(300), [150, 151, 152, 240])
    values = failing(1)[steps]
    fresh = np.ones(values.shape, dtype=bool)
    seen = Alone(METRICS).advance(steps, values, fresh, Alone(METRICS).start())
    whole = Alone(METRICS).advance(np.arange(len(steps)), values, fresh, Alone(METRICS).start())
    np.testing.assert_array_equal(seen.score, whole.score)


@pytest.mark.parametrize("steps", [DOUBLING, np.r_[np.arange(30), 40 + 10 * np.arange(300)]])
def test_rows_further_apart_are_judged_alike_however_they_are_dealt_out(steps):
    values, fresh = failing(2)[: len(steps)], np.ones((min(len(steps), 300), 3), dtype=bool)
    steps = steps[: len(values)]
    alone, memory = Alone(METRICS), Alone(METRICS).start()
    whole = Alone(METRICS).advance(steps, values, fresh, Alone(METRICS).start())
    cut = [part for part in np.split(np.arange(len(steps)), [1, 2, 3, 7, 12, 13, 20, 33, 34, 45]) if len(part)]
    parts = [alone.advance(steps[part], values[part], fresh[part], memory).score for part in cut]
    np.testing.assert_array_equal(np.concatenate(parts), whole.score)


def test_units_do_not_matter():
    values = failing(2)
    np.testing.assert_allclose(scored(values * [1e-3, 1e6, 7.0]).score, scored(values).score, rtol=1e-9, atol=1e-12)


def test_what_other_runs_log_does_not_matter():
    """A metric that a run never logs changes nothing, to the last bit."""
    values = failing(4)
    more = np.full((300, 1), np.nan)
    names = ("other", *METRICS)
    np.testing.assert_array_equal(scored(np.hstack([more, values]), names).score, scored(values).score)


def test_what_stands_still_does_not_count_until_it_moves():
    """As an attribute it would not be seen at all; whether it is one may hang on other runs and on later rows."""
    values = failing(4)
    names = ("clip", *METRICS)
    stands = np.full((300, 1), 7.0)
    np.testing.assert_array_equal(scored(np.hstack([stands, values]), names).score, scored(values).score)
    moves = np.where(np.arange(300) < 150, 7.0, 7.0 + np.arange(300) % 5)[:, np.newaxis]
    seen = scored(np.hstack([moves, values]), names)
    np.testing.assert_array_equal(seen.score[:151], scored(values).score[:151])
    assert (seen.score[150:200] < 1).all()  # that it moves at last is no event
    later = np.where(np.arange(300) < 151, np.nan, moves[:, 0])[:, np.newaxis]  # 7 at row 150
    assert (seen.score[165:] != scored(values).score[165:]).any()
    assert scored(np.hstack([later, values]), names).score.shape == seen.score.shape


def test_the_loss_of_an_evaluation_counts_only_where_there_is_no_other():
    """It rises where a run learns its data by heart."""
    values = failing(5)
    both = np.column_stack([learning(6)[:, 0], values[:, 0], values[:, 1]])
    assert scored(both, ("train_loss", "eval_loss", "grad_norm")).score.max() < 1
    assert scored(both, ("other", "eval_loss", "grad_norm")).score.max() > 1
    assert scored(both, ("train_loss", "value_loss", "grad_norm")).score.max() > 1  # no evaluation


def test_however_rows_are_dealt_out_the_bits_are_the_same():
    values = failing(7)
    values[5:9, 1] = np.nan
    whole = scored(values)
    alone, parts = Alone(METRICS), []
    memory = alone.start()
    fresh, carried = ~np.isnan(values), pd.DataFrame(values).ffill().to_numpy()
    for first, stop in ((0, 1), (1, 2), (2, 17), (17, 18), (18, 200), (200, 300)):
        part = slice(first, stop)
        parts.append(alone.advance(np.arange(first, stop), carried[part], fresh[part], memory))
        memory = alone.start().taken_from(json.loads(json.dumps(memory.to_list())))
    for name in ("score", "view", "state"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))


def test_a_monitor_without_a_model_watches_what_the_first_row_holds():
    monitor = Monitor()
    values = failing(8)
    for step, row in enumerate(values):
        logged = dict(zip(METRICS, row.tolist(), strict=True))
        alarm = monitor.update("a", step, {**logged, "learning_rate": 0.1, "eval_accuracy": 0.5})
        if alarm:
            break
    assert monitor.metrics == tuple(sorted(METRICS))
    assert (monitor.situation, monitor.threshold, monitor.last_step) == ("alone", 1.0, None)
    assert alarm.step > 200
    assert alarm.risk is None
    assert alarm.state is None
    low = replace(alarm.drivers[0], value=0.5, healthy_low=-0.2, healthy_high=-0.1)
    assert "(usual here -0.2 to -0.1)" in str(low)
    assert "(usual here 0.1–0.2)" in str(replace(low, healthy_low=0.1, healthy_high=0.2))
    assert "risk unknown without a model" in str(alarm)
    driver = alarm.drivers[0]
    assert (driver.metric, driver.direction) == ("train_loss", "up")
    assert driver.view in (LossRise.name, ShortSum.name)
    assert driver.healthy_low < driver.healthy_high
    assert driver.value == pytest.approx(values[alarm.step, 0])
    batch = th.Monitor()
    batch.score(RunSet.from_frame(frame_of(values, "a", np.arange(300))))
    assert batch.trackers["a"].alarm.step == alarm.step


def test_a_loss_that_is_not_finite_is_an_alarm_at_once():
    monitor = Monitor(metrics=METRICS)
    row = dict(zip(METRICS, training(np.random.default_rng(0), 1)[0].tolist(), strict=True))
    assert monitor.update("a", 0, row) is None
    assert monitor.update("a", 1, {**row, "train_loss": np.nan}).risk == 1.0


def test_metrics_may_come_later_to_a_monitor_without_a_model():
    """A first row that holds nothing, or an evaluation only, does not decide what is watched; scores are a batch's."""
    values = failing(9)
    whole = Monitor()
    frame = frame_of(values, "a", np.arange(300))
    frame.loc[:39, "grad_norm"] = np.nan
    frame.loc[:4, ["train_loss", "weight_l2"]] = np.nan
    expected = whole.score(RunSet.from_frame(frame))["a"]
    monitor, scores, alarms = Monitor(), [], []
    assert monitor.update("b", 0, {}) is None
    assert monitor.update("b", 1, {"eval_accuracy": 0.1}) is None
    assert (monitor.metrics, dict(monitor.trackers)) == ((), {})
    for step, row in enumerate(frame[list(METRICS)].to_numpy()):
        logged = {name: value for name, value in zip(METRICS, row.tolist(), strict=True) if not np.isnan(value)}
        alarms.append(monitor.update("a", step, logged))
        scores.append(monitor.trackers["a"].last.score[0] if "a" in monitor.trackers else 0.0)
    assert monitor.metrics == tuple(sorted(METRICS))
    np.testing.assert_array_equal(scores, expected.score)
    assert [alarm.step for alarm in alarms if alarm] == [whole.trackers["a"].alarm.step]
    # A run that went back goes on from a checkpoint that was made before the metric came.
    again = [monitor.trackers["a"]]
    monitor.update("a", 20, {"train_loss": values[20, 0], "weight_l2": values[20, 2]})
    assert again[0].last_step == 20
    assert again[0].last.score[0] == 0  # not judged: it makes up for what lies before the checkpoint


def test_what_is_packed_comes_out_again_bit_for_bit():
    alone = Scorer(None, METRICS)
    tracker = alone.start("a")
    values = failing(10)[:60]
    tracker.advance(np.arange(60), values, np.ones((60, 3), dtype=bool))
    known = tracker._known
    again = _Known.unpacked(known.packed(), alone)
    assert json.dumps(again.to_dict()) == json.dumps(known.to_dict())
    assert not any(np.shares_memory(again.memory.moved, view) for view in again.memory.views)
    assert [int(one[0]) for one in tracker._checkpoints] == [0, 16, 32, 48]
