"""What the path of a checkpoint says: its step, its run, and the run's attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple
from urllib.parse import unquote

from trajhmm.naming import Attribute, is_text, plain_text, value_of

_NUMBER = r"(?P<number>\d+)(?P<unit>[kM]?)(?![0-9a-z])(?!\.\d)"
_FLAGS = re.IGNORECASE


def _counted(words: str) -> re.Pattern[str]:
    """A word and its number: step1000, step_1000, step=1000, step_20k."""
    return re.compile(rf"(?<![a-z])(?:{words})[-_=. ]*{_NUMBER}", _FLAGS)


# What counts as the step, best first; where nothing of it is found, epochs are.
_STEPS = (
    _counted(r"(?:(?:global|train|training)[-_ ]?)?steps?"),
    re.compile(r"(?<![0-9a-z.])(?P<number>\d+)(?P<unit>[kM]?)[-_ ]?(?:steps?|iters?|iterations?)(?![a-z])", _FLAGS),
    _counted("iter|iters|iteration|iterations|updates?"),
    _counted("checkpoint|ckpt|chkpt|snapshot"),
)
_EPOCH = _counted("epoch|ep")
_ONLY_A_NUMBER = re.compile(r"(?P<number>\d+)(?P<unit>[kM]?)", _FLAGS)
_SAYING_NOTHING_AND_A_NUMBER = re.compile(
    rf"(?:model|models|weights?|params?|parameters|net|network|state|dict|[-_. ])*{_NUMBER}", _FLAGS
)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}

# What changes within a run beside the step: epochs, parts of a network, and results in the name that holds the step.
_EPOCHS_AND_PARTS = re.compile(r"(?<![a-z])(?:epoch[-_=]?\d+|mp_rank_\d+)", _FLAGS)
_RESULTS = re.compile(
    r"(?<![a-z])(?:[a-z]+_)?(?:loss|acc|accuracy|score|ppl|perplexity|bleu|f1|auc|reward|return)[-_=]?\d+(?:\.\d+)?(?![a-z])",
    _FLAGS,
)
_SEED = re.compile(r"(?<![a-z])seed[-_=]?(\d+)(?![0-9a-z])", _FLAGS)
_SAYING_NOTHING = re.compile(
    r"(?:model|pytorch|torch|diffusion|adapter|weight|param|parameter|state|dict|net|network|checkpoint|ckpt|chkpt|snapshot)s?"
    r"|saved|consolidated|mp|optim|rng|best|last|latest|final",
    _FLAGS,
)
_STEP_KEYS = frozenset({"run", "step", "steps", "global_step", "iter", "iteration", "checkpoint", "ckpt", "epoch"})
_SHARD = re.compile(r"[-_.]?\d{5}-of-\d{5}$")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which step of which run; ``epochs`` where the step counts those."""

    run: str
    step: int
    epochs: bool
    attributes: dict[str, Attribute]


class _Found(NamedTuple):
    part: int
    match: re.Match[str]
    epochs: bool

    @property
    def step(self) -> int:
        return _number(self.match)


def _number(match: re.Match[str]) -> int:
    return int(match["number"]) * _UNITS[match["unit"].lower()]


def naming_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile what ``--pattern`` was given.

    Raises
    ------
    ValueError
        It does not parse, or has no group ``(?P<step>\d+)``.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} does not parse: {error}") from error
    if "step" not in compiled.groupindex:
        raise ValueError(rf"{pattern!r} names no step; expected a group (?P<step>\d+)")
    return compiled


def stem_of(name: str, suffixes: Sequence[str]) -> str:
    """A file's name without its suffix and without the number of a shard."""
    suffix = next((suffix for suffix in suffixes if name.endswith(suffix)), "")
    return _SHARD.sub("", name.removesuffix(suffix))


def place_of(
    given: PurePath, relative: PurePath, base: PurePath, *, pattern: re.Pattern[str] | None = None, above: bool = False
) -> Place | None:
    """Read a path; None where no step is found.

    Parameters
    ----------
    given : the path as it was given or found, without the file's suffix.
    relative : the same below ``base``.
    base : the folder, absolute, that all checkpoints have in common.
    pattern : with groups ``step``, and if wanted ``run``, ``seed`` and others that name attributes.
    above : whether ``base`` itself may name the step, as when the folder of one step was given.
    """
    place = _place_of(given, relative, base, pattern=pattern, above=above)
    if place is None or (is_text(place.run) and all(map(is_text, place.attributes.items()))):
        return place
    attributes: dict[str, Attribute] = {
        plain_text(name): plain_text(value) if isinstance(value, str) else value
        for name, value in place.attributes.items()
    }
    return replace(place, run=plain_text(place.run), attributes=attributes)


