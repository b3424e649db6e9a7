"""The page as a reader meets it, in headless Chromium: clicks, keys, narrow windows, print, names and contrast."""

import base64
import itertools
import os
import re
import shutil
from pathlib import Path

import pytest

import trajhmm as th
from trajhmm.figures.style import ink_on, luminance, state_colors

from .made import planted_logs

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (trajhmm[test])")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("needs chromium and chromium-driver (Debian's packages)", allow_module_level=True)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Texts that the window or a box that does not scroll cuts off.
CUT_OFF = """
const cut = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest(".unseen, script, style, title, .scroll")) continue;
  const box = element.getBoundingClientRect();
  if (!box.width) continue;
  const inside = box.left >= -0.5 && box.right <= document.documentElement.clientWidth + 0.5;
  const whole = element.scrollWidth <= element.clientWidth + 1 || getComputedStyle(element).overflow === "visible";
  if (!inside || !whole) cut.push(element.outerHTML.slice(0, 80));
}
return cut;
"""
# Cells that hold more than they show.
CUT_CELLS = """
return [...document.querySelectorAll("td, tbody th")].filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => cell.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory, analysed, warned):
    """Where the pages lie."""
    folder = tmp_path_factory.mktemp("pages")
    for name, pages in (("map", analysed), ("warning", warned)):
        (folder / f"{name}.html").write_text(pages.page.html, encoding="utf-8")
    many = planted_logs(n_runs=90, n_rows=30)
    (folder / "many.html").write_text(th.render_report(many, analysed.model), encoding="utf-8")
    return folder


@pytest.fixture
def opened(browser, files):
    """Open a page at a width, light or dark, on the screen or as printed."""

    def open_page(name, *, width=1280, scheme="light", media="screen"):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        browser.get((files / f"{name}.html").as_uri())
        return browser

    return open_page


def found(browser, selector):
    return browser.find_elements("css selector", selector)


def press(browser, key):
    webdriver.ActionChains(browser).send_keys(key).perform()


def highlighted(browser, where):
    """Names of the runs that are highlighted in the raster (``.raster``) or in a section's table."""
    return sorted(
        browser.execute_script(
            "return [...document.querySelectorAll(arguments[0] + ' [data-visits].hit')]"
            ".map((e) => (e.querySelector('.name') ?? e.cells[0]).textContent)",
            where,
        )
    )


def visiting(analysed, state):
    table = analysed.analysis
    return sorted(run for run, bag in zip(table.map.runs, table.bags, strict=True) if bag[state])


def detour_of(analysed):
    """A state that some runs visit and others do not."""
    return analysed.analysis.map.detours[0]


@pytest.mark.parametrize("name", ["map", "warning"])
def test_it_opens_without_a_word_on_the_console(opened, name):
    browser = opened(name)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("where", [".map svg.wide", ".keys"])
def test_clicking_a_state_highlights_its_runs_until_escape(opened, analysed, where):
    browser, state = opened("map"), detour_of(analysed)
    runs = visiting(analysed, state)
    assert 0 < len(runs) < len(analysed.runs.runs)
    [button] = found(browser, f"{where} [data-state='{state}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    for place in (".raster", "#runs", "#convergence"):
        assert highlighted(browser, place) == runs
    assert button.get_attribute("aria-pressed") == "true"
    assert f"{len(runs)} of {len(analysed.runs.runs)} runs visit state {state}" in found(browser, "#count")[0].text
    press(browser, "\ue00c")  # Escape
    assert highlighted(browser, "body") == []
    assert button.get_attribute("aria-pressed") == "false"


def test_the_map_works_from_the_keyboard(opened, analysed):
    browser, state = opened("map"), detour_of(analysed)
    [disc] = found(browser, f".map svg.wide [data-state='{state}']")
    browser.execute_script("arguments[0].focus()", disc)
    assert shown_profiles(browser) == [str(state)]
    press(browser, "\ue007")  # Enter
    assert highlighted(browser, ".raster") == visiting(analysed, state)
    press(browser, " ")
    assert highlighted(browser, ".raster") == []


def test_pointing_at_a_state_shows_its_profile(opened, analysed):
    browser = opened("map")
    assert shown_profiles(browser) == ["0"]
    for state in range(analysed.model.n_states):
        [disc] = found(browser, f".map svg.wide [data-state='{state}']")
        webdriver.ActionChains(browser).move_to_element(disc).perform()
        assert shown_profiles(browser) == [str(state)]


def shown_profiles(browser):
    return [e.get_attribute("data-profile") for e in found(browser, "[data-profile]") if e.is_displayed()]


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["map", "many"])
def test_every_run_has_a_band_in_the_raster(opened, name, width):
    browser = opened(name, width=width)
    bands = browser.execute_script(
        "return [...document.querySelectorAll('.raster li svg')].map((band) => {"
        "const {width, height} = band.getBoundingClientRect(); return [width, height];})"
    )
    assert len(bands) == {"map": 24, "many": 90}[name]
    assert all(across > 0.6 * width and high >= 5 for across, high in bands)
    ticks = [tick.rect for tick in found(browser, ".ticks span") if tick.is_displayed()]
    assert len(ticks) >= 3
    assert all(left["x"] + left["width"] + 4 <= right["x"] for left, right in itertools.pairwise(ticks))


@pytest.mark.parametrize("name", ["map", "warning"])
def test_every_table_sorts_by_every_column(opened, name):
    browser = opened(name)
    wrong = browser.execute_script("""
const wrong = [], names = new Intl.Collator("en", {numeric: true});
for (const table of document.querySelectorAll("table")) {
  for (const head of table.querySelectorAll("th.sorts")) {
    const column = head.cellIndex, numeric = head.classList.contains("number");
    for (const way of ["ascending", "descending"]) {
      head.querySelector("button").click();
      const keys = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value);
      const known = keys.filter((key) => key !== undefined);
      const sign = way === "ascending" ? 1 : -1;
      const compare = (a, b) => sign * (numeric ? a - b : names.compare(a, b));
      const ordered = known.every((key, i) => !i || compare(known[i - 1], key) <= 0);
      const last = keys.slice(known.length).every((key) => key === undefined);
      const marks = table.querySelectorAll("[aria-sort]").length;
      if (!ordered || !last || marks !== 1 || head.getAttribute("aria-sort") !== way)
        wrong.push([table.caption.textContent, column, way]);
    }
  }
}
return wrong;""")
    assert wrong == []
    assert len(found(browser, "th.sorts button")) > 10


def test_a_table_is_sorted_from_the_keyboard(opened, analysed):
    browser = opened("map")
    [head, *_] = [e for e in found(browser, "#convergence th.sorts button") if e.text.startswith("Step")]
    browser.execute_script("arguments[0].focus()", head)
    press(browser, "\ue007")
    steps = [
        float(e.get_attribute("data-value")) for e in found(browser, "#convergence table:first-of-type td:nth-child(2)")
    ]
    steps = steps[: len(analysed.runs.runs)]
    assert steps == sorted(steps)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["map", "many", "warning"])
