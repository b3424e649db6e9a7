"""From paths that a user named to the files that hold logs, and what the run of each is called by default."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from trajhmm.errors import LogError
from trajhmm.logs.formats.format import Format, is_of_every_run
from trajhmm.logs.formats.registry import format_called, format_of, is_log_path, recognised
from trajhmm.logs.formats.sql import SQL, read_sql
from trajhmm.logs.formats.table import Table, plain_cell
from trajhmm.logs.runset import Note
from trajhmm.logs.sources.products import no_log
from trajhmm.naming import Attribute, listed, natural_key, plain_text, value_of

_PART = re.compile(r"part[-_.]?\d+.*|[0-9a-f]{32}-\d+", re.IGNORECASE)
_HIVE_BLANK = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file, its format, the name of its run unless a column says otherwise, and its hive partition.

    ``searched`` is True where the file was found in a folder, not named itself; ``table`` is the one to read of a
    database.
    """

    path: Path
    format: Format
    name: str
    partition: dict[str, Attribute]
    searched: bool
    table: str | None = None

    def read(self) -> Table:
        """Read it, with what the folders of the file say.

        Raises
        ------
        LogError
            It makes no sense.
        """
        try:
            table = self._read()
        except LogError as error:
            if self.format is not SQL or not self.searched or self.table is not None:
                raise
            # A folder may hold databases that are no logs.
            note = Note(kind="left-out", text=f"{error}; left out")
            table = Table(path=self.path, name=self.name, n=0, numbers={}, present={}, texts={}, notes=(note,))
        return self.told(replace(table, format=self.format.title))

    def _read(self) -> Table:
        try:
            if self.format is SQL:
                return read_sql(self.path, self.name, self.table)
            return self.format.read(self.path, self.name)
        except LogError:
            raise
        except OSError as error:
            raise LogError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        except Exception as error:  # a file that nobody foresaw fails in any way, and must not end with a traceback
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:90]
            raise LogError(
                f"{self.path}: makes no sense as {self.format.title} ({type(error).__name__}: {reason}); leave it out"
            ) from error

    def told(self, table: Table) -> Table:
        """A table of the file, knowing what its folders say."""
        if not (table.attributes or self.partition):
            return table
        told = {plain_text(name): plain_cell(value) for name, value in {**table.attributes, **self.partition}.items()}
        kept = {name: value for name, value in told.items() if isinstance(value, (str, int, float))}
        return replace(table, attributes=kept)


