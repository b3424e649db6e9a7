"""`RunSet`: the logs of many runs, validated, in one block of rows."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.cache import digest_of
from trajhmm.errors import ArrayError
from trajhmm.naming import instead_of, listed, plain_text

if TYPE_CHECKING:
    import pandas as pd

# Metrics and runs that a short description names.
_NAMED, _SHOWN = 12, 10


@dataclass(frozen=True, kw_only=True)
class Note:
    """One thing that the reader saw or did.

    ``kind`` is one of ``resume``, ``merged``, ``duplicate``, ``unsorted``, ``gap``, ``non-finite``, ``blank``,
    ``constant``, ``left-out``, ``torn``, ``aligned``, ``cut``, ``step``, ``epochs``, ``layout`` (of a table),
    ``hidden`` (what the writer of the log does not tell); ``run`` is None where the note concerns all of them.
    """

    kind: str
    text: str
    run: str | None = None

    def __post_init__(self) -> None:
        # Names of files may be no text; notes are printed, and written to files.
        object.__setattr__(self, "text", plain_text(self.text))

    def __str__(self) -> str:
        return self.text if self.run is None else f"run {self.run}: {self.text}"


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSet:
    """Per-step metric logs of R runs, N rows in all, D metrics; rows sorted by run, then by step.

    Attributes
    ----------
    runs : R names, in natural order (``seed 2`` before ``seed 10``).
    lengths : (R,) int64, rows of each run.
    steps : (N,) int64, training step of each row.
    values : (N, D) float64; NaN where a metric is blank, and NaN or infinite where a non-finite value was logged.
    logged : (N, D) bool; False where the metric is just not logged at that row. ``logged & ~isfinite(values)`` are
        non-finite events.
    missed : (N, D) int8, how many rows in succession, up to this one, a value was due and is blank, as NaN is for many
        writers; from the third on it counts as lost, and all of them as logged. None where nothing is missing.
    metrics : D names.
    attributes : one row a run, indexed by run: seed, condition, learning rate, …
    notes : what the reader saw and did.
    files : path and format of each file that was read.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: NDArray[np.bool_]
    metrics: tuple[str, ...]
    attributes: pd.DataFrame
    notes: tuple[Note, ...] = ()
    missed: NDArray[np.int8] | None = None
    files: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self._check()
        for array in (self.lengths, self.steps, self.values, self.logged, self.missed):
            if array is not None:
                array.setflags(write=False)

    def _check(self) -> None:
        """Refuse arrays that do not fit together, as what is computed with them looks no further.

        Raises
        ------
        ArrayError
            They do not.
        """
        n, shape = len(self.steps), (len(self.steps), len(self.metrics))
        shapes = {"lengths": (len(self.runs),), "steps": (n,), "values": shape, "logged": shape, "missed": shape}
        for name, expected in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != expected:
                raise ArrayError(f"{name} has shape {array.shape}; expected {expected}")
        lengths = self.lengths
        if len(lengths) and not (lengths.min() >= 0 and lengths.max() <= n and lengths.sum() == n):
            raise ArrayError(f"lengths {lengths.tolist()[:8]}; expected those of {n} rows")

    def __repr__(self) -> str:
        named = listed(self.metrics, most=_NAMED)
        return f"RunSet({self.n_runs} runs, {self.n_rows} rows, {len(self.metrics)} metrics: {named})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, and the first runs with their attributes."""
        more = f"<p>and {self.n_runs - _SHOWN} more runs</p>" if self.n_runs > _SHOWN else ""
        return f"<p>{html.escape(repr(self))}</p>{self._overview().to_html(border=0)}{more}"

    def _overview(self) -> pd.DataFrame:
        table = self.attributes.iloc[:_SHOWN].copy()
        spans = [self.steps[rows] for _, rows in islice(self.slices(), _SHOWN)]
        table.insert(0, "rows", [len(steps) for steps in spans], allow_duplicates=True)
        table.insert(1, "first step", [steps[0] if len(steps) else None for steps in spans], allow_duplicates=True)
        table.insert(2, "last step", [steps[-1] if len(steps) else None for steps in spans], allow_duplicates=True)
        return table

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.runs)

    def __iter__(self) -> Iterator[str]:
        """Names of the runs."""
        return iter(self.runs)

    def __contains__(self, run: object) -> bool:
        """Whether there is a run of that name."""
        return run in self.runs

    def __getitem__(self, run: str) -> RunSet:
        """The run of that name, as a set of one.

        Raises
        ------
        KeyError
            No run of that name.
        """
        if run not in self.runs:
            raise KeyError(f"no run {run!r}{instead_of(run, self.runs)}")
        return self.select_runs([run])

    @property
    def n_runs(self) -> int:
        """Number of runs, R."""
        return len(self.runs)

    @property
    def n_rows(self) -> int:
        """Number of rows, N."""
        return len(self.steps)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(R + 1,) int64: run r holds the rows ``offsets[r]:offsets[r + 1]``."""
        return offsets_of(self.lengths)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(map(str, self.attributes.columns))

    @property
    def logged_counts(self) -> NDArray[np.int64]:
        """(R, D) int64: rows of each run at which each metric is logged, non-finite values included."""
        return np.array([self.logged[rows].sum(axis=0) for _, rows in self.slices()], dtype=np.int64)

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Yield each run's name with the slice of its rows."""
        offsets = self.offsets.tolist()
        for run, start, stop in zip(self.runs, offsets, offsets[1:], strict=False):
            yield run, slice(start, stop)

    def column(self, name: str) -> NDArray[np.float64]:
        """(N,) float64: one metric.

        Raises
        ------
        KeyError
            No metric of that name.
        """
        if name not in self.metrics:
            raise KeyError(name)
        return self.values[:, self.metrics.index(name)]

    def select_runs(self, runs: Iterable[str]) -> RunSet:
        """The same set with only the runs named, in their present order."""
        wanted = set(runs)
        keep = np.array([run in wanted for run in self.runs], dtype=bool)
        rows = np.repeat(keep, self.lengths)
        return replace(
            self,
            runs=tuple(run for run in self.runs if run in wanted),
            lengths=self.lengths[keep],
            steps=self.steps[rows],
            values=self.values[rows],
            logged=self.logged[rows],
            missed=None if self.missed is None else self.missed[rows],
            attributes=self.attributes[keep],
            notes=tuple(note for note in self.notes if note.run is None or note.run in wanted),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the runs are: names, rows and attributes; not of where they were read, or of the notes."""
        attributes = [
            [str(name), str(column.dtype), [[type(cell).__name__, str(cell)] for cell in column.tolist()]]
            for name, column in self.attributes.items()
        ]
        return digest_of(
            list(self.runs),
            list(self.metrics),
            attributes,
            self.lengths,
            self.steps,
            self.values,
            self.logged,
            self.missed,
        )

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame: ``run``, ``step``, the metrics, then the attributes."""
        import pandas as pd

        rows = pd.DataFrame(self.values, columns=list(self.metrics))
        rows.insert(0, "run", np.repeat(np.asarray(self.runs, dtype=object), self.lengths))
        rows.insert(1, "step", self.steps)
        for name in self.attributes.columns:
            rows[name] = np.repeat(self.attributes[name].to_numpy(), self.lengths)
        return rows

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, *, run_by: str | Sequence[str] = (), step: str | None = None, where: str | None = None
    ) -> RunSet:
        """Build a `RunSet` from a DataFrame laid out as a run log: long by step, wide by metric.

        Parameters are those of `trajhmm.read_logs`.

        Raises
        ------
        LogError
            As `trajhmm.read_logs`.
        """
        from trajhmm.logs.read import read_logs

        return read_logs(frame, run_by=run_by, step=step, where=where)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R + 1,) int64 row offsets of (R,) run lengths."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
