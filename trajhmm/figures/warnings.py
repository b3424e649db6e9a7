"""One run as it was judged: its metrics, states and score up to the alarm, and what drove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.figures.style import (
    DETOUR_INK,
    FAINT_INK,
    INK,
    Width,
    current_style,
    drawable,
    inches,
    ink_on,
    print_style,
    size_of,
    state_colors,
    state_hatches,
)
from trajhmm.figures.texts import ROOM, Ticks, as_it_stands, broken_alike, number, printable, text_size
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from trajhmm.warning.timeline import Timeline

# What healthy runs did, behind what this one does.
_HEALTHY = "#dedede"
_MOST_PANELS, _MOST_ROWS = 3, 8
_PANEL, _SCORE, _RISK, _STRIP, _GAP = 0.5, 0.95, 0.36, 0.12, 0.17
"""Heights in inches: of a metric's panel, of the score's, the risk's, of the strip of states; and what lies between."""
_FOOT, _HEAD, _LEFT, _RIGHT = 0.36, 0.36, 0.42, 0.1
"""Margins of a new figure, in inches."""
_APART = 0.1
"""Ticks of the key of drivers are so far apart, as a share of it."""
_DECADES = [10.0**power for power in range(-12, 13)]
_TICKS = [first * decade for decade in _DECADES for first in (1.0, 2.0, 5.0)]
_HIGHEST = 1e3
"""Scores are drawn up to so many thresholds."""


def plot_warning_timeline(
    timeline: Timeline,
    *,
    metrics: Sequence[str] | None = None,
    ax: Axes | None = None,
    width: Width = "full",
) -> Axes:
    """Draw a run's metrics, its states, and its score against the threshold; onset, alarm and collapse as lines.

    Behind each metric stands where nine of ten healthy rows were in that phase of training, in grey; without a model
    where it was itself before. The metric by which the run is said to collapse, the risk from when it is told, and
    states have a panel each where they are known.

    Parameters
    ----------
    timeline : the run.
    metrics : names, at most three; by default those that drove the alarm, or added most to the score.
    ax : axes to divide into panels; by default those of a new figure.
    width : of the new figure: that of a column or of the text under the style around, or inches.

    Raises
    ------
    AnalysisError
        No such metric, or more than three.
    """
    names = _rung_first(timeline, _MOST_PANELS) if metrics is None else list(metrics)
    unknown = [name for name in names if name not in timeline.metrics]
    if unknown:
        raise AnalysisError(
            f"no metric {unknown[0]!r} among those that are watched{instead_of(unknown[0], timeline.metrics)}"
        )
    if len(names) > _MOST_PANELS:
        raise AnalysisError(f"{len(names)} metrics do not fit; name at most {_MOST_PANELS}")
    told = bool(np.isfinite(timeline.risk).any())
    ends = timeline.outcome is not None and timeline.outcome[0] not in names
    stated = timeline.n_states > 0
    heights = [*[_PANEL] * (len(names) + ends), _SCORE, *[_RISK] * told, *[_STRIP] * stated]
    with print_style():
        if ax is None:
            inside = sum(heights) + _GAP * (len(heights) - 1)
            height = inside + _FOOT + _HEAD
            across = inches(width)
            figure = Figure(figsize=(across, height))
            ax = figure.add_axes((_LEFT / across, _FOOT / height, 1 - (_LEFT + _RIGHT) / across, inside / height))
        ax.set_axis_off()
        panels = _divided(ax, heights)
        for panel, name in zip(panels, names, strict=False):
            _draw_metric(panel, timeline, name)
        if ends and timeline.outcome is not None:
            _draw_values(panels[len(names)], timeline, *timeline.outcome)
        _draw_score(panels[len(names) + ends], timeline)
        if told:
            _draw_risk(panels[len(names) + ends + 1], timeline)
        if stated:
            _draw_states(panels[-1], timeline)
        panels[-1].set_xlabel("step")
        panels[-1].xaxis.set_major_formatter(Ticks())
        if timeline.usual is not None and names:
            _tell_band(panels[-1], "grey: healthy rows" if stated else "grey: its own past")
        for panel in panels[: len(panels) - stated]:
            _draw_moments(panel, timeline, named=panel is panels[0], apart=True)
    return ax


