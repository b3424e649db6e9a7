"""`Certificate`: what is known of a fitted map before anybody believes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from trajhmm.stored import Stored, StoredError

# Mean adjusted Rand index of split halves, and mean Jaccard index of the state that comes back worst, from which on a
# map is called reproducible. Below a Jaccard index of 0.6 a cluster is not to be trusted (Hennig 2007, 2008).
AGREEMENT = 0.8
RECOVERY = 0.6
# Mean adjusted Rand index with fits of the same rows from other seeds: these should be the same map.
SEEDS = 0.95
# Fewer runs than this cannot be halved.
FEWEST_RUNS = 4
# Indices are between -1 and 1, up to rounding.
_MOST = 1.0 + 1e-6


@dataclass(frozen=True, kw_only=True)
class Halves:
    """How far maps of one number of states come back: from halves of the runs, which decode all, and from seeds.

    Attributes
    ----------
    states : K.
    agreement : adjusted Rand index of the two halves, of each split.
    recovery : (K,) of each state of the map of all runs: the mean Jaccard index of its rows with those of the state
        that stands for it in the map of a half, by assignment.
    seeds : adjusted Rand index of the map's states with those of fits of all runs from other seeds; empty where that
        was not tried, as halves did not agree.
    outliers : how many of the map's states are outlier states, single rows far off (see
        `trajhmm.hmm.inference.outliers`); None where that was not looked at.
    """

    states: int
    agreement: tuple[float, ...]
    recovery: tuple[float, ...]
    seeds: tuple[float, ...] = ()
    outliers: int | None = None

    @property
    def mean(self) -> float:
        """Mean agreement over the splits."""
        return sum(self.agreement) / len(self.agreement)

    @property
    def worst(self) -> float:
        """Recovery of the state that comes back worst."""
        return min(self.recovery)

    @property
    def halves_agree(self) -> bool:
        """Whether halves of the runs give the same map: they agree, and every state is found again."""
        return self.mean >= AGREEMENT and self.worst >= RECOVERY

    @property
    def seeds_agree(self) -> bool:
        """Whether other seeds give the same map; True where that was not tried."""
        return not self.seeds or sum(self.seeds) / len(self.seeds) >= SEEDS

    @property
    def agree(self) -> bool:
        """Whether the map comes back, with other runs and with other starts."""
        return self.halves_agree and self.seeds_agree


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95% interval from a bootstrap over runs; the interval is None with fewer than two runs.

    ``value`` is None where there is nothing to compute it from.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True)
class MetricResiduals:
    """Pseudo-residuals of one metric over all runs.

    Attributes
    ----------
    metric : its name.
    n_rows : residuals; missing values have none.
    mean, sd : 0 and 1 if the model is right.
    autocorrelation : correlation of a residual with the one before in the same run, about the mean of all; 0 if the
        model is right.
    beyond : share beyond ±3; 0.0027 if the model is right.
    """

    metric: str
    n_rows: int
    mean: Estimate
    sd: Estimate
    autocorrelation: Estimate
    beyond: Estimate


@dataclass(frozen=True, kw_only=True)
class ResidualSummary:
    """Pseudo-residuals of R runs, a summary for each metric."""

    n_runs: int
    metrics: tuple[MetricResiduals, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON of it: as the fields, in the same order."""
        return {"n_runs": self.n_runs, "metrics": [asdict(one) for one in self.metrics]}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ResidualSummary:
        """Read back what `to_dict` gives.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, "certificate.residuals")
        piece.members(known=("n_runs", "metrics"))
        return cls(n_runs=piece["n_runs"].whole(1), metrics=tuple(_residuals(one) for one in piece["metrics"].items()))


def _residuals(piece: Stored) -> MetricResiduals:
    estimates = ("mean", "sd", "autocorrelation", "beyond")
    piece.members(known=("metric", "n_rows", *estimates))
    return MetricResiduals(
        metric=piece["metric"].text(),
        n_rows=piece["n_rows"].whole(),
        **{name: _estimate(piece[name]) for name in estimates},
    )


def _estimate(piece: Stored) -> Estimate:
    ends = ("value", "ci_low", "ci_high")
    piece.members(known=ends)
    return Estimate(**{end: None if piece[end].value is None else piece[end].number() for end in ends})


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How far a map comes back with other runs and with other starts.

    Attributes
    ----------
    states : K of the map.
    halves : of every number of states that was tried in halves, rising; empty where no fit of a half came to an end.
    residuals : what the map did not expect of the rows it was fitted to; None in model files that do not tell.
    """

    states: int
    halves: tuple[Halves, ...]
    residuals: ResidualSummary | None = None

    @property
    def seeds(self) -> tuple[float, ...]:
        """Agreement of the map with fits of the same rows from other seeds."""
        own = self.at(self.states)
        return () if own is None else own.seeds

    def at(self, states: int) -> Halves | None:
        """Halves at one number of states; None if that was not tried."""
        return next((halves for halves in self.halves if halves.states == states), None)

    @property
    def given_way(self) -> Halves | None:
        """The most states that come back as the map's do, more of them outlier states; None if the map has the most."""
        own = self.at(self.states)
        if own is None or not own.agree:
            return None
        outliers = own.outliers or 0
        larger = [
            one for one in self.halves if one.states > own.states and one.agree and (one.outliers or 0) > outliers
        ]
        return larger[-1] if larger else None

    @property
    def reproducible(self) -> bool | None:
        """Whether the map comes back from halves of the runs and from other seeds; None where that is not known."""
        own = self.at(self.states)
        return None if own is None else own.agree

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds."""
        halves = [
            {
                "states": one.states,
                "agreement": list(one.agreement),
                "recovery": list(one.recovery),
                "seeds": list(one.seeds),
                "outliers": one.outliers,
            }
            for one in self.halves
        ]
        return {
            "states": self.states,
            "reproducible": self.reproducible,
            "halves": halves,
            "residuals": None if self.residuals is None else self.residuals.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Certificate:
        """Read back what `to_dict` gives.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, "certificate")
        piece.members(known=("states", "reproducible", "halves", "residuals"))
        halves = tuple(_halves(one) for one in piece["halves"].items())
        if any(one.states >= other.states for one, other in pairwise(halves)):
            raise piece["halves"].error("numbers of states that rise")
        residuals = piece.get("residuals")
        return cls(
            states=piece["states"].whole(1),
            halves=halves,
            residuals=None if residuals is None else ResidualSummary.from_dict(residuals.members()),
        )


def _halves(piece: Stored) -> Halves:
    needed = ("states", "agreement", "recovery", "seeds")
    piece.members(known=(*needed, "outliers"), needed=needed)
    states = piece["states"].whole(1)
    agreement, recovery, seeds = (piece[name].array((None,)) for name in ("agreement", "recovery", "seeds"))
    if not (np.abs(np.concatenate([agreement, recovery, seeds])) <= _MOST).all():
        raise StoredError(f"{piece.where}: expected indices between -1 and 1")
    return Halves(
        states=states,
        agreement=tuple(agreement.tolist()),
        recovery=tuple(recovery.tolist()),
        seeds=tuple(seeds.tolist()),
        outliers=None if (outliers := piece.get("outliers")) is None else outliers.whole(0, states),
    )
