"""How far a map comes back, on the face of every figure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from trajhmm.dynamics.maps.verdict import badge_of
from trajhmm.figures.style import INK, current_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.hmm.certificate import Certificate

IRREPRODUCIBLE = "no reproducible map"
"""What every figure of a map says whose halves or seeds do not agree."""
UNTESTED = "reproducibility not tested"
STAMP = {"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": INK, "linewidth": 0.7}
"""The frame around `IRREPRODUCIBLE`."""


def badge_words(certificate: Certificate | None) -> tuple[str, str]:
    """What a map has to say in plain sight, if anything, and what it says beside: ``halves .85 · seeds 1.00``."""
    badge = badge_of(certificate)
    if badge.reproducible is None:
        return "", UNTESTED
    numbers = " · ".join(f"{name} {value.removeprefix('0')}" for name, value in badge.numbers)
    return ("", f"reproducible: {numbers}") if badge.reproducible else (IRREPRODUCIBLE, numbers)


def stamp(ax: Axes, certificate: Certificate | None) -> None:
    """Write below a figure of states that they come from a map that is not reproducible; nothing if it is, or untested.

    Parameters
    ----------
    ax : axes in the figure, which makes room for it.
    certificate : of the map.
    """
    figure = ax.get_figure(root=True)
    if badge_of(certificate).reproducible is False and isinstance(figure, Figure):
        figure.supxlabel(IRREPRODUCIBLE, fontsize=current_style().small, fontweight="bold", x=0.99, ha="right")
