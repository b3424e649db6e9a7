"""Other scores that were tried for warnings, so that what was left out can be seen to be no loss."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.detectors import HMMSurprise, Reference, StandardisedMetrics
from trajhmm.warning.detectors.interface import Detector


def averaged(scores, span=5.0):
    return exponential_average(np.ascontiguousarray(scores), span, np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class Accumulated(Detector):
    """The surprise of single rows, added up over time: what comes of it beside an average over rows.

    ``cusum`` is Page's sum of what surprise exceeds its 90% quantile of healthy rows by; ``martingale`` the logarithm
    of a bet of 1/2 p^(-1/2) on the rank p of each row among healthy ones, restarted at 0 (Vovk and others 2003).
    """

    name: ClassVar[str] = "accumulated"
    published_threshold: ClassVar[float | None] = None
    how: str = "cusum"
    surprise: HMMSurprise = field(default_factory=lambda: HMMSurprise(span=1.0))
    healthy_: np.ndarray | None = None

    def _fit(self, reference):
        # Ranks are among runs that the model has not seen.
        half = len(reference.healthy) // 2
        fitted = self.surprise.fit(Reference(healthy=reference.healthy[:half]))
        known = np.sort(np.concatenate([fitted.scores(run) for run in reference.healthy[half:]]))
        return replace(self, surprise=self.surprise.fit(reference), healthy_=known)

    def _scores(self, run):
        surprise = self.surprise.scores(run)
        if self.how == "cusum":
            gains = surprise - np.quantile(self.healthy_, 0.9)
        else:
            above = len(self.healthy_) - np.searchsorted(self.healthy_, surprise, side="left")
            p = (above + 1) / (len(self.healthy_) + 1)
            gains = np.log(0.5) - 0.5 * np.log(p)
        total, sums = 0.0, np.empty(len(gains))
        for t, gain in enumerate(gains):
            total = max(total + gain, 0.0)
            sums[t] = total
        return sums


@dataclass(frozen=True, kw_only=True, eq=False)
class OfStates(Detector):
    """An HMM of plain levels, whose states are phases of training, and what is odd about the state of a row.

    ``occupancy``: few healthy runs are in this state at this step. ``transition``: the step from the last row's state
    to this one's is rare. ``dwell``: few healthy runs stay in it for so long.
    """

    name: ClassVar[str] = "of states"
    published_threshold: ClassVar[float | None] = None
    what: str = "occupancy"
    states: int = 6
    scaling_: StandardisedMetrics | None = None
    hmm_: GaussianHMM | None = None
    steps_: np.ndarray | None = None
    occupancy_: np.ndarray | None = None
    dwells_: tuple = ()

    def _fit(self, reference):
        scaling = StandardisedMetrics.of(reference.healthy)
        # The same HMM as for departures, of levels; with fewer states where six degenerate.
        hmm = HMMSurprise(states=self.states, learn_features=StandardisedMetrics.of, restarts=2).fit(reference).hmm
        fitted = replace(self, scaling_=scaling, hmm_=hmm)
        steps = np.unique(np.concatenate([run.steps for run in reference.healthy]))
        occupancy, dwells = np.zeros((len(steps), hmm.n_components)), [[] for _ in range(hmm.n_components)]
        for run in reference.healthy:
            probs = fitted.probs(run)
            occupancy += probs[np.clip(np.searchsorted(run.steps, steps, side="right") - 1, 0, None)]
            for state, stay in zip(probs.argmax(axis=1), stays(probs.argmax(axis=1)), strict=True):
                dwells[state].append(stay)
        occupancy = (occupancy + 1 / hmm.n_components) / (len(reference.healthy) + 1)
        return replace(fitted, steps_=steps, occupancy_=occupancy, dwells_=tuple(np.sort(d) for d in dwells))

    def probs(self, run):
        rows = self.scaling_.transform(run)
        return np.exp(filter_rows(rows, np.array([0, len(rows)]), self.hmm_.parameters)[0])

    def _scores(self, run):
        probs = self.probs(run)
        if self.what == "occupancy":
            place = np.clip(np.searchsorted(self.steps_, run.steps, side="right") - 1, 0, None)
            return averaged(-np.log((probs * self.occupancy_[place]).sum(axis=1)))
        if self.what == "transition":
            before = np.vstack([self.hmm_.startprob_[np.newaxis], probs[:-1] @ self.hmm_.transmat_])
            return averaged(-np.log(np.maximum((probs * before).sum(axis=1), 1e-12)))
        path = probs.argmax(axis=1)
        longer = [
            (len(known := self.dwells_[state]) - np.searchsorted(known, stay) + 1) / (len(known) + 1)
            for state, stay in zip(path, stays(path), strict=True)
        ]
        return averaged(-np.log(longer))


def stays(path):
    """(T,) rows for which the path has been in its state."""
    begun = np.concatenate([[True], path[1:] != path[:-1]])
    return np.arange(len(path)) - np.maximum.accumulate(np.where(begun, np.arange(len(path)), 0)) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class WithoutOffset:
    """Departures less the run's own over its first rows: what makes seeds differ from the start is taken out."""

    departures: object
    rows: int = 10

    @property
    def metrics(self):
        return self.departures.metrics

    def transform(self, run):
        away = self.departures.transform(run)
        so_far = np.cumsum(away, axis=0) / np.arange(1, len(away) + 1)[:, np.newaxis]
        return away - so_far[np.minimum(np.arange(len(away)), self.rows - 1)]
