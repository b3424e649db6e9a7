"""The two-valley model over a grid of learning rates and noise, beside the published rank correlations.

``pytest tests/benchmarks/test_two_valley.py -s``: 100 settings of 2,000 runs of 20,000 steps each, a few seconds a
setting on one core.
"""

import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from trajhmm.simulate.two_valley import two_valley_pieces

VALUES = np.logspace(-2, -1, 10)
LEAST = 0.95


@pytest.fixture(scope="module")
def cells():
    """One row a setting: share in the flat valley, also among runs that hopped, and mean of η · freezing step."""
    start = time.process_time()
    rows = []
    settings = {"n_runs": 2000, "n_steps": 20_000, "every": 20_000, "seed": 0}
    for piece in two_valley_pieces(etas=VALUES, sigmas=VALUES, **settings):
        eta, sigma = piece.logs.attributes[["eta", "sigma"]].iloc[0]
        flat, hopped = piece.truth["valley"] == "flat", piece.truth["freezing_step"] > 0
        rows.append((eta * sigma, flat.mean(), flat[hopped].mean(), eta * piece.truth["freezing_step"].mean()))
    print(f"\n{len(rows)} settings, {(time.process_time() - start) / len(rows):.1f} s of a core each")
    return pd.DataFrame(rows, columns=["noise", "flat", "flat_of_hopped", "frozen"])


def test_freezing_and_the_flat_valley_rise_with_noise(cells):
    assert len(cells) == 100
    for name in ("frozen", "flat"):
        found = spearmanr(cells["noise"], cells[name]).statistic
        print(f"rank correlation of {name} with eta sigma: {found:.3f}")
        assert found >= LEAST
    hopped = cells.dropna()
    found = spearmanr(hopped["noise"], hopped["flat_of_hopped"]).statistic
    print(f"of flat among runs that hopped ({len(hopped)} settings): {found:.3f}")
