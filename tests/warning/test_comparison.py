"""Many detectors side by side: who may know what, and what comes out."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from trajhmm.errors import FitError
from trajhmm.warning import Kind, RunTruth, Trial
from trajhmm.warning.detectors import Detector, make_detector
from trajhmm.warning.evaluation import Outcome, compare
from trajhmm.warning.evaluation.folds import split_trials

from .made import made_run, made_trials


@pytest.fixture(scope="module")
def trials():
    return made_trials(n_healthy=40, n_seeds=6, rows=120)


def cells_of(trials, folds=5, calibration=19, seed=0):
    return split_trials(trials, folds=folds, calibration=calibration, rng=np.random.default_rng(seed))


def names(trials):
    return {trial.run.run for trial in trials}


def test_each_run_is_tested_once(trials):
    tested = [trial.run.run for cell in cells_of(trials) for trial in cell.test]
    assert sorted(tested) == sorted(names(trials))


def test_what_tests_a_run_knows_neither_its_group_nor_its_condition(trials):
    for cell in cells_of(trials):
        groups, conditions = {trial.group for trial in cell.test}, {trial.condition for trial in cell.test}
        assert len(conditions) == 1
        for known in (cell.reference, cell.calibration, cell.labelled):
            assert not groups & {trial.group for trial in known}
        assert conditions == {"healthy"} or not conditions & {trial.condition for trial in cell.labelled}
        assert not {trial.group for trial in cell.reference} & {trial.group for trial in cell.calibration}
        assert all(trial.truth.kind is Kind.HEALTHY for trial in (*cell.reference, *cell.calibration))
        assert all(trial.truth.kind is not Kind.HEALTHY for trial in cell.labelled)


def test_all_that_may_be_known_is(trials):
    for cell in cells_of(trials):
        assert len(cell.calibration) == 19
        assert len(cell.reference) + len(cell.calibration) == 32  # of 40, a fifth is tested
        perturbed_seeds = {trial.group for trial in cell.labelled}
        assert len(perturbed_seeds) in (4, 5)  # six seeds over five folds
        assert len(cell.labelled) == len(perturbed_seeds) * (3 if cell.test[0].condition == "healthy" else 2)


def test_where_all_runs_are_of_one_condition_labelled_ones_are_those_of_other_groups():
    trials = [replace(trial, condition="sweep") for trial in made_trials()]
    for cell in split_trials(trials, folds=4, calibration=10, rng=np.random.default_rng(0)):
        groups = {trial.group for trial in cell.test}
        elsewhere = [t for t in trials if t.group not in groups and t.truth.kind is not Kind.HEALTHY]
        assert {trial.run.run for trial in cell.labelled} <= {trial.run.run for trial in elsewhere}
        assert any(trial.truth.kind is Kind.COLLAPSED for trial in cell.labelled)


def test_fits_keep_a_third_of_the_healthy_runs():
    cells = cells_of(made_trials(n_healthy=12, n_seeds=2, rows=20), folds=4, calibration=99)
    assert {(len(cell.reference), len(cell.calibration)) for cell in cells} == {(3, 6)}


def test_healthy_runs_of_another_configuration_do_not_help_each_other():
    trials = [
        Trial(run=made_run(np.zeros(3), run=f"{condition} {i}"), truth=RunTruth(), condition=condition, group=str(i))
        for condition in ("warm", "cold")
        for i in range(12)
    ]
    for cell in cells_of(trials, folds=3, calibration=4):
        known = {trial.condition for trial in (*cell.reference, *cell.calibration)}
        assert known == {"warm", "cold"} - {cell.test[0].condition}
        assert not {trial.group for trial in cell.reference} & {trial.group for trial in cell.calibration}


def test_groups_are_calibrated_on_whole():
    trials = [
        Trial(run=made_run(np.zeros(3), run=f"{copy} {i}"), truth=RunTruth(), condition="x", group=str(i))
        for copy in "ab"
        for i in range(12)
    ]
    for cell in cells_of(trials, folds=3, calibration=5):
        assert not {trial.group for trial in cell.reference} & {trial.group for trial in cell.calibration}
        assert len(cell.calibration) == 6


def test_some_group_is_always_left_to_fit_on():
    trials = [
        Trial(run=made_run(np.zeros(3), run=f"{copy} {i}"), truth=RunTruth(), condition="x", group=str(i))
        for copy in range(10)
        for i in range(4)
    ]
    for cell in cells_of(trials, folds=2, calibration=19):
        assert (len(cell.reference), len(cell.calibration)) == (10, 10)


def test_too_few_healthy_runs_are_an_error():
    with pytest.raises(FitError, match="5 groups of healthy runs cannot be split into 5 folds"):
        cells_of(made_trials(n_healthy=5, n_seeds=1, rows=20))
    with pytest.raises(FitError, match="into 1 folds"):
        cells_of(made_trials(n_healthy=5, n_seeds=1, rows=20), folds=1)


def test_the_seed_decides_the_split(trials):
    one, other, third = ([names(cell.reference) for cell in cells_of(trials, seed=seed)] for seed in (0, 0, 1))
    assert one == other
    assert one != third


@dataclass(frozen=True, kw_only=True, eq=False)
class Oracle(Detector):
    """Scores a run's values as they are, and keeps what it was fitted on."""

    name: ClassVar[str] = "oracle"
    published_threshold: ClassVar[float | None] = 0.5
    fitted_on: tuple = ()

    def _fit(self, reference):
        return Oracle(fitted_on=tuple(run.run for run in reference.healthy))

    def _scores(self, run):
        assert self.fitted_on
        assert run.run not in self.fitted_on
        return run.values[:, 0]


