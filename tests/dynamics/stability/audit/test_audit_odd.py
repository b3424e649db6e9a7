"""Audits of logs that are odd: losses, performance that is negative, blank or still, and reasons that must be true."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.cli.tables import KINDS
from trajhmm.dynamics.stability.audit import Columns, audit
from trajhmm.dynamics.stability.audit.decoupling import decoupling
from trajhmm.dynamics.stability.audit.deviation import Deviations, Path, deviations_of
from trajhmm.dynamics.stability.audit.files import write_audit
from trajhmm.dynamics.stability.audit.outcomes import Curve, area_ratio
from trajhmm.dynamics.stability.audit.pairing import design_of
from trajhmm.dynamics.stability.audit.profile import QUANTITIES
from trajhmm.dynamics.stability.audit.summary import summarize
from trajhmm.errors import AnalysisError, TrajHMMError
from trajhmm.figures import plot_stability_profile
from trajhmm.logs import RunSet

from .audits_made import ASKED, EVERY, LATENT, ONSET_ROW, Fate, made_audit, with_attributes, with_metric
from .test_audit_claims import claim_of, survivors

ONSET = EVERY * ONSET_ROW
AS_LOSS = {"performance": "eval_loss", "baseline": ASKED["baseline"], "collapse": "eval_loss > 1.5"}


def graded():
    """Eight seeds of three strengths: the sooner the states are moved, the worse a run ends."""
    rng = np.random.default_rng(0)
    moved = rng.permutation(np.linspace(2, 60, 24)).astype(int).reshape(3, 8)
    fates = {
        ("a", float(strength)): [Fate(deviates=row, factor=0.7 + row / 240) for row in of_strength]
        for strength, of_strength in enumerate(moved, start=1)
    }
    return made_audit(rng, fates, baselines=8)


def told(found):
    return " ".join(summarize(found).split())


# ----- losses


def test_with_a_loss_who_ends_higher_ends_worse():
    runs = graded()
    of_accuracy = claim_of(audit(runs, states=3, **ASKED), "decoupling")
    loss = with_metric(runs, lambda f: 2.0 - f["eval_accuracy"], name="eval_loss")
    of_loss = claim_of(audit(loss, states=3, **AS_LOSS), "decoupling")
    assert of_accuracy.effect > 0.9
    assert of_loss.effect == pytest.approx(of_accuracy.effect, abs=0.05)
    assert (of_accuracy.verdict, of_loss.verdict) == ("no", "no")
    assert "runs whose states were moved more end worse" in of_loss.sentence
    assert "less is better" in of_loss.sentence
    assert "less is better" not in of_accuracy.sentence


def test_decoupling_of_less_is_that_of_more_the_other_way_round():
    frame, design = survivors(0.6, seed=4)
    more, less = (decoupling(frame, design, np.random.default_rng(0), sign=sign) for sign in (1.0, -1.0))
    assert less.effect == -more.effect
    assert less.ci_low == pytest.approx(-more.ci_high)


# ----- performance


def test_a_performance_below_zero_is_said_to_have_no_ratio():
    """Six seeds survive and deviate: it is not runs, strengths or baselines that are missing."""
    below = with_metric(graded(), lambda f: f["eval_accuracy"] - 2)
    found = audit(below, states=3, **{**ASKED, "collapse": "eval_accuracy < -1.6"})
    claim = claim_of(found, "decoupling")
    assert (claim.verdict, claim.n) == ("depends", 0)
    assert "Of 24 plain runs that survive 0 have" in claim.sentence
    assert "24 are matched with a final performance that is not above 0" in claim.sentence
    assert "milder" not in claim.sentence
    assert "more baselines" not in claim.sentence
    assert "Perturbed runs matched with a final eval_accuracy that is not above 0: 24 of 24 (" in told(found)
    assert found.profile["area_ratio"].isna().all()
    assert (found.runs["final_baseline"].dropna() < 0).all()
    assert found.runs["final_baseline"].notna().sum() == 24


def test_baselines_of_zero_are_said_to_be():
    runs = with_metric(graded(), lambda f: f["eval_accuracy"].where(f["onset"] >= 0, 0.0))
    claim = claim_of(audit(runs, states=3, **ASKED), "decoupling")
    assert "24 are matched with a final performance that is not above 0" in claim.sentence
    assert "not above 0" not in told(audit(graded(), states=3, **ASKED))


def test_each_reason_that_decoupling_has_is_the_true_one():
    few = audit(made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 6}, baselines=3), **ASKED)
    sentence = claim_of(few, "decoupling").sentence
    assert "6 have no latent path" in sentence
    assert "not above 0" not in sentence
    lost = {("a", 1.0): [Fate(collapse=20, deviates=5)] * 6}
    none = audit(made_audit(np.random.default_rng(0), lost, baselines=8), states=2, **ASKED)
    assert "No plain run survives; milder strengths" in claim_of(none, "decoupling").sentence
    still = with_metric(
        made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(deviates=5)] * 8}, baselines=8),
        lambda f: np.where(f["step"] == 0, 0.8, 0.9),
    )
    found = claim_of(audit(still, states=2, **ASKED), "decoupling")
    assert "All of 8 plain runs that survive end alike" in found.sentence


def test_a_run_that_never_logs_performance_has_none(tmp_path):
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(), Fate(collapse=20), Fate()]}, baselines=3)
    blank = with_metric(
        runs, lambda f: f["eval_accuracy"].mask(f["run"].isin(["none_a_1_0", "baseline_0", "baseline_1"]))
    )
    found = audit(blank, **{**ASKED, "collapse": "eval_accuracy < 0.5 or weight_l2 > 1000"})
    assert found.runs.loc["none_a_1_0", ["final", "final_ratio", "area_ratio", "recovery_steps"]].isna().all()
    assert found.runs.loc["none_a_1_0", "last_step"] == found.runs.loc["none_a_1_2", "last_step"]
    # Its match says nothing either.
    assert np.isnan(found.runs.loc["none_a_1_1", "final_ratio"])
    assert found.runs.loc["none_a_1_2", "final_ratio"] == pytest.approx(1.0, abs=0.02)
    assert "Runs that never log eval_accuracy: 3 of 6 (baseline_0, baseline_1, none_a_1_0)" in told(found)
    write_audit(found, tmp_path)


def test_the_mean_of_baselines_is_of_those_that_log_it():
    """The first has no performance, the second ends early; the run has no match of its own."""
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(factor=0.5)]}, baselines=4)
    blank = with_metric(
        runs,
        lambda f: f["eval_accuracy"].mask(
            (f["run"] == "baseline_0") | ((f["run"] == "baseline_1") & (f["step"] > ONSET))
        ),
    )
    alone = with_attributes(blank, seed=[99 if run == "none_a_1_0" else s for run, s in blank.attributes.seed.items()])
    found = audit(alone, **ASKED)
    assert found.runs.loc["none_a_1_0", ["area_ratio", "final_ratio"]].tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_baseline_that_begins_later_has_no_area():
    steps = 10 * np.arange(50)
    early, late = Curve(steps=steps, values=np.ones(50)), Curve(steps=steps + 400, values=np.full(50, 2.0))
    assert np.isnan(area_ratio(early, late, 100))
    assert area_ratio(early, late, 395) == pytest.approx(0.5)


def test_a_performance_that_never_changes_is_said_to_be_constant():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 2})
    frame = runs.frame().assign(eval_accuracy=0.9)
    with pytest.raises(AnalysisError, match=r"'eval_accuracy' never changes within a run.*--performance"):
        audit(RunSet.from_frame(frame), **ASKED)


@pytest.mark.parametrize("mads", [0.0, -1.0, np.nan, np.inf])
def test_mads_are_a_number_above_zero(mads):
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 2})
    with pytest.raises(AnalysisError, match="above 0"):
        audit(runs, mads=mads, **ASKED)


# ----- latent paths


def test_an_excess_over_healthy_runs_that_end_before_is_not_known():
    steps = np.arange(4)
    paths = {"p": Path(steps=steps + 10, values=np.full(4, 0.5))}
    healthy = {f"h{number}": Path(steps=steps, values=np.zeros(4)) for number in range(2)}
    found = Deviations(
        perturbed=paths, healthy=healthy, seeds={"p": 0, "h0": 1, "h1": 2}, threshold=0.5, window=1, passed=0,
        metrics=(), states=2, of_others={"h0": 0.5, "h1": 0.5},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(found.excess("p", 10))
    longer = Path(steps=steps + 10, values=np.full(4, 0.2))
    assert replace(found, healthy={**healthy, "h1": longer}).excess("p", 10) == pytest.approx(0.3)


def test_collapses_without_a_latent_path_are_not_said_not_to_be():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(collapse=20)] * 4 + [Fate()] * 2}, baselines=8)
    for metric in LATENT:
        runs = with_metric(
            runs, lambda f, m=metric: f[m].mask(f["run"].isin([f"none_a_1_{s}" for s in range(4)])), metric
        )
    claim = claim_of(audit(runs, states=2, **ASKED), "precedence")
    assert "No plain run collapses" not in claim.sentence
    assert "4 plain runs collapse, but none of them has a latent path" in claim.sentence


def test_baselines_that_no_map_fits_are_a_reason():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(), Fate(collapse=20)] * 4}, baselines=8)
    for metric in LATENT:
        runs = with_metric(runs, lambda f, m=metric: f[m].where(f["onset"] >= 0, 1.0), metric)
    found = audit(runs, states=2, **ASKED)
    assert "no map of the baselines: none of" in found.deviations
    assert found.profile["collapsed"].tolist() == [0.5]
    assert "more baselines" not in claim_of(found, "precedence").sentence
    design = design_of(runs, ASKED["baseline"], Columns())
    with pytest.raises(TrajHMMError, match="weight_l2"):
        deviations_of(runs, design, performance="eval_accuracy", metrics=["weight_l2"], states=2)


# ----- baselines that collapse


def test_baselines_that_collapse_are_remarked():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(), Fate(collapse=20)] * 3}, baselines=6)
    lost = with_metric(
        runs,
        lambda f: f["eval_accuracy"].mask(f["run"].isin(["baseline_1", "baseline_4"]) & (f["step"] > 700), 0.2),
    )
    text = told(audit(lost, states=2, **ASKED))
    assert "2 of 6 healthy runs collapse by 'eval_accuracy < 0.5'" in text
    assert "Healthy runs that collapse themselves: 2 of 6 (baseline_1, baseline_4)" in text
    assert "collapse themselves" not in told(audit(runs, states=2, **ASKED))


def test_many_runs_are_named_by_the_first():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 2}, baselines=6)
    lost = with_metric(runs, lambda f: f["eval_accuracy"].mask((f["onset"] < 0) & (f["step"] > 700), 0.2))
    text = told(audit(lost, states=2, **ASKED))
    assert "collapse themselves: 6 of 6 (baseline_0, baseline_1, baseline_2 and 3 more)" in text


# ----- columns and their names


def test_columns_of_the_profile_and_their_names_agree_wherever_they_stand():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(), Fate(collapse=20)] * 3}, baselines=6)
    found = audit(runs, states=2, **ASKED)
    columns = [column for q in QUANTITIES.values() for column in (q.column, q.low, q.high)]
    assert [name for name in found.profile.columns if name in columns] == columns
    assert list(QUANTITIES) == [q.column for q in QUANTITIES.values()]
    axes = plot_stability_profile(found.profile)
    assert [ax.get_title() for ax in axes] == [q.panel for q in QUANTITIES.values()]

    class Asked:
        def finished(self, name, verb):
            return found.profile

    table = {column.name: column.title for column in KINDS["stability"](Asked())}
    assert {name: table[name] for name in QUANTITIES} == {q.column: q.title for q in QUANTITIES.values()}
    heading = next(line for line in summarize(found).splitlines() if line.startswith("dimension"))
    assert re.split(r"\s{2,}", heading)[3:] == [q.heading for q in QUANTITIES.values()]
    assert [q.heading for q in QUANTITIES.values()] == ["collapsed", "recovery, steps", "area", "deviation", "lead"]


# ----- nothing ends in a traceback, a warning or a number that is none


def test_values_beyond_all_bounds_are_told_without_a_warning():
    """A loss that goes up to the largest number there is: squares and sums of it overflow."""
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate()] * 4, ("b", 1.0): [Fate()] * 4}, baselines=4)
    huge = with_metric(
        runs,
        lambda f: f["eval_accuracy"].mask(
            (f["onset"] >= 0) & (f["step"] > 700), np.where(f["run"].str.startswith("none_a"), 1e200, 1.7e308)
        ),
        name="eval_loss",
    )
    profile = audit(huge, **AS_LOSS).profile.set_index("dimension")
    assert 1e199 < profile.loc["a", "area_ratio"] < 1e201
    assert (profile.loc["a", "area_low"], profile.loc["b", "area_ratio"]) == (0.0, np.inf)


def test_one_seed_has_no_interval_and_is_told_without():
    fates = {("a", 1.0): [Fate(collapse=20)], ("a", 2.0): [Fate()]}
    found = audit(made_audit(np.random.default_rng(0), fates, buffered=fates, baselines=2), **ASKED)
    sentence = claim_of(found, "buffering").sentence
    assert "buffered runs last +0 steps more. In 2 of 2 cells" in sentence
    assert "nan" not in told(found)


def test_buffered_runs_of_other_seeds_are_said_to_share_none():
    fates = {("a", 1.0): [Fate()] * 3}
    runs = made_audit(np.random.default_rng(0), fates, buffered=fates, baselines=3)
    other = with_attributes(runs, seed=np.where(runs.attributes["buffer"] == "none", 1, 2) * 10)
    apart = claim_of(audit(other, **ASKED), "buffering")
    assert (apart.verdict, apart.n) == ("depends", 0)
    assert "No run with dropout shares dimension, strength and what runs are paired by" in apart.sentence
    assert "--pair-by" in apart.sentence


def test_collapses_with_and_without_a_path_are_both_counted():
    runs = made_audit(np.random.default_rng(0), {("a", 1.0): [Fate(collapse=40, deviates=5)] * 6}, baselines=8)
    for metric in LATENT:
        runs = with_metric(runs, lambda f, m=metric: f[m].mask(f["run"].isin(["none_a_1_0", "none_a_1_3"])), metric)
    claim = claim_of(audit(runs, states=np.int64(2), **ASKED), "precedence")
    assert claim.n == 4
    assert "2 more collapse without a latent path." in claim.sentence


ODD = {
    "seed": [
        lambda s, some: s.astype(float).mask(some),
        lambda s, some: s.astype(str).mask(some, ""),
        lambda s, _: s // 2,
        lambda s, _: s * 0,
        lambda s, _: pd.Series(np.nan, index=s.index),
    ],
    "onset": [
        lambda s, some: s.mask(some & (s > 0), 5000),
        lambda s, some: s.mask(some & (s > 0), 0),
        lambda s, some: s.astype(float).mask(some & (s > 0), 1180),
        lambda s, some: s.astype(object).mask(some, np.inf),
        lambda s, some: s.astype(str).mask(some & (s > 0), "early"),
        lambda s, _: s.astype(float).mask(s < 0),
    ],
    "strength": [
        lambda s, some: s.mask(some),
        lambda s, some: s.astype(object).mask(some, "high"),
        lambda s, some: s.mask(some, np.inf),
        lambda s, _: pd.Series([None] * len(s), index=s.index, dtype=object),
    ],
    "dimension": [
        lambda s, some: s.astype(object).mask(some, None),
        lambda s, some: s.mask(some, ""),
        lambda s, _: s.eq("a"),
    ],
    "buffer": [
        lambda s, _: s.ne("none"),
        lambda s, _: s.ne("none") * 0.5,
        lambda s, some: s.mask(some, "noise"),
        lambda s, _: s.mask(s == "none", "dropout"),
    ],
    "condition": [lambda s, some: s.mask(some, "x"), lambda s, _: s.where(s.index == "baseline_0", "x")],
}
ODD_ROWS = [
    lambda f, some: f.assign(eval_accuracy=f["eval_accuracy"].mask(some)),
    lambda f, some: f.assign(eval_accuracy=f["eval_accuracy"].mask(some & (f["step"] > 900), np.inf)),
    lambda f, _: f.assign(eval_accuracy=f["eval_accuracy"] - 2),
    lambda f, some: f.assign(eval_accuracy=f["eval_accuracy"].mask(some & (f["step"] > 300), 0.1)),
    lambda f, some: f.assign(**{metric: f[metric].mask(some) for metric in LATENT}),
    lambda f, _: f.assign(**{metric: f[metric].where(f["onset"] >= 0, 1.0) for metric in LATENT}),
    lambda f, some: f[~some | (f["step"] <= 500)],
    lambda f, some: f[~some],
    lambda f, _: f[f["step"] <= 540],
]


@pytest.fixture(scope="module")
def usual():
    fates = {
        ("a", 1.0): [Fate(), Fate(deviates=10, factor=0.95), Fate(collapse=20, deviates=5)],
        ("a", 2.0): [Fate(collapse=20, deviates=5), Fate(back=20), Fate(back=None, deviates=20)],
    }
    return made_audit(np.random.default_rng(0), fates, buffered=fates, baselines=7).frame()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", range(40))
def test_odd_tables_end_in_an_answer_or_an_error_that_teaches(usual, tmp_path, seed):
    rng = np.random.default_rng(seed)
    drawn = pd.Series(rng.random(usual["run"].nunique()) < 0.4, index=usual["run"].unique())
    change = ODD_ROWS[rng.integers(len(ODD_ROWS))] if rng.random() < 0.6 else lambda f, _: f
    runs = RunSet.from_frame(change(usual, usual["run"].map(drawn)))
    attributes = runs.attributes
    for name in rng.choice(list(ODD), size=2, replace=False):
        if name in attributes:
            odd = ODD[name][rng.integers(len(ODD[name]))]
            attributes = attributes.assign(**{name: odd(attributes[name], drawn[list(runs.runs)])})
    try:
        found = audit(replace(runs, attributes=attributes), states=2, **ASKED)
    except TrajHMMError as error:
        assert re.search(r"--\w+|inspect|needs?\b|expected", str(error)), error  # noqa: PT017 (an error is one of two ends)
        return
    write_audit(found, tmp_path)
    plot_stability_profile(pd.read_csv(tmp_path / "profile.csv"))
    assert "nan" not in summarize(found)
    for claim in found.claims:
        assert claim.ci_low <= claim.effect <= claim.ci_high
        assert claim.verdict in claim.sentence
