"""Stochastic gradient descent near a minimum of rank one: the distance is multiplied by 1 − λx² at each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.simulate.log_moments import mean_log_distance
from trajhmm.simulate.sweep import Cell, Sweep, grid, in_range, joined, logged_steps, pieces

LEARNING_RATES = (0.3, 1.0, 2.0, 3.0)


def rank_one(
    *,
    learning_rates: Sequence[float] = LEARNING_RATES,
    n_runs: int = 200,
    n_steps: int = 2000,
    every: int = 1,
    seed: int = 0,
) -> Sweep:
    """Simulate θ ← (1 − λx²)θ with x ~ N(0, 1) drawn anew at each step, from θ = 1 (arXiv 2303.13093).

    The metric is ``log_distance`` = ln|θ|, a sum of ln|1 − λx²|, as θ itself soon under- or overflows. Truth:
    ``exponent``, a step; ``second_moment``, the mean of (1 − λx²)²; ``l2_stable`` and ``probability_stable``.

    Parameters
    ----------
    learning_rates : λ, each above 0.
    n_runs : of each learning rate.
    n_steps : of each run.
    every : steps from one row to the next.
    seed : of everything.
    """
    return joined(
        rank_one_pieces(learning_rates=learning_rates, n_runs=n_runs, n_steps=n_steps, every=every, seed=seed)
    )


def rank_one_pieces(
    *, learning_rates: Sequence[float], n_runs: int, n_steps: int, every: int, seed: int
) -> Iterator[Sweep]:
    """The runs of :func:`rank_one`, some at a time."""
    in_range("learning_rates", learning_rates, above=0.0, high=np.inf)
    steps = logged_steps(n_runs, n_steps, every)
    cells = grid(learning_rate=learning_rates)
    truths = {cell.number: _truth(cell.settings["learning_rate"]) for cell in cells}

    def simulate(cell: Cell, _run: int, rng: np.random.Generator, rows: NDArray[np.float64]) -> Mapping[str, Any]:
        rows[:, 0] = walk(1.0 - cell.settings["learning_rate"] * rng.standard_normal(n_steps) ** 2)[::every]
        return truths[cell.number]

    return pieces(cells, simulate, n_runs=n_runs, steps=steps, metrics=("log_distance",), seed=seed)


def walk(multipliers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T + 1,) sums of ln|m| before the first and after each of (T,) multipliers; −∞ from one that is 0 on."""
    sums = np.zeros(len(multipliers) + 1)
    with np.errstate(divide="ignore"):
        np.cumsum(np.log(np.abs(multipliers)), out=sums[1:])
    return sums


def rank_one_exponent(learning_rate: float) -> float:
    """Λ = E ln|1 − λx²| a step for x ~ N(0, 1), exact: ln λ + 2 E ln|1/√λ − x|."""
    return float(np.log(learning_rate) + 2.0 * mean_log_distance(1.0 / np.sqrt(learning_rate)))


def rank_one_second_moment(learning_rate: float) -> float:
    """E (1 − λx²)² = 1 − 2λ + 3λ² for x ~ N(0, 1); below 1, where the second moment shrinks, up to λ = 2/3."""
    return 1.0 - 2.0 * learning_rate + 3.0 * learning_rate**2


def _truth(learning_rate: float) -> dict[str, Any]:
    exponent, second_moment = rank_one_exponent(learning_rate), rank_one_second_moment(learning_rate)
    return {
        "exponent": exponent,
        "second_moment": second_moment,
        "l2_stable": second_moment < 1.0,
        "probability_stable": exponent < 0.0,
    }
