"""The rules, apart from the comparison they rest on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.evidence import Survival, detour_table, evidence_table, find_detours
from trajhmm.dynamics.detours.regression import bag_of_states, regress
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.errors import AnalysisError
from trajhmm.simulate import planted


def parting_runs(delay, *, by_two=None, never=(), until=99, **options):
    """24 runs from state 0 by 1 or by 2 to 3, where they converge; those by 2 are ``delay`` rows later.

    Those that ``never`` do are watched ``until`` a row.
    """
    rng = np.random.default_rng(0)
    paths, steps = [], []
    by_two = range(1, 24, 2) if by_two is None else by_two
    for run in range(24):
        through = 2 if run in by_two else 1
        stay = rng.integers(18, 23) + (delay if through == 2 else 0)
        paths.append(np.concatenate([np.zeros(20, int), np.full(stay, through), np.full(100 - 20 - stay, 3)]))
        steps.append(20 + stay)
    lengths = np.full(24, 100)
    converged = ~np.isin(np.arange(24), never)
    paths = [np.where(path == 3, path[20], path) if run in never else path for run, path in enumerate(paths)]
    training_map = TrainingMap(
        metrics=(),
        states=(None,) * 4,
        edges=(),
        runs=tuple(map(str, range(24))),
        lengths=lengths,
        steps=np.tile(np.arange(100), 24),
        path=np.concatenate(paths),
    )
    convergence = Convergence(
        condition="accuracy > 0.9",
        runs=training_map.runs,
        steps=np.where(converged, steps, until),
        converged=converged,
    )
    regression = regress(bag_of_states(training_map.path, lengths, 4), convergence)
    return find_detours(training_map, convergence, regression, **options)


def test_of_two_ways_the_slower_is_a_detour():
    evidence = parting_runs(15)
    assert [e.state for e in evidence if e.is_strict] == [2]
    assert evidence[2].delay.effect == pytest.approx(15, abs=1.5)
    assert evidence[1].delay.effect == pytest.approx(-15, abs=1.5)
    assert (evidence[2].runs_with, evidence[2].runs_without) == (12, 12)
    # Each is tested against the other: Holm doubles the smaller p.
    assert evidence[2].p_adjusted == pytest.approx(2 * evidence[2].p_value)


def test_of_two_ways_that_take_as_long_none_is_a_detour_but_the_published_rule_says_both():
    evidence = parting_runs(0)
    assert [e.state for e in evidence if e.is_strict] == []
    assert [e.state for e in evidence if e.is_paper] == [1, 2]


@pytest.mark.parametrize(("n", "tested"), [(3, False), (4, True), (20, True), (21, False)])
def test_fewer_than_four_runs_on_a_side_give_no_interval_and_no_verdict(n, tested):
    evidence = parting_runs(15, by_two=range(n))[2]
    assert (evidence.comparable_with, evidence.comparable_without) == (n, 24 - n)
    assert (evidence.delay is not None, evidence.p_value is not None, evidence.is_strict) == (tested,) * 3


def test_runs_that_never_converge_make_the_delay_a_lower_bound():
    evidence = parting_runs(15, never=(1, 3, 5, 7))[2]
    assert evidence.delay.is_lower_bound
    assert (evidence.comparable_converged_with, evidence.comparable_with) == (8, 12)
    assert (evidence.comparable_converged_without, evidence.comparable_without) == (12, 12)
    assert evidence.watched_until == 99
    # Times count up to the last convergence, however long the others are watched: here in row 57 at most.
    assert evidence.delay.horizon <= 37
    known = parting_runs(15)[2]
    assert not known.delay.is_restricted
    assert not known.delay.is_lower_bound
    assert known.watched_until is None


def test_a_delay_is_a_bound_only_where_visiting_runs_alone_never_converge_and_were_watched_to_the_end():
    others = parting_runs(15, never=(0, 2))[2].delay  # they may take longer than any that visits
    assert (others.is_restricted, others.is_lower_bound) == (True, False)
    both = parting_runs(15, never=(0, 1))[2].delay
    assert (both.is_restricted, both.is_lower_bound) == (True, False)
    lost = parting_runs(15, never=(1, 3), until=40)[2]  # before most converge: nothing is known of these two
    assert (lost.delay.is_restricted, lost.delay.is_lower_bound) == (True, False)
    assert lost.watched_until > 50  # the last that converges, and not the last that was lost


def test_the_published_rule_counts_runs_that_never_converge_as_late():
    evidence = parting_runs(15, never=range(1, 24, 2))  # all that go by 2 never do
    assert np.isnan(evidence[2].coefficient)  # of the regression of those that converge
    assert [e.state for e in evidence if e.is_paper] == [2]


def test_where_no_control_converges_there_is_no_detour():
    evidence = parting_runs(15, never=range(0, 24, 2))[2]
    assert evidence.comparable_converged_without == 0
    assert not evidence.is_strict


@pytest.mark.parametrize(("found", "strict"), [(15, False), (16, True)])
def test_a_detour_is_found_again_in_four_of_five_refits_where_there_are_any(found, strict):
    before = parting_runs(15)
    after = tuple(replace(e, survival=Survival(found=found if e.state == 2 else 0, refits=20)) for e in before)
    assert before[2].is_strict
    assert after[2].passes_test
    assert after[2].is_strict is strict
    assert detour_table(before, "strict")["share"].isna().all()
    table = detour_table(after, "strict").set_index("state")
    assert table["share"].tolist() == [0.0, 0.0, found / 20, 0.0]
    assert table["is_detour"].tolist() == [False, False, strict, False]
    assert detour_table(after, "paper")["is_detour"].tolist() == [e.is_paper for e in before]


def test_the_columns_of_the_detour_table_are_a_contract():
    evidence = parting_runs(15)
    assert detour_table(evidence, "strict").columns.tolist() == [
        "state", "runs_with", "runs_without", "coefficient", "effect", "ci_low", "ci_high", "p_value", "p_adjusted",
        "share", "is_detour",
    ]  # fmt: skip
    row = evidence_table(evidence).set_index("state").loc[2]
    assert (row["runs_ever"], row["comparable_with"], row["comparable_converged_with"]) == (12, 12, 12)
    assert not row["is_lower_bound"]
    assert row["horizon"] == evidence[2].delay.horizon


def test_visits_after_convergence_count_for_runs_ever_only():
    evidence = parting_runs(15)[3]
    assert (evidence.runs_ever, evidence.runs_with) == (24, 0)


def test_attributes_that_visiting_goes_with_are_named():
    kinds = pd.DataFrame({"optimizer": ["plain", "stabilised"] * 12, "lr": [0.1] * 24, "seed": range(24)})
    (found,) = parting_runs(15, attributes=kinds)[2].confounded_by
    assert found.describe() == "optimizer (plain: 0 of 12, stabilised: 12 of 12)"
    assert parting_runs(15, attributes=kinds, by_two=range(12))[2].confounded_by == ()
    # Within the levels of that attribute nothing is left to compare.
    levels = np.arange(24) % 2
    assert parting_runs(15, attributes=kinds, within=levels)[2].delay is None


def test_an_unknown_rule_is_refused():
    logs = planted(n_runs=4, n_rows=30).logs
    model = th.fit(logs, states=2, restarts=1, iterations=2)
    with pytest.raises(AnalysisError, match="expected one of strict, paper"):
        th.analyze(logs, model, converged="eval_accuracy > 0.5", rule="loose")
