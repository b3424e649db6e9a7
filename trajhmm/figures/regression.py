"""Convergence steps beside those that the bag of states predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import legend_above
from trajhmm.figures.style import FAINT_INK, Width, line_colors, new_axes, print_style
from trajhmm.figures.texts import Ticks, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.detours.regression import Regression

HEIGHT = 2.5
"""Of a new figure, in inches."""
_BLUE, _ORANGE = line_colors(2)


def plot_regression(regression: Regression, *, ax: Axes | None = None, width: Width = "column") -> Axes:
    """Draw the step at which each run converged over the step that the regression on its bag of states gives it.

    Discs are in sample; open diamonds come from the regression of the other runs. Both axes have the same range, and
    runs that are predicted right lie on the line.

    Parameters
    ----------
    regression : of an analysis.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        There is no regression: too few runs converge, or all at one step.
    """
    if regression.r2 is None or regression.loro_r2 is None:
        raise AnalysisError(f"no regression to draw: {regression.why_not or 'it explains nothing'}")
    everything = np.concatenate([regression.observed, regression.fitted, regression.left_out])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.05 * ((high - low) or 1.0)
    limits = (low - margin, high + margin)
    with print_style():
        ax = new_axes(width, HEIGHT) if ax is None else ax
        ax.plot(limits, limits, color=FAINT_INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1.0)
        (inside,) = ax.plot(regression.fitted, regression.observed, "o", color=_BLUE, markersize=3.5, zorder=3.0)
        inside.set(markeredgewidth=0.0, label=f"in sample: R² = {number(regression.r2)}", gid="fitted")
        (outside,) = ax.plot(regression.left_out, regression.observed, "D", color=_ORANGE, markersize=4.5, zorder=2.0)
        outside.set(markerfacecolor="none", markeredgewidth=1.0, gid="left-out")
        outside.set_label(f"run left out: R² = {number(regression.loro_r2)}")
        ax.set(xlim=limits, ylim=limits, xlabel="predicted convergence step", ylabel="observed convergence step")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))
            axis.set_major_formatter(Ticks())
        legend_above(ax, [inside, outside])
    return ax
