"""Rows that do not fit in memory: prepared once piece by piece, then on disk or on the workers of a Dask cluster."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, LogError
from trajhmm.features import PerRunScaler, PooledScaler, Scaling
from trajhmm.features.pooled import learn_scaler_over
from trajhmm.features.scalers import Unscaled
from trajhmm.features.sequences import (
    NothingLeftError,
    aligned_note,
    beyond_notes,
    changing,
    chosen_metrics,
    constant_note,
    leading_metric,
    map_sequences,
)
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import Source
from trajhmm.logs import Note, Scan
from trajhmm.logs.pieces.scan import Piece
from trajhmm.logs.runset import offsets_of

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")

_SECONDS_TO_CONNECT = 10
# A worker may die while it holds a piece; the piece is then read again elsewhere.
_RETRIES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Logs made ready for a fit.

    Attributes
    ----------
    source : scaled rows of R runs over D metrics.
    metrics : D names.
    scaler : what scaled the rows.
    notes : what was left out, aligned or cut.
    """

    source: Source
    metrics: tuple[str, ...]
    scaler: PerRunScaler | PooledScaler
    notes: tuple[Note, ...]


@contextmanager
def rows_on_disk(scan: Scan, metrics: Sequence[str] | None, scaling: Scaling) -> Iterator[Rows]:
    """Prepare logs for a map and keep the rows in a temporary folder, 8 bytes a value.

    Parameters
    ----------
    scaling : how rows are scaled; see `trajhmm.features.pooled`.

    Raises
    ------
    LogError
        Unknown metrics, or nothing left to fit.
    """
    plan = _Plan.of(scan, metrics)
    with tempfile.TemporaryDirectory(prefix="trajhmm-") as folder:
        files = [Path(folder) / f"{number}.float64" for number in range(len(scan.pieces))]
        told = []
        for piece, file in zip(scan.pieces, files, strict=True):
            values, outcome = plan.prepared(piece)
            values.tofile(file)
            told.append(outcome)
        kept, notes = plan.concluded(told)
        held = [
            _OnDisk(file=file, lengths=o.lengths, n_metrics=len(plan.metrics))
            for file, o in zip(files, told, strict=True)
        ]
        lengths = [o.lengths for o in told]
        scaler, beyond = _scaler(
            scaling, len(plan.metrics), lambda function: map(partial(_part, function=function), held, lengths)
        )
        for one in held:
            _scaled(one, one.lengths, scaler).tofile(one.file)
        source = Pieces(held=held, lengths_of=lengths, columns=kept, apply=_in_this_process)
        yield plan.rows(source, kept, scaler, (*notes, *beyond_notes(plan.metrics, beyond)))


