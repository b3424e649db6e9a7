"""Train a one-layer transformer on addition modulo 43 with many seeds, plain and stabilised, and log its metrics.

The task of Nanda et al. (2023, arXiv 2301.05217) as in Hu et al. (TMLR 2023), with a smaller modulus, so that 40 seeds
take minutes on two cores. Run from anywhere::

    python data/modular_addition/generate.py
    python data/modular_addition/generate.py --seeds 1 --steps 50 -o check.parquet

Only the last position, after ``a b =``, is read out. So queries, the output of attention and the perceptron are
computed there alone, and keys and values once for each token and position, not once for each pair: the same function
and the same gradients as the whole transformer at a fraction of the cost. Several seeds train as one batch of matrices.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor
from torch.nn import functional

from common import Run, generate
from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics

MODULUS, WIDTH, HEADS, HIDDEN = 43, 64, 4, 256
TRAIN = MODULUS**2 // 2
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-3, (0.9, 0.98), 1.0
SEEDS, TOGETHER = 40, 8
CONDITIONS = {  # batch size, steps, steps between rows
    "plain": (TRAIN, 10_000, 10),
    "stabilised": (256, 4_000, 16),
}
RUNS = [
    Run(
        name=f"{condition}_seed_{seed:02d}",
        seed=seed,
        attributes={"condition": condition, "learning_rate": LEARNING_RATE, "batch_size": batch},
    )
    for condition, (batch, _, _) in CONDITIONS.items()
    for seed in range(SEEDS)
]


def initial(seed: int, *, layer_norm: bool) -> dict[str, Tensor]:
    """Draw the parameters of one network, as the paper's code does: normal, over the square root of the fan-in."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "embed": (MODULUS + 1, WIDTH),
        "pos_embed": (3, WIDTH),
        "W_K": (HEADS, WIDTH // HEADS, WIDTH),
        "W_Q": (HEADS, WIDTH // HEADS, WIDTH),
        "W_V": (HEADS, WIDTH // HEADS, WIDTH),
        "W_O": (WIDTH, WIDTH),
        "W_in": (HIDDEN, WIDTH),
        "W_out": (WIDTH, HIDDEN),
        "W_U": (WIDTH, MODULUS),
    }
    fan_in = {"W_U": MODULUS}
    parameters = {
        name: torch.randn(shape, generator=draw) / fan_in.get(name, WIDTH) ** 0.5 for name, shape in shapes.items()
    }
    parameters |= {"b_in": torch.zeros(HIDDEN), "b_out": torch.zeros(WIDTH)}
    if layer_norm:
        for name in ("ln1", "ln2"):
            parameters |= {f"{name}.weight": torch.ones(WIDTH), f"{name}.bias": torch.zeros(WIDTH)}
    return parameters


def logits(p: dict[str, Tensor], one_hot_a: Tensor, one_hot_b: Tensor) -> Tensor:
    """(S, N, MODULUS) logits after ``a b =`` for S networks and N pairs each.

    Parameters
    ----------
    p : parameters, each with a leading axis of S networks.
    one_hot_a, one_hot_b : (S, N, MODULUS) the two summands.
    """
    tokens = p["embed"][:, :MODULUS]
    last = p["embed"][:, MODULUS] + p["pos_embed"][:, 2]
    # All that attention can look at: each token at either place, and the last position itself; (S, 2M + 1, width).
    seen = torch.cat([tokens + p["pos_embed"][:, :1], tokens + p["pos_embed"][:, 1:2], last[:, None]], dim=1)
    query = torch.einsum("shed,sd->she", p["W_Q"], last)
    keys = torch.einsum("shed,std->shte", p["W_K"], seen)
    values = torch.einsum("shed,std->shte", p["W_V"], seen)
    scores = torch.einsum("shte,she->sht", keys, query) / (WIDTH // HEADS) ** 0.5
    of_a, of_b, of_last = scores.split([MODULUS, MODULUS, 1], dim=2)
    three = torch.stack(
        [of_a @ one_hot_a.mT, of_b @ one_hot_b.mT, of_last.expand(-1, -1, one_hot_a.shape[1])], dim=3
    )  # (S, heads, N, 3)
    attention = three.softmax(dim=3)
    spread = torch.cat(
        [attention[..., :1] * one_hot_a[:, None], attention[..., 1:2] * one_hot_b[:, None], attention[..., 2:]], dim=3
    )
    mixed = (spread @ values).transpose(1, 2).flatten(2)  # (S, N, width)
    residual = last[:, None] + mixed @ p["W_O"].mT
    residual = _layer_norm(p, "ln1", residual)
    hidden = functional.relu(torch.baddbmm(p["b_in"][:, None], residual, p["W_in"].mT))
    residual = residual + torch.baddbmm(p["b_out"][:, None], hidden, p["W_out"].mT)
    return _layer_norm(p, "ln2", residual) @ p["W_U"]


def _layer_norm(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" not in p:
        return x
    return functional.layer_norm(x, (WIDTH,)) * p[f"{name}.weight"][:, None] + p[f"{name}.bias"][:, None]


def losses(p: dict[str, Tensor], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(S,) mean cross-entropy and accuracy of S networks on (S, N) pairs."""
    hot = [functional.one_hot(x, MODULUS).to(torch.float32) for x in (a, b)]
    out = logits(p, *hot)
    target = (a + b) % MODULUS
    each = functional.cross_entropy(out.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
    return each.mean(dim=1), (out.argmax(dim=2) == target).float().mean(dim=1)


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train networks of one condition together."""
    torch.set_num_threads(1)
    condition = str(runs[0].attributes["condition"])
    batch, last, every = CONDITIONS[condition]
    networks = [initial(run.seed, layer_norm=condition == "stabilised") for run in runs]
    p = {name: torch.stack([one[name] for one in networks]).requires_grad_() for name in networks[0]}
    # The fused optimizer is the same arithmetic in one pass.
    optimizer = torch.optim.AdamW(p.values(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    draws = [torch.Generator().manual_seed(10_000 + run.seed) for run in runs]
    pairs = torch.stack([torch.randperm(MODULUS**2, generator=draw) for draw in draws])
    a, b = pairs // MODULUS, pairs % MODULUS
    order, position = torch.arange(TRAIN).expand(len(runs), -1), 0

    def log(step: int, before: dict[str, Tensor] | None) -> None:
        with torch.no_grad():
            train_loss, train_accuracy = losses(p, a[:, :TRAIN], b[:, :TRAIN])
            eval_loss, eval_accuracy = losses(p, a[:, TRAIN:], b[:, TRAIN:])
        for i, logger in enumerate(loggers):
            now = {name: tensor[i] for name, tensor in p.items()}
            row = weight_metrics(now)
            if before is not None:
                row |= gradient_metrics([tensor.grad[i] for tensor in p.values()])
                row["update_norm"] = update_metrics({n: t[i] for n, t in before.items()}, now)["update_norm"]
            row |= {"train_loss": train_loss[i], "train_accuracy": train_accuracy[i]}
            logger.log(step, row, eval_loss=eval_loss[i], eval_accuracy=eval_accuracy[i])

    log(0, None)
    for step in range(1, min(steps, last) + 1):
        if batch < TRAIN and position == 0:
            order = torch.stack([torch.randperm(TRAIN, generator=draw) for draw in draws])
        chosen = order[:, position : position + batch]
        position = position + batch if position + batch < TRAIN else 0
        loss, _ = losses(p, a.gather(1, chosen), b.gather(1, chosen))
        optimizer.zero_grad()
        loss.sum().backward()
        logged = step % every == 0
        before = {name: tensor.detach().clone() for name, tensor in p.items()} if logged else None
        optimizer.step()
        if logged:
            log(step, before)


if __name__ == "__main__":
    generate(
        __doc__,
        RUNS,
        train,
        steps=max(last for _, last, _ in CONDITIONS.values()),
        output=Path(__file__).parent / "runs.parquet",
        together=TOGETHER,
    )
