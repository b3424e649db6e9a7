"""Options that would be passed over, files that would be lost, logs that would be left out: each is told."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from trajhmm.cli import app

RUNNER = CliRunner()


def run(*words):
    return RUNNER.invoke(app, [str(word) for word in words])


def frame(seed, rows=60, **columns):
    rng, t = np.random.default_rng(seed), np.arange(rows)
    loss = 2 * np.exp(-t / 15) + 0.1 + 0.02 * rng.normal(size=rows)
    return pd.DataFrame({"step": t, "loss": loss, "norm": 1 + 0.1 * rng.normal(size=rows), **columns})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Logs of six healthy runs, and a reference of them."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "logs").mkdir()
    for seed in range(6):
        frame(seed).to_csv(folder / "logs" / f"seed{seed}.csv", index=False)
    done = run("fit", folder / "logs", "--for", "warning", "-o", folder / "w.json", "--metrics", "loss,norm")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made / "logs", tmp_path / "logs")
    shutil.copy(made / "w.json", tmp_path)
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\n" + "".join(f"seed{i},-1,-1\n" for i in range(6)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("fit logs --for warning -o x.json --onset nosuch", "--onset says nothing without --collapse"),
        ("fit logs --for warning -o x.json --sustained 3", "--sustained says nothing without --collapse"),
        ("evaluate logs --model w.json --truth truth.csv --onset nosuch", "--onset says nothing without --collapse"),
        ("evaluate logs --model w.json --truth truth.csv --budget 0.3", "--budget says nothing without --baselines"),
        ("warn logs --model w.json --silent-after 3", "--silent-after says nothing without --follow"),
        ("warn logs --model w.json --interval 9", "--interval says nothing without --follow"),
        ("warn logs --model w.json --state s.db", "--state says nothing without --follow"),
        ("stability logs -o s --model w.json --sign loss", "give either --model or --sign"),
        ("fit logs --for warning -o x.json --false-alarm 0", "--false-alarm 0: expected a share above 0 and below 1"),
        ("fit logs --for warning -o x.json --false-alarm 1", "--false-alarm 1: expected a share above 0 and below 1"),
    ],
)
def test_an_option_that_would_be_passed_over_is_wrong(words, told, folder):
    done = run(*words.split())
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())
    assert not (folder / "x.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        "fit logs --for warning -o x.json",
        "fit logs -o x.json --states 2 --restarts 1 --iterations 5 --halves 0",
        "warn logs --model w.json",
        "evaluate logs --model w.json --collapse loss>9",
        "evaluate logs --model w.json --collapse loss>9 --json",
    ],
)
def test_a_file_that_is_left_out_is_named_however_much_else_there_is_to_say(words, folder):
    for path in (folder / "logs").iterdir():
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, lines[0], ""]))  # a header again, in each of them
    (folder / "logs" / "seed6.csv").write_text("")
    done = run(*words.split())
    assert done.exit_code == 0, done.output
    assert done.stderr.count("left out: logs/seed6.csv") == 1
    assert "logs/seed6.csv" not in done.stderr.splitlines()[0]  # where notes are only counted


def test_text_in_place_of_numbers_is_told_with_its_run(folder):
    frame(1, norm="off").to_csv(folder / "logs" / "seed1.csv", index=False)
    for path in (folder / "logs").glob("seed[02345].csv"):
        path.unlink()
    for verb in (["warn"], ["evaluate", "--collapse", "loss>9"]):
        done = run(verb[0], "logs", "--model", "w.json", *verb[1:])
        assert done.exit_code == 1
        assert "run seed1: column 'norm' is text ('off'), and the model was made for numbers" in str(done.exception)


def test_logs_that_warn_takes_are_evaluated(folder):
    """Of one run with a metric that is clipped, and so never changes: it is an attribute of the logs."""
    shutil.rmtree(folder / "logs")
    (folder / "logs").mkdir()
    frame(1, norm=1.0).to_csv(folder / "logs" / "seed1.csv", index=False)
    told = json.loads(run("warn", "logs", "--model", "w.json", "--json").stdout)
    done = run("evaluate", "logs", "--model", "w.json", "--collapse", "loss>9", "--json")
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["runs"]
    assert (one["alarm_step"] is not None) == told["alarm"]


def test_a_benchmark_removes_what_it_kept_and_nothing_else(tmp_path, monkeypatch):
    from trajhmm.warning.benchmark.run import Entry, Result, forget

    kept = tmp_path / "unfinished"
    kept.mkdir()
    names = ("rl.nonfinite.json", "rl.cusum.json", "thesis.txt")
    for name in names:
        (kept / name).write_text("{}")
    entry = Entry(set="rl", detector="nonfinite", rows=(), runs=())
    result = Result(entries=(entry,), data={}, seed=0, budgets=(0.1,))
    forget(result, kept)
    assert sorted(path.name for path in kept.iterdir()) == ["rl.cusum.json", "thesis.txt"]
    for name in names[1:]:
        (kept / name).unlink()
    (kept / "rl.nonfinite.json").write_text("{}")
    forget(result, kept)
    assert not kept.exists()
