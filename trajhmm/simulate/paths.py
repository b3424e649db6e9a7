"""Paths through states, from a description of phases: a semi-Markov chain, all runs walked at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a path: which state it shows, how long it lasts and what follows.

    Several phases may show one state, so that what follows a state, and when, can depend on the way into it.

    Attributes
    ----------
    state : name of the state.
    stay : mean dwell time in rows, at least ``stages``.
    stages : the dwell time is a sum of so many geometric ones, of equal means: 1 has a constant hazard of ending, more
        keep their time better.
    then : probabilities of the phases that follow, by name; empty where the path ends: it stays there.
    """

    state: str
    stay: float = 1.0
    stages: int = 1
    then: Mapping[str, float] = field(default_factory=dict)


def at_risk(state: str, *, hazard: float, moves: Mapping[str, float], end: str) -> Phase:
    """A phase in which every row is the last before ``end`` with probability ``hazard``, whatever else happens.

    Parameters
    ----------
    state : name of the state.
    hazard : probability per row.
    moves : probability per row of moving on to each of other phases, among the rows that do not end.
    end : name of the phase that ends the path.
    """
    leave = {end: hazard, **{phase: (1.0 - hazard) * rate for phase, rate in moves.items()}}
    total = sum(leave.values())
    return Phase(state=state, stay=1.0 / total, then={phase: rate / total for phase, rate in leave.items()})


def state_names(phases: Mapping[str, Phase]) -> tuple[str, ...]:
    """The K states in the order in which the phases name them."""
    return tuple(dict.fromkeys(phase.state for phase in phases.values()))


def walk(phases: Mapping[str, Phase], *, n_runs: int, n_rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Walk R runs through the phases, each from the first one on.

    Parameters
    ----------
    phases : by name.
    n_runs, n_rows : R runs of T rows.
    rng : draws dwell times and turns.

    Returns
    -------
    (R, T) states, numbered as in :func:`state_names`.
    """
    every = list(phases.values())
    stages = np.array([phase.stages for phase in every])
    stays = np.array([phase.stay for phase in every])
    turns = _cumulative(phases)
    states = np.array([state_names(phases).index(phase.state) for phase in every])
    ends = np.array([not phase.then for phase in every])
    at = np.zeros(n_runs, dtype=np.int64)
    visits, dwells, clock = [], [], np.zeros(n_runs, dtype=np.int64)
    while (clock < n_rows).any():
        # A sum of m geometric times is m rows and a negative binomial number of further ones.
        dwell = stages[at] + rng.negative_binomial(stages[at], stages[at] / stays[at])
        dwell[ends[at]] = n_rows
        visits.append(states[at])
        dwells.append(dwell)
        clock += dwell
        at = (rng.random(n_runs)[:, np.newaxis] >= turns[at]).sum(axis=1)
    return lay_out(np.stack(visits, axis=1), np.stack(dwells, axis=1), n_rows=n_rows)


def lay_out(visits: NDArray[np.int64], dwells: NDArray[np.int64], *, n_rows: int) -> NDArray[np.int64]:
    """Lay visits out as rows.

    Parameters
    ----------
    visits : (R, V) states in order.
    dwells : (R, V) rows of each visit; 0 for one that does not take place. Each run's add up to T at least.
    n_rows : T.

    Returns
    -------
    (R, T) states.
    """
    over = dwells.cumsum(axis=1)[:, np.newaxis, :] <= np.arange(n_rows)[np.newaxis, :, np.newaxis]
    return np.take_along_axis(visits, over.sum(axis=2), axis=1)


def _cumulative(phases: Mapping[str, Phase]) -> NDArray[np.float64]:
    """(P, P) cumulative probabilities of what follows each phase; an end follows itself."""
    order = {name: index for index, name in enumerate(phases)}
    turns = np.zeros((len(phases), len(phases)))
    for name, phase in phases.items():
        for follower, probability in (phase.then or {name: 1.0}).items():
            turns[order[name], order[follower]] = probability
    cumulative = turns.cumsum(axis=1)
    # Exactly 1 at the end, so that no draw falls beyond it.
    return np.asarray(cumulative / cumulative[:, -1:])
