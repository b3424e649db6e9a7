"""What the summary says in words."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

import trajhmm as th
from trajhmm.dynamics.detours.again import PrefixPoint, Refits
from trajhmm.dynamics.detours.confounding import Association
from trajhmm.dynamics.detours.delays import Delay
from trajhmm.dynamics.detours.evidence import StateEvidence, Survival
from trajhmm.dynamics.files import certificate_content, map_content
from trajhmm.dynamics.maps.training_map import forks_in
from trajhmm.dynamics.maps.verdict import badge_of, chosen_by, decimals, describe_certificate
from trajhmm.dynamics.summary import (
    describe_detour,
    describe_edges,
    describe_finding,
    describe_map,
    describe_residuals,
    describe_standing,
    summarize,
)
from trajhmm.hmm.certificate import Certificate, Estimate, Halves, MetricResiduals, ResidualSummary
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def analysed():
    logs = planted(n_runs=12, n_rows=40, seed=0).logs
    model = th.fit(logs, states=2, restarts=1, halves=0)
    return th.analyze(logs, model, converged="eval_accuracy > 0.9", refits=0), model


def summary(analysed, *, states, loss):
    analysis, model = analysed
    point = PrefixPoint(rows=8, step=7.0, n_runs=10, r2_states=states, r2_step=0.0, r2_loss=loss)
    return " ".join(summarize(replace(analysis, prefix=(point,)), model).split())


def test_states_that_say_more_than_the_loss_add_to_it(analysed):
    assert "at 1 of 1 points, so they tell it better" in summary(analysed, states=0.3, loss=0.2)
    assert "at 0 of 1 points, so they tell it no better" in summary(analysed, states=0.2, loss=0.3)


@pytest.mark.parametrize("states", [0.0, 0.004, -0.01])
def test_states_that_say_nothing_add_nothing_to_a_loss_that_says_less(analysed, states):
    assert "at 0 of 1 points, so they tell it no better" in summary(analysed, states=states, loss=-0.06)


def evidence(*, with_=(12, 12), without=(10, 10), **changed):
    """A state that passes the test; of the runs on each side, how many converge."""
    converged = with_[0] + without[0] == with_[1] + without[1]
    found = {
        "state": 2, "runs_ever": 14, "runs_with": 12, "runs_without": 12, "converged_with": 12, "converged_without": 12,
        "comparable_with": with_[1], "comparable_without": without[1],
        "comparable_converged_with": with_[0], "comparable_converged_without": without[0],
        "watched_until": None if converged else 9600, "is_excursion": False, "coefficient": 1.0,
        "delay": Delay(
            effect=1234.0, ci_low=400.0, ci_high=2100.0, horizon=5000.0, is_restricted=not converged,
            is_lower_bound=with_[0] < with_[1] and without[0] == without[1],
        ),
        "p_value": 0.001, "p_adjusted": 0.003, "logrank_p": None, "hazard_ratio": None,
        "passes_test": True, "is_paper": False,
    }  # fmt: skip
    return StateEvidence(**{**found, **changed})


def finding(analysed, found=(), *, met=12, given=None):
    """How the summary opens, for some evidence, and so many of 12 runs that converge."""
    analysis, model = analysed
    times = replace(analysis.convergence_times, converged=np.arange(12) < met, unmet="" if met else "loss is above 1")
    model = replace(model, certificate=given)
    changed = replace(analysis, convergence_times=times, evidence_by_state=tuple(found), certificate=given)
    text = describe_finding(changed, model)
    assert summarize(changed, model).split("\n\n")[0].replace("\n", " ") == text, "the summary opens with it"
    return text


UNTESTED = "Whether this map of 2 states comes back in other runs was not tested: fit it with --halves 5."


def test_the_finding_is_told_with_how_sure_it_is(analysed):
    found = evidence(survival=Survival(found=18, refits=20))
    assert finding(analysed, [found]) == (
        "State 2 delays convergence: the 12 runs that pass through it converge 1,234 steps later than 10 that stood at "
        "the same place and did not (95% interval 400 to 2,100, p = 0.003 after Holm's correction; found again in 18 "
        f"of 20 refits). {UNTESTED}"
    )


def test_censoring_confounding_and_a_lack_of_refits_stand_where_the_number_stands(analysed):
    seeds = Association(attribute="lr", p_value=0.001, p_adjusted=0.001, levels=(("0.1", 9, 10), ("0.2", 1, 10)))
    told = finding(analysed, [evidence(with_=(8, 12), confounded_by=(seeds,))], met=8)
    assert "converge at least 1,234 steps later" in told
    assert "; 4 of the former never converge, and count up to 5,000 steps after the branch; not refitted)" in told
    assert "but visiting goes with lr, which may be the reason." in told
    told = finding(analysed, [evidence(with_=(11, 12))], met=11)
    assert "; 1 of the former never converges, and counts up to 5,000 steps after the branch" in told


@pytest.mark.parametrize(
    ("interval", "told"), [((None, None), "too few runs for an interval"), ((0.1, 0.4), "95% interval 10% to 40%")]
)
def test_of_three_runs_a_difference_is_told_without_an_interval(analysed, interval, told):
    analysis, model = analysed
    low, high = interval
    apart = replace(analysis.dissimilarity.total_variation, mean=0.25, ci_low=low, ci_high=high)
    changed = replace(analysis, dissimilarity=replace(analysis.dissimilarity, total_variation=apart))
    text = summarize(changed, model).replace("\n", " ")
    assert f"Two runs differ in 25% of their time (mean total variation of the bags of states, {told})." in text


def test_no_finding_says_what_was_tested_and_what_is_censored(analysed):
    told = finding(
        analysed, [evidence(passes_test=False), evidence(p_value=None, delay=None, passes_test=False)], met=9
    )
    assert told.startswith(
        "No state is found to delay convergence ('eval_accuracy > 0.9'; 3 of 12 runs never do and count as censored): "
        "1 of 2 states could be tested, and none of them delays it for sure."
    )
    assert "sooner" not in told
    sooner = replace(evidence().delay, effect=-700.4, ci_low=-900.0, ci_high=-500.0)
    told = finding(analysed, [evidence(passes_test=False, delay=sooner, p_adjusted=0.06)])
    assert "sooner" not in told
    told = finding(analysed, [evidence(passes_test=False, delay=sooner)])
    assert (
        "none of them delays it for sure; who goes into state 2 converges 700 steps sooner than others (95% interval "
        "500 to 900)." in told
    )
    told = finding(analysed, [evidence(p_value=None, delay=None, passes_test=False)])
    assert "none could be tested, as at none of them four runs part from four others" in told


def test_a_condition_that_no_run_meets_is_told_first(analysed):
    told = finding(analysed, [evidence(p_value=None, delay=None, passes_test=False)], met=0)
    assert told.startswith("No run meets 'eval_accuracy > 0.9', so nothing here tells what delays convergence: loss is")
    assert "What remains worth reading are the map and how runs move on it." in told
    analysis, model = analysed
    times = replace(analysis.convergence_times, converged=np.zeros(12, dtype=bool), unmet="loss is above 1")
    whole = summarize(
        replace(analysis, convergence_times=times, evidence_by_state=(evidence(passes_test=False),)), model
    )
    assert "No state can be tested as a detour: no run converges." in whole
    assert "could be tested" not in whole


def test_a_map_that_comes_back_is_said_to_with_its_numbers(analysed):
    told = finding(analysed, given=certificate())
    assert told.endswith(
        "The map of 2 states comes back in other runs (halves 0.85, seeds 1.00; 1 is the same map, 0 chance)."
    )


def test_a_detour_is_told_with_its_delay_and_interval():
    assert describe_detour(evidence()) == (
        "State 2 is a detour: runs that pass through it (12) converge 1,234 steps later after the branch than runs "
        "that leave the same state for another (10), 95% interval 400 to 2,100, p = 0.001, 0.003 after Holm's "
        "correction. Before convergence 12 runs visit it and 12 do not; ever, 14 do. Not refitted: this rests on one "
        "fit."
    )


def test_runs_that_never_converge_are_counted_before_a_lower_bound_is_told():
    told = describe_detour(evidence(with_=(2, 6), without=(34, 34)))
    assert "2 of 6 converge by step 9,600, against 34 of 34 runs that leave the same state for another" in told
    assert "The delay is a lower bound: counted up to 5,000 steps after the branch" in told
    assert "steps later" not in told


def test_a_delay_is_no_lower_bound_where_those_it_is_compared_with_never_converge(analysed):
    found = evidence(with_=(10, 12), without=(7, 10), survival=Survival(found=18, refits=20))
    told = finding(analysed, [found])
    assert "converge 1,234 steps later than 10" in told
    assert "; 2 of the former and 3 of the latter never converge, and count up to 5,000 steps after" in told
    assert "lower bound" not in describe_detour(found)
    assert "The delay is counted up to 5,000 steps after the branch, when the last run converges" in describe_detour(
        found
    )


def test_an_excursion_is_compared_with_runs_that_stayed_as_long():
    assert "than runs that had been as long in the state they left" in describe_detour(evidence(is_excursion=True))


def test_a_confounded_detour_says_so():
    by = Association(
        attribute="optimizer", p_value=0.001, p_adjusted=0.002, levels=(("plain", 40, 40), ("stabilised", 10, 40))
    )
    told = describe_detour(evidence(confounded_by=(by,)))
    assert "visiting goes with optimizer (plain: 40 of 40, stabilised: 10 of 40)" in told
    assert "compare within it, --within optimizer." in told


def test_what_refits_do_not_find_again_is_not_called_a_detour():
    told = describe_detour(evidence(survival=Survival(found=3, refits=20)))
    assert told.startswith("State 2, on this fit: runs that pass through it")
    assert "fewer than half: do not build on it" in told
    assert describe_detour(evidence(delay=None)) == ""


def certificate(*, agreement=(0.9, 0.8), recovery=(0.95, 0.9), seeds=(1.0, 1.0), others=()):
    own = Halves(states=len(recovery), agreement=agreement, recovery=recovery, seeds=seeds)
    return Certificate(states=own.states, halves=tuple(sorted((own, *others), key=lambda one: one.states)))


MORE = Halves(states=3, agreement=(0.5, 0.6), recovery=(0.9, 0.8, 0.1))


def certified(analysed, given, **changed):
    analysis, model = analysed
    return replace(analysis, certificate=given, map=replace(analysis.map, certificate=given)), replace(
        model, certificate=given, **changed
    )


def test_a_map_that_comes_back_is_told_with_its_numbers(analysed):
    _, model = certified(analysed, certificate(others=(MORE,)))
    assert describe_certificate(model) == (
        "2 states come back: halves of the runs agree to 0.85 (adjusted Rand index, 2 splits), the state that comes "
        "back worst to 0.90 (Jaccard index), other seeds to 1.00"
    )
    assert str(badge_of(model.certificate)) == "reproducible: halves 0.85, seeds 1.00"
    strayed = replace(MORE, agreement=(0.9,), recovery=(0.9,) * 3, outliers=1)
    _, outlying = certified(analysed, certificate(others=(strayed,)))
    assert describe_certificate(outlying).endswith(
        "to 1.00; 3 come back as well, one of them an outlier state, single rows far off, and are not taken"
    )
    assert "is no leaving" in describe_map(replace(analysed[0].map, certificate=outlying.certificate))
    assert "is no leaving" not in describe_map(replace(analysed[0].map, certificate=model.certificate))
    own = certificate(others=(replace(strayed, outliers=2),))
    own = replace(own, halves=(replace(own.halves[0], outliers=1), own.halves[1]))
    told = describe_certificate(certified(analysed, own)[1])
    assert told.startswith("2 states come back (one of them an outlier state, single rows far off): halves")
    assert "3 come back as well, 2 of them outlier states" in told
    assert "With 3 states halves agree to 0.55, the worst state to 0.10. So 2 are taken, the most" in describe_standing(
        model
    )
    assert "are taken, the most" not in describe_standing(outlying)  # three come back as well
    assert "are taken, the most" not in describe_standing(replace(model, criterion="bic"))


@pytest.mark.parametrize(
    ("given", "said", "badge"),
    [
        (
            certificate(agreement=(0.71,), others=(MORE,)),
            [
                "none of 2 to 3 states comes back; K = 2 agrees best: ",
                "0.71",
                "1 split; 0.80 needed",
                "0.90 (Jaccard index)",
                "1.00",
            ],
            "not reproducible: halves 0.71, seeds 1.00",
        ),
        (
            certificate(recovery=(0.9, 0.5)),
            ["2 states do not come back: ", "0.85", "2 splits", "0.50 (Jaccard index; 0.60 needed)", "1.00"],
            "not reproducible: halves 0.85, worst state 0.50, seeds 1.00",
        ),
        (
            certificate(seeds=(1.0, 0.8)),
            ["2 states do not come back: ", "0.85", "2 splits", "0.90 (Jaccard index)", "0.90 (0.95 needed)"],
            "not reproducible: halves 0.85, seeds 0.90",
        ),
    ],
    ids=["halves", "state", "seeds"],
)
def test_a_map_that_does_not_come_back_says_so_in_the_first_sentence(analysed, given, said, badge):
    analysis, model = certified(analysed, given)
    found, halves, splits, worst, seeds = said
    told = describe_certificate(model)
    assert told == (
        f"no reproducible map: {found}halves of the runs agree to {halves} (adjusted Rand index, {splits}), the state "
        f"that comes back worst to {worst}, other seeds to {seeds}; read it as a description of these runs"
    )
    first, second = (" ".join(part.split()) for part in summarize(analysis, model).split("\n\n")[:2])
    numbers = badge.removeprefix("not reproducible: ")
    assert first.startswith(f"No reproducible map: that of 2 states does not come back in other runs ({numbers}; ")
    assert second.startswith(f"N{told[1:]}.")
    assert str(badge_of(given)) == badge


@pytest.mark.parametrize(
    ("given", "changed", "reason"),
    [
        (None, {}, "the model was fitted without halves"),
        (None, {"n_runs": 3}, "too few runs to halve (3; at least 4 needed)"),
        (Certificate(states=2, halves=()), {}, "no fit of a half came to an end"),
    ],
)
def test_a_map_that_was_not_tested_says_why(analysed, given, changed, reason):
    _, model = certified(analysed, given, **changed)
    assert describe_certificate(model) == f"not tested whether the map comes back: {reason}"
    assert str(badge_of(given)) == "not tested"


def test_what_chose_the_number_of_states_goes_by_its_name(analysed):
    _, model = analysed
    assert chosen_by(model) == "BIC, as no halves were compared"
    assert chosen_by(replace(model, criterion="heldout")) == "held-out likelihood"
    assert chosen_by(replace(model, certificate=certificate(seeds=()))) == "what comes back in halves of the runs"
    assert chosen_by(replace(model, certificate=certificate(agreement=(0.1,)))) == "agreement of halves"
    none = Certificate(states=2, halves=())
    assert chosen_by(replace(model, certificate=none)) == "what could be fitted, as no half of the runs could"


def test_two_decimals_do_not_reach_a_mark_that_the_number_misses():
    assert [decimals(value, 0.8) for value in (0.797, 0.8, 0.804, 0.1249)] == ["0.79", "0.80", "0.80", "0.12"]


@pytest.fixture
def refits():
    return Refits(
        resampled=15,
        seeds=5,
        agreement=np.linspace(0.8, 1.0, 20),
        detours=np.array([0, 18]),
        forks=np.array([20, 3]),
        edges=np.array([[0, 20], [7, 0]]),
        others={3: (1,)},
    )


def test_refits_are_told_as_shares_with_intervals(analysed, refits):
    analysis, model = certified(analysed, certificate())
    assert "No refits: what follows rests on one fit." in describe_standing(model, analysis)
    told = describe_standing(model, replace(analysis, refits=refits))
    assert (
        "20 refits (15 to runs drawn with replacement, 5 to all runs from other seeds) agree with the map to 0.90"
        in told
    )
    assert "Found to be a detour in refits: state 1 in 18 of 20 (90%, 95% interval 68% to 99%)." in told
    assert "With 3 states counterparts of state 1 pass the test of a detour." in told


def edge_from(analysed, runs, *, n_runs):
    """A map of two states with one edge."""
    training_map = analysed[0].map
    edge = replace(training_map.edges[0], source=0, target=1, runs=runs)
    return replace(training_map, runs=tuple(f"seed {run}" for run in range(n_runs)), edges=(edge,))


def test_edges_have_intervals_over_runs_and_shares_of_refits(analysed, refits):
    one = edge_from(analysed, 3, n_runs=12)
    # Clopper and Pearson by quantiles of the beta distribution.
    low, high = beta.ppf(0.025, 3, 10), beta.ppf(0.975, 4, 9)
    assert describe_edges(one, refits) == (
        "Edges, runs ever (95% interval of the share of runs; refits with it): 0→1 3 of 12 "
        f"({low:.0%} to {high:.0%}; 20 of 20)."
    )
    (edge,) = map_content(one, refits)["edges"]
    assert (edge["runs_low"], edge["runs_high"], edge["found"]) == (pytest.approx(low), pytest.approx(high), 1.0)
    assert map_content(one)["edges"][0]["found"] is None


@pytest.mark.parametrize(
    ("walks", "forks", "twice"),
    [
        ([[0, 1], [0, 1], [0, 2], [0, 2]], [0], False),
        ([[0, 1], [0, 1], [0, 1], [0, 2]], [], False),
        # On one road, which goes out of 0 twice: nobody parts, some only stop.
        ([[0, 1, 0, 2], [0, 1, 0, 2], [0, 1, 0, 2], [0, 1], [0, 1]], [], True),
        ([[0, 1]] * 5 + [[0, 2], [0, 1, 0, 2]], [], False),
        ([[0, 1]] * 2 + [[0, 2]] * 2 + [[0, 1, 0, 2]] * 3, [0], False),
    ],
)
def test_a_fork_is_where_two_runs_go_one_way_only_and_two_the_other(analysed, walks, forks, twice):
    lengths = np.array([len(walk) for walk in walks])
    path = np.concatenate(walks)
    assert np.flatnonzero(forks_in(path, lengths, 3)).tolist() == forks
    training_map = analysed[0].map
    states = tuple(replace(training_map.states[0], state=state) for state in range(3))
    told = describe_map(replace(training_map, path=path, lengths=lengths, states=states))
    assert ("The map forks after state 0:" in told) == bool(forks)
    assert ("does not fork: more than one arrow leaves state 0, but the same runs take them" in told) == twice


def test_states_of_rows_that_stray_are_told(analysed):
    walks = [[*[0, 0, 0, 2] * 4, 1, 1, 1, 2, 1, 1, 1]] * 3 + [[0, 0, 0, 0, 1, 1, 1, 1]] * 3
    training_map = analysed[0].map
    states = tuple(replace(training_map.states[0], state=state) for state in range(3))

    def told(walks):
        lengths = np.array([len(walk) for walk in walks])
        return describe_map(replace(training_map, path=np.concatenate(walks), lengths=lengths, states=states))

    assert (
        "State 2 is an outlier state, no place that training passes through: runs are in it for a row or two"
        in told(walks)
    )
    assert "fork" not in told(walks)
    assert "no place" not in told(walks[3:])


def test_files_hold_the_certificate_with_the_refits(analysed, refits):
    analysis, model = certified(analysed, certificate())
    content = certificate_content(replace(analysis, refits=refits), model)
    assert {
        key: content[key] for key in ("states", "reproducible", "halves", "residuals")
    } == model.certificate.to_dict()
    found = content["refits"]
    assert (found["n"], found["resampled"], found["seeds"], len(found["agreement"])) == (20, 15, 5, 20)
    assert found["states"][1]["detour"]["share"] == 0.9
    assert found["states"][1]["detour"]["low"] == pytest.approx(beta.ppf(0.025, 18, 3))
    assert found["states"][0]["fork"] == {"share": 1.0, "low": pytest.approx(beta.ppf(0.025, 20, 1)), "high": 1.0}
    assert found["others"] == [{"states": 3, "detours": [1]}]
    states = map_content(analysis.map, refits)["states"]
    assert [(state["recovery"], state["forks_found"]) for state in states] == [(0.95, 1.0), (0.9, 0.15)]
    old, unknown = certified(analysed, None)
    assert certificate_content(old, unknown) == {
        "states": 2,
        "reproducible": None,
        "halves": [],
        "residuals": None,
        "refits": None,
    }
    assert map_content(old.map)["states"][0]["recovery"] is None


def test_why_there_is_no_regression_is_told(analysed):
    analysis, model = analysed
    regression = replace(analysis.regression, r2=None, why_not="all 8 runs converge at the same step")
    told = summarize(replace(analysis, regression=regression), model)
    assert "No regression of convergence on the states: all 8 runs converge at the same step." in " ".join(told.split())


def residuals(*memory, beyond=0.01):
    def estimate(value):
        return Estimate(value=value, ci_low=None, ci_high=None)

    return ResidualSummary(
        n_runs=2,
        metrics=tuple(
            MetricResiduals(
                metric=name, n_rows=9, mean=estimate(0.0), sd=estimate(1.0), autocorrelation=estimate(value),
                beyond=estimate(beyond),
            )
            for name, value in zip("abc", memory, strict=True)
        ),
    )  # fmt: skip


def test_what_a_map_does_not_expect_is_told_and_a_remedy_where_rows_remember():
    told = describe_residuals(residuals(0.1, 0.5, 0.9), remembers=False)
    assert "autocorrelation of 0.50 in the median metric, 0.90 in c" in told
    assert "1.0% of values (0.3% expected)" in told
    assert "--emissions ar models it" in told
    assert "--emissions ar" not in describe_residuals(residuals(0.1, 0.5, 0.9), remembers=True)
    assert "--emissions ar" not in describe_residuals(residuals(0.1, 0.2, 0.9), remembers=False)
    assert describe_residuals(residuals(None, None, None), remembers=False) == ""


def test_runs_that_are_the_only_ones_of_their_value_are_counted(analysed):
    analysis, model = analysed
    logs = planted(n_runs=12, n_rows=40, seed=0).logs
    logs.attributes["pair"] = [0, 0, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7]
    asked = {"converged": "eval_accuracy > 0.9", "refits": 0, "prefix": False}
    assert analysis.alone == 0
    assert th.analyze(logs, model, within="pair", **asked).alone == 5


def test_levels_within_which_runs_were_compared_are_named(analysed):
    analysis, model = analysed
    assert "compared only where" not in summarize(analysis, model)
    told = " ".join(summarize(replace(analysis, within="optimizer"), model).split())
    assert "Runs were compared only where they have the same optimizer." in told
    for alone, whose in ((1, "is the only one of its"), (3, "are the only ones of their")):
        told = " ".join(summarize(replace(analysis, within="seed", alone=alone), model).split())
        n = len(analysis.smoothed.runs)
        assert f"the same seed: {alone} of {n} {whose} value, and compared with none." in told
