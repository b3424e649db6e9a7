"""The Gaussian hidden Markov model: estimator, choice of the number of states, inference, model file.

Names are found when they are first used: scikit-learn takes longer to load than most logs to score, and whoever reads a
model file needs no compiled loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trajhmm.lazily import found_lazily

if TYPE_CHECKING:
    from trajhmm.hmm.estimator import GaussianHMM
    from trajhmm.hmm.fitmap import fit
    from trajhmm.hmm.model import Model
    from trajhmm.hmm.modelfile import load_model
    from trajhmm.hmm.parameters import Parameters
    from trajhmm.hmm.results import Filtered, FitStatus, SelectionPoint, Smoothed
else:
    __getattr__ = found_lazily(
        __name__,
        {
            "estimator": ("GaussianHMM",),
            "fitmap": ("fit",),
            "model": ("Model",),
            "modelfile": ("load_model",),
            "parameters": ("Parameters",),
            "results": ("Filtered", "FitStatus", "SelectionPoint", "Smoothed"),
        },
    )

__all__ = [
    "Filtered",
    "FitStatus",
    "GaussianHMM",
    "Model",
    "Parameters",
    "SelectionPoint",
    "Smoothed",
    "fit",
    "load_model",
]
