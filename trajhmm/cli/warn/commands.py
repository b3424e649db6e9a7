"""A command of the user's own for each alarm, beside the watch and never in its way."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from trajhmm.cli.output.terminal import counted, say, say_lines

AT_ONCE = 8
# Seconds that the end waits for the next of the commands to end.
PATIENCE = 60.0
_LOOK_EVERY = 0.05
_SAY_AFTER = 1.0
_MOST_NAMES = 5
# Bytes of what a command prints, the last ones.
_MOST_OUTPUT = 10_000
_MEANINGS = {126: " (cannot be executed)", 127: " (command not found)"}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Started:
    run: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class AlarmCommands:
    """Runs a shell command for each alarm, with what is told of the alarm on its standard input.

    Each has a session of its own, so that Ctrl-C does not reach it. What it reads and what it prints are files: one
    that never reads holds nobody up, and what it prints is said when it has ended, whole, and on standard error. At
    most `AT_ONCE` run at once, the others wait for their turn.

    Parameters
    ----------
    command : for the shell; None runs nothing.
    """

    def __init__(self, command: str | None) -> None:
        self._command = command
        self._waiting: deque[tuple[str, str]] = deque()
        self._running: list[_Started] = []
        self._failed: dict[str, list[str]] = {}
        self._last_end = time.monotonic()

    def start(self, run: str, told: str) -> None:
        """Run the command for the alarm of a run, as soon as it is its turn."""
        if self._command is not None:
            self._waiting.append((run, told))
            self._look()

    def sleep(self, seconds: float) -> None:
        """Let time pass, and see to the commands meanwhile."""
        end = time.monotonic() + seconds
        while True:
            self._look()
            self._say_failures()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK_EVERY) if self._running else left)

    def finish(self, *, leave_running: bool) -> None:
        """Start those that wait and, unless those that run may be left behind, wait for the end of all.

        Gives up when no command has ended for `PATIENCE` seconds, and on Ctrl-C.
        """
        self._last_end = time.monotonic()
        say_at = self._last_end + _SAY_AFTER
        with suppress(KeyboardInterrupt):
            self.sleep(0)
            while self._waiting or (self._running and not leave_running):
                self.sleep(_LOOK_EVERY)
                if time.monotonic() > say_at:
                    say_at = math.inf
                    say(f"waiting for {counted(len(self._waiting) + len(self._running), 'command')}; Ctrl-C ends that")
                if time.monotonic() - self._last_end > PATIENCE:
                    break
        if self._running:
            say(f"{counted(len(self._running), 'command')} still running, left to finish")
        if self._waiting:
            runs = [run for run, _ in self._waiting]
            say(f"warning: {counted(len(runs), 'command')} never started: for {_listed(runs)}")

    def _look(self) -> None:
        """Take leave of those that have ended, and start those whose turn it is."""
        for started in [started for started in self._running if started.process.poll() is not None]:
            self._running.remove(started)
            self._last_end = time.monotonic()
            self._take_leave(started)
        while self._waiting and len(self._running) < AT_ONCE:
            run, told = self._waiting.popleft()
            try:
                self._running.append(self._start(run, told))
            except OSError as error:
                self._failed.setdefault(f"could not be started: {error.strerror or error}", []).append(run)

    def _start(self, run: str, told: str) -> _Started:
        output = tempfile.TemporaryFile()  # noqa: SIM115 (read when the command has ended)
        with tempfile.TemporaryFile() as given:
            given.write(told.encode() + b"\n")
            given.seek(0)
            process = subprocess.Popen(  # noqa: S602 (the user's own command; nothing that logs hold goes into it)
                self._command or "",
                shell=True,
                stdin=given,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return _Started(run=run, process=process, output=output)

    def _take_leave(self, ended: _Started) -> None:
        with ended.output as output:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - _MOST_OUTPUT))
            printed = output.read().decode(errors="replace").rstrip()
        if printed:
            say_lines(printed if size <= _MOST_OUTPUT else f"… {printed}")
        code = ended.process.returncode
        if code:
            how = f"exit code {code}{_MEANINGS.get(code, '')}" if code > 0 else f"signal {-code}"
            self._failed.setdefault(f"ended with {how}", []).append(ended.run)

    def _say_failures(self) -> None:
        for how, runs in self._failed.items():
            say(f"warning: the command for {'run' if len(runs) == 1 else f'{len(runs)} runs:'} {_listed(runs)} {how}")
        self._failed.clear()


def _listed(runs: list[str]) -> str:
    return ", ".join(runs[:_MOST_NAMES]) + (", …" if len(runs) > _MOST_NAMES else "")
