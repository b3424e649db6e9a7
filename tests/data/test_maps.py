"""What the cards say of the maps of their runs: they come back, and all runs keep to one road."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import trajhmm as th
from trajhmm.metrics import WEIGHT_METRICS

ROOT = Path(__file__).parents[2]
HEALTHY = "condition == 'baseline' and buffer == 'none'"


def walk_of(path):
    """States in the order in which a run passes them."""
    return tuple(state for state, _ in groupby(path.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "where", "states", "road", "runs"),
    [
        ("sparse_parities", None, 4, (0, 1, 0, 2, 3), 34),
        ("modular_addition", "condition == 'stabilised'", 4, (0, 1, 2, 3), 35),
        ("digits", None, 8, tuple(range(8)), 40),
        ("audit_lm", HEALTHY, 8, tuple(range(8)), 40),
        ("audit_rl", HEALTHY, 3, (0, 1, 2), 40),
    ],
)
def test_the_default_map_is_one_road(folder, where, states, road, runs):
    """Some runs end on the way, but none takes another."""
    logs = th.read_logs(ROOT / "data" / folder, where=where)
    model = th.fit(logs, metrics=WEIGHT_METRICS, states=states, halves=2, jobs=2)
    assert model.certificate.reproducible
    smoothed = model.decode(logs)
    walks = [walk_of(path) for path in np.split(smoothed.path, np.cumsum(smoothed.lengths)[:-1])]
    assert all(walk == road[: len(walk)] for walk in walks)
    assert walks.count(road) == runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "where"),
    [("sparse_parities", None), ("modular_addition", "condition == 'plain'"), ("digits", None), ("audit_lm", HEALTHY)],
)
def test_six_full_states_of_z_scores_do_not_come_back(folder, where):
    logs = th.read_logs(ROOT / "data" / folder, where=where)
    model = th.fit(
        logs, metrics=WEIGHT_METRICS, states=6, scaling="per-run", covariance="full", criterion="bic", halves=2, jobs=2
    )
    assert not model.certificate.reproducible
    assert model.certificate.at(6).mean < 0.7
