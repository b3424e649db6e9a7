"""Attributes of runs that visiting a state goes with."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trajhmm.dynamics.detours.confounding import associations


@pytest.mark.parametrize(("plain", "stabilised"), [((10, 10), (2, 8)), ((2, 5), (10, 13)), ((1, 6), (8, 15))])
def test_two_values_agree_with_fishers_exact_test(plain, stabilised):
    # Runs that visit, of those with each value.
    optimizer = np.repeat(["plain", "stabilised"], [plain[1], stabilised[1]])
    visits = np.concatenate([np.arange(n) < some for some, n in (plain, stabilised)])
    (found,) = associations(
        np.flatnonzero(visits), np.flatnonzero(~visits), pd.DataFrame({"optimizer": optimizer}), permutations=20000
    )
    table = [[plain[0], plain[1] - plain[0]], [stabilised[0], stabilised[1] - stabilised[0]]]
    exact = stats.fisher_exact(table).pvalue
    # Three standard errors of 20,000 permutations.
    assert found.p_value == pytest.approx(exact, abs=3 * np.sqrt(exact / 20000) + 1e-4)
    assert found.levels == (("plain", *plain), ("stabilised", *stabilised))
    said = f"optimizer (plain: {plain[0]} of {plain[1]}, stabilised: {stabilised[0]} of {stabilised[1]})"
    assert found.describe() == said


def test_it_holds_its_level_and_corrects_for_the_number_of_attributes():
    rng = np.random.default_rng(0)
    p_values, any_found = [], 0
    for seed in range(200):
        frame = pd.DataFrame({name: rng.integers(3, size=24) for name in "abc"})
        visiting = rng.permutation(24)[:10]
        others = np.setdiff1d(np.arange(24), visiting)
        found = associations(visiting, others, frame, seed=seed, permutations=199)
        p_values += [a.p_value for a in found]
        any_found += any(a.is_confounder for a in found)
    # 5% of 600 is 30, of 200 is 10: more than 43 and 18 have a probability under 1e-2.
    assert np.sum(np.array(p_values) <= 0.05) <= 43
    assert any_found <= 18
    assert 0.45 < np.mean(p_values) < 0.6


def test_many_numbers_are_ranked():
    """A learning rate on a fine scale: just the runs with the larger ones visit."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"lr": 10 ** np.linspace(-4, -1, 40), "seed": range(40), "name": [f"r{i}" for i in range(40)]})
    frame["depth"] = rng.normal(size=40)
    visits = frame["lr"].to_numpy() > 1e-2
    found = associations(np.flatnonzero(visits), np.flatnonzero(~visits), frame)
    assert [(a.attribute, a.is_confounder) for a in found] == [("lr", True), ("depth", False)]
    assert found[0].describe() == "lr (median 0.0346 of runs that visit, 0.001 of the others)"
    some = np.sort(rng.permutation(40)[:14])
    (lr, _) = associations(some, np.setdiff1d(np.arange(40), some), frame, permutations=20000)
    sides = frame["lr"].iloc[some], frame["lr"].drop(index=some)
    exact = stats.mannwhitneyu(*sides, method="exact").pvalue
    assert lr.p_value == pytest.approx(exact, abs=3 * np.sqrt(exact / 20000) + 1e-4)


def test_what_tells_every_run_apart_or_none_is_left_out():
    frame = pd.DataFrame({"seed": range(8), "batch": 32, "none": np.nan, "lr": [0.1, 0.2] * 4})
    found = associations(np.arange(4), np.arange(4, 8), frame)
    assert [a.attribute for a in found] == ["lr"]
    assert associations(np.arange(8), np.arange(8), frame) == ()


def test_a_blank_is_a_value_of_its_own():
    frame = pd.DataFrame({"warmup": [100.0] * 4 + [None] * 4})
    (found,) = associations(np.arange(4), np.arange(4, 8), frame)
    assert found.levels == (("100.0", 4, 4), ("missing", 0, 4))


def test_within_levels_what_goes_with_the_level_alone_is_no_confounder():
    # Depth goes with the optimizer, and so does visiting; within an optimizer they have nothing to do with each other.
    optimizer = np.repeat([0, 1], 20)
    visits = np.where(optimizer == 0, np.arange(40) % 5 > 0, np.arange(40) % 5 == 0)
    depth = np.where(optimizer == 0, np.arange(40) % 7 > 0, np.arange(40) % 7 == 0)
    frame = pd.DataFrame({"depth": depth.astype(str), "optimizer": optimizer})
    sides = np.flatnonzero(visits), np.flatnonzero(~visits)
    assert all(a.is_confounder for a in associations(*sides, frame))
    (found,) = associations(*sides, frame, within=optimizer)
    assert found.attribute == "depth"
    assert found.p_value > 0.3
