"""What a model for warning knows of its own scores: when to alarm, and what a score says of collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError
from trajhmm.features import LevelsAndInnovations
from trajhmm.hmm import Model
from trajhmm.stored import Stored, StoredError
from trajhmm.warning.views.portfolio import Portfolio

SECTION, PORTFOLIO = "calibration", "portfolio"

# Rows that count after an alarm before its risk is told. At the alarm itself the level ranks those that will collapse
# above those that will live no better than chance on some families (tests/benchmarks/test_risk.py).
WAIT = 10
# What a model file may hold: the least of what must be positive, and the largest log-odds.
_LEAST, _STEEPEST = 1e-300, 1e3


@dataclass(frozen=True, kw_only=True)
class RiskCurve:
    """Log-odds that a run which has alarmed ends in collapse: from how far off it is, and for how long it has lived.

    With the level l, see `trajhmm.warning.views.portfolio.Combined`, at the n-th row that counts after the alarm:
    constant + off · tanh(l) + lasting · log(n / `WAIT`). It is not known before the alarm, nor for `WAIT` rows after.

    Attributes
    ----------
    constant, off, lasting : log-odds; log-odds a unit of the squashed level, and of the logarithm of the rows.
    collapsed, survived : runs whose end it was learnt from; none where it comes with trajhmm.
    """

    constant: float
    off: float
    lasting: float
    collapsed: int = 0
    survived: int = 0

    def at(self, level: NDArray[np.float64], since: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) risk at (n,) levels, so many rows that count ``since`` the alarm; NaN while it is too early to tell."""
        if since.max(initial=-1) < WAIT:
            return np.full(len(level), np.nan)
        terms = self.terms(level, since)
        with np.errstate(over="ignore"):
            odds = np.exp(-(self.constant + self.off * terms[:, 0] + self.lasting * terms[:, 1]))
        risk: NDArray[np.float64] = np.where(since < WAIT, np.nan, 1.0 / (1.0 + odds))
        return risk

    @staticmethod
    def terms(level: NDArray[np.float64], since: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, 2) what ``off`` and ``lasting`` multiply."""
        return np.column_stack([np.tanh(level), np.log(np.maximum(since, WAIT) / WAIT)])

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RiskCurve:
        """Read back what the model file holds.

        Raises
        ------
        ModelFileError
            An older trajhmm wrote it.
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, "risk")
        if "near" in piece.members():
            raise ModelFileError(
                "the model was made by an older trajhmm, which told the risk in another way; fit it again with "
                "'trajhmm fit HEALTHY --for warning'"
            )
        piece.members(known=("constant", "off", "lasting", "collapsed", "survived"))
        return cls(
            constant=piece["constant"].number(-_STEEPEST, _STEEPEST),
            off=piece["off"].number(_LEAST, _STEEPEST),
            lasting=piece["lasting"].number(-_STEEPEST, _STEEPEST),
            collapsed=piece["collapsed"].whole(),
            survived=piece["survived"].whole(),
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds of a model for warning.

    Attributes
    ----------
    threshold : alarm where the score is above it.
    budget : share of healthy runs that was allowed to alarm.
    attainable : share that is promised; above the budget where there were too few healthy runs.
    n_runs : healthy runs calibrated on, none of which the model that scored it had been fitted to.
    risk : what a departure says of collapse.
    maxima : largest score of each of these runs, rising, so that other budgets can be had from them.
    """

    threshold: float
    budget: float
    attainable: float
    n_runs: int
    risk: RiskCurve
    maxima: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds, in the section ``calibration``."""
        return {**asdict(self), "maxima": list(self.maxima)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibration:
        """Read back what `to_dict` gives.

        Raises
        ------
        ModelFileError
            It tells the risk as an older trajhmm did.
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, SECTION)
        piece.members(known=("threshold", "budget", "attainable", "n_runs", "risk", "maxima"))
        n_runs, budget = piece["n_runs"].whole(1), piece["budget"].number(_LEAST, 1.0)
        maxima = piece["maxima"].array((n_runs,), 0.0)
        if (np.diff(maxima) < 0).any():
            raise piece["maxima"].error("largest scores that rise")
        # As far as any healthy run got, or as so small a share of them would get, see `fit_warning`; and rounding.
        most = max(float(maxima[-1]), -math.log(budget)) * (1 + 1e-9)
        return cls(
            threshold=piece["threshold"].number(0.0, most),
            budget=budget,
            attainable=piece["attainable"].number(0.0, 1.0),
            n_runs=n_runs,
            risk=RiskCurve.from_dict(piece["risk"].value),
            maxima=tuple(maxima.tolist()),
        )


def portfolio_of(model: Model) -> Portfolio:
    """The views that a model for warning holds.

    Raises
    ------
    ModelFileError
        The model is a map, or a part is missing or unknown.
    """
    stored = model.sections.get(PORTFOLIO)
    if stored is None or not isinstance(model.scaler, LevelsAndInnovations):
        raise ModelFileError(
            f"the model was fitted for a {model.purpose}, which sees whole runs and cannot warn; fit one with "
            "'trajhmm fit HEALTHY --for warning'"
        )
    try:
        return Portfolio.from_dict(stored, model.scaler, model.parameters)
    except StoredError as error:
        raise ModelFileError(f"the model's views lack a part or have an unknown one ({error})") from error


def calibration_of(model: Model) -> Calibration | None:
    """The calibration that a model holds; None for a map.

    Raises
    ------
    ModelFileError
        A part of it is missing or unknown.
    """
    stored = model.sections.get(SECTION)
    if stored is None:
        return None
    try:
        return Calibration.from_dict(stored)
    except StoredError as error:
        raise ModelFileError(f"the model's calibration is damaged, or not one of this trajhmm ({error})") from error
