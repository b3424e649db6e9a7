"""From weights to one row of metrics, rows to a run log, checkpoints to a run log."""

from trajhmm.metrics.changes import gradient_metrics, snapshot, update_metrics
from trajhmm.metrics.roles import parameters_of
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.metrics.weights import WEIGHT_METRICS, weight_metrics

__all__ = [
    "WEIGHT_METRICS",
    "RunLogger",
    "gradient_metrics",
    "parameters_of",
    "snapshot",
    "update_metrics",
    "weight_metrics",
]
