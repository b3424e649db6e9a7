"""Spikes of losses: where they are, how long until the loss is back, and whether training was the better for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.dynamics.stability.instability.neteffect import FEWEST, UNKNOWN, NetEffect, net_effect
from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats], Floats]
"""(…, w) values before and (…) values → (…) scores."""
ScoreName = Literal["robust", "olmo"]
Verdict = Literal["helped", "harmed", "neutral", "never recovered"]

SPIKE_COLUMNS = ("metric", "start", "peak", "recovery_steps", "censored", "net_effect", "verdict")
WINDOW, THRESHOLD = 100, 7.0
"""Rows before a value that the robust score judges it by, and how many spreads above their median is a spike."""
OLMO_WINDOW, OLMO_THRESHOLD = 1000, 7.0
"""Of the score of OLMo: standard deviations from the mean of the previous 1,000 values."""
FEWEST_BEFORE = 20
"""Rows before a value without which it is not judged."""
MADS, BACK = 3.0, 5
"""A loss is back within so many spreads of its level before, at the first of so many rows in a row."""
_TO_SIGMA, _LEAST = 1.4826, 0.01
# Of normal noise 5% lie so many standard deviations above the median.
_UPPER, _TO_UPPER = 0.95, 1.645
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
    score : ``robust``, or ``olmo``; see :func:`robust_scores` and :func:`olmo_scores`.
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
        raise AnalysisError(f"{what}; name those in which to look for spikes, of: {', '.join(runs.metrics)}")
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
    each : runs that are drawn for each spike, at most.
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
    courses: dict[tuple[str, str], _Course] = {}
    found = []
    for spike in spikes:
        if spike.censored:
            continue
        drawn = 0
        for run in rng.permutation(group[spike.run]).tolist():
            name = runs.runs[run]
            if drawn == each or name == spike.run:
                continue
            key = (name, spike.metric)
            if key not in courses:
                courses[key] = _course_of(runs, run, spike.metric, spikes)
            course, over = courses[key], spike.start + spike.recovery_steps
            places = np.searchsorted(course.steps, [spike.start, over, over + spike.recovery_steps])
            start, back, end = places.tolist()
            if end >= len(course.steps) or start == back or not course.calm[start:end].all():
                continue
            drawn += 1
            later = np.flatnonzero(~course.calm[end:])
            until = end + int(later[0]) if len(later) else len(course.steps)
            found.append(replace(spike, run=name, effect=course.left_behind(start, back, until, rng)))
    return tuple(found)


def robust_scores(values: Floats, window: int = WINDOW) -> Floats:
    """(N,) how many spreads each value lies above the median of the values before it; of logarithms if all are above 0.

    The spread is the largest of the median absolute deviation, scaled to that of normal noise; how far the upper 5%
    reach, likewise, so that noise with heavy tails is judged by these; and 0.01, a hundredth of the loss itself. NaN
    for the first 20 values.

    Parameters
    ----------
    values : (N,) in their order.
    window : values before each that it is judged by.
    """
    scaled, least = _on_its_scale(np.asarray(values, dtype=np.float64))
    return _judged(np.empty(0), scaled, window, _Robust(least=least))


def olmo_scores(values: Floats, window: int = OLMO_WINDOW) -> Floats:
    """(N,) standard deviations of each value above the mean of the values before it; NaN for the first 20."""
    return _judged(np.empty(0), np.asarray(values, dtype=np.float64), window, _olmo)


def spike_share(values: Floats) -> float:
    """OLMo's spike score: share of values at least 7 standard deviations from the mean of the previous 1,000."""
    scores = olmo_scores(values)
    judged = ~np.isnan(scores)
    return float((np.abs(scores[judged]) >= OLMO_THRESHOLD).mean()) if judged.any() else np.nan


@dataclass(frozen=True, kw_only=True)
class _Robust:
    least: float

    def __call__(self, before: Floats, values: Floats) -> Floats:
        level = np.median(before, axis=-1)
        spread = np.maximum(_TO_SIGMA * np.median(np.abs(before - level[..., np.newaxis]), axis=-1), self.least)
        rank = int(np.ceil(_UPPER * before.shape[-1])) - 1
        upper = np.partition(before, rank, axis=-1)[..., rank] - level
        scores: Floats = (values - level) / np.maximum(spread, upper / _TO_UPPER)
        return scores


def _olmo(before: Floats, values: Floats) -> Floats:
    spread = before.std(axis=-1)
    away = values - before.mean(axis=-1)
    beyond = np.where(away == 0.0, 0.0, np.copysign(np.inf, away))  # of values that do not vary
    scores: Floats = np.divide(away, spread, out=beyond, where=spread > 0.0)
    return scores


