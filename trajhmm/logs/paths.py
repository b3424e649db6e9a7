"""From paths that a user named to the files that hold logs, and what the run of each is called by default."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats import SUFFIXES, format_of
from trajhmm.logs.table import Attribute, natural_key

_PART = re.compile(r"part[-_.]?\d+.*|[0-9a-f]{32}-\d+|\d+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file, its format, the name of its run unless a column says otherwise, and its hive partition."""

    path: Path
    format: str
    name: str
    partition: dict[str, Attribute]


def find_log_files(paths: Iterable[str | Path], *, format: str | None = None) -> list[LogFile]:
    """List the log files under ``paths`` in natural order; folders are searched, hidden names are passed over.

    Raises
    ------
    LogError
        A path is missing, a folder holds no log, or a suffix is unknown.
    """
    found: list[LogFile] = []
    seen: set[Path] = set()
    for given in paths:
        root = Path(given)
        if root.is_dir():
            inside = _inside(root)
        elif root.exists():
            inside = [(root, Path(root.name))]
        else:
            raise LogError(f"{root}: no such file or folder")
        names = _names(root, [relative for _, relative in inside])
        for (path, relative), name in zip(inside, names, strict=True):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            found.append(
                LogFile(path=path, format=format or format_of(path), name=name, partition=_partition(relative))
            )
    if not found:
        raise LogError("no log files were named; name a file or a folder of .parquet, .csv, .tsv or .jsonl files")
    return found


def _inside(root: Path) -> list[tuple[Path, Path]]:
    files = [
        (path, path.relative_to(root))
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)
    ]
    if not files:
        raise LogError(f"{root}: no log files in this folder; expected {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda pair: natural_key(str(pair[1])))


def _partition(relative: Path) -> dict[str, Attribute]:
    pairs = (part.split("=", 1) for part in relative.parts[:-1] if "=" in part)
    return {key: int(value) if re.fullmatch(r"-?\d+", value) else value for key, value in pairs}


def _names(root: Path, relatives: list[Path]) -> list[str]:
    """Name runs by file stem; where files are parts, or stems clash, by folder."""
    stems = Counter(relative.stem for relative in relatives)
    one_stem = len(stems) == 1
    names = []
    for relative in relatives:
        folder = str(relative.parent) if relative.parent != Path() else root.resolve().name
        is_part = len(relatives) > 1 and _PART.fullmatch(relative.stem) is not None
        if stems[relative.stem] == 1 and not (is_part and relative.parent != Path()):
            names.append(relative.stem)
        elif is_part or one_stem or "=" in folder:
            names.append(folder)
        else:
            names.append(str(relative.with_suffix("")))
    return names
