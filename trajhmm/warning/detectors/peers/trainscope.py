"""trainscope: a CUSUM of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.peers.peer import LOSS, Peer, logged_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainScope(Peer):
    """trainscope's spikes: what `TrainScope.step(loss)` reports, by the detector that its default settings make.

    The score is the size of the spike's, which its CUSUM of departures from the median of 200 losses reaches, either
    way, before it starts afresh; 0 where there is no spike. `TrainScope` itself hooks into a model to record layers
    beside the loss, for which logs have no use. With ruptures installed a spike may have another size, not other rows.
    """

    name: ClassVar[str] = "trainscope"
    published_threshold: ClassVar[float | None] = 0.0
    distribution: ClassVar[str] = "trainscope"
    version: ClassVar[str] = "1.8.1"
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"loss": LOSS}

    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(T,) size of the spike at each row."""
        from trainscope import TrainScopeConfig
        from trainscope.core import make_detector

        detector = make_detector(TrainScopeConfig())
        scores = np.zeros(len(steps))
        for t, row in enumerate(logged_rows(columns)):
            if row:
                scores[t] = abs(detector.update(row["loss"]) or 0.0)
        return scores
