"""The 14 weight metrics of Hu, Chen, Saphra and Cho (TMLR 2023, arXiv 2308.09543, appendix) for plain arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

WEIGHT_METRICS = (
    "weight_l1",
    "weight_l2",
    "weight_l1_over_l2",
    "trace",
    "spectral_norm",
    "trace_over_spectral",
    "singular_mean",
    "singular_var",
    "weight_mean",
    "weight_median",
    "weight_var",
    "bias_mean",
    "bias_median",
    "bias_var",
)

_ZERO_SINGULAR = 1e-5


def weight_metrics(weights: Sequence[ArrayLike], biases: Sequence[ArrayLike] = ()) -> dict[str, float]:
    """One row of weight metrics of a network.

    Norms, trace and singular values are taken a matrix at a time and averaged over matrices; mean, median and variance
    are those of all entries pooled. Matrices that are not square have a trace along the main diagonal. Singular values
    under 1e-5 count as 0. A ratio to a norm of 0 is 0.

    Parameters
    ----------
    weights : weight matrices, each (out, in), any sizes; at least one.
    biases : bias vectors; without any, their three metrics are 0.

    Returns
    -------
    The 14 metrics in the order of `WEIGHT_METRICS`; NaN where weights are not finite.
    """
    if not len(weights):
        raise ValueError("expected at least one weight matrix, found none")
    matrices = [np.asarray(matrix, dtype=np.float64) for matrix in weights]
    per_matrix = np.array([_matrix_metrics(matrix) for matrix in matrices]).mean(axis=0)
    pooled = _moments(np.concatenate([matrix.ravel() for matrix in matrices]))
    shifts = [np.asarray(bias, dtype=np.float64).ravel() for bias in biases]
    bias_moments = _moments(np.concatenate(shifts)) if shifts else (0.0, 0.0, 0.0)
    values = (*per_matrix.tolist(), *pooled, *bias_moments)
    return dict(zip(WEIGHT_METRICS, values, strict=True))


def _matrix_metrics(matrix: NDArray[np.float64]) -> tuple[float, ...]:
    if not np.isfinite(matrix).all():
        return (float("nan"),) * 8
    l1 = float(np.abs(matrix).sum())
    l2 = float(np.sqrt((matrix**2).sum()))
    trace = float(np.trace(matrix))
    singular = np.linalg.svd(matrix, compute_uv=False)
    spectral = float(singular[0])
    kept = np.where(singular < _ZERO_SINGULAR, 0.0, singular)
    return (
        l1,
        l2,
        l1 / l2 if l2 > 0 else 0.0,
        trace,
        spectral,
        trace / spectral if spectral > 0 else 0.0,
        float(kept.mean()),
        float(kept.var()),
    )


def _moments(entries: NDArray[np.float64]) -> tuple[float, float, float]:
    if not np.isfinite(entries).all():
        return (float("nan"),) * 3
    return float(entries.mean()), float(np.median(entries)), float(entries.var())
