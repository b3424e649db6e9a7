"""Following a run row by row: its score, the risk of collapse, the state it is in, and when it first alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError
from trajhmm.features import Departures, carried_forward
from trajhmm.features.causal import LARGEST
from trajhmm.features.departures import compressed
from trajhmm.hmm import Model
from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.kernels import exact
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.calibration import Calibration, calibration_of
from trajhmm.warning.risk import levels

_MOST_DRIVERS = 5
# Rows at a time: what they need stays in cache.
_BLOCK = 2048
_COLUMNS = ("steps", "score", "risk", "state")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A metric, and what it adds to the score at the alarm, in nats."""

    metric: str
    contribution: float


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A run has left what healthy runs do.

    Attributes
    ----------
    run, step : which, and when first.
    score, threshold : in nats; the score is infinite where a value was not finite.
    risk : in [0, 1], that it ends in collapse.
    state : the likeliest state at that row.
    drivers : what drove it, largest first.
    """

    run: str
    step: int
    score: float
    threshold: float
    risk: float
    state: int
    drivers: tuple[Driver, ...]

    def __str__(self) -> str:
        names = ", ".join(driver.metric for driver in self.drivers[:3]) or "no metric"
        what = "a value that is not finite" if math.isinf(self.score) else f"score {self.score:.4g}"
        place = f"run {self.run} at step {self.step}"
        return f"{place}: {what} (threshold {self.threshold:.4g}), risk {self.risk:.0%}; {names}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """n rows of one run, scored.

    Attributes
    ----------
    steps, score, risk : (n,)
    state : (n,) likeliest state given the rows so far.
    """

    steps: NDArray[np.int64]
    score: NDArray[np.float64]
    risk: NDArray[np.float64]
    state: NDArray[np.int64]


class Scorer:
    """A model for warning, ready to score rows of many runs.

    Raises
    ------
    ModelFileError
        The model is a map.
    """

    def __init__(self, model: Model) -> None:
        calibration = calibration_of(model)
        if calibration is None or not isinstance(model.scaler, Departures):
            raise ModelFileError(
                f"the model was fitted for a {model.purpose}, which sees whole runs and cannot warn; fit one with "
                "'trajhmm fit HEALTHY --for warning'"
            )
        self.metrics = model.metrics
        self.departures: Departures = model.scaler
        self.calibration: Calibration = calibration
        self.parameters = model.parameters
        self.emissions = Emissions.of(self.parameters)
        self.precisions = self.parameters.precisions()

    def contributions(self, away: NDArray[np.float64], probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, D) share of each metric in ½ Σ_k γ_k (z - μ_k)ᵀ Σ_k⁻¹ (z - μ_k): half of z times the score's gradient.

        Parameters
        ----------
        away : (n, D) departures z.
        probs : (n, K) γ, of the states given the rows so far.
        """
        shares = np.zeros_like(away)
        for mean, precision, weight in zip(self.parameters.means, self.precisions, probs.T, strict=True):
            distance = away - mean
            shares += 0.5 * weight[:, np.newaxis] * distance * (distance @ precision)
        return shares

    def start(self, run: str) -> Tracker:
        """What is known of a run before its first row."""
        return Tracker(self, run)


