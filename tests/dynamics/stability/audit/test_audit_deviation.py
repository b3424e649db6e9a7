"""The latent path: what it departs from, that it sees no future, and that healthy runs pass the threshold rarely."""

from dataclasses import replace

import numpy as np
import pytest

from trajhmm.dynamics.stability.audit.deviation import (
    Deviations,
    Path,
    _threshold,
    deviation_columns,
    deviations_of,
    total_variation,
    with_elsewhere,
)
from trajhmm.dynamics.stability.audit.outcomes import outcomes_of
from trajhmm.dynamics.stability.audit.pairing import Columns, design_of
from trajhmm.errors import AnalysisError
from trajhmm.hmm import Parameters

from .audits_made import ASKED, EVERY, LATENT, ONSET_ROW, Fate, made_audit

ONSET = EVERY * ONSET_ROW
FATES = {("a", 1.0): [Fate(collapse=40, deviates=25), Fate(collapse=30), Fate(deviates=10), Fate()] * 2}


def followed(runs, **settings):
    design = design_of(runs, ASKED["baseline"], Columns())
    return design, deviations_of(runs, design, performance="eval_accuracy", states=3, **settings)


@pytest.fixture(scope="module")
def audited():
    runs = made_audit(np.random.default_rng(5), FATES, baselines=12)
    design, found = followed(runs)
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    return runs, found, deviation_columns(found, outcomes)


def test_total_variation_by_hand():
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [np.nan, np.nan]])
    reference = [
        (np.array([0, 20]), np.array([[1.0, 0.0], [0.0, 1.0]])),
        (np.array([0, 10]), np.array([[1.0, 0.0], [1.0, 0.0]])),
    ]
    found = total_variation(probs, np.array([0, 10, 20]), reference)
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0])
    # At step 25 one reference is in either state.
    np.testing.assert_allclose(total_variation(np.array([[0.2, 0.8]]), np.array([25]), reference), [0.3])


