"""trainspotter: diagnoses of a log that is read again as it grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.peers.peer import EVAL_LOSS, LOSS, Peer

# A spike is an error from 1.8 times the threshold on that makes it a warning.
_SPIKE_IS_AN_ERROR = 1.8


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainSpotter(Peer):
    """trainspotter's findings that `trainspotter watch --fail-on error` would stop at: 2 an error, 1 a spike.

    Errors are spikes of more than 10.8 robust standard deviations and sustained growth of a loss; smaller spikes are
    warnings. Its other detectors never find an error and are left out, as they would be run over the whole log at each
    row. Spikes look back only, as it says itself, and are found in one pass: as warnings with its own threshold, as
    errors with 1.8 times that.
    """

    name: ClassVar[str] = "trainspotter"
    published_threshold: ClassVar[float | None] = 1.0
    distribution: ClassVar[str] = "trainspotter"
    version: ClassVar[str] = "0.2.6"
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"train/loss": LOSS, "eval/loss": EVAL_LOSS}

    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(T,) severity of what is found at each row."""
        from trainspotter import Run, run_all
        from trainspotter.detectors import DivergenceDetector, SpikeDetector

        whole = Run()
        for name, column in columns.items():
            for t in np.flatnonzero(~np.isnan(column)).tolist():
                whole.add_point(name, t, float(column[t]))
        scores = np.zeros(len(steps))
        plain = SpikeDetector(metrics=tuple(columns))
        grave = SpikeDetector(metrics=tuple(columns), threshold=_SPIKE_IS_AN_ERROR * plain.threshold)
        for severity, detector in enumerate((plain, grave), start=1):
            for finding in run_all(whole, [detector]):
                scores[finding.step_start] = severity
        growing = Run()
        for t in range(len(steps)):
            for name, column in columns.items():
                if not np.isnan(column[t]):
                    growing.add_point(name, t, float(column[t]))
            if run_all(growing, [DivergenceDetector()]):
                scores[t] = 2.0
        return scores
