"""Which rows of one run stand, when steps repeat or go back."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.runset import Note

_UNSORTED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """The rows of one run that stand.

    ``keep`` are positions in reading order, sorted by step; ``merge`` are (kept position, earlier positions) whose
    cells complete each other, ``average`` those of one step whose cells contradict each other.
    """

    keep: NDArray[np.int64]
    merge: list[tuple[int, list[int]]]
    average: list[tuple[int, list[int]]]
    notes: list[Note]


def standing_rows(
    run: str,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    logged: NDArray[np.bool_],
    source: NDArray[np.int64] | None = None,
    writer: NDArray[np.int64] | None = None,
) -> Standing:
    """Decide for the rows of one run, in reading order.

    Rows of one step whose cells do not contradict each other are one row, logged in pieces, wherever they stand; of
    those that do, and stand in a row in one file, the mean is taken. A file out of order is sorted. Otherwise a step
    that is not above the last one at which the same metrics stand is a resumed run: the later rows win from there on.

    Parameters
    ----------
    run : name, for the notes.
    steps : (n,) in reading order.
    values, logged : (n, D), in the same order; only metrics that change, and no clocks.
    source, writer : (n,) number of the file of each row, and of what wrote it; None if they are all of one. Rows that
        another writer tells too are no resumed run.
    """
    source = np.zeros(len(steps), dtype=np.int64) if source is None else source
    writer = source if writer is None else writer
    backwards = int((np.diff(steps) < 0).sum())
    if backwards > min(max(3, _UNSORTED_SHARE * len(steps)), len(steps) / 2):
        standing = _sorted(run, steps, values, logged)
        if standing is not None:
            return standing
    return _resumed(run, steps, values, logged, source, writer)


def _sorted(
    run: str, steps: NDArray[np.int64], values: NDArray[np.float64], logged: NDArray[np.bool_]
) -> Standing | None:
    """Rows out of order, sorted; None if too many contradict each other for that."""
    order = np.argsort(steps, kind="stable")
    unique, starts, counts = np.unique(steps[order], return_index=True, return_counts=True)
    keep = order[starts + counts - 1]
    merge: list[tuple[int, list[int]]] = []
    average: list[tuple[int, list[int]]] = []
    for group in np.flatnonzero(counts > 1):
        *earlier, last = order[starts[group] : starts[group] + counts[group]].tolist()
        if _all_complete_each_other([*earlier, last], values, logged):
            merge.append((last, earlier))
        else:
            average.append((last, earlier))
    if len(average) > _UNSORTED_SHARE * len(unique):
        return None
    notes = [Note(kind="unsorted", run=run, text=f"{len(steps)} rows were out of order, sorted by step")]
    return Standing(keep=keep, merge=merge, average=average, notes=notes + _notes(run, merge, average))


def _resumed(
    run: str,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    logged: NDArray[np.bool_],
    source: NDArray[np.int64],
    writer: NDArray[np.int64],
) -> Standing:
    """Rows in order, save where the run was resumed."""
    standing: list[int] = []  # steps, sorted
    at: dict[int, list[int]] = {}
    cells: dict[int, _Cells] = {}  # of steps that repeat
    last = np.full(logged.shape[1], np.iinfo(np.int64).min)  # no metric stands at a later step than this
    superseded = 0
    resumed_at: list[int] = []
    contradicted: set[int] = set()
    before: tuple[int, int] | None = None
    for row, (step, file) in enumerate(zip(steps.tolist(), source.tolist(), strict=True)):
        in_a_row, before = (step, file) == before, (step, file)
        if standing and step <= standing[-1]:
            if same := at.get(step, []):
                there = cells.setdefault(step, _Cells(logged.shape[1]))
                for earlier in same[there.n :]:
                    there.add(values[earlier], logged[earlier], int(writer[earlier]))
                completes = there.takes(values[row], logged[row])
                if in_a_row:
                    resumes = False
                    if not completes:
                        contradicted.add(step)
                else:
                    own = int(writer[row]) in there.writers
                    exact_copy = own and step < standing[-1] and not (logged[row] & ~there.logged).any()
                    resumes = exact_copy or not completes
            else:
                resumes = bool((last[logged[row]] >= step).any())
            if resumes:
                first = bisect_left(standing, step)
                for old in standing[first:]:
                    superseded += len(at.pop(old))
                    cells.pop(old, None)
                contradicted.difference_update(standing[first:])
                del standing[first:]
                last = np.minimum(last, step - 1)
                if resumed_at[-1:] != [step]:
                    resumed_at.append(step)
        if step not in at:
            insort(standing, step)
        at.setdefault(step, []).append(row)
        last[logged[row]] = np.maximum(last[logged[row]], step)
    merge = [(rows[-1], rows[:-1]) for step, rows in at.items() if len(rows) > 1 and step not in contradicted]
    average = [(at[step][-1], at[step][:-1]) for step in sorted(contradicted)]
    notes = _notes(run, merge, average)
    if resumed_at:
        places = ", ".join(str(step) for step in resumed_at[:3]) + (", …" if len(resumed_at) > 3 else "")
        text = f"steps repeat or go back at step {places}: resumed, {superseded} earlier rows replaced"
        notes.append(Note(kind="resume", run=run, text=text))
    keep = np.array([at[step][-1] for step in standing], dtype=np.int64)
    return Standing(keep=keep, merge=merge, average=average, notes=notes)


def _notes(run: str, merge: list[tuple[int, list[int]]], average: list[tuple[int, list[int]]]) -> list[Note]:
    notes = []
    if merge:
        notes.append(Note(kind="merged", run=run, text=f"{len(merge)} steps were logged in pieces, merged"))
    if average:
        text = f"{len(average)} steps were logged several times with different values, their mean was taken"
        notes.append(Note(kind="duplicate", run=run, text=text))
    return notes


class _Cells:
    """What rows of one step hold together.

    Attributes
    ----------
    n : number of rows.
    logged : (D,) metrics that one of them holds.
    writers : what wrote them.
    """

    def __init__(self, n_metrics: int) -> None:
        self.n = 0
        self.logged = np.zeros(n_metrics, dtype=bool)
        self.writers: set[int] = set()
        self._values = np.zeros(n_metrics)
        self._contradicted = np.zeros(n_metrics, dtype=bool)

    def takes(self, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> bool:
        """Whether a row with (D,) values logs nothing that one of them has with another value."""
        return not self._against(values, logged).any()

    def add(self, values: NDArray[np.float64], logged: NDArray[np.bool_], writer: int) -> None:
        """Add a row."""
        self._contradicted |= self._against(values, logged)
        fresh = logged & ~self.logged
        self._values[fresh] = values[fresh]
        self.logged |= logged
        self.writers.add(writer)
        self.n += 1

    def _against(self, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> NDArray[np.bool_]:
        against: NDArray[np.bool_] = logged & (self._contradicted | (self.logged & ~alike(self._values, values)))
        return against


def _all_complete_each_other(rows: list[int], values: NDArray[np.float64], logged: NDArray[np.bool_]) -> bool:
    together = _Cells(values.shape[1])
    for row in rows:
        if not together.takes(values[row], logged[row]):
            return False
        together.add(values[row], logged[row], 0)
    return True


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether cells are the same in single precision, which some writers round to; NaN is like NaN."""
    with np.errstate(over="ignore"):
        same: NDArray[np.bool_] = one.astype(np.float32) == other.astype(np.float32)
    return same | (np.isnan(one) & np.isnan(other))
