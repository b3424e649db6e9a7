"""Families of runs whose end is known, on which warnings are measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trajhmm.features import causal_runs
from trajhmm.features.choose import default_metrics
from trajhmm.logs import read_logs
from trajhmm.warning.benchmark import SETS
from trajhmm.warning.evaluation import derive_truth
from trajhmm.warning.runs import RunTruth, Trial, trials_of

DATA = Path(__file__).parents[2] / "data"
FAMILIES = ("classifier", "lm", "rl")

# What is left of a run of criteo that counts as healthy: up to so many steps before it explodes.
_SAFE = 20


def muon(public_data):
    """Train accuracy that falls below 0.9 after 0.99: with optimizers held out as a whole, and with runs held out."""
    runs = read_logs(public_data("muon_grokking_s5"))
    truth = derive_truth(runs, "train_acc < 0.9 and best(train_acc) >= 0.99", sustained=1)
    of = trials_of(runs, truth, condition="optimizer", metrics=default_metrics(runs)[0])
    return of, [replace(trial, condition="") for trial in of]


def criteo(public_data):
    """A loss that is not finite. One of five seeds is healthy; of the others the rows long before the end are, too."""
    runs = read_logs(public_data("criteo_divergence"), where="global_step < 100", rename={"loss": "train_loss"})
    truth = derive_truth(runs, "train_loss > 1e6", sustained=1)
    of = []
    for run in causal_runs(runs, ("train_loss", "grad_norm")):
        collapse = truth[run.run].collapse_step
        of.append(Trial(run=run, truth=RunTruth(collapse_step=collapse), condition="", group=run.run))
        if collapse is not None:
            kept = run.first_rows(int(np.searchsorted(run.steps, collapse - _SAFE)))
            early = replace(kept, run=f"{run.run}, early")
            of.append(Trial(run=early, truth=RunTruth(), condition="", group=run.run))
    return of


def audit_logs(family):
    """One of the audits of data/, without its buffered arm."""
    return SETS[family].logs(DATA)


def sweep_logs(family):
    """The sweep arm of one of the audits."""
    return SETS[f"{family}_sweep"].logs(DATA)


def sweep(family, metrics=None):
    """Its runs with what became of each; and what is hard."""
    return SETS[f"{family}_sweep"].trials(DATA, metrics)


def audit(family, metrics=None):
    """The runs of an audit with what became of each."""
    return SETS[family].trials(DATA, metrics)[0]
