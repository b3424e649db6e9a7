"""Phases of learning over the attributes of a sweep, and convergence in probability beside the moments."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import LINE, columns_for, legend_above
from trajhmm.figures.style import INK, POINTS, Width, inches, ink_on, new_axes, print_style, size_of
from trajhmm.figures.texts import Ticks, as_it_stands, number, printable, text_size
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Letter, colour and hatch of each phase, so that the figure reads in grey.
_PHASES = {
    "correct": ("C", "#009E73", ""),
    "saddle": ("S", "#f2f2f2", ""),
    "incorrect": ("I", "#E69F00", "/////"),
    "unstable": ("U", "#D55E00", "xxxxx"),
}
_CELL = 18.0
"""Height of a cell of a phase diagram, in points."""
_HEIGHT = 2.7
# Room for a value that is text, in points.
_VALUE = 80.0
_MOST_CURVES = 4
_CURVES = ("#0072B2", "#D55E00", "#009E73", "#000000")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def plot_phase_diagram(
    phases: pd.DataFrame,
    *,
    x: str | None = None,
    y: str | None = None,
    ax: Axes | None = None,
    width: Width = "column",
) -> Axes:
    """Draw what is learnt at each value of one or two attributes: correct, incorrect, the saddle, or nothing stable.

    Parameters
    ----------
    phases : as ``trajhmm stability`` writes it to ``phases.csv``: attributes, ``exponent_plus``, ``exponent_minus`` and
        ``phase``.
    x, y : attributes for the axes; by default the last, and the last but one if there is. Values stand side
        by side in their order, whatever lies between them.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        There is no phase, no such attribute, or several phases at one place.
    """
    attributes = [str(name) for name in phases.columns if name not in ("exponent_plus", "exponent_minus", "phase")]
    if "phase" not in phases or phases.empty or not attributes:
        raise AnalysisError("no phases to draw; expected attributes and a column 'phase', as in phases.csv")
    x = attributes[-1] if x is None else x
    y = (attributes[-2] if len(attributes) > 1 else None) if y is None else y
    for name in (x, y):
        if name is not None and name not in attributes:
            raise AnalysisError(f"phases have no attribute {name!r}{instead_of(name, attributes)}")
    phases = phases.astype(object).where(phases.notna(), "none")
    across, up = _values(phases[x]), [None] if y is None else _values(phases[y])
    seen: dict[tuple[int, int], str] = {}
    for row in phases.to_dict("records"):
        place = (across.index(row[x]), 0 if y is None else up.index(row[y]))
        if place in seen and seen[place] != row["phase"]:
            raise AnalysisError(f"several phases at {x} {row[x]}: name the attributes of both axes, or choose runs")
        seen[place] = str(row["phase"])
    with print_style():
        if ax is None:
            ax = new_axes(width, (len(up) * _CELL + 62.0) / POINTS)
        for (column, line), phase in seen.items():
            _cell(ax, column, line, phase)
        ax.set(xlim=(0, len(across)), ylim=(0, len(up)), xlabel=_words(x))
        _ticks(ax, across, len(across))
        ax.set_yticks(
            [] if y is None else np.arange(len(up)) + 0.5, labels=[] if y is None else [_short(v) for v in up]
        )
        if y is not None:
            ax.set_ylabel(_words(y))
        as_it_stands([ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()])
        ax.tick_params(length=0.0)
        ax.spines[:].set_visible(False)
        keys = []
        for phase in (phase for phase in _PHASES if phase in seen.values()):
            letter, color, hatch = _PHASES[phase]
            keys.append(Rectangle((0, 0), 1, 1, facecolor=color, hatch=hatch, edgecolor=INK, linewidth=0.5))
            keys[-1].set_label(f"{letter}  {phase}")
        if keys:
            legend_above(ax, keys, columns=columns_for(keys, inches(width) * POINTS))
    return ax


def plot_convergence_in_probability(
    convergence: pd.DataFrame, *, by: Sequence[str] = (), ax: Axes | None = None, width: Width = "column"
) -> Axes:
    """Draw the share of runs below a bound over time, with its band, and above it what the second moment does.

    A line a group, at most four, told by colour and dashes. The logarithm of the second moment stands on the right, as
    thin lines of the same dashes: it can grow while the share goes to 1.

    Parameters
    ----------
    convergence : of `trajhmm.dynamics.stability.convergence_table`, one quantity.
    by : attributes that make the groups.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        There is no row, or more groups than can be told apart.
    """
    groups = list(convergence.groupby(list(by), dropna=False)) if by else [((), convergence)]
    if convergence.empty or len(groups) > _MOST_CURVES:
        raise AnalysisError(f"{len(groups)} groups; expected 1 to {_MOST_CURVES}: choose some with --where")
    with print_style():
        ax = new_axes(width, _HEIGHT) if ax is None else ax
        right = ax.twinx()
        handles = []
        for (values, rows), color, dashes in zip(groups, _CURVES, _DASHES, strict=False):
            steps = rows["step"].to_numpy()
            (line,) = ax.plot(steps, rows["share"], color=color, linestyle=dashes, linewidth=1.3)
            ax.fill_between(steps, rows["ci_low"], rows["ci_high"], color=color, alpha=0.15, linewidth=0)
            moment = rows["log_second_moment"].to_numpy() / np.log(10.0)
            moment = np.where(np.isfinite(moment), moment, np.nan)
            right.plot(steps, moment, color=color, linestyle=dashes, linewidth=0.6)
            told = zip(by, values, strict=True)
            named = ", ".join(f"{_words(name)} {_short(value)}" for name, value in told) or "all runs"
            line.set_label(printable(named, 0.8 * inches(width) * POINTS))
            handles.append(line)
        ax.set(ylim=(-0.02, 1.04), xlabel="step", ylabel="share of runs below the bound")
        ax.set_xlim(left=0.0)
        right.yaxis.set_major_formatter(Ticks())
        right.set_ylabel("log10 of the second moment (thin)")
        right.spines["right"].set_visible(True)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.xaxis.set_major_formatter(Ticks())
        legend_above(ax, handles, swatch=LINE, columns=columns_for(handles, inches(width) * POINTS))
    return ax


def _cell(ax: Axes, column: int, line: int, phase: str) -> None:
    letter, color, hatch = _PHASES.get(phase, ("?", "#ffffff", ""))
    patch = Rectangle((column, line), 1, 1, facecolor=color, hatch=hatch, edgecolor="white", linewidth=0.8)
    patch.set_gid(f"phase-{column}-{line}")
    ax.add_patch(patch)
    text = ax.text(column + 0.5, line + 0.5, letter, ha="center", va="center", color=ink_on(color))
    if hatch:
        text.set_bbox({"facecolor": color, "edgecolor": "none", "pad": 0.8})


def _ticks(ax: Axes, values: Sequence[Hashable], n: int) -> None:
    """Values below the cells, every second or third where they would touch."""
    labels = [_short(value) for value in values]
    room = size_of(ax)[0] / n
    every = max(int(np.ceil((max(text_size(label)[0] for label in labels) + 4.0) / room)), 1)
    shown: NDArray[np.int64] = np.arange(0, n, every)
    ax.set_xticks(shown + 0.5, labels=[labels[place] for place in shown])


def _values(column: pd.Series) -> list[Hashable]:
    """Each value once, numbers before words."""
    return sorted(set(column.tolist()), key=lambda value: (isinstance(value, str), value))


def _short(value: object) -> str:
    return number(value) if isinstance(value, float) else printable(value, _VALUE)


def _words(name: str) -> str:
    return printable(name.replace("_", " "))
