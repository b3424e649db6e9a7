"""From weights to one row of metrics, from a training loop to a run log, from checkpoints to a run log.

The callbacks of frameworks are in `huggingface`, `lightning` and `keras`, which import them.
"""

from trajhmm.metrics.changes import gradient_metrics, snapshot, update_metrics
from trajhmm.metrics.loops import ModelLogger
from trajhmm.metrics.roles import parameters_of
from trajhmm.metrics.runlogger import RunLogger
from trajhmm.metrics.weights import WEIGHT_METRICS, weight_metrics

__all__ = [
    "WEIGHT_METRICS",
    "ModelLogger",
    "RunLogger",
    "gradient_metrics",
    "parameters_of",
    "snapshot",
    "update_metrics",
    "weight_metrics",
]
