"""Early warning: causal scores of running jobs, the protocol that judges them, and the baselines to beat."""

from trajhmm.warning.runs import Kind, RunTruth, Trial, trials_of

__all__ = ["Kind", "RunTruth", "Trial", "trials_of"]
