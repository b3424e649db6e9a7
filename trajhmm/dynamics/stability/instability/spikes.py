"""Spikes of losses: where they are, how long until the loss is back, and whether training was the better for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.dynamics.stability.instability.neteffect import FEWEST, UNKNOWN, NetEffect, net_effect
from trajhmm.dynamics.stability.instability.scores import (
    FEWEST_BEFORE,
    OLMO_THRESHOLD,
    OLMO_WINDOW,
    THRESHOLD,
    TO_SIGMA,
    WINDOW,
    Score,
    ScoreName,
    olmo_scores,
    on_its_scale,
    robust_score,
)
from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Verdict = Literal["helped", "harmed", "neutral", "never recovered"]

SPIKE_COLUMNS = ("metric", "start", "peak", "recovery_steps", "censored", "net_effect", "verdict")
MADS, BACK = 3.0, 5
"""A loss is back within so many spreads of its level before, at the first of so many rows in a row."""
TRIES = 1000
"""Runs, at most, that are looked at for the placebos of one spike, where hardly any is quiet at its steps."""
# Rows of the trend before, and after recovery.
_TREND, _AFTER = 100, 50
_BLOCK = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Spike:
    """One spike of one metric of one run.

    Attributes
    ----------
    run, metric : whose.
    start, peak : steps of its first row and of its highest.
    recovery_steps : steps from its start until the loss is back; to the end of the log where ``censored``.
    censored : whether the log ends before the loss is back.
    effect : in the unit of the metric.
    """

    run: str
    metric: str
    start: int
    peak: int
    recovery_steps: int
    censored: bool
    effect: NetEffect

    @property
    def verdict(self) -> Verdict:
        """``helped`` where the interval of the net effect lies below 0, ``harmed`` where above, else ``neutral``.

        The rule by the point alone, that 0 and less helped and more harmed, calls chance by one of these names.
        """
        if self.censored:
            return "never recovered"
        if self.effect.ci_high < 0.0:
            return "helped"
        return "harmed" if self.effect.ci_low > 0.0 else "neutral"


def find_spikes(
    runs: RunSet, metrics: Sequence[str] | None = None, *, score: ScoreName = "robust", seed: int = 0
) -> tuple[Spike, ...]:
    """The spikes of losses, by run, metric and step.

    Parameters
    ----------
    runs : the logs.
    metrics : which to look at; by default all that are losses by their names.
    score : ``robust``, or ``olmo``; see :func:`~trajhmm.dynamics.stability.instability.scores.robust_scores` and
        `olmo_scores` there.
    seed : of the intervals of net effects.

    Raises
    ------
    AnalysisError
        There is no such metric, or none that is a loss by its name.
    """
    chosen = [name for name in runs.metrics if is_loss(name)] if metrics is None else list(metrics)
    unknown = [name for name in chosen if name not in runs.metrics]
    if unknown or not chosen:
        what = f"no metric {unknown[0]!r}" if unknown else "no metric is a loss by its name"
        meant = instead_of(unknown[0] if unknown else "loss", runs.metrics)
        raise AnalysisError(f"{what}{meant}; name those in which to look for spikes")
    rng = np.random.default_rng(seed)
    found: list[Spike] = []
    for run, rows in runs.slices():
        for metric in chosen:
            column = runs.metrics.index(metric)
            logged = runs.logged[rows, column]
            found += _spikes_of(
                run, metric, runs.steps[rows][logged], runs.values[rows, column][logged], score=score, rng=rng
            )
    return tuple(found)


def spike_table(spikes: Iterable[Spike]) -> pd.DataFrame:
    """One row a spike: ``run``, then `SPIKE_COLUMNS`; ``net_effect`` is blank where it is not known."""
    import pandas as pd

    rows = [
        {
            "run": one.run,
            "metric": one.metric,
            "start": one.start,
            "peak": one.peak,
            "recovery_steps": one.recovery_steps,
            "censored": one.censored,
            "net_effect": one.effect.value,
            "verdict": one.verdict,
        }
        for one in spikes
    ]
    return pd.DataFrame(rows, columns=["run", *SPIKE_COLUMNS])


def placebos(
    runs: RunSet, spikes: Sequence[Spike], by: Sequence[str] = (), *, each: int = 5, seed: int = 0
) -> tuple[Spike, ...]:
    """What spikes seem to leave behind in runs that had none then: the net effects of the same steps of other runs.

    A loss that is about to fall faster or slower than its trend would get the verdict helped or harmed without a spike.
    So many do, as among these: only a larger share among spikes is theirs.

    Parameters
    ----------
    runs : the logs.
    spikes : all that were found in them.
    by : attributes that a run must share with that of the spike.
    each : runs that are drawn for each spike, at most; of no more than `TRIES` that are looked at.
    seed : of the draws and of the intervals.

    Returns
    -------
    One for each spike and run drawn; the run is that which had no spike from the start of the spike to as long again
    after it as it took.

    Raises
    ------
    AnalysisError
        The runs have no such attribute.
    """
    rng = np.random.default_rng(seed)
    group = {runs.runs[run]: one.runs for one in groups_of(runs, by) for run in one.runs.tolist()}
    own: dict[tuple[str, str], list[Spike]] = {}
    for spike in spikes:
        own.setdefault((spike.run, spike.metric), []).append(spike)
    courses: dict[tuple[str, str], _Course] = {}
    found = []
    for spike in spikes:
        if spike.censored:
            continue
        drawn = 0
        for run in rng.permutation(group[spike.run])[:TRIES].tolist():
            key = (runs.runs[run], spike.metric)
            if runs.runs[run] == spike.run:
                continue
            if key not in courses:
                courses[key] = _course_of(runs, run, spike.metric, own.get(key, ()))
            effect = courses[key].left_behind_as(spike, rng)
            if effect is not None:
                drawn += 1
                found.append(replace(spike, run=key[0], effect=effect))
            if drawn == each:
                break
    return tuple(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Course:
    """One metric of a run, at the rows that log it.

    Attributes
    ----------
    steps, values : (n,)
    quiet, loud : rows that are finite and in no spike, and the others, in their order.
    positive : whether all finite values are above 0.
    """

    steps: NDArray[np.int64]
    values: Floats
    quiet: NDArray[np.int64]
    loud: NDArray[np.int64]
    positive: bool

    def left_behind(self, start: int, back: int, end: int, rng: np.random.Generator) -> NetEffect:
        """The net effect of what lies from row ``start`` to before ``back``, by the rows up to before ``end``."""
        # What is left of a spike that fades would count as its net effect: as long again it is given.
        first, over, waited, last = np.searchsorted(self.quiet, [start, back, back + (back - start), end]).tolist()
        before = self.quiet[max(0, first - _TREND) : first]
        after = self.quiet[waited if last - waited >= FEWEST else over : last][:_AFTER]
        at, later = ((self.steps[rows] - self.steps[0] + 1).astype(np.float64) for rows in (before, after))
        return net_effect((at, self.values[before]), (later, self.values[after]), rng, logs=self.positive)

    def left_behind_as(self, spike: Spike, rng: np.random.Generator) -> NetEffect | None:
        """That of the steps of another run's spike; None where they, or as many after them, are not all quiet here."""
        start = int(self.steps.searchsorted(spike.start))
        next_loud = int(self.loud.searchsorted(start))
        until = int(self.loud[next_loud]) if next_loud < len(self.loud) else len(self.steps)
        if until == start:
            return None
        over = spike.start + spike.recovery_steps
        back, end = self.steps.searchsorted([over, over + spike.recovery_steps]).tolist()
        if end >= len(self.steps) or start == back or until < end:
            return None
        return self.left_behind(start, back, until, rng)


