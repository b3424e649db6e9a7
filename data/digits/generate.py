"""Train a multilayer perceptron on scikit-learn's digits with many seeds and log its metrics.

The stand-in for MNIST in Hu et al. (TMLR 2023): a task that no seed finds hard. Run from anywhere::

    python data/digits/generate.py
    python data/digits/generate.py --seeds 1 --steps 50 -o check.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from common import Run, generate
from digits.network import CLASSES, PIXELS, Digits, Parameters, activations, gradients, initial, load, measure
from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics

WIDTH, BATCH = 800, 64
LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY = 1e-3, (0.9, 0.999), 1e-8, 0.01
SEEDS, STEPS = 40, 300
RUNS = [
    Run(name=f"seed_{seed:02d}", seed=seed, attributes={"learning_rate": LEARNING_RATE, "batch_size": BATCH})
    for seed in range(SEEDS)
]


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), in place."""

    def __init__(self, p: Parameters) -> None:
        self._first = {name: np.zeros_like(array) for name, array in p.items()}
        self._second = {name: np.zeros_like(array) for name, array in p.items()}

    def step(self, p: Parameters, gradient: Parameters, count: int) -> None:
        """Take one step.

        Parameters
        ----------
        count : of the step, from 1 on.
        """
        rate = np.float32(LEARNING_RATE / (1 - BETAS[0] ** count))
        of_second = np.float32(1 - BETAS[1] ** count)
        for name in p:
            first, second = self._first[name], self._second[name]
            first += np.float32(1 - BETAS[0]) * (gradient[name] - first)
            second += np.float32(1 - BETAS[1]) * (gradient[name] ** 2 - second)
            p[name] *= np.float32(1 - LEARNING_RATE * WEIGHT_DECAY)
            p[name] -= rate * first / (np.sqrt(second / of_second) + np.float32(EPSILON))


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train one network after the other."""
    for run, logger in zip(runs, loggers, strict=True):
        train_one(run, steps, logger)


def train_one(run: Run, steps: int, logger: RunLogger) -> None:
    """Train one network; weights and the order of the rows come from the seed, the data are the same for all."""
    data, rng = load(), np.random.default_rng(run.seed)
    p = initial(rng, (PIXELS, WIDTH, CLASSES))
    optimizer = AdamW(p)
    logger.log(0, weight_metrics(p), **performance(p, data))
    order, position = rng.permutation(len(data.y)), 0
    for step in range(1, steps + 1):
        if position + BATCH > len(order):
            order, position = rng.permutation(len(data.y)), 0
        batch = order[position : position + BATCH]
        position += BATCH
        gradient = gradients(p, activations(p, data.x[batch]), data.y[batch])
        before = {name: array.copy() for name, array in p.items()}
        optimizer.step(p, gradient, step)
        row = weight_metrics(p) | gradient_metrics(gradient)
        row["update_norm"] = update_metrics(before, p)["update_norm"]
        logger.log(step, row, **performance(p, data))


def performance(p: Parameters, data: Digits) -> dict[str, float]:
    """Loss and accuracy on all training and all held-out rows."""
    train_loss, train_accuracy = measure(activations(p, data.x)[-1], data.y)
    eval_loss, eval_accuracy = measure(activations(p, data.x_eval)[-1], data.y_eval)
    return {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "eval_loss": eval_loss,
        "eval_accuracy": eval_accuracy,
    }


if __name__ == "__main__":
    generate(__doc__, RUNS, train, steps=STEPS, output=Path(__file__).parent / "runs.parquet")
