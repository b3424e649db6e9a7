"""Attribution against finite differences, and the map against counting."""

import numpy as np
import pytest

from trajhmm.dynamics.maps.attribution import state_gradient
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
