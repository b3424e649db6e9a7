"""Lyapunov exponents from what a distance is multiplied by at each step: numbers, or Jacobian matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.rates import Rate, rate_over_runs


def multiplier_exponent(multipliers: NDArray[np.float64]) -> Rate:
    """Λ = E ln|m|, a step, of a distance that is multiplied by m (arXiv 2303.13093, section 3).

    Below 0 the distance goes to 0 in probability, though its moments may grow. A multiplier of 0 makes it −∞.

    Parameters
    ----------
    multipliers : (R, T) of T steps of each of R runs. Draws that are independent throughout are runs of one step.
    """
    checked = _finite("multipliers", multipliers, 2)
    with np.errstate(divide="ignore"):
        totals = np.log(np.abs(checked)).sum(axis=1)
    return rate_over_runs(totals, np.full(len(checked), float(checked.shape[1])))


def jacobian_exponents(jacobians: NDArray[np.float64], *, discard: int = 0) -> tuple[Rate, ...]:
    """All d Lyapunov exponents of products of Jacobians, a step, from the largest down.

    An orthonormal frame is carried along and made orthonormal anew at each step (QR; Benettin et al. 1980; Eckmann and
    Ruelle 1985, section V); what its axes grow by are the exponents. The frame starts along the coordinates, and takes
    some steps to turn to where growth is largest: ``discard`` them where runs are short. Where coordinates are left
    among themselves, as by diagonal matrices, it never turns: axes are put in order by what they grow by in all runs.

    Parameters
    ----------
    jacobians : (R, T, d, d) of T steps of each of R runs, such as I − λĤ; the first is applied first.
    discard : steps of each run that only turn the frame.
    """
    checked = _finite("jacobians", jacobians, 4)
    n_runs, n_steps, size, other = checked.shape
    if size != other:
        raise ValueError(f"jacobians: expected square matrices, found {size} × {other}")
    if not 0 <= discard < n_steps:
        raise ValueError(f"discard = {discard}: expected 0 to {n_steps - 1}, fewer than the {n_steps} steps of a run")
    frames = np.broadcast_to(np.eye(size), (n_runs, size, size))
    totals = np.zeros((n_runs, size))
    for step in range(n_steps):
        frames, triangles = np.linalg.qr(checked[:, step] @ frames)
        if step >= discard:
            with np.errstate(divide="ignore"):
                totals += np.log(np.abs(np.diagonal(triangles, axis1=1, axis2=2)))
    spans = np.full(n_runs, float(n_steps - discard))
    order = np.argsort(-totals.sum(axis=0), kind="stable")
    return tuple(rate_over_runs(totals[:, axis], spans) for axis in order)


def _finite(name: str, array: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    checked = np.asarray(array, dtype=np.float64)
    if checked.ndim != dimensions or checked.size == 0:
        raise ValueError(f"{name}: expected {dimensions} dimensions, none of them empty, found {checked.shape}")
    if not np.isfinite(checked).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(checked))[0])
        raise ValueError(
            f"{name}: not finite at {place}; cut the run before that step, or count it by the logarithm of its distance"
        )
    return checked
