"""Keras 3 as a source of run logs, on any backend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.integrations.naming import loggable, unmeasured
from trajhmm.metrics.changes import update_metrics
from trajhmm.metrics.roles import Parameter, measurable
from trajhmm.metrics.runlogger import RunLogger, remark
from trajhmm.metrics.weights import metrics_of

try:
    import keras
except ImportError as error:
    raise ImportError("Keras, or its backend, is not installed: pip install 'trajhmm[keras]'") from error

_LEFT_OUT = re.compile(r"embed|norm", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Before:
    """What was measured before a batch."""

    weights: dict[str, NDArray[Any]]
    learning_rate: float


class RunLoggerCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Log weights, updates and Keras's own metrics.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})
    >>> callbacks = [RunLoggerCallback(logger, every=10)]  # for model.fit(x, y, callbacks=callbacks)

    A step is one of the optimizer (``optimizer.iterations``). The row of a step holds the weights after it, the update
    of the trainable weights, the learning rate that made it, and the training metrics: ``train_loss`` is the mean over
    the batches since the row before, or since the epoch began; the others (``accuracy`` as ``train_accuracy``) are as
    Keras reports them, running values of the epoch so far. What validation finds (``val_loss`` as ``eval_loss``) joins
    the row of the last step of its epoch. Keras shows no gradients to callbacks, so there is no ``grad_norm``. Waiting
    rows are written when an epoch begins, so that a run that ``BackupAndRestore`` resumes leaves no gap. Where several
    processes train together, give the callback to the first.

    Parameters
    ----------
    logger : where rows go.
    every : a row for each step that is a multiple of this. With ``steps_per_execution`` above 1 a row is written for
        the last step of an execution that passes a multiple, and no update is measured.
    layers : add ``weight_l2/LAYER`` and ``update_norm/LAYER``.

    Raises
    ------
    ValueError
        ``every`` is below 1; when training begins, the model is built and holds no weight matrix.
    """

    def __init__(self, logger: RunLogger, *, every: int = 1, layers: bool = False) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every = {every}: expected 1 step or more")
        self.logger = logger
        self._every, self._layers = every, layers
        self._batches = 0  # since the optimizer's first
        self._at_once = self._accumulated = 1
        self._last_row = 0
        self._loss_before = (0.0, 0.0)
        self._before: _Before | None = None
        self._complained = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Say before training what would go wrong within."""
        if self.model.built and all(parameter.role == "bias" for parameter in keras_parameters(self.model)):
            raise ValueError("expected a model with at least one weight matrix, found none")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write what a run that is resumed here would not log again, and find out at which step it stands."""
        self.logger.flush_or_warn()
        model = self.model
        self._at_once = getattr(model, "steps_per_execution", 1)
        self._accumulated = getattr(_optimizer(model), "gradient_accumulation_steps", None) or 1
        self._last_row = self._read_step(model)
        self._loss_before = (0.0, 0.0)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep the weights before a step that is due."""
        self._before = None
        if self._at_once == 1 and self._passes(self._batches, self._batches + 1):
            model = self.model
            self._before = _Before(weights=_weights(model), learning_rate=_learning_rate(model))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the step that this batch completed, if one is due."""
        old, self._batches = self._batches, self._batches + self._at_once
        if not self._passes(old, self._batches):
            return
        model = self.model
        step = self._read_step(model)
        if step // self._every == self._last_row // self._every:
            return  # the optimizer skipped steps, as it does where mixed precision overflows
        self._last_row = step
        before, self._before = self._before, None
        row = self._measured(model, before)
        rate = before.learning_rate if before is not None else _learning_rate(model)
        own = {"learning_rate": rate} | dict(logs or {}) | self._loss_since_last_row(model)
        self.logger.log(step, row | loggable(self.logger, own))

    def _measured(self, model: Any, before: _Before | None) -> dict[str, float]:
        """Weights and update; what cannot be measured, as where memory is short, ends no training."""
        row: dict[str, float] = {}
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is written as such
            try:
                row = metrics_of(keras_parameters(model), layers=self._layers)
                if before is not None:
                    row |= update_metrics(before.weights, _weights(model), layers=self._layers)
            except Exception as error:  # noqa: BLE001 (no memory, a type that a device lacks: none may end a training)
                if not self._complained:
                    self._complained = True
                    remark(unmeasured(self.logger, error))
        return row

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what validation found."""
        found = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        row = loggable(self.logger, found)
        if row:
            self.logger.log(self._read_step(self.model), row)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write the last rows."""
        self.logger.flush_or_warn(at_last=True)

    def _passes(self, old: int, new: int) -> bool:
        """Whether a multiple of ``every`` steps lies between two counts of batches."""
        return new // self._accumulated // self._every > old // self._accumulated // self._every

    def _read_step(self, model: Any) -> int:
        """The optimizer's count of its steps; the count of batches, which costs no look at the device, follows it."""
        optimizer = _optimizer(model)
        if optimizer is None:
            return self._batches
        step = int(_numpy(optimizer.iterations))
        if self._batches // self._accumulated != step:
            self._batches = step * self._accumulated
        return step

    def _loss_since_last_row(self, model: Any) -> dict[str, float]:
        """What the mean that Keras keeps of the loss since the epoch began has gained since the row before."""
        tracker = next((m for m in model.metrics if m.name == "loss" and isinstance(m, keras.metrics.Mean)), None)
        if tracker is None:
            return {}
        total, count = (float(_numpy(variable)) for variable in (tracker.total, tracker.count))
        (old_total, old_count), self._loss_before = self._loss_before, (total, count)
        return {"loss": (total - old_total) / (count - old_count)} if count > old_count else {}


