"""Train a small classifier of digits under perturbations that grow after a random step, and log its metrics.

A perturbation audit after Zhang, Yao, Li and Yang (arXiv 2601.13160): healthy runs, and runs that are disturbed in one
of four dimensions, some of which live on and some of which collapse. Run from anywhere::

    python data/audit_classifier/generate.py
    python data/audit_classifier/generate.py --seeds 1 --steps 50 -o check.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from audits import amount, audit_runs
from common import Run, generate
from digits.network import CLASSES, F32, PIXELS, Labels, activations, gradients, initial, load, measure
from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics

HIDDEN, BATCH = (64, 64), 64
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, np.float32(0.9), np.float32(5e-3)
DROPOUT = 0.2  # of the buffered arm
STEPS, EVERY = 3200, 10
RAMP = 400  # steps from the onset to full strength
RUNS = audit_runs(
    {
        "optimization": (5, 6.5, 8, 12),  # learning rate × (1 + amount)
        "environment": (1.5, 2.5, 3, 5),  # added to all pixels of training images, in units of the pixels' spread
        "parameters": (6, 8, 10, 15),  # normal noise after each step, in per cent of the tensor's root mean square
        "learning_signal": (30, 40, 60, 80),  # per cent of training labels that are one too high
    },
    onset=(800, 1600),
    learning_rate=LEARNING_RATE,
    batch_size=BATCH,
    buffer=f"dropout {DROPOUT:g}",
)


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train one network after the other."""
    for run, logger in zip(runs, loggers, strict=True):
        with np.errstate(all="ignore"):  # some diverge, and are logged as what they are
            train_one(run, steps, logger)


def train_one(run: Run, steps: int, logger: RunLogger) -> None:
    """Train one network by stochastic gradient descent with momentum.

    Weights, the order of the rows, dropout and perturbations are drawn apart, so that runs of one seed share the first
    two in all conditions. Loss and accuracy on training data are those of the step's batch, as training sees it.
    """
    data = load()
    of_weights, of_order, of_dropout, of_perturbation = np.random.default_rng(run.seed).spawn(4)
    p = initial(of_weights, (PIXELS, *HIDDEN, CLASSES))
    velocity = {name: np.zeros_like(array) for name, array in p.items()}
    order, position = of_order.permutation(len(data.y)), 0
    for step in range(1, steps + 1):
        if position + BATCH > len(order):
            order, position = of_order.permutation(len(data.y)), 0
        batch = order[position : position + BATCH]
        position += BATCH
        x, y = disturbed(run, step, data.x[batch], data.y[batch], of_perturbation)
        kept = dropout(of_dropout) if run.attributes["buffer"] != "none" else ()
        layers = activations(p, x, kept)
        gradient = gradients(p, layers, y, kept)
        rate = np.float32(LEARNING_RATE * (1 + amount(run, "optimization", step, RAMP)))
        noise = amount(run, "parameters", step, RAMP) / 100
        logged = step % EVERY == 0
        before = {name: array.copy() for name, array in p.items()} if logged else p
        for name in p:
            velocity[name] = MOMENTUM * velocity[name] + gradient[name] + WEIGHT_DECAY * p[name]
            p[name] = p[name] - rate * velocity[name]
            if noise > 0:
                scale = np.float32(noise) * np.sqrt(np.mean(p[name] ** 2))
                p[name] += scale * of_perturbation.standard_normal(p[name].shape, dtype=np.float32)
        if logged:
            row = weight_metrics(p, layers=True) | gradient_metrics(gradient)
            row["update_norm"] = update_metrics(before, p)["update_norm"]
            row["train_loss"], row["train_accuracy"] = measure(layers[-1], y)
            row["eval_loss"], row["eval_accuracy"] = measure(activations(p, data.x_eval)[-1], data.y_eval)
            logger.log(step, row)


def disturbed(run: Run, step: int, x: F32, y: Labels, draw: np.random.Generator) -> tuple[F32, Labels]:
    """Images and labels of a batch as training sees them.

    Parameters
    ----------
    x : (n, PIXELS) images.
    y : (n,) labels.
    """
    brighter = amount(run, "environment", step, RAMP)
    wrong = amount(run, "learning_signal", step, RAMP) / 100
    if brighter > 0:
        x = x + np.float32(brighter)
    if wrong > 0:
        y = np.where(draw.random(len(y)) < wrong, (y + 1) % CLASSES, y)
    return x, y


def dropout(draw: np.random.Generator) -> list[F32]:
    """(BATCH, units) for each hidden layer, what its output is multiplied by."""
    return [(draw.random((BATCH, units)) >= DROPOUT).astype(np.float32) / np.float32(1 - DROPOUT) for units in HIDDEN]


if __name__ == "__main__":
    generate(__doc__, RUNS, train, steps=STEPS, output=Path(__file__).parent / "runs.parquet")
