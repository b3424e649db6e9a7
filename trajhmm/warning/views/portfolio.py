"""Several views of a run as one score: how few healthy runs ever get as far in the view that is farthest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import CausalRun, LevelsAndInnovations, innovations
from trajhmm.hmm.parameters import Parameters
from trajhmm.stored import Stored, StoredError
from trajhmm.warning.views.course import Course
from trajhmm.warning.views.interface import Floats, Rows, View, goes_back, stretches
from trajhmm.warning.views.losses import LossRise, LossSum
from trajhmm.warning.views.phases import BURN_IN, COUNTED, LAST, MEMORY, Phases
from trajhmm.warning.views.surprise import Surprise

Ints = NDArray[np.int64]

# Views beside the one that knows the state, by name.
VIEWS: dict[str, type[LossSum | LossRise | Course]] = {kind.name: kind for kind in (LossSum, LossRise, Course)}
# A view's unit in a phase rests on as many numbers as there are healthy runs: it is drawn half-way to that of the
# view's other phases. It is a nat, or a spread, at least: a sum that stays at zero in most healthy runs has no other.
_DRAWN, _LEAST = 0.5, 1.0
# Scores of less than this share of the healthy runs say nothing of a phase.
_FEWEST, _FEWEST_SHARE = 3, 0.5
# Before a run is judged.
_NOTHING_YET = 0.0
# Agreement from which on healthy runs are taken for runs of one configuration; in the sets of data/ it is .82 and more
# where they are, and .41 and less where they are not.
_MATCHED = 0.65
# What a model file may hold of scores: how large they are, and how small their units and how close knots.
_FARTHEST, _CLOSEST = 1e100, 1e-6
# Knots of a rarity that nearly coincide, as those of few runs do, are set so far apart, in units.
_APART = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Rarity:
    """How few healthy runs ever get as far, in each view: what makes the scores of views one.

    A score is first put in the units of its phase of training: less the median over healthy runs of the largest score
    there, over the distance from there to the upper quartile. The rarity of what results is minus the logarithm of the
    share of healthy runs that ever reach it: log 2 for half of them, log 4 for a quarter, log (n + 1) for the largest
    of n, linear in between and beyond. So a view in which some healthy runs go astray needs more to ring, and takes
    nothing from the others.

    A unit is a nat, or a spread, at least, and knots are a quarter of a unit apart: where healthy runs agree more
    closely than that, a score is less than the share says, and so is the threshold.

    Attributes
    ----------
    centre, size : (V, B) of V views in B phases.
    knots : (V, 3) largest scores, in units, of the median run, of the upper quartile and of the largest.
    n_runs : healthy runs it was learnt from.
    """

    centre: Floats
    size: Floats
    knots: Floats
    n_runs: int

    @classmethod
    def of(cls, largest: Floats) -> Self:
        """Learn from (V, R, B) largest scores of R healthy runs, see `largest_scores`."""
        units = [_units(of_view) for of_view in largest]
        centre, size = (np.array([unit[which] for unit in units]) for which in (0, 1))
        reached = np.nanmax((largest - centre[:, np.newaxis]) / size[:, np.newaxis], axis=2)
        knots = np.quantile(reached, [0.5, 0.75, 1.0], axis=1).T
        knots[:, 1:] = np.maximum(knots[:, 1:], knots[:, :1] + np.array([_APART, 2 * _APART]))
        knots[:, 2] = np.maximum(knots[:, 2], knots[:, 1] + _APART)
        return cls(centre=centre, size=size, knots=knots, n_runs=largest.shape[1])

    @cached_property
    def _rises(self) -> tuple[Floats, list[tuple[np.float64, np.float64]]]:
        """(3,) rarities at the knots; of each view the slope below the first knot, and that beyond the last."""
        shares = np.log([2.0, 4.0, self.n_runs + 1.0])
        first, last = np.diff(shares)[0], shares[2] - shares[0]
        return shares, [(first / (knots[1] - knots[0]), last / (knots[2] - knots[0])) for knots in self.knots]

    def apply(self, scores: Floats, phases: Ints) -> Floats:
        """(V, n) rarity of (V, n) scores at rows in (n,) phases; at least 0."""
        reached = (scores - self.centre[:, phases]) / self.size[:, phases]
        shares, rises = self._rises
        rare = np.empty(reached.shape)
        for at, knots, (first, last), out in zip(reached, self.knots, rises, rare, strict=True):
            below, beyond = np.minimum(at - knots[0], 0.0), np.maximum(at - knots[2], 0.0)
            out[:] = np.interp(at, knots, shares) + first * below + last * beyond
        return np.maximum(rare, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds."""
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "size", "knots")}
        return {**arrays, "n_runs": self.n_runs}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, "rarity")
        piece.members(known=("centre", "size", "knots", "n_runs"))
        centre = piece["centre"].array((None, None), -_FARTHEST, _FARTHEST)
        knots = piece["knots"].array((len(centre), 3), -_FARTHEST, _FARTHEST)
        if not (np.diff(knots) >= _CLOSEST).all():
            raise piece["knots"].error("knots that rise")
        return cls(
            centre=centre,
            size=piece["size"].array(centre.shape, _CLOSEST, _FARTHEST),
            knots=knots,
            n_runs=piece["n_runs"].whole(1),
        )


