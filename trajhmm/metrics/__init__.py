"""From weights to one row of metrics."""

from trajhmm.metrics.weights import WEIGHT_METRICS, weight_metrics

__all__ = ["WEIGHT_METRICS", "weight_metrics"]
