"""Print the results on the data card: who collapses, who recovers, and what smaller batches change.

Run from anywhere::

    python data/audit_rl/results.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

PLAIN, SMALL = "none", "batch size 64"
LEVEL, ROWS = 0.4, 5  # of the best so far, and how many rows in a row: a collapse
DIPPED, BACK, LAST = 0.8, 0.9, 20  # of the best so far, at any row, and on average over the last rows
LEVELS, LENGTHS = (0.3, 0.4, 0.5), (1, 5, 10, 20)


def first_of(low: NDArray[np.bool_], rows: int) -> int | None:
    """Index of the first of so many in a row; None if there are none."""
    found = np.flatnonzero(np.convolve(low, np.ones(rows), "valid") == rows)
    return int(found[0]) if len(found) else None


def outcome(run: pd.DataFrame) -> dict[str, object]:
    """What became of one perturbed run."""
    step, returns = run["step"].to_numpy(), run["episode_return"].to_numpy(dtype=float)
    onset = int(run["onset"].iloc[0])
    relative = returns / np.maximum.accumulate(returns)
    relative[step <= onset] = 1  # what has not been perturbed has not collapsed
    collapse = first_of(relative < LEVEL, ROWS)
    ending = relative[-LAST:].mean()
    lag = np.nan if collapse is None else step[collapse] - onset
    return {
        **run[["buffer", "dimension", "strength", "seed"]].iloc[0].to_dict(),
        "collapsed": collapse is not None,
        "lag": lag,
        "lasted": step[-1] - onset if collapse is None else lag,
        "mean return": returns[step > onset].mean(),
        "dipped": bool((relative < DIPPED).any()),
        "recovered": collapse is None and bool((relative < DIPPED).any()) and ending >= BACK,
        "recovered from less than half": collapse is None and bool((relative < 0.5).any()) and ending >= BACK,
        "collapsed and came back": collapse is not None and ending >= BACK,
        "ending": ending,
        **{
            f"below {level:g} for {rows}": first_of(relative < level, rows) is not None
            for level in LEVELS
            for rows in LENGTHS
        },
        **{f"below {level:g} to the end": bool((relative[-ROWS:] < level).all()) for level in LEVELS},
    }


def share(hits: pd.Series) -> str:
    """How many of how many, with the 95% interval of Clopper and Pearson."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return f"{hits.sum()}/{len(hits)} ({100 * low:.0f}–{100 * high:.0f}%)"


def print_table(runs: pd.DataFrame) -> None:
    """One line for each strength, each dimension and all."""
    by_strength = [(*key, cell) for key, cell in runs.groupby(["dimension", "strength"], sort=False)]
    by_dimension = [(key, "all", cell) for key, cell in runs.groupby("dimension", sort=False)]
    for dimension, strength, cell in [*by_strength, *by_dimension, ("**all**", "", runs)]:
        arms = [cell[cell["buffer"] == arm] for arm in (PLAIN, SMALL)]
        lags = [arm["lag"].median() for arm in arms]
        columns = [
            dimension,
            strength if isinstance(strength, str) else f"{strength:g}",
            *(share(arm["collapsed"]) for arm in arms),
            *(str(arm["recovered"].sum()) for arm in arms),
            *("" if np.isnan(lag) else f"{lag:.0f}" for lag in lags),
        ]
        print("| " + " | ".join(columns) + " |")


def print_pairs(runs: pd.DataFrame) -> None:
    """Runs with small batches against plain ones of the same seed, perturbation, strength and onset."""
    pairs = runs.pivot(index=["dimension", "strength", "seed"], columns="buffer")
    for name in ("collapsed", "dipped", "below 0.5 for 1", "below 0.3 for 20"):
        plain, small = (pairs[name][arm].astype(bool) for arm in (PLAIN, SMALL))
        only_plain, only_small = int((plain & ~small).sum()), int((small & ~plain).sum())
        p = binomtest(only_plain, only_plain + only_small).pvalue
        print(f"{name}: plain {plain.sum()}, small {small.sum()}; only {only_plain}, only {only_small}; p {p:.2g}")
    draw = np.random.default_rng(0)
    for name, some in [("all", pairs), *pairs.groupby("dimension", sort=False)]:
        for value in ("lasted", "mean return"):
            gain = (some[value][SMALL] - some[value][PLAIN]).to_numpy(float)
            low, high = np.quantile(draw.choice(gain, (9999, len(gain))).mean(axis=1), [0.025, 0.975])
            print(f"{name}: {value} {gain.mean():+.1f} ({low:.1f} to {high:.1f}) with small batches")
    longer = pairs["lasted"][SMALL] - pairs["lasted"][PLAIN]
    print(longer.groupby(["dimension", "strength"], sort=False).agg(["median", "min", "max"]))
    seeds = (pairs["lasted"][SMALL] - pairs["lasted"][PLAIN]).groupby("seed").mean()
    print("mean steps longer, by seed:", seeds.round(1).to_dict())


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs)
    print(share(runs["collapsed"]), "collapsed")
    print(runs.filter(like="below").sum().to_string())
    print("steps to collapse:", runs["lag"].quantile([0, 0.05, 0.1, 0.5, 0.9, 1]).tolist())
    print(runs[["dipped", "recovered", "recovered from less than half", "collapsed and came back"]].sum().to_dict())
    for collapsed, ending in runs.groupby("collapsed")["ending"]:
        print("collapsed" if collapsed else "survived", "ends at", ending.quantile([0, 0.05, 0.5, 0.95, 1]).tolist())
    print_pairs(runs)
    onsets = logs["onset"][logs["onset"] > 0]
    print("onsets:", onsets.min(), onsets.max())
    for arm, healthy in logs[logs["onset"] < 0].groupby("condition", sort=False):
        learnt = healthy[healthy["episode_return"] > 475].groupby("run")["step"].min()
        late = healthy[healthy["step"] > 150]["episode_return"]
        print(arm, "passes 475 at", learnt.quantile([0, 0.5, 1]).tolist(), "least from step 151 on", late.min())
        for step in (150, 450):
            here = healthy[healthy["step"] == step]
            print(f"  step {step}:", {name: (here[name].min(), here[name].max()) for name in ("weight_l2", "trace")})


if __name__ == "__main__":
    main()
