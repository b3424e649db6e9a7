"""`RunLogger`: a run log that grows beside the training that it tells of."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import LogError, TrajHMMError, TrajHMMWarning
from trajhmm.files import BLANKS_ARE_BLANK, PART, write_parquet

Attribute = str | int | float | bool
Listener = Callable[[int, Mapping[str, float]], object]

_PART_FILE = re.compile(r"part-(\d+)\.parquet")
_ATTRIBUTES = b"trajhmm.attributes"


class RunLogger:
    """Write the metrics of one run as closed Parquet files, part by part, while it trains.

    ``FOLDER/RUN/part-000000.parquet`` and so on: each is written under another name and then renamed, so that a reader
    of ``FOLDER`` never sees a torn file, and a job that is killed loses only the rows since the last part. A job that
    is started again with the same folder and run goes on with the next part; where it takes steps again, the later
    rows win when the log is read. Logging never ends a training: rows that cannot be written are kept, with a
    warning, and tried again with the next part.

    >>> with RunLogger("logs", "seed_3", attributes={"seed": 3}) as logger:     # doctest: +SKIP
    ...     for step in range(1000):
    ...         logger.log(step, train_loss=train_step(), **weight_metrics(model))

    Parameters
    ----------
    folder : of all runs that belong together; made if missing.
    run : name of the run.
    attributes : what holds for the whole run: seed, condition, learning rate, …
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
        attributes: Mapping[str, Attribute] | None = None,
        rows: int = 100,
        seconds: float = 60.0,
    ) -> None:
        if not run:
            raise LogError("a run needs a name")
        if rows < 1:
            raise LogError(f"rows = {rows}: expected at least 1 row a part")
        self.run = run
        self.folder = Path(folder) / _folder_name(run)
        self.attributes = dict(attributes or {})
        self.listeners: list[Listener] = []
        for name in ("run", "step"):
            if name in self.attributes:
                raise LogError(f"attribute {name!r} is the name of a column of every log; call it otherwise")
        self._rows, self._seconds = rows, seconds
        self._waiting: list[dict[str, float | int]] = []
        self._since = 0.0
        parts = self._parts()
        self._next = max(parts, default=-1) + 1
        self._last_step = self._resume(parts[max(parts)]) if parts else None

    def _parts(self) -> dict[int, Path]:
        found = ((path, _PART_FILE.fullmatch(path.name)) for path in self.folder.glob("part-*.parquet"))
        return {int(match[1]): path for path, match in found if match}

    def _resume(self, newest: Path) -> int:
        """Check that the newest part is of the same run, and return its last step."""
        try:
            table = pq.read_table(newest, columns=["step"])
        except (pa.ArrowException, OSError) as error:
            raise LogError(f"{newest}: not a whole Parquet file; move it away to go on with the run") from error
        stored = (table.schema.metadata or {}).get(_ATTRIBUTES)
        if stored is not None and stored != self._encoded_attributes():
            raise LogError(
                f"{newest}: run {self.run!r} was logged with attributes {stored.decode()}, now "
                f"{self._encoded_attributes().decode()}; give it another name, or log what changes as a metric"
            )
        return int(table["step"][-1].as_py())

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
        metrics, more : names to numbers; a tensor of one element counts as its number, None as not logged.

        Raises
        ------
        TypeError, ValueError
            The step is no whole number, or a value no number.
        """
        step, row = index(step), dict[str, float]()
        for name, value in {**(metrics or {}), **more}.items():
            if name in ("run", "step") or name in self.attributes:
                raise ValueError(f"metric {name!r} has the name of an attribute or of a column of every log")
            if value is not None:
                row[name] = float(value.detach() if hasattr(value, "detach") else value)
        self._add({"step": step, **row})
        for listener in self.listeners:
            listener(step, row)

    def _add(self, row: dict[str, float | int]) -> None:
        if self._waiting and self._waiting[-1]["step"] == row["step"]:
            self._waiting[-1] |= row
            return
        if len(self._waiting) >= self._rows or (self._waiting and time.monotonic() - self._since > self._seconds):
            self.flush_or_warn()
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(row)

    def flush(self) -> None:
        """Write the rows that wait as a part of their own.

        Raises
        ------
        TrajHMMError
            They cannot be written.
        """
        if not self._waiting:
            return
        write_parquet(self._table(), self.folder / f"part-{self._next:06d}.parquet")
        self._next += 1
        self._last_step = int(self._waiting[-1]["step"])
        self._waiting.clear()

    def flush_or_warn(self) -> None:
        """`flush`, but where the rows cannot be written keep them, and warn: training goes on."""
        try:
            self.flush()
        except TrajHMMError as error:
            self._since = time.monotonic()
            text = f"{error}; {len(self._waiting)} rows of run {self.run!r} are kept and tried again"
            warnings.warn(text, TrajHMMWarning, stacklevel=3)

    def _table(self) -> pa.Table:
        n = len(self._waiting)
        columns: dict[str, pa.Array] = {
            "run": pa.repeat(pa.scalar(self.run, pa.string()), n),
            "step": pa.array([row["step"] for row in self._waiting], type=pa.int64()),
        }
        for name in dict.fromkeys(name for row in self._waiting for name in row if name != "step"):
            columns[name] = pa.array([row.get(name) for row in self._waiting], type=pa.float64())
        for name, value in self.attributes.items():
            columns[name] = pa.repeat(pa.scalar(value), n)
        says = BLANKS_ARE_BLANK | {PART: str(self._next).encode(), _ATTRIBUTES: self._encoded_attributes()}
        return pa.table(columns).replace_schema_metadata(says)

    def close(self) -> None:
        """Write what waits. The logger can be used again.

        Raises
        ------
        TrajHMMError
            It cannot be written.
        """
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _folder_name(run: str) -> str:
    """A name that is neither hidden nor a partition nor another folder."""
    name = quote(run, safe=" ,+@()[]")
    return f"%{ord(name[0]):02X}{name[1:]}" if name[0] in "._" else name
