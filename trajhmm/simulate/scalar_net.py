"""Stochastic gradient descent near the saddle of a net of two scalar weights: what it learns, by two exponents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.simulate.log_moments import mean_log_distance
from trajhmm.simulate.rank_one import rank_one_exponent, walk
from trajhmm.simulate.sweep import Cell, Sweep, grid, in_range, joined, logged_steps, pieces

MUS = (0.1,)
LEARNING_RATES = (0.01, 0.05, 0.2, 0.5)
NOISE_SD = 2.0
METRICS = ("log_plus", "log_minus")


def scalar_net(
    *,
    mus: Sequence[float] = MUS,
    learning_rates: Sequence[float] = LEARNING_RATES,
    n_runs: int = 100,
    n_steps: int = 5000,
    every: int = 1,
    seed: int = 0,
) -> Sweep:
    """Simulate ℓ = (uwx − y)² near u = w = 0, where u ± w is multiplied by 1 ± 2λxy at each step (arXiv 2303.13093).

    Data are x ~ N(0, 1) and y = μx + (1 − μ)ε with ε ~ N(0, 4), drawn anew at each step. The metrics are ``log_plus`` =
    ln|u + w| and ``log_minus`` = ln|u − w|, from 0. Truth: ``exponent_plus`` and ``exponent_minus``, a step, and the
    ``phase`` that their signs make: + − ``correct`` (u and w grow alike, as E xy > 0 asks for), − + ``incorrect``,
    − − ``saddle`` (both weights collapse to 0, the solution of low rank), + + ``unstable``.

    Parameters
    ----------
    mus : μ, from 0, where y is noise, to 1, where y is x.
    learning_rates : λ, each above 0.
    n_runs : of each setting.
    n_steps : of each run.
    every : steps from one row to the next.
    seed : of everything.
    """
    return joined(
        scalar_net_pieces(
            mus=mus, learning_rates=learning_rates, n_runs=n_runs, n_steps=n_steps, every=every, seed=seed
        )
    )


def scalar_net_pieces(
    *, mus: Sequence[float], learning_rates: Sequence[float], n_runs: int, n_steps: int, every: int, seed: int
) -> Iterator[Sweep]:
    """The runs of :func:`scalar_net`, some at a time."""
    in_range("mus", mus, low=0.0, high=1.0)
    in_range("learning_rates", learning_rates, above=0.0, high=np.inf)
    steps = logged_steps(n_runs, n_steps, every)
    cells = grid(mu=mus, learning_rate=learning_rates)
    truths = {cell.number: _truth(cell.settings["mu"], cell.settings["learning_rate"]) for cell in cells}

    def simulate(cell: Cell, _run: int, rng: np.random.Generator, rows: NDArray[np.float64]) -> Mapping[str, Any]:
        mu, learning_rate = cell.settings["mu"], cell.settings["learning_rate"]
        x, noise = rng.standard_normal((n_steps, 2)).T
        pull = 2.0 * learning_rate * x * (mu * x + (1.0 - mu) * NOISE_SD * noise)
        rows[:, 0], rows[:, 1] = walk(1.0 + pull)[::every], walk(1.0 - pull)[::every]
        return truths[cell.number]

    return pieces(cells, simulate, n_runs=n_runs, steps=steps, metrics=METRICS, seed=seed)


def scalar_net_exponents(mu: float, learning_rate: float) -> tuple[float, float]:
    """Λ± = E ln|1 ± 2λxy| a step, by quadrature over x of the closed form over ε.

    Given x, 1 ± 2λxy is normal with mean 1 ± 2λμx² and standard deviation 2λ(1 − μ)·2|x|.
    """
    from scipy.integrate import quad
    from scipy.stats import norm

    def inner(x: float, sign: float) -> float:
        mean, sd = 1.0 + sign * 2.0 * learning_rate * mu * x * x, 2.0 * learning_rate * (1.0 - mu) * NOISE_SD * x
        return float(np.log(sd) + mean_log_distance(mean / sd))

    def noiseless_plus(x: float) -> float:
        return float(np.log1p(2.0 * learning_rate * x * x))

    def over_x(function: Any, *arguments: float) -> float:
        # Beyond 12 standard deviations nothing is left; below 1e-6 the mean's logarithm is 0 to 1e-12.
        mean, _ = quad(lambda x: 2.0 * norm.pdf(x) * function(x, *arguments), 1e-6, 12.0, limit=400)
        return float(mean)

    if mu == 1.0:
        return over_x(noiseless_plus), rank_one_exponent(2.0 * learning_rate)
    return over_x(inner, 1.0), over_x(inner, -1.0)


def phase_of(plus: float, minus: float) -> str:
    """The phase that the signs of two exponents make."""
    if plus > 0.0:
        return "unstable" if minus > 0.0 else "correct"
    return "incorrect" if minus > 0.0 else "saddle"


def _truth(mu: float, learning_rate: float) -> dict[str, Any]:
    plus, minus = scalar_net_exponents(mu, learning_rate)
    return {"exponent_plus": plus, "exponent_minus": minus, "phase": phase_of(plus, minus)}
