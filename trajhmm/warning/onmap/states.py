"""Where on a map a run under way is: the states shown beside a score, if the model for warning carries a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ArrayError, ModelFileError
from trajhmm.features import PooledScaler, scaler_from_dict
from trajhmm.features.sequences import FARTHEST
from trajhmm.hmm import Model
from trajhmm.hmm.inference.forwards import VISIT, Forwards, why_not_forwards
from trajhmm.hmm.modelparts import metrics_of, parameters_of
from trajhmm.stored import Stored, StoredError, brief

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAP = "map"
# Healthy runs stay in a state in some phase of training if this share of their rows there is in it.
_STAY = 0.05
# Agreement below which it is said that the states say little.
_LITTLE = 0.8
_NOWHERE = -1
# More first rows are none.
MOST_FIRST_ROWS = 100_000
# What is kept of a run first of all: the state, the one that it left for it, and how many rows it had.
_CURRENT, _LEFT, _STARTED, _KEPT = 0, 1, 2, 3
# Parts of the section.
_NUMBERS = ("startprob", "transmat", "means", "covars")
_OWN = ("shift_variance", "autoregression")
_PARTS = (
    *("metrics", "rows_of", "scaler", "first_rows", "n_states", "covariance_type"),
    *(*_NUMBERS, *_OWN, "each_row_counts", "usual", "agreement", "worst"),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on the map a run is at a row.

    Attributes
    ----------
    state : of the map, as `trajhmm figure map` numbers them.
    left : in which it was before; None if in none.
    healthy : states in which healthy runs stay in that phase of training.
    """

    state: int
    left: int | None
    healthy: tuple[int, ...]

    def __str__(self) -> str:
        if self.state in self.healthy:
            return f"in state {self.state}, where healthy runs stay"
        if self.left in self.healthy:
            return f"left state {self.left}, where healthy runs stay, for state {self.state}"
        return f"in state {self.state}, where healthy runs are not (in {', '.join(map(str, self.healthy))})"


