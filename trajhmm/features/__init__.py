"""From the metrics in the logs to the sequences that the HMM sees."""

from trajhmm.features.causal import CausalRun, causal_runs
from trajhmm.features.columns import columns_by_run
from trajhmm.features.samestep import SameStep
from trajhmm.features.scalers import PerRunScaler, Scaler, scaler_from_dict
from trajhmm.features.sequences import Sequences, carried_forward, map_sequences

__all__ = [
    "CausalRun",
    "PerRunScaler",
    "SameStep",
    "Scaler",
    "Sequences",
    "carried_forward",
    "causal_runs",
    "columns_by_run",
    "map_sequences",
    "scaler_from_dict",
]
