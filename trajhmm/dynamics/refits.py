"""How often a detour is found again when the model is fitted anew to resampled runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.detours import StateEvidence, Survival, branch_tests
from trajhmm.dynamics.training_map import TrainingMap
from trajhmm.errors import FitError
from trajhmm.features import Sequences
from trajhmm.hmm import GaussianHMM, Model
from trajhmm.hmm.inference.matching import match_states
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.rows.parallel import in_threads

_RESTARTS = 2
_ITERATIONS = 50
_PERMUTATIONS = 999
_BOOTSTRAPS = 500


def refit_detours(
    evidence: tuple[StateEvidence, ...],
    model: Model,
    sequences: Sequences,
    training_map: TrainingMap,
    convergence: Convergence,
    *,
    refits: int,
    seed: int = 0,
    jobs: int = 1,
) -> tuple[StateEvidence, ...]:
    """Refit on runs drawn with replacement, decode all runs, match states by assignment, and test them again.

    Only done if some state is a detour; fits that degenerate do not count as refits.
    """
    if refits < 1 or not any(e.is_strict or e.is_paper for e in evidence):
        return evidence

    def detected(refit: int) -> NDArray[np.int64] | None:
        path = _refit_path(model, sequences, np.random.default_rng([seed, 0x5EF1, refit]))
        if path is None:
            return None
        tests = branch_tests(
            replace(training_map, path=path),
            convergence,
            seed=seed,
            permutations=_PERMUTATIONS,
            bootstraps=_BOOTSTRAPS,
        )
        return np.array([test.is_strict for test in tests], dtype=np.int64)

    results = [result for result in in_threads(detected, range(refits), n_jobs=jobs) if result is not None]
    if not results:
        return evidence
    found = np.sum(results, axis=0)
    return tuple(
        replace(e, survival=Survival(found=int(n), refits=len(results))) for e, n in zip(evidence, found, strict=True)
    )


def _refit_path(model: Model, sequences: Sequences, rng: np.random.Generator) -> NDArray[np.int64] | None:
    """(N,) path of all runs under a fit to resampled runs, in the model's numbering; None if the fit degenerates."""
    offsets = sequences.offsets
    drawn = np.sort(rng.integers(sequences.n_runs, size=sequences.n_runs))
    rows = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in drawn])
    hmm = GaussianHMM(
        model.n_states,
        covariance_type=model.hmm.covariance_type,
        n_restarts=_RESTARTS,
        n_iter=_ITERATIONS,
        random_state=int(rng.integers(2**31)),
    )
    try:
        hmm.fit(sequences.values[rows], sequences.lengths[drawn])
    except FitError:
        return None
    parameters = hmm.parameters.permuted(match_states(hmm.means_, model.hmm.means_))
    return decode_rows(sequences.values, offsets, parameters)[0]
