"""The three claims on audits of which the answer is known, and on nulls."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trajhmm.dynamics.stability.audit import Columns, audit
from trajhmm.dynamics.stability.audit.buffering import buffering, buffering_table, pairs_of, steps_gained
from trajhmm.dynamics.stability.audit.decoupling import decoupling
from trajhmm.dynamics.stability.audit.deviation import Deviations, Path
from trajhmm.dynamics.stability.audit.files import write_audit
from trajhmm.dynamics.stability.audit.outcomes import outcomes_of
from trajhmm.dynamics.stability.audit.pairing import design_of
from trajhmm.dynamics.stability.audit.precedence import _excess
from trajhmm.dynamics.stability.audit.profile import _mean_deviation, _share_of, one_fate
from trajhmm.dynamics.stability.audit.summary import summarize
from trajhmm.dynamics.stability.intervals import share
from trajhmm.errors import AnalysisError

from .audits_made import ASKED, EVERY, FOLLOWED, Fate, made_audit

CELLS = [(dimension, strength) for dimension in ("a", "b") for strength in (1.0, 2.0)]


def claim_of(found, name):
    return next(claim for claim in found.claims if claim.name == name)


def buffered_audit(seed, plain, buffered, *, seeds=12):
    """An audit whose runs collapse with a probability in either arm, without latent paths."""
    rng = np.random.default_rng(seed)

    def drawn(probability):
        return {
            cell: [Fate(collapse=20) if rng.random() < probability else Fate() for _ in range(seeds)] for cell in CELLS
        }

    runs = made_audit(rng, drawn(plain), buffered=drawn(buffered), baselines=2)
    design = design_of(runs, ASKED["baseline"], Columns())
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    return outcomes, design


def claim_about(pairs):
    rng = np.random.default_rng(0)
    return buffering(pairs, ["dropout"], steps_gained(pairs, rng), rng)


@pytest.mark.parametrize(("plain", "buffered", "verdict"), [(0.9, 0.1, "yes"), (0.1, 0.9, "no"), (0.02, 0.02, "no")])
@pytest.mark.once
def test_a_buffer_that_saves_is_told_from_one_that_does_not(plain, buffered, verdict):
    outcomes, design = buffered_audit(3, plain, buffered, seeds=24)
    pairs = pairs_of(outcomes, design)
    found = claim_about(pairs)
    assert (found.verdict, found.n) == (verdict, 96)
    by_hand = outcomes[outcomes["role"] == "perturbed"].groupby("buffer")["collapsed"].mean()
    assert found.effect == pytest.approx(by_hand["none"] - by_hand["dropout"])
    assert found.ci_low <= plain - buffered <= found.ci_high
    assert f"Buffering: {verdict}, as far as dropout goes. Of 96 pairs" in found.sentence


def test_pairs_share_dimension_strength_and_seed():
    fates = {("a", 1.0): [Fate(collapse=20), Fate(), Fate(collapse=10)], ("a", 2.0): [Fate(collapse=30)] * 3}
    other = {("a", 1.0): [Fate(collapse=50), Fate(collapse=40)], ("a", 2.0): [Fate(collapse=30), Fate(), Fate()]}
    runs = made_audit(np.random.default_rng(0), fates, buffered=other, baselines=2)
    design = design_of(runs, ASKED["baseline"], Columns())
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    pairs = pairs_of(outcomes, design).sort_values(["strength", "seed"])
    assert pairs["saved"].tolist() == [0, -1, 0, 1, 1]
    # Who does not collapse lasts to the end of the log.
    end = FOLLOWED - 30 * EVERY
    assert pairs["gained"].tolist() == [30 * EVERY, 40 * EVERY - FOLLOWED, 0, end, end]
    rng = np.random.default_rng(0)
    table = buffering_table(pairs, claim_about(pairs), steps_gained(pairs, rng), rng).set_index(
        ["dimension", "strength"]
    )
    assert table.loc[("all", "all"), ["n_pairs", "only_plain", "only_buffered"]].tolist() == [5, 2, 1]
    assert list(table.index) == [("a", 1.0), ("a", 2.0), ("a", "all"), ("all", "all")]
    assert table.loc[("a", 2.0), "saved"] == pytest.approx(2 / 3)
    assert table.loc[("a", "all"), "steps_gained"] == pytest.approx(pairs["gained"].mean())


def test_a_plain_log_that_ends_at_its_collapse_cuts_off_no_gain():
    """Known is that the plain run lasted no longer; its twin went on to the end of its own log."""
    fates, saved = {("a", 1.0): [Fate(collapse=20)] * 3}, {("a", 1.0): [Fate()] * 3}
    runs = made_audit(np.random.default_rng(0), fates, buffered=saved, baselines=2)
    design = design_of(runs, ASKED["baseline"], Columns())
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    whole = pairs_of(outcomes, design)["gained"].tolist()
    plain = design.perturbed(buffered=False).index
    outcomes.loc[plain, "last_step"] = outcomes.loc[plain, "collapse_step"]
    assert pairs_of(outcomes, design)["gained"].tolist() == whole
    assert min(whole) > 0


def test_where_runs_share_one_fate_a_buffer_has_no_room():
    outcomes, design = buffered_audit(3, 0.0, 0.0)
    found = claim_about(pairs_of(outcomes, design))
    assert "In 4 of 4 cells all runs of an arm share one fate" in found.sentence
    # Nothing was discordant, and yet the interval is no point.
    assert found.ci_low < 0 < found.ci_high < 0.1


@cache
def unharmed(seeds, each):
    """The design of an audit that all runs survive."""
    runs = made_audit(np.random.default_rng(0), {("a", float(s)): [Fate()] * seeds for s in range(each)}, baselines=1)
    return design_of(runs, ASKED["baseline"], Columns())


def survivors(rho, seeds=8, each=8, seed=0, between=0.0):
    """Outcomes of runs that survive, their final performance and stability drawn with a correlation."""
    rng = np.random.default_rng(seed)
    design = unharmed(seeds, each)
    perturbed = design.perturbed()
    shared = rng.normal(size=(seeds, 2)) * np.sqrt(between)
    x, e = rng.normal(size=(2, len(perturbed))) * np.sqrt(1 - between) + shared[perturbed["seed"].to_numpy()].T
    y = rho * x + np.sqrt(1 - rho**2) * e
    frame = design.runs.assign(collapsed=False, deviation=np.nan, final_ratio=np.nan)
    frame.loc[perturbed.index, "deviation"] = -x
    frame.loc[perturbed.index, "final_ratio"] = y
    return frame, design


@pytest.mark.parametrize(
    ("rho", "each", "verdict"), [(0.9, 8, "no"), (-0.9, 8, "no"), (0.0, 40, "yes"), (0.3, 4, "depends")]
)
@pytest.mark.sampled(1)
def test_decoupling_is_told_by_the_rank_correlation(rho, each, verdict):
    frame, design = survivors(rho, each=each, seed=4)
    found = decoupling(frame, design, np.random.default_rng(0))
    assert found.verdict == verdict
    some = frame[frame["role"] == "perturbed"]
    assert found.effect == pytest.approx(stats.spearmanr(some["final_ratio"], -some["deviation"]).statistic)
    assert found.ci_low <= 6 / np.pi * np.arcsin(rho / 2) <= found.ci_high
    assert found.n == 8 * each
    if verdict == "no":
        assert ("end worse" if rho > 0 else "end better") in found.sentence


def test_runs_that_collapse_say_nothing_of_decoupling():
    frame, design = survivors(0.0, each=8)
    lost = frame["role"].eq("perturbed") & (np.arange(len(frame)) % 2 == 0)
    frame.loc[lost, ["collapsed", "final_ratio", "deviation"]] = [True, 0.0, 9.0]
    assert decoupling(frame, design, np.random.default_rng(0)).n == 32


def latent_audit(seed, *, ahead, deviating_survivors=0.0, wander=0.0, seeds=16, baselines=20):
    """An audit in which half of the runs collapse, a share of them with a latent path that deviates before."""
    rng = np.random.default_rng(seed)

    def fate():
        if rng.random() < 0.5:
            return Fate(collapse=40, deviates=20 if rng.random() < ahead else None)
        return Fate(deviates=20 if rng.random() < deviating_survivors else None)

    fates = {cell: [fate() for _ in range(seeds)] for cell in CELLS}
    runs = made_audit(rng, fates, baselines=baselines, wander=wander)
    return audit(runs, states=3, **ASKED)


def test_deviations_that_precede_are_found():
    found = latent_audit(1, ahead=0.95, deviating_survivors=0.9)
    claim = claim_of(found, "precedence")
    assert claim.verdict == "yes"
    assert [verdict for _, verdict in claim.halves] == ["yes", "yes"]
    assert claim.ci_low <= 0.95 <= claim.ci_high
    assert claim.n == found.runs.loc[found.design.perturbed().index, "collapsed"].sum()
    # Survivors deviate as well, and the sentence says so.
    assert "tells of the perturbation first" in claim.sentence
    assert 150 <= found.runs["lead_steps"][found.runs["preceded"] > 0].median() <= 200


def test_without_deviations_collapse_comes_unannounced():
    claim = claim_of(latent_audit(2, ahead=0.0), "precedence")
    assert claim.verdict == "no"
    assert claim.ci_low <= 0.0 <= claim.ci_high < 0.5


def test_deviations_that_healthy_runs_show_as_often_do_not_count():
    """Every run wanders off for a while at a time of its own; collapses have nothing to do with it."""
    found = latent_audit(3, ahead=0.0, wander=1.0)
    claim = claim_of(found, "precedence")
    assert claim.verdict != "yes"
    assert abs(claim.effect) < 0.35


def test_the_excess_is_over_healthy_runs_in_the_same_windows():
    """Of collapses 12 of 16 are preceded; of four healthy runs one passes in every window, one in each second."""
    rows = pd.DataFrame({"preceded": [1.0, 1.0, 1.0, 0.0] * 4, "seed": np.arange(16) // 2})
    rows["chance"] = [np.array([1.0, window % 2, 0.0, 0.0]) for window in range(16)]
    found = _excess(rows, [0, 1, 2, 3], np.random.default_rng(0), 0.95)
    assert found.value == pytest.approx(0.75 - 1.5 / 4)
    assert found.low < 0.1
    assert found.high > 0.6


def test_where_all_do_the_same_the_interval_is_no_point():
    rows = pd.DataFrame({"preceded": [1.0] * 16, "seed": np.arange(16) // 2, "chance": [np.zeros(4)] * 16})
    found = _excess(rows, [0, 1, 2, 3], np.random.default_rng(0), 0.95)
    assert (found.value, found.high) == (1.0, 1.0)
    # Wilson's of 16 of 16 and of none of 4, in closed form: that none of four deviates is not that none would.
    own, null = 1.959964**2 / (16 + 1.959964**2), 1.959964**2 / (4 + 1.959964**2)
    assert found.low == pytest.approx(1 - np.hypot(own, null))
    more = _excess(rows.assign(chance=[np.zeros(40)] * 16), list(range(40)), np.random.default_rng(0), 0.95)
    assert more.low > found.low + 0.2


def test_a_claim_that_cannot_be_asked_leaves_all_open():
    fates = {("a", 1.0): [Fate(), Fate(back=30)], ("a", 2.0): [Fate(back=None), Fate()]}
    found = audit(made_audit(np.random.default_rng(0), fates, baselines=3), **ASKED)
    for claim in found.claims:
        assert (claim.verdict, claim.n, claim.effect, claim.ci_low, claim.ci_high) == ("depends", 0, 0.0, -1.0, 1.0)
    assert "named by a column for --buffer" in claim_of(found, "buffering").sentence
    assert "at least 6 values of seed" in claim_of(found, "precedence").sentence


def test_halves_that_disagree_make_it_depend():
    fates = {cell: [Fate(collapse=20)] * 12 for cell in CELLS}
    # With the buffer none of the even seeds collapses, all of the odd ones do.
    other = {cell: [Fate(), Fate(collapse=20)] * 6 for cell in CELLS}
    runs = made_audit(np.random.default_rng(0), fates, buffered=other, baselines=2)
    design = design_of(runs, ASKED["baseline"], Columns())
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    found = claim_about(pairs_of(outcomes, design))
    assert found.ci_low > 0
    assert [verdict for _, verdict in found.halves] == ["yes", "no"]
    assert found.verdict == "depends"


@pytest.fixture(scope="module")
def whole():
    rng = np.random.default_rng(8)
    fates = {
        ("a", 1.0): [Fate(back=20, deviates=15)] * 6,
        ("a", 2.0): [Fate(collapse=40, deviates=15)] * 6,
        ("b", 0.5): [Fate()] * 6,
        ("b", 1.0): [Fate(collapse=40)] * 3 + [Fate(back=None)] * 3,
    }
    runs = made_audit(rng, fates, buffered=fates, baselines=20)
    return runs, audit(runs, states=3, **ASKED)


def test_the_profile_tells_what_was_made(whole):
    profile = whole[1].profile.set_index(["dimension", "strength"])
    assert profile["n_runs"].tolist() == [6] * 4
    assert profile["collapsed"].to_dict() == {("a", 1.0): 0, ("a", 2.0): 1, ("b", 0.5): 0, ("b", 1.0): 0.5}
    assert profile["recovery_steps"].tolist() == [20 * EVERY, np.inf, 0, np.inf]
    assert profile["n_censored"].tolist() == [0, 6, 0, 6]
    assert profile["lead_share"].tolist()[1::2] == [1.0, 0.0]
    assert profile["lead_share"].isna().tolist() == [True, False, True, False]
    # 18 of 69 rows are 0.3 lower.
    assert profile.loc[("a", 1.0), "area_ratio"] == pytest.approx(1 - 0.3 / 0.9 * 17 / 69, abs=0.01)
    assert profile.loc[("a", 2.0), "deviation"] == pytest.approx(55 / 69, abs=0.05)
    assert profile.loc[("b", 0.5), "deviation"] == pytest.approx(0, abs=0.05)
    for name, prefix in (("collapsed", "collapsed"), ("area_ratio", "area"), ("deviation", "deviation")):
        assert (profile[f"{prefix}_low"] <= profile[name]).all()
        assert (profile[name] <= profile[f"{prefix}_high"]).all()


def test_an_area_is_never_below_nothing():
    fates = {("a", 1.0): [Fate(factor=1.0), Fate(factor=0.05), Fate(factor=0.05)]}
    found = audit(made_audit(np.random.default_rng(0), fates, baselines=3), **ASKED).profile
    assert found["area_ratio"].tolist() == pytest.approx([1.1 / 3], abs=0.01)
    assert found["area_low"].tolist() == [0.0]
    assert found["area_high"][0] > 1


def test_files_hold_what_was_found(whole, tmp_path):
    found = whole[1]
    written = write_audit(found, tmp_path / "out")
    assert [path.name for path in written] == [
        *("profile.csv", "runs.csv", "buffering.csv", "claims.json", "summary.txt"),
    ]
    profile = pd.read_csv(tmp_path / "out" / "profile.csv")
    assert list(profile.columns) == [
        *("dimension", "strength", "n_runs", "collapsed", "collapsed_low", "collapsed_high"),
        *("recovery_steps", "recovery_low", "recovery_high", "n_censored", "area_ratio", "area_low", "area_high"),
        *("deviation", "deviation_low", "deviation_high", "lead_share", "lead_low", "lead_high"),
    ]
    assert profile["recovery_steps"].tolist() == found.profile["recovery_steps"].tolist()
    claims = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert list(claims) == ["decoupling", "buffering", "precedence"]
    for claim in found.claims:
        stored = claims[claim.name]
        assert (stored["verdict"], stored["n"]) == (claim.verdict, claim.n)
        assert stored["ci_low"] <= stored["effect"] <= stored["ci_high"]
        assert claim.verdict in stored["sentence"]
    runs = pd.read_csv(tmp_path / "out" / "runs.csv").set_index("run")
    assert runs.loc["none_a_2_3", ["collapse_step", "preceded"]].tolist() == [900, 1]
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="is a file"):
        write_audit(found, tmp_path / "file")


def test_the_summary_says_that_strength_decides(whole):
    text = " ".join(summarize(whole[1]).split())
    assert "24 plain runs were perturbed, 24 more with a buffer; 0 of 20 healthy runs collapse" in text
    assert "Strength nearly decides the outcome: in 3 of 4 cells" in text
    assert "a 2 6 100% (61% to 100%) inf (690 to inf)" in text
    assert "14 have no baseline" not in text
    other = replace(whole[1], profile=whole[1].profile.assign(collapsed=[0.0, 0.5, 0.5, 1.0]))
    assert "Strength nearly decides" not in summarize(other)
    for fate, told in ((0.0, "No run collapses at any strength"), (1.0, "All runs collapse at any strength")):
        said = summarize(replace(whole[1], profile=whole[1].profile.assign(collapsed=fate)))
        assert told in said
        assert "Strength nearly decides" not in said
    # Of two runs a cell that collapse with a probability of a tenth wherever they are, four cells in five agree anyhow.
    chance = pd.DataFrame({"n_runs": [2] * 20, "collapsed": [0.0] * 16 + [0.5] * 4})
    assert one_fate(chance) == (16, 20, pytest.approx(0.1**2 + 0.9**2))
    rare = replace(whole[1], profile=pd.concat([whole[1].profile.iloc[[0]]] * 20).assign(**chance))
    assert "Strength nearly decides" not in summarize(rare)


def test_the_same_seed_gives_the_same_audit_and_another_other_draws(whole):
    runs, found = whole
    again, other = audit(runs, states=3, **ASKED), audit(runs, states=3, seed=1, **ASKED)
    pd.testing.assert_frame_equal(again.profile, found.profile)
    assert again.claims == found.claims
    assert (other.profile["area_low"] != found.profile["area_low"]).any()


def test_runs_without_a_baseline_of_their_seed_are_compared_with_the_mean():
    fates = {("a", 1.0): [Fate(factor=0.9)] * 6}
    found = audit(made_audit(np.random.default_rng(0), fates, baselines=4), **ASKED)
    assert "2 have no baseline of the same seed" in " ".join(summarize(found).split())
    assert found.profile["area_ratio"].to_numpy() == pytest.approx(0.9, abs=0.01)
    with pytest.raises(AnalysisError, match="above 0"):
        audit(made_audit(np.random.default_rng(0), fates), mads=0.0, **ASKED)


def deviating(healthy, perturbed, rng, rows=40):
    """Paths of deviation about a level of each run, and the design's cell of the perturbed ones."""
    steps = np.arange(rows)

    def path():
        return Path(steps=steps, values=np.clip(0.5 + 0.15 * rng.normal() + 0.02 * rng.normal(size=rows), 0, 1))

    names = [f"p{i}" for i in range(perturbed)]
    found = Deviations(
        perturbed={name: path() for name in names},
        healthy={f"h{i}": path() for i in range(healthy)},
        seeds={**{f"h{i}": i for i in range(healthy)}, **{name: 100 + i for i, name in enumerate(names)}},
        threshold=0.9,
        window=1,
        of_others={},
        passed=0,
        metrics=("a",),
        states=2,
    )
    cell = pd.DataFrame({"onset": 10.0, "seed": [found.seeds[name] for name in names]}, index=names)
    return found, cell.assign(deviation=[found.excess(name, 10) for name in names])


@pytest.mark.once
@pytest.mark.parametrize(("perturbed", "healthy"), [(10, 10), (20, 6)])
def test_what_is_not_known_of_healthy_runs_counts_in_deviations_beyond_them(perturbed, healthy):
    """No run deviates more than another: with the healthy mean for certain 84% and 71% of intervals held 0."""
    inside = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        found, cell = deviating(healthy, perturbed, rng)
        interval = _mean_deviation(cell, found, rng)
        inside.append(interval.low <= 0.0 <= interval.high)
    assert np.mean(inside) >= 0.9


def test_shares_of_runs_that_hang_together_are_as_sure_as_seeds_are():
    rng = np.random.default_rng(0)
    hits, seeds = pd.Series([1.0] * 10 + [0.0] * 10), [place // 5 for place in range(20)]
    together, apart = _share_of(hits, seeds, rng), _share_of(hits, list(range(20)), rng)
    assert (apart.low, apart.high) == pytest.approx((share(10, 20).low, share(10, 20).high))
    assert together.low < 0.15
    assert together.high > 0.85
