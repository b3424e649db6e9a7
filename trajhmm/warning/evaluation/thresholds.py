"""Thresholds that keep the share of healthy runs that ever alarm within a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold and what it promises.

    Attributes
    ----------
    value : alarm where the score is above it.
    budget : share of healthy runs that was allowed to alarm, α.
    attainable : the share that is promised: of healthy runs drawn like those calibrated on, at most this share alarms,
        on average over draws of both. At most the budget if there were runs enough, else 1 / (n + 1).
    runs : number of healthy runs calibrated on, n.
    """

    value: float
    budget: float
    attainable: float
    runs: int

    @property
    def within_budget(self) -> bool:
        """Whether the budget can be promised with so few runs."""
        return self.attainable <= self.budget + _ROUNDING

    def __str__(self) -> str:
        if self.within_budget:
            return f"{self.value:.4g} (at most {self.attainable:.1%} of healthy runs, from {self.runs})"
        return (
            f"{self.value:.4g} ({self.runs} healthy runs promise {self.attainable:.1%} at best, not {self.budget:.1%})"
        )


def conformal_threshold(maxima: NDArray[np.float64], budget: float) -> Threshold:
    """The threshold that at most a share ``budget`` of healthy runs ever passes.

    With k = ⌈(n + 1)(1 − α)⌉, the k-th smallest maximum: if a new run's maximum is exchangeable with those of the n
    runs, it exceeds the k-th smallest of theirs with probability at most 1 − k / (n + 1) ≤ α (split conformal
    prediction: Vovk, Gammerman and Shafer 2005; Lei et al. 2018). Where k > n, the largest maximum is taken, which
    promises 1 / (n + 1).

    Parameters
    ----------
    maxima : (n,) largest score of each healthy run that the detector was not fitted on.
    budget : α, between 0 and 1.

    Raises
    ------
    FitError
        No run to calibrate on, or a budget that is no share.
    """
    if not 0 < budget < 1:
        raise FitError(f"the share of healthy runs that may alarm must lie between 0 and 1, found {budget:g}")
    n = len(maxima)
    if n == 0:
        raise FitError("no healthy run left to calibrate a threshold on; at least 1 is needed, 19 for a budget of 5%")
    allowed = max(int(np.floor((n + 1) * budget + _ROUNDING)), 1)
    rank = n + 1 - allowed
    return Threshold(value=float(np.sort(maxima)[rank - 1]), budget=budget, attainable=allowed / (n + 1), runs=n)


def runs_needed(budget: float) -> int:
    """The least number of healthy runs with which ``budget`` can be promised."""
    return int(np.ceil(1 / budget - 1 - _ROUNDING))
