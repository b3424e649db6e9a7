"""What states mean: the training map, attribution, convergence, regression, detours, dissimilarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trajhmm.lazily import found_lazily

if TYPE_CHECKING:
    from trajhmm.dynamics.analysis import Analysis, Decoded, analyze, decode_runs
    from trajhmm.dynamics.detours.convergence import Convergence
    from trajhmm.dynamics.detours.visits import Visits, convergence_by_visit
    from trajhmm.dynamics.maps.training_map import MapEdge, MapState, MetricImportance, TrainingMap
    from trajhmm.dynamics.maps.trajectories import Trajectories
else:
    __getattr__ = found_lazily(
        __name__,
        {
            "analysis": ("Analysis", "Decoded", "analyze", "decode_runs"),
            "detours.convergence": ("Convergence",),
            "detours.visits": ("Visits", "convergence_by_visit"),
            "maps.training_map": ("MapEdge", "MapState", "MetricImportance", "TrainingMap"),
            "maps.trajectories": ("Trajectories",),
        },
    )

__all__ = [
    "Analysis",
    "Convergence",
    "Decoded",
    "MapEdge",
    "MapState",
    "MetricImportance",
    "TrainingMap",
    "Trajectories",
    "Visits",
    "analyze",
    "convergence_by_visit",
    "decode_runs",
]
