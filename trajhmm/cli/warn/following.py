"""``trajhmm warn --follow``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.cli.options.common import Reading
from trajhmm.cli.output.terminal import counted, echo, in_json, say
from trajhmm.cli.warn.commands import AlarmCommands
from trajhmm.cli.warn.livetable import live_table
from trajhmm.cli.warn.objects import object_of
from trajhmm.cli.warn.remarks import Remarks, say_alone, say_where_to_look

if TYPE_CHECKING:
    from trajhmm.hmm import Model


def follow(
    logs: list[Path],
    model: Model | None,
    reading: Reading,
    *,
    model_file: Path | None,
    state: Path | None,
    interval: float,
    as_json: bool,
    command: str | None,
    silent_after: int,
) -> tuple[bool, bool]:
    """Watch until Ctrl-C: whether a run alarmed, and whether all that is there was read and kept."""
    from trajhmm.warning.monitor import Watch

    say(f"watching {', '.join(map(str, logs))}; Ctrl-C ends")
    metrics = None
    if model is None:
        metrics, why = _metrics_to_watch(logs, reading, interval)
        if metrics is None:
            say(f"stopped; no rows seen{f'; {why}' if why else ''}")
            return False, not why
    watch = Watch(model, logs, reading.settings(), state=state, metrics=metrics)
    if model is None:
        say_alone(watch.monitor)
    trackers = watch.monitor.trackers
    raised = any(tracker.alarm_step is not None for tracker in trackers.values())
    with nullcontext() if as_json else live_table(watch.monitor.threshold) as table:
        commands = AlarmCommands(command)
        remarks, printed, looked = Remarks(watch, logs, silent_after), _Printed(), False
        try:
            while True:
                for tracker, alarm in watch.poll():
                    raised = True
                    told = in_json(object_of(tracker, watch.monitor))
                    commands.start(tracker.run, told)  # first: whoever reads the line may end the watch at once
                    (printed.line if table is None else table.above)(told if as_json else f"alarm: {alarm}")
                    if not (looked or as_json):
                        say_where_to_look(tracker.run, logs, model_file, reading)
                        looked = True
                printed.again()
                remarks.say()
                if table is not None:
                    table.show(trackers.values(), torn=len(watch.follower.torn))
                commands.sleep(interval)
        except (KeyboardInterrupt, BrokenPipeError):
            pass
    alarmed = sum(tracker.alarm_step is not None for tracker in trackers.values())
    lost = [*remarks.lost(), *printed.lost(), *(() if table is None else table.lost())]
    say("; ".join([f"stopped; {counted(len(trackers), 'run')} seen, {alarmed} alarmed", *remarks.passed_over(), *lost]))
    commands.finish(leave_running=True)
    return raised, not lost


class _Printed:
    """Lines on standard output, which a watch outlives: what a full disk does not take is kept until it does."""

    def __init__(self) -> None:
        self._why: str | None = None

    def line(self, text: str) -> None:
        """Print a line.

        Raises
        ------
        BrokenPipeError
            Nobody reads any more.
        """
        self._try(lambda: echo(text))

    def again(self) -> None:
        """Print what was kept, if anything was."""
        if self._why is not None:
            self._try(sys.stdout.flush)

    def lost(self) -> list[str]:
        """What was not printed, in words; nothing if all was."""
        with suppress(BrokenPipeError):
            self.again()
        return [] if self._why is None else [f"not all was printed: standard output: {self._why}"]

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            before, self._why = self._why, error.strerror or str(error)
            if isinstance(error, BrokenPipeError):
                raise
            if before is None:
                say(f"warning: standard output: {self._why}; alarms are kept, and printed as soon as it takes them")
        else:
            self._why = None


def _metrics_to_watch(logs: list[Path], reading: Reading, interval: float) -> tuple[tuple[str, ...] | None, str]:
    """The metrics of the first rows that there are, waited for; None if the user ends the wait.

    And why what is there cannot be read, if that is why there are none.
    """
    from trajhmm.errors import LogError
    from trajhmm.features.choose import dynamics

    said = why = ""
    try:
        while True:
            try:
                metrics, why = reading.read(logs).metrics, ""
            except LogError as error:
                metrics, why = _metrics_of_each(logs, reading), "" if _nothing_yet(logs) else str(error)
                if not said and not metrics:
                    said = str(error)
                    say(f"waiting for rows: {said}")
            if metrics:
                return dynamics(metrics) or metrics, ""
            time.sleep(interval)
    except KeyboardInterrupt:
        return None, why


def _nothing_yet(logs: list[Path]) -> bool:
    """Whether no file with anything in it is there yet."""
    from trajhmm.logs.sources.paths import log_files

    failed: list[OSError] = []
    try:
        for file in log_files(logs, failed.append):
            with suppress(FileNotFoundError):
                if file.stat().st_size:
                    return False
    except OSError:
        return False
    return not failed


def _metrics_of_each(logs: list[Path], reading: Reading) -> tuple[str, ...]:
    """The metrics of the files that can be read, where one cannot."""
    from trajhmm.errors import LogError
    from trajhmm.logs.sources.paths import log_files

    found: dict[str, None] = {}
    for file in log_files(logs):
        with suppress(LogError, OSError):
            found |= dict.fromkeys(reading.read([file]).metrics)
    return tuple(found)
