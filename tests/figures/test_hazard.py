"""The hazard of a change: does the figure show what the table says, at the size it is printed?"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from trajhmm.errors import AnalysisError
from trajhmm.figures import plot_hazard, print_style, save_figure
from trajhmm.figures.style import luminance

from .made import misplaced, shown_texts

STEPS = 500 * np.arange(8) + 250


def group(height, **names):
    hazard = height * np.exp(-STEPS / 1500)
    return pd.DataFrame(
        {**names, "step": STEPS, "hazard": hazard, "ci_low": 0.6 * hazard, "ci_high": 1.5 * hazard + 1e-5}
    )


FEW = pd.concat([group(0.004, noise=0.1), group(0.002, noise=0.01)], ignore_index=True)
MANY = pd.concat(
    [group(0.01 * rate / size, learning_rate=rate, batch_size=size) for rate in (0.1, 0.5, 1.0) for size in (8, 32)],
    ignore_index=True,
)


def line(ax, name):
    return next(one for one in ax.lines if one.get_gid() == f"hazard-{name}").get_xydata()


def band(ax, name):
    """Lower and upper ends of an interval, by step."""
    drawn = next(one for one in ax.collections if one.get_gid() == f"interval-{name}")
    points = drawn.get_paths()[0].vertices
    return {step: (points[points[:, 0] == step, 1].min(), points[points[:, 0] == step, 1].max()) for step in STEPS}


def test_lines_and_bands_are_changes_per_1000_steps():
    (ax,) = plot_hazard(FEW)
    for name, rows in FEW.groupby("noise"):
        np.testing.assert_allclose(line(ax, f"{name:g}"), rows[["step", "hazard"]] * [1, 1000])
        for step, low, high in rows[["step", "ci_low", "ci_high"]].itertuples(index=False):
            assert band(ax, f"{name:g}")[step] == pytest.approx((1000 * low, 1000 * high))
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 1000 * FEW["ci_high"].max()
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "noise"
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.01"]


def test_more_than_four_groups_get_a_panel_each_on_one_scale():
    panels = plot_hazard(MANY, width="full")
    assert [ax.get_title() for ax in panels] == ["0.1, 8", "0.1, 32", "0.5, 8", "0.5, 32", "1, 8", "1, 32"]
    assert len({ax.get_ylim() for ax in panels}) == 1
    first = MANY[(MANY["learning_rate"] == 0.1) & (MANY["batch_size"] == 32)]
    np.testing.assert_allclose(line(panels[1], "0.1, 32")[:, 1], 1000 * first["hazard"])
    # Values of the second attribute stand below each other.
    assert panels[0].get_position().x0 == panels[2].get_position().x0 < panels[1].get_position().x0


def test_logs_of_other_lengths_get_a_scale_a_row():
    short = MANY["learning_rate"] == 1.0
    panels = plot_hazard(MANY.assign(step=np.where(short, MANY["step"] // 10, MANY["step"])), width=2.4)
    assert {ax.get_xlim()[1] for ax in panels[:4]} == {panels[0].get_xlim()[1]}
    assert panels[4].get_xlim() == panels[5].get_xlim() == pytest.approx((0, 1.03 * 375))
    assert panels[4].get_ylim() != panels[0].get_ylim()
    assert not misplaced(panels[0].figure)


def test_upper_ends_far_beyond_all_hazards_do_not_set_the_scale():
    wide = FEW.assign(ci_high=np.where(FEW.index == 15, 5.0, FEW["ci_high"]))
    (ax,) = plot_hazard(wide)
    assert ax.get_ylim()[1] < 3 * 1000 * FEW["hazard"].max()
    (flat,) = plot_hazard(FEW.assign(hazard=0.0, ci_low=0.0, ci_high=0.001))
    assert flat.get_ylim()[1] == pytest.approx(1.05)


def test_one_bin_is_a_dot_with_its_interval_and_one_group_has_no_key():
    (ax,) = plot_hazard(FEW.iloc[:1].drop(columns="noise"))
    np.testing.assert_allclose(line(ax, ""), [(250, 1000 * FEW["hazard"][0])])
    assert ax.get_legend() is None


@pytest.mark.sampled(2)
@pytest.mark.parametrize("width", ["column", "full"])
@pytest.mark.parametrize("style", ["default", "icml", "nature"])
@pytest.mark.parametrize("table", [FEW, MANY], ids=["few", "many"])
def test_no_texts_overlap_or_are_cut_at_the_size_of_print(table, style, width):
    with print_style(style):
        figure = plot_hazard(table, width=width)[0].figure
        assert not misplaced(figure)
        assert min(text.get_fontsize() for text in shown_texts(figure)) >= (6 if style == "default" else 5)


def test_groups_are_told_apart_without_colour():
    (ax,) = plot_hazard(pd.concat([group(0.001 * n, noise=n) for n in (1, 2, 3, 4)], ignore_index=True))
    assert len({one.get_linestyle() + str(one._dash_pattern) for one in ax.lines}) == 4
    assert all(1.05 / (luminance(to_rgb(one.get_color())) + 0.05) > 3 for one in ax.lines)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("one.pdf", "other.pdf"):
        save_figure(plot_hazard(FEW)[0], tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "other.pdf").read_bytes()


def test_what_is_no_hazard_says_what_it_lacks():
    with pytest.raises(AnalysisError, match=r"no column 'ci_low'.*hazard.csv of 'trajhmm stability'"):
        plot_hazard(FEW.drop(columns="ci_low"))
    with pytest.raises(AnalysisError, match="no row"):
        plot_hazard(FEW.iloc[:0])
