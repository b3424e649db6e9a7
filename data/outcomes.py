"""What the results of the three audits share: shares with intervals, the table of the card, and the two arms compared.

A frame of outcomes holds a row a perturbed run: ``buffer``, ``dimension``, ``strength``, ``seed``, ``collapsed``,
``recovered``, ``lag`` (steps from onset to collapse, NaN without one), and what else an audit looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

PLAIN = "none"


def first_of(low: NDArray[np.bool_], rows: int) -> int | None:
    """Index of the first of so many in a row; None if there are none."""
    found = np.flatnonzero(np.convolve(low, np.ones(rows), "valid") == rows)
    return int(found[0]) if len(found) else None


def share(hits: pd.Series) -> str:
    """How many of how many, with the 95% interval of Clopper and Pearson."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return f"{hits.sum()}/{len(hits)} ({100 * low:.0f}–{100 * high:.0f}%)"


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
