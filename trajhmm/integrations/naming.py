"""What frameworks log, by the project's names: what the callbacks share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trajhmm.metrics.runlogger import RunLogger, remark

_STAGE = re.compile(r"(?P<train>train(ing)?)[_/]|(val|valid|validation|eval)[_/]")
_IN_FULL = {"acc": "accuracy", "lr": "learning_rate"}


def metric_name(name: str, *, evaluated: bool = False) -> str:
    """The project's name of what a framework logs.

    ``loss``, ``train/loss`` and ``training_loss`` are ``train_loss``; ``val_acc`` is ``eval_accuracy``.

    Parameters
    ----------
    name : as logged.
    evaluated : it comes from an evaluation, whatever its name says.
    """
    prefix = _STAGE.match(name)
    stage = ("train" if prefix["train"] else "eval") if prefix else ("eval" if evaluated else "")
    plain = name[prefix.end() :] if prefix else name
    plain = _IN_FULL.get(plain, plain)
    if not stage and plain in ("loss", "accuracy"):
        stage = "train"
    return f"{stage}_{plain}" if stage else plain


def loggable(logger: RunLogger, logs: Mapping[str, Any], *, evaluated: bool = False) -> dict[str, float]:
    """What of a framework's logs goes into a row, by the project's names: all that is one number.

    A metric that is named like an attribute of the run is left out, with a warning.
    """
    row: dict[str, float] = {}
    for name, value in logs.items():
        number = number_of(value)
        ours = metric_name(name, evaluated=evaluated)
        if number is not None and ours in ("run", "step", *logger.attributes):
            text = f"{ours} is an attribute of run {logger.run!r}: what is logged as {name} is left out; rename either"
            remark(text, stacklevel=3)
        elif number is not None:
            row[ours] = number
    return row


def number_of(value: Any) -> float | None:
    """What a framework logged, as a number; None if it is none: a text, a histogram, a tensor of many elements."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return float(detached(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def under_both_names(logs: Mapping[str, Any]) -> dict[str, float]:
    """What of a framework's logs is one number, by the framework's name and by the project's."""
    numbers = {name: number for name, value in logs.items() if (number := number_of(value)) is not None}
    return {metric_name(name): number for name, number in numbers.items()} | numbers


def unmeasured(logger: RunLogger, error: BaseException) -> str:
    """What to say where the weights of a run cannot be measured."""
    reason = str(error).partition("\n")[0][:100] or type(error).__name__
    return f"weights of run {logger.run!r} cannot be measured ({reason}); its rows go without"


def detached(value: Any) -> Any:
    """A tensor without its history, anything else as it is."""
    return value.detach() if hasattr(value, "detach") else value
