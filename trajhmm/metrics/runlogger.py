"""`RunLogger`: a run log that grows beside the training that it tells of."""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import LogError, TrajHMMError, TrajHMMWarning
from trajhmm.files import BLANKS_ARE_BLANK, PART, write_parquet
from trajhmm.metrics.plain import plain_attribute
from trajhmm.naming import plain_text

Listener = Callable[[int, Mapping[str, float]], object]

# Loggers that may hold rows when the program ends.
_open: weakref.WeakSet[RunLogger] = weakref.WeakSet()

_PART_FILE = re.compile(r"part-(\d+)\.parquet")
_ATTRIBUTES = b"trajhmm.attributes"
# Bytes that file systems take in one name, with room for a number.
_LONGEST_NAME = 200
# Readers keep steps in float64 columns until they are known to be whole.
_LARGEST_STEP = 2**53
# Numbers that wait for a disk that is full, about 100 bytes each: the oldest rows go when there are more.
_MOST_WAITING = 2**21
# Cells of one part, so that what has waited is written some at a time.
_MOST_IN_A_PART = 2**18
# What cannot be written is tried again when as much again has come, or after the seconds of a part, and never so often
# that it takes more than a twentieth of the time; it is told at once, and then again as often as this, in seconds.
_REST = 20
_TELL_AGAIN = 600.0


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """The last attempt to write: how many rows there were then, and when to try again at the latest."""

    rows: int
    again_at: float


