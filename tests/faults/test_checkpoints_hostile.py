"""Checkpoints of strangers: no code of theirs runs, they take little room and time, and the others are collected."""

import collections
import contextlib
import io
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import CheckpointError
from trajhmm.metrics.checkpoints import CollectError, collect, find_checkpoints, weightfiles
from trajhmm.metrics.checkpoints.weightfiles import stored_tensors
from trajhmm.metrics.roles import heads_of, parameters_of

from .room import LONG, little_room

RNG = np.random.default_rng(0)
WEIGHTS = {"fc.weight": RNG.normal(size=(6, 8)).astype(np.float32), "fc.bias": RNG.normal(size=6).astype(np.float32)}


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(name="little_room")
def _little_room(torch):
    del torch
    find_and_measure(None)
    with little_room():
        yield


pytestmark = pytest.mark.usefixtures("little_room")


def find_and_measure(folder):
    """Load once all that measuring loads, so that room is left for what a file takes."""
    if folder is None:
        from trajhmm.metrics import weight_metrics

        weight_metrics([np.eye(3)])


def collected(folder, **settings):
    """Collect a folder that holds one good checkpoint, step 1; why the others failed, in one or two lines."""
    np.savez(folder / "step_1.npz", **WEIGHTS)
    out = folder.parent / f"{folder.name}.parquet"
    started = time.monotonic()
    said = ""
    try:
        collect(find_checkpoints([folder]).checkpoints, out, **settings)
    except CollectError as error:
        said = str(error)
    assert time.monotonic() - started < LONG
    assert 1 in pd.read_parquet(out)["step"].tolist()
    lines = said.splitlines()
    assert len(lines) <= 2
    assert all(len(line) < 800 for line in lines)
    return said


def refused(path, said):
    """Check that a checkpoint, alone, is refused with these words, and the good one beside it is collected."""
    found = collected(path.parent)
    assert found.startswith(f"{path}: "), found
    assert said in found
    assert pd.read_parquet(path.parent.parent / f"{path.parent.name}.parquet")["step"].tolist() == [1]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    return made


# No code runs.


class Harm:
    """Touches a file when it is unpickled."""

    def __init__(self, path, how):
        self.path, self.how = str(path), how

    def __reduce__(self):
        if self.how == "system":
            return (os.system, (f"touch {self.path}",))
        if self.how == "eval":
            return (eval, (f"open({self.path!r}, 'w')",))
        return (Path(self.path).touch, ())


def pickled(content, protocol=2):
    return pickle.dumps(content, protocol=protocol)


