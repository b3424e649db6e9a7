"""What states mean: the training map, attribution, convergence, regression, detours, dissimilarity."""

from trajhmm.dynamics.analysis import Analysis, Decoded, analyze, decode_runs
from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.training_map import MapEdge, MapState, MetricImportance, TrainingMap
from trajhmm.dynamics.trajectories import Trajectories
from trajhmm.dynamics.visits import Visits, convergence_by_visit

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
