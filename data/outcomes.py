"""What the results of the three audits share: shares with intervals, the tables of the card, and two arms compared.

A frame of outcomes holds a row a perturbed run: ``buffer``, ``dimension``, ``strength``, ``seed``, ``collapsed``,
``recovered``, ``lag`` (steps from onset to collapse, NaN without one), and what else an audit looks at. That of a sweep
arm holds a row each run, perturbed or not, as `sweep_outcomes` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

PLAIN = "none"
SUSTAINED = 5  # rows in a row, for a collapse
_SPEEDS = {"sudden": "at once", "ramp": "the audit's ramp", "slow": "four times as slow"}


def first_of(low: NDArray[np.bool_], rows: int) -> int | None:
    """Index of the first of so many in a row; None if there are none."""
    found = np.flatnonzero(np.convolve(low, np.ones(rows), "valid") == rows)
    return int(found[0]) if len(found) else None


def share(hits: pd.Series) -> str:
    """How many of how many, with the 95% interval of Clopper and Pearson."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return f"{hits.sum()}/{len(hits)} ({100 * low:.0f}–{100 * high:.0f}%)"


def sweep_outcomes(logs: pd.DataFrame, metric: str, low: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    """What became of each run of a sweep arm, a row each.

    A collapse is the first of so many logged rows in a row that are low, or not finite. Rows up to the onset do not
    count, nor those with which a run begins, as it has yet to learn.

    Parameters
    ----------
    logs : the rows of the arm.
    metric : that measures performance; more is better.
    low : which of a run's values of it are too low, (n,) for (n,).
    """
    rows = []
    for name, run in logs.groupby("run", sort=False):
        value, step, onset = run[metric], run["step"].to_numpy(), int(run["onset"].iloc[0])
        bad = (low(value) | ~np.isfinite(value)).to_numpy()
        learnt = np.maximum.accumulate(~bad) & (step > onset)
        collapse = first_of(bad & learnt, SUSTAINED)
        best = value.cummax()
        rows.append(
            {
                **run[["kind", "condition", "configuration", "optimizer", "dimension", "strength", "ramp"]].iloc[0],
                "run": name,
                "collapsed": collapse is not None,
                "row": np.nan if collapse is None else collapse + 1,
                "lag": np.nan if collapse is None or onset < 0 else step[collapse] - onset,
                "step": np.nan if collapse is None else step[collapse],
                "best": best.iloc[-1],
                "end": value.tail(20).mean(),
                "least": (value / best)[step >= step[-1] // 4].min(),
            }
        )
    return pd.DataFrame(rows)


def print_sweep(runs: pd.DataFrame) -> None:
    """Print the table of a sweep arm, a line each kind and what it consists of, and what the card says beside it."""

    def line(name: str, some: pd.DataFrame, times: str) -> None:
        low, middle, high = some[times].quantile([0, 0.5, 1])
        span = "" if np.isnan(middle) else f"{middle:.0f} ({low:.0f} to {high:.0f})"
        print(f"| {name} | {share(some['collapsed'])} | {span} |")

    perturbed = runs[runs["kind"] == "perturbed"]
    line("healthy", runs[runs["kind"] == "healthy"], "step")
    line("perturbed", perturbed, "lag")
    for dimension, some in perturbed.groupby("dimension", sort=False):
        line(f"perturbed: {dimension}", some, "lag")
    for speed, words in _SPEEDS.items():
        line(f"perturbed: {words}", perturbed[perturbed["condition"].str.endswith(speed)], "lag")
    for kind in ("spontaneous", "hard_negative"):
        of_kind = runs[runs["kind"] == kind]
        line(kind, of_kind, "step")
        for condition, some in of_kind.groupby("condition", sort=False):
            line(f"{kind}: {condition}", some, "step")
    healthy = runs[runs["kind"] == "healthy"]
    print(healthy.groupby("optimizer")[["best", "end", "least"]].agg(["min", "max"]).round(3).to_string())
    others = runs[runs["kind"].isin(["spontaneous", "hard_negative"])]
    columns = ["run", "collapsed", "row", "step", "best", "end", "least"]
    print(others[columns].round(3).to_string(index=False))
    survivors = perturbed[~perturbed["collapsed"]]
    print("survivors, end over best:", (survivors["end"] / survivors["best"]).quantile([0, 0.5, 1]).round(3).tolist())
    print("configurations:", runs["configuration"].nunique(), "kinds:", runs["kind"].value_counts(sort=False).to_dict())
    for optimizer, some in perturbed.groupby("optimizer", sort=False):
        print(f"perturbed, {optimizer}: {share(some['collapsed'])}")


def print_table(runs: pd.DataFrame, arms: Sequence[str], *, medians: Sequence[str] = ()) -> None:
    """One line for each strength, each dimension and all: collapsed, recovered, lag, medians of what else is named."""
    by_strength = [(*key, cell) for key, cell in runs.groupby(["dimension", "strength"], sort=False)]
    by_dimension = [(key, "all", cell) for key, cell in runs.groupby("dimension", sort=False)]
    for dimension, strength, cell in [*by_strength, *by_dimension, ("**all**", "", runs)]:
        found = [cell[cell["buffer"] == arm] for arm in arms]
        lags = [arm["lag"].median() for arm in found]
        columns = [
            dimension,
            strength if isinstance(strength, str) else f"{strength:g}",
            *(share(arm["collapsed"]) for arm in found),
            *(str(arm["recovered"].sum()) for arm in found),
            *("" if np.isnan(lag) else f"{lag:.0f}" for lag in lags),
            *(f"{arm[name].median():.2f}" for name in medians for arm in found),
        ]
        print("| " + " | ".join(columns) + " |")


def print_pairs(runs: pd.DataFrame, arms: Sequence[str], events: Sequence[str], values: Mapping[str, int]) -> None:
    """Compare buffered with plain runs of the same seed, perturbation, strength and onset.

    Parameters
    ----------
    events : yes or no for a run: how many have it in either arm, and the exact sign test.
    values : numbers of a run and how many digits to print: the mean gain, with a 95% interval by bootstrap over seeds,
        since runs of one seed share weights and data.
    """
    plain, buffered = arms
    pairs = runs.pivot(index=["dimension", "strength", "seed"], columns="buffer")
    for name in events:
        one, other = (pairs[name][arm].astype(bool) for arm in arms)
        only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
        p = binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0
        counts = f"plain {one.sum()}, {buffered} {other.sum()}; only {only_one}, only {only_other}"
        print(f"{name}: {counts}; p {p:.2g}")
    draw = np.random.default_rng(0)
    for name, some in [
        ("all", pairs),
        *pairs.groupby("dimension", sort=False),
        *pairs.groupby(["dimension", "strength"], sort=False),
    ]:
        for value, digits in values.items():
            gain = (some[value][buffered] - some[value][plain]).astype(float).groupby("seed").mean().to_numpy()
            low, high = np.quantile(draw.choice(gain, (9999, len(gain))).mean(axis=1), [0.025, 0.975])
            print(f"{name}: {value} {gain.mean():+.{digits}f} ({low:.{digits}f} to {high:.{digits}f}) with {buffered}")