def test_the_average_is_of_rows_that_have_come():
    path = Path(steps=np.arange(8), values=np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(path.averaged(5), [0, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 1, 4 / 5, 3 / 5])
    assert path.first_above(0.79, 5, 0, 100) == 4
    assert path.first_above(0.79, 5, 4, 100) == 5
    assert path.first_above(0.79, 5, 4, 5) is None
    assert path.first_above(0.79, 1, 0, 100) == 1
    assert path.mean_between(4) == pytest.approx(1 / 3)
    assert path.mean_between(4, 5) == 1.0
    assert np.isnan(path.mean_between(7))


def test_rows_unlike_any_are_elsewhere():
    parameters = Parameters(
        startprob=np.array([1.0, 0.0]),
        transmat=np.array([[0.9, 0.1], [0.0, 1.0]]),
        means=np.array([[0.0], [4.0]]),
        covars=np.ones((2, 1)),
        covariance_type="diag",
    )
    wide = with_elsewhere(parameters, np.array([[0.0], [4.0]]))
    np.testing.assert_allclose(wide.transmat.sum(axis=1), 1)
    np.testing.assert_allclose(wide.startprob.sum(), 1)
    np.testing.assert_allclose(wide.means[2], 2.0)
    np.testing.assert_allclose(wide.covars[2], 9 * 4.0)
    np.testing.assert_allclose(wide.transmat[0, 1] / wide.transmat[0, 0], 1 / 9)


def test_deviations_begin_when_they_were_made_to(audited):
    _, found, outcomes = audited
    assert found.states == 3
    assert found.metrics == LATENT
    some = outcomes[outcomes["role"] == "perturbed"]
    for seed in (0, 4):
        row = some.loc[f"none_a_1_{seed}"]
        # The average over five rows passes the threshold within five.
        assert ONSET + 25 * EVERY <= row["deviation_step"] <= ONSET + 30 * EVERY
        assert row["preceded"] == 1
        assert row["lead_steps"] == ONSET + 40 * EVERY - row["deviation_step"]
    for seed in (1, 5):
        row = some.loc[f"none_a_1_{seed}"]
        assert row["preceded"] == row["lead_steps"] == 0
        assert np.isnan(row["deviation_step"])
    assert some.loc[["none_a_1_2", "none_a_1_3"], "preceded"].isna().all()
    # 59 of 69 rows lie elsewhere, where no healthy run is; 0 where nothing was done.
    assert some.loc["none_a_1_2", "deviation"] == pytest.approx(60 / 69, abs=0.1)
    assert some.loc["none_a_1_3", "deviation"] == pytest.approx(0.0, abs=0.1)


def test_no_run_is_followed_under_a_map_of_its_own_seed(monkeypatch):
    from trajhmm.dynamics.stability.audit import deviation

    used = []
    original = deviation._paths
    monkeypatch.setattr(deviation, "_paths", lambda *given: used.append(given[2:]) or original(*given))
    runs = made_audit(np.random.default_rng(5), FATES, baselines=12)
    design, found = followed(runs)
    for fitted, others in used:
        seeds = set(design.runs.loc[list(fitted), "seed"])
        assert not seeds & set(design.runs.loc[list(others), "seed"])
    assert sorted(found.healthy) == sorted(f"baseline_{seed}" for seed in range(12))
    assert len(found.perturbed) == 8


@pytest.mark.parametrize("cut", [60, 83, 110])
def test_what_comes_later_does_not_change_a_path(audited, cut):
    runs, found, _ = audited
    values = runs.values.copy()
    for run, rows in runs.slices():
        if run.startswith("none_"):
            values[rows][cut:] *= np.random.default_rng(cut).normal(size=values[rows][cut:].shape) * 50
    _, changed = followed(replace(runs, values=values))
    for run, path in found.perturbed.items():
        np.testing.assert_array_equal(changed.perturbed[run].values[:cut], path.values[:cut], err_msg=run)
    assert any(
        (changed.perturbed[run].values[cut:] != path.values[cut:]).any() for run, path in found.perturbed.items()
    )


def test_a_run_that_is_no_number_any_more_is_unlike_any(audited):
    runs, _, _ = audited
    values, logged = runs.values.copy(), runs.logged
    rows = dict(runs.slices())["none_a_1_3"]
    values[rows.start + 90 : rows.stop] = np.nan
    _, found = followed(replace(runs, values=values, logged=logged))
    path = found.perturbed["none_a_1_3"]
    assert path.steps[-1] == EVERY * 119
    np.testing.assert_array_equal(path.values[path.steps >= EVERY * 90], 1.0)
    assert path.values[(path.steps > ONSET) & (path.steps < EVERY * 90)].mean() < 0.2


def test_healthy_runs_that_wander_raise_the_threshold():
    calm = made_audit(np.random.default_rng(7), FATES, baselines=24)
    wandering = made_audit(np.random.default_rng(7), FATES, baselines=24, wander=0.5)
    _, found = followed(calm)
    assert found.passed <= 2
    _, other = followed(wandering)
    assert other.threshold > found.threshold
    # Excursions of eight rows are whole ones over five, not over ten.
    assert (found.window, other.window) == (5, 10)
    assert other.threshold < 0.99
    assert other.passed <= 2


@pytest.mark.parametrize("n", [6, 20, 60])
def test_as_many_healthy_runs_deviate_as_new_ones_would(n):
    rng, fresh, told = np.random.default_rng(n), [], []
    for _ in range(100):
        paths = [Path(steps=np.arange(30), values=rng.uniform(0, 0.9, size=30)) for _ in range(n + 20)]
        threshold, window, _, passed = _threshold(dict(zip(map(str, range(n)), paths[:n], strict=True)), since=-1)
        told.append(passed / n)
        fresh.append(np.mean([path.first_above(threshold, window, -1, 30) is not None for path in paths[n:]]))
    error = np.std(fresh) / 10
    assert abs(np.mean(told) - np.mean(fresh)) < 3 * error + 0.01  # the others are one fewer
    assert np.mean(told) > 1 / (n + 1)


def test_too_few_baselines_give_no_path_but_a_reason():
    runs = made_audit(np.random.default_rng(0), FATES, baselines=5)
    design, found = followed(runs)
    assert found == (
        "the latent path needs baselines of at least 6 values of seed to fit a map of one half and follow the other, "
        "found 5"
    )
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    assert deviation_columns(found, outcomes)[["deviation", "preceded"]].isna().all(axis=None)


@pytest.mark.once
def test_maps_do_not_see_what_collapse_is_read_from():
    runs = made_audit(np.random.default_rng(0), FATES, baselines=12)
    values = np.column_stack([runs.values, 1 - runs.column("eval_accuracy")])
    logged = np.column_stack([runs.logged, np.ones(runs.n_rows, dtype=bool)])
    beside = replace(runs, values=values, logged=logged, metrics=(*runs.metrics, "eval_loss"))
    assert followed(beside)[1].metrics == LATENT
    assert followed(beside, metrics=["weight_l2", "eval_loss"])[1].metrics == ("weight_l2", "eval_loss")


def test_performance_alone_is_no_latent_path():
    runs = made_audit(np.random.default_rng(0), FATES, baselines=12)
    column = runs.metrics.index("eval_accuracy")
    alone = replace(
        runs, values=runs.values[:, [column]], logged=runs.logged[:, [column]], metrics=("eval_accuracy",)
    )  # fmt: skip
    with pytest.raises(AnalysisError, match=r"only metric.*--metrics"):
        followed(alone)


def test_the_excess_leaves_out_healthy_runs_of_the_same_seed():
    steps = np.arange(4)
    healthy = {name: Path(steps=steps, values=np.full(4, value)) for name, value in (("h0", 0.9), ("h1", 0.1))}
    found = Deviations(
        perturbed={"p": Path(steps=steps, values=np.array([0.0, 0.0, 0.5, 0.7]))},
        healthy=healthy,
        seeds={"p": 0, "h0": 0, "h1": 1},
        threshold=0.5,
        window=1,
        of_others={"h0": 0.5, "h1": 0.5},
        passed=1,
        metrics=(),
        states=2,
    )
    assert found.excess("p", 1) == pytest.approx(0.6 - 0.1)
    np.testing.assert_array_equal(found.healthy_share(0, 4), [1.0, 0.0])
