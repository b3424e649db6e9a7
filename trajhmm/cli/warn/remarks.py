"""What ``warn`` has to say besides alarms, on standard error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.cli.options.common import Reading
from trajhmm.cli.output.terminal import counted, say, shell_line
from trajhmm.cli.warn.silence import Silence
from trajhmm.features.events import is_loss
from trajhmm.naming import listed

if TYPE_CHECKING:
    from trajhmm.warning.monitor import Monitor, Watch

# Of the first runs of a watch, so many are asked which metrics they lack.
_RUNS_LOOKED_AT = 100
# Of files, or runs, of which the same is to be said, so many are named.
_NAMED = 3
# So many metrics that are watched are named.
_WATCHED = 30
# So many runs that have not healed are named.
_STILL = 10
# So many runs that alarm almost at once are no chance.
_MISFITS = 3
# Rows without a finite value after which that is said of a loss.
_STILL_UNKNOWN = 10
# So many lines that are passed over, with no row behind them, are no torn end.
_ALL_BEHIND = 3
# A chance so small is none.
_CHANCE = 1e-3
# Seconds after which what still is not as it should be is said again.
_AGAIN = 600.0


def say_alone(monitor: Monitor) -> None:
    """Say by what runs are judged without a model, and which metrics are watched."""
    say(f"no --model: each run is judged by its own past; watched: {listed(monitor.metrics, most=_WATCHED)}")
    if monitor.metrics and not any(map(is_loss, monitor.metrics)):
        say("no metric is a loss by its name, so that a loss that rises slowly rings no alarm; --rename OLD=train_loss")


def say_never_logged(monitor: Monitor, runs: Sequence[str]) -> None:
    """Name the runs that never logged a finite value of a metric that the model watches."""
    lacking = [(run, metrics) for run in runs if (metrics := monitor.unlogged(run))]
    for run, metrics in lacking[:_NAMED]:
        say(f"warning: run {run} has no finite value of {', '.join(metrics)}, which the model watches")
    if len(lacking) > _NAMED:
        say(f"warning: nor have {len(lacking) - _NAMED} other runs of all that it watches")


def unknown_loss(run: str, monitor: Monitor) -> bool:
    """Whether a loss of a run was not finite from its first row on, for longer than until a first value comes."""
    return max(monitor.trackers[run].unknown_losses.values(), default=0) >= _STILL_UNKNOWN


def say_unknown_losses(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs of which a loss was never finite: not known yet, or gone before the first row."""
    for run in runs[:_NAMED]:
        losses = monitor.trackers[run].unknown_losses
        say(
            f"warning: run {run}: {', '.join(losses)} not finite in any of the first {max(losses.values()):,} rows: "
            "taken for not known yet, which is no alarm"
        )
    if len(runs) > _NAMED:
        say(f"warning: so it is in {counted(len(runs) - _NAMED, 'other run')}")


