"""What the page says is what the analysis found; nothing else gets in, and nothing is loaded."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.dynamics.detours.confounding import Association
from trajhmm.dynamics.maps.verdict import badge_of
from trajhmm.dynamics.summary import findings, share_of_runs
from trajhmm.errors import AnalysisError
from trajhmm.hmm.certificate import Certificate, Halves
from trajhmm.logs import Note
from trajhmm.naming import shown
from trajhmm.report.curves import curves
from trajhmm.report.tables import short
from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.evaluation import derive_truth
from trajhmm.warning.monitor import Monitor

from .made import EVIL, Page, made_trajectories, planted_logs, watched_logs

DETOURS = "States weighed as detours"
CONVERGENCE = "Convergence, and the share of rows in each state"


@pytest.mark.once
def test_the_table_of_detours_holds_the_numbers_of_the_analysis(analysed):
    page, expected, evidence = analysed.page, analysed.analysis.detours, analysed.analysis.evidence
    assert expected["is_detour"].any()  # else there is little to compare
    for title, column in {
        "With, before convergence": "runs_with",
        "Without": "runs_without",
        "Delay": "effect",
        "95% interval": "ci_low",
        "p": "p_value",
        "p, Holm": "p_adjusted",
        "Coefficient": "coefficient",
    }.items():
        np.testing.assert_allclose(page.values(DETOURS, title), expected[column], rtol=1e-12, err_msg=title)
    assert page.column(DETOURS, "Detour") == ["yes" if found else "no" for found in expected["is_detour"]]
    assert page.column(DETOURS, "Published rule") == ["yes" if found else "no" for found in evidence["detour_paper"]]
    np.testing.assert_allclose(page.values(DETOURS, "Refits"), evidence["survives_refits"].astype(float))


@pytest.mark.once
def test_the_table_of_convergence_holds_steps_and_bags_of_states(analysed):
    page, analysis = analysed.page, analysed.analysis
    assert page.column(CONVERGENCE, "Run") == analysis.convergence["run"].tolist()
    assert page.values(CONVERGENCE, "Step") == analysis.convergence["step"].tolist()
    assert page.column(CONVERGENCE, "Converged") == ["yes" if c else "no" for c in analysis.convergence["converged"]]
    for state in range(analysed.model.n_states):
        np.testing.assert_allclose(page.values(CONVERGENCE, f"In {state}"), analysis.bags[:, state])


@pytest.mark.once
def test_the_regression_and_the_curve_over_states_are_there(analysed):
    name = "Regression of convergence on the share of rows in each state"
    r = analysed.analysis.regression
    ours = analysed.page.values(name, "Converged runs")
    np.testing.assert_allclose(ours, [r.n_runs, r.r2, r.loro_r2, r.f_p_value, r.permutation_p])
    tried = "Numbers of states that were tried"
    assert analysed.page.values(tried, "States") == [5, 6]
    np.testing.assert_allclose(analysed.page.values(tried, "BIC"), [p.bic for p in analysed.model.curve])
    np.testing.assert_allclose(
        analysed.page.values(tried, "Halves agree"),
        [np.nan if p.halves is None else p.halves for p in analysed.model.curve],
    )
    assert f"{analysed.model.n_states} states, chosen by what comes back in halves of the runs." in analysed.page.words
    assert f"{analysed.model.n_states} (chosen)" in analysed.page.column(tried, "States")


@pytest.mark.once
def test_sentences_are_those_of_the_summary(analysed):
    said = findings(analysed.analysis, analysed.model)
    sentences = [
        said.certificate,
        said.fit,
        said.map,
        said.convergence,
        *said.detours,
        said.regression,
        said.prefix,
        said.dissimilarity,
    ]
    assert len(said.detours) > 1
    for sentence in filter(None, sentences):
        assert " ".join(sentence.split()) in analysed.page.words


STATES, EDGES = "How far each state comes back", "Edges, and how sure their shares are"
HALVED = "Numbers of states that were tried in halves"


@pytest.mark.once
def test_how_far_the_map_comes_back_stands_first(analysed):
    certificate, page = analysed.model.certificate, analysed.page
    assert certificate.reproducible
    badge = str(badge_of(certificate))
    assert f"Training map of 24 runs {badge}" in page.words
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections[:2] == ["standing", "map"]
    assert page.values(HALVED, "States") == [one.states for one in certificate.halves]
    np.testing.assert_allclose(page.values(HALVED, "Halves agree"), [one.mean for one in certificate.halves])
    np.testing.assert_allclose(page.values(HALVED, "Worst state"), [one.worst for one in certificate.halves])
    own = certificate.at(analysed.model.n_states)
    np.testing.assert_allclose(page.values(STATES, "Comes back in halves"), own.recovery)
    memory = [one.autocorrelation.value for one in certificate.residuals.metrics]
    np.testing.assert_allclose(page.values("What the map does not expect of a row", "Autocorrelation"), memory)


@pytest.mark.once
def test_refits_and_intervals_are_those_of_the_analysis(analysed):
    page, refits, training_map = analysed.page, analysed.analysis.refits, analysed.analysis.map
    np.testing.assert_allclose(page.values(STATES, "Detour in refits"), refits.detours / refits.n)
    np.testing.assert_allclose(page.values(STATES, "Forks in refits"), refits.forks / refits.n)
    assert page.values(EDGES, "Runs, ever") == [edge.runs for edge in training_map.edges]
    shares = [share_of_runs(edge.runs, len(training_map.runs)) for edge in training_map.edges]
    assert page.column(EDGES, "95% interval") == [f"{low:.0%} to {high:.0%}" for low, high in shares]
    found = [refits.edges[edge.source, edge.target] / refits.n for edge in training_map.edges]
    np.testing.assert_allclose(page.values(EDGES, "In refits"), found)


@pytest.mark.once
def test_a_map_that_does_not_come_back_says_so_beside_its_title_and_in_the_drawing(analysed):
    halves = Halves(states=analysed.model.n_states, agreement=(0.5,), recovery=(0.4,) * analysed.model.n_states)
    model = replace(analysed.model, certificate=Certificate(states=halves.states, halves=(halves,)))
    page = Page(th.render_report(analysed.runs, model))
    assert "Training map of 24 runs not reproducible: halves 0.50, worst state 0.40" in page.words
    assert "no reproducible map · halves .50 · worst state .40" in page.words
    assert [attrs["class"] for tag, attrs in page.tags if tag == "span" and "badge" in attrs.get("class", "")] == [
        "badge bad"
    ]


@pytest.mark.once
def test_a_map_of_which_nothing_is_known_is_called_not_tested(analysed):
    model = replace(analysed.model, certificate=None, criterion="bic")
    page = Page(th.render_report(analysed.runs, model))
    assert "Training map of 24 runs not tested" in page.words
    assert set(page.column(STATES, "Comes back in halves")) == {"–"}
    assert HALVED not in page.tables


@pytest.mark.once
def test_lower_bounds_and_confounders_are_named_in_the_table(analysed):
    by = Association(attribute="optimizer", p_value=0.001, p_adjusted=0.002, levels=(("a", 9, 9), ("b", 1, 9)))
    evidence = tuple(
        e
        if e.delay is None
        else replace(e, delay=replace(e.delay, is_lower_bound=True), watched_until=990, confounded_by=(by,))
        for e in analysed.analysis.evidence_by_state
    )
    analysis = replace(analysed.analysis, evidence_by_state=evidence)
    page = Page(th.render_report(analysed.runs, analysed.model, analysis=analysis))
    tested = [e.delay is not None for e in evidence]
    assert any(tested)
    assert [text.startswith("at least ") for text in page.column(DETOURS, "Delay")] == tested
    assert [text == "optimizer (a: 9 of 9, b: 1 of 9)" for text in page.column(DETOURS, "Goes with")] == tested


@pytest.mark.once
def test_profiles_hold_means_runs_and_entries(analysed):
    training_map = analysed.analysis.map
    for state in training_map.states:
        name = f"Profile of state {state.state}"
        assert analysed.page.column(name, "Metric") == list(training_map.metrics)
        np.testing.assert_allclose(analysed.page.values(name, "Mean"), state.means)
        np.testing.assert_allclose(analysed.page.values(name, "Spread"), state.deviations)


@pytest.mark.once
def test_the_raster_has_each_run_once_with_the_states_that_it_visits(analysed):
    training_map = analysed.analysis.map
    bands = [attrs["data-visits"] for tag, attrs in analysed.page.tags if tag == "li" and "data-visits" in attrs]
    paths = np.split(training_map.path, np.cumsum(training_map.lengths)[:-1])
    assert sorted(bands) == sorted(" ".join(map(str, np.unique(path))) for path in paths)
    widths = [
        float(attrs["width"].rstrip("%"))
        for tag, attrs in analysed.page.tags
        if tag == "rect" and "%" in attrs["width"]
    ]
    assert min(widths) > 0
    assert sum(widths) == pytest.approx(100 * len(training_map.runs), rel=1e-2)


@pytest.mark.once
def test_problems_stand_beside_their_runs(analysed):
    problems = dict(zip(analysed.page.column("Runs", "Run"), analysed.page.column("Runs", "Problems"), strict=True))
    assert "gap: 1 gap in the steps" in problems["seed_01"]
    assert problems["seed_02"] == "–"


@pytest.mark.once
def test_a_name_that_is_markup_is_shown_as_text(analysed, warned):
    for page in (analysed.page, warned.page):
        assert EVIL in page.words
        assert EVIL not in page.html
        # One that is run, and the data that it draws, which no browser runs.
        assert [attrs for tag, attrs in page.tags if tag == "script"] == [
            {"type": "application/json", "id": "data"},
            {},
        ]


HOSTILE = [
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(2)</script>",
    "javascript:alert(3)",
    "{{ 7 * 7 }}{% raw %}",
    "</pre></title></style><!--",
    "\x1b[31m\x00\u202e &amp;",
]


def test_hostile_names_add_no_tag_and_no_attribute_and_turn_no_text_around(warned, tmp_path):
    names = [HOSTILE[index % len(HOSTILE)] + str(index) for index in range(warned.runs.n_runs)]
    runs = replace(warned.runs, runs=tuple(names), attributes=warned.runs.attributes.set_axis(names))
    folder = tmp_path / HOSTILE[0].replace("/", "")
    folder.mkdir()
    (folder / "summary.txt").write_text("\n".join(HOSTILE))
    claim = {"verdict": HOSTILE[0], "sentence": HOSTILE[2]}
    (folder / "claims.json").write_text(json.dumps({HOSTILE[1]: claim}))
    pd.DataFrame({HOSTILE[5]: HOSTILE, "'=a": ["'=b"] * len(HOSTILE)}).to_csv(folder / "phases.csv", index=False)
    sources = [tmp_path / HOSTILE[3], tmp_path / "half \udcff of one"]
    page = Page(th.render_report(runs, warned.model, sources=sources, stability=[folder]))

    def kinds(page):
        return {(tag, *sorted(attributes)) for tag, attributes in page.tags}

    # Names that are too long for a row are shortened for the eye.
    shortened = {("span", "aria-hidden", "title"), ("span", "class")}
    assert kinds(page) <= kinds(warned.page) | shortened
    assert not {name for _, attributes in page.tags for name in attributes if name.startswith("on")}
    assert all(attributes["href"].startswith("#") for _, attributes in page.tags if "href" in attributes)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.html)
    for name in HOSTILE[:6]:
        assert name in page.words
    assert r"\x1b[31m\x00\u202e &amp;" in page.words
    table = "Phases of learning"
    assert page.column(table, "=a") == ["=b"] * len(HOSTILE)  # the guard against spreadsheets is taken off
    assert (tmp_path / "page.html").write_text(page.html, encoding="utf-8")


@pytest.mark.once
def test_the_page_loads_nothing(analysed, warned):
    for page in (analysed.page, warned.page):
        assert not re.search(r"https?:|//[a-z]|@import|\bsrc=", page.html)
        assert set(re.findall(r"url\(([^)]*)\)", page.html)) <= {"#hatch"}
        assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)


@pytest.mark.once
def test_files_are_named_without_the_folders_they_lie_in(analysed, tmp_path):
    note = Note(kind="torn", text=f"{tmp_path}/secret/logs/a.jsonl: last line is half-written, left out")
    sources = [tmp_path / "secret" / "logs", tmp_path / "secret" / "model.json"]
    runs = replace(analysed.runs, notes=(*analysed.runs.notes, note))
    page = Page(th.render_report(runs, analysed.model, sources=sources))
    assert "trajhmm report · logs · model.json" in page.words
    assert "torn: logs/a.jsonl: last line" in page.words
    assert "secret" not in page.html
    assert str(Path.home()) not in page.html


@pytest.mark.once
def test_the_same_input_gives_the_same_bytes(analysed, tmp_path):
    again = th.render_report(analysed.runs, analysed.model, analysis=analysed.analysis)
    assert again == analysed.page.html
    th.write_report(tmp_path / "report.html", analysed.runs, analysed.model, analysis=analysed.analysis)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == again
    other = th.render_report(analysed.runs.select_runs(analysed.runs.runs[:-1]), analysed.model)
    assert other != again


@pytest.mark.once
def test_a_map_without_a_condition_has_no_detours(analysed):
    page = Page(th.render_report(analysed.runs, analysed.model))
    assert DETOURS not in page.tables
    assert "Training map" in page.words
    assert page.values("Profile of state 0", "Mean") == analysed.page.values("Profile of state 0", "Mean")


@pytest.mark.once
def test_a_run_without_usable_rows_is_listed_and_named_as_left_out(analysed):
    runs = analysed.runs
    values = runs.values.copy()
    values[: runs.lengths[0]] = np.nan
    page = Page(th.render_report(replace(runs, values=values), analysed.model))
    at = page.column("Runs", "Run").index(runs.runs[0])
    assert "run left out" in page.column("Runs", "Problems")[at]
    assert page.column("Runs", "Run") == list(runs.runs)


@pytest.mark.slow
def test_forty_runs_of_a_thousand_rows_stay_below_five_megabytes():
    runs = planted_logs(n_runs=40, n_rows=1000)
    model = th.fit(runs, states=8, scaling="per-run", restarts=1, iterations=10, halves=0)
    # What first rows predict is a table of ten lines, whatever the logs.
    analysis = th.analyze(runs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False)
    assert len(th.render_report(runs, model, analysis=analysis).encode()) < 1_000_000
    # As many visits as there can be: each row in another state than the one before.
    path = np.arange(runs.n_rows) % 8
    busy = replace(analysis, map=replace(analysis.map, path=path))
    assert len(th.render_report(runs, model, analysis=busy).encode()) < 5_000_000


@pytest.mark.slow
def test_from_the_ninth_state_on_colours_are_hatched(analysed):
    model = th.fit(analysed.runs, states=9, scaling="per-run", restarts=1, iterations=5, halves=0)
    page = Page(th.render_report(analysed.runs, model))
    assert {9 > k >= 8 for k in model.decode(analysed.runs).path} == {False, True}
    assert [attrs for tag, attrs in page.tags if tag == "rect" and attrs.get("class") == "hatched s8"]
    assert not [attrs for tag, attrs in page.tags if tag == "rect" and attrs.get("class") == "hatched s7"]


def test_alarms_are_those_of_the_monitor(warned):
    monitor = Monitor(warned.model)
    monitor.score(warned.runs)
    alarms = {run: tracker.alarm for run, tracker in monitor.trackers.items() if tracker.alarm is not None}
    assert 0 < len(alarms) < warned.runs.n_runs
    page, table = warned.page, "Runs that alarmed"
    # The drift of one is that of the other, so that only rounding orders their risks.
    risks = [-1.0 if np.isnan(risk) else risk for risk in page.values(table, "Risk at the end")]
    assert risks == sorted(risks, reverse=True)
    assert sorted(page.column(table, "Run")) == sorted(alarms)
    alarms = {run: alarms[run] for run in page.column(table, "Run")}
    assert page.values(table, "Alarm at step") == [alarm.step for alarm in alarms.values()]
    assert page.values(table, "Score then") == [alarm.score for alarm in alarms.values()]
    risks = [float(monitor.trackers[run].last.risk[-1]) for run in alarms]
    assert page.values(table, "Risk at the end") == [None if np.isnan(risk) else risk for risk in risks]
    assert not np.isnan(risks).all()
    for driven, alarm in zip(page.column(table, "Driven by"), alarms.values(), strict=True):
        arrows = {"up": "↑", "down": "↓"}
        told = [f"{one.metric} {one.value:.3g} {arrows[one.direction]}" for one in alarm.drivers[:3]]
        assert driven == ", ".join(told)
    assert set(page.column("Runs that stayed quiet", "Run")) == set(warned.runs.runs) - set(alarms)
    assert f"{calibration_of(warned.model).n_runs} healthy runs" in page.words
    assert "Training map" not in page.words


def test_a_run_whose_first_value_is_not_finite_has_a_chart_too(warned):
    values = warned.runs.values.copy()
    values[1, 0] = np.inf
    page = Page(th.render_report(replace(warned.runs, values=values), warned.model))
    assert "train_loss not finite" in page.words
    assert "∞" in page.column("Runs that alarmed", "Score then")
    assert "nan" not in " ".join(attrs["d"] for tag, attrs in page.tags if tag == "path")


@pytest.mark.once
def test_an_analysis_does_not_go_with_a_model_for_warning(analysed, warned):
    with pytest.raises(AnalysisError, match="fitted for warning"):
        th.render_report(warned.runs, warned.model, analysis=analysed.analysis)


def test_what_audits_and_measurements_wrote_is_shown(warned):
    page = warned.page
    assert page.column("Stability profile", "dimension") == ["noise", "noise"]
    assert page.values("Stability profile", "strength") == [1.5, 2]
    assert page.column("Stability profile", "recovery steps") == ["40", "∞"]
    assert page.column("Lyapunov exponents, a step", "quantity") == ["weight_l2 (proxy)", "separation"]
    assert page.column("Lyapunov exponents, a step", "exponent") == ["−0.25", "0.5"]
    assert "Buffering: no, as far as dropout goes." in page.words
    assert "Two rows of <noise> & more" in page.words


def test_a_folder_without_stability_is_an_error(warned, stability, tmp_path):
    with pytest.raises(th.TrajHMMError, match=r"summary\.txt.*'trajhmm audit' or 'trajhmm stability'"):
        th.render_report(warned.runs, warned.model, stability=[tmp_path])
    (tmp_path / "summary.txt").write_text("")
    for content in ("[1]", "[" * 100_000, '{"a":' * 100_000, "\\ud800"):
        (tmp_path / "claims.json").write_text(content)
        with pytest.raises(th.TrajHMMError, match="expected a folder that") as error:
            th.render_report(warned.runs, warned.model, stability=[tmp_path])
        assert len(str(error.value).splitlines()) == 1
    (tmp_path / "claims.json").unlink()
    (tmp_path / "profile.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(th.TrajHMMError, match="expected a folder that") as error:
        th.render_report(warned.runs, warned.model, stability=[tmp_path])
    assert len(str(error.value).splitlines()) == 1


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.html, re.DOTALL)[1])


def read(run, metric):
    """Values as the page's script reads them."""
    low, high, logarithmic = run["scales"][metric]
    text = run["values"][metric]
    levels = np.array([[LETTERS.index(letter) for letter in text[at : at + 3]] for at in range(0, len(text), 3)])
    levels = levels @ [4096, 64, 1]
    parts = levels / (64**3 - 2)
    values = low * (1 - parts) + high * parts
    return np.where(levels == 64**3 - 1, np.nan, 10**values if logarithmic else values)


