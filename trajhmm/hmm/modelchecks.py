"""What is checked of a model file before anything is computed with it: a file from a stranger may hold anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import LevelsAndInnovations, PerRunScaler, PooledScaler
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters

# Probabilities add up to 1 to this; files of before floats were written to the last digit may be off by some.
_OFF = 1e-6


def check_parameters(parameters: Parameters, n_metrics: int) -> None:
    """Refuse parameters of K states that are no Gaussian HMM over D metrics.

    Raises
    ------
    ValueError
        A shape is wrong, a number not finite, probabilities do not add up to 1, or a variance is not positive.
    """
    p, d = parameters, n_metrics
    if p.covariance_type not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type {p.covariance_type!r}: expected one of {', '.join(COVARIANCE_TYPES)}")
    if p.startprob.ndim != 1 or not p.startprob.size:
        raise ValueError("startprob: expected a probability for each of at least one state")
    k = p.n_states
    covars = {"diag": (k, d), "full": (k, d, d), "tied": (d, d), "spherical": (k,)}[p.covariance_type]
    shapes = {"startprob": (k,), "transmat": (k, k), "means": (k, d), "covars": covars}
    own = {name: (d,) for name in ("shift_variance", "scale_variance") if getattr(p, name) is not None}
    for name, shape in {**shapes, **own}.items():
        _check_array(name, getattr(p, name), shape)
    for name in ("startprob", "transmat"):
        probs = getattr(p, name)
        if (probs < 0).any() or (np.abs(probs.sum(axis=-1) - 1.0) > _OFF).any():
            raise ValueError(f"{name}: expected probabilities that add up to 1")
    for name in ("covars", *own) if p.is_diagonal else own:
        if (getattr(p, name) <= 0).any():
            raise ValueError(f"{name}: expected positive variances")
    if not p.is_diagonal and not _positive_definite(p.covars):
        raise ValueError("covars: expected symmetric, positive definite matrices")
    if p.scale_variance is not None and (p.shift_variance is None or not p.is_diagonal):
        raise ValueError("scale_variance: runs have scales only beside shifts, and with diagonal covariances")


def check_scaler(scaler: PerRunScaler | PooledScaler | LevelsAndInnovations, metrics: Sequence[str]) -> None:
    """Refuse a scaler that is not one of D metrics.

    Raises
    ------
    ValueError
        It is of other metrics, a shape is wrong, a number not finite, or a spread or least value not positive.
    """
    if isinstance(scaler, LevelsAndInnovations):
        if tuple(scaler.metrics) != tuple(metrics):
            raise ValueError(f"scaler of {', '.join(scaler.metrics)}, metrics {', '.join(metrics)}")
        for name in ("least", "centre", "spread"):
            _check_array(f"scaler: {name}", getattr(scaler, name), (len(metrics),))
        if (scaler.spread <= 0).any() or (scaler.least < 0).any():
            raise ValueError("scaler: expected positive spreads, and least values that are not negative")
    if not isinstance(scaler, PooledScaler):
        return
    shape = (len(metrics),)
    if scaler.logs.shape != shape:
        raise ValueError(f"scaler: logs has shape {scaler.logs.shape}; expected {shape}")
    for name in ("least", "centre", "spread"):
        _check_array(f"scaler: {name}", getattr(scaler, name), shape)
    if scaler.reach.shape != shape or not (scaler.reach > 0).all():
        raise ValueError("scaler: expected a positive reach of each metric")
    if (scaler.spread <= 0).any():
        raise ValueError("scaler: expected a positive spread")
    if (scaler.least[scaler.logs] <= 0).any():
        raise ValueError("scaler: expected positive least values of metrics that are taken by their logarithm")


def check_certificate(certificate: Certificate | None, n_states: int) -> None:
    """Refuse a certificate that is none of a map of K states.

    Raises
    ------
    ValueError
        It is of another number of states, or an index is missing or not between -1 and 1.
    """
    if certificate is None:
        return
    if certificate.states != n_states:
        raise ValueError(f"certificate of {certificate.states} states, parameters of {n_states}")
    for halves in certificate.halves:
        if not halves.agreement or len(halves.recovery) != halves.states or halves.states < 1:
            raise ValueError(f"certificate: agreement or recovery of {halves.states} states is missing")
        indices = np.array([*halves.agreement, *halves.recovery, *halves.seeds])
        if not (np.abs(indices) <= 1.0 + _OFF).all():
            raise ValueError("certificate: expected indices between -1 and 1")
    for one in () if certificate.residuals is None else certificate.residuals.metrics:
        estimates = (one.mean, one.sd, one.autocorrelation, one.beyond)
        known = [n for each in estimates for n in (each.value, each.ci_low, each.ci_high) if n is not None]
        if not isinstance(one.metric, str) or not np.isfinite(np.array(known, dtype=np.float64)).all():
            raise ValueError("certificate: expected finite numbers of residuals")


def _check_array(name: str, array: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers")


def _positive_definite(matrices: NDArray[np.float64]) -> bool:
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2)):
        return False
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True
