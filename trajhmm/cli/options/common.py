"""Arguments and options that several verbs share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options.paths import READS
from trajhmm.cli.output.terminal import progress_bar, say
from trajhmm.errors import ConditionError
from trajhmm.files import reads
from trajhmm.naming import plain_text

if TYPE_CHECKING:
    from trajhmm.cache import Cache
    from trajhmm.logs import Note, RunSet, Scan
    from trajhmm.logs.settings import Settings


class DetourRule(StrEnum):
    """What counts as a detour."""

    STRICT = "strict"
    PAPER = "paper"


Logs = Annotated[
    list[Path],
    typer.Argument(
        metavar="LOGS",
        help="Log files or folders: Parquet, CSV, JSON lines, TensorBoard, W&B, MLflow and more, told by content.",
    ),
    READS,
]
RunBy = Annotated[
    list[str] | None,
    typer.Option("--run-by", metavar="COLUMN", help="Column that tells runs apart; repeat or separate by commas."),
]
Rename = Annotated[
    list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="Rename a column before all else; repeatable.")
]
Where = Annotated[
    str | None, typer.Option("--where", metavar="CONDITION", help="Keep rows that meet it: 'condition == \"ln\"'.")
]
Step = Annotated[str | None, typer.Option("--step", metavar="COLUMN", help="Column that counts steps, if not step.")]
TableName = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Table to read of a SQLite or DuckDB file.")
]
ModelFile = Annotated[
    Path, typer.Option("--model", metavar="MODEL.json", help="Model file that 'trajhmm fit' wrote."), READS
]
OptionalModel = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="MODEL.json", help="Model file that 'trajhmm fit' wrote, where the kind needs one."
    ),
    READS,
]
WarningModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="MODEL.json",
        help="Model file that 'trajhmm fit --for warning' wrote; without one each run is judged by its own past.",
    ),
    READS,
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random; the same seed, the same bytes.")]
Refits = Annotated[
    int,
    typer.Option(
        "--refits", min=0, help="Refits of resampled runs and other seeds: how often a detour is found again."
    ),
]
Within = Annotated[
    str | None,
    typer.Option("--within", metavar="COLUMN", help="Compare only runs that have the same value of this attribute."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Threads; the result does not depend on it.")]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Work everything out anew, and keep nothing; as with TRAJHMM_CACHE=off."),
]
Rule = Annotated[DetourRule, typer.Option("--rule", help="What counts as a detour.")]

# What is left out of logs that a line names.
_TOLD = 3
ALL_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Numbers of states that may be asked for at once.
_MOST_STATES = 10_000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the user wants logs read."""

    run_by: list[str] | None
    rename: list[str] | None
    where: str | None
    step: str | None
    table: str | None = None

    def read(self, logs: list[Path], *, format: str | None = None) -> RunSet:
        """Read the logs."""
        from trajhmm.logs import read_logs

        with usage_errors(), progress_bar("reading", at_once=False) as progress:
            runs = read_logs(logs, format=format, progress=progress, **self._settings())
        reads(found for path in _on_disk([path for path, _ in runs.files], logs) for found in _opened_with(path))
        return runs

    def scan(self, logs: list[Path]) -> Scan:
        """Look through logs that may not fit in memory."""
        from trajhmm.logs import scan_logs

        with usage_errors():
            scan = scan_logs(logs, **self._settings())
        reads({source.file.path for piece in scan.pieces for source in piece.sources})
        return scan

    def settings(self) -> Settings:
        """The same for logs that are followed."""
        from trajhmm.logs.settings import Settings

        return Settings.of(**self._settings())

    def as_options(self) -> list[str]:
        """The same as words of a command line."""
        named = (
            ("--run-by", self.run_by),
            ("--rename", self.rename),
            ("--where", [self.where]),
            ("--step", [self.step]),
            ("--table", [self.table]),
        )
        return [
            word for option, given in named for value in given or [] if value is not None for word in (option, value)
        ]

    def _settings(self) -> dict[str, Any]:
        return {
            "run_by": split(self.run_by),
            "rename": _pairs(self.rename or []),
            "where": self.where,
            "step": self.step,
            "table": self.table,
        }


def say_left_out(notes: Iterable[Note]) -> None:
    """Say by name what of the logs themselves is left out, which their notes only count."""
    texts = list(dict.fromkeys(note.text for note in notes if note.kind == "left-out" and note.run is None))
    if texts:
        more = f"; and {len(texts) - _TOLD} more" if len(texts) > _TOLD else ""
        say(f"left out: {'; '.join(text.removesuffix(', left out') for text in texts[:_TOLD])}{more}")


def split(names: list[str] | None) -> list[str]:
    """Names given several times or separated by commas, as one list."""
    return [name.strip() for given in names or [] for name in given.split(",") if name.strip()]


def _on_disk(told: Iterable[str], logs: Iterable[Path]) -> list[Path]:
    """The files that were told; those whose names are no text, and were told by the numbers of their bytes, as well."""
    names = set(told)
    odd = {name for name in names if not os.path.lexists(name)}
    found = [Path(name) for name in names - odd]
    if odd:
        from trajhmm.logs.sources.paths import log_files

        found += [file for file in log_files(logs) if plain_text(file) in odd]
    return found


def _opened_with(path: Path) -> Iterator[Path]:
    """A log file, and what is read with it: a database's own files, and others of a folder that is one log."""
    yield path
    yield from (path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-journal", "-shm"))
    # MLflow and DVCLive keep a file for each metric.
    if path.parent.name == "metrics":
        with suppress(OSError):
            yield from path.parent.rglob("*")


def states_of(states: str | None) -> list[int] | None:
    """A number such as ``6`` or a range such as ``1:8``, as whole numbers; None for none."""
    if states is None:
        return None
    match = re.fullmatch(r"(\d+)(?::(\d+))?", states.strip())
    if match is None:
        raise typer.BadParameter(f"--states {states!r}: expected a number such as 6, or a range such as 1:8")
    first, last = int(match[1]), int(match[2] or match[1])
    if first < 1 or last < first:
        raise typer.BadParameter(f"--states {states!r}: expected whole numbers from 1 on, the smaller first")
    if last - first >= _MOST_STATES:
        raise typer.BadParameter(f"--states {states!r}: at most {_MOST_STATES:,} numbers of states")
    return list(range(first, last + 1))


def cache_of(*, no_cache: bool) -> Cache:
    """Where what was worked out before is found again: nowhere, if the user says so."""
    from trajhmm.cache import NO_CACHE, Cache

    return NO_CACHE if no_cache else Cache.of_user()


class usage_errors:  # noqa: N801 (a context manager reads as a word)
    """A condition that does not parse is a wrong command, not a wrong input: exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConditionError):
            raise typer.BadParameter(str(error)) from error


def _pairs(renames: list[str]) -> dict[str, str]:
    pairs = {}
    for rename in renames:
        old, equals, new = rename.rpartition("=")
        if not equals or not old or not new:
            raise typer.BadParameter(f"--rename {rename!r}: expected OLD=NEW")
        pairs[old] = new
    return pairs
