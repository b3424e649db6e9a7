"""Proxies of the rank of weights from the metrics that logs hold; proxies, as those are means over the matrices.

Of one matrix they would be exact: the stable rank, and the share of singular values that take part. Means over the
matrices of a network mix them, and large matrices do not count for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

STABLE_RANK_PROXY, PARTICIPATION_PROXY = "stable_rank_proxy", "participation_proxy"


def stable_rank_proxy(weight_l2: NDArray[np.float64], spectral_norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(weight_l2 / spectral_norm)², a proxy of ‖W‖²_F / ‖W‖²₂, which is the rank where singular values are alike.

    Parameters
    ----------
    weight_l2, spectral_norm : (N,) means over matrices of Frobenius and spectral norms. NaN where the latter is 0.
    """
    return _ratio(weight_l2, spectral_norm) ** 2


def participation_proxy(singular_mean: NDArray[np.float64], singular_var: NDArray[np.float64]) -> NDArray[np.float64]:
    """m² / (m² + v), a proxy of the share of singular values that take part: k/n where k of n are alike, the rest 0.

    Parameters
    ----------
    singular_mean, singular_var : (N,) means over matrices of mean m and variance v of the singular values. NaN where
        all are 0.
    """
    square = np.asarray(singular_mean, dtype=np.float64) ** 2
    return _ratio(square, square + singular_var)


def rank_proxies(runs: RunSet) -> pd.DataFrame:
    """A row for each row of the logs: ``run``, ``step``, and those of both proxies that the logged metrics allow.

    ``stable_rank_proxy`` needs ``weight_l2`` and ``spectral_norm``, ``participation_proxy`` needs ``singular_mean`` and
    ``singular_var``.
    """
    import pandas as pd

    table = pd.DataFrame({"run": np.repeat(np.asarray(runs.runs, dtype=object), runs.lengths), "step": runs.steps})
    if {"weight_l2", "spectral_norm"} <= set(runs.metrics):
        table[STABLE_RANK_PROXY] = stable_rank_proxy(runs.column("weight_l2"), runs.column("spectral_norm"))
    if {"singular_mean", "singular_var"} <= set(runs.metrics):
        table[PARTICIPATION_PROXY] = participation_proxy(runs.column("singular_mean"), runs.column("singular_var"))
    return table


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(np.asarray(below) != 0.0, np.asarray(above, dtype=np.float64) / below, np.nan))
