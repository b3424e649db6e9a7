"""A run judged without a reference: by its own past, and by how healthy runs of other tasks move."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import innovations
from trajhmm.features.causal import LARGEST
from trajhmm.features.events import is_loss
from trajhmm.features.levels import SPAN
from trajhmm.warning.views.interface import Floats, Rows, View, goes_back, stretches
from trajhmm.warning.views.losses import OfLosses
from trajhmm.warning.views.movement import Movement
from trajhmm.warning.views.ownlosses import LongSum, OwnLossRise, ShortSum
from trajhmm.warning.views.phases import BURN_IN
from trajhmm.warning.views.portfolio import Combined, Memory, counted_at

# A score is a view's over its limit: an alarm is where it is above 1. With these limits, rounded up, healthy runs of
# the sets of data/ alarm at most 0.1 times in 1,000 rows, half of what is promised, as logs elsewhere are wilder; all
# but one set whose training loss spikes when all is well: see the handbook, and ``tests/benchmarks/test_alone.py``.
LIMITS = {OwnLossRise.name: 4.5, Movement.name: 4.0, ShortSum.name: 15.0, LongSum.name: 11.0}
# What is kept of rows that count: how many, the last step of any, the last of theirs (NaN before it), how far that was
# from the one before, and the largest such gap before. Rows are further apart from where two gaps in succession are
# larger than all before by so much.
_AT_FIRST, _WIDER = (0.0, 0.0, np.nan, 0.0, 0.0), 1.5
_HEAD = len(_AT_FIRST)
# Values are compared by their inverse hyperbolic sine over a share of the first one that is not zero: as logarithms
# down to that share, and evenly about zero. A loss that is so near to zero has nothing more to tell.
_SHARE, _SHARE_OF_LOSS = 1e-3, 0.03
_LEAST_SPREAD = 1e-4
_EVALUATION = re.compile(r"(?:^|[/_.\s-])(?:eval|val|valid|validation|test|dev)(?![a-z])", re.IGNORECASE)
# Words of the names of losses that are of the whole task, as `train/loss` or `eval_nll`. One of a part of it, as a
# policy's or a value's, may drift up while all is well.
_WHOLE = re.compile(
    r"(?:(?:loss|losses|nll|ce|cross[^a-z]?entropy|perplexity|ppl|bce|r?mse|mae|squared|absolute|error|train|training|"
    r"eval|val|valid|validation|test|dev|lm|model|total|mean|avg|average|batch|step|epoch|metrics|running|smooth|"
    r"smoothed)(?:[^a-z]+|$))+"
)
# Beside such parts, of agents that learn from rewards, the whole goes up as what is to be predicted does.
_PART = re.compile(r"(?:^|[/_.-])(?:value|critic|policy|actor|vf|pg|td|qf?\d?)[_/.-]?(?:loss|error|values?)")
# Spreads about its own mean within which a metric is as usual.
_USUAL = 2.0


def _is_whole(loss: str) -> bool:
    """Whether a loss is by its name one of the whole task."""
    return _WHOLE.fullmatch(loss.lower()) is not None


def _counted(steps: Floats, spaced: Floats) -> Floats:
    """(n,) how many of the rows that count there were up to each of n, from the last at which they came further apart.

    What a metric moves by in a row is then another matter: a log may have rows at steps 1, 2, 4, …, 512, 1000, 2000, ….
    ``spaced`` is moved on, see `_AT_FIRST`.
    """
    if not len(steps):
        return np.zeros(0)
    gaps = np.diff(steps, prepend=steps[0] if np.isnan(spaced[2]) else spaced[2])
    all_of = np.concatenate([[spaced[4], spaced[3]], gaps])
    largest = np.maximum.accumulate(all_of)
    wider = (largest[:-2] > 0.0) & (np.minimum(all_of[1:-1], all_of[2:]) >= _WIDER * largest[:-2])
    since: Floats = spaced[0] + np.arange(1.0, len(steps) + 1.0)
    begins = np.flatnonzero(wider)
    last = np.searchsorted(begins, np.arange(len(steps)), side="right") - 1
    if len(begins):
        since = np.where(last >= 0, np.arange(len(steps)) - begins[np.maximum(last, 0)], since)
    spaced[0], spaced[2], spaced[3], spaced[4] = since[-1], steps[-1], all_of[-1], largest[-2]
    return since


class Alone:
    """What a run's own past says of it; the state of training is not known.

    A metric counts from the row at which it first differs from its first value. What stands still is a setting, which
    readers take for an attribute unless it moves in another run or later: neither may change the score of a row.

    Parameters
    ----------
    metrics : D names.

    Attributes
    ----------
    views, limits : V of them, and (V,) what each has to pass to ring.
    """

    situation = "alone"

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        losses = [d for d, metric in enumerate(self.metrics) if is_loss(metric)]
        evaluated = np.array([_EVALUATION.search(self.metrics[d]) is not None for d in losses], dtype=bool)
        self._floors = np.full(len(self.metrics), _LEAST_SPREAD)
        self._shares = np.array([_SHARE_OF_LOSS if d in losses else _SHARE for d in range(len(self.metrics))])
        columns = np.array(losses, dtype=np.int64)
        whole = np.array([_is_whole(self.metrics[d]) for d in losses], dtype=bool)
        if (whole & ~evaluated).any():
            whole &= ~evaluated
        if any(_PART.search(metric.lower()) for metric in self.metrics):
            whole[:] = False
        views: list[View] = [OwnLossRise(columns, self._floors, evaluated)] if losses else []
        views.append(Movement(columns))
        if whole.any():
            views += [kind(columns[whole], self._floors, evaluated[whole]) for kind in (ShortSum, LongSum)]
        self.views = tuple(views)
        self.limits = np.array([LIMITS[view.name] for view in self.views])

    def start(self) -> Memory:
        """What is known of a run before its first row.

        Of the rows that counted see `_AT_FIRST`; the unit of each metric, 0 if not known; and its first value, NaN
        before it and infinite once it has moved.
        """
        n_metrics = len(self.metrics)
        return Memory(
            spaced=np.concatenate([_AT_FIRST, np.zeros(n_metrics), np.full(n_metrics, np.nan)]),
            moved=np.zeros((n_metrics, innovations.MEMORY)),
            views=[view.start() for view in self.views],
            last=np.zeros(4),
        )

    def of_before(self, stored: Sequence[float | str]) -> Memory | None:
        """What `Memory.to_list` gave while there were no sums of losses; None if it is not that."""
        now = self.start()
        n_old = sum(not isinstance(view, (ShortSum, LongSum)) for view in self.views)
        try:
            then = replace(now, spaced=np.zeros(len(now.spaced) - 3), views=now.views[:n_old]).taken_from(stored)
        except ValueError:
            return None
        spaced = np.concatenate([then.spaced[:2], now.spaced[2:_HEAD], then.spaced[2:]])
        return replace(then, spaced=spaced, views=[*then.views, *now.views[n_old:]])

    def widened(self, memory: Memory, narrow: Alone, first: Mapping[str, float]) -> Memory:
        """What is known of a run of which no other metrics than those of ``narrow``, all here too, have moved so far.

        ``first`` holds what the others have stood at, if they were logged.
        """
        wide = self.start()
        places = [self.metrics.index(metric) for metric in narrow.metrics]
        wide.spaced[:_HEAD], wide.last = memory.spaced[:_HEAD], memory.last.copy()
        wide.moved[places] = memory.moved
        units, firsts = self._units(wide), self._firsts(wide)
        stood = np.array([first.get(metric, np.nan) for metric in self.metrics])
        firsts[:] = np.where(np.isfinite(stood), np.clip(stood, -LARGEST, LARGEST), np.nan)
        units[places], firsts[places] = narrow._units(memory), narrow._firsts(memory)
        known = {view.name: (view, part) for view, part in zip(narrow.views, memory.views, strict=True)}
        for view, part in zip(self.views, wide.views, strict=True):
            if view.name not in known:
                continue
            before, kept = known[view.name]
            if isinstance(view, OfLosses) and isinstance(before, OfLosses):
                columns = view.columns.tolist()
                then = kept.reshape(len(before.columns), before.kept)
                for column, of_loss in zip(before.columns.tolist(), then, strict=True):
                    if places[column] in columns:
                        part.reshape(len(columns), view.kept)[columns.index(places[column])] = of_loss
            else:
                part[:] = kept
        return wide

    def _units(self, memory: Memory) -> Floats:
        """(D,) in place."""
        units: Floats = memory.spaced[_HEAD : _HEAD + len(self.metrics)]
        return units

    def _firsts(self, memory: Memory) -> Floats:
        """(D,) in place."""
        firsts: Floats = memory.spaced[_HEAD + len(self.metrics) :]
        return firsts

    def _moving(self, values: Floats, fresh: NDArray[np.bool_], firsts: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The same without what stands at its first value; ``firsts`` is moved on."""
        standing = np.flatnonzero(firsts != np.inf)
        if len(standing):
            values, fresh = values.copy(), fresh.copy()
        for d in standing:
            told = np.flatnonzero(fresh[:, d])
            if not len(told):
                values[:, d] = np.nan
                continue
            if np.isnan(firsts[d]):
                firsts[d] = values[told[0], d]
            moved = told[values[told, d] != firsts[d]]
            begin = moved[0] if len(moved) else len(values)
            values[:begin, d], fresh[:begin, d] = np.nan, False
            if len(moved):
                firsts[d] = np.inf
        return values, fresh

    def pause(self, memory: Memory, rows: int) -> None:
        """Judge none of the next so many rows that count; in place."""
        memory.spaced[0] = min(memory.spaced[0], BURN_IN - rows)

    def rows(
        self, steps: NDArray[np.int64], values: Floats, fresh: NDArray[np.bool_], memory: Memory
    ) -> tuple[Rows, NDArray[np.int64]]:
        """The rows at which a metric that moves was logged, as views see them, and their positions.

        See `Portfolio.rows`.
        """
        rows, kept, _ = self._rows(steps, values, fresh, memory)
        return rows, kept

    def _rows(
        self, steps: NDArray[np.int64], values: Floats, fresh: NDArray[np.bool_], memory: Memory
    ) -> tuple[Rows, NDArray[np.int64], Floats]:
        """The same, and how many rows each of them is from where the run, or another way to log it, began."""
        if not np.isnan(memory.spaced[2]) and goes_back(steps, memory.spaced[1]):
            memory.spaced[:_HEAD] = _AT_FIRST
            innovations.begin_again(memory.moved)
            for view, known in zip(self.views, memory.views, strict=True):
                view.begin_again(known)
        values, fresh = self._moving(values, fresh, self._firsts(memory))
        kept = np.flatnonzero(np.logical_or.reduce(fresh, axis=1))
        if len(kept) < len(fresh):
            values, fresh = values[kept], fresh[kept]
        since = _counted(steps[kept].astype(np.float64), memory.spaced)
        if len(steps):
            memory.spaced[1] = float(steps[-1])
        units = self._units(memory)
        for d in range(len(units)):
            if units[d] != 0.0:
                continue
            told = np.flatnonzero(fresh[:, d] & (values[:, d] != 0.0))
            if len(told):
                units[d] = self._shares[d] * abs(values[told[0], d])
        scaled: Floats = np.arcsinh(values / np.where(units > 0.0, units, 1.0))
        moved = np.empty(scaled.shape)
        innovations.advance(scaled, fresh, self._floors, SPAN, memory.moved, moved)
        return Rows(scaled=scaled, fresh=fresh, moved=moved), kept, since

    def advance(self, steps: NDArray[np.int64], values: Floats, fresh: NDArray[np.bool_], memory: Memory) -> Combined:
        """Score n rows; see `Portfolio.advance`. States are -1 and levels NaN."""
        parts = stretches(steps)
        if len(parts) > 1:
            return Combined.joined([self.advance(steps[p], values[p], fresh[p], memory) for p in parts])
        rows, kept, since = self._rows(steps, values, fresh, memory)
        each = np.array([view.scores(rows, known) for view, known in zip(self.views, memory.views, strict=True)])
        scores = each / self.limits[:, np.newaxis]
        scores[:, since <= BURN_IN] = 0.0
        seen = np.zeros((len(kept), 4))
        seen[:, 0], seen[:, 1] = scores.max(axis=0), scores.argmax(axis=0)
        if len(kept) < len(steps):
            seen = np.vstack([memory.last, seen])[np.searchsorted(kept, np.arange(len(steps)), side="right")]
        if len(seen):
            memory.last = seen[-1].copy()
        return Combined(
            score=seen[:, 0].copy(),
            view=seen[:, 1].astype(np.int64),
            state=np.full(len(seen), -1),
            level=np.full(len(seen), np.nan),
            counted=counted_at(kept, len(steps)),
        )

    def shares(
        self, steps: NDArray[np.int64], values: Floats, fresh: NDArray[np.bool_], memory: Memory
    ) -> tuple[Floats, Rows]:
        """(V, n, D) what each metric adds to each view's score, at the rows that count; and those rows."""
        rows, _ = self.rows(steps, values, fresh, memory)
        shares = [view.shares(rows, known) for view, known in zip(self.views, memory.views, strict=True)]
        return np.array(shares), rows

    def band(self, step: int, memory: Memory, view: int | None = None) -> Floats:
        """(D, 2) between which values each metric was usual before a row; NaN if that is not known.

        About its own mean, or, of a loss that has fallen, as near to its best as rings nothing; of losses of which a
        sum rang, by its number ``view``, where they add nothing to that.
        """
        del step
        known, mean, spread = memory.moved.T[:3]
        ends = mean[:, np.newaxis] + _USUAL * spread[:, np.newaxis] * np.array([-1.0, 1.0])
        ends[known < innovations.FIRST] = np.nan
        for number, (one, part) in enumerate(zip(self.views, memory.views, strict=True)):
            about = None
            if isinstance(one, OwnLossRise):
                about = one.usual(part, LIMITS[one.name])
            elif isinstance(one, ShortSum | LongSum) and number == view:
                about = one.usual(part)
            if isinstance(one, OfLosses) and about is not None:
                ends[one.columns] = np.where(np.isnan(about), ends[one.columns], about)
        with np.errstate(over="ignore", invalid="ignore"):
            values: Floats = np.clip(np.sinh(ends) * self._units(memory)[:, np.newaxis], -LARGEST, LARGEST)
        return values
