"""arc-training: a controller that would roll a run back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.peers.peer import GRADIENT, LOSS, Peer, logged_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class ArcTraining(Peer):
    """Rows at which arc's `Controller.step(loss)` finds a failure: 1 there, 0 elsewhere.

    The controller takes a model; it is given one with a single weight, whose gradient and size are set to the norms
    that the row logs. That leaves its rules for losses (ten times the last five, or far above the first 50), gradients
    and trends; those that look into weights, Lyapunov exponents and health, are off. It then rolls the stand-in back,
    as it would the model, which changes nothing that is logged: only its first failure is that of a run.
    """

    name: ClassVar[str] = "arc_training"
    published_threshold: ClassVar[float | None] = 0.0
    distribution: ClassVar[str] = "arc-training"
    version: ClassVar[str] = "5.2.0.post1"
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "loss": LOSS,
        "grad_norm": GRADIENT,
        "weight_norm": ("weight_l2", "weight_norm"),
    }

    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(T,) whether the controller finds a failure."""
        import torch
        from arc import Controller, ControllerConfig, HealthStatus

        weight = torch.nn.Parameter(torch.ones(1))
        model = torch.nn.ParameterList([weight])
        settings = ControllerConfig(
            enable_lyapunov=False, enable_weight_health=False, verbose=False, log_interventions=False
        )
        singles = {name: column.astype(np.float32) for name, column in columns.items()}  # infinite where it overflows
        scores = np.zeros(len(steps))
        controller = Controller(model, torch.optim.SGD(model.parameters(), lr=1e-3), config=settings)
        for t, row in enumerate(logged_rows(singles)):
            if "weight_norm" in row:
                weight.data.fill_(row["weight_norm"])
            weight.grad = torch.full_like(weight, row["grad_norm"]) if "grad_norm" in row else None
            loss = torch.tensor(row["loss"]) if "loss" in row else None
            scores[t] = controller.step(loss).status is HealthStatus.FAILURE
        controller.close()
        return scores
