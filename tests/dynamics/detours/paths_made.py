"""Decoded paths and convergence made directly, without logs or fits: nulls and truths of the branch test.

A world draws the stays of one run, as states and rows, and the row at which it converges. On a null, no state makes a
run take longer; on a truth, one does, by a mean delay that is known.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.maps.training_map import TrainingMap

STAGES = 8
NEVER = math.inf


def made(runs, *, n_states, n_rows, step=10, shows=True):
    """Map and convergence of runs given as pairs of stays ``(state, rows)`` and the row of convergence.

    A run that has not converged by the last of ``n_rows`` is censored there. After convergence it is in the last
    state, or, unless convergence ``shows``, goes on as if nothing had happened.
    """
    paths = np.empty((len(runs), n_rows), dtype=np.int64)
    ends = np.array([end for _, end in runs], dtype=float)
    for path, (stays, end) in zip(paths, runs, strict=True):
        states, rows = np.array(list(stays)).T
        drawn = np.repeat(states, rows)[:n_rows]
        path[: len(drawn)], path[len(drawn) :] = drawn, drawn[-1]
        if shows and end < n_rows:
            path[int(end) :] = n_states - 1
    names = tuple(map(str, range(len(runs))))
    converged = ends < n_rows
    training_map = TrainingMap(
        metrics=(), states=(None,) * n_states, edges=(), runs=names, lengths=np.full(len(runs), n_rows),
        steps=np.tile(step * np.arange(n_rows), len(runs)), path=paths.ravel(),
    )  # fmt: skip
    last = np.where(converged, ends, n_rows - 1).astype(np.int64)
    return training_map, Convergence(condition="done", runs=names, steps=step * last, converged=converged)


def dwell(rng, mean, stages=STAGES):
    """Rows in a state: geometric (one stage), or a sum of ``stages`` geometric ones of the same mean."""
    return int(rng.geometric(min(1.0, stages / mean), size=stages).sum())


def walk(rng, start, chances, rows):
    """Stays of a Markov chain over ``rows`` rows; ``chances[a][b]`` is that of going from a to b in a row."""
    state, left = start, rows
    while left > 0:
        targets = list(chances.get(state, {}))
        rates = np.array([chances[state][b] for b in targets])
        stay = min(left, int(rng.geometric(rates.sum()))) if len(rates) else left
        yield state, stay
        left -= stay
        if left > 0:
            state = int(rng.choice(targets, p=rates / rates.sum()))


def ends_of(stays):
    """Row after the last of the stays."""
    return sum(rows for _, rows in stays)


# ---- Nulls: one run each ----


def hazard_skips(rng):
    """0 → 2 or 0 → 1 → 2, and whatever the state a run converges with chance 1/50 a row."""
    end = int(rng.geometric(1 / 50))
    chances = {0: {1: 1 / 40, 2: 1 / 40}, 1: {2: 1 / 25}}
    return list(walk(rng, 0, chances, end + 60)), end


def hazard_wander(rng):
    """From each of four states to any other, and whatever the state a run converges with chance 1/80 a row."""
    end = int(rng.geometric(1 / 80))
    chances = {a: {b: 1 / 45 for b in range(4) if b != a} for a in range(4)}
    return list(walk(rng, 0, chances, end + 60)), end


def hazard_forward(rng):
    """From each of five states to a later one, fast, and a constant chance of converging."""
    end = int(rng.geometric(1 / 60))
    chances = {a: dict.fromkeys(range(a + 1, 5), 1 / (10 * (4 - a))) for a in range(4)}
    return list(walk(rng, 0, chances, end + 60)), end


def hazard_spikes(rng):
    """0 → 1 → 0 again and again, and a constant chance of converging."""
    end = int(rng.geometric(1 / 50))
    return list(walk(rng, 0, {0: {1: 1 / 12}, 1: {0: 1 / 4}}, end + 60)), end


def shared_skips(rng, stages=STAGES):
    """0 → 2, or 0 → 1 → 2 where state 1 takes the first half of the time that 2 takes otherwise."""
    first, second = dwell(rng, 16, stages), dwell(rng, 16, stages)
    middle = [(1, first), (2, second)] if rng.random() < 0.5 else [(2, first + second)]
    stays = [(0, dwell(rng, 20, stages)), *middle]
    return stays, ends_of(stays)


def doors(rng, n=4, stages=STAGES, never=0.0):
    """From 0 through one of n states, as likely and as long, to a late one; a share stays in that for good."""
    stays = [(0, dwell(rng, 20, stages)), (1 + int(rng.integers(n)), dwell(rng, 16, stages))]
    stays.append((n + 1, dwell(rng, 16, stages)))
    return (stays, NEVER) if rng.random() < never else (stays, ends_of(stays))


def spikes_over(rng, stages=STAGES, everywhere=False, early=1 / 12, late=1 / 12):
    """0 → 1 → 2 with spikes (3) that hide some rows of state 1, or of all, and cost nothing.

    They come with chance ``early`` a row in the first eight rows of state 1, and ``late`` after.
    """
    stays = [(k, dwell(rng, mean, stages)) for k, mean in enumerate((16, 24, 16))]
    path = np.repeat(*np.array(stays).T)
    may = path >= 0 if everywhere else path == 1
    rates = np.where(np.cumsum(path == 1) <= 8, early, late)
    row = 0
    for spike in np.flatnonzero(may & (rng.random(len(path)) < rates)):
        if spike >= row:
            row = spike + int(rng.geometric(1 / 4))
            path[spike:row] = 3
    return [(k, len(list(rows))) for k, rows in itertools.groupby(path.tolist())], len(path)


def flickers(rng, chance=0.05):
    """0 → 1 → 2, with single rows decoded as the state before or after."""
    stays = [(k, dwell(rng, 16)) for k in range(3)]
    path = np.repeat(*np.array(stays).T)
    path = np.where(rng.random(len(path)) < chance, np.clip(path + rng.choice([-1, 1], size=len(path)), 0, 2), path)
    return [(k, len(list(rows))) for k, rows in itertools.groupby(path.tolist())], len(path)


# ---- Truths, and their nulls: delay 0 ----


def detour(rng, delay=36.0, share=0.4, stages=STAGES, never=0.05, bystander=0.0, stuck=0.0):
    """0 → 1 → 3, a share by way of 2, which takes ``delay`` rows more; then done.

    A share ``never`` stays in 1 for good, a share ``stuck`` in 3. A share ``bystander`` spends the first rows of what
    would be 3 in 4.
    """
    stays = [(0, dwell(rng, 16, stages)), (1, dwell(rng, 14, stages))]
    if rng.random() < never:
        return stays, NEVER
    if rng.random() < share and delay:
        stays.append((2, dwell(rng, delay, min(stages, int(delay)))))
    late = dwell(rng, 12, stages)
    beside = late // 2 if rng.random() < bystander else 0
    stays += [(4, beside), (3, late - beside)] if beside else [(3, late)]
    return (stays, NEVER) if rng.random() < stuck else (stays, ends_of(stays))


def costly_spikes(rng, delay=36.0, rate=1 / 30, stages=STAGES):
    """0 → 1 → 2; from 1 some runs go to 3 and come back, each time ``delay`` rows later."""
    stays = [(0, dwell(rng, 16, stages))]
    left = dwell(rng, 24, stages)
    while (until := int(rng.geometric(rate))) < left:
        stays += [(1, until), (3, dwell(rng, delay, min(stages, int(delay))))]
        left -= until
    stays += [(1, left), (2, dwell(rng, 16, stages))]
    return stays, ends_of(stays)


NULLS = {
    "skips, hazard": (hazard_skips, 4),
    "wandering, hazard": (hazard_wander, 5),
    "forward, hazard": (hazard_forward, 6),
    "spikes, hazard": (hazard_spikes, 3),
    "skips, shared": (shared_skips, 4),
    "skips, shared, geometric": (functools.partial(shared_skips, stages=1), 4),
    "doors": (doors, 7),
    "doors, geometric": (functools.partial(doors, stages=1), 7),
    "two doors, never": (functools.partial(doors, n=2, never=0.3), 5),
    "spikes over the plateau": (spikes_over, 5),
    "spikes over the plateau, geometric": (functools.partial(spikes_over, stages=1), 5),
    "spikes over the early plateau": (functools.partial(spikes_over, early=1 / 5, late=1 / 40), 5),
    "spikes over the late plateau": (functools.partial(spikes_over, early=1 / 40, late=1 / 5), 5),
    "spikes over everything": (functools.partial(spikes_over, everywhere=True), 5),
    "spikes over everything, often": (functools.partial(spikes_over, everywhere=True, early=1 / 5, late=1 / 5), 5),
    "flickers": (flickers, 4),
    "flickers, often": (functools.partial(flickers, chance=0.15), 4),
    "bystander": (functools.partial(detour, delay=0, bystander=0.4), 6),
    "bystander, never": (functools.partial(detour, delay=0, bystander=0.4, never=0.3), 6),
}

DETOUR, COSTLY = 2, 3
"""The states that delay, in `detour` and in `costly_spikes`."""


def drawn(world, n_states, n_runs, rng, *, n_rows=400, shows=True):
    """One set of runs of a world."""
    return made([world(rng) for _ in range(n_runs)], n_states=n_states, n_rows=n_rows, shows=shows)
