"""State dicts of PyTorch: read as weights only, and looked through before that."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trajhmm.errors import CheckpointError
from trajhmm.metrics.checkpoints.pickles import check_pickle
from trajhmm.metrics.checkpoints.stored import (
    FLOATING,
    StoredTensor,
    check_directory,
    check_name,
    is_encrypted,
    needs_pickle,
    torn,
)

# Below, a file can run code although torch.load is told to read weights only (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)
# Bytes in which an archive describes its weights; and how many pickles an old file has before its numbers.
_LONGEST_PICKLE, _LEGACY_PICKLES = 2**26, 5
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


def torch_tensors(path: Path) -> dict[str, StoredTensor]:
    """Load a file and find the state dict in it; what it holds by name, tied weights once.

    Raises
    ------
    CheckpointError
        It is torn, holds no state dict, or what no state dict needs; or PyTorch is missing or too old.
    """
    check_torch(path)
    check_name(path)
    tensors: dict[str, StoredTensor] = {}
    seen = set()
    try:
        for name, tensor in _state_dict(_loaded(path), path).items():
            if (odd := _odd(tensor)) is not None:
                tensors[name] = StoredTensor(
                    shape=(1, 1) if tensor.is_nested else tuple(tensor.shape),
                    floating=True,
                    load=partial(_refuse_kind, path, name, odd),
                )
                continue
            # Weights that are tied stand under several names, and are one parameter.
            key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
            if key in seen and tensor.numel():
                continue
            seen.add(key)
            tensors[name] = StoredTensor(
                shape=tuple(tensor.shape), floating=tensor.is_floating_point(), load=partial(_from_torch, tensor)
            )
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise torn(path, "PyTorch file", error) from error
    return tensors


def _odd(tensor: Any) -> str | None:
    """Why the numbers of a tensor cannot be measured as they are stored; None if they can."""
    import torch

    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized or (tensor.is_floating_point() and tensor.dtype.itemsize < 2):
        return f"quantised ({tensor.dtype})"
    if tensor.device.type != "cpu":
        return f"without numbers (on device {tensor.device.type})"
    return None if type(tensor) in (torch.Tensor, torch.nn.Parameter) else f"a {type(tensor).__name__}"


def _refuse_kind(path: Path, name: str, odd: str) -> NDArray[Any]:
    raise CheckpointError(f"{path}: {name} is {odd}; save dense weights of {', '.join(FLOATING)}")


def _from_torch(tensor: Any) -> NDArray[Any]:
    plain = tensor.detach().resolve_neg()
    narrow = plain.is_floating_point() and plain.dtype.itemsize < 4
    array: NDArray[Any] = (plain.float() if narrow else plain).numpy()
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
        zipped = _check_pickles(path)
        with torch.serialization.safe_globals(blanks), warnings.catch_warnings():
            # Warnings about how a file was written: nothing that its reader could mend.
            warnings.simplefilter("ignore")
            return torch.load(str(path), weights_only=True, map_location="cpu", mmap=zipped)
    except CheckpointError:
        raise
    except Exception as error:  # a torn pickle fails in any way: KeyError, IndexError, …
        text = str(error)
        if "TorchScript" in text:
            raise needs_pickle(path, "TorchScript", "save model.state_dict()") from error
        if name := re.search(r"(?:GLOBAL|[Uu]nsupported (?:global|class)[^\w]*)\s*:?\s*(?:GLOBAL )?([\w.]+)", text):
            raise needs_pickle(path, name[1], "save model.state_dict() alone, or as safetensors") from error
        raise torn(path, "PyTorch file", error) from error


def _check_pickles(path: Path) -> bool:
    """Look through the pickles of a file before PyTorch does; tell whether it is an archive in PyTorch's eyes.

    Raises
    ------
    CheckpointError
        They hold what PyTorch would read, but no weights need.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            file.seek(0)
            for _ in range(_LEGACY_PICKLES):
                check_pickle(file, path)
            return False
        check_directory(file, path)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.filename.endswith("/constants.pkl") for member in members):
                raise needs_pickle(path, "TorchScript", "save model.state_dict()")
            plain = (member.compress_type == zipfile.ZIP_STORED and not is_encrypted(member) for member in members)
            if archive.comment or not all(plain):
                raise CheckpointError(f"{path}: packed in a way that PyTorch does not write; save it with torch.save")
            for member in members:
                if member.filename.endswith(".pkl"):
                    if member.file_size > _LONGEST_PICKLE:
                        raise CheckpointError(
                            f"{path}: describes its weights in {member.file_size:,} bytes, far too many"
                        )
                    with archive.open(member) as stream:
                        check_pickle(stream, path)
    return True


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