class Tracker:
    """One run under way. All that is kept of the rows so far is a few numbers."""

    def __init__(self, scorer: Scorer, run: str) -> None:
        self.run = run
        self.last_step: int | None = None
        self.last: Scored | None = None
        self.alarm: Alarm | None = None
        self.alarm_step: int | None = None
        self.largest = -math.inf
        self._scorer = scorer
        self._values = np.full(len(scorer.metrics), np.nan)
        self._log_probs = np.zeros(scorer.parameters.n_states)
        self._surprise = self._level = math.nan

    def advance(self, steps: NDArray[np.int64], values: NDArray[np.float64], logged: NDArray[np.bool_]) -> Scored:
        """Take in n rows, n at least 1, whatever came before; the same to the last bit however rows are dealt out.

        Parameters
        ----------
        steps : (n,)
        values, logged : (n, D) and which of them were logged; a value that is logged and not finite is an event.
        """
        blocks = [slice(begin, begin + _BLOCK) for begin in range(0, len(steps), _BLOCK)]
        parts = [self._advance(steps[rows], values[rows], logged[rows]) for rows in blocks]
        if len(parts) == 1:
            return parts[0]
        return Scored(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS})

    def _advance(self, steps: NDArray[np.int64], values: NDArray[np.float64], logged: NDArray[np.bool_]) -> Scored:
        scorer = self._scorer
        events = np.any(logged & ~np.isfinite(values), axis=1)
        known = np.clip(self._carried(values, logged & np.isfinite(values)), -LARGEST, LARGEST)
        spreads = scorer.departures.spreads(steps, known)
        away = compressed(spreads)
        densities = scorer.emissions.log_densities_by_row(away)
        log_probs, predictive = np.empty_like(densities), np.empty(len(steps))
        begins = np.zeros(len(steps), dtype=bool)
        begins[0] = self.last_step is None
        p = scorer.parameters
        exact.forward(densities, begins, p.startprob, p.transmat, self._log_probs, log_probs, predictive)
        surprise = exponential_average(-predictive, scorer.calibration.span, self._surprise)
        level = levels(spreads, self._level)
        scored = Scored(
            steps=steps,
            score=np.where(events, np.inf, surprise),
            risk=np.where(events, 1.0, scorer.calibration.risk.at(level)),
            state=log_probs.argmax(axis=1).astype(np.int64),
        )
        self._surprise, self._level = float(surprise[-1]), float(level[-1])
        # Copies, as views would keep all rows of the block alive, of every run that is followed.
        self._values, self.last_step = known[-1].copy(), int(steps[-1])
        self.last = Scored(**{name: getattr(scored, name)[-1:].copy() for name in _COLUMNS})
        self.largest = max(self.largest, float(scored.score.max()))
        if self.alarm_step is None:
            self.alarm = self._alarm(scored, away, log_probs, values, logged)
            self.alarm_step = None if self.alarm is None else self.alarm.step
        return scored

    def _carried(self, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, D) the last finite value of each metric, those before these rows among them."""
        if logged.all():
            return values
        first = ~np.isnan(self._values)
        return carried_forward(np.vstack([self._values, values]), np.vstack([first, logged]))[1:]

    def _alarm(
        self,
        scored: Scored,
        away: NDArray[np.float64],
        log_probs: NDArray[np.float64],
        values: NDArray[np.float64],
        logged: NDArray[np.bool_],
    ) -> Alarm | None:
        over = np.flatnonzero(scored.score > self._scorer.calibration.threshold)
        if not len(over):
            return None
        row = int(over[0])
        broken = logged[row] & ~np.isfinite(values[row])
        if broken.any():
            drivers = [Driver(metric=self._scorer.metrics[d], contribution=math.inf) for d in np.flatnonzero(broken)]
        else:
            drivers = self._drivers(away[row], np.exp(log_probs[row]))
        return Alarm(
            run=self.run,
            step=int(scored.steps[row]),
            score=float(scored.score[row]),
            threshold=self._scorer.calibration.threshold,
            risk=float(scored.risk[row]),
            state=int(scored.state[row]),
            drivers=tuple(drivers[:_MOST_DRIVERS]),
        )

    def _drivers(self, away: NDArray[np.float64], probs: NDArray[np.float64]) -> list[Driver]:
        shares = self._scorer.contributions(away[np.newaxis], probs[np.newaxis])[0]
        order = np.argsort(-shares, kind="stable")
        return [Driver(metric=self._scorer.metrics[d], contribution=float(shares[d])) for d in order if shares[d] > 0]

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds."""
        return {
            "last_step": self.last_step,
            "values": [None if math.isnan(value) else value for value in self._values.tolist()],
            "log_probs": [None if math.isinf(value) else value for value in self._log_probs.tolist()],
            "surprise": None if math.isnan(self._surprise) else self._surprise,
            "level": None if math.isnan(self._level) else self._level,
            "alarm_step": self.alarm_step,
            "largest": self.largest if math.isfinite(self.largest) else None,
        }

    def resume(self, stored: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` gave; an alarm that was raised is not raised again."""
        self.last_step = stored["last_step"]
        self._values = np.array([math.nan if value is None else value for value in stored["values"]])
        self._log_probs = np.array([-math.inf if value is None else value for value in stored["log_probs"]])
        self._surprise, self._level = (math.nan if stored[n] is None else stored[n] for n in ("surprise", "level"))
        self.alarm_step = stored["alarm_step"]
        self.largest = math.inf if stored["largest"] is None else stored["largest"]
