"""Metrics over training for the page to draw: thinned where they are longer than it can show, and it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics import Trajectories
from trajhmm.features.events import is_loss
from trajhmm.naming import shown

# Characters that all curves together may take: with them a page of 40 runs of 1,000 rows stays below a megabyte.
_BUDGET = 560_000
# Values a curve has at least, whatever the budget, and what one takes: 18 bits.
_FEWEST, _WIDTH = 24, 3
_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", dtype=np.uint8)
_LEVELS = 64**_WIDTH - 2
"""The largest number that stands for a value; the one after it stands for none."""
_MOST_METRICS = 24
# From how many times its smallest value on a curve of positive ones is stored, and drawn, in logarithms.
_LOGARITHMIC_FROM = 30.0


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What the page draws.

    Attributes
    ----------
    data : for the script, see `curves`.
    metrics, runs : names to choose from.
    rows : of which a point of the longest run stands for; 1 where nothing is left out.
    """

    data: dict[str, Any]
    metrics: tuple[str, ...]
    runs: tuple[str, ...]
    rows: int


def curves(
    trajectories: Trajectories, wanted: Sequence[str], facts: Mapping[str, Sequence[tuple[str, str]]]
) -> Curves | None:
    """Thin the curves of runs; None where there is nothing to draw.

    A run's rows are cut into stretches of as many rows each; of a stretch the smallest and the largest value are kept,
    so that no peak is lost, and the state of its first row.

    Parameters
    ----------
    trajectories : the runs; a state of −1 is not known.
    wanted : metrics that speak most, to stand first; the other losses follow, then all others, 24 at most.
    facts : of each run, what else is known of it.
    """
    first = [name for name in dict.fromkeys(wanted) if name in trajectories.metrics]
    rest = sorted((name for name in trajectories.metrics if name not in first), key=lambda name: not is_loss(name))
    metrics = (*first, *rest)[:_MOST_METRICS]
    if not metrics or not len(trajectories.steps):
        return None
    columns = [trajectories.metrics.index(metric) for metric in metrics]
    most = max(_BUDGET // (_WIDTH * len(metrics) * len(trajectories.runs)), _FEWEST)
    runs, longest = [], 1
    for run, rows in trajectories.slices():
        n = rows.stop - rows.start
        # A value a row where all fit; else two a stretch.
        per = 1 if n <= most else -(-2 * n // most)
        longest = max(longest, per)
        starts = np.arange(0, n, per)
        stored = [_stored(trajectories.values[rows, column], starts, per) for column in columns]
        path = trajectories.path[rows]
        runs.append(
            {
                "name": shown(run),
                "per": per,
                "steps": _steps(trajectories.steps[rows][starts]),
                "last": int(trajectories.steps[rows][-1]) if n else 0,
                "states": _stretches(path[starts]),
                "shares": _shares(path),
                "facts": [[shown(name), shown(value)] for name, value in facts.get(run, ())],
                "scales": [scale for scale, _ in stored],
                "values": [text for _, text in stored],
            }
        )
    named = tuple(shown(metric) for metric in metrics)
    return Curves(data={"metrics": named, "runs": runs}, metrics=named, runs=trajectories.runs, rows=longest)


def _stored(column: NDArray[np.float64], starts: NDArray[np.int64], per: int) -> tuple[list[float], str]:
    """The scale (lowest, highest, 1 for logarithms) and the smallest and largest value of each stretch on it."""
    known = np.isfinite(column)
    low, high = np.where(known, column, np.inf), np.where(known, column, -np.inf)
    pairs = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    values = np.column_stack(pairs[: 2 if per > 1 else 1]).ravel()
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [0.0, 0.0, 0.0], _letters(np.full(len(values), _LEVELS + 1))
    least, largest = float(finite.min()), float(finite.max())
    logarithmic = least > 0 and largest > _LOGARITHMIC_FROM * least
    with np.errstate(invalid="ignore", divide="ignore"):
        placed = np.log10(values) if logarithmic else values
    ends = (np.log10(least), np.log10(largest)) if logarithmic else (least, largest)
    # Halves, as the difference of numbers near the largest there are is infinite.
    parts = (placed / 2 - ends[0] / 2) / max(ends[1] / 2 - ends[0] / 2, np.finfo(float).tiny)
    levels = np.where(np.isfinite(values), np.round(np.clip(np.nan_to_num(parts), 0.0, 1.0) * _LEVELS), _LEVELS + 1)
    return [_digits(ends[0]), _digits(ends[1]), float(logarithmic)], _letters(levels.astype(np.int64))


def _digits(value: float) -> float:
    return float(f"{value:.7g}")


def _letters(levels: NDArray[np.int64]) -> str:
    digits = np.column_stack([levels >> 12, levels >> 6 & 63, levels & 63])
    return _LETTERS[digits].tobytes().decode("ascii")


def _steps(steps: NDArray[np.int64]) -> list[int] | dict[str, int]:
    """The steps, or where they are evenly spaced the first, the gap and how many."""
    gaps = np.unique(np.diff(steps))
    if len(gaps) == 1:
        return {"first": int(steps[0]), "gap": int(gaps[0]), "count": len(steps)}
    found: list[int] = steps.tolist()
    return found


def _stretches(path: NDArray[np.int64]) -> list[list[int]]:
    """States and for how many points each holds."""
    starts = np.flatnonzero(np.diff(path, prepend=path[:1] - 1))
    lengths = np.diff(np.append(starts, len(path)))
    return np.column_stack([path[starts], lengths]).tolist()  # type: ignore[no-any-return]


def _shares(path: NDArray[np.int64]) -> list[list[float]]:
    """Each state and its share of the rows."""
    states, counts = np.unique(path, return_counts=True)
    return [
        [state, count] for state, count in zip(states.tolist(), (counts / len(path)).round(4).tolist(), strict=True)
    ]
