"""What finished runs tell of how a map is read row by row."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.features import map_sequences
from trajhmm.hmm.finished import alike_when_finished, design_effect, rows_stand_alone
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def simulated():
    return planted(n_runs=12, n_rows=120, layout="spread", offset_sd=1.0, seed=4)


@pytest.fixture(scope="module")
def model(simulated):
    return th.fit(simulated.logs, states=simulated.n_states, scaling="mixed", halves=0, restarts=2)


def test_the_effect_is_one_if_rows_stand_alone(simulated, model):
    # Each run's shift is fitted to its rows, which takes some of what the means of its visits vary by.
    assert 0.4 < design_effect(model, simulated.logs) < 1.2
    assert rows_stand_alone(model, simulated.logs)


def test_the_effect_is_that_of_each_visit_in_turn(simulated, model):
    decoded, sequences, known = model.decode(simulated.logs), model.sequences(simulated.logs), model.parameters
    squares, rows = 0.0, 0
    for begin, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        values, states = sequences.values[begin:end], decoded.path[begin:end]
        while len(states):
            state = states[0]
            n = int(np.argmin(np.append(states, -1) == state))
            off = [
                sum(values[row, metric] - known.means[state, metric] for row in range(n)) ** 2
                / known.variances()[state, metric]
                for metric in range(known.n_metrics)
            ]
            squares, rows = squares + sum(off) / len(off), rows + n
            values, states = values[n:], states[n:]
    assert rows == len(decoded.path)
    assert design_effect(model, simulated.logs) == pytest.approx(squares / rows, rel=1e-9)


@pytest.mark.parametrize("times", [4, 8])
def test_the_effect_is_as_many_rows_as_are_alike(simulated, model, times):
    one, logs = design_effect(model, simulated.logs), simulated.logs
    frame = pd.DataFrame(np.repeat(logs.values, times, axis=0), columns=list(logs.metrics))
    run = np.repeat(np.array(logs.runs, dtype=object), times * logs.lengths)
    again = th.RunSet.from_frame(frame.assign(run=run, step=frame.groupby(run).cumcount()))
    assert design_effect(model, again) == pytest.approx(times * one, rel=0.1)
    assert not rows_stand_alone(model, again)


def test_rows_that_go_on_from_each_other_do_not_stand_alone():
    wanders = planted(n_runs=12, n_rows=120, layout="spread", offset_sd=1.0, ar=0.9, seed=4)
    model = th.fit(wanders.logs, states=wanders.n_states, scaling="mixed", halves=0, restarts=2)
    assert not rows_stand_alone(model, wanders.logs)


def test_states_are_compared_at_the_same_steps(simulated, model):
    decoded = model.decode(simulated.logs)
    sequences = map_sequences(simulated.logs, model.metrics, scaler=model.scaler, keep_constant=True)
    told = {run: (decoded.steps[rows], decoded.path[rows].copy()) for run, rows in sequences.slices()}
    np.testing.assert_array_equal(alike_when_finished(model, simulated.logs, told), [[120, 120]] * 12)
    run = simulated.logs.runs[3]
    steps, states = told[run]
    states[10:15] = -1
    some = {**told, run: (np.sort(np.append(steps, steps + 1)), np.repeat(states, 2))}  # rows between those of the map
    assert alike_when_finished(model, simulated.logs, some)[3].tolist() == [115, 120]
