"""How unlikely the last rows are under a hidden Markov model of healthy runs."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import CausalRun, LevelsAndInnovations
from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.kernels import exact
from trajhmm.hmm.parameters import Parameters
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.views.interface import Floats, Rows, View

# Rows over which the surprise is averaged.
SPAN = 5.0


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

    def begin_again(self, memory: Floats) -> None:
        """Any state is as likely, and the average begins anew."""
        if not np.isnan(memory[-1]):
            memory[:-1] = -np.log(self.parameters.n_states)
            memory[-1] = np.nan

    def filtered(self, rows: Rows, memory: Floats) -> tuple[Floats, Floats]:
        """(n, K) log-probabilities of the states given the rows so far, and (n,) scores; ``memory`` is moved on."""
        z = self.features.rows(rows.scaled, rows.moved)
        densities = self._emissions.log_densities_by_row(z)
        log_probs, predictive = np.empty_like(densities), np.empty(len(z))
        begins = np.zeros(len(z), dtype=bool)
        begins[:1] = np.isnan(memory[-1]) and not memory[:-1].any()
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


def rows_of(features: LevelsAndInnovations, run: CausalRun, kept: NDArray[np.bool_]) -> Rows:
    """The rows of a run that count, as views see them."""
    scaled = features.scales(run.columns(features.metrics)[kept])
    fresh = run.logged[:, [run.index_of(metric) for metric in features.metrics]][kept]
    return Rows(scaled=scaled, fresh=fresh, moved=features.innovations(scaled, fresh, features.memory()))
