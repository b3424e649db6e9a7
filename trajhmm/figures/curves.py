"""A metric over training, coloured by state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.figures.legends import state_legend
from trajhmm.figures.style import POINTS, Width, inches, print_style, size_of, state_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.trajectories import Trajectories

StepScale = Literal["linear", "log", "sqrt"]
_ByState = dict[int, list[NDArray[np.float64]]]
HEIGHT = 2.1
"""Of a new figure, in inches."""


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
    if metric not in trajectories.metrics:
        raise AnalysisError(f"no metric {metric!r} in these runs (found: {', '.join(trajectories.metrics)})")
    column = trajectories.values[:, trajectories.metrics.index(metric)]
    visited = sorted({int(state) for state in np.unique(trajectories.path)})
    n_states = visited[-1] + 1 if visited else 0
    lines, dots, ends = _stretches(trajectories, column)
    with print_style():
        room = inches(width) * POINTS - 40.0 if ax is None else size_of(ax)[0]
        if ax is None:
            ax = Figure(figsize=(inches(width), HEIGHT), layout="constrained").add_subplot()
        # Rare states on top, where common ones do not hide them.
        for state in sorted(lines, key=lambda state: (-int((trajectories.path == state).sum()), state)):
            color = state_colors(n_states)[state]
            curves = LineCollection(lines[state], colors=color, linewidths=0.8, capstyle="round")
            curves.set(rasterized=True, gid=f"state-{state}", zorder=2.0)
            ax.add_collection(curves)
        for state, points in dots.items():
            x, y = np.concatenate(points).T
            ax.plot(x, y, ".", color=state_colors(n_states)[state], markersize=2.5, zorder=2.1, rasterized=True)
        if len(ends):
            ax.plot(ends[:, 0], ends[:, 1], "x", color="black", markersize=3.5, markeredgewidth=0.8, zorder=3.0)
        _scale_steps(ax, trajectories.steps, step_scale)
        ax.autoscale_view(scalex=False)
        first, last = (int(edge(trajectories.steps)) for edge in (np.min, np.max)) if visited else (0, 1)
        ax.set_xlim(first, max(last, first + 1))
        ax.set(xlabel="step", ylabel=metric)
        state_legend(ax, visited, n_states, width=room)
    return ax


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
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif step_scale != "linear":
        raise AnalysisError(f"step_scale={step_scale!r}: expected 'linear', 'log' or 'sqrt'")


def _square_ticks(last: float) -> list[float]:
    """Steps with one digit that counts, about evenly spaced in their square roots."""
    squares = np.linspace(0.0, np.sqrt(last), 7)[1:] ** 2
    magnitudes = 10.0 ** np.floor(np.log10(np.maximum(squares, 1.0)))
    return sorted({0.0, *(np.floor(squares / magnitudes) * magnitudes).tolist()})
