"""Logs with branches and excursions that have no effect: on every way, runs still need as long.

A test of detours that flags a state here has found something in the way it compares, not in the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from trajhmm.simulate.emissions import Emissions, spread_means
from trajhmm.simulate.paths import Phase, at_risk, state_names, walk
from trajhmm.simulate.result import SimulatedStates, observe

_STAGES = 8


def skips(
    *,
    variant: Literal["hazard", "shared"] = "hazard",
    n_runs: int = 40,
    n_rows: int = 200,
    skip_share: float = 0.5,
    emissions: Emissions | None = None,
    separation: float = 2.5,
    n_metrics: int = 8,
    step: int = 10,
    seed: int = 0,
) -> SimulatedStates:
    """Simulate runs that go from ``start`` to ``second`` by way of ``first``, or skip it, at no gain or loss.

    Parameters
    ----------
    variant : ``hazard``: in every row before convergence a run converges with probability 1/50, wherever it is. Runs
        that take long see more states, and seeing them does not make them take long.
        ``shared``: no run converges before ``second``. One that passes through ``first`` spends there the first half
        of the time that the others spend in ``second``, so that the time from leaving ``start`` to convergence has the
        same distribution on both ways.
    n_runs, n_rows : R runs of equal length.
    skip_share : probability that a run which leaves ``start`` skips ``first``.
    emissions : how the metrics scatter; as :class:`Emissions` by default.
    separation : Euclidean distance between the means of every two states.
    n_metrics : D.
    step : training steps from one row to the next.
    seed : of everything.
    """
    if variant == "hazard":
        hazard = 1 / 50
        phases = {
            "start": at_risk(
                "start", hazard=hazard, moves={"first": (1 - skip_share) / 20, "second": skip_share / 20}, end="done"
            ),
            "first": at_risk("first", hazard=hazard, moves={"second": 1 / 25}, end="done"),
            "second": at_risk("second", hazard=hazard, moves={}, end="done"),
        }
    elif variant == "shared":
        half = _STAGES // 2
        phases = {
            "start": _timed("start", 20, {"first": 1 - skip_share, "instead of first": skip_share}),
            "first": _timed("first", 16, {"second": 1}, stages=half),
            "instead of first": _timed("second", 16, {"second": 1}, stages=half),
            "second": _timed("second", 16, {"done": 1}, stages=half),
        }
    else:
        raise ValueError(f"variant = {variant!r}: expected 'hazard' or 'shared'")
    return _simulate(phases, n_runs, n_rows, emissions, separation, n_metrics, step, seed)


def doors(
    *,
    n_doors: int = 4,
    n_runs: int = 40,
    n_rows: int = 200,
    emissions: Emissions | None = None,
    separation: float = 2.5,
    n_metrics: int = 8,
    step: int = 10,
    seed: int = 0,
) -> SimulatedStates:
    """Simulate runs that leave ``plateau`` by one of several doors, each as likely, into parallel states.

    Dwell times behind all doors have the same distribution, and all lead to ``late``, then to convergence.

    Parameters
    ----------
    n_doors : number of parallel states.
    n_runs, n_rows, emissions, separation, n_metrics, step, seed : as in :func:`skips`.
    """
    if n_doors < 1:
        raise ValueError(f"n_doors = {n_doors}: expected 1 or more")
    names = [f"door {door}" for door in range(1, n_doors + 1)]
    phases = {
        "plateau": _timed("plateau", 20, dict.fromkeys(names, 1 / n_doors)),
        **{name: _timed(name, 16, {"late": 1}) for name in names},
        "late": _timed("late", 16, {"done": 1}),
    }
    return _simulate(phases, n_runs, n_rows, emissions, separation, n_metrics, step, seed)


def excursions(
    *,
    n_runs: int = 40,
    n_rows: int = 200,
    spike_stay: float = 4.0,
    emissions: Emissions | None = None,
    separation: float = 2.5,
    n_metrics: int = 8,
    step: int = 10,
    seed: int = 0,
) -> SimulatedStates:
    """Simulate runs on a ``plateau`` that go off to a ``spike`` and come back, again and again.

    They leave the plateau for it with probability 1/12 a row, and converge with probability 1/50 a row, wherever they
    are. Runs that take long spike more often, and spikes do not make them take long.

    Parameters
    ----------
    spike_stay : a spike goes back to the plateau with probability 1/spike_stay a row, unless the run converges before.
    n_runs, n_rows, emissions, separation, n_metrics, step, seed : as in :func:`skips`.
    """
    if not spike_stay >= 1.0:
        raise ValueError(f"spike_stay = {spike_stay:g}: expected 1 row or more")
    phases = {
        "plateau": at_risk("plateau", hazard=1 / 50, moves={"spike": 1 / 12}, end="done"),
        "spike": at_risk("spike", hazard=1 / 50, moves={"plateau": 1 / spike_stay}, end="done"),
    }
    return _simulate(phases, n_runs, n_rows, emissions, separation, n_metrics, step, seed)


def _timed(state: str, stay: float, then: Mapping[str, float], *, stages: int = _STAGES) -> Phase:
    return Phase(state=state, stay=stay, stages=stages, then=then)


def _simulate(
    phases: Mapping[str, Phase],
    n_runs: int,
    n_rows: int,
    emissions: Emissions | None,
    separation: float,
    n_metrics: int,
    step: int,
    seed: int,
) -> SimulatedStates:
    rng = np.random.default_rng(seed)
    phases = {**phases, "done": Phase(state="done")}
    names = state_names(phases)
    paths = walk(phases, n_runs=n_runs, n_rows=n_rows, rng=rng)
    means = spread_means(n_states=len(names), n_metrics=n_metrics, separation=separation, rng=rng)
    return observe(paths, means, names, emissions=emissions or Emissions(), step=step, rng=rng)
