"""Spikes: does the figure show what the table says, at the size it is printed?"""

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import AnalysisError
from trajhmm.figures import plot_spikes, print_style, save_figure

from .made import misplaced, shown_texts

NAN = np.nan
ROWS = [
    ("a", "train_loss", 100, 105, 20, False, -0.02, "helped"),
    ("a", "train_loss", 900, 905, 20, False, 0.05, "harmed"),
    ("b", "train_loss", 400, 405, 20, False, 0.001, "neutral"),
    ("b", "train_loss", 450, 450, 20, False, NAN, "neutral"),
    ("b", "train_loss", 1900, 1905, 90, True, NAN, "never recovered"),
    ("a", "eval_loss", 120, 125, 40, False, 30.0, "harmed"),
    ("c", "eval_loss", 220, 225, 40, False, -0.01, "helped"),
    ("c", "eval_loss", 320, 325, 40, False, 0.01, "neutral"),
    ("c", "eval_loss", 420, 425, 40, False, 0.02, "neutral"),
]
COLUMNS = ["run", "metric", "start", "peak", "recovery_steps", "censored", "net_effect", "verdict"]
SPIKES = pd.DataFrame(ROWS, columns=COLUMNS)


def marks(ax, gid):
    return next(line for line in ax.lines if line.get_gid() == gid).get_xydata().tolist()


def test_each_spike_stands_where_it_began_at_its_net_effect():
    train, held_out = plot_spikes(SPIKES)
    assert marks(train, "train_loss-helped") == [[100, -0.02]]
    assert marks(train, "train_loss-harmed") == [[900, 0.05]]
    assert marks(train, "train_loss-neutral") == [[400, 0.001]]  # that whose effect is not known is not drawn
    assert marks(train, "train_loss-never recovered") == [[1900, 1.0]]
    assert marks(held_out, "eval_loss-harmed") == [[120, 30.0]]
    assert marks(held_out, "eval_loss-neutral") == [[320, 0.01], [420, 0.02]]
    cross = next(line for line in train.lines if line.get_gid() == "train_loss-never recovered")
    # On the upper edge, whatever the scale.
    assert cross.get_transform().transform((1900, 1.0))[1] == pytest.approx(train.transAxes.transform((0, 1))[1])


def test_wide_effects_are_drawn_on_a_scale_that_shows_small_ones():
    train, held_out = plot_spikes(SPIKES)
    assert (train.get_yscale(), held_out.get_yscale()) == ("linear", "symlog")
    for ax, metric in ((train, "train_loss"), (held_out, "eval_loss")):
        low, high = ax.get_ylim()
        known = SPIKES[(SPIKES["metric"] == metric)]["net_effect"].dropna()
        assert low < known.min() < known.max() < high
    assert {0.0} < set(held_out.get_yticks())


def test_the_key_counts_verdicts_and_names_only_those_there_are():
    first, _ = plot_spikes(SPIKES)
    assert {text.get_text() for text in first.get_legend().get_texts()} == {
        "helped (2)", "harmed (2)", "neutral (4)", "never recovered (1)"
    }  # fmt: skip
    (alone,) = plot_spikes(SPIKES.iloc[:1])
    assert [text.get_text() for text in alone.get_legend().get_texts()] == ["helped (1)"]


def test_verdicts_differ_in_shape():
    train, _ = plot_spikes(SPIKES)
    assert len({line.get_marker() for line in train.lines if line.get_gid()}) == 4


@pytest.mark.parametrize("width", ["column", "full"])
@pytest.mark.parametrize("style", ["default", "neurips", "nature"])
@pytest.mark.sampled(2)
def test_no_texts_overlap_or_are_cut_at_the_size_of_print(style, width):
    with print_style(style):
        figure = plot_spikes(SPIKES, width=width)[0].figure
        assert not misplaced(figure)
        assert min(text.get_fontsize() for text in shown_texts(figure)) >= (6 if style == "default" else 5)


def test_spikes_of_which_none_recovered_can_be_drawn():
    (ax,) = plot_spikes(SPIKES[SPIKES["verdict"] == "never recovered"])
    assert marks(ax, "train_loss-never recovered") == [[1900, 1.0]]


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("one.pdf", "other.pdf"):
        save_figure(plot_spikes(SPIKES)[0], tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "other.pdf").read_bytes()


def test_what_is_no_table_of_spikes_says_what_it_lacks():
    with pytest.raises(AnalysisError, match=r"no column 'verdict'.*spikes.csv of 'trajhmm stability'"):
        plot_spikes(SPIKES.drop(columns="verdict"))
    with pytest.raises(AnalysisError, match="no spike in these spikes"):
        plot_spikes(SPIKES.iloc[:0])
    many = pd.concat([SPIKES.iloc[:1].assign(metric=f"m{n}") for n in range(7)])
    with pytest.raises(AnalysisError, match=r"7 metrics in these spikes.*at most 6"):
        plot_spikes(many)
