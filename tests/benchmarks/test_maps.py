"""What a map by default finds where the truth is known: the table of hard truths and nulls.

Run with ``pytest tests/benchmarks/test_maps.py -s --override-ini addopts=``. It takes hours on two cores for 40 sets of
each kind; ``TRAJHMM_SETS=10`` asks for fewer, ``TRAJHMM_KINDS=drift,doors`` for some kinds. With ``TRAJHMM_CACHE=FILE``
each set's result is kept as a line of JSON, so that a run can be cut off and go on, or be shared out;
``results/maps.jsonl`` holds those of the kinds that are being made, with the defaults as they are now.
"""

from __future__ import annotations

import json
import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.simulate import doors, drift, excursions, planted, skips

SETS = int(os.environ.get("TRAJHMM_SETS", "40"))
CACHE = os.environ.get("TRAJHMM_CACHE")
WANTED = os.environ.get("TRAJHMM_KINDS")
# Defaults of `analyze`, save that a map in which no state passes the branch test need not be fitted again.
REFITS = 20

well_apart = partial(
    planted, layout="spread", n_rows=160, stays=(26.0, 22.0, 19.0), detour_stay=58.0, dwell_sd=0.3, offset_sd=1.0
)
KINDS = {
    "planted, one scale": partial(well_apart, offset_sd=0.0),
    "planted, offsets of 1 sd": well_apart,
    "planted, offsets of 3 sd": partial(well_apart, offset_sd=3.0),
    "planted, scales too": partial(well_apart, scale_sd=0.3),
    "planted, AR(1) .5": partial(well_apart, ar=0.5),
    "planted, AR(1) .9": partial(well_apart, ar=0.9),
    "planted, means that grow": partial(well_apart, growth=1.0),
    "planted, noise of t3": partial(well_apart, tails=3.0),
    "planted, 30% never": partial(well_apart, never=0.3),
    "planted, detour a third as long": partial(well_apart, detour_stay=19.0),
    "planted, 12 runs": partial(well_apart, n_runs=12),
    "planted, 12 runs, all converge": partial(well_apart, n_runs=12, never=0.0),
    "planted, 8 runs": partial(well_apart, n_runs=8),
    "planted, states close (ring)": planted,
    "null: a state that costs no time": partial(well_apart, detour=False, bystander=True),
    "null: a state that costs no time, noise of t3": partial(well_apart, detour=False, bystander=True, tails=3.0),
    "null: 30% never, 40 runs": partial(well_apart, detour=False, never=0.3),
    "null: 30% never, 20 runs": partial(well_apart, detour=False, never=0.3, n_runs=20),
    "null: drift": drift,
    "null: skips, constant hazard": skips,
    "null: skips, shared": partial(skips, variant="shared"),
    "null: doors": doors,
    "null: excursions": excursions,
}


def judge(simulated, seed, *, n_states=None):
    """What a default fit and analysis say of one set; ``n_states`` if their number is not to be chosen."""
    given = {} if n_states is None else {"states": n_states, "halves": 0}
    model = th.fit(simulated.logs, seed=seed, jobs=1, **given)
    analysis = th.analyze(simulated.logs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False, seed=seed)
    flagged = analysis.detours["state"][analysis.detours["is_detour"]].tolist()
    if flagged:
        analysis = th.analyze(
            simulated.logs, model, converged="eval_accuracy > 0.9", refits=REFITS, prefix=False, seed=seed
        )
        flagged = analysis.detours["state"][analysis.detours["is_detour"]].tolist()
    found = {
        "k": model.n_states,
        "reproducible": None if model.certificate is None else model.certificate.reproducible,
        "ari": None,
        "true_k": None,
        "found": None,
        "covers": None,
        "others": len(flagged),
    }
    states = getattr(simulated, "states", None)
    if states is None:
        return found
    path = analysis.map.path
    found |= {"ari": adjusted_rand_score(states, path), "true_k": simulated.n_states}
    detour = getattr(simulated, "detour", None)
    if detour is not None:
        stands_for = int(np.argmax([((path == k) & (states == detour)).sum() for k in range(model.n_states)]))
        row = analysis.detours.set_index("state").loc[stands_for]
        found["found"] = stands_for in flagged
        found["others"] = len([state for state in flagged if state != stands_for])
        if np.isfinite(row["ci_low"]):
            # Of the whole delay: where some run never converged less of it is told, see `test_delays`.
            found["covers"] = bool(row["ci_low"] <= simulated.effect <= row["ci_high"])
            found["low"] = bool(row["ci_low"] <= simulated.effect)
    return found