def as_torch_zip(path, data, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
        for name, content in members.items():
            archive.writestr(f"a/data/{name.removeprefix('_')}", content)


def harmful(way, path, harm, torch):
    """Write a file that would do harm if what it pickles were made."""
    if way == "torch archive":
        torch.save({"state_dict": {"w": torch.eye(2)}, "more": harm}, path)
    elif way == "old torch file":
        torch.save({"w": torch.eye(2), "more": harm}, path, _use_new_zipfile_serialization=False)
    elif way.startswith("pickle of protocol"):
        path.write_bytes(pickled(harm, int(way[-1])))
    elif way == "key in an archive":
        as_torch_zip(path, pickled({harm: 1}))
    elif way == "late pickle in an archive":
        as_torch_zip(path, pickled({"w": harm}, 4))
    else:
        as_torch_zip(path, pickled({}))
        path.write_bytes(pickled(harm) * 5 + path.read_bytes())


LOADED_BY_TORCH = ("torch archive", "old torch file", "key in an archive", "late pickle in an archive")
HARMFUL = (*LOADED_BY_TORCH, *(f"pickle of protocol {protocol}" for protocol in (0, 2, 5)), "pickle before an archive")


@pytest.mark.parametrize("how", ["system", "eval", "touch"])
@pytest.mark.parametrize("way", HARMFUL)
@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt"])
def test_no_code_of_a_pytorch_file_runs(way, how, suffix, folder, tmp_path, torch):
    harm = tmp_path / "harm"
    path = folder / f"step_2{suffix}"
    harmful(way, path, Harm(harm, how), torch)
    said = collected(folder)
    assert said.startswith(f"{path}: ")
    assert not harm.exists()


@pytest.mark.parametrize("forced", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"])
def test_no_setting_of_pytorch_lets_code_run(forced, folder, tmp_path, torch, monkeypatch):
    monkeypatch.setenv(forced, "1")
    torch.save({"w": torch.eye(2), "more": Harm(tmp_path / "harm", "system")}, folder / "step_2.pt")
    refused(folder / "step_2.pt", "refused, as reading it would run code from the file")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["step_2.npz", "step_2.safetensors"])
def test_no_code_of_other_files_runs(name, folder, tmp_path):
    harm = Harm(tmp_path / "harm", "system")
    for content in (pickled(harm), pickled(harm, 0), pickled(harm, 5)):
        (folder / name).write_bytes(content)
        assert collected(folder).startswith(f"{folder / name}: ")
    np.savez(folder / "step_3.npz", w=np.eye(2), more=np.array([harm], dtype=object))
    assert "step_3.npz" in collected(folder)
    np.save(tmp_path / "x.npy", np.array([harm], dtype=object))
    (folder / "step_4.npz").write_bytes((tmp_path / "x.npy").read_bytes())
    assert "step_4.npz" in collected(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("way", LOADED_BY_TORCH)
def test_the_harm_would_have_been_done(way, tmp_path, torch):
    for how in ("system", "eval", "touch"):
        harm, path = tmp_path / how, tmp_path / "x.pt"
        harmful(way, path, Harm(harm, how), torch)
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # the harm comes first
            warnings.simplefilter("ignore")
            torch.load(path, weights_only=False)
        assert harm.exists(), how


# Archives of numpy.


def npy(shape, dtype="<f4", data=b"", version=b"\1\0", header=None):
    """A stored array that says of itself what it likes."""
    header = header or f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(header) + 1)
    return b"\x93NUMPY" + version + size + header.encode() + b"\n" + data


def zeros(path, members, compression=zipfile.ZIP_DEFLATED):
    """An archive of members (header, bytes of zeros behind it)."""
    with zipfile.ZipFile(
        path, "w", compression, compresslevel=1 if compression == zipfile.ZIP_DEFLATED else None
    ) as archive:
        for name, (begins, n) in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(begins)
                for _ in range(n >> 20):
                    member.write(bytes(2**20))
                member.write(bytes(n % 2**20))


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(folder):
    path = folder / "step_2.npz"
    zeros(path, {"fc.weight.npy": (npy((8192, 8192)), 2**28)})
    assert path.stat().st_size < 2**22
    refused(path, "said to hold 67,108,864 weights in ")


def test_many_arrays_that_unpack_to_gigabytes_together_are_refused(folder):
    path = folder / "step_2.npz"
    zeros(path, {f"layer{i}.weight.npy": (npy((1024, 1024)), 2**22) for i in range(30)})
    refused(path, "said to hold 31,457,280 weights in ")


def test_what_is_not_measured_may_be_as_large_as_it_likes(folder):
    """Embeddings are left out, and never unpacked."""
    path = folder / "step_2.npz"
    zeros(path, {"embed.weight.npy": (npy((8192, 8192)), 2**28), "fc.weight.npy": (npy((2, 2)), 16)})
    assert collected(folder) == ""


@pytest.mark.parametrize("version", [b"\1\0", b"\2\0"])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2**50,), "<f4"),
        ((2**31, 2**31), "<f4"),
        ((2**62, 2**62), "<f8"),
        ((10**30,), "<f4"),
        ((-1, 4), "<f4"),
        ((2**40, 0, 2**40), "<f4"),
        ((1,) * 100, "<f4"),
        ((3, 3), "<f4000000000"),
        ((3, 3), "|S1000000000000"),
        ((3, 3), "<U999999999999"),
        ((3, 3), "|V8"),
        ((3, 3), "O"),
    ],
    ids=str,
)
def test_an_array_that_lies_about_its_shape_is_refused(shape, dtype, version, folder):
    path = folder / "step_2.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fc.weight.npy", npy(shape, dtype, bytes(36), version))
    said = collected(folder)
    assert said.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "header",
    [
        "(" * 9000,
        "{'descr': " + "[" * 4000 + "]" * 4000 + "}",
        "{'descr': '<f4', 'shape': (" + "1," * 4000 + "), 'fortran_order': False}",
        "x" * 60_000,
        "{'descr': '<f4', 'shape': (2, 2)}",
        "{'descr': '<f4', 'shape': 'xx', 'fortran_order': 3}",
        "__import__('os').system('true')",
        "\0\0\0",
        "{" + "-" * 9000 + "1}",
        "9" * 9000,
    ],
    ids=lambda header: header[:20],
)
def test_a_header_that_is_no_header_is_refused(header, folder):
    path = folder / "step_2.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fc.weight.npy", npy((), header=header))
    refused(path, "")


