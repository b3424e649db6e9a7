"""What stands in a folder of logs and is none: what verbs wrote there, and what trackers keep beside a run."""

import gzip
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm import fit, read_logs
from trajhmm.dynamics.stability.freezing.times import PROXY_COLUMNS
from trajhmm.dynamics.stability.instability.formation import FORMATION_COLUMNS
from trajhmm.dynamics.stability.relations import NOISE_COLUMNS
from trajhmm.errors import LogError
from trajhmm.logs import scan_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings

CONVERGED = ["--converged", "accuracy > 0.9", "--refits", "2"]
MODEL = ["--model", "model.json"]
# Lines of verbs that write, with the name of a file, or of a folder, in place of OUT.
VERBS = {
    **{f"table {kind}": ["table", kind, "runs", *MODEL, *CONVERGED, "-o", "OUT.csv"] for kind in ("states", "edges")},
    "table detours": ["table", "detours", "runs", *MODEL, *CONVERGED, "-o", "OUT.csv"],
    "table regression": ["table", "regression", "runs", *MODEL, *CONVERGED[:2], "-o", "OUT.csv"],
    "table selection": ["table", "selection", *MODEL, "-o", "OUT.csv"],
    "table lyapunov": ["table", "lyapunov", "stability", "-o", "OUT.csv"],
    "decode": ["decode", "runs", *MODEL, "-o", "OUT.parquet"],
    "warn": ["warn", "runs", "--scores", "OUT.parquet"],
    "evaluate": ["evaluate", "runs", "--collapse", "accuracy < 0", "-o", "OUT"],
    "analyze": ["analyze", "runs", *MODEL, *CONVERGED, "-o", "OUT"],
    "stability": ["stability", "runs", "--by", "lr", *MODEL, "-o", "OUT"],
    "fit": ["fit", "runs", "--states", "2", "--restarts", "1", "--halves", "0", "-o", "OUT.json"],
    "report": ["report", "runs", *MODEL, "-o", "OUT.html"],
    "simulate planted": ["simulate", "planted", "--runs", "4", "-o", "x.parquet", "--truth", "OUT.csv"],
    "simulate rank-one": [
        *["simulate", "rank-one", "--learning-rates", "1", "--runs", "4", "--steps", "50"],
        *["-o", "x.parquet", "--truth", "OUT.csv"],
    ],
    "simulate scalar-net": ["simulate", "scalar-net", "--runs", "4", "-o", "x.parquet", "--truth", "OUT.csv"],
    "simulate two-valley": [
        *["simulate", "two-valley", "--eta", "0.01", "--sigma", "0.01", "--runs", "4", "--steps", "200"],
        *["-o", "x.parquet", "--truth", "OUT.csv"],
    ],
}
PRINTS = {
    "warn": ["warn", "runs", "--json"],
    "evaluate": ["evaluate", "runs", "--collapse", "accuracy < 0", "--json"],
    "inspect": ["inspect", "runs", "--json"],
}
# Tables of what takes too long here.
_INTERVAL = "ci_low,ci_high"
HEADERS = {
    "profile": "dimension,strength,n_runs,collapsed,collapsed_low,collapsed_high,recovery_steps,recovery_low,"
    "recovery_high,n_censored,area_ratio,area_low,area_high,deviation,deviation_low,deviation_high,lead_share",
    "table stability": "dimension,strength,n_runs,collapsed,collapsed_low,collapsed_high,recovery_steps,"
    "recovery_steps_low,recovery_steps_high,area_ratio,area_ratio_low,area_ratio_high,deviation,lead_share",
    "buffering": "dimension,strength,n_pairs,collapsed_plain,collapsed_buffered,only_plain,only_buffered,saved",
    "runs of an audit": "run,role,dimension,strength,onset,seed,baseline,last_step,collapsed,collapse_step,preceded",
    "detectors": "detector,budget,attainable,recall,recall_low,recall_high,reason",
    "loss_proxy": ",".join(["run", "lr", *PROXY_COLUMNS]),
    "noise": ",".join(NOISE_COLUMNS),
    "formation": ",".join(["lr", "batch_size", *FORMATION_COLUMNS]),
}


