"""From paths that a user named to the files that hold logs, and what the run of each is called by default."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from trajhmm.errors import LogError
from trajhmm.logs.formats.registry import READERS, SUFFIXES, format_of, is_log_name, stem_and_suffix
from trajhmm.naming import Attribute, natural_key, value_of

_PART = re.compile(r"part[-_.]?\d+.*|[0-9a-f]{32}-\d+", re.IGNORECASE)
_HIVE_BLANK = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file, its format, the name of its run unless a column says otherwise, and its hive partition.

    ``searched`` is True where the file was found in a folder, not named itself.
    """

    path: Path
    format: str
    name: str
    partition: dict[str, Attribute]
    searched: bool


def find_log_files(paths: str | Path | Iterable[str | Path], *, format: str | None = None) -> list[LogFile]:
    """List the log files under ``paths`` in natural order; folders are searched, hidden names are passed over.

    Raises
    ------
    LogError
        A path is missing, a folder holds no log, or a suffix or the format is unknown.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    if format is not None and format not in READERS:
        raise LogError(f"no reader called {format!r}; known are {', '.join(READERS)}")
    searched: dict[Path, bool] = {}
    roots = [Path(root) for root in paths]
    for root in roots:
        if root.is_dir():
            for path in _inside(root):
                searched.setdefault(path, True)
        elif root.exists():
            searched[root] = False
        else:
            raise LogError(f"{root}: no such file or folder")
    if not searched:
        raise LogError("no log files were named; name a file or a folder of .parquet, .csv, .tsv or .jsonl files")
    base = common_folder(roots)
    once = {path.resolve(): path for path in searched}
    relatives = {path: relative_to(base, path) for path in once.values()}
    stems = Counter(stem_and_suffix(path)[0] for path in relatives)
    return [
        LogFile(
            path=path,
            format=format or format_of(path),
            name=default_name(base, relatives[path], stems),
            partition=partition_of(path),
            searched=searched[path],
        )
        for path in sorted(relatives, key=lambda path: natural_key(str(relatives[path])))
    ]


def walk(root: str | Path, failed: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    """Yield the log files under a folder; hidden names are passed over, links to folders are not followed.

    Parameters
    ----------
    root : folder.
    failed : told why a folder could not be listed.
    """
    folders = [os.fspath(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith((".", "_")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif is_log_name(entry.name) and entry.is_file():
                        yield entry
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


def _inside(root: Path) -> list[Path]:
    files = [Path(entry.path) for entry in walk(root, lambda _error: None)]
    if not files:
        raise LogError(f"{root}: no log files in this folder; expected {', '.join(SUFFIXES)}")
    return files


def partition_of(path: Path) -> dict[str, Attribute]:
    """What folders such as ``seed=3`` say of a file."""
    pairs = (part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    return {unquote(key): value_of(unquote(value)) for key, value in pairs if value != _HIVE_BLANK}


def default_name(base: Path, relative: Path, stems: Mapping[str, int]) -> str:
    """Name a run by its file's stem; where files are parts, or stems clash, by folder.

    Parameters
    ----------
    base : folder of all files.
    relative : the file, as seen from there.
    stems : how many of the files have a stem, by stem.
    """
    stem = stem_and_suffix(relative)[0]
    inside = relative.parent != Path()
    folder = relative.parent.as_posix() if inside else base.name
    alone = len(stems) == 1 and stems[stem] == 1
    numbered = inside and stem.isdecimal() and not alone
    if numbered or _PART.fullmatch(stem):
        return folder
    if stems[stem] == 1:
        return stem
    if len(stems) == 1 or "=" in folder:
        return folder
    return relative.with_name(stem).as_posix()
