"""Values that are not finite, or were lost: what of them is an event, and when a run has diverged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.blanks import LOST

Bools = NDArray[np.bool_]

# Behind ``loss/``, what says of which rows, or of which part of a model. Loggers put others there as well that are no
# losses: an entropy, a share of clipped steps.
_OF = (
    "train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?|eval(?:uation)?|dev|total|all|sum|mean|avg|average|step|epoch|"
    "batch|iter(?:ation)?|policy|value|actor|critic"
)
# Errors that are minimised are losses by another name.
_LOSS = re.compile(
    r"(?:^|[/_.\s-])(?:loss|nll|perplexity|ppl|ce|cross_entropy|bce|mse|rmse|mae|mean_(?:squared|absolute)_error)"
    r"(?:[_/](?:step|epoch|mean|avg))?$"
    rf"|(?:^|/)loss(?:es)?/(?:{_OF})$"
)
# Losses of parts of a model, as detectors and others log them: ``loss_cls``, ``loss_rpn_bbox``.
_PART = (
    "cls|class|classification|bbox|box|boxes|mask|masks|rpn|roi|obj|objectness|dfl|giou|iou|ce|bce|dice|focal|mlm|lm|nsp|"
    "ctc|att|attention|reg|regression|rec|recon|reconstruction|kpt|keypoint|pose|seg|segmentation|centerness|heatmap|hm|"
    "wh|offset|l1|l2|mse|main|aux|head|train|val|test|eval|total"
)
_PART_LOSS = re.compile(rf"(?:^|[/.])loss_(?:{_PART})\d*(?:_(?:{_PART}|\d)\d*)*$")
_CAMEL_LOSS = re.compile(r"[a-z]Loss$")
# A value that is not finite and is followed by a finite one within so many of its rows came back.
_BACK_WITHIN = 10


def is_loss(metric: str) -> bool:
    """Whether a metric is a loss by its name, or by its last part: ``train_loss``, ``Loss/train``, ``val/mse``."""
    name = metric.lower()
    return any(kind.search(name) for kind in (_LOSS, _PART_LOSS)) or _CAMEL_LOSS.search(metric) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Broken:
    """What is known of the D metrics of a run that is followed.

    Attributes
    ----------
    known : (D,) whether a finite value has come.
    streak : (D,) rows in succession, of those that concern a metric, at which it was not finite or lacked.
    """

    known: Bools
    streak: NDArray[np.int64]

    @classmethod
    def at_start(cls, n_metrics: int) -> Self:
        """Before the first row."""
        return cls(known=np.zeros(n_metrics, dtype=bool), streak=np.zeros(n_metrics, dtype=np.int64))

    def after(
        self, values: NDArray[np.float64], logged: Bools, missed: NDArray[np.int8] | None, losses: Bools
    ) -> tuple[Bools, Broken]:
        """Which of the next rows tell of a metric that broke down, and what is known behind them.

        A loss that is not finite in so many words is an event at once; a loss that is blank where it was due, or any
        other metric that is not finite or lacks, at the third such row in succession. Before its first finite value a
        metric is not known yet, and nothing is an event.

        Parameters
        ----------
        values, logged : (n, D), and which are logged; blanks that count as lost may be among them.
        missed : (n, D) rows in succession at which a value was due and is blank; None if nothing lacks.
        losses : (D,) which metrics are losses.

        Returns
        -------
        (n, D) bool, row t from the rows up to t.
        """
        finite = np.isfinite(values)
        lacks = np.zeros(values.shape, dtype=bool) if missed is None else missed > 0
        spelled = logged & ~finite & ~lacks
        bad = spelled | lacks
        there = logged & finite
        if not bad.any():
            concerned = there.any(axis=0)
            return bad, Broken(known=self.known | concerned, streak=np.where(concerned, 0, self.streak))
        known = np.logical_or.accumulate(np.vstack([self.known, there]), axis=0)
        streak = np.zeros(values.shape, dtype=np.int64)
        behind = self.streak.copy()
        for d in range(values.shape[1]):
            rows = np.flatnonzero(bad[:, d] | there[:, d])
            if not len(rows):
                continue
            place = np.arange(1, len(rows) + 1)
            last_good = np.maximum.accumulate(np.where(bad[rows, d], -self.streak[d], place))
            streak[rows, d] = place - last_good
            behind[d] = streak[rows[-1], d]
        events = bad & known[1:] & ((losses & spelled) | (streak >= LOST))
        return events, Broken(known=known[-1], streak=behind)


def divergence(
    metrics: Sequence[str], values: NDArray[np.float64], logged: Bools
) -> tuple[int, tuple[str, ...]] | None:
    """The row at which a finished run diverged, and the metrics that tell; None if it did not.

    A loss that is not finite and does not come back within ten of its rows tells; where no loss is logged, more than
    half of the metrics do. A metric that was never finite does not tell.

    Parameters
    ----------
    metrics : D names.
    values, logged : (n, D) of one run.
    """
    lost = {
        metric: row for d, metric in enumerate(metrics) if (row := _lost_at(values[:, d], logged[:, d])) is not None
    }
    losses = [metric for metric in metrics if is_loss(metric)]
    if losses:
        told = {metric: row for metric, row in lost.items() if metric in losses}
        first = min(told.values(), default=None)
    else:
        told = lost
        rows = sorted(lost.values())
        most = len(metrics) // 2
        first = rows[most] if len(rows) > most else None
    if first is None:
        return None
    return first, tuple(metric for metric, row in told.items() if row <= first)


def _lost_at(column: NDArray[np.float64], logged: Bools) -> int | None:
    """The first row from which on a metric, once finite, does not come back within ten of its rows."""
    rows = np.flatnonzero(logged)
    finite = np.isfinite(column[rows])
    if finite.all() or not finite.any():
        return None
    known = int(np.argmax(finite))
    places = np.arange(len(rows))
    next_finite = np.minimum.accumulate(np.where(finite, places, len(rows) + _BACK_WITHIN)[::-1])[::-1]
    gone = np.flatnonzero((next_finite - places >= _BACK_WITHIN) & ~finite & (places > known))
    if not len(gone):
        return None
    before = np.flatnonzero(finite[: gone[0]])
    return int(rows[before[-1] + 1])
