"""Attribution against finite differences, and the map against counting."""

import numpy as np
import pytest

from trajhmm.dynamics.maps.attribution import by_logged_rows, deviations_of_rows, state_gradient
from trajhmm.hmm.inference.levels import whitened
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.parameters import Parameters


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_gradient_agrees_with_finite_differences(covariance_type):
    rng = np.random.default_rng(0)
    k, d, t = 3, 4, 12
    roots = rng.normal(size=(k, d, d))
    parameters = Parameters(
        startprob=rng.dirichlet(np.ones(k)),
        transmat=rng.dirichlet(np.ones(k), size=k),
        means=rng.normal(size=(k, d)),
        covars=rng.uniform(0.5, 2, size=(k, d))
        if covariance_type == "diag"
        else roots @ roots.transpose(0, 2, 1) + np.eye(d),
        covariance_type=covariance_type,
    )
    values = rng.normal(size=(t, d))
    offsets = np.array([0, t])
    filtered = np.exp(filter_rows(values, offsets, parameters)[0])
    states = rng.integers(k, size=t)
    gradient = state_gradient(values, filtered, states, parameters)
    step = 1e-5
    for row in range(t):
        for metric in range(d):
            moved = []
            for sign in (1, -1):
                shifted = values.copy()
                shifted[row, metric] += sign * step
                moved.append(filter_rows(shifted, offsets, parameters)[0][row, states[row]])
            # Central differences err by step² times the third derivative, well under 1e-6 here.
            assert gradient[row, metric] == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-6)


def test_where_rows_remember_the_gradient_is_that_of_rows_as_they_are_logged():
    rng = np.random.default_rng(1)
    parameters = Parameters(
        startprob=np.array([0.6, 0.4]),
        transmat=np.array([[0.9, 0.1], [0.2, 0.8]]),
        means=rng.normal(size=(2, 3)),
        covars=rng.uniform(0.5, 2, size=(2, 3)),
        covariance_type="diag",
        autoregression=np.array([0.9, 0.5, 0.0]),
    )
    rows, offsets = rng.normal(size=(12, 3)), np.array([0, 5, 5, 12])
    states = rng.integers(2, size=12)

    def log_probs(logged):
        levels = whitened(logged, offsets, parameters.autoregression)
        return levels, filter_rows(levels, offsets, parameters)[0]

    levels, filtered = log_probs(rows)
    gradient = by_logged_rows(state_gradient(levels, np.exp(filtered), states, parameters), offsets, parameters)
    step = 1e-5
    for row in range(12):
        for metric in range(3):
            moved = []
            for sign in (1, -1):
                logged = rows.copy()
                logged[row, metric] += sign * step
                moved.append(log_probs(logged)[1][row, states[row]])
            assert gradient[row, metric] == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-5)


def test_where_rows_remember_deviations_are_those_of_rows():
    phi, sd = np.array([0.8, 0.0]), 0.7
    rng = np.random.default_rng(2)
    rows = np.zeros((200_000, 2))
    for t, noise in enumerate(rng.normal(0, sd, size=(len(rows), 2)) * (1 - phi)):
        rows[t] = phi * rows[t - 1] + noise  # of which levels have the standard deviation sd
    parameters = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=np.zeros((1, 2)),
        covars=np.full((1, 2), sd**2),
        covariance_type="diag",
        autoregression=phi,
    )
    np.testing.assert_allclose(deviations_of_rows(parameters)[0], rows.std(axis=0), rtol=0.03)
