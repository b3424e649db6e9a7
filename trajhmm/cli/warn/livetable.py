"""The live table of `trajhmm warn --follow`: what runs are doing, those to look at first."""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from trajhmm.cli.output.terminal import counted
from trajhmm.naming import shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console, RenderableType

    from trajhmm.warning.tracking import Tracker

# Lines of the terminal that are not runs: the header, the titles, how many more there are, the cursor.
_OTHER_LINES = 4


class Terminal:
    """A terminal, which a watch outlives: once it takes nothing any more, nothing is written to it.

    Attributes
    ----------
    gone : why it takes nothing any more; None while it does.
    missed : how often it was busy, and something not shown.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone: str | None = None
        self.missed = 0

    def write(self, text: str) -> int:
        """Write, or say nothing of it where nobody sees it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        if self.gone is None:
            try:
                write()
            except BlockingIOError:
                self.missed += 1
            except OSError as error:
                self.gone = error.strerror or str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RunTable:
    """The runs that alarmed, then those at most risk, as many as the terminal has lines for."""

    def __init__(self, console: Console, threshold: float, terminal: Terminal) -> None:
        self._console, self._threshold, self._terminal = console, threshold, terminal
        self._header = "waiting for the first poll"
        self._polled = time.monotonic()
        self._table: RenderableType = ""
        self._above: list[str] = []

    def show(self, trackers: Collection[Tracker], *, torn: int) -> None:
        """Show runs as they stand after a poll; of those that do not fit only their number is made out.

        Parameters
        ----------
        trackers : of all runs.
        torn : files that cannot be read.
        """
        from rich.console import Group

        alarms = sum(tracker.alarm_step is not None for tracker in trackers)
        first = heapq.nlargest(max(1, self._console.height - _OTHER_LINES), trackers, key=_urgency)
        rest = len(trackers) - len(first)
        counts = [counted(len(trackers), "run"), counted(alarms, "alarm")]
        self._header = ", ".join(counts + ([f"{counted(torn, 'file')} torn"] if torn else []))
        # The last line is short: after a full one, the ^C that a terminal shows would move all lines.
        self._table = Group(self._rows(first), (f"and {rest:,} more; " if rest else "") + "Ctrl-C ends")
        self._polled = time.monotonic()
        self._print_lines()

    def above(self, line: str) -> None:
        """Print a line that stays, above the table."""
        self._above.append(line)
        self._print_lines()

    def _print_lines(self) -> None:
        """Print the lines that are to stay; those that a busy terminal does not take, again with the next table."""
        lines, self._above = self._above, []
        for line in lines:
            before = self._terminal.missed
            self._console.print(shown(line), soft_wrap=True, markup=False, emoji=False, highlight=False)
            if self._terminal.missed > before:
                self._above.append(line)

    def lost(self) -> list[str]:
        """What was not shown, in words; nothing if all was."""
        why = self._terminal.gone
        if why is None:
            return ["not all was shown: the terminal was busy"] if self._above else []
        return [f"not all was shown: the terminal: {why}"]

    def render(self) -> RenderableType:
        """The table with its header, for this moment."""
        from rich.console import Group
        from rich.text import Text

        age = time.monotonic() - self._polled
        header = Text(f"{self._header}; polled {age:.0f} s ago", style="bold", no_wrap=True)
        return Group(header, self._table)

    def _rows(self, trackers: Collection[Tracker]) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
        table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=max(8, self._console.width // 3))
        for title in ("step", f"score/{self._threshold:.3g}", "risk", "state"):
            table.add_column(title, no_wrap=True, justify="right")
        table.add_column("alarm", no_wrap=True, overflow="ellipsis", ratio=1)
        for tracker in trackers:
            style = "" if tracker.alarm_step is None else "red"
            table.add_row(*(Text(shown(cell)) for cell in _cells(tracker)), style=style)
        return table


@contextmanager
def live_table(threshold: float) -> Iterator[RunTable | None]:
    """A table on standard output that is brought up to date, if that is a terminal; yields None if not.

    Parameters
    ----------
    threshold : above which a score is an alarm.
    """
    if not sys.stdout.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    terminal = Terminal(sys.stdout)
    console = Console(file=cast("TextIO", terminal))
    if console.is_dumb_terminal:
        yield None
        return
    table = RunTable(console, threshold, terminal)
    # What is said on standard error goes above the table only where both are the terminal.
    with Live(
        get_renderable=table.render,
        console=console,
        refresh_per_second=1,
        redirect_stdout=False,
        redirect_stderr=sys.stderr.isatty(),
    ):
        yield table


def _urgency(tracker: Tracker) -> tuple[bool, float, float]:
    last = tracker.last
    if last is None:
        return tracker.alarm_step is not None, -1.0, -math.inf
    return (
        tracker.alarm_step is not None,
        -1.0 if math.isnan(last.risk[-1]) else float(last.risk[-1]),
        float(last.score[-1]),
    )


def _cells(tracker: Tracker) -> Iterator[str]:
    last = tracker.last
    yield tracker.run
    yield str(tracker.last_step)
    if last is None:  # carried on from a state file, and nothing new since
        yield from ("", "", "")
    else:
        score = float(last.score[-1])
        yield f"{score:,.0f}" if 1000 <= score < math.inf else f"{score:.3g}"
        risk, state = float(last.risk[-1]), int(last.state[-1])
        yield "" if math.isnan(risk) else f"{risk:.0%}"
        yield "" if state < 0 else str(state)
    if tracker.alarm_step is None:
        yield ""
    else:
        drivers = ", ".join(driver.metric for driver in tracker.alarm.drivers) if tracker.alarm is not None else ""
        yield f"at {tracker.alarm_step}" + (f": {drivers}" if drivers else "")
