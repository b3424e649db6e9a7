"""Which columns of a log count as a distance."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A distance, or the separation of twins, or its logarithm: the name, or how it begins.
_DISTANCE = re.compile(r"(log_)?(distance|separation)([_/.].*)?")
_KNOWN = {
    "log_plus": "ln|u + w| of a net of two scalar weights",
    "log_minus": "ln|u − w| of a net of two scalar weights",
}
_PROXIES = {
    "weight_l2": "the mean norm of the weight matrices stands for the distance to the origin; it says how weights grow "
    "or decay, and is stability only where training collapses to 0",
}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A column that says how far a run is from something.

    Attributes
    ----------
    column : its name in the log.
    is_log : whether it holds logarithms already.
    proxy : what it stands for, if it is not the distance itself; None where it is.
    of_twins : whether it belongs to two runs together, in each of which it may be logged.
    """

    column: str
    is_log: bool
    proxy: str | None
    of_twins: bool

    @property
    def label(self) -> str:
        """The name in tables; that of a proxy says so."""
        return self.column if self.proxy is None else f"{self.column} (proxy)"

    def logarithm(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the values of the column; −∞ for 0, NaN below."""
        if self.is_log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(values))


def quantities_of(columns: Iterable[str]) -> tuple[Quantity, ...]:
    """Those of the columns that count as a distance, proxies last."""
    found = []
    for column in columns:
        distance = _DISTANCE.fullmatch(column)
        if column in _KNOWN or distance is not None:
            is_log = column in _KNOWN or (distance is not None and distance[1] is not None)
            of_twins = distance is not None and distance[2] == "separation"
            found.append(Quantity(column=column, is_log=is_log, proxy=None, of_twins=of_twins))
        elif column in _PROXIES:
            found.append(Quantity(column=column, is_log=False, proxy=_PROXIES[column], of_twins=False))
    return tuple(sorted(found, key=lambda quantity: quantity.proxy is not None))
