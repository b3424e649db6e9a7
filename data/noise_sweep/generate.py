"""Train small classifiers over a grid of learning rate × batch size, with twins, and log how curved their loss is.

For the claims on noise: that it freezes training late and in flat minima (Yang et al., arXiv 2601.10962), that it
decides whether training is stable in probability (Ziyin et al., arXiv 2303.13093), and that instability helps. Plain
stochastic gradient descent, so that noise is learning rate over batch size, and the same time ηt of the gradient flow
for all. Run from anywhere::

    python data/noise_sweep/generate.py
    python data/noise_sweep/generate.py --seeds 1 --steps 50 -o check.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from common import Run, generate
from digits.network import CLASSES, PIXELS, Labels, initial, load
from noise_sweep.network import F64, Curvature, Parameters, activations, distance, gradients, measure
from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics

HIDDEN = (32, 32)
LEARNING_RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
BATCH_SIZES = (8, 32, 128, 512)
SEEDS, TWINS = 5, 2
FLOW_TIME = 200  # learning rate × steps of each run
ROWS = 200  # a run, beside that before the first step
CURVATURE_EVERY = 10  # rows
ITERATIONS, TOLERANCE = 16, 1e-3  # products with the Hessian at most; what is left is of the order of its square
RUNS = [
    Run(
        name=f"lr_{rate:g}_batch_{size}_seed_{seed}_twin_{twin}",
        seed=seed,
        attributes={"learning_rate": rate, "batch_size": size, "noise": rate / size, "twin": twin},
    )
    for rate in LEARNING_RATES
    for size in BATCH_SIZES
    for twin in range(TWINS)
    for seed in range(SEEDS)
]


class Stack:
    """Networks that train together, one for each seed: those of one twin.

    Weights and batches are drawn apart, so that runs of one seed share their weights at the start in all cells and both
    twins, and the batches of one twin in all cells of one batch size. Batches are drawn with replacement, so that they
    are independent and their noise has the covariance of a single image's over the batch size.
    """

    def __init__(self, runs: Sequence[Run], twin: int) -> None:
        draws = [np.random.default_rng(run.seed).spawn(1 + TWINS) for run in runs]
        shape = (PIXELS, *HIDDEN, CLASSES)
        starts = [initial(of_weights, shape) for of_weights, *_ in draws]
        self.p: Parameters = {name: np.stack([p[name] for p in starts]).astype(np.float64) for name in starts[0]}
        self.gradient: Parameters = {}  # of the last batch
        self._x, self._y, *_ = images()
        self._draws = [of_batches[twin] for _, *of_batches in draws]
        self._rate = float(runs[0].attributes["learning_rate"])
        self._size = int(runs[0].attributes["batch_size"])

    def step(self) -> None:
        """Take one step, each network on a batch of its own."""
        batch = np.stack([draw.integers(len(self._y), size=self._size) for draw in self._draws])
        layers = activations(self.p, self._x[batch])
        self.gradient = gradients(self.p, layers, self._y[batch])
        self.p = {name: self.p[name] - self._rate * self.gradient[name] for name in self.p}


@cache
def images() -> tuple[F64, Labels, F64, Labels]:
    """Training and held-out images and labels, read once."""
    data = load()
    return data.x.astype(np.float64), data.y, data.x_eval.astype(np.float64), data.y_eval


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train the runs of one cell and twin together.

    The second twins carry the first along unlogged, to measure how far they are apart at the same step.
    """
    with np.errstate(all="ignore"):  # what diverges is logged as what it is
        first = runs[0].attributes
        rate, twin = float(first["learning_rate"]), int(first["twin"])
        own = Stack(runs, twin)
        other = Stack(runs, 0) if twin else None
        all_steps = round(FLOW_TIME / rate)
        every = all_steps // ROWS
        on = log(own, other, own.p, None, 0, loggers, curved=True)
        for step in range(1, min(steps, all_steps) + 1):
            before = own.p
            for stack in (own, other) if other else (own,):
                stack.step()
            if step % every == 0:
                curved = step % (every * CURVATURE_EVERY) == 0
                on = log(own, other, before, on, step, loggers, curved=curved)


def log(
    own: Stack,
    other: Stack | None,
    before: Parameters,
    on: list[NDArray[np.bool_]] | None,
    step: int,
    loggers: Sequence[RunLogger],
    *,
    curved: bool,
) -> list[NDArray[np.bool_]]:
    """Log a row of each run, with the curvature where asked for.

    Parameters
    ----------
    before : parameters before the step.
    on : which hidden units were on for each training image at the last row, (R, n, units) a layer.

    Returns
    -------
    Which are on now.
    """
    x, y, x_eval, y_eval = images()
    layers = activations(own.p, x)
    now = [layer > 0 for layer in layers[1:-1]]
    shared = {}
    shared["train_loss"], shared["train_accuracy"] = measure(layers[-1], y)
    shared["eval_loss"], shared["eval_accuracy"] = measure(activations(own.p, x_eval)[-1], y_eval)
    if on is not None:
        shared["activation_flips"] = np.mean([(a != b).mean(axis=(1, 2)) for a, b in zip(on, now, strict=True)], axis=0)
    if other is not None:
        shared["separation"] = distance(own.p, other.p)
    if curved:
        curvature = Curvature(p=own.p, layers=layers, y=y)
        shared["sharpness"], shared["hessian_trace"] = curvature.largest(ITERATIONS, TOLERANCE)[0], curvature.trace()
    for i, logger in enumerate(loggers):
        row = weight_metrics({name: array[i] for name, array in own.p.items()}, layers=True)
        if step:
            row |= gradient_metrics({name: array[i] for name, array in own.gradient.items()})
            moved = ({name: array[i] for name, array in p.items()} for p in (before, own.p))
            row["update_norm"] = update_metrics(*moved)["update_norm"]
        logger.log(step, row, **{name: values[i] for name, values in shared.items()})
    return now


if __name__ == "__main__":
    generate(__doc__, RUNS, train, steps=10_000, output=Path(__file__).parent / "runs.parquet", together=SEEDS)
