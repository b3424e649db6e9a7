"""The criterion over the number of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trajhmm.dynamics.maps.verdict import decimals, seeds_of
from trajhmm.errors import AnalysisError
from trajhmm.figures.badge import stamp
from trajhmm.figures.legends import LINE, legend_above
from trajhmm.figures.style import DETOUR_INK, FAINT_INK, INK, Width, new_axes, print_style
from trajhmm.figures.texts import Ticks
from trajhmm.hmm.certificate import AGREEMENT, RECOVERY, SEEDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from trajhmm.hmm import Model
    from trajhmm.hmm.results import Criterion, SelectionPoint

HEIGHT = 2.0
"""Of a new figure, in inches."""
_NAMES = {
    "reproducible": "agreement of halves",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "heldout": "held-out likelihood",
}
_FIELDS = {"reproducible": "halves"}
_BLUE = "#0072B2"


def plot_selection_curve(
    model: Model, *, criterion: Criterion | None = None, ax: Axes | None = None, width: Width = "column"
) -> Axes:
    """Draw a criterion over the number of states K, the chosen K marked.

    ``reproducible`` is the mean agreement of halves of the runs, beside how far the state that comes back worst is
    found again, each with the mark that it has to reach; a K that was not tried in halves has neither. Held-out
    log-likelihoods have bars of a standard error over runs. A cross on the axis marks a K at which every restart
    degenerated.

    Parameters
    ----------
    model : holds the curve.
    criterion : ``reproducible``, ``bic``, ``aic``, ``icl`` or ``heldout``; by default the one that chose K.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        The model was not fitted with that criterion.
    """
    if criterion is None:
        criterion = "bic" if model.criterion == "reproducible" and model.certificate is None else model.criterion
    scores: dict[int, float | None] = {
        point.states: getattr(point, _FIELDS.get(criterion, criterion), None) for point in model.curve
    }
    found = {k: score for k, score in scores.items() if score is not None}
    if not found:
        raise AnalysisError(
            f"the model holds no {criterion!r} for any number of states: "
            "fit it with --criterion heldout or reproducible, or ask for bic, aic or icl"
        )
    with print_style():
        if ax is None:
            ax = new_axes(width, HEIGHT)
            stamp(ax, model.certificate)
        (line,) = ax.plot(
            list(found), list(found.values()), "-o", color=INK, linewidth=0.9, markersize=3.0, zorder=2.0, gid="curve"
        )
        line.set_label("higher is better" if criterion == "heldout" else "lower is better")
        handles = [line]
        if criterion == "reproducible":
            line.set_label(f"halves of the runs, {AGREEMENT:g} needed")
            handles += _worst_states(ax, model)
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
        failed = [point.states for point in model.curve if point.states not in found and _is_without_fit(point)]
        if failed:
            (cross,) = ax.plot(failed, np.zeros(len(failed)), "x", color=FAINT_INK, markersize=4.0, clip_on=False)
            cross.set(transform=ax.get_xaxis_transform(), label="no usable fit")
            handles.append(cross)
        ax.set(xlabel="number of states K", xlim=(min(scores) - 0.5, max(scores) + 0.5))
        ax.set_ylabel(_label(criterion), multialignment="center")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
        if criterion == "reproducible":
            ax.set_ylim(min(0.0, *found.values()), 1.05)
        else:
            ax.margins(y=0.12)
        ax.yaxis.set_major_formatter(Ticks())
        legend_above(ax, handles, swatch=LINE)
    return ax


def _worst_states(ax: Axes, model: Model) -> list[Line2D]:
    """The state of each K that comes back worst, and the two marks."""
    worst = [(point.states, point.recovery) for point in model.curve if point.recovery is not None]
    (line,) = ax.plot(*zip(*worst, strict=True), "--s", color=_BLUE, linewidth=0.9, markersize=3.0, zorder=1.9)
    line.set(markerfacecolor="white", gid="worst", label=f"state that comes back worst, {RECOVERY:g} needed")
    for mark, color in ((AGREEMENT, INK), (RECOVERY, _BLUE)):
        ax.axhline(mark, color=color, linewidth=0.6, linestyle=":", zorder=1.0, gid=f"mark-{mark:g}")
    return [line]


def _is_without_fit(point: SelectionPoint) -> bool:
    return point.outcome == "degenerate" or point.log_likelihood is None


def _chosen_by(model: Model) -> str:
    if len(model.curve) < 2:
        return ""
    if model.criterion == "reproducible" and model.certificate is not None:
        if model.certificate.reproducible:
            if model.certificate.given_way is not None:
                return ", the largest without more outlier states"
            return ", the largest that comes back"
        own = model.certificate.at(model.n_states)
        if own is not None and own.halves_agree:
            return f", agrees best; other seeds {decimals(seeds_of(own), SEEDS)}, {SEEDS:g} needed"
        return ", agrees best"
    return f", chosen by {_NAMES['bic' if model.criterion == 'reproducible' else model.criterion]}"


def _label(criterion: Criterion) -> str:
    if criterion == "reproducible":
        return "agreement, 1 = the same"
    return "held-out log-likelihood\nper row (nats)" if criterion == "heldout" else _NAMES[criterion]
