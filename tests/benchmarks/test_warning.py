"""What each part of the warnings is worth: the score of `trajhmm.warning.detectors.HMMSurprise` with one thing changed.

Run with ``pytest tests/benchmarks/test_warning.py -s --override-ini addopts=``; prints a table for the handbook. Every
run is tested once by what was learnt from other seeds, at a budget of 5%; numbers are means over three ways to split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.features import Departures, SameStep
from trajhmm.warning.detectors import HMMSurprise, StandardisedMetrics
from trajhmm.warning.evaluation import compare

from .alternatives import Accumulated, OfStates, WithoutOffset
from .families import FAMILIES, audit


@dataclass(frozen=True)
class Uncompressed:
    departures: Departures

    @classmethod
    def of(cls, runs):
        return cls(Departures.of(runs))

    def transform(self, run):
        return self.departures.spreads(run.steps, run.columns(self.departures.metrics))


@dataclass(frozen=True)
class WithoutLogarithms:
    same_step: SameStep

    @classmethod
    def of(cls, runs):
        return cls(SameStep.of(runs, floor=0.0, prior=10.0))

    def transform(self, run):
        return np.arcsinh(self.same_step.transform(run))


@dataclass(frozen=True)
class WithChanges:
    """Beside departures: how far metrics moved from their average over the last rows, as a departure as well."""

    departures: Departures
    changes: SameStep

    @classmethod
    def of(cls, runs):
        departures = Departures.of(runs)
        return cls(departures, SameStep.of([cls.moved(departures, run) for run in runs], floor=0.0, prior=10.0))

    @staticmethod
    def moved(departures, run):
        values = np.nan_to_num(departures.scales(run.columns(departures.metrics)))
        average = pd.DataFrame(values).ewm(span=5, adjust=False).mean().to_numpy()
        return replace(run, metrics=departures.metrics, values=values - np.vstack([values[:1], average[:-1]]))

    def transform(self, run):
        changes = self.changes.transform(self.moved(self.departures, run))
        return np.hstack([self.departures.transform(run), np.arcsinh(changes)])


def own_spread(runs):
    """Departures whose spread is that of the runs at the step alone, with the envelope's floor."""
    departures = Departures.of(runs)
    logarithmic = [replace(run, values=departures.scales(run.columns(departures.metrics))) for run in runs]
    return replace(departures, same_step=SameStep.of(logarithmic))


VARIANTS = {
    "as it is": HMMSurprise(),
    "mixture: no memory of the state": HMMSurprise(markov=False),
    "one state": HMMSurprise(states=1),
    "eight states": HMMSurprise(states=8),
    "no average over rows": HMMSurprise(span=1.0),
    "average over 20 rows": HMMSurprise(span=20.0),
    "covariances hardly shrunk": HMMSurprise(shrinkage=0.001),
    "diagonal covariances": HMMSurprise(covariance="diag"),
    "no logarithms": HMMSurprise(learn_features=WithoutLogarithms.of),
    "departures not compressed": HMMSurprise(learn_features=Uncompressed.of),
    "spreads of each step alone": HMMSurprise(learn_features=own_spread),
    "changes beside departures": HMMSurprise(learn_features=WithChanges.of),
    "levels, not departures at the step": HMMSurprise(learn_features=StandardisedMetrics.of),
    "less each run's own first departures": HMMSurprise(
        learn_features=lambda r: WithoutOffset(departures=Departures.of(r))
    ),
    "cumulative sum in place of average": Accumulated(how="cusum"),
    "martingale of conformal ranks": Accumulated(how="martingale"),
    "phases: state unusual at this step": OfStates(what="occupancy"),
    "phases: unusual transition": OfStates(what="transition"),
    "phases: stays too long": OfStates(what="dwell"),
}


def inputs(metrics):
    losses = [name for name in metrics if name.endswith("loss")]
    gradients = [name for name in metrics if name in ("grad_norm", "update_norm")]
    weights = [name for name in metrics if name.startswith(("weight", "bias", "trace", "spectral", "singular"))]
    return {"losses alone": losses, "gradient and update norm": gradients, "weights alone": weights}


def row(of, detector):
    found = []
    for seed in range(3):
        (report,) = (row.report for row in compare(of, {"hmm": detector}, budgets=[0.05], seed=seed, resamples=10).rows)
        found.append([report.recall.value, report.lead_share.value, report.healthy_alarmed.value, report.early])
    recall, lead, healthy, early = np.mean(found, axis=0)
    return f"{recall:.2f} / {lead:.2f} / {healthy:.0%} / {early:.0f}"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_each_part_is_worth(family):
    print(f"\n{family}: recall / lead / healthy runs that alarmed / perturbed runs that alarmed too early")
    known = audit(family)
    for name, detector in VARIANTS.items():
        print(f"  {name:<38}{row(known, detector)}", flush=True)
    for name in inputs(known[0].run.metrics):
        picked = inputs(known[0].run.metrics)[name]
        print(f"  {name:<38}{row(audit(family, metrics=picked), HMMSurprise())}", flush=True)
