"""Odd logs are measured as far as they go: no traceback, no warning, and every table can be written."""

import numpy as np
import pandas as pd
import pytest

from trajhmm import measure_stability
from trajhmm.dynamics.stability.files import write_stability
from trajhmm.logs import RunSet

ROWS = 130
LAYERS = ("weight_l2/a", "weight_l2/b", "weight_l2/c")
METRICS = ("train_loss", "eval_loss", "distance", "separation", "weight_l2", *LAYERS)


def one_run(seed, n_rows=ROWS):
    """A falling loss with two spikes, distances and the norms of layers, and a sign."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"run": f"r{seed}", "step": 5 * np.arange(n_rows)})
    for name in METRICS:
        frame[name] = (1.0 + 1.0 / np.sqrt(1.0 + np.arange(n_rows))) * np.exp(0.05 * rng.standard_normal(n_rows))
    frame.loc[frame.index.isin([60, 61, 90 + seed]), "train_loss"] *= 4.0
    frame["x"] = rng.standard_normal(n_rows)
    return frame.assign(seed=seed, learning_rate=0.1 * (1 + seed % 3), batch_size=8 * (1 + seed % 2), twin=seed % 2)


def together(frames):
    return pd.concat(frames, ignore_index=True)


def spoilt(values, rows=slice(None), columns=METRICS, n_runs=6):
    frames = [one_run(seed) for seed in range(n_runs)]
    for frame in frames[1:3]:
        frame.loc[frame.index[rows], list(columns)] = values
    return together(frames)


def told(**attributes):
    """Attributes as text, that differ from run to run."""
    return together([one_run(seed).assign(**{k: v[seed % len(v)] for k, v in attributes.items()}) for seed in range(6)])


ODD = {
    "one run": one_run(0),
    "one row": one_run(0, 1),
    "one row each": together([one_run(seed, 1) for seed in range(6)]),
    "one row in some": together([one_run(seed, 1 if seed < 3 else ROWS) for seed in range(6)]),
    "two rows each": together([one_run(seed, 2) for seed in range(6)]),
    "NaN throughout": spoilt(np.nan),
    "infinite throughout": spoilt(np.inf),
    "infinite at first": spoilt(np.inf, slice(0, 35)),
    "infinite now and then": spoilt(np.inf, slice(3, None, 7)),
    "of both signs": spoilt(np.tile([[np.inf], [-np.inf]], (ROWS // 2, len(METRICS)))),
    "NaN at the end": spoilt(np.nan, slice(80, None)),
    "0 throughout": spoilt(0.0),
    "constant": together([one_run(0), *(one_run(s).assign(**dict.fromkeys(METRICS, 1.0 + s)) for s in range(1, 6))]),
    "the same runs": together([one_run(0).assign(run=f"r{n}", seed=n) for n in range(6)]),
    "below 0": spoilt(-3.0),
    "x nowhere finite": spoilt(np.nan, columns=["x"]),
    "x finite nowhere at all": together([one_run(seed).assign(x=np.nan) for seed in range(6)]),
    "logged as logarithms beyond numbers": together(
        [one_run(seed).assign(log_distance=900.0 - np.arange(ROWS), distance=np.nan) for seed in range(6)]
    ),
    "as logarithms below numbers": together(
        [one_run(seed).assign(log_distance=-900.0 - np.arange(ROWS), distance=np.nan) for seed in range(6)]
    ),
    "no attributes": together([one_run(seed) for seed in range(6)]).drop(
        columns=["seed", "learning_rate", "batch_size", "twin"]
    ),
    "text": told(learning_rate=["fast", "slow"], batch_size=["all", "8"], twin=["a", "b"]),
    "blank": told(learning_rate=[0.1, None], batch_size=[None, 8.0, 16.0], twin=[None, 1.0]),
    "blank and text": told(learning_rate=["0.1", None], batch_size=[None, "8", "x"], twin=["a", None, ""]),
    "no batch": told(batch_size=[0, 8, -1], twin=[0, 0, 0, 1]),
    "steps of their own": together([one_run(s).assign(step=lambda f, s=s: f["step"] * 7 + s) for s in range(6)]),
}


APART = ("learning_rate", "twin")
GROUPED = ("one row in some", "text", "blank", "blank and text", "no batch")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("kind", "by"), [*((kind, ()) for kind in ODD), *((kind, APART) for kind in GROUPED)])
def test_odd_logs_are_measured_as_far_as_they_go(kind, by, tmp_path):
    runs = RunSet.from_frame(ODD[kind])
    found = measure_stability(runs, by)
    names = {path.name for path in write_stability(found, tmp_path)}
    assert {"spikes.csv", "summary.txt"} <= names
    assert ("freezing.csv" in names) == (kind != "x finite nowhere at all")
    assert kind == "x finite nowhere at all" or len(found.tables["freezing"]) <= runs.n_runs
    if not kind.startswith(("one", "two", "constant")):
        assert len(found.tables["spikes"]) >= 6
    if kind in ("text", "no attributes"):
        assert "noise" not in found.tables
        assert any("the noise of these runs is not known" in remark for remark in found.remarks)
