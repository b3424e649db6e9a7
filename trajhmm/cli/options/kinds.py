"""Which options belong to which kinds of a verb: one table, for the check and for the help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import typer

# Kinds that the help of an option names; where there are more, its own words have to do.
_NAMED = 5
# By which typer hands over what it parsed.
_CONTEXT = "context"


@dataclass(frozen=True)
class For:
    """To which kinds an option belongs.

    Attributes
    ----------
    kinds : that take it; none where all do.
    beside : parameter of another option without which it says nothing; empty for none.
    """

    kinds: tuple[str, ...] = ()
    beside: str = ""


def options_of_kinds(
    table: Mapping[str, For], *, of: str = "kind"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a verb refuse options that say nothing to its kind, and its help say for which kinds they are.

    Given is what stands on the command line, be it the default.

    Parameters
    ----------
    table : parameters of the verb that not all kinds take, or not by themselves; the others are everybody's.
    of : parameter that holds the kind; without it, only what options stand ``beside`` matters.

    Raises
    ------
    typer.BadParameter
        When the verb is called: an option is for other kinds, or lacks the one it stands beside.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(verb, eval_str=True)
        flags = {name: _flag(parameter) for name, parameter in signature.parameters.items()}

        @functools.wraps(verb)
        def run(*given: Any, **named: Any) -> None:
            context = named.pop(_CONTEXT)
            kind = None if (chosen := named.get(of)) is None else str(chosen)
            words = (context.info_name, flags.get(of, "") if flags.get(of, "").startswith("-") else "", kind)
            what = " ".join(word for word in words if word)
            for name, option in table.items():
                if _is_given(context, name):
                    _check(kind, what, flags[name], option)
                    if option.beside and not _is_given(context, option.beside):
                        raise typer.BadParameter(f"{flags[name]} says nothing without {flags[option.beside]}")
            verb(*given, **named)

        parameters = [_told(parameter, table, flags) for parameter in signature.parameters.values()]
        context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        run.__signature__ = signature.replace(parameters=[*parameters, context])  # type: ignore[attr-defined]
        return run

    return decorate


def _check(kind: str | None, what: str, flag: str, option: For) -> None:
    if option.kinds and kind not in option.kinds:
        raise typer.BadParameter(f"{flag} is for {_listed(option.kinds)}; {what} does not take it")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _told(parameter: inspect.Parameter, table: Mapping[str, For], flags: Mapping[str, str]) -> inspect.Parameter:
    """The same parameter, its help with the kinds in front."""
    option = table.get(parameter.name)
    if option is None or get_origin(parameter.annotation) is not Annotated:
        return parameter
    kind, *rest = get_args(parameter.annotation)
    place = next(place for place, one in enumerate(rest) if isinstance(one, typer.models.OptionInfo))
    info = rest[place] = copy(rest[place])
    kinds = f"For {_listed(option.kinds)}: " if 0 < len(option.kinds) <= _NAMED else ""
    beside = f" Beside {flags[option.beside]}." if option.beside else ""
    words = info.help or ""
    info.help = f"{kinds}{words[:1].lower() if kinds else words[:1]}{words[1:]}{beside}"
    return parameter.replace(annotation=Annotated[kind, *rest])


def _flag(parameter: inspect.Parameter) -> str:
    """What an option is called on the command line; of an argument its name."""
    for one in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(one, typer.models.OptionInfo):
            # Within an annotation the first name stands where a default would.
            names = [name for name in (one.default, *(one.param_decls or ())) if isinstance(name, str)]
            return max(names, key=len)
    return parameter.name


def _listed(kinds: tuple[str, ...]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