def situation_of(agreement: float) -> str:
    """``matched`` where healthy runs agree at the same step as runs of one configuration do; ``sweep`` if not."""
    return "matched" if agreement >= _MATCHED else "sweep"


def largest_scores(scores: Floats, phases: Ints, n_phases: int) -> Floats:
    """(V, B) largest of (V, n) scores in each phase; NaN where there is none."""
    largest = np.full((len(scores), n_phases), np.nan)
    for phase in np.unique(phases):
        largest[:, phase] = scores[:, phases == phase].max(axis=1)
    return largest


def _units(largest: Floats) -> tuple[Floats, Floats]:
    """(B,) centre and size from (R, B) largest scores of runs; where few runs were, those of the phase before."""
    runs = (~np.isnan(largest)).sum(axis=0)
    enough = max(min(_FEWEST, len(largest)), _FEWEST_SHARE * len(largest))
    known = np.flatnonzero(runs >= min(enough, runs.max()))  # few runs that begin and end apart share none
    centre = np.nanmedian(largest[:, known], axis=0)
    size = np.nanquantile(largest[:, known], 0.75, axis=0) - centre
    size = _DRAWN * np.median(size) + (1 - _DRAWN) * size
    size = np.maximum(size, _LEAST)
    place = np.maximum(np.searchsorted(known, np.arange(largest.shape[1]), side="right") - 1, 0)
    return centre[place], size[place]


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """n rows of a run, seen by all views.

    Attributes
    ----------
    score : (n,) largest rarity of a view, see `Rarity`.
    view : (n,) number of that view.
    state : (n,) likeliest phase of training given the rows so far.
    level : (n,) how far off the run is: log (1 + nats a column by which the surprise is above that of healthy runs).
    counted : (n,) whether the row counted; others repeat the last that did.
    """

    score: Floats
    view: Ints
    state: Ints
    level: Floats
    counted: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[Combined]) -> Combined:
        """Rows one after the other."""
        names = ("score", "view", "state", "level", "counted")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def counted_at(kept: Ints, n: int) -> NDArray[np.bool_]:
    """(n,) whether rows are among those at the positions ``kept``."""
    counted = np.zeros(n, dtype=bool)
    counted[kept] = True
    return counted


def as_stored(numbers: Floats) -> list[float | str]:
    """Numbers for a state file; those that are not finite as text."""
    return [number if np.isfinite(number) else str(number) for number in numbers.tolist()]


