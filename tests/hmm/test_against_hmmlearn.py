"""EM from hmmlearn's parameters, beside hmmlearn, iteration by iteration, on planted and on real logs."""

import warnings

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM as HmmlearnHMM

import trajhmm as th
from trajhmm.errors import FitError
from trajhmm.features import map_sequences
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.parameters import COVARIANCE_TYPES
from trajhmm.simulate import planted

# NumPy 2.5 deprecates what hmmlearn 0.3.3 does; the tests here call hmmlearn themselves.
pytestmark = pytest.mark.filterwarnings(r"ignore:Setting the shape on a NumPy array:DeprecationWarning:hmmlearn\.utils")

ITERATIONS = 32
# Both add the same terms in another order, 32 times over.
SAME = 1e-8


def theirs(values, lengths, k, covariance_type, *, seed=0, implementation="log"):
    """hmmlearn after 32 iterations from its own start, without priors, and that start."""
    settings = {
        "n_components": k,
        "covariance_type": covariance_type,
        "random_state": seed,
        "n_iter": ITERATIONS,
        "tol": -np.inf,
        "covars_prior": 0.0,
        "covars_weight": 1.0 if covariance_type in ("diag", "spherical") else 0.0,
        "implementation": implementation,
    }
    start = HmmlearnHMM(**settings)
    start._init(values, lengths)
    start.startprob_ = np.full(k, 1 / k)
    start.transmat_ = np.full((k, k), 0.1 / k) + 0.9 * np.eye(k)
    after = HmmlearnHMM(**settings, init_params="")
    after.startprob_, after.transmat_, after.means_ = start.startprob_, start.transmat_, start.means_
    after._covars_ = start._covars_.copy()
    return start, after.fit(values, lengths)


def assert_same_climb(values, lengths, k, covariance_type, **settings):
    start, after = theirs(values, lengths, k, covariance_type, **settings)
    ours = GaussianHMM.from_hmmlearn(start, n_iter=ITERATIONS, tol=-1.0)
    np.testing.assert_array_equal(ours.means_, start.means_)
    ours.fit(values, lengths)
    trace, history = ours.status_.log_likelihoods[0], list(after.monitor_.history)
    # Ours stops where the last digits waver; hmmlearn goes on with the same number.
    shared = min(len(trace), len(history))
    assert shared == ITERATIONS or trace[-1] == pytest.approx(history[-1], rel=SAME)
    np.testing.assert_allclose(trace[:shared], history[:shared], rtol=SAME)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("implementation", ["log", "scaling"])
@pytest.mark.sampled(2)
def test_planted_logs_of_ragged_runs_some_of_one_row(covariance_type, implementation):
    sequences = map_sequences(planted(n_runs=8, seed=2).logs)
    lengths = np.array([1, 200, 1, 37, 2, 1])
    lengths = np.append(lengths, sequences.n_rows - lengths.sum())
    assert_same_climb(sequences.values, lengths, 4, covariance_type, implementation=implementation)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["sparse_parities", "digits", "modular_addition", "audit_rl"])
def test_logs_of_this_project(name, data_folder):
    runs = th.read_logs(data_folder / name / "runs.parquet")
    sequences = map_sequences(runs.select_runs(runs.runs[:6]))
    for covariance_type in ("diag", "full"):
        assert_same_climb(sequences.values, sequences.lengths, 3, covariance_type)


def test_real_logs_of_pythia(public_data):
    sequences = map_sequences(th.read_logs(public_data("pythia_160m"), run_by="seed"))
    for covariance_type in ("diag", "full"):
        assert_same_climb(sequences.values, sequences.lengths, 5, covariance_type)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_there_and_back(covariance_type):
    sequences = map_sequences(planted(n_runs=4, seed=3).logs)
    ours = GaussianHMM(3, covariance_type=covariance_type).fit(sequences.values, sequences.lengths)
    model = ours.to_hmmlearn()
    assert model.score(sequences.values, sequences.lengths) == pytest.approx(
        ours.score(sequences.values, sequences.lengths), rel=SAME
    )
    back = GaussianHMM.from_hmmlearn(model)
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        np.testing.assert_array_equal(getattr(back, name), getattr(ours, name))


def test_a_model_without_parameters_is_refused():
    with pytest.raises(FitError, match="has no parameters"):
        GaussianHMM.from_hmmlearn(HmmlearnHMM(3))


def test_users_who_make_warnings_errors_are_served_by_the_engine_and_see_every_other(monkeypatch):
    fit_of_hmmlearn = HmmlearnHMM.fit
    told = ["Setting the shape on a NumPy array has been deprecated in NumPy 2.5."]

    def warns(self, *arguments):
        for text in told:
            warnings.warn_explicit(text, DeprecationWarning, "utils.py", 27, module="hmmlearn.utils")
        return fit_of_hmmlearn(self, *arguments)

    monkeypatch.setattr(HmmlearnHMM, "fit", warns)
    sequences = map_sequences(planted(n_runs=4, seed=3).logs)
    model = GaussianHMM(2, engine="hmmlearn", n_restarts=1, n_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        model.fit(sequences.values, sequences.lengths)
        assert list(warnings.filters) == before
        told.append("something else is deprecated")
        with pytest.raises(DeprecationWarning, match="something else"):
            model.fit(sequences.values, sequences.lengths)
