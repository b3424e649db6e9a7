"""What a file of weights holds, one tensor at a time; nothing in a file is ever run."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import CheckpointError
from trajhmm.jsontext import loads
from trajhmm.metrics.checkpoints.archives import npz_tensors
from trajhmm.metrics.checkpoints.stored import FLOATING, StoredTensor, check_name, refuse_type, torn, wide
from trajhmm.metrics.checkpoints.torchfiles import check_torch, torch_tensors
from trajhmm.naming import plain_text

__all__ = ["PYTORCH", "SUFFIXES", "StoredTensor", "check_torch", "stored_tensors"]

# Best first: where a folder holds the same weights in several formats, the first of these is read.
SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".ckpt")
PYTORCH = SUFFIXES[2:]
# Bytes up to which holes in a file are no matter, and the share of a larger one that must have been written.
_SMALL, _HOLES = 2**26, 16
# Tensors of one file.
_MOST_TENSORS = 2**17


@contextmanager
def stored_tensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """Open a safetensors file, a numpy archive or a PyTorch state dict; yield what it holds by name.

    Tensors of bfloat16 and float16 load as float32.

    Raises
    ------
    CheckpointError
        The file is torn, holds no weights, or would have to run code to be read.
    """
    _check_file(path)
    if path.suffix == ".safetensors":
        with _safetensors(path) as tensors:
            yield _named(tensors, path)
    elif path.suffix == ".npz":
        with npz_tensors(path) as tensors:
            yield _named(tensors, path)
    else:
        yield _named(torch_tensors(path), path)


def _check_file(path: Path) -> None:
    """Refuse what is no file, or was made longer than what was written to it."""
    try:
        state = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not stat.S_ISREG(state.st_mode):
        raise CheckpointError(f"{path}: is no file but a folder, pipe or device; name the file of the weights")
    # Blocks of half a kilobyte; systems that do not count them say none.
    written = 512 * getattr(state, "st_blocks", 0)
    if state.st_size > _SMALL and 0 < written < state.st_size // _HOLES:
        raise CheckpointError(
            f"{path}: only {written:,} of its {state.st_size:,} bytes were ever written; copy it again"
        )


def _named(tensors: Mapping[str, StoredTensor], path: Path) -> dict[str, StoredTensor]:
    """The tensors by names that are text."""
    if len(tensors) > _MOST_TENSORS:
        raise CheckpointError(f"{path}: {len(tensors):,} tensors; expected at most {_MOST_TENSORS:,} in one file")
    return {plain_text(name): tensor for name, tensor in tensors.items()}


@contextmanager
def _safetensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it takes safetensors; pip install safetensors") from error
    check_name(path)
    with ExitStack() as opened:
        tensors = {}
        try:
            file: Any = opened.enter_context(safe_open(path, framework="numpy"))
            names = list(file.keys())
            for name in names[: _MOST_TENSORS + 1]:
                kept = file.get_slice(name)
                shape, dtype = tuple(kept.get_shape()), kept.get_dtype()
                load: Callable[[], NDArray[Any]] = partial(wide, file.get_tensor, name)
                if dtype == "BF16":
                    load = partial(_bfloat16, path, name, shape)
                elif dtype.startswith("F") and dtype not in FLOATING:
                    load = partial(refuse_type, path, name, dtype)
                tensors[name] = StoredTensor(shape=shape, floating=dtype.startswith(("F", "BF")), load=load)
        except (SafetensorError, OSError, ValueError, OverflowError, TypeError) as error:
            raise torn(path, "safetensors file", error) from error
        yield tensors


def _bfloat16(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Widen by hand what numpy has no type for: bfloat16 is the upper half of float32."""
    places, begin = _places_in(path, path.stat().st_mtime_ns)
    with path.open("rb") as file:
        file.seek(begin + places[name])
        bits = np.fromfile(file, "<u2", math.prod(shape))
    wide: NDArray[np.float32] = np.left_shift(bits, 16, dtype=np.uint32).view(np.float32).reshape(shape)
    return wide


@lru_cache(maxsize=4)
def _places_in(path: Path, _changed: int) -> tuple[dict[str, int], int]:
    """Where the tensors of a safetensors file begin behind its header, and where that ends."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = loads(file.read(size))
    return {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}, 8 + size
