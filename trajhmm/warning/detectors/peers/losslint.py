"""losslint: a linter of logs that is run again as they grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.peers.peer import EVAL_LOSS, LOSS, Peer


@dataclass(frozen=True, kw_only=True, eq=False)
class LossLint(Peer):
    """losslint's worst finding as `losslint watch` has it after each row: 3 an error, 2 a warning, 1 an info.

    Its own alarm is an error, at which it exits with 1 by default: the loss of the last tenth of the rows against that
    of the first. A spike is a warning, a standstill an info.
    """

    name: ClassVar[str] = "losslint"
    published_threshold: ClassVar[float | None] = 2.0
    distribution: ClassVar[str] = "losslint"
    version: ClassVar[str] = "0.4.1"
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"loss": LOSS, "eval_loss": EVAL_LOSS}

    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(T,) rank of the worst finding in the rows up to each."""
        from losslint.checks import run_all_checks
        from losslint.parsing import RunLog
        from losslint.report import SEVERITY_RANK

        numbers = steps.tolist()
        series = {
            name: [None if np.isnan(value) else value for value in column.tolist()] for name, column in columns.items()
        }
        scores = np.zeros(len(steps))
        for t in range(len(steps)):
            known = {name: values[: t + 1] for name, values in series.items()}
            log = RunLog(steps=numbers[: t + 1], series=known, source=Path("run"), parse_issues=[])
            scores[t] = max((SEVERITY_RANK[finding.severity] for finding in run_all_checks(log)), default=0)
        return scores
