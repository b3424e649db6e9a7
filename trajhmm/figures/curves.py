"""A metric over training, coloured by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.figures.legends import LINE, columns_for, legend_above, state_legend
from trajhmm.figures.style import (
    INK,
    POINTS,
    Width,
    drawable,
    inches,
    line_colors,
    new_axes,
    print_style,
    state_hatches,
)
from trajhmm.figures.texts import Ticks, as_it_stands, printable, wrapped
from trajhmm.naming import instead_of, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.maps.trajectories import Trajectories

StepScale = Literal["linear", "log", "sqrt"]
_ByState = dict[int, list[NDArray[np.float64]]]
HEIGHT, PANEL_HEIGHT = 2.1, 1.1
"""Of a new figure, and of each of its panels, in inches."""
_LONGEST_LABEL = 16
"""Letters of a metric's name in one line of its label."""
# For a line of it, in points.
_ROOM = 75.0
MOST_OF_A_RUN = 3
"""Metrics of one run on one panel, at most: so many dashes are told apart at the width of a column."""
Dashes = Literal["-"] | tuple[int, tuple[float, ...]]
# The first is thin, as those after it are drawn over it: of train and eval loss the first is the noisier.
_LOOKS: tuple[tuple[Dashes, float], ...] = (("-", 0.8), ((0, (3.5, 1.2)), 1.3), ((0, (1.0, 1.0)), 1.3))
_LOGARITHMIC_FROM = 30.0


def plot_metric_curves(
    trajectories: Trajectories,
    metric: str,
    *,
    ax: Axes | None = None,
    step_scale: StepScale = "linear",
    width: Width = "full",
) -> Axes:
    """Draw one metric of every run as logged, each stretch in the colour of the state that it starts in.

    Rows without a value (NaN: the metric is not logged there) are passed over; an infinite value interrupts the curve
    and a cross marks the last value before it.

    Parameters
    ----------
    trajectories : the runs.
    metric : its name.
    ax : axes to draw into; by default those of a new figure.
    step_scale : of the axis of steps. ``"log"`` is linear from 0 to the first positive step, so that step 0 shows.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        No such metric, or no such scale.
    """
    with print_style():
        ax = new_axes(width, HEIGHT) if ax is None else ax
        _draw_metric(ax, trajectories, metric, step_scale)
        ax.set_xlabel("step")
        state_legend(ax, *_states(trajectories), lines=True)
    return ax


def plot_metric_panels(
    trajectories: Trajectories, metrics: Sequence[str], *, step_scale: StepScale = "linear", width: Width = "full"
) -> tuple[Axes, ...]:
    """Draw several metrics as `plot_metric_curves` does, in a new figure: a panel each, one above the other.

    Parameters
    ----------
    trajectories : the runs.
    metrics : their names, from top to bottom.
    step_scale : of the axis of steps, which the panels share.
    width : of the figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Returns
    -------
    The axes, from top to bottom.

    Raises
    ------
    AnalysisError
        No such metric, or no such scale.
    """
    if not metrics:
        raise AnalysisError(f"no metrics to draw (found: {listed(trajectories.metrics)})")
    with print_style():
        height = 0.35 + len(metrics) * PANEL_HEIGHT + 0.3
        figure = Figure(figsize=(inches(width), height), layout="constrained")
        panels = tuple(figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0])
        for ax, metric in zip(panels, metrics, strict=True):
            _draw_metric(ax, trajectories, metric, step_scale)
        panels[-1].set_xlabel("step")
        figure.align_ylabels(panels)
        state_legend(panels[0], *_states(trajectories), lines=True)
    return panels


def _states(trajectories: Trajectories) -> tuple[list[int], int]:
    """The states visited, and how many colours they take."""
    visited = [int(state) for state in np.unique(trajectories.path)]
    return visited, visited[-1] + 1 if visited else 0


def plot_run_curves(
    trajectories: Trajectories,
    run: str,
    metrics: Sequence[str] = (),
    *,
    ax: Axes | None = None,
    step_scale: StepScale = "linear",
    width: Width = "column",
) -> Axes:
    """Draw metrics of one run on one scale, each stretch in the colour of the state that it starts in.

    What Hu et al. (2023) draw of training and validation loss. Metrics differ in their dashes, which a key of their
    own names. Where all values are positive and the largest is thirty times the smallest, the axis is logarithmic.

    Parameters
    ----------
    trajectories : the runs.
    run : the name of one.
    metrics : at most three; by default the losses that are logged, without any the first metric.
    ax : axes to draw into; by default those of a new figure.
    step_scale : of the axis of steps, as for `plot_metric_curves`.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        No such run, metric or scale, or more than three metrics.
    """
    alone = _only(trajectories, run)
    names = list(metrics) or [name for name in alone.metrics if is_loss(name)][:MOST_OF_A_RUN] or [*alone.metrics[:1]]
    if len(names) > MOST_OF_A_RUN:
        raise AnalysisError(f"{len(names)} metrics do not fit on one panel; name at most {MOST_OF_A_RUN}")
    with print_style():
        ax = new_axes(width, HEIGHT) if ax is None else ax
        keys = []
        drawn = [np.empty(0)]
        for name, (dashes, linewidth) in zip(names, _LOOKS, strict=False):
            _draw_metric(ax, alone, name, step_scale, dashes=dashes, linewidth=linewidth)
            drawn.append(drawable(alone.values[:, alone.metrics.index(name)]))
            keys.append(Line2D([], [], color=INK, linewidth=linewidth, linestyle=dashes, label=printable(name, _ROOM)))
        finite = np.concatenate(drawn)
        finite = finite[np.isfinite(finite)]
        if len(finite) and finite.min() > 0 and finite.max() > _LOGARITHMIC_FROM * finite.min():
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(Ticks())
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("step")
        if len(names) > 1:
            ax.set_ylabel("")
            room = 0.8 * inches(width) * POINTS
            legend_above(ax, keys, columns=columns_for(keys, room, swatch=LINE), swatch=LINE)
        state_legend(ax, *_states(alone), lines=True, above=len(names) > 1)
    return ax


