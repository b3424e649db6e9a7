"""The README fits a minute, all that it and the handbook link to is there, and pictures are told in words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANDBOOK = ROOT / "notebooks" / "handbook"
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in HANDBOOK.rglob("*.md") if "cards" not in path.parts),
    *sorted((ROOT / "data").glob("*/README.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def links_of(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return LINK.findall(text)


def headings_of(page):
    """Anchors of a page, as GitHub and MyST make them."""
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def name_of(page):
    return str(page.relative_to(ROOT))


def test_the_readme_is_read_in_a_minute():
    assert (ROOT / "README.md").stat().st_size <= 10_000


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_linked_is_there(page):
    for _, title, target in links_of(page):
        if re.match(r"https?://", target):
            assert re.fullmatch(r"https?://[\w.-]+(/[\w.~%+/#=?&-]*)?", target), target
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        # Notebooks stand one floor higher than where the handbook shows them.
        if page.parent == HANDBOOK / "notebooks" and linked.suffix == ".ipynb":
            linked = ROOT / "notebooks" / linked.name
        assert linked.exists(), f"{title}: {target}"
        if anchor:
            assert anchor in headings_of(linked), f"{title}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pictures_have_words_for_those_who_cannot_see_them(page):
    for picture, words, target in links_of(page):
        assert not picture or len(words) >= 20, target


def test_every_page_is_in_the_table_of_contents():
    listed = set()
    for page in [HANDBOOK / "index.md", HANDBOOK / "notebooks" / "index.md"]:
        for block in re.findall(r"```\{toctree\}(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / entry).relative_to(HANDBOOK) for entry in entries}
    pages = {page.relative_to(HANDBOOK).with_suffix("") for page in PAGES if HANDBOOK in page.parents}
    assert pages - listed == {Path("index")}