def plot_drivers(timeline: Timeline, *, ax: Axes | None = None, width: Width = "full") -> Axes:
    """Draw what each metric adds to the surprise of each row, darker for more; the alarm as a line.

    The eight metrics that add most at the alarm (without one, over all rows), largest on top.

    Parameters
    ----------
    timeline : the run.
    ax : axes to draw into; by default those of a new figure.
    width : of the new figure: that of a column or of the text under the style around, or inches.
    """
    names = telling_metrics(timeline, _MOST_ROWS)
    shares = timeline.contributions[:, [timeline.metrics.index(name) for name in names]]
    with print_style():
        if ax is None:
            figure = Figure(figsize=(inches(width), 0.75 + 0.19 * len(names)), layout="constrained")
            ax = figure.add_subplot()
        limit = max(float(np.quantile(shares, 0.999)), 1.0)
        mesh = ax.pcolormesh(
            _edges(timeline.steps),
            np.arange(len(names) + 1),
            np.sqrt(np.clip(shares.T, 0.0, limit)),
            cmap="Greys",
            vmin=0.0,
            vmax=np.sqrt(limit),
            rasterized=True,
        )
        across = size_of(ax)[0]
        labels = broken_alike([printable(name, max(ROOM, 0.45 * across)) for name in names], across)
        ax.set_yticks(np.arange(len(names)) + 0.5, labels, fontsize=current_style().small, linespacing=0.95)
        as_it_stands(ax.get_yticklabels())
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel("step")
        ax.xaxis.set_major_formatter(Ticks())
        _draw_moments(ax, timeline, named=True)
        bar = ax.figure.colorbar(mesh, ax=ax, pad=0.015, fraction=0.03, aspect=12)
        ticks = [0.0]
        for value in (1.0, 4.0, 10.0, 25.0, 100.0, 400.0, 1e3, 1e4, 1e5, 1e6):
            if value <= limit and np.sqrt(value) - np.sqrt(ticks[-1]) >= _APART * np.sqrt(limit):
                ticks.append(value)
        bar.set_ticks([float(np.sqrt(value)) for value in ticks], labels=[number(value) for value in ticks])
        bar.set_label(timeline.unit)
        bar.outline.set_linewidth(0.5)
    return ax


def _rung_first(timeline: Timeline, n: int) -> list[str]:
    """The ``n`` metrics to look at: those that the alarm names, then those that add most to the surprise."""
    named = [] if timeline.alarm is None else [driver.metric for driver in timeline.alarm.drivers]
    known = [name for name in named if name in timeline.metrics]
    return list(dict.fromkeys([*known, *telling_metrics(timeline, len(timeline.metrics))]))[:n]


def telling_metrics(timeline: Timeline, n: int) -> list[str]:
    """The ``n`` metrics that add most to the surprise at the alarm; without one, over all rows."""
    if timeline.alarm is None:
        shares = timeline.contributions.mean(axis=0)
    else:
        shares = timeline.contributions[int(np.searchsorted(timeline.steps, timeline.alarm.step))]
    order = np.argsort(-shares, kind="stable")[:n]
    return [timeline.metrics[column] for column in order]


def _divided(ax: Axes, heights: Sequence[float]) -> list[Axes]:
    """Panels one above the other, in shares of the height of the axes."""
    total = sum(heights) + _GAP * (len(heights) - 1)
    panels, top = [], 1.0
    for height in heights:
        panels.append(ax.inset_axes((0.0, top - height / total, 1.0, height / total)))
        top -= (height + _GAP) / total
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    return panels


def _limits(timeline: Timeline) -> tuple[float, float]:
    edges = _edges(timeline.steps)
    return float(edges[0]), float(edges[-1])