def _only(trajectories: Trajectories, run: str) -> Trajectories:
    """One of the runs."""
    found = dict(trajectories.slices())
    if run not in found:
        raise AnalysisError(f"no run {run!r} under this model{instead_of(run, trajectories.runs)}")
    rows = found[run]
    return replace(
        trajectories,
        runs=(run,),
        lengths=np.array([rows.stop - rows.start]),
        steps=trajectories.steps[rows],
        values=trajectories.values[rows],
        path=trajectories.path[rows],
    )


def _draw_metric(
    ax: Axes,
    trajectories: Trajectories,
    metric: str,
    step_scale: StepScale,
    *,
    dashes: Dashes = "-",
    linewidth: float = 0.8,
) -> None:
    if metric not in trajectories.metrics:
        raise AnalysisError(f"no metric {metric!r} in these runs{instead_of(metric, trajectories.metrics)}")
    values = trajectories.values[:, trajectories.metrics.index(metric)]
    lines, dots, ends = _stretches(trajectories, drawable(values))
    visited, n_states = _states(trajectories)
    # Rare states on top, where common ones do not hide them.
    for state in sorted(lines, key=lambda state: (-int((trajectories.path == state).sum()), state)):
        color = line_colors(n_states)[state]
        curves = LineCollection(lines[state], colors=color, linewidths=linewidth, linestyles=[dashes])
        curves.set(rasterized=True, gid=f"state-{state}", zorder=2.0)
        ax.add_collection(curves)
        if state_hatches(n_states)[state]:
            # Its colour is an earlier state's: a dark core, as hatches are dark on patches.
            core = LineCollection(lines[state], colors=INK, linewidths=0.25)
            core.set(rasterized=True, gid=f"core-{state}", zorder=2.0)
            ax.add_collection(core)
    for state, points in dots.items():
        x, y = np.concatenate(points).T
        ax.plot(x, y, ".", color=line_colors(n_states)[state], markersize=2.5, zorder=2.1, rasterized=True)
    if len(ends):
        ax.plot(ends[:, 0], ends[:, 1], "x", color="black", markersize=3.5, markeredgewidth=0.8, zorder=3.0)
    _scale_steps(ax, trajectories.steps, step_scale)
    ax.autoscale_view(scalex=False)
    first, last = (int(edge(trajectories.steps)) for edge in (np.min, np.max)) if visited else (0, 1)
    ax.set_xlim(*((first, last) if last > first else (first - 0.5, first + 0.5)))
    ax.xaxis.set_major_formatter(Ticks())
    ax.yaxis.set_major_formatter(Ticks())
    ax.set_ylabel(wrapped(printable(metric), _LONGEST_LABEL, _ROOM), multialignment="center")
    as_it_stands([ax.yaxis.label])


def _stretches(
    trajectories: Trajectories, column: NDArray[np.float64]
) -> tuple[_ByState, _ByState, NDArray[np.float64]]:
    """Polylines by state, lone values by state, and the (n, 2) points after which a run is interrupted."""
    lines: _ByState = {}
    dots: _ByState = {}
    ends = []
    for _, rows in trajectories.slices():
        logged = np.flatnonzero(~np.isnan(column[rows])) + rows.start
        interrupted = np.flatnonzero(np.isinf(column[logged]))
        for part in np.split(logged, interrupted):
            kept = part[np.isfinite(column[part])]
            if not len(kept):
                continue
            points = np.column_stack([trajectories.steps[kept].astype(np.float64), column[kept]])
            path = trajectories.path[kept]
            if part[-1] != logged[-1]:
                ends.append(points[-1])
            starts = np.flatnonzero(np.diff(path, prepend=-1))
            for start, stop in zip(starts, np.append(starts[1:], len(path)), strict=True):
                # The stretch runs on to the first row of the next state, so that the curve has no holes.
                stretch = points[start : stop + 1]
                if len(points) == 1:
                    dots.setdefault(int(path[start]), []).append(points)
                elif len(stretch) > 1:
                    lines.setdefault(int(path[start]), []).append(stretch)
    return lines, dots, np.array(ends).reshape(-1, 2)


def _scale_steps(ax: Axes, steps: NDArray[np.int64], step_scale: str) -> None:
    if step_scale == "sqrt":
        ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
        ax.set_xticks(_square_ticks(float(steps.max(initial=1))))
    elif step_scale == "log":
        positive = steps[steps > 0]
        first = float(positive.min()) if len(positive) else 1.0
        if len(positive) == len(steps):
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=first, linscale=0.4)
        # Powers set as exponents would fall below the smallest size of type.
        ax.xaxis.set_major_formatter(Ticks())
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif step_scale != "linear":
        raise AnalysisError(f"step_scale={step_scale!r}: expected 'linear', 'log' or 'sqrt'")


def _square_ticks(last: float) -> list[float]:
    """Steps with one digit that counts, about evenly spaced in their square roots."""
    squares = np.linspace(0.0, np.sqrt(last), 7)[1:] ** 2
    magnitudes = 10.0 ** np.floor(np.log10(np.maximum(squares, 1.0)))
    return sorted({0.0, *(np.floor(squares / magnitudes) * magnitudes).tolist()})
