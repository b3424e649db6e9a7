"""What became of runs of which it is known, and who is matched with whom."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.audit.outcomes import Curve, area_ratio, final_of, outcomes_of, recovery_of
from trajhmm.dynamics.stability.audit.pairing import Columns, design_of
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

from .audits_made import ASKED, EVERY, FOLLOWED, ONSET_ROW, Fate, made_audit, rows_of

STEPS = EVERY * np.arange(100)


def curve(values):
    return Curve(steps=STEPS[: len(values)], values=np.asarray(values, dtype=float))


def dip(first, last, depth=0.4, rows=100, level=0.9):
    values = np.full(rows, level)
    values[first:last] -= depth
    return values


def test_recovery_is_from_the_onset_to_the_first_row_that_is_back():
    found = recovery_of(curve(dip(60, 75)), 500)
    assert (found.left_step, found.back_step, found.time, found.observed) == (600, 750, 250.0, True)


def test_who_never_leaves_needs_none_and_who_is_not_back_is_censored():
    found = recovery_of(curve(dip(60, 60)), 500)
    assert (found.left_step, found.back_step, found.time, found.observed) == (None, None, 0.0, True)
    found = recovery_of(curve(dip(60, 100)), 500)
    assert (found.left_step, found.back_step, found.time, found.observed) == (600, None, 490.0, False)
    # Back for four rows when the log ends: not long enough to tell.
    assert not recovery_of(curve(dip(60, 96)), 500).observed
    assert recovery_of(curve(dip(60, 95)), 500).time == 450.0


def test_a_run_that_diverges_and_logs_no_more_did_not_recover_at_once():
    """A NaN, or one bad row, and the log ends: what came next is not known."""
    for last in (np.nan, 0.1):
        found = recovery_of(curve([*np.full(60, 0.9), last]), 500)
        assert (found.left_step, found.back_step, found.time, found.observed) == (600, None, 100.0, False)
    assert recovery_of(curve(np.full(52, 0.9)), 500) is None  # one row, inside: nothing is told
    assert recovery_of(curve([*np.full(51, 0.9), np.nan]), 500).observed is False
    assert recovery_of(curve(np.full(53, 0.9)), 500).time == 0.0


def test_a_blip_is_no_leave_and_a_blip_is_no_return():
    assert recovery_of(curve(dip(60, 61)), 500).left_step is None
    values = dip(60, 80)
    values[65:69] = 0.9
    assert recovery_of(curve(values), 500).back_step == 800


def test_the_band_is_of_the_noise_before_the_onset_and_at_least_of_the_level():
    noise = np.where(np.arange(100) % 2, 0.04, -0.04)
    # The MAD is 0.04, five of it scaled 0.3: a dip of 0.25 is inside, one of 0.4 is not.
    assert recovery_of(curve(dip(60, 80, 0.25) + noise), 500).left_step is None
    assert recovery_of(curve(dip(60, 80, 0.4) + noise), 500).left_step == 600
    assert recovery_of(curve(dip(60, 80, 0.2) + noise), 500, mads=2.0).left_step == 600
    # Without noise 5% of the level.
    assert recovery_of(curve(dip(60, 80, 0.04)), 500).left_step is None
    assert recovery_of(curve(dip(60, 80, 0.05)), 500).left_step == 600


def test_less_is_better_in_a_loss_and_what_is_not_finite_has_left():
    rise = 2.0 - dip(60, 75)
    assert recovery_of(curve(rise), 500, sign=-1.0).time == 250.0
    assert recovery_of(curve(rise), 500).left_step is None
    values = dip(60, 60)
    values[70:80] = np.nan
    assert recovery_of(curve(values), 500).time == 300.0


def test_too_few_rows_before_the_onset_tell_no_level():
    assert recovery_of(curve(dip(60, 75)), 30) is None
    assert recovery_of(curve(dip(60, 75)), 40).left_step == 600
    assert recovery_of(curve(dip(60, 75)), 990) is None


def test_areas_are_after_the_onset_and_between_the_same_steps():
    half = np.where(STEPS > 500, 0.45, 0.9)
    assert area_ratio(curve(half), curve(np.full(100, 0.9)), 500) == pytest.approx(0.5)
    # A ramp by closed form: from 1 at row 51 to 0 at row 99 the mean is a half.
    ramp = np.where(STEPS > 500, (99 - np.arange(100)) / 48, 7.0)
    assert area_ratio(curve(ramp), curve(np.ones(100)), 500) == pytest.approx(0.5)
    # The baseline is logged at other steps.
    other = Curve(steps=np.arange(0, 1001, 25), values=np.arange(0, 1001, 25) / 100)
    assert area_ratio(curve(STEPS / 50), other, 500) == pytest.approx(2.0)
    assert np.isnan(area_ratio(curve(half), curve(np.full(90, 0.9)), 500))
    assert np.isnan(area_ratio(curve(half), curve(np.full(100, -0.9)), 500))
    lost = np.where(STEPS > 740, np.nan, 1.0)
    assert area_ratio(curve(lost), curve(np.ones(100)), 500) == pytest.approx(235 / 480)


def test_the_final_performance_is_of_the_last_tenth():
    assert final_of(curve(np.where(STEPS >= 900, 0.5, 9.0))) == 0.5
    assert final_of(curve(np.where(STEPS >= 900, np.where(STEPS >= 950, np.nan, 0.5), 9.0))) == 0.5


@pytest.fixture
def outcomes():
    fates = {
        ("b", 2.0): [Fate(collapse=20), Fate(back=30), Fate(factor=0.98)],
        ("a", 1.0): [Fate(), Fate(back=None), Fate(collapse=33)],
    }
    runs = made_audit(np.random.default_rng(0), fates)
    design = design_of(runs, ASKED["baseline"], Columns())
    return outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)


def test_outcomes_are_those_that_were_made(outcomes):
    assert list(outcomes.index[outcomes["collapsed"]]) == ["none_a_1_2", "none_b_2_0"]
    assert outcomes["lag"].dropna().to_dict() == {"none_a_1_2": 33 * EVERY, "none_b_2_0": 20 * EVERY}
    back = outcomes.loc["none_b_2_1"]
    assert (back["recovery_steps"], back["recovery_censored"]) == (30 * EVERY, False)
    never = outcomes.loc["none_a_1_1"]
    assert (never["recovery_steps"], never["recovery_censored"]) == (FOLLOWED, True)
    assert outcomes.loc["none_a_1_0", "recovery_steps"] == 0
    assert outcomes.loc["none_b_2_2", "area_ratio"] == pytest.approx(0.98, abs=0.005)
    assert outcomes.loc["none_b_2_2", "final_ratio"] == pytest.approx(0.98, abs=0.01)
    assert outcomes.loc["baseline_0", ["lag", "area_ratio", "recovery_steps"]].isna().all()


def test_runs_are_matched_by_seed_within_their_arm():
    rng = np.random.default_rng(0)
    shared = {"dimension": "a", "strength": 1.0}
    frames = [
        rows_of("plain 0", rng, seed=0, condition="baseline", dimension="none", strength=0.0, buffer="none"),
        rows_of("plain 1", rng, seed=1, condition="baseline", dimension="none", strength=0.0, buffer="none"),
        rows_of("quiet 1", rng, seed=1, condition="buffered", dimension="none", strength=0.0, buffer="noise"),
        rows_of("p0", rng, seed=0, fate=Fate(), condition="x", buffer="none", **shared),
        rows_of("p2", rng, seed=2, fate=Fate(), condition="x", buffer="none", **shared),
        rows_of("b0", rng, seed=0, fate=Fate(), condition="x", buffer="noise", **shared),
        rows_of("b1", rng, seed=1, fate=Fate(), condition="x", buffer="noise", **shared),
    ]
    design = design_of(RunSet.from_frame(pd.concat(frames)), ASKED["baseline"], Columns())
    matched = design.runs["baseline"].dropna().to_dict()
    assert matched == {"p0": "plain 0", "b0": "plain 0", "b1": "quiet 1"}
    assert design.runs["role"].value_counts().to_dict() == {"perturbed": 4, "baseline": 2, "healthy": 1}
    assert list(design.perturbed().index) == ["p0", "p2"]
    assert list(design.baselines().index) == ["plain 0", "plain 1"]


def test_cells_come_in_the_order_of_the_logs_with_strengths_rising():
    fates = {("b", 2.0): [Fate()], ("a", 10.0): [Fate()], ("b", 0.5): [Fate()], ("a", 9.0): [Fate()]}
    design = design_of(made_audit(np.random.default_rng(0), fates), ASKED["baseline"], Columns())
    assert sorted(design.cells()) == [("a", 9.0), ("a", 10.0), ("b", 0.5), ("b", 2.0)]
    assert [cell for cell in design.cells() if cell[0] == "a"] == [("a", 9.0), ("a", 10.0)]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (Columns(dimension="what"), r"no column 'what'.*--dimension"),
        (Columns(strength="amount"), r"no column 'amount'.*--strength"),
        (Columns(onset="begin"), r"no column 'begin'.*--onset"),
        (Columns(pair_by=("seed", "fold")), r"no column 'fold'.*--pair-by"),
        (Columns(buffer="noise"), r"no column 'noise'.*--buffer"),
    ],
)
def test_a_column_that_is_missing_is_named_with_its_option(columns, words):
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 2})
    with pytest.raises(AnalysisError, match=words):
        design_of(runs, ASKED["baseline"], columns)


def test_what_is_no_audit_says_why():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 2})
    with pytest.raises(
        AnalysisError, match=f"holds for run none_a_1_0, which was perturbed at step {EVERY * ONSET_ROW}"
    ):
        design_of(runs, "seed == 0", Columns())
    with pytest.raises(AnalysisError, match="holds for none of 8 runs"):
        design_of(runs, 'condition == "calm"', Columns())
    healthy = made_audit(np.random.default_rng(0), {})
    with pytest.raises(AnalysisError, match=r"no plain run was perturbed.*--onset"):
        design_of(healthy, ASKED["baseline"], Columns())
    design = design_of(runs, ASKED["baseline"], Columns())
    with pytest.raises(AnalysisError, match=r"no metric 'accuracy'.*--performance"):
        outcomes_of(runs, design, performance="accuracy", collapse=ASKED["collapse"], sustained=5)
