"""Following a run row by row: its score, the risk of collapse, the state it is in, and when it first alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError
from trajhmm.features import Departures, carried_forward
from trajhmm.features.causal import LARGEST
from trajhmm.features.departures import compressed
from trajhmm.features.events import Broken, is_loss
from trajhmm.hmm import Model
from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.kernels import exact
from trajhmm.logs.assembly.repeats import mean_of
from trajhmm.logs.following.counting import StepCounter
from trajhmm.logs.following.follow import Cells, NewRows
from trajhmm.logs.following.missing import Missing
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.calibration import Calibration, calibration_of
from trajhmm.warning.risk import levels

_MOST_DRIVERS = 5
# Rows at a time: what they need stays in cache.
_BLOCK = 2048
_ONE = np.zeros(1, dtype=np.int64)
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
        self.losses = np.array([is_loss(metric) for metric in model.metrics])

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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What is kept of the rows of a run so far: a few numbers.

    Attributes
    ----------
    last_step : None before the first row.
    values : (D,) the last finite value of each metric, NaN before the first.
    broken : which metrics are not finite or lack, and for how long.
    log_probs : (K,) of the states.
    surprise, level : running averages; NaN before the first row.
    largest : score so far.
    """

    last_step: int | None
    values: NDArray[np.float64]
    broken: Broken
    log_probs: NDArray[np.float64]
    surprise: float
    level: float
    largest: float

    @classmethod
    def nothing(cls, n_metrics: int, n_states: int) -> _Known:
        """Before the first row."""
        return cls(
            last_step=None,
            values=np.full(n_metrics, np.nan),
            broken=Broken.at_start(n_metrics),
            log_probs=np.zeros(n_states),
            surprise=math.nan,
            level=math.nan,
            largest=-math.inf,
        )

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds."""
        return {
            "last_step": self.last_step,
            "values": [None if math.isnan(value) else value for value in self.values.tolist()],
            "streak": self.broken.streak.tolist(),
            "log_probs": [None if math.isinf(value) else value for value in self.log_probs.tolist()],
            "surprise": None if math.isnan(self.surprise) else self.surprise,
            "level": None if math.isnan(self.level) else self.level,
            "largest": self.largest if math.isfinite(self.largest) else None,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> _Known:
        """Take what `to_dict` gave."""
        values = np.array([math.nan if value is None else value for value in stored["values"]])
        streak = np.array(stored.get("streak", [0] * len(values)), dtype=np.int64)
        surprise, level = (math.nan if stored[n] is None else stored[n] for n in ("surprise", "level"))
        largest = stored["largest"]
        if largest is None:  # infinite, before the first row as after one that was not finite
            largest = -math.inf if stored["last_step"] is None else math.inf
        return cls(
            last_step=stored["last_step"],
            values=values,
            broken=Broken(known=~np.isnan(values), streak=streak),
            log_probs=np.array([-math.inf if value is None else value for value in stored["log_probs"]]),
            surprise=surprise,
            level=level,
            largest=largest,
        )


class Tracker:
    """One run under way. All that is kept of the rows so far is a few numbers, and the rows of the last step."""

    def __init__(self, scorer: Scorer, run: str) -> None:
        self.run = run
        self.last: Scored | None = None
        self.alarm: Alarm | None = None
        self.alarm_step: int | None = None
        self._scorer = scorer
        self._known = _Known.nothing(len(scorer.metrics), scorer.parameters.n_states)
        # So that more rows of the last step can still be joined with it.
        self._before = self._known
        self._missing = Missing(scorer.metrics)
        self._last_rows: NewRows | None = None
        self._held = False
        self._counter = StepCounter()

    @property
    def last_step(self) -> int | None:
        """Step of the last row; None before the first."""
        return self._known.last_step

    @property
    def holds_back(self) -> bool:
        """Whether the rows of the last step are not scored yet, as more of it may come; see `settle`."""
        return self._held

    @property
    def largest(self) -> float:
        """The largest score so far."""
        return self._known.largest

    def take(self, rows: NewRows) -> Scored:
        """Take in rows as they were written: those of one step are joined, also with rows of it that came before.

        What is known of the run, and the scores of rows, are then those of the finished log. A last step that lacks a
        metric is held back until the next begins, or `settle` says that it is whole; not if a loss in it is not finite.
        An alarm stays raised.

        Parameters
        ----------
        rows : n rows, n at least 1.

        Returns
        -------
        A row for each step; the first may be the last of before, scored anew.
        """
        rows = replace(rows, steps=self._counter.take(rows.steps, rows.epochs), epochs=None)
        last_rows = self._last_rows
        if last_rows is not None and rows.steps[0] == last_rows.steps[0]:
            if not _begins_anew(last_rows, rows):
                rows = _behind_each_other(last_rows, rows)
            self._known = self._before
        elif last_rows is not None and self._held:
            rows = _behind_each_other(last_rows, rows)
        elif last_rows is not None and (cells := _joined(last_rows, _ONE).cells) is not None:
            self._missing.take(cells.names, cells.values, cells.present)  # nothing more will be joined with it
        starts = np.concatenate(([0], np.flatnonzero(np.diff(rows.steps)) + 1))
        joined = rows if len(starts) == len(rows.steps) else _joined(rows, starts)
        self._last_rows = rows.behind(int(starts[-1])).copy()
        last = len(joined.steps) - 1
        parts = []
        if last:
            parts.append(self._advanced(joined.at(slice(last)), self._missing))
        self._before = self._known
        self._held = self._may_go_on(joined.behind(last))
        if not self._held:
            parts.append(self._advanced(joined.behind(last), self._missing.copy()))
        return _concatenated(parts)

    def _may_go_on(self, row: NewRows) -> bool:
        """Whether more of a row's step may come: it lacks a metric, and tells of no loss that is gone."""
        gone = row.logged[0] & ~np.isfinite(row.values[0]) & self._scorer.losses
        return row.cells is not None and not row.logged[0].all() and not gone.any()

    def settle(self) -> Scored:
        """Score the rows of the last step if they are held back: nothing more of it is to come."""
        if not self._held or self._last_rows is None:
            return _concatenated([])
        self._held = False
        return self._advanced(_joined(self._last_rows, _ONE), self._missing.copy())

    def _advanced(self, rows: NewRows, missing: Missing) -> Scored:
        cells = rows.cells
        missed = None if cells is None else missing.take(cells.names, cells.values, cells.present)
        return self.advance(rows.steps, rows.values, rows.logged, missed)

    def advance(
        self,
        steps: NDArray[np.int64],
        values: NDArray[np.float64],
        logged: NDArray[np.bool_],
        missed: NDArray[np.int8] | None = None,
    ) -> Scored:
        """Take in n rows, n at least 1, whatever came before; the same to the last bit however rows are dealt out.

        Parameters
        ----------
        steps : (n,)
        values, logged : (n, D) and which of them were logged.
        missed : (n, D) rows in succession at which a value was due and is blank; None if none is missing.
        """
        parts = []
        for begin in range(0, len(steps), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            parts.append(
                self._advance(steps[rows], values[rows], logged[rows], None if missed is None else missed[rows])
            )
        return _concatenated(parts)

    def _advance(
        self,
        steps: NDArray[np.int64],
        values: NDArray[np.float64],
        logged: NDArray[np.bool_],
        missed: NDArray[np.int8] | None,
    ) -> Scored:
        scorer, before = self._scorer, self._known
        broken, behind = before.broken.after(values, logged, missed, scorer.losses)
        events = broken.any(axis=1)
        known = np.clip(self._carried(values, logged & np.isfinite(values)), -LARGEST, LARGEST)
        spreads = scorer.departures.spreads(steps, known)
        away = compressed(spreads)
        densities = scorer.emissions.log_densities_by_row(away)
        log_probs, predictive = np.empty_like(densities), np.empty(len(steps))
        begins = np.zeros(len(steps), dtype=bool)
        begins[0] = before.last_step is None
        p = scorer.parameters
        state = before.log_probs.copy()
        exact.forward(densities, begins, p.startprob, p.transmat, state, log_probs, predictive)
        surprise = exponential_average(-predictive, scorer.calibration.span, before.surprise)
        level = levels(spreads, before.level)
        scored = Scored(
            steps=steps,
            score=np.where(events, np.inf, surprise),
            risk=np.where(events, 1.0, scorer.calibration.risk.at(level)),
            state=log_probs.argmax(axis=1).astype(np.int64),
        )
        self._known = _Known(
            last_step=int(steps[-1]),
            # Copies, as views would keep all rows of the block alive, of every run that is followed.
            values=known[-1].copy(),
            broken=behind,
            log_probs=state,
            surprise=float(surprise[-1]),
            level=float(level[-1]),
            largest=max(before.largest, float(scored.score.max())),
        )
        self.last = Scored(**{name: getattr(scored, name)[-1:].copy() for name in _COLUMNS})
        if self.alarm_step is None:
            self.alarm = self._alarm(scored, away, log_probs, broken)
            self.alarm_step = None if self.alarm is None else self.alarm.step
        return scored

    def _carried(self, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, D) the last finite value of each metric, those before these rows among them."""
        if logged.all():
            return values
        before = self._known.values
        return carried_forward(np.vstack([before, values]), np.vstack([~np.isnan(before), logged]))[1:]

    def _alarm(
        self,
        scored: Scored,
        away: NDArray[np.float64],
        log_probs: NDArray[np.float64],
        broken: NDArray[np.bool_],
    ) -> Alarm | None:
        over = np.flatnonzero(scored.score > self._scorer.calibration.threshold)
        if not len(over):
            return None
        row = int(over[0])
        if broken[row].any():
            names = [self._scorer.metrics[d] for d in np.flatnonzero(broken[row])]
            drivers = [Driver(metric=name, contribution=math.inf) for name in names]
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
        last = self._last_rows
        return {
            **self._known.to_dict(),
            "alarm_step": self.alarm_step,
            "before": None if last is None else self._before.to_dict(),
            "missing": self._missing.to_dict(),
            "last_rows": None if last is None else last.to_dict(),
            "held": self._held,
            "counter": self._counter.to_list(),
        }

    def resume(self, stored: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` gave; an alarm that was raised is not raised again."""
        self._known = _Known.of(stored)
        self.alarm_step = stored["alarm_step"]
        if stored.get("missing") is not None:
            self._missing = Missing.of(self._scorer.metrics, stored["missing"])
        if stored.get("last_rows") is not None:
            self._before = _Known.of(stored["before"])
            self._last_rows = NewRows.of(self.run, stored["last_rows"])
            self._held = stored["held"]
            self._counter = StepCounter.of(stored["counter"])


def _begins_anew(last: NewRows, rows: NewRows) -> bool:
    """Whether the step begins anew in another file: as a resumed run does, with other values than it had."""
    if last.file == rows.file:
        return False
    both = last.logged & rows.logged[0]
    return bool((both & (last.values != rows.values[0])).any())


def _behind_each_other(one: NewRows, two: NewRows) -> NewRows:
    """The rows of two, in that order; a column that one lacks is blank there."""
    cells = None
    if one.cells is not None and two.cells is not None:
        names = tuple(dict.fromkeys((*one.cells.names, *two.cells.names)))
        parts = [cells.of_columns(names) for cells in (one.cells, two.cells)]
        cells = Cells(
            names=names,
            values=np.concatenate([part.values for part in parts]),
            present=np.concatenate([part.present for part in parts]),
        )
    return NewRows(
        run=two.run,
        steps=np.concatenate([one.steps, two.steps]),
        values=np.concatenate([one.values, two.values]),
        logged=np.concatenate([one.logged, two.logged]),
        cells=cells,
        file=two.file,
    )


def _joined(rows: NewRows, starts: NDArray[np.int64]) -> NewRows:
    """One row for each stretch of rows of one step: the mean of what is logged in them."""
    values, logged = _means(rows.values, rows.logged, starts)
    cells = rows.cells
    if cells is not None:
        held, present = _means(cells.values, cells.present, starts)
        cells = Cells(names=cells.names, values=held, present=present)
    return replace(rows, steps=rows.steps[starts], values=values, logged=logged, cells=cells)


def _means(
    values: NDArray[np.float64], there: NDArray[np.bool_], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    means, any_there = values[starts].copy(), there[starts].copy()
    ends = [*starts[1:].tolist(), len(values)]
    for row, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        if end - start > 1:
            means[row] = [
                mean_of(column[here]) for column, here in zip(values[start:end].T, there[start:end].T, strict=True)
            ]
            any_there[row] = there[start:end].any(axis=0)
    return means, any_there


def _concatenated(parts: Sequence[Scored]) -> Scored:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing = np.empty(0)
        return Scored(
            steps=nothing.astype(np.int64), score=nothing, risk=nothing.copy(), state=nothing.astype(np.int64)
        )
    return Scored(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS})