@pytest.mark.once
def test_curves_hold_every_row_where_there_is_room(analysed):
    data, trajectories = data_of(analysed.page), analysed.analysis.trajectories
    assert data["metrics"][:2] == list(analysed.analysis.map.telling_metrics()[:2])
    assert "Every logged row is there." in analysed.page.words
    assert [run["name"] for run in data["runs"]] == list(trajectories.runs)
    for run, (_, rows) in zip(data["runs"], trajectories.slices(), strict=True):
        assert run["per"] == 1
        steps = run["steps"]
        if isinstance(steps, dict):
            steps = [steps["first"] + at * steps["gap"] for at in range(steps["count"])]
        assert steps == trajectories.steps[rows].tolist()
        assert [state for state, count in run["states"] for _ in range(count)] == trajectories.path[rows].tolist()
        for place, metric in enumerate(data["metrics"]):
            values = trajectories.values[rows, trajectories.metrics.index(metric)]
            np.testing.assert_allclose(read(run, place), values, atol=1e-5 * np.ptp(values) + 1e-12, err_msg=metric)


def test_thinned_curves_keep_the_smallest_and_the_largest_value_of_each_stretch():
    rng = np.random.default_rng(0)
    n = 7001
    values = np.column_stack([10.0 ** rng.uniform(-6, 1, n), rng.normal(size=n)])
    values[3000, 1] = 1e4  # a peak of one row
    values[:40, 0] = np.nan
    path = np.repeat([0, 2], [3500, n - 3500])
    trajectories = made_trajectories([(np.arange(n), values, path)] * 30, ("train_loss", "spiky"))
    made = curves(trajectories, ["spiky"], {"run 0": [("Converged at", "7")]})
    assert made.metrics == ("spiky", "train_loss")
    run = made.data["runs"][0]
    assert made.rows == run["per"] > 1
    assert run["facts"] == [["Converged at", "7"]]
    assert run["shares"] == [[0, 0.4999], [2, 0.5001]]
    for place, column in enumerate((1, 0)):
        found = read(run, place).reshape(-1, 2)
        for at, start in enumerate(range(0, n, run["per"])):
            stretch = values[start : start + run["per"], column]
            stretch = stretch[np.isfinite(stretch)]
            expected = (stretch.min(), stretch.max()) if len(stretch) else (np.nan, np.nan)
            np.testing.assert_allclose(found[at], expected, rtol=1e-3, atol=0.05 * column)
    assert len(json.dumps(made.data)) < 700_000
    assert curves(made_trajectories([([], [], [])], ("loss",)), [], {}) is None


