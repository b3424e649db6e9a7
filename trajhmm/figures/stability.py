"""How stable training is: the profile of a perturbation audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from trajhmm.errors import AnalysisError
from trajhmm.figures.style import FAINT_INK, INK, POINTS, Width, current_style, inches, print_style
from trajhmm.figures.texts import Ticks, number, printable, text_size
from trajhmm.naming import listed, shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ROW = 1.55
"""Height of a row of a new figure, in sizes of type."""
# Of each quantity its axis, if that is fixed, and where nothing has changed.
_AXES: dict[str, tuple[tuple[float, float] | None, float]] = {
    "collapsed": ((0.0, 1.0), 0.0),
    "recovery_steps": (None, 0.0),
    "area_ratio": (None, 1.0),
    "deviation": (None, 0.0),
    "lead_share": ((0.0, 1.0), 0.0),
}
_MARGIN = 0.06
# Room for titles, for ticks and for a strength that is text, in points.
_ABOVE, _BELOW, _STRENGTH = 22.0, 14.0, 80.0


def plot_stability_profile(profile: pd.DataFrame, *, width: Width = "column") -> tuple[Axes, ...]:
    """Draw a stability profile in a new figure: a row a dimension and strength, a panel a quantity, with intervals.

    A hollow triangle at the right edge stands where the logs end before half of the runs have recovered; a line that
    runs into the edge has no upper end. Dotted lines stand where nothing has changed. There is no dot where there is
    nothing to tell, as of the lead where no run collapses.

    Parameters
    ----------
    profile : as ``trajhmm audit`` writes it to ``profile.csv``, one row a dimension and strength.
    width : of the figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Returns
    -------
    The axes, from left to right.

    Raises
    ------
    AnalysisError
        A column is missing, or there is no row.
    """
    # Here, as an audit takes half a second to import, which no other figure needs.
    from trajhmm.dynamics.stability.audit.profile import QUANTITIES

    quantities = QUANTITIES.values()
    wanted = ["dimension", "strength", *QUANTITIES, *(name for one in quantities for name in (one.low, one.high))]
    missing = [name for name in wanted if name not in profile.columns]
    if missing or not len(profile):
        what = f"no column {missing[0]!r}" if missing else "no row"
        raise AnalysisError(
            f"{what} in this profile (found: {listed(profile.columns)}); draw the profile.csv of 'trajhmm audit'"
        )
    heights, headings = _rows(profile)
    total = max(heights) + 1.0
    with print_style():
        small = current_style().small
        across, height = inches(width) * POINTS, total * ROW * small + _ABOVE + _BELOW
        figure = Figure(figsize=(across / POINTS, height / POINTS))
        left = max(text_size(label)[0] for label in _strengths(profile)) + 8.0
        panels = tuple(
            figure.subplots(
                1,
                len(quantities),
                sharey=True,
                squeeze=False,
                gridspec_kw={
                    "left": left / across,
                    "right": 1 - 7.0 / across,
                    "top": 1 - _ABOVE / height,
                    "bottom": _BELOW / height,
                    "wspace": 0.22,
                },
            )[0]
        )
        for ax, one in zip(panels, quantities, strict=True):
            limits, unchanged = _AXES[one.column]
            low, value, high = (
                profile[column].to_numpy(dtype=np.float64) for column in (one.low, one.column, one.high)
            )
            _scale(ax, limits, np.concatenate([low, value, high, [unchanged]]))
            _draw(ax, one.column, np.array(heights), low, value, high)
            ax.axvline(unchanged, color=FAINT_INK, linewidth=0.5, linestyle=(0, (1, 1.5)), zorder=0.5, clip_on=False)
            ax.set_title(one.panel, fontsize=small, pad=3.0)
            ax.tick_params(axis="y", length=0.0)
            ax.spines["left"].set_visible(False)
            ax.patch.set_visible(False)  # names of dimensions reach across panels
        _name_rows(panels[0], profile, heights, headings, left - 2.0)
        panels[0].set_ylim(total - 0.4, -0.7)
    return panels


def _rows(profile: pd.DataFrame) -> tuple[list[float], dict[str, float]]:
    """How far down each row stands, and the heading of each dimension: a line of its own above its strengths."""
    heights, headings, place = [], {}, 0.0
    for dimension in profile["dimension"].astype(str):
        if dimension not in headings:
            headings[dimension] = place
            place += 1.0
        heights.append(place)
        place += 1.0
    return heights, headings


def _scale(ax: Axes, limits: tuple[float, float] | None, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    finite = values[np.isfinite(values)]
    least, most = limits if limits is not None else (float(finite.min()), float(finite.max()))
    if most <= least:
        most = least + 1.0
    reach = _MARGIN * (most - least)
    ax.set_xlim(least - reach, most + reach)
    if limits is not None:
        ax.set_xticks(limits, labels=[f"{end:g}" for end in limits])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=2, steps=[1, 2, 5, 10], min_n_ticks=2))
        ax.xaxis.set_major_formatter(Ticks())


def _draw(
    ax: Axes,
    name: str,
    heights: np.ndarray[Any, np.dtype[np.float64]],
    low: np.ndarray[Any, np.dtype[np.float64]],
    value: np.ndarray[Any, np.dtype[np.float64]],
    high: np.ndarray[Any, np.dtype[np.float64]],
) -> None:
    """Intervals, dots, and triangles for what lies beyond the edge."""
    edge = ax.get_xlim()[1]
    bounded = ~(np.isnan(low) | np.isnan(high))
    bars = ax.hlines(
        heights[bounded], low[bounded], np.minimum(high[bounded], edge), color=FAINT_INK, linewidth=0.9, zorder=2.0
    )
    bars.set_gid(f"intervals-{name}")
    known, beyond = np.isfinite(value), np.isinf(value)
    ax.plot(value[known], heights[known], "o", color=INK, markersize=3.0, zorder=3.0, clip_on=False, gid=f"dots-{name}")
    triangles: dict[str, Any] = {
        "color": INK,
        "markerfacecolor": "white",
        "markeredgecolor": INK,
        "markeredgewidth": 0.6,
        "markersize": 3.4,
    }
    ax.plot(
        np.full(beyond.sum(), edge), heights[beyond], ">", zorder=3.0, clip_on=False, gid=f"beyond-{name}", **triangles
    )


def _name_rows(ax: Axes, profile: pd.DataFrame, heights: list[float], headings: dict[str, float], left: float) -> None:
    """Strengths beside the rows, dimensions above them, from ``left`` points beside the axes on."""
    ax.set_yticks(heights, labels=_strengths(profile))
    beside = blended_transform_factory(ax.transAxes, ax.transData) + ScaledTranslation(
        -left / POINTS, 0.0, ax.figure.dpi_scale_trans
    )
    for dimension, place in headings.items():
        ax.text(
            0.0,
            place,
            printable(dimension.replace("_", " ")),
            transform=beside,
            ha="left",
            va="center",
            fontsize=current_style().small,
            fontweight="bold",
            gid=f"dimension-{shown(dimension)}",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )


def _strengths(profile: pd.DataFrame) -> list[str]:
    return [
        printable(strength, _STRENGTH) if isinstance(strength, str) else number(strength, 6)
        for strength in profile["strength"]
    ]
