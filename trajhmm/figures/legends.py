"""Legends above the axes: that of states, which figures over steps share, and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from trajhmm.figures.style import INK, POINTS, current_style, line_colors, size_of, state_colors, state_hatches
from trajhmm.figures.texts import text_size

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

SWATCH, LINE = 1.1, 2.2
"""Width of a patch or a marker in a legend, and of a line, in sizes of its type."""
_BETWEEN = 1.1
"""Gaps of an entry, beside its text and its swatch, in sizes of type."""
_ROW = 1.6
"""Height of a row of a legend, likewise."""


def state_legend(ax: Axes, states: Sequence[int], n_states: int, *, lines: bool = False, above: bool = False) -> None:
    """Put a key of states above the axes, outside the data, in as few rows as fit.

    Parameters
    ----------
    ax : axes whose data are coloured by state.
    states : the states to name.
    n_states : number of states, K.
    lines : whether the data are lines, whose colours are darker.
    above : whether to put it above the key that the axes have, instead of in its place.
    """
    if not states:
        return
    colors, hatches = (line_colors if lines else state_colors)(n_states), state_hatches(n_states)
    labels = [f"state {states[0]}", *map(str, states[1:])]
    handles = [
        Patch(facecolor=colors[state], edgecolor=INK, linewidth=0.4, hatch=hatches[state], label=label)
        for state, label in zip(states, labels, strict=True)
    ]
    small = current_style().small
    entry = text_size(str(max(states)))[0] + (SWATCH + _BETWEEN) * small
    room = _width_of(ax) - text_size("state ")[0]
    legend_above(ax, handles, columns=int(room / entry), above=above)


def legend_above(
    ax: Axes,
    handles: Sequence[Artist],
    *,
    columns: int = 1,
    swatch: float = SWATCH,
    right: bool = False,
    above: bool = False,
) -> None:
    """Put a legend above the axes, outside the data, its entries from left to right.

    Parameters
    ----------
    ax : axes to put it above.
    handles : artists that have a label.
    columns : how many entries stand in a row, at most.
    swatch : width of what stands before the text, in sizes of its type.
    above : whether to put it above the key that the axes have, instead of in its place.
    right : whether it ends where the axes end, so that it may begin above what stands left of them.
    """
    columns = max(1, min(columns, len(handles)))
    raised = ax.transAxes
    below = ax.get_legend() if above else None
    if below is not None:
        rows = -(-len(below.get_texts()) // getattr(below, "_ncols", 1))
        up = ScaledTranslation(0.0, rows * _ROW * current_style().small / POINTS, ax.figure.dpi_scale_trans)
        raised = ax.transAxes + up
    for handle in handles:
        if str(handle.get_label()).startswith("_"):  # which to matplotlib means that it is not to be listed
            handle.set_label(f" {handle.get_label()}")
    legend = ax.legend(
        # matplotlib fills columns downwards; entries read across.
        handles=[handle for column in range(columns) for handle in handles[column::columns]],
        loc="lower right" if right else "lower left",
        bbox_to_anchor=(1.0 if right else 0.0, 1.0),
        bbox_transform=raised,
        ncols=columns,
        frameon=False,
        fontsize=current_style().small,
        handlelength=swatch,
        handleheight=0.9,
        handletextpad=0.4,
        columnspacing=0.7,
        borderaxespad=0.2,
        borderpad=0.1,
    )
    legend.set_zorder(5.0)
    if below is not None:
        ax.add_artist(below)


def columns_for(handles: Sequence[Artist], room: float, *, swatch: float = SWATCH) -> int:
    """How many columns as wide as the longest entry, with a swatch before it, fit in ``room`` points."""
    longest = max(text_size(str(handle.get_label()))[0] for handle in handles)
    return int(room / (longest + (swatch + _BETWEEN) * current_style().small))


def _width_of(ax: Axes) -> float:
    """Width of axes once their labels have room, in points."""
    figure = ax.get_figure(root=True)
    engine = figure.get_layout_engine() if isinstance(figure, Figure) else None
    if figure is not None and engine is not None:
        engine.execute(figure)
    return size_of(ax)[0]