def test_no_text_is_cut_off_and_the_page_does_not_scroll_sideways(opened, name, width):
    browser = opened(name, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach((part) => part.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CUT_OFF) == []
    assert browser.execute_script(CUT_CELLS) == []


@pytest.mark.parametrize("name", ["map", "warning"])
def test_printed_everything_is_there_and_fits_the_paper(opened, analysed, name):
    browser = opened(name, width=718, scheme="dark", media="print")  # A4 less margins
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 718
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not found(browser, "nav")[0].is_displayed()
    if name == "map":
        assert len(shown_profiles(browser)) == analysed.model.n_states
    page = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert page.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type /Page\b", page)) < 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    browser = opened("map", scheme=scheme)
    colors = browser.execute_script(
        "const style = getComputedStyle(document.documentElement);"
        "return Object.fromEntries(['ground', 'panel', 'tint', 'hit', 'ink', 'soft', 'link', 'detour']"
        ".map((name) => [name, style.getPropertyValue('--' + name).trim()]))"
    )
    for text in ("ink", "soft", "link", "detour"):
        for behind in ("ground", "panel", "tint", "hit"):
            assert contrast(colors[text], colors[behind]) >= 4.5, (text, behind)


def test_numbers_stand_out_from_the_colours_of_states():
    assert all(contrast(ink_on(color), color) >= 4.5 for color in state_colors(8))


def contrast(one, other):
    """Contrast of two colours as the Web Content Accessibility Guidelines define it, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def axe_source():
    """The accessibility checker axe-core, if it is at hand."""
    named = os.environ.get("TRAJHMM_AXE")
    path = Path(named) if named else Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip(f"needs axe-core at {path}; TRAJHMM_AXE may name another axe.min.js")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["map", "many", "warning"])
def test_axe_finds_nothing_to_complain_of(opened, name, scheme, width):
    source = axe_source()
    browser = opened(name, scheme=scheme, width=width)
    for state in found(browser, ".pick")[1:2]:
        state.click()
    browser.execute_script(source)
    violations = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then((found) => done(found.violations.map("
        "(rule) => [rule.id, rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 120))])))"
    )
    assert violations == []