def log(seed, rows=80):
    rng = np.random.default_rng(seed)
    level = np.repeat([3.0, 1.0], rows // 2)
    return pd.DataFrame(
        {
            "step": 10 * np.arange(rows),
            "loss": level + 0.1 * rng.normal(size=rows),
            "norm": 4 - level + 0.1 * rng.normal(size=rows),
            "accuracy": np.repeat([0.1, 0.95], rows // 2),
            "log_plus": -0.1 * np.arange(rows) + 0.1 * rng.normal(size=rows),
            "log_minus": -0.1 * np.arange(rows) + 0.1 * rng.normal(size=rows),
            "lr": 0.1 * (1 + seed % 2),
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Logs of runs, a model of them, and how stable they are."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "runs").mkdir()
    for seed in range(6):
        log(seed).to_csv(folder / "runs" / f"seed_{seed}.csv", index=False)
    runs = read_logs(folder / "runs")
    fit(runs, states=2, metrics=["loss", "norm"], restarts=1, halves=0, seed=0).save(folder / "model.json")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of them to write beside, in the present folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_still_the_same(made, assert_same_logs):
    """See that each way to read the folder gives the runs that it gave before anything was written beside them."""
    before, after = read_logs(made / "runs"), read_logs("runs")
    assert_same_logs(after, before)
    assert scan_logs("runs").runs == before.runs
    follower = Follower(["runs"], ["loss"], Settings.of(run_by=(), rename=None, where=None, step=None))
    live = {rows.run: len(rows.steps) for rows in follower.poll()}
    assert live == dict(zip(before.runs, before.lengths.tolist(), strict=True))
    assert follower.torn == {}
    return after


@pytest.mark.sampled(2)
@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_wrote_among_the_logs_does_not_change_how_they_are_read(
    verb, made, here, trajhmm, assert_same_logs
):
    if verb == "table lyapunov":
        assert trajhmm("stability", "runs", "--by", "lr", "-o", "stability").code == 0
    # Under a name behind those of the logs, so that the verb itself does not depend on it.
    ended = trajhmm(*[word.replace("OUT", "runs/zzz") for word in VERBS[verb]])
    assert ended.code in (0, 3), ended.err
    assert_still_the_same(made, assert_same_logs)


@pytest.mark.parametrize("ending", ["jsonl", "json", "ndjson"])
@pytest.mark.parametrize("verb", PRINTS)
@pytest.mark.sampled(3)
def test_what_a_verb_printed_into_a_file_among_the_logs_is_no_log(verb, ending, made, here, trajhmm, assert_same_logs):
    Path(f"runs/printed.{ending}").write_text(trajhmm(*PRINTS[verb]).out)
    assert_still_the_same(made, assert_same_logs)


@pytest.mark.parametrize("name", HEADERS)
def test_tables_are_known_by_their_columns_whatever_stands_in_them(name, made, here, assert_same_logs):
    header = HEADERS[name]
    Path("runs/table.csv").write_text(f"{header}\n{','.join('all' for _ in header.split(','))}\n")
    runs = assert_still_the_same(made, assert_same_logs)
    (said,) = [note.text for note in runs.notes if note.kind == "left-out"]
    assert said.startswith("runs/table.csv: ")
    assert said.endswith(" that trajhmm wrote, no log, left out")


def test_tables_that_a_spreadsheet_saved_anew_are_known(made, here, assert_same_logs):
    header = HEADERS["buffering"]
    for name, text in {
        "a.csv": header.replace(",", ";"),
        "b.tsv": header.replace(",", "\t"),
        "c.csv": "\ufeff" + ",".join(f'"{cell}"' for cell in header.split(",")) + "\r",
        "d.csv": f"'=lr,{LYAPUNOV}",
    }.items():
        Path("runs", name).write_text(f"{text}\n", newline="")
    Path("runs/e.csv.gz").write_bytes(gzip.compress(f"{header}\n".encode()))
    assert len([note for note in assert_still_the_same(made, assert_same_logs).notes if note.kind == "left-out"]) == 5


LYAPUNOV = f"quantity,exponent,{_INTERVAL},n_runs,l2_stable,probability_stable"


@pytest.mark.once
def test_a_folder_of_nothing_else_is_an_error_that_says_so(here, trajhmm):
    assert trajhmm(*[word.replace("OUT", "out") for word in VERBS["stability"]]).code == 0
    with pytest.raises(LogError, match=r"out/.*\.csv: .* that trajhmm wrote, no log$"):
        read_logs("out")


def test_logs_whose_attributes_are_called_like_columns_of_a_truth_are_logs(tmp_path):
    frame = log(0).assign(run="a", onset=100, collapse_step=400, state=1)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.assign(run="b").to_parquet(tmp_path / "b.parquet")
    runs = read_logs(tmp_path)
    assert runs.runs == ("a", "b")
    assert runs.attributes["collapse_step"].tolist() == [400, 400]


def test_a_table_that_was_named_is_read_or_refused_for_what_it_lacks(here):
    Path("table.csv").write_text(f"{LYAPUNOV}\n" + "a,1,1,1,1,1,1\n" * 3)
    with pytest.raises(LogError, match="no column 'step'"):
        read_logs("table.csv")


# ---------------------------------------------------------------- what trackers keep


def saved(folder):
    """What jobs save among the files of a tracker: predictions that look like a log, tables, settings, output."""
    for sub in ("", "media/table", "deep/er"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"step": range(20), "loss": np.arange(20.0)}).to_csv(folder / "predictions.csv", index=False)
    pd.DataFrame({"step": range(20), "loss": np.arange(20.0)}).to_parquet(folder / "deep" / "er" / "p.parquet")
    pd.DataFrame({"word": ["a", "b"], "count": [1, 2]}).to_csv(folder / "words.csv", index=False)
    (folder / "media/table/t_1.table.json").write_text('{"columns": ["step", "loss"], "data": [[0, 1.5], [1, 2.5]]}')
    (folder / "lines.jsonl").write_text('{"step": 1, "loss": 2}\n' * 3)
    (folder / "wandb-summary.json").write_text('{"loss": 0.5, "_step": 39, "_runtime": 3}')
    (folder / "wandb-metadata.json").write_text('{"os": "Linux", "args": ["--lr", "0.1"], "cpu_count": 2}')
    (folder / "config.yaml").write_text("lr:\n  value: 0.1\n")
    (folder / "output.log").write_text("epoch 1 loss 0.3\n")
    (folder / "requirements.txt").write_text("numpy==2\n")


def message(*fields):
    """A message of protocol buffers, of (number, content): numbers below 128, texts as short as that."""
    parts = []
    for number, content in fields:
        key = number << 3 | (0 if isinstance(content, int) else 2)
        parts.append(bytes((key,) if key < 128 else (key & 127 | 128, key >> 7)))
        parts.append(bytes((content,)) if isinstance(content, int) else bytes((len(content),)) + content)
    return b"".join(parts)


def history(n):
    """A file of a run of Weights & Biases that logged its loss n times."""
    file = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in [
        message((17, message((1, b"y9o7fwn0"), (8, b"brave-sun")))),
        *(message((2, message((1, message((1, b"loss"), (16, b"%d.5" % i))), (2, message((1, i)))))) for i in range(n)),
    ]:
        file += struct.pack("<IHB", zlib.crc32(b"\1" + record), len(record), 1) + record
    return file


@pytest.mark.parametrize("prefix", ["offline-", ""])
def test_what_weights_and_biases_keeps_beside_its_log_is_none(prefix, here):
    home = Path("runs", "wandb", f"{prefix}run-20261129_223808-y9o7fwn0")
    for folder in ("files", "logs", "tmp/code"):
        saved(home / folder)
    (home / "run-y9o7fwn0.wandb").write_bytes(history(12))
    expected = {"brave-sun", *(f"seed_{seed}" for seed in range(6))}
    runs = read_logs("runs")
    assert set(runs.runs) == expected
    said = [note.text for note in runs.notes if "kept by" in note.text]
    assert f"{home / 'files' / 'predictions.csv'}: kept by Weights & Biases beside the log of a run, left out" in said
    follower = Follower(["runs"], ["loss"], Settings.of(run_by=(), rename=None, where=None, step=None))
    assert {rows.run for rows in follower.poll()} == expected
    assert follower.torn == {}


def test_files_in_folders_of_such_names_without_a_log_beside_are_logs(here):
    for home in ("run-20261129_223808-y9o7fwn0/files", f"{'0123' * 8}/artifacts"):
        Path(home).mkdir(parents=True)
        shutil.copy("runs/seed_0.csv", home)
        assert read_logs(Path(home).parent).n_runs == 1


def test_artifacts_of_mlflow_are_no_logs(here):
    home = Path("runs", "mlruns", "0", "0123" * 8)
    saved(home / "artifacts")
    (home / "meta.yaml").write_text("run_id: 01230123012301230123012301230123\nrun_name: bold-crane\n")
    (home / "metrics").mkdir()
    (home / "metrics" / "loss").write_text("".join(f"{1700 + s} {s}.5 {s}\n" for s in range(9)))
    runs = read_logs("runs")
    assert set(runs.runs) == {"bold-crane", *(f"seed_{seed}" for seed in range(6))}
    said = [note.text for note in runs.notes if "kept by" in note.text]
    assert f"{home / 'artifacts' / 'predictions.csv'}: kept by MLflow beside the log of a run, left out" in said
