"""Perceptrons of one shape as one computation, and how curved their loss is: Hessian times vector, sharpness, trace.

Arrays carry R networks in front, so that the runs of one cell train together; what comes out for one does not depend on
how many are beside it. Parameters are named and shaped as in `digits.network`, in double precision, because runs at the
edge of stability blow up rounding: ``fc1.weight`` (R, out, in), ``fc1.bias`` (R, out), ``fc2.weight``, ….
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from digits.network import Labels

F64 = NDArray[np.float64]
Parameters = dict[str, F64]


def activations(p: Mapping[str, F64], x: F64) -> list[F64]:
    """The input, the (R, n, units) rectified output of each hidden layer, and the (R, n, classes) logits.

    Parameters
    ----------
    x : (n, inputs) for all networks, or (R, n, inputs).
    """
    depth = len(p) // 2
    layers = [x]
    for layer in range(1, depth + 1):
        out = layers[-1] @ _turned(p[f"fc{layer}.weight"]) + p[f"fc{layer}.bias"][:, np.newaxis, :]
        layers.append(np.maximum(out, 0) if layer < depth else out)
    return layers


def measure(logits: F64, y: Labels) -> tuple[F64, F64]:
    """Mean cross-entropy and accuracy, (R,) each.

    Parameters
    ----------
    logits : (R, n, classes).
    y : (n,) labels.
    """
    own = _log_softmax(logits)[:, np.arange(len(y)), y]
    return -own.mean(axis=1), (logits.argmax(axis=2) == y).mean(axis=1)


def gradients(p: Mapping[str, F64], layers: Sequence[F64], y: Labels) -> Parameters:
    """Gradients of the mean cross-entropy for each parameter.

    Parameters
    ----------
    layers : what `activations` gave.
    y : (n,) or (R, n) labels.
    """
    slope = np.exp(_log_softmax(layers[-1])) - _one_hot(y, layers[-1].shape)
    return _pulled_back(p, layers, slope / layers[-1].shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Curvature:
    """The Hessian H of the mean cross-entropy on n rows, one for each of R networks of P parameters."""

    p: Mapping[str, F64]
    layers: Sequence[F64]  # what `activations` gave
    y: Labels  # (n,)

    @cached_property
    def _share(self) -> F64:
        """(R, n, classes) softmax of the logits."""
        share: F64 = np.exp(_log_softmax(self.layers[-1]))
        return share

    @cached_property
    def _slopes(self) -> list[F64]:
        """(R, n, units) slope of the loss for what each layer puts out before it is rectified, from the first on."""
        slopes = [(self._share - _one_hot(self.y, self._share.shape)) / self._share.shape[1]]
        for layer in range(len(self.p) // 2, 1, -1):
            slopes.insert(0, (slopes[0] @ self.p[f"fc{layer}.weight"]) * self._on[layer - 2])
        return slopes

    @cached_property
    def _on(self) -> list[F64]:
        """(R, n, units) 1 where a hidden unit is on, else 0."""
        return [(layer > 0).astype(np.float64) for layer in self.layers[1:-1]]

    def times(self, v: Mapping[str, F64]) -> Parameters:
        """H v, exactly (Pearlmutter 1994, the R operator): the derivative of the gradient along v."""
        p, layers, depth, share = self.p, self.layers, len(self.p) // 2, self._share
        moved: list[F64 | float] = [0.0]  # the derivative of each layer along v
        for layer in range(1, depth + 1):
            out = layers[layer - 1] @ _turned(v[f"fc{layer}.weight"]) + v[f"fc{layer}.bias"][:, np.newaxis, :]
            out = out if layer == 1 else out + moved[-1] @ _turned(p[f"fc{layer}.weight"])
            moved.append(out * self._on[layer - 1] if layer < depth else out)
        change = share * (moved[-1] - (share * moved[-1]).sum(axis=2, keepdims=True)) / share.shape[1]  # of the slope
        found = {}
        for layer in range(depth, 0, -1):
            weight, slope = f"fc{layer}.weight", self._slopes[layer - 1]
            found[weight] = _turned(change) @ layers[layer - 1]
            found[f"fc{layer}.bias"] = change.sum(axis=1)
            if layer > 1:
                found[weight] = found[weight] + _turned(slope) @ moved[layer - 1]
                change = (change @ p[weight] + slope @ v[weight]) * self._on[layer - 2]
        return {name: found[name] for name in p}

    def largest(self, iterations: int, tolerance: float = 0.0) -> tuple[F64, F64]:
        """The largest eigenvalue of H and how far it may be off, (R,) each; NaN where a network is not finite.

        Lanczos' method with full reorthogonalisation, which after as many products with H is nearer than power
        iteration. An eigenvalue of H lies within the second number of the first (Parlett 1998, section 13.2).

        Parameters
        ----------
        iterations : products with H, at most.
        tolerance : fewer products will do once the second number is below so much of the first.
        """
        found = [self._of(i)._largest_of_one(iterations, tolerance) for i in range(len(self.layers[-1]))]  # noqa: SLF001
        value, error = np.array(found).T
        return value, error

    def _of(self, i: int) -> Curvature:
        """That of one network alone: its arrays stay near the processor."""
        layers = [layer[i : i + 1] if layer.ndim == 3 else layer for layer in self.layers]
        return Curvature(p={name: array[i : i + 1] for name, array in self.p.items()}, layers=layers, y=self.y)

    def _largest_of_one(self, iterations: int, tolerance: float) -> tuple[float, float]:
        start = np.random.default_rng(0).standard_normal(_flat(self.p).shape[1])  # the same for all networks and rows
        basis = [start / np.sqrt(start @ start)]
        band = np.zeros((iterations, iterations))
        value, error = np.nan, np.nan
        for i in range(iterations):
            image = _flat(self.times(_shaped(basis[i][np.newaxis], self.p)))[0]
            if not np.isfinite(image).all():
                return np.nan, np.nan
            for _ in range(2):  # once leaves what rounding left
                inside = np.array(basis) @ image
                band[i, i] += inside[i]
                image = image - inside @ np.array(basis)
            left = float(np.sqrt(image @ image))
            values, vectors = np.linalg.eigh(band[: i + 1, : i + 1])
            value, error = float(values[-1]), left * abs(float(vectors[-1, -1]))
            # Below rounding there is no further direction to go in: the rest of H is 0.
            if error <= max(tolerance, 1e-12) * abs(value) or i + 1 == iterations:
                break
            band[i, i + 1] = band[i + 1, i] = left
            basis.append(image / left)
        return value, error

    def trace(self) -> F64:
        """(R,) the exact trace of H.

        It is that of the Gauss–Newton matrix: each logit is linear in any single parameter, piece by piece, so that the
        rest of H has a diagonal of 0. With s the softmax, diag s − s sᵀ = Σ_c s_c (e_c − s)(e_c − s)ᵀ, and a row's
        gradient for a weight matrix is an outer product, whose squared norm is that of its factors.
        """
        share = self._share
        total = np.zeros(len(share))
        for c in range(share.shape[2]):
            slope = -share
            slope[:, :, c] += 1
            slope *= np.sqrt(share[:, :, c, np.newaxis] / share.shape[1])
            for layer in range(len(self.p) // 2, 0, -1):
                below = self.layers[layer - 1]
                total += ((slope**2).sum(axis=2) * ((below**2).sum(axis=-1) + 1)).sum(axis=1)
                if layer > 1:
                    slope = (slope @ self.p[f"fc{layer}.weight"]) * self._on[layer - 2]
        return total


def distance(one: Mapping[str, F64], other: Mapping[str, F64]) -> F64:
    """(R,) Euclidean distance between the parameters of two stacks of networks."""
    apart: F64 = np.sqrt(((_flat(one) - _flat(other)) ** 2).sum(axis=1))
    return apart


def _pulled_back(p: Mapping[str, F64], layers: Sequence[F64], slope: F64) -> Parameters:
    """Gradients for each parameter, of what has the (R, n, classes) ``slope`` for the logits."""
    found = {}
    for layer in range(len(p) // 2, 0, -1):
        found[f"fc{layer}.weight"] = _turned(slope) @ layers[layer - 1]
        found[f"fc{layer}.bias"] = slope.sum(axis=1)
        if layer > 1:
            slope = (slope @ p[f"fc{layer}.weight"]) * (layers[layer - 1] > 0)
    return {name: found[name] for name in p}


def _turned(stack: F64) -> F64:
    return np.swapaxes(stack, -1, -2)


def _one_hot(y: Labels, shape: tuple[int, ...]) -> F64:
    return np.broadcast_to(np.eye(shape[-1])[y], shape)


def _log_softmax(logits: F64) -> F64:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    out: F64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


def _flat(p: Mapping[str, F64]) -> F64:
    """(R, P) all parameters of each network, one after the other."""
    return np.concatenate([array.reshape(len(array), -1) for array in p.values()], axis=1)


def _shaped(flat: F64, like: Mapping[str, F64]) -> Parameters:
    """The parameters that `_flat` took apart."""
    ends = np.cumsum([array[0].size for array in like.values()])
    parts = np.split(flat, ends[:-1], axis=1)
    return {name: part.reshape(array.shape) for (name, array), part in zip(like.items(), parts, strict=True)}
