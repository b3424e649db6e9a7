"""Everything of a training map in its place, in points: states, edges, labels, and a key where labels do not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trajhmm.figures.badge import badge_words
from trajhmm.figures.maplabels import (
    PlacedLabel,
    Wording,
    boxes_of,
    counted,
    edge_candidates,
    metric_text,
    settle,
    state_candidates,
)
from trajhmm.figures.maplayout import PlacedEdge, PlacedState, column_gap, place_states, route_edges
from trajhmm.figures.style import current_style
from trajhmm.figures.texts import text_size

if TYPE_CHECKING:
    from trajhmm.dynamics.maps.training_map import TrainingMap

MARGIN = 3.0
"""Around the drawing, in points."""
DETOUR = "detour"
"""First line of a detour's caption."""
KEY_SPACING = 1.27
"""From line to line of the key, in sizes of its type."""
KEY_HEADER = "State: runs that ever visit it. Arrow: runs that ever take it; top metric:"
KEY_OF_STATES = "State: how many of {} ever visit it:"
KEY_OF_ARROWS = "Arrow: how many ever take it; top metric:"
KEY_OF_COUNTS = "Arrow: how many ever take it:"
_KEY_GAP = 6.0
# Room for the ends of an edge and for its arrow in a line of the key, in points.
_ENDS = 44.0
_BADGE_GAP = 5.0
_FRAMED = 1.8
"""Height of a line with a frame, in sizes of its type."""
_TALLEST = 10_000.0
_LANE_GAPS = (44.0, 56.0, 68.0, 84.0)
_TIGHT_LANE_GAPS = (*_LANE_GAPS, 34.0, 26.0)
_ROOMY = 40.0
"""With less than this from column to column a number could be taken for that of another state or arrow."""
_BESIDE = 4.0
_ACCEPTED = 40.0
"""A label that costs more than this stands where it is hard to read."""


@dataclass(frozen=True, kw_only=True)
class KeyLine:
    """One line of the key or of its header, by its left edge and the middle of its height, in points."""

    text: str
    x: float
    y: float
    header: bool