def _on_its_scale(values: Floats) -> tuple[Floats, float]:
    """Logarithms where all finite values are above 0; and the least spread on that scale."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0.0:
        return np.log(values, where=np.isfinite(values), out=np.full(len(values), np.inf)), _LEAST
    typical = float(np.median(np.abs(finite))) if len(finite) else 1.0
    return np.where(np.isfinite(values), values, np.inf), _LEAST * (typical or 1.0)


def _judged(past: Floats, values: Floats, window: int, score: Score) -> Floats:
    """(n,) scores of values that follow (p,) others, which count as being before them."""
    past = past[-window:]
    line = np.concatenate([past, values])
    scores = np.full(len(line), np.nan)
    with np.errstate(invalid="ignore"):
        for place in range(max(len(past), FEWEST_BEFORE), min(window, len(line))):
            scores[place] = score(line[np.newaxis, :place], line[place : place + 1])[0]
        if len(line) > window:
            scores[window:] = score(sliding_window_view(line[:-1], window), line[window:])
    return scores[len(past) :]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Course:
    """One metric of a run, at the (n,) rows that log it: steps, values, and whether a row is finite and in no spike."""

    steps: NDArray[np.int64]
    values: Floats
    calm: NDArray[np.bool_]

    def left_behind(self, start: int, back: int, end: int, rng: np.random.Generator) -> NetEffect:
        """The net effect of what lies from row ``start`` to before ``back``, by the rows up to before ``end``."""
        before = np.flatnonzero(self.calm[:start])[-_TREND:]
        after = np.flatnonzero(self.calm[back:end]) + back
        # What is left of a spike that fades would count as its net effect: as long again it is given.
        waited = after[after >= back + (back - start)]
        after = (waited if len(waited) >= FEWEST else after)[:_AFTER]
        at = (self.steps - self.steps[0] + 1).astype(np.float64)
        logs = bool(self.values[np.isfinite(self.values)].min(initial=np.inf) > 0.0)
        return net_effect((at[before], self.values[before]), (at[after], self.values[after]), rng, logs=logs)


def _course_of(runs: RunSet, run: int, metric: str, spikes: Sequence[Spike]) -> _Course:
    """One metric of a run, by number, whose spikes are known."""
    rows, column = slice(int(runs.offsets[run]), int(runs.offsets[run + 1])), runs.metrics.index(metric)
    logged = runs.logged[rows, column]
    steps, values = runs.steps[rows][logged], runs.values[rows, column][logged]
    calm = np.isfinite(values)
    for one in spikes:
        if one.run == runs.runs[run] and one.metric == metric:
            calm &= (steps < one.start) | ((steps >= one.start + one.recovery_steps) & (not one.censored))
    return _Course(steps=steps, values=values, calm=calm)


def _spikes_of(
    run: str, metric: str, steps: NDArray[np.int64], values: Floats, *, score: ScoreName, rng: np.random.Generator
) -> Iterator[Spike]:
    """The spikes of one metric that a run logs at (n,) steps."""
    scaled, least = _on_its_scale(values)
    spans = list(_spans(scaled, values, least, score))
    calm = np.isfinite(values)
    for start, back in spans:
        calm[start : len(values) if back is None else back] = False
    course = _Course(steps=steps, values=values, calm=calm)
    ends = [*(start for start, _ in spans[1:]), len(values)]
    for (start, back), end in zip(spans, ends, strict=False):
        stop = len(values) if back is None else back
        highest = start + int(np.argmax(np.where(np.isfinite(values), values, np.inf)[start:stop]))
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

    Rows of a spike do not count as being before those after it.
    """
    robust = score == "robust"
    line = scaled if robust else np.where(np.isfinite(values), values, np.inf)
    window, threshold = (WINDOW, THRESHOLD) if robust else (OLMO_WINDOW, OLMO_THRESHOLD)
    judge: Score = _Robust(least=least) if robust else _olmo
    past, place = np.empty(0, dtype=np.int64), 0
    while place < len(line):
        block = np.arange(place, min(place + _BLOCK, len(line)))
        scores = _judged(line[past], line[block], window, judge)
        high = (scores >= threshold) | ((len(past) + np.arange(len(block)) >= FEWEST_BEFORE) & np.isinf(line[block]))
        until = int(high.argmax()) if high.any() else len(block)
        past = np.concatenate([past, block[:until]])[-window:]
        if not high.any():
            place += len(block)
            continue
        start = int(block[until])
        level, spread = _level(scaled[past[-WINDOW:]], least)
        inside = scaled[start:] <= level + MADS * spread
        inside[0] = False  # as it may be to another score
        back = _back(inside)
        yield start, None if back is None else start + back
        if back is None:
            return
        place = start + back


def _level(before: Floats, least: float) -> tuple[float, float]:
    level = float(np.median(before))
    return level, max(_TO_SIGMA * float(np.median(np.abs(before - level))), least)


def _back(inside: NDArray[np.bool_]) -> int | None:
    """First of so many rows in a row inside; None if there are not so many."""
    if len(inside) < BACK:
        return None
    held = sliding_window_view(inside, BACK).all(axis=1)
    return int(held.argmax()) if held.any() else None