def _course(steps: NDArray[np.int64], values: Floats, spans: Iterable[tuple[int, int | None]]) -> _Course:
    """One metric of a run whose spikes, from their first row to before that at which they are over, are known."""
    finite = np.isfinite(values)
    calm = finite.copy()
    for start, back in spans:
        calm[start:back] = False
    positive = bool(values[finite].min(initial=np.inf) > 0.0)
    return _Course(
        steps=steps, values=values, quiet=np.flatnonzero(calm), loud=np.flatnonzero(~calm), positive=positive
    )


def _course_of(runs: RunSet, run: int, metric: str, own: Sequence[Spike]) -> _Course:
    """One metric of a run, by number, with its own spikes of that metric."""
    rows, column = slice(int(runs.offsets[run]), int(runs.offsets[run + 1])), runs.metrics.index(metric)
    logged = runs.logged[rows, column]
    steps = runs.steps[rows][logged]
    starts = np.searchsorted(steps, [one.start for one in own]).tolist()
    backs = np.searchsorted(steps, [one.start + one.recovery_steps for one in own]).tolist()
    spans = [(start, None if one.censored else back) for one, start, back in zip(own, starts, backs, strict=True)]
    return _course(steps, runs.values[rows, column][logged], spans)


def _spikes_of(
    run: str, metric: str, steps: NDArray[np.int64], values: Floats, *, score: ScoreName, rng: np.random.Generator
) -> Iterator[Spike]:
    """The spikes of one metric that a run logs at (n,) steps."""
    scaled, least = on_its_scale(values)
    spans = list(_spans(scaled, values, least, score))
    if not spans:
        return
    course = _course(steps, values, spans)
    ends = [*(start for start, _ in spans[1:]), len(values)]
    for (start, back), end in zip(spans, ends, strict=True):
        inside = values[start:back]
        highest = start + int(np.argmax(np.where(np.isfinite(inside), inside, np.inf)))
        yield Spike(
            run=run,
            metric=metric,
            start=int(steps[start]),
            peak=int(steps[highest]),
            recovery_steps=int(steps[-1 if back is None else back] - steps[start]),
            censored=back is None,
            effect=UNKNOWN if back is None else course.left_behind(start, back, end, rng),
        )


