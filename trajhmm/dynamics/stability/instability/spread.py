"""How far seeds spread over training, and the step at which the spread stops growing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trajhmm.dynamics.stability.groups import Group, groups_of
from trajhmm.features import Sequences, map_sequences
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

SPREAD_COLUMNS = (
    "step",
    "spread",
    "ci_low",
    "ci_high",
    "n_runs",
    "stop_step",
    "stop_low",
    "stop_high",
    "still_growing",
)
STEPS = 200
"""At which the spread is told, at most."""
RESAMPLES = 200
_FEWEST_RUNS, _FEWEST_STEPS = 3, 5
# Share of the runs of a group that get to the end of its spread, about; and names of others that are told.
_REACHED, _ABOUT, _NAMED = 0.75, 0.9, 4
_STOPS = 40
# Spreads grow in proportion to these powers of the steps since the start: like steps under a drift, like their root
# under noise, or later.
_POWERS = (0.25, 0.5, 1.0, 2.0)
# A spread grows at all where that leaves less than so much of what is left by one that only falls.
_GROWS = 0.9
# A stop this near the end, in shares of the log, is none: what little is left could not tell.
_END = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Spread across the runs of one group.

    Attributes
    ----------
    group : the runs.
    n_runs : of them that count.
    steps : (T,) at which all of them have rows.
    spread : (T,) root mean square over metrics of the standard deviation across runs, in units of the spread of all
        rows of all runs.
    ci_low, ci_high : (T,) 95% interval over runs.
    stop_step : from which on it does not grow; the first step where it never does.
    stop_low, stop_high : 95% interval over runs.
    """

    group: Group
    n_runs: int
    steps: NDArray[np.int64]
    spread: Floats
    ci_low: Floats
    ci_high: Floats
    stop_step: int
    stop_low: float
    stop_high: float

    @property
    def still_growing(self) -> bool:
        """Whether the log ends before the spread has stopped, as far as these runs can tell."""
        first, last = float(self.steps[0]), float(self.steps[-1])
        return self.stop_step >= first + _END * (last - first)


def spreads(
    runs: RunSet,
    by: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    *,
    seed: int = 0,
    said: list[str] | None = None,
) -> tuple[Spread, ...]:
    """The spread across seeds, by group of runs; groups of fewer than three runs are left out.

    Metrics are on one scale for all runs: by their logarithm where they are positive, less the mean of all rows, over
    their spread. A run counts until it diverges; one that ends before three in four of its group do is left out, or one
    run that diverges at once would leave nothing to tell of the others.

    Parameters
    ----------
    runs : the logs.
    by : attributes whose values make the groups.
    metrics : names; by default those that a map would use.
    seed : of the interval of the stop.
    said : takes which groups and runs are left out, and why.

    Raises
    ------
    AnalysisError
        The runs have no such attribute.
    LogError
        Unknown metrics, or none that changes.
    """
    groups = groups_of(runs, by)
    scaled = map_sequences(runs, metrics, scaling="shared")
    number = {name: place for place, name in enumerate(scaled.runs)}
    rng = np.random.default_rng(seed)
    found, few = [], list[str]()
    for group in groups:
        members = [number[name] for run in group.runs.tolist() if (name := runs.runs[run]) in number]
        kept = _that_go_on(scaled, members)
        told = [] if said is None else said
        named = ", ".join(f"{name} {value}" for name, value in group.values.items())
        of = f" of {named}" if named else ""
        if short := [scaled.runs[run] for run in sorted(set(members) - set(kept))]:
            more = ", …" if len(short) > _NAMED else ""
            told.append(f"spread across seeds{of}: without runs that end early: {', '.join(short[:_NAMED])}{more}")
        if len(kept) < _FEWEST_RUNS:
            few.append(of)
            continue
        steps, laid_out = _in_step(scaled, kept)
        if len(steps) < _FEWEST_STEPS:
            told.append(
                f"no spread across seeds{of}: its runs have {len(steps)} steps in common; it wants {_FEWEST_STEPS}"
            )
            continue
        found.append(_spread(group, steps, laid_out, rng))
    if few and said is not None:
        which = f" of {len(few)} groups" if len(few) > 1 else few[0]
        said.append(f"no spread across seeds{which}: it wants {_FEWEST_RUNS} runs of a group")
    return tuple(found)


def _that_go_on(scaled: Sequences, members: Sequence[int]) -> list[int]:
    """Those of some runs that get about as far as three in four of them."""
    if not members:
        return []
    runs = np.array(members)
    first, ends = scaled.steps[scaled.offsets[runs]].min(), scaled.steps[scaled.offsets[runs + 1] - 1]
    enough = first + _ABOUT * (float(np.quantile(ends, 1 - _REACHED, method="lower")) - first)
    kept: list[int] = runs[ends >= enough].tolist()
    return kept


