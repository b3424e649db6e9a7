"""The M-step: better parameters from the statistics of the E-step; prior and floor of the covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.statistics import Statistics
from trajhmm.hmm.parameters import Parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """What keeps covariances away from zero.

    Attributes
    ----------
    floor : (D,) least variance of each metric.
    target : (D,) variance that states are shrunk to.
    rows : how many rows of variance ``target`` each state is given beside its own; 0 for none.
    """

    floor: NDArray[np.float64]
    target: NDArray[np.float64]
    rows: float

    def log_density(self, parameters: Parameters) -> float:
        """Log-density of the covariances, up to a constant, in nats: an inverse Wishart prior."""
        if self.rows == 0:
            return 0.0
        if parameters.is_diagonal:
            variances = parameters.variances()
            if parameters.covariance_type == "spherical":
                variances, target = variances[:, :1], self.target.mean()
                return float(-0.5 * self.rows * len(self.target) * (np.log(variances) + target / variances).sum())
            return float(-0.5 * self.rows * (np.log(variances) + self.target / variances).sum())
        matrices = parameters.matrices()
        if parameters.covariance_type == "tied":
            matrices = matrices[:1]
        traces = (np.diagonal(np.linalg.inv(matrices), axis1=1, axis2=2) * self.target).sum(axis=1)
        return float(-0.5 * self.rows * (np.linalg.slogdet(matrices)[1] + traces).sum())


def mstep(statistics: Statistics, parameters: Parameters, prior: Prior | None = None) -> Parameters:
    """Maximise the expected log-likelihood (with a prior, the posterior); what has no evidence stays as it is.

    Parameters
    ----------
    statistics : under ``parameters``.
    prior : its ``rows`` and ``target`` shrink covariances; its floor is left to `floored`.
    """
    mass = statistics.mass[:, np.newaxis] - statistics.absent
    seen = mass > 0
    shift = np.divide(statistics.first, mass, out=np.zeros_like(statistics.first), where=seen)
    leaving = statistics.transitions.sum(axis=1, keepdims=True)
    startprob = statistics.start / statistics.start.sum() if statistics.start.sum() > 0 else parameters.startprob
    return replace(
        parameters,
        startprob=startprob,
        transmat=np.divide(statistics.transitions, leaving, out=parameters.transmat.copy(), where=leaving > 0),
        means=parameters.means + shift,
        covars=covariances(statistics, parameters, mass, shift, prior),
    )


def covariances(
    statistics: Statistics,
    parameters: Parameters,
    mass: NDArray[np.float64],
    shift: NDArray[np.float64],
    prior: Prior | None,
) -> NDArray[np.float64]:
    """Covariances in the shape that ``parameters`` has them; ``mass`` and ``shift`` (K, D)."""
    rows, target = (prior.rows, prior.target) if prior is not None else (0.0, np.zeros(parameters.n_metrics))
    if parameters.is_diagonal:
        squares = np.maximum(statistics.second - mass * shift**2, 0.0) + rows * target
        counts = mass + rows
        if parameters.covariance_type == "spherical":
            squares, counts = squares.sum(axis=1), counts.sum(axis=1)
        return np.divide(squares, counts, out=parameters.covars.copy(), where=counts > 0)
    outer = shift[:, :, np.newaxis] * shift[:, np.newaxis, :]
    products = statistics.second - statistics.mass[:, np.newaxis, np.newaxis] * outer
    counts = statistics.mass
    if parameters.covariance_type == "tied":
        products, counts = products.sum(axis=0), counts.sum(axis=0)
    products = (products + np.swapaxes(products, -1, -2)) / 2 + rows * np.diag(target)
    counts = np.asarray(counts + rows)[..., np.newaxis, np.newaxis]
    return np.divide(products, counts, out=parameters.covars.copy(), where=counts > 0)


def floored(parameters: Parameters, floor: NDArray[np.float64]) -> Parameters:
    """Raise covariances to at least ``floor``.

    Variances are at least the metric's floor (``spherical``: the mean of the floors). Of a matrix, with F the diagonal
    matrix of floors, Σ - F is positive semidefinite, by raising the eigenvalues of F^-½ Σ F^-½ to 1. Either is the
    exact maximum of the M-step under that constraint, so the likelihood still never falls.

    Parameters
    ----------
    floor : (D,) least variance of each metric; 0 for none.
    """
    if not floor.any():
        return parameters
    if parameters.is_diagonal:
        least = floor if parameters.covariance_type == "diag" else floor.mean()
        if (parameters.covars >= least).all():
            return parameters
        return replace(parameters, covars=np.maximum(parameters.covars, least))
    root = np.sqrt(floor)
    scale = root[:, np.newaxis] * root[np.newaxis, :]
    eigenvalues, vectors = np.linalg.eigh(parameters.covars / scale)
    low = eigenvalues[..., 0] < 1.0
    if not low.any():
        return parameters
    raised = (vectors * np.maximum(eigenvalues, 1.0)[..., np.newaxis, :]) @ np.swapaxes(vectors, -1, -2)
    raised = (raised + np.swapaxes(raised, -1, -2)) / 2 * scale
    return replace(parameters, covars=np.where(low[..., np.newaxis, np.newaxis], raised, parameters.covars))
