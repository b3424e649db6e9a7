"""Lightning's Trainer: its logs as a run log, and the run under watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajhmm.integrations.loops import ModelLogger, RunMonitor
from trajhmm.integrations.naming import loggable, under_both_names
from trajhmm.metrics.changes import NoGradientsError
from trajhmm.metrics.runlogger import RunLogger

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.tracking import Alarm

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError("Lightning is not installed: pip install 'trajhmm[lightning]'") from error


class RunLoggerCallback(Callback):  # type: ignore[misc]
    """Log weights, gradients, updates and all that the module logs with ``self.log``.

    >>> logger = RunLogger("logs", "seed_3", attributes={"seed": 3})
    >>> callbacks = [RunLoggerCallback(logger, every=10)]  # for Trainer(callbacks=callbacks)

    A step is one of the optimizer (``trainer.global_step``), however many batches it accumulates; with several
    optimizers, gradient and update are those of the last. The row of a step holds the weights after it, the gradient
    before clipping and without the scale of mixed precision, the update, the learning rate that made it, what
    ``training_step`` logs at steps, and ``train_loss``, the loss it returns on rank 0 for the last batch, unless it
    logs one itself.
    What is logged by epoch, and what validation logs (``val_loss`` as ``eval_loss``), joins the row of the step it
    happens at. Only rank 0 writes; waiting rows are written with each checkpoint, at the end, and on an exception.

    Parameters
    ----------
    logger : where rows go. Every process may make one, only that of rank 0 is used.
    every : a row for each step that is a multiple of this; by default the Trainer's ``log_every_n_steps``.
    heads, roles : see `parameters_of`.
    layers : add ``weight_l2/LAYER``, ``grad_norm/LAYER`` and ``update_norm/LAYER``.

    Raises
    ------
    ValueError
        When training begins: the module cannot be measured, see `ModelLogger`.
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
        self._model_logger: ModelLogger | None = None
        self._last_step = 0
        self._learning_rate: float | None = None
        self._before_validation: dict[str, Any] = {}
        self._at_epoch_end: tuple[int, dict[str, Any]] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out when rows are due."""
        every = self._every if self._every is not None else max(1, trainer.log_every_n_steps)
        logger = self.logger if trainer.is_global_zero else None
        self._model_logger = ModelLogger(logger, pl_module, every=every, **self._how)
        self._last_step = trainer.global_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Measure the gradient, accumulated and unscaled, before Lightning clips it."""
        if self._model_logger is None:
            return
        step = trainer.global_step + 1
        if self._model_logger.due(step):
            self._learning_rate = optimizer.param_groups[0]["lr"]
        with suppress(NoGradientsError):  # no gradients: training_step skipped the batch
            self._model_logger.after_backward(step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the step that this batch completed, if it did."""
        step = trainer.global_step
        if self._model_logger is None or step == self._last_step:
            return
        self._last_step = step
        if not self._model_logger.due(step):
            return
        logs = {"train_loss": _whole_loss(trainer, pl_module, outputs)} if isinstance(outputs, Mapping) else {}
        now = _logged_now(trainer)
        logs |= {"learning_rate": self._learning_rate} | {n: now[n] for n in now if not _is_twin(n, "_step", now)}
        self._model_logger.after_step(step, loggable(self.logger, logs) if trainer.is_global_zero else {})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the epoch that are not those of its steps."""
        now = _logged_now(trainer)
        self._log(trainer, {n: now[n] for n in now if f"{n}_epoch" not in now and not _is_twin(n, "_epoch", now)})
        self._at_epoch_end = trainer.global_step, dict(trainer.callback_metrics)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the module itself logged at the end of the epoch before, which comes after its callbacks."""
        self._log_what_came_after(trainer)

    def _log_what_came_after(self, trainer: Trainer) -> None:
        if self._at_epoch_end is None:
            return
        (step, old), self._at_epoch_end = self._at_epoch_end, None
        now = trainer.callback_metrics
        of_steps = {n for n in now if f"{n}_epoch" in now or _is_twin(n, "_epoch", now)}
        new = {n: now[n] for n in now if n not in of_steps and now[n] is not old.get(n)}
        row = loggable(self.logger, new) if trainer.is_global_zero else {}
        if row:
            self.logger.log(step, row)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what older validations and training have left among the metrics."""
        self._before_validation = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what this validation found."""
        old, self._before_validation = self._before_validation, {}
        new = {name: value for name, value in trainer.callback_metrics.items() if value is not old.get(name)}
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._log(trainer, new, evaluated=True)

    def _log(self, trainer: Trainer, logs: Mapping[str, Any], *, evaluated: bool = False) -> None:
        row = loggable(self.logger, logs, evaluated=evaluated) if trainer.is_global_zero else {}
        if row:
            self.logger.log(trainer.global_step, row)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
        """Write what a run that is resumed here would not log again."""
        self._flush(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the module itself logged at the end of the last epoch, and write the last rows."""
        self._log_what_came_after(trainer)
        self._flush(trainer, at_last=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the rows that led to it."""
        self._flush(trainer, at_last=True)

    def _flush(self, trainer: Trainer, *, at_last: bool = False) -> None:
        if trainer.is_global_zero:
            self.logger.flush_or_warn(at_last=at_last)


def _logged_now(trainer: Trainer) -> dict[str, Any]:
    """What the module logged for this step or this epoch.

    ``trainer.callback_metrics`` also holds what older epochs and validations left there. All processes must call this:
    metrics of epochs are gathered from all.
    """
    return dict(trainer._logger_connector.metrics["callback"])  # noqa: SLF001


def _whole_loss(trainer: Trainer, pl_module: LightningModule, outputs: Mapping[str, Any]) -> Any:
    """The loss that ``training_step`` returned: where gradients accumulate, Lightning hands on a share of it."""
    loss = outputs.get("loss")
    return loss * trainer.accumulate_grad_batches if loss is not None and pl_module.automatic_optimization else loss


def _is_twin(name: str, suffix: str, logs: Mapping[str, Any]) -> bool:
    """Whether it repeats another: what is logged by step and by epoch goes by two names."""
    return name.endswith(suffix) and name.removesuffix(suffix) in logs


class AlarmCallback(Callback):  # type: ignore[misc]
    """Stop training, or save a checkpoint, when the run leaves what healthy runs do.

    >>> callbacks = [AlarmCallback("reference.json", stop=True, save=True)]  # for Trainer(callbacks=callbacks)

    It reads what the module logs with ``self.log``, as in ``trainer.callback_metrics``; ``val_loss`` is ``eval_loss``.
    A model that watches weights, gradients or updates as well needs the `RunLogger` that they are logged with; put it
    behind the callback of that:

    >>> logger = RunLogger("logs", "seed_3")
    >>> callbacks = [RunLoggerCallback(logger), AlarmCallback("reference.json", logger)]

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
        model: Model | str | Path | None = None,
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
