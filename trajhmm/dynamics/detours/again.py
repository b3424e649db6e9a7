"""What was learnt by fitting again: how often findings come back, and what the first rows say of the rest.

Plain results, which can be read without what fits: see `trajhmm.dynamics.detours.refits` and `.prefix`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.evidence import StateEvidence, Survival
from trajhmm.shares import exact_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LOSSES = ("eval_loss", "train_loss", "val_loss", "validation_loss", "test_loss", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class Refits:
    """How often findings come back in N refits that came to an end; states stand for those of the map by shared rows.

    Attributes
    ----------
    resampled, seeds : refits to runs drawn with replacement, and to all runs from other seeds; they add up to N.
    agreement : (N,) adjusted Rand index of the states of all runs with those of the map.
    detours : (K,) refits in which the state passes the branch test.
    forks : (K,) refits in which the state forks, see `trajhmm.dynamics.maps.training_map.forks_in`.
    edges : (K, K) refits in which some run goes from one state to the other.
    others : for a state less and one more, where these could be fitted: the number of states, and which states of the
        map have a counterpart there that passes the branch test.
    """

    resampled: int
    seeds: int
    agreement: NDArray[np.float64]
    detours: Ints
    forks: Ints
    edges: Ints
    others: dict[int, tuple[int, ...]]

    @property
    def n(self) -> int:
        """Number of refits, N."""
        return self.resampled + self.seeds

    def interval(self, found: int) -> tuple[float, float]:
        """95% Clopper–Pearson interval of the share of refits that find something, if ``found`` of them did."""
        return exact_interval(found, self.n)

    def survival_of(self, evidence: Sequence[StateEvidence]) -> tuple[StateEvidence, ...]:
        """The evidence with how often each state passed the branch test again."""
        return tuple(
            replace(e, survival=Survival(found=int(found), refits=self.n))
            for e, found in zip(evidence, self.detours, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class PrefixPoint:
    """R² of the remaining steps to convergence from the first ``rows`` rows, over runs that were held out.

    Against predicting the mean of the runs that were not: 1 − Σ(error)² / Σ(deviation from that mean)². What says
    nothing has an R² of about 0, or somewhat below.

    Attributes
    ----------
    rows : m.
    step : mean step of row m.
    n_runs : runs that had not converged by then and did later.
    r2_states : from bag of states, current state and step of the first m rows.
    r2_step : from m (the step) alone.
    r2_loss : from the loss at row m alone; None if the logs hold no loss.
    """

    rows: int
    step: float
    n_runs: int
    r2_states: float
    r2_step: float
    r2_loss: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RawRows:
    """Unscaled rows beside `Sequences`: (N, D) ``values`` of the model's metrics, and the (N,) ``loss`` if any."""

    values: Floats
    loss: Floats | None


def loss_name(metrics: tuple[str, ...]) -> str | None:
    """The metric to take as the loss."""
    return next((name for name in _LOSSES if name in metrics), None)