def test_encrypted_and_strangely_packed_archives_are_refused(folder):
    np.savez(folder / "step_2.npz", **WEIGHTS)
    raw = bytearray((folder / "step_2.npz").read_bytes())
    at = 0
    while (at := raw.find(b"PK\3\4", at)) >= 0:
        raw[at + 6] |= 1
        at += 4
    at = 0
    while (at := raw.find(b"PK\1\2", at)) >= 0:
        raw[at + 8] |= 1
        at += 4
    (folder / "step_2.npz").write_bytes(raw)
    refused(folder / "step_2.npz", "is encrypted; save the weights with numpy.savez")
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        zeros(folder / "step_2.npz", {"fc.weight.npy": (npy((2, 2)), 16)}, kind)
        refused(folder / "step_2.npz", "packed in a way that numpy does not write")


def test_members_that_are_no_arrays_are_passed_over(folder):
    np.savez(folder / "step_2.npz", **WEIGHTS)
    with zipfile.ZipFile(folder / "step_2.npz", "a") as archive:
        archive.writestr("notes.txt", "trained on a Tuesday")
        archive.writestr("folder/", "")
        archive.writestr("empty.npy", "")
        archive.writestr("words.npy", npy((2,), "<U3", "abcdef".encode("utf-32-le")))
    assert collected(folder) == ""
    rows = pd.read_parquet(folder.parent / "run.parquet")
    assert rows["weight_l2"].nunique() == 1


def test_an_archive_that_lists_millions_of_members_is_refused(folder):
    path = folder / "step_2.npz"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    n = 400_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n & 0xFFFF, n & 0xFFFF, len(entry) * n, 0, 0)
    path.write_bytes(entry * n + end)
    refused(path, "lists its members in 18,800,000 bytes")


# Files of PyTorch.


def test_numbers_that_are_said_more_often_than_they_are_stored_are_refused(folder, torch):
    """Strides of 0 say one number as often as one likes."""
    for zipped in (True, False):
        torch.save(
            {"fc.weight": torch.zeros(1).expand(60_000, 60_000)},
            folder / "step_2.pt",
            _use_new_zipfile_serialization=zipped,
        )
        refused(folder / "step_2.pt", "said to hold 3,600,000,000 weights in ")


def test_views_of_one_storage_are_refused_where_they_are_too_many(folder, torch):
    storage = torch.zeros(2_000_000)
    torch.save({f"l{i}.weight": storage[i : i + 1_000_000].view(1000, 1000) for i in range(200)}, folder / "step_2.pt")
    refused(folder / "step_2.pt", "said to hold 200,000,000 weights in ")


def test_packed_members_of_a_pytorch_archive_are_refused(folder, torch):
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(2000, 2000)}, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(folder / "step_2.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    refused(folder / "step_2.pt", "packed in a way that PyTorch does not write")


ODD = {
    "sparse": lambda torch: torch.eye(3).to_sparse(),
    "sparse by rows": lambda torch: torch.eye(3).to_sparse_csr(),
    "quantised (torch.quint8)": lambda torch: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.quint8),
    "quantised (torch.float8_e4m3fn)": lambda torch: torch.eye(3).to(torch.float8_e4m3fn),
    "without numbers (on device meta)": lambda torch: torch.empty(3, 3, device="meta"),
    "nested": lambda torch: torch.nested.nested_tensor([torch.eye(2), torch.eye(3)]),
}


