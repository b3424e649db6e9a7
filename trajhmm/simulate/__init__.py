"""Run logs with known truth."""

from trajhmm.simulate.drift import Drift, drift
from trajhmm.simulate.emissions import Emissions
from trajhmm.simulate.nulls import doors, excursions, skips
from trajhmm.simulate.planted import Planted, planted
from trajhmm.simulate.result import Simulated, SimulatedStates

__all__ = [
    "Drift",
    "Emissions",
    "Planted",
    "Simulated",
    "SimulatedStates",
    "doors",
    "drift",
    "excursions",
    "planted",
    "skips",
]
