"""Run logs with known truth."""

from trajhmm.simulate.drift import Drift, drift
from trajhmm.simulate.emissions import Emissions
from trajhmm.simulate.nulls import doors, excursions, skips
from trajhmm.simulate.planted import Planted, planted
from trajhmm.simulate.rank_one import rank_one
from trajhmm.simulate.result import Simulated, SimulatedStates
from trajhmm.simulate.scalar_net import scalar_net
from trajhmm.simulate.sweep import Sweep
from trajhmm.simulate.two_valley import two_valley

__all__ = [
    "Drift",
    "Emissions",
    "Planted",
    "Simulated",
    "SimulatedStates",
    "Sweep",
    "doors",
    "drift",
    "excursions",
    "planted",
    "rank_one",
    "scalar_net",
    "skips",
    "two_valley",
]
