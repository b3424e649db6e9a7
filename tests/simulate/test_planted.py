"""The planted logs are what they say, and the analysis finds what was planted in them."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.simulate import planted

# Fewer runs, fits and halvings than the test of twenty seeds has.
FEW = {"n_runs": 24, "n_rows": 100}
QUICK = {"halves": 1, "restarts": 2}


def analysed(seed, *, detour, fit=QUICK, **layout):
    """ARI of the states, number of states, states flagged, the planted detour's state and row of evidence."""
    truth = planted(seed=seed, detour=detour, **layout)
    # A state less, the true number and one more; tests/benchmarks/test_maps.py does it in full.
    around = range(truth.n_states - 1, truth.n_states + 2)
    model = th.fit(truth.logs, seed=seed, states=around, **fit)
    analysis = th.analyze(truth.logs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False)
    flagged = analysis.detours["state"][analysis.detours["is_detour"]].tolist()
    matched = None
    if detour:
        overlap = [((analysis.map.path == k) & (truth.states == truth.detour)).sum() for k in range(model.n_states)]
        matched = int(np.argmax(overlap))
    return truth, adjusted_rand_score(truth.states, analysis.map.path), model.n_states, flagged, matched, analysis


def test_truth_agrees_with_the_logs():
    truth = planted(seed=1)
    accuracy = truth.logs.column("eval_accuracy").reshape(40, 120)
    first = np.where((accuracy > 0.9).any(axis=1), 10 * (accuracy > 0.9).argmax(axis=1), -1)
    np.testing.assert_array_equal(first, truth.convergence_steps)
    states = truth.states.reshape(40, 120)
    np.testing.assert_array_equal((states == 2).any(axis=1), truth.took_detour)
    # Rows of one state and metric, each run's own offset and scale apart, scatter with variance 1 around the mean.
    assert 0.2 < truth.took_detour.mean() < 0.6


def test_the_detour_delays_by_what_truth_says():
    delays = []
    for seed in range(30):
        truth = planted(seed=seed, never=0.0, n_rows=400)
        steps = truth.convergence_steps
        delays.append(steps[truth.took_detour].mean() - steps[~truth.took_detour].mean())
    # 360 steps planted; the mean of 30 sets has a standard error of about 10.
    assert np.mean(delays) == pytest.approx(360, abs=35)


def test_slow_runs_never_converge_and_there_are_as_many_as_asked_for():
    slow = np.concatenate([planted(seed=s, never=0.25).convergence_steps < 0 for s in range(20)])
    assert slow.mean() == pytest.approx(0.25, abs=0.005)


def test_one_seed_one_log_and_another_seed_another():
    np.testing.assert_array_equal(planted(seed=5).logs.values, planted(seed=5).logs.values)
    assert (planted(seed=5).logs.values != planted(seed=6).logs.values).any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_planted_states_and_detour_are_found(seed):
    truth, ari, n_states, flagged, matched, analysis = analysed(seed, detour=True, **FEW)
    assert ari >= 0.95
    assert n_states == 5
    assert flagged == [matched]
    row = analysis.detours.set_index("state").loc[matched]
    assert row["ci_low"] <= truth.effect <= row["ci_high"]
    assert row["runs_with"] == pytest.approx(truth.took_detour.sum(), abs=2)


@pytest.mark.slow
def test_without_a_planted_detour_none_is_found():
    _, ari, n_states, flagged, _, _ = analysed(0, detour=False, layout="spread", offset_sd=1.0, **FEW)
    assert ari >= 0.95
    assert n_states == 4
    assert flagged == []


@pytest.mark.slow
def test_detours_are_found_in_nineteen_of_twenty_and_invented_in_at_most_one():
    found = covered = invented = 0
    indices, chosen = [], []
    for seed in range(20):
        truth, ari, n_states, flagged, matched, analysis = analysed(seed, detour=True, fit={"halves": 3})
        row = analysis.detours.set_index("state").loc[matched]
        found += flagged == [matched]
        covered += row["ci_low"] <= truth.effect <= row["ci_high"]
        indices.append(ari)
        chosen.append(n_states)
        invented += bool(analysed(seed, detour=False, fit={"halves": 3})[3])
    assert found >= 19
    assert invented <= 1
    assert covered >= 18  # a 95% interval misses one time in twenty; fewer than 18 has a probability under 8%
    assert min(indices) >= 0.95
    assert chosen.count(5) >= 19


@pytest.mark.slow
def test_a_planted_detour_survives_refits_on_resampled_runs():
    truth = planted(seed=0, layout="spread", offset_sd=1.0, **FEW)
    model = th.fit(truth.logs, states=5, halves=0, restarts=2)
    analysis = th.analyze(truth.logs, model, converged="eval_accuracy > 0.9", refits=5, prefix=False)
    (detour,) = [e for e in analysis.evidence_by_state if e.is_strict]
    assert detour.survival.refits == 5
    assert detour.survival.found >= 4
    assert detour.survival.interval[0] < detour.survival.share
