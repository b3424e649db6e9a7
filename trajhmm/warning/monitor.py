"""Warning of many runs: inside a training loop, or beside jobs that write logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import TrajHMMError
from trajhmm.features.choose import dynamics
from trajhmm.hmm import Model, load_model
from trajhmm.hmm.model import with_metrics
from trajhmm.logs import RunSet
from trajhmm.logs.following.follow import Follower, NewRows
from trajhmm.logs.settings import Settings
from trajhmm.warning.calibration import PORTFOLIO, SECTION
from trajhmm.warning.onmap.states import MAP
from trajhmm.warning.statefile import StateFile
from trajhmm.warning.tracking import Alarm, Scored, Scorer, Tracker

# Metrics that are watched without a model, which every row costs memory and time for.
_MOST_METRICS = 512
# Beside what a tracker keeps, without a model: what the first row of a run held.
_FIRST = "first_row"


class Monitor:
    """Warns when a run leaves what healthy runs do; each row costs the same, however long the run.

    Parameters
    ----------
    model : fitted with ``trajhmm fit --for warning``, or the path of its file; without one each run is judged by its
        own past, see `trajhmm.warning.views.alone.Alone`.
    metrics : names to watch without a model; by default all that are logged, save outcomes, schedules and clocks.

    Raises
    ------
    ModelFileError
        The model is a map, or its file cannot be read.

    Examples
    --------
    >>> monitor = Monitor("reference.json")
    >>> alarm = monitor.update("seed 3", 0, {"train_loss": loss, "grad_norm": norm})
    >>> if alarm: print(alarm)
    """

    def __init__(self, model: Model | str | Path | None = None, *, metrics: Iterable[str] | None = None) -> None:
        self.model = load_model(model) if isinstance(model, (str, Path)) else model
        self._grows = self.model is None and metrics is None
        self._known: Scorer | None = None
        self._trackers: dict[str, Tracker] = {}
        if self.model is not None:
            self._known = Scorer(self.model)
        elif metrics is not None:
            self._known = Scorer(None, tuple(metrics))

    def watch_more(self, metrics: Iterable[str], first: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Without a model: watch also those of some metrics that runs move by.

        Parameters
        ----------
        metrics : names.
        first : run to the values, by name, at which such metrics stood in all its rows so far; the others were not
            logged.
        """
        known = self.metrics
        more = set(sorted(set(dynamics(metrics)) - set(known))[: max(_MOST_METRICS - len(known), 0)])
        if more:
            self._known = Scorer(None, tuple(sorted((*known, *more))))
            for run, tracker in self._trackers.items():
                tracker.widen(self._known, {} if first is None else first.get(run, {}))

    @property
    def _scorer(self) -> Scorer:
        if self._known is None:
            raise TrajHMMError("no model, and no row so far that says which metrics there are")
        return self._known

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that are watched; none before the first row without a model."""
        return () if self._known is None else self._known.metrics

    @property
    def threshold(self) -> float:
        """Alarm where the score is above it."""
        return 1.0 if self._known is None else self._known.threshold

    @property
    def last_step(self) -> int | None:
        """Up to which step healthy runs go; what is promised holds until there. None without a model."""
        return None if self._known is None else self._known.last_step

    @property
    def first_step(self) -> int | None:
        """From which step on rows are judged: the first of the healthy runs. None without a model."""
        return None if self._known is None else self._known.first_step

    @property
    def situation(self) -> str:
        """``matched``, ``sweep`` or ``alone``: what runs are held against."""
        return "alone" if self._known is None else self._known.situation

    @property
    def shows_map(self) -> bool:
        """Whether states are those of a map, which the model carries; else they are phases of training."""
        return self._known is not None and self._known.map is not None

    @property
    def trackers(self) -> Mapping[str, Tracker]:
        """What is known of each run so far."""
        return self._trackers

    def update(self, run: str, step: int, values: Mapping[str, float | None]) -> Alarm | None:
        """Take in what a run logged at a step; an alarm if it is the run's first.

        Parameters
        ----------
        run : name.
        step : training step.
        values : metrics by name; those that the model does not watch are ignored, those that are missing count as not
            logged at this step, and so do those that are None. A loss that is no longer finite is an alarm at once,
            another metric at the third such row in succession.
        """
        if self._grows:
            self.watch_more(values)
        if self._known is None:
            return None
        told = [values.get(metric) for metric in self.metrics]
        row = np.array([[np.nan if value is None else float(value) for value in told]])
        logged = np.array([[value is not None for value in told]])
        return self.advance(NewRows(run=run, steps=np.array([step], dtype=np.int64), values=row, logged=logged))[1]

    def breaks(self, run: str, values: Mapping[str, float]) -> bool:
        """Whether a loss among these values of a run is not finite, and was: an alarm, whatever else the row holds."""
        tracker = self._trackers.get(run)
        known = frozenset() if tracker is None else tracker.known_losses
        return any(metric in known and not np.isfinite(value) for metric, value in values.items())

    def advance(self, rows: NewRows) -> tuple[Scored, Alarm | None]:
        """Take in several rows of a run: their scores, and an alarm if it is the run's first."""
        tracker = self._trackers.setdefault(rows.run, self._scorer.start(rows.run))
        before = tracker.alarm
        scored = tracker.take(rows)
        return scored, tracker.alarm if before is None else None

    def settle(self, run: str) -> Alarm | None:
        """Take the last step of a run for whole; an alarm if it is the run's first."""
        tracker = self._trackers[run]
        before = tracker.alarm
        tracker.settle()
        return tracker.alarm if before is None else None

    def resume(
        self, stored: Mapping[str, Mapping[str, Any]], checkpoints: Mapping[str, NDArray[np.float64]] | None = None
    ) -> None:
        """Go on from what the trackers' ``to_dict`` and ``new_checkpoints`` gave, by run."""
        for run, known in stored.items():
            self._trackers[run] = self._scorer.start(run)
            self._trackers[run].resume(known, None if checkpoints is None else checkpoints.get(run))

    def unlogged(self, run: str) -> tuple[str, ...]:
        """Metrics that the model watches and of which the run has logged no finite value so far."""
        never = self._trackers[run].unlogged
        return tuple(metric for metric, lacks in zip(self.metrics, never, strict=True) if lacks)

    def score(self, runs: RunSet) -> dict[str, Scored]:
        """Score whole logs; alarms are then in `trackers`.

        Raises
        ------
        ModelFileError
            The logs lack a metric that the model watches.
        """
        if self._grows:
            self.watch_more(runs.metrics)
            if self._known is None:  # outcomes alone
                self._known = Scorer(None, tuple(sorted(runs.metrics)))
        runs = with_metrics(runs, self.metrics)
        columns = [runs.metrics.index(metric) for metric in self.metrics]
        missed = None if runs.missed is None else runs.missed[:, columns]
        scored = {}
        for run, rows in runs.slices():
            tracker = self._trackers.setdefault(run, self._scorer.start(run))
            scored[run] = tracker.advance(
                runs.steps[rows],
                runs.values[rows][:, columns],
                runs.logged[rows][:, columns],
                None if missed is None else missed[rows],
                finished=True,
            )
        return scored


