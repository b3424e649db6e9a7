"""Where the labels of a training map go: each has a list of candidate places, and those that collide least are taken.

All lengths in points. Nothing here is random, so the same map always gets the same labels in the same places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.figures.maplayout import PlacedEdge, PlacedState
from trajhmm.figures.style import SANS, current_style
from trajhmm.figures.texts import ROOM, printable, text_size, wrapped

if TYPE_CHECKING:
    from trajhmm.dynamics.maps.training_map import MapEdge

Wording = Literal["metrics", "runs", "numbers", "nothing"]
"""What stands on an edge: the number of runs and the top metric, the number of runs, just the number, or nothing."""
_SWEEPS = 12
_ALONG = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
_AWAY = (0.0, 3.0, 6.0, 10.0, 15.0, 20.0)
_LEADER_FROM = 5.0
_COLLIDES, _LEAVES = 1000.0, 3000.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Places that one label may take, M of them.

    Attributes
    ----------
    texts : M texts, lines parted by line breaks.
    centers, sizes : (M, 2) middle, and width and height, of the text's box.
    anchors : (M, 2) point that the label belongs to.
    leaders : (M,) bool, whether a thin line leads from the label to that point.
    costs : (M,) how unwelcome each place is in itself.
    owner : row of the edge that the label belongs to; −1 for a state's.
    """

    texts: tuple[str, ...]
    centers: NDArray[np.float64]
    sizes: NDArray[np.float64]
    anchors: NDArray[np.float64]
    leaders: NDArray[np.bool_]
    costs: NDArray[np.float64]
    owner: int = -1


@dataclass(frozen=True, kw_only=True)
class PlacedLabel:
    """A label and where it stands: the middle of its box, its size, the point that it belongs to, what it costs."""

    text: str
    center: tuple[float, float]
    size: tuple[float, float]
    anchor: tuple[float, float]
    leader: bool
    cost: float


def counted(runs: int) -> str:
    """``1 run``, ``2 runs``."""
    return f"{runs} run" + ("" if runs == 1 else "s")


def metric_text(edge: MapEdge, width: int = 1000, room: float = ROOM) -> str:
    """The most important metric of an edge and whether it rises or falls, in lines of at most ``width`` characters.

    ``room`` (points) is what its name may take up in all.
    """
    if not edge.top_metrics:
        return ""
    top = edge.top_metrics[0]
    return f"{wrapped(printable(top.metric, room), width)} {'↑' if top.movement > 0 else '↓'}"


def edge_texts(edge: MapEdge, wording: Wording) -> tuple[str, ...]:
    """Texts that an edge's label may have, the most wanted first."""
    if wording == "numbers":
        return (str(edge.runs),)
    count = counted(edge.runs)
    if wording == "runs" or not edge.top_metrics:
        return (count,)
    return tuple(dict.fromkeys(f"{count}\n{metric_text(edge, width)}" for width in (1000, 13, 9)))


def edge_candidates(edge: PlacedEdge, owner: int, wording: Wording) -> Candidates:
    """Places beside an edge, or on it where the label is short against it, for its label."""
    texts, rows = [], []
    length = float(np.hypot(*np.diff(edge.samples, axis=0).T).sum())
    for form, text in enumerate(edge_texts(edge.edge, wording)):
        size = np.array(text_size(text))
        for along in _ALONG:
            index = round(along * (len(edge.samples) - 1))
            anchor = edge.samples[index]
            before, after = edge.samples[max(index - 1, 0)], edge.samples[min(index + 1, len(edge.samples) - 1)]
            across = np.array([before[1] - after[1], after[0] - before[0]])
            across /= max(float(np.hypot(*across)), 1e-9)
            across = across if across[1] >= 0 else -across
            clear = float(np.abs(across) @ size) / 2 + edge.half + 0.5
            cost = 3.0 * form + 20.0 * abs(along - 0.5)
            if float(size.max()) < 0.3 * length:
                texts.append(text)
                rows.append((*anchor, *size, *anchor, False, cost + 5.0 + 5.0 * edge.width))
            for away in _AWAY:
                for side in (1.0, -1.0):
                    center = anchor + side * across * (clear + away)
                    texts.append(text)
                    rows.append((*center, *size, *anchor, away > _LEADER_FROM, cost + 2.0 * away + 2.0 * (side < 0)))
    return _candidates(texts, rows, owner)


def state_candidates(node: PlacedState, text: str, *, up: bool) -> Candidates:
    """Places around a state for a text of its own: below it, or above it if ``up``, where there is room."""
    rows = []
    size = np.array(text_size(text, weight="bold" if node.detour else "normal"))
    if node.detour:  # two texts, one above the other, in colours of their own
        size[1] += (1 / 3 if current_style().font == SANS else 2 / 3) * current_style().small
    wanted = 90.0 if up else -90.0
    for angle in range(-180, 180, 30):
        turn = abs((angle - wanted + 180) % 360 - 180)
        direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        for away in (0.0, 3.0, 6.0, 9.0, 12.0):
            # Slide the box out until it clears the disc: its middle lies on a rounded rectangle.
            center = np.array([node.x, node.y]) + direction * (node.reach + 0.4 + away)
            center = center + np.sign(np.round(direction, 6)) * size / 2 * _lean(direction)
            rows.append((*center, *size, node.x, node.y, False, (10.0 + 0.08 * turn if turn else 0.0) + 1.0 * away))
    return _candidates([text] * len(rows), rows, -1)


