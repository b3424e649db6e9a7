"""From the metrics in the logs to the sequences that the HMM sees."""

from trajhmm.features.scalers import PerRunScaler, Scaler, scaler_from_dict
from trajhmm.features.sequences import Sequences, carried_forward, map_sequences

__all__ = ["PerRunScaler", "Scaler", "Sequences", "carried_forward", "map_sequences", "scaler_from_dict"]
