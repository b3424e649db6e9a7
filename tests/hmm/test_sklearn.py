"""scikit-learn's own checks of an estimator, with what it calls ``y`` out of the way: here runs have lengths."""

import numpy as np
import pytest
from sklearn.utils import estimator_checks

from trajhmm.errors import TrajHMMError
from trajhmm.hmm import GaussianHMM

EXCEPTIONS = {"check_dtype_object": "an object that is no number is an InputError: a ValueError, not a TypeError"}


class OneRun(GaussianHMM):
    """Takes all rows for one run, and a target that means nothing."""

    def fit(self, X, y=None):  # noqa: N803 (its name)
        return super().fit(X)

    def score(self, X, y=None):  # noqa: N803 (its name)
        return super().score(X)


class Forgetful(OneRun):
    """A planted error: forgets how many columns it was fitted to."""

    def fit(self, X, y=None):  # noqa: N803 (its name)
        super().fit(X)
        del self.n_features_in_
        return self


def failed(estimator):
    pytest.importorskip("sklearn", minversion="1.6", reason="older ones tell of the first check alone")
    results = estimator_checks.check_estimator(estimator, on_fail=None)
    return {one["check_name"] for one in results if one["status"] == "failed"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.once
def test_all_checks_hold_but_those_that_are_named():
    assert failed(OneRun(n_components=2)) == set(EXCEPTIONS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.once
def test_the_checks_can_fail():
    assert "check_n_features_in" in failed(Forgetful(n_components=2))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (np.zeros((0, 3)), "no row"),
        (np.zeros((5, 0)), r"0 feature\(s\)"),
        (np.arange(5.0), "Reshape your data"),
        (np.full((5, 2), 1j), "Complex data not supported"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(rows, told):
    with pytest.raises((TrajHMMError, ValueError), match=told):
        GaussianHMM(n_components=1).fit(rows)


def test_sparse_rows_are_refused_with_the_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"found a sparse one; \.toarray\(\)"):
        GaussianHMM(n_components=1).fit(sparse.csr_array(np.eye(4)))
