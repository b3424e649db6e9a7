"""Every figure beside the picture of it that was looked at, pixel by pixel.

After a change that is meant: ``pytest tests/figures/test_pictures.py --mpl-generate-path=tests/figures/baseline``, and
look at what differs.
"""

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.testing.compare import calculate_rms
from PIL import Image

from trajhmm.figures import plot_regression, plot_state_profile, plot_training_map, print_style
from trajhmm.figures.style import settle

from .gallery import GALLERY, VENUES, pictured, printed
from .made import made_model, made_regression, six_states, ten_states

DRAWN_WITH = (3, 11)
# Root mean square of 0 to 255. The same matplotlib gives 0; one mark of another colour or one text moved by a pixel, as
# planted below, more than this.
TOLERANCE = 0.4

pytestmark = pytest.mark.skipif(
    mpl.__version_info__[:2] != DRAWN_WITH,
    reason=f"pictures were drawn with matplotlib {'.'.join(map(str, DRAWN_WITH))}; other versions set type otherwise",
)
SHOWN = [
    *GALLERY,
    "map for icml",
    "irreproducible map for icml",
    "profile for neurips",
    "convergence for nature",
    "timeline for icml",
]


class Picture:
    """Something to save, for pytest-mpl: what was saved when the figure was drawn for all tests."""

    def __init__(self, content):
        self.content = content

    def savefig(self, path, **_):
        Path(path).write_bytes(self.content)


def compared(name):
    file = name.replace(" ", "_") + ".png"
    marks = pytest.mark.mpl_image_compare(baseline_dir="baseline", filename=file, tolerance=TOLERANCE, style="default")

    @marks
    def test():
        return Picture(printed(name).picture)

    return test


for shown in SHOWN:
    globals()["test_" + shown.replace(" ", "_").replace("-", "_")] = compared(shown)


def pixels(content):
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"), dtype=float)


def drawn_again(axes):
    """Pixels of a figure, laid out as one that is saved."""
    with print_style():
        settle(axes.figure)
    return pixels(pictured(axes.figure))


def moved_dot(regression):
    ax = plot_regression(regression)
    line = next(line for line in ax.lines if line.get_gid() == "fitted")
    line.set_xdata([*line.get_xdata()[:-1], line.get_xdata()[-1] + 400])
    return ax


def other_colour():
    ax = plot_training_map(six_states(), width="column")
    next(patch for patch in ax.patches if patch.get_gid() == "state-4").set_facecolor("#CC79A7")
    return ax


def lost_mark():
    ax = plot_state_profile(made_model(10), training_map=ten_states(), width="full")
    next(line for line in ax.lines if str(line.get_gid()).startswith("way-")).remove()
    return ax


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "planted"),
    [("regression", lambda: moved_dot(made_regression())), ("map of six", other_colour), ("wide profile", lost_mark)],
)
def test_planted_changes_are_more_than_the_tolerance(name, planted):
    right = pixels(printed(name).picture)
    assert calculate_rms(right, drawn_again(planted())) > TOLERANCE
    assert calculate_rms(right, drawn_again(GALLERY[name]())) == 0


def test_every_figure_of_the_gallery_has_a_picture(request):
    folder = request.path.parent / "baseline"
    assert {path.stem for path in folder.glob("*.png")} == {name.replace(" ", "_") for name in SHOWN}
    assert sum(path.stat().st_size for path in folder.glob("*.png")) < 1_000_000
    assert set(SHOWN) <= {*GALLERY, *VENUES}
