"""Forward and backward over rows of runs, scaled or in logarithms, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.kernels import exact, scaled
from trajhmm.hmm.rows.chunk import run_begins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """n rows to go over at once: whole runs, or a part of one.

    Attributes
    ----------
    values : (n, D), NaN where missing.
    complete : True if no value is missing.
    offsets : (R + 1,) run r holds the rows ``offsets[r]:offsets[r + 1]``.
    weights : (R,) of the runs.
    continued : True if the rows are part of one run that began earlier.
    doubt : (R, D) variances of the shifts that were taken from ``values``; None if runs are not shifted.
    jacobian : (n,) logarithm of what ``values`` were stretched by; None if they were not.
    """

    values: Floats
    complete: bool
    offsets: Ints
    weights: Floats
    continued: bool
    doubt: Floats | None = None
    jacobian: Floats | None = None

    def density(self, predictive: Floats) -> Floats:
        """(n,) log-densities of rows as they were logged, from those of rows as they were stretched."""
        return predictive if self.jacobian is None else predictive + self.jacobian

    def per_row(self) -> Floats:
        """(n,) weights of the rows."""
        return np.repeat(self.weights, np.diff(self.offsets))

    def fresh(self) -> NDArray[np.bool_]:
        """(n,) True where a run begins."""
        begins = run_begins(self.offsets)
        begins[0] &= not self.continued
        return begins


@dataclass(frozen=True, kw_only=True, eq=False)
class Filtering:
    """The forward pass over a piece.

    Attributes
    ----------
    before : (K,) what `Recursion.forward` was given.
    densities, alpha : (n, K), as the recursion keeps them.
    sums : (n,) what the scaled recursion divided by.
    predictive : (n,) log p(z_t | z_1…t-1) in nats.
    """

    before: Floats
    densities: Floats
    alpha: Floats
    sums: Floats
    predictive: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothing:
    """The backward pass over a piece, each run times its weight.

    Attributes
    ----------
    probs : (n, K) p(s_t = k | all of the run).
    started : (K,) expected number of runs that start in k.
    transitions : (K, K) expected number of transitions into rows of the piece.
    """

    probs: Floats
    started: Floats
    transitions: Floats


class Recursion(ABC):
    """Forward and backward; of a run in several pieces the pieces are taken in order, then back.

    What either gives stands in work space that the next call uses again.
    """

    def __init__(self, emissions: Emissions) -> None:
        self._emissions = emissions
        self._startprob = emissions.parameters.startprob
        self._transmat = emissions.parameters.transmat
        self._space: dict[str, Floats] = {}

    def before(self) -> Floats:
        """(K,) what `forward` carries from piece to piece, before the first."""
        return np.zeros(len(self._startprob))

    @abstractmethod
    def after(self) -> Floats:
        """(K,) what `backward` carries from piece to piece, after the last."""

    @abstractmethod
    def forward(self, piece: Piece, before: Floats) -> Filtering | None:
        """Filter; ``before`` is moved on. None where nothing is left."""

    @abstractmethod
    def backward(self, piece: Piece, filtering: Filtering, beta: Floats) -> Smoothing | None:
        """Smooth what `forward` gave; ``beta`` is moved back. None if it may be wrong."""

    def _fill(self, densities: Floats, piece: Piece, *, scaled: bool) -> Floats:
        """Fill (n, K) ``densities``; (n,) what was taken out of them, see `Emissions.densities`."""
        return self._emissions.densities(
            piece.values,
            densities,
            complete=piece.complete,
            scaled=scaled,
            offsets=piece.offsets,
            doubt=piece.doubt,
        )

    def _rows(self, name: str, n: int) -> Floats:
        """(n, K) work space."""
        if len(self._space.get(name, ())) < n:
            self._space[name] = np.empty((n, len(self._startprob)))
        return self._space[name][:n]


class Scaled(Recursion):
    """In ordinary numbers: fast, and says where it cannot be trusted; see `trajhmm.hmm.kernels.scaled`."""

    def __init__(self, emissions: Emissions) -> None:
        super().__init__(emissions)
        self._forward, self._backward = scaled.recursions(len(self._startprob))
        self._transposed = np.ascontiguousarray(self._transmat.T)

    def after(self) -> Floats:
        """(K,) ones."""
        return np.ones(len(self._startprob))

    def forward(self, piece: Piece, before: Floats) -> Filtering | None:
        """Filter; None where a row has no probability left."""
        n, came = len(piece.values), before.copy()
        densities, alpha, sums = self._rows("densities", n), self._rows("alpha", n), np.empty(n)
        largest = self._fill(densities, piece, scaled=True)
        startprob, transmat = self._startprob, self._transmat
        if not self._forward(densities, piece.offsets, piece.continued, startprob, transmat, before, alpha, sums):
            return None
        return Filtering(before=came, densities=densities, alpha=alpha, sums=sums, predictive=np.log(sums) + largest)

    def backward(self, piece: Piece, filtering: Filtering, beta: Floats) -> Smoothing | None:
        """Smooth, in the place of ``filtering.densities``; None where what vanished on the way may matter."""
        f = filtering
        ahead = self._rows("ahead", len(piece.values))
        if not self._backward(
            f.densities, piece.offsets, piece.continued, piece.weights, self._transposed, f.alpha, f.sums, beta, ahead
        ):
            return None
        pairs = f.alpha[:-1].T @ ahead[1:] + np.outer(f.before, ahead[0])
        started = np.zeros(len(beta)) if piece.continued else f.densities[piece.offsets[:-1]].sum(axis=0)
        return Smoothing(probs=f.densities, started=started, transitions=pairs * self._transmat)


class Exact(Recursion):
    """In logarithms: exact to rounding whatever the densities; see `trajhmm.hmm.kernels.exact`."""

    def after(self) -> Floats:
        """(K,) logarithms of one."""
        return np.zeros(len(self._startprob))

    def forward(self, piece: Piece, before: Floats) -> Filtering | None:
        """Filter; None only if a row is impossible in every state."""
        n, came = len(piece.values), before.copy()
        densities, alpha, predictive = self._rows("densities", n), self._rows("alpha", n), np.empty(n)
        sums = self._fill(densities, piece, scaled=False)
        exact.forward(densities, piece.fresh(), self._startprob, self._transmat, before, alpha, predictive)
        if not np.isfinite(predictive).all():
            return None
        return Filtering(before=came, densities=densities, alpha=alpha, sums=sums, predictive=predictive)

    def backward(self, piece: Piece, filtering: Filtering, beta: Floats) -> Smoothing:
        """Smooth."""
        f, k = filtering, len(beta)
        probs, started, transitions = self._rows("probs", len(piece.values)), np.zeros(k), np.zeros((k, k))
        exact.backward(
            f.densities,
            piece.fresh(),
            piece.per_row(),
            self._transmat,
            f.before,
            f.alpha,
            beta,
            probs,
            started,
            transitions,
        )
        return Smoothing(probs=probs, started=started, transitions=transitions)
