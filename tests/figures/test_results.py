"""The figures of finished results: do they show what the result says?"""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trajhmm.errors import AnalysisError
from trajhmm.figures import (
    plot_convergence,
    plot_metric_panels,
    plot_regression,
    plot_selection_curve,
    plot_state_profile,
    plot_state_raster,
    state_colors,
)
from trajhmm.figures.style import luminance

from .gallery import CURVE, ten_state_trajectories
from .made import (
    made_certificate,
    made_halved,
    made_model,
    made_regression,
    made_visits,
    shown_texts,
    six_states,
    unsure,
)


def line_of(ax, gid):
    return next(line for line in ax.lines if line.get_gid() == gid)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_selection_marks_the_chosen_number_and_those_without_a_fit():
    ax = plot_selection_curve(made_model(5, curve=CURVE))
    np.testing.assert_array_equal(line_of(ax, "curve").get_xydata(), [(k, bic) for k, bic, _, _ in CURVE[:-1]])
    np.testing.assert_array_equal(line_of(ax, "chosen").get_xydata(), [(5, CURVE[4][1])])
    assert legend_of(ax) == ["lower is better", "K = 5, chosen by BIC", "no usable fit"]


def test_held_out_scores_have_their_standard_errors():
    ax = plot_selection_curve(made_model(5, curve=CURVE, criterion="heldout"))
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([(high - low) / 2 for (_, low), (_, high) in bars], 0.6)
    assert legend_of(ax)[:2] == ["higher is better; ± a standard error", "K = 5, chosen by held-out likelihood"]


def test_a_criterion_that_was_not_asked_for_is_refused():
    with pytest.raises(AnalysisError, match=r"no 'heldout'.*--criterion heldout"):
        plot_selection_curve(made_model(3), criterion="heldout")


