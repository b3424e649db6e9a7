"""Train a small language model of characters on licence texts, perturb it in four ways, and log its metrics.

A perturbation audit as in ``data/audits.py``: a transformer reads the licences that come with Debian, a character at a
time, and something goes wrong from a random step on. Run from anywhere::

    python data/audit_lm/generate.py
    python data/audit_lm/generate.py --arm sweep
    python data/audit_lm/generate.py --seeds 1 --steps 50 -o check.parquet

The texts are those of Debian 12 and 13. Elsewhere, put them into a folder and name it in ``AUDIT_LM_TEXTS``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional

from audits import amount, audit_runs
from common import Arm, Run, generate
from sweeps import Grid, batch_size_at, configuration, happens, rate_at, sweep_runs
from trajhmm.metrics import RunLogger, gradient_metrics, snapshot, update_metrics, weight_metrics

FOLDER = Path(os.environ.get("AUDIT_LM_TEXTS", "/usr/share/common-licenses"))
TEXTS = {  # SHA-256, as in base-files 12.4 (Debian 12) and 13.8 (Debian 13)
    "Apache-2.0": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "CC0-1.0": "a2010f343487d3f7618affe54f789f5487602331c0a8d03f49e9a7c547cf0499",
    "GFDL-1.3": "110535522396708cea37c72a802c5e7e81391139f5f7985631c93ef242b206a4",
    "GPL-3": "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986",
    "LGPL-3": "e3a994d82e644b03a792a930f574002658412f62407f5fee083f2555c5f23118",
    "MPL-1.1": "f849fc26a7a99981611a3a370e83078deb617d12a45776d6c4cada4d338be469",
    "MPL-2.0": "fab3dd6bdab226f1c08630b1dd917e11fcb4ec5e1e020e2c16f83a0a13863e85",
}
BLOCK, HELD_OUT = 1_000, 10  # characters; of so many blocks one is held out
CONTEXT, WIDTH, HEADS, LAYERS = 32, 32, 4, 2
BATCH, EVAL_WINDOWS = 16, 32
LEARNING_RATE, BETAS, WEIGHT_DECAY, WARM_UP = 1e-2, (0.9, 0.999), 0.01, 60
DROPOUT = 0.1
STEPS, EVERY = 1_280, 4
ONSET, RAMP = (400, 640), 240
STRENGTHS = {
    "optimization": (8, 13, 24),  # the learning rate is multiplied by 1 + this
    "environment": (0.35, 0.7, 0.97),  # share of the characters read that are replaced by random ones
    "parameters": (0.03, 0.08, 0.13),  # noise added to each matrix at each step, over its root mean square
    "learning_signal": (0.3, 0.46, 0.75),  # share of the targets that are replaced by a wrong one, always the same
}
RUNS = audit_runs(STRENGTHS, onset=ONSET, learning_rate=LEARNING_RATE, batch_size=BATCH, buffer=f"dropout {DROPOUT:g}")
# The sweep arm.
MOMENTUM, HIGH_MOMENTUM, HIGH_BETAS = 0.9, "adamw_beta1_0.98", (0.98, 0.999)
SWEEP_STEPS = 800
SPONTANEOUS = [
    ("long_warm_up", configuration("adamw", learning_rate=0.2, warm_up=900, batch_size=16, width=32)),
    ("long_warm_up", configuration("adamw", learning_rate=0.3, warm_up=1200, batch_size=16, width=32)),
    ("long_warm_up", configuration("adam", learning_rate=0.25, warm_up=1000, batch_size=16, width=40)),
    ("long_warm_up", configuration("adam", learning_rate=0.25, warm_up=900, batch_size=24, width=24)),
    ("long_warm_up", configuration("rmsprop", learning_rate=0.1, warm_up=900, batch_size=16, width=32)),
    ("long_warm_up", configuration("rmsprop", learning_rate=0.12, warm_up=900, batch_size=24, width=40)),
    ("long_warm_up", configuration("sgd", learning_rate=2, warm_up=900, batch_size=16, width=32)),
    ("high_learning_rate", configuration("adamw", learning_rate=0.13, warm_up=500, batch_size=16, width=32)),
    ("high_learning_rate", configuration("adam", learning_rate=0.14, warm_up=500, batch_size=24, width=40)),
    ("high_learning_rate", configuration("rmsprop", learning_rate=0.05, warm_up=150, batch_size=16, width=32)),
    ("high_learning_rate", configuration("sgd", learning_rate=1, warm_up=60, batch_size=16, width=32)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.16, warm_up=900, batch_size=16, width=32)),
]
SWEEP = sweep_runs(
    Grid(
        learning_rates={
            "adamw": (5e-3, 7e-3, 1e-2, 1.4e-2, 2e-2),
            "adam": (5e-3, 7e-3, 1e-2, 1.4e-2, 2e-2),
            "rmsprop": (3e-3, 4e-3, 6e-3, 8e-3, 1.2e-2),
            "sgd": (0.2, 0.3, 0.4, 0.5, 0.7),
        },
        warm_ups=(20, 60, 150),
        batch_sizes=(8, 16, 24),
        widths=(24, 32, 40),
        smallest_batch=4,
        # 11 ends at an accuracy of 0.32, little above that of pairs of characters.
        numbers=(*range(11), *range(12, 25)),
    ),
    SPONTANEOUS,
    strengths={
        "optimization": (13, 24, 40),
        "environment": (0.85, 0.97, 1),
        "parameters": (0.08, 0.13, 0.2),
        "learning_signal": (0.46, 0.75, 0.95),
    },
    onset=(220, 300),
    ramp=RAMP,
    event=(300, 500),
    every=EVERY,
)


class TextError(Exception):
    """A text to train on is missing or is not the one that the stored runs were trained on."""


@cache
def licences() -> tuple[Tensor, Tensor, int]:
    """Training text and held-out text, as numbers of characters, and how many different characters there are."""
    text = "".join(_licence(FOLDER / name, expected) for name, expected in TEXTS.items())
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    blocks = torch.tensor([number[character] for character in text]).split(BLOCK)
    kept = [block for i, block in enumerate(blocks, start=1) if i % HELD_OUT]
    held_out = [block for i, block in enumerate(blocks, start=1) if i % HELD_OUT == 0]
    return torch.cat(kept), torch.cat(held_out), len(number)


def _licence(path: Path, expected: str) -> str:
    found = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(found).hexdigest() != expected:
        what = f"is another text (SHA-256 {hashlib.sha256(found).hexdigest()})" if found else "is not there"
        raise TextError(
            f"{path} {what}; expected that of Debian 12 or 13. Install Debian's base-files, or put its "
            f"{', '.join(TEXTS)} into a folder and name that in the environment variable AUDIT_LM_TEXTS"
        )
    return found.decode("ascii")


class Block(nn.Module):
    """Attention and a perceptron, each on the normalised residual."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) residuals."""
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.down(functional.relu(self.up(self.norm2(x)))))


