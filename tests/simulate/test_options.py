"""What the options of the planted logs do to paths and states."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from trajhmm.simulate import planted

PINNED_STEPS = [530, 960, 740, -1, 440, 410, 570, 490, 450, 360, 440, 710]
PINNED_SUM = 1148.0190703235069
PINNED_SIZE = 85807.53839629685
ROAD = ("early", "plateau", "late", "done")


def rows_in(truth, name):
    """(R,) rows that each run spends in a state."""
    states = truth.states.reshape(truth.logs.n_runs, -1)
    return (states == truth.state_names.index(name)).sum(axis=1)


def many(sets, **settings):
    """Converged runs of many sets, four rows: steps since the start and since the plateau's end, and who took what."""
    columns = []
    for seed in range(sets):
        truth = planted(seed=seed, n_rows=400, never=0.0, **settings)
        left = 10 * (rows_in(truth, "early") + rows_in(truth, "plateau"))
        steps = truth.convergence_steps
        assert (steps >= 0).all()
        columns.append(np.array([steps, steps - left, truth.took_detour, truth.took_bystander]))
    return np.concatenate(columns, axis=1)


def test_the_defaults_are_what_they_were():
    truth = planted()
    assert truth.convergence_steps[:12].tolist() == PINNED_STEPS
    # Sums of float64 in another order differ in the last digits.
    assert truth.logs.values.sum() == pytest.approx(PINNED_SUM, rel=1e-12)
    assert abs(truth.logs.values).sum() == pytest.approx(PINNED_SIZE, rel=1e-12)


@pytest.mark.parametrize("layout", ["ring", "spread"])
@pytest.mark.parametrize("detour", [True, False])
@pytest.mark.parametrize("bystander", [True, False])
def test_states_are_those_that_are_there(layout, detour, bystander):
    truth = planted(layout=layout, detour=detour, bystander=bystander, n_rows=200)
    asked = [*ROAD[:2], *(["detour"] if detour else []), *(["bystander"] if bystander else []), *ROAD[2:]]
    assert list(truth.state_names) == asked
    assert truth.n_states == len(truth.means) == len(asked)
    assert np.unique(truth.states).tolist() == list(range(len(asked)))
    assert (truth.detour, truth.bystander) == (2 if detour else None, 2 + detour if bystander else None)
    for state, took in ((truth.detour, truth.took_detour), (truth.bystander, truth.took_bystander)):
        there = np.zeros(40, dtype=bool) if state is None else (truth.states.reshape(40, -1) == state).any(axis=1)
        np.testing.assert_array_equal(there, took)
        assert took.any() == (state is not None)
    # Runs go up the road, and never back.
    assert (np.diff(truth.states.reshape(40, -1), axis=1) >= 0).all()


def test_states_that_no_run_comes_by_are_not_counted():
    truth = planted(detour_share=0.0, bystander=True, bystander_share=0.0)
    assert truth.state_names == ROAD
    assert (truth.detour, truth.bystander, truth.effect) == (None, None, 0.0)
    stuck = planted(never=1.0)
    assert stuck.state_names == ROAD[:2]
    assert (stuck.convergence_steps == -1).all()


@pytest.mark.parametrize("detour", [True, False])
def test_a_bystander_does_not_move_a_single_convergence(detour):
    with_it, without = (planted(detour=detour, bystander=b, dwell_sd=0.5, n_rows=400) for b in (True, False))
    assert with_it.took_bystander.any()
    np.testing.assert_array_equal(with_it.convergence_steps, without.convergence_steps)
    np.testing.assert_array_equal(with_it.took_detour, without.took_detour)
    np.testing.assert_array_equal(rows_in(with_it, "plateau"), rows_in(without, "plateau"))


@pytest.mark.parametrize("dwell_sd", [0.0, 0.5])
@pytest.mark.once
def test_runs_that_pass_the_bystander_converge_when_others_do(dwell_sd):
    total, remaining, _, took = many(100, detour=False, bystander=True, dwell_sd=dwell_sd)
    took = took.astype(bool)
    assert took.mean() == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / 4000))
    for times in (total, remaining):
        # One in a thousand such tests would fail by chance; the seeds are fixed.
        assert stats.ks_2samp(times[took], times[~took]).pvalue > 0.001
        error = np.hypot(stats.sem(times[took]), stats.sem(times[~took]))
        assert times[took].mean() == pytest.approx(times[~took].mean(), abs=3.5 * error)


def test_half_of_late_is_spent_in_the_bystander():
    truth = planted(bystander=True, bystander_share=1.0, detour=False, n_runs=2000, never=0.0, stays=(16, 14, 48))
    # Mean 24 rows, variance that of four geometric times of mean 6: 120.
    error = np.sqrt(120 / 2000)
    assert rows_in(truth, "bystander").mean() == pytest.approx(24, abs=4 * error)


