"""The page as a reader meets it, in headless Chromium: clicks, keys, narrow windows, print, names and contrast."""

import base64
import csv
import itertools
import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trajhmm as th
from trajhmm.figures.style import ink_on, luminance, state_colors
from trajhmm.report.page import _state_styles

from .made import planted_logs

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (trajhmm[test])")
Select = pytest.importorskip("selenium.webdriver.support.ui").Select

pytestmark = pytest.mark.once
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
    runs, model = named_at_length(warned.runs), warned.model
    collapsing = th.render_report(runs, model, collapse="weight_l2 > 8")
    (folder / "long.html").write_text(collapsing, encoding="utf-8")
    many = planted_logs(n_runs=90, n_rows=30)
    (folder / "many.html").write_text(th.render_report(many, analysed.model), encoding="utf-8")
    return folder


def named_at_length(runs):
    """The runs under names too long for a row, the first of which a spreadsheet would take for a formula."""
    names = [f"sweep/learning_rate=0.0{at}/weight_decay=0.1/seed={at}" for at in range(runs.n_runs)]
    names[0] = f"={names[0]}"
    return replace(runs, runs=tuple(names), attributes=runs.attributes.set_axis(names))


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


@pytest.mark.parametrize("name", ["map", "warning", "long"])
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
@pytest.mark.parametrize("name", ["map", "many", "warning", "long"])
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


def chosen(browser, select, value):
    """Choose by value, as a reader does, so that the page hears of it."""
    [found_select] = found(browser, select)
    Select(found_select).select_by_value(str(value))


def data_of(browser):
    return json.loads(browser.execute_script("return document.getElementById('data').textContent"))


