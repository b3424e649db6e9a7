"""The legend of states that figures over steps share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Patch

from trajhmm.figures.maplabels import text_size
from trajhmm.figures.style import INK, current_style, state_colors, state_hatches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENTRY = 12.0
"""Swatch, gaps and room of an entry beside its text, in points."""


def state_legend(ax: Axes, states: Sequence[int], n_states: int, *, width: float) -> None:
    """Put a key of states above the axes, outside the data, in as few rows as fit.

    Parameters
    ----------
    ax : axes whose data are coloured by state.
    states : the states to name.
    n_states : number of states, K.
    width : room for it, in points.
    """
    if not states:
        return
    colors, hatches = state_colors(n_states), state_hatches(n_states)
    labels = [f"state {states[0]}", *map(str, states[1:])]
    handles = [
        Patch(facecolor=colors[state], edgecolor=INK, linewidth=0.4, hatch=hatches[state], label=label)
        for state, label in zip(states, labels, strict=True)
    ]
    entry = text_size(str(max(states)))[0] + _ENTRY
    columns = max(1, min(len(handles), int((width - text_size("state ")[0]) / entry)))
    legend = ax.legend(
        # matplotlib fills columns downwards; states read across.
        handles=[handle for column in range(columns) for handle in handles[column::columns]],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=current_style().small,
        handlelength=1.1,
        handleheight=0.9,
        handletextpad=0.4,
        columnspacing=0.7,
        borderaxespad=0.2,
        borderpad=0.1,
    )
    legend.set_zorder(5.0)
