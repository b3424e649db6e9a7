"""The training map: states, and the transitions that runs take between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.maps.attribution import by_logged_rows, deviations_of_rows, state_gradient
from trajhmm.features import Sequences
from trajhmm.hmm import Filtered, Model, Smoothed
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.inference.outliers import outlier_states, settled

if TYPE_CHECKING:
    import pandas as pd

TOP_METRICS = 3


@dataclass(frozen=True, kw_only=True)
class MetricImportance:
    """How much a metric speaks for a state or a transition.

    Attributes
    ----------
    metric : name.
    importance : mean absolute gradient of the state's filtered log-probability, in nats per unit of the scaled metric.
    movement : change of the state's mean along the transition, in units of the scaled metric; for a state, its mean.
    """

    metric: str
    importance: float
    movement: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MapState:
    """One state of the map.

    Attributes
    ----------
    state : number, 0 to K − 1.
    means, deviations : (D,) of the scaled metrics.
    runs : number of runs that ever visit it, before or after they converge.
    rows : number of rows spent in it.
    entry_step : mean step of first entry over the runs that visit it; None if none does.
    top_metrics : the largest importances.
    """

    state: int
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    runs: int
    rows: int
    entry_step: float | None
    top_metrics: tuple[MetricImportance, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapEdge:
    """One transition that some decoded run takes.

    Attributes
    ----------
    source, target : states.
    probability : of the fitted transition matrix.
    runs : number of runs that ever take it, before or after they converge.
    times : how often it is taken, all runs together.
    top_metrics : the largest importances for entering ``target``, with the movement along the edge.
    """

    source: int
    target: int
    probability: float
    runs: int
    times: int
    top_metrics: tuple[MetricImportance, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingMap:
    """States and the edges that decoded runs take, of R runs under one model.

    Attributes
    ----------
    metrics : D names.
    states : K states, in canonical order.
    edges : between different states, by source and target.
    runs : R names.
    lengths, steps, path : (R,), (N,), (N,): the decoded rows.
    detours : states marked as detours; filled by `trajhmm.analyze`.
    certificate : how far the map comes back with other runs and other seeds; None if that is not known.
    """

    metrics: tuple[str, ...]
    states: tuple[MapState, ...]
    edges: tuple[MapEdge, ...]
    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    path: NDArray[np.int64]
    detours: tuple[int, ...] = ()
    certificate: Certificate | None = None

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return len(self.states)

    @property
    def has_strays(self) -> bool:
        """Whether rows may be astray in any state: a map of more states came back, with more outlier states."""
        return self.certificate is not None and self.certificate.given_way is not None

    def settled(self, *, place: int | None = None) -> NDArray[np.int64]:
        """(N,) where runs are but for rows astray, see `trajhmm.hmm.inference.outliers`.

        Parameters
        ----------
        place : a state that counts as a place even if it is an outlier state.
        """
        outliers = outlier_states(self.path, self.lengths, self.n_states) - {place}
        return settled(self.path, self.lengths, outliers, strays=self.has_strays)

    def visits(self) -> pd.DataFrame:
        """Which runs visit which states: a row for each run and each state it is ever in, in order of entry.

        ``rows`` and ``share`` of its rows there, how many ``times`` it comes in, and from ``first_step`` to
        ``last_step``.
        """
        import pandas as pd

        run = np.repeat(np.arange(len(self.runs)), self.lengths)
        begins = np.concatenate(([0], np.cumsum(self.lengths)[:-1]))
        enters = np.diff(self.path, prepend=-1) != 0
        enters[begins[self.lengths > 0]] = True
        rows = pd.DataFrame({"run": run, "state": self.path, "step": self.steps, "enters": enters})
        groups = rows.groupby(["run", "state"], sort=False)
        found = groups.agg(
            rows=("step", "size"), times=("enters", "sum"), first_step=("step", "first"), last_step=("step", "last")
        ).reset_index()
        found.insert(3, "share", found["rows"] / self.lengths[found["run"]])
        return found.assign(run=np.asarray(self.runs, dtype=object)[found["run"]])

    def telling_metrics(self, most: int = 4) -> tuple[str, ...]:
        """The metrics with the largest importances over all states, at most ``most``."""
        importance: dict[str, float] = {}
        for state in self.states:
            for top in state.top_metrics:
                importance[top.metric] = max(importance.get(top.metric, 0.0), top.importance)
        return tuple(sorted(importance, key=lambda metric: -importance[metric])[:most])


def build_map(model: Model, sequences: Sequences, filtered: Filtered, smoothed: Smoothed) -> TrainingMap:
    """Build the training map of decoded runs.

    Parameters
    ----------
    model : fitted.
    sequences : the runs as the model sees them.
    filtered, smoothed : of the same runs under the same model.
    """
    parameters = model.parameters
    gradient = state_gradient(sequences.values, filtered.probs, smoothed.path, parameters)
    gradient = np.abs(by_logged_rows(gradient, sequences.offsets, parameters))
    path, offsets = smoothed.path, sequences.offsets
    owner = np.repeat(np.arange(sequences.n_runs), sequences.lengths)
    changed = np.diff(path, prepend=path[0]) != 0
    changed[offsets[:-1]] = False
    moves = np.flatnonzero(changed)
    edges = []
    for source, target in sorted({(int(path[t - 1]), int(path[t])) for t in moves}):
        rows = moves[(path[moves - 1] == source) & (path[moves] == target)]
        edges.append(
            MapEdge(
                source=source,
                target=target,
                probability=float(parameters.transmat[source, target]),
                runs=len(np.unique(owner[rows])),
                times=len(rows),
                top_metrics=_top(
                    model.metrics, gradient[rows].mean(axis=0), parameters.means[target] - parameters.means[source]
                ),
            )
        )
    return TrainingMap(
        metrics=model.metrics,
        states=tuple(_state(k, model, sequences, gradient, path, owner) for k in range(model.n_states)),
        edges=tuple(edges),
        runs=sequences.runs,
        lengths=sequences.lengths,
        steps=sequences.steps,
        path=path,
        certificate=model.certificate,
    )


# A state forks where at least so many runs go one way and not the other, and as many the other way round.
FORK_RUNS = 2


def forks_in(path: NDArray[np.int64], lengths: NDArray[np.int64], n_states: int) -> NDArray[np.bool_]:
    """(K,) states at which runs part: two go on to one state and never to another, and two the other way round.

    Runs that come by twice and go on to one state first and to the other then do not part.

    Parameters
    ----------
    path, lengths : (N,) states, see `TrainingMap.settled`, and (R,) rows of the runs.
    """
    took = _took(path, lengths, n_states)
    only = np.einsum("jar,jbr->jab", took, 1 - took)
    forks: NDArray[np.bool_] = (np.minimum(only, only.transpose(0, 2, 1)) >= FORK_RUNS).any(axis=(1, 2))
    return forks


def left_again_in(path: NDArray[np.int64], lengths: NDArray[np.int64], n_states: int) -> NDArray[np.bool_]:
    """(K,) states at which runs do not part, but which two of them leave for one state and, later, for another.

    Parameters
    ----------
    path, lengths : as for `forks_in`.
    """
    took = _took(path, lengths, n_states)
    both = np.einsum("jar,jbr->jab", took, took) * (1 - np.eye(n_states, dtype=np.int64))
    again: NDArray[np.bool_] = (both >= FORK_RUNS).any(axis=(1, 2)) & ~forks_in(path, lengths, n_states)
    return again


def _took(path: NDArray[np.int64], lengths: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(K, K, R) 1 where a run ever goes from one state to another."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    moves = np.flatnonzero((np.diff(path) != 0) & (np.diff(owner) == 0))
    took = np.zeros((n_states, n_states, len(lengths)), dtype=np.int64)
    took[path[moves], path[moves + 1], owner[moves]] = 1
    return took


def taken_edges(path: NDArray[np.int64], lengths: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(K, K) number of runs that go from one state to another, given (N,) states and (R,) rows of the runs."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    moves = np.flatnonzero((np.diff(path) != 0) & (np.diff(owner) == 0))
    taken = np.unique(np.column_stack([path[moves], path[moves + 1], owner[moves]]), axis=0)
    runs = np.zeros((n_states, n_states), dtype=np.int64)
    np.add.at(runs, (taken[:, 0], taken[:, 1]), 1)
    return runs


def _state(
    k: int,
    model: Model,
    sequences: Sequences,
    gradient: NDArray[np.float64],
    path: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> MapState:
    parameters = model.parameters
    rows = np.flatnonzero(path == k)
    visiting, first = np.unique(owner[rows], return_index=True)
    return MapState(
        state=k,
        means=parameters.means[k],
        deviations=deviations_of_rows(parameters)[k],
        runs=len(visiting),
        rows=len(rows),
        entry_step=float(sequences.steps[rows[first]].mean()) if len(rows) else None,
        top_metrics=_top(model.metrics, gradient[rows].mean(axis=0), parameters.means[k]) if len(rows) else (),
    )


def _top(
    metrics: tuple[str, ...], importance: NDArray[np.float64], movement: NDArray[np.float64]
) -> tuple[MetricImportance, ...]:
    order = np.argsort(-importance, kind="stable")[:TOP_METRICS]
    return tuple(
        MetricImportance(metric=metrics[d], importance=float(importance[d]), movement=float(movement[d])) for d in order
    )
