"""The criterion over the number of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import LINE, legend_above
from trajhmm.figures.style import DETOUR_INK, FAINT_INK, INK, Width, new_axes, print_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.hmm import Model
    from trajhmm.hmm.learning.selection import Criterion

HEIGHT = 2.0
"""Of a new figure, in inches."""
_NAMES = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "heldout": "held-out likelihood"}


def plot_selection_curve(
    model: Model, *, criterion: Criterion | None = None, ax: Axes | None = None, width: Width = "column"
) -> Axes:
    """Draw a criterion over the number of states K, the chosen K marked.

    Held-out log-likelihoods have bars of a standard error over runs. A cross on the axis marks a K at which every
    restart degenerated.

    Parameters
    ----------
    model : holds the curve.
    criterion : ``bic``, ``aic``, ``icl`` or ``heldout``; by default the one that chose K.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        The model was not fitted with that criterion.
    """
    criterion = model.criterion if criterion is None else criterion
    scores: dict[int, float | None] = {point.states: getattr(point, criterion, None) for point in model.curve}
    found = {k: score for k, score in scores.items() if score is not None}
    if not found:
        raise AnalysisError(
            f"the model holds no {criterion!r} for any number of states: "
            "fit it with --criterion heldout, or ask for bic, aic or icl"
        )
    with print_style():
        ax = new_axes(width, HEIGHT) if ax is None else ax
        (line,) = ax.plot(
            list(found), list(found.values()), "-o", color=INK, linewidth=0.9, markersize=3.0, zorder=2.0, gid="curve"
        )
        line.set_label("higher is better" if criterion == "heldout" else "lower is better")
        handles = [line]
        if criterion == "heldout":
            errors = [point.heldout_se or 0.0 for point in model.curve if point.heldout is not None]
            ax.errorbar(
                list(found), list(found.values()), yerr=errors, fmt="none", ecolor=INK, elinewidth=0.7, capsize=2.0
            )
            line.set_label("higher is better; ± a standard error")
        if model.n_states in found:
            (ring,) = ax.plot([model.n_states], [found[model.n_states]], "o", color=DETOUR_INK, markersize=7.0)
            ring.set(markerfacecolor="none", markeredgewidth=1.3, gid="chosen")
            ring.set_label(f"K = {model.n_states}" + _chosen_by(model))
            handles.append(ring)
        failed = sorted(scores.keys() - found.keys())
        if failed:
            (cross,) = ax.plot(failed, np.zeros(len(failed)), "x", color=FAINT_INK, markersize=4.0, clip_on=False)
            cross.set(transform=ax.get_xaxis_transform(), label="no usable fit")
            handles.append(cross)
        ax.set(xlabel="number of states K", xlim=(min(scores) - 0.5, max(scores) + 0.5))
        ax.set_ylabel(_label(criterion), multialignment="center")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
        if criterion != "heldout":
            ax.yaxis.set_major_formatter(EngFormatter(sep=""))
        ax.margins(y=0.12)
        legend_above(ax, handles, swatch=LINE)
    return ax


def _chosen_by(model: Model) -> str:
    return f", chosen by {_NAMES[model.criterion]}" if len(model.curve) > 1 else ""


def _label(criterion: Criterion) -> str:
    return "held-out log-likelihood\nper row (nats)" if criterion == "heldout" else _NAMES[criterion]
