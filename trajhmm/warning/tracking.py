"""Following a run row by row: its score, the risk of collapse, the state it is in, and when it first alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError
from trajhmm.features import carried_forward
from trajhmm.features.causal import LARGEST
from trajhmm.features.events import Broken, is_loss
from trajhmm.hmm import Model
from trajhmm.logs.assembly.repeats import mean_of
from trajhmm.logs.following.counting import StepCounter
from trajhmm.logs.following.follow import Cells, NewRows
from trajhmm.logs.following.missing import Missing
from trajhmm.warning.calibration import RiskCurve, calibration_of, portfolio_of
from trajhmm.warning.onmap.states import MapStates, Place, map_states_of
from trajhmm.warning.risk import rows_since
from trajhmm.warning.views.alone import Alone
from trajhmm.warning.views.course import Course
from trajhmm.warning.views.ownlosses import LongSum, ShortSum
from trajhmm.warning.views.phases import BURN_IN
from trajhmm.warning.views.portfolio import Memory, Portfolio, as_stored
from trajhmm.warning.views.surprise import SPAN

_MOST_DRIVERS = 5
# Views in which rows add up that each may be as usual, and what they say.
_ADDS_UP = {ShortSum.name: "it keeps going up", LongSum.name: "it has left the level of its last 200 rows"}
# Rows at a time: what they need stays in cache.
_BLOCK = 2048
# Rows from one checkpoint to the next, at least.
_CHECKPOINT = 16
_ONE = np.zeros(1, dtype=np.int64)
_COLUMNS = ("steps", "score", "risk", "state", "phase", "left")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A metric, and what it adds to the score at the alarm.

    Attributes
    ----------
    metric, contribution : in nats for the views ``phase`` and ``course``, in spreads for those of the losses.
    view : the view that rang.
    value : of the metric at the alarm; None where it is not finite.
    direction : ``up`` or ``down``: above or below where healthy rows are; within, against its own last rows. None where
        it is not finite.
    healthy_low, healthy_high : between which values nine of ten healthy rows were in that phase of training; without a
        reference, within two spreads of its own mean; of a loss, as near to its best as rings nothing, or, if one of
        its sums rang, where it adds nothing to that. None if that is not known.
    """

    metric: str
    contribution: float
    view: str
    value: float | None = None
    direction: str | None = None
    healthy_low: float | None = None
    healthy_high: float | None = None

    @property
    def is_usual(self) -> bool:
        """Whether it is where nine of ten healthy rows are: what is odd is how metrics go together."""
        known = self.value is not None and self.healthy_low is not None and self.healthy_high is not None
        return known and self.healthy_low <= self.value <= self.healthy_high  # type: ignore[operator]

    @property
    def brief(self) -> str:
        """Which metric, where it is and where it goes."""
        if self.value is None:
            return f"{self.metric} {self.view}"
        return f"{self.metric} {self.value:.3g} {'↑' if self.direction == 'up' else '↓'}"

    def __str__(self) -> str:
        if self.healthy_low is None or self.healthy_high is None:
            return self.brief
        to = " to " if self.healthy_low < 0.0 else "–"  # a dash beside a minus is hard to read
        return f"{self.brief} (usual here {self.healthy_low:.3g}{to}{self.healthy_high:.3g})"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A run has left what healthy runs do.

    Attributes
    ----------
    run, step : which, and when first.
    score, threshold : in units of what healthy runs reach; the score is infinite where a value was not finite.
    risk : in [0, 1], that it ends in collapse; None where it is too early to tell, or no model tells it.
    state : the likeliest state at that row: of the map if the model carries one, else a phase of training; None where
        that is not known.
    drivers : what drove it, largest first.
    phase : the likeliest phase of training.
    place : where on the map the run is, beside healthy runs; None without a map.
    """

    run: str
    step: int
    score: float
    threshold: float
    risk: float | None
    state: int | None
    drivers: tuple[Driver, ...]
    phase: int | None = None
    place: Place | None = None

    def __str__(self) -> str:
        told = self.drivers[:3]
        drivers = ", ".join(map(str, told)) or "no metric"
        if told and all(driver.view == Course.name and driver.is_usual for driver in told):
            drivers += ": each as usual, but not together"
        elif told and told[0].view in _ADDS_UP:
            drivers += f": {_ADDS_UP[told[0].view]}"
        what = "a value that is not finite" if math.isinf(self.score) else f"score {self.score:.4g}"
        place = f"run {self.run} at step {self.step}"
        untold = "risk too early to tell" if self.phase is not None else "risk unknown without a model"
        risk = untold if self.risk is None else f"risk {self.risk:.0%}"
        on_map = "" if self.place is None else f"; {self.place}"
        return f"{place}: {drivers}; {what} (threshold {self.threshold:.4g}){on_map}, {risk}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """n rows of one run, scored.

    Attributes
    ----------
    steps, score : (n,)
    risk : (n,) NaN where it is too early to tell.
    state : (n,) likeliest state given the rows so far: of the map if the model carries one, else a phase of training;
        -1 where that is not known.
    phase : (n,) likeliest phase of training; -1 where that is not known.
    left : (n,) state of the map in which the run was before it came into that one; -1 where there is none.
    """

    steps: NDArray[np.int64]
    score: NDArray[np.float64]
    risk: NDArray[np.float64]
    state: NDArray[np.int64]
    phase: NDArray[np.int64]
    left: NDArray[np.int64]


class Scorer:
    """A model for warning, or none, ready to score rows of many runs.

    Parameters
    ----------
    model : for warning; None to judge each run by its own past.
    metrics : names that are watched without a model.

    Attributes
    ----------
    metrics, losses : D names, and which of them are losses.
    views : what scores.
    threshold : of the score.
    risk : what the path after an alarm says of collapse; None if nothing is known of that.
    map : whose states are told beside scores; None if those are phases of training.

    Raises
    ------
    ModelFileError
        The model is a map.
    """

    def __init__(self, model: Model | None, metrics: Sequence[str] = ()) -> None:
        self.views: Portfolio | Alone
        self.risk: RiskCurve | None = None
        self.map: MapStates | None = None
        if model is None:
            self.metrics, self.views, self.threshold = tuple(metrics), Alone(metrics), 1.0
        else:
            self.views = portfolio_of(model)
            self.map = map_states_of(model, len(self.views.phases.begins))
            calibration = calibration_of(model)
            if calibration is None:
                raise ModelFileError("the model has views, but no thresholds")
            self.metrics, self.threshold, self.risk = model.metrics, calibration.threshold, calibration.risk
        self.losses = np.array([is_loss(metric) for metric in self.metrics], dtype=bool)
        # Shared by all runs: nobody writes into it.
        self.nothing = _Known.nothing(self)
        self.packed = self.nothing.packed()

    @property
    def situation(self) -> str:
        """``matched``, ``sweep`` or ``alone``."""
        return self.views.situation

    def risks(
        self, level: NDArray[np.float64], since: NDArray[np.int64], events: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """(n,) risk of collapse at (n,) levels; NaN where it cannot be told, 1 at rows that are not finite."""
        known = np.full(len(level), np.nan) if self.risk is None else self.risk.at(level, since)
        return np.where(events, 1.0, known)

    def place(self, scored: Scored, row: int) -> Place | None:
        """Where on the map a run is at a row; None without a map, or where that is not known."""
        if self.map is None or not isinstance(self.views, Portfolio):
            return None
        phase = self.views.phases.at(scored.steps[row : row + 1])[0]
        return self.map.place(int(scored.state[row]), int(scored.left[row]), int(phase))

    @property
    def last_step(self) -> int | None:
        """Up to which step healthy runs go; None without a reference."""
        return self.views.phases.last_step if isinstance(self.views, Portfolio) else None

    @property
    def first_step(self) -> int | None:
        """From which on rows are judged; None without a reference."""
        return self.views.phases.first_step if isinstance(self.views, Portfolio) else None

    def start(self, run: str) -> Tracker:
        """What is known of a run before its first row."""
        return Tracker(self, run)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What is kept of the rows of a run so far: a few numbers.

    Attributes
    ----------
    rows, last_step : how many, and None before the first.
    values : (D,) the last finite value of each metric, NaN before the first.
    broken : which metrics are not finite or lack, and for how long.
    memory : of the views.
    largest : score so far.
    since : how many rows counted since the alarm; -1 before it.
    on_map : what is kept of where on the map the run is; empty without a map.
    """

    rows: int
    last_step: int | None
    values: NDArray[np.float64]
    broken: Broken
    memory: Memory
    largest: float
    since: int
    on_map: NDArray[np.float64]

    @classmethod
    def nothing(cls, scorer: Scorer) -> _Known:
        """Before the first row."""
        return cls(
            rows=0,
            last_step=None,
            values=np.full(len(scorer.metrics), np.nan),
            broken=Broken.at_start(len(scorer.metrics)),
            memory=scorer.views.start(),
            largest=-math.inf,
            since=-1,
            on_map=np.empty(0) if scorer.map is None else scorer.map.start(),
        )

    def packed(self) -> NDArray[np.float64]:
        """All numbers in one array: rows, last step (NaN before the first), and the rest."""
        step = math.nan if self.last_step is None else self.last_step
        broken = self.broken
        head = [self.rows, step, self.largest, self.since]
        return np.concatenate([head, self.values, broken.known, broken.streak, self.memory.flat(), self.on_map])

    @classmethod
    def unpacked(cls, packed: NDArray[np.float64], scorer: Scorer) -> _Known:
        """What was `packed`, in arrays of its own."""
        n = len(scorer.metrics)
        ends = [n, 2 * n, 3 * n, len(packed) - 4 - len(scorer.nothing.on_map)]
        values, known, streak, memory, on_map = np.split(packed[4:].copy(), ends)
        return cls(
            rows=int(packed[0]),
            last_step=None if math.isnan(packed[1]) else int(packed[1]),
            values=values.copy(),
            broken=Broken(known=known.astype(bool), streak=streak.astype(np.int64)),
            memory=scorer.nothing.memory.of_flat(memory),
            largest=float(packed[2]),
            since=int(packed[3]),
            on_map=on_map.copy(),
        )

    def widened(self, narrow: Scorer, wide: Scorer, first: Mapping[str, float]) -> _Known:
        """The same of more metrics, which stood at their ``first`` values so far; both scorers are without a model."""
        nothing, memory = wide.nothing, self.memory
        if isinstance(wide.views, Alone) and isinstance(narrow.views, Alone):
            memory = wide.views.widened(memory, narrow.views, first)
        places = [wide.metrics.index(metric) for metric in narrow.metrics]
        values, known, streak = nothing.values.copy(), nothing.broken.known.copy(), nothing.broken.streak.copy()
        values[places], known[places], streak[places] = self.values, self.broken.known, self.broken.streak
        return replace(self, values=values, broken=Broken(known=known, streak=streak), memory=memory)

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds."""
        on_map = {"on_map": as_stored(self.on_map)} if len(self.on_map) else {}
        return {
            **on_map,
            "rows": self.rows,
            "last_step": self.last_step,
            "values": [None if math.isnan(value) else value for value in self.values.tolist()],
            "streak": self.broken.streak.tolist(),
            "memory": self.memory.to_list(),
            "largest": self.largest if math.isfinite(self.largest) else None,
            "since": self.since,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any], scorer: Scorer) -> _Known:
        """Take what `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is of other metrics, or damaged.
        """
        n = len(scorer.metrics)
        values = np.array([math.nan if value is None else value for value in stored["values"]], dtype=np.float64)
        streak = np.array(stored.get("streak", [0] * n), dtype=np.int64)
        if values.shape != (n,) or streak.shape != (n,):
            raise ValueError(f"values of {len(values)} metrics; expected {n}")
        on_map = np.array([float(number) for number in stored.get("on_map", ())], dtype=np.float64)
        if on_map.shape != scorer.nothing.on_map.shape:
            raise ValueError(f"{len(on_map)} numbers of the map; expected {len(scorer.nothing.on_map)}")
        largest = stored["largest"]
        if largest is None:  # infinite, before the first row as after one that was not finite
            largest = -math.inf if stored["last_step"] is None else math.inf
        return cls(
            rows=stored["rows"],
            last_step=stored["last_step"],
            values=values,
            broken=Broken(known=~np.isnan(values), streak=streak),
            memory=_memory_of(stored["memory"], scorer),
            largest=largest,
            since=stored.get("since", -1),  # which files of before do not hold
            on_map=on_map,
        )


def _memory_of(stored: Any, scorer: Scorer) -> Memory:
    """What views knew of a run; without a model nothing, where they look at other columns now than they did."""
    memory = scorer.views.start()
    try:
        return memory.taken_from(stored)
    except ValueError:
        numbers = list(stored)
        if before := scorer.views.of_before(numbers):
            return before
        if isinstance(scorer.views, Portfolio):
            raise
        return memory


class Tracker:
    """One run under way. All that is kept of the rows so far is a few numbers, and the rows of the last step."""

    def __init__(self, scorer: Scorer, run: str) -> None:
        self.run = run
        self.last: Scored | None = None
        self.alarm: Alarm | None = None
        self.alarm_step: int | None = None
        self._alarm_row: int | None = None
        self._scorer = scorer
        self._known = scorer.nothing
        self._first_step = 0
        # What was known at some rows, for a run that is resumed from an earlier step.
        self._checkpoints = [scorer.packed]
        self._checkpoints_moved = True
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
    def first_step(self) -> int | None:
        """Step of the first row; None before it."""
        return None if self.last_step is None else self._first_step

    @property
    def holds_back(self) -> bool:
        """Whether the rows of the last step are not scored yet, as more of it may come; see `settle`."""
        return self._held

    @property
    def unlogged(self) -> NDArray[np.bool_]:
        """(D,) which metrics had no finite value so far, not in a row that is held back either."""
        never: NDArray[np.bool_] = np.isnan(self._known.values)
        rows = self._last_rows
        return never if rows is None else never & ~(rows.logged & np.isfinite(rows.values)).any(axis=0)

    @property
    def known_losses(self) -> frozenset[str]:
        """Losses that were finite at some row so far."""
        known = self._scorer.losses & self._known.broken.known
        return frozenset(self._scorer.metrics[d] for d in np.flatnonzero(known))

    @property
    def unknown_losses(self) -> dict[str, int]:
        """Losses that were not finite in any row so far, and rows in succession at which they were not or lacked."""
        broken = self._known.broken
        never = self._scorer.losses & ~broken.known & (broken.streak > 0)
        return {self._scorer.metrics[d]: int(broken.streak[d]) for d in np.flatnonzero(never)}

    @property
    def alarmed_early(self) -> bool:
        """Whether the run alarmed within a few rows of the first that was judged."""
        return self._alarm_row is not None and self._alarm_row < 2 * BURN_IN

    @property
    def largest(self) -> float:
        """The largest score so far."""
        return self._known.largest

    @property
    def place(self) -> Place | None:
        """Where on the map the run is at its last row; None without a map, or where that is not known."""
        return None if self.last is None else self._scorer.place(self.last, 0)

    @property
    def rarer(self) -> float | None:
        """How many times as far apart the rows are, of late, as the reference's; None if no farther, or not known."""
        views = self._scorer.views
        return views.phases.rarer(self._known.memory.spaced) if isinstance(views, Portfolio) else None

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
        *,
        finished: bool = False,
    ) -> Scored:
        """Take in n rows, n at least 1, whatever came before; the same to the last bit however rows are dealt out.

        Parameters
        ----------
        steps : (n,)
        values, logged : (n, D) and which of them were logged.
        missed : (n, D) rows in succession at which a value was due and is blank; None if none is missing.
        finished : whether these are rows of a finished log, which does not go back: no checkpoints are made.
        """
        parts = []
        back = np.flatnonzero(np.diff(steps) < 0) + 1
        begin = 0
        while begin < len(steps):
            if self._known.last_step is None:
                self._first_step = int(steps[begin])
            elif steps[begin] < self._known.last_step:
                self._go_back(int(steps[begin]))
            due = _BLOCK if finished else _rows_apart(self._known.rows)
            after = np.searchsorted(back, begin, side="right")
            stop = int(back[after]) if after < len(back) else len(steps)
            rows = slice(begin, min(begin + _BLOCK, begin + due - self._known.rows % due, stop))
            parts.append(
                self._advance(steps[rows], values[rows], logged[rows], None if missed is None else missed[rows])
            )
            if self._known.rows % due == 0 and not finished:
                kept = [one for one in self._checkpoints if one[0] < self._known.rows and one[0] % due == 0]
                self._checkpoints = [*kept, self._known.packed()]
                self._checkpoints_moved = True
            begin = rows.stop
        return _concatenated(parts)

    def _go_back(self, step: int) -> None:
        """Know what was known at the last checkpoint before a step; if there is none, the views begin again.

        As many rows as lie between that and the step are not judged, and those over which a surprise is averaged.
        """
        now = self._known
        known = [one for one in self._checkpoints if not one[1] >= step]
        if not known:
            return
        # Those behind it are of rows that are taken back.
        self._checkpoints, self._checkpoints_moved = known, True
        then, end = _Known.unpacked(known[-1], self._scorer), now.last_step
        begin = self._first_step if then.last_step is None else then.last_step
        lost = 0.0 if end is None or end <= begin else (now.rows - then.rows) * max(step - begin, 0) / (end - begin)
        self._scorer.views.pause(then.memory, math.ceil(lost) + int(SPAN))
        self._known = replace(then, largest=max(then.largest, now.largest))

    def _advance(
        self,
        steps: NDArray[np.int64],
        values: NDArray[np.float64],
        logged: NDArray[np.bool_],
        missed: NDArray[np.int8] | None,
    ) -> Scored:
        scorer, before = self._scorer, self._known
        broken, behind = before.broken.after(values, logged, missed, scorer.losses)
        events: NDArray[np.bool_] = np.asarray(broken.any(axis=1))
        fresh = logged & np.isfinite(values)
        known = np.clip(self._carried(values, fresh), -LARGEST, LARGEST)
        memory = before.memory.copy()
        seen = scorer.views.advance(steps, known, fresh, memory)
        score: NDArray[np.float64] = np.where(events, np.inf, seen.score)
        above = score > scorer.threshold
        since = rows_since(above, seen.counted, before.since)
        state, left, on_map = self._on_map(steps, known, fresh & seen.counted[:, np.newaxis])
        scored = Scored(
            steps=steps,
            score=score,
            risk=scorer.risks(seen.level, since, events),
            state=seen.state if state is None else state,
            phase=seen.state,
            left=left,
        )
        self._known = _Known(
            rows=before.rows + len(steps),
            last_step=int(steps[-1]),
            # Copies, as views would keep all rows of the block alive, of every run that is followed.
            values=known[-1].copy(),
            broken=behind,
            memory=memory,
            largest=max(before.largest, float(scored.score.max())),
            since=int(since[-1]),
            on_map=on_map,
        )
        self.last = Scored(**{name: getattr(scored, name)[-1:].copy() for name in _COLUMNS})
        if self.alarm_step is None and above.any():
            row = int(above.argmax())
            seen_so_far = steps[: row + 1], known[: row + 1], fresh[: row + 1]
            drivers = self._broken(broken[row]) or self._drivers(int(seen.view[row]), *seen_so_far, before.memory)
            self.alarm = self._alarm(scored, row, drivers)
            self.alarm_step, self._alarm_row = self.alarm.step, before.rows + row
        return scored

    def _on_map(
        self, steps: NDArray[np.int64], known: NDArray[np.float64], counted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.float64]]:
        """(n,) states of the map, None without one, (n,) those that the run left for them, and what is to be kept."""
        states, before = self._scorer.map, self._known
        if states is None:
            return None, np.full(len(steps), -1, dtype=np.int64), before.on_map
        memory = before.on_map.copy()
        if before.last_step is not None and steps[0] < before.last_step:
            states.begin_again(memory)
        return (*states.advance(self._scorer.metrics, known, counted, memory), memory)

    def _carried(self, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, D) the last finite value of each metric, those before these rows among them."""
        if logged.all():
            return values
        before = self._known.values
        return carried_forward(np.vstack([before, values]), np.vstack([~np.isnan(before), logged]))[1:]

    def _alarm(self, scored: Scored, row: int, drivers: Sequence[Driver]) -> Alarm:
        return Alarm(
            run=self.run,
            step=int(scored.steps[row]),
            score=float(scored.score[row]),
            threshold=self._scorer.threshold,
            risk=_number(scored.risk[row]),
            state=None if scored.state[row] < 0 else int(scored.state[row]),
            drivers=tuple(drivers[:_MOST_DRIVERS]),
            phase=None if scored.phase[row] < 0 else int(scored.phase[row]),
            place=self._scorer.place(scored, row),
        )

    def _broken(self, broken: NDArray[np.bool_]) -> list[Driver]:
        names = [self._scorer.metrics[d] for d in np.flatnonzero(broken)]
        return [Driver(metric=name, contribution=math.inf, view="not finite") for name in names]

    def _drivers(
        self,
        view: int,
        steps: NDArray[np.int64],
        known: NDArray[np.float64],
        fresh: NDArray[np.bool_],
        memory: Memory,
    ) -> list[Driver]:
        """What drove the score of the last of some rows, by the view that is the largest there."""
        views = self._scorer.views
        of_views, rows = views.shares(steps, known, fresh, memory.copy())
        before = memory.copy()
        if len(steps) > 1:
            views.advance(steps[:-1], known[:-1], fresh[:-1], before)
        shares, usual = of_views[view, -1], views.band(int(steps[-1]), before, view)
        order = np.argsort(-shares, kind="stable").tolist()
        if views.views[view].name in _ADDS_UP:  # of others a sum is left over from before
            order = [d for d in order if d == order[0] or known[-1, d] > usual[d, 1]]
        return [
            Driver(
                metric=self._scorer.metrics[d],
                contribution=float(shares[d]),
                view=views.views[view].name,
                value=float(known[-1, d]),
                direction=_direction(known[-1, d], usual[d, 0], usual[d, 1], moved=rows.moved[-1, d]),
                healthy_low=_number(usual[d, 0]),
                healthy_high=_number(usual[d, 1]),
            )
            for d in order
            if shares[d] > 0
        ]

    def widen(self, scorer: Scorer, first: Mapping[str, float]) -> None:
        """Go on under a scorer without a model that watches more metrics.

        Those of them that the run has logged so far are in ``first``, with the one value that they had.
        """
        narrow, self._scorer = self._scorer, scorer
        places = [scorer.metrics.index(metric) for metric in narrow.metrics]
        self._known, self._before = (known.widened(narrow, scorer, first) for known in (self._known, self._before))
        known = [_Known.unpacked(one, narrow) for one in self._checkpoints]
        self._checkpoints = [one.widened(narrow, scorer, first).packed() for one in known]
        self._checkpoints_moved = True
        self._missing = self._missing.widened(scorer.metrics)
        rows = self._last_rows
        if rows is not None:
            values = np.full((len(rows.steps), len(scorer.metrics)), np.nan)
            logged = np.zeros(values.shape, dtype=bool)
            values[:, places], logged[:, places] = rows.values, rows.logged
            self._last_rows = replace(rows, values=values, logged=logged)

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
            "first_step": self._first_step,
        }

    @property
    def new_checkpoints(self) -> NDArray[np.float64] | None:
        """All numbers of what was known at some rows; None if they are as when they were saved."""
        return np.concatenate([np.empty(0), *self._checkpoints]) if self._checkpoints_moved else None

    def saved(self) -> None:
        """Take note that checkpoints were saved."""
        self._checkpoints_moved = False

    def resume(self, stored: Mapping[str, Any], checkpoints: NDArray[np.float64] | None = None) -> None:
        """Go on from what `to_dict` gave; an alarm that was raised is not raised again.

        Parameters
        ----------
        checkpoints : what `new_checkpoints` gave; without them the run is judged later where it is resumed itself.
        """
        self._known = _Known.of(stored, self._scorer)
        size = len(self._scorer.packed)
        as_now = len(stored["memory"]) == self._scorer.nothing.memory.flat().size
        if checkpoints is None or checkpoints.size % size or not as_now:
            checkpoints = np.empty(0)
        self._checkpoints = list(checkpoints.reshape(-1, size))
        self.alarm_step = stored["alarm_step"]
        self._first_step = stored.get("first_step", 0)  # which files of before do not hold
        if stored.get("missing") is not None:
            self._missing = Missing.of(self._scorer.metrics, stored["missing"])
        if stored.get("last_rows") is not None:
            self._before = _Known.of(stored["before"], self._scorer)
            self._last_rows = NewRows.of(self.run, stored["last_rows"])
            self._held = stored["held"]
            self._counter = StepCounter.of(stored["counter"])


def _rows_apart(rows: int) -> int:
    """Rows from one checkpoint to the next in a run of so many: an eighth to a quarter of them."""
    return max(_CHECKPOINT, 1 << max(rows.bit_length() - 3, 0))


def _direction(value: float, low: float, high: float, *, moved: float) -> str:
    """``up`` or ``down`` of a value: beyond ``low`` or ``high``, NaN if not known; within, as it ``moved``."""
    if value > high:
        return "up"
    if value < low:
        return "down"
    return "up" if moved >= 0 else "down"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


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
        nothing, whole = np.empty(0), np.empty(0, dtype=np.int64)
        return Scored(
            steps=whole, score=nothing, risk=nothing.copy(), state=whole.copy(), phase=whole.copy(), left=whole.copy()
        )
    return Scored(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS})
