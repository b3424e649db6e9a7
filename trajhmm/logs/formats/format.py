"""`Format`: a kind of log file, how it is known and how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trajhmm.logs.formats.lines import Cut, Lines, whole_lines
from trajhmm.logs.formats.table import Table

# Bytes at the start of a file by which its format is told.
HEAD = 2**12


def itself(path: Path) -> Path:
    """The file: what a run is called after unless its format says otherwise."""
    return path


# Names that tools give to the log of every run: the folder tells runs apart.
_OF_EVERY_RUN = re.compile(
    r"(?:metrics\.(?:csv|json)|progress\.(?:csv|txt|json)|(?:monitor|results|history|measurements)\.csv"
    r"|(?:result|scalars|trainer_state)\.json|log\.txt)(?:\.gz)?",
    re.IGNORECASE,
)


def is_of_every_run(path: Path) -> bool:
    """Whether a tool calls the log of every run so."""
    return _OF_EVERY_RUN.fullmatch(path.name) is not None


def itself_or_folder(path: Path) -> Path:
    """The folder of a file that is called like that of every run; other files."""
    return path.parent if is_of_every_run(path) else path


def nowhere(_path: Path) -> int:
    """How far a file tells, where that is not known."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a file to whose end is added is read on, from where reading stopped.

    Attributes
    ----------
    read : reads what is new, see `Lines`, as the whole file is read.
    header : how many bytes at the beginning of a file go before its first row, see `GrowingFile`; or whether they are
        the first line.
    cut : how many of some bytes are whole, so that they can be read; by default those up to the last line break.
    by_line : whether each line can be read by itself.
    """

    read: Callable[[Lines, Path, str], Table]
    header: Cut | bool = False
    cut: Cut = field(default=whole_lines())
    by_line: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Format:
    """A kind of log file. One file of this folder holds one of them, and a line of `registry` names it.

    Attributes
    ----------
    name : short, as ``--from`` takes it.
    title : what people call it.
    names : regular expression of the ends of paths, ``/`` between folders, that files of this kind may have; case does
        not count. Of files that are searched for in folders no others are looked at.
    read : reads a file into a `Table`, given its path and the name of its run if nothing in it names runs. A column
        ``run`` tells several runs apart; what the format hides is said in notes of the kind ``hidden``.
    takes : whether a file is of this kind, by its path and its first `HEAD` bytes; None if its name says enough.
    growth : how a file that grows is read on; None if it is read as a whole whenever it changed.
    home : the file or folder that the run in a file is called after.
    whole_history : whether each file of a run tells all of it so far, so that only the last of them counts.
    together : whether reading one of these reads all that lie in its home, a metric in each, so that a change of any
        counts. Points of metrics that come late may then stand between rows that are known.
    reaches : how far such a file tells, so that the one that tells most is the last; by default they are as good as
        each other, and the last in natural order counts.
    """

    name: str
    title: str
    names: str
    read: Callable[[Path, str], Table]
    takes: Callable[[Path, bytes], bool] | None = None
    growth: Growth | None = None
    home: Callable[[Path], Path] = itself
    whole_history: bool = False
    together: bool = False
    reaches: Callable[[Path], int] = nowhere

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled expression of the paths."""
        return re.compile(rf"(?:{self.names})\Z", re.IGNORECASE)

    def __reduce__(self) -> tuple[Callable[[str], Format], tuple[str]]:
        """On another machine it is the one of the same name."""
        from trajhmm.logs.formats.registry import format_called

        return format_called, (self.name,)

    def may_be(self, path: str) -> bool:
        """Whether a file at this path may be of this kind."""
        return self.pattern.search(path) is not None
