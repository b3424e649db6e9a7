"""What states are: their means in each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trajhmm.figures.badge import stamp
from trajhmm.figures.legends import columns_for, legend_above
from trajhmm.figures.style import (
    INK,
    POINTS,
    Width,
    current_style,
    inches,
    ink_on,
    new_axes,
    print_style,
    size_of,
    state_colors,
)
from trajhmm.figures.texts import ROOM, Ticks, as_it_stands, broken_alike, printable, text_size
from trajhmm.naming import shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from trajhmm.dynamics.maps.training_map import MapEdge, TrainingMap
    from trajhmm.hmm import Model

ROW = 1.95
"""Height of a row of a new figure, in sizes of type."""
_MAP = LinearSegmentedColormap.from_list("means", ["#0072B2", "#ffffff", "#D55E00"])
_FRAME, _BAR = 1.1, 6.5
"""Width of a frame, and about the height of the bar of colours, in points."""


def plot_state_profile(
    model: Model, *, training_map: TrainingMap | None = None, ax: Axes | None = None, width: Width = "column"
) -> Axes:
    """Draw the mean of every metric in every state, in the scaled units that the model sees: a column a state.

    The colours are symmetric about 0, and each cell says its number, or at least its sign, so that the figure reads in
    grey. With ``training_map``, frames mark the metrics that speak most for a state, and triangles those that speak
    most for the way into it that most runs take: whether they rise or fall on it.

    Parameters
    ----------
    model : holds the means.
    training_map : of runs under this model; without it nothing is marked.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.
    """
    means = model.parameters.means.T
    n_metrics, n_states = means.shape
    with print_style():
        small = current_style().small
        across = inches(width) * POINTS if ax is None else size_of(ax)[0]
        names = broken_alike([printable(metric, max(ROOM, across / 2)) for metric in model.metrics], across)
        cell = across / n_states
        if ax is None:
            cell = (across - max(text_size(name)[0] for name in names) - 12.0) / n_states
            ax = new_axes(
                width, (n_metrics * (ROW + 0.35 * any("\n" in name for name in names)) * small + 62.0) / POINTS
            )
            stamp(ax, model.certificate)
        limit = max(float(np.abs(means).max()), 1e-9)
        # Cells as polygons, not as an image, so that they stay sharp at any size.
        mesh = ax.pcolormesh(means, cmap=_MAP, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.5)
        ax.set(xlim=(0, n_states), ylim=(n_metrics, 0), xlabel="state")
        ax.set_yticks(np.arange(n_metrics) + 0.5, labels=names, linespacing=0.95)
        as_it_stands(ax.get_yticklabels())
        ax.tick_params(length=0.0)
        ax.spines[:].set_visible(False)
        _name_states(ax, n_states)
        _write_numbers(ax, means, limit, cell)
        if training_map is not None:
            _mark(ax, training_map, across)
        bar = ax.figure.colorbar(mesh, ax=ax, location="bottom", fraction=0.05, aspect=across / _BAR, pad=0.01)
        bar.outline.set_linewidth(0.4)
        bar.ax.xaxis.set_major_formatter(Ticks())
        bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=5, symmetric=True))
        bar.set_label("mean of the scaled metric", size=small)
    return ax


def _name_states(ax: Axes, n_states: int) -> None:
    ax.set_xticks(np.arange(n_states) + 0.5, labels=[str(state) for state in range(n_states)])
    for label, color in zip(ax.get_xticklabels(), state_colors(n_states), strict=True):
        label.set(color=ink_on(color), fontweight="bold")
        label.set_bbox({"facecolor": color, "edgecolor": INK, "linewidth": 0.4, "pad": 1.2})
    ax.tick_params(axis="x", pad=4.0)


def _write_numbers(ax: Axes, means: NDArray[np.float64], limit: float, room: float) -> None:
    """The mean in each cell; with one digit, or its sign, where ``room`` (points) is too narrow for numbers."""
    for digits in (2, 1):
        numbers = [[_short(value, digits) for value in row] for row in means]
        fits = max(text_size(number)[0] for row in numbers for number in row) <= room
        if fits:
            break
    for (metric, state), value in np.ndenumerate(means):
        words = numbers[metric][state] if fits else "−" * numbers[metric][state].startswith("−")
        color = ink_on(to_hex(_MAP((value / limit + 1) / 2)))
        text = ax.text(state + 0.5, metric + 0.56, words, ha="center", va="center", color=color)
        text.set(fontsize=current_style().small)


def _short(value: float, digits: int) -> str:
    """One decimal, no zero before it: room is scarce; ``0`` has no sign. With one digit none from 1 on."""
    rounded = f"{value:.0f}" if digits == 1 and abs(value) >= 0.95 else f"{value:.1f}"
    shortened = "0" if float(rounded) == 0 else rounded.replace("0.", ".") if abs(value) < 0.95 else rounded
    return shortened.replace("-", "−")


def _mark(ax: Axes, training_map: TrainingMap, room: float) -> None:
    """Draw frames and triangles, and say what they mean in a legend that has ``room`` (points)."""
    metrics = {metric: row for row, metric in enumerate(training_map.metrics)}
    for state in training_map.states:
        for top in state.top_metrics:
            frame = Rectangle((state.state, metrics[top.metric]), 1.0, 1.0, facecolor="none", edgecolor=INK)
            frame.set(linewidth=_FRAME, zorder=3.0, gid=f"top-{state.state}-{shown(top.metric)}")
            ax.add_patch(frame)
    for edge in _ways_in(training_map):
        for top in edge.top_metrics:
            marker = "^" if top.movement > 0 else "v"
            (mark,) = ax.plot(edge.target + 0.86, metrics[top.metric] + 0.2, marker, color=INK, markersize=2.8)
            mark.set(markeredgewidth=0.0, zorder=4.0, gid=f"way-{edge.target}-{shown(top.metric)}")
    entries: list[Artist] = [Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=INK, linewidth=_FRAME)]
    entries += [Line2D([], [], linestyle="none", marker=marker, color=INK, markersize=3.0) for marker in "^v"]
    words = ("speaks most for the state", "rises on the main way in", "falls on the main way in")
    for entry, label in zip(entries, words, strict=True):
        entry.set_label(label)
    legend_above(ax, entries, columns=columns_for(entries, room), right=True)


def _ways_in(training_map: TrainingMap) -> list[MapEdge]:
    """The edge into each state that most runs take."""
    found: dict[int, MapEdge] = {}
    for edge in training_map.edges:
        if edge.target not in found or edge.runs > found[edge.target].runs:
            found[edge.target] = edge
    return list(found.values())
