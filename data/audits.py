"""What the matched arms of the three perturbation audits share: their conditions, and how a perturbation grows.

A perturbation of one of four dimensions of stability (Zhang, Yao, Li and Yang, arXiv 2601.13160) starts at a random
step, grows linearly to its full strength and stays there; nothing of the algorithm changes. A perturbed run has the
seed of a baseline run: the same weights, data and order, so that both are one until the onset. The buffered arm is the
same again with one source of controlled noise added to training from the first step on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from common import Run

DIMENSIONS = ("optimization", "environment", "parameters", "learning_signal")


def audit_runs(
    strengths: Mapping[str, Sequence[float]],
    *,
    onset: tuple[int, int],
    learning_rate: float,
    batch_size: int,
    buffer: str,
    buffered_batch_size: int | None = None,
    baseline_seeds: int = 40,
    buffered_seeds: int = 8,
    seeds: int = 6,
) -> list[Run]:
    """All runs of an audit: the baseline, each dimension at each strength, and both again with the buffer.

    Parameters
    ----------
    strengths : full strength of the perturbation, by dimension, rising.
    onset : the step at which it starts is drawn from between these two.
    buffer : what the buffered arm adds, such as ``dropout 0.2``; the attribute ``buffer`` is ``none`` elsewhere.
    buffered_batch_size : batch size of the buffered arm where that is what buffers.
    baseline_seeds, buffered_seeds : unperturbed runs without and with the buffer.
    seeds : runs of each dimension and strength, with the first seeds of the baseline.
    """
    runs = []
    for arm in ("none", buffer):
        prefix = "" if arm == "none" else "buffered_"
        size = batch_size if arm == "none" or buffered_batch_size is None else buffered_batch_size
        shared = {"learning_rate": learning_rate, "batch_size": size, "buffer": arm}
        name = "baseline" if arm == "none" else "buffered"
        for seed in range(baseline_seeds if arm == "none" else buffered_seeds):
            attributes = {"condition": name, "dimension": "none", "strength": 0.0, "onset": -1, **shared}
            runs.append(Run(name=f"{name}_seed_{seed:02d}", seed=seed, attributes=attributes))
        for number, dimension in enumerate(DIMENSIONS):
            for level, strength in enumerate(strengths[dimension]):
                condition = f"{prefix}{dimension}_{strength:g}"
                for seed in range(seeds):
                    draw = np.random.default_rng([seed, number, level])
                    attributes = {
                        "condition": condition,
                        "dimension": dimension,
                        "strength": float(strength),
                        "onset": int(draw.integers(*onset)),
                        **shared,
                    }
                    runs.append(Run(name=f"{condition}_seed_{seed:02d}", seed=seed, attributes=attributes))
    return runs


def grown(run: Run, step: int, ramp: int) -> float:
    """How much of its full strength the perturbation of a run has at a step: 0 up to the onset, 1 after the ramp.

    Parameters
    ----------
    step : the step of training that is about to be taken, from 1 on.
    ramp : steps from the onset to full strength, where the run has no attribute of that name.
    """
    onset, ramp = int(run.attributes["onset"]), int(run.attributes.get("ramp", ramp))
    return 0.0 if onset < 0 else min(max((step - onset) / ramp, 0.0), 1.0)


def amount(run: Run, dimension: str, step: int, ramp: int) -> float:
    """Strength of the perturbation of one dimension at a step; 0 for a run that is not perturbed in it."""
    if run.attributes["dimension"] != dimension:
        return 0.0
    return float(run.attributes["strength"]) * grown(run, step, ramp)
