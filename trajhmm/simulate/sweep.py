"""Runs of a solvable model at every setting of a grid: their names, their random numbers, and pieces of their logs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.files import BLANKS_ARE_BLANK, replacing
from trajhmm.logs import RunSet
from trajhmm.naming import natural_key

if TYPE_CHECKING:
    import pandas as pd

# Rows that are simulated and written at a time: some 100 MB, strings and all.
_ROWS_AT_ONCE = 1 << 19


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Simulated logs of R runs over a grid of settings, with what is true of each run.

    Attributes
    ----------
    logs : the run logs; attributes are the settings. The names of runs count those of one setting.
    truth : one row a run, in the order of the logs; which columns, the simulation says.
    """

    logs: RunSet
    truth: pd.DataFrame

    def truth_table(self) -> pd.DataFrame:
        """One row a run: ``run``, and what is true of it."""
        return self.truth.copy()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a grid.

    Attributes
    ----------
    name : that its runs' names begin with.
    number : of the setting in the order asked for; with the seed it decides on the random numbers.
    settings : their values by name.
    """

    name: str
    number: int
    settings: Mapping[str, float]

    def generator(self, seed: int, run: int) -> np.random.Generator:
        """The random numbers of one run of the setting of this number: the same whatever its steps, or other runs."""
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(self.number, run)))


Simulation = Callable[[Cell, int, np.random.Generator, NDArray[np.float64]], Mapping[str, Any]]
"""Fills the (T, D) rows of one run of a setting, and returns what is true of it by the name of the column."""


def grid(**values: Sequence[float]) -> list[Cell]:
    """Every combination of the values of settings, in the natural order of their runs' names.

    Raises
    ------
    ValueError
        A setting has no value, or one twice.
    """
    names = {setting: _names(setting, listed) for setting, listed in values.items()}
    cells = []
    for number, chosen in enumerate(itertools.product(*(range(len(listed)) for listed in values.values()))):
        places = dict(zip(values, chosen, strict=True))
        cells.append(
            Cell(
                name="_".join(f"{setting}_{names[setting][place]}" for setting, place in places.items()),
                number=number,
                settings={setting: float(values[setting][place]) for setting, place in places.items()},
            )
        )
    return sorted(cells, key=lambda cell: natural_key(_run_names(cell, range(1), 1)[0]))


def in_range(name: str, values: Sequence[float], *, above: float = -np.inf, low: float = -np.inf, high: float) -> None:
    """Raise ValueError unless all values of a setting lie above ``above``, and from ``low`` to ``high``."""
    for value in values:
        if not (value > above and low <= value <= high and np.isfinite(value)):
            least = f"above {above:g}" if np.isfinite(above) else f"from {low:g}"
            most = f" to {high:g}" if np.isfinite(high) else ""
            raise ValueError(f"{name} = {value:g}: expected numbers {least}{most}")


def logged_steps(n_runs: int, n_steps: int, every: int) -> NDArray[np.int64]:
    """(T,) int64: 0, ``every``, 2 ``every``, … up to ``n_steps``.

    Raises
    ------
    ValueError
        There are no runs or steps, or fewer than two rows.
    """
    for name, count in {"n_runs": n_runs, "n_steps": n_steps}.items():
        if count < 1:
            raise ValueError(f"{name} = {count}: expected 1 or more")
    if not 1 <= every <= n_steps:
        raise ValueError(f"every = {every}: expected 1 to n_steps = {n_steps}")
    return np.arange(0, n_steps + 1, every, dtype=np.int64)


def pieces(
    cells: Iterable[Cell],
    simulate: Simulation,
    *,
    n_runs: int,
    steps: NDArray[np.int64],
    metrics: tuple[str, ...],
    seed: int,
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Iterator[Sweep]:
    """Simulate, some runs at a time.

    Parameters
    ----------
    cells : the settings.
    simulate : one run.
    n_runs : of each setting.
    steps : (T,) at which rows are logged.
    metrics : D names.
    seed : of everything.
    rows_at_once : of a piece, or one run where that has more.
    """
    at_once = max(1, rows_at_once // len(steps))
    for cell in cells:
        for first in range(0, n_runs, at_once):
            seeds = range(first, min(first + at_once, n_runs))
            values = np.empty((len(seeds), len(steps), len(metrics)))
            truth = [
                simulate(cell, run, cell.generator(seed, run), rows) for run, rows in zip(seeds, values, strict=True)
            ]
            yield _piece(cell, seeds, n_runs, steps, metrics, values, truth)


def joined(pieces: Iterable[Sweep]) -> Sweep:
    """The pieces as one."""
    import pandas as pd

    parts = list(pieces)
    logs = [part.logs for part in parts]
    return Sweep(
        logs=RunSet(
            runs=tuple(run for one in logs for run in one.runs),
            lengths=np.concatenate([one.lengths for one in logs]),
            steps=np.concatenate([one.steps for one in logs]),
            values=np.concatenate([one.values for one in logs]),
            logged=np.concatenate([one.logged for one in logs]),
            metrics=logs[0].metrics,
            attributes=pd.concat([one.attributes for one in logs]),
        ),
        truth=pd.concat([part.truth for part in parts], ignore_index=True),
    )


def write_pieces(pieces: Iterable[Sweep], path: str | Path) -> pd.DataFrame:
    """Write the logs of the pieces, as they come, as one Parquet run log, whole or not at all.

    Returns
    -------
    The truth of all of them.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    truth = []
    with replacing(path) as temporary:
        writer = None
        try:
            for piece in pieces:
                table = _arrow(piece.logs)
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
                truth.append(piece.truth)
        finally:
            if writer is not None:
                writer.close()
    return pd.concat(truth, ignore_index=True)


