"""Logs of made-up runs, healthy and not, for the tests of what reads logs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trajhmm.logs import RunSet

from .made import METRICS, training


def frame_of(values, run, steps=None):
    """A run log of one run: (T, 3) values."""
    frame = pd.DataFrame(values, columns=list(METRICS))
    frame.insert(0, "run", run)
    frame.insert(1, "step", 10 * np.arange(len(values)) if steps is None else steps)
    return frame


def healthy_logs(n, *, seed=0, rows=100):
    rng = np.random.default_rng(seed)
    return RunSet.from_frame(pd.concat([frame_of(training(rng, rows), f"healthy {i}") for i in range(n)]))


def drifting(seed=7, *, rows=100, onset=50):
    return training(np.random.default_rng(seed), rows, drift=3.0, onset=onset)