def find_log_files(
    paths: str | Path | Iterable[str | Path],
    *,
    format: str | None = None,
    table: str | None = None,
    notes: list[Note] | None = None,
) -> list[LogFile]:
    """List the log files under ``paths`` in natural order; folders are searched, hidden names are passed over.

    Parameters
    ----------
    paths, format, table : as for `trajhmm.read_logs`.
    notes : takes what was passed over as it could not be looked at.

    Raises
    ------
    LogError
        A path is missing, or no file and no folder; a folder holds no log, or a suffix or the format is unknown.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    forced = None if format is None else format_called(format)
    searched: dict[Path, bool] = {}
    roots = [Path(root) for root in paths]
    for root in roots:
        if root.is_dir():
            for path in _inside(root, [] if notes is None else notes):
                searched.setdefault(path, True)
        elif root.exists():
            check_regular(root)
            searched[root] = False
        else:
            raise LogError(f"{root}: no such file or folder")
    if not searched:
        raise LogError("no log files were named; name a file, or a folder of them")
    base = common_folder(roots)
    formats = _formats(searched, forced, [] if notes is None else notes)
    if not formats:
        looked_at = listed(sorted(path.name for path in searched), most=3)
        raise LogError(f"{roots[0]}: no log files in this folder (looked at {looked_at})")
    if table is not None:
        formats = {path: SQL if SQL.may_be(path.as_posix()) else found for path, found in formats.items()}
        if SQL not in formats.values():
            raise LogError(f"--table {table}: names a table of a SQLite or DuckDB file; {roots[0]} is or holds none")
    homes = {path: Home.of(path, found, base) for path, found in latest(formats, base).items()}
    stems = Counter(home.stem for home in set(homes.values()))
    return [
        LogFile(
            path=path,
            format=formats[path],
            name=home.default_name(base, stems),
            partition=partition_of(path),
            searched=searched[path],
            table=table if formats[path] is SQL else None,
        )
        for path, home in sorted(homes.items(), key=lambda one: natural_key(str(relative_to(base, one[0]))))
    ]


# Files that are logs by their names alone, also while nothing is in them yet.
_LOGS = re.compile(r"\.(csv|tsv|jsonl|ndjson|parquet|wandb)(\.gz)?$", re.IGNORECASE)


def _formats(searched: Mapping[Path, bool], forced: Format | None, notes: list[Note]) -> dict[Path, Format]:
    """The formats of log files; ``notes`` takes which of those that were searched for are none.

    Raises
    ------
    LogError
        All that were found are none, or one cannot be read.
    """
    formats: dict[Path, Format] = {}
    left_out: list[Note] = []
    for path in {path.resolve(): path for path in searched}.values():
        found, reason = _format(path, searched=searched[path], forced=forced)
        if found is not None and reason is None:
            formats[path] = found
        elif reason is not None:
            left_out.append(Note(kind="left-out", text=f"{path}: {reason}"))
    if left_out and not formats:
        raise LogError(left_out[0].text.removesuffix(", left out"))
    notes += left_out
    return formats


def _format(path: Path, *, searched: bool, forced: Format | None) -> tuple[Format | None, str | None]:
    """The format of a file and why it is no log; None where it was only searched for, and no reader takes it."""
    try:
        if searched and _LOGS.search(path.name) and path.stat().st_size == 0:
            return None, "holds no rows, left out"
        found = forced or (recognised(path) if searched else format_of(path))
        return found, no_log(path) if searched and found is not None else None
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error


def latest(formats: Mapping[Path, Format], base: Path) -> dict[Path, Format]:
    """Of files each of which tells the whole history of a run, the one that tells most of each run; all others."""
    last: dict[tuple[Path, str], tuple[int, Path]] = {}
    for path in sorted(formats, key=lambda path: natural_key(str(relative_to(base, path)))):
        if formats[path].whole_history:
            run = formats[path].home(path), formats[path].name
            reach = formats[path].reaches(path)
            if run not in last or reach >= last[run][0]:
                last[run] = reach, path
    kept = {path for _, path in last.values()}
    return {path: found for path, found in formats.items() if path in kept or not found.whole_history}


def log_files(roots: Iterable[Path], failed: Callable[[OSError], None] = lambda _: None) -> Iterator[Path]:
    """Yield files that are named, and the log files under folders; see `walk`."""
    for root in roots:
        if root.is_dir():
            yield from (Path(entry.path) for entry in walk(root, failed))
        else:
            yield root


def walk(root: str | Path, failed: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    """Yield the log files under a folder; hidden names are passed over, links to folders are not followed.

    Parameters
    ----------
    root : folder.
    failed : told why a folder could not be listed, or a file not be looked at; the others are yielded.
    """
    folders = [os.fspath(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith((".", "_")):
                        continue
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif is_log_path(entry.path) and entry.is_file():
                            yield entry
                    except OSError as error:  # a link that leads to itself, or where nobody may look
                        failed(error)
        except OSError as error:
            failed(error)


def common_folder(roots: Iterable[Path]) -> Path:
    """The folder that all files and folders are in."""
    folders = (root if root.is_dir() else root.parent for root in roots)
    absolute = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 (resolving links would lose the names)
    return Path(os.path.commonpath(absolute))


def relative_to(base: Path, path: Path) -> Path:
    """The path as seen from ``base``, by the names that were given."""
    return Path(os.path.relpath(path, base))


def check_regular(path: Path) -> None:
    """Refuse what is no file that can be read to an end: a pipe, a device, a socket.

    Raises
    ------
    LogError
        Saying which.
    """
    mode = path.stat().st_mode
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISREG, ""))
    kind = next((called for is_one, called in kinds if is_one(mode)), "a device")
    if kind:
        raise LogError(f"{path}: is {kind}, no file; write what comes out of it to a file, and name that")


def _inside(root: Path, notes: list[Note]) -> list[Path]:
    failed: list[OSError] = []
    files = [Path(entry.path) for entry in walk(root, failed.append)]
    # What has gone since the folder was listed is no matter.
    failed = [error for error in failed if not isinstance(error, FileNotFoundError)]
    for error in failed:
        text = f"{error.filename}: cannot be looked at ({error.strerror or error}), passed over"
        notes.append(Note(kind="left-out", text=text))
    if not files and failed:
        raise LogError(f"{failed[0].filename}: cannot be looked at ({failed[0].strerror or failed[0]})")
    if not files:
        raise LogError(
            f"{root}: no log files in this folder; expected .parquet, .csv, .tsv, .jsonl or what trackers write"
        )
    return files


def partition_of(path: Path) -> dict[str, Attribute]:
    """What folders such as ``seed=3`` say of a file."""
    pairs = (part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    named = ((plain_text(unquote(key)), plain_text(unquote(value))) for key, value in pairs if value != _HIVE_BLANK)
    return {key: value_of(value) for key, value in named}


@dataclass(frozen=True, kw_only=True)
class Home:
    """What a run is called after: a file, or the folder that its format says.

    Attributes
    ----------
    relative : as seen from the folder of all files.
    stem : the name, of a file without its suffix.
    is_file : whether it is the log file itself.
    file_stem : of a file called like that of every run, its own name, should no folder tell runs apart.
    """

    relative: Path
    stem: str
    is_file: bool
    file_stem: str | None = None

    @classmethod
    def of(cls, path: Path, found: Format, base: Path) -> Home:
        """That of a file, given the folder of all files."""
        home = found.home(path)
        is_file = home == path
        stem = stem_of(path) if is_file else Path(os.path.abspath(home)).name  # noqa: PTH100 (links keep their names)
        file_stem = stem_of(path) if home == path.parent and is_of_every_run(path) else None
        return cls(relative=relative_to(base, home), stem=stem, is_file=is_file, file_stem=file_stem)

    def default_name(self, base: Path, stems: Mapping[str, int]) -> str:
        """Name a run by its stem; where files are parts, or stems clash, by folder.

        Parameters
        ----------
        base : folder of all files.
        stems : how many runs have a stem, by stem.
        """
        return plain_text(self._name(base, stems))

    def _name(self, base: Path, stems: Mapping[str, int]) -> str:
        relative, stem = self.relative, self.stem
        inside = relative.parent != Path()
        folder = relative.parent.as_posix() if inside else base.name
        if self.is_file:
            numbered = inside and stem.isdecimal() and not (len(stems) == 1 and stems[stem] == 1)
            if numbered or _PART.fullmatch(stem):
                return folder
        if self.file_stem is not None and not relative.name and stems[stem] == 1:
            return self.file_stem
        if stems[stem] == 1 or not relative.name or relative.name == "..":
            return stem
        if self.is_file and (len(stems) == 1 or "=" in folder):
            return folder
        return relative.with_name(stem).as_posix()


def stem_of(path: Path) -> str:
    """A file's name without its suffix, nor the ``.gz`` of compressed text before that."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).stem
