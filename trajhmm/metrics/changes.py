"""What a step of training does: the size of the gradient and of the update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trajhmm.metrics.roles import measurable
from trajhmm.metrics.weights import norm


class NoGradientsError(ValueError):
    """A module holds no gradients."""


def gradient_metrics(source: Any, *, layers: bool = False) -> dict[str, float]:
    """The norm of the gradient over all parameters, as ``torch.nn.utils.clip_grad_norm_`` counts it.

    Parameters
    ----------
    source : a PyTorch module after ``backward()``; or the gradients, a mapping of names to arrays or a sequence.
    layers : add ``grad_norm/LAYER`` for each parameter.

    Returns
    -------
    ``grad_norm``; NaN where a gradient is not finite.

    Raises
    ------
    NoGradientsError
        The module holds no gradients.
    """
    if hasattr(source, "named_parameters"):
        gradients = {name: measurable(p.grad) for name, p in source.named_parameters() if p.grad is not None}
    else:
        gradients = _named(source)
    if not gradients:
        raise NoGradientsError("no gradients: call this after backward() and before they are zeroed")
    return _norms("grad_norm", gradients, layers=layers)


def update_metrics(before: Any, after: Any, *, layers: bool = False) -> dict[str, float]:
    """How far parameters moved.

    Parameters
    ----------
    before, after : the same parameters at two times: mappings of names to arrays or sequences; ``after`` may be a
        module, and ``before`` its `snapshot`.
    layers : add ``update_norm/LAYER`` for each parameter.

    Returns
    -------
    ``update_norm``, the L2 norm of the change over all parameters, and ``update_over_weight``, that norm over the norm
    of the parameters before (0 where that is 0).

    Raises
    ------
    ValueError
        The two do not hold the same parameters.
    """
    old, new = _named(before), _named(after)
    if old.keys() != new.keys():
        odd = ", ".join(sorted(old.keys() ^ new.keys())[:3])
        raise ValueError(f"before and after hold different parameters: {odd}")
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite, or becomes so
        moved = {name: new[name] - old[name] for name in new}
    metrics = _norms("update_norm", moved, layers=layers)
    size = math.hypot(*(norm(array) for array in old.values()))
    update = metrics.pop("update_norm")
    return {"update_norm": update, "update_over_weight": update / size if size != 0 else 0.0} | metrics


def snapshot(module: Any) -> dict[str, Any]:
    """Copy the parameters of a PyTorch module, to compare with later."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _norms(metric: str, arrays: Mapping[str, Any], *, layers: bool) -> dict[str, float]:
    norms = {name.removesuffix(".weight"): norm(array) for name, array in arrays.items()}
    total = math.hypot(*norms.values())
    return {metric: total} | ({f"{metric}/{name}": value for name, value in norms.items()} if layers else {})


def _named(source: Any) -> dict[str, Any]:
    if hasattr(source, "named_parameters"):
        named = dict(source.named_parameters())
    else:
        named = dict(source) if isinstance(source, Mapping) else {str(i): array for i, array in enumerate(source)}
    return {name: measurable(array) for name, array in named.items() if _is_number(array)}


def _is_number(array: Any) -> bool:
    """Whether entries are real or complex numbers; packed weights of few bits are codes, and no lengths."""
    if hasattr(array, "is_floating_point"):
        return bool(array.is_floating_point() or array.is_complex())
    dtype = np.asarray(array).dtype
    return dtype.kind in "fciu" or dtype.name.startswith(("bfloat", "float"))  # those of ml_dtypes are of no kind
