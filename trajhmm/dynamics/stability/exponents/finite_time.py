"""Finite-time Lyapunov exponents from logged distances: how fast they grow or shrink, with an interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.rates import Rate, rate_over_runs
from trajhmm.logs.runset import offsets_of

Line = Literal["ends", "least-squares"]
_MOST_OF_A_RISE = 0.9


@dataclass(frozen=True, kw_only=True)
class FiniteTime:
    """How a distance grows.

    Attributes
    ----------
    exponent : mean growth of its logarithm a step, with an interval over runs.
    second_moment : mean over rows and runs of the square of what one step multiplies the distance by, with an interval
        over runs; None where no two rows are one step apart.
    n_cut : runs that count only up to their first value that is not finite.
    n_without : runs that have not two finite values in succession, and do not count.
    n_diverged, n_at_zero : runs whose log ends in a distance that is infinite or none, and in one of exactly 0.
    n_logged : runs that log the distance.
    levels_off : median step at which runs have risen by nine tenths of what they rise in all, where that is in the
        first half of the log in most of them: the exponent then falls with the length of the log. None elsewhere.
    """

    exponent: Rate
    second_moment: Rate | None
    n_cut: int
    n_without: int
    n_diverged: int = 0
    n_at_zero: int = 0
    n_logged: int = 0
    levels_off: float | None = None

    @property
    def probability_stable(self) -> bool | None:
        """Whether the distance goes to 0 in probability: the exponent is below 0, or most runs have got to 0 itself.

        It does not where most runs diverge, whatever the exponent of their rows before. The sign of the estimate
        decides, also where the interval holds 0: a distance neither shrinks nor grows at an exponent of exactly 0 only,
        so that either answer is a bet, and ``exponent.confidence_of_sign`` says how good a one. None without a run.
        """
        if 2 * max(self.n_diverged, self.n_at_zero) > self.n_logged:
            return self.n_at_zero > self.n_diverged
        return None if np.isnan(self.exponent.value) else self.exponent.value < 0.0

    @property
    def l2_stable(self) -> bool | None:
        """Whether the second moment of the distance shrinks at each step; None where steps are not logged singly.

        It does not where a run diverges.

        Not from the moments of the distance itself: rare runs make them, which no sample holds. Nor from changes over
        many steps, for the same reason: at a learning rate of 0.7 on rank one the second moment grows by 1.07 a step,
        and over 50 steps nearly all samples shrink.
        """
        if self.n_diverged:
            return False
        return None if self.second_moment is None else self.second_moment.value < 1.0


def finite_time_exponent(
    log_distance: NDArray[np.float64],
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    line: Line = "ends",
) -> FiniteTime:
    """Mean growth a step of the logarithm of a distance.

    Each run counts from its first finite value, as twins are apart only once they were trained, to the last before one
    that is not. ``ends`` takes the line through both. The logarithm of a distance that is multiplied anew at each step
    is a random walk, of which that line has the least error and is unbiased however increments are correlated;
    ``least-squares`` through all rows has 10% more there, and far less where values scatter about a line, as measured
    ones do.

    Parameters
    ----------
    log_distance : (N,) logarithms, run after run, without blank rows.
    steps : (N,) of the rows.
    lengths : (R,) rows of each run.
    line : through what.

    Notes
    -----
    Runs are the unit, Student's t the interval: see :func:`~trajhmm.dynamics.stability.rates.rate_over_runs`.
    """
    changes, spans, squares, pairs, levels = [], [], [], [], []
    n_cut = 0
    last = [log_distance[stop - 1] for start, stop in zip(*_ends(lengths), strict=True) if stop > start]
    for start, stop in zip(*_ends(lengths), strict=True):
        used = _stretch(log_distance[start:stop])
        values, at = log_distance[start:stop][used], steps[start:stop][used]
        if len(values) < 2:
            continue
        n_cut += used.stop < stop - start
        span = float(at[-1] - at[0])
        spans.append(span)
        levels.append(_risen(values, at))
        single = np.diff(at) == 1
        with np.errstate(over="ignore", invalid="ignore"):
            changes.append(span * _slope(values, at) if line == "least-squares" else float(values[-1] - values[0]))
            squares.append(float(np.exp(2.0 * np.diff(values)[single]).sum()))
        pairs.append(float(single.sum()))
    counted = np.array(pairs) > 0
    return FiniteTime(
        exponent=rate_over_runs(np.array(changes), np.array(spans)),
        second_moment=rate_over_runs(np.array(squares)[counted], np.array(pairs)[counted]) if counted.any() else None,
        n_cut=n_cut,
        n_without=len(lengths) - len(changes),
        n_diverged=sum(np.isnan(value) or value == np.inf for value in last),
        n_at_zero=sum(value == -np.inf for value in last),
        n_logged=len(last),
        levels_off=_levels_off(levels),
    )


def _risen(values: NDArray[np.float64], at: NDArray[np.int64]) -> tuple[float, bool] | None:
    """The step by which nine tenths of a rise are done, and whether that is in the first half; None without a rise."""
    with np.errstate(over="ignore", invalid="ignore"):  # logarithms of distances as large as floats hold
        rise = float(values[-1] - values[0])
        if not 0.0 < rise < np.inf:
            return None
        step = float(at[int(np.argmax(values >= values[0] + _MOST_OF_A_RISE * rise))])
    return step, 2.0 * (step - float(at[0])) <= float(at[-1] - at[0])


def _levels_off(levels: Sequence[tuple[float, bool] | None]) -> float | None:
    early = [one[0] for one in levels if one is not None and one[1]]
    return float(np.median(early)) if 2 * len(early) > len(levels) else None


def log_separation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) ln‖first − second‖, the separation of twin runs: one initialisation, another order of the data.

    Its slope is the largest Lyapunov exponent while the separation is small; it levels off at the size of the solution.

    Parameters
    ----------
    first, second : (T,) or (T, P) weights, or a summary of them, of both runs at the same T steps. −∞ where they agree.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim not in (1, 2):
        raise ValueError(
            f"twins: expected two series of the same steps, (T,) or (T, P), found {one.shape} and {other.shape}"
        )
    apart = (one - other).reshape(len(one), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Scaled by the largest difference, so that squares neither overflow nor vanish.
        largest = np.abs(apart).max(axis=1)
        scaled = np.where(largest[:, np.newaxis] > 0.0, apart / largest[:, np.newaxis], 0.0)
        return np.asarray(np.log(largest) + np.log(np.linalg.norm(scaled, axis=1)))


def _ends(lengths: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    offsets = offsets_of(lengths).tolist()
    return offsets[:-1], offsets[1:]


def _stretch(values: NDArray[np.float64]) -> slice:
    """The rows of one run from the first finite value to before the next that is not."""
    finite = np.isfinite(values)
    if not finite.any():
        return slice(0, 0)
    first = int(finite.argmax())
    broken = np.flatnonzero(~finite[first:])
    return slice(first, first + int(broken[0]) if len(broken) else len(values))


def _slope(values: NDArray[np.float64], steps: NDArray[np.int64]) -> float:
    centred = steps - steps.mean()
    return float(centred @ values / (centred @ centred))
