"""Print the results on the data card: who collapses, who recovers, what smaller batches change beside the audit.

Run from anywhere::

    python data/audit_rl/results.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


import numpy as np
import pandas as pd

from outcomes import PLAIN, first_of, print_pairs, print_sweep, print_table, share, sweep_outcomes

SMALL = "batch size 64"
LEVEL, ROWS = 0.4, 5  # of the best so far, and how many rows in a row: a collapse
DIPPED, BACK, LAST = 0.8, 0.9, 20  # of the best so far, at any row, and on average over the last rows
LEVELS, LENGTHS = (0.3, 0.4, 0.5), (1, 5, 10, 20)


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


def main() -> None:
    """Print all."""
    logs = pd.read_parquet(Path(__file__).parent / "runs.parquet")
    runs = pd.DataFrame([outcome(run) for _, run in logs[logs["onset"] > 0].groupby("run", sort=False)])
    print_table(runs, (PLAIN, SMALL))
    print(share(runs["collapsed"]), "collapsed")
    print(runs.filter(like="below").sum().to_string())
    print("steps to collapse:", runs["lag"].quantile([0, 0.05, 0.1, 0.5, 0.9, 1]).tolist())
    print(runs[["dipped", "recovered", "recovered from less than half", "collapsed and came back"]].sum().to_dict())
    for collapsed, ending in runs.groupby("collapsed")["ending"]:
        print("collapsed" if collapsed else "survived", "ends at", ending.quantile([0, 0.05, 0.5, 0.95, 1]).tolist())
    print_pairs(
        runs,
        (PLAIN, SMALL),
        ("dipped", "below 0.5 for 1", "below 0.3 for 20"),
        {"mean return": 1},
    )
    onsets = logs["onset"][logs["onset"] > 0]
    print("onsets:", onsets.min(), onsets.max())
    for arm, healthy in logs[logs["onset"] < 0].groupby("condition", sort=False):
        learnt = healthy[healthy["episode_return"] > 475].groupby("run")["step"].min()
        late = healthy[healthy["step"] > 150]["episode_return"]
        print(arm, "passes 475 at", learnt.quantile([0, 0.5, 1]).tolist(), "least from step 151 on", late.min())
        for step in (150, 450):
            here = healthy[healthy["step"] == step]
            print(f"  step {step}:", {name: (here[name].min(), here[name].max()) for name in ("weight_l2", "trace")})
    print("\nThe sweep arm")
    sweep = pd.read_parquet(Path(__file__).parents[1] / "sweeps" / "audit_rl.parquet")
    print_sweep(sweep_outcomes(sweep, "episode_return", lambda returns: returns < LEVEL * returns.cummax()))


if __name__ == "__main__":
    main()