class Watch:
    """A monitor over logs that jobs are writing, which can carry on after it was stopped at any moment.

    Rows are taken in as they are written. Where steps go back, because a run was resumed or a part came late, the
    filter goes on: each row is compared with what healthy runs do at its own step, and a run alarms once.

    Parameters
    ----------
    model, metrics : for warning, as for `Monitor`; without a model the metrics of the first rows must be named. Those
        that come later are watched from then on.
    paths, settings : the logs, as for `trajhmm.logs.following.follow.Follower`.
    state : file to carry on from and to keep, an SQLite database to which each poll adds what it changed; written after
        alarms were handed out, so that none is lost if the watch is killed: it is handed out again then.

    Attributes
    ----------
    monitor, follower : what scores, and what reads.
    gained : rows of each run that came in the last poll, of those that gained some.
    unsaved : why the state file could not be written after the last poll, and is at the next; None if it was.

    Raises
    ------
    ModelFileError
        The state file belongs to another model or other logs, is damaged, or is no such file.
    TrajHMMError
        The state file cannot be read or written, or another watch keeps its own in it.
    """

    def __init__(
        self,
        model: Model | None,
        paths: Iterable[str | Path],
        settings: Settings,
        *,
        state: Path | None = None,
        metrics: Iterable[str] | None = None,
    ) -> None:
        logs = [Path(path) for path in paths]
        self.unsaved: str | None = None
        self._state = None if state is None else StateFile(state, fingerprint(model), logs)
        named = () if metrics is None else tuple(metrics)
        kept = self._state.watched() if self._state is not None and model is None else None
        self._told_by, watched = (named, named) if kept is None else kept
        self.monitor = Monitor(model, metrics=watched if model is None else None)
        self.follower = Follower(
            logs,
            self.monitor.metrics,
            settings,
            more=self._watch_more if model is None else None,
            told_by=self._told_by if model is None else None,
        )
        self.gained: dict[str, int] = {}
        self._unsaved: set[str] = set()
        self._held: set[str] = set()
        self._widened = model is None and kept is None
        if self._state is not None:
            with self._state.damage_told():
                self._carry_on(self._state)

    def _carry_on(self, state: StateFile) -> None:
        files, runs, checkpoints = state.load()
        self.follower.resume(files)
        self.monitor.resume(runs, checkpoints)
        self.follower.moving.first.update({run: known.get(_FIRST, {}) for run, known in runs.items()})
        self._held = {run for run, tracker in self.monitor.trackers.items() if tracker.holds_back}

    def _watch_more(self, metrics: Iterable[str]) -> tuple[str, ...]:
        before = self.monitor.metrics
        self.monitor.watch_more(metrics, self.follower.moving.first)
        if self.monitor.metrics != before:
            self._widened = True
            self._unsaved.update(self.monitor.trackers)
        return self.monitor.metrics

    def poll(self) -> Iterator[tuple[Tracker, Alarm]]:
        """Take in what is new; yield each run that alarms for the first time, and write the state file at the end.

        A poll is to be used up: what is not taken from it is not told again, and not written.
        """
        held, self._held = self._held, set()
        self.gained = {}
        for rows in self.follower.poll():
            self._unsaved.add(rows.run)
            self.gained[rows.run] = self.gained.get(rows.run, 0) + len(rows.steps)
            held.discard(rows.run)
            _, alarm = self.monitor.advance(rows)
            if self.monitor.trackers[rows.run].holds_back:
                self._held.add(rows.run)
            if alarm is not None:
                yield self.monitor.trackers[rows.run], alarm
        for run in held:  # nothing more came of their last step
            alarm = self.monitor.settle(run)
            self._unsaved.add(run)
            if alarm is not None:
                yield self.monitor.trackers[run], alarm
        if self._state is not None:
            self._save(self._state)

    def _save(self, state: StateFile) -> None:
        files, trackers = list(self.follower.unsaved()), self.monitor.trackers
        if files or self._unsaved or self._widened or self.unsaved is not None:
            moved = ((run, trackers[run].new_checkpoints) for run in self._unsaved)
            try:
                state.save(
                    files,
                    ((run, self._known(run)) for run in self._unsaved),
                    ((run, known) for run, known in moved if known is not None),
                    (self._told_by, self.monitor.metrics) if self._widened else None,
                )
            except TrajHMMError as error:  # a full disk, a lock: what is not written is written after the next poll
                self.unsaved = str(error)
                return
            self.unsaved = None
        self.follower.saved()
        for run in self._unsaved:
            trackers[run].saved()
        self._unsaved.clear()
        self._widened = False

    def _known(self, run: str) -> dict[str, Any]:
        known = self.monitor.trackers[run].to_dict()
        return known if self.monitor.model is not None else {**known, _FIRST: self.follower.moving.first.get(run, {})}


def fingerprint(model: Model | None) -> str:
    """What tells one model's scores from another's; without a model, all are alike."""
    digest = hashlib.sha256()
    if model is None:
        digest.update(b"alone")
        return digest.hexdigest()
    known = model.parameters
    for part in (known.startprob, known.transmat, known.means, known.covars):
        digest.update(np.ascontiguousarray(part).tobytes())
    parts = [model.scaler.to_dict(), model.sections.get(SECTION), model.sections.get(PORTFOLIO)]
    if MAP in model.sections:  # state files of before know models without
        parts.append(model.sections[MAP])
    digest.update(json.dumps(parts).encode())
    return digest.hexdigest()
