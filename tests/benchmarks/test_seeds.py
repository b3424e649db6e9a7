"""Whether ten seeds tell the same story of real logs: the same states, the same verdict on detours.

Run with ``pytest tests/benchmarks/test_seeds.py -s --override-ini addopts=``; about three minutes on two cores. The
number of states is the one that ``fit`` chooses for each set; what is asked here is what a single search finds, without
the fits of other seeds that ``fit`` compares it with.
"""

from __future__ import annotations

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.metrics import WEIGHT_METRICS

ROOT = Path(__file__).parents[2]
SEEDS = 10
BASELINE = "condition == 'baseline' and buffer == 'none'"
SETS = {
    "sparse parities": ("sparse_parities", None, 4),
    "modular addition": ("modular_addition", "condition == 'plain'", 4),
    "stabilised": ("modular_addition", "condition == 'stabilised'", 4),
    "digits": ("digits", None, 8),
    "classifier, healthy": ("audit_classifier", BASELINE, 5),
    "language model, healthy": ("audit_lm", BASELINE, 8),
    "policy gradient, healthy": ("audit_rl", BASELINE, 3),
}


def told(runs, states, seed):
    """The path of all runs, and the states that pass the branch test; None where no accuracy is logged."""
    model = th.fit(runs, metrics=WEIGHT_METRICS, states=states, halves=0, seed=seed, jobs=2)
    if "eval_accuracy" not in runs.metrics:
        return model.decode(runs).path, None
    analysis = th.analyze(runs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False, seed=seed, jobs=2)
    return analysis.map.path, analysis.map.detours


def test_ten_seeds_tell_the_same():
    print("\n| set | K | ARI of two seeds: mean, least | states flagged, and in how many seeds |\n|---|---|---|---|")
    for name, (folder, where, states) in SETS.items():
        runs = th.read_logs(ROOT / "data" / folder, where=where)
        found = [told(runs, states, seed) for seed in range(SEEDS)]
        alike = [adjusted_rand_score(one, other) for (one, _), (other, _) in combinations(found, 2)]
        verdicts = [flagged for _, flagged in found]
        counts = {flagged or "none": verdicts.count(flagged) for flagged in set(verdicts) if flagged is not None}
        print(f"| {name} | {states} | {np.mean(alike):.3f}, {min(alike):.3f} | {counts or '–'} |")
        assert np.mean(alike) >= 0.95, name
        assert not counts or max(counts.values()) >= 0.9 * SEEDS, name
