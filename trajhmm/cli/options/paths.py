"""What verbs read and write: seen to before one of them begins, for all of them here."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from trajhmm.cli.output.terminal import quietly
from trajhmm.errors import TrajHMMError
from trajhmm.files import check_writable, reads, writing

# What files are called after that hold something: one of these says nothing else.
_ENDINGS = frozenset(
    {".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".html", ".htm", ".tex", ".pdf", ".svg", ".png"}
    | {".gz", ".zip", ".db", ".sqlite", ".wandb", ".npz", ".pt", ".safetensors", ".yaml", ".yml", ".toml", ".py"}
)


@dataclass(frozen=True)
class Reads:
    """Marks a parameter that names files to read, or folders of them."""


@dataclass(frozen=True)
class Writes:
    """Marks a parameter that names a file to write, or a folder to write files into.

    Attributes
    ----------
    endings : of such names; none where the verb looks itself.
    called : what the file is.
    folder : whether it is a folder.
    kept : whether the verb reads it again, so that it cannot be a pipe or a device.
    """

    endings: tuple[str, ...] = ()
    called: str = "file"
    folder: bool = False
    kept: bool = False


ANY, CSV, HTML, PARQUET = Writes(), Writes((".csv",)), Writes((".html", ".htm")), Writes((".parquet", ".pq"))
STATES, SCORES = (Writes((".parquet", ".pq", ".csv"), called) for called in ("states file", "file of scores"))
LOG, MODEL = Writes((".parquet", ".pq"), "run log"), Writes((".json",), "model file")
STATE, GROWING_LOG = Writes(called="state file", kept=True), Writes((".parquet", ".pq"), "run log", kept=True)
FOLDER = Writes(folder=True)
READS = Reads()
# Every verb takes it.
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors and warnings; show no progress.")]


def careful(verb: Callable[..., None]) -> Callable[..., None]:
    """Make a verb take ``--quiet``, and refuse to write where it cannot, or over what it reads, before it begins.

    Its parameters that name paths are marked with `Reads` or `Writes`. What is found in folders it tells of itself,
    with `trajhmm.files.reads`.
    """
    signature = inspect.signature(verb, eval_str=True)
    marks = marks_of(signature)

    @functools.wraps(verb)
    def run(*given: Any, quiet: bool = False, **named: Any) -> None:
        with quietly(wanted=quiet):
            checked(*given, **named)

    def checked(*given: Any, **named: Any) -> None:
        arguments = signature.bind(*given, **named).arguments
        marked = [(mark, path) for name, mark in marks.items() for path in _paths(arguments.get(name))]
        outputs = [(mark, path) for mark, path in marked if isinstance(mark, Writes)]
        with writing(path for mark, path in outputs if not mark.folder):
            for mark, path in outputs:
                if mark.kept and path.exists() and not path.is_file() and not path.is_dir():
                    raise TrajHMMError(f"{path}: is no file; expected the name of a {mark.called}")
                check_writable(path, folder=mark.folder, called=mark.called)
                check_ending(path, mark.endings)
            _check_apart([path for _, path in outputs])
            reads(path for mark, path in marked if isinstance(mark, Reads) and _is_file(path))
            verb(*given, **named)

    # For typer, which asks of all paths that they can be read, and would call those that are to be written wrong.
    options = [*signature.parameters.values(), inspect.Parameter("quiet", _KEYWORD, default=False, annotation=_QUIET)]
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    for name in marks:
        for info in signature.parameters[name].annotation.__metadata__:
            if hasattr(info, "readable"):
                info.readable = False
    return run


def marks_of(signature: inspect.Signature) -> dict[str, Reads | Writes]:
    """How the parameters of a verb are marked, by name."""
    return {
        name: mark
        for name, parameter in signature.parameters.items()
        for mark in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(mark, Reads | Writes)
    }


def check_ending(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse a name that says that something else is in the file than what is written.

    Raises
    ------
    TrajHMMError
        Saying what was expected.
    """
    if endings and path.suffix.lower() in _ENDINGS.difference(endings):
        raise TrajHMMError(f"{path}: expected a name that ends in {' or '.join(endings)}, found {path.name!r}")


def _paths(given: Any) -> Iterator[Path]:
    for one in given if isinstance(given, list | tuple) else [given]:
        if isinstance(one, Path):
            yield one


def _check_apart(outputs: list[Path]) -> None:
    """Refuse two outputs of one name, the later of which would take the place of the other."""
    places = [os.path.realpath(path) for path in outputs]
    for path, place in zip(outputs, places, strict=True):
        if places.count(place) > 1 and not path.is_char_device():
            raise TrajHMMError(f"{path}: is to hold two different things; name another file for one of them")


def _is_file(path: Path) -> bool:
    """Whether it is a file; refused is what would be waited for."""
    from trajhmm.logs.sources.paths import check_regular

    if not path.exists() or path.is_dir():
        return False
    check_regular(path)
    return True
