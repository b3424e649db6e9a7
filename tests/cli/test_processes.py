"""The command line as a user meets it: a process, its exit code, what it prints where, and what it leaves behind."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from trajhmm import load_model, read_logs
from trajhmm.cli import app

README = Path(__file__).parents[2] / "README.md"
# What takes long to load.
HEAVY = ("numba", "sklearn", "matplotlib", "statsmodels", "networkx", "scipy", "hmmlearn", "jinja2")


def calling(*arguments):
    """A program that calls the command line within itself and goes on."""
    return (
        f"import sys; sys.argv = {['trajhmm', *map(str, arguments)]!r}\n"
        "from trajhmm.cli import main\ntry: main()\nexcept SystemExit: pass"
    )


def heavy_modules_of(program):
    loaded = f"{program}\nimport sys; print('\\n' + ' '.join(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def leaves(command, words=()):
    """Every command that does something, as (words, click command); groups are looked into."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
    else:
        yield words, command


LEAVES = dict(leaves(typer.main.get_command(app)))
VERBS = sorted({words[0] for words in LEAVES})


def test_the_verbs_are_those_that_have_a_test_here():
    """A new verb needs a test through a real process: add it, then name the verb here."""
    assert VERBS == [
        "analyze",
        "audit",
        "benchmark",
        "collect",
        "convert",
        "decode",
        "demo",
        "evaluate",
        "figure",
        "fit",
        "inspect",
        "report",
        "simulate",
        "stability",
        "table",
        "warn",
    ]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Folder in which one verb works on what the one before it left; runs as the tests of this module go on."""
    return tmp_path_factory.mktemp("workshop")


@pytest.fixture(scope="module")
def simulated(workshop):
    """Logs that `trajhmm simulate` wrote."""
    line = [
        "simulate",
        "planted",
        "-o",
        "logs/runs.parquet",
        "--truth",
        "logs/truth.csv",
        "--runs",
        "8",
        "--rows",
        "40",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "trajhmm", *line], cwd=workshop, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "logs/runs.parquet: 8 runs, 320 rows" in done.stderr
    return workshop / "logs"


@pytest.fixture(scope="module")
def model(workshop, simulated):
    """A model file that `trajhmm fit` wrote."""
    line = ["fit", "logs", "-o", "model.json", "--states", "1:3", "--restarts", "2", "--seed", "4", "--halves", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "trajhmm", *line], cwd=workshop, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    # First of all, whether to believe it.
    told = [line for line in done.stderr.splitlines() if not line.startswith("notes on the logs: ")]
    assert re.match(r"[23] states come back: halves of the runs agree to |no reproducible map: ", told[0])
    assert re.search(r"chosen by .*halves.*, from 1 to 3; 8 runs, 320 rows, 14 metrics: weight_l1, weight_l2", told[1])
    assert "model.json: written" in done.stderr
    return workshop / "model.json"


@pytest.mark.once
def test_simulate_gives_the_same_bytes_for_the_same_seed(simulated, workshop, trajhmm, trajhmm_process):
    line = ["simulate", "planted", "--runs", "8", "--rows", "40"]
    assert trajhmm_process(*line, "-o", workshop / "again.parquet").code == 0
    assert trajhmm(*line, "-o", workshop / "other.parquet", "--seed", "1").code == 0
    original = (simulated / "runs.parquet").read_bytes()
    assert (workshop / "again.parquet").read_bytes() == original
    assert (workshop / "other.parquet").read_bytes() != original
    truth = pd.read_csv(simulated / "truth.csv")
    assert truth["run"].tolist() == list(read_logs(simulated).runs)
    assert {"onset", "collapse_step", "convergence_step", "took_detour"} <= set(truth.columns)


@pytest.mark.once
def test_inspect_prints_a_table_and_json_on_standard_output(simulated, trajhmm_process):
    plain = trajhmm_process("inspect", simulated)
    assert (plain.code, plain.err) == (0, "")
    assert plain.out.startswith("8 runs, 320 rows, steps 0 to 390\n")
    assert re.search(r"^seed_7 +40 +0 +390 +0 +0 +0$", plain.out, flags=re.MULTILINE)
    assert re.search(r"^eval_accuracy +100\.0% +0 ", plain.out, flags=re.MULTILINE)
    described = json.loads(trajhmm_process("inspect", simulated, "--json").out)
    assert [run["rows"] for run in described["runs"]] == [40] * 8
    assert described["n_rows"] == 320


def test_convert_writes_any_format_as_one_run_log(workshop, trajhmm_process, assert_same_logs):
    folder = workshop / "text"
    folder.mkdir()
    (folder / "a.csv").write_text("it,loss\n0,3\n1,2.5\n2,nan\n")
    (folder / "b.jsonl").write_text('{"_meta": {"lr": 0.1}}\n{"it": 0, "loss": 4}\n{"it": 1, "loss": 2}\n')
    done = trajhmm_process("convert", folder, "-o", "runs.parquet", "--step", "it", cwd=workshop)
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("runs.parquet: 2 runs, 5 rows, 1 metric\n")
    assert "run a: loss is not finite (NaN) from step 2" in done.err
    assert_same_logs(read_logs(workshop / "runs.parquet"), read_logs(folder, step="it"))


def test_fit_writes_a_model_and_the_same_seed_the_same_bytes(model, workshop, trajhmm, monkeypatch):
    fitted = load_model(model)
    assert [point.states for point in fitted.curve] == [1, 2, 3]
    assert (fitted.seed, fitted.n_runs, fitted.n_rows, len(fitted.metrics)) == (4, 8, 320, 14)
    line = ["fit", "logs", "--states", "1:3", "--restarts", "2", "--seed", "4", "--halves", "1", "--jobs", "1"]
    monkeypatch.chdir(workshop)
    assert trajhmm(*line, "-o", "again.json").code == 0
    assert (workshop / "again.json").read_bytes() == model.read_bytes()


@pytest.mark.once
def test_decode_writes_states_that_agree_with_the_library(model, simulated, workshop, trajhmm, trajhmm_process):
    for run, options, name in [(trajhmm_process, [], "states.parquet"), (trajhmm, ["--filtered"], "filtered.parquet")]:
        done = run("decode", simulated, "--model", model, "-o", workshop / name, *options)
        assert (done.code, done.out) == (0, "")
    fitted, runs = load_model(model), read_logs(simulated)
    states, filtered = pd.read_parquet(workshop / "states.parquet"), pd.read_parquet(workshop / "filtered.parquet")
    probabilities = [f"p_{k}" for k in range(fitted.n_states)]
    assert list(states) == list(filtered) == ["run", "step", "state", "probability", *probabilities]
    assert states["state"].tolist() == fitted.decode(runs).path.tolist()
    np.testing.assert_array_equal(states[probabilities], fitted.decode(runs).probs)
    np.testing.assert_array_equal(filtered[probabilities], fitted.filter(runs).probs)
    # What the rest of the run says of a state is not what the rows so far say.
    assert np.abs(states[probabilities] - filtered[probabilities]).to_numpy().max() > 1e-3
    assert states["step"].tolist() == runs.steps.tolist()


@pytest.mark.once
def test_analyze_writes_its_tables_and_prints_the_summary(model, simulated, workshop, trajhmm_process):
    line = [
        "analyze",
        simulated,
        "--model",
        model,
        "--converged",
        "eval_accuracy > 0.9",
        "-o",
        "analysis",
        "--refits",
        "0",
    ]
    done = trajhmm_process(*line, cwd=workshop)
    assert done.code == 0, done.err
    assert done.out == (workshop / "analysis" / "summary.txt").read_text()
    written = {path.name for path in (workshop / "analysis").iterdir()}
    tables = {
        "states.parquet",
        "map.json",
        "certificate.json",
        "detours.csv",
        "convergence.csv",
        "regression.json",
        "dissimilarity.json",
    }
    figures = {"map.pdf", "raster.pdf", "profile.pdf", "selection.png", "report.html"}
    assert tables | figures <= written
    stored = json.loads((workshop / "analysis" / "certificate.json").read_text())
    certificate = load_model(model).certificate
    assert stored == {**certificate.to_dict(), "refits": None}
    told = " ".join(done.out.split())
    assert told.startswith("No state is found" if certificate.reproducible else "No reproducible map")
    assert (f"{certificate.states} states come back: " if certificate.reproducible else "no reproducible map: ") in told
    convergence = pd.read_csv(workshop / "analysis" / "convergence.csv")
    assert list(convergence) == ["run", "step", "converged"]
    truth = pd.read_csv(simulated / "truth.csv")
    reached = truth["convergence_step"] >= 0
    assert convergence["converged"].tolist() == reached.tolist()
    assert convergence["step"][reached].tolist() == truth["convergence_step"][reached].tolist()


@pytest.mark.once  # beside what the test of analyze wrote
def test_report_writes_one_page_with_or_without_a_condition(model, simulated, workshop, trajhmm, trajhmm_process):
    line = ["report", simulated, "--model", model, "-o", workshop / "report.html"]
    plain = trajhmm_process(*line)
    assert (plain.code, plain.out) == (0, "")
    assert plain.err.endswith("report.html: written\n")
    page = (workshop / "report.html").read_text(encoding="utf-8")
    assert "logs · model.json" in page
    assert str(workshop) not in page
    assert 'id="detours"' not in page
    assert trajhmm(*line, "--converged", "eval_accuracy > 0.9", "--refits", "0").code == 0
    whole = (workshop / "report.html").read_text(encoding="utf-8")
    assert 'id="detours"' in whole
    assert (workshop / "analysis" / "report.html").read_text(encoding="utf-8") == whole


def test_report_of_a_condition_that_does_not_parse_is_a_wrong_command(model, simulated, trajhmm):
    done = trajhmm("report", simulated, "--model", model, "--converged", "accuracy >", "-o", "report.html")
    assert (done.code, done.out) == (2, "")


@pytest.mark.slow
def test_demo_leaves_a_whole_analysis(tmp_path, trajhmm_process):
    done = trajhmm_process("demo", "-o", "demo", cwd=tmp_path)
    assert done.code == 0, done.err
    assert {"model.json", "map.pdf", "detours.csv", "summary.txt", "report.html"} <= {
        path.name for path in (tmp_path / "demo").iterdir()
    }


@pytest.mark.sampled(1)
@pytest.mark.parametrize("verb", ["inspect", "convert", "fit", "decode", "analyze", "report", "figure", "table"])
def test_a_bad_input_ends_a_process_with_1_and_one_line(verb, tmp_path, trajhmm, trajhmm_process, monkeypatch):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    monkeypatch.chdir(tmp_path)
    # Of those that end alike, one that loads little and one that loads all in a process of its own.
    run = trajhmm_process if verb in ("inspect", "analyze") else trajhmm
    options = {
        "inspect": [],
        "convert": ["-o", "out"],
        "fit": ["-o", "out"],
        "decode": ["--model", "torn.parquet", "-o", "out"],
        "analyze": ["--model", "torn.parquet", "--converged", "loss < 1", "-o", "out"],
        "report": ["--model", "torn.parquet", "-o", "out"],
        "figure": ["--model", "torn.parquet", "-o", "out.pdf"],
        "table": ["--model", "torn.parquet", "-o", "out.tex"],
    }
    kind = {"figure": ["map"], "table": ["states"]}.get(verb, [])
    done = run(verb, *kind, "torn.parquet", *options[verb])
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: torn.parquet: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["torn.parquet"]


def test_a_wrong_command_ends_a_process_with_2(trajhmm_process):
    done = trajhmm_process("fit", "--states", "few", "logs", "-o", "out")
    assert (done.code, done.out) == (2, "")
    assert "--states 'few': expected a number such as 6, or a range such as 1:8" in done.err


def test_the_installed_command_is_the_same_program(trajhmm_process):
    installed = Path(sys.executable).with_name("trajhmm")
    if not installed.exists():
        pytest.skip("no command trajhmm beside this Python")
    done = subprocess.run([installed, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n", 1)[1] == trajhmm_process("--help").out.split("\n", 1)[1]


def test_a_reader_that_has_gone_away_is_no_error_with_a_traceback(simulated):
    line = [sys.executable, "-m", "trajhmm", "inspect", simulated]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.once
def test_ctrl_c_during_a_fit_leaves_the_old_model_and_no_traceback(simulated, tmp_path):
    old = tmp_path / "model.json"
    old.write_text("the old file, whole")
    line = ["fit", simulated, "-o", old, "--states", "1:8", "--restarts", "500", "--iterations", "5000"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "trajhmm", *map(str, line)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        # The notes are said once the logs are read, just before the fit begins.
        assert process.stderr.readline().startswith("notes on the logs")
        time.sleep(0.5)
        for _ in range(12):  # one that comes while compiled code is being loaded may be lost; people press again
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                assert process.wait(timeout=10) != 0
                break
        else:
            process.kill()
            pytest.fail("Ctrl-C did not end it")
        said = process.stderr.read()
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]
    assert old.read_text() == "the old file, whole"


def test_ctrl_c_while_a_compiled_module_is_loaded_is_ctrl_c(trajhmm, monkeypatch):
    def load(path):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("trajhmm.hmm.load_model", load)
    ended = trajhmm("warn", "logs", "--model", "model.json")
    assert (ended.code, ended.out, ended.err) == (130, "", "")


@pytest.mark.parametrize(
    "program",
    [
        "import trajhmm",
        "import trajhmm; dir(trajhmm); trajhmm.__version__",
        "import trajhmm.cli",
        calling("--help"),
        calling("fit", "-h"),
        calling("figure", "-h"),
    ],
    ids=["import", "names", "command line", "help", "help of fit", "help of figure"],
)
def test_help_and_import_load_nothing_heavy(program):
    assert heavy_modules_of(program) == []


def test_inspecting_logs_loads_nothing_heavy(simulated):
    assert heavy_modules_of(calling("inspect", simulated)) == []


def test_the_search_for_heavy_modules_finds_them():
    assert heavy_modules_of("import trajhmm, jinja2") == ["jinja2"]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
@pytest.mark.sampled(7)
def test_every_command_explains_itself_with_an_example(words, trajhmm):
    done = trajhmm(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: trajhmm {' '.join(words)} " in done.out
    undocumented = [
        option.opts[0] for option in LEAVES[words].params if not getattr(option, "help", None) and option.name != "help"
    ]
    assert undocumented == []


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_example_is_a_command_that_parses(words):
    """Paths in it need not exist; options and their values must."""
    command = LEAVES[words]
    example = re.search(r"Example: trajhmm (.*)", " ".join(command.help.split())).group(1)
    arguments = shlex.split(example)[len(words) :]
    command.make_context(" ".join(words), arguments)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_readme(verb):
    assert f"trajhmm {verb}" in README.read_text(encoding="utf-8")