def scored_trials(peaks):
    """Runs of 10 rows with one peak each, at row 5: 30 healthy, a collapse and a survivor of each of two seeds."""
    trials = []
    for i, peak in enumerate(peaks):
        values = np.zeros(10)
        values[5] = peak
        trials.append(Trial(run=made_run(values, run=f"h{i}"), truth=RunTruth(), condition="h", group=str(i)))
    for seed in range(2):
        for condition, truth in (("bad", RunTruth(onset=2, collapse_step=8)), ("fine", RunTruth(onset=2))):
            values = np.zeros(10)
            values[4] = 100.0
            run = made_run(values, run=f"{condition}{seed}")
            trials.append(Trial(run=run, truth=truth, condition=condition, group=str(seed)))
    return trials


def test_outcomes_by_hand():
    comparison = compare(
        scored_trials(np.arange(30) / 40), {"values": Oracle()}, budgets=(0.05, 0.1), folds=5, resamples=50
    )
    published, tight, loose = comparison.rows
    assert [row.budget for row in comparison.rows] == [None, 0.05, 0.1]
    assert (published.detector, published.attainable) == ("values", None)
    assert published.report.healthy_alarmed.value == 9 / 30  # peaks above 0.5: 21/40 to 29/40
    assert published.report.recall.value == published.report.survived_alarmed.value == 1.0
    assert published.report.lead_steps.value == 4.0
    # 24 healthy runs outside a fold, a third of them to fit: 16 to calibrate on promise 1/17 at best.
    assert tight.attainable == pytest.approx(1 / 17)
    assert loose.attainable == pytest.approx(1 / 17)
    assert {outcome.outcome for outcome in tight.outcomes} == {Outcome.TRUE, Outcome.FALSE, Outcome.QUIET}
    assert len(tight.outcomes) == 34


def test_thresholds_come_from_calibration_runs_alone():
    """The one healthy run with a huge peak lifts the thresholds of folds that calibrate on it, and of no others."""
    peaks = np.full(30, 0.1)
    peaks[7] = 1000.0
    trials = scored_trials(peaks)
    cells = cells_of(trials, calibration=19)
    caught = {}
    for cell in cells:
        lifted = "h7" in names(cell.calibration)
        for trial in cell.test:
            caught[trial.run.run] = not lifted
    (row,) = [row for row in compare(trials, {"o": Oracle()}, budgets=(0.05,), resamples=10).rows if row.budget]
    for outcome in row.outcomes:
        if outcome.kind is Kind.COLLAPSED:
            assert (outcome.outcome is Outcome.TRUE) == caught[outcome.run]


@pytest.mark.once
def test_the_budget_is_kept_over_many_splits():
    """Healthy runs with heavy-tailed peaks: the mean share that alarms is the budget, within its binomial error."""
    rng = np.random.default_rng(0)
    shares = []
    for seed in range(60):
        trials = scored_trials(np.exp(2 * rng.standard_normal(50)))
        rows = compare(trials, {"o": Oracle()}, budgets=(0.1,), seed=seed, resamples=2).rows
        shares.append(rows[1].report.healthy_alarmed.value)
    promised = rows[1].attainable
    assert promised == pytest.approx(0.1)
    assert abs(np.mean(shares) - promised) < 4 * np.std(shares) / np.sqrt(len(shares))


def test_a_detector_that_cannot_be_used_says_why(trials):
    rows = compare(trials, {"kl": make_detector("wandb", metrics=("kl",))}, budgets=(0.1,), resamples=10).rows
    assert [row.report for row in rows] == [None]
    assert "wandb watches kl" in rows[0].reason
    frame = compare(trials, {"kl": make_detector("wandb", metrics=("kl",))}, budgets=(0.1,), resamples=10).frame()
    assert frame.loc[0, "detector"] == "kl"


@pytest.mark.once
def test_the_table_is_the_same_each_time_and_goes_into_json(trials):
    detectors = {name: make_detector(name) for name in ("random", "olmo2", "envelope", "logistic")}
    one, other = (compare(trials, detectors, seed=3, resamples=50) for _ in range(2))
    assert json.dumps(one.to_dict(), allow_nan=False) == json.dumps(other.to_dict(), allow_nan=False)
    assert json.dumps(one.to_dict()) != json.dumps(compare(trials, detectors, seed=4, resamples=50).to_dict())
    frame = one.frame()
    assert frame["detector"].tolist() == ["random"] * 2 + ["olmo2"] * 3 + ["envelope"] * 2 + ["logistic"] * 2
    assert {"recall", "recall_low", "recall_high", "lead_share", "chance_recall", "budget"} <= set(frame.columns)
    assert frame["healthy"].tolist() == [40] * 9


def test_lead_is_passed_on():
    late = compare(scored_trials(np.zeros(30)), {"o": Oracle()}, budgets=(0.1,), lead=5, resamples=10).rows[0]
    assert late.report.recall.value == 0.0
    in_time = compare(scored_trials(np.zeros(30)), {"o": Oracle()}, budgets=(0.1,), lead=4, resamples=10).rows[0]
    assert in_time.report.recall.value == 1.0


@pytest.mark.once
def test_planted_collapses_are_found_with_few_false_alarms(trials):
    detectors = {name: make_detector(name) for name in ("random", "envelope", "logistic")}
    rows = {(row.detector, row.budget): row.report for row in compare(trials, detectors, resamples=50).rows}
    for name in ("envelope", "logistic"):
        assert rows[name, 0.1].recall.value > 0.9
        assert rows[name, 0.1].healthy_alarmed.value <= 0.2
    assert rows["random", 0.1].recall.value < 0.5
