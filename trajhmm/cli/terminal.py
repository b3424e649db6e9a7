"""Talking to the person at the terminal: everything but data goes to standard error."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trajhmm.logs import Note


def say(text: str) -> None:
    """Say something on standard error, above a live table if there is one.

    Not through typer, which goes past what a table has put in the place of standard error.
    """
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def counted(n: int, what: str) -> str:
    """A number of things: ``1 run``, ``1,000 runs``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def say_notes(notes: Iterable[Note], *, more: str = "('trajhmm inspect' lists those of the files)") -> None:
    """Count what was repaired or left out, by kind; ``more`` ends the line."""
    counts = Counter(note.kind for note in notes)
    if counts:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        say(f"notes on the logs: {listed} {more}")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error if that is a terminal; yields what to call with (done, all)."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