class RunLogger:
    """Write the metrics of one run as closed Parquet files, part by part, while it trains.

    ``FOLDER/RUN/part-000000.parquet`` and so on: each is written under another name and then renamed, so that a reader
    of ``FOLDER`` never sees a torn file, and a job that is killed loses only the rows since the last part. A job that
    is started again with the same folder and run goes on with the next part; where it takes steps again, the later
    rows win when the log is read.

    Logging never ends a training. Rows that cannot be written (the disk is full, the folder is gone) are kept, with a
    warning that comes once and then rarely, and written when they can be; of more than two million numbers that wait
    the oldest go, which is said. A value that is no number is left out with a warning. Wrong calls raise: a step that
    is no whole number, a metric that is called like an attribute. So do `flush` and `close` where rows cannot be
    written; leaving a ``with`` block only warns of it. Without one, and without `close`, what waits is written when the
    logger is no longer used or the program ends, unless it is killed.

    >>> with RunLogger("logs", "seed_3", attributes={"seed": 3}) as logger:
    ...     for step in range(1000):
    ...         logger.log(step, train_loss=train_step(), **weight_metrics(weights))

    Parameters
    ----------
    folder : of all runs that belong together; made if missing.
    run : name of the run.
    attributes : what holds for the whole run: seed, condition, learning rate, … Numbers, truth values and texts are
        kept as they are; None and NaN are left out; anything else, an infinity, and an integer that takes more than 64
        bits, is kept as text.
    rows : write a part after so many rows.
    seconds : and whenever the first unwritten row is as old as that, so that a slow run can be watched.

    Attributes
    ----------
    listeners : a list of what to call with the step and the metrics whenever something is logged.

    Raises
    ------
    LogError
        The run is there with other attributes, or attributes are named like the log's own columns.
    """

    def __init__(
        self,
        folder: str | Path,
        run: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        rows: int = 100,
        seconds: float = 60.0,
    ) -> None:
        if run is None or run == "":
            raise LogError("a run needs a name")
        if rows < 1:
            raise LogError(f"rows = {rows}: expected at least 1 row a part")
        self.run = plain_text(run)
        self.folder = Path(folder) / _folder_name(self.run)
        given = {plain_text(name): plain_attribute(value) for name, value in dict(attributes or {}).items()}
        self.attributes = {name: value for name, value in given.items() if value is not None}
        self.listeners: list[Listener] = []
        for name in ("run", "step"):
            if name in given:
                raise LogError(f"attribute {name!r} is the name of a column of every log; call it otherwise")
        self._rows, self._seconds = rows, seconds
        self._waiting: list[dict[str, float | int]] = []
        self._cells = 0
        self._since = 0.0
        self._failure: _Failure | None = None
        self._dropped = 0
        self._told_at: float | None = None
        self._told_at_last = False
        self._complained: set[str] = set()
        self._next: int | None = None
        self._last_step: int | None = None
        self._process = os.getpid()
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        """Find out where the run stands on disk; where that cannot be told, it is found out when a part is written.

        Raises
        ------
        LogError
            The run is there with other attributes.
        """
        with suppress(OSError):
            self._find_place()

    def _find_place(self) -> None:
        parts = self._parts()
        if parts and self._last_step is None:
            self._last_step = self._resume(parts[max(parts)])
        self._next = max(parts, default=-1) + 1

    def _parts(self) -> dict[int, Path]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return {}
        return {int(match[1]): self.folder / name for name in names if (match := _PART_FILE.fullmatch(name))}

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _free_number(self) -> int:
        """The number of the next part; nothing that stands there is replaced, whoever wrote it."""
        if self._next is None or os.path.lexists(self._path(self._next)):
            self._find_place()
        return self._next or 0

    def _resume(self, newest: Path) -> int | None:
        """Check that the newest part is of the same run, and return its last step; None if it cannot be read."""
        try:
            # What is no file, as a pipe, would be waited for.
            with (newest if newest.is_file() else Path(os.devnull)).open("rb") as stream:
                table = pq.ParquetFile(stream).read(["step"])
            last = int(table["step"][-1].as_py())
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError):
            text = (
                f"{newest}: not a whole part of a log; run {self.run!r} goes on behind it; move it away to read the log"
            )
            remark(text, stacklevel=5)
            return None
        stored = (table.schema.metadata or {}).get(_ATTRIBUTES)
        if stored is not None and stored != self._encoded_attributes():
            raise LogError(
                f"{newest}: run {self.run!r} was logged with attributes {stored.decode(errors='replace')}, now "
                f"{self._encoded_attributes().decode()}; give it another name, or log what changes as a metric"
            )
        return last

    def _encoded_attributes(self) -> bytes:
        return json.dumps(self.attributes, sort_keys=True, default=str).encode()

    @property
    def last_step(self) -> int | None:
        """The step of the last row that is safe on disk; None before the first part."""
        return self._last_step

    def log(self, step: int, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Add one row; a row of the same step as the last one completes it.

        Parameters
        ----------
        step : whole number.
        metrics, more : names to numbers; a tensor of one element counts as its number, None as not logged. What is no
            number is left out, with a warning the first time; so is a row whose step no log can hold, 2^53 or more.

        Raises
        ------
        TypeError, ValueError
            The step is no whole number, or a metric is called like an attribute.
        """
        step, row = index(step), dict[str, float]()
        for given, value in {**(metrics or {}), **more}.items():
            name = plain_text(given)
            if name in ("run", "step") or name in self.attributes:
                raise ValueError(f"metric {name!r} has the name of an attribute or of a column of every log")
            if value is not None and (number := self._number(name, value)) is not None:
                row[name] = number
        if abs(step) >= _LARGEST_STEP:
            self._complain("step", f"rows of steps of 2^53 and more are left out of run {self.run!r}")
            return
        self._add({"step": step, **row})
        for listener in self.listeners:
            listener(step, row)

    def _number(self, name: str, value: Any) -> float | None:
        try:
            if np.ma.is_masked(value):
                return None
            tensor = value.detach() if hasattr(value, "detach") else value
            return float(tensor.item() if hasattr(tensor, "item") else tensor)
        except OverflowError:
            with suppress(Exception):
                return float("inf") if value > 0 else float("-inf")
            return None
        except Exception as error:  # noqa: BLE001 (tensors and numbers of any library: none may end a training)
            reason = plain_text(error).partition("\n")[0][:100] or type(error).__name__
            self._complain(name, f"metric {name!r} of run {self.run!r} is no number and left out ({reason})")
            return None

    def _complain(self, of: str, text: str) -> None:
        if of not in self._complained:
            self._complained.add(of)
            remark(text, stacklevel=4)

    def _add(self, row: dict[str, float | int]) -> None:
        if self._waiting and self._waiting[-1]["step"] == row["step"]:
            last = self._waiting[-1]
            self._cells -= len(last)
            last |= row
            self._cells += len(last)
            return
        if self._is_due():
            self.flush_or_warn()
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(row)
        self._cells += len(row)
        if self._cells > _MOST_WAITING:
            self._let_go_of_oldest()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self._failure is not None:
            return len(self._waiting) >= 2 * self._failure.rows or time.monotonic() >= self._failure.again_at
        return len(self._waiting) >= self._rows or time.monotonic() - self._since > self._seconds

    def _let_go_of_oldest(self) -> None:
        n = max(1, len(self._waiting) // 8)
        self._cells -= sum(map(len, islice(self._waiting, n)))
        del self._waiting[:n]
        if not self._dropped:
            self._told_at = None  # so that the next attempt tells of it
        self._dropped += n

    def flush(self) -> None:
        """Write the rows that wait as a part of their own; as several where many have waited.

        Raises
        ------
        TrajHMMError
            They cannot be written.
        """
        while self._waiting:
            rows = self._first_rows()
            try:
                number = self._free_number()
                write_parquet(self._table(rows, number), self._path(number))
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                reason = str(getattr(error, "strerror", None) or error).partition("\n")[0]
                raise TrajHMMError(f"{self.folder}: cannot be written ({reason[:200]})") from error
            self._next = number + 1
            self._last_step = int(rows[-1]["step"])
            self._cells -= sum(map(len, rows))
            del self._waiting[: len(rows)]
        self._failure, self._dropped, self._told_at, self._told_at_last = None, 0, None, False

    def flush_or_warn(self, *, at_last: bool = False) -> None:
        """`flush`, but where the rows cannot be written keep them, and warn: training goes on.

        Parameters
        ----------
        at_last : warn even if that was done a short while ago, as nothing may come after this.
        """
        started = time.monotonic()
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 (whatever fails here must not end the training that is logged)
            now = time.monotonic()
            waiting = len(self._waiting)
            rest = max(self._seconds, _REST * (now - started))
            self._failure = _Failure(rows=max(waiting, self._rows), again_at=now + rest)
            if at_last or self._told_at is None or now - self._told_at >= _TELL_AGAIN:
                self._told_at, self._told_at_last = now, at_last
                text = f"{error or type(error).__name__}; {waiting} rows of run {self.run!r} are kept and tried again"
                lost = f"; {self._dropped} older ones were too many to keep and are lost" if self._dropped else ""
                remark(f"{text}{lost}", stacklevel=3)

    def _first_rows(self) -> list[dict[str, float | int]]:
        """Of the rows that wait the first, as many as one part may hold."""
        names: set[str] = set()
        for n, row in enumerate(self._waiting):
            names |= row.keys()
            if n and (n + 1) * len(names) > _MOST_IN_A_PART:
                return self._waiting[:n]
        return self._waiting[:]

    def _table(self, rows: list[dict[str, float | int]], number: int) -> pa.Table:
        n = len(rows)
        columns: dict[str, pa.Array] = {
            "run": pa.repeat(pa.scalar(self.run, pa.string()), n),
            "step": pa.array([row["step"] for row in rows], type=pa.int64()),
        }
        for name in dict.fromkeys(name for row in rows for name in row if name != "step"):
            columns[name] = pa.array([row.get(name) for row in rows], type=pa.float64())
        for name, value in self.attributes.items():
            columns[name] = pa.repeat(pa.scalar(value), n)
        says = BLANKS_ARE_BLANK | {PART: str(number).encode(), _ATTRIBUTES: self._encoded_attributes()}
        return pa.table(columns).replace_schema_metadata(says)

    def close(self) -> None:
        """Write what waits. The logger can be used again.

        Raises
        ------
        TrajHMMError
            It cannot be written.
        """
        self.flush()

    def _end(self) -> None:
        """Write what waits, unless that is for the process to do which this one was forked from."""
        if not self._waiting or os.getpid() != self._process:
            return
        if self._next is not None and os.path.lexists(self._path(self._next)):
            # What waits was taken again by whoever goes on with the run: written now, it would stand for the later.
            remark(f"{len(self._waiting)} rows of run {self.run!r} are not written: another logger went on with it")
            self._waiting.clear()
            return
        self.flush_or_warn(at_last=not self._told_at_last)

    def __del__(self) -> None:
        with suppress(Exception):  # parts of it may not be there any more
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush_or_warn(at_last=True)


@atexit.register
def _end_all() -> None:
    for logger in list(_open):
        with suppress(Exception):
            logger._end()  # noqa: SLF001 (of this module)


def remark(text: str, *, stacklevel: int = 2) -> None:
    """Warn; where warnings are turned into errors, say it on standard error instead: it must not end a training."""
    with suppress(Exception):  # where standard error is closed nobody can be told
        try:
            warnings.warn(text, TrajHMMWarning, stacklevel=stacklevel + 1)
        except TrajHMMWarning:
            sys.stderr.write(f"{text}\n")


def _folder_name(run: str) -> str:
    """A name that is neither hidden nor a partition nor another folder, and not too long for one."""
    name = quote(run, safe=" ,+@()[]")
    name = f"%{ord(name[0]):02X}{name[1:]}" if name[0] in "._" else name
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}~{blake2b(run.encode(), digest_size=8).hexdigest()}"