@pytest.mark.parametrize("kind", ODD)
def test_sparse_nested_quantised_and_empty_weights_are_refused_by_name(kind, folder, torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"fc.weight": torch.eye(2), "odd.weight": ODD[kind](torch)}, folder / "step_2.pt")
    refused(folder / "step_2.pt", f"odd.weight is {kind.removesuffix(' by rows')}; save dense weights")


def test_odd_tensors_that_do_not_count_are_passed_over(folder, torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = {
            "fc.weight": torch.from_numpy(WEIGHTS["fc.weight"]),
            "embed.weight": torch.empty(2**28, 2**20, device="meta"),
            "norm.weight": torch.eye(3).to_sparse(),
            "counts": torch.zeros(3, dtype=torch.int64),
            "complex": torch.zeros(3, dtype=torch.complex64),
        }
        torch.save(content, folder / "step_2.pt")
    assert collected(folder) == ""


def test_shapes_of_petabytes_without_a_number_are_refused(folder, torch):
    indices, size = torch.zeros(2, 1, dtype=torch.int64), (2**40, 2**20)
    sparse = torch.sparse_coo_tensor(indices, torch.ones(1), size, check_invariants=True)
    for tensor in (torch.empty(2**30, 2**30, device="meta"), sparse):
        torch.save({"fc.weight": tensor}, folder / "step_2.pt")
        said = collected(folder)
        assert said.startswith(f"{folder / 'step_2.pt'}: ")


GLOBALS = {
    "bytearray": b"\x80\x02}X\1\0\0\0wc__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.",
    "size of a bytearray": b"\x80\x02}X\1\0\0\0wctorch\nSize\nc__builtin__\nbytearray\nJ\x00\xe1\xf5\x05\x85R\x85Rs.",
    "set of a bytearray": b"\x80\x02}X\1\0\0\0wcbuiltins\nset\ncbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R\x85Rs.",
    "a tensor of a size": b"\x80\x02}X\1\0\0\0wctorch\nFloatTensor\nJ\x00\x5e\xd0\xb2K\x01\x86Rs.",
    "a copy on a device": b"\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n)Rs.",
}


@pytest.mark.parametrize("way", GLOBALS)
def test_a_pickle_that_makes_objects_of_any_size_is_refused(way, folder):
    as_torch_zip(folder / "step_2.pt", GLOBALS[way])
    refused(folder / "step_2.pt", "")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02}" + b")" + b"\x85" * 2_000_000 + b"K\x01s.",
        b"\x80\x02}" + b")" + b"N\x86" * 300_000 + b"K\x01s.",
        b"\x80\x02}" + b"(" * 300_000 + b"t" * 300_000 + b"K\x01s.",
        b"\x80\x02}" + b")" + b"q\x000h\x00\x85" * 500_000 + b"K\x01s.",
    ],
    ids=["one", "two", "marks", "memo"],
)
def test_tuples_within_tuples_do_not_overflow_the_stack(data, folder):
    """As keys they end the interpreter with a signal."""
    as_torch_zip(folder / "step_2.pt", data)
    refused(folder / "step_2.pt", "refused, as it nests tuples more than 100 deep")
    (folder / "step_2.pt").write_bytes(data)
    refused(folder / "step_2.pt", "refused, as it nests tuples more than 100 deep")


@pytest.mark.parametrize("data", [b"]" * 100_000 + b"a" * 99_999 + b".", b"}K\1" * 100_000 + b"s" * 99_999])
def test_lists_and_dictionaries_within_each_other_are_no_state_dict(data, folder):
    as_torch_zip(folder / "step_2.pt", b"\x80\x02" + data)
    refused(folder / "step_2.pt", "")


