"""A folder with logs in a dozen formats at once, and no option for any verb."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import trajhmm as th
from trajhmm.cli import app

N = 60


def frame(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(N)
    level = np.where(t < 20 + 3 * (seed % 4), 2.0, 0.6)
    return pd.DataFrame(
        {"step": t, "loss": level + 0.05 * rng.random(N), "grad_norm": level / 2 + 0.05 * rng.random(N)}
    )


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows(f, **more):
    return [{"step": int(s), "loss": x, "grad_norm": g, **more} for s, x, g in f.itertuples(index=False)]


def mlruns(folder, f):
    written(
        folder / "meta.yaml",
        "artifact_uri: a\nrun_id: 01230123012301230123012301230123\nrun_name: bold-crane\nlifecycle_stage: active\n",
    )
    for name in ("loss", "grad_norm"):
        written(
            folder / "metrics" / name, "".join(f"{1700 + s} {v!r} {s}\n" for s, v in zip(f.step, f[name], strict=True))
        )


def downloads(folder, f):
    for name in ("loss", "grad_norm"):
        cells = pd.DataFrame({"Wall time": 1.7e9 + f.step, "Step": f.step, "Value": f[name]})
        cells.to_csv(folder / f"run-tb1-tag-{name}.csv", index=False)


def database(path, f):
    connection = sqlite3.connect(path)
    f.assign(run="from-sql").to_sql("logs", connection, index=False)
    connection.close()


def charts(path, one, two):
    columns = {"Step": one.step}
    for run, f in (("brave-sun-1", one), ("calm-sea-2", two)):
        for name in ("loss", "grad_norm"):
            columns |= {f"{run} - {name}{end}": f[name] for end in ("", "__MIN", "__MAX")}
    pd.DataFrame(columns).to_csv(path, index=False)


WRITERS = {
    "parquet": lambda d, f: f.to_parquet(d / "parquet.parquet"),
    "csv": lambda d, f: f.to_csv(d / "csv.csv", index=False),
    "tsv": lambda d, f: f.to_csv(d / "tsv.tsv", index=False, sep="\t"),
    "semicolons": lambda d, f: f.to_csv(d / "semicolons.csv", index=False, sep=";", decimal=","),
    "utf16": lambda d, f: f.to_csv(d / "utf16.csv", index=False, encoding="utf-16"),
    "lines": lambda d, f: written(d / "lines.jsonl", lines_of(rows(f))),
    "array": lambda d, f: written(d / "array.json", json.dumps(rows(f))),
    "detectron": lambda d, f: written(
        d / "detectron" / "metrics.json",
        lines_of({"iteration": r.pop("step"), "lr": 0.1, "eta_seconds": 9.0, **r} for r in rows(f)),
    ),
    "hf": lambda d, f: written(
        d / "hf" / "checkpoint-60" / "trainer_state.json",
        json.dumps({"global_step": N, "log_history": rows(f, epoch=0.5), "max_steps": N}),
    ),
    "version_0": lambda d, f: written(
        d / "lightning_logs" / "version_0" / "metrics.csv", f.assign(epoch=f.step // 10).to_csv(index=False)
    ),
    "training": lambda d, f: written(
        d / "keras" / "training.csv", f.rename(columns={"step": "epoch"}).to_csv(index=False)
    ),
    "bold-crane": lambda d, f: mlruns(d / "mlruns" / "0" / ("0123" * 8), f),
    "tb1": downloads,
    "from-sql": lambda d, f: database(d / "runs.db", f),
}


@pytest.fixture
def folder(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    expected = {}
    for seed, (run, write) in enumerate(WRITERS.items()):
        expected[run] = frame(seed)
        write(logs, expected[run].copy())
    expected |= {"brave-sun-1": frame(50), "calm-sea-2": frame(51)}
    charts(logs / "charts.csv", expected["brave-sun-1"], expected["calm-sea-2"])
    (logs / "config.json").write_text('{"lr": 0.1, "model": {"width": 3}}')
    (logs / "README.md").write_text("# Runs\n")
    (logs / "empty.csv").write_text("")
    return logs, expected


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_no_verb_needs_an_option(folder, tmp_path):
    logs, expected = folder
    run("convert", logs, "-o", tmp_path / "all.parquet")
    runs = th.read_logs(tmp_path / "all.parquet")
    assert set(runs.runs) == set(expected)
    for name, part in runs.slices():
        np.testing.assert_array_equal(runs.steps[part], expected[name]["step"])
        for metric in ("loss", "grad_norm"):
            np.testing.assert_allclose(runs.column(metric)[part], expected[name][metric], rtol=1e-15)
    told = json.loads(run("inspect", logs, "--json"))
    assert len({file["format"] for file in told["files"]}) >= 12
    assert any("empty.csv: holds no rows" in text for problem in told["problems"] for text in problem["texts"])
    assert run("inspect", logs).splitlines()[1].startswith("read as ")
    run("fit", logs, "-o", tmp_path / "map.json", "--states", "2", "--halves", "0", "--restarts", "2")
    model = th.load_model(tmp_path / "map.json")
    assert (model.n_runs, model.n_states, set(model.metrics)) == (16, 2, {"loss", "grad_norm"})
    run("fit", logs, "--for", "warning", "-o", tmp_path / "warning.json", "--restarts", "1")
    told = [json.loads(line) for line in run("warn", logs, "--model", tmp_path / "warning.json", "--json").splitlines()]
    assert {one["run"] for one in told} == set(expected)
    assert {one["last_step"] for one in told} == {N - 1}
