"""`ModelLogger`: metrics of weights, gradients and updates out of a PyTorch loop, and what the callbacks share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trajhmm.errors import TrajHMMWarning
from trajhmm.metrics.changes import gradient_metrics, snapshot, update_metrics
from trajhmm.metrics.roles import parameters_of
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.metrics.weights import weight_metrics

# What distributed data parallelism, torch.compile and Fabric put around a model.
_WRAPPERS = ("module", "_orig_mod", "_forward_module")
_STAGE = re.compile(r"(?P<train>train(ing)?)[_/]|(val|valid|validation|eval)[_/]")
_IN_FULL = {"acc": "accuracy", "lr": "learning_rate"}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Before:
    """What was measured between backward and the optimizer's step."""

    step: int
    gradient: dict[str, float]
    weights: dict[str, Any]


class ModelLogger:
    """Log the weights, the gradient and the update of a PyTorch model every so many steps.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})              # doctest: +SKIP
    >>> model_logger = ModelLogger(logger, model, every=10)                       # doctest: +SKIP
    >>> for step, (x, y) in enumerate(batches, start=1):                          # doctest: +SKIP
    ...     loss = criterion(model(x), y)
    ...     loss.backward()
    ...     model_logger.after_backward(step)   # before clipping; after scaler.unscale_(optimizer)
    ...     clip_grad_norm_(model.parameters(), 1.0)
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    ...     model_logger.after_step(step, train_loss=loss)

    A step that is not due costs a division: nothing is copied, nothing waits for the device, and a loss that is given
    as a tensor is not looked at. Where gradients accumulate, a step is one of the optimizer, and `after_backward`
    follows the last of its backward passes. ``after_step(0)`` before the loop logs the weights that training starts
    from.

    Parameters
    ----------
    logger : where rows go; None on the other processes of distributed training, where nothing is measured or written.
    model : PyTorch module, wrapped (``DistributedDataParallel``, ``torch.compile``) or not. Parameters must be whole:
        sharded ones (FSDP, DeepSpeed ZeRO-3) are refused.
    every : a step is due if it is a multiple of this.
    heads, roles : how attention is split and which parameter counts as what, see `parameters_of`.
    layers : add ``weight_l2/LAYER``, ``grad_norm/LAYER`` and ``update_norm/LAYER``.
    gradients : measure the gradient; False saves that where the loop knows its norm, as ``clip_grad_norm_`` returns it.

    Raises
    ------
    ValueError
        ``every`` is below 1, or the model cannot be measured: it is sharded, holds no weight matrix, or its projections
        do not divide by the heads.
    """

    def __init__(
        self,
        logger: RunLogger | None,
        model: Any,
        *,
        every: int = 1,
        heads: int | tuple[int, int] | None = None,
        roles: Mapping[str, str] | None = None,
        layers: bool = False,
        gradients: bool = True,
    ) -> None:
        if every < 1:
            raise ValueError(f"every = {every}: expected 1 step or more")
        self.logger, self.every = logger, every
        self._model = _unwrapped(model)
        self._heads, self._roles, self._layers, self._gradients = heads, roles, layers, gradients
        self._before: _Before | None = None
        if logger is not None:
            self._check()

    def _check(self) -> None:
        """Say before training what would go wrong within."""
        for name, parameter in self._model.named_parameters():
            if hasattr(parameter, "full_tensor") or hasattr(parameter, "ds_id") or name.endswith("_flat_param"):
                raise ValueError(
                    f"{name} is sharded over processes: only models whose parameters are whole can be measured"
                )
        if all(
            parameter.role == "bias" for parameter in parameters_of(self._model, heads=self._heads, roles=self._roles)
        ):
            raise ValueError("expected a model with at least one weight matrix, found none; see roles")

    def due(self, step: int) -> bool:
        """Whether this step gets a row, the same on all processes: for what the loop computes only then."""
        return step % self.every == 0

    def after_backward(self, step: int) -> None:
        """Measure the gradient, and keep the weights to compare with after the step.

        Parameters
        ----------
        step : the step that is about to be taken. Called again for the same step, as with micro-batches or a closure,
            the last gradient counts, and the weights that it began from.

        Raises
        ------
        ValueError
            There are no gradients.
        """
        before, self._before = self._before, None
        if self.logger is None or not self.due(step):
            return
        again = before is not None and before.step == step
        self._before = _Before(
            step=step,
            gradient=gradient_metrics(self._model, layers=self._layers) if self._gradients else {},
            weights=before.weights if before is not None and again else snapshot(self._model),
        )

    def after_step(self, step: int, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Write the row of a step if it is due.

        Without `after_backward` the row holds neither the gradient nor the update.

        Parameters
        ----------
        step : the one that `after_backward` was told.
        metrics, more : the loop's own, as `RunLogger.log` takes them; they win over what is measured here.

        Raises
        ------
        ValueError
            `after_backward` was told another step.
        """
        before, self._before = self._before, None
        if before is not None and before.step != step:
            raise ValueError(
                f"after_step({step}) follows after_backward({before.step}): both take the number of the same step"
            )
        if self.logger is None or not self.due(step):
            return
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is written as such
            row = weight_metrics(self._model, heads=self._heads, roles=self._roles, layers=self._layers)
            if before is not None:
                row |= before.gradient | update_metrics(before.weights, self._model, layers=self._layers)
        row = {name.replace("_orig_mod.", ""): value for name, value in row.items()}
        self.logger.log(step, row | {name: _detached(value) for name, value in {**(metrics or {}), **more}.items()})


def _unwrapped(model: Any) -> Any:
    """The model within wrappers, told by the names of its parameters."""
    names = [name for name, _ in model.named_parameters()]
    for wrapper in _WRAPPERS:
        if names and all(name.startswith(f"{wrapper}.") for name in names):
            return _unwrapped(getattr(model, wrapper))
    return model


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
            warnings.warn(text, TrajHMMWarning, stacklevel=3)
        elif number is not None:
            row[ours] = number
    return row


def number_of(value: Any) -> float | None:
    """What a framework logged, as a number; None if it is none: a text, a histogram, a tensor of many elements."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return float(_detached(value))
    except (TypeError, ValueError, RuntimeError):
        return None


def _detached(value: Any) -> Any:
    return value.detach() if hasattr(value, "detach") else value