@pytest.mark.parametrize("size", [2**62, 2**40, 2**33])
def test_an_old_file_that_says_its_storage_is_huge_is_refused(size, folder, torch):
    torch.save({"fc.weight": torch.zeros(2, 2)}, folder / "step_2.pt", _use_new_zipfile_serialization=False)
    raw = (folder / "step_2.pt").read_bytes()
    # The storage, its device, and how many numbers it has; and then the shape.
    n = size.to_bytes(9, "little").rstrip(b"\0") + b"\0"
    longer = b"\x8a" + bytes([len(n)]) + n
    assert raw.count(b"X\3\0\0\0cpuq") == 1
    at = raw.index(b"K\4", raw.index(b"X\3\0\0\0cpuq"))
    (folder / "step_2.pt").write_bytes(raw[:at] + longer + raw[at + 2 :])
    refused(folder / "step_2.pt", "")


def what_is_said_of(path):
    """Load all small tensors of a file; why it is refused, if it is."""
    try:
        with stored_tensors(path) as tensors:
            for tensor in tensors.values():
                if math.prod(tensor.shape) < 10_000:
                    tensor.load()
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_damaged_files_are_refused_or_read_but_never_end_it_all(suffix, folder, torch):
    files = pytest.importorskip("safetensors.numpy")
    path = folder / f"step_2{suffix}"
    if suffix == ".pt":
        torch.save({name: torch.from_numpy(array) for name, array in WEIGHTS.items()}, path)
    elif suffix == ".npz":
        np.savez(path, **WEIGHTS)
    else:
        files.save_file(WEIGHTS, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
        path.write_bytes(raw[: int(rng.integers(len(raw) // 2, len(raw) + 1))])
        said = what_is_said_of(path)
        assert not said or said.startswith(f"{path}: ")
        assert "\n" not in said


def test_attributes_that_describe_are_read_as_blanks_as_before(folder, torch):
    content = {
        "state_dict": collections.OrderedDict((name, torch.from_numpy(array)) for name, array in WEIGHTS.items()),
        "seen": {1, 2, 3},
        "dir": Path("x"),
        "best": np.float64(3.0),
        "size": torch.Size((1, 2)),
        "raw": b"bytes",
    }
    torch.save(content, folder / "step_2.pt")
    assert collected(folder) == ""


# Files of safetensors.


def safetensors(path, header, data=b"", size=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if size is None else size) + raw + data)


F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (F32 | {}, None),
        ({"w": F32 | {"shape": [2**31, 2**31]}}, None),
        ({"w": F32 | {"shape": [2**63, 2]}}, None),
        ({"w": F32 | {"shape": [-2, -2]}}, None),
        ({"w": F32 | {"data_offsets": [0, 2**60]}}, None),
        ({"w": F32 | {"data_offsets": [16, 0]}}, None),
        ({"w": F32 | {"data_offsets": [4, 20]}}, None),
        ({"w": F32, "v": F32}, None),
        ({"w": F32 | {"shape": [4, 4]}}, None),
        ({"w": F32 | {"dtype": "F33"}}, None),
        ({"w": F32 | {"shape": [0, 2**62]}}, None),
        ({"w": []}, None),
        ([], None),
        (b"", None),
        (b"{" * 100_000, None),
        (b'{"w":' * 50_000 + b"1" + b"}" * 50_000, None),
        (b'{"__metadata__": {"a": ' + b"9" * 10_000 + b"}}", None),
        (b'{"w\\ud800": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}', None),
        ({"w": F32}, 2**63),
        ({"w": F32}, 2**40),
        ({"w": F32}, 0),
        ({"w": F32}, 99_999_999),
    ],
    ids=str,
)
def test_headers_that_lie_are_refused(header, size, folder):
    path = folder / "step_2.safetensors"
    safetensors(path, header, bytes(16), size)
    said = collected(folder)
    assert said.startswith(f"{path}: ")


def test_bfloat16_in_thousands_of_tensors_is_read_in_time(folder):
    """The header was read again for each of them."""
    n = 4000
    header = {
        f"block{i}.{'x' * 200}.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8 * i, 8 * i + 8]}
        for i in range(n)
    }
    safetensors(folder / "step_2.safetensors", header, RNG.normal(size=4 * n).astype("<f4").view("<u2")[1::2].tobytes())
    assert collected(folder) == ""


def test_more_tensors_than_a_network_has_are_refused(folder, monkeypatch):
    monkeypatch.setattr(weightfiles, "_MOST_TENSORS", 1000)
    header = {f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(1100)}
    safetensors(folder / "step_2.safetensors", header)
    refused(folder / "step_2.safetensors", "tensors; expected at most 1,000 in one file")


# Anything else beside the weights.


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": -4},
        {"num_attention_heads": True},
        {"num_attention_heads": 10**30},
        {"num_attention_heads": 2.5},
        {"num_attention_heads": "8"},
        {"num_attention_heads": [8]},
        {"num_attention_heads": None},
        {"n_head": {}},
        {"text_config": {"num_attention_heads": 0}},
        {"text_config": []},
        [],
        3,
        None,
    ],
    ids=str,
)
def test_a_configuration_without_a_number_of_heads_tells_none(config, folder):
    assert heads_of(config) is None
    (folder / "config.json").write_text(json.dumps(config))
    np.savez(folder / "step_2.npz", **{"q_proj.weight": np.eye(8, dtype=np.float32)})
    assert collected(folder) == ""


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 4, "num_key_value_heads": 0},
        {"num_attention_heads": 4, "num_key_value_heads": -2},
        {"num_attention_heads": 4, "num_key_value_heads": True},
        {"num_attention_heads": 4, "num_key_value_heads": "2"},
        {"num_attention_heads": 4, "num_key_value_heads": 4},
    ],
    ids=str,
)
def test_key_value_heads_that_are_no_number_are_as_many_as_the_others(config):
    assert heads_of(config) == 4
    (found,) = parameters_of({"k_proj.weight": np.eye(8)}, heads=heads_of(config))
    assert found.heads == 4


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"text_config":' * 5000 + "1" + "}" * 5000,
        '{"num_attention_heads": ' + "9" * 10_000 + "}",
        '{"n_head": NaN}',
        "\ufeff{}",
        "",
        "\0",
    ],
    ids=lambda text: text[:20],
)
def test_a_configuration_that_is_none_is_passed_over(text, folder):
    (folder / "config.json").write_text(text)
    assert collected(folder) == ""


