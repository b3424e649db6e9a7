"""Archives of numpy arrays, one array at a time: nothing is unpacked before it is known how large it is."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import CheckpointError
from trajhmm.metrics.checkpoints.stored import (
    StoredTensor,
    check_directory,
    is_encrypted,
    needs_pickle,
    refuse_type,
    torn,
    wide,
)

# How numpy's arrays begin.
_ARRAY = b"\x93NUMPY"


@contextmanager
def npz_tensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """Open an archive of arrays; yield what it holds by name. Members that are no arrays are passed over.

    Raises
    ------
    CheckpointError
        It is torn, encrypted, packed in a way that numpy does not write, or holds Python objects.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("rb"))
            _check_archive(path, file)
            archive = opened.enter_context(zipfile.ZipFile(file))
            # Archives of nested parameters name them dense/kernel; elsewhere parts are joined by dots.
            tensors = {
                member.filename.removesuffix(".npy").replace("/", "."): tensor
                for member in archive.infolist()
                if (tensor := _member(archive, member, path)) is not None
            }
        except CheckpointError:
            raise
        except Exception as error:  # a torn archive fails in any way, as does a type that is spelled in it
            raise torn(path, "numpy archive", error) from error
        yield tensors


def _check_archive(path: Path, file: BinaryIO) -> None:
    if zipfile.is_zipfile(file):
        check_directory(file, path)
        return
    file.seek(0)
    begins = file.read(len(_ARRAY))
    if begins == _ARRAY:
        raise CheckpointError(f"{path}: a single array, no .npz archive; save the weights with numpy.savez")
    if begins[:1] == b"\x80":
        raise needs_pickle(path, "Python objects", "save plain arrays with numpy.savez")
    raise torn(path, "numpy archive", ValueError("File is not a zip file"))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> StoredTensor | None:
    """An array of an archive, of which no more than its header is read; None if the member is none."""
    if is_encrypted(member):
        raise CheckpointError(f"{path}: is encrypted; save the weights with numpy.savez")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CheckpointError(f"{path}: packed in a way that numpy does not write; save the weights with numpy.savez")
    with archive.open(member) as stream:
        if stream.read(len(_ARRAY)) != _ARRAY:
            return None
        version = tuple(stream.read(2))
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"an array in version {version} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        begins = stream.tell()
    name = member.filename.removesuffix(".npy")
    if dtype.hasobject:
        raise needs_pickle(path, "Python objects", "save plain arrays with numpy.savez")
    load: Callable[[], NDArray[Any]]
    if dtype.kind == "V":
        load = partial(refuse_type, path, name, "a type that numpy does not know (bfloat16?)")
    else:
        load = partial(wide, partial(_array_in, archive, member, path), name)
    if begins + math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{name} is said to be larger than what is there")
    return StoredTensor(shape=shape, floating=dtype.kind in "fV", load=load)


def _array_in(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, _name: str) -> NDArray[Any]:
    try:
        with archive.open(member) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise torn(path, "numpy archive", error) from error
    return array