def _lean(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a box has to move along each axis, in parts of its half size: fully, unless it sits beside a pole."""
    lean: NDArray[np.float64] = np.minimum(1.0, np.abs(direction) / 0.5)
    return lean


def _candidates(texts: list[str], rows: list[tuple[float, ...]], owner: int) -> Candidates:
    table = np.array(rows, dtype=np.float64)
    return Candidates(
        texts=tuple(texts),
        centers=table[:, 0:2],
        sizes=table[:, 2:4],
        anchors=table[:, 4:6],
        leaders=table[:, 6] > 0,
        costs=table[:, 7],
        owner=owner,
    )


def boxes_of(labels: Iterable[PlacedLabel]) -> NDArray[np.float64]:
    """(L, 4) middles, widths and heights of labels."""
    return np.array([(*label.center, *label.size) for label in labels], dtype=np.float64).reshape(-1, 4)


def settle(
    labels: Sequence[Candidates],
    *,
    nodes: Iterable[PlacedState],
    edges: Sequence[PlacedEdge],
    limits: NDArray[np.float64],
) -> tuple[PlacedLabel, ...]:
    """Choose a place for every label.

    One label after the other takes the place that collides least with states, edges and the labels placed so far; then
    all are gone over again until none moves.

    Parameters
    ----------
    labels : what to place.
    nodes, edges : what stands already.
    limits : (2, 2) lower left and upper right corner of the drawing.
    """
    discs = np.array([(node.x, node.y, node.reach) for node in nodes]).reshape(-1, 3)
    costs = [_standing_cost(label, discs, edges, limits) for label in labels]
    chosen: list[int | None] = [None] * len(labels)
    totals = [0.0] * len(labels)
    for _ in range(_SWEEPS):
        moved = False
        for row, label in enumerate(labels):
            others = [
                (*labels[other].centers[place], *labels[other].sizes[place])
                for other, place in enumerate(chosen)
                if place is not None and other != row
            ]
            cost = costs[row] + _overlap_cost(label, np.array(others).reshape(-1, 4))
            best = int(np.argmin(cost))
            current = chosen[row]
            if current is None or cost[best] < cost[current] - 1e-9:
                chosen[row], moved, current = best, True, best
            totals[row] = float(cost[current])
        if not moved:
            break
    return tuple(_placed(*each) for each in zip(labels, chosen, totals, strict=True))


def _placed(label: Candidates, place: int | None, cost: float) -> PlacedLabel:
    at = place or 0
    return PlacedLabel(
        text=label.texts[at],
        center=(float(label.centers[at, 0]), float(label.centers[at, 1])),
        size=(float(label.sizes[at, 0]), float(label.sizes[at, 1])),
        anchor=(float(label.anchors[at, 0]), float(label.anchors[at, 1])),
        leader=bool(label.leaders[at]),
        cost=cost,
    )


def _standing_cost(
    label: Candidates, discs: NDArray[np.float64], edges: Sequence[PlacedEdge], limits: NDArray[np.float64]
) -> NDArray[np.float64]:
    half = label.sizes / 2
    lower, upper = label.centers - half, label.centers + half
    cost = label.costs.copy()
    outside = np.maximum(limits[0] - lower, 0).sum(axis=1) + np.maximum(upper - limits[1], 0).sum(axis=1)
    cost += np.where(outside > 0, _LEAVES + outside, 0.0)
    if len(discs):
        gaps = np.maximum(np.abs(label.centers[:, None, :] - discs[None, :, :2]) - half[:, None, :], 0.0)
        cost += _COLLIDES * (np.hypot(gaps[..., 0], gaps[..., 1]) < discs[:, 2]).sum(axis=1)
    gaps = np.zeros((len(edges), len(cost)))
    for index, edge in enumerate(edges):
        # Across and up apart: sums over an axis of two are what numpy is slowest at.
        reach = edge.halves + 0.6
        across = np.abs(label.centers[:, :1] - edge.samples[:, 0]) - half[:, :1]
        up = np.abs(label.centers[:, 1:] - edge.samples[:, 1]) - half[:, 1:]
        inside = ((across < reach) & (up < reach)).sum(axis=1)
        np.maximum(across, 0.0, out=across)
        np.maximum(up, 0.0, out=up)
        gaps[index] = np.sqrt((across * across + up * up).min(axis=1))
        cost += 0.2 * inside if index == label.owner else 12.0 * (inside > 0) + 4.0 * inside
    if label.owner >= 0:
        # A label has to stand closer to its own edge than to any other.
        others = np.delete(gaps, label.owner, axis=0)
        cost += np.clip(gaps[label.owner] + 2.5 - others, 0.0, 6.0).sum(axis=0) * 1.5
    return cost


def _overlap_cost(label: Candidates, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    across = (label.sizes[:, :1] + boxes[:, 2]) / 2 - np.abs(label.centers[:, :1] - boxes[:, 0])
    up = (label.sizes[:, 1:] + boxes[:, 3]) / 2 - np.abs(label.centers[:, 1:] - boxes[:, 1])
    overlap = np.maximum(across, 0.0) * np.maximum(up, 0.0)
    crowded = (across > -4.0) & (up > -3.0)
    cost: NDArray[np.float64] = (_COLLIDES * (overlap > 0) + overlap + 6.0 * crowded).sum(axis=1)
    leads = np.flatnonzero(label.leaders)
    if len(leads):
        # A leader that runs behind another label would seem to start from it.
        for part in np.linspace(0.0, 1.0, 9):
            points = (1 - part) * label.anchors[leads] + part * label.centers[leads]
            behind = np.abs(points[:, :1] - boxes[:, 0]) < boxes[:, 2] / 2 + 0.5
            behind &= np.abs(points[:, 1:] - boxes[:, 1]) < boxes[:, 3] / 2 + 0.5
            cost[leads] += 10.0 * behind.sum(axis=1)
    return cost
