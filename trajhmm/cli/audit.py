"""``trajhmm audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import (
    ALL_CORES,
    Jobs,
    Logs,
    Reading,
    Rename,
    RunBy,
    Seed,
    Step,
    TableName,
    Where,
    say_left_out,
    split,
    states_of,
    usage_errors,
)
from trajhmm.cli.options.paths import FOLDER
from trajhmm.cli.options.truth import Sustained
from trajhmm.cli.output.terminal import echo_lines, progress_bar, say, say_notes
from trajhmm.files import together

if TYPE_CHECKING:
    from trajhmm.dynamics.stability.audit import Audit


def audit(
    logs: Logs,
    performance: Annotated[
        str, typer.Option("--performance", metavar="METRIC", help="Performance; more is better, unless it is a loss.")
    ],
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="CONDITION", help="Healthy runs: 'condition == \"baseline\"'.")
    ],
    collapse: Annotated[
        str, typer.Option("--collapse", metavar="CONDITION", help="Collapse, such as 'eval_accuracy < 0.5'.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures."), FOLDER
    ],
    dimension: Annotated[
        str, typer.Option("--dimension", metavar="COLUMN", help="Column that says what was perturbed.")
    ] = "dimension",
    strength: Annotated[
        str, typer.Option("--strength", metavar="COLUMN", help="Column that says how much.")
    ] = "strength",
    onset: Annotated[
        str, typer.Option("--onset", metavar="COLUMN", help="Column of the step at which it began; -1 in healthy runs.")
    ] = "onset",
    pair_by: Annotated[
        list[str] | None,
        typer.Option("--pair-by", metavar="COLUMN", help="What a run shares with its baseline; by default seed."),
    ] = None,
    buffer: Annotated[
        str | None,
        typer.Option(
            "--buffer", metavar="COLUMN", help="What buffers, 'none' in plain runs; by default buffer, if there."
        ),
    ] = None,
    sustained: Sustained = 5,
    mads: Annotated[
        float, typer.Option("--mads", metavar="K", help="Recovered: within K MAD of the level before the onset.")
    ] = 5.0,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME",
            help="Metrics of the map, by default all but performance and its kind; repeat or separate by commas.",
        ),
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(
            "--states",
            metavar="K|A:B",
            help="Number of states of the map, or those to choose from; by default 2:6.",
        ),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = ALL_CORES,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Audit stability: what perturbations collapse training, how soon it recovers, and three claims put to the test.

    Example: trajhmm audit logs/ --performance eval_accuracy --baseline 'condition == "baseline"' --collapse
    'eval_accuracy < 0.5' -o audit/
    """
    from trajhmm.dynamics.stability.audit import Columns
    from trajhmm.dynamics.stability.audit import audit as audited
    from trajhmm.dynamics.stability.audit.deviation import STATES
    from trajhmm.dynamics.stability.audit.files import write_audit
    from trajhmm.logs import parse_condition

    tried = states_of(states) or STATES
    with usage_errors():
        for condition in (baseline, collapse):
            parse_condition(condition)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    say_notes(runs.notes)
    columns = Columns(
        dimension=dimension, strength=strength, onset=onset, pair_by=tuple(split(pair_by)) or ("seed",), buffer=buffer
    )
    with usage_errors(), progress_bar("map of the baselines") as progress:
        found = audited(
            runs,
            performance=performance,
            baseline=baseline,
            collapse=collapse,
            columns=columns,
            sustained=sustained,
            mads=mads,
            metrics=split(metrics) or None,
            states=tried,
            seed=seed,
            jobs=jobs,
            progress=progress,
        )
    with together():
        written = write_audit(found, output) + write_figures(found, output)
    echo_lines((output / "summary.txt").read_text(encoding="utf-8"))
    say_left_out(runs.notes)
    say(f"{output}: {', '.join(path.name for path in written)}")


def write_figures(found: Audit, folder: Path) -> list[Path]:
    """Draw the stability profile, as PDF and PNG."""
    from trajhmm import figures

    written = [folder / f"profile{suffix}" for suffix in (".pdf", ".png")]
    with figures.print_style():
        axes = figures.plot_stability_profile(found.profile)
        for path in written:
            figures.save_figure(axes[0], path)
    return written