def _spans(scaled: Floats, values: Floats, least: float, score: ScoreName) -> Iterator[tuple[int, int | None]]:
    """First row of each spike, and the first at which it is over; None if it is not.

    Rows of a spike do not count as being before those after it, nor do those that are not finite at the start of a run,
    before there are rows to judge them by.
    """
    robust = score == "robust"
    finite = np.isfinite(values)
    line = scaled if robust else np.where(finite, values, np.inf)
    window, threshold = (WINDOW, THRESHOLD) if robust else (OLMO_WINDOW, OLMO_THRESHOLD)
    judge: Score = partial(robust_score, least=least) if robust else olmo_scores
    rows = np.flatnonzero(finite | (np.cumsum(finite) >= FEWEST_BEFORE))
    past, place = np.empty(0, dtype=np.int64), 0
    while place < len(rows):
        block = rows[place : place + _BLOCK]
        scores = judge(line[np.concatenate([past, block])])[len(past) :]
        high = (scores >= threshold) | np.isinf(line[block])
        until = int(high.argmax()) if high.any() else len(block)
        past = np.concatenate([past, block[:until]])[-window:]
        place += until
        if until == len(block):
            continue
        start = int(block[until])
        back = _back(scaled, start, _highest_level(scaled[past[-WINDOW:]], least))
        yield start, back
        if back is None:
            return
        place = int(np.searchsorted(rows, back))


def _highest_level(before: Floats, least: float) -> float:
    """Up to which a loss is back to what it was in (n,) rows."""
    level = float(np.median(before))
    with np.errstate(over="ignore"):
        away = np.abs(before - level)
    return level + MADS * max(TO_SIGMA * float(np.median(away)), least)


def _back(scaled: Floats, start: int, highest: float) -> int | None:
    """First of so many rows in a row, after ``start``, that are no higher; None if there are not so many."""
    first, size = start + 1, 64  # the first row itself may be no higher, as it is a spike to another score
    while first + BACK <= len(scaled):
        inside = scaled[first : first + size + BACK - 1] <= highest
        held = sliding_window_view(inside, BACK).all(axis=1)
        if held.any():
            return first + int(held.argmax())
        first, size = first + size, 2 * size
    return None
