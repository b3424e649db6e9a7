"""Which columns only tell the time: by what they do, and by what they are called."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# The whole last part of a name, as in ``time/num_env_steps``: Lightning's ``train_loss_step`` is none.
_WHAT = "epoch|step|iteration|iter|update|episode|timestep|token|sample|example|frame|flop?|image|batche?|env_?interact"
_WHICH = (
    "global|env|total|num|n|current|train|training|training_this|agent|input|cumulative|lifetime|consumed|processed|"
    "optimizer|optim|grad|gradient|update"
)
_OF = "total|seen|sampled|trained|so_far|lifetime|processed|consumed|num"
_COUNTER = rf"(?:(?:{_WHICH})_?)*(?:{_WHAT})s?(?:_(?:{_OF}))*"
_TELLS = "time|timestamp|runtime|wall_?time|wall_?clock|elapsed|duration|seconds|minutes|hours|secs?|eta|remaining"
_UNIT = "s|sec|secs|seconds|ms|min|minutes|h|hours|total|total_s|this_iter_s"
_TIME = rf"(?:[a-z0-9]+_)*(?:{_TELLS})s?(?:_(?:{_UNIT}))?"
_CLOCK = re.compile(rf"(?:^|[/.:])_?(?:{_COUNTER}|{_TIME})$")
# The time at the end of an episode, as Stable-Baselines3 calls it.
_SHORT = "t"
# What is measured by step, epoch or batch is none of these: ``loss/step``.
_MEASURED = re.compile(r"(?:^|[/._])(?:loss|acc|accuracy|error|err|reward|return|norm|score|nll|ppl|perplexity)[/.]")
# A clock keeps pace at so many rows of a run at least, and is off by no more than this share of what it has counted.
_FEWEST_TICKS = 5
_OFF = 1e-6
# Or by a unit of the last decimal that is written, if it has counted so many of them.
_UNITS, _DECIMALS = 500, 6
# As many rows are looked at before all are: few metrics only ever rise.
_FIRST = 64

UNKNOWN, UNSTEADY, STEADY, IN_PACE = -1, 0, 1, 2


def called_clock(column: str) -> bool:
    """Whether a column's name says that it holds a time, a step or an epoch."""
    name = column.lower().replace(" ", "_")
    return column == _SHORT or (_CLOCK.search(name) is not None and _MEASURED.search(name) is None)


def paces(column: NDArray[np.float64], steps: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int8]:
    """(R,) how an (N,) column goes in each run.

    It is `IN_PACE` where it grows in proportion to the rows or to the steps, at so many rows that this is no chance;
    else `STEADY` where it never falls, or never rises; else `UNSTEADY`; `UNKNOWN` where it tells too little.

    Parameters
    ----------
    steps : (N,) of the rows; blank cells of ``column`` are NaN.
    offsets : (R + 1,) row offsets of the runs.
    """
    found = np.full(len(offsets) - 1, UNKNOWN, dtype=np.int8)
    for r, (start, stop) in enumerate(pairwise(offsets.tolist())):
        if not _steady(column[start : min(stop, start + _FIRST)]):
            found[r] = UNSTEADY
            continue
        cells = column[start:stop]
        told = np.flatnonzero(np.isfinite(cells))
        cells = cells[told]
        if not _steady(cells):
            found[r] = UNSTEADY
        elif len(cells) >= _FEWEST_TICKS and cells[-1] != cells[0]:
            rises = cells[-1] > cells[0]
            found[r] = (
                IN_PACE if rises and (_in_pace(cells, told) or _in_pace(cells, steps[start:stop][told])) else STEADY
            )
    return found


def _steady(cells: NDArray[np.float64]) -> bool:
    cells = cells[np.isfinite(cells)]
    return bool((cells[1:] >= cells[:-1]).all() or (cells[1:] <= cells[:-1]).all())


def _in_pace(cells: NDArray[np.float64], times: NDArray[np.int64]) -> bool:
    """Whether (n,) cells grow in proportion to (n,) times."""
    elapsed = (times - times[0]) / max(times[-1] - times[0], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        counted = abs(cells[-1] - cells[0])
        off = np.abs(cells - cells[0] - elapsed * (cells[-1] - cells[0]))
        if (off <= _OFF * counted).all():
            return True
        if not (off <= counted / _UNITS).all():
            return False
        rounded = (decimals for decimals in range(1, _DECIMALS) if (np.round(cells, decimals) == cells).all())
        unit = 10.0 ** -next(rounded, _DECIMALS)
        is_whole = bool((np.floor(cells) == cells).all())  # which need not be rounded
        return bool(not is_whole and unit * _UNITS <= counted and (off <= unit).all())
