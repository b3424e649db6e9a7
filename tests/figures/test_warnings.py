"""Timelines of warnings and what drove them; detectors side by side."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from trajhmm.errors import AnalysisError
from trajhmm.figures import (
    COLUMN_WIDTH,
    plot_drivers,
    plot_lead_times,
    plot_recall_vs_false_alarms,
    plot_warning_timeline,
)
from trajhmm.figures.style import DETOUR_INK
from trajhmm.warning.tracking import Driver

from .made import WATCHED, made_comparison, made_timeline, misplaced


def texts(ax):
    return [found.get_text() for found in ax.get_figure(root=True).findobj(Text) if found.get_text()]


def panel(ax, name):
    return next(child for child in ax.child_axes if any(text.get_text() == name for text in child.texts))


def test_a_timeline_shows_what_drove_the_alarm_first():
    ax = plot_warning_timeline(made_timeline())
    names = [next(t.get_text() for t in child.texts if not t.get_text().isdigit()) for child in ax.child_axes]
    assert names[:2] == ["grad_norm", "train_loss"]
    assert names[-4:] == ["eval_accuracy", "score", "risk", "state"]


def test_score_threshold_and_moments_stand_where_they_are():
    ax = plot_warning_timeline(made_timeline(), metrics=["weight_l2"])
    score = panel(ax, "score")
    curve, threshold, onset, alarm, collapse = score.lines
    np.testing.assert_array_equal(curve.get_xdata(), made_timeline().steps)
    np.testing.assert_array_equal(curve.get_ydata(), made_timeline().score)
    assert set(threshold.get_ydata()) == {5.0}
    assert [line.get_xdata()[0] for line in (onset, alarm, collapse)] == [250, 300, 400]
    assert to_hex(alarm.get_color()) == DETOUR_INK.lower()
    assert {"onset", "alarm", "collapse", "threshold"} <= set(texts(ax))
    strip = panel(ax, "state")
    assert [text.get_text() for text in strip.texts if text.get_text().isdigit()] == ["2", "0", "1"]


def test_states_of_a_map_are_called_so_and_begin_where_one_is_known():
    seen = made_timeline()
    states = seen.states.copy()
    states[:10] = -1
    strip = panel(plot_warning_timeline(replace(seen, states=states, of_map=True)), "state of the map")
    assert [text.get_text() for text in strip.texts if text.get_text().isdigit()] == ["2", "0", "1"]
    first = min(patch.get_x() for patch in strip.patches)
    assert seen.steps[9] < first < seen.steps[10]
    plain = panel(plot_warning_timeline(seen), "state")
    assert min(patch.get_x() for patch in plain.patches) < seen.steps[0]


def test_what_the_run_collapses_by_and_the_risk_have_panels_where_they_are_known():
    seen = made_timeline()
    ax = plot_warning_timeline(seen)
    np.testing.assert_array_equal(panel(ax, "eval_accuracy").lines[0].get_ydata(), seen.outcome[1])
    np.testing.assert_array_equal(panel(ax, "risk").lines[0].get_ydata(), seen.risk)
    quiet = plot_warning_timeline(made_timeline(alarm=None))
    assert not {"eval_accuracy", "risk"} & set(texts(quiet))
    watched = replace(seen, outcome=("grad_norm", seen.values[:, 1]))
    assert texts(plot_warning_timeline(watched)).count("grad_norm") == 1


def test_a_score_that_is_infinite_is_drawn_at_the_top():
    seen = made_timeline()
    seen = replace(seen, score=np.where(np.arange(50) == 40, np.inf, seen.score))
    curve = panel(plot_warning_timeline(seen), "score").lines[0]
    assert np.isfinite(curve.get_ydata()).all()
    assert curve.get_ydata()[40] == curve.get_ydata().max()


def test_a_quiet_run_has_no_line_for_an_alarm():
    ax = plot_warning_timeline(made_timeline(alarm=None))
    assert len(panel(ax, "score").lines) == 2
    assert "alarm" not in texts(ax)


def test_metrics_that_are_not_there_or_too_many_are_refused():
    with pytest.raises(AnalysisError, match="no metric 'loss' among those that are watched"):
        plot_warning_timeline(made_timeline(), metrics=["loss"])
    with pytest.raises(AnalysisError, match="4 metrics do not fit; name at most 3"):
        plot_warning_timeline(made_timeline(), metrics=made_timeline().metrics)


def test_drivers_stand_in_the_order_of_what_they_add_at_the_alarm():
    ax = plot_drivers(made_timeline())
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["grad_norm", "train_loss"]
    drawn = ax.collections[0].get_array().reshape(4, 50)
    assert drawn[0, 40] > drawn[1, 40] > drawn[2, 40]
    np.testing.assert_allclose(drawn[1, 30:], np.sqrt(3.0))


@pytest.mark.parametrize("plot", [plot_warning_timeline, plot_drivers])
@pytest.mark.parametrize("width", [COLUMN_WIDTH, 6.75])
def test_no_text_runs_into_another_or_off_the_page(plot, width):
    figure = plot(made_timeline(), width=width).get_figure(root=True)
    assert misplaced(figure) == []


def labelled(ax, name):
    return next(line for line in ax.lines if line.get_label() == name)


def test_recall_stands_over_false_alarms():
    ax = plot_recall_vs_false_alarms(made_comparison())
    np.testing.assert_allclose(labelled(ax, "hmm").get_ydata(), [0.75, 1.0])
    np.testing.assert_allclose(labelled(ax, "hmm").get_xdata(), [0.0, 0.0])
    np.testing.assert_allclose(labelled(ax, "zclip").get_ydata(), [0.25])
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata()[0] for line in hollow] == [0.0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["hmm", "zclip"]


def test_leads_are_a_survival_curve():
    """Alarms at 40, 40 and 60 of onset 20 to collapse 100 leave 75, 75 and 50% of the way."""
    line = labelled(plot_lead_times(made_comparison()), "hmm")
    np.testing.assert_allclose(line.get_xdata(), [1.0, 0.75, 0.75, 0.5, 0.0])
    np.testing.assert_allclose(line.get_ydata(), [0.0, 0.25, 0.5, 0.75, 0.75])
    with pytest.raises(AnalysisError, match=r"no budget 0.2 was compared \(found: 0.05, 0.1\)"):
        plot_lead_times(made_comparison(), budget=0.2)


def test_long_names_of_detectors_are_not_cut_off():
    named = made_comparison()
    long = {"hmm": "hmm", "zclip": "a_detector_of_another_package_with_a_name", "logistic": "_other"}
    rows = [replace(row, detector=long[row.detector]) for row in named.rows]
    rows += [replace(rows[3], detector=f"{name}_of_three_words") for name in ("first", "second", "third")]
    for plot in (plot_recall_vs_false_alarms, plot_lead_times):
        ax = plot(replace(named, rows=tuple(rows)), width="column")
        assert misplaced(ax.figure) == []
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert names[:2] == ["hmm", "a detector of another package with a name"]
        assert len(names) == 5


@pytest.mark.parametrize("plot", [plot_warning_timeline, plot_drivers])
def test_a_run_of_one_row_is_drawn(plot):
    seen = made_timeline(alarm=None)
    first = {name: getattr(seen, name)[:1] for name in ("steps", "values", "contributions", "score", "risk", "states")}
    figure = plot(replace(seen, **first), width="column").get_figure(root=True)
    assert misplaced(figure) == []


def test_names_that_are_not_there_are_refused():
    with pytest.raises(AnalysisError, match="no detector 'adwin' was compared"):
        plot_lead_times(made_comparison(), names=["adwin"])


def test_the_metrics_that_the_alarm_names_stand_on_top():
    """What adds most to the surprise may be others, where a view of a loss rang."""
    made = made_timeline()
    rung = (
        Driver(metric=WATCHED[3], contribution=1.0, view="loss rise"),
        Driver(metric="gone", contribution=1.0, view="x"),
    )
    seen = replace(made, alarm=replace(made.alarm, drivers=rung))
    drawn = [text.get_text() for text in plot_warning_timeline(seen).figure.findobj(Text)]
    named = [text for text in drawn if text in WATCHED]
    assert named == [WATCHED[3], "grad_norm", "train_loss"]
