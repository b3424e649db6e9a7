"""Which reader takes which file. A new log format is one module with one function, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.delimited import read_csv, read_tsv
from trajhmm.logs.jsonlines import read_jsonlines
from trajhmm.logs.parquet import read_parquet
from trajhmm.logs.table import Table

Reader = Callable[[Path, str], Table]

READERS: dict[str, Reader] = {
    "parquet": read_parquet,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonlines,
}
SUFFIXES: dict[str, str] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_COMPRESSIBLE = {".csv", ".tsv", ".jsonl", ".ndjson"}


def stem_and_suffix(path: Path) -> tuple[str, str]:
    """Stem and suffix of a file's name, the suffix in lower case and without the ``.gz`` of compressed text."""
    if path.suffix == ".gz" and (plain := path.with_suffix("")).suffix.lower() in _COMPRESSIBLE:
        return plain.stem, plain.suffix.lower()
    return path.stem, path.suffix.lower()


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
