"""`trajhmm figure` and `trajhmm table`: kinds, what they need, and what they write."""

import csv
import re
import sys

import pytest

import trajhmm as th
from trajhmm import dynamics
from trajhmm.cli.figure import KINDS as FIGURES
from trajhmm.cli.output.typeset import Column, Estimate, P, as_csv, as_latex, escaped
from trajhmm.cli.tables import KINDS as TABLES
from trajhmm.logs import write_logs
from trajhmm.simulate import planted

# Of a model for warning: drawn in test_evaluate.py.
OF_WARNINGS = ("timeline", "drivers", "recall", "leads")
# Of what other verbs wrote: in test_stability.py.
OF_STABILITY = ("stability", "phases", "probability", "hazard", "spikes", "lyapunov")
CONVERGED = ("--converged", "eval_accuracy > 0.9")
# That a kind takes beside those of all.
OPTIONS = {
    "map": (*CONVERGED, "--refits", "0"),
    "raster": CONVERGED,
    "regression": CONVERGED,
    "convergence": (*CONVERGED, "--refits", "0", "--since", "start"),
    "states": ("logs.parquet", *CONVERGED, "--refits", "1"),
    "edges": ("logs.parquet", *CONVERGED, "--refits", "1"),
    "detours": ("logs.parquet", *CONVERGED, "--refits", "1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Logs with a planted detour, and a model of them: of the quickest fit that finds it."""
    folder = tmp_path_factory.mktemp("figures")
    logs = planted(n_runs=20, n_rows=80).logs
    write_logs(logs, folder / "logs.parquet")
    th.fit(logs, states=[4, 5], scaling="per-run", restarts=1, halves=1).save(folder / "model.json")
    return folder


@pytest.fixture
def work(folder, monkeypatch):
    """The folder of logs and model, gone into."""
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def analysed():
    """Analyses by what was asked for: of the same logs and model, so that none is made twice."""
    return {}


@pytest.fixture
def analysed_once(analysed, monkeypatch):
    """Analyse anew only if something else is asked for."""
    analyze = dynamics.analyze

    def once(*about, progress, **options):
        known = tuple(sorted(options.items()))
        if known not in analysed:
            analysed[known] = analyze(*about, progress=progress, **options)
        return analysed[known]

    monkeypatch.setattr(dynamics, "analyze", once)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", [kind for kind in FIGURES if kind not in (*OF_WARNINGS, *OF_STABILITY)])
def test_every_kind_of_figure_is_written(kind, work, analysed_once, trajhmm):
    line = ["figure", kind, "logs.parquet", "--model", "model.json", "-o", f"{kind}.svg", *OPTIONS.get(kind, ())]
    done = trajhmm(*line, "--width", "column", "--style", "icml")
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err.endswith(f"{kind}.svg: written\n")
    # 3.25 inches, in points.
    assert re.search(r'width="234pt"', (work / f"{kind}.svg").read_text())


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["selection", "profile"])
@pytest.mark.once
def test_some_figures_need_no_logs_and_come_out_the_same(kind, work, trajhmm, trajhmm_process):
    for run, name in ((trajhmm, "once.pdf"), (trajhmm_process, "again.pdf")):
        done = run("figure", kind, "--model", "model.json", "-o", name)
        assert done.code == 0, done.err
    assert (work / "once.pdf").read_bytes() == (work / "again.pdf").read_bytes()
    assert b"/Type3" not in (work / "once.pdf").read_bytes()


@pytest.mark.once
def test_metrics_and_the_scale_of_steps_are_the_users(work, trajhmm):
    line = ["figure", "curves", "logs.parquet", "--model", "model.json", "--metric", "weight_l2,trace"]
    for scale in ("linear", "log", "sqrt"):
        assert trajhmm(*line, "--step-scale", scale, "-o", f"{scale}.png").code == 0
    assert len({(work / f"{scale}.png").read_bytes() for scale in ("linear", "log", "sqrt")}) == 3


def test_curves_of_one_run_show_that_run_alone(work, trajhmm):
    line = ["figure", "curves", "logs.parquet", "--model", "model.json", "--metric", "weight_l2,trace"]
    names = th.read_logs(work / "logs.parquet").runs[:2]
    for name in names:
        assert trajhmm(*line, "--run", name, "-o", f"{name}.png").code == 0
    assert len({(work / f"{name}.png").read_bytes() for name in names}) == 2
    done = trajhmm(*line, "--run", names[0] + "x", "-o", "x.png")
    assert done.code == 1
    assert f"no run '{names[0]}x' under this model; did you mean" in done.err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["figure", "regression", "logs.parquet", "-o", "x.pdf"], 2, "figure regression needs to know when a run has"),
        (["figure", "map", "-o", "x.pdf"], 2, "figure map needs logs"),
        (["figure", "maps", "-o", "x.pdf"], 2, "'maps': expected one of map, raster, curves"),
        (["figure", "selection", "-o", "x.jpg"], 1, "x.jpg: expected a name that ends in .pdf, .svg or .png"),
        (["figure", "curves", "logs.parquet", "--metric", "los", "-o", "x.pdf"], 1, "no metric 'los' in these runs"),
        (
            ["figure", "convergence", "logs.parquet", *CONVERGED, "--state", "9", "--refits", "0", "-o", "x.pdf"],
            1,
            "state 9: expected",
        ),
        (["figure", "regression", "logs.parquet", "--converged", "eval >", "-o", "x.pdf"], 2, "eval >"),
        (["table", "detours", "logs.parquet", "-o", "x.tex"], 2, "table detours needs to know when a run has"),
        (["table", "states", "-o", "x.tex"], 2, "table states needs logs"),
        (["table", "state", "-o", "x.tex"], 2, "'state': expected one of states, edges, detours"),
        (
            ["figure", "map", "logs.parquet", *CONVERGED, "--within", "lr", "-o", "x.pdf"],
            1,
            "no attribute 'lr' to compare",
        ),
        (["table", "selection", "-o", "x.txt"], 1, "x.txt: expected a name that ends in .tex or .csv"),
    ],
)
@pytest.mark.sampled(4)
def test_what_is_missing_is_said(line, code, said, work, trajhmm):
    done = trajhmm(*line, "--model", "model.json")
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert not list(work.glob("x.*"))


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind not in OF_STABILITY])
@pytest.mark.sampled(1)
def test_every_kind_of_table_is_written(kind, work, analysed_once, trajhmm):
    of_tables = {**OPTIONS, "regression": ("logs.parquet", *CONVERGED)}
    for suffix in ("tex", "csv"):
        line = ["table", kind, *of_tables.get(kind, ()), "--model", "model.json", "-o", f"{kind}.{suffix}"]
        done = trajhmm(*line)
        assert (done.code, done.out) == (0, ""), done.err
    rows = list(csv.reader((work / f"{kind}.csv").read_text(encoding="utf-8").splitlines()))
    latex = (work / f"{kind}.tex").read_text(encoding="utf-8")
    body = latex.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(body) == len(rows) - 1 >= 2
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", latex).group(1))
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {columns}
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not re.search(r"(?<!\\)_", latex)


