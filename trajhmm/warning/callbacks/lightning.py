"""Lightning's Trainer under watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trajhmm.hmm import Model
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.warning.callbacks.loops import RunMonitor, under_both_names
from trajhmm.warning.tracking import Alarm

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError("warning from Lightning needs it: pip install 'trajhmm[lightning]'") from error


class AlarmCallback(Callback):  # type: ignore[misc]
    """Stop training, or save a checkpoint, when the run leaves what healthy runs do.

    >>> Trainer(callbacks=[AlarmCallback("reference.json", stop=True, save=True)])        # doctest: +SKIP

    It reads what the module logs with ``self.log``, as in ``trainer.callback_metrics``; ``val_loss`` is ``eval_loss``.
    A model that watches weights, gradients or updates as well needs the `RunLogger` that they are logged with; put it
    behind the callback of that:

    >>> logger = RunLogger("logs", "seed_3")                                              # doctest: +SKIP
    >>> callbacks = [RunLoggerCallback(logger), AlarmCallback("reference.json", logger)]  # doctest: +SKIP

    Rank 0 decides for all. Checkpoints hold what is known of the run, so that a training that is resumed goes on being
    watched; an alarm that was raised before is not raised again.

    Parameters
    ----------
    model, run, rename, on_alarm : see `RunMonitor`.
    every : look at steps that are multiples of this; by default the Trainer's ``log_every_n_steps``.
    stop : stop training; the Trainer still does its ``min_epochs`` and ``min_steps``.
    save : save ``alarm-step=STEP.ckpt`` where the Trainer's checkpoints are.
    """

    def __init__(
        self,
        model: Model | str | Path,
        run: str | RunLogger = "run",
        *,
        every: int | None = None,
        rename: Mapping[str, str] | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
        stop: bool = False,
        save: bool = False,
    ) -> None:
        self.monitor = RunMonitor(model, run, rename=rename, on_alarm=on_alarm)
        self._every = every
        self._stop, self._save = stop, save
        self._last_step = 0
        self._acted = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in what was logged for the step that this batch completed, and act if there is an alarm."""
        step = trainer.global_step
        every = self._every if self._every is not None else max(1, trainer.log_every_n_steps)
        if step == self._last_step or step % every:
            return
        self._last_step = step
        if not self.monitor.listens:
            logs = dict(trainer.callback_metrics)  # on all processes: metrics of epochs are gathered from all
            if trainer.is_global_zero:
                self.monitor.log(step, under_both_names(logs))
        self._act(trainer)

    def _act(self, trainer: Trainer) -> None:
        if self._acted or not trainer.strategy.reduce_boolean_decision(self.monitor.alarm is not None, all=False):
            return
        self._acted = True
        if self._save:
            trainer.save_checkpoint(_checkpoints(trainer) / f"alarm-step={trainer.global_step}.ckpt")
        trainer.should_stop = trainer.should_stop or self._stop

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the last row."""
        if trainer.is_global_zero:
            self.monitor.close()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.monitor.load_state_dict(state_dict)


def _checkpoints(trainer: Trainer) -> Path:
    """The folder that the Trainer saves checkpoints to."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(folder) if folder else Path(trainer.default_root_dir) / "checkpoints"
