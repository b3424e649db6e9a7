"""How fast runs converge with and without a visit to a state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trajhmm.figures.legends import LINE, legend_above
from trajhmm.figures.style import FAINT_INK, Width, current_style, new_axes, print_style
from trajhmm.figures.texts import Ticks, text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.detours.visits import SurvivalCurve, Visits

HEIGHT = 2.5
"""Of a new figure, in inches."""
_VISITING, _OTHERS = "#D55E00", "#0072B2"
_BELOW = 1.35
"""From line to line of the numbers at risk, in sizes of their type."""
# What arms are called where runs keep coming back from a state and may be in both: in the key, and below the axis.
_AT_TIMES = {"with": ("going into", "into"), "without": ("not then in", "not in")}


def plot_convergence(visits: Visits, *, ax: Axes | None = None, width: Width = "column") -> Axes:
    """Draw the share of runs that has not converged yet, of those that visit a state and of those that do not.

    Kaplan–Meier curves; a tick marks where a run ends that never converged. Below the axis stands how many runs were
    still watched and had not converged. Where runs keep coming back from the state, a run may be in both arms.

    Parameters
    ----------
    visits : what `trajhmm.dynamics.detours.visits.convergence_by_visit` says of the state.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.
    """
    arms = {"with": visits.visiting, "without": visits.others}
    end = max(float(arm.last_steps.max()) for arm in arms.values())
    with print_style():
        ax = new_axes(width, HEIGHT) if ax is None else ax
        handles = []
        for (word, arm), color, dashes in zip(arms.items(), (_VISITING, _OTHERS), ("-", (0, (4, 1.5))), strict=True):
            steps, remaining = np.append(0.0, arm.steps), np.append(1.0, arm.remaining)
            (line,) = ax.step(steps, remaining, where="post", color=color, linewidth=1.2, linestyle=dashes)
            where, same = (
                (_AT_TIMES[word][0], ", may be the same" * (word == "without")) if visits.at_times else (word, "")
            )
            line.set(label=f"{where} state {visits.state} ({len(arm.last_steps)} runs{same})", gid=word)
            ends = arm.censored
            ax.plot(arm.steps[ends], arm.remaining[ends], "|", color=color, markersize=5.0, markeredgewidth=0.9)
            handles.append(line)
        ax.set(xlim=(0.0, 1.02 * max(end, 1.0)), ylim=(0.0, 1.04))
        ax.set_ylabel("share of runs\nnot yet converged", multialignment="center")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.xaxis.set_major_formatter(Ticks())
        _number_at_risk(ax, {_AT_TIMES[word][1] if visits.at_times else word: arm for word, arm in arms.items()})
        ax.set_xlabel("steps since runs part" if visits.since == "branch" else "step")
        legend_above(ax, handles, swatch=LINE)
    return ax


def _number_at_risk(ax: Axes, arms: dict[str, SurvivalCurve]) -> None:
    """How many runs are still watched and had not converged, in a line an arm between the ticks and their label."""
    small = current_style().small
    ticks = [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    first = -4.5 - small * _BELOW
    for row, (word, arm) in enumerate(arms.items()):
        down = first - row * small * _BELOW
        for tick in ticks:
            _below(ax, str(arm.at_risk(tick)), tick, 0.0, down)
        _below(ax, word, 0.0, -text_size(str(arm.at_risk(0.0)))[0] - 2.0, down, ha="right")
    ax.xaxis.labelpad = 2.5 + len(arms) * small * _BELOW


def _below(ax: Axes, words: str, x: float, right: float, down: float, *, ha: str = "center") -> None:
    """Write below the axis, ``right`` and ``down`` points from ``x``."""
    text = ax.annotate(
        words, (x, 0.0), xycoords=ax.get_xaxis_transform(), xytext=(right, down), textcoords="offset points"
    )
    text.set(ha=ha, va="top", fontsize=current_style().small, color=FAINT_INK, annotation_clip=False)
