"""A map read forwards: the state of a run under way, whose shift is not known yet.

In a map with shifts (mixed effects) row t of run r in state k is z_t = a_r + μ_k + ε, a_r ~ N(0, diag τ²), ε ~ N(0,
diag σ_k²). Finished runs are decoded less their shifts, for which all of their rows speak. Forwards the shift is known
up to a normal distribution, independent over metrics, which each row narrows: with γ_t(k) the filtered probabilities,

    p(a_d | z_1…t) ≈ N(s_d / n_d, 1 / n_d),    n_d = 1 / τ_d² + Σ_t Σ_k c_k γ_t(k) / σ_kd²,
                                               s_d =            Σ_t Σ_k c_k γ_t(k) (z_td - μ_kd) / σ_kd²,

and the next row has the density N(μ_kd + s_d / n_d, σ_kd² + 1 / n_d) in state k: assumed-density filtering (Maybeck
1982, chapter 12; Minka 2001). A value that is missing has no part in either.

Two things are added to that, for which see ``tests/benchmarks/test_causal_map.py``. **Beginnings**: a run that begins
in another state than runs usually do looks, shifted by the distance of the two, as if it had begun in the usual one. So
there is one such filter for each first state, weighted by how likely that is and by how well its rows are foretold, and
what is told is their mixture. **What a row counts**: rows of a visit to a state go on from each other in real logs, so
that a visit says about as much of the shift as one row that stands alone, however long it lasts: c_k = 1 - A_kk, A the
transition probabilities. Did each row count in full, the first ones of a visit would settle the shift, and settle it
wrong. Where rows do stand alone each counts: c_k = 1. Which it is the runs tell, see `trajhmm.hmm.finished`.

Of a run is kept, for each of H beginnings, the logarithm of its weight, K log-probabilities, and n and s of D metrics.
A row costs in proportion to H (K D + K²), where beginnings that have become impossible are left out: few of them live
for longer than some rows. The numbers are the same to the last bit however rows are dealt out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of
from trajhmm.hmm.inference.shifts import possible
from trajhmm.hmm.kernels.forwards import forward_shifted
from trajhmm.hmm.parameters import Parameters

Floats = NDArray[np.float64]

# A run that begins in one state begins in each other a little.
_ELSEWHERE = 1e-8
# Rows that a visit to a state counts for.
VISIT = 1.0


def why_not_forwards(parameters: Parameters) -> str | None:
    """Why a map cannot be read forwards, and what to do; None if it can."""
    if not parameters.is_diagonal:
        return f"its covariances are {parameters.covariance_type}; fit it with --covariance diag"
    if parameters.scale_variance is not None:
        return (
            "runs have scales of their own in it, which only whole runs tell; fit it with --scaling own-start or shared"
        )
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Forwards:
    """A map that is ready to be read forwards, one run at a time.

    Parameters
    ----------
    parameters : of a Gaussian HMM with diagonal covariances, K states and D metrics, of scaled rows.
    reach : (D,) a value further from where a state expects it counts as that far; infinite for no limit.
    visit : for how many rows a visit to a state counts when the shift is learnt; infinite if each row counts.

    Raises
    ------
    ValueError
        The map cannot be read forwards, see `why_not_forwards`.
    ArrayError
        An array is of another shape.
    """

    parameters: Parameters
    reach: Floats
    visit: float = VISIT

    def __post_init__(self) -> None:
        if why := why_not_forwards(self.parameters):
            raise ValueError(why)
        object.__setattr__(self, "reach", floats_of("reach", self.reach, (self.parameters.n_metrics,)))

    @cached_property
    def _likely(self) -> Parameters:
        return possible(self.parameters)

    @cached_property
    def _starts(self) -> Floats:
        """(H, K) first states: one beginning for each state; without shifts all beginnings are one."""
        if self.parameters.shift_variance is None:
            return self._likely.startprob[np.newaxis].copy()
        starts = np.eye(self.parameters.n_states) + _ELSEWHERE
        return np.asarray(starts / starts.sum(axis=1, keepdims=True))

    @cached_property
    def _counts(self) -> Floats:
        """(K,) rows that a row in each state counts for: a visit over how many rows it lasts on average."""
        if np.isinf(self.visit):
            return np.ones(self.parameters.n_states)
        return np.minimum(self.visit * (1.0 - np.diag(self._likely.transmat)), 1.0)

    @cached_property
    def _by_metric(self) -> tuple[Floats, Floats]:
        """(D, K) means and variances."""
        return np.ascontiguousarray(self.parameters.means.T), np.ascontiguousarray(self.parameters.variances().T)

    @property
    def size(self) -> int:
        """How many numbers are kept of a run."""
        return len(self._starts) * (1 + self.parameters.n_states + 2 * self.parameters.n_metrics)

    def start(self) -> Floats:
        """(M,) what is known of a run before its first row; log-probabilities of 1 then, which no row leaves."""
        likely, n_begins = self._likely, len(self._starts)
        weights = np.log(likely.startprob) if n_begins > 1 else np.zeros(1)
        shift = likely.shift_variance
        precision = np.full(likely.n_metrics, np.inf) if shift is None else 1.0 / shift
        alpha = np.ones(n_begins * likely.n_states)
        return np.concatenate([weights, alpha, np.tile(precision, n_begins), np.zeros(n_begins * likely.n_metrics)])

    def advance(self, rows: Floats, memory: Floats) -> Floats:
        """Filter the next rows of a run.

        Parameters
        ----------
        rows : (n, D) scaled, NaN where missing.
        memory : (M,) of the rows before, see `start`; moved on in place.

        Returns
        -------
        (n, K) log p(s_t = k | rows so far).

        Raises
        ------
        ArrayError
            The rows are not of D metrics.
        """
        likely = self._likely
        rows = floats_of("rows", rows, (None, likely.n_metrics))
        log_weights, log_alpha, precision, pull = self._parts(memory)
        log_probs = np.empty((len(rows), likely.n_states))
        forward_shifted(
            rows,
            self._starts,
            likely.transmat,
            *self._by_metric,
            self._counts,
            self.reach,
            bool(log_alpha[0, 0] <= 0.0),
            log_weights,
            log_alpha,
            precision,
            pull,
            log_probs,
        )
        return log_probs

    def begin_again(self, memory: Floats) -> None:
        """The run goes on somewhere else: any state is as likely, and its shift is what it was; in place."""
        log_alpha = self._parts(memory)[1]
        if log_alpha[0, 0] <= 0.0:
            log_alpha[:] = -np.log(log_alpha.shape[1])

    def _parts(self, memory: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Views of (M,) numbers: (H,) weights, (H, K) probabilities, (H, D) precision and pull."""
        n_begins, k = self._starts.shape
        weights, alpha, precision, pull = np.split(
            memory, np.cumsum([n_begins, n_begins * k, n_begins * self.parameters.n_metrics])
        )
        return weights, alpha.reshape(n_begins, k), precision.reshape(n_begins, -1), pull.reshape(n_begins, -1)
