"""From saved weights to a run log."""

from trajhmm.metrics.checkpoints.collect import Collected, CollectError, collect
from trajhmm.metrics.checkpoints.find import Checkpoint, find_checkpoints

__all__ = ["Checkpoint", "CollectError", "Collected", "collect", "find_checkpoints"]
