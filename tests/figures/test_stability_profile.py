"""The stability profile: does it show what the table says, where it says it, at the size it is printed?"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from trajhmm.cli import tables
from trajhmm.dynamics.stability.audit.profile import QUANTITIES
from trajhmm.errors import AnalysisError
from trajhmm.figures import COLUMN_WIDTH, plot_stability_profile, print_style, save_figure
from trajhmm.figures.style import luminance

from .made import misplaced, shown_texts

NAN, INF = np.nan, np.inf
COLUMNS = [
    *("dimension", "strength", "n_runs", "collapsed", "collapsed_low", "collapsed_high"),
    *("recovery_steps", "recovery_low", "recovery_high", "n_censored", "area_ratio", "area_low", "area_high"),
    *("deviation", "deviation_low", "deviation_high", "lead_share", "lead_low", "lead_high"),
]
ROWS = [
    ("learning_signal", 0.3, 6, 0.0, 0.0, 0.46, 0.0, 0.0, 0.0, 0, 0.96, 0.95, 0.97, 0.02, -0.1, 0.06, NAN, NAN, NAN),
    ("learning_signal", 0.46, 6, 0.5, 0.12, 0.88, 549.0, 460.0, INF, 2, 0.78, 0.5, 1.1, 0.03, NAN, NAN, 1.0, 0.3, 1.0),
    ("optimization", 13.0, 6, 1.0, 0.54, 1.0, INF, 567.0, INF, 6, 0.5, 0.4, 0.6, 0.92, 0.8, 0.99, 0.17, 0.0, 0.64),
    ("optimization", 250.0, 6, 1.0, 0.54, 1.0, 1200.0, 900.0, 1500.0, 0, NAN, NAN, NAN, 0.9, 0.8, 0.99, 0.9, 0.6, 1.0),
]
PROFILE = pd.DataFrame(ROWS, columns=COLUMNS)
HEIGHTS = [1.0, 2.0, 4.0, 5.0]


def marks(ax, gid):
    return next(line for line in ax.lines if line.get_gid() == gid).get_xydata()


def intervals(ax, name):
    drawn = next(lines for lines in ax.collections if lines.get_gid() == f"intervals-{name}")
    return [(left, right, height) for (left, height), (right, _) in drawn.get_segments()]


@pytest.fixture
def panels():
    return dict(zip(("collapsed", "recovery_steps", "area_ratio", "deviation", "lead_share"),
                    plot_stability_profile(PROFILE), strict=True))  # fmt: skip


@pytest.mark.parametrize("name", ["collapsed", "recovery_steps", "area_ratio", "deviation", "lead_share"])
def test_a_dot_stands_for_every_number_that_there_is(panels, name):
    finite = np.isfinite(PROFILE[name])
    np.testing.assert_allclose(
        marks(panels[name], f"dots-{name}"), np.column_stack([PROFILE[name], HEIGHTS])[finite.to_numpy()]
    )


def test_intervals_end_where_they_do_or_at_the_edge(panels):
    np.testing.assert_allclose(
        intervals(panels["collapsed"], "collapsed"),
        np.column_stack([PROFILE["collapsed_low"], PROFILE["collapsed_high"], HEIGHTS]),
    )
    edge = panels["recovery_steps"].get_xlim()[1]
    assert edge > 1500
    np.testing.assert_allclose(
        intervals(panels["recovery_steps"], "recovery_steps"),
        [(0, 0, 1), (460, edge, 2), (567, edge, 4), (900, 1500, 5)],
    )
    assert [height for *_, height in intervals(panels["deviation"], "deviation")] == [1.0, 4.0, 5.0]


def test_what_lies_beyond_the_log_is_a_hollow_triangle_at_the_edge(panels):
    ax = panels["recovery_steps"]
    np.testing.assert_allclose(marks(ax, "beyond-recovery_steps"), [(ax.get_xlim()[1], 4.0)])
    drawn = next(line for line in ax.lines if line.get_gid() == "beyond-recovery_steps")
    assert (drawn.get_marker(), drawn.get_markerfacecolor()) == (">", "white")


def test_rows_are_named_and_dimensions_stand_above_theirs(panels):
    first = panels["collapsed"]
    first.figure.draw_without_rendering()
    assert [label.get_text() for label in first.get_yticklabels()] == ["0.3", "0.46", "13", "250"]
    assert {text.get_text(): text.get_position()[1] for text in first.texts} == {
        "learning signal": 0,
        "optimization": 3,
    }
    assert first.get_ylim()[0] > first.get_ylim()[1]


@pytest.mark.parametrize("width", ["column", "full"])
@pytest.mark.parametrize("style", ["default", "neurips", "icml", "nature"])
@pytest.mark.sampled(2)
def test_no_texts_overlap_or_are_cut_at_the_size_of_print(style, width):
    with print_style(style):
        figure = plot_stability_profile(PROFILE, width=width)[0].figure
        assert not misplaced(figure)
        least = min(text.get_fontsize() for text in shown_texts(figure))
    assert least >= 6 or style in ("neurips", "icml")


def test_it_is_as_wide_as_a_column_and_reads_in_grey(panels):
    figure = panels["collapsed"].figure
    assert figure.get_figwidth() == COLUMN_WIDTH
    inks = [to_rgb(line.get_color()) for ax in panels.values() for line in ax.lines]
    inks += [to_rgb(color) for ax in panels.values() for lines in ax.collections for color in lines.get_color()]
    # Black or grey, with the contrast that text on white needs.
    assert all(len(set(ink)) == 1 for ink in inks)
    assert all(1.05 / (luminance(ink) + 0.05) > 4.5 for ink in inks)


@pytest.mark.once
def test_the_same_profile_gives_the_same_bytes(tmp_path):
    for name in ("one.pdf", "other.pdf", "one.png", "other.png"):
        save_figure(plot_stability_profile(PROFILE)[0], tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "other.pdf").read_bytes()
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_a_profile_of_nothing_but_survivors_and_one_of_texts_can_be_drawn():
    calm = PROFILE.iloc[:1].assign(strength="mild")
    panels = plot_stability_profile(calm)
    assert len(marks(panels[4], "dots-lead_share")) == 0
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["mild"]
    assert np.ptp(panels[1].get_xlim()) > 0


def test_what_is_no_profile_says_what_it_lacks():
    with pytest.raises(AnalysisError, match=r"no column 'area_low'.*profile.csv of 'trajhmm audit'"):
        plot_stability_profile(PROFILE.drop(columns="area_low"))
    with pytest.raises(AnalysisError, match=r"no row"):
        plot_stability_profile(PROFILE.iloc[:0])


def test_titles_and_columns_are_those_of_the_profile(monkeypatch):
    """Which had a copy of its own of them, as the table for print had."""
    renamed = replace(QUANTITIES["deviation"], bounds="away", panel="how far\naway")
    monkeypatch.setitem(QUANTITIES, "deviation", renamed)
    profile = PROFILE.rename(columns={"deviation_low": renamed.low, "deviation_high": renamed.high})
    axes = plot_stability_profile(profile)
    assert [ax.get_title() for ax in axes] == [one.panel for one in QUANTITIES.values()]
    assert "how far\naway" in [ax.get_title() for ax in axes]
    asked = SimpleNamespace(finished=lambda *_: profile)
    assert [(one.name, one.title) for one in tables._stability(asked)[3:]] == [
        (one.column, one.title) for one in QUANTITIES.values()
    ]
