"""How Sphinx builds the handbook: ``sphinx-build -W notebooks/handbook build/handbook``, without a network.

Examples are run as a page is built, in an empty folder. Notebooks are stored without output; they are shown as they ran
where ``TRAJHMM_EXECUTED`` names a folder with them (``pytest -m notebooks`` fills it).
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from gather import gather_cards, gather_notebooks, to_cards  # noqa: E402 (it lies beside this file)

project = "trajhmm"
author = "The trajhmm authors"
copyright = "The trajhmm authors"
version = release = installed("trajhmm")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "run",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
nitpicky = False

myst_enable_extensions = ["deflist", "dollarmath", "fieldlist", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.strikethrough"]

nb_execution_mode = "off"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["handbook.css"]
html_title = "trajhmm"
html_show_sphinx = False
html_copy_source = False

gather_notebooks()
gather_cards()


def _formula(writer: Any, node: Any) -> None:
    """A formula as MathML, which browsers draw without a script from elsewhere."""
    display = "block" if node.tagname == "math_block" else "inline"
    writer.body.append(convert(node.astext(), display=display))
    raise SkipNode


def _linked(_app: Any, _page: str, text: list[str]) -> None:
    text[0] = to_cards(text[0])


def setup(app: Any) -> None:
    """Have Sphinx draw formulas so, and find the cards."""
    app.connect("source-read", _linked)
    app.add_html_math_renderer("mathml", inline_renderers=(_formula, None), block_renderers=(_formula, None))


html_math_renderer = "mathml"
