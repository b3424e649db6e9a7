"""Hugging Face's Trainer: its logs as a run log, and the run under watch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajhmm.integrations.loops import ModelLogger, RunMonitor
from trajhmm.integrations.naming import loggable, under_both_names
from trajhmm.metrics.runlogger import RunLogger

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.tracking import Alarm

try:
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError("Hugging Face's Trainer is not installed: pip install 'trajhmm[huggingface]'") from error

_NO_METRIC = re.compile(r"epoch|total_flos|num_input_tokens_seen|(.*_)?(runtime|(samples|steps|tokens)_per_second)")
# What the Trainer's state, which each checkpoint holds, calls the monitor's.
_STATE = "trajhmm.AlarmCallback"


class RunLoggerCallback(TrainerCallback):  # type: ignore[misc]
    """Log weights, updates and all that the Trainer logs.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})
    >>> callbacks = [RunLoggerCallback(logger)]  # for Trainer(model, args, callbacks=callbacks)

    A step is one of the optimizer, however many batches it accumulates. The row of a step holds the weights after it,
    the update it made, and what the Trainer logs at it: ``train_loss`` (its mean since the Trainer last logged),
    ``grad_norm`` (before clipping), ``learning_rate`` and, where it evaluates, ``eval_loss`` and the other ``eval_``
    metrics. The Trainer puts older losses in the place of those that are not finite, unless it is told
    ``logging_nan_inf_filter=False``. Evaluations outside ``train()`` are not logged.

    Only the main process writes. Waiting rows are written whenever the Trainer saves a checkpoint, so that a run that
    is resumed from it leaves no gap; where steps are taken again, the later rows win. An exception gets past callbacks:
    ``with RunLogger(…) as logger`` around ``train()`` writes the last rows then too.

    Parameters
    ----------
    logger : where rows go. Every process may make one, only the main one uses it.
    every : weights and updates are measured at steps that are multiples of this, and the Trainer is made to log there
        too; by default at its own ``logging_steps``.
    heads, roles : see `parameters_of`; the number of heads is known from the model's configuration.
    layers : add ``weight_l2/LAYER`` and ``update_norm/LAYER``.

    Raises
    ------
    ValueError
        When training begins: the Trainer does not log by steps, and ``every`` is not given; or the model cannot be
        measured, see `ModelLogger`.
    """

    def __init__(
        self,
        logger: RunLogger,
        *,
        every: int | None = None,
        heads: int | tuple[int, int] | None = None,
        roles: Mapping[str, str] | None = None,
        layers: bool = False,
    ) -> None:
        self.logger = logger
        self._every = every
        self._how: dict[str, Any] = {"heads": heads, "roles": roles, "layers": layers}
        self._model_logger: ModelLogger | None = None  # while training

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find out when rows are due."""
        every = self._every if self._every is not None else _logging_steps(args, state)
        logger = self.logger if state.is_world_process_zero else None
        # The Trainer has clipped before any callback is asked, and logs the norm before that itself.
        self._model_logger = ModelLogger(logger, kwargs["model"], every=every, gradients=False, **self._how)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the weights before a step that is due."""
        if self._model_logger is not None:
            self._model_logger.after_backward(state.global_step + 1)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the weights, and have the Trainer log on all processes: it gathers the loss from them."""
        if self._model_logger is not None:
            control.should_log = control.should_log or self._model_logger.due(state.global_step)
            self._model_logger.after_step(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add what the Trainer logs to the row of its step."""
        if self._model_logger is None or not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return  # the last log of all summarizes the run
        row = loggable(self.logger, {name: value for name, value in logs.items() if not _NO_METRIC.fullmatch(name)})
        if row:
            self.logger.log(state.global_step, row)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what a run that is resumed here would not log again."""
        if state.is_world_process_zero:
            self.logger.flush_or_warn()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the last rows."""
        self._model_logger = None
        if state.is_world_process_zero:
            self.logger.flush_or_warn(at_last=True)


def _logging_steps(args: TrainingArguments, state: TrainerState) -> int:
    if args.logging_strategy != "steps":
        raise ValueError(
            f"the Trainer logs by {args.logging_strategy.value!r}: give every=…, the steps from one row to the next"
        )
    return int(state.logging_steps)


class AlarmCallback(TrainerCallback):  # type: ignore[misc]
    """Stop training, or save a checkpoint, when the run leaves what healthy runs do.

    >>> callbacks = [AlarmCallback("reference.json", stop=True, save=True)]  # for a Trainer

    It reads what the Trainer logs: ``loss`` as ``train_loss``, ``grad_norm``, ``eval_loss`` … A model that watches
    weights as well needs the `RunLogger` that they are logged with; put it behind the callback of that:

    >>> logger = RunLogger("logs", "seed_3")
    >>> callbacks = [RunLoggerCallback(logger), AlarmCallback("reference.json", logger)]

    The Trainer puts older losses in the place of those that are not finite, unless it is told
    ``logging_nan_inf_filter=False``. The main process decides for all. Checkpoints hold what is known of the run, so
    that a training that is resumed goes on being watched; an alarm that was raised before is not raised again.

    Parameters
    ----------
    model, run, rename, on_alarm : see `RunMonitor`.
    stop : stop training after the step of the alarm.
    save : save a checkpoint at that step.
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        run: str | RunLogger = "run",
        *,
        rename: Mapping[str, str] | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
        stop: bool = False,
        save: bool = False,
    ) -> None:
        self.monitor = RunMonitor(model, run, rename=rename, on_alarm=on_alarm)
        self._stop, self._save = stop, save
        self._training = self._acted = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from what the checkpoint holds, if there is one."""
        self._training = True
        if state.is_world_process_zero and _STATE in state.stateful_callbacks:
            self.monitor.load_state_dict(state.stateful_callbacks[_STATE])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take in what the Trainer logs, and act if there is an alarm."""
        if not self._training or not logs or "train_runtime" in logs:
            return  # the last log of all summarizes the run
        if state.is_world_process_zero:
            if not self.monitor.listens:
                self.monitor.log(state.global_step, under_both_names(logs))
            state.stateful_callbacks[_STATE] = self.monitor.state_dict()
        if not self._acted and broadcast_object_list([self.monitor.alarm is not None])[0]:
            self._acted = True
            control.should_training_stop = control.should_training_stop or self._stop
            control.should_save = control.should_save or self._save

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Judge the last row."""
        self._training = False
        if state.is_world_process_zero:
            self.monitor.close()
