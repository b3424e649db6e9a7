"""Every detector on every family of runs: the tables of the handbook.

Run with ``pytest tests/benchmarks/test_detectors.py -s --override-ini addopts=``. Each run is tested by what was learnt
from other seeds and, where there are several ways of training, other conditions; thresholds by the conformal rule.
"""

from __future__ import annotations

import pytest

from trajhmm.warning.detectors import DETECTORS, make_detector
from trajhmm.warning.evaluation import compare

from .families import FAMILIES, audit, criteo, muon, sweep

HEAD = (
    "detector",
    "budget",
    "recall (95%)",
    "lead (95%)",
    "healthy runs alarmed (95%)",
    "survivors alarmed",
    "precision",
    "false alarms per 1,000 steps",
    "recall by chance",
)


def table(name, of, **settings):
    kinds = [trial.truth.kind.value for trial in of]
    print(f"\n{name}: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("healthy", "survived", "collapsed")))
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for row in compare(of, {detector: make_detector(detector) for detector in DETECTORS}, **settings).rows:
        budget = "as is" if row.budget is None else f"{row.budget:.0%}"
        if row.report is None:
            print(f"| {row.detector} | {budget} | {row.reason} |")
            continue
        report = row.report
        recall, healthy, lead = report.recall, report.healthy_alarmed, report.lead_share
        print(
            f"| {row.detector} | {budget} | {recall.value:.2f} ({recall.low:.2f}–{recall.high:.2f}) "
            f"| {lead.value:.2f} ({lead.low:.2f}–{lead.high:.2f}) "
            f"| {healthy.value:.2f} ({healthy.low:.2f}–{healthy.high:.2f}) | {report.survived_alarmed.value:.2f} "
            f"| {report.precision.value:.2f} | {report.false_per_1000_steps.value:.2g} "
            f"| {report.chance_recall.value:.2f} |"
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_on_the_audits(family):
    table(family, audit(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_on_sweeps(family):
    table(f"{family}, sweep", sweep(family)[0])


def test_on_grokking_transformers(public_data):
    apart, together = muon(public_data)
    table("muon_grokking_s5, other optimizers", apart)
    table("muon_grokking_s5, other seeds of all optimizers", together)


def test_on_a_recommender_that_explodes(public_data):
    table("criteo_divergence", criteo(public_data), folds=4)
