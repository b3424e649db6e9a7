"""The envelope of healthy seeds: where they were at the same step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import CausalRun, SameStep
from trajhmm.warning.detectors.interface import Detector, Reference


@dataclass(frozen=True, kw_only=True, eq=False)
class Envelope(Detector):
    """Largest departure of any metric from the median over healthy seeds at the same step, in their spread.

    Parameters
    ----------
    floor : least spread, as a share of the metric's usual one; see `trajhmm.features.SameStep`.
    """

    name: ClassVar[str] = "envelope"
    floor: float = 0.25
    same_step_: SameStep | None = None

    def _fit(self, reference: Reference) -> Self:
        return replace(self, same_step_=SameStep.of(reference.healthy, floor=self.floor))

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        largest: NDArray[np.float64] = np.abs(self._learnt(self.same_step_).transform(run)).max(axis=1)
        return largest
