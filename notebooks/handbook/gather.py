"""What the handbook shows that stands elsewhere in the project: the notebooks and the cards of `data/`."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
NOTEBOOKS, CARDS = HERE / "notebooks", HERE / "cards"

_CARD = re.compile(r"(?:\.\./)+data/(\w+)(?:/README\.md)?(?=[)#])")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)]*)\)")
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]*)\)")


def gather_notebooks() -> None:
    """Put the notebooks where Sphinx looks: as they ran, if ``TRAJHMM_EXECUTED`` names a folder with them."""
    ran = Path(os.environ.get("TRAJHMM_EXECUTED", HERE / "nowhere"))
    for notebook in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        executed = ran / notebook.name
        shutil.copy(executed if executed.exists() else notebook, NOTEBOOKS / notebook.name)


def gather_cards() -> None:
    """Put the cards where Sphinx looks, with their pictures, and with links to one another alone."""
    for card in sorted((PROJECT / "data").glob("*/README.md")):
        folder = CARDS / card.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        text = card.read_text(encoding="utf-8")
        (folder / card.name).write_text(_LINK.sub(_within, text), encoding="utf-8")
        for picture in _PICTURE.findall(text):
            shutil.copy(card.parent / picture, folder / picture)


def to_cards(text: str) -> str:
    """A page's text with links to cards in ``data/`` as links to those that were gathered."""
    return _CARD.sub(r"/cards/\1/README.md", text)


def _within(link: re.Match[str]) -> str:
    sibling = re.match(r"\.\./(\w+)/?(?:README\.md)?(#.*)?$", link[2])
    if sibling and (PROJECT / "data" / sibling[1] / "README.md").exists():
        return f"[{link[1]}](/cards/{sibling[1]}/README.md{sibling[2] or ''})"
    return link[1]
