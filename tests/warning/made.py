"""Runs, references and trials made up for the tests of early warning."""

from __future__ import annotations

import numpy as np

from trajhmm.features import CausalRun
from trajhmm.warning import RunTruth, Trial
from trajhmm.warning.detectors import Reference

METRICS = ("train_loss", "grad_norm", "weight_l2")
# What is known of a run, however its rows were dealt out.
KNOWN = ("last_step", "values", "streak", "memory", "largest", "alarm_step")


def made_run(values, *, run="run", steps=None, metrics=METRICS, logged=None, events=None):
    """A run of (T, D) values; NaN where not yet logged, or (T,) for a single metric."""
    values = np.asarray(values, dtype=float)
    if values.ndim == 1:
        values, metrics = values[:, np.newaxis], metrics[:1]
    return CausalRun(
        run=run,
        metrics=tuple(metrics),
        steps=np.arange(len(values)) if steps is None else np.asarray(steps),
        values=values,
        logged=~np.isnan(values) if logged is None else logged,
        events=np.zeros(len(values), dtype=bool) if events is None else events,
    )


def training(rng, rows=150, drift=0.0, onset=None):
    """(T, 3): a loss that falls, a gradient norm, a weight norm that grows; each seed with an offset of its own."""
    t = np.arange(rows)
    offset = rng.normal(0, [0.05, 0.1, 0.2])
    curve = np.column_stack([2 * np.exp(-t / 30) + 0.5, 1 + np.exp(-t / 20), 5 + 0.01 * t]) + offset
    if onset is not None:
        curve += drift * np.maximum(t - onset, 0)[:, np.newaxis] * [0.03, 0.05, 0.02]
    return curve + rng.normal(0, [0.05, 0.1, 0.02], size=(rows, 3))


def healthy_runs(n, rng, rows=150):
    return tuple(made_run(training(rng, rows), run=f"healthy_{i:02d}") for i in range(n))


def made_trials(n_healthy=24, n_seeds=4, rng=None, rows=150):
    """Healthy runs, each of its own seed, and perturbed ones of the first seeds: ``a`` and ``b`` collapse."""
    rng = np.random.default_rng(0) if rng is None else rng
    trials = [
        Trial(run=run, truth=RunTruth(), condition="healthy", group=str(i))
        for i, run in enumerate(healthy_runs(n_healthy, rng, rows))
    ]
    for condition, drift, collapses in (("a", 1.0, True), ("b", 2.0, True), ("c", 0.3, False)):
        for seed in range(n_seeds):
            onset = int(rng.integers(50, 70))
            run = made_run(training(rng, rows, drift, onset), run=f"{condition}_{seed}")
            truth = RunTruth(onset=onset, collapse_step=onset + 40 if collapses else None)
            trials.append(Trial(run=run, truth=truth, condition=condition, group=str(seed)))
    return tuple(trials)


def reference_of(trials):
    """All of the trials to learn from."""
    return Reference(
        healthy=tuple(trial.run for trial in trials if trial.condition == "healthy"),
        labelled=tuple(trial for trial in trials if trial.condition != "healthy"),
    )


def series_of(rng, n=400):
    """A loss with what real ones have: a trend, noise, spikes, a stretch that stands still, a shift, values below 0."""
    values = 3 * np.exp(-np.arange(n) / 60) + 0.5 + rng.normal(0, 0.05, n)
    values[rng.choice(n, 8, replace=False)] += rng.exponential(2, 8)
    values[200:240] = values[200]
    values[300:] += 1.0
    values[360:] -= 3.0
    return values