@dataclass(eq=False)
class Memory:
    """What is kept of a run: a few numbers.

    Attributes
    ----------
    spaced, moved : of which rows count, and of the innovations.
    views : of each view.
    last : score, view, state and level of the last row that counted.
    """

    spaced: Floats
    moved: Floats
    views: list[Floats]
    last: Floats

    def copy(self) -> Memory:
        """One of its own."""
        return Memory(
            spaced=self.spaced.copy(),
            moved=self.moved.copy(),
            views=[view.copy() for view in self.views],
            last=self.last.copy(),
        )

    def flat(self) -> Floats:
        """All numbers, one after the other."""
        return np.concatenate([self.spaced, self.moved.ravel(), *self.views, self.last])

    def to_list(self) -> list[float | str]:
        """All numbers, for a state file."""
        return as_stored(self.flat())

    def taken_from(self, stored: Iterable[float | str]) -> Memory:
        """One of the same shape with numbers from `to_list`."""
        return self.of_flat(np.array([float(number) for number in stored]))

    def of_flat(self, flat: Floats) -> Memory:
        """One of the same shape with numbers from `flat`; it owns them."""
        parts = [self.spaced, self.moved, *self.views, self.last]
        ends = np.cumsum([part.size for part in parts])
        spaced, moved, *views, last = (
            piece.reshape(part.shape).copy() for piece, part in zip(np.split(flat, ends[:-1]), parts, strict=True)
        )
        return Memory(spaced=spaced, moved=moved, views=views, last=last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Portfolio:
    """V views as one.

    Attributes
    ----------
    surprise : the view that knows the state; the first.
    others : the V - 1 others.
    phases : of training.
    rarity : of the views' scores in them.
    bands : (B, D, 2) between which values nine of ten healthy rows were in each phase.
    agreement : how far healthy runs agree at the same step, see `agreement_of`.
    """

    surprise: Surprise
    others: tuple[LossSum | LossRise | Course, ...]
    phases: Phases
    rarity: Rarity
    bands: Floats
    agreement: float

    @property
    def situation(self) -> str:
        """``matched`` if the healthy runs were of one configuration, as far as logs can tell; ``sweep`` if not."""
        return situation_of(self.agreement)

    def band(self, step: int, memory: Memory, view: int | None = None) -> Floats:
        """(D, 2) between which values healthy runs were in the phase of a step; the rest does not matter."""
        del memory, view
        band: Floats = self.bands[self.phases.at(np.array([step]))[0]]
        return band

    @property
    def features(self) -> LevelsAndInnovations:
        """Levels and innovations of the metrics."""
        return self.surprise.features

    @property
    def views(self) -> tuple[View, ...]:
        """All V views."""
        return (self.surprise, *self.others)

    def start(self) -> Memory:
        """What is known of a run before its first row."""
        return Memory(
            spaced=np.zeros(MEMORY),
            moved=self.features.memory(),
            views=[view.start() for view in self.views],
            last=np.zeros(4),
        )

    def of_before(self, stored: Sequence[float | str]) -> Memory | None:
        """What `Memory.to_list` gave while it was not kept how long metrics have been known; None if it is not that."""
        memory = self.start()
        wide, old = memory.moved, np.zeros((len(memory.moved), innovations.MEMORY))
        try:
            memory = replace(memory, moved=old).taken_from(stored)
        except ValueError:
            return None
        wide[:, : innovations.MEMORY] = memory.moved
        wide[:, -1] = np.where(memory.moved[:, 0] > 0, memory.spaced[COUNTED], 0.0)
        return replace(memory, moved=wide)

    def rows(self, steps: Ints, values: Floats, fresh: NDArray[np.bool_], memory: Memory) -> tuple[Rows, Ints]:
        """The rows that count, as views see them, and their positions.

        Parameters
        ----------
        steps : (n,)
        values : (n, D) the last finite value of each metric; NaN before the first.
        fresh : (n, D) whether it was logged at that very row.
        memory : moved on in place, but for the views' part; begun again where the steps go back from those before.
        """
        if memory.spaced[0] and goes_back(steps, memory.spaced[LAST]):
            self._begin_again(memory)
        kept = np.flatnonzero(self.phases.counting(steps, fresh, memory.spaced))
        if len(kept) < len(steps):
            values, fresh = values[kept], fresh[kept]
        scaled = self.features.scales(values)
        moved = self.features.innovations(scaled, fresh, memory.moved)
        return Rows(scaled=scaled, fresh=fresh, moved=moved), kept

    def pause(self, memory: Memory, rows: int) -> None:
        """Judge none of the next so many rows that count; in place."""
        memory.spaced[COUNTED] = min(memory.spaced[COUNTED], BURN_IN - rows)

    def _begin_again(self, memory: Memory) -> None:
        memory.spaced[:] = 0.0
        innovations.begin_again(memory.moved)
        for view, known in zip(self.views, memory.views, strict=True):
            view.begin_again(known)

    def advance(self, steps: Ints, values: Floats, fresh: NDArray[np.bool_], memory: Memory) -> Combined:
        """Score n rows; see `rows`. ``memory`` is moved on in place. Rows that do not count repeat the last score."""
        parts = stretches(steps)
        if len(parts) > 1:
            return Combined.joined([self.advance(steps[p], values[p], fresh[p], memory) for p in parts])
        rare, level, state, kept = self._each(steps, values, fresh, memory)
        seen = np.array([rare.max(axis=0), rare.argmax(axis=0), state, level]).T
        if len(kept) < len(steps):
            place = np.searchsorted(kept, np.arange(len(steps)), side="right")
            seen = np.vstack([memory.last, seen])[place]
        if len(seen):
            memory.last = seen[-1].copy()
        return Combined(
            score=seen[:, 0].copy(),
            view=seen[:, 1].astype(np.int64),
            state=seen[:, 2].astype(np.int64),
            level=seen[:, 3].copy(),
            counted=counted_at(kept, len(steps)),
        )

    def _each(
        self, steps: Ints, values: Floats, fresh: NDArray[np.bool_], memory: Memory
    ) -> tuple[Floats, Floats, Ints, Ints]:
        """At the m rows that count: (V, m) rarity in each view, (m,) level and state, and their positions."""
        rows, kept = self.rows(steps, values, fresh, memory)
        before = int(memory.spaced[COUNTED]) - len(kept)
        log_probs, surprise = self.surprise.filtered(rows, memory.views[0])
        others = [view.scores(rows, known) for view, known in zip(self.others, memory.views[1:], strict=True)]
        phases = self.phases.at(steps[kept])
        rare = self.rarity.apply(np.array([surprise, *others]), phases)
        above = np.maximum(surprise - self.rarity.centre[0, phases], 0.0) / self.features.n_features
        level = np.log1p(above)
        rare[:, : max(BURN_IN - before, 0)] = _NOTHING_YET
        level[: max(BURN_IN - before, 0)] = _NOTHING_YET
        return rare, level, log_probs.argmax(axis=1).astype(np.int64), kept

    def rarities(self, run: CausalRun) -> dict[str, Floats]:
        """View to (T,) rarity of a run in it; the largest is its score."""
        columns = [run.index_of(metric) for metric in self.features.metrics]
        values, fresh = run.columns(self.features.metrics), run.logged[:, columns]
        rare, _, _, kept = self._each(run.steps, values, fresh, self.start())
        held = np.hstack([np.full((len(rare), 1), _NOTHING_YET), rare])
        place = np.searchsorted(kept, np.arange(run.n_rows), side="right")
        return {view.name: of_view[place] for view, of_view in zip(self.views, held, strict=True)}

    def shares(self, steps: Ints, values: Floats, fresh: NDArray[np.bool_], memory: Memory) -> tuple[Floats, Rows]:
        """(V, n, D) what each metric adds to each view's score, at the rows that count; and those rows.

        ``memory`` is moved on in place.
        """
        rows, _ = self.rows(steps, values, fresh, memory)
        shares = [view.shares(rows, known) for view, known in zip(self.views, memory.views, strict=True)]
        return np.array(shares), rows

    def scores(self, run: CausalRun) -> Combined:
        """All rows of a run."""
        columns = [run.index_of(metric) for metric in self.features.metrics]
        return self.advance(run.steps, run.columns(self.features.metrics), run.logged[:, columns], self.start())

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds beside features and parameters."""
        return {
            "phases": self.phases.to_dict(),
            "rarity": self.rarity.to_dict(),
            "bands": [
                [[None if np.isnan(end) else end for end in band] for band in phase] for phase in self.bands.tolist()
            ],
            "agreement": self.agreement,
            "views": [view.to_dict() for view in self.others],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], features: LevelsAndInnovations, parameters: Parameters) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, not what it must be, or none of views of these metrics.
        """
        piece = Stored(stored, "portfolio")
        piece.members(known=("phases", "rarity", "bands", "agreement", "views"))
        names = [view["name"].one_of(tuple(VIEWS)) for view in piece["views"].items()]
        if len(set(names)) < len(names):
            raise piece["views"].error("views, each once")
        phases, n_metrics = Phases.from_dict(piece["phases"].value), len(features.metrics)
        portfolio = cls(
            surprise=Surprise(features, parameters),
            others=tuple(
                VIEWS[name].from_dict(view.value) for name, view in zip(names, piece["views"].items(), strict=True)
            ),
            phases=phases,
            rarity=Rarity.from_dict(piece["rarity"].value),
            bands=piece["bands"].array((len(phases.begins), n_metrics, 2), or_null=True),
            agreement=piece["agreement"].number(most=1.0),
        )
        portfolio.check()
        return portfolio

    def check(self) -> None:
        """Refuse parts that do not belong together.

        Raises
        ------
        StoredError
            They are of other metrics, phases or views.
        """
        n_metrics, n_phases = len(self.features.metrics), len(self.phases.begins)
        shapes = {
            "rarity": (self.rarity.centre.shape, (1 + len(self.others), n_phases)),
            "parameters": ((self.surprise.parameters.n_metrics,), (self.features.n_features,)),
            **{f"{view.name}: metrics": ((view.n_metrics,), (n_metrics,)) for view in self.others},
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise StoredError(f"{name}: shape {found}; expected {expected}")
        low, high = self.bands[..., 0], self.bands[..., 1]
        if not ((low <= high) | (np.isnan(low) & np.isnan(high))).all():
            raise StoredError("bands: expected a low end and a high one, or neither")
