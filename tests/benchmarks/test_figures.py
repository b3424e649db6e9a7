"""How long figures take to draw and write: 40 runs of 10,000 rows, one metric a panel.

Run with ``pytest tests/benchmarks/test_figures.py -s --override-ini addopts=``.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from trajhmm.dynamics import Trajectories
from trajhmm.figures import plot_metric_curves, plot_metric_panels, save_figure

RUNS, ROWS = 40, 10_000


def trajectories(n_states, dwell, metrics=("weight_l2", "train_loss", "grad_norm", "trace")):
    rng = np.random.default_rng(0)
    stays = rng.geometric(1 / dwell, size=(RUNS, ROWS)) if dwell else None
    paths = []
    for run in range(RUNS):
        lengths = np.full(n_states, ROWS // n_states + 1) if stays is None else stays[run]
        paths.append(np.repeat(np.arange(len(lengths)) % n_states, lengths)[:ROWS])
    return Trajectories(
        runs=tuple(f"seed_{run}" for run in range(RUNS)),
        lengths=np.full(RUNS, ROWS),
        steps=np.tile(np.arange(ROWS) * 10, RUNS),
        metrics=metrics,
        values=rng.normal(size=(RUNS * ROWS, len(metrics))).cumsum(axis=0),
        path=np.concatenate(paths).astype(np.int64),
    )


@pytest.mark.parametrize(
    ("name", "n_states", "dwell"), [("6 states, each once", 6, None), ("10 states, 50 rows", 10, 50)]
)
@pytest.mark.parametrize("format", ["pdf", "svg", "png"])
def test_curves(tmp_path, name, n_states, dwell, format):
    runs = trajectories(n_states, dwell)
    for what, draw in {
        "one metric": lambda: plot_metric_curves(runs, "train_loss"),
        "four panels": lambda: plot_metric_panels(runs, runs.metrics, step_scale="sqrt")[0],
    }.items():
        path = tmp_path / f"curves.{format}"
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            save_figure(draw(), path)
            seconds.append(time.perf_counter() - started)
        size = path.stat().st_size / 1e6
        print(f"\n{what}, {name}, {format}: {min(seconds):.2f} s, {size:.2f} MB", end="")
