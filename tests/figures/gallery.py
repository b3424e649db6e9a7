"""One of each figure, at the widths and styles in which it is printed: what all must hold is tested on these."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from trajhmm.figures import (
    plot_convergence,
    plot_drivers,
    plot_lead_times,
    plot_metric_curves,
    plot_metric_panels,
    plot_recall_vs_false_alarms,
    plot_regression,
    plot_run_curves,
    plot_selection_curve,
    plot_state_profile,
    plot_state_raster,
    plot_training_map,
    plot_warning_timeline,
    print_style,
    save_figure,
)
from trajhmm.figures.style import settle

from .made import (
    made_certificate,
    made_comparison,
    made_convergence,
    made_halved,
    made_map,
    made_model,
    made_regression,
    made_timeline,
    made_trajectories,
    made_visits,
    shown_texts,
    six_states,
    ten_states,
    unsure,
)

LONG_NAMES = tuple(f"{name}/decoder.block_{layer}" for layer in range(7) for name in ("weight_l2", "spectral", "trace"))
CURVE = [(k, 1e5 / k + 2e3 * k, -30 / k - 0.2 * k, 0.6) for k in range(1, 8)] + [(8, None, None, None)]


def ten_state_trajectories():
    rng = np.random.default_rng(2)
    path = np.repeat(np.arange(10), 12)
    values = [np.cumsum(rng.normal(size=(len(path), 2)), axis=0) for _ in range(4)]
    return made_trajectories(
        [(np.arange(len(path)) * 80, value, path) for value in values], ("weight_l2", "train_loss")
    )


def raster(width):
    training_map = ten_states()
    convergence = made_convergence(training_map, [None, *range(100, 4000, 100)])
    return plot_state_raster(training_map, convergence=convergence, width=width)


def short_trajectories():
    return made_trajectories([(range(0, 500, 10), range(50), [0] * 20 + [1] * 30)])


def losses():
    """Train and eval loss of two runs, in a row each of which state 3 is yellow."""
    rng = np.random.default_rng(5)
    steps = np.arange(0, 6000, 20)
    train = np.exp(-steps / 900) + 0.002
    values = [np.column_stack([train * np.exp(0.2 * rng.normal(size=len(steps))), 1.4 * train + 0.05])] * 2
    return made_trajectories(
        [(steps, one, np.repeat([0, 1, 2, 3, 4], 60)) for one in values], ("train_loss", "eval_loss")
    )


def styled(style, draw):
    def drawn():
        with print_style(style):
            return draw()

    return drawn


GALLERY = {
    "map": lambda: plot_training_map(ten_states()),
    "narrow map": lambda: plot_training_map(ten_states(), width="column"),
    "map of six": lambda: plot_training_map(six_states(), width="column"),
    "reproducible map": lambda: plot_training_map(
        replace(six_states(), certificate=made_certificate(6)), width="column"
    ),
    "raster": lambda: raster("full"),
    "irreproducible raster": lambda: plot_state_raster(replace(six_states(), certificate=unsure(6)), width="column"),
    "narrow raster": lambda: plot_state_raster(made_map([[0, 1, 2]] * 4, 3), width="column"),
    "curves": lambda: plot_metric_curves(short_trajectories(), "weight_l2"),
    "log curves": lambda: plot_metric_curves(short_trajectories(), "weight_l2", step_scale="log", width="column"),
    "one run": lambda: plot_run_curves(losses(), "run 0"),
    "panels": lambda: plot_metric_panels(
        ten_state_trajectories(), ("weight_l2", "train_loss"), step_scale="sqrt", width="column"
    )[0],
    "selection": lambda: plot_selection_curve(made_model(5, curve=CURVE)),
    "held-out": lambda: plot_selection_curve(made_model(5, curve=CURVE, criterion="heldout"), width="full"),
    "halves": lambda: plot_selection_curve(made_halved()),
    "halves that disagree": lambda: plot_selection_curve(made_halved(certificate=unsure), width="full"),
    "regression": lambda: plot_regression(made_regression()),
    "wide regression": lambda: plot_regression(made_regression(scale=3e6), width="full"),
    "convergence": lambda: plot_convergence(made_visits()),
    "convergence after a branch": lambda: plot_convergence(made_visits(since="branch"), width="full"),
    "profile": lambda: plot_state_profile(made_model(6), training_map=six_states()),
    "wide profile": lambda: plot_state_profile(made_model(10), training_map=ten_states(), width="full"),
    "long profile": lambda: plot_state_profile(made_model(10, LONG_NAMES)),
    "timeline": lambda: plot_warning_timeline(made_timeline()),
    "quiet timeline": lambda: plot_warning_timeline(made_timeline(alarm=None), width="column"),
    "drivers": lambda: plot_drivers(made_timeline()),
    "recall": lambda: plot_recall_vs_false_alarms(made_comparison()),
    "leads": lambda: plot_lead_times(made_comparison()),
}
NARROW = {
    "map": lambda: plot_training_map(ten_states(), width="column"),
    "irreproducible map": lambda: plot_training_map(replace(ten_states(), certificate=unsure(10)), width="column"),
    "halves": lambda: plot_selection_curve(made_halved(certificate=unsure), width="column"),
    "raster": lambda: raster("column"),
    "panels": lambda: plot_metric_panels(ten_state_trajectories(), ("weight_l2", "train_loss"), width="column")[0],
    "selection": lambda: plot_selection_curve(made_model(5, curve=CURVE), width="column"),
    "regression": lambda: plot_regression(made_regression(), width="column"),
    "convergence": lambda: plot_convergence(made_visits(), width="column"),
    "profile": lambda: plot_state_profile(made_model(10), training_map=ten_states(), width="column"),
    "timeline": lambda: plot_warning_timeline(made_timeline(), width="column"),
    "drivers": lambda: plot_drivers(made_timeline(), width="column"),
    "recall": lambda: plot_recall_vs_false_alarms(made_comparison(), width="column"),
    "leads": lambda: plot_lead_times(made_comparison(), width="column"),
}
# The narrowest column, the smallest type in a font like Times, and one figure each of those that differ little.
VENUES = {
    f"{kind} for {style}": styled(style, NARROW[kind])
    for style, kinds in {
        "neurips": ["panels", "profile", "timeline"],
        "icml": ["map", "irreproducible map", "selection", "timeline"],
        "iclr": ["regression"],
        "nature": ["convergence", "halves", "recall"],
    }.items()
    for kind in kinds
}


# Between them all that a format has to write: hatches, images, rasterized lines and meshes, markers, two fonts. Others
# differ from these in what is drawn, and drawn it is compared in one format, the one quickest to write.
IN_ALL_FORMATS = ("map of six", "narrow raster", "panels", "profile", "timeline")
# One figure of each style, and those; that others embed the same fonts is seen by the text that they show.
IN_PDF = ("map", "panels for neurips", "map for icml", "regression for iclr", "convergence for nature", *IN_ALL_FORMATS)
DOTS = 100
"""An inch, of the pictures that are kept."""


def style_of(name):
    """The style under which a figure of the gallery is drawn and has to be saved."""
    return name.rsplit(" for ", 1)[1] if name in VENUES else "default"


@dataclass(frozen=True, kw_only=True, eq=False)
class Printed:
    """A figure for tests that only look at it.

    Attributes
    ----------
    figure : which no test may change.
    picture : PNG in the dots of the pictures that are kept.
    texts : those that are shown.
    boxes : what each text says, and its box in pixels.
    legends : in pixels, the top of axes that have one and its bottom.
    """

    figure: Figure
    picture: bytes
    texts: list[Text]
    boxes: list[tuple[str, Bbox]]
    legends: list[tuple[float, float]]


def pictured(figure, style="default"):
    """A PNG in few dots, as `trajhmm.figures.save_figure` writes it: of a figure that was saved, laid out as it was."""
    content = BytesIO()
    with print_style(style):
        figure.savefig(content, format="png", dpi=DOTS, metadata={"Software": None})
    return content.getvalue()


def saved(figure, formats):
    """Contents of the files that a figure is saved to, one format after the other."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for format in formats:
            path = Path(folder, f"figure.{format}")
            save_figure(figure, path)
            files[format] = path.read_bytes()
    return files


def compared_formats(name):
    """Formats in which the figure of that name has to come out the same each time."""
    return ("svg", "png", "pdf") if name in IN_ALL_FORMATS else ("svg",)


@functools.cache
def printed(name):
    """The figure of that name; drawn and laid out once for all tests."""
    with print_style(style_of(name)):
        figure = (GALLERY | VENUES)[name]().get_figure(root=True)
        settle(figure)
        picture = pictured(figure, style_of(name))
        texts = shown_texts(figure)
        shown = [ax for ax in figure.axes if ax.get_legend()]
        return Printed(
            figure=figure,
            picture=picture,
            texts=texts,
            boxes=[(text.get_text(), text.get_window_extent()) for text in texts],
            legends=[(ax.get_window_extent().y1, ax.get_legend().get_window_extent().y0) for ax in shown],
        )


@functools.cache
def file_of(name, format):
    """What the figure of that name is saved to."""
    with print_style(style_of(name)):
        return saved(printed(name).figure, [format])[format]
