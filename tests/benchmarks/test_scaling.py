"""Four ways to put the metrics of different runs on one scale: whose maps come back, and whose are true.

What decided the default of ``fit``. Run with ``pytest tests/benchmarks/test_scaling.py -s --override-ini addopts=``; on
two cores that takes the better part of an hour. ``TRAJHMM_SETS=3`` asks for fewer planted sets; with
``TRAJHMM_CACHE=FILE`` each result is kept as a line of JSON, so that a run can be cut off and go on.
"""

from __future__ import annotations

import json
import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.features import SCALINGS
from trajhmm.metrics import WEIGHT_METRICS
from trajhmm.simulate import planted

ROOT = Path(__file__).parents[2]
SETS = int(os.environ.get("TRAJHMM_SETS", "10"))
CACHE = os.environ.get("TRAJHMM_CACHE")
STATES = (3, 4, 5, 6)

BASELINE = "condition == 'baseline' and buffer == 'none'"
LOGS = {
    "sparse parities": ("sparse_parities", None),
    "modular addition": ("modular_addition", "condition == 'plain'"),
    "stabilised": ("modular_addition", "condition == 'stabilised'"),
    "digits": ("digits", None),
    "classifier, healthy": ("audit_classifier", BASELINE),
    "language model, healthy": ("audit_lm", BASELINE),
    "policy gradient, healthy": ("audit_rl", BASELINE),
}
well_apart = partial(planted, layout="spread", n_rows=160, stays=(26.0, 22.0, 19.0), detour_stay=58.0, dwell_sd=0.3)
PLANTED = {
    "one scale": partial(well_apart, offset_sd=0.0),
    "offsets of 1 sd": partial(well_apart, offset_sd=1.0),
    "offsets of 3 sd": partial(well_apart, offset_sd=3.0),
    "states close (ring)": planted,
}

WITHOUT_DETOUR = {
    "30% never converge": partial(well_apart, detour=False, never=0.3, offset_sd=0.0),
    "the same, offsets of 1 sd": partial(well_apart, detour=False, never=0.3, offset_sd=1.0),
    "the same, states close (ring)": partial(planted, detour=False, never=0.3),
}


def halves_of(name, scaling):
    """What `fit` chooses; for each number of states, how far maps of halves agree, and on the worst of their states."""
    folder, where = LOGS[name]
    runs = th.read_logs(ROOT / "data" / folder, where=where)
    fit = partial(th.fit, runs, metrics=WEIGHT_METRICS, scaling=scaling)
    return halves_in(fit().certificate, lambda k: fit(states=k).certificate)


def halves_in(certificate, of_states):
    """The same, of a certificate; those of other numbers of states by ``of_states``."""
    halves = {k: certificate.at(k) or of_states(k).at(k) for k in STATES}
    return {
        "k": certificate.states,
        "reproducible": certificate.reproducible,
        "seeds": float(np.mean(certificate.seeds)),
        "halves": {str(k): [one.mean, one.worst] for k, one in halves.items()},
    }


def truth_of(name, scaling, seed):
    """Agreement with the states that were planted, if their number is known."""
    simulated = PLANTED[name](seed=seed)
    model = th.fit(simulated.logs, states=simulated.n_states, scaling=scaling, halves=0, seed=seed)
    return {"ari": adjusted_rand_score(simulated.states, model.decode(simulated.logs).path)}


def sorts_by_outcome(name, scaling, seed):
    """Whether, given one state more than was planted, some state is visited only by runs that never converge."""
    simulated = WITHOUT_DETOUR[name](seed=seed)
    model = th.fit(simulated.logs, states=simulated.n_states + 1, scaling=scaling, halves=0, seed=seed)
    path = model.decode(simulated.logs).path.reshape(simulated.logs.n_runs, -1)
    never = (simulated.states.reshape(path.shape) < simulated.n_states - 1).all(axis=1)
    visits = [(path == state).any(axis=1) for state in range(model.n_states)]
    return {"sorts": bool(any(visit.sum() > 1 and not (visit & ~never).any() for visit in visits))}


def cached(key, compute):
    """A result, from the cache where it is known."""
    if CACHE and Path(CACHE).exists():
        for line in Path(CACHE).read_text().splitlines():
            one = json.loads(line)
            if one["key"] == key:
                return one["found"]
    found = compute()
    if CACHE:
        with Path(CACHE).open("a") as file:
            file.write(json.dumps({"key": key, "found": found}) + "\n")
    return found


def short(x):
    """Two digits, without the 0 before the point."""
    text = f"{x:.2f}"
    return "1" if text == "1.00" else text.replace("0.", ".")


def table(columns, rows):
    """A table, as Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def test_halves_of_real_logs():
    rows = []
    print()
    for name in LOGS:
        for scaling in SCALINGS:
            found = cached(["halves", name, scaling], partial(halves_of, name, scaling))
            cells = [", ".join(map(short, found["halves"][str(k)])) for k in STATES]
            chosen = f"{found['k']}" if found["reproducible"] else f"{found['k']}, does not come back"
            rows.append([name, scaling, *cells, chosen, short(found["seeds"])])
            print(" ".join(rows[-1]), flush=True)
    print("Mean agreement of split halves (adjusted Rand index), recovery of the worst state (Jaccard index):")
    print(table(["", "scaling", *(f"K = {k}" for k in STATES), "K chosen", "its seeds agree"], rows))


def test_states_that_were_planted():
    rows = []
    for name in PLANTED:
        cells = []
        for scaling in SCALINGS:
            found = [
                cached(["planted", name, scaling, seed], partial(truth_of, name, scaling, seed))["ari"]
                for seed in range(SETS)
            ]
            cells.append(f"{short(np.median(found))}, {short(min(found))}")
        rows.append([name, *cells])
    print()
    print(
        f"Adjusted Rand index of the states found with those planted, their number given; median, least of {SETS} sets:"
    )
    print(table(["", *SCALINGS], rows))


def test_a_state_too_many():
    rows = []
    for name in WITHOUT_DETOUR:
        found = [
            [
                cached(["outcome", name, scaling, seed], partial(sorts_by_outcome, name, scaling, seed))["sorts"]
                for seed in range(SETS)
            ]
            for scaling in SCALINGS
        ]
        rows.append([name, *(f"{sum(sets)}" for sets in found)])
    print()
    print(f"Of {SETS} sets those in which a spare state is visited by runs that never converge, and by no other:")
    print(table(["", *SCALINGS], rows))
