"""The Gaussian hidden Markov model: estimator, choice of the number of states, inference, model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trajhmm.hmm.fitmap import fit
from trajhmm.hmm.inference.posteriors import Filtered, Smoothed
from trajhmm.hmm.learning.fitting import FitStatus
from trajhmm.hmm.learning.selection import SelectionPoint
from trajhmm.hmm.model import Model
from trajhmm.hmm.modelfile import load_model
from trajhmm.hmm.parameters import Parameters

if TYPE_CHECKING:
    from trajhmm.hmm.estimator import GaussianHMM

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


def __getattr__(name: str) -> Any:
    """Find the estimator when it is first asked for: scikit-learn takes longer to load than most logs to score."""
    if name != "GaussianHMM":
        raise AttributeError(f"module 'trajhmm.hmm' has no attribute {name!r}")
    from trajhmm.hmm.estimator import GaussianHMM

    return GaussianHMM
