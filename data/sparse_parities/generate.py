"""Train the multilayer perceptron on sparse parities with many seeds and log its weight metrics.

The task of Barak et al. (2022) as in Hu et al. (TMLR 2023): the label is the product of 3 of 40 signs. Run from
anywhere::

    python data/sparse_parities/generate.py                   # all 40 seeds, about a minute on two cores
    python data/sparse_parities/generate.py --seeds 1 --steps 64 -o check.parquet

A seed that is already in the output file, with the same number of steps, is not trained again.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: seeds run side by side, one thread each

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trajhmm.files import replacing
from trajhmm.metrics import weight_metrics

F32 = NDArray[np.float32]

BITS, PARITY, WIDTH = 40, 3, 128
TRAIN, EVAL, BATCH = 1000, 2000, 32
LEARNING_RATE, WEIGHT_DECAY = np.float32(0.1), np.float32(0.01)
STEPS_PER_EPOCH = -(-TRAIN // BATCH)
EPOCHS = 300


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


def train(seed: int, steps: int) -> pd.DataFrame:
    """Train one seed for ``steps`` steps and log before the first and after every epoch.

    Data, weights and order all come from the seed.
    """
    data_rng, rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    x, y = signs(data_rng, TRAIN)
    x_eval, y_eval = signs(data_rng, EVAL)
    network = Network.initial(rng)
    rows = [measure(network, seed, 0, float("nan"), (x, y), (x_eval, y_eval))]
    order = np.arange(TRAIN)
    norms: list[float] = []
    for step in range(1, steps + 1):
        position = (step - 1) % STEPS_PER_EPOCH
        if position == 0:
            order = rng.permutation(TRAIN)
        batch = order[position * BATCH : (position + 1) * BATCH]
        norms.append(network.step(x[batch], y[batch]))
        if position == STEPS_PER_EPOCH - 1:
            rows.append(measure(network, seed, step, float(np.mean(norms)), (x, y), (x_eval, y_eval)))
            norms.clear()
    return pd.DataFrame(rows)


def measure(
    network: Network, seed: int, step: int, grad_norm: float, train_set: tuple[F32, F32], eval_set: tuple[F32, F32]
) -> dict[str, object]:
    """One row of the log."""
    row: dict[str, object] = {"run": f"seed_{seed:02d}", "step": step, "seed": seed}
    row |= weight_metrics([network.w1, network.w2], [network.b1, network.b2])
    row["grad_norm"] = grad_norm
    for name, (x, y) in (("train", train_set), ("eval", eval_set)):
        margin = y * network.output(x)
        row[f"{name}_loss"] = float(np.maximum(0, 1 - margin).mean())
        row[f"{name}_accuracy"] = float((margin > 0).mean())
    return row


def main() -> None:
    """Train what is missing and write the log."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=40, help="number of seeds, from 0 on")
    parser.add_argument("--steps", type=int, default=EPOCHS * STEPS_PER_EPOCH, help="steps of descent for each")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "runs.parquet")
    arguments = parser.parse_args()

    last = arguments.steps // STEPS_PER_EPOCH * STEPS_PER_EPOCH
    done: dict[int, pd.DataFrame] = {}
    if arguments.output.exists():
        stored = pd.read_parquet(arguments.output)
        done = {int(seed): rows for seed, rows in stored.groupby("seed") if rows["step"].max() == last}
    missing = [seed for seed in range(arguments.seeds) if seed not in done]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(train, seed, arguments.steps): seed for seed in missing}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            print(f"seed {futures[future]} done, {len(done)} of {arguments.seeds}", flush=True)
            write(arguments.output, done)


def write(path: Path, done: dict[int, pd.DataFrame]) -> None:
    """Write all finished seeds, metrics in single precision."""
    frame = pd.concat([done[seed] for seed in sorted(done)], ignore_index=True)
    metrics = frame.select_dtypes("float64").columns
    frame[metrics] = frame[metrics].astype("float32")
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), temporary, compression="zstd")


if __name__ == "__main__":
    main()
