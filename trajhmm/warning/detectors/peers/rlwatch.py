"""rlwatch: rules for policy gradients, fed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.peers.peer import GRADIENT, LOSS, Peer, logged_rows

_SEVERITY = {"warning": 1.0, "critical": 2.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class RLWatch(Peer):
    """rlwatch's worst alert at each row, as `monitor.log_step(step, …)` finds it: 2 critical, 1 a warning.

    It sends both. The suite of detectors is driven without the monitor around it, which writes a database and prints,
    and holds back alerts in the 100 steps after one of the same kind: the first alarm is the same.
    """

    name: ClassVar[str] = "rlwatch"
    published_threshold: ClassVar[float | None] = 0.0
    distribution: ClassVar[str] = "rlwatch"
    version: ClassVar[str] = "0.5.1"
    # As its callback for TRL names them, and as actor-critics are logged.
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "entropy": ("entropy", "policy_entropy", "approx_entropy"),
        "kl_divergence": ("kl", "kl_divergence", "kl_penalty", "approx_kl"),
        "reward_mean": ("reward", "reward_mean", "rewards/mean", "env/reward_mean"),
        "reward_std": ("reward_std", "rewards/std", "env/reward_std"),
        "advantage_std": ("advantage_std", "advantages_std"),
        "loss": (*LOSS, "policy_loss"),
        "grad_norm": (*GRADIENT, "grads/norm"),
    }

    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(T,) severity of the worst alert at each row."""
        from rlwatch.config import RLWatchConfig
        from rlwatch.detectors import DetectorSuite

        suite = DetectorSuite(RLWatchConfig())
        found = [suite.check_step(step, **row) for step, row in zip(steps.tolist(), logged_rows(columns), strict=True)]
        return np.array([max((_SEVERITY[alert.severity] for alert in alerts), default=0.0) for alerts in found])
