"""scikit-learn's digits and a multilayer perceptron with its gradients, for the generators that use both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

F32 = NDArray[np.float32]
Labels = NDArray[np.int64]
Parameters = dict[str, F32]  # fc1.weight (out, in), fc1.bias (out,), fc2.weight, …, from the input on

PIXELS, CLASSES = 64, 10
_TRAIN = 1300  # leaves 497, of which no whole per cent but 0 and 100 is a whole number of rows
_MEAN, _SPREAD = 0.305, 0.376  # of all pixels of the set, once divided by 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """Images of 8 × 8 pixels, and which digit each shows; the same split for every run."""

    x: F32  # (1300, PIXELS)
    y: Labels  # (1300,)
    x_eval: F32  # (497, PIXELS)
    y_eval: Labels  # (497,)


def load() -> Digits:
    """Read the set and split it; pixels get mean 0 and spread 1 over the whole set."""
    pixels, labels = load_digits(return_X_y=True)
    x = ((pixels / 16 - _MEAN) / _SPREAD).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, held_out = order[:_TRAIN], order[_TRAIN:]
    y = labels.astype(np.int64)
    return Digits(x=x[train], y=y[train], x_eval=x[held_out], y_eval=y[held_out])


def initial(rng: np.random.Generator, widths: Sequence[int]) -> Parameters:
    """Draw parameters uniformly within ±1/√fan-in, the default of PyTorch's linear layers.

    Parameters
    ----------
    widths : units of each layer, from the input to the output.
    """
    parameters = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        bound = 1 / np.sqrt(fan_in)
        parameters[f"fc{layer}.weight"] = rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32)
        parameters[f"fc{layer}.bias"] = rng.uniform(-bound, bound, fan_out).astype(np.float32)
    return parameters


def activations(p: Parameters, x: F32, kept: Sequence[F32] = ()) -> list[F32]:
    """The input, the (n, units) rectified output of each hidden layer, and the (n, CLASSES) logits.

    Parameters
    ----------
    x : (n, PIXELS).
    kept : (n, units) for each hidden layer, what its output is multiplied by: dropout.
    """
    depth = len(p) // 2
    layers = [x]
    for layer in range(1, depth + 1):
        out = layers[-1] @ p[f"fc{layer}.weight"].T + p[f"fc{layer}.bias"]
        if layer < depth:
            out = np.maximum(out, 0)
            out = out * kept[layer - 1] if kept else out
        layers.append(out)
    return layers


def measure(logits: F32, y: Labels) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of (n, CLASSES) logits."""
    return float(-_log_softmax(logits)[np.arange(len(y)), y].mean()), float((logits.argmax(axis=1) == y).mean())


def gradients(p: Parameters, layers: Sequence[F32], y: Labels, kept: Sequence[F32] = ()) -> Parameters:
    """Gradients of the mean cross-entropy for each parameter.

    Parameters
    ----------
    layers : what `activations` gave for the inputs, with the same ``kept``.
    y : (n,) labels.
    """
    slope = np.exp(_log_softmax(layers[-1]))
    slope[np.arange(len(y)), y] -= 1
    slope /= np.float32(len(y))
    found = {}
    for layer in range(len(p) // 2, 0, -1):
        below = layers[layer - 1]
        found[f"fc{layer}.weight"] = slope.T @ below
        found[f"fc{layer}.bias"] = slope.sum(axis=0)
        if layer > 1:
            slope = (slope @ p[f"fc{layer}.weight"]) * (below > 0)
            slope = slope * kept[layer - 2] if kept else slope
    return {name: found[name] for name in p}


def _log_softmax(logits: F32) -> F32:
    shifted = logits - logits.max(axis=1, keepdims=True)
    out: F32 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out
