"""Scaling that all runs share: levels stay comparable between runs, and positive metrics are taken by their logarithm.

z-scores within each run depend on how long it stays where, so that two runs in the very same state get different ones
as soon as their dwell times differ. A scale that all share has no such fault. What runs still differ by from their
first row on, an offset (of a logarithm: a factor), is left to the model, or taken from their own first rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from trajhmm.features.spread import Spread, spread_about_runs, spread_of_rows
from trajhmm.stored import Stored, StoredError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Part = TypeVar("Part")

Scaling = Literal["mixed", "own-start", "shared", "per-run"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
PooledKind = Literal["shared", "own-start"]

# A run's first rows: this share of it, at least one row.
_START_SHARE = 0.03
# A metric that is never negative and 0 here and there, in no more than this share of the rows and not in most runs, is
# taken by its logarithm, 0 counting as the least positive value: a torn number. Where 0 belongs to a metric, as to the
# norm of biases that start at 0, its logarithm would make the gap to the rest as wide as the least value is small.
_MOST_ZEROS, _MOST_RUNS_WITH_ZEROS = 0.01, 0.5
# Numbers up to this, and from one over it on, have squares that floats hold, and sums of many of them.
_SQUARED = 1e100
# A value further from its run's median than so many calm spreads counts as that far: one torn number must not set the
# scale of all runs. Calm is what a run varies without the share of its rows that stand out most, if it has enough.
_REACH = 100.0
_STANDS_OUT, _ROWS_TO_BE_CALM = 0.005, 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What decides which metrics are taken by their logarithm; parts add up.

    Attributes
    ----------
    rows, runs : N and R.
    least : (D,) least positive value; infinite if there is none.
    largest : (D,) largest magnitude.
    zeros, negative : (D,) number of rows in which a metric is 0, and less than that.
    runs_with_zeros : (D,) number of runs in which it is 0 at some row.
    """

    rows: int
    runs: int
    least: Floats
    largest: Floats
    zeros: Ints
    negative: Ints
    runs_with_zeros: Ints

    @classmethod
    def of(cls, values: Floats, lengths: Ints) -> Survey:
        """Of (N, D) finite rows of runs with (R,) lengths, all positive."""
        zero = values == 0
        return cls(
            rows=len(values),
            runs=len(lengths),
            least=np.min(values, axis=0, where=values > 0, initial=np.inf),
            largest=np.maximum(values.max(axis=0, initial=0.0), -values.min(axis=0, initial=0.0)),
            zeros=zero.sum(axis=0),
            negative=(values < 0).sum(axis=0),
            runs_with_zeros=np.logical_or.reduceat(zero, np.cumsum(lengths) - lengths).sum(axis=0),
        )

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            rows=self.rows + other.rows,
            runs=self.runs + other.runs,
            least=np.minimum(self.least, other.least),
            largest=np.maximum(self.largest, other.largest),
            zeros=self.zeros + other.zeros,
            negative=self.negative + other.negative,
            runs_with_zeros=self.runs_with_zeros + other.runs_with_zeros,
        )

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(D,) metrics to be taken by their logarithm."""
        seldom = (self.zeros <= _MOST_ZEROS * self.rows) & (self.runs_with_zeros <= _MOST_RUNS_WITH_ZEROS * self.runs)
        positive: NDArray[np.bool_] = seldom & (self.negative == 0) & np.isfinite(self.least)
        return positive

    @property
    def unit(self) -> Floats:
        """(D,) powers of two in which squares of the metrics are numbers that floats hold; 1 for nearly all of them."""
        far = ~self.positive & (self.largest > 0) & ~((self.largest > 1 / _SQUARED) & (self.largest < _SQUARED))
        return np.exp2(np.floor(np.log2(self.largest, out=np.zeros_like(self.largest), where=far)))


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledScaler:
    """Logarithms of positive metrics, less a centre, over a spread: the same for all runs.

    Attributes
    ----------
    kind : ``shared``; ``own-start``, where each run's first rows are taken from it as well.
    logs : (D,) bool, metrics taken by their logarithm; see `Survey`.
    least : (D,) the least positive value of each of these; what is 0 or less counts as that. 0 for the others.
    reach : (D,) how far from the median of its run a value, or its logarithm, may be; beyond it counts as that far.
    centre, spread : (D,) of the metrics, or of their logarithms.
    """

    kind: PooledKind
    logs: NDArray[np.bool_]
    least: Floats
    reach: Floats
    centre: Floats
    spread: Floats

    @classmethod
    def unfitted(cls, kind: PooledKind, survey: Survey) -> PooledScaler:
        """With centre 0, spread 1 and no limit of reach."""
        d, logs = len(survey.least), survey.positive
        least = np.where(logs, survey.least, 0.0)
        return cls(kind=kind, logs=logs, least=least, reach=np.full(d, np.inf), centre=np.zeros(d), spread=np.ones(d))

    def reaching(self, calm: Spread) -> PooledScaler:
        """With the reach that follows from how far calm rows vary; none for a metric that does not."""
        with np.errstate(over="ignore"):
            reach = _REACH * np.sqrt(calm.variance) * self.spread
        return replace(self, reach=np.where(calm.squares > 0, reach, np.inf))

    def fitted(self, measured: Measured, *, within_runs: bool) -> PooledScaler:
        """With centre and spread from what this transforms rows to.

        Parameters
        ----------
        within_runs : whether the spread is that about the means of the runs, or that of all rows.
        """
        variance = measured.within.variance if within_runs else measured.total.variance
        return replace(self, centre=measured.total.mean * self.spread, spread=np.sqrt(variance) * self.spread)

    def transform(self, values: Floats, lengths: Ints) -> Floats:
        """Scale (N, D) finite values of runs with (R,) lengths, all positive; returns a new (N, D) array."""
        return self.transform_and_count(values, lengths)[0]

    def transform_and_count(self, values: Floats, lengths: Ints) -> tuple[Floats, Ints]:
        """Scale, and count for each metric (D,) the values beyond reach."""
        scaled = values.copy()
        of_logs = values[:, self.logs]
        scaled[:, self.logs] = np.log(np.where(of_logs <= 0, self.least[self.logs], of_logs))
        # What is too far off for floats comes out infinite or NaN, and is refused by who asked for it.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == "own-start":
                scaled -= np.repeat(_starts(scaled, lengths), lengths, axis=0)
            beyond = _draw_in(scaled, lengths, self.reach)
            return (scaled - self.centre) / self.spread, beyond

    def take(self, columns: Ints) -> PooledScaler:
        """The scaler of some of the metrics."""
        return replace(self, **{name: getattr(self, name)[columns] for name in ("logs", *_NUMBERS)})

    def to_dict(self) -> dict[str, object]:
        """What the model file holds; a metric without a limit of reach has null."""
        reach = [limit if np.isfinite(limit) else None for limit in self.reach.tolist()]
        numbers = {name: getattr(self, name).tolist() for name in ("least", "centre", "spread")}
        return {"kind": self.kind, "logs": self.logs.tolist(), "reach": reach, **numbers}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PooledScaler:
        """Read back what `to_dict` gives.

        Raises
        ------
        StoredError
            A part is missing, of another length, or not what it must be.
        """
        piece = Stored(stored, "scaler")
        piece.members(known=("kind", "logs", *_NUMBERS))
        spread = piece["spread"].array((None,))
        shape, limits = spread.shape, piece.get("reach")
        least, logs = piece["least"].array(shape), np.array([flag.flag() for flag in piece["logs"].items()], dtype=bool)
        reach = np.full(shape, np.nan) if limits is None else limits.array(shape, or_null=True)
        if logs.shape != shape:
            raise StoredError(f"scaler.logs has shape {logs.shape}; expected {shape}")
        if (spread <= 0).any() or (reach <= 0).any():
            raise StoredError("scaler: expected a positive spread of each metric, and a positive reach or none")
        if (least[logs] <= 0).any():
            raise piece["least"].error("positive least values of metrics that are taken by their logarithm")
        return cls(
            kind="own-start" if piece["kind"].one_of(get_args(PooledKind)) == "own-start" else "shared",
            logs=logs,
            least=least,
            reach=np.where(np.isnan(reach), np.inf, reach),
            centre=piece["centre"].array(shape),
            spread=spread,
        )


_NUMBERS = ("least", "reach", "centre", "spread")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a scale is learnt from; parts add up.

    ``total`` is of all rows, ``within`` about the means of the runs; ``beyond`` (D,) counts values beyond reach.
    """

    total: Spread
    within: Spread
    beyond: Ints

    @classmethod
    def of(cls, scaler: PooledScaler, values: Floats, lengths: Ints) -> Measured:
        """Of (N, D) rows of runs with (R,) lengths, as a scaler without centre and spread transforms them."""
        scaled, beyond = scaler.transform_and_count(values, lengths)
        return cls(total=spread_of_rows(scaled), within=spread_about_runs(scaled, lengths), beyond=beyond)

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            total=self.total + other.total, within=self.within + other.within, beyond=self.beyond + other.beyond
        )


