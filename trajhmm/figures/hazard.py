"""How often runs change over training: the hazard of a change, one group of runs beside another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import LINE, columns_for, legend_above
from trajhmm.figures.style import FAINT_INK, INK, POINTS, Width, current_style, inches, new_axes, print_style
from trajhmm.figures.texts import Ticks, number, printable, text_size
from trajhmm.naming import listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

HEIGHT, PANEL_HEIGHT = 2.1, 0.95
"""Of a new figure, and of each row of panels, in inches."""
MOST = 4
"""Groups in one panel; more get a panel each."""
WANTED = ("step", "hazard", "ci_low", "ci_high")
PER = 1000
# Lines of up to four groups: as they differ in colour they do in dashes, for a grey print.
_LINES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (4, 1.5))),
    ("#000000", (0, (1, 1.2))),
    ("#009E73", (0, (5, 1, 1, 1))),
)
_PANEL_WIDTH = 0.65
# Groups whose logs differ more in length than so many times would not be seen on one scale.
_ALIKE = 3.0


def plot_hazard(hazard: pd.DataFrame, *, width: Width = "column") -> tuple[Axes, ...]:
    """Draw the hazard of a change over training in a new figure, with its interval: changes per 1,000 steps of a run.

    Up to four groups of runs share a panel; more get one each, on one scale, or on one for each row of panels where
    their logs differ much in length.

    Parameters
    ----------
    hazard : as ``trajhmm stability`` writes it to ``hazard.csv``, one row for each group and bin of training.
    width : of the figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Returns
    -------
    The axes, from left to right, then downwards.

    Raises
    ------
    AnalysisError
        A column is missing, or there is no row.
    """
    missing = [name for name in WANTED if name not in hazard.columns]
    if missing or not len(hazard):
        what = f"no column {missing[0]!r}" if missing else "no row"
        raise AnalysisError(
            f"{what} in this hazard (found: {listed(hazard.columns)}); draw the hazard.csv of 'trajhmm stability'"
        )
    by = [str(name) for name in hazard.columns if name not in WANTED]
    groups = _groups(hazard, by)
    with print_style():
        room = 0.8 * inches(width) * POINTS
        named = printable(", ".join(name.replace("_", " ") for name in by), room)
        names = [printable(name, room) for name in groups]
        # Of those that differ only in what is not shown their number tells.
        alike = [f"{place} {name}" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]
        groups = dict(zip(alike, groups.values(), strict=True))
        if len(groups) <= MOST:
            return (_together(groups, named, width),)
        row = hazard[by[-1]].nunique(dropna=False)
        return _apart(groups, named, row if len(groups) % row == 0 else len(groups), width)


def _groups(hazard: pd.DataFrame, by: list[str]) -> dict[str, pd.DataFrame]:
    """Rows by what the group is called."""
    if not by:
        return {"": hazard}
    return {
        ", ".join(number(value, 6) if isinstance(value, float) else str(value) for value in values): rows
        for values, rows in hazard.groupby(by, sort=False, dropna=False)
    }


def _together(groups: dict[str, pd.DataFrame], by: str, width: Width) -> Axes:
    ax = new_axes(width, HEIGHT)
    handles = []
    for (name, rows), (color, dashes) in zip(groups.items(), _LINES, strict=False):
        _draw(ax, rows, name, color, dashes)
        handles.append(Line2D([], [], color=color, linestyle=dashes, linewidth=1.2, label=name))
    _dress(ax, groups)
    ax.set_xlabel("step")
    ax.set_ylabel(f"changes per {PER:,} steps\nof a run", multialignment="center")
    if len(groups) > 1:
        legend_above(ax, handles, columns=columns_for(handles, inches(width) * POINTS * 0.8), swatch=LINE)
        legend = ax.get_legend()
        if legend is not None:
            legend.set_title(by, prop=FontProperties(size=current_style().small))
            legend.set_alignment("left")
    return ax


def _apart(groups: dict[str, pd.DataFrame], by: str, row: int, width: Width) -> tuple[Axes, ...]:
    """A panel a group, ``row`` beside each other if they fit."""
    longest = max(text_size(name)[0] for name in groups) / POINTS + 0.12
    across = max(1, min(row, int((inches(width) - 0.4) / max(_PANEL_WIDTH, longest))))
    down = -(-len(groups) // across)
    figure = Figure(figsize=(inches(width), PANEL_HEIGHT * down + 0.45), layout="constrained")
    ends = [float(rows["step"].max()) for rows in groups.values()]
    alike = max(ends) <= _ALIKE * min(ends)
    panels = figure.subplots(
        down, across, sharex="all" if alike else "row", sharey="all" if alike else "row", squeeze=False
    )
    named = list(groups.items())
    for place, (ax, (name, rows)) in enumerate(zip(panels.flat, named, strict=False)):
        _draw(ax, rows, name, INK, "-")
        first = place - place % across
        _dress(ax, groups if alike else dict(named[first : first + across]))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=3))
        ax.set_title(name, fontsize=current_style().small, pad=2.0)
    shown = list(panels.flat)[: len(groups)]
    for ax in list(panels.flat)[len(groups) :]:
        ax.set_visible(False)
    for ax in shown[-across:]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("step", fontsize=current_style().base, color=INK)
    figure.supylabel(f"changes per {PER:,} steps of a run", fontsize=current_style().base, color=INK)
    figure.suptitle(by, fontsize=current_style().small, color=FAINT_INK)
    return tuple(shown)


def _draw(ax: Axes, rows: pd.DataFrame, name: str, color: str, dashes: Any) -> None:
    steps = rows["step"].to_numpy(dtype=np.float64)
    value, low, high = (PER * rows[column].to_numpy(dtype=np.float64) for column in WANTED[1:])
    if len(steps) == 1:
        ax.plot(steps, value, "o", color=color, markersize=3.0, gid=f"hazard-{name}")
        ax.vlines(steps, low, high, color=color, linewidth=0.9)
        return
    ax.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0.0, gid=f"interval-{name}")
    (line,) = ax.plot(steps, value, color=color, linewidth=1.1, gid=f"hazard-{name}")
    line.set_linestyle(dashes)


def _dress(ax: Axes, groups: dict[str, pd.DataFrame]) -> None:
    """Scales that all groups fit on, but for upper ends of intervals that go far beyond all hazards."""
    values = np.concatenate([rows["hazard"].to_numpy(dtype=np.float64) for rows in groups.values()])
    highs = np.concatenate([rows["ci_high"].to_numpy(dtype=np.float64) for rows in groups.values()])
    most = float(np.nanmax(values, initial=0.0))
    bounds = highs[np.isfinite(highs)]
    top = min(float(bounds.max(initial=most)), 2.5 * most) if most > 0.0 else float(bounds.max(initial=1e-3))
    ax.set_ylim(0.0, 1.05 * PER * max(top, most))
    last = max(float(rows["step"].max()) for rows in groups.values())
    ax.set_xlim(0.0, 1.03 * max(last, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.xaxis.set_major_formatter(Ticks())
    ax.yaxis.set_major_formatter(Ticks())
