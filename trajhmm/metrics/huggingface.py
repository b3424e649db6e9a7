"""Hugging Face's Trainer as a source of run logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trajhmm.metrics.loops import ModelLogger, loggable
from trajhmm.metrics.runlogger import RunLogger

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError("logging from Hugging Face's Trainer needs it: pip install 'trajhmm[huggingface]'") from error

_NO_METRIC = re.compile(r"epoch|total_flos|num_input_tokens_seen|(.*_)?(runtime|(samples|steps|tokens)_per_second)")


class RunLoggerCallback(TrainerCallback):  # type: ignore[misc]
    """Log weights, updates and all that the Trainer logs.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})              # doctest: +SKIP
    >>> Trainer(model, args, callbacks=[RunLoggerCallback(logger)], …).train()    # doctest: +SKIP

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
            self.logger.flush_or_warn()


def _logging_steps(args: TrainingArguments, state: TrainerState) -> int:
    if args.logging_strategy != "steps":
        raise ValueError(
            f"the Trainer logs by {args.logging_strategy.value!r}: give every=…, the steps from one row to the next"
        )
    return int(state.logging_steps)
