"""Train the multilayer perceptron on sparse parities with many seeds and log its weight metrics.

The task of Barak et al. (2022) as in Hu et al. (TMLR 2023): the label is the product of 3 of 40 signs. Run from
anywhere::

    python data/sparse_parities/generate.py                   # all 40 seeds, half a minute on two cores
    python data/sparse_parities/generate.py --seeds 1 --steps 64 -o check.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from common import Run, generate
from trajhmm.metrics import RunLogger, weight_metrics

F32 = NDArray[np.float32]

BITS, PARITY, WIDTH = 40, 3, 128
TRAIN, EVAL, BATCH = 1000, 2000, 32
LEARNING_RATE, WEIGHT_DECAY = np.float32(0.1), np.float32(0.01)
STEPS_PER_EPOCH = -(-TRAIN // BATCH)
EPOCHS = 300
SEEDS = 40


@dataclass
class Network:
    """One hidden layer of rectified units; hinge loss. Weights are float32, as in the usual libraries."""

    w1: F32  # (WIDTH, BITS)
    b1: F32  # (WIDTH,)
    w2: F32  # (1, WIDTH)
    b2: F32  # (1,)

    @classmethod
    def initial(cls, rng: np.random.Generator) -> Network:
        """Draw weights uniformly within ±1/√fan-in, the default of PyTorch's linear layers."""

        def layer(fan_out: int, fan_in: int) -> tuple[F32, F32]:
            bound = 1 / np.sqrt(fan_in)
            weight = rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32)
            return weight, rng.uniform(-bound, bound, fan_out).astype(np.float32)

        (w1, b1), (w2, b2) = layer(WIDTH, BITS), layer(1, WIDTH)
        return cls(w1=w1, b1=b1, w2=w2, b2=b2)

    def output(self, x: F32) -> F32:
        """(n,) outputs for (n, BITS) signs."""
        out: F32 = (np.maximum(x @ self.w1.T + self.b1, 0) @ self.w2.T)[:, 0] + self.b2
        return out

    def gradients(self, x: F32, y: F32) -> tuple[F32, F32, F32, F32]:
        """Gradients of the mean hinge loss max(0, 1 − y f(x)) for w1, b1, w2, b2."""
        before = x @ self.w1.T + self.b1
        hidden = np.maximum(before, 0)
        out = (hidden @ self.w2.T)[:, 0] + self.b2
        slope = np.where(y * out < 1, -y, 0).astype(np.float32) / np.float32(len(y))
        back = (slope[:, np.newaxis] * self.w2) * (before > 0)
        return back.T @ x, back.sum(axis=0), slope[np.newaxis] @ hidden, slope.sum(keepdims=True)

    def step(self, x: F32, y: F32) -> float:
        """One step of stochastic gradient descent with weight decay; returns the gradient's norm."""
        gradients = self.gradients(x, y)
        for parameter, gradient in zip((self.w1, self.b1, self.w2, self.b2), gradients, strict=True):
            parameter[...] -= LEARNING_RATE * (gradient + WEIGHT_DECAY * parameter)
        return float(np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients)))


def signs(rng: np.random.Generator, n: int) -> tuple[F32, F32]:
    """(n, BITS) random signs, and (n,) the product of the first PARITY of them."""
    x = rng.choice(np.array([-1, 1], dtype=np.float32), size=(n, BITS))
    return x, x[:, :PARITY].prod(axis=1)


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train runs one after the other; log before the first step and after every epoch.

    Data, weights and order all come from the seed.
    """
    for run, logger in zip(runs, loggers, strict=True):
        data_rng, rng = (np.random.default_rng(child) for child in np.random.SeedSequence(run.seed).spawn(2))
        x, y = signs(data_rng, TRAIN)
        x_eval, y_eval = signs(data_rng, EVAL)
        network = Network.initial(rng)
        logger.log(0, measure(network, (x, y), (x_eval, y_eval)))
        order = np.arange(TRAIN)
        norms: list[float] = []
        for step in range(1, steps + 1):
            position = (step - 1) % STEPS_PER_EPOCH
            if position == 0:
                order = rng.permutation(TRAIN)
            batch = order[position * BATCH : (position + 1) * BATCH]
            norms.append(network.step(x[batch], y[batch]))
            if position == STEPS_PER_EPOCH - 1:
                logger.log(step, measure(network, (x, y), (x_eval, y_eval)), grad_norm=np.mean(norms))
                norms.clear()


def measure(network: Network, train_set: tuple[F32, F32], eval_set: tuple[F32, F32]) -> dict[str, float]:
    """The metrics of one row."""
    row = weight_metrics([network.w1, network.w2], [network.b1, network.b2])
    for name, (x, y) in (("train", train_set), ("eval", eval_set)):
        margin = y * network.output(x)
        row[f"{name}_loss"] = float(np.maximum(0, 1 - margin).mean())
        row[f"{name}_accuracy"] = float((margin > 0).mean())
    return row


if __name__ == "__main__":
    generate(
        __doc__,
        [Run(name=f"seed_{seed:02d}", seed=seed) for seed in range(SEEDS)],
        train,
        steps=EPOCHS * STEPS_PER_EPOCH,
        output=Path(__file__).parent / "runs.parquet",
        digits=24,
    )
