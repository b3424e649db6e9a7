"""What a simulation hands over: run logs, and the truth behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs import RunSet
from trajhmm.simulate.emissions import Emissions, emit

if TYPE_CHECKING:
    import pandas as pd

METRICS = (
    "weight_l1",
    "weight_l2",
    "weight_l1_over_l2",
    "trace",
    "spectral_norm",
    "trace_over_spectral",
    "singular_mean",
    "singular_var",
    "weight_mean",
    "weight_median",
    "weight_var",
    "bias_mean",
    "bias_median",
    "bias_var",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """Simulated logs of R runs, N rows in all, and when the runs converge.

    Attributes
    ----------
    logs : the run logs; converged where ``eval_accuracy > 0.9``.
    convergence_steps : (R,) int64, first step at which a run has converged; -1 for runs that do not, or not yet when
        the log ends.
    """

    logs: RunSet
    convergence_steps: NDArray[np.int64]

    def truth_table(self) -> pd.DataFrame:
        """One row a run: ``run``, ``onset`` and ``collapse_step`` (-1: none collapses), ``convergence_step``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "run": list(self.logs.runs),
                "onset": -1,
                "collapse_step": -1,
                "convergence_step": self.convergence_steps,
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedStates(Simulated):
    """The same, of runs that pass through K states.

    Attributes
    ----------
    states : (N,) int64, true state of each row, 0 to K − 1. Only states that some row is in are counted and numbered,
        in the order of the road: every way leads from lower to higher numbers, but for returns from excursions.
    state_names : K names; the last is that of converged runs, if there are any.
    means : (K, D) of the states, before what each run adds of its own.
    """

    states: NDArray[np.int64]
    state_names: tuple[str, ...]
    means: NDArray[np.float64]

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return len(self.state_names)

    def truth_table(self) -> pd.DataFrame:
        """One row a run; beside the columns of all simulations ``entered_NAME``, the first step in a state or -1."""
        frame = super().truth_table()
        shape = (self.logs.n_runs, -1)
        states, steps = self.states.reshape(shape), self.logs.steps.reshape(shape)[0]
        for state, name in enumerate(self.state_names):
            frame[f"entered_{name.replace(' ', '_')}"] = first_step(states == state, steps)
        return frame


def observe(
    paths: NDArray[np.int64],
    means: NDArray[np.float64],
    state_names: tuple[str, ...],
    *,
    emissions: Emissions,
    step: int,
    rng: np.random.Generator,
) -> SimulatedStates:
    """Log what runs on known paths show.

    Parameters
    ----------
    paths : (R, T) states; in the last of all states a run has converged.
    means : (K, D) of all states.
    state_names : K names.
    emissions : how the metrics scatter.
    step : training steps from one row to the next.
    rng : draws the metrics.
    """
    values = emit(paths, means, emissions, rng)
    done = paths == len(state_names) - 1
    accuracy = np.where(done, 0.97, 0.5) + rng.uniform(-0.02, 0.02, size=paths.shape)
    steps = step * np.arange(paths.shape[1])
    kept = np.unique(paths)
    return SimulatedStates(
        logs=run_logs(values, accuracy, steps),
        convergence_steps=first_step(done, steps),
        states=np.searchsorted(kept, paths.ravel()).astype(np.int64),
        state_names=tuple(state_names[state] for state in kept),
        means=means[kept],
    )


def first_step(holds: NDArray[np.bool_], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) int64, the first of the ``steps`` (T,) at which ``holds`` (R, T) is true; -1 if at none."""
    return np.where(holds.any(axis=1), steps[holds.argmax(axis=1)], -1).astype(np.int64)


def run_logs(values: NDArray[np.float64], accuracy: NDArray[np.float64], steps: NDArray[np.int64]) -> RunSet:
    """Run logs of metrics (R, T, D), accuracy (R, T) and steps (T,)."""
    import pandas as pd

    n_runs, n_rows, n_metrics = values.shape
    width = len(str(n_runs - 1))
    runs = tuple(f"seed_{seed:0{width}d}" for seed in range(n_runs))
    names = (*METRICS, *(f"metric_{d + 1}" for d in range(len(METRICS), n_metrics)))
    block = np.concatenate([values, accuracy[:, :, np.newaxis]], axis=2).reshape(n_runs * n_rows, -1)
    return RunSet(
        runs=runs,
        lengths=np.full(n_runs, n_rows, dtype=np.int64),
        steps=np.tile(steps, n_runs).astype(np.int64),
        values=block,
        logged=np.ones(block.shape, dtype=bool),
        metrics=(*names[:n_metrics], "eval_accuracy"),
        attributes=pd.DataFrame({"seed": np.arange(n_runs)}, index=pd.Index(runs, name="run")),
    )
