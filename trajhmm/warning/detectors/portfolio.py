"""What trajhmm warns with, behind the interface of detectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.hmm.parameters import CovarianceType
from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.views.alone import Alone
from trajhmm.warning.views.crossfit import cross_fitted, usual_phases
from trajhmm.warning.views.portfolio import Portfolio

_FEWEST = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewPortfolio(Detector):
    """How few healthy runs ever get as far in the view of a run that is farthest, see `trajhmm.warning.views`.

    Parameters
    ----------
    views : names of those that count; all if none is named.
    states, covariance : of the HMM; by default as many states as `usual_phases` says.
    folds : parts of the healthy runs, each seen by views fitted to the others; the first is what scores.
    restarts, iterations, seed : of EM.
    """

    name: ClassVar[str] = "portfolio"
    views: tuple[str, ...] = ()
    states: int | None = None
    covariance: CovarianceType = "diag"
    folds: int = 5
    restarts: int = 2
    iterations: int = 60
    seed: int = 0
    portfolio_: Portfolio | None = None

    def _fit(self, reference: Reference) -> Self:
        runs = reference.healthy
        if len(runs) < _FEWEST:
            raise FitError(f"{self.name}: {len(runs)} healthy runs; at least {_FEWEST} are needed")
        crossed = cross_fitted(
            runs,
            np.arange(len(runs)) % min(self.folds, len(runs)),
            states=usual_phases(len(runs)) if self.states is None else self.states,
            covariance=self.covariance,
            restarts=self.restarts,
            iterations=self.iterations,
            shrinkage=1.0,
            seed=self.seed,
        )
        return replace(self, portfolio_=crossed.portfolios[0])

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        rare = self._learnt(self.portfolio_).rarities(run)
        seen = [rare[view] for view in self.views or rare if view in rare]  # not all are looked at everywhere
        largest: NDArray[np.float64] = np.max(seen, axis=0) if seen else np.zeros(run.n_rows)
        return largest


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnPast(Detector):
    """The run's own past, see `trajhmm.warning.views.alone`; no reference is looked at."""

    name: ClassVar[str] = "own_past"
    published_threshold: ClassVar[float | None] = 1.0

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        alone = Alone(run.metrics)
        return alone.advance(run.steps, run.values, run.logged, alone.start()).score
