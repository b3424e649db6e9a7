"""Forward and backward over stretches of rows, scaled or in logarithms, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.emissions import Emissions
from trajhmm.hmm.kernels import exact, scaled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Filtering:
    """The forward pass over n rows.

    Attributes
    ----------
    densities, alpha : (n, K), as the recursion keeps them.
    sums : (n,) what the scaled recursion divided by.
    predictive : (n,) log p(z_t | z_1…t-1) in nats.
    """

    densities: Floats
    alpha: Floats
    sums: Floats
    predictive: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothing:
    """The backward pass over n rows, each times its weight.

    Attributes
    ----------
    probs : (n, K) p(s_t = k | all of the run).
    started : (K,) expected number of runs that start in k.
    transitions : (K, K) expected number of transitions into rows of the stretch.
    """

    probs: Floats
    started: Floats
    transitions: Floats


class Recursion(ABC):
    """Forward and backward; a run may reach over several stretches, which are then taken in order and back."""

    def __init__(self, emissions: Emissions) -> None:
        self._emissions = emissions
        self._startprob = emissions.parameters.startprob
        self._transmat = emissions.parameters.transmat

    def before(self) -> Floats:
        """(K,) what `forward` carries from stretch to stretch, before the first."""
        return np.zeros(len(self._startprob))

    @abstractmethod
    def after(self) -> Floats:
        """(K,) what `backward` carries from stretch to stretch, after the last."""

    @abstractmethod
    def forward(self, values: Floats, fresh: Bools, before: Floats, *, complete: bool) -> Filtering | None:
        """Filter (n, D) rows, runs beginning where ``fresh``; ``before`` is moved on. None where nothing is left."""

    @abstractmethod
    def backward(
        self, filtering: Filtering, fresh: Bools, weights: Floats, before: Floats, beta: Floats
    ) -> Smoothing | None:
        """Smooth what `forward` gave for the same ``before``; ``beta`` is moved back. None if it may be wrong."""


class Scaled(Recursion):
    """In ordinary numbers: fast, and says where it cannot be trusted; see `trajhmm.hmm.kernels.scaled`."""

    def __init__(self, emissions: Emissions) -> None:
        super().__init__(emissions)
        self._forward, self._backward = scaled.recursions(len(self._startprob))
        self._transposed = np.ascontiguousarray(self._transmat.T)

    def after(self) -> Floats:
        """(K,) ones."""
        return np.ones(len(self._startprob))

    def forward(self, values: Floats, fresh: Bools, before: Floats, *, complete: bool) -> Filtering | None:
        """Filter; None where a row has no probability left."""
        densities, largest = self._emissions.densities(values, complete=complete, scaled=True)
        alpha, sums = np.empty_like(densities), np.empty(len(values))
        if not self._forward(densities, fresh, self._startprob, self._transmat, before, alpha, sums):
            return None
        return Filtering(densities=densities, alpha=alpha, sums=sums, predictive=np.log(sums) + largest)

    def backward(
        self, filtering: Filtering, fresh: Bools, weights: Floats, before: Floats, beta: Floats
    ) -> Smoothing | None:
        """Smooth, in the place of ``filtering.densities``; None where what vanished on the way forward may matter."""
        f, k = filtering, len(beta)
        started, pairs = np.zeros(k), np.zeros((k, k))
        if not self._backward(
            f.densities, fresh, weights, self._transposed, before, f.alpha, f.sums, beta, started, pairs
        ):
            return None
        return Smoothing(probs=f.densities, started=started, transitions=pairs * self._transmat)


class Exact(Recursion):
    """In logarithms: exact to rounding whatever the densities; see `trajhmm.hmm.kernels.exact`."""

    def after(self) -> Floats:
        """(K,) logarithms of one."""
        return np.zeros(len(self._startprob))

    def forward(self, values: Floats, fresh: Bools, before: Floats, *, complete: bool) -> Filtering | None:
        """Filter; None only if a row is impossible in every state."""
        densities, sums = self._emissions.densities(values, complete=complete, scaled=False)
        alpha, predictive = np.empty_like(densities), np.empty(len(values))
        exact.forward(densities, fresh, self._startprob, self._transmat, before, alpha, predictive)
        if not np.isfinite(predictive).all():
            return None
        return Filtering(densities=densities, alpha=alpha, sums=sums, predictive=predictive)

    def backward(self, filtering: Filtering, fresh: Bools, weights: Floats, before: Floats, beta: Floats) -> Smoothing:
        """Smooth."""
        f, k = filtering, len(beta)
        probs, started, transitions = np.empty_like(f.alpha), np.zeros(k), np.zeros((k, k))
        exact.backward(f.densities, fresh, weights, self._transmat, before, f.alpha, beta, probs, started, transitions)
        return Smoothing(probs=probs, started=started, transitions=transitions)
