"""Stochastic gradient descent between a flat and a sharp valley, which freezes into one of them (arXiv 2601.10962)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.compiled import compiled
from trajhmm.simulate.sweep import Cell, Sweep, grid, in_range, joined, logged_steps, pieces

Floats = NDArray[np.float64]

ETAS, SIGMAS = (0.01,), (0.01,)
METRICS = ("x", "y", "train_loss")

# Of the paper: x_1 and x_2, where the flat and the sharp valley lead; y_f, y_b, y_d. L_d, x_0 and f_0 are 1.
_FLAT, _SHARP = 0.8, 0.65
_Y_F, _Y_B, _Y_D = 20.0, 30.0, 100.0
_START_X, _START_Y = 0.01, 5.0
# Steps whose random numbers are drawn at a time: 1 MB.
_STEPS_AT_ONCE = 1 << 16


def two_valley(
    *,
    etas: Sequence[float] = ETAS,
    sigmas: Sequence[float] = SIGMAS,
    n_runs: int = 2000,
    n_steps: int = 20_000,
    every: int = 20,
    seed: int = 0,
) -> Sweep:
    """Simulate θ ← θ − η(∇L + ξ), ξ ~ N(0, 2σH₊), for θ = (x, y) in a loss with two valleys.

    L = e^(−y/y_d) + 1 + u(u − g)/f with u = |x|, where g = 2x_i y/(y + y_b) and f = x_i² ((y + y_f)/(y + y_b))², x_i is
    0.8 for x ≥ 0 (the flat valley) and 0.65 for x < 0 (the sharp one), y_f = 20, y_b = 30, y_d = 100. H₊ is the Hessian
    with negative eigenvalues set to 0. Every other run starts at (0.01, 5), the rest at (−0.01, 5).

    The metrics are ``x``, ``y`` and ``train_loss``. Truth, at full resolution whatever ``every``: ``freezing_step``, at
    which the sign of x changes for the last time, 0 where it never does; and ``valley`` at the end: ``flat``,
    ``sharp``, or ``diverged`` where a learning rate of about 0.2 or more has carried the run off to infinity.

    Parameters
    ----------
    etas : η, each above 0.
    sigmas : σ, strength of the noise, 0 or more.
    n_runs : of each setting.
    n_steps : of each run.
    every : steps from one row to the next.
    seed : of everything.
    """
    return joined(two_valley_pieces(etas=etas, sigmas=sigmas, n_runs=n_runs, n_steps=n_steps, every=every, seed=seed))


def two_valley_pieces(
    *, etas: Sequence[float], sigmas: Sequence[float], n_runs: int, n_steps: int, every: int, seed: int
) -> Iterator[Sweep]:
    """The runs of :func:`two_valley`, some at a time."""
    in_range("etas", etas, above=0.0, high=np.inf)
    in_range("sigmas", sigmas, low=0.0, high=np.inf)
    steps = logged_steps(n_runs, n_steps, every)

    def simulate(cell: Cell, run: int, rng: np.random.Generator, rows: Floats) -> Mapping[str, Any]:
        place, frozen = np.array([_START_X if run % 2 == 0 else -_START_X, _START_Y]), 0
        for first in range(0, n_steps, _STEPS_AT_ONCE):
            normals = rng.standard_normal((min(_STEPS_AT_ONCE, n_steps - first), 2))
            frozen = descend(normals, cell.settings["eta"], cell.settings["sigma"], first, every, place, frozen, rows)
        if n_steps % every == 0:
            rows[-1] = place[0], place[1], loss(place[0], place[1])
        return {"freezing_step": frozen, "valley": _valley(place)}

    return pieces(grid(eta=etas, sigma=sigmas), simulate, n_runs=n_runs, steps=steps, metrics=METRICS, seed=seed)


@compiled(error_model="numpy")
def loss(x: float, y: float) -> float:
    """The loss L at (x, y)."""
    valley = _FLAT if x >= 0.0 else _SHARP
    far, ratio = abs(x), (y + _Y_F) / (y + _Y_B)
    height: float = np.exp(-y / _Y_D) + 1.0 + far * (far - 2.0 * valley * y / (y + _Y_B)) / (valley * ratio) ** 2
    return height


@compiled(error_model="numpy")
def slopes(x: float, y: float) -> tuple[float, float, float, float, float]:
    """Gradient and Hessian of the loss at (x, y): ∂L/∂x, ∂L/∂y, ∂²L/∂x², ∂²L/∂x∂y, ∂²L/∂y²."""
    side, valley = (1.0, _FLAT) if x >= 0.0 else (-1.0, _SHARP)
    far = abs(x)
    reach = 1.0 / (y + _Y_B)
    # g, its derivatives in y, and the logarithmic derivatives of y + y_f over y + y_b, whose square 1/q goes with.
    g = 2.0 * valley * y * reach
    g1 = 2.0 * valley * _Y_B * reach * reach
    g2 = -2.0 * g1 * reach
    ratio = (y + _Y_F) * reach
    ratio1 = (_Y_B - _Y_F) * reach * reach / ratio
    ratio2 = -2.0 * ratio1 * reach
    q = 1.0 / (valley * ratio) ** 2
    q1 = -2.0 * q * ratio1
    q2 = q * (6.0 * ratio1 * ratio1 - 2.0 * ratio2)
    fall = np.exp(-y / _Y_D) / _Y_D
    return (
        side * (2.0 * far - g) * q,
        far * ((far - g) * q1 - g1 * q) - fall,
        2.0 * q,
        side * ((2.0 * far - g) * q1 - g1 * q),
        far * ((far - g) * q2 - 2.0 * g1 * q1 - g2 * q) + fall / _Y_D,
    )


@compiled(error_model="numpy")
def root(xx: float, xy: float, yy: float) -> tuple[float, float, float]:
    """Lower triangular A = (xx, ·; yx, yy) with AAᵀ the matrix (xx, xy; xy, yy), xx > 0, without negative eigenvalues.

    Returns
    -------
    Its three entries: those of Cholesky where nothing is to be left out, else those of λvvᵀ for the eigenvalue above 0.
    """
    if xx * yy >= xy * xy:
        first = np.sqrt(xx)
        return first, xy / first, np.sqrt(max(yy - xy * xy / xx, 0.0))
    half = 0.5 * (xx - yy)
    away = half + np.sqrt(half * half + xy * xy)
    # away = λ − yy, and v is proportional to (away, xy).
    scale = np.sqrt((away + yy) / (away * away + xy * xy))
    return scale * away, scale * xy, 0.0


@compiled(error_model="numpy")
def descend(
    normals: Floats, eta: float, sigma: float, first: int, every: int, place: Floats, frozen: int, rows: Floats
) -> int:
    """Descend from ``place``, which is moved on, and log the rows on the way.

    Parameters
    ----------
    normals : (n, 2) standard normal numbers, for n steps.
    eta, sigma : learning rate, strength of the noise.
    first : steps that lie behind ``place``.
    every : steps from one row to the next.
    place : (2,) x and y.
    frozen : step of the last change of sign of x so far.
    rows : (T, 3) of the whole run, filled at steps ``first`` to below ``first + n``.

    Returns
    -------
    ``frozen`` after these steps.
    """
    x, y = place
    noise = np.sqrt(2.0 * sigma)
    for t in range(len(normals)):
        step = first + t
        if step % every == 0:
            row = step // every
            rows[row, 0], rows[row, 1], rows[row, 2] = x, y, loss(x, y)
        slope_x, slope_y, xx, xy, yy = slopes(x, y)
        root_xx, root_yx, root_yy = root(xx, xy, yy)
        one, two = noise * normals[t, 0], noise * normals[t, 1]
        flat = x >= 0.0
        x -= eta * (slope_x + root_xx * one)
        y -= eta * (slope_y + root_yx * one + root_yy * two)
        if (x >= 0.0) != flat and np.isfinite(x):
            frozen = step + 1
    place[0], place[1] = x, y
    return frozen


def _valley(place: Floats) -> str:
    if not np.isfinite(place).all():
        return "diverged"
    return "flat" if place[0] >= 0.0 else "sharp"
