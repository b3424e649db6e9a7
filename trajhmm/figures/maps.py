"""The training map as a figure: states from left to right, transitions as arrows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path

from trajhmm.errors import TrajHMMWarning
from trajhmm.figures.badge import STAMP
from trajhmm.figures.maplabels import PlacedLabel
from trajhmm.figures.maplayout import RING_GAP
from trajhmm.figures.mapplan import DETOUR, MARGIN, Plan, plan_map
from trajhmm.figures.style import (
    DETOUR_INK,
    FAINT_INK,
    INK,
    POINTS,
    Width,
    current_style,
    inches,
    ink_on,
    print_style,
    size_of,
    state_colors,
    state_hatches,
)
from trajhmm.figures.texts import BOX_PAD, LINE_SPACING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.maps.training_map import TrainingMap

_EDGE_INK = "#7a7a7a"


def plot_training_map(
    training_map: TrainingMap, *, ax: Axes | None = None, show_metrics: bool = True, width: Width = "full"
) -> Axes:
    """Draw a training map.

    States stand from left to right in the order in which runs first enter them, equally spaced, not to the scale of
    time; states entered at about the same time that have no transition between them share a column. States that at most
    half of the runs visit, and detours, stand above or below the main line. Discs and arrows grow with the number of
    runs; arrows that lead back curve below, those that skip states above. States that no run visits are left out.

    An arrow is labelled with the number of runs that take it and its most important metric, ↑ where that rises and ↓
    where it falls. Where these labels would crowd each other, arrows carry the number alone and a key below the map
    lists the metrics; where states stand close to each other, the key holds the numbers as well. Where ``ax`` is too
    low for the key, a warning says so and the metrics are left out.

    Above it stands how far the map comes back with other runs and seeds, from its certificate.

    Text is placed for the size that the axes have now; made smaller afterwards, labels overlap.

    Parameters
    ----------
    training_map : what to draw.
    ax : axes to draw into; by default those of a new figure, as high as the map needs.
    show_metrics : whether to name the most important metric of each transition.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Returns
    -------
    The axes; their data units are points.
    """
    with print_style():
        if ax is None:
            across = inches(width) * POINTS
            plan = plan_map(training_map, across, None, show_metrics=show_metrics)
            size = (across, max(plan.top - plan.bottom + 2 * MARGIN, 10.0))
            ax = Figure(figsize=(size[0] / POINTS, size[1] / POINTS)).add_axes((0.0, 0.0, 1.0, 1.0))
        else:
            size = size_of(ax)
            plan = plan_map(training_map, *size, show_metrics=show_metrics)
            _check_room(plan, size, show_metrics=show_metrics)
        middle = (plan.top + plan.bottom) / 2
        ax.set(xlim=(0.0, size[0]), ylim=(middle - size[1] / 2, middle + size[1] / 2))
        ax.set_aspect("equal")
        ax.set_axis_off()
        _draw_edges(ax, plan)
        _draw_states(ax, plan, training_map.n_states)
        _draw_texts(ax, plan)
    return ax


def _check_room(plan: Plan, size: tuple[float, float], *, show_metrics: bool) -> None:
    found = f"axes of {size[0] / POINTS:.2f} by {size[1] / POINTS:.2f} inches"
    if plan.top - plan.bottom > size[1]:
        needed = (plan.top - plan.bottom + 2 * MARGIN) / POINTS
        warnings.warn(
            f"the map needs {needed:.2f} inches of height, found {found}: parts are cut off",
            TrajHMMWarning,
            stacklevel=3,
        )
    if show_metrics and plan.wording == "numbers" and not plan.key and plan.edges:
        warnings.warn(
            f"no room for the names of metrics in {found}: left out; make them larger or leave out ax",
            TrajHMMWarning,
            stacklevel=3,
        )


def _draw_edges(ax: Axes, plan: Plan) -> None:
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    for placed in plan.edges:
        length, half = placed.head
        patch = FancyArrowPatch(
            path=Path(placed.controls, codes),
            arrowstyle=f"-|>,head_length={length},head_width={half}",
            mutation_scale=1.0,
            linewidth=placed.width,
            color=_EDGE_INK,
            joinstyle="miter",
            capstyle="butt",
            zorder=1.0,
        )
        patch.set_gid(f"edge-{placed.edge.source}-{placed.edge.target}")
        ax.add_patch(patch)


def _draw_states(ax: Axes, plan: Plan, n_states: int) -> None:
    colors, hatches = state_colors(n_states), state_hatches(n_states)
    for node in plan.nodes:
        state = node.state.state
        if node.detour:
            ring = Circle((node.x, node.y), node.radius + RING_GAP, facecolor="white", edgecolor=DETOUR_INK)
            ring.set(linewidth=2.0, zorder=2.9, gid=f"detour-{state}")
            ax.add_patch(ring)
        disc = Circle((node.x, node.y), node.radius, facecolor=colors[state], edgecolor=INK, hatch=hatches[state])
        disc.set(linewidth=0.6, zorder=3.0, gid=f"state-{state}")
        ax.add_patch(disc)
        number = ax.text(node.x, node.y, str(state), ha="center", va="center_baseline", color=ink_on(colors[state]))
        number.set(fontsize=current_style().base, fontweight="bold", zorder=4.0)
        if hatches[state]:
            number.set_bbox({"facecolor": colors[state], "edgecolor": "none", "pad": 0.8})


def _draw_texts(ax: Axes, plan: Plan) -> None:
    for label in plan.labels:
        if label.leader:
            (x, y), (anchor_x, anchor_y) = label.center, label.anchor
            ax.plot([x, anchor_x], [y, anchor_y], color=FAINT_INK, linewidth=0.4, zorder=1.5)
        _text(ax, label, label.text, color=INK)
    for label in plan.captions:
        if label.text == DETOUR:
            _text(ax, label, DETOUR, color=DETOUR_INK, weight="bold")
        elif label.text.startswith(f"{DETOUR}\n"):
            rest = label.text.removeprefix(f"{DETOUR}\n")
            _text(ax, label, DETOUR, color=DETOUR_INK, weight="bold", at="top")
            _text(ax, label, rest, color=FAINT_INK, at="bottom")
        else:
            _text(ax, label, label.text, color=FAINT_INK)
    for line in plan.key:
        text = ax.text(line.x, line.y, line.text, ha="left", va="center_baseline")
        text.set(fontsize=current_style().small, color=FAINT_INK if line.header else INK)
    for part in plan.badge:
        text = ax.text(part.x, part.y, part.text, ha="left", va="center_baseline", gid="badge")
        if part.bold:
            text.set(fontsize=current_style().base, fontweight="bold", color=INK, bbox=STAMP)
        else:
            text.set(fontsize=current_style().small, color=FAINT_INK)


def _text(ax: Axes, label: PlacedLabel, words: str, *, color: str, weight: str = "normal", at: str = "center") -> None:
    """Write in the middle of a label's box, or along its upper or lower edge."""
    x, y = label.center
    y += {"center": 0.0, "top": 0.5, "bottom": -0.5}[at] * (label.size[1] - 2 * BOX_PAD)
    text = ax.text(x, y, words, ha="center", va=at, color=color, linespacing=LINE_SPACING)
    text.set(fontsize=current_style().small, fontweight=weight, zorder=2.0)
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": -1.0})
