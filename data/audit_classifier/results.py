"""Print the results on the data card: who collapses, who recovers, and what dropout changes.

Run from anywhere::

    python data/audit_classifier/results.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

PLAIN, DROPOUT = "none", "dropout 0.2"
ROWS = 5  # in a row, for a collapse
DEFINITIONS = ("below 0.5", "below 0.3", "below 0.7", "0.3 below the best", "below 0.5 once")


def first_of(low: NDArray[np.bool_], rows: int = ROWS) -> int | None:
    """Index of the first of so many in a row; None if there are none."""
    found = np.flatnonzero(np.convolve(low, np.ones(rows), "valid") == rows)
    return int(found[0]) if len(found) else None


def outcome(run: pd.DataFrame) -> dict[str, object]:
    """What became of one perturbed run."""
    step, accuracy = run["step"].to_numpy(), run["eval_accuracy"].to_numpy()
    onset = int(run["onset"].iloc[0])
    perturbed = step > onset  # before that, a network that has not learnt yet would count
    low = (accuracy < 0.5, accuracy < 0.3, accuracy < 0.7, np.maximum.accumulate(accuracy) - accuracy > 0.3)
    collapses = [first_of(rows & perturbed) for rows in low] + [first_of(low[0] & perturbed, 1)]
    after = accuracy[perturbed]
    lag = np.nan if collapses[0] is None else step[collapses[0]] - onset
    survived, dips = collapses[0] is None, np.flatnonzero(after < 0.8)
    back = after[dips[0] :] >= 0.9 if survived and len(dips) else np.zeros(ROWS, dtype=bool)
    return {
        **run[["buffer", "dimension", "strength", "seed"]].iloc[0].to_dict(),
        **{name: collapse is not None for name, collapse in zip(DEFINITIONS, collapses, strict=True)},
        "collapsed": not survived,
        "lag": lag,
        "lasted": step[-1] - onset if survived else lag,
        "mean accuracy": after.mean(),
        "dipped": len(dips) > 0,
        "recovered": back.any(),
        "recovered for five rows": first_of(back) is not None,
        "non-finite": run.isna().any(axis=None),
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
        arms = [cell[cell["buffer"] == arm] for arm in (PLAIN, DROPOUT)]
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
    """Runs with dropout against plain ones of the same seed, perturbation, strength and onset."""
    pairs = runs.pivot(index=["dimension", "strength", "seed"], columns="buffer")
    for name in ("collapsed", *DEFINITIONS[1:3], "dipped"):
        plain, dropout = (pairs[name][arm].astype(bool) for arm in (PLAIN, DROPOUT))
        only_plain, only_dropout = int((plain & ~dropout).sum()), int((dropout & ~plain).sum())
        p = binomtest(only_plain, only_plain + only_dropout).pvalue
        print(
            f"{name}: plain {plain.sum()}, dropout {dropout.sum()}; only {only_plain}, only {only_dropout}; p {p:.2g}"
        )
    draw = np.random.default_rng(0)
    for name, some in [("all", pairs), *pairs.groupby("dimension", sort=False)]:
        for value in ("lasted", "mean accuracy"):
            gain = (some[value][DROPOUT] - some[value][PLAIN]).to_numpy(float)
            low, high = np.quantile(draw.choice(gain, (9999, len(gain))).mean(axis=1), [0.025, 0.975])
            print(f"{name}: {value} {gain.mean():+.3f} ({low:.3f} to {high:.3f}) with dropout")
    longer = pairs["lasted"][DROPOUT] - pairs["lasted"][PLAIN]
    print(longer.groupby(["dimension", "strength"], sort=False).agg(["median", "min", "max"]))


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs)
    print(share(runs["collapsed"]), {name: int(runs[name].sum()) for name in DEFINITIONS})
    print("rows to collapse:", (runs["lag"] / 10).quantile([0, 0.1, 0.5, 0.9, 1]).tolist())
    print(runs[["recovered", "recovered for five rows", "non-finite"]].sum().to_dict())
    print_pairs(runs)
    healthy = logs[logs["onset"] < 0]
    print("healthy, least accuracy from step 800:", healthy["eval_accuracy"][healthy["step"] >= 800].min())


if __name__ == "__main__":
    main()
