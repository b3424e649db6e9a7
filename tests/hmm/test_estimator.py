"""The estimator's promises: what it refuses, and that units of rows and of weights do not matter."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.parameters import COVARIANCE_TYPES

from .made import random_parameters

# Weights of 1e-3 are no binary fractions: sums of them round, some hundred times over.
ROUNDING = 1e-9


def three_states(seed=0, *, runs=6, rows=40, d=2):
    rng = np.random.default_rng(seed)
    path = np.concatenate([np.sort(rng.integers(3, size=rows)) for _ in range(runs)])
    return rng.normal(scale=4, size=(3, d))[path] + rng.normal(size=(runs * rows, d)), np.full(runs, rows)


@pytest.mark.parametrize("ask", ["predict", "score", "predict_proba", "filter", "bic", "aic"])
@pytest.mark.parametrize("columns", [1, 3])
def test_other_numbers_of_columns_than_fitted_are_refused_as_scikit_learn_does(ask, columns):
    values, lengths = three_states()
    model = GaussianHMM(2, n_restarts=1, n_iter=5).fit(values, lengths)
    with pytest.raises(ValueError, match="features") as known:
        LinearRegression().fit(values, values[:, 0]).predict(np.zeros((240, columns)))
    with pytest.raises(FitError) as found:
        getattr(model, ask)(np.zeros((240, columns)), lengths)
    assert isinstance(found.value, ValueError)
    said = str(known.value).replace("LinearRegression", "GaussianHMM").removesuffix(".")
    assert said in str(found.value)


def test_a_start_of_other_states_metrics_or_covariances_is_refused():
    values, lengths = three_states()
    start = random_parameters(np.random.default_rng(1), 3, 2, "diag")
    with pytest.raises(FitError, match="start has 3 states; expected n_components, which is 2"):
        GaussianHMM(2, start=start).fit(values, lengths)
    with pytest.raises(FitError, match="start has diag covariances; expected covariance_type, which is full"):
        GaussianHMM(3, start=start, covariance_type="full").fit(values, lengths)
    with pytest.raises(FitError, match="start has 2 metrics; expected 1, the columns of X"):
        GaussianHMM(3, start=start).fit(values[:, :1], lengths)
    assert GaussianHMM(3, start=start, n_restarts=1).fit(values, lengths).status_.outcome == "converged"


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_metric_that_is_missing_in_all_new_rows_is_marginalised(covariance_type):
    values, lengths = three_states(d=3)
    model = GaussianHMM(3, covariance_type=covariance_type).fit(values, lengths)
    new = values.copy()
    new[:, 1] = np.nan
    p = model.parameters
    covars = {
        "diag": p.covars[..., [0, 2]] if covariance_type == "diag" else None,
        "full": p.matrices()[:, [0, 2]][:, :, [0, 2]],
        "tied": p.matrices()[0][[0, 2]][:, [0, 2]],
        "spherical": p.covars,
    }[covariance_type]
    without = GaussianHMM.from_parameters(
        type(p)(
            startprob=p.startprob,
            transmat=p.transmat,
            means=p.means[:, [0, 2]],
            covars=np.ascontiguousarray(covars),
            covariance_type=covariance_type,
        )
    )
    np.testing.assert_array_equal(model.predict(new, lengths), without.predict(values[:, [0, 2]], lengths))
    assert model.score(new, lengths) == pytest.approx(without.score(values[:, [0, 2]], lengths), rel=1e-12)
    with pytest.raises(FitError, match="column 1 is missing in every row"):
        GaussianHMM(3).fit(new, lengths)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("weight", [1e-3, 1e-12, 7.0, 1e300])
@pytest.mark.parametrize("shrinkage", [0.0, 2.0])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_the_unit_of_weights_does_not_matter(weight, shrinkage, covariance_type):
    values, lengths = three_states()
    relative = np.array([1.0, 2.0, 1.0, 0.0, 0.5, 1.0])
    for weights in (np.ones(6), relative):
        one, other = (
            GaussianHMM(3, covariance_type=covariance_type, shrinkage=shrinkage).fit(
                values, lengths, sample_weight=factor * weights
            )
            for factor in (1.0, weight)
        )
        assert one.status_.outcomes == other.status_.outcomes
        for name in ("startprob_", "transmat_", "means_", "covars_"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=ROUNDING, atol=ROUNDING)
    bare = GaussianHMM(3, covariance_type=covariance_type, shrinkage=shrinkage).fit(values, lengths)
    equal = GaussianHMM(3, covariance_type=covariance_type, shrinkage=shrinkage).fit(
        values, lengths, sample_weight=np.full(6, weight)
    )
    np.testing.assert_array_equal(equal.means_, bare.means_)
    assert equal.status_ == bare.status_


def test_weights_of_0_and_1_leave_runs_out():
    values, lengths = three_states()
    weights = np.array([1.0, 1, 0, 1, 0, 1])
    kept = np.repeat(weights, lengths) > 0
    one = GaussianHMM(3).fit(values, lengths, sample_weight=weights)
    other = GaussianHMM(3).fit(values[kept], lengths[weights > 0])
    np.testing.assert_allclose(one.means_, other.means_, rtol=ROUNDING)


def test_one_heavy_run_among_light_ones_counts_as_so_many_copies():
    values, lengths = three_states()
    model = GaussianHMM(3).fit(values, lengths, sample_weight=[3, 1, 1, 1, 1, 1])
    again = GaussianHMM(3, start=model.parameters, n_restarts=1, tol=1e-12)
    again.fit(np.concatenate([values[:40], values[:40], values]), np.append(lengths, [40, 40]))
    np.testing.assert_allclose(again.means_, model.means_, atol=1e-2)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("factor", [1e-150, 1e-120, 1e-60, 1e60, 1e140, 1e148, 2.0**-490, 2.0**400])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_units_of_the_rows_do_not_matter_where_floats_hold_the_variances(factor, covariance_type):
    values, lengths = three_states(d=3)
    values[np.random.default_rng(5).random(values.shape) < 0.05] = np.nan
    settings = {"covariance_type": covariance_type, "n_restarts": 3, "shrinkage": 1.0}
    with np.errstate(all="raise", under="ignore"):
        base = GaussianHMM(3, **settings).fit(values, lengths)
        scaled = GaussianHMM(3, **settings).fit(values * factor, lengths)
    np.testing.assert_array_equal(scaled.predict(values * factor, lengths), base.predict(values, lengths))
    assert scaled.status_.outcomes == base.status_.outcomes
    np.testing.assert_allclose(scaled.means_ / factor, base.means_, rtol=1e-7)
    np.testing.assert_allclose(scaled.covars_ / factor / factor, base.covars_, rtol=1e-6, atol=1e-7)
    away = np.log(factor) * (~np.isnan(values)).sum()
    assert scaled.score(values * factor, lengths) == pytest.approx(base.score(values, lengths) - away, rel=1e-9)


@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied"])
def test_each_column_has_units_of_its_own(covariance_type):
    values, lengths = three_states(d=4)
    values[:, 3] = 1e-200  # what does not vary may be of any size
    factors = np.array([1e-149, 1.0, 1e148, 1.0])
    base = GaussianHMM(3, covariance_type=covariance_type).fit(values, lengths)
    scaled = GaussianHMM(3, covariance_type=covariance_type).fit(values * factors, lengths)
    np.testing.assert_array_equal(scaled.predict(values * factors, lengths), base.predict(values, lengths))


@pytest.mark.parametrize("factor", [1e-155, 1e-200, 1e-300])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_whose_variances_floats_cannot_hold_are_refused_with_the_remedy(factor, covariance_type):
    values, lengths = three_states()
    values[:, 1] *= factor
    with pytest.raises(FitError, match=r"column 1 varies by no more than .* multiply it by a power of ten"):
        GaussianHMM(3, covariance_type=covariance_type).fit(values, lengths)
