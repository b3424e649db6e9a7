"""What the generators share: their command line, processes, resuming, and the file that they write.

A generator names its runs and trains a group of them at a time, logging each with a `RunLogger`; the rest is here.
Training happens in separate processes of one thread each, so that a run's numbers do not depend on how many run beside
it. Runs that are finished are kept in a hidden folder beside the output until all are, so that an interrupted generator
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.files import BLANKS_ARE_BLANK, replacing
from trajhmm.metrics import RunLogger

_STEPS = b"steps"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its name and its attributes, ``seed`` among them."""

    name: str
    seed: int
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A further set that a generator makes: its runs, and for how many steps they are trained."""

    runs: Sequence[Run]
    steps: int


# Trains the runs of one group for so many steps, the i-th logging to the i-th logger.
Train = Callable[[Sequence[Run], int, Sequence[RunLogger]], None]


def generate(
    description: str,
    runs: Sequence[Run],
    train: Train,
    *,
    steps: int,
    output: Path,
    arms: Mapping[str, Arm] | None = None,
    together: int = 1,
    digits: int = 16,
) -> None:
    """Train what is missing and write the log: the ``main`` of a generator.

    Parameters
    ----------
    description : for ``--help``; its first line is shown.
    runs : all runs of the set, in the order of the file.
    arms : further sets that ``train`` can make, each written into a folder of its name, ``sweeps/audit_lm.parquet``.
    train : must not depend on the number of steps but by ending there, so that fewer steps give a prefix.
    steps : of training in the stored set.
    output : the stored set.
    together : runs trained as one batched computation.
    digits : binary digits that are stored, at most the 24 of single precision; fewer compress better, and 16 keep
        the relative error below 2e-5.
    """
    parser = argparse.ArgumentParser(description=description.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, help="number of seeds of each condition, from its first on; else all")
    sets = {output.stem: Arm(runs=runs, steps=steps), **(arms or {})}
    stored_steps = ", ".join(f"{arm.steps} in {name}" for name, arm in sets.items())
    parser.add_argument("--steps", type=int, help=f"steps of training for each; else as stored: {stored_steps}")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--arm", choices=list(sets), default=output.stem, help="which set (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help=f"ARM.parquet in {output.parent}")
    asked = parser.parse_args()
    if asked.output is None:
        # A further set has a folder apart: whoever reads the folder of the first gets that alone.
        apart = output.parents[1] / f"{asked.arm}s" / f"{output.parent.name}.parquet"
        asked.output = output if asked.arm == output.stem else apart
    asked.steps = asked.steps or sets[asked.arm].steps
    runs = sets[asked.arm].runs

    wanted = first_seeds(runs, asked.seeds)
    work = asked.output.parent / f".runs.{asked.output.stem}.{asked.steps}"
    stored = _stored(asked.output, asked.steps)
    missing = [run for run in wanted if run.name not in stored and not _finished(work, run)]
    groups = [group for _, alike in groupby(missing, key=_condition) for group in _batched(alike, together)]
    for library in ("OPENBLAS", "OMP", "MKL"):  # what the processes inherit before they import numpy
        os.environ[f"{library}_NUM_THREADS"] = "1"
    began, done = time.monotonic(), len(wanted) - len(missing)
    with ProcessPoolExecutor(asked.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_train_group, train, group, asked.steps, work): group for group in groups}
        for future in as_completed(futures):
            future.result()
            done += len(futures[future])
            print(f"{done} of {len(wanted)} runs, {time.monotonic() - began:.0f} s", flush=True)
    if missing:
        names = {run.name for run in wanted} | stored.keys()  # what stands in the file stays
        _write(asked.output, [run for run in runs if run.name in names], stored, work, asked.steps, digits)
    shutil.rmtree(work, ignore_errors=True)


def first_seeds(runs: Sequence[Run], seeds: int | None) -> list[Run]:
    """The runs of the first ``seeds`` seeds of each condition (attributes alike but for seed and onset)."""
    if seeds is None:
        return list(runs)
    taken: dict[tuple[object, ...], int] = {}
    chosen = []
    for run in runs:
        key = _condition(run)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= seeds:
            chosen.append(run)
    return chosen


def _condition(run: Run) -> tuple[object, ...]:
    return tuple(value for name, value in run.attributes.items() if name != "onset")


def _batched(runs: Iterable[Run], size: int) -> Iterator[list[Run]]:
    rest = iter(runs)
    while group := list(islice(rest, size)):
        yield group


def _train_group(train: Train, group: Sequence[Run], steps: int, work: Path) -> None:
    for run in group:
        shutil.rmtree(work / run.name, ignore_errors=True)
    loggers = [
        RunLogger(work, run.name, attributes={"seed": run.seed, **run.attributes}, rows=100_000, seconds=1e9)
        for run in group
    ]
    train(group, steps, loggers)
    for logger in loggers:
        logger.close()
        (logger.folder / ".finished").touch()


def _finished(work: Path, run: Run) -> bool:
    return (work / run.name / ".finished").exists()


def _stored(output: Path, steps: int) -> dict[str, pa.Table]:
    """The runs that the output already holds, trained for as many steps."""
    if not output.exists():
        return {}
    table = pq.read_table(output)
    if (table.schema.metadata or {}).get(_STEPS) != str(steps).encode():
        return {}
    names = np.asarray(table["run"])
    return {str(name): table.filter(pa.array(names == name)) for name in dict.fromkeys(names)}


def _write(
    output: Path, runs: Sequence[Run], stored: Mapping[str, pa.Table], work: Path, steps: int, digits: int
) -> None:
    """Write all runs into one file, metrics in single precision."""
    tables = [
        stored[run.name] if run.name in stored else pq.read_table(work / run.name, partitioning=None) for run in runs
    ]
    attributes = ["seed", *runs[0].attributes]
    single = [_with_attributes(_single(table, digits), run) for table, run in zip(tables, runs, strict=True)]
    table = pa.concat_tables(single, promote_options="default")
    metrics = [name for name in table.column_names if name not in {"run", "step", *attributes}]
    table = table.select(["run", "step", *attributes, *metrics])
    table = table.replace_schema_metadata(BLANKS_ARE_BLANK | {_STEPS: str(steps).encode()})
    with replacing(output) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=["run", *attributes],
            column_encoding=dict.fromkeys(metrics, "BYTE_STREAM_SPLIT"),
        )


def _with_attributes(table: pa.Table, run: Run) -> pa.Table:
    """The rows of a run with its attributes exact, so that ``strength == 0.2`` finds them."""
    for name, value in {"seed": run.seed, **run.attributes}.items():
        table = table.drop_columns(name).append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table


def _single(table: pa.Table, digits: int) -> pa.Table:
    """Numbers that change in single precision, rounded to the digits that are kept."""
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_floating(column.type):
            blank = np.asarray(column.is_null())
            with np.errstate(over="ignore"):  # what is too large for single precision is stored as infinite
                values = np.asarray(column.fill_null(0)).astype(np.float32)
            fraction, exponent = np.frexp(values)
            rounded = np.ldexp(np.round(fraction * 2**digits) / 2**digits, exponent).astype(np.float32)
            column = pa.array(rounded, mask=blank)
        columns[name] = column
    return pa.table(columns)