def spread_table(found: Sequence[Spread], by: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each group and step: the attributes, then `SPREAD_COLUMNS`; the stop is that of the group."""
    import pandas as pd

    tables = [
        pd.DataFrame(
            {
                **one.group.values,
                "step": one.steps,
                "spread": one.spread,
                "ci_low": one.ci_low,
                "ci_high": one.ci_high,
                "n_runs": one.n_runs,
                "stop_step": one.stop_step,
                "stop_low": one.stop_low,
                "stop_high": one.stop_high,
                "still_growing": one.still_growing,
            }
        )
        for one in found
    ]
    wanted = [*by, *SPREAD_COLUMNS]
    return pd.concat(tables, ignore_index=True)[wanted] if tables else pd.DataFrame(columns=wanted)


def stop_of(curves: Floats, steps: Floats) -> NDArray[np.int64]:
    """(B,) the places at which (B, T) curves stop growing; 0 for those that never grow.

    The least squares fit of a rise in proportion to a power of the steps up to the stop, and a line from there that
    does not rise.

    Parameters
    ----------
    curves : of each draw.
    steps : (T,).
    """
    at = (steps - steps[0]) / (steps[-1] - steps[0])
    curves = curves - curves.mean(axis=1, keepdims=True)  # what is left is the same, and squares do not cancel
    squares = (curves**2).sum(axis=1)
    ones = np.ones_like(at)
    straight, parts = _fits(np.stack([ones, at], axis=1)[np.newaxis], curves, squares)
    least = _GROWS * np.where(parts[0, 1] <= 0.0, straight[0], squares)
    places = np.unique(np.linspace(2, len(at) - 1, min(_STOPS, len(at) - 2)).astype(np.int64))
    rises = np.stack([(np.minimum(at, at[place]) / at[place]) ** power for place in places for power in _POWERS])
    beyond = np.stack([np.maximum(at - at[place], 0.0) for place in places for _ in _POWERS])
    owner = np.repeat(places, len(_POWERS))
    flat, parts = _fits(np.stack([np.broadcast_to(ones, rises.shape), rises], axis=2), curves, squares)
    left = np.where(parts[:, 1] > 0.0, flat, np.inf)
    inside = owner < len(at) - 1  # beyond the last step there is nothing to fall
    design = np.stack([np.broadcast_to(ones, rises.shape), rises, beyond], axis=2)[inside]
    sloped, parts = _fits(design, curves, squares)
    right = (parts[:, 1] > 0.0) & (parts[:, 2] <= 0.0)
    left[inside] = np.minimum(left[inside], np.where(right, sloped, np.inf))
    best = left.argmin(axis=0)
    return np.where(left[best, np.arange(len(curves))] < least, owner[best], 0)


def _fits(designs: Floats, curves: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """(C, B) sums of squares that C least squares fits to B curves leave, and the (C, P, B) parts of their columns.

    Parameters
    ----------
    designs : (C, T, P).
    curves : (B, T).
    squares : (B,) sums of squares of the curves.
    """
    bases, triangles = np.linalg.qr(designs)
    told = np.swapaxes(bases, 1, 2) @ curves.T
    return squares - (told**2).sum(axis=1), np.linalg.solve(triangles, told)


def _in_step(scaled: Sequences, members: Sequence[int]) -> tuple[NDArray[np.int64], Floats]:
    """(T,) steps that all members have rows at, and (R, T, D) their values there."""
    offsets = scaled.offsets.tolist()
    slices = [slice(offsets[run], offsets[run + 1]) for run in members]
    steps = scaled.steps[slices[0]]
    for rows in slices[1:]:
        steps = np.intersect1d(steps, scaled.steps[rows])
    if len(steps) > STEPS:
        steps = steps[np.linspace(0, len(steps) - 1, STEPS).astype(np.int64)]
    laid_out = [scaled.values[rows][np.searchsorted(scaled.steps[rows], steps)] for rows in slices]
    return steps, np.stack(laid_out)


def _spread(group: Group, steps: NDArray[np.int64], laid_out: Floats, rng: np.random.Generator) -> Spread:
    n = len(laid_out)
    values = laid_out - laid_out.mean(axis=0)  # so that squares do not cancel
    whole, low, high = across_runs(values)
    at = steps.astype(np.float64)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
    counts = counts[(counts > 0).sum(axis=1) > 1]
    stop_low, stop_high = np.quantile(steps[stop_of(_across(values, counts), at)], [0.025, 0.975])
    apart = (at[-1] - at[0]) / min(_STOPS, len(at))  # stops that are tried
    return Spread(
        group=group,
        n_runs=n,
        steps=steps,
        spread=whole,
        ci_low=low,
        ci_high=high,
        stop_step=int(steps[stop_of(whole[np.newaxis], at)[0]]),
        stop_low=max(float(stop_low) - apart, float(at[0])),
        stop_high=min(float(stop_high) + apart, float(at[-1])),
    )


def across_runs(values: Floats) -> tuple[Floats, Floats, Floats]:
    """(T,) spread of (R, T, D) values across runs, and its 95% interval: a jackknife of runs, of the logarithm."""
    n = len(values)
    whole = _across(values, np.ones((1, n)))[0]
    logs = np.log(np.maximum(_across(values, np.ones((n, n)) - np.eye(n)), np.finfo(np.float64).tiny))
    error = np.sqrt((n - 1) / n * ((logs - logs.mean(axis=0)) ** 2).sum(axis=0))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    with np.errstate(over="ignore"):  # of a spread that one run makes
        return whole, whole * np.exp(-reach), whole * np.exp(reach)


def _across(values: Floats, counts: Floats) -> Floats:
    """(B, T) root mean square over metrics of the standard deviation across (R, T, D) runs that count (B, R) times."""
    n, n_steps, n_metrics = values.shape
    flat = values.reshape(n, -1)
    total = counts.sum(axis=1, keepdims=True)
    variances = (counts @ flat**2 - (counts @ flat) ** 2 / total) / (total - 1.0)
    across: Floats = np.sqrt(np.maximum(variances, 0.0).reshape(len(counts), n_steps, n_metrics).mean(axis=2))
    return across
