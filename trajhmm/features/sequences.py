"""`Sequences`: what the HMM sees, and how to get there from a `RunSet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of, whole_of
from trajhmm.errors import ArrayError, LogError
from trajhmm.features.choose import default_metrics
from trajhmm.features.events import divergence
from trajhmm.features.pooled import PooledScaler, Scaling, learn_scaler_over
from trajhmm.features.scalers import PerRunScaler, Scaler, Unscaled, per_run_moments
from trajhmm.logs import Note, RunSet, Scan
from trajhmm.logs.runset import offsets_of
from trajhmm.naming import instead_of

# Rows that are aligned and scaled at a time.
_BLOCK = 65536
DIVERGED = "diverged: "
"""How the note of a run begins whose rows are cut where it diverged."""
# What is farther off than this on its scale cannot be compared: squares of it, over small variances, would overflow.
FARTHEST = 1e60


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Scaled metrics of R runs, N rows in all, D metrics, ready for the HMM.

    Attributes
    ----------
    runs : R names.
    lengths : (R,) int64, all positive.
    steps : (N,) int64.
    values : (N, D) float64, finite.
    metrics : D names.
    scaler : what scaled them; new data gets the same.
    rows : (N,) int64, the row of the `RunSet` that each row came from.
    diverged : run to the step at which it diverged, from which on its rows were cut.
    notes : what was left out, aligned or cut.

    Raises
    ------
    ArrayError
        An array is of another shape or type, or the lengths are not those of so many rows.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    metrics: tuple[str, ...]
    scaler: Scaler
    rows: NDArray[np.int64]
    diverged: dict[str, int]
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        values = floats_of("values", self.values, (None, len(self.metrics)))
        lengths = whole_of("lengths", self.lengths, (len(self.runs),))
        if (lengths < 1).any() or (lengths > len(values)).any() or lengths.sum() != len(values):
            raise ArrayError(f"lengths {lengths.tolist()[:8]}; expected those of {len(values)} rows, none below 1")
        steps, rows = (whole_of(name, getattr(self, name), (len(values),)) for name in ("steps", "rows"))
        for name, array in {"values": values, "lengths": lengths, "steps": steps, "rows": rows}.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

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
        """(R + 1,) row offsets of the runs."""
        return offsets_of(self.lengths)

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Yield each run's name with the slice of its rows."""
        offsets = self.offsets.tolist()
        for run, start, stop in zip(self.runs, offsets, offsets[1:], strict=False):
            yield run, slice(start, stop)


class NothingLeftError(LogError):
    """No run has a row in which all metrics are finite; ``notes`` says why of each."""

    def __init__(self, message: str, notes: Sequence[Note] = ()) -> None:
        super().__init__(message)
        self.notes = tuple(notes)


def map_sequences(
    runs: RunSet,
    metrics: Sequence[str] | None = None,
    *,
    scaler: PerRunScaler | PooledScaler | Unscaled | None = None,
    scaling: Scaling = "per-run",
    leading: str | None = None,
    keep_constant: bool = False,
) -> Sequences:
    """Align, cut and scale runs for a training map.

    Rows are those at which the least often logged of the metrics stands; the others carry their last value forward.
    From where a run diverged on, see `trajhmm.features.events.divergence`, its rows are cut.

    Parameters
    ----------
    runs : what was read.
    metrics : names; by default those that `default_metrics` chooses.
    scaler : one that was learnt before; by default one of the kind that ``scaling`` says.
    scaling : ``per-run``, a z-score within each run, or a scale learnt from these runs, see `trajhmm.features.pooled`.
    leading : metric whose rows are kept; by default the one that is logged least often.
    keep_constant : keep metrics that never change, as a fitted model needs them all.

    Raises
    ------
    LogError
        Unknown metrics, or nothing left to fit.
    """
    metrics, said = chosen_metrics(runs, metrics, keep_constant=keep_constant)
    notes = [*said]
    columns = [runs.metrics.index(metric) for metric in metrics]
    lead = metrics.index(leading if leading is not None else leading_metric(runs, metrics))
    # Block by block into one array, so that nothing else grows as large as the logs.
    values = np.empty((int(runs.logged[:, columns[lead]].sum()), len(columns)))
    rows: list[NDArray[np.int64]] = []
    diverged: dict[str, int] = {}
    carried = False
    filled = 0
    for first, last in _blocks(runs.offsets):
        block = _aligned(runs, slice(first, last), columns, lead)
        if len(block.rows):
            values[filled : filled + len(block.rows)] = block.values
        filled += len(block.rows)
        rows.append(block.rows)
        diverged |= block.diverged
        carried |= block.carried
        notes.extend(block.notes)
    kept_rows, values = np.concatenate(rows), values[:filled]
    if carried:
        notes.append(aligned_note(metrics[lead], filled))
    owner = np.searchsorted(runs.offsets, kept_rows, side="right") - 1
    lengths = np.bincount(owner, minlength=runs.n_runs).astype(np.int64)
    kept = lengths > 0
    notes.extend(
        Note(kind="left-out", run=run, text=_why_left_out(runs, rows_of, columns, metrics))
        for (run, rows_of), keep in zip(runs.slices(), kept, strict=True)
        if not keep
    )
    if not kept.any():
        raise NothingLeftError(
            f"no run has a row with finite values of {', '.join(metrics[:6])}; choose others with --metrics", notes
        )
    if not keep_constant:
        values, metrics = _changing(values, lengths[kept], metrics, notes)
    if scaler is None:
        scaler = PerRunScaler() if scaling == "per-run" else _learn(values, lengths[kept], scaling)
    beyond = np.zeros(len(metrics), dtype=np.int64)
    for rows_of, some in _row_blocks(lengths[kept]):
        if isinstance(scaler, PooledScaler):
            scaled, far = scaler.transform_and_count(values[rows_of], some)
            beyond += far
        else:
            scaled = scaler.transform(values[rows_of], some)
        if not (isinstance(scaler, Unscaled) or max(scaled.max(), -scaled.min()) <= FARTHEST):  # or there is a NaN
            raise _too_far(runs, kept_rows[rows_of], metrics, scaled)
        values[rows_of] = scaled
    notes.extend(beyond_notes(metrics, beyond))
    return Sequences(
        runs=tuple(run for run, keep in zip(runs.runs, kept, strict=True) if keep),
        lengths=lengths[kept],
        steps=runs.steps[kept_rows],
        values=values,
        metrics=metrics,
        scaler=scaler,
        rows=kept_rows,
        diverged=diverged,
        notes=tuple(notes),
    )


