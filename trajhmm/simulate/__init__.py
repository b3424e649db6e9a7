"""Run logs with known truth."""

from trajhmm.simulate.planted import Planted, planted

__all__ = ["Planted", "planted"]
