"""`RunMonitor`: the warning of one run from within its training, and what the callbacks of trainers share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from operator import index
from pathlib import Path
from typing import Any

from trajhmm.errors import TrajHMMWarning
from trajhmm.hmm import Model
from trajhmm.metrics.loops import metric_name, number_of
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.warning.monitor import Monitor, fingerprint
from trajhmm.warning.tracking import Alarm

# After so many rows a metric that has not come yet is said to be missing.
_ROWS_TO_WAIT = 10


class RunMonitor:
    """Warns when the run that calls it leaves what healthy runs do.

    >>> monitor = RunMonitor("reference.json", "seed_3")                          # doctest: +SKIP
    >>> for step in range(1000):                                                  # doctest: +SKIP
    ...     loss = train_step()
    ...     if monitor.log(step, train_loss=loss, grad_norm=norm):
    ...         save_checkpoint()
    ...         break

    Given a `RunLogger`, it watches all that this logs, weight metrics among it; the loop looks at ``monitor.alarm``.

    >>> logger = RunLogger("logs", "seed_3")                                      # doctest: +SKIP
    >>> monitor, model_logger = RunMonitor("reference.json", logger), ModelLogger(logger, model)   # doctest: +SKIP

    A row is all that is logged at one step, as in a run log. It is judged as soon as it holds all metrics that the
    model watches, or a value that is not finite, which is an alarm at once; a row that lacks some is judged when the
    next begins. A metric that has not come in ten rows is named in a warning.

    Parameters
    ----------
    model : fitted with ``trajhmm fit --for warning``, or the path of its file.
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
        model: Model | str | Path,
        run: str | RunLogger = "run",
        *,
        rename: Mapping[str, str] | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
    ) -> None:
        self.run = run.run if isinstance(run, RunLogger) else run
        self.listens = isinstance(run, RunLogger)
        self.alarm: Alarm | None = None
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
            if new not in self._watched:
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
            if metric in self._watched and value is not None:
                self._row[metric] = float(value.detach() if hasattr(value, "detach") else value)
        if len(self._row) == len(self._watched) or not all(map(math.isfinite, self._row.values())):
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
        tracker = self._monitor.trackers.get(self.run)
        return {
            "model": fingerprint(self._monitor.model),
            "tracker": None if tracker is None else tracker.to_dict(),
            "row": dict(self._row),
            "step": self._step,
            "judged": self._judged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; an alarm that was raised before is not raised again."""
        if state["model"] != fingerprint(self._monitor.model):
            text = f"run {self.run!r} was watched with another model before; the watch begins anew"
            warnings.warn(text, TrajHMMWarning, stacklevel=2)
            return
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
        missing = self._monitor.unlogged(self.run)
        if missing and not self._complained:
            self._complained = True
            text = (
                f"run {self.run!r} has not logged {', '.join(missing)} so far, which the model watches; log them, or "
                "say with rename={'name as logged': 'metric'} how they are called"
            )
            warnings.warn(text, TrajHMMWarning, stacklevel=4)


def under_both_names(logs: Mapping[str, Any]) -> dict[str, float]:
    """What of a framework's logs is one number, by the framework's name and by the project's."""
    numbers = {name: number for name, value in logs.items() if (number := number_of(value)) is not None}
    return {metric_name(name): number for name, number in numbers.items()} | numbers


def _warn_of(alarm: Alarm) -> None:
    warnings.warn(f"alarm: {alarm}", TrajHMMWarning, stacklevel=4)