def test_a_configuration_that_never_ends_is_passed_over(folder):
    os.mkfifo(folder / "config.json")
    assert collected(folder) == ""
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("{")
    os.truncate(folder / "config.json", 20 * 2**30)
    assert collected(folder) == ""


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, "{}", '{"weight_map": []}', '{"weight_map": {"a": ' + "9" * 10_000 + "}}", "[]", "\udce9", "null"],
)
def test_an_index_that_is_none_is_an_error_that_names_it(text, folder):
    index = folder / "model.safetensors.index.json"
    index.write_bytes(text.encode(errors="surrogateescape"))
    np.savez(folder / "step_1.npz", **WEIGHTS)
    with pytest.raises(CheckpointError, match=r"index\.json: not an index of shards"):
        find_checkpoints([folder])


def test_shards_that_are_said_to_be_many_are_missed_at_the_first(folder):
    for family in range(30):
        np.savez(folder / f"step_2{family}-00001-of-99999.npz", **WEIGHTS)
    started = time.monotonic()
    found = find_checkpoints([folder]).checkpoints
    assert time.monotonic() - started < 2
    assert max(len(one.files) for one in found) == 2
    assert "00002-of-99999.npz: missing; expected 99999 shards" in collected(folder)


def test_pipes_and_holes_are_no_checkpoints(folder, torch):
    os.mkfifo(folder / "step_3.pt")
    assert collected(folder) == ""
    with pytest.raises(CheckpointError, match=r"step_3.pt: is no file but a pipe, device or socket"):
        find_checkpoints([folder / "step_3.pt"])
    (folder / "step_3.pt").unlink()
    for name in ("step_2.npz", "step_2.pt", "step_2.safetensors"):
        (folder / name).write_bytes(b"PK\3\4")
        os.truncate(folder / name, 20 * 2**30)
        refused(folder / name, "of its 21,474,836,480 bytes were ever written; copy it again")
        (folder / name).unlink()


