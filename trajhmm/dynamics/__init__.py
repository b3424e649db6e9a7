"""What states mean: the training map, attribution, convergence, regression, detours, dissimilarity."""

from trajhmm.dynamics.analysis import Analysis, Decoded, analyze, decode_runs
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.visits import Visits, convergence_by_visit
from trajhmm.dynamics.maps.training_map import MapEdge, MapState, MetricImportance, TrainingMap
from trajhmm.dynamics.maps.trajectories import Trajectories

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
