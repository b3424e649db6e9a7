"""Which files are a checkpoint, which step of which run it is, and what can be read of it without running code."""

import json
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from trajhmm.errors import CheckpointError
from trajhmm.metrics.checkpoints import weightfiles
from trajhmm.metrics.checkpoints.find import find_checkpoints
from trajhmm.metrics.checkpoints.weightfiles import stored_tensors
from trajhmm.metrics.roles import heads_of

RNG = np.random.default_rng(0)
WEIGHTS = {
    "h.0.q_proj.weight": RNG.normal(size=(8, 8)).astype(np.float32),
    "h.0.mlp.weight": RNG.normal(size=(6, 8)).astype(np.float32),
    "h.0.mlp.bias": RNG.normal(size=6).astype(np.float32),
    "h.0.mask": np.ones((2, 2), dtype=bool),
}


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no weights in here")


def loaded(path):
    with stored_tensors(path) as tensors:
        return {name: tensor.load() for name, tensor in tensors.items()}


def assert_same_weights(found, expected=WEIGHTS, *, dtype=None):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == (array.dtype if dtype is None or array.dtype.kind != "f" else dtype), name


# What paths say.


@pytest.mark.parametrize(
    ("path", "run", "step", "attributes"),
    [
        ("step1000.pt", "tree", 1000, {}),
        ("a/step_1000/model.safetensors", "a", 1000, {}),
        ("out/checkpoint-1000/pytorch_model.bin", "out", 1000, {}),
        ("neox/global_step1000/mp_rank_00_model_states.pt", "neox", 1000, {}),
        ("megatron/iter_0001000/mp_rank_00/model_optim_rng.pt", "megatron", 1000, {}),
        ("version_0/checkpoints/epoch=3-step=300.ckpt", "version_0", 300, {}),
        ("x/epoch=3-step=300-val_loss=0.25.ckpt", "x", 300, {}),
        ("x/val_loss=0.25-step=300.ckpt", "x", 300, {}),
        ("x/ckpt_500.pt", "x", 500, {}),
        ("1000.npz", "tree", 1000, {}),
        ("x/0001000.npz", "x", 1000, {}),
        ("runs/3/1000/model.safetensors", "runs/3", 1000, {}),
        ("x/model-1000.pt", "x", 1000, {}),
        ("x/model_epoch_12.pt", "x", 12, {}),
        ("runs/3/epoch_2.pt", "runs/3", 2, {}),
        ("pythia-160m-seed3/step1000/model.safetensors", "pythia-160m-seed3", 1000, {"seed": 3}),
        ("seed_3/model-00001-of-00001.safetensors/../step7.npz", "seed_3", 7, {"seed": 3}),
        ("seed=3/step=100/weights.npz", "seed=3", 100, {"seed": 3}),
        ("lr=0.1,opt=adam/epoch=3/step=100/model.npz", "lr=0.1,opt=adam", 100, {"lr": 0.1, "opt": "adam"}),
        ("run=abc/step=100/model.npz", "abc", 100, {}),
        ("multiberts-seed_0-step_20k/pytorch_model.bin", "multiberts-seed_0", 20_000, {"seed": 0}),
        ("OLMo/stage1-step1000-tokens4B/model.safetensors", "OLMo/stage1", 1000, {}),
        ("rl_model_10000_steps.pt", "rl_model", 10_000, {}),
        ("steps10000-lr0.1/ckpt_5.pt", "steps10000-lr0.1", 5, {}),
        ("resnet18_seed2_step100.pt", "resnet18_seed2", 100, {"seed": 2}),
        ("step100_seed2.pt", "seed2", 100, {"seed": 2}),
        ("a/checkpoint-500/model_step500.npz", "a", 500, {}),
        ("stepwise-3/Step5.pt", "stepwise-3", 5, {}),
    ],
)
def test_a_path_says_run_step_and_attributes(path, run, step, attributes, tmp_path):
    tree = tmp_path / "tree"
    touch(tree, os.path.normpath(path))
    (found,) = find_checkpoints([tree]).checkpoints
    assert (found.run, found.step, found.attributes) == (run, step, attributes)
    assert found.epochs == (step in (12, 2))


