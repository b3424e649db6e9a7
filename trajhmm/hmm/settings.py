"""How one number of states is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from trajhmm.errors import FitError
from trajhmm.hmm.parameters import COVARIANCE_TYPES, MOST_STATES, TOPOLOGIES, CovarianceType, Parameters, Topology
from trajhmm.stored import brief

EngineName = Literal["native", "hmmlearn"]
SearchName = Literal["restarts", "wide"]

# Seeds of numpy's generators.
LARGEST_SEED = 2**128 - 1
# Nats a row that still count as a rise in a fit that is only compared with another.
_COMPARED = 1e-5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to fit one number of states; see `trajhmm.hmm.estimator.GaussianHMM`."""

    n_components: int
    covariance_type: CovarianceType
    topology: Topology = "free"
    n_restarts: int
    n_iter: int
    tol: float
    floor: float
    shrinkage: float
    start: Parameters | None
    engine: EngineName
    random_state: int
    shifts: bool = False
    scales: bool = False
    search: SearchName = "restarts"

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise FitError(f"covariance_type {self.covariance_type!r}: expected one of {', '.join(COVARIANCE_TYPES)}")
        if self.topology not in TOPOLOGIES:
            raise FitError(f"topology {brief(self.topology)}: expected one of {', '.join(TOPOLOGIES)}")
        if self.search not in ("restarts", "wide"):
            raise FitError(f"search {brief(self.search)}: expected restarts or wide")
        if self.scales and not (self.shifts and self.covariance_type in ("diag", "spherical")):
            raise FitError("runs have scales only beside shifts, and only with diagonal covariances")
        if self.shifts and self.search != "wide":
            raise FitError("runs with shifts need search='wide'")
        if self.start is not None and self.search == "wide":
            raise FitError("search='wide' looks for starts of its own; give start with search='restarts'")
        if self.shifts and self.engine == "hmmlearn":
            raise FitError("engine hmmlearn knows no shifts of runs; use the native engine, or another scaling")
        for name in ("n_components", "n_restarts", "n_iter"):
            _check_number(name, getattr(self, name), Integral, 1)
        for name in ("floor", "shrinkage"):
            _check_number(name, getattr(self, name), Real, 0)
        if isinstance(self.tol, bool) or not isinstance(self.tol, Real) or np.isnan(self.tol):
            raise FitError(f"tol {self.tol!r:.60}: expected a number")
        _check_number("random_state", self.random_state, Integral, 0)
        if self.random_state > LARGEST_SEED:
            raise FitError(f"random_state {self.random_state:.3g}: expected less than 2^128")
        if self.n_components > MOST_STATES:
            raise FitError(f"n_components {self.n_components}: expected at most {MOST_STATES} states")

    def anew(self, n_components: int, *seed: int) -> Settings:
        """The same for a fit that another is compared with: a seed of its own, and no climb to the last digit."""
        number = int(np.random.SeedSequence(seed).generate_state(1)[0])
        return replace(self, n_components=n_components, start=None, tol=max(self.tol, _COMPARED), random_state=number)


def _check_number(name: str, value: Any, kind: type, least: int) -> None:
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number or not least <= value < np.inf:
        raise FitError(f"{name} {value!r:.60}: expected at least {least}")
