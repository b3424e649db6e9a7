"""Warnings from within a training: `RunMonitor` for any loop.

The callbacks of frameworks are in `huggingface` and `lightning`, which import them.
"""

from trajhmm.warning.callbacks.loops import RunMonitor

__all__ = ["RunMonitor"]
