"""``trajhmm collect``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options.paths import GROWING_LOG, READS
from trajhmm.cli.output.terminal import progress_bar, say
from trajhmm.files import reads

_MOST_NAMED = 4


def collect(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINTS", help="Files or folders: safetensors, PyTorch state dicts, numpy archives."
        ),
        READS,
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="LOGS.parquet", help="Run log to write or add to."), GROWING_LOG
    ],
    heads: Annotated[
        str | None,
        typer.Option(
            "--heads", metavar="N|N,M", help="Attention heads, or query and key-value heads; else config.json."
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            metavar="PATTERN=ROLE",
            help="What parameters count as: matrix, heads, fused_heads, kernels, bias, skip; repeatable.",
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Add weight_l2/LAYER for each weight.")] = False,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", metavar="REGEX", help="Where a path names (?P<step>…), (?P<run>…), (?P<seed>…)."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Checkpoints measured side by side; as many are in memory at once.")
    ] = 1,
) -> None:
    """Compute the weight metrics of saved checkpoints: one run log, one row a checkpoint; goes on where it stopped.

    Run and step are read off paths such as seed_3/step_1000.pt, out/checkpoint-1000/ or epoch=3-step=300.ckpt.

    Example: trajhmm collect checkpoints/ -o logs.parquet --heads 12
    """
    split_in, roles = _heads(heads), _roles(role or [])
    from trajhmm.metrics.checkpoints import CollectError, find_checkpoints
    from trajhmm.metrics.checkpoints import collect as collect_metrics
    from trajhmm.metrics.checkpoints.names import naming_pattern

    if pattern is not None:
        try:
            naming_pattern(pattern)
        except ValueError as error:
            raise typer.BadParameter(f"--pattern {error}") from error
    found = find_checkpoints(checkpoints, pattern=pattern)
    reads(file for checkpoint in found.checkpoints for file in checkpoint.files)
    for note in found.notes:
        say(f"note: {note}")
    runs = list(dict.fromkeys(checkpoint.run for checkpoint in found.checkpoints))
    steps = [checkpoint.step for checkpoint in found.checkpoints]
    unit = "epochs" if found.checkpoints[0].epochs else "steps"
    named = ", ".join(runs[:_MOST_NAMED]) + (", …" if len(runs) > _MOST_NAMED else "")
    say(f"{len(steps):,} checkpoints of {len(runs):,} runs ({named}), {unit} {min(steps):,} to {max(steps):,}")
    failed = None
    with progress_bar("collecting") as progress:
        try:
            collected = collect_metrics(
                found.checkpoints,
                output,
                heads=split_in,
                roles=roles,
                layers=layers,
                jobs=jobs,
                progress=progress,
                remark=lambda note: say(f"note: {note}"),
            )
        except CollectError as error:
            failed, collected = error, error.collected
    if collected.rows:
        also = f", {collected.others} of other checkpoints" if collected.others else ""
        say(
            f"{output}: {collected.runs:,} runs, {collected.rows:,} rows, {collected.metrics:,} metrics "
            f"({collected.new} collected now, {collected.kept} there already{also})"
        )
    if failed is not None:
        raise failed


def _heads(heads: str | None) -> int | tuple[int, int] | None:
    if heads is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)(?:,([1-9]\d*))?", heads.replace(" ", ""))
    if match is None:
        raise typer.BadParameter(f"--heads {heads!r}: expected a number such as 12, or query and key-value heads: 32,8")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _roles(given: list[str]) -> dict[str, str]:
    from trajhmm.metrics.roles import ROLES

    roles = {}
    for text in given:
        name, equals, role = text.rpartition("=")
        if not equals or not name or role not in ROLES:
            raise typer.BadParameter(f"--role {text!r}: expected PATTERN=ROLE, a role of {', '.join(ROLES)}")
        roles[name] = role
    return roles
