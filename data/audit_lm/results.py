"""Print the results on the data card: who collapses, who recovers, and what dropout changes beside what the audit says.

Run from anywhere::

    python data/audit_lm/results.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


import numpy as np
import pandas as pd

from outcomes import PLAIN, first_of, print_pairs, print_sweep, print_table, share, sweep_outcomes

DROPOUT = "dropout 0.1"
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


def step_of(holds: pd.Series, step: pd.Series) -> float:
    """The step of the first of so many rows in a row; NaN if there are none."""
    index = first_of(holds.to_numpy(), ROWS) if len(holds) >= ROWS else None
    return np.nan if index is None else float(step.iloc[index])


def outcome(run: pd.DataFrame) -> dict[str, object]:
    """What became of one perturbed run."""
    run = run.assign(
        **{"of best": run["eval_accuracy"] / run["eval_accuracy"].cummax(), "best loss": run["eval_loss"].cummin()}
    )
    onset = int(run["onset"].iloc[0])
    after = run[run["step"] > onset]
    lost = ~np.isfinite(after["eval_loss"])
    collapses = {name: step_of(holds(after) | lost, after["step"]) - onset for name, holds in COLLAPSE.items()}
    lag = next(iter(collapses.values()))
    dips = after["of best"] < 0.8
    back = after["of best"][dips.cummax()] >= 0.9
    final = after["of best"].tail(20).median()
    return {
        **run[["buffer", "dimension", "strength", "seed"]].iloc[0].to_dict(),
        **collapses,
        "lag": lag,
        "collapsed": np.isfinite(lag),
        "mean accuracy": after["eval_accuracy"].mean(),
        "recovered": not np.isfinite(lag) and back.any(),
        "recovered for five rows": not np.isfinite(lag) and np.isfinite(step_of(back, after["step"][back.index])),
        "stayed worse": not np.isfinite(lag) and final < 0.85,
        "revived": np.isfinite(lag) and final > 0.6,
        "final": final,
        "final loss": after["eval_loss"].tail(20).median(),
        "loss at onset": run["eval_loss"][run["step"] <= onset].tail(10).median(),
    }


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs, (PLAIN, DROPOUT), medians=["final loss"])
    print(share(runs["collapsed"]), {name: int(runs[name].notna().sum()) for name in COLLAPSE})
    print("rows to collapse:", (runs["lag"] / EVERY).quantile([0, 0.1, 0.5, 0.9, 1]).tolist(), runs["lag"].min())
    print(runs[["recovered", "recovered for five rows", "stayed worse", "revived"]].sum().to_dict())
    print("final accuracy over the best, in tenths:", *np.histogram(runs["final"], bins=np.linspace(0, 1, 11))[0])
    print("loss at the onset:", runs["loss at onset"].quantile([0, 0.5, 1]).round(2).tolist())
    print_pairs(runs, (PLAIN, DROPOUT), ("recovered", "stayed worse"), {"mean accuracy": 3})
    healthy = logs[logs["onset"] < 0]
    least = (healthy["eval_accuracy"] / healthy.groupby("run")["eval_accuracy"].cummax())[healthy["step"] > 100].min()
    print("healthy, least accuracy over the best so far, from step 100:", round(float(least), 3))
    ends = healthy[(healthy["seed"] < 8) & (healthy["step"] > healthy["step"].max() - 20 * EVERY)]
    print("healthy, seeds 0 to 7, last 20 rows:", ends.groupby("buffer")[["eval_loss", "eval_accuracy"]].mean())
    print(healthy.groupby("step")["eval_loss"].agg(["min", "median", "max"]).loc[[4, 40, 100, 400, 640, 1280]])
    print("\nThe sweep arm")
    sweep = pd.read_parquet(Path(__file__).parents[1] / "sweeps" / "audit_lm.parquet")
    print_sweep(sweep_outcomes(sweep, "eval_accuracy", lambda accuracy: accuracy < 0.6 * accuracy.cummax()))


if __name__ == "__main__":
    main()
