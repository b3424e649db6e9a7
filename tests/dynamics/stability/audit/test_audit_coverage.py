"""Whether intervals of audits cover what was made, and how often claims are found true that are not."""

import numpy as np
import pytest

from trajhmm.dynamics.stability.audit import Columns
from trajhmm.dynamics.stability.audit.buffering import pairs_of
from trajhmm.dynamics.stability.audit.deviation import deviation_columns
from trajhmm.dynamics.stability.audit.outcomes import outcomes_of
from trajhmm.dynamics.stability.audit.pairing import design_of
from trajhmm.dynamics.stability.audit.profile import profile_of

from .audits_made import ASKED, EVERY, Fate, made_audit
from .test_audit_claims import claim_about, claim_of, latent_audit, survivors

# Few repeats by default, to see that nothing is far off; 200 with -m slow, for the shares that are promised.
FEW, MANY = 10, 200
BACK = EVERY * (5 + 14)
"""Median of the recovery times below: 5 rows and an exponential time of mean 20 rows, rounded up."""


def judged(runs):
    design = design_of(runs, ASKED["baseline"], Columns())
    outcomes = outcomes_of(runs, design, performance="eval_accuracy", collapse=ASKED["collapse"], sustained=5)
    return deviation_columns("none", outcomes), design


def profile_covers(seed, seeds):
    """For each repeat whether the intervals of two collapse shares, a recovery time and an area hold the truth."""
    rng = np.random.default_rng([seed, seeds])
    fates = {
        ("rare", 1.0): [Fate(collapse=20) if rng.random() < 0.3 else Fate() for _ in range(seeds)],
        ("even", 1.0): [Fate(collapse=20) if rng.random() < 0.6 else Fate() for _ in range(seeds)],
        ("slow", 1.0): [Fate(back=5 + int(np.ceil(rng.exponential(20)))) for _ in range(seeds)],
        ("area", 1.0): [Fate(factor=rng.normal(0.85, 0.03)) for _ in range(seeds)],
    }
    outcomes, design = judged(made_audit(rng, fates, baselines=seeds))
    profile = profile_of(outcomes, design, rng).set_index("dimension")
    truths = {
        "rare": ("collapsed", 0.3),
        "even": ("collapsed", 0.6),
        "slow": ("recovery", BACK),
        "area": ("area", 0.85),
    }
    return [
        profile.loc[cell, f"{name}_low"] <= truth <= profile.loc[cell, f"{name}_high"]
        for cell, (name, truth) in truths.items()
    ]


def buffer_claim(seed, effect, seeds=8, spread=0.15):
    """A buffer that lowers the probability of collapse by ``effect``; some seeds are likelier to collapse."""
    rng = np.random.default_rng([seed, 7])
    fragile = rng.uniform(-spread, spread, size=seeds)

    def arm(probability):
        return {
            (dimension, strength): [
                Fate(collapse=20) if rng.random() < probability + fragile[number] else Fate() for number in range(seeds)
            ]
            for dimension in "ab"
            for strength in (1.0, 2.0, 3.0)
        }

    outcomes, design = judged(made_audit(rng, arm(0.5 + effect / 2), buffered=arm(0.5 - effect / 2), baselines=1))
    return claim_about(pairs_of(outcomes, design))


def decoupling_claim(seed, rho):
    from trajhmm.dynamics.stability.audit.decoupling import decoupling

    frame, design = survivors(rho, seed=[seed, 3], between=0.3)
    return decoupling(frame, design, np.random.default_rng(seed))


@pytest.mark.parametrize("seeds", [6, pytest.param(10, marks=pytest.mark.slow)])
def test_intervals_of_the_profile_hold_the_truth(seeds):
    covered = np.mean([profile_covers(seed, seeds) for seed in range(FEW)], axis=0)
    assert (covered >= 0.7).all(), covered


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, 10])
def test_intervals_of_the_profile_hold_the_truth_in_90_to_99_percent(seeds):
    covered = np.mean([profile_covers(seed, seeds) for seed in range(MANY)], axis=0)
    assert ((covered >= 0.9) & (covered <= 0.995)).all(), covered


@pytest.mark.parametrize(("effect", "wrong"), [(0.0, "yes"), pytest.param(0.4, "no", marks=pytest.mark.slow)])
@pytest.mark.once
def test_a_buffer_is_seldom_taken_for_the_other(effect, wrong):
    claims = [buffer_claim(seed, effect) for seed in range(FEW)]
    assert np.mean([claim.ci_low <= effect <= claim.ci_high for claim in claims]) >= 0.7
    assert sum(claim.verdict == wrong for claim in claims) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "wrong"), [(0.0, "yes"), (0.4, "no")])
def test_intervals_of_a_buffer_hold_the_truth_in_90_to_99_percent(effect, wrong):
    claims = [buffer_claim(seed, effect) for seed in range(MANY)]
    assert 0.9 <= np.mean([claim.ci_low <= effect <= claim.ci_high for claim in claims]) <= 0.995
    assert np.mean([claim.verdict == wrong for claim in claims]) <= 0.05


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_rank_correlations_hold_the_truth(rho):
    claims = [decoupling_claim(seed, rho) for seed in range(FEW)]
    truth = 6 / np.pi * np.arcsin(rho / 2)
    assert np.mean([claim.ci_low <= truth <= claim.ci_high for claim in claims]) >= 0.7
    assert sum(claim.verdict == ("no" if rho == 0 else "yes") for claim in claims) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_rank_correlations_hold_the_truth_in_90_to_99_percent(rho):
    claims = [decoupling_claim(seed, rho) for seed in range(MANY)]
    truth = 6 / np.pi * np.arcsin(rho / 2)
    assert 0.9 <= np.mean([claim.ci_low <= truth <= claim.ci_high for claim in claims]) <= 0.995
    assert np.mean([claim.verdict == ("no" if rho == 0 else "yes") for claim in claims]) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("ahead", "wander"), [(0.0, 0.0), (0.0, 0.5), (0.9, 0.0), (0.9, 0.1)])
def test_collapses_are_seldom_said_to_be_announced_that_are_not(ahead, wander):
    """What counts is the excess over healthy runs; with excursions of all runs, those add to neither."""
    claims = [
        claim_of(latent_audit([seed, 11], ahead=ahead, wander=wander, seeds=6, baselines=12), "precedence")
        for seed in range(60)
    ]
    wrong = "yes" if ahead == 0 else "no"
    assert np.mean([claim.verdict == wrong for claim in claims]) <= 0.05
    if wander == 0:
        assert np.mean([claim.ci_low <= ahead <= claim.ci_high for claim in claims]) >= 0.9