def test_a_run_is_called_the_same_however_its_files_are_named(tmp_path, monkeypatch):
    touch(tmp_path, "runs/seed3/step100/model.npz", "runs/seed3/step200/model.npz")
    folder = tmp_path / "runs" / "seed3"
    monkeypatch.chdir(folder)
    files = sorted(folder.glob("*/model.npz"))
    for paths in ([tmp_path / "runs"], [folder], sorted(folder.iterdir()), files, ["."], [Path("step100"), "step200"]):
        checkpoints = find_checkpoints(paths).checkpoints
        assert [(c.run, c.step, c.attributes) for c in checkpoints] == [
            ("seed3", 100, {"seed": 3}),
            ("seed3", 200, {"seed": 3}),
        ], paths
    (one,) = find_checkpoints(["step200/model.npz"]).checkpoints
    assert (one.run, one.step) == ("seed3", 200)


def test_a_folder_above_names_the_step_only_where_nothing_below_does(tmp_path):
    touch(tmp_path, "seed4/iter_7/mp_rank_00/model_optim_rng.pt", "ckpt1/checkpoint-500/model.npz", "ckpt1/model.npz")
    (one,) = find_checkpoints([tmp_path / "seed4/iter_7/mp_rank_00"]).checkpoints
    assert (one.run, one.step, one.attributes) == ("seed4", 7, {"seed": 4})
    (other,) = find_checkpoints([tmp_path / "ckpt1"]).checkpoints
    assert (other.run, other.step) == ("ckpt1", 500)
    touch(tmp_path, "ckpt1/out/model.npz")
    with pytest.raises(CheckpointError, match="names no step"):
        find_checkpoints([tmp_path / "ckpt1/out"])


def test_checkpoints_come_in_natural_order(tmp_path):
    touch(tmp_path, *(f"seed_{seed}/{step}.npz" for seed in (10, 2) for step in (100, 20, 3)))
    found = [(c.run, c.step) for c in find_checkpoints([tmp_path]).checkpoints]
    assert found == [(run, step) for run in ("seed_2", "seed_10") for step in (3, 20, 100)]


def test_a_pattern_overrides_what_the_path_says(tmp_path):
    touch(tmp_path, "a7_w100.pt", "a7_w200.pt", "b8_w100.pt")
    pattern = r"(?P<run>[a-z])(?P<seed>\d)_w(?P<step>\d+)"
    found = find_checkpoints([tmp_path], pattern=pattern).checkpoints
    assert [(c.run, c.step, c.attributes) for c in found] == [
        ("a", 100, {"seed": 7}),
        ("a", 200, {"seed": 7}),
        ("b", 100, {"seed": 8}),
    ]
    alone = find_checkpoints([tmp_path], pattern=r"w(?P<step>\d+)").checkpoints
    assert [(c.run, c.step) for c in alone] == [("a7_w", 100), ("a7_w", 200), ("b8_w", 100)]
    other = find_checkpoints([tmp_path], pattern=r"(?P<width>\d)_w(?P<step>\d+)").checkpoints
    assert [c.attributes for c in other] == [{"width": 7}, {"width": 7}, {"width": 8}]


@pytest.mark.parametrize("pattern", ["(", r"\d+", r"(?P<run>\d+)"])
def test_a_pattern_that_names_no_step_is_an_error(pattern, tmp_path):
    touch(tmp_path, "step1.pt")
    with pytest.raises(ValueError, match=r"does not parse|names no step"):
        find_checkpoints([tmp_path], pattern=pattern)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("model.pt", "name files that do, as in model_step_1000, or leave it out"),
        ("last.ckpt", "name files that do, as in model_step_1000, or leave it out"),
        ("resnet_18.pt", r"say where it stands, perhaps with --pattern 'resnet_(?P<step>\d+)'"),
        ("x/consolidated.00.pth", r"perhaps with --pattern 'consolidated\.(?P<step>\d+)'"),
        ("net_a3_w500.npz", r"perhaps with --pattern '_w(?P<step>\d+)'"),
    ],
)
def test_a_path_without_a_step_is_an_error_that_names_it(name, remedy, tmp_path):
    touch(tmp_path, name)
    with pytest.raises(CheckpointError) as refused:
        find_checkpoints([tmp_path])
    assert str(refused.value).startswith(f"{tmp_path / name}: its path names no step; ")
    assert str(refused.value).endswith(remedy)
    if "--pattern" in remedy:
        (found,) = find_checkpoints([tmp_path], pattern=remedy.split("'")[1]).checkpoints
        assert found.step in (18, 0, 500)


