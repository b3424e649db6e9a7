"""Scalers as model files hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trajhmm.features.levels import LevelsAndInnovations
from trajhmm.features.pooled import PooledScaler
from trajhmm.features.scalers import PerRunScaler
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
