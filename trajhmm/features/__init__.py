"""From the metrics in the logs to the sequences that the HMM sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trajhmm.lazily import found_lazily

if TYPE_CHECKING:
    from trajhmm.features.causal import CausalRun, causal_runs
    from trajhmm.features.columns import columns_by_run
    from trajhmm.features.departures import Departures
    from trajhmm.features.levels import LevelsAndInnovations
    from trajhmm.features.pooled import SCALINGS, PooledScaler, Scaling
    from trajhmm.features.samestep import SameStep
    from trajhmm.features.scalers import PerRunScaler, Scaler
    from trajhmm.features.sequences import Sequences, carried_forward, map_sequences
    from trajhmm.features.stored import scaler_from_dict
else:
    __getattr__ = found_lazily(
        __name__,
        {
            "causal": ("CausalRun", "causal_runs"),
            "columns": ("columns_by_run",),
            "departures": ("Departures",),
            "levels": ("LevelsAndInnovations",),
            "pooled": ("SCALINGS", "PooledScaler", "Scaling"),
            "samestep": ("SameStep",),
            "scalers": ("PerRunScaler", "Scaler"),
            "sequences": ("Sequences", "carried_forward", "map_sequences"),
            "stored": ("scaler_from_dict",),
        },
    )

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