def _edges(steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """(T + 1,) between steps, and half a step beyond the first and last."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])


def _draw_metric(ax: Axes, timeline: Timeline, name: str) -> None:
    column = timeline.metrics.index(name)
    _draw_values(ax, timeline, name, timeline.values[:, column])
    if timeline.usual is None:
        return
    low, high = drawable(timeline.usual[:, column].T)
    if ax.get_yscale() == "log":  # a band that goes down to 0 would leave the values no room
        low = np.minimum(high, np.maximum(low, np.nanmin(timeline.values[:, column]) / 3.0))
    ax.fill_between(timeline.steps, low, high, step="mid", color=_HEALTHY, linewidth=0, zorder=0)


def _tell_band(ax: Axes, words: str) -> None:
    """Say what the grey behind metrics is, on the line of the label of the axis."""
    text = ax.annotate(words, (0.0, 0.0), xycoords=("axes fraction", ax.xaxis.label), annotation_clip=False)
    text.set(ha="left", va="bottom", fontsize=current_style().small, color=FAINT_INK)


def _draw_values(ax: Axes, timeline: Timeline, name: str, values: NDArray[np.float64]) -> None:
    known, values = np.isfinite(values), drawable(values)
    ax.plot(timeline.steps[known], values[known], color=INK, linewidth=0.7, rasterized=len(values) > 5000)
    positive = values[known]
    if len(positive) and positive.min() > 0 and positive.max() > min(30 * positive.min(), 10 * np.median(positive)):
        ax.set_yscale("log")
    ax.set_xlim(*_limits(timeline))
    ax.margins(y=0.1)
    _name(ax, name)
    if ax.get_yscale() == "linear":
        ax.locator_params(axis="y", nbins=3)
    # Powers set as exponents would fall below the smallest size of type.
    ax.yaxis.set_major_formatter(Ticks())
    ax.yaxis.set_minor_formatter(NullFormatter())


def _draw_score(ax: Axes, timeline: Timeline) -> None:
    highest = _HIGHEST * abs(timeline.threshold)
    score = np.clip(timeline.score, None, highest)
    ax.plot(timeline.steps, score, color=INK, linewidth=0.9)
    ax.axhline(timeline.threshold, color=DETOUR_INK, linewidth=0.8, linestyle=(0, (4, 2)))
    reach = abs(timeline.threshold)
    if score.max() > 4 * reach:
        ax.set_yscale("symlog", linthresh=2 * reach, linscale=1.5)
        within = [tick for tick in _TICKS if 2 * reach < tick < score.max()]
        decades = [tick for tick in within if tick in _DECADES]
        ax.set_yticks([timeline.threshold, *(decades if len(decades) > 1 else within[::2])])
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(*_limits(timeline))
    ax.yaxis.set_major_formatter(lambda value, _: number(value))
    low, high = min(float(score.min()), timeline.threshold), max(float(score.max()), timeline.threshold)
    ax.set_ylim(low - 0.15 * reach, high + 0.3 * max(high, reach))
    _name(ax, "score")
    beside = blended_transform_factory(ax.transAxes, ax.transData)
    ax.text(
        0.004,
        timeline.threshold,
        "threshold",
        transform=beside,
        color=DETOUR_INK,
        fontsize=current_style().small,
        va="bottom",
    )


def _draw_risk(ax: Axes, timeline: Timeline) -> None:
    ax.plot(timeline.steps, timeline.risk, color=INK, linewidth=0.9)
    ax.set_xlim(*_limits(timeline))
    ax.set_ylim(-0.05, 1.05)
    ax.set_yticks([0.0, 0.5, 1.0])
    ax.yaxis.set_major_formatter(Ticks())
    _name(ax, "risk")


def _draw_states(ax: Axes, timeline: Timeline) -> None:
    colors, hatches = state_colors(timeline.n_states), state_hatches(timeline.n_states)
    edges = _edges(timeline.steps)
    starts = np.flatnonzero(np.diff(timeline.states, prepend=-1))  # before the first of them no state is known
    for start, stop in zip(starts, np.append(starts[1:], len(timeline.states)), strict=True):
        state = int(timeline.states[start])
        ax.axvspan(edges[start], edges[stop], facecolor=colors[state], hatch=hatches[state], linewidth=0)
        room = (edges[stop] - edges[start]) / (edges[-1] - edges[0]) * size_of(ax)[0]
        if room > text_size(str(state))[0] + 4.0:
            middle = (edges[start] + edges[stop]) / 2
            ax.text(
                middle,
                0.45,
                str(state),
                color=ink_on(colors[state]),
                fontsize=current_style().small,
                ha="center",
                va="center",
            )
    ax.set_xlim(*_limits(timeline))
    ax.set_yticks([])
    _name(ax, "state of the map" if timeline.of_map else "state")
    ax.spines["left"].set_visible(False)


def _name(ax: Axes, name: str) -> None:
    """What a panel shows, above its left end."""
    ax.annotate(
        printable(name, max(ROOM, 0.8 * size_of(ax)[0])),
        (0, 1),
        (0, 1.5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=current_style().small,
    )


def _draw_moments(ax: Axes, timeline: Timeline, *, named: bool, apart: bool = False) -> None:
    """Lines at onset, alarm and collapse; their names stand above, ``apart`` from the name of a panel."""
    alarm = None if timeline.alarm is None else timeline.alarm.step
    moments = [
        ("onset", timeline.truth.onset, FAINT_INK, (0, (1, 1.5))),
        ("alarm", alarm, DETOUR_INK, "-"),
        ("collapse", timeline.truth.collapse_step, INK, (0, (4, 1.5))),
    ]
    above = blended_transform_factory(ax.transData, ax.transAxes)
    ends = [-np.inf, -np.inf]  # in points, of the names in each of two lines
    (first, last), width = ax.get_xlim(), size_of(ax)[0]
    for name, step, color, dashes in moments:
        if step is None:
            continue
        ax.axvline(step, color=color, linewidth=0.9, linestyle=dashes, zorder=3)
        if not named:
            continue
        half = text_size(name)[0] / 2
        at = min(max((step - first) / (last - first) * width, half), width - half)
        line = 0 if at - half > ends[0] + 3.0 else 1
        ends[line] = at + half
        ax.annotate(
            name,
            (first + at / width * (last - first), 1),
            (0, (10.0 if apart else 1.5) + line * (current_style().small + 1.5)),
            xycoords=above,
            textcoords="offset points",
            color=color,
            fontsize=current_style().small,
            va="bottom",
            ha="center",
        )