def test_a_file_in_a_checkpoint_that_nobody_may_read_is_one_that_fails(folder, monkeypatch):
    np.savez(folder / "step_2.npz", **WEIGHTS)
    opened = Path.open

    def closed(path, *arguments, **settings):
        if path.name == "step_2.npz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **settings)

    monkeypatch.setattr(Path, "open", closed)
    refused(folder / "step_2.npz", "Permission denied")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("odd\nand more"), KeyError("x"), ZeroDivisionError("by 0")]
)
def test_whatever_fails_in_measuring_fails_for_one_checkpoint(error, folder, monkeypatch):
    module = sys.modules[collect.__module__]
    np.savez(folder / "step_2.npz", w=np.eye(3, dtype=np.float32))
    measured = module.metrics_of

    def fails(parameters, **settings):
        if len(parameters) == 1:
            raise error
        return measured(parameters, **settings)

    monkeypatch.setattr(module, "metrics_of", fails)
    refused(folder / "step_2.npz", "")


def test_names_that_are_no_text_and_steps_that_no_log_holds(tmp_path, trajhmm):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    np.savez(folder / "x.npz", **WEIGHTS)
    for step in (1, 2):
        place = folder / os.fsdecode(b"r\xe9n=1") / f"step_{step}"
        place.mkdir(parents=True)
        (place / "model.npz").write_bytes((folder / "x.npz").read_bytes())
    (folder / "x.npz").unlink()
    ended = trajhmm("collect", folder, "-o", tmp_path / "out.parquet")
    assert ended.code == 0, ended.err
    rows = pd.read_parquet(tmp_path / "out.parquet")
    assert rows["run"].unique().tolist() == ["r\\udce9n=1"]
    assert rows["r\\udce9n"].tolist() == [1, 1]
    huge = tmp_path / "huge"
    huge.mkdir()
    np.savez(huge / f"step_1{'0' * 200}.npz", **WEIGHTS)
    with pytest.raises(CheckpointError, match=r"names step 10000000000000000000….*below 2\^53"):
        find_checkpoints([huge])


@pytest.mark.parametrize("says", [b"[", b"3", b"[" * 100_000, b"null"])
def test_a_collection_that_was_damaged_is_named(says, folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    np.savez(folder / "step_1.npz", **WEIGHTS)
    for key in (b"trajhmm.collect", b"trajhmm.collect.files", b"trajhmm.attributes"):
        out = folder.parent / "out.parquet"
        out.unlink(missing_ok=True)
        collect(find_checkpoints([folder]).checkpoints, out)
        table = pq.read_table(out)
        pq.write_table(table.replace_schema_metadata(table.schema.metadata | {key: says}), out)
        with pytest.raises(CheckpointError, match=r"out.parquet: (exists and is a damaged collection|was collected)"):
            collect(find_checkpoints([folder]).checkpoints, out)
    pq.write_table(pa.table({"run": ["a"]}), out)
    with pytest.raises(CheckpointError, match="was not written by"):
        collect(find_checkpoints([folder]).checkpoints, out)


@pytest.mark.slow
def test_a_folder_of_good_and_bad_checkpoints_ends_with_1_and_all_that_are_good(folder, tmp_path, torch):
    for step in range(1, 9):
        np.savez(folder / f"step_{step}.npz", **WEIGHTS)
    (folder / "step_3.npz").write_bytes(b"PK\3\4 and no more")
    zeros(folder / "step_5.npz", {"fc.weight.npy": (npy((8192, 8192)), 2**28)})
    torch.save({"w": Harm(tmp_path / "harm", "system")}, folder / "step_9.pt")
    out = tmp_path / "out.parquet"
    command = [sys.executable, "-m", "trajhmm", "collect", str(folder), "-o", str(out), "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert f"error: {folder / 'step_3.npz'}: not a whole numpy archive" in done.stderr
    assert "and 2 more checkpoints that cannot be measured: " in done.stderr
    assert pd.read_parquet(out)["step"].tolist() == [1, 2, 4, 6, 7, 8]
    assert not (tmp_path / "harm").exists()