def results():
    """(kind, seed) to what was found, from the cache where it is known."""
    known = {}
    if CACHE and Path(CACHE).exists():
        for line in Path(CACHE).read_text().splitlines():
            one = json.loads(line)
            known[one.pop("kind"), one.pop("seed")] = one
    wanted = [kind for kind in KINDS if WANTED is None or any(word in kind for word in WANTED.split(","))]
    for seed in range(SETS):
        for kind in wanted:
            if (kind, seed) not in known:
                known[kind, seed] = judge(KINDS[kind](seed=seed), seed)
                if CACHE:
                    with Path(CACHE).open("a") as file:
                        file.write(json.dumps({"kind": kind, "seed": seed} | known[kind, seed]) + "\n")
    return {kind: [known[kind, seed] for seed in range(SETS)] for kind in wanted}


def share(values):
    """A share with its 95% interval, ``.97 (.87–1)``."""
    values = [bool(value) for value in values if value is not None]
    if not values:
        return "–"
    interval = binomtest(sum(values), len(values)).proportion_ci(method="exact")

    def short(x):
        return f"{x:.2f}".removeprefix("0") if x < 0.995 else "1"

    return f"{short(np.mean(values))} ({short(interval.low)}–{short(interval.high)})"


def table(found):
    """The table, as Markdown."""
    columns = (
        f"{SETS} sets each",
        "K true",
        "K found: least, median, most",
        "K right",
        "ARI: median, least",
        "came back",
        "true detour found",
        "interval holds the whole delay",
        "its lower end is not above it",
        "another flagged",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for kind, sets in found.items():
        k = [one["k"] for one in sets]
        true = sets[0]["true_k"]
        ari = [one["ari"] for one in sets if one["ari"] is not None]
        cells = (
            kind,
            str(true) if true else "–",
            f"{min(k)}, {np.median(k):.0f}, {max(k)}",
            share([one["k"] == one["true_k"] for one in sets]) if true else "–",
            f"{np.median(ari):.2f}, {min(ari):.2f}" if ari else "–",
            share([one["reproducible"] for one in sets]),
            share([one["found"] for one in sets]),
            share([one["covers"] for one in sets]),
            share([one.get("low") for one in sets]),
            share([one["others"] > 0 for one in sets]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Held to at once: planted logs whose noise is independent, whatever the offsets of the runs.
INDEPENDENT = ("planted, one scale", "planted, offsets of 1 sd", "planted, offsets of 3 sd", "planted, noise of t3")


def test_maps_of_known_truth():
    found = results()
    print()
    print(table(found))
    for kind in set(INDEPENDENT) & found.keys():
        assert np.mean([one["ari"] for one in found[kind]]) >= 0.95, kind
        assert np.mean([one["k"] == one["true_k"] for one in found[kind]]) >= 0.95, kind
    for one in found.get("planted, AR(1) .5", ()):
        assert abs(one["k"] - one["true_k"]) <= 1
    for kind, sets in found.items():
        flagged = sum(one["others"] > 0 for one in sets)
        if kind.startswith("null"):  # no more often than chance would at 5%
            assert binomtest(flagged, len(sets), 0.05, alternative="greater").pvalue > 0.01, kind


# Sets of each null, and how many states a road that has none is cut into.
NULLS = int(os.environ.get("TRAJHMM_SETS", "200"))
STAIRS = 8


def test_what_delays_is_found_with_12_runs_where_the_number_of_states_is_given():
    """Where all of them converge: seconds a set."""
    kind = KINDS["planted, 12 runs, all converge"]
    sets = min(NULLS, 60)
    simulated = [kind(seed=seed) for seed in range(sets)]
    found = [judge(one, seed, n_states=one.n_states) for seed, one in enumerate(simulated) if one.detour is not None]
    print(f"\nfound in {share([one['found'] for one in found] + [False] * (sets - len(found)))} of {sets}")
    assert sum(one["found"] for one in found) >= 0.6 * sets


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("null")])
def test_what_costs_nothing_is_no_detour_where_the_number_of_states_is_given(kind):
    """Seconds a set: many more sets than where it is chosen."""
    flagged = 0
    for seed in range(NULLS):
        simulated = KINDS[kind](seed=seed)
        found = judge(simulated, seed, n_states=getattr(simulated, "n_states", STAIRS))
        flagged += found["others"] > 0
    print(f"\n{kind}: a detour in {flagged} of {NULLS} sets, {share([True] * flagged + [False] * (NULLS - flagged))}")
    assert binomtest(flagged, NULLS, 0.05, alternative="greater").pvalue > 0.01
