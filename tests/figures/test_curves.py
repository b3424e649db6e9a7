import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from trajhmm.errors import AnalysisError
from trajhmm.figures import line_colors, plot_metric_curves, plot_run_curves
from trajhmm.figures.style import luminance

from .made import drawn, made_trajectories, misplaced

NAN, INF = float("nan"), float("inf")


def stretches(ax):
    """The polylines of each state."""
    return {
        int(collection.get_gid().removeprefix("state-")): [
            [tuple(point) for point in segment] for segment in collection.get_segments()
        ]
        for collection in ax.collections
    }


def long_runs():
    rng = np.random.default_rng(0)
    steps = np.arange(0, 9601, 32)
    states = np.repeat([0, 1, 2], [100, 100, len(steps) - 200])
    return made_trajectories([(steps, np.cumsum(rng.normal(size=len(steps))), states) for _ in range(5)])


def test_each_stretch_has_its_states_colour_and_runs_on_to_the_next():
    trajectories = made_trajectories([([0, 10, 30, 40], [1, 2, 3, 4], [0, 0, 1, 1]), ([5, 6], [7, 8], [1, 1])])
    ax = plot_metric_curves(trajectories, "weight_l2")
    assert stretches(ax) == {
        0: [[(0, 1), (10, 2), (30, 3)]],
        1: [[(30, 3), (40, 4)], [(5, 7), (6, 8)]],
    }
    for collection in ax.collections:
        state = int(collection.get_gid().removeprefix("state-"))
        assert {to_hex(color) for color in collection.get_colors()} == {line_colors(2)[state].lower()}
        assert collection.get_rasterized()


def test_runs_are_not_joined_and_no_value_is_lost():
    trajectories = long_runs()
    segments = [
        segment for lines in stretches(plot_metric_curves(trajectories, "weight_l2")).values() for segment in lines
    ]
    pieces = {(a, b) for segment in segments for a, b in itertools.pairwise(segment)}
    expected = set()
    for _, rows in trajectories.slices():
        points = list(zip(trajectories.steps[rows], trajectories.values[rows, 0], strict=True))
        expected |= set(itertools.pairwise(points))
    assert pieces == expected


def test_the_metric_asked_for_is_drawn_and_named():
    trajectories = made_trajectories([([0, 1], [[1, 10], [2, 20]], [0, 0])], ("weight_l1", "eval_loss"))
    ax = plot_metric_curves(trajectories, "eval_loss")
    assert stretches(ax) == {0: [[(0, 10), (1, 20)]]}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "eval_loss")
    with pytest.raises(AnalysisError, match=r"'train_loss'.*weight_l1, eval_loss"):
        plot_metric_curves(trajectories, "train_loss")


def test_blank_rows_are_passed_over():
    trajectories = made_trajectories([([0, 1, 2, 3], [1, NAN, 3, NAN], [0, 0, 0, 1])])
    assert stretches(plot_metric_curves(trajectories, "weight_l2")) == {0: [[(0, 1), (2, 3)]]}


def test_an_infinite_value_interrupts_the_curve_and_is_marked():
    trajectories = made_trajectories([([0, 1, 2, 3, 4], [1, 2, INF, 4, 5], [0] * 5), ([0, 1], [3, 4], [0, 0])])
    ax = plot_metric_curves(trajectories, "weight_l2")
    assert stretches(ax) == {0: [[(0, 1), (1, 2)], [(3, 4), (4, 5)], [(0, 3), (1, 4)]]}
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert crosses.get_xydata().tolist() == [[1, 2]]
    last = made_trajectories([([0, 1, 2], [1, 2, -INF], [0] * 3)])
    assert plot_metric_curves(last, "weight_l2").lines[0].get_xydata().tolist() == [[1, 2]]


def test_a_lone_value_shows_as_a_dot_of_its_states_colour():
    trajectories = made_trajectories([([5], [2], [1]), ([0, 9], [1, 3], [0, 0]), ([1, 2, 3], [4, INF, 5], [0, 0, 2])])
    ax = plot_metric_curves(trajectories, "weight_l2")
    dots = {tuple(line.get_xydata()[0]): line.get_color() for line in ax.lines if line.get_marker() == "."}
    colors = line_colors(3)
    assert dots == {(5, 2): colors[1], (1, 4): colors[0], (3, 5): colors[2]}


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_scales_place_steps_where_they_should(scale):
    trajectories = made_trajectories([([0, 100, 400, 10_000], [1, 2, 3, 4], [0] * 4)])
    ax = plot_metric_curves(trajectories, "weight_l2", step_scale=scale)
    drawn(ax.figure)
    at = dict(zip((0, 100, 400, 10_000), ax.transAxes.inverted().transform(
        ax.transData.transform([(step, 2) for step in (0, 100, 400, 10_000)]))[:, 0], strict=True))  # fmt: skip
    assert at[0] == pytest.approx(0)
    assert at[10_000] == pytest.approx(1)
    if scale == "linear":
        assert at[400] == pytest.approx(0.04)
    elif scale == "sqrt":
        assert at[400] == pytest.approx(0.2)
    else:
        decades = np.log10(10_000 / 100)
        assert (at[400] - at[100]) / (at[10_000] - at[100]) == pytest.approx(np.log10(4) / decades)