def calm_spread(scaler: PooledScaler, values: Floats, lengths: Ints) -> Spread:
    """How far the runs vary about their own means without the rows that stand out most; parts add up.

    Parameters
    ----------
    scaler : without reach, centre and spread.
    values, lengths : (N, D) rows of runs with (R,) lengths.
    """
    scaled = scaler.transform(values, lengths)
    d = values.shape[1]
    total = Spread(mass=np.zeros(d), mean=np.zeros(d), squares=np.zeros(d))
    ends = np.cumsum(lengths)
    for begin, end in zip(ends - lengths, ends, strict=True):
        run, n = scaled[begin:end], int(end - begin)
        if n >= _ROWS_TO_BE_CALM:
            with np.errstate(over="ignore", invalid="ignore"):
                away = np.abs(run - np.median(run, axis=0))
            kept = n - int(np.ceil(_STANDS_OUT * n))
            calm = np.argpartition(away, kept - 1, axis=0)[:kept]
            run = np.take_along_axis(run, calm, axis=0)
        total = total + spread_about_runs(run, np.array([len(run)]))
    return total


def _draw_in(scaled: Floats, lengths: Ints, reach: Floats) -> Ints:
    """Draw values beyond reach in to where it ends, in place; (D,) how many."""
    beyond = np.zeros(scaled.shape[1], dtype=np.int64)
    ends = np.cumsum(lengths)
    for begin, end in zip(ends - lengths, ends, strict=True):
        run = scaled[begin:end]
        with np.errstate(over="ignore"):
            far = run.max(axis=0) - run.min(axis=0) > reach
        if far.any():
            median = np.median(run[:, far], axis=0)
            drawn = np.clip(run[:, far], median - reach[far], median + reach[far])
            beyond[far] += (drawn != run[:, far]).sum(axis=0)
            run[:, far] = drawn
    return beyond


