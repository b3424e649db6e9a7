"""Train a small classifier of digits under perturbations that grow after a random step, and log its metrics.

A perturbation audit after Zhang, Yao, Li and Yang (arXiv 2601.13160): healthy runs, and runs that are disturbed in one
of four dimensions, some of which live on and some of which collapse. Run from anywhere::

    python data/audit_classifier/generate.py
    python data/audit_classifier/generate.py --arm sweep
    python data/audit_classifier/generate.py --seeds 1 --steps 50 -o check.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from audits import amount, audit_runs
from common import Arm, Run, generate
from digits.network import CLASSES, F32, PIXELS, Labels, activations, gradients, initial, load, measure
from optimizers import Adam, Momentum, Optimizer, RMSprop
from sweeps import Grid, batch_size_at, configuration, happens, rate_at, sweep_runs
from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics

HIDDEN, BATCH = (64, 64), 64
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-3
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
HIGH_MOMENTUM = "sgd_momentum_0.98"
CORRUPT = np.float32(10)  # spread of the noise that one batch consists of
SPONTANEOUS = [
    ("high_learning_rate", configuration("sgd", learning_rate=0.33, warm_up=0, batch_size=64, width=64)),
    ("high_learning_rate", configuration("sgd", learning_rate=0.37, warm_up=100, batch_size=64, width=48)),
    ("high_learning_rate", configuration("sgd", learning_rate=0.22, warm_up=20, batch_size=32, width=96)),
    ("high_learning_rate", configuration("sgd", learning_rate=0.25, warm_up=100, batch_size=32, width=64)),
    ("high_learning_rate", configuration("sgd", learning_rate=0.6, warm_up=100, batch_size=128, width=64)),
    ("high_learning_rate", configuration("adamw", learning_rate=0.12, warm_up=100, batch_size=32, width=48)),
    ("long_warm_up", configuration("sgd", learning_rate=0.4, warm_up=1600, batch_size=64, width=64)),
    ("long_warm_up", configuration("sgd", learning_rate=0.5, warm_up=1600, batch_size=64, width=96)),
    ("long_warm_up", configuration("sgd", learning_rate=0.3, warm_up=1600, batch_size=32, width=64)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.08, warm_up=400, batch_size=32, width=48)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.09, warm_up=400, batch_size=32, width=64)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.12, warm_up=400, batch_size=64, width=64)),
]
SWEEP = sweep_runs(
    Grid(
        learning_rates={
            "sgd": (0.025, 0.035, 0.05, 0.07, 0.1),
            "adam": (5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3),
            "adamw": (5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3),
            "rmsprop": (2.5e-4, 3.5e-4, 5e-4, 7e-4, 1e-3),
        },
        warm_ups=(0, 20, 100),
        batch_sizes=(32, 64, 128),
        widths=(32, 48, 64, 96),
    ),
    SPONTANEOUS,
    strengths={
        "optimization": (8, 12, 100),  # the last for optimizers that divide by the size of the gradient
        "environment": (3, 5, 10),
        "parameters": (8, 10, 15),
        "learning_signal": (40, 60, 80),
    },
    onset=(800, 1600),
    ramp=RAMP,
    event=(1200, 2000),
    every=EVERY,
)


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train one network after the other."""
    for run, logger in zip(runs, loggers, strict=True):
        with np.errstate(all="ignore"):  # some diverge, and are logged as what they are
            train_one(run, steps, logger)


def train_one(run: Run, steps: int, logger: RunLogger) -> None:
    """Train one network.

    Weights, the order of the rows, dropout and perturbations are drawn apart, so that runs of one seed share the first
    two in all conditions. Loss and accuracy on training data are those of the step's batch, as training sees it.
    """
    data = load()
    of_weights, of_order, of_dropout, of_perturbation = np.random.default_rng(run.seed).spawn(4)
    width = int(run.attributes.get("width", HIDDEN[0]))
    p = initial(of_weights, (PIXELS, *(width for _ in HIDDEN), CLASSES))
    optimizer = optimizer_of(run)
    order, position = of_order.permutation(len(data.y)), 0
    for step in range(1, steps + 1):
        size = batch_size_at(run, step)
        if position + size > len(order):
            order, position = of_order.permutation(len(data.y)), 0
        batch = order[position : position + size]
        position += size
        x, y = disturbed(run, step, data.x[batch], data.y[batch], of_perturbation)
        kept = dropout(of_dropout) if run.attributes.get("buffer", "none") != "none" else ()
        layers = activations(p, x, kept)
        gradient = gradients(p, layers, y, kept)
        rate = rate_at(run, step) * (1 + amount(run, "optimization", step, RAMP))
        noise = amount(run, "parameters", step, RAMP) / 100
        logged = step % EVERY == 0
        before = {name: array.copy() for name, array in p.items()} if logged else p
        if happens(run, "resume", step):
            optimizer.forget()
        optimizer.step(p, gradient, rate)
        for name in p if noise > 0 else ():
            scale = np.float32(noise) * np.sqrt(np.mean(p[name] ** 2))
            p[name] += scale * of_perturbation.standard_normal(p[name].shape, dtype=np.float32)
        if logged:
            row = weight_metrics(p, layers=True) | gradient_metrics(gradient)
            row["update_norm"] = update_metrics(before, p)["update_norm"]
            row["train_loss"], row["train_accuracy"] = measure(layers[-1], y)
            row["eval_loss"], row["eval_accuracy"] = measure(activations(p, data.x_eval)[-1], data.y_eval)
            logger.log(step, row)


def optimizer_of(run: Run) -> Optimizer:
    """The optimizer of a run; in the matched arm that with momentum."""
    made: dict[str, Optimizer] = {
        "sgd": Momentum(MOMENTUM, WEIGHT_DECAY),
        HIGH_MOMENTUM: Momentum(0.98, WEIGHT_DECAY),
        "adam": Adam(),
        "adamw": Adam(weight_decay=0.1),
        "rmsprop": RMSprop(),
    }
    return made[str(run.attributes.get("optimizer", "sgd"))]


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
    if happens(run, "corrupt_batch", step):
        x = CORRUPT * draw.standard_normal(x.shape, dtype=np.float32)
    return x, y


def dropout(draw: np.random.Generator) -> list[F32]:
    """(BATCH, units) for each hidden layer, what its output is multiplied by."""
    return [(draw.random((BATCH, units)) >= DROPOUT).astype(np.float32) / np.float32(1 - DROPOUT) for units in HIDDEN]


if __name__ == "__main__":
    generate(
        __doc__,
        RUNS,
        train,
        steps=STEPS,
        output=Path(__file__).parent / "runs.parquet",
        arms={"sweep": Arm(runs=SWEEP, steps=STEPS)},
    )
