import functools
import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from trajhmm.errors import TrajHMMError
from trajhmm.figures import (
    plot_metric_curves,
    plot_state_raster,
    plot_training_map,
    print_style,
    save_figure,
    state_colors,
    state_hatches,
)
from trajhmm.figures.style import ink_on, luminance

from .made import made_convergence, made_map, made_trajectories, shown_texts, six_states, ten_states

FORMATS = ("pdf", "svg", "png")
NAMES = ("map", "narrow map", "raster", "narrow raster", "curves", "log curves", "sqrt curves")


def figures():
    training_map = ten_states()
    convergence = made_convergence(training_map, [None, *range(100, 4000, 100)])
    short = made_map([[0, 1, 2]] * 4, 3)
    trajectories = made_trajectories([(range(0, 500, 10), range(50), [0] * 20 + [1] * 30)])
    return {
        "map": plot_training_map(training_map).figure,
        "narrow map": plot_training_map(training_map, width=3.25).figure,
        "raster": plot_state_raster(training_map, convergence=convergence).figure,
        "narrow raster": plot_state_raster(short, width=3.25).figure,
        "curves": plot_metric_curves(trajectories, "weight_l2").figure,
        "log curves": plot_metric_curves(trajectories, "weight_l2", step_scale="log", width=3.25).figure,
        "sqrt curves": plot_metric_curves(trajectories, "weight_l2", step_scale="sqrt", width=3.25).figure,
    }


@functools.cache
def drawn_once():
    return figures()


def lightness(color):
    """CIE L* of a colour, 0 to 100 (ISO/CIE 11664-4)."""
    y = luminance(color)
    return 116 * y ** (1 / 3) - 16 if y > (6 / 29) ** 3 else y * (29 / 3) ** 3


def test_neighbouring_states_differ_in_grey():
    colors = state_colors(17)
    shades = [lightness(color) for color in colors]
    steps = [b - a for a, b in itertools.pairwise(shades)]
    # 12 units of L* are two clear steps of a grey scale; the signs alternate: light, dark, light, …
    assert min(map(abs, steps)) > 12
    assert all(a * b < 0 for a, b in itertools.pairwise(steps))


def test_luminance_agrees_with_the_published_contrast_of_black_and_white():
    # WCAG 2.1: (1 + 0.05) / (0 + 0.05) = 21.
    assert (luminance("#ffffff") + 0.05) / (luminance("#000000") + 0.05) == pytest.approx(21)


def test_state_numbers_contrast_with_their_discs():
    for color in state_colors(8):
        high, low = sorted((luminance(color) + 0.05, luminance(ink_on(color)) + 0.05), reverse=True)
        assert high / low >= 4.5  # WCAG 2.1 AA for small text


def test_states_beyond_eight_share_colours_but_not_hatches():
    looks = list(zip(state_colors(30), state_hatches(30), strict=True))
    assert len(set(looks)) == 30
    assert len(set(state_colors(8))) == 8
    assert set(state_hatches(8)) == {""}


def test_print_style_is_undone():
    before = dict(mpl.rcParams)
    with print_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert dict(mpl.rcParams) != before
    assert dict(mpl.rcParams) == before


def test_drawing_and_saving_leave_the_settings_alone(tmp_path):
    before = dict(mpl.rcParams)
    save_figure(plot_training_map(six_states()).figure, tmp_path / "map.pdf")
    assert dict(mpl.rcParams) == before


def test_same_input_same_bytes(tmp_path):
    once, again = drawn_once(), figures()
    assert tuple(once) == NAMES
    for name, format in itertools.product(NAMES, FORMATS):
        save_figure(once[name], tmp_path / f"once.{format}")
        save_figure(again[name], tmp_path / f"again.{format}")
        assert (tmp_path / f"once.{format}").read_bytes() == (tmp_path / f"again.{format}").read_bytes(), name


def test_saving_in_another_order_gives_the_same_bytes(tmp_path):
    figure = drawn_once()["narrow raster"]
    for format in (*FORMATS, *reversed(FORMATS)):
        path = tmp_path / f"figure.{format}"
        before = path.read_bytes() if path.exists() else None
        save_figure(figure, path)
        assert before is None or before == path.read_bytes(), format


def test_another_input_gives_other_bytes(tmp_path):
    training_map = six_states()
    save_figure(plot_training_map(training_map).figure, tmp_path / "once.svg")
    save_figure(plot_training_map(replace(training_map, detours=())).figure, tmp_path / "other.svg")
    assert (tmp_path / "once.svg").read_bytes() != (tmp_path / "other.svg").read_bytes()


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from figures.made import ten_states
from trajhmm.figures import plot_training_map, save_figure
ax = plot_training_map(ten_states(), width=3.25)
for format in ("pdf", "svg", "png"):
    path = f"{sys.argv[2]}/map.{format}"
    save_figure(ax.figure, path)
    print(hashlib.sha256(open(path, "rb").read()).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
"""


def test_another_process_with_other_hashes_and_settings_gives_the_same_bytes_without_pyplot(tmp_path):
    (tmp_path / "matplotlibrc").write_text("pdf.fonttype: 3\nfont.family: serif\nsavefig.bbox: tight\n")
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root / "tests"), str(tmp_path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figure = plot_training_map(ten_states(), width=3.25).figure
    for format, digest in zip(FORMATS, done.stdout.split(), strict=True):
        save_figure(figure, tmp_path / f"here.{format}")
        assert hashlib.sha256((tmp_path / f"here.{format}").read_bytes()).hexdigest() == digest, format


@pytest.mark.parametrize("name", NAMES)
def test_pdf_fonts_are_type_42_and_nothing_is_dated(tmp_path, name):
    save_figure(drawn_once()[name], tmp_path / "figure.pdf")
    content = (tmp_path / "figure.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content or b"/TrueType" in content
    assert b"DejaVuSans" in content
    for mark in (b"CreationDate", b"ModDate", b"/Producer", b"/Creator"):
        assert mark not in content


def test_planted_type_3_font_is_seen(tmp_path):
    with mpl.rc_context({"pdf.fonttype": 3}):
        drawn_once()["map"].savefig(tmp_path / "figure.pdf")
    assert b"/Type3" in (tmp_path / "figure.pdf").read_bytes()


def test_svg_outlines_its_text_and_names_no_version(tmp_path):
    save_figure(drawn_once()["map"], tmp_path / "figure.svg")
    content = (tmp_path / "figure.svg").read_text()
    assert "<text" not in content
    assert "dc:date" not in content
    assert mpl.__version__ not in content


def test_png_has_300_dots_an_inch_and_the_size_of_the_figure(tmp_path):
    figure = drawn_once()["narrow map"]
    save_figure(figure, tmp_path / "figure.png")
    content = (tmp_path / "figure.png").read_bytes()
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert abs(width - 3.25 * 300) <= 1
    assert abs(height - figure.get_size_inches()[1] * 300) <= 1
    assert b"Software" not in content


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_smaller_than_six_points(name):
    figure = drawn_once()[name]
    sizes = {text.get_text(): text.get_fontsize() for text in shown_texts(figure)}
    assert min(sizes.values()) >= 6, sizes
    # Mathematical text sets exponents at 70 % of its size.
    assert not [text for text in sizes if "$" in text]


def test_unknown_ending_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(TrajHMMError, match=r"\.pdf, \.svg or \.png.*figure\.jpg"):
        save_figure(Figure(), tmp_path / "figure.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "figure.pdf"
    path.write_bytes(b"old")
    figure = Figure()

    def half_written(target, **settings):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", half_written)
    with pytest.raises(TrajHMMError, match="No space left"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.pdf"]
