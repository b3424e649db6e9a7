"""Run logs from a known hidden Markov model, with a known detour that delays convergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs import RunSet

EARLY, PLATEAU, DETOUR, LATE, DONE = range(5)
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
_N_STATES = 5
_STAYS = {EARLY: 16.0, PLATEAU: 14.0, LATE: 12.0}
_STAGES = 8
_RADIUS = 1.0
_DETOUR_RADIUS = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """Simulated logs and the truth behind them.

    Attributes
    ----------
    logs : the run logs; converged where ``eval_accuracy > 0.9``.
    states : (N,) true state of each row, numbered as runs enter them: 0 early, 1 plateau, 2 detour (absent if none was
        planted), then late and done.
    detour : the detour's state, or None.
    took_detour : (R,) bool.
    convergence_steps : (R,) int64, -1 for runs that never converge.
    effect : expected delay of a run that takes the detour, in steps; 0 without one.
    means : (K, D) of the states, before each run's own offset and scale; variances are 1.
    """

    logs: RunSet
    states: NDArray[np.int64]
    detour: int | None
    took_detour: NDArray[np.bool_]
    convergence_steps: NDArray[np.int64]
    effect: float
    means: NDArray[np.float64]


def planted(
    *,
    n_runs: int = 40,
    n_rows: int = 120,
    detour: bool = True,
    detour_share: float = 0.4,
    detour_stay: float = 36.0,
    never: float = 0.05,
    step: int = 10,
    seed: int = 0,
) -> Planted:
    """Simulate runs that pass through early, plateau and late states until they are done.

    From the plateau a share of the runs takes the detour, and then goes on as the others do. A share ``never`` of the
    runs is slow, and still on the plateau when the log ends. Each row's metrics are normal around the
    means of its state; each run then has an offset and a scale of its own in each metric, as seeds do.

    Every state is a chain of eight stages with the same emissions, so that its dwell time is a sum of eight geometric
    ones: a hidden Markov model whose states keep their time better than single ones would.

    Parameters
    ----------
    n_runs, n_rows : R runs of equal length.
    detour : whether there is a detour.
    detour_share : probability of leaving the plateau for the detour.
    detour_stay : mean number of rows in the detour; the delay it causes.
    never : share of runs that never converge.
    step : training steps from one row to the next.
    seed : of everything.
    """
    rng = np.random.default_rng(seed)
    means = _means()
    takes = rng.random(n_runs) < (detour_share if detour else 0.0)
    slow = rng.permutation(n_runs) < round(never * n_runs)
    stays = {**_STAYS, DETOUR: detour_stay}
    paths = np.stack([_path(stays, n_rows, takes_detour=takes[r], slow=slow[r], rng=rng) for r in range(n_runs)])
    values = rng.normal(means[paths], 1.0)
    offset = rng.normal(0.0, 1.0, size=(n_runs, 1, len(METRICS)))
    scale = np.exp(rng.normal(0.0, 0.3, size=(n_runs, 1, len(METRICS))))
    values = offset + scale * values
    done = paths == DONE
    accuracy = np.where(done, 0.97, 0.5) + rng.uniform(-0.02, 0.02, size=paths.shape)
    steps = step * np.arange(n_rows)
    first = np.where(done.any(axis=1), steps[done.argmax(axis=1)], -1)
    kept = np.array([state for state in range(_N_STATES) if detour or state != DETOUR])
    return Planted(
        logs=_logs(values, accuracy, steps),
        states=np.searchsorted(kept, paths.ravel()).astype(np.int64),
        detour=DETOUR if detour else None,
        took_detour=(paths == DETOUR).any(axis=1),
        convergence_steps=first.astype(np.int64),
        effect=step * detour_stay if detour else 0.0,
        means=means[kept],
    )


def _means() -> NDArray[np.float64]:
    """(K, D) means, in units of the noise, so laid out that scaling each run by itself leaves states comparable.

    A run's own mean depends on how long it stays where. Metrics come in pairs; in each pair early, plateau and late
    stand at equal angles around done, so that their shares hardly move the mean, however long a run takes, and the
    detour stands between early and plateau. Small differences in many metrics keep what remains beside the noise.
    """
    pairs = np.arange(len(METRICS) // 2)
    turn = 2 * np.pi * pairs / len(pairs)
    angles = {EARLY: 0.0, DETOUR: np.pi / 3, PLATEAU: 2 * np.pi / 3, LATE: 4 * np.pi / 3}
    means = np.zeros((_N_STATES, len(METRICS)))
    for state, angle in angles.items():
        radius = _DETOUR_RADIUS if state == DETOUR else _RADIUS
        means[state, 0::2] = radius * np.cos(turn + angle)
        means[state, 1::2] = radius * np.sin(turn + angle)
    return means


def _path(
    stays: dict[int, float], n_rows: int, *, takes_detour: np.bool_, slow: np.bool_, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(T,) states of one run."""
    route = [EARLY, PLATEAU, *([DETOUR] if takes_detour else []), LATE]
    dwells = np.array([rng.geometric(_STAGES / stays[state], size=_STAGES).sum() for state in route])
    if slow:
        # The plateau begins before the log is half over, and does not end.
        dwells[:2] = int(rng.uniform(0.4, 0.5) * n_rows), n_rows
    return np.repeat([*route, DONE], [*dwells, n_rows])[:n_rows]


def _logs(values: NDArray[np.float64], accuracy: NDArray[np.float64], steps: NDArray[np.int64]) -> RunSet:
    import pandas as pd

    n_runs, n_rows, _ = values.shape
    width = len(str(n_runs - 1))
    runs = tuple(f"seed_{seed:0{width}d}" for seed in range(n_runs))
    block = np.concatenate([values, accuracy[:, :, np.newaxis]], axis=2).reshape(n_runs * n_rows, -1)
    return RunSet(
        runs=runs,
        lengths=np.full(n_runs, n_rows, dtype=np.int64),
        steps=np.tile(steps, n_runs).astype(np.int64),
        values=block,
        logged=np.ones(block.shape, dtype=bool),
        metrics=(*METRICS, "eval_accuracy"),
        attributes=pd.DataFrame({"seed": np.arange(n_runs)}, index=pd.Index(runs, name="run")),
    )
