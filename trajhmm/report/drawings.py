"""The training map and the raster of states, as shapes for inline SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.figures.maplabels import PlacedLabel, counted, metric_text
from trajhmm.figures.maplayout import RING_GAP, PlacedEdge
from trajhmm.figures.mapplan import DETOUR, MARGIN, Plan, plan_map
from trajhmm.figures.raster import order_runs, row_bounds
from trajhmm.figures.style import current_style
from trajhmm.figures.texts import LINE_SPACING

# From line to line of a label, in points.
_LINE = 1.17 * current_style().small * LINE_SPACING
# A piece of a band this wide, in per cent of it, has room for its state's number.
_NUMBERED = 4.0


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A state of the map."""

    state: int
    x: float
    y: float
    radius: float
    ring: float | None
    label: str


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A transition of the map: its line and its head, as SVG paths."""

    source: int
    target: int
    line: str
    head: str
    width: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """A line of text, and what it is: ``label``, ``caption``, ``detour``, ``key``, ``standing`` or ``verdict``."""

    text: str
    x: float
    y: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Box:
    """What stands behind a text, so that arrows do not run through it."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class MapDrawing:
    """A training map laid out for one width, all in points, from the upper left corner."""

    width: float
    height: float
    discs: tuple[Disc, ...]
    arrows: tuple[Arrow, ...]
    boxes: tuple[Box, ...]
    leaders: tuple[str, ...]
    texts: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A visit to a state, in per cent of the band; its number stands at ``number``, where it fits in."""

    state: int
    left: float
    width: float
    number: float | None


@dataclass(frozen=True, kw_only=True)
class Band:
    """A run of the raster: its visits, and where it converged, in per cent of the band."""

    run: str
    visits: tuple[int, ...]
    pieces: tuple[Piece, ...]
    converged: float | None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A step and where it stands, in per cent."""

    text: str
    left: float


@dataclass(frozen=True, kw_only=True)
class Raster:
    """Runs by convergence, and the scale of steps below them."""

    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]


def draw_map(training_map: TrainingMap, width: float) -> MapDrawing:
    """Lay a map out for a width in points."""
    plan = plan_map(training_map, width, None, show_metrics=True)
    top = plan.top + MARGIN
    runs = len(training_map.runs)
    discs = tuple(
        Disc(
            state=node.state.state,
            x=round(node.x, 1),
            y=round(top - node.y, 1),
            radius=round(node.radius, 1),
            ring=round(node.radius + RING_GAP, 1) if node.detour else None,
            label=f"state {node.state.state}{', detour' if node.detour else ''}: {node.state.runs} of {counted(runs)}",
        )
        for node in plan.nodes
    )
    return MapDrawing(
        width=width,
        height=round(plan.top - plan.bottom + 2 * MARGIN, 1),
        discs=discs,
        arrows=tuple(_arrow(edge, top) for edge in plan.edges),
        boxes=tuple(_box(label, top) for label in (*plan.labels, *plan.captions)),
        leaders=tuple(_line(np.array([label.center, label.anchor]), top) for label in plan.labels if label.leader),
        texts=tuple(_texts(plan, top)),
    )


def draw_raster(training_map: TrainingMap, convergence: Convergence | None) -> Raster:
    """Lay out the runs' states over steps: sorted by convergence, those that never converge last."""
    order, met = order_runs(training_map, convergence)
    bounds = row_bounds(training_map)
    first = min((float(steps[0]) for _, steps in bounds), default=0.0)
    end = max((float(steps[-1]) for _, steps in bounds), default=1.0)
    to_percent = 100.0 / max(end - first, 1.0)
    places = dict(met)
    bands = []
    for place, run in enumerate(order):
        rows, steps = bounds[run]
        path = training_map.path[rows]
        converged = round((places[place] - first) * to_percent, 2) if place in places else None
        bands.append(
            Band(
                run=training_map.runs[run],
                visits=visits(path),
                pieces=_pieces(path, (steps - first) * to_percent, converged),
                converged=converged,
            )
        )
    shown = [step for step in MaxNLocator(nbins=6, integer=True).tick_values(first, end) if first <= step <= end]
    ticks = tuple(Tick(text=f"{step:,.0f}", left=round((step - first) * to_percent, 2)) for step in shown)
    return Raster(bands=tuple(bands), ticks=ticks)


def visits(path: NDArray[np.int64]) -> tuple[int, ...]:
    """States on a path, by number."""
    return tuple(np.unique(path).tolist())


def _pieces(path: NDArray[np.int64], places: NDArray[np.float64], converged: float | None) -> tuple[Piece, ...]:
    starts = np.flatnonzero(np.diff(path, prepend=-1))
    ends = np.append(starts[1:], len(path))
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        left, right = float(places[start]), float(places[end])
        pieces.append(
            Piece(
                state=int(path[start]),
                left=round(left, 2),
                width=round(right - left, 2),
                number=_number_at(left, right, converged),
            )
        )
    return tuple(pieces)


def _number_at(left: float, right: float, converged: float | None) -> float | None:
    """The middle of a piece, or of the longer part of one that the tick divides, if a number has room there."""
    if converged is not None and left < converged < right:
        left, right = (left, converged) if converged - left > right - converged else (converged, right)
    return round((left + right) / 2, 2) if right - left >= _NUMBERED else None


def _arrow(placed: PlacedEdge, top: float) -> Arrow:
    """The curve up to the base of the head, and the head."""
    length, half = placed.head
    tip = placed.samples[-1]
    away = np.hypot(*(placed.samples - tip).T)
    base = placed.samples[away > length]
    line = base if len(base) > 1 else placed.samples
    along = tip - line[-1]
    along = along / max(float(np.hypot(*along)), 1e-9)
    across = np.array([-along[1], along[0]]) * (half + 0.4)
    corner = tip - along * (length + 0.8)
    edge = placed.edge
    named = metric_text(edge, room=math.inf)
    return Arrow(
        source=edge.source,
        target=edge.target,
        line=_line(line, top),
        head=_line(np.array([corner + across, tip, corner - across]), top) + "Z",
        width=round(placed.width, 2),
        label=f"{edge.source} to {edge.target}: {counted(edge.runs)}, {edge.times} times; {named}",
    )


def _line(points: NDArray[np.float64], top: float) -> str:
    return "M" + "L".join(f"{x:.1f} {top - y:.1f}" for x, y in points)


def _box(label: PlacedLabel, top: float) -> Box:
    (x, y), (width, height) = label.center, label.size
    return Box(
        x=round(x - width / 2, 1), y=round(top - y - height / 2, 1), width=round(width, 1), height=round(height, 1)
    )


def _texts(plan: Plan, top: float) -> list[Text]:
    texts = []
    for kind, labels in (("label", plan.labels), ("caption", plan.captions)):
        for label in labels:
            lines = label.text.split("\n")
            first = top - label.center[1] - _LINE * (len(lines) - 1) / 2
            texts += [
                Text(
                    text=line,
                    x=round(label.center[0], 1),
                    y=round(first + _LINE * row, 1),
                    kind="detour" if kind == "caption" and line == DETOUR else kind,
                )
                for row, line in enumerate(lines)
            ]
    for y in dict.fromkeys(line.y for line in plan.badge):
        parts = [line for line in plan.badge if line.y == y]
        text = " · ".join(part.text for part in parts)
        kind = "verdict" if parts[0].bold else "standing"
        texts.append(Text(text=text, x=round(parts[0].x, 1), y=round(top - y, 1), kind=kind))
    return texts + [Text(text=line.text, x=round(line.x, 1), y=round(top - line.y, 1), kind="key") for line in plan.key]
