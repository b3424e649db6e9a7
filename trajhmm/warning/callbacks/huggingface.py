"""Hugging Face's Trainer under watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trajhmm.hmm import Model
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.warning.callbacks.loops import RunMonitor, under_both_names
from trajhmm.warning.tracking import Alarm

try:
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError("warning from Hugging Face's Trainer needs it: pip install 'trajhmm[huggingface]'") from error

# What the Trainer's state, which each checkpoint holds, calls the monitor's.
_STATE = "trajhmm.AlarmCallback"


class AlarmCallback(TrainerCallback):  # type: ignore[misc]
    """Stop training, or save a checkpoint, when the run leaves what healthy runs do.

    >>> AlarmCallback("reference.json", stop=True, save=True)                     # doctest: +SKIP

    It reads what the Trainer logs: ``loss`` as ``train_loss``, ``grad_norm``, ``eval_loss`` … A model that watches
    weights as well needs the `RunLogger` that they are logged with; put it behind the callback of that:

    >>> logger = RunLogger("logs", "seed_3")                                      # doctest: +SKIP
    >>> callbacks = [RunLoggerCallback(logger), AlarmCallback("reference.json", logger)]   # doctest: +SKIP

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
        model: Model | str | Path,
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
