"""Jobs that write logs, and all that can happen to the logs meanwhile; with what should count of them in the end."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

METRICS = ("train_loss", "grad_norm")
HEADER = "step,train_loss,grad_norm\n"
YEARS = 3e8


def healthy(rng, n):
    """(n, 2) of a training that goes well."""
    t = np.arange(n)
    curve = np.column_stack([2 * np.exp(-t / 30) + 0.5, 1 + np.exp(-t / 20)])
    return curve + rng.normal(0, 0.05, size=(n, 2))


class Job:
    """A training that writes one log.

    Attributes
    ----------
    path : of the log, by its suffix a CSV, JSON lines or a Parquet file, which is written again and again.
    kept : rows that should count.
    """

    def __init__(self, path: Path, rng: np.random.Generator, n_rows: int) -> None:
        self.path, self.rng, self.at = path, rng, 0
        self.values = healthy(rng, n_rows)
        if rng.random() < 0.3:
            self.values[int(rng.integers(n_rows // 3, n_rows)) :] += 3.0
        self.kept: list[int] = []
        self.waits = b""  # the rest of a line that is half-written
        self.away: Path | None = None
        self.begun = False
        self.unread = False  # whether rows were written since the last poll: what is emptied then is lost

    @property
    def how(self) -> str:
        return self.path.suffix[1:]

    @property
    def over(self) -> bool:
        return self.at >= len(self.values)

    def line(self, row: int) -> bytes:
        step, values = 10 * row, self.values[row].tolist()
        if self.how == "csv":
            return f"{step},{values[0]!r},{values[1]!r}\n".encode()
        return (json.dumps({"step": step, **dict(zip(METRICS, values, strict=True))}) + "\n").encode()

    def rows(self, n: int) -> list[int]:
        begin, self.at = self.at, min(self.at + n, len(self.values))
        return list(range(begin, self.at))

    def add(self, raw: bytes) -> None:
        self.unread = True
        with (self.away or self.path).open("ab") as file:
            file.write(raw)

    def write(self, n: int) -> None:
        """Write n rows, as a job does."""
        rows = self.rows(n)
        self.kept += rows
        if self.how == "parquet":
            self.write_whole()
            return
        start = b"" if self.begun or self.how != "csv" else HEADER.encode()
        self.begun = True
        self.add(start + self.waits + b"".join(map(self.line, rows)))
        self.waits = b""

    def frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self.values[self.kept], columns=list(METRICS))
        frame.insert(0, "step", 10 * np.array(self.kept, dtype=np.int64))
        return frame

    def write_whole(self) -> None:
        beside = self.path.with_name(f".{self.path.name}.tmp")
        self.frame().to_parquet(beside)
        beside.replace(self.path)


# What can happen to a log between two polls.
Fault = Callable[[Job], None]


def half_written(job: Job) -> None:
    """A line of which the rest comes later."""
    for row in job.rows(1):
        job.kept.append(row)
        line = job.waits + job.line(row)
        cut = len(line) // 2
        job.add(line[:cut])
        job.waits = line[cut:]


def killed(job: Job) -> None:
    """A line that is cut off by a kill, and the first of the restarted job behind it: both are lost."""
    for row in job.rows(1):
        job.add(job.waits + job.line(row)[:-6])
        job.waits = b""
    for row in job.rows(1):
        job.add(job.line(row))


def header_again(job: Job) -> None:
    job.add(job.waits + (HEADER.encode() if job.how == "csv" else b"\n"))
    job.waits = b""


def nuls(job: Job) -> None:
    job.add(job.waits + bytes(64) + b"\n")
    job.waits = b""


def word(job: Job) -> None:
    job.add(job.waits + (b"7,oops,1\n" if job.how == "csv" else b'{"step": 7, "train_loss": "oops"}\n'))
    job.waits = b""


def odd_step(job: Job) -> None:
    job.add(job.waits + (b"7.5,1,1\n" if job.how == "csv" else b'{"step": "x", "train_loss": 1}\n'))
    job.waits = b""


def too_many_cells(job: Job) -> None:
    job.add(job.waits + (b"7,1,1,1,1,1\n" if job.how == "csv" else b"[7, 1]\n"))
    job.waits = b""


def no_text(job: Job) -> None:
    job.add(job.waits + b"\xc3\x28\xff\n")
    job.waits = b""


def blank_lines(job: Job) -> None:
    job.add(job.waits + b"\n\n")
    job.waits = b""


def written_twice(job: Job) -> None:
    """The last row again, word for word."""
    if job.kept and not job.waits and job.kept[-1] == job.at - 1:
        job.add(job.line(job.kept[-1]))


def emptied(job: Job) -> None:
    """A log that was rotated: it begins anew, with its line of names."""
    if not job.waits and not job.unread:
        job.path.write_bytes(HEADER.encode() if job.how == "csv" else b"")


def emptied_without_names(job: Job) -> None:
    if not job.waits and not job.unread:
        job.path.write_bytes(b"")


def written_anew(job: Job) -> None:
    """The same content in another file of the same name."""
    beside = job.path.with_name(f".{job.path.name}.new")
    beside.write_bytes(job.path.read_bytes())
    beside.replace(job.path)


def long_ago(job: Job) -> None:
    os.utime(job.path, (job.path.stat().st_atime, job.path.stat().st_mtime - YEARS))


def in_the_future(job: Job) -> None:
    os.utime(job.path, (job.path.stat().st_atime, job.path.stat().st_mtime + YEARS))


def burst(job: Job) -> None:
    job.write(60)


def gone(job: Job) -> None:
    """The log is elsewhere for a while, and grows there."""
    job.away = job.path.parent.parent / f"{job.path.name}.away"
    job.path.rename(job.away)
    job.write(2)


def back(job: Job) -> None:
    if job.away is not None:
        job.away.rename(job.path)
        job.away = None


def torn_whole(job: Job) -> None:
    """Half of a Parquet file."""
    whole = job.path.read_bytes()
    job.path.write_bytes(whole[: len(whole) // 2])


OF_LINES: tuple[Fault, ...] = (
    half_written,
    killed,
    header_again,
    nuls,
    word,
    odd_step,
    too_many_cells,
    no_text,
    blank_lines,
    written_twice,
    emptied,
    emptied_without_names,
    written_anew,
    long_ago,
    in_the_future,
    burst,
    gone,
)
OF_WHOLE_FILES: tuple[Fault, ...] = (torn_whole, written_anew, long_ago, in_the_future, burst)


def hurt(job: Job) -> str:
    """Let something happen to a log; its name."""
    if not job.path.exists() or job.over:
        return ""
    faults = OF_WHOLE_FILES if job.how == "parquet" else OF_LINES
    fault = faults[int(job.rng.integers(len(faults)))]
    fault(job)
    return fault.__name__


def litter(folder: Path) -> dict[str, Callable[[], None]]:
    """What may lie in a folder beside logs, by name."""

    def loop() -> None:
        (folder / "loop.csv").symlink_to("loop.csv")

    def fifo() -> None:
        os.mkfifo(folder / "pipe.csv")

    def sparse() -> None:
        with (folder / "sparse.jsonl").open("wb") as file:
            file.truncate(2**30)

    def unnamed() -> None:
        with suppress(OSError):  # some file systems take no such name
            Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.csv")).write_bytes(b"\xff\xfe\xfd")

    def utf16() -> None:
        (folder / "wide.csv").write_bytes("step,other\n1,2\n".encode("utf-16-le"))

    return {
        "loop of links": loop,
        "folders in a circle": lambda: (folder / "circle").symlink_to(folder),
        "dangling link": lambda: (folder / "nowhere.csv").symlink_to("/nonexistent/log.csv"),
        "pipe": fifo,
        "folder called like a log": (folder / "folder.csv").mkdir,
        "empty log": lambda: (folder / "empty.csv").write_bytes(b""),
        "half a Parquet file": lambda: (folder / "junk.parquet").write_bytes(b"PAR1 and no more"),
        "names that are no text": lambda: (folder / "latin.csv").write_bytes(b"step,gr\xf6\xdfe\n1,2\n"),
        "half a surrogate": lambda: (folder / "half.jsonl").write_bytes(b'{"step": 1, "\\ud800": 2}\n'),
        "a log of nothing but zeros": sparse,
        "a name that is no text": unnamed,
        "UTF-16": utf16,
    }


class Locked:
    """Another program holds the state file."""

    def __init__(self, state: Path) -> None:
        self._other = sqlite3.connect(state, isolation_level=None)
        self._other.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        self._other.execute("ROLLBACK")
        self._other.close()


class Full:
    """No file may grow beyond some size, as on a full disk."""

    def __init__(self, size: int) -> None:
        import resource

        self._resource = resource
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._before[1]))

    def end(self) -> None:
        self._resource.setrlimit(self._resource.RLIMIT_FSIZE, self._before)
