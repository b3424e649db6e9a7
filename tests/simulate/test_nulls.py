"""Whichever way a run takes in the null logs, the time it still needs has the same distribution."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from trajhmm.simulate import Emissions, doors, drift, excursions, skips

# Of two-sample tests with fixed seeds, one in a thousand would fail by chance.
ALPHA = 0.001
SETS = 60
NULLS = {
    "hazard": partial(skips, variant="hazard"),
    "shared": partial(skips, variant="shared"),
    "doors": doors,
    "excursions": excursions,
}


def runs_of(simulation, **settings):
    """Truth of the runs of many sets in which all have converged, times in rows."""
    sets = [simulation(seed=s, n_rows=800, step=1, n_metrics=1, **settings) for s in range(SETS)]
    frame = pd.concat([one.truth_table() for one in sets], ignore_index=True)
    assert (frame["convergence_step"] >= 0).all()
    return frame


def assert_same_distribution(one, other):
    assert min(len(one), len(other)) > 300
    assert stats.ks_2samp(one, other).pvalue > ALPHA
    assert np.mean(one) == pytest.approx(np.mean(other), abs=3.3 * np.hypot(stats.sem(one), stats.sem(other)))


def arms(frame):
    """Rows from leaving start to convergence, of runs that go to first and of those that skip it."""
    first, second, end = (frame[name] for name in ("entered_first", "entered_second", "convergence_step"))
    by_first, direct = first >= 0, (first < 0) & (second >= 0)
    return (end - first)[by_first], (end - second)[direct]


@pytest.mark.parametrize("variant", ["hazard", "shared"])
def test_skipping_a_state_saves_nothing(variant):
    by_first, direct = arms(runs_of(NULLS[variant]))
    assert_same_distribution(by_first, direct)
    share = len(direct) / (len(direct) + len(by_first))
    assert share == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(direct) + len(by_first)))


def test_with_a_constant_hazard_no_run_knows_how_long_it_still_takes():
    frame = runs_of(skips)
    for branch in ("entered_first", "entered_second"):
        rest = (frame["convergence_step"] - frame[branch])[frame[branch] >= 0]
        # Geometric, mean 50, standard deviation √(50 · 49).
        assert rest.mean() == pytest.approx(50, abs=4 * np.sqrt(50 * 49 / len(rest)))
        assert_same_distribution(rest, frame["convergence_step"])


@pytest.mark.parametrize("name", ["hazard", "excursions"])
def test_every_row_before_convergence_is_as_likely_to_be_the_last(name):
    rows, last = np.zeros(3), np.zeros(3)
    for seed in range(SETS):
        truth = NULLS[name](seed=seed, n_rows=800, n_metrics=1)
        states = truth.states.reshape(40, -1)
        for state in range(truth.n_states - 1):
            at = states[:, :-1] == state
            rows[state] += at.sum()
            last[state] += (states[:, 1:][at] == truth.n_states - 1).sum()
    rows, last = rows[rows > 0], last[rows > 0]
    # At the least 14,574 rows in a state: the standard error of its hazard is below 6% of it.
    assert rows.min() > 14_000
    assert (abs(last / rows - 0.02) < 4 * np.sqrt(0.02 * 0.98 / rows)).all()


def test_the_trap_is_set_runs_that_visit_take_longer_in_all():
    """So that a comparison that does not start at the branch is led astray."""
    frame = runs_of(skips)
    saw = frame["entered_second"] >= 0
    assert frame["convergence_step"][saw].mean() - frame["convergence_step"][~saw].mean() > 20
    # The controls of the present rule: leave start for first, and never see second.
    direct = saw & (frame["entered_first"] < 0)
    never = (frame["entered_first"] >= 0) & ~saw
    rest = frame["convergence_step"] - frame[["entered_first", "entered_second"]].max(axis=1)
    assert rest[direct].mean() - rest[never].mean() > 20
    spiked = runs_of(excursions)
    saw = spiked["entered_spike"] >= 0
    assert spiked["convergence_step"][saw].mean() - spiked["convergence_step"][~saw].mean() > 20


def test_in_the_shared_variant_all_runs_end_in_second():
    frame = runs_of(NULLS["shared"])
    assert (frame["entered_second"] > 0).all()
    went = frame["entered_first"] >= 0
    # Sixteen rows in first, saved in second (32 rows without); standard error of the mean below 0.25.
    assert (frame["entered_second"] - frame["entered_first"])[went].mean() == pytest.approx(16, abs=1)
    in_second = frame["convergence_step"] - frame["entered_second"]
    assert in_second[went].mean() == pytest.approx(16, abs=1)
    assert in_second[~went].mean() == pytest.approx(32, abs=1)


@pytest.mark.parametrize("n_doors", [2, 4])
def test_all_doors_are_as_likely_and_as_long(n_doors):
    frame = runs_of(doors, n_doors=n_doors)
    entries = frame[[f"entered_door_{d + 1}" for d in range(n_doors)]].to_numpy()
    assert ((entries >= 0).sum(axis=1) == 1).all()
    door, entered = entries.argmax(axis=1), entries.max(axis=1)
    assert stats.chisquare(np.bincount(door, minlength=n_doors)).pvalue > ALPHA
    for times in (frame["convergence_step"] - entered, frame["entered_late"] - entered, entered):
        groups = [times[door == d] for d in range(n_doors)]
        assert stats.kruskal(*groups).pvalue > ALPHA
        for group in groups[1:]:
            assert_same_distribution(groups[0], group)


def test_excursions_say_nothing_about_what_remains():
    remaining = {0: [], 1: []}
    for seed in range(SETS):
        truth = excursions(seed=seed, n_rows=800, step=1, n_metrics=1)
        states = truth.states.reshape(40, -1)
        end = truth.convergence_steps
        for state, times in remaining.items():
            # Runs on the plateau and in a spike at the same row, not converged: one look at each run.
            times.append((end - 20)[states[:, 20] == state])
    plateau, spike = (np.concatenate(times) for times in remaining.values())
    assert_same_distribution(plateau, spike)
    frame = runs_of(excursions)
    saw = frame["entered_spike"] >= 0
    assert_same_distribution((frame["convergence_step"] - frame["entered_spike"])[saw], frame["convergence_step"])


def test_excursions_come_back_and_go_again():
    truth = excursions(n_rows=400, step=1)
    states = truth.states.reshape(40, -1)
    starts = ((states[:, 1:] == 1) & (states[:, :-1] == 0)).sum(axis=1)
    assert starts.max() >= 3
    assert ((states[:, 1:] == 0) & (states[:, :-1] == 1)).sum() > 40


@pytest.mark.parametrize("name", NULLS)
def test_truth_agrees_with_the_logs(name):
    truth = NULLS[name](emissions=Emissions(noise=0.2, offset_sd=0.0))
    steps = truth.logs.steps.reshape(40, 200)[0]
    good = truth.logs.column("eval_accuracy").reshape(40, 200) > 0.9
    np.testing.assert_array_equal(truth.convergence_steps, np.where(good.any(axis=1), steps[good.argmax(axis=1)], -1))
    assert truth.state_names[-1] == "done"
    np.testing.assert_array_equal(truth.states.reshape(40, 200) == truth.n_states - 1, good)
    assert np.unique(truth.states).tolist() == list(range(len(truth.means)))
    np.testing.assert_allclose(pdist(truth.means), 2.5)
    assert (truth.logs.values[:, :8] - truth.means[truth.states]).std() == pytest.approx(0.2, rel=0.012)


@pytest.mark.parametrize("simulation", [*NULLS.values(), drift], ids=[*NULLS, "drift"])
def test_one_seed_one_log_and_another_seed_another(simulation):
    one, again, other = simulation(seed=3), simulation(seed=3), simulation(seed=4)
    assert one.logs.values.tobytes() == again.logs.values.tobytes()
    assert (one.logs.values != other.logs.values).any()
    assert one.truth_table().equals(again.truth_table())
    assert not one.truth_table().equals(other.truth_table())


def test_settings_out_of_range_say_what_was_expected():
    with pytest.raises(ValueError, match="variant = 'none': expected 'hazard' or 'shared'"):
        skips(variant="none")
    with pytest.raises(ValueError, match="n_doors = 0: expected 1 or more"):
        doors(n_doors=0)
    with pytest.raises(ValueError, match=r"spike_stay = 0\.5: expected 1 row or more"):
        excursions(spike_stay=0.5)