def test_tables_say_what_comes_back(work, analysed_once, trajhmm):
    rows = {}
    for kind in ("states", "edges", "detours", "selection"):
        assert trajhmm("table", kind, *OPTIONS.get(kind, ()), "--model", "model.json", "-o", "t.csv").code == 0
        rows[kind] = list(csv.DictReader((work / "t.csv").read_text(encoding="utf-8").splitlines()))
    assert all(0 < float(row["recovery"]) <= 1 and float(row["forks_found"]) in (0, 1) for row in rows["states"])
    for row in rows["edges"]:
        assert float(row["share"]) == int(row["runs"]) / 20
        assert float(row["share_low"]) < float(row["share"]) <= float(row["share_high"])
        assert float(row["found"]) in (0, 1)
    assert {row["found"] for row in rows["detours"]} <= {"0.0", "1.0"}
    assert [row["chosen"] for row in rows["selection"] if row["halves"]].count("True") == 1


def test_a_detour_on_a_figure_is_one_that_comes_back_in_refits(work, trajhmm, monkeypatch):
    """As `trajhmm analyze` says it: the same refits, and none for figures that show no detours."""
    asked = []
    monkeypatch.setattr(dynamics, "analyze", lambda *_, **options: asked.append(options) or sys.exit(0))
    for kind in ("map", "convergence", "regression"):
        line = ["figure", kind, "logs.parquet", "--model", "model.json", *CONVERGED, "-o", "x.pdf", "--seed", "3"]
        trajhmm(*line, *([] if kind == "regression" else ["--within", "seed"]))
    assert [options["refits"] for options in asked] == [20, 20, 0]
    assert [(options["within"], options["seed"]) for options in asked] == [("seed", 3), ("seed", 3), (None, 3)]


def test_numbers_are_rounded_for_print_and_whole_in_csv():
    columns = [
        Column("name", "50% & name", ["weight_l2", "a#b"]),
        Column("runs", "Runs", [12345, None]),
        Column("delay", "Delay", [Estimate(1234.567, 1100.2, 1398.9), None]),
        Column("ratio", "Ratio", [Estimate(1.23456, 0.98765, 1.54321), float("nan")]),
        Column("p", "p", [P(0.00004), P(0.0347)]),
        Column("is_detour", "Detour", [True, False]),
        Column("share", "Share", [-0.123456, 1e-17]),
    ]
    assert as_latex(columns).splitlines() == [
        "% \\usepackage{booktabs}",
        "\\begin{tabular}{lrrrrrr}",
        "\\toprule",
        "50\\% \\& name & Runs & Delay & Ratio & p & Detour & Share \\\\",
        "\\midrule",
        "weight\\_l2 & 12,345 & 1,235 (1,100 to 1,399) & 1.235 (0.988 to 1.543) & $<$0.001 & yes & $-$0.123 \\\\",
        "a\\#b & – & – & – & 0.035 & no & 0 \\\\",
        "\\bottomrule",
        "\\end{tabular}",
    ]
    first, second = list(csv.DictReader(as_csv(columns).splitlines()))
    assert (first["delay"], first["delay_low"], first["delay_high"], first["p"]) == (
        "1234.567", "1100.2", "1398.9", "4e-05"
    )  # fmt: skip
    assert (second["runs"], second["delay"], second["ratio"], second["is_detour"]) == ("", "", "", "False")


def test_all_that_latex_reads_otherwise_is_escaped():
    assert escaped("a_b {c} $5 ~ ^ \\ R² ↑↓ <") == (
        "a\\_b \\{c\\} \\$5 \\textasciitilde{} \\textasciicircum{} \\textbackslash{} R$^2$ $\\uparrow$$\\downarrow$ $<$"
    )


def test_a_report_marks_which_runs_collapsed(work, trajhmm):
    line = ["report", "logs.parquet", "--model", "model.json", "-o", "page.html"]
    done = trajhmm(*line, "--collapse", "eval_accuracy > 0.9")
    assert done.code == 0, done.err
    assert "Collapsed at" in (work / "page.html").read_text(encoding="utf-8")
    wrong = trajhmm(*line, "--collapse", "eval_accuracy >")
    assert wrong.code == 2
