"""Print the results on the data card: who collapses, who recovers, and what dropout changes beside what the audit says.

Run from anywhere::

    python data/audit_classifier/results.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


import numpy as np
import pandas as pd

from outcomes import PLAIN, first_of, print_pairs, print_sweep, print_table, share, sweep_outcomes

DROPOUT = "dropout 0.2"
ROWS = 5  # in a row, for a collapse
DEFINITIONS = ("below 0.5", "below 0.3", "below 0.7", "0.3 below the best", "below 0.5 once")


def outcome(run: pd.DataFrame) -> dict[str, object]:
    """What became of one perturbed run."""
    step, accuracy = run["step"].to_numpy(), run["eval_accuracy"].to_numpy()
    onset = int(run["onset"].iloc[0])
    perturbed = step > onset  # before that, a network that has not learnt yet would count
    low = (accuracy < 0.5, accuracy < 0.3, accuracy < 0.7, np.maximum.accumulate(accuracy) - accuracy > 0.3)
    collapses = [first_of(rows & perturbed, ROWS) for rows in low] + [first_of(low[0] & perturbed, 1)]
    after = accuracy[perturbed]
    lag = np.nan if collapses[0] is None else step[collapses[0]] - onset
    survived, dips = collapses[0] is None, np.flatnonzero(after < 0.8)
    back = after[dips[0] :] >= 0.9 if survived and len(dips) else np.zeros(ROWS, dtype=bool)
    return {
        **run[["buffer", "dimension", "strength", "seed"]].iloc[0].to_dict(),
        **{name: collapse is not None for name, collapse in zip(DEFINITIONS, collapses, strict=True)},
        "collapsed": not survived,
        "lag": lag,
        "mean accuracy": after.mean(),
        "dipped": len(dips) > 0,
        "recovered": back.any(),
        "recovered for five rows": first_of(back, ROWS) is not None,
        "non-finite": run.isna().any(axis=None),
    }


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs, (PLAIN, DROPOUT))
    print(share(runs["collapsed"]), {name: int(runs[name].sum()) for name in DEFINITIONS})
    print("rows to collapse:", (runs["lag"] / 10).quantile([0, 0.1, 0.5, 0.9, 1]).tolist())
    print(runs[["recovered", "recovered for five rows", "non-finite"]].sum().to_dict())
    print_pairs(runs, (PLAIN, DROPOUT), (*DEFINITIONS[1:3], "dipped"), {"mean accuracy": 3})
    healthy = logs[logs["onset"] < 0]
    print("healthy, least accuracy from step 800:", healthy["eval_accuracy"][healthy["step"] >= 800].min())
    print("\nThe sweep arm")
    sweep = pd.read_parquet(Path(__file__).parents[1] / "sweeps" / "audit_classifier.parquet")
    print_sweep(sweep_outcomes(sweep, "eval_accuracy", lambda accuracy: accuracy < 0.5))


if __name__ == "__main__":
    main()
