"""All that the columns of some logs say of stability, and why the rest is not there."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trajhmm.dynamics.stability.exponents.convergence_in_probability import convergence_table
from trajhmm.dynamics.stability.exponents.quantities import Quantity
from trajhmm.dynamics.stability.exponents.tables import exponent_remarks, group_exponents, lyapunov_table, phase_table
from trajhmm.dynamics.stability.freezing.changes import Changes, Decoded, changes_of_sign, changes_of_states
from trajhmm.dynamics.stability.freezing.hazard import hazard_table
from trajhmm.dynamics.stability.freezing.times import freezing_table, loss_proxy
from trajhmm.dynamics.stability.instability.formation import formation_table, formations
from trajhmm.dynamics.stability.instability.spikes import find_spikes, placebos, spike_table
from trajhmm.dynamics.stability.instability.spread import spread_table, spreads
from trajhmm.dynamics.stability.instability.threephases import ThreePhases, three_phases
from trajhmm.dynamics.stability.relations import noise_relations, placebo_relation, spike_relations
from trajhmm.errors import AnalysisError, TrajHMMError
from trajhmm.features.events import is_loss
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

_FINAL = ("eval_loss", "eval/loss", "val_loss")
_TRAINING = ("train_loss", "train/loss", "loss")
_MOST_RUNS = 200
SIGN = "x"
# Of the smallest and largest distance that is a number.
_LOGARITHMS = float(np.log(np.finfo(np.float64).tiny)), float(np.log(np.finfo(np.float64).max))
"""Column whose sign says in which of two valleys a run is, as ``trajhmm simulate two-valley`` logs it."""
NO_STATES = (
    "no freezing and no hazard: no states are known; fit a map with 'trajhmm fit LOGS -o model.json' and add --model "
    "model.json, or name a column whose sign changes with --sign"
)
NO_PHASES = "no phases of learning: 'log_plus' and 'log_minus' are not logged (see 'trajhmm simulate scalar-net')"

NO_LOSS = "no spikes: no metric is a loss by its name; map one with --rename OLD=train_loss"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stability:
    """What logs say of stability.

    Attributes
    ----------
    by : attributes that make the groups of runs.
    tables : by the name of the file, without its suffix.
    three_phases : whether training passes three phases in order; None where that cannot be told.
    remarks : sentences, on what stands behind it, and on what is not there and how to log it.
    """

    by: tuple[str, ...]
    tables: dict[str, pd.DataFrame]
    three_phases: ThreePhases | None
    remarks: tuple[str, ...]


def measure_stability(
    runs: RunSet,
    by: Sequence[str] = (),
    *,
    decoded: Decoded | None = None,
    diverged: Container[str] = (),
    sign: str | None = None,
    bound: float | None = None,
    seed: int = 0,
) -> Stability:
    """Measure whatever the columns allow.

    Parameters
    ----------
    runs : the logs.
    by : attributes whose values make the groups.
    decoded : the states of the runs under a map; freezing is their last change.
    diverged : runs that are decoded up to where they diverged, see `trajhmm.dynamics.analysis.Decoded`.
    sign : column whose sign makes two states, where none are decoded; by default ``x``, if it is logged.
    bound : of the distance, below which a run counts as close; by default a tenth of the median distance of the first
        rows.
    seed : of the intervals that are drawn.

    Raises
    ------
    AnalysisError
        The runs have no such attribute or column, or the bound is no distance.
    """
    from threadpoolctl import threadpool_limits

    if bound is not None and not 0.0 < bound < np.inf:
        raise AnalysisError(f"bound {bound:g}: expected a distance above 0, below which a run counts as close")
    by = tuple(dict.fromkeys(by))
    # Many small products: threads that wait for each other take longer, much longer beside other work.
    with threadpool_limits(1):
        return _measured(runs, by, decoded, diverged, sign, bound, seed)


def _measured(
    runs: RunSet,
    by: Sequence[str],
    decoded: Decoded | None,
    diverged: Container[str],
    sign: str | None,
    bound: float | None,
    seed: int,
) -> Stability:
    tables: dict[str, pd.DataFrame] = {}
    remarks: list[str] = []
    times: dict[str, pd.DataFrame] = {}
    _measure_distances(runs, by, bound, tables, remarks)
    changes = _changes(runs, decoded, diverged, sign)
    if changes is None:
        remarks.append(NO_STATES)
    else:
        tables["freezing"] = times["freezing"] = freezing_table(runs, changes, by)
        tables["hazard"] = hazard_table(runs, changes, by)
    losses = [metric for metric in runs.metrics if is_loss(metric)]
    if losses:
        spikes = find_spikes(runs, seed=seed)
        tables["spikes"] = spike_table(spikes)
        tables["placebos"] = placebo_relation(spikes, placebos(runs, spikes, by, seed=seed), seed=seed)
        tables["spikes_and_ends"] = spike_relations(runs, spikes, _first_of(_FINAL, losses), by, seed=seed)
        proxy = loss_proxy(runs, by, metric=_first_of(_TRAINING, losses))
        if not proxy["censored"].all():
            tables["loss_proxy"] = times["loss proxy"] = proxy
    else:
        remarks.append(NO_LOSS)
    with _said(remarks, "no relation of freezing with noise"):
        if times:
            tables["noise"] = noise_relations(runs, times, seed=seed)
    with _said(remarks, "no spread across seeds"):
        tables["spread"] = spread_table(spreads(runs, by, seed=seed, said=remarks), by)
    with _said(remarks, "no formation of layers"):
        tables["formation"] = formation_table(formations(runs, by, seed=seed), by)
    phases: ThreePhases | None = None
    with _said(remarks, "three phases not tested"):
        phases = three_phases(_some(runs, remarks, seed), seed=seed)
    return Stability(by=tuple(by), tables=tables, three_phases=phases, remarks=tuple(remarks))


def _measure_distances(
    runs: RunSet, by: Sequence[str], bound: float | None, tables: dict[str, pd.DataFrame], remarks: list[str]
) -> None:
    """Exponents, phases of learning and convergence in probability; into ``tables`` and ``remarks``."""
    import pandas as pd

    exponents = group_exponents(runs, by)
    remarks += exponent_remarks(exponents)
    if exponents:
        tables["lyapunov"] = lyapunov_table(exponents, by)
    distances = dict.fromkeys(one.quantity for one in exponents if one.quantity.proxy is None)
    limits = {one: first_distance(runs, one) / 10 if bound is None else bound for one in distances}
    if limits:
        shares = [convergence_table(runs, by, quantity=one.column, bound=limit) for one, limit in limits.items()]
        tables["convergence"] = pd.concat(shares, ignore_index=True)
        told = ", ".join(f"{one.label} {limit:.3g}" for one, limit in limits.items())
        remarks.append(f"convergence.csv: share of runs whose distance is below {told}, see --bound")
    phases = phase_table(exponents, by)
    if len(phases):
        tables["phases"] = phases
    else:
        remarks.append(NO_PHASES)


def _first_of(names: Sequence[str], losses: Sequence[str]) -> str:
    return next((name for name in names if name in losses), losses[0])


@contextmanager
def _said(remarks: list[str], what: str) -> Iterator[None]:
    """What cannot be measured is said, and why."""
    try:
        yield
    except TrajHMMError as error:
        remarks.append(f"{what}: {error}")


def _some(runs: RunSet, remarks: list[str], seed: int) -> RunSet:
    """At most so many runs, drawn at random, as more tell phases no better and take longer."""
    if runs.n_runs <= _MOST_RUNS:
        return runs
    drawn = np.sort(np.random.default_rng(seed).permutation(runs.n_runs)[:_MOST_RUNS])
    remarks.append(f"three phases: told from {_MOST_RUNS} of {runs.n_runs:,} runs, drawn at random")
    return runs.select_runs(runs.runs[place] for place in drawn.tolist())


def first_distance(runs: RunSet, quantity: Quantity) -> float:
    """Median over runs of the first distance above 0 that they log, as far as a number can say; 1 where none does."""
    column = runs.metrics.index(quantity.column)
    firsts = []
    for _, rows in runs.slices():
        logs = quantity.logarithm(runs.values[rows, column])
        known = np.flatnonzero(np.isfinite(logs))
        if len(known):
            firsts.append(logs[known[0]])
    return float(np.exp(np.clip(np.median(firsts), *_LOGARITHMS))) if firsts else 1.0


def _changes(runs: RunSet, decoded: Decoded | None, diverged: Container[str], sign: str | None) -> Changes | None:
    if decoded is not None:
        return changes_of_states(decoded, diverged)
    if sign is not None:
        return changes_of_sign(runs, sign)
    return changes_of_sign(runs, SIGN) if SIGN in runs.metrics and np.isfinite(runs.column(SIGN)).any() else None