def point_at(browser, part, down=0.5):
    """Move the pointer over the chart: shares of its width and height."""
    [chart] = found(browser, "#chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    size = chart.size
    across, up = (part - 0.5) * size["width"], (down - 0.5) * size["height"]
    webdriver.ActionChains(browser).move_to_element_with_offset(chart, int(across), int(up)).perform()
    return found(browser, "#tip")[0].text


def test_pointing_at_a_curve_tells_value_step_state_and_run(opened, analysed):
    browser = opened("map")
    runs, metric = analysed.runs, data_of(browser)["metrics"][0]
    chosen(browser, "#only", 3)
    told = re.fullmatch(r"(\S+) (\S+) · step ([\d,]+) · state (\d+) · (.+)", point_at(browser, 0.6))
    assert told
    assert told[1] == metric
    assert told[5] == runs.runs[3]
    step = int(told[3].replace(",", ""))
    trajectories = analysed.analysis.trajectories
    rows = dict(trajectories.slices())[told[5]]
    [row] = [at for at in range(rows.start, rows.stop) if trajectories.steps[at] == step]
    assert int(told[4]) == trajectories.path[row]
    value = trajectories.values[row, trajectories.metrics.index(metric)]
    assert float(told[2].replace(",", "").replace("−", "-")) == pytest.approx(value, rel=1e-3)
    assert found(browser, "#chart .dot")


def test_curves_are_coloured_by_the_states_that_runs_are_in(opened, analysed):
    browser = opened("map")
    seen = browser.execute_script(
        "return [...document.querySelectorAll('#chart path.line')]"
        ".map((line) => [line.classList[1], getComputedStyle(line).stroke])"
    )
    assert {state for state, _ in seen} == {f"s{state}" for state in np.unique(analysed.analysis.map.path)}
    assert len({color for _, color in seen}) == len(seen)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_from_the_page(opened, scheme):
    browser = opened("map", scheme=scheme)
    panel = browser.execute_script(
        "return getComputedStyle(document.documentElement).getPropertyValue('--panel')"
    ).strip()
    made = browser.execute_script(
        """
document.documentElement.insertAdjacentHTML("beforeend", "<style>" + arguments[0].map((two, k) =>
  `.t${k}{color:light-dark(${two[0]},${two[1]})}`).join("") + "</style>");
return arguments[0].map((_, k) => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.className = `t${k}`;
  return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
});""",
        [[line, dark] for _, _, _, line, dark in _state_styles(8)],
    )
    for parts in made:
        assert contrast("#" + "".join(f"{part:02x}" for part in parts), panel) >= 3


def test_buttons_and_dragging_zoom_and_whole_ends_it(opened):
    browser = opened("map")

    def span():
        words = found(browser, "#chart")[0].get_attribute("aria-label")
        return tuple(map(int, re.search(r"steps (\d+) to (\d+)", words).groups()))

    def push(which):
        browser.execute_script(f"document.querySelector('[data-zoom={which}]').click()")

    whole = span()
    push("in")
    half = span()
    assert half[1] - half[0] == pytest.approx((whole[1] - whole[0]) / 2, rel=0.02)
    push("on")
    assert span()[0] > half[0]
    push("back")
    assert span() == half
    push("out")
    push("all")
    assert span() == whole
    [chart] = found(browser, "#chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    quarter = chart.size["width"] // 4
    actions = webdriver.ActionChains(browser).move_to_element_with_offset(chart, -quarter, 0).click_and_hold()
    actions.move_by_offset(quarter, 0).release().perform()
    dragged = span()
    assert whole[0] < dragged[0] < dragged[1] < 0.6 * whole[1]
    assert not found(browser, "#chart .span")
    webdriver.ActionChains(browser).double_click(chart).perform()
    assert span() == whole


def test_two_runs_stand_side_by_side_with_their_states(opened, analysed):
    browser = opened("map")
    names = analysed.runs.runs
    chosen(browser, "#run-a", 4)
    chosen(browser, "#run-b", 7)
    chosen(browser, "#metric-of-two", 1)
    metric = data_of(browser)["metrics"][1]
    assert [e.text for e in found(browser, ".two figcaption")] == [f"{names[at]}: {metric}" for at in (4, 7)]
    boxes = [e.rect for e in found(browser, ".two figure > svg:first-of-type")]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    trajectories = analysed.analysis.trajectories
    for side, at in (("a", 4), ("b", 7)):
        path = trajectories.path[dict(trajectories.slices())[names[at]]]
        visits = [f"s{path[0]}", *(f"s{b}" for a, b in itertools.pairwise(path) if a != b)]
        assert [e.get_attribute("class") for e in found(browser, f"#strip-{side} rect")] == visits
    table = {cells[0]: cells[1:] for cells in rows_of(browser, "#both")}
    at = dict(zip(analysed.analysis.convergence["run"], analysed.analysis.convergence["step"], strict=True))
    assert [int(text.replace(",", "")) for text in table["Converged at"] if text != "never"] == [
        at[names[run]] for run, text in zip((4, 7), table["Converged at"], strict=True) if text != "never"
    ]
    for state in range(analysed.model.n_states):
        shares = [(trajectories.path[dict(trajectories.slices())[names[run]]] == state).mean() for run in (4, 7)]
        assert table.get(f"Rows in state {state}", ["0%", "0%"]) == [f"{100 * share:.0f}%" for share in shares]


def rows_of(browser, table):
    return browser.execute_script(
        f"return [...document.querySelector('{table}').tBodies[0].rows].filter((row) => !row.hidden)"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


def test_the_runs_are_searched_and_those_with_problems_picked(opened, analysed):
    browser = opened("map")
    [words] = found(browser, "#filters input[type=search]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", words)
    words.send_keys("seed_01")
    assert [row[0] for row in rows_of(browser, "#runs table")] == ["seed_01"]
    assert found(browser, "#filters .count")[0].text == f"1 of {analysed.runs.n_runs} runs"
    words.clear()
    words.send_keys("nothing has this name")
    assert rows_of(browser, "#runs table") == []
    words.clear()
    words.send_keys("SEED")
    assert len(rows_of(browser, "#runs table")) == analysed.runs.n_runs - 1
    words.clear()
    words.send_keys("s")
    [box] = found(browser, "#filters input[type=checkbox]")
    box.click()
    troubled = [row[0] for row in rows_of(browser, "#runs table")]
    assert "seed_01" in troubled
    assert len(troubled) < analysed.runs.n_runs


def downloaded(browser, folder, button):
    behaviour = {"behavior": "allow", "downloadPath": str(folder)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    browser.execute_script("arguments[0].click()", button)
    for _ in range(100):
        files = [path for path in folder.iterdir() if path.suffix == ".csv"]
        if files and files[0].stat().st_size:
            with files[0].open(encoding="utf-8", newline="") as file:
                return list(csv.reader(file))
        time.sleep(0.05)
    raise AssertionError("nothing was downloaded")


def test_tables_are_downloaded_with_numbers_unrounded_and_names_whole(opened, analysed, tmp_path):
    browser = opened("map")
    tables = len(found(browser, "thead:has(.sorts)"))
    assert len(found(browser, "button.csv")) == tables > 8
    [button] = found(browser, "#convergence button.csv:first-of-type")[:1]
    rows = downloaded(browser, tmp_path, button)
    bags = analysed.analysis.bags
    assert rows[0][:3] == ["Run", "Step", "Converged"]
    assert [row[0] for row in rows[1:]] == list(analysed.analysis.convergence["run"])
    np.testing.assert_allclose([float(row[3]) for row in rows[1:]], bags[:, 0], rtol=1e-12)
    assert browser.get_log("browser") == []


def test_what_a_spreadsheet_would_work_out_is_downloaded_as_text(opened, tmp_path):
    browser = opened("long")
    [button] = found(browser, "#runs button.csv")
    rows = downloaded(browser, tmp_path, button)
    assert rows[1][0] == "'=sweep/learning_rate=0.00/weight_decay=0.1/seed=0"
    assert rows[2][0] == "sweep/learning_rate=0.01/weight_decay=0.1/seed=1"


def test_the_points_of_curves_are_downloaded(opened, analysed, tmp_path):
    browser = opened("map")
    chosen(browser, "#only", 2)
    [button] = found(browser, "#points")
    rows = downloaded(browser, tmp_path, button)
    trajectories = analysed.analysis.trajectories
    own = dict(trajectories.slices())[analysed.runs.runs[2]]
    column = trajectories.metrics.index(data_of(browser)["metrics"][0])
    assert [int(row[1]) for row in rows[1:]] == trajectories.steps[own].tolist()
    values = trajectories.values[own, column]
    # A curve is kept in 262,143 steps from its smallest to its largest value.
    np.testing.assert_allclose([float(row[3]) for row in rows[1:]], values, atol=1e-5 * np.ptp(values))
    assert [int(row[5]) for row in rows[1:]] == trajectories.path[own].tolist()


def test_long_names_are_shortened_for_the_eye_and_whole_for_others(opened):
    browser = opened("long")
    [first, *_] = found(browser, "#runs tbody th")
    name = "=sweep/learning_rate=0.00/weight_decay=0.1/seed=0"
    assert found(browser, "#runs tbody th [title]")[0].get_attribute("title") == name
    assert found(browser, "#runs tbody th .unseen")[0].get_attribute("textContent") == name
    assert len(found(browser, "#runs tbody th [aria-hidden]")[0].text) == 25
    assert first.size["width"] < 260


@pytest.mark.parametrize("name", ["warning", "long"])
def test_on_a_narrow_screen_no_row_is_mostly_empty(opened, name):
    browser = opened(name, width=400)
    heights = browser.execute_script(
        "return [...document.querySelectorAll('tbody tr')].map((row) => row.getBoundingClientRect().height)"
    )
    words = browser.execute_script(
        "return [...document.querySelectorAll('#alarms th + td ~ td.text:last-child')]"
        ".map((cell) => cell.getBoundingClientRect().width)"
    )
    assert min(words) > 300
    # Four lines and a half; with what drove an alarm in a column of one word a line they had eight.
    assert max(heights) < 100


def test_runs_that_alarm_stand_by_risk_and_collapses_are_marked(opened):
    browser = opened("long")
    [head] = found(browser, "#alarms th[aria-sort]")
    assert (head.text.split("\n")[0][:4], head.get_attribute("aria-sort")) == ("Risk", "descending")
    assert found(browser, ".score line.collapse")
    assert "collapse by 'weight_l2 > 8'" in found(browser, ".headline")[0].text


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
@pytest.mark.parametrize("name", ["map", "many", "warning", "long"])
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


def test_what_says_more_than_one_number_is_downloaded_whole(opened, tmp_path):
    """An interval has two ends, and "3 of 40" is not 3."""
    browser = opened("map")
    for title, pattern in (("Detours", r".* to .*|–|"), ("Edges", r"\d+ of \d+")):
        buttons = [b for b in found(browser, "button.csv") if b.get_attribute("aria-label").endswith(title)]
        if not buttons:
            continue
        folder = tmp_path / title
        folder.mkdir()
        head, *rows = downloaded(browser, folder, buttons[0])
        columns = [place for place, name in enumerate(head) if "95%" in name or name.startswith("Runs")]
        assert columns
        told = [row[place] for row in rows for place in columns]
        assert any(re.fullmatch(pattern, text) and text for text in told), told
