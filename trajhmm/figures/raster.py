"""States over training, one band a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.figures.badge import stamp
from trajhmm.figures.legends import state_legend
from trajhmm.figures.style import (
    INK,
    POINTS,
    Width,
    current_style,
    new_axes,
    print_style,
    size_of,
    state_colors,
    state_hatches,
)
from trajhmm.figures.texts import Ticks, as_it_stands, printable, text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.dynamics.detours.convergence import Convergence
    from trajhmm.dynamics.maps.training_map import TrainingMap

IMAGE_COLUMNS = 4096
"""Columns of the image, at most: twice the dots of a page's width at 300 dots an inch."""
NAMED_RUNS = 45
"""Up to this many runs are named."""
BAND = 1.2
"""Height of a band that a name fits in, in sizes of its type."""


def plot_state_raster(
    training_map: TrainingMap,
    *,
    convergence: Convergence | None = None,
    ax: Axes | None = None,
    width: Width = "full",
) -> Axes:
    """Draw the decoded state of every run at every step: a band a run, coloured by state.

    A row's state holds until the next row's step, the last one's for as long as the one before. Runs are sorted by
    convergence, those that never converge last; a black tick marks the step of convergence. Bands are an image of at
    most 4096 columns, so a visit shorter than a 4096th of the longest run may fall between two columns.

    Parameters
    ----------
    training_map : holds the decoded rows.
    convergence : of the same runs; runs that it does not hold count as never converged. Without it, runs keep their
        order.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure, in inches, or ``"column"`` or ``"full"`` of the print style.

    Raises
    ------
    AnalysisError
        ``convergence`` holds none of the runs.
    """
    order, ticks = order_runs(training_map, convergence)
    n_runs = len(order)
    with print_style():
        if ax is None:
            height = max(1.3, n_runs * BAND * current_style().small / POINTS) if n_runs <= NAMED_RUNS else 2.4
            ax = new_axes(width, height + 0.65)
            stamp(ax, training_map.certificate)
        colors = state_colors(training_map.n_states)
        edges, states = _grid(training_map, order)
        palette = np.array([(*to_rgb(color), 1.0) for color in colors] + [(1.0, 1.0, 1.0, 0.0)])
        image = np.round(255 * palette[states]).astype(np.uint8)
        extent = (edges[0], edges[1], n_runs - 0.5, -0.5)
        ax.imshow(image, extent=extent, aspect="auto", interpolation="nearest", origin="upper", zorder=1.0)
        ax.xaxis.set_major_formatter(Ticks())
        _draw_hatches(ax, training_map, order)
        _draw_ticks(ax, ticks)
        ax.set(xlim=edges, ylim=(n_runs - 0.5, -0.5), xlabel="step")
        _label_runs(ax, [training_map.runs[run] for run in order], sorted_by=convergence is not None)
        state_legend(ax, [int(state) for state in np.unique(training_map.path)], training_map.n_states)
    return ax


def order_runs(training_map: TrainingMap, convergence: Convergence | None) -> tuple[list[int], list[tuple[int, float]]]:
    """Runs from top to bottom, and the band and step of each tick."""
    if convergence is None:
        return list(range(len(training_map.runs))), []
    met = {
        run: int(step)
        for run, step, converged in zip(convergence.runs, convergence.steps, convergence.converged, strict=True)
        if converged
    }
    if not set(convergence.runs) & set(training_map.runs):
        raise AnalysisError(
            f"convergence holds none of the map's runs: expected names such as {', '.join(training_map.runs[:3])}, "
            f"found {', '.join(convergence.runs[:3]) or 'none'}"
        )
    names = training_map.runs
    order = sorted(range(len(names)), key=lambda run: (names[run] not in met, met.get(names[run], 0), run))
    return order, [(band, float(met[names[run]])) for band, run in enumerate(order) if names[run] in met]


def row_bounds(training_map: TrainingMap) -> list[tuple[slice, NDArray[np.float64]]]:
    """Rows of each run, with the (rows + 1,) steps at which its rows begin and the last one ends."""
    stops = np.cumsum(training_map.lengths)
    bounds = []
    for start, stop in zip(stops - training_map.lengths, stops, strict=True):
        steps = training_map.steps[start:stop].astype(np.float64)
        last = steps[-1] - steps[-2] if len(steps) > 1 else 1.0
        end = steps[-1:] + last
        bounds.append((slice(int(start), int(stop)), np.concatenate([steps, end])))
    return bounds


