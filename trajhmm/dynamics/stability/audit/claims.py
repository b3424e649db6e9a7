"""What a claim is, and how its verdict is reached: clear of the null, and the same in both halves of the seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.intervals import Interval
from trajhmm.shares import LEVEL

Verdict = Literal["yes", "no", "depends"]
HALF_LEVEL = 0.8
"""Of the intervals in a half: as far from the estimate, in its standard errors, as 95% is with twice the seeds."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim about training, and the answer of the logs.

    Attributes
    ----------
    name : ``decoupling``, ``buffering`` or ``precedence``.
    verdict : ``depends`` where the interval leaves it open or the halves of the seeds disagree.
    effect, ci_low, ci_high : 95% interval over seeds; 0, −1 and 1 where nothing can be said.
    n : what stands behind it: runs, pairs or collapses.
    halves : effect and verdict in either half of the seeds, by 80% intervals; empty where there are too few.
    sentence : the answer in words, and what would change it.
    """

    name: str
    verdict: Verdict
    effect: float
    ci_low: float
    ci_high: float
    n: int
    halves: tuple[tuple[float, Verdict], ...]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Effect, interval and verdict, with those of the halves."""

    found: Interval
    verdict: Verdict
    halves: tuple[tuple[float, Verdict], ...]

    def claim(self, name: str, n: int, sentence: str) -> Claim:
        """The claim that this is the answer to."""
        return Claim(
            name=name,
            verdict=self.verdict,
            effect=self.found.value,
            ci_low=self.found.low,
            ci_high=self.found.high,
            n=n,
            halves=self.halves,
            sentence=f"{sentence}{self._about_halves()}",
        )

    def _about_halves(self) -> str:
        if not self.halves:
            return " There are too few seeds to ask each half of them."
        (one, first), (other, second) = self.halves
        return f" The two halves of the seeds say {first} ({one:+.2f}) and {second} ({other:+.2f})."


Estimate = Callable[[pd.DataFrame, float], Interval]
"""Rows, each with its ``seed``, and the level of the interval → the effect."""


def answer(rows: pd.DataFrame, estimate: Estimate, decide: Callable[[Interval], Verdict]) -> Answer:
    """Estimate on all rows and on either half of the seeds, every second one, and decide.

    Parameters
    ----------
    rows : of runs or pairs, each with its ``seed``.
    estimate : the effect with its interval.
    decide : the verdict of an interval.
    """
    found = _known(estimate(rows, LEVEL))
    seeds = sorted(set(rows["seed"]), key=lambda seed: (str(type(seed)), seed))
    if len(seeds) < 4:
        return Answer(found=found, verdict="depends", halves=())
    parts = [_known(estimate(rows[rows["seed"].isin(seeds[first::2])], HALF_LEVEL)) for first in (0, 1)]
    halves = tuple((part.value, decide(part)) for part in parts)
    whole = decide(found)
    return Answer(
        found=found, verdict=whole if all(verdict == whole for _, verdict in halves) else "depends", halves=halves
    )


def unanswered(name: str, why: str) -> Claim:
    """A claim of which these logs say nothing: an effect of 0, and an interval that leaves all open."""
    return Claim(name=name, verdict="depends", effect=0.0, ci_low=-1.0, ci_high=1.0, n=0, halves=(), sentence=why)


def _known(found: Interval) -> Interval:
    """Nothing known is 0 with all left open; no effect here lies beyond −1 and 1."""
    value, low, high = (
        default if np.isnan(bound) else bound
        for bound, default in ((found.value, 0.0), (found.low, -1.0), (found.high, 1.0))
    )
    return Interval(value=value, low=low, high=high).within(-1.0, 1.0)
