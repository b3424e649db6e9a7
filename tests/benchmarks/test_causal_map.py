"""A map read row by row: how often the state is the one that the finished run is in, and what other ways would give.

What decided how `trajhmm.hmm.inference.forwards` reads a map. Run with ``pytest tests/benchmarks/test_causal_map.py -s
--override-ini addopts=``; on two cores that takes some five minutes. Maps are fitted to one half of the runs and read
on the other half, whole and cut: a cut run begins at a row at random in its first 60%, so that runs begin anywhere.
"""

from __future__ import annotations

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.features import map_sequences
from trajhmm.hmm.finished import design_effect, rows_stand_alone
from trajhmm.hmm.inference.forwards import VISIT, Forwards
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows
from trajhmm.hmm.inference.shifts import infer_shifts, possible, without_shifts
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.simulate import drift, planted
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning

DATA = Path(__file__).parents[2] / "data"
BASELINE = "condition == 'baseline' and buffer == 'none'"
SIMULATED = partial(
    planted, n_runs=60, n_rows=160, layout="spread", stays=(26.0, 22.0, 19.0), detour_stay=58.0, dwell_sd=0.3, seed=1
)
# Logs, how to get them, and how many states: those planted, or those that `fit` chooses by default.
LOGS = {
    "planted, no offsets": (lambda: SIMULATED(offset_sd=0.0).logs, 5),
    "offsets of 1 sd": (lambda: SIMULATED(offset_sd=1.0).logs, 5),
    "offsets of 3 sd": (lambda: SIMULATED(offset_sd=3.0).logs, 5),
    "the same, AR .9": (lambda: SIMULATED(offset_sd=3.0, ar=0.9).logs, 5),
    "the same, a tenth blank": (lambda: with_blanks(SIMULATED(offset_sd=3.0).logs), 5),
    "the same, a torn number": (lambda: with_torn_numbers(SIMULATED(offset_sd=3.0).logs), 5),
    "states close (ring)": (lambda: planted(n_runs=60, seed=1).logs, 5),
    "drift": (lambda: drift(n_runs=60, seed=1).logs, 5),
    "sparse parities": (lambda: th.read_logs(DATA / "sparse_parities"), 5),
    "modular addition": (lambda: th.read_logs(DATA / "modular_addition", where="condition == 'plain'"), 4),
    "classifier, healthy": (lambda: th.read_logs(DATA / "audit_classifier", where=BASELINE), 4),
    "language model, healthy": (lambda: th.read_logs(DATA / "audit_lm", where=BASELINE), 3),
    "policy gradient, healthy": (lambda: th.read_logs(DATA / "audit_rl", where=BASELINE), 3),
}
# Of the ways that can be lived by, none is to be better by more than this on average: sampling error of 13 sets.
SLACK = 0.02


def with_blanks(runs, share=0.1):
    """The same runs, with values carried over rows at which one was not logged."""
    frame = frame_of(runs)
    blank = np.random.default_rng(2).random((len(frame), len(runs.metrics))) < share
    blank[:, 0] = False  # or else there would be no row at which all stand
    blank[np.cumsum(runs.lengths) - runs.lengths] = False
    frame[list(runs.metrics)] = frame[list(runs.metrics)].mask(blank)
    return th.RunSet.from_frame(frame)


def with_torn_numbers(runs):
    """The same runs, each with one value that is a million times too large."""
    frame, rng = frame_of(runs), np.random.default_rng(3)
    for start, n in zip(np.cumsum(runs.lengths) - runs.lengths, runs.lengths, strict=True):
        row, metric = start + rng.integers(n), runs.metrics[rng.integers(len(runs.metrics))]
        frame.loc[row, metric] *= 1e6
    return th.RunSet.from_frame(frame)


def frame_of(runs):
    frame = pd.DataFrame(runs.values, columns=list(runs.metrics))
    return frame.assign(step=runs.steps, run=np.repeat(np.array(runs.runs, dtype=object), runs.lengths))


def cut(runs):
    """The same runs, each from a row in its first 60% on."""
    rng, keep = np.random.default_rng(5), np.zeros(len(runs.steps), dtype=bool)
    for _, rows in runs.slices():
        n = rows.stop - rows.start
        keep[rows.start + rng.integers(0, int(0.6 * n)) : rows.stop] = True
    return th.RunSet.from_frame(frame_of(runs)[keep])


