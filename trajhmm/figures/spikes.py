"""Spikes over training: what each left behind, and which never ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import columns_for, legend_above
from trajhmm.figures.style import FAINT_INK, INK, POINTS, Width, current_style, drawable, inches, print_style
from trajhmm.figures.texts import Ticks, printable, wrapped
from trajhmm.naming import shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

HEIGHT = 1.45
"""Of each metric's panel, in inches."""
_LONGEST_LABEL = 24
"""Letters of a metric's name in one line of its label."""
# For a line of it, in points.
_ROOM = 90.0
WANTED = ("run", "metric", "start", "net_effect", "verdict")
MOST = 6
# Verdicts differ in shape, and not in colour alone.
_MARKS: dict[str, dict[str, Any]] = {
    "helped": {"marker": "v", "color": "#0072B2", "markersize": 3.6},
    "harmed": {"marker": "^", "color": "#D55E00", "markersize": 3.6},
    "neutral": {
        "marker": "o",
        "color": FAINT_INK,
        "markerfacecolor": "none",
        "markersize": 2.6,
        "markeredgewidth": 0.6,
    },
    "never recovered": {"marker": "x", "color": INK, "markersize": 3.4, "markeredgewidth": 0.8},
}


def plot_spikes(spikes: pd.DataFrame, *, width: Width = "column") -> tuple[Axes, ...]:
    """Draw the net effect of each spike over the step at which it began, in a new figure with a panel a metric.

    The axis of net effects is linear about 0, as far as the middle half of them reaches, and logarithmic beyond. Spikes
    that never ended stand as crosses on the upper edge; those whose effect is not known, as too few rows follow, are
    counted in the key and not drawn.

    Parameters
    ----------
    spikes : as ``trajhmm stability`` writes it to ``spikes.csv``, one row a spike.
    width : of the figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Returns
    -------
    The axes, from above.

    Raises
    ------
    AnalysisError
        A column is missing, there is no spike, or spikes are of more than six metrics.
    """
    missing = [name for name in WANTED if name not in spikes.columns]
    metrics = [] if missing or not len(spikes) else list(dict.fromkeys(spikes["metric"].astype(str)))
    if missing or not len(spikes) or len(metrics) > MOST:
        what = f"no column {missing[0]!r}" if missing else "no spike" if not len(spikes) else f"{len(metrics)} metrics"
        raise AnalysisError(
            f"{what} in these spikes; draw the spikes.csv of 'trajhmm stability', spikes of at most {MOST} metrics"
        )
    with print_style():
        figure = Figure(figsize=(inches(width), HEIGHT * len(metrics) + 0.55), layout="constrained")
        panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
        for ax, metric in zip(panels, metrics, strict=True):
            _draw(ax, spikes[spikes["metric"].astype(str) == metric], metric)
        panels[-1].set_xlabel("step at which the spike begins")
        panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        panels[-1].xaxis.set_major_formatter(Ticks())
        handles = _key(spikes)
        if handles:
            legend_above(panels[0], handles, columns=columns_for(handles, 0.8 * inches(width) * POINTS))
    return tuple(panels)


def _draw(ax: Axes, spikes: pd.DataFrame, metric: str) -> None:
    net = drawable(spikes["net_effect"].to_numpy(dtype=np.float64))
    starts = spikes["start"].to_numpy(dtype=np.float64)
    verdicts = spikes["verdict"].to_numpy()
    known = net[np.isfinite(net)]
    ax.axhline(0.0, color=FAINT_INK, linewidth=0.5, linestyle=(0, (1, 1.5)), zorder=0.5)
    if len(known):
        most = float(np.abs(known).max()) or 1.0
        linear = max(float(np.median(np.abs(known))), 1e-3 * most)
        if most > 20 * linear:
            ax.set_yscale("symlog", linthresh=linear, linscale=0.8)
            ax.yaxis.set_major_locator(_ticks(linear, most))
            reach = 1.6 * most
        else:
            reach = 1.15 * most
        ax.set_ylim(-reach if known.min() < 0.0 else -0.15 * reach, reach if known.max() > 0.0 else 0.15 * reach)
        ax.yaxis.set_major_formatter(Ticks())
    for verdict in ("neutral", "helped", "harmed"):
        chosen = (verdicts == verdict) & np.isfinite(net)
        ax.plot(starts[chosen], net[chosen], linestyle="none", gid=f"{shown(metric)}-{verdict}", **_MARKS[verdict])
    chosen = verdicts == "never recovered"
    if chosen.any():  # an empty line that is not clipped takes up the corner of the figure
        ax.plot(
            starts[chosen],
            np.ones(int(chosen.sum())),
            linestyle="none",
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            gid=f"{shown(metric)}-never recovered",
            **_MARKS["never recovered"],
        )
    ax.set_ylabel(f"net effect on\n{wrapped(printable(metric), _LONGEST_LABEL, _ROOM)}", multialignment="center")


def _ticks(linear: float, most: float) -> Any:
    """0, and powers of ten on both sides, at most three."""
    from matplotlib.ticker import FixedLocator

    low, high = int(np.ceil(np.log10(linear))), int(np.floor(np.log10(most)))
    powers = 10.0 ** np.unique(np.linspace(low, max(high, low), 2).round())
    return FixedLocator([*(-powers[::-1]).tolist(), 0.0, *powers.tolist()])


def _key(spikes: pd.DataFrame) -> list[Line2D]:
    """One entry for each verdict that there is, with how many."""
    counts = spikes["verdict"].value_counts()
    handles = [
        Line2D([], [], linestyle="none", label=f"{verdict} ({counts[verdict]})", **_MARKS[verdict])
        for verdict in _MARKS
        if verdict in counts
    ]
    for handle in handles:
        handle.set_markersize(max(3.2, current_style().small * 0.5))
    return handles