@dataclass(frozen=True, kw_only=True)
class BadgeLine:
    """Part of what the map says of itself, by its left edge and the middle of its height; in a frame if bold."""

    text: str
    x: float
    y: float
    height: float
    bold: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training map laid out, in points; ``bottom`` and ``top`` are what it takes up.

    Attributes
    ----------
    nodes, edges : states and transitions.
    captions, labels : texts of the states and of the edges, each in their order.
    key : its lines, if any.
    badge : how far the map comes back, above it.
    bottom, top : of everything.
    worst : cost of the worst placed label.
    wording : what stands on the edges.
    """

    nodes: tuple[PlacedState, ...]
    edges: tuple[PlacedEdge, ...]
    captions: tuple[PlacedLabel, ...]
    labels: tuple[PlacedLabel, ...]
    key: tuple[KeyLine, ...]
    badge: tuple[BadgeLine, ...]
    bottom: float
    top: float
    worst: float
    wording: Wording


def plan_map(training_map: TrainingMap, width: float, height: float | None, *, show_metrics: bool) -> Plan:
    """Lay out a training map.

    Metrics are written on the edges if all of them can be read there; otherwise the edges carry numbers alone and the
    metrics go into a key below, one line an edge, unless ``height`` has no room for it. Where states stand close to
    each other, so do the numbers of runs: beside a state they might be taken for its neighbour's.

    Parameters
    ----------
    training_map : what to draw.
    width : of the drawing, in points.
    height : of the drawing, in points; None for as much as it takes.
    show_metrics : whether to name the most important metric of each edge.
    """
    room = _TALLEST if height is None else height - 2 * MARGIN
    close = column_gap(place_states(training_map, width, _LANE_GAPS[0])) < _ROOMY
    ways: list[tuple[Wording, bool]] = [("metrics" if show_metrics else "runs", False)]
    if not close:
        ways.append(("numbers", show_metrics))
    ways.append(("nothing", True))
    if height is not None:
        ways.append(("numbers", False))
    plans = []
    for way in ways:
        wording, keyed = way
        for lane_gap in _LANE_GAPS if height is None else _TIGHT_LANE_GAPS:
            plan = _plan(
                training_map, width, lane_gap, wording, keyed=keyed, show_metrics=show_metrics, last=way is ways[-1]
            )
            if plan is None:
                continue
            given_up = show_metrics and wording == "numbers" and not keyed
            clear = wording == "nothing" or _stand_by(plan.captions, plan.nodes)
            if clear and plan.worst <= _ACCEPTED and plan.top - plan.bottom <= room and not given_up:
                return plan
            if wording in ("numbers", "nothing"):
                plans.append(plan)
    return min(plans, key=lambda plan: (max(plan.top - plan.bottom - room, 0.0), not plan.key, plan.worst))


def _plan(
    training_map: TrainingMap,
    width: float,
    lane_gap: float,
    wording: Wording,
    *,
    keyed: bool,
    show_metrics: bool,
    last: bool,
) -> Plan | None:
    """One try; None as soon as it turns out that labels do not fit, unless there is no other way to write them."""
    nodes = place_states(training_map, width, lane_gap)
    limits = np.array([[MARGIN, -_TALLEST], [width - MARGIN, _TALLEST]])
    direct = route_edges(training_map, nodes, direct=True)
    texts = _captions(nodes, len(training_map.runs), counted_in_key=wording == "nothing")
    if wording in ("metrics", "runs") and any("/" in text for text in texts):
        return None  # no room for words beside the states: none for them beside the arrows
    captions = [
        state_candidates(node, text, up=node.lane > 0 or node.detour)
        for node, text in zip(nodes, texts, strict=True)
        if text
    ]
    # Labels of straight edges are placed first, for the curves to go around; then all of them at once.
    labelled = wording != "nothing"
    straight = [edge_candidates(edge, owner, wording) for owner, edge in enumerate(direct)] if labelled else []
    first = settle([*captions, *straight], nodes=nodes, edges=direct, limits=limits)
    if not last and wording != "nothing":
        clear = _stand_by(first[: len(captions)], nodes)
        if not clear or _worst(first) > _ACCEPTED:
            return None
    edges = (*direct, *route_edges(training_map, nodes, direct=False, laid=direct, boxes=boxes_of(first)))
    labels = [edge_candidates(edge, owner, wording) for owner, edge in enumerate(edges)] if labelled else []
    placed = settle([*captions, *labels], nodes=nodes, edges=edges, limits=limits)
    bottom, top = _extents(nodes, edges, placed)
    left = min((node.x - node.reach for node in nodes), default=MARGIN)
    right, below = width - MARGIN, bottom - _KEY_GAP
    key: tuple[KeyLine, ...] = ()
    if keyed and labelled:
        key = _key(edges, left, right, below)
    elif keyed:
        key = _whole_key(training_map, nodes, edges, (left, right, below), show_metrics=show_metrics)
    badge = _badge(training_map, left, width - MARGIN, top + _BADGE_GAP) if nodes else ()
    return Plan(
        nodes=nodes,
        edges=edges,
        captions=placed[: len(captions)],
        labels=placed[len(captions) :],
        key=key,
        badge=badge,
        bottom=min([bottom, *(line.y - _key_spacing() / 2 for line in key)]),
        top=max([top, *(line.y + line.height / 2 for line in badge)]),
        worst=_worst(placed),
        wording=wording,
    )


def _stand_by(captions: tuple[PlacedLabel, ...], nodes: tuple[PlacedState, ...]) -> bool:
    """Whether each caption stands right above or below its state, where it can be taken for no other's."""
    return all(
        abs(caption.center[0] - node.x) < _BESIDE
        and abs(caption.center[1] - node.y) < node.reach + caption.size[1] / 2 + _BESIDE
        for caption, node in zip(captions, nodes, strict=True)
    )


def _worst(labels: tuple[PlacedLabel, ...]) -> float:
    return max((label.cost for label in labels), default=0.0)


def _captions(nodes: tuple[PlacedState, ...], runs: int, *, counted_in_key: bool) -> list[str]:
    """How many runs visit each state, in the longest words for which there is room throughout; what else there is."""
    if counted_in_key:
        return [DETOUR if node.detour else "" for node in nodes]
    long = [f"{node.state.runs} of {counted(runs)}" for node in nodes]
    medium = [f"{node.state.runs} of\n{counted(runs)}" for node in nodes]
    short = [f"{node.state.runs}/{runs}" for node in nodes]
    gap = column_gap(nodes) - 4.0
    fitting = (texts for texts in (long, medium) if all(text_size(text)[0] < gap for text in texts))
    texts = next(fitting, short)
    return [f"{DETOUR}\n{text}" if node.detour else text for node, text in zip(nodes, texts, strict=True)]


