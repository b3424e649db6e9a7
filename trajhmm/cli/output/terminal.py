"""Talking to the person at the terminal: everything but data goes to standard error.

All that a verb prints goes through `echo`, `echo_json` and `say`, as a terminal obeys what names in logs may hold.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from trajhmm.naming import abridged, shown

if TYPE_CHECKING:
    from trajhmm.logs import Note

# How notes on runs and metrics that a fit goes without begin and end, see `trajhmm.features`.
_LEFT_OUT, _CUT = ", run left out", " on, cut there"
_DIVERGED, _NOT_FITTED = "diverged: ", " is not fitted: "
_AT_STEP = re.compile(r" at step -?\d+")
# Letters of all notes up to which they are told in full.
_NOTES = 200
_RUNS_NAMED, _METRICS_NAMED = 3, 8


# Whether only errors and warnings are said, and no progress is shown; and how such begin.
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_LOUD = ("error: ", "warning: ")
# Letters of what is said in a line: names in logs are a stranger's.
_LETTERS = 4000


@contextmanager
def quietly(*, wanted: bool = True) -> Iterator[None]:
    """Within it, if that is ``wanted``, only errors and warnings are said."""
    before = _quiet.set(wanted)
    try:
        yield
    finally:
        _quiet.reset(before)


def say(text: object) -> None:
    """Say something on standard error in a line of its own, above a live table if there is one.

    Not through typer, which goes past what a table has put in the place of standard error. That nobody listens any more
    is no reason to stop.
    """
    if _quiet.get() and not str(text).startswith(_LOUD):
        return
    with suppress(OSError):
        _print(abridged(str(text), _LETTERS), sys.stderr)


def say_lines(text: str) -> None:
    """Say a text of several lines."""
    for line in text.expandtabs().split("\n"):
        say(line)


def echo(text: object = "") -> None:
    """Print a line of data on standard output."""
    _print(text, sys.stdout)


def echo_lines(text: str) -> None:
    """Print a text of several lines, such as a summary."""
    for line in text.expandtabs().removesuffix("\n").split("\n"):
        echo(line)


def echo_json(content: Any) -> None:
    """Print an object as JSON in one line."""
    echo(in_json(content))


def in_json(content: Any) -> str:
    """An object as JSON in one line of characters that all terminals print; what is not finite is null."""
    return json.dumps(_finite(content), allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _print(text: object, stream: TextIO) -> None:
    stream.write(f"{shown(text)}\n")
    stream.flush()


def shell_line(words: Iterable[str]) -> str:
    """Words as they are typed in a shell; those that hold single quotes between double ones where that will do."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )


def counted(n: int, what: str) -> str:
    """A number of things: ``1 run``, ``1,000 runs``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def say_notes(notes: Iterable[Note], *, more: str = "('trajhmm inspect' lists those of the files)") -> None:
    """Say what was repaired or left out: in words where they are few, else how often by kind and ``more``."""
    notes = [note for note in notes if _NOT_FITTED not in note.text]  # which `say_lost` says
    told = "; ".join(map(str, notes))
    if notes and len(told) <= _NOTES:
        say(f"notes on the logs: {told}")
    elif notes:
        counts = Counter(note.kind for note in notes)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        say(f"notes on the logs: {listed} {more}")


def say_lost(notes: Iterable[Note], n_runs: int) -> None:
    """Say which metrics are not fitted, which runs were left out or cut, and why: those with one reason together."""
    notes = list(notes)
    without = [note.text.partition(" (name it")[0].split(_NOT_FITTED) for note in notes if _NOT_FITTED in note.text]
    if without:
        told = ", ".join(f"{metric} ({reason})" for metric, reason in without[:_METRICS_NAMED])
        more = f" and {len(without) - _METRICS_NAMED} more" if len(without) > _METRICS_NAMED else ""
        say(f"not fitted: {told}{more}; --metrics names others")
    lost: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        if note.run is not None and note.text.endswith(_LEFT_OUT):
            reason = note.text.removesuffix(_LEFT_OUT)
            at = _AT_STEP.search(reason)
            why = f"{_AT_STEP.sub('', reason)}; choose other metrics with --metrics, or rows with --where"
            lost.setdefault(("left out", why), []).append(f"{note.run}{at[0] if at else ''}")
        elif note.run is not None and note.kind == "cut" and note.text.startswith(_DIVERGED):
            what, _, step = note.text.removeprefix(_DIVERGED).removesuffix(_CUT).partition(" not finite from ")
            lost.setdefault(("diverged and cut there", f"{what} not finite"), []).append(f"{note.run} from {step}")
    for (what, why), runs in lost.items():
        more = f" and {len(runs) - _RUNS_NAMED} more" if len(runs) > _RUNS_NAMED else ""
        named = ", ".join(runs[:_RUNS_NAMED]) + more
        say(f"{len(runs)} of {counted(n_runs, 'run')} {what}: {why} ({named})")


@contextmanager
def progress_bar(what: str, *, at_once: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error if that is a terminal; yields what to call with (done, all).

    It is there ``at_once``, or from the first such call on.
    """
    if _quiet.get() or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(what, total=None)

    def told(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    if at_once:
        progress.start()
    try:
        yield told
    finally:
        progress.stop()
