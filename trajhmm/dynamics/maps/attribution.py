"""Which metrics speak for a state: the gradient of its filtered log-probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm import Parameters


def state_gradient(
    values: NDArray[np.float64],
    filtered: NDArray[np.float64],
    states: NDArray[np.int64],
    parameters: Parameters,
) -> NDArray[np.float64]:
    """Gradient of log p(s_t = k | z_1…t) with respect to z_t (Hu et al. 2023, section 3.2).

    It is Σ_k⁻¹(μ_k − z_t) − Σ_h γ_t(h) Σ_h⁻¹(μ_h − z_t), with γ_t the filtered probabilities.

    Parameters
    ----------
    values : (N, D) rows z_t.
    filtered : (N, K) probabilities γ_t.
    states : (N,) the state k asked about at each row.
    parameters : of the model.

    Returns
    -------
    (N, D), in nats per unit of the scaled metric.
    """
    precisions = parameters.precisions()
    pulls = np.stack(
        [(mean - values) @ precision for mean, precision in zip(parameters.means, precisions, strict=True)], axis=1
    )
    towards = pulls[np.arange(len(values)), states]
    gradient: NDArray[np.float64] = towards - np.einsum("nk,nkd->nd", filtered, pulls)
    return gradient


def by_logged_rows(
    gradient: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> NDArray[np.float64]:
    """(N, D) `state_gradient` with respect to rows as they are logged, where rows remember the ones before.

    The model then sees levels y_t = (z_t - φ z_t-1) / (1 - φ), of a run's first row z_1 itself: ∂y_t / ∂z_t is
    1 / (1 - φ), and differs from metric to metric.

    Parameters
    ----------
    gradient : (N, D) with respect to levels.
    offsets : (R + 1,) row offsets of runs.
    """
    if parameters.autoregression is None:
        return gradient
    slopes = np.broadcast_to(1.0 / (1.0 - parameters.autoregression), gradient.shape).copy()
    slopes[offsets[:-1][np.diff(offsets) > 0]] = 1.0
    by_row: NDArray[np.float64] = gradient * slopes
    return by_row


def deviations_of_rows(parameters: Parameters) -> NDArray[np.float64]:
    """(K, D) standard deviations of rows about the mean of their state; stationary ones where rows remember."""
    deviations: NDArray[np.float64] = np.sqrt(parameters.variances())
    if parameters.autoregression is None:
        return deviations
    phi = parameters.autoregression
    return deviations * (1.0 - phi) / np.sqrt(1.0 - phi**2)
