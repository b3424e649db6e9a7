"""Print the results on the data card: who collapses, who recovers, and what dropout changes.

Run from anywhere::

    python data/audit_lm/results.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

PLAIN, DROPOUT = "none", "dropout 0.1"
UNIGRAM = 3.11  # nats: held-out loss of the frequencies of the characters in the training text
ROWS, EVERY = 5, 4  # in a row, for a collapse; steps between rows
COLLAPSE = {  # the first is the one used; each of a run's rows after the onset
    "accuracy below 60% of the best so far": lambda run: run["of best"] < 0.6,
    "accuracy below 50% of the best so far": lambda run: run["of best"] < 0.5,
    "accuracy below 70% of the best so far": lambda run: run["of best"] < 0.7,
    "accuracy below 0.3, that of character pairs": lambda run: run["eval_accuracy"] < 0.3,
    "loss half-way from the best so far to unigram": lambda run: run["eval_loss"] > (run["best loss"] + UNIGRAM) / 2,
    "loss above 90% of unigram": lambda run: run["eval_loss"] > 0.9 * UNIGRAM,
}


def first_of(holds: pd.Series, step: pd.Series) -> float:
    """The step of the first of so many rows in a row; NaN if there are none."""
    return float(step[holds.rolling(ROWS).sum().shift(1 - ROWS) == ROWS].min())


def outcome(run: pd.DataFrame) -> dict[str, object]:
    """What became of one perturbed run."""
    run = run.assign(
        **{"of best": run["eval_accuracy"] / run["eval_accuracy"].cummax(), "best loss": run["eval_loss"].cummin()}
    )
    onset = int(run["onset"].iloc[0])
    after = run[run["step"] > onset]
    lost = ~np.isfinite(after["eval_loss"])
    collapses = {name: first_of(holds(after) | lost, after["step"]) - onset for name, holds in COLLAPSE.items()}
    lag = next(iter(collapses.values()))
    dips = after["of best"] < 0.8
    back = after["of best"][dips.cummax()] >= 0.9
    final = after["of best"].tail(20).median()
    return {
        **run[["buffer", "dimension", "strength", "seed"]].iloc[0].to_dict(),
        **collapses,
        "lag": lag,
        "collapsed": np.isfinite(lag),
        "lasted": lag if np.isfinite(lag) else run["step"].iloc[-1] - onset,
        "mean accuracy": after["eval_accuracy"].mean(),
        "recovered": not np.isfinite(lag) and back.any(),
        "recovered for five rows": not np.isfinite(lag) and np.isfinite(first_of(back, after["step"][back.index])),
        "stayed worse": not np.isfinite(lag) and final < 0.85,
        "revived": np.isfinite(lag) and final > 0.6,
        "final": final,
        "final loss": after["eval_loss"].tail(20).median(),
        "loss at onset": run["eval_loss"][run["step"] <= onset].tail(10).median(),
    }


def share(hits: pd.Series) -> str:
    """How many of how many, with the 95% interval of Clopper and Pearson."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return f"{hits.sum()}/{len(hits)} ({100 * low:.0f} to {100 * high:.0f}%)"


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
            *(f"{arm['final loss'].median():.2f}" for arm in arms),
        ]
        print("| " + " | ".join(columns) + " |")


def print_pairs(runs: pd.DataFrame) -> None:
    """Runs with dropout against plain ones of the same seed, perturbation, strength and onset."""
    pairs = runs.pivot(index=["dimension", "strength", "seed"], columns="buffer")
    for name in ("collapsed", "recovered", "stayed worse"):
        plain, dropout = (pairs[name][arm].astype(bool) for arm in (PLAIN, DROPOUT))
        only_plain, only_dropout = int((plain & ~dropout).sum()), int((dropout & ~plain).sum())
        p = binomtest(only_plain, only_plain + only_dropout).pvalue if only_plain + only_dropout else 1.0
        print(
            f"{name}: plain {plain.sum()}, dropout {dropout.sum()}; only {only_plain}, only {only_dropout}; p {p:.2g}"
        )
    draw = np.random.default_rng(0)
    for name, some in [
        ("all", pairs),
        *pairs.groupby("dimension", sort=False),
        *pairs.groupby(["dimension", "strength"], sort=False),
    ]:
        for value, digits in (("lasted", 0), ("mean accuracy", 3)):
            gain = (some[value][DROPOUT] - some[value][PLAIN]).astype(float).groupby("seed").mean().to_numpy()
            low, high = np.quantile(draw.choice(gain, (9999, len(gain))).mean(axis=1), [0.025, 0.975])
            print(f"{name}: {value} {gain.mean():+.{digits}f} ({low:.{digits}f} to {high:.{digits}f}) with dropout")


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs)
    print(share(runs["collapsed"]), {name: int(runs[name].notna().sum()) for name in COLLAPSE})
    print("rows to collapse:", (runs["lag"] / EVERY).quantile([0, 0.1, 0.5, 0.9, 1]).tolist(), runs["lag"].min())
    print(runs[["recovered", "recovered for five rows", "stayed worse", "revived"]].sum().to_dict())
    print("final accuracy over the best, in tenths:", *np.histogram(runs["final"], bins=np.linspace(0, 1, 11))[0])
    print("loss at the onset:", runs["loss at onset"].quantile([0, 0.5, 1]).round(2).tolist())
    print_pairs(runs)
    healthy = logs[logs["onset"] < 0]
    least = (healthy["eval_accuracy"] / healthy.groupby("run")["eval_accuracy"].cummax())[healthy["step"] > 100].min()
    print("healthy, least accuracy over the best so far, from step 100:", round(float(least), 3))
    ends = healthy[(healthy["seed"] < 8) & (healthy["step"] > healthy["step"].max() - 20 * EVERY)]
    print("healthy, seeds 0 to 7, last 20 rows:", ends.groupby("buffer")[["eval_loss", "eval_accuracy"]].mean())
    print(healthy.groupby("step")["eval_loss"].agg(["min", "median", "max"]).loc[[4, 40, 100, 400, 640, 1280]])


if __name__ == "__main__":
    main()