@contextmanager
def rows_on_cluster(scan: Scan, metrics: Sequence[str] | None, scaling: Scaling, address: str) -> Iterator[Rows]:
    """Prepare logs for a map on the workers of a Dask cluster, which read the files themselves and keep the rows.

    Parameters
    ----------
    scaling : how rows are scaled; see `trajhmm.features.pooled`.
    address : of the scheduler, such as ``tcp://host:8786``.

    Raises
    ------
    LogError
        Unknown metrics, or nothing left to fit.
    FitError
        Dask is not installed, or there is no scheduler at the address.
    """
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise FitError("a fit on a cluster needs Dask: pip install 'trajhmm[dask]'") from error
    plan = _Plan.of(scan, metrics)
    try:
        # A client that cannot connect leaves threads behind, which may lock up later; so somebody must be there.
        with socket.create_connection(get_address_host_port(address, strict=True), timeout=_SECONDS_TO_CONNECT):
            pass
    except (OSError, ValueError) as error:
        raise FitError(f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler'") from error
    with Client(address, timeout=_SECONDS_TO_CONNECT) as client:
        prepared = client.map(plan.prepared, scan.pieces, retries=_RETRIES)
        told = client.gather(client.map(_outcome, prepared, retries=_RETRIES))
        kept, notes = plan.concluded(told)

        def apply(
            function: Callable[[Any, Any], Result], held: Sequence[Any], places: Sequence[Any]
        ) -> Iterator[Result]:
            # Not pure: the same call twice must not find the first one's result forgotten half-way.
            futures = client.map(function, held, places, retries=_RETRIES, pure=False)
            yield from client.gather(futures)

        lengths = [o.lengths for o in told]
        scaler, beyond = _scaler(
            scaling,
            len(plan.metrics),
            lambda function: apply(partial(_part, function=function), prepared, lengths),
        )
        ready = client.map(partial(_scaled, scaler=scaler), prepared, lengths, retries=_RETRIES)
        source = Pieces(held=ready, lengths_of=lengths, columns=kept, apply=apply)
        yield plan.rows(source, kept, scaler, (*notes, *beyond_notes(plan.metrics, beyond)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcome:
    """What is to be remembered of a piece.

    Rows of each run that is left, metrics that change, whether others were aligned to the rows of one, and notes.
    """

    lengths: NDArray[np.int64]
    changes: NDArray[np.bool_]
    aligned: bool
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """How every piece is prepared: D metrics, and the one whose rows are kept."""

    metrics: tuple[str, ...]
    leading: str
    notes: tuple[Note, ...]

    @classmethod
    def of(cls, scan: Scan, metrics: Sequence[str] | None) -> _Plan:
        names, notes = chosen_metrics(scan, metrics)
        return cls(metrics=names, leading=leading_metric(scan, names), notes=notes)

    def prepared(self, piece: Piece) -> tuple[NDArray[np.float64], _Outcome]:
        """(N, D) rows of a piece, not scaled yet, and what is to be remembered of it."""
        runs = piece.read()
        try:
            sequences = map_sequences(runs, self.metrics, scaler=Unscaled(), leading=self.leading, keep_constant=True)
        except NothingLeftError as error:
            nothing = np.empty((0, len(self.metrics)))
            notes = (*runs.notes, *error.notes)
            none = np.zeros(len(self.metrics), dtype=bool)
            lengths = np.empty(0, dtype=np.int64)
            return nothing, _Outcome(lengths=lengths, changes=none, aligned=False, notes=notes)
        changes = changing(sequences.values, sequences.lengths)
        notes = tuple(note for note in (*runs.notes, *sequences.notes) if note.kind != "aligned")
        aligned = len(notes) < len(runs.notes) + len(sequences.notes)
        outcome = _Outcome(
            lengths=sequences.lengths,
            changes=changes,
            aligned=aligned,
            notes=notes,
        )
        return sequences.values, outcome

    def rows(
        self,
        source: Source,
        kept: NDArray[np.int64],
        scaler: PerRunScaler | PooledScaler,
        notes: tuple[Note, ...],
    ) -> Rows:
        """What is ready for a fit, of the metrics that are kept."""
        if isinstance(scaler, PooledScaler):
            scaler = scaler.take(kept)
        return Rows(source=source, metrics=tuple(self.metrics[c] for c in kept), scaler=scaler, notes=notes)

    def concluded(self, told: Sequence[_Outcome]) -> tuple[NDArray[np.int64], tuple[Note, ...]]:
        """Columns that change somewhere, and all notes, each once."""
        if not sum(len(outcome.lengths) for outcome in told):
            raise LogError(f"no run has a row with finite values of {', '.join(self.metrics[:6])}; choose others")
        changes: NDArray[np.bool_] = np.any([outcome.changes for outcome in told], axis=0)
        notes = [*self.notes, *(note for outcome in told for note in outcome.notes)]
        if any(outcome.aligned for outcome in told):
            notes.append(aligned_note(self.leading, sum(int(outcome.lengths.sum()) for outcome in told)))
        if not changes.all():
            notes.append(constant_note(self.metrics, changes))
        return np.flatnonzero(changes), tuple(dict.fromkeys(notes))


@dataclass(frozen=True, kw_only=True, eq=False)
class _OnDisk:
    """Where the rows of a piece stand on disk."""

    file: Path
    lengths: NDArray[np.int64]
    n_metrics: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pieces:
    """A source whose rows are elsewhere, in pieces that are fetched, or visited, in each pass.

    Attributes
    ----------
    held : what stands for the rows of each piece.
    lengths_of : rows of each run of each piece.
    columns : metrics to keep of those that were prepared.
    apply : calls a function of each of ``held`` and its place, in this process or on workers.
    """

    held: Sequence[Any]
    lengths_of: Sequence[NDArray[np.int64]]
    columns: NDArray[np.int64]
    apply: Callable[..., Iterator[Any]]
    one_pass: bool = True

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(R,) rows of each run."""
        return np.concatenate(list(self.lengths_of))

    @property
    def n_metrics(self) -> int:
        """Number of metrics, D."""
        return len(self.columns)

    def map(self, function: Callable[[Chunk], Result]) -> Iterator[Result]:
        """``function`` of each chunk, in order."""
        firsts = np.cumsum([0, *(len(lengths) for lengths in self.lengths_of)])[:-1].tolist()
        filled = [number for number, lengths in enumerate(self.lengths_of) if len(lengths)]
        places = [(firsts[number], self.lengths_of[number]) for number in filled]
        visit = partial(_visited, function=function, columns=self.columns)
        return self.apply(visit, [self.held[number] for number in filled], places)


def _visited(
    held: Any, place: tuple[int, NDArray[np.int64]], *, function: Callable[[Chunk], Result], columns: NDArray[np.int64]
) -> Result:
    """Call ``function`` with the chunk that ``held`` stands for; runs where the rows are."""
    values = _rows_of(held)
    if len(columns) < values.shape[1]:
        values = np.ascontiguousarray(values[:, columns])
    first_run, lengths = place
    with _threads().limit(limits=1):
        return function(Chunk(values=values, offsets=offsets_of(lengths), first_run=first_run))


@cache
def _threads() -> ThreadpoolController:
    """What limits threads; made once in a process, as it looks through all of its libraries."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _rows_of(held: Any) -> NDArray[np.float64]:
    if isinstance(held, _OnDisk):
        return np.fromfile(held.file).reshape(-1, held.n_metrics)
    values: NDArray[np.float64] = held[0] if isinstance(held, tuple) else held
    return values


def _scaler(
    scaling: Scaling, n_metrics: int, each: Callable[[Callable[..., Any]], Iterator[Any]]
) -> tuple[PerRunScaler | PooledScaler, NDArray[np.int64]]:
    """The scaler of all pieces, and (D,) values beyond its reach; ``each`` goes over the rows once."""
    if scaling == "per-run":
        return PerRunScaler(), np.zeros(n_metrics, dtype=np.int64)
    return learn_scaler_over(
        lambda function: reduce(add, (part for part in each(function) if part is not None)), scaling
    )


def _part(
    held: Any, lengths: NDArray[np.int64], function: Callable[[NDArray[np.float64], NDArray[np.int64]], Any]
) -> Any:
    return function(_rows_of(held), lengths) if len(lengths) else None


def _scaled(held: Any, lengths: NDArray[np.int64], scaler: PerRunScaler | PooledScaler) -> NDArray[np.float64]:
    values = _rows_of(held)
    return scaler.transform(values, lengths) if len(lengths) else values


def _outcome(prepared: tuple[NDArray[np.float64], _Outcome]) -> _Outcome:
    return prepared[1]


def _in_this_process(
    function: Callable[[Any, Any], Result], held: Sequence[Any], places: Sequence[Any]
) -> Iterator[Result]:
    return map(function, held, places)