def _place_of(
    given: PurePath, relative: PurePath, base: PurePath, *, pattern: re.Pattern[str] | None, above: bool
) -> Place | None:
    if pattern is not None:
        return _by_pattern(pattern, given, relative, base)
    parts = [*base.parts, *relative.parts]
    own = len(base.parts)
    found = _find(parts, own, len(parts))
    if found is None and above:
        # The nearest folder that says anything.
        nearest = next((part for part in range(own - 1, 0, -1) if _told(parts[part], None)), own)
        found = _find(parts, nearest, own)
    if found is None:
        return None
    run = _run(parts, own, found)
    return Place(run=run, step=found.step, epochs=found.epochs, attributes=_attributes(given, run))


def says_nothing(part: str) -> bool:
    """Whether the name of a file or folder tells nothing apart: model, pytorch_model, checkpoints."""
    return all(_SAYING_NOTHING.fullmatch(word) for word in re.split(r"[-_. =]+", part) if word)


def _find(parts: Sequence[str], start: int, stop: int) -> _Found | None:
    """Find the deepest of ``parts[start:stop]`` that names a step, else one that is a number, else an epoch."""
    order = range(stop - 1, start - 1, -1)
    for part in order:
        for kind in _STEPS:
            if matches := list(kind.finditer(parts[part])):
                return _Found(part, matches[-1], epochs=False)
    for part in order:
        # A number alone: that of the file, or of its folder where the names below say nothing.
        if not all(map(says_nothing, parts[part + 1 :])):
            break
        bare = _SAYING_NOTHING_AND_A_NUMBER if part == len(parts) - 1 else _ONLY_A_NUMBER
        if match := bare.fullmatch(parts[part]):
            return _Found(part, match, epochs=False)
    for part in order:
        if matches := list(_EPOCH.finditer(parts[part])):
            return _Found(part, matches[-1], epochs=True)
    return None


def _run(parts: Sequence[str], own: int, found: _Found) -> str:
    """The path without what names the step; if nothing is left, the nearest folder that has a name."""
    told = [
        _told(part, found.match) if index == found.part else "" if _is_step(part, found.step) else _told(part, None)
        for index, part in enumerate(parts)
    ]
    names = [part for part in told[own:] if part]
    return "/".join(names) or next((part for part in reversed(told[1:own]) if part), "run")


def _is_step(part: str, step: int) -> bool:
    """Whether a folder is called after this step too: checkpoint-500/model_step500.pt."""
    matches = (kind.fullmatch(part) for kind in _STEPS)
    return "steps" not in part.lower() and any(_number(match) == step for match in matches if match is not None)


def _told(part: str, step: re.Match[str] | None) -> str:
    """What a file's or folder's name tells of its run."""
    if step is not None:
        before, after = part[: step.start()], part[step.end() :]
        if re.search(r"\d", _SEED.sub("", after)):
            # Numbers after the step, tokens seen or a loss, change with it.
            after = "-".join(match[0] for match in _SEED.finditer(after))
        part = _RESULTS.sub("", f"{before}-{after}")
    part = _EPOCHS_AND_PARTS.sub("", part).strip("-_=. ")
    part = re.sub(r"([-_. ])[-_. ]+", r"\1", part)
    return "" if says_nothing(part) else part.removeprefix("run=")


def _attributes(given: PurePath, run: str) -> dict[str, Attribute]:
    """What folders such as ``lr=0.1`` and a seed in any name say."""
    attributes: dict[str, Attribute] = {}
    parts = [*given.parts, *run.split("/")]
    for part in parts:
        if (match := _SEED.search(part)) is not None:
            attributes["seed"] = int(match[1])
    for part in [*given.parts[:-1], *run.split("/")]:
        pairs = [pair.split("=") for pair in part.split(",")]
        if all(len(pair) == 2 and pair[0].strip() for pair in pairs):
            told = {unquote(key).strip(): value_of(unquote(value)) for key, value in pairs}
            attributes |= {key: value for key, value in told.items() if key.lower() not in _STEP_KEYS}
    return attributes


def _by_pattern(pattern: re.Pattern[str], given: PurePath, relative: PurePath, base: PurePath) -> Place | None:
    for path in (relative, given, base / relative):
        match = pattern.search(path.as_posix())
        if match is not None and (match["step"] or "").isdecimal():
            break
    else:
        return None
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    if "run" in groups:
        run = groups["run"]
        attributes: dict[str, Attribute] = {}
    else:
        text = path.as_posix()
        rest = text[: match.start("step")] + text[match.end("step") :] if path is relative else relative.as_posix()
        told = [_told(part, None) for part in [*base.parts, *rest.split("/")]]
        own = len(base.parts)
        run = "/".join(part for part in told[own:] if part) or next((p for p in reversed(told[1:own]) if p), "run")
        attributes = _attributes(given, run)
    attributes |= {name: value_of(text) for name, text in groups.items() if name not in ("run", "step")}
    return Place(run=run, step=int(match["step"]), epochs=False, attributes=attributes)