def test_a_detour_can_be_a_third_as_long():
    total, _, took, _ = many(60, detour_stay=12.0)
    took = took.astype(bool)
    error = np.hypot(stats.sem(total[took]), stats.sem(total[~took]))
    assert error < 4
    assert total[took].mean() - total[~took].mean() == pytest.approx(120, abs=4 * error)


def test_dwell_times_differ_between_runs_and_keep_their_means():
    truth = planted(
        n_runs=4000,
        n_rows=800,
        never=0.0,
        detour=False,
        dwell_sd=0.5,
        stays=(40.0, 30.0, 24.0),
        layout="spread",
        n_metrics=1,
    )
    logs = {}
    for name, mean in (("early", 40.0), ("plateau", 30.0), ("late", 24.0)):
        rows = rows_in(truth, name)
        stage_variance = (1 - 8 / mean) / 8
        variance = mean**2 * ((1 + stage_variance) * np.exp(0.25) - 1)
        assert rows.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000))
        logs[name] = np.log(rows)
        # Log variance .25 from the factor, and about stage_variance from the stages (first order; next term under .01).
        assert logs[name].var() == pytest.approx(0.25 + stage_variance, abs=0.035)
    assert abs(np.corrcoef(list(logs.values())) - np.eye(3)).max() < 4 / np.sqrt(4000)


@pytest.mark.parametrize(("layout", "noise"), [("ring", 1.0), ("spread", 0.35), ("spread", 0.7)])
def test_rows_scatter_around_the_means_by_the_noise(layout, noise):
    truth = planted(layout=layout, noise=noise, scale_sd=0.0, offset_sd=0.0, n_rows=200)
    values = truth.logs.values[:, :-1]
    rest = values - truth.means[truth.states]
    # 64,000 values at least: relative standard error 0.28%.
    assert rest.std() == pytest.approx(noise, rel=0.012)
    for state in range(truth.n_states):
        n = (truth.states == state).sum()
        assert abs(rest[truth.states == state].mean(axis=0)).max() < 4.5 * noise / np.sqrt(n)


def test_means_are_as_far_apart_as_asked():
    spread = planted(layout="spread", separation=4.0, bystander=True)
    np.testing.assert_allclose(pdist(spread.means), 4.0)
    ring = planted(separation=4.0, bystander=True, n_metrics=6)
    assert ring.logs.metrics[:-1] == planted().logs.metrics[:6]
    off_done = squareform(pdist(ring.means))[-1]
    np.testing.assert_allclose(off_done, [4.0, 4.0, 3.2, 3.2, 4.0, 0.0], atol=1e-12)
    assert pdist(ring.means).min() == pytest.approx(3.2)


def test_more_metrics_than_there_are_names_for_get_numbers():
    assert planted(layout="spread", n_metrics=16).logs.metrics[13:] == (
        "bias_var",
        "metric_15",
        "metric_16",
        "eval_accuracy",
    )


def test_offsets_of_planted_runs_are_in_pooled_standard_deviations():
    sizes = []
    for seed in range(20):
        without, shifted = (planted(seed=seed, layout="spread", offset_sd=o).logs.values[:, :8] for o in (0.0, 2.0))
        sizes.append((shifted - without)[::120] / without.std(axis=0))
    assert np.std(sizes) == pytest.approx(2.0, rel=0.036)  # 4 standard errors, as 6,400 offsets have 0.9%


@pytest.mark.parametrize(
    "settings", [{"ar": 0.5}, {"tails": 3.0}, {"growth": 1.0}, {"offset_sd": 3.0}, {"scale_sd": 0.0}]
)
def test_what_metrics_look_like_leaves_paths_alone(settings):
    plain, changed = planted(), planted(**settings)
    np.testing.assert_array_equal(plain.states, changed.states)
    np.testing.assert_array_equal(plain.convergence_steps, changed.convergence_steps)
    assert (plain.logs.values[:, :-1] != changed.logs.values[:, :-1]).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "heap"}, "layout = 'heap': expected one of ring, spread"),
        ({"never": 1.5}, "never = 1.5: expected a share from 0 to 1"),
        ({"detour_stay": 4.0}, "a mean stay of 4 rows in the detour: expected 8 or more"),
        ({"stays": (16.0, 7.0, 12.0)}, "a mean stay of 7 rows in plateau: expected 8 or more"),
        ({"dwell_sd": -1.0}, "dwell_sd = -1: expected a log standard deviation"),
        ({"n_metrics": 7}, "n_metrics = 7: expected an even number"),
        ({"layout": "spread", "n_metrics": 0}, "n_metrics = 0: expected 1 or more"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        planted(**settings)
