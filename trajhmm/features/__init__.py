"""From the metrics in the logs to the sequences that the HMM sees."""

from collections.abc import Callable, Mapping
from typing import Any

from trajhmm.features.causal import CausalRun, causal_runs
from trajhmm.features.columns import columns_by_run
from trajhmm.features.departures import Departures
from trajhmm.features.levels import LevelsAndInnovations
from trajhmm.features.pooled import SCALINGS, PooledScaler, Scaling
from trajhmm.features.samestep import SameStep
from trajhmm.features.scalers import PerRunScaler, Scaler
from trajhmm.features.sequences import Sequences, carried_forward, map_sequences
from trajhmm.stored import Stored


def scaler_from_dict(stored: Mapping[str, Any]) -> PerRunScaler | PooledScaler | LevelsAndInnovations:
    """Read a scaler back from a model file.

    Raises
    ------
    StoredError
        The kind is unknown, or a part is missing or not what it must be.
    """
    kinds: dict[str, Callable[[Mapping[str, Any]], PerRunScaler | PooledScaler | LevelsAndInnovations]] = {
        "per-run": PerRunScaler.from_dict,
        "shared": PooledScaler.from_dict,
        "own-start": PooledScaler.from_dict,
        "levels": LevelsAndInnovations.from_dict,
    }
    return kinds[Stored(stored, "scaler")["kind"].one_of(tuple(kinds))](stored)


__all__ = [
    "SCALINGS",
    "CausalRun",
    "Departures",
    "LevelsAndInnovations",
    "PerRunScaler",
    "PooledScaler",
    "SameStep",
    "Scaler",
    "Scaling",
    "Sequences",
    "carried_forward",
    "causal_runs",
    "columns_by_run",
    "map_sequences",
    "scaler_from_dict",
]