def test_final_weights_and_copies_of_the_last_step_are_passed_over_with_a_note(tmp_path):
    touch(tmp_path, "out/checkpoint-500/model.safetensors", "out/model.safetensors", "out/best.ckpt")
    touch(tmp_path, "out/checkpoint-500/best-step500.safetensors")
    found = find_checkpoints([tmp_path])
    assert [c.path.relative_to(tmp_path).as_posix() for c in found.checkpoints] == [
        "out/checkpoint-500/model.safetensors"
    ]
    assert "passed over 2 files without a step beside files with one: best.ckpt, model.safetensors" in found.notes
    touch(tmp_path, "out/stp_600.pt")
    with pytest.raises(CheckpointError, match="stp_600"):
        find_checkpoints([tmp_path])


def test_two_checkpoints_that_claim_one_step_are_an_error_that_names_both(tmp_path):
    touch(tmp_path, "a/weights/step1.pt", "a/models/step1.pt")
    with pytest.raises(CheckpointError, match=r"models/step1.pt and .*weights/step1.pt: both are run 'a' at step 1;"):
        find_checkpoints([tmp_path / "a"])
    touch(tmp_path, "b/step2_loss_0.1.pt", "b/step2_loss_0.3.pt")
    with pytest.raises(CheckpointError, match="both are run 'b' at step 2"):
        find_checkpoints([tmp_path / "b"])


def test_steps_and_epochs_are_not_mixed_in_one_run(tmp_path):
    touch(tmp_path, "epoch=1-step=300.ckpt", "epoch_2.ckpt")
    with pytest.raises(CheckpointError, match=r"epoch=1-step=300.ckpt names a step, .*epoch_2.ckpt only an epoch"):
        find_checkpoints([tmp_path])


def test_a_run_has_one_seed(tmp_path):
    touch(tmp_path, "seed1/step1.pt", "seed2/step2.pt")
    with pytest.raises(CheckpointError, match=r"run 'd': seed is 1 in .* and 2 in"):
        find_checkpoints([tmp_path], pattern=r"see(?P<run>d)(?P<seed>\d)/step(?P<step>\d)")


def test_runs_with_one_checkpoint_each_are_remarked_on(tmp_path):
    touch(tmp_path, "step_1_a.pt", "step_2_b.pt")
    assert "every run has one checkpoint only" in find_checkpoints([tmp_path]).notes[-1]
    touch(tmp_path, "step_2_a.pt")
    assert find_checkpoints([tmp_path]).notes == ()


# Which files are one checkpoint.


def test_what_training_saves_beside_the_weights_is_passed_over(tmp_path):
    beside = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "scaler.pt", "training_args.bin"]
    beside += ["zero_pp_rank_0_mp_rank_00_optim_states.pt", "optim.bin", "step5_optimizer.pt", ".hidden.pt"]
    touch(tmp_path, *(f"checkpoint-5/{name}" for name in [*beside, "model.safetensors"]))
    touch(tmp_path, ".cache/step1.pt", "_old/step1.pt", "checkpoint-5/trainer_state.json")
    found = find_checkpoints([tmp_path])
    assert [c.path.name for c in found.checkpoints] == ["model.safetensors"]
    assert found.notes[0].startswith("passed over 9 files that hold no weights: ")


def test_the_same_weights_in_two_formats_are_one_checkpoint(tmp_path):
    touch(
        tmp_path, "checkpoint-5/pytorch_model.bin", "checkpoint-5/model.safetensors", "checkpoint-6/pytorch_model.bin"
    )
    found = find_checkpoints([tmp_path])
    assert [c.path.name for c in found.checkpoints] == ["model.safetensors", "pytorch_model.bin"]
    assert found.notes == ("passed over 1 copies of weights that are read from another file: pytorch_model.bin",)


def test_a_link_to_a_checkpoint_is_no_second_one(tmp_path):
    touch(tmp_path, "step=300.ckpt")
    (tmp_path / "last.ckpt").symlink_to("step=300.ckpt")
    (tmp_path / "a.ckpt").symlink_to("step=300.ckpt")
    (found,) = find_checkpoints([tmp_path]).checkpoints
    assert found.path == tmp_path / "step=300.ckpt"
    assert len(find_checkpoints([tmp_path, tmp_path / "step=300.ckpt"]).checkpoints) == 1


def test_shards_are_one_checkpoint_with_or_without_an_index(tmp_path):
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    touch(tmp_path, *(f"a/step{step}/{name}" for step in (1, 2) for name in shards))
    (tmp_path / "a/step2/model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}})
    )
    one, two = find_checkpoints([tmp_path]).checkpoints
    assert (one.run, two.run) == ("a", "a")
    assert [path.name for path in one.files] == shards
    # The third is left over from a save in three shards.
    assert [path.name for path in two.files] == shards[:2]
    assert (one.step, two.step) == (1, 2)


