"""Finding the checkpoints under paths: what is one, which run and step it is, and its heads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from trajhmm.errors import CheckpointError
from trajhmm.jsontext import loads
from trajhmm.metrics.checkpoints.names import Place, naming_pattern, place_of, says_nothing, stem_of
from trajhmm.metrics.checkpoints.weightfiles import PYTORCH, SUFFIXES, StoredTensor, stored_tensors
from trajhmm.metrics.roles import Heads, heads_of
from trajhmm.naming import Attribute, natural_key

_SHARD = re.compile(r"(.*?)[-_.]?(\d{5})-of-(\d{5})(\.\w+)")
_INDEX = re.compile(r".+(\.safetensors|\.bin)\.index\.json")
# What training loops save beside the weights, unless the name says that the weights are in it too.
_BESIDE = re.compile(
    r"(^|[-_.])(optim|optimizers?|optimizer_states?|scheduler|rng|scaler|sampler|dataloader|tokenizer|args|vocab)([-_.\d]|$)",
    re.IGNORECASE,
)
_WEIGHTS_TOO = re.compile(r"(^|[-_.])(model|weights|params|net)([-_.\d]|$)", re.IGNORECASE)
_COPY = re.compile(r"(^|[-_.])(best|last|latest|final)([-_.\d]|$)", re.IGNORECASE)
_FOLDERS_UP = 2
# Bytes of an index of shards or a configuration; and a step that no log can hold.
_LARGEST_JSON, _LARGEST_STEP = 2**26, 2**53
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The weights of one run at one step.

    ``files`` are its shards, mostly one. ``heads`` are those that a ``config.json`` tells of; (query heads, key-value
    heads) where they differ. ``epochs`` is True where the step counts epochs.
    """

    run: str
    step: int
    files: tuple[Path, ...]
    attributes: Mapping[str, Attribute]
    heads: Heads | None = None
    epochs: bool = False

    @property
    def path(self) -> Path:
        """What to call it: its file, or the first of its shards."""
        return self.files[0]

    @contextmanager
    def tensors(self) -> Iterator[dict[str, StoredTensor]]:
        """Open its files; what they hold by name.

        Raises
        ------
        CheckpointError
            A file is torn or missing, or refused because it would run code.
        """
        with ExitStack() as opened:
            found: dict[str, StoredTensor] = {}
            for path in self.files:
                if not path.exists():
                    raise CheckpointError(f"{path}: missing; expected {_shards(self.files)} shards, copy them all")
                found |= opened.enter_context(stored_tensors(path))
            yield found


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Checkpoints by run and step, and ``notes`` on files that were passed over."""

    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    files: tuple[Path, ...]
    searched: bool

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def name(self) -> PurePath:
        """The path without suffix and shard."""
        return self.path.with_name(stem_of(self.path.name, SUFFIXES) or "model")


def find_checkpoints(paths: Iterable[str | Path], *, pattern: str | None = None) -> Found:
    r"""Find the checkpoints under ``paths`` and read run, step and attributes off their paths.

    Step: ``step1000``, ``checkpoint-1000``, ``iter_0001000``, ``epoch=3-step=300.ckpt``, ``1000.npz`` and the like;
    epochs where no step is named. Run: the path without what names the step. Seeds (``seed_3``) and folders such as
    ``lr=0.1`` are attributes. Shards are one checkpoint; so are the same weights in several formats in one folder.

    Parameters
    ----------
    paths : files or folders; folders are searched, hidden names are passed over.
    pattern : regular expression, searched in each path, with a group ``(?P<step>\d+)`` and if wanted ``run``, ``seed``
        and others that name attributes.

    Raises
    ------
    CheckpointError
        A path is missing, holds no checkpoint or says no step; or two checkpoints claim one step of a run.
    ValueError
        ``pattern`` does not parse or names no step.
    """
    compiled = None if pattern is None else naming_pattern(pattern)
    notes: list[str] = []
    searched, base = _files(paths, notes)
    candidates = list(_candidates(_without_beside(searched, notes)))
    for above in (False, True):
        places = [_place(candidate, base, compiled, above=above) for candidate in candidates]
        if any(places):
            break
    placed = [(candidate, place) for candidate, place in zip(candidates, places, strict=True) if place is not None]
    lost = [candidate for candidate, place in zip(candidates, places, strict=True) if place is None]
    _pass_over_copies(lost, placed, notes)
    chosen = _one_for_each_step(placed, notes)
    _check_runs(chosen)
    heads_beside = cache(_heads_beside)
    checkpoints = [
        Checkpoint(
            run=place.run,
            step=place.step,
            files=candidate.files,
            attributes=place.attributes,
            heads=heads_beside(candidate.path.parent),
            epochs=place.epochs,
        )
        for candidate, place in chosen
    ]
    if pattern is None and 1 < len(checkpoints) == len({checkpoint.run for checkpoint in checkpoints}):
        notes.append(
            r"every run has one checkpoint only; if they belong together, name what tells runs apart with --pattern "
            r"'(?P<run>…)…(?P<step>\d+)'"
        )
    checkpoints.sort(key=lambda checkpoint: (natural_key(checkpoint.run), checkpoint.step))
    return Found(checkpoints=tuple(checkpoints), notes=tuple(notes))


def _files(paths: Iterable[str | Path], notes: list[str]) -> tuple[dict[Path, bool], Path]:
    """Files that may hold weights, whether each was searched for rather than named, and the folder they share."""
    found: dict[Path, bool] = {}
    bases = []
    for root in map(Path, paths):
        if root.is_dir():
            inside = list(_inside(root, notes))
            if not inside:
                raise CheckpointError(f"{root}: no checkpoints in this folder; expected files {', '.join(SUFFIXES)}")
            for path in inside:
                found.setdefault(path, True)
        elif not root.exists():
            raise CheckpointError(f"{root}: no such file or folder")
        elif root.suffix not in SUFFIXES:
            raise CheckpointError(f"{root}: not a file of weights by its name; expected {', '.join(SUFFIXES)}")
        elif not root.is_file():
            raise CheckpointError(f"{root}: is no file but a pipe, device or socket; name the file of the weights")
        else:
            found[root] = False
        bases.append(os.path.abspath(root if root.is_dir() else root.parent))  # noqa: PTH100 (links keep their names)
    if not found:
        raise CheckpointError("no checkpoints were named; name files or folders")
    once: dict[Path, Path] = {}
    for path in found:
        # Of a file and the links to it, keep the file: links are called last.ckpt.
        real = path.resolve()
        if real not in once or once[real].is_symlink():
            once[real] = path
    return {path: found[path] for path in once.values()}, Path(os.path.commonpath(bases))


def _inside(root: Path, notes: list[str]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        notes.append(f"{error.filename}: cannot be looked at ({error.strerror or error}), passed over")

    for folder, subfolders, names in os.walk(root, onerror=failed):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "_")))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in SUFFIXES and not name.startswith((".", "_")) and path.is_file():
                yield path


def _without_beside(searched: Mapping[Path, bool], notes: list[str]) -> dict[Path, bool]:
    kept = {
        path: by_search
        for path, by_search in searched.items()
        if not _BESIDE.search(path.stem) or _WEIGHTS_TOO.search(path.stem)
    }
    if not kept:
        raise CheckpointError(f"{next(iter(searched))}: not weights by its name, and nothing else was found")
    _say_passed_over(notes, "files that hold no weights", [path for path in searched if path not in kept])
    return kept


def _candidates(searched: Mapping[Path, bool]) -> Iterator[_Candidate]:
    """Join shards: those that an index lists, and those that are numbered."""
    indexed: dict[Path, tuple[Path, ...]] = {}
    families = set()
    for folder in dict.fromkeys(path.parent for path in searched):
        for index in sorted(folder.glob("*.index.json")):
            if (match := _INDEX.fullmatch(index.name)) and (listed := _listed(index)):
                indexed |= dict.fromkeys(listed, listed)
                families.add((folder, match[1]))
    done: set[Path] = set()
    for path, by_search in searched.items():
        if path in done:
            continue
        files: tuple[Path, ...] = (path,)
        if path in indexed:
            files = indexed[path]
        elif match := _SHARD.fullmatch(path.name):
            if by_search and (path.parent, match[4]) in families:
                continue  # left over from a save with another number of shards
            files = _numbered(path, match)
        done.update(files)
        yield _Candidate(files=files, searched=by_search)


def _listed(index: Path) -> tuple[Path, ...]:
    try:
        names = set(_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index}: not an index of shards; copy it again, or remove it") from error
    return tuple(index.parent / str(name) for name in sorted(names) if PurePath(str(name)).name == name)


def _numbered(path: Path, match: re.Match[str]) -> tuple[Path, ...]:
    start, end = match.start(2), match.end(2)
    first = 0 if path.with_name(f"{path.name[:start]}00000{path.name[end:]}").exists() else 1
    files = []
    for number in range(first, first + int(match[3])):
        files.append(path.with_name(f"{path.name[:start]}{number:05d}{path.name[end:]}"))
        if not files[-1].exists():
            break  # it is missed when the checkpoint is read
    return tuple(files)


def _place(candidate: _Candidate, base: Path, pattern: re.Pattern[str] | None, *, above: bool) -> Place | None:
    relative = PurePath(os.path.relpath(candidate.name, base))
    place = place_of(candidate.name, relative, base, pattern=pattern, above=above)
    if place is not None and place.step >= _LARGEST_STEP:
        raise CheckpointError(f"{candidate.path}: names step {str(place.step)[:20]}…; expected steps below 2^53")
    return place


def _pass_over_copies(lost: list[_Candidate], placed: list[tuple[_Candidate, Place]], notes: list[str]) -> None:
    """Pass over copies of the best or last step, and the final weights above folders of steps; refuse all else."""
    folders = [candidate.path.parent for candidate, _ in placed]
    copies = []
    for candidate in lost:
        stem, folder = candidate.name.name, candidate.path.parent
        around = any(other == folder or folder in other.parents for other in folders)
        if not (candidate.searched and around and (_is_copy(candidate) or says_nothing(stem))):
            raise CheckpointError(f"{candidate.path}: its path names no step; {_where_it_may_stand(stem)}")
        copies.append(candidate.path)
    _say_passed_over(notes, "files without a step beside files with one", copies)


def _one_for_each_step(placed: list[tuple[_Candidate, Place]], notes: list[str]) -> list[tuple[_Candidate, Place]]:
    """Of the same weights in several formats keep the best; refuse different ones."""
    chosen: dict[tuple[str, int], tuple[_Candidate, Place]] = {}
    copies = []
    for candidate, place in sorted(placed, key=lambda one: (_is_copy(one[0]), SUFFIXES.index(one[0].path.suffix))):
        first, _ = chosen.setdefault((place.run, place.step), (candidate, place))
        if first is candidate:
            continue
        same_format = _format(first.path) == _format(candidate.path)
        if first.path.parent != candidate.path.parent or (same_format and not _is_copy(candidate)):
            raise CheckpointError(
                f"{first.path} and {candidate.path}: both are run {place.run!r} at step {place.step}; name one of "
                r"them, or tell them apart with --pattern '(?P<run>…)…(?P<step>\d+)'"
            )
        copies.append(candidate.path)
    _say_passed_over(notes, "copies of weights that are read from another file", copies)
    return list(chosen.values())


def _where_it_may_stand(stem: str) -> str:
    match = re.search(r"([^\d/]{0,20})\d+\D*$", stem)
    if match is None:
        return "name files that do, as in model_step_1000, or leave it out"
    return rf"say where it stands, perhaps with --pattern '{re.escape(match[1])}(?P<step>\d+)'"


def _is_copy(candidate: _Candidate) -> bool:
    return candidate.searched and _COPY.search(candidate.name.name) is not None


def _format(path: Path) -> str:
    return PYTORCH[0] if path.suffix in PYTORCH else path.suffix


def _check_runs(chosen: list[tuple[_Candidate, Place]]) -> None:
    first: dict[str, tuple[_Candidate, Place]] = {}
    for candidate, place in chosen:
        before, known = first.setdefault(place.run, (candidate, place))
        if known.epochs != place.epochs:
            epochs, steps = (before, candidate) if known.epochs else (candidate, before)
            raise CheckpointError(
                f"run {place.run!r}: {steps.path} names a step, {epochs.path} only an epoch; say which counts with "
                r"--pattern '(?P<step>\d+)'"
            )
        if known.attributes != place.attributes:
            odd = min(
                name
                for name in known.attributes.keys() | place.attributes.keys()
                if known.attributes.get(name) != place.attributes.get(name)
            )
            raise CheckpointError(
                f"run {place.run!r}: {odd} is {known.attributes.get(odd)} in {before.path} and "
                f"{place.attributes.get(odd)} in {candidate.path}; let the group 'run' of --pattern tell them apart"
            )


def _heads_beside(folder: Path) -> Heads | None:
    """What the nearest ``config.json`` says, in the folder of the weights or little above."""
    inside = Path(os.path.abspath(folder))  # noqa: PTH100 (a link's own folder counts)
    for place in (inside, *inside.parents[:_FOLDERS_UP]):
        try:
            heads = heads_of(_json(place / "config.json"))
        except (OSError, ValueError, RecursionError):
            continue
        if heads is not None:
            return heads
    return None


def _json(path: Path) -> Any:
    """What a small file of JSON holds.

    Raises
    ------
    OSError, ValueError, RecursionError
        It cannot be read, or is none.
    """
    if not path.is_file() or path.stat().st_size > _LARGEST_JSON:
        raise ValueError("no small file")
    return loads(path.read_text(encoding="utf-8"))


def _shards(files: tuple[Path, ...]) -> int:
    """How many shards a checkpoint has, of which only those up to the first that is missing are known."""
    match = _SHARD.fullmatch(files[-1].name)
    return max(len(files), int(match[3])) if match else len(files)


def _say_passed_over(notes: list[str], what: str, paths: list[Path]) -> None:
    if paths:
        names = list(dict.fromkeys(path.name for path in paths))
        more = ", …" if len(names) > _MOST_NAMED else ""
        notes.append(f"passed over {len(paths)} {what}: {', '.join(names[:_MOST_NAMED])}{more}")
