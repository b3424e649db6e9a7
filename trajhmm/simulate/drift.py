"""Logs of runs that all go down one smooth road, each at its own speed: no states, and no detours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.simulate.result import Simulated, first_step, run_logs

if TYPE_CHECKING:
    import pandas as pd

# A run of speed 1 has covered 0.92 of the road, where it counts as converged, after so large a part of its log.
_MEDIAN_CONVERGENCE = 0.4
_BEST_ACCURACY = 0.98
_ACCURACY_NOISE = 0.003


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift(Simulated):
    """Simulated logs of one road.

    Attributes
    ----------
    speeds : (R,) of the runs, drawn around a median of 1.
    progress : (N,) share of the road that lies behind a run at each row, 0 to below 1.
    road : (N, D) the metrics at each row without noise: functions of ``progress`` alone.
    """

    speeds: NDArray[np.float64]
    progress: NDArray[np.float64]
    road: NDArray[np.float64]

    def truth_table(self) -> pd.DataFrame:
        """One row a run; beside the columns of all simulations ``speed``."""
        return super().truth_table().assign(speed=self.speeds)


def drift(
    *,
    n_runs: int = 40,
    n_rows: int = 200,
    speed_sd: float = 0.8,
    n_metrics: int = 8,
    noise: float = 0.03,
    step: int = 10,
    seed: int = 0,
) -> Drift:
    """Simulate runs that go down one smooth, curved road and differ in nothing but their speed.

    Progress along the road is ``1 − exp(−c · speed · row)``: fast at first, then ever slower, with c such that a run
    of speed 1 converges at 40% of its log. ``eval_accuracy`` follows progress, and passes 0.9 near the end of the road;
    the slowest runs do not get there (with ``speed_sd`` 0.8, one in eight).

    The first half of the metrics is positive, as norms are, with noise that is a share of the value; the others
    wind around 0. The road itself is drawn with the seed.

    Parameters
    ----------
    n_runs, n_rows : R runs of equal length.
    speed_sd : standard deviation of the logarithm of a run's speed.
    n_metrics : D.
    noise : standard deviation, row by row, around the road: of the logarithm of positive metrics, and of the others,
        which range from −1 to 1.
    step : training steps from one row to the next.
    seed : of everything.
    """
    for name, value in {"speed_sd": speed_sd, "noise": noise}.items():
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} = {value:g}: expected a standard deviation, 0 or more")
    if n_metrics < 1:
        raise ValueError(f"n_metrics = {n_metrics}: expected 1 or more")
    rng = np.random.default_rng(seed)
    speeds = np.exp(speed_sd * rng.standard_normal(n_runs))
    rate = -np.log1p(-0.9 / _BEST_ACCURACY) / (_MEDIAN_CONVERGENCE * n_rows)
    progress = -np.expm1(-rate * speeds[:, np.newaxis] * np.arange(n_rows))
    bends = rng.uniform(0.5, 1.5, size=n_metrics)
    turns = rng.uniform(0.0, 2 * np.pi, size=n_metrics)
    winding = np.sin(np.pi * bends * progress[:, :, np.newaxis] + turns)
    noisy = winding + noise * rng.standard_normal(winding.shape)
    accuracy = _BEST_ACCURACY * progress + rng.uniform(-_ACCURACY_NOISE, _ACCURACY_NOISE, size=progress.shape)
    steps = step * np.arange(n_rows)
    return Drift(
        logs=run_logs(_half_positive(noisy), accuracy, steps),
        convergence_steps=first_step(accuracy > 0.9, steps),
        speeds=speeds,
        progress=progress.ravel(),
        road=_half_positive(winding).reshape(n_runs * n_rows, n_metrics),
    )


def _half_positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, T, D), the first half of the metrics exponentiated."""
    half = values.shape[2] // 2
    return np.concatenate([np.exp(values[:, :, :half]), values[:, :, half:]], axis=2)
