"""Means of logarithms of Gaussian variables, in closed form or by quadrature: what exponents should come out as."""

from __future__ import annotations

import numpy as np


def mean_log_distance(a: float) -> float:
    """E ln|a − z| for a standard normal z.

    Its derivative in a is the Hilbert transform of the normal density, √2 D(a/√2) with Dawson's integral D, and at 0 it
    is −(γ + ln 2)/2, half the mean of the logarithm of a χ² variable with one degree of freedom.
    """
    from scipy.integrate import quad
    from scipy.special import dawsn

    grown, _ = quad(dawsn, 0.0, abs(a) / np.sqrt(2.0), limit=400)
    return float(2.0 * grown - 0.5 * (np.euler_gamma + np.log(2.0)))
