"""Early warning: causal scores of running jobs, the protocol that judges them, and the baselines to beat."""

from trajhmm.warning.runs import CausalRun, Kind, RunTruth, Trial, causal_runs, trials_of

__all__ = ["CausalRun", "Kind", "RunTruth", "Trial", "causal_runs", "trials_of"]
