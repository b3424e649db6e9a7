"""Which metrics the HMM sees when nobody says."""

from __future__ import annotations

import re

from trajhmm.logs import Note, RunSet, Scan
from trajhmm.logs.assembly.clocks import is_clock

_OUTCOME = re.compile(r"(^|[/_.])(acc|accuracy|top1|top5|f1|bleu|episode_return|return|reward|score|performance)s?$")
_SCHEDULE = re.compile(r"(^|[/_.])(lr|learning_rate|momentum|batch_size|weight_decay)$")
_DENSE = 0.9


def default_metrics(runs: RunSet | Scan) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Choose the metrics to fit: those logged at nearly every row, and no outcomes, schedules or clocks.

    The state of training is to be read from its dynamics; accuracies and returns are what the states are then compared
    with, a learning rate is what the user set, and a clock is only time. A log that holds nothing else keeps them.

    Returns
    -------
    metrics : names, in the order of the log.
    notes : what was left out and why.
    """
    counts = runs.logged_counts
    most = counts.max(axis=1, keepdims=True)
    dense = (counts >= _DENSE * most).all(axis=0)
    reasons = {
        metric: reason
        for metric, often in zip(runs.metrics, dense, strict=True)
        if (reason := "logged less often" if not often else _reason(metric))
    }
    chosen = tuple(metric for metric in runs.metrics if metric not in reasons)
    if not chosen:
        reasons = {metric: reason for metric, reason in reasons.items() if reason == "logged less often"}
        chosen = tuple(metric for metric in runs.metrics if metric not in reasons)
    if not chosen:
        # Every metric has gaps in some run: take those that are logged most often overall.
        best = counts.sum(axis=0) == counts.sum(axis=0).max()
        chosen = tuple(metric for metric, keep in zip(runs.metrics, best, strict=True) if keep)
        reasons = {metric: "logged less often" for metric in runs.metrics if metric not in chosen}
    notes = tuple(
        Note(kind="left-out", text=f"{metric} is not fitted: {reason} (name it in the metrics to have it)")
        for metric, reason in reasons.items()
    )
    return chosen, notes


def _reason(metric: str) -> str | None:
    name = metric.lower()
    if is_clock(name):
        return "a clock"
    if _OUTCOME.search(name):
        return "an outcome"
    if _SCHEDULE.search(name):
        return "a schedule"
    return None
