"""Any training loop: `ModelLogger` logs the weights of a PyTorch model, `RunMonitor` warns of the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trajhmm.integrations.naming import detached, unmeasured
from trajhmm.metrics.changes import NoGradientsError, gradient_metrics, snapshot, update_metrics
from trajhmm.metrics.roles import parameters_of
from trajhmm.metrics.runlogger import RunLogger, remark
from trajhmm.metrics.weights import weight_metrics

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.tracking import Alarm

# What distributed data parallelism, torch.compile and Fabric put around a model.
_WRAPPERS = ("module", "_orig_mod", "_forward_module")
# What shards parameters over processes and leaves their names as they are.
_SHARDING = ("FullyShardedDataParallel", "FSDPModule")
# Measuring that takes more than this share of the time of so many rows, and seconds in all, is told, once; and what
# share a thinner row would take.
_DEAR, _ROWS_TO_TELL, _SECONDS_TO_TELL, _CHEAP = 0.2, 10, 10.0, 0.05
# After so many rows a metric that has not come yet is said to be missing.
_ROWS_TO_WAIT = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class _Before:
    """What was measured between backward and the optimizer's step."""

    step: int
    gradient: dict[str, float]
    weights: dict[str, Any]


class ModelLogger:
    """Log the weights, the gradient and the update of a PyTorch model every so many steps.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})
    >>> model_logger = ModelLogger(logger, model, every=10)
    >>> for step, (x, y) in enumerate(batches, start=1):
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
        self._complained = self._told_dear = False
        self._measuring, self._rows = 0.0, 0
        self._since: float | None = None
        if logger is not None:
            self._check()

    def _check(self) -> None:
        """Say before training what would go wrong within."""
        for layer in self._model.modules():
            if type(layer).__name__ in _SHARDING:
                raise ValueError("the model is sharded over processes (FSDP): its parameters cannot be measured")
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
        started = time.monotonic()
        try:
            self._before = _Before(
                step=step,
                gradient=gradient_metrics(self._model, layers=self._layers) if self._gradients else {},
                weights=before.weights if before is not None and again else snapshot(self._model),
            )
        except NoGradientsError:
            raise
        except Exception as error:  # noqa: BLE001 (no memory, a type that a device lacks: none may end a training)
            self._say_unmeasured(error)
        finally:
            self._measuring += time.monotonic() - started

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
        started = time.monotonic()
        row = {name.replace("_orig_mod.", ""): value for name, value in self._measured(before).items()}
        self._say_if_dear(started)
        self.logger.log(step, row | {name: detached(value) for name, value in {**(metrics or {}), **more}.items()})

    def _measured(self, before: _Before | None) -> dict[str, float]:
        """Weights, gradient and update; what cannot be measured, as where memory is short, ends no training."""
        row = {} if before is None else dict(before.gradient)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is written as such
            try:
                row = weight_metrics(self._model, heads=self._heads, roles=self._roles, layers=self._layers) | row
                if before is not None:
                    row |= update_metrics(before.weights, self._model, layers=self._layers)
            except Exception as error:  # noqa: BLE001 (as above)
                self._say_unmeasured(error)
        return row

    def _say_if_dear(self, started: float) -> None:
        """Say once if measuring takes much of the time of the training, and how often would not."""
        now = time.monotonic()
        self._measuring, self._rows = self._measuring + now - started, self._rows + 1
        if self._since is None:
            self._since, self._measuring = now, 0.0  # the first row compiles and warms up
            return
        share = self._measuring / max(now - self._since, 1e-9)
        if self._rows < _ROWS_TO_TELL or self._measuring < _SECONDS_TO_TELL or self._told_dear or self.logger is None:
            return
        self._told_dear = True
        if share > _DEAR:
            a_row = self._measuring / (self._rows - 1)
            a_step = (now - self._since - self._measuring) / (self._rows - 1) / self.every
            every = math.ceil(a_row * (1 / _CHEAP - 1) / max(a_step, 1e-9))
            remark(
                f"measuring the weights of run {self.logger.run!r} takes {share:.0%} of the time, {a_row:.2g} s a row; "
                f"every={every} would take {_CHEAP:.0%}",
                stacklevel=4,
            )

    def _say_unmeasured(self, error: BaseException) -> None:
        if not self._complained and self.logger is not None:
            self._complained = True
            remark(unmeasured(self.logger, error), stacklevel=4)


def _unwrapped(model: Any) -> Any:
    """The model within wrappers, told by the names of its parameters."""
    names = [name for name, _ in model.named_parameters()]
    for wrapper in _WRAPPERS:
        if names and all(name.startswith(f"{wrapper}.") for name in names):
            return _unwrapped(getattr(model, wrapper))
    return model


class RunMonitor:
    """Warns when the run that calls it leaves what healthy runs do.

    >>> monitor = RunMonitor("reference.json", "seed_3")
    >>> for step in range(1000):
    ...     loss = train_step()
    ...     if monitor.log(step, train_loss=loss, grad_norm=norm):
    ...         save_checkpoint()
    ...         break

    Given a `RunLogger`, it watches all that this logs, weight metrics among it; the loop looks at ``monitor.alarm``.

    >>> logger = RunLogger("logs", "seed_4")
    >>> monitor, model_logger = RunMonitor("reference.json", logger), ModelLogger(logger, model)

    A row is all that is logged at one step, as in a run log. It is judged as soon as it holds all metrics that the
    model watches, or a loss that is no longer finite, which is an alarm at once; a row that lacks some is judged when
    the next begins. A metric that has not come in ten rows is named in a warning. The first rows of a monitor are not
    judged: make one, before the loop.

    Parameters
    ----------
    model : fitted with ``trajhmm fit --for warning``, or the path of its file. None, where there are no healthy runs
        yet, judges the run by its own past: all metrics that are logged, each row when the next begins.
    run : its name in alarms, or the `RunLogger` that logs it.
    rename : names as logged to the model's metrics, where they differ.
    on_alarm : called with the `Alarm`, which comes once a run; by default it is a warning. What it raises ends the
        training.

    Attributes
    ----------
    run : its name.
    listens : whether it watches what a `RunLogger` logs.
    alarm : the run's alarm, None so far; None again in a training that was resumed after it.

    Raises
    ------
    ModelFileError
        The model is a map, or its file cannot be read.
    ValueError
        ``rename`` leads to a metric that the model does not watch.
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        run: str | RunLogger = "run",
        *,
        rename: Mapping[str, str] | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
    ) -> None:
        self.run = run.run if isinstance(run, RunLogger) else run
        self.listens = isinstance(run, RunLogger)
        self.alarm: Alarm | None = None
        from trajhmm.warning.monitor import Monitor  # here: whoever only logs need not wait for what it needs

        self._monitor = Monitor(model)
        self._rename = dict(rename or {})
        self._on_alarm = _warn_of if on_alarm is None else on_alarm
        self._watched = frozenset(self._monitor.metrics)
        self._row: dict[str, float] = {}
        self._step: int | None = None  # of the row under way
        self._judged: int | None = None  # step of the last row that was
        self._rows = 0
        self._complained = False
        for old, new in self._rename.items():
            if model is not None and new not in self._watched:
                raise ValueError(f"rename {old!r}: the model watches {', '.join(self._monitor.metrics)}, not {new!r}")
        if isinstance(run, RunLogger):
            run.listeners.append(self.log)

    def log(self, step: int, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> Alarm | None:
        """Take in what is logged at a step; the alarm if this raises it.

        Parameters
        ----------
        step : whole number. What is logged at the same step as before belongs to the same row.
        metrics, more : names to numbers; a tensor of one element counts as its number, None as not logged. Those that
            the model does not watch are passed over.

        Raises
        ------
        TypeError, ValueError
            The step is no whole number, or the value of a metric that the model watches no number.
        """
        step = index(step)
        alarm = self._judge() if step != self._step else None
        if step == self._judged:
            return alarm
        self._step = step
        for name, value in {**(metrics or {}), **more}.items():
            metric = self._rename.get(name, name)
            if value is None:
                continue
            if self._monitor.model is None:
                if not isinstance(value, (str, bytes)):
                    # Whatever else is logged, pictures among it.
                    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
                        self._row[metric] = _number_of(value)
            elif metric in self._watched:
                self._row[metric] = _number_of(value)
        is_whole = self._monitor.model is not None and len(self._row) == len(self._watched)
        if is_whole or self._monitor.breaks(self.run, self._row):
            return self._judge() or alarm
        return alarm

    def close(self) -> Alarm | None:
        """Judge the last row, and say which metrics never came; the alarm if this raises it."""
        alarm = self._judge()
        if self._rows:
            self._complain()
        return alarm

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint should hold, in numbers, texts, lists and dictionaries."""
        from trajhmm.warning.monitor import fingerprint

        tracker = self._monitor.trackers.get(self.run)
        return {
            "model": fingerprint(self._monitor.model),
            "metrics": list(self._monitor.metrics),
            "tracker": None if tracker is None else tracker.to_dict(),
            "row": dict(self._row),
            "step": self._step,
            "judged": self._judged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; an alarm that was raised before is not raised again."""
        from trajhmm.warning.monitor import fingerprint

        if state["model"] != fingerprint(self._monitor.model):
            text = f"run {self.run!r} was watched with another model before; the watch begins anew"
            remark(text)
            return
        if self._monitor.model is None:
            self._monitor.watch_more(state["metrics"])
        if state["tracker"] is not None:
            self._monitor.resume({self.run: state["tracker"]})
        self._row, self._step, self._judged = dict(state["row"]), state["step"], state["judged"]

    def _judge(self) -> Alarm | None:
        if self._step is None:
            return None
        step, row = self._step, self._row
        self._step, self._row, self._judged = None, {}, step
        self._rows += 1
        alarm = self._monitor.update(self.run, step, row)
        if self._rows == _ROWS_TO_WAIT:
            self._complain()
        if alarm is not None:
            self.alarm = alarm
            self._on_alarm(alarm)
        return alarm

    def _complain(self) -> None:
        """Say, once, which losses were never finite, and which metrics that the model watches were never logged."""
        tracker = self._monitor.trackers.get(self.run)
        if self._complained or tracker is None:
            return
        unknown = tracker.unknown_losses
        missing = [] if self._monitor.model is None else self._monitor.unlogged(self.run)
        missing = [metric for metric in missing if metric not in unknown]
        self._complained = bool(unknown or missing)
        if unknown:
            text = (
                f"run {self.run!r}: {', '.join(unknown)} not finite in any of the first {max(unknown.values())} rows: "
                "taken for not known yet, which is no alarm"
            )
            remark(text, stacklevel=4)
        if missing:
            text = (
                f"run {self.run!r} has not logged {', '.join(missing)} so far, which the model watches; log them, or "
                "say with rename={'name as logged': 'metric'} how they are called"
            )
            remark(text, stacklevel=4)


def _number_of(value: Any) -> float:
    return float(value.detach() if hasattr(value, "detach") else value)


def _warn_of(alarm: Alarm) -> None:
    remark(f"alarm: {alarm}", stacklevel=4)