def test_a_missing_shard_is_found_missing(tmp_path):
    touch(tmp_path, "step1/model-00001-of-00002.npz")
    (found,) = find_checkpoints([tmp_path]).checkpoints
    np.savez(tmp_path / "step1/model-00001-of-00002.npz", **WEIGHTS)
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.npz: missing; expected 2 shards"), found.tensors():
        pass
    np.savez(tmp_path / "step1/model-00002-of-00002.npz", more=np.eye(2))
    with found.tensors() as tensors:
        assert tensors.keys() == {*WEIGHTS, "more"}


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_attention_heads": 32, "num_key_value_heads": 8}, (32, 8)),
        ({"num_attention_heads": 12, "num_key_value_heads": 12}, 12),
        ({"n_head": 12}, 12),
        ({"text_config": {"num_attention_heads": 4}}, 4),
        ({"hidden_size": 12}, None),
        (["n_head"], None),
    ],
)
def test_heads_come_from_the_nearest_configuration(config, heads, tmp_path):
    touch(tmp_path, "a/step1/model.safetensors", "a/step2.pt")
    assert [c.heads for c in find_checkpoints([tmp_path]).checkpoints] == [None, None]
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    assert [c.heads for c in find_checkpoints([tmp_path / "a"]).checkpoints] == [heads, heads]
    (tmp_path / "a/step1/config.json").write_text('{"n_head": 3}')
    assert [c.heads for c in find_checkpoints([tmp_path / "a/step1"]).checkpoints] == [3]
    assert heads_of(config) == heads


@pytest.mark.parametrize(
    ("paths", "error"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["empty"], "empty: no checkpoints in this folder; expected files .safetensors, "),
        (["notes.txt"], "notes.txt: not a file of weights by its name; expected .safetensors, "),
        (["optimizer.pt"], "optimizer.pt: not weights by its name"),
        ([], "no checkpoints were named"),
        (["broken"], "model.safetensors.index.json: not an index of shards"),
    ],
)
def test_paths_that_hold_no_checkpoint_are_errors(paths, error, tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "notes.txt", "optimizer.pt", "broken/model.safetensors.index.json", "broken/step1.safetensors")
    with pytest.raises(CheckpointError, match=error.replace(".", r"\.")):
        find_checkpoints([tmp_path / path for path in paths])


# What is in a file.


def test_numpy_archives_load_with_dots_in_their_names(tmp_path):
    np.savez(tmp_path / "a.npz", **{name.replace(".", "/"): array for name, array in WEIGHTS.items()})
    assert_same_weights(loaded(tmp_path / "a.npz"))
    halved = {name: a.astype(np.float16) if a.dtype.kind == "f" else a for name, a in WEIGHTS.items()}
    np.savez_compressed(tmp_path / "half.npz", **halved)
    assert_same_weights(loaded(tmp_path / "half.npz"), halved, dtype=np.float32)


def test_safetensors_load_without_torch_in_every_precision(tmp_path, monkeypatch):
    numpy_files = pytest.importorskip("safetensors.numpy")
    monkeypatch.setitem(sys.modules, "torch", None)
    numpy_files.save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert_same_weights(loaded(tmp_path / "a.safetensors"))
    halved = {name: a.astype(np.float16) if a.dtype.kind == "f" else a for name, a in WEIGHTS.items()}
    numpy_files.save_file(halved, tmp_path / "half.safetensors")
    assert_same_weights(loaded(tmp_path / "half.safetensors"), halved, dtype=np.float32)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    pytest.importorskip("safetensors")
    values = np.array([[0.0, -1.0, 3.140625], [2.0**-126, -np.inf, np.nan]], dtype=np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]}
    before = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": before, "w": entry}).encode().ljust(128)
    data = np.ones(1, dtype="<f4").tobytes() + halves.tobytes()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert_same_weights(loaded(tmp_path / "a.safetensors"), {"a": np.ones(1, dtype=np.float32), "w": values})


