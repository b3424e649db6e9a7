"""Where the states and edges of a training map go: the same map always gets the same layout. All lengths in points.

Columns follow the order in which runs first enter the states. States that most runs visit form the main line (lane 0);
the others stand above (lanes 1, 2, …) or below it (−1, −2, …).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trajhmm.dynamics.maps.training_map import MapEdge, MapState, TrainingMap

SAME_TIME = 0.15
"""States entered within this part of the whole span of entry steps may share a column."""
STACK = 3
"""States in a column, at most."""
MAX_COLUMN_GAP = 140.0
SIDE = 17.0
"""From the middle of the first column to the edge of the drawing, at least."""
MIN_RADIUS, MAX_RADIUS = 6.0, 11.5
MIN_WIDTH, MAX_WIDTH = 0.6, 2.6
RING_GAP = 2.6
"""From the edge of a detour's disc to the middle of the ring around it."""
_CLEAR = 3.5
_BOWS = (0.0, 10.0, 16.0, 22.0, 30.0, 38.0, 48.0, 58.0, 70.0, 84.0, 100.0)
_BLOCKED = 1000.0


@dataclass(frozen=True, kw_only=True)
class PlacedState:
    """A state and where it stands.

    Attributes
    ----------
    state : what is drawn.
    column, lane : cell of the grid.
    x, y, radius : of its disc, in points.
    detour : whether a ring goes around the disc.
    """

    state: MapState
    column: int
    lane: int
    x: float
    y: float
    radius: float
    detour: bool

    @property
    def reach(self) -> float:
        """Radius of everything drawn, the ring included."""
        return self.radius + (RING_GAP + 1.0 if self.detour else 0.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedEdge:
    """An edge and the curve that it follows.

    Attributes
    ----------
    edge : what is drawn.
    controls : (4, 2) control points of a cubic Bézier curve from rim to rim, in points.
    samples : (S, 2) points along it.
    width : of the line, in points.
    """

    edge: MapEdge
    controls: NDArray[np.float64]
    samples: NDArray[np.float64]
    width: float

    @property
    def head(self) -> tuple[float, float]:
        """Length and half width of the arrow's head."""
        return 2.6 + 0.9 * self.width, 1.2 + 0.6 * self.width

    @property
    def half(self) -> float:
        """Half the width of all that is drawn."""
        return self.head[1] + self.width / 2

    @property
    def halves(self) -> NDArray[np.float64]:
        """(S,) half the width of what is drawn at each sample: the line's, and the head's near the end."""
        from_tip = np.hypot(*(self.samples - self.samples[-1]).T)
        halves: NDArray[np.float64] = np.where(from_tip < self.head[0] + self.width, self.half, self.width / 2)
        return halves


def place_states(training_map: TrainingMap, width: float, lane_gap: float) -> tuple[PlacedState, ...]:
    """Place the states that some run visits.

    Parameters
    ----------
    training_map : what to draw.
    width : of the drawing, in points.
    lane_gap : from lane to lane, in points.
    """
    order = sorted(
        (state for state in training_map.states if state.runs and state.entry_step is not None),
        key=lambda state: (state.entry_step, state.state),
    )
    main = _main_line(training_map, order)
    columns = _columns(training_map, order, main)
    lanes = _lanes(training_map, columns, main)
    spacing = min(MAX_COLUMN_GAP, (width - 2 * SIDE) / (len(columns) - 0.7)) if columns else 0.0
    start = (width - spacing * (len(columns) - 1)) / 2
    largest = float(np.clip(0.26 * spacing, MIN_RADIUS + 1.0, MAX_RADIUS))
    most = max(len(training_map.runs), 1)
    return tuple(
        PlacedState(
            state=state,
            column=column,
            lane=lanes[state.state],
            x=start + column * spacing,
            y=lanes[state.state] * lane_gap,
            radius=float(np.sqrt(MIN_RADIUS**2 + (largest**2 - MIN_RADIUS**2) * state.runs / most)),
            detour=state.state in training_map.detours,
        )
        for column, members in enumerate(columns)
        for state in members
    )


def _main_line(training_map: TrainingMap, order: list[MapState]) -> set[int]:
    """States that more than half of the runs visit, detours aside; without any, those along the heaviest path."""
    common = {s.state for s in order if 2 * s.runs > len(training_map.runs)} - set(training_map.detours)
    if common:
        return common
    import networkx as nx

    rank = {state.state: place for place, state in enumerate(order)}
    graph = nx.DiGraph()
    graph.add_nodes_from(rank)
    for edge in _drawn(training_map):
        if rank[edge.source] < rank[edge.target]:
            graph.add_edge(edge.source, edge.target, runs=edge.runs)
    return set(nx.dag_longest_path(graph, weight="runs"))


def _drawn(training_map: TrainingMap) -> tuple[MapEdge, ...]:
    return tuple(edge for edge in training_map.edges if edge.runs and edge.source != edge.target)


def _columns(training_map: TrainingMap, order: list[MapState], main: set[int]) -> list[list[MapState]]:
    linked = {frozenset((edge.source, edge.target)) for edge in _drawn(training_map)}
    entries = [state.entry_step or 0.0 for state in order]
    near = SAME_TIME * (entries[-1] - entries[0]) if entries else 0.0
    columns: list[list[MapState]] = []
    for state, entry in zip(order, entries, strict=True):
        column = columns[-1] if columns else []
        joins = (
            0 < len(column) < STACK
            and entry - (column[0].entry_step or 0.0) <= near
            and not any(frozenset((state.state, other.state)) in linked for other in column)
            and sum(other.state in main for other in (*column, state)) < 2
        )
        if joins:
            column.append(state)
        else:
            columns.append([state])
    return columns


def _lanes(training_map: TrainingMap, columns: list[list[MapState]], main: set[int]) -> dict[int, int]:
    """Lane of each state: beside states off the main line that it has edges with, else on the emptier side."""
    linked = {(edge.source, edge.target) for edge in _drawn(training_map)}
    column_of = {state.state: column for column, members in enumerate(columns) for state in members}
    lanes = dict.fromkeys(main, 0)

    def cost(state: int, lane: int) -> float:
        total = abs(lane) + (0.4 if lane < 0 else 0.0)
        for other, other_lane in lanes.items():
            if other in main:
                continue
            apart = abs(column_of[other] - column_of[state])
            if apart == 0 and other_lane == lane:
                return _BLOCKED
            if (state, other) in linked or (other, state) in linked:
                total += -1.0 if other_lane == lane and apart == 1 else 0.3 * abs(other_lane - lane)
            elif other_lane * lane > 0 and apart <= 1:
                total += 0.5
        return total

    for state in itertools.chain.from_iterable(columns):
        if state.state not in main:
            lanes[state.state] = min((1, -1, 2, -2, 3, -3), key=functools.partial(cost, state.state))
    return lanes


def route_edges(
    training_map: TrainingMap,
    placed: tuple[PlacedState, ...],
    *,
    direct: bool,
    laid: tuple[PlacedEdge, ...] = (),
    boxes: NDArray[np.float64] | None = None,
) -> tuple[PlacedEdge, ...]:
    """Lay edges along curves that keep clear of the states they do not touch, of labels, and of edges laid before.

    Edges forward to the next column run straight where they can, those that skip columns curve above, and those that
    lead back curve below.

    Parameters
    ----------
    training_map : what to draw.
    placed : its states.
    direct : whether to lay the edges that lead to the next column and back, or all others.
    laid : edges laid already.
    boxes : (L, 4) middles, widths and heights of labels placed already, in points.
    """
    at = {node.state.state: node for node in placed}
    most = max(len(training_map.runs), 1)
    edges = [edge for edge in _drawn(training_map) if (abs(_span(at, edge)) == 1) is direct]
    edges.sort(key=lambda edge: (_span(at, edge) < 0, abs(_span(at, edge)), edge.source, edge.target))
    done = list(laid)
    for edge in edges:
        source, target = at[edge.source], at[edge.target]
        others = [node for node in placed if node is not source and node is not target]
        tried = [_trimmed(_bezier(source, target, bow), source, target) for bow in _bows(source, target)]
        costs = [_crowding(_sampled(controls), others, done, boxes) for controls in tried]
        chord = float(np.hypot(target.x - source.x, target.y - source.y))
        # A higher bow has to pay for itself, all the more where it makes a loop of a short arrow.
        detour = [0.5 * abs(bow) + 12.0 * (bow / chord) ** 2 for bow in _bows(source, target)]
        best = int(np.argmin(np.add(costs, detour)))
        width = MIN_WIDTH + (_widest(placed) - MIN_WIDTH) * edge.runs / most
        done.append(PlacedEdge(edge=edge, controls=tried[best], samples=_sampled(tried[best]), width=width))
    return tuple(done[len(laid) :])


def column_gap(placed: tuple[PlacedState, ...]) -> float:
    """Points from column to column."""
    across = sorted({node.x for node in placed})
    return min((b - a for a, b in itertools.pairwise(across)), default=MAX_COLUMN_GAP)


def _widest(placed: tuple[PlacedState, ...]) -> float:
    return float(np.clip(column_gap(placed) / 18.0, 1.5, MAX_WIDTH))


def _span(at: dict[int, PlacedState], edge: MapEdge) -> int:
    return at[edge.target].column - at[edge.source].column


def _bows(source: PlacedState, target: PlacedState) -> tuple[float, ...]:
    columns = target.column - source.column
    if columns < 0:
        return tuple(-bow for bow in _BOWS[1:])
    if columns > 1 and source.lane == target.lane:
        return _BOWS[1:]
    return (*_BOWS[:1], *itertools.chain.from_iterable((bow, -bow) for bow in _BOWS[1:]))


def _bezier(source: PlacedState, target: PlacedState, bow: float) -> NDArray[np.float64]:
    """(4, 2) control points of the curve between two middles that rises ``bow`` points above the straight line."""
    start, end = np.array([source.x, source.y]), np.array([target.x, target.y])
    along = end - start
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1.0)
    across = across if across[1] >= 0 else -across
    lift = across * bow * 4.0 / 3.0
    return np.array([start, start + 0.22 * along + lift, end - 0.22 * along + lift, end])


