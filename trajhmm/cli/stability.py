"""``trajhmm stability``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import Logs, Reading, Rename, RunBy, Seed, Step, TableName, Where, say_left_out, split
from trajhmm.cli.options.paths import FOLDER, READS
from trajhmm.cli.output.terminal import echo_lines, say, say_notes
from trajhmm.files import together

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from trajhmm.dynamics.stability.measure import Stability


def stability(
    logs: Logs,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures."), FOLDER
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="COLUMN", help="Attributes whose values make the groups; repeat or separate by commas."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="MODEL.json", help="Map whose states tell when a run freezes."),
        READS,
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option("--sign", metavar="COLUMN", help="Column whose sign makes two states; by default x, if logged."),
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option("--bound", min=0, help="Distance below which a run is close; by default a tenth of the first."),
    ] = None,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Measure stability by whatever is logged: Lyapunov exponents, phases, freezing, spikes; say what is not there.

    Example: trajhmm stability logs/ --by learning_rate,batch_size -o stability/
    """
    from trajhmm.dynamics import decode_runs
    from trajhmm.dynamics.stability.files import write_stability
    from trajhmm.dynamics.stability.measure import measure_stability
    from trajhmm.hmm import load_model

    if model is not None and sign is not None:
        raise typer.BadParameter("give either --model or --sign: each tells when a run freezes")
    fitted = None if model is None else load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    say_notes(runs.notes)
    decoded = None if fitted is None else decode_runs(runs, fitted)
    found = measure_stability(
        runs,
        split(by),
        decoded=None if decoded is None else decoded.smoothed,
        diverged=() if decoded is None else decoded.diverged,
        sign=sign,
        bound=bound,
        seed=seed,
    )
    with together():
        written = write_stability(found, output) + write_figures(found, output)
    echo_lines((output / "summary.txt").read_text(encoding="utf-8"))
    say_left_out(runs.notes)
    say(f"{output}: {', '.join(path.name for path in written)}")


def write_figures(found: Stability, folder: Path) -> list[Path]:
    """Draw what there is to draw, as PDF and PNG."""
    from trajhmm import figures
    from trajhmm.errors import AnalysisError

    plots: dict[str, Callable[[pd.DataFrame], Axes]] = {
        "phases": figures.plot_phase_diagram,
        "convergence": lambda shares: figures.plot_convergence_in_probability(
            shares[shares["quantity"] == shares["quantity"].iloc[0]], by=found.by
        ),
        "hazard": lambda hazard: figures.plot_hazard(hazard)[0],
        "spikes": lambda spikes: figures.plot_spikes(spikes)[0],
    }
    written = []
    with figures.print_style():
        for name, plot in plots.items():
            if name not in found.tables or found.tables[name].empty:
                continue
            try:
                axes = plot(found.tables[name])
            except AnalysisError as error:  # as of too many groups for one figure
                say(f"{name}: not drawn, {error}")
                continue
            for suffix in (".pdf", ".png"):
                figures.save_figure(axes, folder / f"{name}{suffix}")
                written.append(folder / f"{name}{suffix}")
    return written
