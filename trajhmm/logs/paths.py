"""From paths that a user named to the files that hold logs, and what the run of each is called by default."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from trajhmm.errors import LogError
from trajhmm.logs.formats import READERS, SUFFIXES, format_of, stem_and_suffix
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
    bases = []
    for root in map(Path, paths):
        if root.is_dir():
            for path in _inside(root):
                searched.setdefault(path, True)
        elif root.exists():
            searched[root] = False
        else:
            raise LogError(f"{root}: no such file or folder")
        folder = root if root.is_dir() else root.parent
        bases.append(os.path.abspath(folder))  # noqa: PTH100 (resolving links would lose the names that were given)
    if not searched:
        raise LogError("no log files were named; name a file or a folder of .parquet, .csv, .tsv or .jsonl files")
    base = Path(os.path.commonpath(bases))
    once = {path.resolve(): path for path in searched}
    relatives = {path: Path(os.path.relpath(path, base)) for path in once.values()}
    order = sorted(relatives, key=lambda path: natural_key(str(relatives[path])))
    names = _names(base, [relatives[path] for path in order])
    return [
        LogFile(
            path=path,
            format=format or format_of(path),
            name=name,
            partition=_partition(path),
            searched=searched[path],
        )
        for path, name in zip(order, names, strict=True)
    ]


def _inside(root: Path) -> list[Path]:
    files = [
        path
        for path in root.rglob("*")
        if stem_and_suffix(path)[1] in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)
    ]
    if not files:
        raise LogError(f"{root}: no log files in this folder; expected {', '.join(SUFFIXES)}")
    return files


def _partition(path: Path) -> dict[str, Attribute]:
    """What folders such as ``seed=3`` say of a file."""
    pairs = (part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    return {unquote(key): value_of(unquote(value)) for key, value in pairs if value != _HIVE_BLANK}


def _names(base: Path, relatives: list[Path]) -> list[str]:
    """Name runs by file stem; where files are parts, or stems clash, by folder."""
    stems = [stem_and_suffix(relative)[0] for relative in relatives]
    counts = Counter(stems)
    names = []
    for relative, stem in zip(relatives, stems, strict=True):
        inside = relative.parent != Path()
        folder = relative.parent.as_posix() if inside else base.name
        numbered = inside and len(relatives) > 1 and stem.isdecimal()
        if numbered or _PART.fullmatch(stem):
            names.append(folder)
        elif counts[stem] == 1:
            names.append(stem)
        elif len(counts) == 1 or "=" in folder:
            names.append(folder)
        else:
            names.append(relative.with_name(stem).as_posix())
    return names
