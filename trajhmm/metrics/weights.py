"""The 14 weight metrics of Hu, Chen, Saphra and Cho (TMLR 2023, arXiv 2308.09543, appendix)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from trajhmm.metrics.roles import Parameter, measurable, parameters_of
from trajhmm.metrics.spectra import MATRIX_METRICS, as_double, kernel_norms, matrix_metrics

WEIGHT_METRICS = (
    *MATRIX_METRICS,
    "weight_mean",
    "weight_median",
    "weight_var",
    "bias_mean",
    "bias_median",
    "bias_var",
)

# Entries in double precision at a time.
_BLOCK = 2**20


def weight_metrics(
    weights: Any,
    biases: Sequence[Any] = (),
    *,
    heads: int | tuple[int, int] | None = None,
    roles: Mapping[str, str] | None = None,
    layers: bool = False,
) -> dict[str, float]:
    """One row of weight metrics of a network.

    Norms, trace and singular values are taken a matrix at a time and averaged over matrices; mean, median and variance
    are those of all entries pooled. Matrices that are not square have a trace along the main diagonal. Singular values
    under 1e-5 count as 0. A ratio to a norm of 0 is 0. Query, key and value projections count a head at a time. The
    norms of a convolution are the means over its kernels; its trace and singular values are those of the (out, in ×
    kernel) matrix. Embeddings and normalisation layers are left out.

    Tensors are measured on the device where they are; all sums are in double precision.

    Parameters
    ----------
    weights : a PyTorch module; a mapping of names to arrays or tensors (a state dict); or a sequence of weight
        matrices, each (out, in), where (heads, out, in) is a stack of matrices and (out, in, height, width) a
        convolution.
    biases : bias vectors, with a sequence of matrices only; without any, their three metrics are 0.
    heads, roles : how attention is split and which parameter counts as what, see `parameters_of`.
    layers : add ``weight_l2/LAYER``, the L2 norm of each weight.

    Returns
    -------
    The 14 metrics in the order of `WEIGHT_METRICS`; NaN where weights are not finite.

    Raises
    ------
    ValueError
        No weight matrix, or sizes that do not divide by the number of heads.
    """
    named = hasattr(weights, "named_modules") or isinstance(weights, Mapping)
    if named and len(biases):
        raise ValueError("biases are found by name in a module or a mapping; give them with a sequence of matrices")
    parameters = parameters_of(weights, heads=heads, roles=roles) if named else _given(weights, biases)
    return metrics_of(parameters, layers=layers)


def metrics_of(parameters: Sequence[Parameter], *, layers: bool = False) -> dict[str, float]:
    """`weight_metrics` of parameters whose roles are known."""
    matrices, owners = [], []
    chosen = [parameter for parameter in parameters if parameter.role != "bias"]
    for position, parameter in enumerate(chosen):
        for matrix in parameter.matrices():
            matrices.append(matrix)
            owners.append(position)
    if not matrices:
        raise ValueError("expected at least one weight matrix, found none")
    per_matrix = matrix_metrics(matrices)
    for row, position in zip(per_matrix, owners, strict=True):
        if chosen[position].role == "kernels":
            row[:3] = kernel_norms(chosen[position].array)
    pooled = _moments([parameter.array for parameter in chosen])
    shifts = [parameter.array for parameter in parameters if parameter.role == "bias"]
    values = (*per_matrix.mean(axis=0).tolist(), *pooled, *(_moments(shifts) if shifts else (0.0, 0.0, 0.0)))
    metrics = dict(zip(WEIGHT_METRICS, values, strict=True))
    if layers:
        metrics |= {f"weight_l2/{parameter.layer}": norm(parameter.array) for parameter in chosen}
    return metrics


def _given(weights: Sequence[Any], biases: Sequence[Any]) -> list[Parameter]:
    """Arrays without names: what they are is told by their axes."""
    matrices = [_array(weight) for weight in weights]
    for index, matrix in enumerate(matrices):
        if matrix.ndim < 2:
            raise ValueError(f"weight {index} has shape {tuple(matrix.shape)}; expected a matrix, (out, in)")
    return [
        Parameter(name=str(index), role="kernels" if matrix.ndim > 3 else "matrix", array=matrix)
        for index, matrix in enumerate(matrices)
    ] + [Parameter(name=f"{index}.bias", role="bias", array=_array(bias)) for index, bias in enumerate(biases)]


def _array(values: Any) -> Any:
    array = measurable(values)
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype.kind != "f" else array


def norm(array: Any) -> float:
    """L2 norm of all entries, in double precision; of complex ones that of their sizes. 0 of none."""
    if 0 in array.shape:
        return 0.0
    xp = array_namespace(array)
    sizes = xp.abs(array)
    scale = float(xp.max(sizes))
    if not 0 < scale < float("inf"):
        return scale if scale == 0 else float("nan")
    return scale * float(xp.sqrt(xp.sum((as_double(sizes) / scale) ** 2)))


def _moments(arrays: Sequence[Any]) -> tuple[float, float, float]:
    """Mean, median and variance of all entries pooled; NaN where one is not finite."""
    flat = [array.reshape(-1) for array in arrays]
    xp = array_namespace(flat[0])
    count = sum(int(entries.shape[0]) for entries in flat)
    with np.errstate(invalid="ignore"):  # both infinities
        mean = sum(float(xp.sum(entries, dtype=xp.float64)) for entries in flat) / count
    if not np.isfinite(mean):
        return (float("nan"),) * 3
    squares = sum(float(xp.sum((as_double(block) - mean) ** 2)) for entries in flat for block in _blocks(entries))
    return mean, _median(xp.concat(flat)), squares / count


def _blocks(entries: Any) -> Iterator[Any]:
    for start in range(0, entries.shape[0], _BLOCK):
        yield entries[start : start + _BLOCK]


def _median(entries: Any) -> float:
    """The middle one, or the mean of the middle two; ``entries`` may be reordered."""
    middle, odd = divmod(int(entries.shape[0]), 2)
    if isinstance(entries, np.ndarray):
        entries.partition(middle)
        upper = float(entries[middle])
        return upper if odd else (upper + float(entries[:middle].max())) / 2
    upper = float(entries.kthvalue(middle + 1).values)
    return upper if odd else (upper + float(entries.kthvalue(middle).values)) / 2
