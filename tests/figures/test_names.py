"""Names in figures are a stranger's: no name crashes one, is typeset as mathematics, or pushes the data out of it."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trajhmm.figures import (
    plot_convergence_in_probability,
    plot_drivers,
    plot_hazard,
    plot_metric_curves,
    plot_metric_panels,
    plot_phase_diagram,
    plot_spikes,
    plot_stability_profile,
    plot_state_profile,
    plot_state_raster,
    plot_training_map,
    plot_warning_timeline,
    print_style,
    save_figure,
)
from trajhmm.figures.texts import Ticks, in_two, number, printable, text_size, wrapped

from .made import made_map, made_model, made_timeline, made_trajectories, shown_texts

HOSTILE = (
    "$x^{2$",
    "a$b_{",
    "\\frac{1}{$0$",
    "_hidden",
    "",
    "W" * 3000,
    "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627",
    "\U0001f680 \u4e2d\u6587",
    "two\nlines\tand\x1b[31m\x00 red",
)
PATHS = [[0, 1, 2], [0, 2, 1]] * 5


def hostile_map():
    return replace(made_map(PATHS, 3, metrics=HOSTILE), runs=HOSTILE)


def hostile_timeline():
    return replace(made_timeline(), metrics=HOSTILE[:4], outcome=(HOSTILE[5], np.ones(50)))


def profile():
    numbers = dict.fromkeys(
        f"{name}{end}"
        for name, ends in {
            "collapsed": ("", "_low", "_high"),
            "recovery": ("_steps", "_low", "_high"),
            "area": ("_ratio", "_low", "_high"),
            "deviation": ("", "_low", "_high"),
            "lead": ("_share", "_low", "_high"),
        }.items()
        for end in ends
    )
    return pd.DataFrame({"dimension": HOSTILE, "strength": HOSTILE, **dict.fromkeys(numbers, 0.5)})


def hazard(groups):
    rows = [(name, name, step, 0.1, 0.05, 0.2) for name in groups for step in (0, 10, 20)]
    return pd.DataFrame(rows, columns=["$group$", "_other", "step", "hazard", "ci_low", "ci_high"])


def probabilities():
    rows = [(name, step, 0.5, 0.4, 0.6, 1.0) for name in HOSTILE[:4] for step in (0, 10)]
    return pd.DataFrame(rows, columns=[HOSTILE[5], "step", "share", "ci_low", "ci_high", "log_second_moment"])


def phases():
    rows = [(x, y, "correct") for x in HOSTILE for y in HOSTILE[:3]]
    return pd.DataFrame(rows, columns=["$x^{$", "_y", "phase"])


def spikes(metrics):
    rows = [(run, metric, 10, 0.5, "harmed") for run in HOSTILE for metric in metrics]
    return pd.DataFrame(rows, columns=["run", "metric", "start", "net_effect", "verdict"])


def trajectories():
    values = np.random.default_rng(0).normal(size=(40, len(HOSTILE)))
    return made_trajectories([(np.arange(40), values, np.repeat([0, 1], 20))], HOSTILE)


FIGURES = {
    "map": lambda: plot_training_map(hostile_map(), width="column"),
    "raster": lambda: plot_state_raster(hostile_map()),
    "profile": lambda: plot_state_profile(made_model(3, HOSTILE), training_map=hostile_map()),
    "curves": lambda: plot_metric_curves(trajectories(), HOSTILE[5]),
    "panels": lambda: plot_metric_panels(trajectories(), HOSTILE[3:8], width="column")[0],
    "timeline": lambda: plot_warning_timeline(hostile_timeline()),
    "drivers": lambda: plot_drivers(hostile_timeline(), width="column"),
    "stability": lambda: plot_stability_profile(profile())[0],
    "hazard": lambda: plot_hazard(hazard(HOSTILE[1:5]))[0],
    "hazards": lambda: plot_hazard(hazard(HOSTILE))[0],
    "probability": lambda: plot_convergence_in_probability(probabilities(), by=[HOSTILE[5]]),
    "phases": lambda: plot_phase_diagram(phases()),
    "spikes": lambda: plot_spikes(spikes(HOSTILE[:5]))[0],
    "spikes of long names": lambda: plot_spikes(spikes(HOSTILE[5:]))[0],
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FIGURES)
def test_hostile_names_stand_in_a_figure_as_they_are(name, tmp_path):
    figure = FIGURES[name]().get_figure(root=True)
    for suffix in ("svg", "pdf") if name in ("hazard", "drivers") else ("svg",):
        save_figure(figure, tmp_path / f"figure.{suffix}")  # warnings are errors, those of missing glyphs too
    texts = shown_texts(figure)
    assert not [text.get_text() for text in texts if "$" in text.get_text() and text.get_parse_math()]
    assert not [text.get_text() for text in texts if set(text.get_text()) & set("\x1b\x00\t\u202e")]
    # Nor does what is left of it lose its room to them.
    boxes = [ax.get_window_extent() for ax in figure.axes if ax.get_visible()]
    assert max(box.x1 for box in boxes) - min(box.x0 for box in boxes) > 0.25 * figure.bbox.width
    assert max(box.height for box in boxes) > 20 * figure.dpi / 72
    ET.parse(tmp_path / "figure.svg")  # noqa: S314 (which this test wrote)


@pytest.mark.parametrize("name", ["$x^{2$", "_hidden", "\\frac{1}{$0$"])
def test_a_name_that_looks_like_mathematics_is_printed_letter_by_letter(name):
    texts = [text.get_text() for text in shown_texts(plot_metric_curves(made_trajectories(
        [(range(4), range(4), [0] * 4)], (name,)), name).figure)]  # fmt: skip
    assert name in [text.replace("\n", "") for text in texts]
    groups = shown_texts(plot_hazard(hazard([name, "plain"]))[0].get_figure(root=True))
    assert f"{name}, {name}" in [text.get_text().strip() for text in groups]


@pytest.mark.parametrize("draw", [
    lambda ax: plot_metric_curves(made_trajectories([(range(4), range(4), [0] * 4)], ("$x^{2$",)), "$x^{2$", ax=ax),
    lambda ax: plot_state_profile(made_model(3, ("$x^{2$", "b")), ax=ax),
    lambda ax: plot_state_raster(replace(made_map([[0, 1]] * 2, 2), runs=("$x^{2$", "b")), ax=ax),
])  # fmt: skip
def test_axes_of_ones_own_print_names_as_they_are_too(draw, tmp_path):
    figure = Figure(figsize=(6, 4))
    draw(figure.add_subplot())
    figure.savefig(tmp_path / "figure.svg")
    assert "$x^{2$" in [text.get_text().replace("\n", "") for text in shown_texts(figure)]


def test_groups_that_differ_only_in_what_is_not_shown_are_all_drawn():
    ax = plot_hazard(hazard(["a" * 400 + "1" + "a" * 400, "a" * 400 + "2" + "a" * 400]))[0]
    assert len([line for line in ax.lines if str(line.get_gid()).startswith("hazard-")]) == 2
    assert len({text.get_text() for text in ax.get_legend().get_texts()}) == 2


def test_long_names_keep_both_ends_and_ordinary_ones_all():
    with print_style():
        assert printable("weight_l2/decoder.block_6") == "weight_l2/decoder.block_6"
        short = printable("layers.0." + "x" * 500 + ".weight", 100.0)
        assert short.startswith("layers.0.")
        assert short.endswith(".weight")
        assert text_size(short)[0] <= 100.0
        assert printable("x" * 500, 1.0) == "x\u2026x"
        assert printable("half \ud800 of\none") == r"half \ud800 of\none"


def test_words_without_a_joint_are_broken_where_nothing_else_helps():
    assert wrapped("weight_l2/decoder.block_6", 16) == "weight_l2/\ndecoder.block_6"
    assert wrapped("validationaccuracy", 16) == wrapped("validationaccuracy", 16, 75.0) == "validationaccuracy"
    with print_style():
        lines = wrapped("W" * 41, 16, 75.0).split("\n")
        assert "".join(lines) == "W" * 41
        assert max(text_size(line)[0] for line in lines) <= 75.0
    assert wrapped("", 16) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (-0.25, "−0.25"),
        (1e6, "1,000,000"),
        (12_345.6, "12,346"),
        (1e7, "1×10⁷"),
        (2.5e-7, "2.5×10⁻⁷"),
        (-3e-9, "−3×10⁻⁹"),
        (0.00012, "0.00012"),
        (np.inf, "∞"),
        (-np.inf, "−∞"),
    ],
)
def test_numbers_are_spelt_out_or_given_as_powers_of_ten(value, said):
    assert number(value) == said


def test_where_a_font_has_no_raised_digits_numbers_are_spelt_out():
    with print_style("icml"):
        assert number(2.5e-7) == "0.00000025"
        assert number(-4e7) == "−40,000,000"
        assert number(1e-12) == "1e−12"


@pytest.mark.parametrize(
    ("ticks", "said"),
    [
        ([-1.0, -0.5, 0.0, 0.5], ["−1.0", "−0.5", "0", "0.5"]),
        ([0.0, 2000.0, 4000.0], ["0", "2,000", "4,000"]),
        ([0.0, 2e-6, 4e-6], ["0", "2×10⁻⁶", "4×10⁻⁶"]),
        ([0.0, 0.25e9, 0.5e9], ["0", "2.5×10⁸", "5.0×10⁸"]),
        ([1e-7, 1e-4, 0.1, 100.0], ["10⁻⁷", "10⁻⁴", "10⁻¹", "10²"]),
        ([0.01, 1.0, 100.0], ["0.01", "1", "100"]),
        ([-1e-5, 0.0, 1e-5, 1.0], ["−10⁻⁵", "0", "10⁻⁵", "1"]),
        ([7.0], ["7"]),
        ([], []),
    ],
)
def test_ticks_of_an_axis_have_as_many_decimals_each(ticks, said):
    assert Ticks().format_ticks(ticks) == said


def test_a_wide_name_is_broken_at_the_joint_nearest_to_its_middle():
    assert in_two("weight_l1_over_l2", 20.0) == "weight_\nl1_over_l2"
    assert in_two("eval/loss_of_the_task", 20.0) == "eval/loss_\nof_the_task"
    assert in_two("weight_l1_over_l2", 200.0) == "weight_l1_over_l2"
    assert in_two("explainedvariance", 20.0) == "explainedvariance"