def test_log_steps_without_zero_are_plainly_logarithmic():
    trajectories = made_trajectories([([1, 10, 1000], [1, 2, 3], [0] * 3)])
    ax = plot_metric_curves(trajectories, "weight_l2", step_scale="log")
    assert ax.get_xscale() == "log"
    assert ax.get_xlim() == (1, 1000)


def test_an_unknown_scale_is_refused():
    with pytest.raises(AnalysisError, match="'linear', 'log' or 'sqrt'"):
        plot_metric_curves(long_runs(), "weight_l2", step_scale="cube")


@pytest.mark.parametrize("width", [3.25, 6.75])
@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_labels_do_not_overlap(scale, width):
    figure = plot_metric_curves(long_runs(), "weight_l2", step_scale=scale, width=width).figure
    assert misplaced(figure) == []


def one_of_two():
    steps = np.arange(0, 500, 10)
    losses = np.column_stack([np.exp(-steps / 60.0), 1.3 * np.exp(-steps / 60.0) + 0.02, steps])
    states = np.repeat([0, 1, 3], [10, 20, 20])
    names = ("train_loss", "eval_loss", "weight_l2")
    return made_trajectories([(steps, losses, states), (steps, losses + 100, states)], names)


def test_of_one_run_the_losses_share_a_panel_and_differ_in_dashes():
    ax = plot_run_curves(one_of_two(), "run 0")
    values = one_of_two().values[:50]
    drawn_values = {
        dashed: np.concatenate([segment[:, 1] for one in found for segment in one.get_segments()])
        for dashed, found in itertools.groupby(
            sorted(ax.collections, key=lambda one: one.get_linestyles()[0][1] is not None),
            key=lambda one: one.get_linestyles()[0][1] is not None,
        )
    }
    assert set(drawn_values[False]) == set(values[:, 0])
    assert set(drawn_values[True]) == set(values[:, 1])
    keys = [child for child in ax.get_children() if isinstance(child, Legend)]
    told = [[text.get_text() for text in key.get_texts()] for key in keys]
    assert sorted(told) == [["state 0", "1", "3"], ["train_loss", "eval_loss"]]
    assert ax.get_yscale() == "log"
    assert misplaced(ax.figure) == []
    colors = {to_hex(color) for one in ax.collections for color in one.get_colors()}
    assert colors == {line_colors(4)[state].lower() for state in (0, 1, 3)}


def test_of_one_run_other_metrics_and_one_alone_can_be_asked_for():
    ax = plot_run_curves(one_of_two(), "run 1", ["weight_l2"])
    assert ax.get_ylabel() == "weight_l2"
    drawn_values = np.concatenate([segment[:, 1] for one in ax.collections for segment in one.get_segments()])
    assert set(drawn_values) == set(one_of_two().values[50:, 2])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["state 0", "1", "3"]
    plain = made_trajectories([([0, 1], [1, 2], [0, 0])])
    assert plot_run_curves(plain, "run 0").get_ylabel() == "weight_l2"


@pytest.mark.parametrize(
    ("run", "metrics", "said"),
    [
        ("run0", [], "no run 'run0' under this model; did you mean 'run 0'"),
        ("other", [], r"no run 'other' under this model \(found: run 0, "),
        ("run 0", ["accuracy"], "no metric 'accuracy'"),
        ("run 0", ["train_loss"] * 4, "4 metrics do not fit on one panel; name at most 3"),
    ],
)
def test_of_one_run_what_is_not_there_is_named(run, metrics, said):
    with pytest.raises(AnalysisError, match=said):
        plot_run_curves(one_of_two(), run, metrics)


def test_lines_contrast_with_paper_and_states_that_follow_each_other_differ():
    colors = line_colors(16)
    assert colors[:8] == colors[8:]
    assert len(set(colors)) == 8
    assert all(1.05 / (luminance(color) + 0.05) >= 3 for color in colors)


def test_axes_of_ones_own_are_drawn_into():
    ax = Figure().add_subplot()
    assert plot_metric_curves(long_runs(), "weight_l2", ax=ax) is ax
    assert set(stretches(ax)) == {0, 1, 2}


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_a_run_of_one_row_stands_in_the_middle(scale):
    one = made_trajectories([([40], [3.5], [0])])
    for ax in (plot_metric_curves(one, "weight_l2", step_scale=scale), plot_run_curves(one, "run 0", step_scale=scale)):
        assert misplaced(ax.figure) == []
        at = ax.transAxes.inverted().transform(ax.transData.transform((40, 3.5)))
        assert at == pytest.approx((0.5, 0.5), abs=0.1)
