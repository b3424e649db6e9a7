import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from trajhmm.errors import TrajHMMError
from trajhmm.figures import plot_training_map, print_style, save_figure, state_colors, state_hatches
from trajhmm.figures.style import ink_on, luminance

from .gallery import GALLERY, IN_ALL_FORMATS, IN_PDF, VENUES, compared_formats, file_of, printed, saved, style_of
from .made import outside, overlapping, six_states, ten_states

FORMATS = ("pdf", "svg", "png")
NAMES = (*GALLERY, *VENUES)


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


@pytest.mark.once
def test_drawing_and_saving_leave_the_settings_alone(tmp_path):
    before = dict(mpl.rcParams)
    save_figure(plot_training_map(six_states()).figure, tmp_path / "map.pdf")
    assert dict(mpl.rcParams) == before


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_ALL_FORMATS else pytest.mark.slow) for name in NAMES]
)
@pytest.mark.once
def test_same_input_same_bytes(name):
    # Both new: a figure that was shown in other dots before may have been laid out a hair differently.
    with print_style(style_of(name)):
        again = saved((GALLERY | VENUES)[name](), compared_formats(name))
    for format, content in again.items():
        assert content == file_of(name, format), format


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["narrow raster", "panels"])
def test_saving_in_another_order_gives_the_same_bytes(tmp_path, name):
    figure = GALLERY[name]().figure
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


@pytest.mark.once
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


def fonts_in(content):
    """Names and kinds of the fonts that a PDF embeds."""
    names = {name.decode() for name in re.findall(rb"/FontName /(?:[A-Z]{6}\+)?([\w-]+)", content)}
    return names, {kind.decode() for kind in re.findall(rb"/Subtype /(Type3|TrueType|CIDFontType2|Type1)\b", content)}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", NAMES)
def test_all_text_is_set_in_the_font_of_the_style(name):
    family = "STIXGeneral" if style_of(name) in ("neurips", "icml", "iclr") else "DejaVu Sans"
    texts = printed(name).texts
    assert {text.get_fontname() for text in texts} == {family}
    assert not [
        text.get_text() for text in texts if text.get_usetex() or (text.get_parse_math() and "$" in text.get_text())
    ]


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", NAMES)
def test_numbers_have_real_minus_signs_and_no_e(name):
    said = [text.get_text() for text in printed(name).texts]
    assert not [text for text in said if re.search(r"(^|[^\w])-\.?\d|\de[+-]?\d", text)]


@pytest.mark.parametrize("name", IN_PDF)
@pytest.mark.sampled(3)
def test_pdf_fonts_are_type_42_and_nothing_is_dated(name):
    content = file_of(name, "pdf")
    names, kinds = fonts_in(content)
    assert kinds <= {"TrueType", "CIDFontType2"}
    assert kinds
    family = "STIXGeneral" if style_of(name) in ("neurips", "icml", "iclr") else "DejaVuSans"
    assert all(font.startswith(family) for font in names)
    assert names
    for mark in (b"CreationDate", b"ModDate", b"/Producer", b"/Creator"):
        assert mark not in content


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="no pdffonts (poppler-utils) to ask")
@pytest.mark.parametrize("name", IN_PDF[:3])
def test_pdffonts_agrees(tmp_path, name):
    (tmp_path / "figure.pdf").write_bytes(file_of(name, "pdf"))
    listed = subprocess.run(["pdffonts", tmp_path / "figure.pdf"], capture_output=True, text=True, check=True).stdout
    fonts = listed.splitlines()[2:]
    assert fonts
    assert all("TrueType" in font and "Type 3" not in font for font in fonts)


def test_planted_type_3_font_is_seen(tmp_path):
    with mpl.rc_context({"pdf.fonttype": 3}):
        GALLERY["recall"]().figure.savefig(tmp_path / "figure.pdf")
    assert b"/Type3" in (tmp_path / "figure.pdf").read_bytes()


def test_svg_outlines_its_text_and_names_no_version():
    content = file_of("map", "svg").decode()
    assert "<text" not in content
    assert "dc:date" not in content
    assert mpl.__version__ not in content


def test_png_has_300_dots_an_inch_and_the_size_of_the_figure():
    figure, content = printed("map of six").figure, file_of("map of six", "png")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert abs(width - 3.25 * 300) <= 1
    assert abs(height - figure.get_size_inches()[1] * 300) <= 1
    assert b"Software" not in content


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(12)
def test_no_text_is_smaller_than_six_points(name):
    sizes = {text.get_text(): text.get_fontsize() for text in printed(name).texts}
    assert min(sizes.values()) >= 6, sizes
    # Mathematical text sets exponents at 70 % of its size.
    assert not [text for text in sizes if "$" in text]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(8)
def test_no_text_overlaps_another_or_is_cut_off(name):
    assert overlapping(printed(name).boxes) == []
    assert outside(printed(name).boxes, printed(name).figure) == []


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_as_wide_as_the_style_says_and_have_no_title(name):
    figure = printed(name).figure
    widths = {
        "default": (3.25, 6.75), "neurips": (2.75,), "icml": (3.25,), "iclr": (2.75,), "nature": (89 / 25.4,)
    }[style_of(name)]  # fmt: skip
    assert figure.get_size_inches()[0] == pytest.approx(widths[0]) or figure.get_size_inches()[0] == widths[-1]
    assert figure.get_suptitle() == ""
    assert all(ax.get_title() == "" for ax in figure.axes)


@pytest.mark.parametrize("name", NAMES)
def test_no_legend_stands_over_data(name):
    for top_of_axes, bottom_of_legend in printed(name).legends:
        assert bottom_of_legend >= top_of_axes - 1


def test_a_style_holds_for_what_is_drawn_inside_it_alone():
    with print_style("icml"):
        assert plot_training_map(six_states(), width="full").figure.get_size_inches()[0] == pytest.approx(6.75)
        with print_style():
            assert mpl.rcParams["font.family"] == ["STIXGeneral"]
    with print_style():
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
    with pytest.raises(TrajHMMError, match="'springer': expected one of default, neurips, icml, iclr, nature"):
        print_style("springer").__enter__()


def test_unknown_ending_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(TrajHMMError, match=r"\.pdf, \.svg or \.png.*figure\.jpg"):
        save_figure(Figure(), tmp_path / "figure.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "figure.pdf"
    path.write_bytes(b"old")

    def half_written(target, _):
        with target.open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half_written)
        with pytest.raises(TrajHMMError, match="No space left"):
            save_figure(Figure(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.pdf"]
