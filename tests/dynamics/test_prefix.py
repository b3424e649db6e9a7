"""Predictions from the first rows: held out, and nothing of the future."""

import numpy as np
import pytest

import trajhmm as th
from trajhmm.dynamics.convergence import convergence_of
from trajhmm.dynamics.prefix import RawRows, _filter_held_out, prefix_curve
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def setup():
    truth = planted(n_runs=24, seed=2)
    model = th.fit(truth.logs, states=5, restarts=2)
    sequences = model.sequences(truth.logs)
    raw = truth.logs.values[:, [truth.logs.metrics.index(metric) for metric in model.metrics]]
    return truth, model, sequences, raw


def test_rows_to_come_do_not_change_what_is_known_now(setup):
    _, model, sequences, raw = setup
    others, held = np.arange(4, 24), np.array([1])
    before = _filter_held_out(model, sequences, raw, others, held, 0)[0]
    changed = raw.copy()
    changed[sequences.offsets[1] + 50 : sequences.offsets[2]] += 100
    after = _filter_held_out(model, sequences, changed, others, held, 0)[0]
    np.testing.assert_array_equal(after[:50], before[:50])
    assert (after[50:] != before[50:]).any()


def test_remaining_time_is_predicted_where_it_can_be_and_not_where_it_cannot(setup):
    truth, model, sequences, raw = setup
    convergence = convergence_of(truth.logs, "eval_accuracy > 0.9")
    rng = np.random.default_rng(0)
    remaining = convergence.steps[np.repeat(np.arange(24), 120)] - truth.logs.steps
    oracle = RawRows(values=raw, loss=remaining.astype(float))
    blind = RawRows(values=raw, loss=rng.normal(size=len(raw)))
    points = prefix_curve(model, sequences, oracle, convergence)
    # A loss that is the remaining time predicts it but for the slight shrinkage of the ridge penalty.
    assert min(point.r2_loss for point in points) > 0.99
    assert np.mean([point.r2_loss for point in prefix_curve(model, sequences, blind, convergence)]) < 0.1
    assert all(point.r2_step == pytest.approx(0, abs=1e-9) for point in points)
    for point in points:
        assert point.n_runs == (convergence.converged & (convergence.steps > point.step)).sum()
    assert [point.n_runs for point in points] == sorted((point.n_runs for point in points), reverse=True)


def test_too_few_converging_runs_give_no_curve(setup):
    truth, model, sequences, raw = setup
    convergence = convergence_of(truth.logs, "eval_accuracy > 0.9 and seed < 9")
    assert prefix_curve(model, sequences, RawRows(values=raw, loss=None), convergence) == ()