def test_bfloat16_is_widened_as_torch_does_it(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    odd = torch.tensor([0.0, -0.0, 1.0, -3.14159, 1e-40, 3e38, float("inf"), float("nan")]).bfloat16().reshape(2, 4)
    tensors = {"first": torch.arange(3.0), "odd": odd, "last": torch.randn(5, 3).bfloat16(), "one": odd[0, 2]}
    files.save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pt")
    for path in (tmp_path / "a.safetensors", tmp_path / "a.pt"):
        assert_same_weights(loaded(path), {name: tensor.float().numpy() for name, tensor in tensors.items()})


def test_a_quantised_weight_is_refused_when_it_is_asked_for(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    files.save_file({"w": torch.eye(2).to(torch.float8_e4m3fn), "v": torch.eye(2)}, tmp_path / "a.safetensors")
    with stored_tensors(tmp_path / "a.safetensors") as tensors:
        assert tensors["v"].load().tolist() == [[1, 0], [0, 1]]
        assert tensors["w"].floating
        with pytest.raises(
            CheckpointError, match=r"a.safetensors: w is stored as F8_E4M3; expected F64, F32, F16, BF16"
        ):
            tensors["w"].load()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer_states": [{"state": {}}]},
        lambda weights: {"model_state_dict": weights, "optimizer_state_dict": {"state": weights}},
        lambda weights: {"model": {"module": weights}, "step": next(iter(weights.values())).sum()},
        lambda weights: {"args": __import__("argparse").Namespace(lr=1), "state_dict": weights},
        lambda weights: {"best": np.float64(0.25), "at": np.int64(3), "dir": Path("x"), "net": weights},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_in_what_a_training_loop_saved(wrap, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in WEIGHTS.items()}
    torch.save(wrap(tensors), tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    assert_same_weights(loaded(tmp_path / "a.ckpt"))


def test_tied_weights_are_one_parameter(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.randn(3, 4)
    torch.save({"encoder.weight": weight, "decoder.weight": weight, "other": weight.clone()}, tmp_path / "a.pt")
    assert loaded(tmp_path / "a.pt").keys() == {"encoder.weight", "other"}


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    harm = tmp_path / "harm"
    for zipped in (True, False):
        content = {"state_dict": {"w": torch.eye(2)}, "more": Malicious(harm)}
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"a.pt: refused, as reading it would run code .*\(\w+\.system\)"):
            loaded(tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", w=np.eye(2), more=np.array([Malicious(harm)], dtype=object))
    with pytest.raises(CheckpointError, match=r"a.npz: refused, as reading it would run code .*; save plain arrays"):
        loaded(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Malicious(harm)))
    with pytest.raises(CheckpointError, match=r"b.npz: refused, as reading it would run code"):
        loaded(tmp_path / "b.npz")
    assert not harm.exists()
    # The files would have done it.
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert harm.exists()


def test_a_whole_module_and_a_script_are_refused_with_what_to_save_instead(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"refused, .*\(torch.nn.modules.linear.Linear\); save model.state_dict"):
        loaded(tmp_path / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"b.pt: refused, .*\(TorchScript\); save model.state_dict"):
        loaded(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {"optimizer": {"w": 1}}, {"model": {"model": {}}}])
def test_a_file_without_a_state_dict_is_an_error(content, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a.pt: no state dict found \((a |keys )"):
        loaded(tmp_path / "a.pt")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["a.npz", "a.safetensors", "a.pt", "legacy.pt"])
def test_a_torn_file_is_an_error_that_names_it(kind, share, tmp_path):
    path = tmp_path / kind
    if kind == "a.npz":
        np.savez(path, **WEIGHTS)
    elif kind == "a.safetensors":
        pytest.importorskip("safetensors.numpy").save_file(WEIGHTS, path)
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(array.copy()) for name, array in WEIGHTS.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "a.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"not a whole [\w ]+, torn or half-written \(") as torn:
        loaded(path)
    assert str(torn.value).startswith(f"{path}: ")
    assert "\n" not in str(torn.value)


def test_a_numpy_file_that_is_no_archive_is_an_error(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(CheckpointError, match=r"a.npz: a single array, no .npz archive"):
        loaded(tmp_path / "a.npz")


def test_a_missing_library_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    touch(tmp_path, "a.pt", "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a.safetensors: reading it takes safetensors; pip install safetensors"):
        loaded(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a.pt: reading it takes PyTorch; pip install 'trajhmm\[torch\]'"):
        loaded(tmp_path / "a.pt")


def test_a_torch_whose_weights_only_can_run_code_is_not_used(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"w": torch.eye(2)}, path)
    assert weightfiles.check_torch(path) is None
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu121")
    with pytest.raises(CheckpointError, match=r"not read with PyTorch 2.5.1\+cu121, .*CVE-2025-32434"):
        loaded(path)
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    assert "CVE-2026-24747" in weightfiles.check_torch(path)
    assert loaded(path).keys() == {"w"}
