"""The Gaussian hidden Markov model: estimator, choice of the number of states, inference, model file."""

from trajhmm.hmm.estimator import GaussianHMM
from trajhmm.hmm.fitting import FitStatus
from trajhmm.hmm.inference import Filtered, Smoothed
from trajhmm.hmm.model import Model, fit
from trajhmm.hmm.modelfile import load_model
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.selection import SelectionPoint

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
