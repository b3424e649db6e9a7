"""Warnings of the model as ``trajhmm fit --for warning`` makes it, on the audits, seeds of a tested run held out.

Run with ``pytest tests/benchmarks/test_as_fitted.py -s --override-ini addopts=``; prints a table for the
handbook, means over four ways to split into five folds of seeds.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest

from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.evaluation import decide, evaluate_risk, first_alarm, judge, moments_after_onset, report_on
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning

from .families import FAMILIES, audit, audit_logs, sweep, sweep_logs

FOLDS, SPLITS = 5, 4


def folds_of(trials, seed):
    """Seeds dealt out, those of perturbed runs first so that they spread evenly."""
    rng = np.random.default_rng(seed)
    perturbed = sorted({trial.group for trial in trials if trial.truth.onset is not None})
    others = sorted({trial.group for trial in trials} - set(perturbed))
    order = [*rng.permutation(perturbed), *rng.permutation(others)]
    return [set(order[fold::FOLDS]) for fold in range(FOLDS)]


def judged(trials, logs, budget, seed, hard=()):
    """Outcomes and risks of all runs, each by a model of healthy runs of other seeds."""
    outcomes, risks = [], {}
    for fold in folds_of(trials, seed):
        tested = [trial for trial in (*trials, *hard) if trial.group in fold]
        healthy = [t.run.run for t in trials if t.truth.kind.value == "healthy" and t.group not in fold]
        model = fit_warning(
            logs.select_runs(healthy), metrics=trials[0].run.metrics, false_alarm=budget, restarts=2, jobs=2
        )
        scored = Monitor(model).score(logs.select_runs(trial.run.run for trial in tested))
        for trial in tested:
            run = scored[trial.run.run]
            alarm = first_alarm(run.score, calibration_of(model).threshold)
            outcomes.append(judge(trial.run.run, run.steps, trial.truth, alarm))
            risks[trial.run.run] = run.risk
    return outcomes, risks


@pytest.mark.parametrize("arm", ["matched", "sweep"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_the_audits(family, arm):
    hard = []
    if arm == "matched":
        trials, logs = audit(family), audit_logs(family)
    else:
        (trials, hard), logs = sweep(family), sweep_logs(family)
    for budget in (0.05, 0.1):
        found, ranks, shaken, nets = [], [], [], []
        for seed in range(SPLITS):
            all_outcomes, risks = judged(trials, logs, budget, seed, hard)
            names = {trial.run.run for trial in hard}
            outcomes = [one for one in all_outcomes if one.run not in names]
            shaken.append(np.mean([one.alarm_step is not None for one in all_outcomes if one.run in names] or [np.nan]))
            found.append(report_on(outcomes, rng=np.random.default_rng(seed)))
            alarms = {one.run: one.alarm_step for one in outcomes}
            decisions = decide(trials, alarms, risks, rng=np.random.default_rng(seed), resamples=200)
            nets.append([[one.net.value, one.net.low, one.net.high] for one in decisions])
            moments = moments_after_onset(trials)
            ranks.append(
                [
                    (at.auroc.value, at.brier.value, at.untold / max(at.untold + at.collapsed + at.survived, 1))
                    for at in evaluate_risk(trials, risks, moments, rng=np.random.default_rng(seed), resamples=10)
                ]
            )
        print(f"\n{family}, {arm}, budget {budget:.0%} | hard {np.mean(shaken):.2f}", end="")
        for name in ("recall", "lead_share", "healthy_alarmed", "survived_alarmed", "precision"):
            ends = np.mean(
                [[getattr(r, name).value, getattr(r, name).low, getattr(r, name).high] for r in found], axis=0
            )
            print(f" | {name} {ends[0]:.2f} ({ends[1]:.2f}–{ends[2]:.2f})", end="")
        print(f" | early {np.mean([report.early for report in found]):.0f}", end="")
        healthy = sum(trial.truth.kind.value == "healthy" for trial in trials)
        alarmed = np.mean([report.healthy_alarmed.value for report in found])
        assert binomtest(round(alarmed * healthy), healthy, budget, alternative="greater").pvalue > 0.01
        with warnings.catch_warnings():  # where the risk is told of no run in any split
            warnings.simplefilter("ignore", RuntimeWarning)
            auroc, brier, untold = np.nanmean(ranks, axis=0).T
        print(f" | AUROC {auroc.round(2)} Brier {brier.round(2)} untold {untold.round(2)} after {moments}")
        for one, (net, low, high) in zip(decisions, np.mean(nets, axis=0), strict=True):
            print(f"  stopped at {one.rule}: net {net:+.2f} ({low:+.2f}–{high:+.2f}) of all steps")
