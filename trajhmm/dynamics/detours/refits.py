"""Which findings come back in other fits: to resampled runs, from other seeds, with a state less or more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.again import Refits
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.evidence import branch_tests
from trajhmm.dynamics.maps.training_map import MapState, TrainingMap, forks_in, taken_edges
from trajhmm.features import Sequences
from trajhmm.hmm import Model
from trajhmm.hmm.inference.matching import adjusted_rand, contingency, counterparts
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.inference.shifts import possible, without_shifts
from trajhmm.hmm.learning.em import best_parameters
from trajhmm.hmm.learning.fitting import Data, Job, run_jobs
from trajhmm.hmm.parameters import Parameters, Topology
from trajhmm.hmm.rows.parallel import Progress, in_threads
from trajhmm.hmm.rows.source import InMemory

# Of the refits one in so many is to all runs from another seed, the others are to runs drawn with replacement.
_ONE_SEED_IN = 4
_PERMUTATIONS = 999
_BOOTSTRAPS = 500

Ints = NDArray[np.int64]


def refit_map(
    model: Model,
    scaled: Sequences,
    training_map: TrainingMap,
    convergence: Convergence,
    *,
    refits: int,
    within: Ints | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Refits | None:
    """Fit anew with the model's own settings, decode all runs, and look for the same findings.

    Parameters
    ----------
    model : whose settings are used.
    scaled : the runs as the model was fitted to them, see `trajhmm.hmm.model.Model.scaled`.
    training_map, convergence : of the same runs.
    refits : how many; 0 for none.
    within : (R,) level of each run, see `trajhmm.dynamics.detours.find_detours`.
    seed : of the resampled runs and of the fits.
    jobs : threads; the result does not depend on it.
    progress : called with (fits done, fits in all).

    Returns
    -------
    None where there were to be none, or none came to an end.
    """
    if refits < 1:
        return None
    n_seeds = refits // _ONE_SEED_IN
    source = InMemory.of(np.ascontiguousarray(scaled.values), scaled.offsets)
    rng = np.random.default_rng([seed, 0x5EF1])
    drawn = [rng.multinomial(scaled.n_runs, np.full(scaled.n_runs, 1 / scaled.n_runs)) for _ in range(refits - n_seeds)]
    whole = Data(source=source, weights=np.ones(scaled.n_runs))
    data = [*(Data(source=source, weights=weights.astype(np.float64)) for weights in drawn), *[whole] * n_seeds]
    k = model.n_states
    others = [n for n in (k - 1, k + 1) if 1 < n <= scaled.n_runs]
    tasks = [*((one, k) for one in data), *((whole, n) for n in others)]
    work = [
        Job(settings=model.settings.anew(n, seed, 0x5EF1, number), data=one, finals=1)
        for number, (one, n) in enumerate(tasks)
        if one.n_rows >= n
    ]
    fits = [best_parameters(restarts) for restarts in run_jobs(work, n_jobs=jobs, progress=progress)]

    def look(fit: Parameters) -> _Look:
        return _look(fit, scaled, training_map, convergence, within, seed, model.settings.topology)

    usable = [fit for fit in fits if fit is not None]
    looks = dict(zip(map(id, usable), in_threads(look, usable, n_jobs=jobs), strict=True))
    same = [looks[id(fit)] for fit in fits[: len(data)] if fit is not None]
    if not same:
        return None
    return Refits(
        resampled=sum(fit is not None for fit in fits[: len(drawn)]),
        seeds=sum(fit is not None for fit in fits[len(drawn) : len(data)]),
        agreement=np.array([one.agreement for one in same]),
        detours=np.sum([one.detours for one in same], axis=0),
        forks=np.sum([one.forks for one in same], axis=0),
        edges=np.sum([one.edges for one in same], axis=0),
        others={
            fit.n_states: tuple(np.flatnonzero(looks[id(fit)].detours).tolist())
            for fit in fits[len(data) :]
            if fit is not None
        },
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """What one fit says, in the states of the map."""

    agreement: float
    detours: Ints
    forks: Ints
    edges: Ints


def _look(
    fit: Parameters,
    scaled: Sequences,
    training_map: TrainingMap,
    convergence: Convergence,
    within: Ints | None,
    seed: int,
    topology: Topology,
) -> _Look:
    k, n = training_map.n_states, fit.n_states
    fit = possible(fit, topology)
    values = without_shifts(scaled.values, scaled.offsets, fit)
    path = decode_rows(values, scaled.offsets, fit)[0]
    table = contingency(training_map.path, path, k, n)
    stands_for = counterparts(table)
    renamed = stands_for[path]
    states = _nameless(len(np.union1d(stands_for, np.arange(k))), training_map)
    seen = replace(training_map, path=renamed, states=states)
    tests = branch_tests(
        seen,
        convergence,
        seed=seed,
        permutations=_PERMUTATIONS,
        bootstraps=_BOOTSTRAPS,
        within=within,
    )
    named = max(k, int(renamed.max()) + 1)
    edges = taken_edges(renamed, scaled.lengths, named)[:k, :k]
    return _Look(
        agreement=adjusted_rand(table),
        detours=np.array([test.is_strict for test in tests[:k]], dtype=np.int64),
        forks=forks_in(seen.settled(), scaled.lengths, named)[:k].astype(np.int64),
        edges=(edges > 0).astype(np.int64),
    )


def _nameless(n_states: int, training_map: TrainingMap) -> tuple[MapState, ...]:
    """States of which only the number matters."""
    return tuple(replace(training_map.states[0], state=state) for state in range(n_states))
