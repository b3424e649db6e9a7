"""What shifts and scales of runs add to an iteration of EM, and what inferring the shifts of new runs costs.

``pytest tests/benchmarks/test_mixed.py -s --override-ini addopts=``. Ratios of medians of rounds taken in turn, in one
process, so that a busy machine slows all alike.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import platform
import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.shifts import infer_shifts
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.learning.fitting import Data, Job
from trajhmm.hmm.learning.mixed import shifted_mstep
from trajhmm.hmm.learning.mstep import mstep
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.shifts import Shifts

RUNS, ROWS, METRICS, STATES = 40, 1000, 14, 6


def planted(runs=RUNS, rows=ROWS, seed=0):
    """Runs that pass through states one after the other, each shifted by an offset of its own."""
    rng = np.random.default_rng(seed)
    means = 1.5 * rng.normal(size=(STATES, METRICS))
    path = np.concatenate([np.minimum(np.cumsum(rng.random(rows) > 1 - 6 / rows), STATES - 1) for _ in range(runs)])
    offsets = np.repeat(0.5 * rng.normal(size=(runs, METRICS)), rows, axis=0)
    return Chunk.of(
        means[path] + offsets + rng.normal(size=(runs * rows, METRICS)), np.arange(0, runs * rows + 1, rows)
    )


def start_of(chunk, covariance_type):
    model = GaussianHMM(STATES, covariance_type=covariance_type)
    return Job(settings=model.settings, data=Data(source=InMemory(chunk=chunk), weights=np.ones(chunk.n_runs))).start(1)


def in_turn(calls, rounds):
    """Median seconds of each call, taken in turn after one round to warm up."""
    taken = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if number:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_an_iteration_with_shifts_beside_one_without(covariance_type):
    chunk = planted()
    start = start_of(chunk, covariance_type)
    rng, plain, weights = np.random.default_rng(1), start.parameters, np.ones(RUNS)
    mixed = replace(plain, shift_variance=np.ones(METRICS))
    scaled = replace(mixed, scale_variance=np.full(METRICS, 0.01))
    none = np.zeros((RUNS, METRICS))
    shifts = Shifts(mean=0.1 * rng.normal(size=none.shape), variance=none + 0.01, log_scale=none)
    stretched = replace(shifts, log_scale=0.05 * rng.normal(size=none.shape))

    def iteration(parameters, own):
        return shifted_mstep(estep(chunk, parameters, weights, own), parameters, own, weights, start.prior)

    calls = {"plain": lambda: mstep(estep(chunk, plain), plain, start.prior), "mixed": lambda: iteration(mixed, shifts)}
    if covariance_type == "diag":
        calls["mixed, scaled"] = lambda: iteration(scaled, stretched)
    taken = in_turn(calls, rounds=15)
    print(f"\none iteration of EM, {covariance_type}, {RUNS} x {ROWS} x {METRICS}, K = {STATES} ({platform.machine()})")
    for name, seconds in taken.items():
        print(f"  {name:>14}  {1e3 * seconds:6.1f} ms  {seconds / taken['plain']:.2f} times plain")


def test_what_inferring_shifts_costs():
    print(f"\nshifts of new runs, K = {STATES}, {METRICS} metrics ({platform.machine()})")
    for runs, rows in ((40, 1000), (1, 1000), (10_000, 50)):
        chunk = planted(runs, rows)
        parameters = replace(start_of(chunk, "diag").parameters, shift_variance=np.full(METRICS, 0.25))
        calls = {
            "E-step": lambda c=chunk, p=parameters: estep(c, p),
            "shifts": lambda c=chunk, p=parameters: infer_shifts(c, p),
        }
        taken = in_turn(calls, rounds=3)
        esteps = taken["shifts"] / taken["E-step"]
        print(f"  {runs:>6} runs of {rows:>4} rows  {taken['shifts']:7.3f} s  {esteps:.0f} E-steps")