def halves(runs):
    order = np.random.default_rng(0).permutation(runs.n_runs)
    parts = order[: runs.n_runs // 2], order[runs.n_runs // 2 :]
    return (runs.select_runs([runs.runs[i] for i in sorted(part)]) for part in parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class OneBeginning(Forwards):
    """Without hypotheses: the run began as runs of the fit did."""

    @property
    def _starts(self):
        return possible(self.parameters).startprob[np.newaxis]


def forwards(kind, model, rows, **settings):
    reach = model.scaler.reach / model.scaler.spread
    read = kind(parameters=model.parameters, reach=reach, **settings)
    return read.advance(rows, read.start()).argmax(axis=1)


def pooled(model, rows):
    """Runs differ, and one never knows by how much: the variance over runs is added to that of each state."""
    p = model.parameters
    return filtered(replace(p, covars=p.variances() + p.shift_variance, covariance_type="diag"), rows)


def of_first_rows(n, model, rows):
    """The shift is that of a run's first rows from the state in which runs usually begin."""
    p = model.parameters
    k = int(p.startprob.argmax())
    precision = 1.0 / p.shift_variance + min(n, len(rows)) / p.variances()[k]
    shift = (rows[:n] - p.means[k]).sum(axis=0) / p.variances()[k] / precision
    return filtered(p, rows - shift)


def interacting(model, rows):
    """One normal distribution of the shift for each state that the run may be in now (Blom and Bar-Shalom 1988)."""
    p = possible(model.parameters)
    k, variances, counts = p.n_states, p.variances(), 1.0 - np.diag(p.transmat)
    mean, doubt = np.zeros((k, p.n_metrics)), np.tile(p.shift_variance, (k, 1))
    log_alpha, states = np.log(p.startprob), np.empty(len(rows), dtype=np.int64)
    for t, row in enumerate(rows):
        if t:
            joint = log_alpha[:, np.newaxis] + np.log(p.transmat)
            log_alpha = logsumexp(joint, axis=0)
            came = np.exp(joint - log_alpha)
            mixed = came.T @ mean
            doubt = came.T @ doubt + np.einsum("ij,ijd->jd", came, (mean[:, np.newaxis] - mixed) ** 2)
            mean = mixed
        away, total = row - p.means - mean, variances + doubt
        log_alpha = log_alpha - 0.5 * (away**2 / total + np.log(total)).sum(axis=1)
        log_alpha -= logsumexp(log_alpha)
        gain = doubt / (variances / counts[:, np.newaxis] + doubt)
        mean, doubt = mean + gain * away, (1.0 - gain) * doubt
        states[t] = log_alpha.argmax()
    return states


def estimated_again(model, rows):
    """The shift of the rows so far, as it is told of finished runs, each time that they are a quarter more."""
    p, states, seen = possible(model.parameters), np.empty(len(rows), dtype=np.int64), 0
    while seen < len(rows):
        more = min(len(rows), seen + max(1, seen // 4))
        begun = np.ascontiguousarray(rows[: max(seen, 1)])
        shift = infer_shifts(Chunk.of(begun, np.array([0, len(begun)])), model.parameters).mean[0]
        states[seen:more] = filtered(p, rows[:more] - shift)[seen:]
        seen = more
    return states


def filtered(parameters, rows):
    offsets = np.array([0, len(rows)])
    return filter_rows(np.ascontiguousarray(rows), offsets, possible(parameters))[0].argmax(axis=1)


WAYS = {
    "a visit counts for one": partial(forwards, Forwards),
    "a visit counts for one, one beginning": partial(forwards, OneBeginning),
    "a visit counts for three": partial(forwards, Forwards, visit=3.0),
    "each row counts": partial(forwards, Forwards, visit=np.inf),
    "each row counts, one beginning": partial(forwards, OneBeginning, visit=np.inf),
    "a shift for each state": interacting,
    "of the first row": partial(of_first_rows, 1),
    "of the first five": partial(of_first_rows, 5),
    "estimated again": estimated_again,
    "never known": pooled,
}
CEILING, AS_IT_IS = "shift of the whole run", "as it is"


def measured(model, runs, visit):
    """Way to adjusted Rand index with the paths of finished runs, share of equal rows, and that of the worst run."""
    scaled = model.scaled(runs)
    unshifted = without_shifts(scaled.values, scaled.offsets, model.parameters)
    finished = decode_rows(unshifted, scaled.offsets, model.parameters)[0]
    plain = replace(model.scaler, reach=np.full(len(model.metrics), np.inf))  # which only whole runs tell
    rows = map_sequences(runs, model.metrics, scaler=plain, keep_constant=True).values
    found = {CEILING: filter_rows(unshifted, scaled.offsets, model.parameters)[0].argmax(axis=1)}
    for name, way in {AS_IT_IS: partial(forwards, Forwards, visit=visit), **WAYS}.items():
        found[name] = np.concatenate([way(model, np.ascontiguousarray(rows[of])) for _, of in scaled.slices()])
    return {
        name: (
            adjusted_rand_score(finished, told),
            (told == finished).mean(),
            min((told[of] == finished[of]).mean() for _, of in scaled.slices()),
        )
        for name, told in found.items()
    }


@pytest.fixture(scope="module")
def results():
    found = {}
    for name, (logs, states) in LOGS.items():
        fitted, held = halves(logs())
        model = th.fit(fitted, states=states, scaling="mixed", halves=0, restarts=3, seed=0)
        visit = np.inf if rows_stand_alone(model, fitted) else VISIT
        print(f"{name}: design effect {design_effect(model, fitted):.1f}")
        for how, runs in (("whole", held), ("cut", cut(held))):
            found[name, how] = measured(model, runs, visit)
            print(
                name,
                how,
                {way: f"{ari:.2f}/{same:.2f}" for way, (ari, same, _) in found[name, how].items()},
                flush=True,
            )
    return found


def test_no_other_way_tells_states_better(results):
    ways = [CEILING, AS_IT_IS, *WAYS]
    print("\nAdjusted Rand index with the states of finished runs, share of rows that are equal; runs held out:")
    for how in ("whole", "cut"):
        print(f"| {how} | {' | '.join(ways)} |\n|{'---|' * (len(ways) + 1)}")
        for name in LOGS:
            cells = (f"{ari:.2f}, {same:.2f}" for ari, same, _ in (results[name, how][way] for way in ways))
            print(f"| {name} | {' | '.join(cells)} |")
    means = {way: float(np.mean([of_set[way][0] for of_set in results.values()])) for way in ways[1:]}
    print(f"Mean adjusted Rand index: { {way: round(mean, 3) for way, mean in means.items()} }")
    assert max(means.values()) <= means[AS_IT_IS] + SLACK


def test_rows_a_second():
    """Six states of 14 metrics, one core, rows in blocks as a watch of finished logs takes them."""
    rng = np.random.default_rng(0)
    p = th.fit(SIMULATED(offset_sd=1.0, n_metrics=14).logs, states=6, halves=0, restarts=1).parameters
    read = Forwards(parameters=p, reach=np.full(p.n_metrics, np.inf))
    rows = np.repeat(p.means, 350, axis=0)[:2048] + rng.normal(0, np.sqrt(p.variances().mean(axis=0)), (2048, 14))
    read.advance(rows, read.start())
    taken = []
    for _ in range(20):
        begun = time.perf_counter()
        read.advance(rows, read.start())
        taken.append(time.perf_counter() - begun)
    print(f"\n{len(rows) / np.median(taken) / 1e6:.2f} million rows a second")


def test_rows_a_second_of_a_watch():
    """The same beside views that score: what a map costs, and that a model without one pays nothing."""
    logs = planted(n_runs=20, n_rows=400, seed=0).logs
    metrics = logs.metrics[:14]
    on_map = th.fit(logs, metrics=metrics, states=6, halves=0, restarts=1)
    many = planted(n_runs=10, n_rows=10_000, stays=(1600.0, 1400.0, 1200.0), detour_stay=3600.0, seed=5).logs
    for name, carried in (("without a map", None), ("with one", on_map)):
        model = fit_warning(logs, metrics=metrics, states=6, restarts=1, iterations=20, map=carried)
        Monitor(model).score(many)
        taken = []
        for _ in range(5):
            monitor, begun = Monitor(model), time.process_time()
            monitor.score(many)
            taken.append(time.process_time() - begun)
        print(f"{name} {len(many.steps) / np.median(taken) / 1e6:.2f} million rows a second")
