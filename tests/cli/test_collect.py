"""``trajhmm collect`` as a user meets it."""

import json
import os
import pty
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from trajhmm import read_logs
from trajhmm.metrics import weight_metrics


def weights(seed, step):
    rng = np.random.default_rng([seed, step])
    shapes = {"h.0.q_proj.weight": (4, 4), "h.0.mlp.weight": (6, 4), "h.0.mlp.bias": (6,), "wte.weight": (9, 4)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def tree(tmp_path):
    """Two seeds at three steps each, in a folder of the user's."""
    for seed in (1, 2):
        folder = tmp_path / "checkpoints" / f"seed_{seed}"
        folder.mkdir(parents=True)
        for step in (0, 100, 200):
            np.savez(folder / f"step_{step}.npz", **weights(seed, step))
    return tmp_path / "checkpoints"


@pytest.mark.once
def test_collect_writes_a_run_log_and_says_what_it_did_on_standard_error(tree, tmp_path, trajhmm, trajhmm_process):
    done = trajhmm_process("collect", "checkpoints", "-o", "logs.parquet", "--heads", "2", cwd=tmp_path)
    assert (done.code, done.out) == (0, "")
    found, note, wrote = done.err.splitlines()
    assert found == "6 checkpoints of 2 runs (seed_1, seed_2), steps 0 to 200"
    assert note.startswith(
        "note: checkpoints/seed_1/step_0.npz: measured 2 weights (1 of them split into 2 heads) and 1"
    )
    assert wrote == "logs.parquet: 2 runs, 6 rows, 14 metrics (6 collected now, 0 there already)"
    runs = read_logs(tmp_path / "logs.parquet")
    assert (runs.runs, runs.steps.tolist()) == (("seed_1", "seed_2"), [0, 100, 200] * 2)
    assert runs.column("spectral_norm")[1] == weight_metrics(weights(1, 100), heads=2)["spectral_norm"]
    again = trajhmm("collect", tree, "-o", tmp_path / "logs.parquet", "--heads", "2")
    assert again.err.splitlines()[-1].endswith("(0 collected now, 6 there already)")


def test_options_reach_the_metrics(tree, tmp_path, trajhmm):
    out = tmp_path / "logs.parquet"
    options = ["--heads", "4,2", "--role", "*.mlp.weight=skip", "--role", "wte.*=matrix", "--layers", "--jobs", "2"]
    pattern = r"seed_(?P<seed>\d)/step_(?P<step>\d+)"
    assert trajhmm("collect", tree, "-o", out, *options, "--pattern", pattern).code == 0
    (row, *_) = pq.read_table(out).to_pylist()
    roles = {"*.mlp.weight": "skip", "wte.*": "matrix"}
    expected = weight_metrics(weights(1, 0), heads=(4, 2), roles=roles, layers=True)
    assert {name: row[name] for name in expected} == expected
    assert (row["run"], row["step"], row["seed"]) == ("seed_1/step", 0, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heads", "few"], "--heads 'few': expected a number such as 12, or query and key-value heads: 32,8"),
        (["--heads", "0"], "--heads '0': expected a number"),
        (["--heads", "1,2,3"], "--heads '1,2,3': expected a number"),
        (["--role", "a.weight"], "--role 'a.weight': expected PATTERN=ROLE, a role of matrix, heads, fused_heads,"),
        (["--role", "a=matrx"], "--role 'a=matrx': expected PATTERN=ROLE"),
        (["--role", "=bias"], "--role '=bias': expected PATTERN=ROLE"),
        (["--pattern", "("], "--pattern '(' does not parse"),
        (["--pattern", r"\d+"], r"--pattern '\\d+' names no step; expected a group (?P<step>\d+)"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_a_wrong_command_ends_with_2(tree, tmp_path, trajhmm, options, said):
    ended = trajhmm("collect", tree, "-o", tmp_path / "logs.parquet", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert not (tmp_path / "logs.parquet").exists()


def test_bad_input_ends_with_1_and_one_or_two_lines_that_name_it(tree, tmp_path, trajhmm):
    out = tmp_path / "logs.parquet"

    def refused(*arguments):
        ended = trajhmm("collect", *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert 1 <= len(ended.error) <= 2, ended.err
        return "\n".join(ended.error)

    assert "nowhere: no such file or folder" in refused(tmp_path / "nowhere", "-o", out)
    assert "is a folder; expected the name of a run log" in refused(tree, "-o", tmp_path)
    assert "do not divide into 3 heads; give --heads" in refused(tree, "-o", out, "--heads", "3")
    assert not out.exists()
    (tree / "seed_1" / "odd.npz").write_bytes(b"")
    assert "odd.npz: its path names no step" in refused(tree, "-o", out)
    (tree / "seed_1" / "odd.npz").unlink()
    out.write_text("precious")
    assert "exists and is no Parquet file; name another output" in refused(tree, "-o", out)
    assert out.read_text() == "precious"


def test_a_torn_checkpoint_ends_with_1_when_all_others_are_saved(tree, tmp_path, trajhmm, monkeypatch):
    (tree / "seed_1" / "step_100.npz").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    done = trajhmm("collect", "checkpoints", "-o", "logs.parquet")
    assert (done.code, done.out) == (1, "")
    assert "logs.parquet: 2 runs, 5 rows, 14 metrics (5 collected now, 0 there already)" in done.err
    (error,) = done.error
    assert error.startswith("error: checkpoints/seed_1/step_100.npz: not a whole numpy archive, torn or half-written (")
    assert len(pq.read_table(tmp_path / "logs.parquet")) == 5


def test_a_malicious_checkpoint_does_not_run(tmp_path, trajhmm):
    torch = pytest.importorskip("torch")

    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    for step in (1, 2):
        torch.save(
            {"model": {"w": torch.eye(2)}, "more": Malicious() if step == 2 else 0}, tmp_path / f"step_{step}.pt"
        )
    ended = trajhmm("collect", tmp_path, "-o", tmp_path / "logs.parquet")
    assert ended.code == 1
    assert "step_2.pt: refused, as reading it would run code from the file (posix.mkdir)" in ended.err
    assert not (tmp_path / "harm").exists()
    assert pq.read_table(tmp_path / "logs.parquet")["step"].to_pylist() == [1]


def test_heads_of_a_model_folder_are_read_from_its_configuration(tmp_path, trajhmm):
    files = pytest.importorskip("safetensors.numpy")
    for step in (500, 1000):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        files.save_file(weights(0, step), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
        for beside in ("optimizer.pt", "rng_state.pth", "training_args.bin"):
            (folder / beside).write_bytes(b"never read")
    ended = trajhmm("collect", tmp_path / "out", "-o", tmp_path / "logs.parquet")
    assert ended.code == 0, ended.err
    assert "note: passed over 6 files that hold no weights: optimizer.pt, rng_state.pth, training_args.bin" in ended.err
    assert "split into 2 heads" in ended.err
    assert read_logs(tmp_path / "logs.parquet").runs == ("out",)


@pytest.mark.once
def test_weights_in_safetensors_and_numpy_archives_are_collected_without_torch(tree, tmp_path):
    pytest.importorskip("safetensors.numpy").save_file(weights(3, 0), tree / "step_0.safetensors")
    program = (
        f"import sys; sys.argv = ['trajhmm', 'collect', {str(tree)!r}, '-o', {str(tmp_path / 'logs.parquet')!r}]\n"
        "from trajhmm.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(' '.join(name for name in ('torch', 'numba', 'scipy') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert len(pq.read_table(tmp_path / "logs.parquet")) == 7


@pytest.mark.once
def test_a_progress_bar_is_shown_on_a_terminal(tree, tmp_path):
    reader, terminal = pty.openpty()
    line = [sys.executable, "-m", "trajhmm", "collect", tree, "-o", tmp_path / "logs.parquet"]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(reader, 100_000).decode(errors="replace")  # the last letter may be cut
    os.close(reader)
    assert done.stdout == b""
    assert "collecting" in shown
    assert "6/6" in shown
