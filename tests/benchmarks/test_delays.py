"""Whether the interval of a detour's delay holds the truth, where the number of states is known.

``pytest tests/benchmarks/test_delays.py -s --override-ini addopts=``; ``TRAJHMM_SETS=50`` for fewer sets than 200 of
each kind. Where some run never converged the delay is counted up to a horizon (a difference of restricted means): the
truth is then that of so many steps, from thousands of runs whose logs go on.
"""

from __future__ import annotations

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest

import trajhmm as th

from .test_maps import well_apart

SETS = int(os.environ.get("TRAJHMM_SETS", "200"))
POPULATION = 4000
STEP = 10.0  # from row to row, as simulated by default
KINDS = {
    "40 runs": well_apart,
    "40 runs, 30% never": partial(well_apart, never=0.3),
    "40 runs, detour a third as long": partial(well_apart, detour_stay=19.0),
    "12 runs": partial(well_apart, n_runs=12),
    "40 runs, scaled too": partial(well_apart, scale_sd=0.3),
    "40 runs, AR(1) .9": partial(well_apart, ar=0.9),
    "40 runs, means that grow": partial(well_apart, growth=1.0),
    "40 runs, noise of t3": partial(well_apart, tails=3.0),
}


def steps_after_the_branch(simulated):
    """(R,) steps from leaving the plateau to convergence, inf where there is none, and (R,) whether by the detour."""
    times, by_detour = [], []
    early, plateau = 0, 1
    for run in range(simulated.logs.n_runs):
        rows = slice(simulated.logs.offsets[run], simulated.logs.offsets[run + 1])
        states = simulated.states[rows]
        left = np.flatnonzero((states != early) & (states != plateau))
        done = np.flatnonzero(states == simulated.n_states - 1)
        times.append(STEP * (done[0] - left[0]) if len(done) else np.inf)
        by_detour.append((states == simulated.detour).any())
    return np.array(times), np.array(by_detour)


def truth_of(kind):
    """Expected delay up to a horizon, as a function of it."""
    long = kind(n_runs=POPULATION, n_rows=1200, never=0.0, seed=99)
    times, by_detour = steps_after_the_branch(long)
    assert np.isfinite(times).all()

    def restricted(horizon):
        return np.minimum(times[by_detour], horizon).mean() - np.minimum(times[~by_detour], horizon).mean()

    return restricted


def share(values):
    interval = binomtest(sum(values), len(values)).proportion_ci(method="exact")
    return f"{sum(values)} of {len(values)} ({interval.low:.2f}–{interval.high:.2f})"


@pytest.mark.parametrize("name", KINDS)
def test_the_interval_holds_what_is_told(name):
    truth = truth_of(KINDS[name])
    told, whole, not_above, counted_up_to, without = [], [], [], [], 0
    for seed in range(SETS):
        simulated = KINDS[name](seed=seed)
        if simulated.detour is None:  # no run takes it
            without += 1
            continue
        # Means that grow fill a state of their own; so do heavy tails, but that state gives way.
        n_states = simulated.n_states + ("grow" in name)
        chosen = {"states": (n_states, n_states + 1)} if "t3" in name else {"states": n_states, "halves": 0}
        model = th.fit(simulated.logs, seed=seed, jobs=2, **chosen)
        analysis = th.analyze(simulated.logs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False, seed=seed)
        path = analysis.map.path
        stands_for = np.argmax(
            [((path == k) & (simulated.states == simulated.detour)).sum() for k in range(model.n_states)]
        )
        row = analysis.detours.set_index("state").loc[stands_for]
        if not np.isfinite(row["ci_low"]):
            continue
        horizon = analysis.evidence.set_index("state")["horizon"].loc[stands_for]
        low, high = row["ci_low"], row["ci_high"]
        told.append(bool(low <= truth(horizon) <= high))
        whole.append(bool(low <= simulated.effect <= high))
        not_above.append(bool(low <= simulated.effect))
        counted_up_to.append(horizon)
    unsaid = SETS - len(told) - without
    print(
        f"\n{name}: the interval holds the delay up to the horizon in {share(told)}, the whole one in {share(whole)}, "
        f"its lower end is not above that in {share(not_above)}; {unsaid} sets without a verdict, {without} without a "
        f"detour; truth {truth(np.inf):.0f} steps, up to the median horizon {np.median(counted_up_to):.0f} "
        f"{truth(np.median(counted_up_to)):.0f}"
    )
    assert len(told) > SETS / 2
    assert np.mean(told) >= 0.88