def _grid(training_map: TrainingMap, order: list[int]) -> tuple[tuple[float, float], NDArray[np.int64]]:
    """Steps at both ends, and the state in the middle of each column of each band; K where a run has no rows.

    Where the steps allow it, a column stands for the largest step that divides all others, and nothing is lost.
    """
    bounds = row_bounds(training_map)
    first = min((steps[0] for _, steps in bounds if len(steps)), default=0.0)
    end = max((steps[-1] for _, steps in bounds if len(steps)), default=1.0)
    divisor = int(np.gcd.reduce(np.concatenate([steps - first for _, steps in bounds]).astype(np.int64)))
    columns = min(IMAGE_COLUMNS, max(1, round((end - first) / max(divisor, 1))))
    middles = first + (np.arange(columns) + 0.5) * (end - first) / columns
    states = np.full((len(order), columns), training_map.n_states, dtype=np.int64)
    for band, run in enumerate(order):
        rows, steps = bounds[run]
        at = np.searchsorted(steps, middles, side="right") - 1
        inside = (at >= 0) & (at < rows.stop - rows.start)
        states[band, inside] = training_map.path[rows][at[inside]]
    return (float(first), float(end)), states


def _draw_hatches(ax: Axes, training_map: TrainingMap, order: list[int]) -> None:
    """Hatch the visits to states whose colour an earlier state has already."""
    hatches = state_hatches(training_map.n_states)
    bounds = row_bounds(training_map)
    for hatch in sorted(set(hatches) - {""}):
        hatched = np.array([mark == hatch for mark in hatches])
        boxes = []
        for band, run in enumerate(order):
            rows, steps = bounds[run]
            path = training_map.path[rows]
            starts = np.flatnonzero(np.diff(path, prepend=-1))
            ends = np.append(starts[1:], len(path))
            for start, stop in zip(starts, ends, strict=True):
                if hatched[path[start]]:
                    left, right = steps[start], steps[stop]
                    boxes.append([(left, band - 0.5), (right, band - 0.5), (right, band + 0.5), (left, band + 0.5)])
        if boxes:
            marks = PolyCollection(boxes, facecolors="none", edgecolors=INK, linewidths=0.0, hatch=hatch)
            marks.set(zorder=1.5, rasterized=True)
            ax.add_collection(marks, autolim=False)


def _draw_ticks(ax: Axes, ticks: list[tuple[int, float]]) -> None:
    if not ticks:
        return
    lines = [[(step, band - 0.45), (step, band + 0.45)] for band, step in ticks]
    # White behind black, so that the tick shows on every state's colour.
    ax.add_collection(LineCollection(lines, colors="white", linewidths=2.2, zorder=2.0), autolim=False)
    marks = LineCollection(lines, colors="black", linewidths=1.1, zorder=2.1, gid="convergence")
    ax.add_collection(marks, autolim=False)


def _label_runs(ax: Axes, names: list[str], *, sorted_by: bool) -> None:
    width, height = size_of(ax)
    names = [printable(name, math.inf) for name in names]
    longest = max((text_size(name)[0] for name in names), default=0.0)
    ax.tick_params(axis="y", length=0.0)
    if len(names) <= NAMED_RUNS and height >= current_style().small * len(names) and longest <= 0.3 * width:
        ax.set_yticks(range(len(names)), labels=names)
        as_it_stands(ax.get_yticklabels())
        for band in range(1, len(names)):
            ax.axhline(band - 0.5, color="white", linewidth=0.4, zorder=1.8)
        return
    ax.tick_params(axis="y", length=2.5)
    places = [round(place) for place in MaxNLocator(nbins=6, integer=True).tick_values(1, len(names))]
    shown = [place for place in places if 1 <= place <= len(names)]
    ax.set_yticks([place - 1 for place in shown], labels=[str(place) for place in shown])
    ax.set_ylabel("runs, by convergence" if sorted_by else "runs")
