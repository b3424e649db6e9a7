"""Tables of attributes as people have them: seeds that are blank or stand twice, onsets and strengths of any kind."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.audit import Columns, audit
from trajhmm.dynamics.stability.audit.buffering import pairs_of
from trajhmm.dynamics.stability.audit.files import write_audit
from trajhmm.dynamics.stability.audit.outcomes import outcomes_of
from trajhmm.dynamics.stability.audit.pairing import design_of, seen
from trajhmm.dynamics.stability.audit.summary import summarize
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

from .audits_made import ASKED, EVERY, FOLLOWED, ONSET_ROW, Fate, made_audit, rows_of, with_attributes, with_metric

ONSET = EVERY * ONSET_ROW
END = ONSET + FOLLOWED
CELL = ("a", 1.0)


def designed(runs, **columns):
    return design_of(runs, ASKED["baseline"], Columns(**columns))


def paired(runs, **columns):
    design = designed(runs, **columns)
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    return pairs_of(outcomes, design)


def made(fates, *, buffered=None, baselines=8, seed=0):
    return made_audit(np.random.default_rng(seed), fates, buffered=buffered, baselines=baselines)


@pytest.fixture(scope="module")
def both_arms():
    """Three seeds in either arm; only the plain run of seed 0 and the buffered one of seed 2 collapse."""
    plain, buffered = [Fate(collapse=20), Fate(), Fate()], [Fate(), Fate(), Fate(collapse=30)]
    return made({CELL: plain}, buffered={CELL: buffered}, baselines=3)


# ----- seeds


@pytest.mark.parametrize("blank", [None, "", " ", np.nan])
def test_runs_without_a_seed_are_no_pair(both_arms, blank):
    lost = with_attributes(
        both_arms, seed=lambda seeds: pd.Series([seed if seed == 1 else blank for seed in seeds], dtype=object)
    )
    pairs = paired(lost)
    assert pairs["seed"].tolist() == [1]
    assert pairs["saved"].tolist() == [0]
    everyone = with_attributes(both_arms, seed=[blank] * both_arms.n_runs)
    assert not len(paired(everyone))
    assert designed(everyone).runs["baseline"].isna().all()


def test_a_numeric_seed_that_is_missing_is_none(both_arms):
    """Of numbers, a blank makes all of them fractional; those that are there pair as before."""
    lost = with_attributes(both_arms, seed=lambda seeds: seeds.astype(float).mask(seeds == 1))
    assert sorted(paired(lost)["seed"]) == [0, 2]
    design = designed(lost)
    assert design.runs["baseline"].dropna().to_dict() == {
        f"{arm}_a_1_{seed}": f"baseline_{seed}" for arm in ("none", "dropout") for seed in (0, 2)
    }
    assert list(design.unpaired().index) == ["baseline_1", "dropout_a_1_1", "none_a_1_1"]


def test_a_run_is_paired_by_all_that_it_is_paired_by(both_arms):
    folds = [None if run == "none_a_1_0" else 7 for run in both_arms.runs]
    found = paired(with_attributes(both_arms, fold=folds), pair_by=("seed", "fold"))
    assert len(found) == 2
    # "1, 2" and "3" are other than "1" and "2, 3".
    texts = {"none": ("1, 2", "3"), "dropout": ("1", "2, 3")}
    arms = [texts["none" if run.startswith("none") else "dropout"] for run in both_arms.runs]
    apart = with_attributes(both_arms, left=[arm[0] for arm in arms], right=[arm[1] for arm in arms])
    assert not len(paired(apart, pair_by=("left", "right")))


def test_replicates_of_one_seed_are_paired_one_by_one():
    rng = np.random.default_rng(0)
    shared = {"dimension": "a", "strength": 1.0, "condition": "x", "seed": 5}
    healthy = rows_of("h", rng, seed=5, condition="baseline", dimension="none", strength=0.0, buffer="none")
    fates = {
        "none": [Fate(collapse=20), Fate(), Fate()],
        "dropout": [Fate(), Fate(collapse=20)],
        "noise": [Fate()],
    }
    frames = [
        rows_of(f"{arm} {number}", rng, fate=fate, buffer=arm, **shared)
        for arm, of_arm in fates.items()
        for number, fate in enumerate(of_arm)
    ]
    pairs = paired(RunSet.from_frame(pd.concat([healthy, *frames])))
    # Two of the three with dropout, the first again with noise: not six and three.
    assert pairs.groupby("buffer_buffered")["saved"].agg(list).to_dict() == {"dropout": [1, -1], "noise": [1]}


def test_an_audit_with_seeds_that_are_missing_is_told_to_the_end():
    fates = {CELL: [Fate(deviates=10), Fate(collapse=40, deviates=5)] * 4}
    runs = made(fates, buffered=fates)
    some = with_attributes(runs, seed=lambda seeds: seeds.astype(float).mask(seeds % 3 == 0))
    found = audit(some, states=2, **ASKED)
    text = " ".join(summarize(found).split())
    lost = int((runs.attributes["seed"] % 3 == 0).sum())
    assert f"Runs without seed: {lost} of {runs.n_runs} (" in text
    assert len(found.deviations.healthy) == 8
    assert "Runs without" not in summarize(audit(runs, states=2, **ASKED))


def test_a_seed_that_is_missing_is_blank_in_the_table(tmp_path, both_arms):
    lost = with_attributes(both_arms, seed=lambda seeds: seeds.astype(float).mask(seeds == 1))
    write_audit(audit(lost, **ASKED), tmp_path)
    runs = pd.read_csv(tmp_path / "runs.csv").set_index("run")
    assert runs["seed"].isna().sum() == 3
    assert runs["seed"].dropna().unique().tolist() == [0, 2]
    assert "baseline_0,baseline,none,0.0,-1,0,none" in (tmp_path / "runs.csv").read_text()


# ----- onsets


@pytest.mark.parametrize("nothing", [None, "", "none", "-1", -1, np.nan, -np.inf, -0.5])
def test_healthy_runs_have_no_onset_however_it_is_written(both_arms, nothing):
    written = with_attributes(both_arms, onset=lambda onsets: pd.Series([nothing if o < 0 else o for o in onsets]))
    design = designed(written)
    assert (design.runs["role"] == "baseline").sum() == 3
    assert design.runs["onset"].tolist() == designed(both_arms).runs["onset"].tolist()


@pytest.mark.parametrize(("written", "step"), [("500", 500), (500.0, 500), (" 500 ", 500), (500.5, 500)])
def test_an_onset_in_text_is_the_step_that_it_says(both_arms, written, step):
    found = designed(with_attributes(both_arms, onset=lambda onsets: [written if o >= 0 else -1 for o in onsets]))
    assert set(found.perturbed()["onset"]) == {step}


@pytest.mark.parametrize("written", ["early", "5OO", np.inf, "inf", 1e300, "1e300", 2.0**63, True])
def test_what_is_no_step_is_an_error_that_names_run_and_value(both_arms, written):
    onset = [written if run == "none_a_1_1" else o for run, o in both_arms.attributes["onset"].items()]
    wrong = with_attributes(both_arms, onset=pd.Series(onset, dtype=object))
    with pytest.raises(AnalysisError, match=r"onset.*none_a_1_1.*expected.*step.*--onset") as told:
        designed(wrong)
    assert str(written) in str(told.value)


def test_a_column_that_is_a_metric_says_so():
    """An infinite onset makes a reader take the column for a metric."""
    frame = made({CELL: [Fate()] * 2}).frame()
    frame["onset"] = frame["onset"].astype(float).mask(frame["run"] == "none_a_1_0", np.inf)
    with pytest.raises(AnalysisError, match=r"'onset' was taken for a metric.*not finite in run none_a_1_0.*--onset"):
        designed(RunSet.from_frame(frame))
    frame["onset"] = frame["step"].where(frame["run"] == "none_a_1_1", 500)
    with pytest.raises(AnalysisError, match=r"'onset'.*changes within run none_a_1_1.*--onset"):
        designed(RunSet.from_frame(frame))
    with pytest.raises(AnalysisError, match=r"'strength'.*no run has a second row.*--strength"):
        designed(RunSet.from_frame(frame[frame["step"] == 0]))


def test_runs_whose_log_ends_before_the_onset_count_nowhere(both_arms):
    """A buffered run that was not yet perturbed has not been saved."""
    late = with_attributes(
        both_arms, onset=[END if run == "dropout_a_1_0" else o for run, o in both_arms.attributes["onset"].items()]
    )
    found = audit(late, **ASKED)
    assert found.runs.loc["dropout_a_1_0", ["role", "collapsed"]].tolist() == ["unseen", None]
    assert found.pairs.set_index("dimension").loc["all", ["n_pairs", "only_plain"]].tolist() == [2, 0]
    text = " ".join(summarize(found).split())
    assert "log nothing of the collapse after their onset: 1 (dropout_a_1_0)" in text
    assert "3 plain runs were perturbed, 2 more with a buffer; 0 of 3 healthy runs collapse" in text
    plain = with_attributes(
        both_arms, onset=[END if run == "none_a_1_1" else o for run, o in both_arms.attributes["onset"].items()]
    )
    assert audit(plain, **ASKED).profile[["n_runs", "collapsed"]].to_numpy().tolist() == [[2, 0.5]]


def test_runs_that_log_nothing_of_a_collapse_count_nowhere(both_arms):
    blank = with_metric(both_arms, lambda f: f["eval_accuracy"].mask((f["run"] == "none_a_1_1") & (f["step"] > ONSET)))
    found = audit(blank, **ASKED)
    assert found.profile["n_runs"].tolist() == [2]
    design = designed(both_arms)
    assert seen(design, blank, "weight_l2 > 100").runs["role"].tolist() == design.runs["role"].tolist()


def test_onsets_after_all_logs_are_an_error(both_arms):
    late = with_attributes(both_arms, onset=lambda onsets: onsets.mask(onsets > 0, 10**6))
    with pytest.raises(
        AnalysisError, match=r"none of 3 perturbed plain runs logs eval_accuracy after.*1000000.*--onset"
    ):
        audit(late, **ASKED)


# ----- strengths and dimensions


def test_strengths_are_numbers_where_those_of_perturbed_runs_are():
    runs = made({("a", 10.0): [Fate()], ("a", 9.0): [Fate()], ("a", 0.5): [Fate()]})
    for nothing in (None, np.nan, "none", "healthy"):
        texts = with_attributes(
            runs,
            strength=lambda s, nothing=nothing: pd.Series([nothing if x == 0 else str(x) for x in s], dtype=object),
        )
        assert designed(texts).cells() == [("a", 0.5), ("a", 9.0), ("a", 10.0)]


@pytest.mark.parametrize("blank", [None, "", np.nan])
def test_a_strength_that_is_blank_is_a_cell_of_its_own(tmp_path, blank):
    runs = made({("a", 2.0): [Fate()] * 2, ("a", 1.0): [Fate()] * 2, ("b", 1.0): [Fate(collapse=20)] * 2}, baselines=3)
    lost = with_attributes(
        runs,
        strength=[blank if run.startswith("none_b") else s for run, s in runs.attributes["strength"].items()],
    )
    found = audit(lost, **ASKED)
    assert found.design.cells() == [("a", 1.0), ("a", 2.0), ("b", "blank")]
    assert found.profile["collapsed"].tolist() == [0, 0, 1]
    write_audit(found, tmp_path)
    assert pd.read_csv(tmp_path / "profile.csv")["strength"].tolist() == ["1.0", "2.0", "blank"]
    within = with_attributes(
        runs, strength=[None if run == "none_a_1_0" else str(s) for run, s in runs.attributes["strength"].items()]
    )
    assert designed(within).cells() == [("a", 1.0), ("a", 2.0), ("a", "blank"), ("b", 1.0)]


def test_strengths_in_words_and_numbers_stand_side_by_side():
    fates = {("a", 1.0): [Fate()] * 2, ("a", 2.0): [Fate(collapse=20)] * 2}
    runs = made(fates, buffered=fates, baselines=2)
    words = with_attributes(runs, strength=[{1.0: "low", 2.0: "high"}.get(s) for s in runs.attributes["strength"]])
    found = audit(words, **ASKED)
    assert found.design.cells() == [("a", "high"), ("a", "low")]
    assert found.pairs["strength"].tolist() == ["high", "low", "all", "all"]
    mixed = with_attributes(runs, strength=[None if s == 1 else s for s in runs.attributes["strength"]])
    assert audit(mixed, **ASKED).pairs["strength"].tolist() == [2.0, "blank", "all", "all"]


@pytest.mark.parametrize("blank", [None, "", np.nan])
def test_a_dimension_that_is_blank_is_one_of_its_own(both_arms, blank):
    lost = with_attributes(both_arms, dimension=[blank] * both_arms.n_runs)
    found = audit(lost, **ASKED)
    assert found.profile[["dimension", "n_runs"]].to_numpy().tolist() == [["blank", 3]]
    assert found.pairs["n_pairs"].tolist() == [3, 3, 3]


# ----- buffers


@pytest.mark.parametrize(
    ("off", "on", "arm"),
    [
        (False, True, "calm"),
        (0, 1, "calm"),
        (0.0, 1.0, "calm"),
        (np.nan, 1.0, "calm"),
        ("False", "True", "calm"),
        ("no", "yes", "calm"),
        ("0", "1", "calm"),
        (0.0, 0.25, "calm 0.25"),
        (None, "dropout", "dropout"),
        ("", "dropout", "dropout"),
        ("None", "dropout", "dropout"),
    ],
)
def test_a_buffer_is_known_however_it_is_written(both_arms, off, on, arm):
    calm = pd.Series([off if buffer == "none" else on for buffer in both_arms.attributes["buffer"]])
    found = audit(with_attributes(both_arms, calm=calm), **ASKED, columns=Columns(buffer="calm"))
    assert found.profile["n_runs"].tolist() == [3]
    buffering = found.claims[1]
    assert (buffering.n, f"as far as {arm} goes" in buffering.sentence) == (3, True)
    assert set(found.runs["buffer"]) == {"none", arm}
    assert found.runs.loc["dropout_a_1_0", "buffer"] == arm


def test_without_a_plain_run_the_error_says_how_they_are_known(both_arms):
    only = with_attributes(both_arms, buffer=[1] * both_arms.n_runs)
    with pytest.raises(AnalysisError, match=r"all 6 perturbed runs are buffered by column 'buffer'.*--buffer.*'none'"):
        designed(only)
