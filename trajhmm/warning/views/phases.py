"""Phases of a log: stretches of steps within which scores of healthy runs are compared with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.features import CausalRun
from trajhmm.stored import Stored

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rows before a run is judged: its first ones differ most from run to run, and it has no past yet to compare with.
BURN_IN = 12
# Rows of a usual healthy run at which a new phase begins: scores change fast at first, and slowly later.
_ROWS = (30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 30720)
# A run that logs this many times as often as the reference is looked at as often as the reference was logged, give or
# take a share of its spacing.
_DENSER, _LEEWAY = 1.5, 0.95
# Steps are whole numbers.
_LEAST_SPACING = 0.5
# From so many times as far apart on, rows are said to be rarer than the reference's.
_RARER = 1.5
# Rows over which the spacing of a run is averaged.
_SPAN = 20.0
_LOWEST = int(np.iinfo(np.int64).min)
# What is kept of a run: rows so far, last step, average spacing, step of the last row that counted, and how many did.
MEMORY, LAST, COUNTED = 5, 1, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Phases:
    """B stretches of steps, each twice as long as the one before; and how often the reference was logged in each.

    Attributes
    ----------
    begins : (B,) first step of each but the first, which begins wherever a run does; the first is the lowest integer.
    spacing : (B,) usual steps from row to row.
    last_step : up to which half of the healthy runs go.
    first_step : at which the first of them begins; the lowest integer where that is not known.
    """

    begins: Ints
    spacing: Floats
    last_step: int
    first_step: int = _LOWEST

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """From healthy runs of at least one row."""
        usual = _usual_steps(runs)
        last_step = int(np.median([run.steps[-1] for run in runs]))
        rows: list[int] = []
        for row in _ROWS:  # where runs log at different intervals the median may stand still
            if row < len(usual) and (not rows or usual[row] > usual[rows[-1]]):
                rows.append(row)
        begins = np.array([np.iinfo(np.int64).min, *usual[rows]], dtype=np.int64)
        ends = [*rows, len(usual)]
        gaps = [np.diff(usual[max(first - 1, 0) : end]) for first, end in zip([0, *rows], ends, strict=True)]
        spacing = np.array([np.median(gap) if gap.any() else 1.0 for gap in gaps])
        spacing = np.maximum(spacing, _LEAST_SPACING)
        first_step = min(int(run.steps[0]) for run in runs)
        return cls(begins=begins, spacing=spacing, last_step=last_step, first_step=first_step)

    def at(self, steps: Ints) -> Ints:
        """(n,) number of the phase of (n,) steps."""
        return np.searchsorted(self.begins, steps, side="right") - 1

    def counting(self, steps: Ints, fresh: NDArray[np.bool_], memory: Floats) -> NDArray[np.bool_]:
        """(n,) which rows count.

        Those ahead of all that healthy runs log do not, nor do those at which nothing is logged, and those between rows
        that are as far apart as in the reference, in a run that logs more often: what a row says of the next depends on
        how far apart they are.

        Parameters
        ----------
        steps, fresh : (n,) and (n, D), see `Rows`.
        memory : (5,) of the rows before, zeros at first; moved on in place.
        """
        counts = np.empty(len(steps), dtype=bool)
        logged: NDArray[np.bool_] = np.logical_or.reduce(fresh, axis=1) & (steps >= self.first_step)
        _count(steps, logged, self.spacing[self.at(steps)], memory, counts)
        return counts

    def rarer(self, memory: Floats) -> float | None:
        """How many times as far apart a run's rows are as the reference's, of late; None if no farther, or too early.

        Parameters
        ----------
        memory : (5,) see `counting`.
        """
        rows, last, usual = memory[:3]
        if rows < BURN_IN:
            return None
        times = float(usual / self.spacing[self.at(np.array([last], dtype=np.int64))[0]])
        return times if times >= _RARER else None

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds."""
        return {
            "begins": self.begins[1:].tolist(),
            "spacing": self.spacing.tolist(),
            "last_step": self.last_step,
            "first_step": self.first_step,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, "phases")
        members = piece.members(known=("begins", "spacing", "last_step", "first_step"))
        first, last = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        begins = np.array([first, *(step.whole(first + 1, last) for step in piece["begins"].items())], dtype=np.int64)
        if (begins[1:] <= begins[:-1]).any():
            raise piece["begins"].error("phases that begin one after the other")
        return cls(
            begins=begins,
            spacing=piece["spacing"].array((len(begins),), _LEAST_SPACING, float(last)),
            last_step=piece["last_step"].whole(first, last),
            first_step=piece["first_step"].whole(first, last) if "first_step" in members else first,
        )


def _usual_steps(runs: Sequence[CausalRun]) -> Ints:
    """(T,) median step of each row, over the runs that have it, as long as half of them do."""
    lengths = np.array([run.n_rows for run in runs])
    longest = int(np.median(lengths))
    steps = np.full((len(runs), longest), np.nan)
    for place, run in zip(steps, runs, strict=True):
        place[: run.n_rows] = run.steps[:longest]
    return np.maximum.accumulate(np.nanmedian(steps, axis=0)).astype(np.int64)


@takes(steps="int N", logged="bool N", spacing="N", memory="5 filled", counts="bool N filled")
@compiled
def _count(steps: Ints, logged: NDArray[np.bool_], spacing: Floats, memory: Floats, counts: NDArray[np.bool_]) -> None:
    rows, last, usual, counted, n = memory
    for t in range(len(steps)):
        counts[t] = False
        if not logged[t]:
            continue
        step = float(steps[t])
        if rows > 0.0 and step > last:
            usual += max(2.0 / (_SPAN + 1.0), 1.0 / rows) * (step - last - usual)
        denser = rows > 1.0 and usual * _DENSER <= spacing[t]
        if not denser or step < last or step - counted >= _LEEWAY * spacing[t]:
            counts[t] = True
            counted = step
            n += 1.0
        rows += 1.0
        last = step
    memory[0], memory[1], memory[2], memory[3], memory[4] = rows, last, usual, counted, n