def _too_far(runs: RunSet, rows: NDArray[np.int64], metrics: Sequence[str], scaled: NDArray[np.float64]) -> LogError:
    """Where a value is too far off to be compared with others: (n, D) values of the rows (n,) of ``runs``."""
    row, column = np.argwhere(~(np.abs(scaled) <= FARTHEST))[0]
    run = runs.runs[int(np.searchsorted(runs.offsets, rows[row], side="right")) - 1]
    value = runs.column(metrics[column])[rows[row]]
    return LogError(
        f"run {run}: {metrics[column]} is {value:g} at step {runs.steps[rows[row]]}, more than {FARTHEST:g} off on its "
        "scale, or that of a metric too large for one; leave the run out with --where, or the metric with --metrics"
    )


def carried_forward(values: NDArray[np.float64], logged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Carry the last logged value of a run forward over blanks.

    Parameters
    ----------
    values, logged : (n, d), the rows of one run.

    Returns
    -------
    (n, d); NaN before a metric's first logged value.
    """
    last = np.maximum.accumulate(np.where(logged, np.arange(len(values))[:, np.newaxis], -1), axis=0)
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, carried, np.nan)


def chosen_metrics(
    runs: RunSet | Scan, metrics: Sequence[str] | None, *, keep_constant: bool = False
) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Metrics to fit: those asked for, or by default those of `default_metrics`; and what was left out.

    Raises
    ------
    LogError
        Unknown metrics, or none that changes.
    """
    if metrics is None:
        return default_metrics(runs)
    attributes = set(runs.attribute_names)
    kept: list[str] = []
    notes: list[Note] = []
    for metric in dict.fromkeys(metrics):
        if metric in runs.metrics:
            kept.append(metric)
        elif metric in attributes and not keep_constant:
            notes.append(Note(kind="constant", text=f"{metric} never changes within a run, left out of the fit"))
        else:
            kind = "changing metric" if metric in attributes else "metric"
            raise LogError(f"no {kind} {metric!r} in these logs{instead_of(metric, runs.metrics)}")
    if not kept:
        raise LogError(f"none of {', '.join(metrics)} changes within a run; nothing is left to fit")
    return tuple(kept), tuple(notes)


def leading_metric(runs: RunSet | Scan, metrics: Sequence[str]) -> str:
    """Name the metric that is logged least often: at its rows all are wanted."""
    counts = runs.logged_counts[:, [runs.metrics.index(metric) for metric in metrics]].sum(axis=0)
    return metrics[int(np.argmin(counts))]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """Some runs, aligned.

    Attributes
    ----------
    rows : (n,) rows of the `RunSet` that are kept.
    values : (n, d) their values.
    lengths : rows that are kept of each run.
    diverged : run to the step at which it diverged.
    carried : whether a value was carried forward to a row that is kept.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    lengths: NDArray[np.int64]
    diverged: dict[str, int]
    carried: bool
    notes: tuple[Note, ...]


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) run of blocks of at most `_BLOCK` rows, or of one run."""
    first, n_runs = 0, len(offsets) - 1
    while first < n_runs:
        fitting = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        last = min(max(fitting, first + 1), n_runs)
        yield first, last
        first = last


def _aligned(runs: RunSet, block: slice, columns: list[int], leading: int) -> _Block:
    """Keep the rows of some runs at which column ``leading`` stands, up to where a run diverges."""
    offsets = runs.offsets[block.start : block.stop + 1]
    begin, end = offsets[0], offsets[-1]
    logged, values = runs.logged[begin:end, columns], runs.values[begin:end, columns]
    event = logged & ~np.isfinite(values)
    keep = logged[:, leading].copy()
    diverged, notes = {}, []
    whole = bool(logged.all())
    for run, start, stop in zip(runs.runs[block], offsets[:-1] - begin, offsets[1:] - begin, strict=True):
        rows, of_all = slice(start, stop), slice(begin + start, begin + stop)
        if not whole:
            values[rows] = carried_forward(values[rows], logged[rows])
        told = divergence(runs.metrics, runs.values[of_all], runs.logged[of_all])
        if told and keep[start + told[0] : stop].any():
            first, culprits = told
            diverged[run] = step = int(runs.steps[of_all][first])
            keep[start + first : stop] = False
            text = f"{DIVERGED}{', '.join(culprits)} not finite from step {step} on, cut there"
            notes.append(Note(kind="cut", run=run, text=text))
        if event[rows].any():
            notes.extend(
                _gone(run, [runs.metrics[c] for c in columns], runs.steps[of_all], event[rows] & keep[rows, None])
            )
    keep &= np.isfinite(values).all(axis=1)
    kept = np.flatnonzero(keep)
    return _Block(
        rows=begin + kept,
        values=values if len(kept) == len(keep) else values[kept],
        lengths=np.diff(np.searchsorted(begin + kept, offsets)),
        diverged=diverged,
        carried=not whole and not logged[kept].all(),
        notes=tuple(notes),
    )


def _why_left_out(runs: RunSet, rows: slice, columns: Sequence[int], metrics: Sequence[str]) -> str:
    """Why a run has no row that can be fitted."""
    known = np.logical_or.reduce(np.isfinite(runs.values[rows][:, columns]), axis=0)
    gone = [metric for metric, is_known in zip(metrics, known, strict=True) if not is_known]
    if gone:
        return f"{', '.join(gone)} NaN or blank throughout, run left out"
    return f"no row in which {', '.join(metrics)} are all finite, run left out"


def _gone(run: str, metrics: Sequence[str], steps: NDArray[np.int64], event: NDArray[np.bool_]) -> Iterator[Note]:
    """Say which rows of a run that did not diverge there are left out, as a metric is not finite at them."""
    for metric, rows in zip(metrics, event.T, strict=True):
        if rows.any():
            text = f"{rows.sum()} rows left out at which {metric} is not finite, first at step {steps[np.argmax(rows)]}"
            yield Note(kind="left-out", run=run, text=text)


def _learn(values: NDArray[np.float64], lengths: NDArray[np.int64], scaling: Scaling) -> PooledScaler:
    """A scale learnt block by block, so that nothing grows as large as the logs."""

    def over(function: Callable[[NDArray[np.float64], NDArray[np.int64]], Any]) -> Any:
        return reduce(add, (function(values[rows], some) for rows, some in _row_blocks(lengths)))

    return learn_scaler_over(over, scaling)[0]


def _row_blocks(lengths: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Rows of blocks of at most `_BLOCK` rows, or of one run, and the lengths of their runs."""
    offsets = offsets_of(lengths)
    for first, last in _blocks(offsets):
        yield slice(int(offsets[first]), int(offsets[last])), lengths[first:last]


def changing(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(D,) which metrics change within some run, beyond rounding; (N, D) values of runs with (R,) lengths."""
    changes: NDArray[np.bool_] = np.zeros(values.shape[1], dtype=bool)
    for rows, some in _row_blocks(lengths):
        changes |= (per_run_moments(values[rows], some)[1] > 0).any(axis=0)
    return changes


def _changing(
    values: NDArray[np.float64], lengths: NDArray[np.int64], metrics: tuple[str, ...], notes: list[Note]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    changes = changing(values, lengths)
    if changes.all():
        return values, metrics
    if not changes.any():
        raise LogError(f"none of {', '.join(metrics[:6])} changes within a run; nothing is left to fit")
    notes.append(constant_note(metrics, changes))
    kept = tuple(metric for metric, change in zip(metrics, changes, strict=True) if change)
    return np.ascontiguousarray(values[:, changes]), kept


def beyond_notes(metrics: Sequence[str], beyond: NDArray[np.int64]) -> tuple[Note, ...]:
    """Say of which metrics values lie beyond the reach of a scale, (D,) how many."""
    far = [f"{metric} ({n})" for metric, n in zip(metrics, beyond, strict=True) if n]
    if not far:
        return ()
    text = f"values that stand so far out of their run that they count as far as the scale reaches: {', '.join(far)}"
    return (Note(kind="far-off", text=text),)


def aligned_note(metric: str, rows: int) -> Note:
    """Say that only the rows at which ``metric`` stands were kept."""
    return Note(kind="aligned", text=f"aligned to the {rows} rows of {metric}; others carry their last value")


def constant_note(metrics: Sequence[str], changes: NDArray[np.bool_]) -> Note:
    """Say which of ``metrics`` are left out because they do not change, (D,) ``changes``."""
    constant = [metric for metric, change in zip(metrics, changes, strict=True) if not change]
    return Note(kind="constant", text=f"constant within each run, left out of the fit: {', '.join(constant)}")
