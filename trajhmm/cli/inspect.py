"""``trajhmm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trajhmm.cli.options.common import Logs, Reading, Rename, RunBy, Step, TableName, Where
from trajhmm.cli.output.terminal import counted, echo, echo_json
from trajhmm.naming import shown

_MOST_NOTES = _MOST_PROBLEMS = 40
_MOST_TEXTS = 3
_LONGEST_NAME = 80
_FILES_NAMED = 2


def inspect(
    logs: Logs,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Say what is in the logs: runs, steps, metrics, gaps, resumes, non-finite values.

    Example: trajhmm inspect logs/ --run-by seed
    """
    from trajhmm.logs.inspect import PROBLEMS, describe

    described = describe(Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs))
    if as_json:
        echo_json(described)
        return
    echo(
        f"{counted(described['n_runs'], 'run')}, {counted(described['n_rows'], 'row')}, "
        f"steps {described['first_step']:,} to {described['last_step']:,}"
    )
    if described["files"]:
        echo(f"read as {_formats(described['files'])}")
    _say_problems(described["problems"])
    echo()
    _table(
        ("run", "rows", "first step", "last step", "gaps", "resumes", "non-finite"),
        [
            (
                r["run"],
                f"{r['rows']:,}",
                f"{r['first_step']:,}",
                f"{r['last_step']:,}",
                r["gaps"],
                r["resumes"],
                r["non_finite"],
            )
            for r in described["runs"]
        ],
    )
    echo()
    _table(
        ("metric", "logged", "non-finite", "min", "max"),
        [
            (m["metric"], f"{m['logged']:.1%}", m["non_finite"], _number(m["min"]), _number(m["max"]))
            for m in described["metrics"]
        ],
    )
    notes = [note for note in described["notes"] if note["kind"] not in PROBLEMS]
    if notes:
        echo()
        echo("notes")
    for note in notes[:_MOST_NOTES]:
        echo(f"  {note['kind']}: {'' if note['run'] is None else 'run ' + note['run'] + ': '}{note['text']}")
    if len(notes) > _MOST_NOTES:
        echo(f"  and {len(notes) - _MOST_NOTES} more; --json has all")


def _formats(files: list[dict[str, str]]) -> str:
    """Which files were taken for what, the names where they are few."""
    by_format: dict[str, list[str]] = {}
    for file in files:
        by_format.setdefault(file["format"], []).append(Path(file["path"]).name)
    return "; ".join(
        f"{found} ({', '.join(names)})"
        if len(names) <= _FILES_NAMED
        else f"{found} ({len(names)} files: {', '.join(names[:_FILES_NAMED])}, …)"
        for found, names in by_format.items()
    )


def _say_problems(problems: list[dict[str, Any]]) -> None:
    """What may be wrong, a line a run."""
    if problems:
        echo()
        echo("problems")
    lines = []
    for problem in problems:
        texts = problem["texts"]
        if problem["run"] is None:
            lines += texts
        else:
            more = f"; and {len(texts) - _MOST_TEXTS} more" if len(texts) > _MOST_TEXTS else ""
            lines.append(f"run {problem['run']}: {'; '.join(texts[:_MOST_TEXTS])}{more}")
    for line in lines[:_MOST_PROBLEMS]:
        echo(f"  {line}")
    if len(lines) > _MOST_PROBLEMS:
        echo(f"  and {len(lines) - _MOST_PROBLEMS} more; --json has all")


def _short(name: str) -> str:
    """Both ends of a name that would push all else off the screen."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Columns as wide as their widest cell; the first is a name, the others are numbers."""
    cells = [header, *(tuple(_short(shown(cell)) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        echo("  ".join([row[0].ljust(widths[0]), *numbers]).rstrip())
