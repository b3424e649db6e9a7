"""Stochastic gradient descent on models that can be solved, at every setting of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import Seed
from trajhmm.cli.output.terminal import counted, progress_bar, say
from trajhmm.cli.simulate.files import Output, Runs, Truth, simulated, write_truth

if TYPE_CHECKING:
    import pandas as pd

    from trajhmm.simulate import Sweep


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Numbers that were separated by commas: a list to typer would be an option that is repeated."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in self.values)


def listed(text: str | Numbers) -> Numbers:
    """Numbers separated by commas, each once; typer hands over defaults as they are."""
    if isinstance(text, Numbers):
        return text
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise typer.BadParameter(f"{text!r}: expected numbers separated by commas, such as 0.1,0.3")
    if len(set(values)) < len(values):
        raise typer.BadParameter(f"{text!r}: a number is there twice; name each once")
    return Numbers(values=values)


def positive(text: str | Numbers) -> Numbers:
    """The same, all above 0."""
    numbers = listed(text)
    if min(numbers.values) <= 0.0:
        raise typer.BadParameter(f"{text!s}: expected numbers above 0")
    return numbers


def not_negative(text: str | Numbers) -> Numbers:
    """The same, all 0 or more."""
    numbers = listed(text)
    if min(numbers.values) < 0.0:
        raise typer.BadParameter(f"{text!s}: expected numbers, 0 or more")
    return numbers


def shares(text: str | Numbers) -> Numbers:
    """The same, all from 0 to 1."""
    numbers = listed(text)
    if min(numbers.values) < 0.0 or max(numbers.values) > 1.0:
        raise typer.BadParameter(f"{text!s}: expected numbers from 0 to 1")
    return numbers


Steps = Annotated[int, typer.Option("--steps", min=1, help="Steps of each run, such as 2000.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Steps from one row to the next, such as 20.")]
LearningRates = Annotated[
    Numbers,
    typer.Option("--learning-rates", metavar="LIST", parser=positive, help="Learning rates, such as 0.3,1,2,3."),
]


def rank_one(
    output: Output,
    truth: Truth = None,
    learning_rates: LearningRates = Numbers(values=(0.3, 1.0, 2.0, 3.0)),
    runs: Runs = 200,
    steps: Steps = 2000,
    every: Every = 1,
    seed: Seed = 0,
) -> None:
    """Simulate descent whose distance is multiplied by 1 - (learning rate) x² at each step, x standard normal.

    It converges in probability up to a learning rate of 2.42, and its second moment up to 2/3 only.

    Example: trajhmm simulate rank-one --learning-rates 0.3,1,2,3 --runs 200 --steps 2000 -o logs.parquet
    """
    from trajhmm.simulate.rank_one import rank_one_pieces

    _check(every, steps)
    pieces = simulated(
        rank_one_pieces, learning_rates=learning_rates.values, n_runs=runs, n_steps=steps, every=every, seed=seed
    )
    _write(pieces, runs * len(learning_rates.values), output, truth)


def scalar_net(
    output: Output,
    truth: Truth = None,
    mu: Annotated[
        Numbers,
        typer.Option("--mu", metavar="LIST", parser=shares, help="Share of signal in the labels, such as 0.1,1."),
    ] = Numbers(values=(0.1,)),
    learning_rates: LearningRates = Numbers(values=(0.01, 0.05, 0.2, 0.5)),
    runs: Runs = 100,
    steps: Steps = 5000,
    every: Every = 1,
    seed: Seed = 0,
) -> None:
    """Simulate a net of two scalar weights near its saddle: it learns, collapses or diverges with the learning rate.

    Example: trajhmm simulate scalar-net --mu 0.1 --learning-rates 0.01,0.05,0.2,0.5 --runs 100 -o logs.parquet
    """
    from trajhmm.simulate.scalar_net import scalar_net_pieces

    _check(every, steps)
    pieces = simulated(
        scalar_net_pieces,
        mus=mu.values,
        learning_rates=learning_rates.values,
        n_runs=runs,
        n_steps=steps,
        every=every,
        seed=seed,
    )
    _write(pieces, runs * len(mu.values) * len(learning_rates.values), output, truth)


def two_valley(
    output: Output,
    truth: Truth = None,
    eta: Annotated[
        Numbers, typer.Option("--eta", metavar="LIST", parser=positive, help="Learning rates, such as 0.01,0.1.")
    ] = Numbers(values=(0.01,)),
    sigma: Annotated[
        Numbers,
        typer.Option("--sigma", metavar="LIST", parser=not_negative, help="Strengths of the noise, such as 0.01,0.1."),
    ] = Numbers(values=(0.01,)),
    runs: Runs = 2000,
    steps: Steps = 20_000,
    every: Every = 20,
    seed: Seed = 0,
) -> None:
    """Simulate noisy descent between a flat and a sharp valley; truth says in which it freezes, and when.

    Example: trajhmm simulate two-valley --eta 0.01,0.1 --sigma 0.01,0.1 -o logs.parquet --truth truth.csv
    """
    from trajhmm.simulate.two_valley import two_valley_pieces

    _check(every, steps)
    pieces = simulated(
        two_valley_pieces, etas=eta.values, sigmas=sigma.values, n_runs=runs, n_steps=steps, every=every, seed=seed
    )
    table = _write(pieces, runs * len(eta.values) * len(sigma.values), output, truth)
    flat, hopped = (table["valley"] == "flat").sum(), (table["freezing_step"] > 0).sum()
    say(f"{counted(int(flat), 'run')} of {len(table):,} end in the flat valley; {int(hopped):,} changed valleys at all")


def _check(every: int, steps: int) -> None:
    if every > steps:
        raise typer.BadParameter(f"{every}: expected no more than --steps {steps}", param_hint="'--every'")


def _write(pieces: Iterator[Sweep], n_runs: int, output: Path, truth: Path | None) -> pd.DataFrame:
    """Write piece by piece, as a grid may be larger than memory; what is true of all ``n_runs``."""
    from trajhmm.simulate.sweep import write_pieces

    rows = done = 0
    with progress_bar("simulating") as progress:

        def followed() -> Iterator[Sweep]:
            nonlocal rows, done
            for piece in pieces:
                rows += piece.logs.n_rows
                done += piece.logs.n_runs
                yield piece
                if progress is not None:
                    progress(done, n_runs)

        table = write_pieces(followed(), output)
    say(f"{output}: {len(table):,} runs, {rows:,} rows")
    if truth is not None:
        write_truth(table, truth)
        say(f"{truth}: {', '.join(table.columns[1:])} of each run")
    return table
