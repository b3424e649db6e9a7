"""What a model for warning knows of its own scores: when to alarm, and what a score says of collapse."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds of a model for warning.

    Attributes
    ----------
    threshold : alarm where the score is above it.
    budget : share of healthy runs that was allowed to alarm.
    attainable : share that is promised; above the budget where there were too few healthy runs.
    n_runs : healthy runs calibrated on, none of which the model that scored it had been fitted to.
    typical : median score of healthy rows.
    maxima : largest score of each of these runs, rising, so that other budgets can be had from them.
    """

    threshold: float
    budget: float
    attainable: float
    n_runs: int
    typical: float
    maxima: tuple[float, ...]
