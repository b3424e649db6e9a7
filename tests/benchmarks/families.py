"""Families of runs whose end is known, on which warnings are measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trajhmm.features import causal_runs
from trajhmm.features.choose import default_metrics
from trajhmm.logs import read_logs
from trajhmm.warning.evaluation import attribute_onsets, derive_truth
from trajhmm.warning.runs import Kind, RunTruth, Trial, trials_of

DATA = Path(__file__).parents[2] / "data"
FAMILIES = {
    "classifier": "eval_accuracy < 0.5",
    "lm": "ratio(eval_accuracy) < 0.6",
    "rl": "ratio(episode_return) < 0.4",
}

SWEPT = {
    "classifier": "eval_accuracy < 0.5 and best(eval_accuracy) >= 0.5",
    "lm": "ratio(eval_accuracy) < 0.6",
    "rl": "ratio(episode_return) < 0.4",
}

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
    return read_logs(DATA / f"audit_{family}", where="buffer == 'none'")


def sweep_logs(family):
    """The sweep arm of one of the audits."""
    return read_logs(DATA / "sweeps" / f"audit_{family}.parquet")


def sweep(family, metrics=None):
    """The same with what became of each run, by the audit's definition once a run has learnt; and what is hard.

    Hard are runs to which something happened that they survive: a corrupt batch, a resume without the optimizer's
    state, a rate that was too high.

    Configurations are groups, so that a run is tested by what other configurations taught.
    """
    runs = sweep_logs(family)
    truth = derive_truth(runs, SWEPT[family], sustained=5, onsets=attribute_onsets(runs))
    metrics = default_metrics(runs)[0] if metrics is None else metrics
    trials = trials_of(runs, truth, group="configuration", metrics=metrics)
    kinds = dict(zip(runs.runs, runs.attributes["kind"], strict=True))
    hard = {
        trial.run.run
        for trial in trials
        if trial.truth.kind is Kind.HEALTHY and kinds[trial.run.run] in ("hard_negative", "spontaneous")
    }
    return [trial for trial in trials if trial.run.run not in hard], [t for t in trials if t.run.run in hard]


def audit(family, metrics=None):
    """The same with what became of each run."""
    runs = audit_logs(family)
    truth = derive_truth(runs, FAMILIES[family], sustained=5, onsets=attribute_onsets(runs))
    metrics = default_metrics(runs)[0] if metrics is None else metrics
    return trials_of(runs, truth, condition="dimension", group="seed", metrics=metrics)
