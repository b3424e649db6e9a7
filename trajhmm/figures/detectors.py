"""Detectors side by side: what they find against what they cost, and how early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import LINE, columns_for, legend_above
from trajhmm.figures.style import DETOUR_INK, POINTS, Width, inches, line_colors, print_style, size_of
from trajhmm.figures.texts import printable
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.warning.evaluation import Comparison, ComparisonRow, Report

_OURS = "hmm"
_MOST_NAMED = 4
_MARKERS = "sD^v"
_DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 2)))
_HEIGHT = 2.2
_OTHERS = "#bdbdbd"
# Room for the name of a detector, in points.
_NAME = 150.0


def plot_recall_vs_false_alarms(
    comparison: Comparison,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    width: Width = "column",
) -> Axes:
    """Draw the share of collapsing runs named in time against the share of healthy runs that alarmed.

    A line joins a detector's budgets; a hollow marker stands for its published threshold. The bars of the first are
    Clopper–Pearson intervals at 95%.

    Parameters
    ----------
    comparison : the detectors.
    names : those to name, at most five; by default the HMM and the four others that find most. The rest is grey.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure: that of a column or of the text under the style around, or inches.

    Raises
    ------
    AnalysisError
        A name that is not there, or too many.
    """
    chosen = _named(comparison, names)
    with print_style():
        ax = _axes(width) if ax is None else ax
        for detector in dict.fromkeys(row.detector for row in comparison.rows):
            rows = [row for row in comparison.rows if row.detector == detector]
            calibrated = [row.report for row in rows if row.budget is not None and row.report is not None]
            published = [row.report for row in rows if row.budget is None and row.report is not None]
            _draw_trade(ax, detector, chosen, calibrated, published)
        ax.set(xlabel="healthy runs that alarm", ylabel="collapses named in time")
        ax.set_ylim(-0.03, 1.04)
        # Budgets are small, and some published thresholds alarm on every healthy run.
        ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.05, 0.1, 0.2, 0.4, 0.7, 1])
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _legend(ax, chosen)
    return ax


def plot_lead_times(
    comparison: Comparison,
    *,
    budget: float | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    width: Width = "column",
) -> Axes:
    """Draw the share of collapsing runs that were named with at least so much of the way to collapse left.

    Parameters
    ----------
    comparison : the detectors.
    budget : share of healthy runs that may alarm, one of those compared; by default the smallest.
    names : as for `plot_recall_vs_false_alarms`.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure: that of a column or of the text under the style around, or inches.

    Raises
    ------
    AnalysisError
        As there, or no such budget.
    """
    chosen = _named(comparison, names)
    budgets = sorted({row.budget for row in comparison.rows if row.budget is not None})
    if not budgets or (budget is not None and budget not in budgets):
        found = ", ".join(f"{known:g}" for known in budgets) or "none"
        raise AnalysisError(f"no budget {budget} was compared (found: {found})")
    wanted = budgets[0] if budget is None else budget
    with print_style():
        ax = _axes(width) if ax is None else ax
        for row in comparison.rows:
            if row.budget == wanted and row.report is not None:
                _draw_leads(ax, row, chosen)
        ax.set(xlabel="lead, as share of onset to collapse", ylabel="collapses named with that lead")
        ax.set_xlim(0, 1)
        ax.set_ylim(-0.03, 1.04)
        _legend(ax, chosen)
    return ax


def _named(comparison: Comparison, names: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(row.detector for row in comparison.rows if row.report is not None))
    if names is None:
        best: dict[str, float] = {}
        for row in comparison.rows:
            if row.report is not None and row.budget is not None:
                best[row.detector] = max(best.get(row.detector, 0.0), row.report.recall.value)
        others = sorted((name for name in best if name != _OURS), key=lambda name: -best[name])
        return [*([_OURS] if _OURS in known else []), *others[:_MOST_NAMED]]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise AnalysisError(f"no detector {unknown[0]!r} was compared{instead_of(unknown[0], known)}")
    if len(names) > _MOST_NAMED + 1:
        raise AnalysisError(f"{len(names)} detectors cannot all be told apart; name at most {_MOST_NAMED + 1}")
    return list(names)


def _look(detector: str, chosen: list[str]) -> dict[str, Any]:
    """Colour, dashes and marker of a detector: the first stands out, those not named are grey."""
    if detector not in chosen:
        return {"color": _OTHERS, "linewidth": 0.5, "marker": ".", "markersize": 3.0, "zorder": 1.0}
    place = chosen.index(detector)
    if place == 0:
        return {"color": DETOUR_INK, "linewidth": 1.4, "marker": "o", "markersize": 4.0, "zorder": 4.0}
    colors = [color for color in line_colors(8) if color != DETOUR_INK]
    return {
        "color": colors[place - 1],
        "linewidth": 0.9,
        "linestyle": _DASHES[place - 1],
        "marker": _MARKERS[place - 1],
        "markersize": 3.2,
        "zorder": 3.0,
    }


def _draw_trade(
    ax: Axes, detector: str, chosen: list[str], calibrated: Sequence[Report], published: Sequence[Report]
) -> None:
    look = _look(detector, chosen)
    label = detector.replace("_", " ") if detector in chosen else None
    if calibrated:
        ordered = sorted(calibrated, key=lambda report: report.healthy_alarmed.value)
        cost = [report.healthy_alarmed.value for report in ordered]
        found = [report.recall.value for report in ordered]
        ax.plot(cost, found, label=label, clip_on=False, **look)
        if chosen and detector == chosen[0]:
            for report, x, y in zip(ordered, cost, found, strict=True):
                ax.vlines(x, report.recall.low, report.recall.high, color=look["color"], linewidth=0.6, zorder=3.5)
                ax.hlines(
                    y,
                    report.healthy_alarmed.low,
                    report.healthy_alarmed.high,
                    color=look["color"],
                    linewidth=0.6,
                    zorder=3.5,
                )
    for report in published:
        ax.plot(
            report.healthy_alarmed.value,
            report.recall.value,
            clip_on=False,
            **{**look, "markerfacecolor": "white", "marker": look["marker"] if label else "o"},
        )


def _draw_leads(ax: Axes, row: ComparisonRow, chosen: list[str]) -> None:
    leads = np.sort([outcome.lead_share for outcome in row.outcomes if outcome.kind.value == "collapsed"])[::-1]
    if not len(leads):
        return
    named = leads[leads > 0]
    x = np.concatenate([[1.0], named, [0.0]])
    y = np.concatenate([[0.0], np.arange(1, len(named) + 1), [len(named)]]) / len(leads)
    look = {key: value for key, value in _look(row.detector, chosen).items() if not key.startswith("marker")}
    label = row.detector.replace("_", " ") if row.detector in chosen else None
    ax.step(x, y, where="post", label=label, **look)


def _axes(width: Width) -> Axes:
    return Figure(figsize=(inches(width), _HEIGHT), layout="constrained").add_subplot()


def _legend(ax: Axes, chosen: list[str]) -> None:
    """Above the axes, outside the data, in as many columns as the figure has room for."""
    handles, labels = ax.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    entries = [found[label] for name in chosen if (label := name.replace("_", " ")) in found]
    for handle in entries:
        handle.set_label(printable(str(handle.get_label()), _NAME))
    if entries:
        figure = ax.get_figure(root=True)
        room = size_of(ax)[0] if figure is None else 0.86 * figure.bbox.width / figure.dpi * POINTS
        legend_above(ax, entries, columns=columns_for(entries, room, swatch=LINE), swatch=LINE)
