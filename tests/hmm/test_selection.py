"""Choice of the number of states."""

import numpy as np
import pytest

from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.learning.selection import select_states
from trajhmm.hmm.parameters import count_parameters
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.hmm.rows.source import InMemory


def select(values, lengths, *, restarts, **choice):
    source = InMemory.of(values, np.concatenate(([0], np.cumsum(lengths))))
    model = GaussianHMM(n_restarts=restarts)
    selection = select_states(source, model.settings, **choice)
    fit = selection.fit
    return model.set_params(n_components=fit.parameters.n_states).take(fit.parameters, fit.status), selection.curve


def three_states(seed, *, runs=10, rows=40):
    rng = np.random.default_rng(seed)
    path = np.concatenate([np.sort(rng.integers(3, size=rows)) for _ in range(runs)])
    return np.array([[0.0, 0], [3, 0], [0, 3]])[path] + rng.normal(size=(runs * rows, 2)), np.full(runs, rows)


@pytest.mark.parametrize("criterion", ["bic", "icl", "heldout"])
@pytest.mark.once
def test_three_planted_states_are_chosen(criterion):
    values, lengths = three_states(0)
    model, curve = select(values, lengths, restarts=3, states=range(1, 6), criterion=criterion)
    assert model.n_components == 3
    assert [point.states for point in curve] == [1, 2, 3, 4, 5]
    likelihoods = [point.log_likelihood for point in curve]
    assert likelihoods == sorted(likelihoods)


def test_criteria_are_on_the_total_likelihood_with_parameters_counted():
    values, lengths = three_states(1)
    model, (point,) = select(values, lengths, restarts=2, states=[3], criterion="aic")
    # 2 starts, 3 × 2 transitions, 3 × 2 means and 3 × 2 variances
    assert point.n_parameters == 2 + 6 + 6 + 6
    assert point.aic == pytest.approx(2 * 20 - 2 * model.score(values, lengths), rel=1e-12)
    assert point.bic == pytest.approx(20 * np.log(400) - 2 * model.score(values, lengths), rel=1e-12)
    assert count_parameters(4, 14, "full") == 3 + 12 + 4 * (14 + 105)
    assert count_parameters(4, 14, "tied") == 3 + 12 + 4 * 14 + 105
    assert count_parameters(4, 14, "spherical") == 3 + 12 + 4 * 14 + 4


def test_icl_is_bic_as_if_the_likeliest_paths_had_been_seen():
    values, lengths = three_states(4)
    model, (point,) = select(values, lengths, restarts=2, states=[3], criterion="icl")
    _, joint = decode_rows(values, np.concatenate(([0], np.cumsum(lengths))), model.parameters)
    assert point.icl == pytest.approx(20 * np.log(400) - 2 * joint, rel=1e-12)
    assert point.icl > point.bic


def test_the_curve_says_how_far_restarts_agree():
    values, lengths = three_states(5)
    _, curve = select(values, lengths, restarts=8, states=[3, 6], criterion="bic")
    easy, hard = curve
    assert (easy.reached_best, easy.agreement) == (8, pytest.approx(1.0, abs=1e-6))
    assert hard.reached_best < 8
    assert hard.agreement < 0.95


def test_the_result_does_not_depend_on_threads_or_on_which_other_numbers_are_tried():
    values, lengths = three_states(2)
    alone, _ = select(values, lengths, restarts=2, states=[3], criterion="bic")
    among, _ = select(values, lengths, restarts=2, states=[2, 3, 4], criterion="bic", n_jobs=2)
    np.testing.assert_array_equal(alone.means_, among.means_)


def test_held_out_likelihood_is_of_runs_the_fit_did_not_see():
    values, lengths = three_states(3)
    # One run lies far away: fitted on it, it would be likely; left out, it is not.
    values[:40] += 50
    _, (point,) = select(values, lengths, restarts=2, states=[4], criterion="heldout")
    assert point.log_likelihood / 400 > -10
    assert point.heldout < -50


def test_numbers_that_cannot_be_fitted_are_passed_over_and_none_is_an_error():
    # Six rows of two values: six states share them, so that none explains a whole row more than the others.
    values = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    lengths = np.array([6])
    model, curve = select(values, lengths, restarts=2, states=[2, 6], criterion="bic")
    assert model.n_components == 2
    assert curve[1].outcome == "degenerate"
    assert curve[1].bic is None
    with pytest.raises(FitError, match="every restart at every number of states"):
        select(values, lengths, restarts=2, states=[6], criterion="bic")


def test_threads_are_no_more_than_there_is_work_for():
    """A million threads failed in what starts them; so many are asked for by who means all there are."""
    done = []
    assert in_threads(abs, [-1, 2, -3], n_jobs=10**9, progress=lambda *told: done.append(told)) == [1, 2, 3]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert in_threads(abs, [-1], n_jobs=-1) == [1]
    assert in_threads(abs, [], n_jobs=2) == []


@pytest.mark.parametrize("jobs", [0, 1.5, True, None, "two"])
def test_what_is_no_number_of_threads_is_refused(jobs):
    with pytest.raises(FitError, match=r"jobs=.*: expected a whole number of threads, or -1"):
        in_threads(abs, [1], n_jobs=jobs)