class Remarks:
    """What a watch has to say besides alarms, each once, but for what stays wrong.

    That nothing is there, metrics that are missing or came later, torn files, the risk of a run that alarmed as soon as
    it is known, runs that stand still, go on beyond the reference or log more rarely, most runs that alarmed at once.
    """

    def __init__(self, watch: Watch, logs: list[Path], silent_after: int) -> None:
        self._watch, self._logs = watch, logs
        self._silence = Silence(silent_after)
        self._misfit = False
        self._metrics = set(watch.monitor.metrics)
        self._ahead: set[str] = set()
        self._beyond: set[str] = set()
        self._rarer: set[str] = set()
        self._unknown: set[str] = set()
        self._risks: set[str] = set()
        self._torn, self._unsaved = _Standing(), _Standing()
        self._skipped: dict[Path, int] = {}
        self._empty = self._unlogged = False

    def say(self) -> None:
        """Say what is new."""
        follower = self._watch.follower
        told = self._torn.to_say(
            {str(path): f"{why}; tried again as long as it stays so" for path, why in follower.torn.items()}
        )
        for reason in told[:_NAMED]:
            say(f"warning: {reason}")
        if len(told) > _NAMED:
            say(f"warning: so are {len(told) - _NAMED:,} other files; is an option mistyped?")
        for reason in self._unsaved.to_say({} if self._watch.unsaved is None else {"": self._watch.unsaved}):
            say(f"warning: {reason}; the watch goes on and tries again")
        self._say_skipped()
        monitor = self._watch.monitor
        if more := [metric for metric in monitor.metrics if metric not in self._metrics]:
            self._metrics.update(more)
            say(f"watched as well from here on: {', '.join(more)}")
        self._say_risks(monitor)
        self._say_silent(monitor)
        say_ahead(self._not_told(self._ahead, begins_ahead), monitor)
        say_beyond(self._not_told(self._beyond, is_beyond), monitor)
        say_rarer(self._not_told(self._rarer, is_rarer), monitor)
        say_unknown_losses(self._not_told(self._unknown, unknown_loss), monitor)
        if not self._misfit and self._watch.gained:
            self._misfit = say_misfit(monitor)
        if monitor.trackers and not self._unlogged:
            self._unlogged = True
            self._say_unlogged(monitor)
        elif not monitor.trackers and not self._empty:
            self._empty = True
            missing = ", ".join(str(path) for path in self._logs if not path.exists())
            say(f"no such file or folder yet: {missing}" if missing else "no runs yet")

    def _not_told(self, told: set[str], holds: Callable[[str, Monitor], bool]) -> list[str]:
        """Runs that gained rows, of which something holds that was not told of them; it is ``told`` now."""
        new = [run for run in self._watch.gained if run not in told and holds(run, self._watch.monitor)]
        told.update(new)
        return new

    def _say_skipped(self) -> None:
        """Name files in which lines were passed over, and again when they are twice as many."""
        new = {
            path: one for path, one in self._watch.follower.skipped.items() if one.n >= 2 * self._skipped.get(path, 0.5)
        }
        self._skipped.update({path: one.n for path, one in new.items()})
        for path, one in islice(new.items(), _NAMED):
            lines = "a line was passed over" if one.n == 1 else f"{one.n:,} lines were passed over so far"
            say(f"warning: {path}: {lines}: {one.why.removeprefix(f'{path}: ')}")
        if len(new) > _NAMED:
            say(f"warning: lines were passed over in {len(new) - _NAMED:,} other files as well")

    def passed_over(self) -> list[str]:
        """How many lines were passed over in all, and which ends are unfinished, in words; nothing if none were."""
        skipped, unfinished = self._watch.follower.skipped, self._watch.follower.unfinished()
        n = sum(one.n for one in skipped.values())
        told = [f"{counted(n, 'line')} passed over in {_some_of(skipped)}"] if skipped else []
        return [*told, f"unfinished, not read: the end of {_some_of(unfinished)}"] if unfinished else told

    def lost(self) -> list[str]:
        """What was not read to its end, or not kept, in words; nothing if all was."""
        torn, unsaved = self._watch.follower.torn, self._watch.unsaved
        told = [f"not read to the end: {_some_of(torn)}"] if torn else []
        ends = [path for path, one in self._watch.follower.skipped.items() if one.last >= _ALL_BEHIND]
        if ends:
            told.append(f"the last lines were all passed over: {_some_of(ends)}")
        return told if unsaved is None else [*told, unsaved]

    def _say_risks(self, monitor: Monitor) -> None:
        for run in self._watch.gained:
            tracker = monitor.trackers[run]
            last = tracker.last
            if run in self._risks or tracker.alarm_step is None or last is None or math.isnan(last.risk[-1]):
                continue
            self._risks.add(run)
            if tracker.alarm is None or tracker.alarm.risk is None:
                say(
                    f"run {run}, alarmed at step {tracker.alarm_step}: at step {last.steps[-1]} the risk that it ends "
                    f"in collapse is {last.risk[-1]:.0%}"
                )

    def _say_silent(self, monitor: Monitor) -> None:
        silent = self._silence.after(self._watch.gained)
        for run in silent[:_NAMED]:
            step = monitor.trackers[run].last_step
            say(f"run {run} is silent since step {step}, while the others go on: has it ended, or does it hang?")
        if len(silent) > _NAMED:
            say(f"so are {len(silent) - _NAMED:,} other runs")

    def _say_unlogged(self, monitor: Monitor) -> None:
        lacking = [set(monitor.unlogged(run)) for run in islice(monitor.trackers, _RUNS_LOOKED_AT)]
        metrics = [metric for metric in monitor.metrics if all(metric in lacks for lacks in lacking)]
        say(f"{counted(len(monitor.trackers), 'run')} so far")
        if metrics:
            say(
                f"warning: no run has logged {', '.join(metrics)} so far, which the model watches "
                "(map names with --rename OLD=NEW)"
            )


def is_beyond(run: str, monitor: Monitor) -> bool:
    """Whether a run is longer than healthy ones were."""
    step = monitor.trackers[run].last_step
    return monitor.last_step is not None and step is not None and step > monitor.last_step


def begins_ahead(run: str, monitor: Monitor) -> bool:
    """Whether a run begins before all healthy ones did."""
    first = monitor.trackers[run].first_step
    return monitor.first_step is not None and first is not None and first < monitor.first_step


