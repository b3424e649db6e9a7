"""The inverse hyperbolic sine of values in spreads: the loop of `trajhmm.features.departures`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.features.innovations import FARTHEST

Floats = NDArray[np.float64]

# Below this the series of the inverse hyperbolic sine is exact after two terms.
_SERIES = 1e-4

# Values at a time. In loops that do one thing each the processor takes several values at once.
_BLOCK = 512

# log x = k log 2 + log m with √½ <= m < √2, and log m by Remez's polynomial in f / (2 + f), f = m - 1: within 1 ulp (as
# in FreeBSD's e_log.c). Unlike np.log inside compiled code it vectorises.
_LOG_2_HIGH = 6.93147180369123816490e-01
_LOG_2_LOW = 1.90821492927058770002e-10
_1, _2, _3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
_4, _5, _6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
_7 = 1.479819860511658591e-01
_ROOT_OF_HALF = np.float64(np.sqrt(0.5)).view(np.int64).item()
_MANTISSA_BITS = 52


@takes(values="N D", centre="D", spread="D", found="N D filled")
@compiled(error_model="numpy")
def squeeze(values: Floats, centre: Floats, spread: Floats, found: Floats) -> None:
    """Fill (n, D) ``found`` for (n, D) values with (D,) centres and spreads; at most `FARTHEST`, and NaN stays.

    What is found of a value does not depend on those beside it, in the last bit either.
    """
    n_rows, n_metrics = values.shape
    at_once = max(1, _BLOCK // max(1, n_metrics))
    away, powers = np.empty(at_once * n_metrics), np.empty(at_once * n_metrics)
    x = np.empty(at_once * n_metrics)
    bits = x.view(np.int64)
    for begin in range(0, n_rows, at_once):
        rows = min(at_once, n_rows - begin)
        size = rows * n_metrics
        for t in range(rows):
            for d in range(n_metrics):
                away[t * n_metrics + d] = (values[begin + t, d] - centre[d]) / spread[d]
        for i in range(size):
            far = min(abs(away[i]), FARTHEST)
            x[i] = far + np.sqrt(far * far + 1.0)
        for i in range(size):
            power = (bits[i] - _ROOT_OF_HALF) >> _MANTISSA_BITS
            powers[i] = float(power)
            bits[i] -= power << _MANTISSA_BITS
        flat = found[begin : begin + rows].reshape(size)
        for i in range(size):
            f = x[i] - 1.0
            s = f / (2.0 + f)
            z = s * s
            w = z * z
            series = w * (_2 + w * (_4 + w * _6)) + z * (_1 + w * (_3 + w * (_5 + w * _7)))
            half = 0.5 * f * f
            log = powers[i] * _LOG_2_HIGH - ((half - (s * (half + series) + powers[i] * _LOG_2_LOW)) - f)
            near = abs(away[i])
            # Near 0 the logarithm would lose digits.
            squeezed = near * (1.0 - near * near / 6.0) if near < _SERIES else log
            flat[i] = np.copysign(squeezed, away[i]) if away[i] == away[i] else away[i]
