"""From the metrics in the logs to the sequences that the HMM sees."""

from collections.abc import Mapping
from typing import Any

from trajhmm.features.causal import CausalRun, causal_runs
from trajhmm.features.columns import columns_by_run
from trajhmm.features.departures import Departures
from trajhmm.features.samestep import SameStep
from trajhmm.features.scalers import PerRunScaler, Scaler
from trajhmm.features.sequences import Sequences, carried_forward, map_sequences


def scaler_from_dict(stored: Mapping[str, Any]) -> PerRunScaler | Departures:
    """Read a scaler back from a model file.

    Raises
    ------
    KeyError
        The kind is unknown, or a part is missing.
    """
    kinds: dict[str, type[PerRunScaler | Departures]] = {"per-run": PerRunScaler, "departures": Departures}
    kind = kinds[str(stored["kind"])]
    return Departures.from_dict(stored) if kind is Departures else PerRunScaler()


__all__ = [
    "CausalRun",
    "Departures",
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