def say_ahead(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs that begin before all healthy ones did, where they are not judged."""
    if runs:
        say(
            f"{_named(runs)} {'begin' if len(runs) > 1 else 'begins'} before step {monitor.first_step}, the first of "
            "the reference: not judged up to there"
        )


def say_beyond(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs that are longer than healthy ones were, where nothing is promised."""
    if runs:
        say(
            f"warning: {_named(runs)} {'go' if len(runs) > 1 else 'goes'} on beyond step {monitor.last_step}, the last "
            "of the reference: from there on no share of false alarms is promised"
        )


def is_rarer(run: str, monitor: Monitor) -> bool:
    """Whether rows of a run are farther apart than the reference's."""
    return monitor.trackers[run].rarer is not None


def say_rarer(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs whose rows are farther apart than the reference's, where nothing is promised."""
    if runs:
        times = monitor.trackers[runs[0]].rarer
        say(
            f"warning: {_named(runs)} {'log' if len(runs) > 1 else 'logs'} more rarely than the reference, rows "
            f"{times:.3g} times as far apart: no share of false alarms is promised"
        )


def _named(runs: Sequence[str]) -> str:
    """The first of some runs, and how many others there are."""
    return f"run {runs[0]}" + (f" and {counted(len(runs) - 1, 'other')}" if len(runs) > 1 else "")


def say_misfit(monitor: Monitor) -> bool:
    """Say that most runs alarmed soon after the first row that is judged, if so; whether it was said."""
    alarmed = [tracker for tracker in monitor.trackers.values() if tracker.alarmed_early]
    if monitor.situation == "alone" or len(alarmed) < _MISFITS or 2 * len(alarmed) < len(monitor.trackers):
        return False
    say(
        f"warning: {len(alarmed)} of {len(monitor.trackers)} runs alarmed almost at once: are they trained, and "
        "logged, like the reference? If so, fit it to more of what goes well; if not, judge them without --model"
    )
    return True


def say_many(monitor: Monitor) -> None:
    """Say that more runs alarmed than a few of the reference's would, if so: they are in trouble, or no such runs."""
    from scipy.special import bdtrc

    from trajhmm.warning.calibration import calibration_of

    calibration = None if monitor.model is None else calibration_of(monitor.model)
    alarmed, n = sum(tracker.alarm is not None for tracker in monitor.trackers.values()), len(monitor.trackers)
    if calibration is None or alarmed < _MISFITS or bdtrc(alarmed - 1, n, calibration.attainable) > _CHANCE:
        return
    say(
        f"{alarmed} of {n} runs alarmed, and of runs like the reference's {calibration.attainable:.1%} would: unless "
        "they are known to be in trouble, are they trained, and logged, like the reference?"
    )


def say_not_healed(alarmed: Sequence[str], still: Sequence[str]) -> None:
    """Of several runs that alarmed, say which are above the threshold at their last row."""
    if len(alarmed) < 2:
        return
    if not still:
        say(f"none of the {len(alarmed)} that alarmed is above the threshold at its last row")
        return
    which = f"all {len(alarmed)}" if len(still) == len(alarmed) else f"{len(still)} of the {len(alarmed)}"
    are = "is" if len(still) == 1 else "are"
    say(f"{which} that alarmed {are} above the threshold at the last row: {listed(still, most=_STILL)}")


def say_where_to_look(run: str, logs: Sequence[Path], model: Path | None, reading: Reading) -> None:
    """Say which command draws a run that alarmed."""
    of_model = [] if model is None else ["--model", str(model)]
    words = ["trajhmm", "figure", "timeline", *map(str, logs), *of_model, "--run", run]
    say(f"look: {shell_line([*words, *reading.as_options(), '-o', 'timeline.png'])}")


class _Standing:
    """What is not as it should be, by name: told at once, again from time to time, and anew when it comes back."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def to_say(self, present: Mapping[str, str]) -> list[str]:
        """What of all that is ``present`` is to be said now."""
        now = time.monotonic()
        self._told = {name: when for name, when in self._told.items() if name in present}
        due = [name for name in present if now - self._told.get(name, -_AGAIN) >= _AGAIN]
        self._told.update(dict.fromkeys(due, now))
        return [present[name] for name in due]


def _some_of(paths: Iterable[Path]) -> str:
    """The first of some files, and how many others there are."""
    names = [str(path) for path in paths]
    return ", ".join(names[:_NAMED]) + (f" and {counted(len(names) - _NAMED, 'other')}" if len(names) > _NAMED else "")