def _names(setting: str, values: Sequence[float]) -> list[str]:
    """Values as names tell them, in four digits where that tells them apart."""
    if len(set(values)) < max(len(values), 1):
        listed = ", ".join(f"{value:g}" for value in values) or "none"
        raise ValueError(f"{setting}: expected one value or more, each once, found {listed}")
    short = [f"{value:.4g}" for value in values]
    return short if len(set(short)) == len(values) else [repr(float(value)) for value in values]


def _run_names(cell: Cell, seeds: range, n_runs: int) -> tuple[str, ...]:
    width = len(str(n_runs - 1))
    return tuple(f"{cell.name}_seed_{seed:0{width}d}" for seed in seeds)


def _piece(
    cell: Cell,
    seeds: range,
    n_runs: int,
    steps: NDArray[np.int64],
    metrics: tuple[str, ...],
    values: NDArray[np.float64],
    truth: list[Mapping[str, Any]],
) -> Sweep:
    import pandas as pd

    runs = _run_names(cell, seeds, n_runs)
    block = values.reshape(-1, len(metrics))
    attributes = pd.DataFrame(dict(cell.settings), index=pd.Index(runs, name="run"))
    return Sweep(
        logs=RunSet(
            runs=runs,
            lengths=np.full(len(runs), len(steps), dtype=np.int64),
            steps=np.tile(steps, len(runs)),
            values=block,
            logged=np.ones(block.shape, dtype=bool),
            metrics=metrics,
            attributes=attributes,
        ),
        truth=pd.concat([pd.DataFrame({"run": runs}), pd.DataFrame(truth)], axis=1),
    )


def _arrow(logs: RunSet) -> Any:
    """The logs as an Arrow table in which attributes and names are counted, not repeated."""
    import pyarrow as pa

    run = np.repeat(np.arange(logs.n_runs, dtype=np.int32), logs.lengths)
    columns = {"run": pa.array(logs.runs).take(pa.array(run)), "step": pa.array(logs.steps)}
    for name in logs.attributes.columns:
        columns[name] = pa.array(logs.attributes[name].to_numpy()[run])
    for index, metric in enumerate(logs.metrics):
        columns[metric] = pa.array(logs.values[:, index])
    return pa.table(columns).replace_schema_metadata(BLANKS_ARE_BLANK)
