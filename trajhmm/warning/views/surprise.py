"""How unlikely the last rows are under a hidden Markov model of healthy runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun, LevelsAndInnovations
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.kernels import exact
from trajhmm.hmm.parameters import CovarianceType, Parameters
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.views.interface import Floats, Rows, View

# Rows over which the surprise is averaged.
SPAN = 5.0
# Rows that EM sees at most, give or take one a run; and nats a row by which it still rises at the end.
MOST_ROWS, _TOLERANCE = 30_000, 1e-5


class Surprise(View):
    """Surprise, -log p(z_t | z_1…t-1) in nats, of the last five rows under a Gaussian HMM of healthy runs.

    z are levels and innovations of the metrics, see `LevelsAndInnovations`; a state is a phase of training: where the
    metrics are, and how they move against their own past. A row is surprising if it is unlikely in every phase that the
    rows before make likely. Covariances are diagonal: with full ones nothing was found sooner, and few runs tell little
    of how metrics vary together.

    Parameters
    ----------
    features : from metrics to z.
    parameters : of the HMM, over 2 D columns.
    """

    name: ClassVar[str] = "phase"

    def __init__(self, features: LevelsAndInnovations, parameters: Parameters) -> None:
        self.features = features
        self.parameters = parameters

    @cached_property
    def _emissions(self) -> Emissions:
        return Emissions.of(self.parameters)

    def start(self) -> Floats:
        """Log-probabilities of the states, and the average surprise: NaN before the first row."""
        return np.append(np.zeros(self.parameters.n_states), np.nan)

    def filtered(self, rows: Rows, memory: Floats) -> tuple[Floats, Floats]:
        """(n, K) log-probabilities of the states given the rows so far, and (n,) scores; ``memory`` is moved on."""
        z = self.features.rows(rows.scaled, rows.moved)
        densities = self._emissions.log_densities_by_row(z)
        log_probs, predictive = np.empty_like(densities), np.empty(len(z))
        begins = np.zeros(len(z), dtype=bool)
        begins[:1] = np.isnan(memory[-1])
        state = memory[:-1].copy()
        p = self.parameters
        exact.forward(densities, begins, p.startprob, p.transmat, state, log_probs, predictive)
        averages = exponential_average(-predictive, SPAN, memory[-1])
        memory[:-1] = state
        if len(averages):
            memory[-1] = averages[-1]
        return log_probs, averages

    def scores(self, rows: Rows, memory: Floats) -> Floats:
        """(n,) average surprise, in nats."""
        return self.filtered(rows, memory)[1]

    def shares(self, rows: Rows, memory: Floats) -> Floats:
        """(n, D) share of each metric in ½ Σ_k γ_k (z - μ_k)ᵀ Σ_k⁻¹ (z - μ_k): half of z times the gradient."""
        log_probs, _ = self.filtered(rows, memory)
        z, p = self.features.rows(rows.scaled, rows.moved), self.parameters
        shares = np.zeros(z.shape)
        for mean, precision, weight in zip(p.means, p.precisions(), np.exp(log_probs).T, strict=True):
            away = np.nan_to_num(z - mean)
            shares += 0.5 * weight[:, np.newaxis] * away * (away @ precision)
        return shares[:, : len(self.features.metrics)] + shares[:, len(self.features.metrics) :]


def fit_surprise(
    runs: Sequence[CausalRun],
    taken: Sequence[NDArray[np.bool_]],
    *,
    states: int,
    covariance: CovarianceType,
    restarts: int,
    iterations: int,
    shrinkage: float,
    seed: int,
    start: Parameters | None = None,
) -> tuple[Surprise, GaussianHMM]:
    """Fit the HMM to healthy runs; with fewer states if EM degenerates with so many.

    Of many rows EM sees every so many, evenly: means and variances need no more, and probabilities of staying are
    those of so many steps, of which the root is taken.

    Parameters
    ----------
    runs, taken : healthy runs, and which of their rows count.
    states, covariance, restarts, iterations, seed : of the HMM and EM.
    shrinkage : runs a column with the whole data's variances, shared among the states: rows of a run are far from
        independent, so what is known of how metrics vary grows with runs, not rows.
    start : parameters to start from, once, in place of ``restarts``.

    Raises
    ------
    FitError
        It degenerates with one state, too, or no metric has a finite value.
    """
    features = LevelsAndInnovations.of(runs)
    stride = -(-sum(int(kept.sum()) for kept in taken) // MOST_ROWS)
    parts = []
    for run, kept in zip(runs, taken, strict=True):
        rows = rows_of(features, run, kept).at(slice(None, None, stride))
        parts.append(features.rows(rows.scaled, rows.moved))
    values, lengths = np.concatenate(parts), [len(part) for part in parts]
    first = min(states, len(values)) if start is None else start.n_states
    for k in range(first, 0, -1):
        given = start if start is not None and start.n_states == k else None
        hmm = GaussianHMM(
            k,
            covariance_type=covariance,
            n_restarts=restarts if k > 1 and given is None else 1,
            n_iter=iterations,
            tol=_TOLERANCE,
            shrinkage=shrinkage * values.shape[1] * (len(values) / len(runs)) / k,
            start=given,
            random_state=seed,
        )
        try:
            hmm.fit(values, lengths)
        except FitError:
            if k == 1:
                raise
            continue
        hmm.take(replace(hmm.parameters, transmat=_root(hmm.parameters.transmat, stride)), hmm.status_)
        return Surprise(features, hmm.parameters), hmm
    raise FitError("the healthy runs hold no row")


def _root(transmat: Floats, steps: int) -> Floats:
    """(K, K) transitions of one step from those of several: the same next states, and as long a stay."""
    stay = np.diag(transmat) ** (1.0 / steps)
    leaves = 1.0 - np.diag(transmat)
    away = np.where(leaves > 0.0, (1.0 - stay) / np.where(leaves > 0.0, leaves, 1.0), 0.0)
    root: Floats = transmat * away[:, np.newaxis]
    np.fill_diagonal(root, stay)
    return root


def rows_of(features: LevelsAndInnovations, run: CausalRun, kept: NDArray[np.bool_]) -> Rows:
    """The rows of a run that count, as views see them."""
    scaled = features.scales(run.columns(features.metrics)[kept])
    fresh = run.logged[:, [run.index_of(metric) for metric in features.metrics]][kept]
    return Rows(scaled=scaled, fresh=fresh, moved=features.innovations(scaled, fresh, features.memory()))
