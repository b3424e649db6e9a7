"""Scalers: from raw metrics to what the HMM sees. Each can be written into a model file and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trajhmm.stored import Stored

# A metric that stays within this share of its largest value does not change: what is left is rounding.
_ROUNDING = 1e-12
# Of numbers in single precision it is so many units in the last place of the largest.
_SINGLE_ULPS = 4


class Scaler(Protocol):
    """What every scaler does."""

    @property
    def kind(self) -> str:
        """Name in the model file."""

    def to_dict(self) -> dict[str, object]:
        """What the model file holds."""


@dataclass(frozen=True, kw_only=True)
class PerRunScaler:
    """z-score of each metric within each run (Hu et al., TMLR 2023, section 3.1).

    It sees the whole run, so it is for maps of finished runs, never for warning. A metric that does not change within a
    run, beyond rounding in the precision that it was logged in, becomes 0 there.
    """

    kind: str = "per-run"

    def transform(self, values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scale (N, D) finite values of runs with (R,) lengths, all positive; returns a new (N, D) array."""
        centred, spread = per_run_moments(values, lengths)
        return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)

    def to_dict(self) -> dict[str, object]:
        """What the model file holds."""
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PerRunScaler:
        """Read back what `to_dict` gives.

        Raises
        ------
        StoredError
            There is more than the kind.
        """
        Stored(stored, "scaler").members(known=("kind",))
        return cls()


@dataclass(frozen=True, kw_only=True)
class Unscaled:
    """Values as they are: for those that are scaled later, when all of them are known."""

    kind: str = "none"

    def transform(self, values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ARG002
        """The (N, D) values as they are."""
        return values

    def to_dict(self) -> dict[str, object]:
        """What a model file would hold."""
        return {"kind": self.kind}


def per_run_moments(
    values: NDArray[np.float64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre each metric within each run.

    Returns
    -------
    centred : (N, D), each metric less its mean over the run.
    spread : (N, D), its population standard deviation over the run; 0 where it is constant beyond rounding.
    """
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    largest = np.maximum.reduceat(np.abs(values), starts, axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    scaled = values / np.repeat(scale, lengths, axis=0)
    rows = lengths[:, np.newaxis]
    mean = np.add.reduceat(scaled, starts, axis=0) / rows
    centred = scaled - np.repeat(mean, lengths, axis=0)
    spread = np.sqrt(np.add.reduceat(centred**2, starts, axis=0) / rows)
    span = np.maximum.reduceat(scaled, starts, axis=0) - np.minimum.reduceat(scaled, starts, axis=0)
    with np.errstate(over="ignore"):  # from one end of all floats to the other
        span_of_values = span * scale
    spread[(span <= _ROUNDING) | _rounded_to_single(values, starts, lengths, span_of_values, largest)] = 0.0
    return centred, np.repeat(spread, lengths, axis=0)


def _rounded_to_single(
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    span: NDArray[np.float64],
    largest: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """(R, D) True where a run's metric was logged in single precision and changes in the last digits of that alone.

    Single precision is told by the values: each is exactly a float32. Whole numbers may be counts, which are exact.

    Parameters
    ----------
    starts, lengths : (R,) first rows and numbers of rows of the runs.
    span, largest : (R, D) range and largest magnitude of each metric in each run.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # too large for a float32: then it is none
        within = (span > 0) & (span <= _SINGLE_ULPS * np.spacing(largest.astype(np.float32)))
        for run, metric in np.argwhere(within):
            column = values[starts[run] : starts[run] + lengths[run], metric]
            single = column.astype(np.float32) == column
            within[run, metric] = single.all() and (column != np.round(column)).any()
    return within