class LanguageModel(nn.Module):
    """A causal transformer."""

    def __init__(self, characters: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.pos_embed = nn.Parameter(torch.randn(CONTEXT, width))
        self.blocks = nn.Sequential(*(Block(width, dropout) for _ in range(LAYERS)))
        self.norm, self.unembed = nn.LayerNorm(width), nn.Linear(width, characters, bias=False)

    def forward(self, read: Tensor) -> Tensor:
        """(N, T, characters) logits of what comes after each of (N, T) characters."""
        return self.unembed(self.norm(self.blocks(self.embed(read) + self.pos_embed)))


def loss_and_accuracy(model: nn.Module, read: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats) and share of characters that are guessed right."""
    logits, target = model(read).flatten(0, 1), target.flatten()
    return functional.cross_entropy(logits, target), (logits.detach().argmax(dim=1) == target).float().mean()


def optimizer_of(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a run; in the matched arm AdamW."""
    name, parameters = run.attributes.get("optimizer", "adamw"), model.parameters()
    if name == "adam":
        return torch.optim.Adam(parameters, betas=BETAS, fused=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters)
    if name == "sgd":
        return torch.optim.SGD(parameters, momentum=MOMENTUM, fused=True)
    betas = HIGH_BETAS if name == HIGH_MOMENTUM else BETAS
    return torch.optim.AdamW(parameters, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)


def add_noise(matrices: Sequence[Tensor], size: float, draw: torch.Generator) -> None:
    """Add to each entry normal noise of so many times the matrix's root mean square."""
    with torch.no_grad():
        for matrix in matrices if size else ():
            matrix.add_(size * matrix.square().mean().sqrt() * torch.randn(matrix.shape, generator=draw))


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train one network."""
    torch.set_num_threads(1)
    (run,), (logger,) = runs, loggers
    kept, held_out, characters = licences()
    torch.manual_seed(run.seed)  # weights, then dropout
    dropout = 0.0 if run.attributes.get("buffer", "none") == "none" else DROPOUT
    model = LanguageModel(characters, int(run.attributes.get("width", WIDTH)), dropout)
    optimizer = optimizer_of(run, model)
    order = torch.Generator().manual_seed(10_000 + run.seed)
    harm = torch.Generator().manual_seed(20_000 + run.seed)
    window = torch.arange(CONTEXT + 1)
    evaluated = held_out[torch.linspace(0, len(held_out) - CONTEXT - 1, EVAL_WINDOWS).long()[:, None] + window]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]

    def log(step: int, row: dict[str, float | Tensor]) -> None:
        model.eval()
        with torch.no_grad():
            eval_loss, eval_accuracy = loss_and_accuracy(model, evaluated[:, :-1], evaluated[:, 1:])
        model.train()
        logger.log(step, weight_metrics(model, heads=HEADS), **row, eval_loss=eval_loss, eval_accuracy=eval_accuracy)

    for step in range(1, steps + 1):
        text = kept[torch.randint(len(kept) - CONTEXT, (batch_size_at(run, step), 1), generator=order) + window]
        if happens(run, "corrupt_batch", step):
            text = torch.randint(characters, text.shape, generator=harm)
        if happens(run, "resume", step):
            optimizer.state.clear()
        read, target = text[:, :-1], text[:, 1:]
        if share := amount(run, "environment", step, RAMP):
            replaced = torch.rand(read.shape, generator=harm) < share
            read = torch.where(replaced, torch.randint(characters, read.shape, generator=harm), read)
        if share := amount(run, "learning_signal", step, RAMP):
            wrong = torch.rand(target.shape, generator=harm) < share
            target = torch.where(wrong, (target + 1) % characters, target)
        add_noise(matrices, amount(run, "parameters", step, RAMP), harm)
        faster = 1 + amount(run, "optimization", step, RAMP)
        optimizer.param_groups[0]["lr"] = rate_at(run, step, warm_up=WARM_UP) * faster
        train_loss, train_accuracy = loss_and_accuracy(model, read, target)
        optimizer.zero_grad()
        train_loss.backward()
        logged = step % EVERY == 0
        before = snapshot(model) if logged else {}
        optimizer.step()
        if logged:
            row = gradient_metrics(model) | {"update_norm": update_metrics(before, model)["update_norm"]}
            log(step, row | {"train_loss": train_loss.detach(), "train_accuracy": train_accuracy})


if __name__ == "__main__":
    try:
        generate(
            __doc__,
            RUNS,
            train,
            steps=STEPS,
            output=Path(__file__).parent / "runs.parquet",
            arms={"sweep": Arm(runs=SWEEP, steps=SWEEP_STEPS)},
        )
    except TextError as error:
        sys.exit(str(error))