def _key(edges: tuple[PlacedEdge, ...], left: float, right: float, top: float) -> tuple[KeyLine, ...]:
    """The metrics of the edges by source and target, in columns read downwards."""
    ordered = sorted((placed.edge for placed in edges if placed.edge.top_metrics), key=lambda e: (e.source, e.target))
    texts = [f"{edge.source}→{edge.target}  {metric_text(edge, room=right - left - _ENDS)}" for edge in ordered]
    return _in_columns(KEY_HEADER, texts, (left, right, top)) if texts else ()


def _whole_key(
    training_map: TrainingMap,
    nodes: tuple[PlacedState, ...],
    edges: tuple[PlacedEdge, ...],
    box: tuple[float, float, float],
    *,
    show_metrics: bool,
) -> tuple[KeyLine, ...]:
    """All numbers of runs: of the states, then of the edges, with their metrics if those are to be shown."""
    left, right, _ = box
    states = [f"{node.state.state}:  {node.state.runs}" for node in sorted(nodes, key=lambda n: n.state.state)]
    lines = _in_columns(KEY_OF_STATES.format(counted(len(training_map.runs))), states, box, across_first=True)
    ordered = sorted((placed.edge for placed in edges), key=lambda e: (e.source, e.target))
    texts = []
    for edge in ordered:
        text = f"{edge.source}→{edge.target}  {edge.runs}"
        if show_metrics and edge.top_metrics:
            text += f"  {metric_text(edge, room=right - left - _ENDS - text_size('  000')[0])}"
        texts.append(text)
    if not texts:
        return lines
    below = lines[-1].y - _key_spacing() / 2 - 2.0
    header = KEY_OF_ARROWS if show_metrics else KEY_OF_COUNTS
    return (*lines, *_in_columns(header, texts, (left, right, below), across_first=not show_metrics))


def _in_columns(
    header: str, texts: list[str], box: tuple[float, float, float], *, across_first: bool = False
) -> tuple[KeyLine, ...]:
    """Lines below a header, in as many columns as fit between the left and the right of the box, below its top."""
    left, right, top = box
    across = max(text_size(text)[0] for text in texts) + 10.0
    columns = max(1, min(len(texts), int((right - left + 10.0) / across)))
    rows = -(-len(texts) // columns)
    broken = _broken(header, right - left)
    spacing = _key_spacing()
    first = top - spacing / 2
    lines = [KeyLine(text=text, x=left, y=first - spacing * row, header=True) for row, text in enumerate(broken)]
    first -= spacing * len(broken) + 1.0
    for place, text in enumerate(texts):
        column, row = (place % columns, place // columns) if across_first else (place // rows, place % rows)
        lines.append(KeyLine(text=text, x=left + column * across, y=first - spacing * row, header=False))
    return tuple(lines)


def _badge(training_map: TrainingMap, left: float, right: float, bottom: float) -> tuple[BadgeLine, ...]:
    """What is said in plain sight, and the numbers after it, or below where there is no room beside it."""
    bold, plain = badge_words(training_map.certificate)
    spacing = _FRAMED * current_style().base if bold else _key_spacing()
    across = left + text_size(bold, "bold", current_style().base)[0] + 4 * MARGIN if bold else left
    beside = across + text_size(plain)[0] <= right
    rows = [plain] if beside else _broken(plain, right - left)
    lines = [
        BadgeLine(
            text=text,
            x=across if beside else left,
            y=bottom + spacing * (len(rows) - row - 0.5),
            height=spacing,
            bold=False,
        )
        for row, text in enumerate(rows)
    ]
    if bold:
        height = 0.5 if beside else len(rows) + 0.5
        lines.insert(0, BadgeLine(text=bold, x=left, y=bottom + spacing * height, height=spacing, bold=True))
    return tuple(lines)


def _key_spacing() -> float:
    """From line to line of the key, in points."""
    return KEY_SPACING * current_style().small


def _broken(text: str, width: float) -> list[str]:
    """Words in lines of at most ``width`` points."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_size(f"{lines[-1]} {word}")[0] <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _extents(
    nodes: tuple[PlacedState, ...], edges: tuple[PlacedEdge, ...], labels: tuple[PlacedLabel, ...]
) -> tuple[float, float]:
    low = [node.y - node.reach for node in nodes] + [float(edge.samples[:, 1].min()) - edge.half for edge in edges]
    high = [node.y + node.reach for node in nodes] + [float(edge.samples[:, 1].max()) + edge.half for edge in edges]
    low += [label.center[1] - label.size[1] / 2 for label in labels]
    high += [label.center[1] + label.size[1] / 2 for label in labels]
    return min(low, default=0.0), max(high, default=0.0)
