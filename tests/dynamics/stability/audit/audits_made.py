"""Audits made up, of which everything is known: who collapses, when performance is back, what the latent path does."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trajhmm.logs import RunSet

EVERY = 10
ROWS, ONSET_ROW = 120, 50
LEVEL, NOISE = 0.9, 0.01
FOLLOWED = EVERY * (ROWS - 1 - ONSET_ROW)
"""Steps from the onset to the end of the log."""
LATENT = ("weight_l2", "grad_norm", "weight_mean")


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a perturbed run.

    Attributes
    ----------
    collapse : rows from the onset on; None if it does not.
    back : rows from the onset until performance is back; 0 if it never leaves; None if it never is.
    deviates : rows from the onset until the latent path leaves that of healthy runs; None if it does not.
    factor : performance after the onset, as a share of what it would be.
    """

    collapse: int | None = None
    back: int | None = 0
    deviates: int | None = None
    factor: float = 1.0


def rows_of(run, rng, *, fate=None, wander=0.0, seed=0, rows=ROWS, **attributes):
    """The rows of one run: three healthy states in turn, the switches a little different in each run.

    ``wander`` is the probability of an excursion of eight rows that healthy runs make at a time of their own.
    """
    switches = np.array([20, 85]) + rng.integers(-2, 3, size=2)
    state = np.searchsorted(switches, np.arange(rows), side="right")
    latent = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 3.0], [6.0, 5.0, -3.0]])[state]
    latent = latent + rng.normal(size=latent.shape)
    if rng.random() < wander:
        start = rng.integers(ONSET_ROW, rows - 10)
        latent[start : start + 8] += [0.0, -40.0, 0.0]
    performance = LEVEL + NOISE * rng.normal(size=rows)
    onset = -1
    if fate is not None:
        onset = EVERY * ONSET_ROW
        after = np.arange(rows) - ONSET_ROW
        performance = np.where(after > 0, performance * fate.factor, performance)
        if fate.back != 0:
            end = rows if fate.back is None else fate.back
            performance = np.where((after > 2) & (after < end), performance - 0.3, performance)
        if fate.collapse is not None:
            performance = np.where(after >= fate.collapse, 0.2 + NOISE * rng.normal(size=rows), performance)
        if fate.deviates is not None:
            latent[after >= fate.deviates] += [0.0, -40.0, 0.0]
    frame = pd.DataFrame(latent, columns=list(LATENT)).assign(eval_accuracy=performance)
    frame.insert(0, "step", EVERY * np.arange(rows))
    frame.insert(0, "run", run)
    return frame.assign(seed=seed, onset=onset, **attributes)


def made_audit(rng, fates, *, baselines=6, buffered=None, wander=0.0):
    """An audit as a run set.

    Parameters
    ----------
    fates : for each (dimension, strength) the fate of each seed's plain run.
    baselines : seeds from 0 on that have a healthy run.
    buffered : the same as ``fates`` for runs with a buffer; by default there is no such arm, nor its column.
    wander : see `rows_of`.
    """
    arms = {"none": fates} if buffered is None else {"none": fates, "dropout": buffered}
    frames = [
        rows_of(
            f"baseline_{seed}", rng, wander=wander, seed=seed, condition="baseline", dimension="none", strength=0.0,
            buffer="none",
        )
        for seed in range(baselines)
    ]  # fmt: skip
    for arm, cells in arms.items():
        for (dimension, strength), of_seeds in cells.items():
            for seed, fate in enumerate(of_seeds):
                name = f"{arm}_{dimension}_{strength:g}_{seed}"
                frames.append(
                    rows_of(
                        name, rng, fate=fate, wander=wander, seed=seed, condition="perturbed", dimension=dimension,
                        strength=strength, buffer=arm,
                    )
                )  # fmt: skip
    logs = pd.concat(frames)
    return RunSet.from_frame(logs.drop(columns="buffer") if buffered is None else logs)


ASKED = {"performance": "eval_accuracy", "baseline": 'condition == "baseline"', "collapse": "eval_accuracy < 0.5"}


def with_attributes(runs, **columns):
    """The same runs with attributes as given: one value a run, or a function of what stands there."""
    found = runs.attributes.copy()
    for name, cells in columns.items():
        values = cells(found[name]) if callable(cells) else cells
        found[name] = pd.Series(list(values), index=found.index, dtype=getattr(values, "dtype", None))
    return replace(runs, attributes=found)


def with_metric(runs, change, metric="eval_accuracy", name=None):
    """The same runs with a metric changed by a function of the rows as a frame, NaN for a blank, and renamed."""
    frame = runs.frame()
    values = np.asarray(change(frame), dtype=float)
    column = runs.metrics.index(metric)
    logged, stored = runs.logged.copy(), runs.values.copy()
    logged[:, column] = ~np.isnan(values)
    stored[:, column] = values
    metrics = [name if name and one == metric else one for one in runs.metrics]
    return replace(runs, values=stored, logged=logged, metrics=tuple(metrics))