@dataclass(frozen=True, kw_only=True, eq=False)
class MapStates:
    """A map that is read forwards, beside the views of a model for warning.

    Attributes
    ----------
    metrics : D names, all watched by the model for warning.
    rows_of : some of them, those that are logged least often: a row is one of the map if one of these is logged there.
    scaler : of the map.
    first_rows : how many of a run's first rows its own start is the mean of; 0 where that is not taken from it.
    forwards : the map, ready to be read forwards.
    usual : (B, K) share of the rows of healthy runs in each state, in each of B phases of training.
    agreement, worst : share of the rows of healthy runs at which the state is that of the map of finished runs, over
        all runs and in the worst of them.
    """

    metrics: tuple[str, ...]
    rows_of: tuple[str, ...]
    scaler: PooledScaler
    first_rows: int
    forwards: Forwards
    usual: Floats
    agreement: float
    worst: float

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return self.forwards.parameters.n_states

    def __str__(self) -> str:
        told = (
            f"the {self.n_states} states beside an alarm are those of the map: told row by row they are the ones of "
            f"finished runs in {self.agreement:.0%} of healthy rows, and in {self.worst:.0%} of the worst run's"
        )
        return told if self.agreement >= _LITTLE else f"{told}, which is little: do not read much into them"

    def start(self) -> Floats:
        """(M,) what is known of a run before its first row.

        The state and the one that it left, -1 for none; how many rows it had; sums of its first rows and how many they
        are of each metric; the last row, if rows remember; and what `Forwards` keeps.
        """
        n_metrics = len(self.metrics)
        begins, last = 2 * n_metrics * bool(self.first_rows), n_metrics * self._remembers
        head = [_NOWHERE, _NOWHERE, 0.0]
        return np.concatenate([head, np.zeros(begins), np.full(last, np.nan), self.forwards.start()])

    def begin_again(self, memory: Floats) -> None:
        """The run goes on at an earlier step, as a resumed one does; in place."""
        self.forwards.begin_again(memory[len(memory) - self.forwards.size :])

    def advance(self, watched: Sequence[str], known: Floats, counted: Bools, memory: Floats) -> tuple[Ints, Ints]:
        """States of the next n rows of a run, and those that it left for them; -1 where there is none.

        A row that does not count, or at which none of ``rows_of`` is logged, has the state of the one before.

        Parameters
        ----------
        watched : W names of metrics.
        known : (n, W) the last finite value of each, NaN before the first.
        counted : (n, W) whether it was logged at that very row, and the row counts.
        memory : (M,) of the rows before; moved on in place.
        """
        column = dict(zip(watched, range(len(watched)), strict=True))
        leading = [column[name] for name in self.rows_of]
        kept = np.flatnonzero(np.logical_or.reduce(counted[:, leading], axis=1))
        path = np.full(len(kept) + 1, int(memory[_CURRENT]), dtype=np.int64)
        if len(kept):
            rows = self._rows(known[kept][:, [column[name] for name in self.metrics]], memory)
            path[1:] = self.forwards.advance(rows, memory[len(memory) - self.forwards.size :]).argmax(axis=1)
        left = _left(path, int(memory[_LEFT]))
        memory[_CURRENT], memory[_LEFT] = path[-1], left[-1]
        place = np.searchsorted(kept, np.arange(len(known)), side="right")
        return path[place], left[place]

    def place(self, state: int, left: int, phase: int) -> Place | None:
        """Where a run is that is in a state in a phase of training, and left another; None if in none."""
        if state == _NOWHERE:
            return None
        usual = self.usual[phase]
        healthy = np.flatnonzero(usual >= min(_STAY, float(usual.max())))
        return Place(state=state, left=None if left == _NOWHERE else left, healthy=tuple(healthy.tolist()))

    def check(self, watched: Sequence[str], n_phases: int) -> None:
        """Refuse to stand beside views of other metrics, or of another number of phases of training.

        Raises
        ------
        StoredError
            They are.
        """
        if lacking := [name for name in self.metrics if name not in watched]:
            raise StoredError(f"map.metrics: {brief(lacking[0])}, which the model does not watch")
        if len(self.usual) != n_phases:
            raise StoredError(f"map.usual of {len(self.usual)} phases of training; expected {n_phases}")

    @cached_property
    def _plain(self) -> PooledScaler:
        """The scaler without what only whole runs tell: the median, about which it reaches, and their own starts."""
        return replace(self.scaler, kind="shared", reach=np.full(len(self.metrics), np.inf))

    @property
    def _remembers(self) -> bool:
        return self.forwards.parameters.autoregression is not None

    def _rows(self, values: Floats, memory: Floats) -> Floats:
        """(n, D) scaled rows from (n, D) values, with what is known of the rows before; that is moved on."""
        kept = memory[_KEPT : len(memory) - self.forwards.size]
        with np.errstate(over="ignore", invalid="ignore"):  # of a model file that lies; see what follows
            rows = np.clip(self._plain.transform(values, np.array([len(values)])), -FARTHEST, FARTHEST)
            if self.first_rows:
                own = rows - self._starts(rows, memory) - self.scaler.centre / self.scaler.spread
                rows = np.clip(own, -FARTHEST, FARTHEST)
        memory[_STARTED] += len(rows)
        phi = self.forwards.parameters.autoregression
        if phi is not None:
            last = kept[-len(self.metrics) :]
            before = np.vstack([last, rows[:-1]])
            last[:] = rows[-1]
            rows = np.where(np.isnan(before), rows, (rows - phi * before) / (1 - phi))
        return rows

    def _starts(self, rows: Floats, memory: Floats) -> Floats:
        """(n, D) mean of a run's first rows as it is known at each; NaN of a metric that they lack."""
        n_metrics = len(self.metrics)
        total, known = memory[_KEPT : _KEPT + 2 * n_metrics].reshape(2, n_metrics)
        more = max(self.first_rows - int(memory[_STARTED]), 0)
        means = np.empty((min(more, len(rows)) + 1, n_metrics))
        for mean, row in zip(means, rows[:more], strict=False):
            there = ~np.isnan(row)
            total[there] += row[there]
            known += there
            mean[:] = np.where(known > 0, total / np.maximum(known, 1.0), np.nan)
        means[-1] = np.where(known > 0, total / np.maximum(known, 1.0), np.nan)
        return means[np.minimum(np.arange(len(rows)), len(means) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds, in the section ``map``."""
        known = self.forwards.parameters
        own = {name: getattr(known, name) for name in _OWN}
        return {
            "metrics": list(self.metrics),
            "rows_of": list(self.rows_of),
            "scaler": self.scaler.to_dict(),
            "first_rows": self.first_rows,
            "n_states": self.n_states,
            "covariance_type": known.covariance_type,
            **{name: getattr(known, name).tolist() for name in _NUMBERS},
            **{name: None if some is None else some.tolist() for name, some in own.items()},
            "each_row_counts": bool(np.isinf(self.forwards.visit)),
            "usual": self.usual.tolist(),
            "agreement": self.agreement,
            "worst": self.worst,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError, ArrayError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, MAP)
        piece.members(known=_PARTS)
        metrics = metrics_of(piece)
        rows_of = tuple(name.one_of(metrics) for name in piece["rows_of"].items())
        if not rows_of:
            raise piece["rows_of"].error("a metric at least")
        scaler = scaler_from_dict(piece["scaler"].members())
        if not isinstance(scaler, PooledScaler) or len(scaler.logs) != len(metrics):
            raise piece["scaler"].error(f"one scale of {len(metrics)} metrics for all runs")
        first_rows = piece["first_rows"].whole(0, MOST_FIRST_ROWS)
        if (first_rows > 0) != (scaler.kind == "own-start"):
            raise piece["first_rows"].error("first rows where a run's own start is taken from it, else 0")
        parameters = parameters_of(piece, len(metrics))
        if why := why_not_forwards(parameters):
            raise StoredError(f"{MAP}: {why}")
        k = parameters.n_states
        return cls(
            metrics=metrics,
            rows_of=rows_of,
            scaler=scaler,
            first_rows=first_rows,
            forwards=Forwards(
                parameters=parameters,
                reach=reach_of(scaler, parameters.autoregression),
                visit=np.inf if piece["each_row_counts"].flag() else VISIT,
            ),
            usual=piece["usual"].array((None, k), 0.0, 1.0),
            agreement=piece["agreement"].number(0.0, 1.0),
            worst=piece["worst"].number(0.0, 1.0),
        )


def _left(path: Ints, before: int) -> Ints:
    """(n,) state that each row of a path left last; ``before`` where that was before the path."""
    moved = np.flatnonzero(np.diff(path)) + 1
    last = np.searchsorted(moved, np.arange(len(path)), side="right")
    return np.concatenate(([before], path[moved - 1]))[last]


def reach_of(scaler: PooledScaler, autoregression: Floats | None) -> Floats:
    """(D,) how far a scaled value counts; of levels that rows tell of with those before them, if rows remember."""
    with np.errstate(over="ignore"):
        reach = scaler.reach / scaler.spread
        return np.asarray(reach if autoregression is None else reach / (1.0 - autoregression))


def map_states_of(model: Model, n_phases: int) -> MapStates | None:
    """The map that a model for warning carries; None if it carries none.

    Parameters
    ----------
    n_phases : of training, as the model's views know them.

    Raises
    ------
    ModelFileError
        A part of it is missing, unknown, or of something else than the model.
    """
    if MAP not in model.sections:
        return None
    try:
        states = MapStates.from_dict(model.sections[MAP])
        states.check(model.metrics, n_phases)
    except (StoredError, ArrayError) as error:
        raise ModelFileError(f"the model's map is damaged, or not one of this trajhmm ({error})") from error
    return states