def keras_parameters(model: Any) -> list[Parameter]:
    """The weights of a Keras model as `parameters_of` gives those of a PyTorch module.

    Kernels are turned to (out, in), those of convolutions to (out, in, …). A kernel of ``EinsumDense`` with several
    output axes, such as the query, key and value of an attention with their heads, is a stack of matrices over all but
    the last of them; several input axes are one. Embeddings and normalisation are left out.
    """
    owners: dict[int, tuple[Any, Any]] = {}
    for layer in model._flatten_layers():  # noqa: SLF001 - the only way to the layers within layers
        owners |= {id(variable): (layer, variable) for variable in layer.weights}  # the innermost comes last
    found = (_parameter(layer, variable) for layer, variable in owners.values())
    return [parameter for parameter in found if parameter is not None]


def _parameter(layer: Any, variable: Any) -> Parameter | None:
    if _is_left_out(layer, variable):
        return None
    name, array = variable.name, _array(variable)
    if "bias" in name:
        role = "bias"
    elif isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
        role, array = "matrix", _out_in(array, layer.equation)
    elif name == "depthwise_kernel" or isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)):
        kernels = np.moveaxis(array, (-2, -1), (0, 1))  # (in, multiplier, …): each sees one channel
        role, array = "kernels", kernels.reshape(-1, 1, *kernels.shape[2:])
    elif array.ndim > 2 and "kernel" in name:
        role, array = "kernels", np.moveaxis(array, (-1, -2), (0, 1))
    else:
        role, array = "matrix", np.swapaxes(array, -1, -2)
    return Parameter(name=_name(variable), role=role, array=array)


def _is_left_out(layer: Any, variable: Any) -> bool:
    """Embeddings, normalisation, vectors that are no bias, and what is no weight: seeds, statistics, scales."""
    names = (variable.name, *(kind.__name__ for kind in type(layer).__mro__))
    if any(_LEFT_OUT.search(name) for name in names):
        return True
    if not variable.shape or 0 in variable.shape or "float" not in str(variable.dtype):
        return True
    if "bias" in variable.name:
        return False
    return len(variable.shape) == 1 or not (variable.trainable or "kernel" in variable.name)


def _out_in(kernel: NDArray[Any], equation: str) -> NDArray[Any]:
    """The kernel of an ``EinsumDense`` as (…, out, in)."""
    inputs, axes, outputs = re.split(",|->", equation.replace(" ", "").replace("...", ""))
    into = [axis for axis, letter in enumerate(axes) if letter not in outputs]
    out = [axis for axis, letter in enumerate(axes) if letter in outputs and letter not in inputs]
    shared = [axis for axis, letter in enumerate(axes) if letter in outputs and letter in inputs]
    turned = kernel.transpose(*shared, *out, *into)
    return np.atleast_2d(turned.reshape(*turned.shape[: len(shared) + len(out)], -1))


def _weights(model: Any) -> dict[str, NDArray[Any]]:
    """A copy of the trainable weights; Keras lets two of one name be."""
    named: dict[str, NDArray[Any]] = {}
    for index, variable in enumerate(model.trainable_variables):
        name = _name(variable)
        named[name if name not in named else f"{name}#{index}"] = _array(variable).copy()
    return named


def _numpy(values: Any) -> NDArray[Any]:
    tensor = getattr(values, "value", values)  # of a variable
    array = tensor.detach().cpu() if hasattr(tensor, "detach") else keras.ops.convert_to_numpy(tensor)
    return np.asarray(measurable(array))


def _array(variable: Any) -> NDArray[Any]:
    array = _numpy(variable)
    return array.astype(np.float32) if array.dtype.itemsize < 4 or array.dtype.kind != "f" else array


def _learning_rate(model: Any) -> float:
    return float(_numpy(getattr(_optimizer(model), "learning_rate", float("nan"))))


def _optimizer(model: Any) -> Any:
    """The one that counts; mixed precision wraps another around it. None in a model that trains without."""
    optimizer = getattr(model, "optimizer", None)
    return getattr(optimizer, "inner_optimizer", optimizer)


def _name(variable: Any) -> str:
    """Its path with dots; a kernel goes by the name of its layer, as a weight does in PyTorch."""
    return re.sub(r"\.kernel$", ".weight", str(variable.path).replace("/", "."))