def test_the_largest_numbers_there_are_have_a_scale():
    values = np.array([-1.7e308, 1.7e308, 0.0, np.inf])
    [run] = curves(made_trajectories([(range(4), values, [0] * 4)], ("loss",)), [], {}).data["runs"]
    np.testing.assert_allclose(read(run, 0)[:2], values[:2], rtol=1e-5)
    assert np.isnan(read(run, 0)[3])


@pytest.mark.once
def test_profiles_say_what_was_logged_beside_what_the_model_sees(analysed):
    trajectories = analysed.analysis.trajectories
    for state in analysed.analysis.map.states:
        rows = trajectories.values[trajectories.path == state.state]
        rows = rows[:, [trajectories.metrics.index(metric) for metric in analysed.analysis.map.metrics]]
        found = analysed.page.values(f"Profile of state {state.state}", "Logged, median")
        np.testing.assert_allclose(found, np.median(rows, axis=0))
        low = analysed.page.values(f"Profile of state {state.state}", "Nine of ten rows")
        np.testing.assert_allclose(low, np.quantile(rows, 0.05, axis=0))


@pytest.mark.once
def test_the_page_opens_with_what_was_found(analysed, warned):
    said = findings(analysed.analysis, analysed.model)
    plain = Page(th.render_report(analysed.runs, analysed.model))
    for page, sentence in ((analysed.page, said.headline), (plain, "5 states come back: halves of the runs agree")):
        at = page.words.index(sentence)
        assert at < page.words.index("with problems")
    alarmed = len(warned.page.column("Runs that alarmed", "Run"))
    assert f"{alarmed} of 6 runs have left what healthy runs do." in warned.page.words
    calibration = calibration_of(warned.model)
    last = Monitor(warned.model).last_step
    promised = f"Of new healthy runs at most {calibration.attainable:.1%} up to step {last:,} would alarm."
    assert f"{promised} 0 of" not in warned.page.words
    assert promised in warned.page.words
    longer = watched_logs(3, seed=5, drifting=3).frame()
    longer.loc[longer["run"].eq(longer["run"].iloc[0]), "step"] *= 2
    page = Page(th.render_report(th.RunSet.from_frame(longer), warned.model))
    assert f"{promised} 1 of the 6 runs goes on beyond that, without a promise." in page.words


