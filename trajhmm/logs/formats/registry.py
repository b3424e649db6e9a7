"""Which reader takes which file. A new log format is one file in this folder, and one line here."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats import (
    delimited,
    dvclive,
    jsonfiles,
    jsonlines,
    mlflow,
    parquet,
    sql,
    tensorboard,
    trackio,
    wandbchart,
    wandbfile,
    wide,
)
from trajhmm.logs.formats.format import HEAD, Format
from trajhmm.logs.formats.trainers import monitor, progress, rllib, trainerstate, vision

# The first that takes a file reads it: what is more special stands before what is more general.
FORMATS: tuple[Format, ...] = (
    parquet.PARQUET,
    tensorboard.EVENTS,
    tensorboard.DOWNLOAD,
    monitor.MONITOR,
    progress.LIGHTNING,
    progress.TUNE_PROGRESS,
    progress.BASELINES,
    progress.SPINNING_UP,
    trainerstate.TRAINER_STATE,
    rllib.RLLIB,
    vision.DETECTRON2,
    vision.MMENGINE,
    mlflow.MLFLOW,
    trackio.TRACKIO,
    sql.SQL,
    dvclive.DVCLIVE,
    wandbfile.WANDB,
    wandbchart.WANDB_CSV,
    wide.WIDE_CSV,
    wide.WIDE_TSV,
    wide.WIDE_JSON_LINES,
    delimited.CSV,
    delimited.TSV,
    jsonfiles.JSON,
    jsonlines.JSON_LINES,
)

_ANY = re.compile("|".join(rf"(?:{one.names})\Z" for one in FORMATS), re.IGNORECASE)
_COMPRESSED = ".gz"
_COMMON = ("parquet", "csv", "tsv", "jsonl", "tensorboard", "wandb", "mlflow")


def is_log_path(path: str) -> bool:
    """Whether some reader may take a file at this path; fast, for folders of many files."""
    return _ANY.search(path) is not None


def format_called(name: str) -> Format:
    """The format of that name.

    Raises
    ------
    LogError
        There is none.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    raise LogError(f"no reader called {name!r}; known are {', '.join(one.name for one in FORMATS)}")


def recognised(path: Path) -> Format | None:
    """Tell the format of a file by its name and what it begins with; None if no reader takes it.

    Raises
    ------
    OSError
        The file cannot be read, or is a pipe or device, which has no end.
    """
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "no file but a folder, pipe, device or socket", str(path))
    told = [one for one in FORMATS if one.may_be(path.as_posix())]
    if not any(one.takes for one in told):
        return told[0] if told else None
    head = head_of(path)
    return next((one for one in told if _takes(one, path, head)), None)


def _takes(one: Format, path: Path, head: bytes) -> bool:
    try:
        return one.takes is None or one.takes(path, head)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 (a file that nobody foresaw fails in any way: it is not of this kind)
        return False


def head_of(path: Path) -> bytes:
    """The first bytes of a file, of what it holds if it is compressed.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if path.suffix.lower() == _COMPRESSED:
        import gzip
        import zlib

        try:
            with gzip.open(path) as stream:
                return stream.read(HEAD)
        except (EOFError, zlib.error):
            return b""
    with path.open("rb") as stream:
        return stream.read(HEAD)


def format_of(path: Path) -> Format:
    """Tell the format of a file that was named.

    Raises
    ------
    LogError
        No reader takes it, or it cannot be read.
    """
    try:
        found = recognised(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error
    if found is None:
        suffix = repr(path.suffix or "a file without a suffix")
        more = len(FORMATS) - len(_COMMON)
        raise LogError(
            f"{path}: no reader for {suffix} that begins like this; known are {', '.join(_COMMON)} and {more} more "
            "(convert --from NAME)"
        )
    return found
