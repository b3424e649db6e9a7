"""The look of printed figures: sizes, fonts, state colours, and files that come out the same every time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from trajhmm.errors import TrajHMMError
from trajhmm.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

StyleName = Literal["default", "neurips", "icml", "iclr", "nature"]
STYLES: tuple[StyleName, ...] = get_args(StyleName)
Width = float | Literal["column", "full"]
"""In inches, or one of the two widths of the print style."""
COLUMN_WIDTH = 3.25
"""Width of one column of a two-column page, in inches."""
FULL_WIDTH = 6.75
"""Width of the text of a page, in inches."""
POINTS = 72.0
"""Points in an inch."""
SANS, SERIF = "DejaVu Sans", "STIXGeneral"
"""Both ship with matplotlib, so that a figure looks the same on every machine; the second looks like Times."""
# The ends of an axis, and their margins and powers of ten, must be numbers too.
_FARTHEST = 1e150
INK, FAINT_INK, DETOUR_INK = "#1a1a1a", "#595959", "#D55E00"
"""Text and outlines; text that comes second; detours (vermillion)."""

_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#56B4E9", "#000000", "#CC79A7")
# Orange, yellow and sky blue in 85, 55 and 85 % of their strength.
_LINES = ("#0072B2", "#C38700", "#009E73", "#847D24", "#D55E00", "#4999C6", "#000000", "#CC79A7")
_DOTS = 300
_HATCHES = ("", "/////", "xxxxx", ".....", "|||||", "-----", "ooo")
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True, kw_only=True)
class PrintStyle:
    """What a venue asks of its figures.

    Attributes
    ----------
    column, full : widths in inches: a column, or half of the text where that has one column; the text of a page.
    font : a family that ships with matplotlib.
    base, small : sizes of type in points; nothing is set smaller than the second.
    """

    column: float
    full: float
    font: str
    base: float
    small: float


_DEFAULT = PrintStyle(column=COLUMN_WIDTH, full=FULL_WIDTH, font=SANS, base=7.0, small=6.0)
# Nature's guide to authors: 89 and 183 mm, sans serif, at most 7 points.
_NATURE = PrintStyle(column=89 / 25.4, full=183 / 25.4, font=SANS, base=7.0, small=6.0)
_current: ContextVar[PrintStyle] = ContextVar("print style", default=_DEFAULT)

_SETTINGS: Any = {
    # Type 42 fonts and outlined SVG text: what conferences ask for, and the same look everywhere.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "trajhmm",
    "pdf.compression": 6,
    "savefig.dpi": _DOTS,
    "savefig.bbox": None,
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    # What stands between two $ in a stranger's name is no mathematics; figures have none.
    "text.usetex": False,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelpad": 2.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.35,
    "ytick.minor.width": 0.35,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "hatch.linewidth": 0.5,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
}


@contextmanager
def print_style(style: StyleName | None = None) -> Iterator[None]:
    """Set matplotlib up for print inside the block, and put back what was set before.

    Figures made by this package are drawn under it already. Use it to draw *and save* them for a venue, and around
    axes of your own: ``with print_style("icml"): save_figure(plot_training_map(m, width="column").figure, "map.pdf")``.

    Parameters
    ----------
    style : ``neurips``, ``icml`` and ``iclr`` take widths and sizes of type from tueplots, in a font like Times;
        ``nature`` follows its guide to authors. By default that of the block around, or ``default``.

    Raises
    ------
    TrajHMMError
        No such style.
    """
    chosen = _current.get() if style is None else _style(style)
    settings: Any = {
        **_SETTINGS,
        "font.family": [chosen.font],
        "mathtext.fontset": "stix" if chosen.font == SERIF else "dejavusans",
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), chosen.base),
        **dict.fromkeys(
            ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), chosen.small
        ),
    }
    token = _current.set(chosen)
    try:
        with mpl.rc_context(settings):
            yield
    finally:
        _current.reset(token)


def current_style() -> PrintStyle:
    """The style of the `print_style` block around."""
    return _current.get()


def inches(width: Width) -> float:
    """A width in inches, under the current style."""
    if isinstance(width, str):
        return {"column": current_style().column, "full": current_style().full}[width]
    return width


@cache
def _style(name: StyleName) -> PrintStyle:
    from tueplots import figsizes, fontsizes

    if name not in STYLES:
        raise TrajHMMError(f"style {name!r}: expected one of {', '.join(STYLES)}")
    if name in ("default", "nature"):
        return _NATURE if name == "nature" else _DEFAULT
    column, full, type_ = {
        "neurips": (figsizes.neurips2024(rel_width=0.5), figsizes.neurips2024(), fontsizes.neurips2024()),
        "icml": (figsizes.icml2024_half(), figsizes.icml2024_full(), fontsizes.icml2024()),
        "iclr": (figsizes.iclr2024(rel_width=0.5), figsizes.iclr2024(), fontsizes.iclr2024()),
    }[name]
    return PrintStyle(
        column=column["figure.figsize"][0],
        full=full["figure.figsize"][0],
        font=SERIF,
        base=float(type_["font.size"]),
        small=float(type_["xtick.labelsize"]),
    )


def state_colors(k: int) -> tuple[str, ...]:
    """Colours of the states 0 to k − 1, as ``#rrggbb``.

    The eight colours of Okabe and Ito (2008), which people with any of the common colour deficiencies tell apart, in an
    order in which light and dark alternate, so that states that follow each other differ in a grey print too: at least
    12 units of CIE L* apart. From the ninth state on they repeat; `state_hatches` tells those apart.

    Parameters
    ----------
    k : number of states.
    """
    return tuple(_OKABE_ITO[state % len(_OKABE_ITO)] for state in range(k))


def line_colors(k: int) -> tuple[str, ...]:
    """Colours of lines of the states 0 to k − 1: those of `state_colors`, the light ones darkened.

    Each contrasts with white by at least 3 to 1, as the Web Content Accessibility Guidelines ask of lines; yellow and
    orange, which would come out alike to some, differ in lightness.

    Parameters
    ----------
    k : number of states.
    """
    return tuple(_LINES[state % len(_LINES)] for state in range(k))


def state_hatches(k: int) -> tuple[str, ...]:
    """Hatches of the states 0 to k − 1, in matplotlib's notation: none for the first eight, then one for each eight.

    Parameters
    ----------
    k : number of states.
    """
    return tuple(_HATCHES[state // len(_OKABE_ITO) % len(_HATCHES)] for state in range(k))


def luminance(color: str) -> float:
    """Relative luminance of a colour, 0 (black) to 1 (white), as the Web Content Accessibility Guidelines define it."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def ink_on(color: str) -> str:
    """Black or white, whichever reads better on ``color``."""
    behind = luminance(color) + 0.05
    return "#ffffff" if 1.05 / behind > behind / 0.05 else "#000000"


