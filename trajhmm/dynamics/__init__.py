"""What states mean: the training map, attribution, convergence, regression, detours, dissimilarity."""

from trajhmm.dynamics.analysis import Analysis, analyze
from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.training_map import MapEdge, MapState, MetricImportance, TrainingMap
from trajhmm.dynamics.trajectories import Trajectories

__all__ = [
    "Analysis",
    "Convergence",
    "MapEdge",
    "MapState",
    "MetricImportance",
    "TrainingMap",
    "Trajectories",
    "analyze",
]
