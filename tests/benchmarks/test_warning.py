"""What each part of the warnings is worth: the score of `trajhmm.warning.detectors.HMMSurprise` with one thing changed.

Run with ``pytest tests/benchmarks/test_warning.py -s --override-ini addopts=``; prints a table for the README. Every
run is tested once by what was learnt from other seeds, at a budget of 5%; numbers are means over three ways to split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from trajhmm.features import Departures, SameStep
from trajhmm.features.choose import default_metrics
from trajhmm.logs import read_logs
from trajhmm.warning.detectors import HMMSurprise, StandardisedMetrics
from trajhmm.warning.evaluation import attribute_onsets, compare, derive_truth
from trajhmm.warning.runs import trials_of

DATA = Path(__file__).parents[2] / "data"
FAMILIES = {
    "classifier": "eval_accuracy < 0.5",
    "lm": "ratio(eval_accuracy) < 0.6",
    "rl": "ratio(episode_return) < 0.4",
}


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
    "levels, not departures at the step": HMMSurprise(learn_features=StandardisedMetrics.of),
}


def inputs(metrics):
    losses = [name for name in metrics if name.endswith("loss")]
    gradients = [name for name in metrics if name in ("grad_norm", "update_norm")]
    weights = [name for name in metrics if name.startswith(("weight", "bias", "trace", "spectral", "singular"))]
    return {"losses alone": losses, "gradient and update norm": gradients, "weights alone": weights}


def trials(family, metrics=None):
    runs = read_logs(DATA / f"audit_{family}", where="buffer == 'none'")
    truth = derive_truth(runs, FAMILIES[family], sustained=5, onsets=attribute_onsets(runs))
    chosen = default_metrics(runs)[0]
    picked = chosen if metrics is None else inputs(chosen)[metrics]
    return trials_of(runs, truth, condition="dimension", group="seed", metrics=picked)


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
    known = trials(family)
    for name, detector in VARIANTS.items():
        print(f"  {name:<38}{row(known, detector)}", flush=True)
    for name in inputs(known[0].run.metrics):
        print(f"  {name:<38}{row(trials(family, name), HMMSurprise())}", flush=True)
