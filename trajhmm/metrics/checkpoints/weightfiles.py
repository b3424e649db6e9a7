"""What a file of weights holds, one tensor at a time; nothing in a file is ever run."""

from __future__ import annotations

import json
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import CheckpointError

# Best first: where a folder holds the same weights in several formats, the first of these is read.
SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".ckpt")
PYTORCH = SUFFIXES[2:]
# Below, a file can run code although torch.load is told to read weights only (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)

_FLOATING = ("F64", "F32", "F16", "BF16")
# Where training loops put the network among all that they save.
_NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "parameters")
_DEEPEST = 4
# What training loops save beside the weights and what only describes: read as blanks, so that the weights can be.
_DESCRIBING = (
    "argparse.Namespace",
    *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("", "Posix", "Windows")),
    *(f"pathlib.Pure{kind}Path" for kind in ("", "Posix", "Windows")),
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool")),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTensor:
    """A tensor in a file: its shape, whether it holds floating-point numbers, and how to load it."""

    shape: tuple[int, ...]
    floating: bool
    load: Callable[[], NDArray[Any]]


@contextmanager
def stored_tensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """Open a safetensors file, a numpy archive or a PyTorch state dict; yield what it holds by name.

    Tensors of bfloat16 and float16 load as float32.

    Raises
    ------
    CheckpointError
        The file is torn, holds no weights, or would have to run code to be read.
    """
    if path.suffix == ".safetensors":
        with _safetensors(path) as tensors:
            yield tensors
    elif path.suffix == ".npz":
        yield _npz(path)
    else:
        yield _pytorch(path)


@contextmanager
def _safetensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it takes safetensors; pip install safetensors") from error
    try:
        file: Any = safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise _torn(path, "safetensors file", error) from error
    with file:
        tensors = {}
        for name in file.keys():  # noqa: SIM118 (no mapping: it only has this method)
            kept = file.get_slice(name)
            shape, dtype = tuple(kept.get_shape()), kept.get_dtype()
            load: Callable[[], NDArray[Any]] = partial(_wide, file.get_tensor, name)
            if dtype == "BF16":
                load = partial(_bfloat16, path, name, shape)
            elif dtype.startswith("F") and dtype not in _FLOATING:
                load = partial(_refuse_type, path, name, dtype)
            tensors[name] = StoredTensor(shape=shape, floating=dtype.startswith(("F", "BF")), load=load)
        yield tensors


def _wide(get: Callable[[str], NDArray[Any]], name: str) -> NDArray[Any]:
    array = get(name)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _bfloat16(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Widen by hand what numpy has no type for: bfloat16 is the upper half of float32."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        start = json.loads(file.read(size))[name]["data_offsets"][0]
        file.seek(8 + size + start)
        bits = np.fromfile(file, "<u2", math.prod(shape))
    wide: NDArray[np.float32] = np.left_shift(bits, 16, dtype=np.uint32).view(np.float32).reshape(shape)
    return wide


def _refuse_type(path: Path, name: str, dtype: str) -> NDArray[Any]:
    expected = ", ".join(_FLOATING)
    raise CheckpointError(f"{path}: {name} is stored as {dtype}; expected {expected}: save the weights unquantised")


def _npz(path: Path) -> dict[str, StoredTensor]:
    try:
        # Opened here, as numpy leaves the file open where the archive is torn.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise CheckpointError(f"{path}: a single array, no .npz archive; save the weights with numpy.savez")
            with archive:
                arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        # What is no archive at all, numpy takes for a pickle.
        if "allow_pickle" in str(error) and (zipfile.is_zipfile(path) or _starts_as_pickle(path)):
            raise _needs_pickle(path, "Python objects", "save plain arrays with numpy.savez") from error
        raise _torn(path, "numpy archive", error) from error
    tensors = {}
    for name, array in arrays.items():
        if array.dtype.kind == "V":
            _refuse_type(path, name, "a type that numpy does not know (bfloat16?)")
        # Archives of nested parameters name them dense/kernel; elsewhere parts are joined by dots.
        tensors[name.replace("/", ".")] = StoredTensor(
            shape=array.shape, floating=array.dtype.kind == "f", load=partial(_wide, arrays.__getitem__, name)
        )
    return tensors


def _starts_as_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def check_torch(path: Path) -> str | None:
    """Check that PyTorch files can be read safely; return a remark where that depends on who made them.

    Raises
    ------
    CheckpointError
        PyTorch is missing, or a file could make it run code.
    """
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path}: reading it takes PyTorch; pip install 'trajhmm[torch]', or save the weights as safetensors"
        ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < _OLDEST_TORCH:
        raise CheckpointError(
            f"{path}: not read with PyTorch {torch.__version__}, in which a file of weights can run code "
            "(CVE-2025-32434); install PyTorch 2.10 or later, or save the weights as safetensors"
        )
    if version < (2, 10):
        return (
            f"a crafted file can corrupt the memory of PyTorch {torch.__version__} (CVE-2026-24747, mended in 2.10): "
            "collect PyTorch files that you trust"
        )
    return None


