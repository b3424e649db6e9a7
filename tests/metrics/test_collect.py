"""From checkpoints to a run log: the same numbers as computed directly, one at a time, and going on after a kill."""

import signal
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from trajhmm import read_logs
from trajhmm.errors import CheckpointError
from trajhmm.files import BLANKS_ARE_BLANK
from trajhmm.metrics import WEIGHT_METRICS, weight_metrics
from trajhmm.metrics.checkpoints import collect, find_checkpoints

# The module, not the function of the same name.
room = sys.modules["trajhmm.metrics.checkpoints.collect"]


def weights(seed, step, *, d=8):
    """A block of a transformer, (out, in)."""
    rng = np.random.default_rng([seed, step])
    shapes = {
        "wte.weight": (20, d),
        "h.0.ln_1.weight": (d,),
        "h.0.attn.q_proj.weight": (d, d),
        "h.0.attn.k_proj.weight": (d // 2, d),
        "h.0.attn.v_proj.weight": (d // 2, d),
        "h.0.attn.q_proj.bias": (d,),
        "h.0.mlp.weight": (3 * d, d),
        "h.0.mlp.bias": (3 * d,),
    }
    return {name: rng.normal(scale=0.1 + step, size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def tree(tmp_path):
    """Two seeds at three steps each."""
    folder = tmp_path / "tree"
    for seed in (1, 2):
        (folder / f"seed_{seed}").mkdir(parents=True)
        for step in (0, 10, 20):
            np.savez(folder / f"seed_{seed}" / f"step_{step}.npz", **weights(seed, step))
    return folder


@pytest.fixture
def measured(monkeypatch):
    """Steps in the order in which they are measured."""
    order = []
    measure = room._measure

    def noting(checkpoint, *arguments, **settings):
        order.append((checkpoint.run, checkpoint.step))
        return measure(checkpoint, *arguments, **settings)

    monkeypatch.setattr(room, "_measure", noting)
    return order


def run_collect(tree, output, **settings):
    return collect(find_checkpoints([tree]).checkpoints, output, **settings)


def assert_rows(output, expected):
    """Compare with {(run, step): metrics}, exactly."""
    table = pq.read_table(output).to_pylist()
    assert [(row["run"], row["step"]) for row in table] == list(expected)
    for row, metrics in zip(table, expected.values(), strict=True):
        assert {name: row[name] for name in metrics} == metrics


ALL = [(f"seed_{seed}", step) for seed in (1, 2) for step in (0, 10, 20)]


def by_hand(**settings):
    return {(run, step): weight_metrics(weights(int(run[-1]), step), **settings) for run, step in ALL}


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_row_holds_what_the_metrics_of_the_weights_are(tree, tmp_path, jobs):
    collected = run_collect(tree, tmp_path / "logs.parquet", heads=(4, 2), jobs=jobs)
    assert (collected.runs, collected.rows, collected.metrics) == (2, 6, 14)
    assert (collected.new, collected.kept, collected.others) == (6, 0, 0)
    assert_rows(tmp_path / "logs.parquet", by_hand(heads=(4, 2)))
    columns = pq.read_table(tmp_path / "logs.parquet").column_names
    assert columns == ["run", "step", *WEIGHT_METRICS, "seed"]


def test_the_output_is_a_run_log(tree, tmp_path):
    run_collect(tree, tmp_path / "logs.parquet")
    runs = read_logs(tmp_path / "logs.parquet")
    assert (runs.runs, runs.metrics) == (("seed_1", "seed_2"), WEIGHT_METRICS)
    assert runs.steps.tolist() == [0, 10, 20] * 2
    assert runs.attributes["seed"].tolist() == [1, 2]
    assert BLANKS_ARE_BLANK.items() <= pq.read_schema(tmp_path / "logs.parquet").metadata.items()


def test_roles_and_layers_are_those_that_were_asked_for(tree, tmp_path):
    roles = {"*.mlp.weight": "skip", "wte.*": "matrix"}
    run_collect(tree, tmp_path / "logs.parquet", roles=roles, layers=True)
    expected = by_hand(roles=roles, layers=True)
    assert "weight_l2/wte" in expected["seed_1", 0]
    assert_rows(tmp_path / "logs.parquet", expected)


def test_heads_come_from_a_configuration_unless_they_are_given(tree, tmp_path):
    (tree / "seed_2" / "config.json").write_text('{"num_attention_heads": 4, "num_key_value_heads": 2}')
    one = run_collect(tree, tmp_path / "one.parquet")
    whole, split = by_hand(), by_hand(heads=(4, 2))
    assert whole != split
    assert_rows(tmp_path / "one.parquet", {key: (whole if key[0] == "seed_1" else split)[key] for key in ALL})
    assert sum("projections count whole; give --heads" in note for note in one.notes) == 1
    run_collect(tree, tmp_path / "two.parquet", heads=2)
    assert_rows(tmp_path / "two.parquet", by_hand(heads=2))


def test_notes_say_what_was_measured_once_for_each_layout(tree, tmp_path):
    np.savez(tree / "seed_2" / "step_10.npz", **weights(2, 10), **{"h.1.mlp.weight": np.eye(3)})
    said = []
    collected = run_collect(tree, tmp_path / "logs.parquet", heads=(4, 2), remark=said.append)
    assert said == list(collected.notes)
    rest = "weights (3 of them split into 8 heads) and 2 biases; left out 2 parameters: wte.weight, h.0.ln_1.weight"
    assert [note.partition("npz: ")[2] for note in said] == [f"measured 4 {rest}", f"measured 5 {rest}"]


def test_weights_that_are_not_finite_are_logged_as_nan(tree, tmp_path):
    broken = weights(1, 20)
    broken["h.0.mlp.weight"][0, 0] = np.nan
    np.savez(tree / "seed_1" / "step_20.npz", **broken)
    run_collect(tree, tmp_path / "logs.parquet")
    runs = read_logs(tmp_path / "logs.parquet")
    assert np.isnan(runs.column("weight_l2")).tolist() == [False, False, True, False, False, False]
    assert runs.logged.all()


# Every format gives the same numbers, and those of the module itself.


def test_formats_agree_with_each_other_and_with_the_module(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Embedding(5, 8), torch.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16), torch.nn.Linear(8, 3)
    )
    state = module.state_dict()
    roles = {"0.weight": "skip"}
    files.save_file(state, tmp_path / "step1.safetensors")
    torch.save({"model_state_dict": state}, tmp_path / "step2.pt")
    torch.save(state, tmp_path / "step3.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "step4.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    first = dict(list(state.items())[::2])
    files.save_file(first, tmp_path / "step5-00001-of-00002.safetensors")
    files.save_file({n: t for n, t in state.items() if n not in first}, tmp_path / "step5-00002-of-00002.safetensors")
    run_collect(tmp_path, tmp_path / "logs.parquet", heads=2, roles=roles, layers=True)
    expected = weight_metrics(module, layers=True)
    table = pq.read_table(tmp_path / "logs.parquet")
    assert table["step"].to_pylist() == [1, 2, 3, 4, 5]
    for name, value in expected.items():
        # The order of tensors in a file decides the order of sums.
        np.testing.assert_allclose(table[name].to_numpy(), value, rtol=1e-12, err_msg=name)


# Going on.


def test_what_is_there_is_not_measured_again(tree, tmp_path, measured):
    output = tmp_path / "logs.parquet"
    some = [c for c in find_checkpoints([tree]).checkpoints if c.step != 10]
    collect(some, output)
    before = output.read_bytes()
    assert collect(some, output).kept == 4
    assert output.read_bytes() == before
    assert len(measured) == 4
    collected = run_collect(tree, output)
    assert (collected.new, collected.kept) == (2, 4)
    assert measured[4:] == [("seed_1", 10), ("seed_2", 10)]
    assert_rows(output, by_hand())
    assert not list(tmp_path.glob(".*"))


def test_rows_of_checkpoints_that_are_gone_stay(tree, tmp_path):
    output = tmp_path / "logs.parquet"
    run_collect(tree, output)
    (tree / "seed_1" / "step_0.npz").unlink()
    collected = run_collect(tree, output)
    assert (collected.new, collected.kept, collected.others) == (0, 5, 1)
    assert_rows(output, by_hand())


def test_a_checkpoint_that_has_changed_is_measured_again(tree, tmp_path, measured):
    output = tmp_path / "logs.parquet"
    run_collect(tree, output)
    np.savez(tree / "seed_2" / "step_10.npz", **weights(7, 7))
    collected = run_collect(tree, output)
    assert measured[6:] == [("seed_2", 10)]
    assert collected.notes[0] == "1 checkpoints have changed since they were collected and are collected again"
    assert_rows(output, by_hand() | {("seed_2", 10): weight_metrics(weights(7, 7))})
    # So has one whose configuration now tells of heads.
    (tree / "config.json").write_text('{"n_head": 2}')
    assert run_collect(tree, output).new == 6
    assert_rows(output, by_hand(heads=2) | {("seed_2", 10): weight_metrics(weights(7, 7), heads=2)})


KILLED = """
import os, signal, sys
import trajhmm.metrics.checkpoints.find as checkpoints
from trajhmm.metrics.checkpoints import collect
room = sys.modules["trajhmm.metrics.checkpoints.collect"]
measure, count = room._measure, 0

def killed_at_the_fourth(*arguments, **settings):
    global count
    count += 1
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(*arguments, **settings)

room._measure = killed_at_the_fourth
collect(checkpoints.find_checkpoints([sys.argv[1]]).checkpoints, sys.argv[2], save_every=0)
"""


def test_a_kill_leaves_a_whole_file_and_the_next_call_goes_on(tree, tmp_path, measured):
    output = tmp_path / "logs.parquet"
    done = subprocess.run([sys.executable, "-c", KILLED, tree, output], check=False)
    assert done.returncode == -signal.SIGKILL
    assert_rows(output, {key: by_hand()[key] for key in ALL[:3]})
    collected = run_collect(tree, output)
    assert (collected.new, collected.kept) == (3, 3)
    assert measured == ALL[3:]
    assert_rows(output, by_hand())


def test_an_interrupt_saves_what_was_measured(tree, tmp_path, monkeypatch):
    measure = room._measure

    def interrupted(checkpoint, *arguments, **settings):
        if checkpoint.run == "seed_2":
            raise KeyboardInterrupt
        return measure(checkpoint, *arguments, **settings)

    monkeypatch.setattr(room, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_collect(tree, tmp_path / "logs.parquet")
    assert_rows(tmp_path / "logs.parquet", {key: by_hand()[key] for key in ALL[:3]})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"heads": 2}, r"was collected without --heads, now with --heads 2; collect with the same settings"),
        ({"heads": (4, 2)}, r"now with --heads 4,2"),
        ({"layers": True}, r"without --layers, now with --layers"),
        ({"roles": {"a*": "skip"}}, r"without --role, now with --role a\*=skip"),
    ],
)
def test_other_settings_are_not_mixed_into_a_collection(tree, tmp_path, settings, said):
    output = tmp_path / "logs.parquet"
    run_collect(tree, output)
    before = output.read_bytes()
    with pytest.raises(CheckpointError, match=said):
        run_collect(tree, output, **settings)
    assert output.read_bytes() == before


def test_other_definitions_of_the_metrics_are_not_mixed(tree, tmp_path, monkeypatch):
    run_collect(tree, tmp_path / "logs.parquet")
    monkeypatch.setattr(room, "_DEFINITION", 99)
    with pytest.raises(CheckpointError, match="collected by definition 1 of the metrics, now by definition 99"):
        run_collect(tree, tmp_path / "logs.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"step,loss\n1,2\n"])
def test_a_file_that_is_no_collection_is_never_overwritten(tree, tmp_path, content):
    output = tmp_path / "logs.parquet"
    output.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"logs.parquet: exists and is no Parquet file; name another output"):
        run_collect(tree, output)
    assert output.read_bytes() == content


def test_another_run_log_is_never_overwritten(tree, tmp_path):
    import pandas as pd

    pd.DataFrame({"step": [1], "loss": [2.0]}).to_parquet(tmp_path / "logs.parquet")
    with pytest.raises(CheckpointError, match="exists and was not written by 'trajhmm collect'"):
        run_collect(tree, tmp_path / "logs.parquet")


# What cannot be measured.


def test_torn_checkpoints_are_an_error_after_all_others_are_saved(tree, tmp_path):
    output = tmp_path / "logs.parquet"
    first, later = tree / "seed_1" / "step_0.npz", tree / "seed_2" / "step_10.npz"
    whole = first.read_bytes()
    first.write_bytes(whole[:-50])
    later.write_bytes(b"")
    with pytest.raises(CheckpointError) as torn:
        run_collect(tree, output)
    lines = str(torn.value).splitlines()
    assert lines[0].startswith(f"{first}: not a whole numpy archive, torn or half-written (")
    assert lines[1] == f"and 1 more checkpoints that cannot be measured: {later}"
    assert (torn.value.collected.new, torn.value.collected.rows) == (4, 4)
    rest = by_hand()
    del rest["seed_1", 0], rest["seed_2", 10]
    assert_rows(output, rest)
    # Once they are whole, they are measured.
    first.write_bytes(whole)
    np.savez(later, **weights(2, 10))
    assert (run_collect(tree, output).new, run_collect(tree, output).new) == (2, 0)
    assert_rows(output, by_hand())


def test_nothing_is_written_where_nothing_could_be_measured(tmp_path):
    np.savez(tmp_path / "step_1.npz", ln=np.ones(3))
    with pytest.raises(CheckpointError, match=r"step_1.npz: no weight matrix found; say which .* --role"):
        run_collect(tmp_path, tmp_path / "logs.parquet")
    assert not (tmp_path / "logs.parquet").exists()


def test_heads_that_do_not_divide_are_an_error_in_words_of_the_command_line(tree, tmp_path):
    with pytest.raises(CheckpointError, match=r"q_proj.weight: 8 outputs do not divide into 3 heads; give --heads, or"):
        run_collect(tree, tmp_path / "logs.parquet", heads=3)


def test_an_attribute_called_like_a_metric_is_an_error(tmp_path):
    (tmp_path / "trace=1").mkdir()
    np.savez(tmp_path / "trace=1" / "step_1.npz", w=np.eye(2))
    with pytest.raises(CheckpointError, match=r"attribute 'trace' in its path is the name of a column of the log"):
        run_collect(tmp_path, tmp_path / "logs.parquet")


def test_an_unknown_role_is_an_error_before_anything_is_read(tree, tmp_path, measured):
    with pytest.raises(ValueError, match="role 'matrx': expected one of matrix, heads"):
        run_collect(tree, tmp_path / "logs.parquet", roles={"*": "matrx"})
    assert measured == []


def test_attributes_of_other_kinds_and_missing_ones_fit_in_one_log(tmp_path):
    for folder in ("lr=0.1,opt=adam/seed=1", "lr=1/seed=02", "plain"):
        (tmp_path / folder).mkdir(parents=True)
        for step in (1, 2):
            np.savez(tmp_path / folder / f"{step}.npz", w=np.eye(2) * step)
    for _ in range(2):
        run_collect(tmp_path, tmp_path / "logs.parquet")
        table = pq.read_table(tmp_path / "logs.parquet").to_pandas().groupby("run").first()
        assert table["lr"].fillna(-1).to_dict() == {"lr=0.1,opt=adam/seed=1": 0.1, "lr=1/seed=02": 1, "plain": -1}
        assert table["seed"].fillna("").to_dict() == {"lr=0.1,opt=adam/seed=1": "1", "lr=1/seed=02": "02", "plain": ""}
        # A changed file forces the rows that were read back to be written again.
        np.savez(tmp_path / "plain" / "2.npz", w=np.eye(3))


# Cost.


@pytest.mark.once
def test_memory_holds_one_checkpoint_and_no_embeddings(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)

    def peak(n):
        folder = tmp_path / str(n)
        for step in range(n):
            (folder / f"step_{step}").mkdir(parents=True)
            tensors = {"wte.weight": np.ones((4_000_000, 2), dtype=np.float32), "b.weight": rng.normal(size=(40, 40))}
            tensors |= {f"h.{i}.weight": rng.normal(size=(400_000, 2)) for i in range(2)}
            numpy_files.save_file(tensors, folder / f"step_{step}" / "model.safetensors")
        checkpoints = find_checkpoints([folder]).checkpoints
        tracemalloc.start()
        try:
            collect(checkpoints, folder / "logs.parquet")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    one, five = peak(1), peak(5)
    assert five < 1.1 * one
    # 13 MB of weights take three times that to measure; the embedding beside them would be another 32 MB.
    assert one < 55e6


def test_blas_has_one_thread_while_it_measures_and_its_own_again_afterwards(tree, tmp_path, monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    during = []
    measure = room._measure
    monkeypatch.setattr(room, "_measure", lambda *a, **k: during.append(threads()) or measure(*a, **k))
    with threadpool_limits(2):
        run_collect(tree, tmp_path / "logs.parquet")
        assert threads() == {2}
    assert during == [{1}] * 6


def test_jobs_measure_side_by_side(tree, tmp_path, monkeypatch):
    together = threading.Barrier(3, timeout=20)
    measure = room._measure
    monkeypatch.setattr(room, "_measure", lambda *a, **k: together.wait() is None or measure(*a, **k))
    told = []
    run_collect(tree, tmp_path / "logs.parquet", jobs=3, progress=lambda *done: told.append(done))
    assert told == [(n, 6) for n in range(1, 7)]
    assert_rows(tmp_path / "logs.parquet", by_hand())
