"""Models made up for the tests of the HMM."""

from __future__ import annotations

import numpy as np

from trajhmm.hmm.inference import statistics
from trajhmm.hmm.inference.recursions import Exact
from trajhmm.hmm.parameters import Parameters


def piece_by_piece(patch, recursion):
    """Let the E-step take no run as a whole; ``recursion`` what it goes over the pieces with."""
    patch.setattr(statistics, "_taken_whole", lambda chunk, _: np.zeros(chunk.n_runs, dtype=bool))
    patch.setattr(statistics, "Scaled", recursion)


def in_logarithms(patch):
    """Let the E-step use logarithms throughout."""
    piece_by_piece(patch, Exact)


def random_parameters(rng, k, d, covariance_type, *, left_to_right=False):
    """K states over D metrics, of any covariance type; ``left_to_right`` if none can be entered again."""
    transmat = rng.dirichlet(np.ones(k), size=k)
    if left_to_right:
        transmat = np.triu(transmat)
        transmat /= transmat.sum(axis=1, keepdims=True)
    roots = rng.normal(size=(k, d, d))
    matrices = roots @ roots.transpose(0, 2, 1) / d + 0.3 * np.eye(d)
    covars = {
        "diag": rng.uniform(0.2, 2.0, size=(k, d)),
        "full": matrices,
        "tied": matrices[0],
        "spherical": rng.uniform(0.2, 2.0, size=k),
    }[covariance_type]
    return Parameters(
        startprob=rng.dirichlet(np.ones(k)),
        transmat=transmat,
        means=rng.normal(scale=2, size=(k, d)),
        covars=covars,
        covariance_type=covariance_type,
    )
