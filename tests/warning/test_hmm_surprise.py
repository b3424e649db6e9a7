"""Surprise under an HMM of departures: how many states, how much shrinkage, what memory adds."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from trajhmm.hmm import GaussianHMM
from trajhmm.warning.detectors import HMMSurprise, Reference
from trajhmm.warning.detectors.hmm import usual_states

from .made import healthy_runs, made_run, training


@pytest.fixture(scope="module")
def reference():
    return Reference(healthy=healthy_runs(12, np.random.default_rng(0), rows=60))


@pytest.fixture
def run():
    return made_run(training(np.random.default_rng(1), 60, drift=1.0, onset=30))


@pytest.mark.parametrize(("runs", "states"), [(3, 1), (9, 1), (10, 2), (15, 3), (20, 4), (200, 4)])
def test_a_state_for_every_five_runs_up_to_four(runs, states):
    assert usual_states(runs) == states


def test_the_number_of_states_follows_the_reference(reference):
    assert HMMSurprise(restarts=1).fit(reference).hmm.n_components == 2


def test_covariances_are_drawn_to_the_diagonal_by_a_run_a_metric(reference):
    """Against the HMM with that shrinkage in rows: three metrics, 60 rows a run, shared by two states."""
    fitted = HMMSurprise(states=2, restarts=1).fit(reference)
    rows = np.concatenate([fitted.features_.transform(one) for one in reference.healthy])
    expected = GaussianHMM(
        2, covariance_type="full", shrinkage=3 * 60 / 2, n_restarts=1, n_iter=100, tol=1e-5, random_state=0
    ).fit(rows, [60] * 12)
    np.testing.assert_array_equal(fitted.hmm.covars_, expected.covars_)
    # With one state it can be written down: 12 runs say how metrics vary together, three more say that they do not.
    alone = HMMSurprise(states=1).fit(reference).hmm.covars_[0]
    free, diagonal = np.cov(rows.T, bias=True), np.diag(rows.var(axis=0))
    np.testing.assert_allclose(alone, (12 * free + 3 * diagonal) / 15, rtol=1e-6, atol=1e-9)


def test_one_state_is_a_normal_averaged_over_rows(reference, run):
    fitted = HMMSurprise(states=1, span=3.0).fit(reference)
    away = fitted.features_.transform(run)
    normal = multivariate_normal(fitted.hmm.means_[0], fitted.hmm.covars_[0])
    surprise, average = -normal.logpdf(away), []
    for value in surprise:
        average.append(value if not average else 0.5 * (average[-1] + value))
    np.testing.assert_allclose(fitted.scores(run), average, rtol=1e-9)


def test_a_mixture_remembers_nothing(reference, run):
    """Rows in any order have the same scores; under the HMM they have not."""
    order = np.random.default_rng(2).permutation(60)
    away = HMMSurprise(states=1).fit(reference).features_.transform(run)
    mixture = HMMSurprise(states=3, span=1.0, markov=False).fit(reference)
    chain = HMMSurprise(states=3, span=1.0).fit(reference)
    np.testing.assert_allclose(mixture._score_rows(away[order]), mixture._score_rows(away)[order], rtol=1e-9)
    assert not np.allclose(chain._score_rows(away[order]), chain._score_rows(away)[order], rtol=1e-3)