def _pytorch(path: Path) -> dict[str, StoredTensor]:
    check_torch(path)
    tensors: dict[str, StoredTensor] = {}
    seen = set()
    for name, tensor in _state_dict(_loaded(path), path).items():
        # Weights that are tied stand under several names, and are one parameter.
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if key in seen and tensor.numel():
            continue
        seen.add(key)
        tensors[name] = StoredTensor(
            shape=tuple(tensor.shape), floating=tensor.is_floating_point(), load=partial(_from_torch, tensor)
        )
    return tensors


def _from_torch(tensor: Any) -> NDArray[Any]:
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < 4
    array: NDArray[Any] = (tensor.float() if narrow else tensor).detach().numpy()
    return array


class _Blank:
    """Stands for an object that only describes: takes whatever it is given and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _loaded(path: Path) -> Any:
    import torch

    blanks: list[Any] = [(_Blank, name) for name in _DESCRIBING]
    try:
        with torch.serialization.safe_globals(blanks), warnings.catch_warnings():
            # Warnings about how a file was written: nothing that its reader could mend.
            warnings.simplefilter("ignore")
            mapped = zipfile.is_zipfile(path)
            return torch.load(str(path), weights_only=True, map_location="cpu", mmap=mapped)
    except Exception as error:  # a torn pickle fails in any way: KeyError, IndexError, …
        text = str(error)
        if "TorchScript" in text:
            raise _needs_pickle(path, "TorchScript", "save model.state_dict()") from error
        if name := re.search(r"(?:GLOBAL|[Uu]nsupported (?:global|class)[^\w]*)\s*:?\s*(?:GLOBAL )?([\w.]+)", text):
            raise _needs_pickle(path, name[1], "save model.state_dict() alone, or as safetensors") from error
        raise _torn(path, "PyTorch file", error) from error


def _state_dict(loaded: Any, path: Path) -> dict[str, Any]:
    """The tensors of the network among all that a file holds, by name."""
    import torch

    here = loaded
    for _ in range(_DEEPEST):
        if not isinstance(here, Mapping):
            break
        inner = next((here[key] for key in _NESTED if _holds_tensors(here.get(key))), None)
        if inner is None:
            tensors = {str(name): value for name, value in here.items() if isinstance(value, torch.Tensor)}
            if tensors:
                return tensors
            break
        here = inner
    kind = type(here).__name__
    found = f"keys {', '.join(map(str, list(here)[:6]))}" if isinstance(here, Mapping) and here else f"a {kind}"
    raise CheckpointError(f"{path}: no state dict found ({found}); expected one at the top or under {_NESTED[0]!r}, …")


def _holds_tensors(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether a state dict starts here, or further in under names that say so."""
    import torch

    if not isinstance(value, Mapping) or not depth:
        return False
    return any(isinstance(inner, torch.Tensor) for inner in value.values()) or any(
        _holds_tensors(value.get(key), depth - 1) for key in _NESTED
    )


def _needs_pickle(path: Path, what: str, remedy: str) -> CheckpointError:
    return CheckpointError(f"{path}: refused, as reading it would run code from the file ({what}); {remedy}")


def _torn(path: Path, kind: str, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines()
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    return CheckpointError(f"{path}: not a whole {kind}, torn or half-written ({reason[:90]}); copy it again")
