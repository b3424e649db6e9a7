"""Norms, traces and singular values of many matrices at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

# Entries of a stack in double precision: large enough for small matrices, small enough to stay near the processor.
_LARGEST_BLOCK = 2**21
_ZERO_SINGULAR = 1e-5
# Squaring halves the digits: below this share of the largest, a singular value from the Gram matrix is noise. It only
# matters where that noise would reach above `_ZERO_SINGULAR`.
_NOISE = 3e-7

MATRIX_METRICS = (
    "weight_l1",
    "weight_l2",
    "weight_l1_over_l2",
    "trace",
    "spectral_norm",
    "trace_over_spectral",
    "singular_mean",
    "singular_var",
)


def matrix_metrics(matrices: Sequence[Any]) -> NDArray[np.float64]:
    """(M, 8) the `MATRIX_METRICS` of M matrices, numpy arrays or PyTorch tensors; NaN where one is not finite.

    Matrices of one shape are stacked, and their singular values computed once, together, from the smaller Gram matrix
    in double precision. Singular values under 1e-5 count as 0; a ratio to a norm of 0 is 0.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault(tuple(matrix.shape), []).append(index)
    rows = np.empty((len(matrices), len(MATRIX_METRICS)))
    # Beside a training that keeps all cores busy, threads within an operation wait for each other far too long.
    with _threads().limit(limits=1, user_api="blas"):
        for shape, members in groups.items():
            block = max(1, _LARGEST_BLOCK // (shape[0] * shape[1]))
            for start in range(0, len(members), block):
                chunk = members[start : start + block]
                rows[chunk] = _of_one_shape([matrices[index] for index in chunk])
    return rows


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _of_one_shape(matrices: list[Any]) -> NDArray[np.float64]:
    xp = array_namespace(matrices[0])
    stack = as_double(xp.stack(matrices) if len(matrices) > 1 else matrices[0][None, ...])
    finite = xp.all(xp.isfinite(stack), axis=(1, 2))
    every = bool(xp.all(finite))
    if not every:
        stack = xp.where(finite[:, None, None], stack, xp.zeros_like(stack))
    l1 = xp.sum(xp.abs(stack), axis=(1, 2))
    # The largest entry is taken out first, so that no square overflows or vanishes.
    scale = xp.max(xp.abs(stack), axis=(1, 2))
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    stack = stack / scale[:, None, None]
    diagonal = xp.arange(min(stack.shape[1:]), device=device(stack))
    trace = scale * xp.sum(stack[:, diagonal, diagonal], axis=1)
    turned = xp.matrix_transpose(stack)
    gram = stack @ turned if stack.shape[1] <= stack.shape[2] else turned @ stack
    l2 = scale * xp.sqrt(xp.sum(gram[:, diagonal, diagonal], axis=1))
    eigenvalues = xp.linalg.eigvalsh(gram)
    singular = xp.sqrt(xp.where(eigenvalues > 0, eigenvalues, xp.zeros_like(eigenvalues))) * scale[:, None]
    summary = xp.stack([l1, l2, trace], axis=1)
    l1_l2_trace, values = to_numpy(summary), to_numpy(singular)
    unsure = (values < _NOISE * values[:, -1:]).any(axis=1) & (_NOISE * values[:, -1] > _ZERO_SINGULAR)
    for index in np.flatnonzero(unsure).tolist():
        values[index] = np.sort(to_numpy(xp.linalg.svdvals(stack[index, :, :]) * scale[index]))
    row = _row(l1_l2_trace, values)
    if not every:
        row[~to_numpy(finite).astype(bool)] = np.nan
    return row


def _row(l1_l2_trace: NDArray[np.float64], singular: NDArray[np.float64]) -> NDArray[np.float64]:
    l1, l2, trace = l1_l2_trace.T
    spectral = singular[:, -1]
    kept = np.where(singular < _ZERO_SINGULAR, 0.0, singular)
    row = np.empty((len(singular), len(MATRIX_METRICS)))
    row[:, 0], row[:, 1], row[:, 2] = l1, l2, _ratio(l1, l2)
    row[:, 3], row[:, 4], row[:, 5] = trace, spectral, _ratio(trace, spectral)
    row[:, 6], row[:, 7] = kept.mean(axis=1), kept.var(axis=1)
    return row


def kernel_norms(kernels: Any) -> NDArray[np.float64]:
    """(3,) mean over the kernels of a convolution of their L1 norm, L2 norm and the ratio of the two.

    A kernel is what slides over one input channel for one output channel.

    Parameters
    ----------
    kernels : (out, in, …) array or tensor, one or more spatial axes.
    """
    xp = array_namespace(kernels)
    flat = as_double(xp.reshape(kernels, (kernels.shape[0] * kernels.shape[1], -1)))
    l1 = xp.sum(xp.abs(flat), axis=1)
    scale = xp.max(xp.abs(flat))
    scale = scale if 0 < float(scale) < float("inf") else xp.ones_like(scale)
    l2 = scale * xp.sqrt(xp.sum((flat / scale) ** 2, axis=1))
    one, two = to_numpy(l1), to_numpy(l2)
    return np.array([one.mean(), two.mean(), _ratio(one, two).mean()])


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.where(np.isfinite(b), 0.0, np.nan), where=(b != 0) & np.isfinite(b))


def as_double(array: Any) -> Any:
    """The same numbers in double precision, on the same device."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def to_numpy(array: Any) -> NDArray[np.float64]:
    """An array or tensor as numpy's, in double precision."""
    detached = array.detach().cpu().numpy() if hasattr(array, "detach") else array
    return np.array(detached, dtype=np.float64)
