"""Which reader takes which file. A new log format is one module with one function, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats.delimited import read_csv, read_some_csv, read_some_tsv, read_tsv
from trajhmm.logs.formats.jsonlines import is_json_object, read_jsonlines, read_some_jsonlines
from trajhmm.logs.formats.lines import Lines
from trajhmm.logs.formats.parquet import read_parquet
from trajhmm.logs.formats.table import Table

Reader = Callable[[Path, str], Table]

READERS: dict[str, Reader] = {
    "parquet": read_parquet,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonlines,
}


@dataclass(frozen=True, kw_only=True)
class LineFormat:
    """A text format of one row a line, to which lines may be added.

    Attributes
    ----------
    read : reads some lines.
    header : whether the first line names columns.
    is_whole : tells whether a last line without its line break is whole.
    """

    read: Callable[[Lines, Path, str], Table]
    header: bool
    is_whole: Callable[[bytes], bool]


def _never(_line: bytes) -> bool:
    """Whether a row of cells is whole cannot be told: 0.12 may become 0.125."""
    return False


LINE_FORMATS: dict[str, LineFormat] = {
    "csv": LineFormat(read=read_some_csv, header=True, is_whole=_never),
    "tsv": LineFormat(read=read_some_tsv, header=True, is_whole=_never),
    "jsonl": LineFormat(read=read_some_jsonlines, header=False, is_whole=is_json_object),
}
SUFFIXES: dict[str, str] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_COMPRESSIBLE = (".csv", ".tsv", ".jsonl", ".ndjson")
_ENDINGS = tuple(SUFFIXES)


def stem_and_suffix(path: Path) -> tuple[str, str]:
    """Stem and suffix of a file's name, the suffix in lower case and without the ``.gz`` of compressed text."""
    if path.suffix == ".gz" and (plain := path.with_suffix("")).suffix.lower() in _COMPRESSIBLE:
        return plain.stem, plain.suffix.lower()
    return path.stem, path.suffix.lower()


def is_log_name(name: str) -> bool:
    """Whether a reader takes a file of this name; fast, for folders of many files."""
    if name.endswith(".gz"):
        return name[: -len(".gz")].lower().endswith(_COMPRESSIBLE)
    return name.lower().endswith(_ENDINGS)


def format_of(path: Path) -> str:
    """Name the format of a file by its suffix.

    Raises
    ------
    LogError
        No reader takes the suffix.
    """
    try:
        return SUFFIXES[stem_and_suffix(path)[1]]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise LogError(
            f"{path}: no reader for {path.suffix or 'a file without a suffix'!r}; known are {known}"
        ) from None