def test_halves_and_the_worst_state_stand_beside_the_marks_that_they_have_to_reach():
    model = made_halved(4)
    ax = plot_selection_curve(model)
    tried = [point for point in model.curve if point.halves is not None]
    assert [point.states for point in tried] == [3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(line_of(ax, "curve").get_xydata(), [(p.states, p.halves) for p in tried])
    np.testing.assert_array_equal(line_of(ax, "worst").get_xydata(), [(p.states, p.recovery) for p in tried])
    assert [line_of(ax, f"mark-{mark}").get_ydata() for mark in (0.8, 0.6)] == [[0.8, 0.8], [0.6, 0.6]]
    assert legend_of(ax) == [
        "halves of the runs, 0.8 needed",
        "state that comes back worst, 0.6 needed",
        "K = 4, the largest that comes back",
    ]
    assert ax.get_xlim() == (0.5, 8.5)
    known = model.certificate
    more = replace(known.halves[2], agreement=(0.9,), recovery=(0.9,) * 5, outliers=1)
    outlying = replace(model, certificate=replace(known, halves=(*known.halves[:2], more, *known.halves[3:])))
    assert legend_of(plot_selection_curve(outlying))[2] == "K = 4, the largest without more outlier states"
    assert legend_of(plot_selection_curve(made_halved(certificate=unsure)))[2] == "K = 4, agrees best"


def test_seeds_that_disagree_are_why_a_number_whose_halves_agree_does_not_come_back():
    model = made_halved(certificate=lambda k, others: made_certificate(k, seeds=(0.7, 0.9), others=others))
    assert legend_of(plot_selection_curve(model))[2] == "K = 4, agrees best; other seeds 0.80, 0.95 needed"


def test_without_halves_the_number_that_bic_chose_is_shown():
    model = replace(made_model(5, curve=CURVE), criterion="reproducible")
    assert legend_of(plot_selection_curve(model))[:2] == ["lower is better", "K = 5, chosen by BIC"]
    with pytest.raises(AnalysisError, match="no 'reproducible'"):
        plot_selection_curve(model, criterion="reproducible")


@pytest.mark.parametrize("certificate", [None, made_certificate(6), unsure(6)], ids=["none", "good", "bad"])
def test_figures_of_a_map_that_is_not_reproducible_say_so(certificate):
    training_map = replace(six_states(), certificate=certificate)
    model = replace(made_model(6), certificate=certificate)
    for ax in (plot_state_raster(training_map), plot_state_profile(model), plot_selection_curve(model)):
        said = ax.figure.get_supxlabel()
        assert said == ("no reproducible map" if certificate == unsure(6) else "")
        # In a figure of the user's own nothing is written beside the axes given.
    mine = Figure(figsize=(5, 5), layout="constrained")
    plot_state_raster(training_map, ax=mine.add_subplot())
    assert mine.get_supxlabel() == ""


def test_regression_shows_both_predictions_and_says_how_good_they_are():
    regression = made_regression()
    ax = plot_regression(regression)
    for gid, predicted in (("fitted", regression.fitted), ("left-out", regression.left_out)):
        np.testing.assert_array_equal(line_of(ax, gid).get_xydata(), np.column_stack([predicted, regression.observed]))
    assert legend_of(ax) == [f"in sample: R² = {regression.r2:.3f}", f"run left out: R² = {regression.loro_r2:.3f}"]
    assert ax.get_xlim() == ax.get_ylim()


def test_regression_of_too_few_runs_is_refused():
    with pytest.raises(AnalysisError, match="2 runs converge, too few to regress"):
        plot_regression(made_regression(n_runs=2))


def test_convergence_shows_curves_censoring_and_numbers_at_risk():
    visits = made_visits()
    ax = plot_convergence(visits)
    assert legend_of(ax) == ["with state 2 (11 runs)", "without state 2 (9 runs)"]
    # Where runs keep coming back one may be in both arms: none of them is without the state.
    at_times = plot_convergence(replace(visits, at_times=True))
    assert legend_of(at_times) == ["going into state 2 (11 runs)", "not then in state 2 (9 runs, may be the same)"]
    np.testing.assert_array_equal(line_of(ax, "with").get_xdata()[1:], visits.visiting.steps)
    np.testing.assert_array_equal(line_of(ax, "with").get_ydata(), [1.0, *visits.visiting.remaining])
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert [len(line.get_xdata()) for line in ticks] == [visits.visiting.censored.sum(), visits.others.censored.sum()]
    words = [text.get_text() for text in ax.texts]
    assert words[0] == "11"
    assert words[words.index("with") + 1] == "9"


def test_profile_says_each_mean_and_marks_what_the_map_says():
    model, training_map = made_model(6), six_states()
    ax = plot_state_profile(model, training_map=training_map)
    numbers = [text.get_text() for text in ax.texts]
    means = model.parameters.means.T
    assert len(numbers) == means.size
    shown = np.array([number.replace("−", "-") for number in numbers], dtype=float).reshape(
        model.parameters.means.T.shape
    )
    np.testing.assert_allclose(shown, means, atol=0.05 + 1e-9)
    mesh = ax.collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax
    frames = {patch.get_gid() for patch in ax.patches if isinstance(patch, Rectangle)}
    assert frames == {f"top-{s.state}-{top.metric}" for s in training_map.states for top in s.top_metrics}
    marks = {line.get_gid(): line.get_marker() for line in ax.lines}
    into_3 = max((edge for edge in training_map.edges if edge.target == 3), key=lambda edge: edge.runs)
    for top in into_3.top_metrics:
        assert marks[f"way-3-{top.metric}"] == ("^" if top.movement > 0 else "v")


def test_profile_without_a_map_has_no_marks_and_with_many_states_signs_alone():
    ax = plot_state_profile(made_model(24), width="column")
    assert not ax.lines
    assert not ax.patches
    assert {text.get_text() for text in ax.texts} == {"", "−"}


def test_the_two_sides_of_the_profile_are_alike_in_grey():
    """A mean and its negative are told apart by their signs; neither may look the larger."""
    colours = [luminance(color) for color in ("#0072B2", "#D55E00")]
    assert abs(colours[0] - colours[1]) < 0.08


def test_panels_share_steps_and_one_legend():
    trajectories = ten_state_trajectories()
    panels = plot_metric_panels(trajectories, trajectories.metrics, step_scale="sqrt")
    assert [ax.get_ylabel() for ax in panels] == list(trajectories.metrics)
    assert [ax.get_legend() is not None for ax in panels] == [True, False]
    assert len({ax.get_xlim() for ax in panels}) == 1
    with pytest.raises(AnalysisError, match="no metrics to draw"):
        plot_metric_panels(trajectories, ())


def test_states_that_share_a_colour_are_told_apart_in_curves():
    trajectories = ten_state_trajectories()
    (ax, _) = plot_metric_panels(trajectories, trajectories.metrics)
    gids = {collection.get_gid() for collection in ax.collections}
    assert {gid for gid in gids if gid.startswith("core")} == {"core-8", "core-9"}
    assert state_colors(10)[8] == state_colors(10)[0]


@pytest.mark.parametrize("plot", [plot_convergence, plot_regression, plot_selection_curve, plot_state_profile])
def test_figures_draw_into_axes_that_are_given(plot):
    result = {
        plot_convergence: made_visits, plot_regression: made_regression,
        plot_selection_curve: lambda: made_model(3), plot_state_profile: lambda: made_model(3),
    }[plot]()  # fmt: skip
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.add_subplot()
    assert plot(result, ax=ax) is ax
    assert shown_texts(figure)