@pytest.mark.once
def test_with_a_condition_collapses_stand_beside_runs_and_alarms(analysed, warned):
    condition = "weight_l2 > 8"
    truths = derive_truth(warned.runs, condition)
    collapsed = {run: truth.collapse_step for run, truth in truths.items() if truth.collapse_step is not None}
    assert 0 < len(collapsed) < 6
    page = Page(th.render_report(warned.runs, warned.model, collapse=condition))
    assert page.column("Runs", "Collapsed at") == [str(collapsed.get(run, "never")) for run in truths]
    names = page.column("Runs that alarmed", "Run")
    at = page.values("Runs that alarmed", "Collapse at step")
    np.testing.assert_array_equal(at, [collapsed.get(run, np.nan) for run in names])
    alarms = page.values("Runs that alarmed", "Alarm at step")
    np.testing.assert_array_equal(page.values("Runs that alarmed", "Steps ahead"), np.subtract(at, alarms))
    ahead = sum(collapse > alarm for collapse, alarm in zip(at, alarms, strict=True))
    assert f"{len(collapsed)} runs collapse by '{condition}'; {ahead} of them alarmed before" in page.words
    # An alarm before anything was wrong is no warning of what came after.
    first = int(np.nanmin(np.where(at > alarms, alarms, np.nan)))
    onsets = warned.runs.frame().assign(onset=first + 1)
    page = Page(th.render_report(th.RunSet.from_frame(onsets), warned.model, collapse=condition))
    early = sum(alarm <= first and not np.isnan(collapse) for collapse, alarm in zip(at, alarms, strict=True))
    assert early >= 1
    told = f"; {ahead - early} of them alarmed before"
    assert told in page.words
    assert f"; {early} alarmed before anything was wrong" in page.words
    assert page.column("Runs that alarmed", "Steps ahead").count("before its onset") == early
    assert set(page.column("Runs that stayed quiet", "Collapse at step")) == {"none"}
    assert "Collapse at step" not in [text for text, _ in warned.page.tables["Runs that alarmed"][0]]
    of_a_map = Page(th.render_report(analysed.runs, analysed.model, collapse="eval_accuracy > 0.9"))
    assert "never" in of_a_map.column("Runs", "Collapsed at")
    with pytest.raises(AnalysisError, match="accuracy"):
        th.render_report(warned.runs, warned.model, collapse="accuracy < 0.5")


def test_hostile_names_stay_text_in_the_data_of_the_script(warned):
    names = [HOSTILE[index % len(HOSTILE)] + str(index) for index in range(warned.runs.n_runs)]
    runs = replace(warned.runs, runs=tuple(names), attributes=warned.runs.attributes.set_axis(names))
    data = data_of(Page(th.render_report(runs, warned.model)))
    assert [run["name"] for run in data["runs"]] == [shown(name) for name in names]


@pytest.mark.parametrize(
    ("value", "said"),
    [(-6.45e-5, "−6.45×10⁻⁵"), (2.5e9, "2.5×10⁹"), (12_345.0, "12,345"), (0.25, "0.25"), (float("-inf"), "−∞")],
)
def test_numbers_have_no_e_and_a_real_minus(value, said):
    assert short(value) == said
