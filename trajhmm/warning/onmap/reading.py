"""From a map of finished runs, and healthy runs, to one that is read row by row beside a model for warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun, PooledScaler
from trajhmm.features.sequences import leading_metric
from trajhmm.hmm import Model
from trajhmm.hmm.finished import alike_when_finished, rows_stand_alone
from trajhmm.hmm.inference.forwards import VISIT, Forwards, why_not_forwards
from trajhmm.logs import RunSet
from trajhmm.warning.onmap.states import MOST_FIRST_ROWS, MapStates, reach_of
from trajhmm.warning.views.phases import MEMORY, Phases

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rows of healthy runs on which the two ways to read a map are compared, give or take a run.
_MOST_ROWS = 100_000
# A run's own start is the mean of this share of the rows of a usual run of the map, as in `PooledScaler`.
_START_SHARE = 0.03
# Metrics that are logged as seldom as the most seldom, give or take this share of its rows, are logged with it.
_AS_SELDOM = 0.01
_LISTED = 6


def check_map(model: Model, watched: Sequence[str], logged: Sequence[str]) -> None:
    """Refuse what cannot be read forwards beside a model for warning.

    Parameters
    ----------
    model : a map.
    watched : metrics of the model for warning.
    logged : metrics of the logs that it is fitted to.

    Raises
    ------
    FitError
        It is no map, sees whole runs, or is of metrics that are not watched.
    """
    if model.purpose != "map":
        raise FitError("the map: a model for warning, no map; give one that 'trajhmm fit LOGS' wrote")
    if not isinstance(model.scaler, PooledScaler):
        raise FitError(
            "the map scales each run by the whole of it (per-run), which is not known of a run under way; fit the map "
            "with --scaling mixed, own-start or shared"
        )
    if why := why_not_forwards(model.parameters):
        raise FitError(f"the map cannot be read row by row: {why}")
    if lacking := [name for name in model.metrics if name not in logged]:
        raise FitError(f"the map needs {_listed(lacking)}, which these logs lack (map names with --rename OLD=NEW)")
    if unwatched := [name for name in model.metrics if name not in watched]:
        raise FitError(
            f"the map needs {_listed(unwatched)}, which the reference leaves out; name all with --metrics, or fit the "
            "map without"
        )


def read_forwards(model: Model, runs: RunSet, healthy: Sequence[CausalRun], phases: Phases) -> MapStates:
    """Read a map row by row, as it is read of runs under way; measure how well on healthy runs, and where they stay.

    Parameters
    ----------
    model : a map for which `check_map` found nothing.
    runs : logs, in which the healthy runs are.
    healthy : the same runs, as they were known at each row.
    phases : of training.

    Raises
    ------
    LogError
        No run has a row in which all metrics of the map are finite.
    """
    every = max(1, -(-sum(run.n_rows for run in healthy) // _MOST_ROWS))
    names = [run.run for run in healthy]
    some = runs.select_runs(names[::every])
    states = _unmeasured(
        model, runs.select_runs(names), len(phases.begins), each_row_counts=rows_stand_alone(model, some)
    )
    paths = {run.run: (run.steps, _told(states, run, phases)) for run in healthy}
    alike, rows = alike_when_finished(model, some, paths).T
    usual = np.zeros(states.usual.shape)
    for steps, path in paths.values():
        known = path >= 0
        np.add.at(usual, (phases.at(steps)[known], path[known]), 1.0)
    agreement = float(alike.sum() / rows.sum())
    return replace(states, usual=_shares(usual), agreement=agreement, worst=float((alike / rows).min()))


def _unmeasured(model: Model, runs: RunSet, n_phases: int, *, each_row_counts: bool) -> MapStates:
    """The map as it is read of some runs; how well and where healthy runs stay is not known yet."""
    scaler, parameters, k = model.scaler, model.parameters, model.n_states
    if not isinstance(scaler, PooledScaler):
        raise FitError("a scale for each run, where one for all was expected")
    logged = runs.logged_counts[:, [runs.metrics.index(name) for name in model.metrics]].sum(axis=0)
    least = (1.0 + _AS_SELDOM) * logged[model.metrics.index(leading_metric(runs, model.metrics))]
    own_start = scaler.kind == "own-start"
    return MapStates(
        metrics=model.metrics,
        rows_of=tuple(name for name, count in zip(model.metrics, logged, strict=True) if count <= least),
        scaler=scaler,
        first_rows=min(max(1, round(_START_SHARE * model.n_rows / model.n_runs)), MOST_FIRST_ROWS) if own_start else 0,
        forwards=Forwards(
            parameters=parameters,
            reach=reach_of(scaler, parameters.autoregression),
            visit=np.inf if each_row_counts else VISIT,
        ),
        usual=np.zeros((n_phases, k)),
        agreement=0.0,
        worst=0.0,
    )


def _told(states: MapStates, run: CausalRun, phases: Phases) -> Ints:
    """(T,) states of a run's rows, told row by row."""
    counts = phases.counting(run.steps, run.logged, np.zeros(MEMORY))
    return states.advance(run.metrics, run.values, run.logged & counts[:, np.newaxis], states.start())[0]


def _shares(rows: Floats) -> Floats:
    """(B, K) shares from (B, K) numbers of rows; a phase without any has those of the one before, or else the first."""
    known = np.flatnonzero(rows.any(axis=1))
    place = known[np.maximum(np.searchsorted(known, np.arange(len(rows)), side="right") - 1, 0)]
    return np.asarray(rows[place] / rows[place].sum(axis=1, keepdims=True))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
