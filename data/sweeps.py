"""What the sweep arms of the three audits share: runs that differ in how they are trained, and what happens to them.

The matched arms compare runs of one configuration, and nothing but a perturbation happens to them. Here healthy runs
are a sweep; perturbations grow at three rates; some runs fail on their own, at a learning rate too high for them; and
to some something happens that looks like trouble and is none. A run that is perturbed, or to which something
happens, has configuration and seed of a healthy run, and both are one until then; only where the learning rate is
another from the first step on (``abrupt_warm_up``, ``cosine_restarts``) they share no more than weights and data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, inf, pi

import numpy as np

from audits import DIMENSIONS
from common import Run

Configuration = dict[str, str | int | float]  # learning_rate, warm_up, batch_size, width, optimizer

SEEDS = 2  # of each configuration
FIRST_SEED = 100  # those of the matched arms end at 39
DROP = 0.1  # of the learning rate, where it drops, and before a warm-up ends abruptly
EVENTS = {  # what may happen to a run that stays healthy, and to how many
    "abrupt_warm_up": 4,
    "rate_drop": 4,
    "cosine_restarts": 4,
    "batch_size_up": 2,
    "batch_size_down": 2,
    "corrupt_batch": 4,
    "resume": 4,
}


def configuration(optimizer: str, *, learning_rate: float, warm_up: int, batch_size: int, width: int) -> Configuration:
    """The attributes in which configurations differ, in the order of the file."""
    numbers = {"warm_up": int(warm_up), "batch_size": int(batch_size), "width": int(width)}
    return {"learning_rate": float(learning_rate), **numbers, "optimizer": optimizer}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What configurations are drawn from.

    Parameters
    ----------
    learning_rates : of each optimizer.
    warm_ups : steps over which the learning rate grows linearly; 0 for none.
    batch_sizes, widths : of a step, and of the hidden layers.
    numbers : of the configurations, each a draw of its own; others where one was left out.
    smallest_batch, largest_batch : that a batch may become where its size changes.
    """

    learning_rates: Mapping[str, Sequence[float]]
    warm_ups: Sequence[int]
    batch_sizes: Sequence[int]
    widths: Sequence[int]
    numbers: Sequence[int] = range(24)
    smallest_batch: float = 1
    largest_batch: float = inf

    def configurations(self) -> dict[int, Configuration]:
        """All by number, the optimizers in turn."""
        return {number: self._draw(number) for number in self.numbers}

    def allows(self, batch_size: int) -> bool:
        """Whether a batch may be so large."""
        return self.smallest_batch <= batch_size <= self.largest_batch

    def _draw(self, number: int) -> Configuration:
        draw = np.random.default_rng([number, 24])
        optimizer = list(self.learning_rates)[number % len(self.learning_rates)]
        return configuration(
            learning_rate=draw.choice(self.learning_rates[optimizer]),
            warm_up=draw.choice(self.warm_ups),
            batch_size=draw.choice(self.batch_sizes),
            width=draw.choice(self.widths),
            optimizer=optimizer,
        )


def sweep_runs(
    grid: Grid,
    spontaneous: Sequence[tuple[str, Configuration]],
    *,
    strengths: Mapping[str, Sequence[float]],
    onset: tuple[int, int],
    ramp: int,
    event: tuple[int, int],
    every: int,
) -> list[Run]:
    """All runs of a sweep arm: healthy, perturbed, spontaneous, hard negatives.

    Parameters
    ----------
    spontaneous : what is wrong with it, and the configuration of each run that fails on its own.
    strengths : three of the audit for each dimension, each taken once at each rate of growth.
    onset, event : the step at which a perturbation starts, or at which something happens, is drawn from between these
        two.
    every : steps from one logged row to the next; something happens at a logged one.
    ramp : steps of the audit to full strength. A perturbation takes one step, so many, or four times as many.
    """
    configurations = grid.configurations()
    pairs = [(number, FIRST_SEED + SEEDS * number + seed) for number in configurations for seed in range(SEEDS)]

    def run(name: str, kind: str, condition: str, number: int, seed: int, **what: str | float) -> Run:
        unharmed = {"dimension": "none", "strength": 0.0, "onset": -1, "ramp": -1, "event_step": -1}
        attributes = {"kind": kind, "condition": condition, "configuration": f"c{number:02d}", **configurations[number]}
        return Run(name=f"{name}_c{number:02d}_seed_{seed}", seed=seed, attributes=attributes | unharmed | what)

    runs = [run("healthy", "healthy", "healthy", number, seed) for number, seed in pairs]
    draw = np.random.default_rng(0)
    bases = iter(draw.permutation(pairs).tolist())
    speeds = {"sudden": 1, "ramp": ramp, "slow": 4 * ramp}
    for dimension, level, speed in product(DIMENSIONS, range(3), speeds):
        strength = strengths[dimension][level]
        harm = {"dimension": dimension, "strength": float(strength), "ramp": speeds[speed]}
        condition, when = f"{dimension}_{strength:g}_{speed}", {"onset": int(draw.integers(*onset))}
        runs.append(run(condition, "perturbed", condition, *next(bases), **harm, **when))
    for number, (condition, failing) in enumerate(spontaneous):
        seed = FIRST_SEED + 100 + number
        like = run("", "spontaneous", condition, next(iter(configurations)), seed).attributes
        attributes = {**like, "configuration": f"s{number:02d}", **failing}
        runs.append(Run(name=f"{condition}_s{number:02d}_seed_{seed}", seed=seed, attributes=attributes))
    bases = iter(draw.permutation(pairs).tolist())
    for condition, many in EVENTS.items():
        for _ in range(many):
            when = int(draw.integers(*event))
            when = when // 2 if condition == "cosine_restarts" else when  # more than one
            when += -when % every
            like = (run(condition, "hard_negative", condition, *base, event_step=when) for base in bases)
            runs.append(next(one for one in like if grid.allows(batch_size_at(one, when))))
    return runs


def rate_at(run: Run, step: int, *, warm_up: int = 0) -> float:
    """The learning rate in force at a step, before any perturbation.

    Parameters
    ----------
    step : the step of training that is about to be taken, from 1 on.
    warm_up : where the run has no attribute of that name.
    """
    rate, warm_up = float(run.attributes["learning_rate"]), int(run.attributes.get("warm_up", warm_up))
    event = int(run.attributes.get("event_step", -1))
    condition = run.attributes["condition"]
    if condition == "abrupt_warm_up":
        return rate * (1 if step >= event else DROP)
    if warm_up:
        rate *= min(step / warm_up, 1)
    if condition == "rate_drop" and step >= event:
        return rate * DROP
    if condition == "cosine_restarts":
        return rate * (1 + cos(pi * ((step - 1) % (event - 1)) / (event - 1))) / 2
    return rate


def batch_size_at(run: Run, step: int) -> int:
    """How many rows are in the batch of a step."""
    size, condition = int(run.attributes["batch_size"]), run.attributes["condition"]
    if condition == "batch_size_up" and step >= int(run.attributes["event_step"]):
        return 4 * size
    if condition == "batch_size_down" and step >= int(run.attributes["event_step"]):
        return size // 4
    return size


def happens(run: Run, condition: str, step: int) -> bool:
    """Whether what happens once happens at this step."""
    return run.attributes["condition"] == condition and run.attributes["event_step"] == step
