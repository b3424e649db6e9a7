"""Which metrics the HMM sees when nobody says."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trajhmm.features.events import is_loss
from trajhmm.logs import Note, RunSet, Scan
from trajhmm.logs.assembly.clocks import IN_PACE, UNKNOWN, called_clock, paces

_OUTCOME = re.compile(r"(^|[/_.])(acc|accuracy|top1|top5|f1|bleu|episode_return|return|reward|score|performance)s?$")
_SCHEDULE = re.compile(
    r"(^|[/_.])(lr|learning_rate|momentum|batch_size|weight_decay)s?([-/_.](pg|group)?_?\d+|-[a-z]\w*(/pg\d+)?)?$"
    r"|(^|[/_.])(lr|learning_rate)[-/]"
    r"|(^|[/_.])((loss|grad)_scale|seq(uence)?_len(gth)?|temperature|dropout|sparsity|ema_decay|(grad(ient)?_)?clip|"
    r"world_size|num_gpus|kl_coef|wd|epsilon)$"
)
# What says how busy the machine is.
_MACHINE = re.compile(
    r"(^|[/_.])(gpu|cpu|vram)([/_.]|$)|_per_sec(ond)?s?$|(^|[/_.])(throughput|tflops|mfu|fps|time_per_step|power)$"
)
# A metric is dense in a run that logs it at such a share of its rows, and in a log if so many runs say so: those that
# lost it early must not cost it.
_DENSE, _MOST_RUNS = 0.9, 0.75


def default_metrics(runs: RunSet | Scan) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Choose the metrics to fit: those logged at nearly every row, in all runs, and no outcomes, schedules or clocks.

    The state of training is to be read from its dynamics; accuracies and returns are what the states are then compared
    with, a learning rate is what the user set, and a clock is only time. A log that holds nothing else keeps them. A
    clock is known by what it does, growing in proportion to the rows or the steps, or by a name that is nothing else.

    Returns
    -------
    metrics : names, in the order of the log.
    notes : what was left out and why.
    """
    counts, known = runs.logged_counts, _known(runs)
    clocks = _clocks(runs)
    # How often a run logs what is fitted: clocks and schedules may stand in rows that hold nothing else.
    kinds = [_reason(metric, clock=clock) for metric, clock in zip(runs.metrics, clocks, strict=True)]
    moves = np.array([kind is None for kind in kinds])
    most = (counts[:, moves] if moves.any() else counts).max(axis=1, keepdims=True)
    dense = (counts >= _DENSE * most).mean(axis=0) >= _MOST_RUNS
    lacking = (~known & known.any(axis=1, keepdims=True)).sum(axis=0)
    reasons: dict[str, str] = {}
    for metric, often, kind, lacks in zip(runs.metrics, dense, kinds, lacking.tolist(), strict=True):
        if kind is not None:
            reasons[metric] = kind
        elif lacks:
            reasons[metric] = f"NaN or blank throughout {lacks} of {len(runs.runs)} runs"
        elif not often:
            reasons[metric] = "logged less often"
    chosen = tuple(metric for metric in runs.metrics if metric not in reasons)
    if not chosen and not moves.any():
        reasons = {metric: reason for metric, reason in reasons.items() if reason not in _KINDS}
        chosen = tuple(metric for metric in runs.metrics if metric not in reasons)
    if not chosen:
        # Every metric has gaps in some run: take those that are logged most often overall.
        overall = np.where(moves | ~moves.any(), counts.sum(axis=0), -1)
        best = overall == overall.max()
        chosen = tuple(metric for metric, keep in zip(runs.metrics, best, strict=True) if keep)
        reasons = {metric: reason for metric, reason in reasons.items() if metric not in chosen}
    notes = tuple(
        Note(kind="left-out", text=f"{metric} is not fitted: {reason} (name it in the metrics to have it)")
        for metric, reason in reasons.items()
    )
    return chosen, notes


def dynamics(metrics: Iterable[str]) -> tuple[str, ...]:
    """Those metrics that are no outcomes, schedules or clocks by their names, sorted."""
    return tuple(name for name in sorted(metrics) if _reason(name, clock=called_clock(name)) is None)


_KINDS = ("a clock", "an outcome", "a schedule", "of the machine")


def _reason(metric: str, *, clock: bool) -> str | None:
    name = metric.lower()
    if _MACHINE.search(name):
        return "of the machine"
    if _SCHEDULE.search(name):
        return "a schedule"
    if _OUTCOME.search(name):
        return "an outcome"
    return "a clock" if clock else None


def _clocks(runs: RunSet | Scan) -> list[bool]:
    """(D,) which metrics are clocks."""
    if isinstance(runs, Scan):
        going = runs.paces
    else:
        going = np.stack([paces(column, runs.steps, runs.offsets) for column in runs.values.T], axis=1)
    return [_is_clock(metric, going[:, d]) if not is_loss(metric) else False for d, metric in enumerate(runs.metrics)]


def _is_clock(metric: str, going: NDArray[np.int8]) -> bool:
    return called_clock(metric) or bool(np.isin(going, (IN_PACE, UNKNOWN)).all() and (going == IN_PACE).any())


def _known(runs: RunSet | Scan) -> NDArray[np.bool_]:
    """(R, D) whether each metric is ever finite in each run."""
    if isinstance(runs, Scan):
        return runs.known
    return np.array([np.isfinite(runs.values[rows]).any(axis=0) for _, rows in runs.slices()])