def pooled_kind(scaling: Scaling) -> PooledKind:
    """How rows are scaled for a way of scaling: the mixed-effects model takes them on one scale."""
    return "own-start" if scaling == "own-start" else "shared"


def learn_scaler(values: Floats, lengths: Ints, scaling: Scaling) -> PooledScaler:
    """Learn a scale for all runs from (N, D) finite rows of runs with (R,) lengths."""

    def over(function: Callable[[Floats, Ints], Part]) -> Part:
        return function(values, lengths)

    return learn_scaler_over(over, scaling)[0]


def learn_scaler_over(
    over: Callable[[Callable[[Floats, Ints], Any]], Any], scaling: Scaling
) -> tuple[PooledScaler, Ints]:
    """Learn a scale for all runs in three passes over rows that are held in parts; in four where numbers are extreme.

    Parameters
    ----------
    over : gives the sum over all parts of what a function of (n, D) rows and (r,) lengths of their runs gives.
    scaling : not ``per-run``.

    Returns
    -------
    scaler : the scale.
    beyond : (D,) number of values beyond reach.
    """
    survey = over(Survey.of)
    bare = PooledScaler.unfitted(pooled_kind(scaling), survey)
    calm = over(partial(calm_spread, bare))
    # A number far off among others does not make the unit: calm rows do.
    unit = np.where((calm.squares > 0) & np.isfinite(calm.squares), 1.0, survey.unit)
    if (unit != 1.0).any():
        bare = replace(bare, spread=unit)
        calm = over(partial(calm_spread, bare))
    bare = bare.reaching(calm)
    measured = over(partial(Measured.of, bare))
    return bare.fitted(measured, within_runs=scaling == "mixed"), measured.beyond


def _starts(values: Floats, lengths: Ints) -> Floats:
    """(R, D) mean of each run's first rows."""
    begins = np.cumsum(lengths) - lengths
    few = np.maximum(1, np.round(_START_SHARE * lengths)).astype(np.int64)
    return np.array([values[b : b + n].mean(axis=0) for b, n in zip(begins, few, strict=True)])