def new_axes(width: Width, height: float) -> Axes:
    """Axes of a new figure that makes room for their labels; sizes in inches.

    Parameters
    ----------
    width, height : of the figure.
    """
    return Figure(figsize=(inches(width), height), layout="constrained").add_subplot()


def size_of(ax: Axes) -> tuple[float, float]:
    """Width and height of axes, in points."""
    dots = ax.figure.dpi / POINTS
    return float(ax.bbox.width / dots), float(ax.bbox.height / dots)


def figure_format(path: str | Path) -> str:
    """``pdf``, ``svg`` or ``png``, as the name of a file says.

    Raises
    ------
    TrajHMMError
        Another ending.
    """
    format = Path(path).suffix.lower().removeprefix(".")
    if format not in _METADATA:
        raise TrajHMMError(f"{path}: expected a name that ends in .pdf, .svg or .png, found {Path(path).name!r}")
    return format


def save_figure(figure: Figure | Axes, path: str | Path) -> None:
    """Write a figure as PDF, SVG or PNG (300 dots an inch), whole or not at all.

    No dates, versions or random identifiers are written: the same figure gives the same bytes. The first time settles
    where things stand: what is added to the figure later gets no room made for it.

    Parameters
    ----------
    figure : what to write, or axes in it; saved at its own size.
    path : a name that ends in ``.pdf``, ``.svg`` or ``.png``.

    Raises
    ------
    TrajHMMError
        Another ending, or the file cannot be written.
    """
    format = figure_format(path)
    whole = figure if isinstance(figure, Figure) else figure.get_figure(root=True)
    if whole is None:
        raise TrajHMMError(f"{path}: these axes are in no figure")
    drawn = io.BytesIO()  # drawn to a file, a full disk would come out as any error
    with print_style():
        settle(whole)
        whole.savefig(drawn, format=format, dpi=_DOTS, metadata=_METADATA[format])
    with replacing(path) as temporary:
        temporary.write_bytes(drawn.getvalue())


def settle(figure: Figure) -> None:
    """Lay a figure out once and for all: again for each format, labels would move, and bytes depend on the order.

    Parameters
    ----------
    figure : to lay out, under a print style, as wide as its text is in print.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        drawn_at, figure.dpi = figure.dpi, _DOTS
        engine.execute(figure)
        figure.dpi = drawn_at
        figure.set_layout_engine("none")


def drawable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values with those that are finite, but too far off to lay out an axis for, as far as that; any shape."""
    return np.where(np.isfinite(values), np.clip(values, -_FARTHEST, _FARTHEST), values)