def _sampled(controls: NDArray[np.float64], points: int = 48) -> NDArray[np.float64]:
    t = np.linspace(0.0, 1.0, points)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return weights @ controls


def _trimmed(controls: NDArray[np.float64], source: PlacedState, target: PlacedState) -> NDArray[np.float64]:
    """The part of a curve between the rims of its two states."""
    samples = _sampled(controls, 401)
    from_source = np.hypot(samples[:, 0] - source.x, samples[:, 1] - source.y) > source.reach + 0.6
    from_target = np.hypot(samples[:, 0] - target.x, samples[:, 1] - target.y) > target.reach + 1.0
    outside = np.flatnonzero(from_source & from_target)
    if len(outside) < 2:
        return controls
    first, last = outside[0] / 400.0, outside[-1] / 400.0
    head = _split(controls, last)[0]
    return _split(head, first / last)[1]


def _split(controls: NDArray[np.float64], t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both parts of a cubic Bézier curve cut at ``t``, by de Casteljau's construction."""
    levels = [controls]
    while len(levels[-1]) > 1:
        levels.append((1 - t) * levels[-1][:-1] + t * levels[-1][1:])
    return np.array([level[0] for level in levels]), np.array([level[-1] for level in reversed(levels)])


def _crowding(
    samples: NDArray[np.float64],
    others: list[PlacedState],
    laid: list[PlacedEdge],
    boxes: NDArray[np.float64] | None,
) -> float:
    """How much a curve runs over states (blocked) and labels, and close to other curves."""
    cost = 0.0
    piece = float(np.hypot(*np.diff(samples, axis=0).T).mean())
    if others:
        discs = np.array([(node.x, node.y, node.reach) for node in others])
        closest = np.hypot(*(samples[:, None, :] - discs[None, :, :2]).transpose(2, 0, 1)).min(axis=0) - discs[:, 2]
        cost += float(np.where(closest < _CLEAR, _BLOCKED, np.maximum(10.0 - closest, 0.0)).sum())
    if laid:
        # (points of this curve, other curves, every second point of theirs), squared: the inner loop of the layout.
        theirs = np.array([other.samples[::2] for other in laid])
        across = samples[:, None, None, 0] - theirs[None, :, :, 0]
        along = samples[:, None, None, 1] - theirs[None, :, :, 1]
        apart = np.sqrt((across * across + along * along).min(axis=2))
        cost += 0.4 * piece * float((apart < np.array([4.0 + other.width / 2 for other in laid])).sum())
    if boxes is not None and len(boxes):
        over = np.abs(samples[:, None, :] - boxes[None, :, :2]) < boxes[None, :, 2:] / 2 + 1.0
        cost += 0.5 * piece * float(np.any(np.all(over, axis=2), axis=1).sum())
    return cost
