"""``trajhmm analyze``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.asked import collect_seldom, say_unmet
from trajhmm.cli.options.common import (
    ALL_CORES,
    DetourRule,
    Jobs,
    Logs,
    ModelFile,
    NoCache,
    Reading,
    Refits,
    Rename,
    Rule,
    RunBy,
    Seed,
    Step,
    TableName,
    Where,
    Within,
    cache_of,
    say_left_out,
    usage_errors,
)
from trajhmm.cli.options.paths import FOLDER
from trajhmm.cli.output.terminal import echo_lines, progress_bar, say, say_lost, say_notes
from trajhmm.files import together

if TYPE_CHECKING:
    from trajhmm.dynamics import Analysis
    from trajhmm.hmm import Model

# Letters of a metric in the name of a file.
_LONGEST_NAME = 60


def analyze(
    logs: Logs,
    model: ModelFile,
    converged: Annotated[
        str, typer.Option("--converged", metavar="CONDITION", help="When a run has converged: 'eval_accuracy > 0.9'.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures."), FOLDER
    ],
    rule: Rule = DetourRule.STRICT,
    within: Within = None,
    refits: Refits = 20,
    seed: Seed = 0,
    jobs: Jobs = ALL_CORES,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
    no_cache: NoCache = False,
) -> None:
    """Say which states training passes through and which are detours; write the map, tables, figures and report.

    Example: trajhmm analyze logs/ --model model.json --converged 'eval_accuracy > 0.9' -o analysis/
    """
    collect_seldom()
    from trajhmm import dynamics
    from trajhmm.dynamics.files import write_analysis
    from trajhmm.hmm import load_model
    from trajhmm.logs import parse_condition
    from trajhmm.report import write_report

    with usage_errors():
        parse_condition(converged)
    fitted = load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    with usage_errors(), progress_bar("refitting") as progress:
        analysis = dynamics.analyze(
            runs,
            fitted,
            converged=converged,
            rule=rule.value,
            within=within,
            refits=refits,
            seed=seed,
            jobs=jobs,
            progress=progress,
            cache=cache_of(no_cache=no_cache),
        )
    say_unmet(analysis)
    say_notes(analysis.notes)
    say_left_out(runs.notes)
    with together():
        written = write_analysis(analysis, fitted, output)
        with progress_bar("drawing") as progress:
            written += write_figures(analysis, fitted, output, progress=progress)
        write_report(output / "report.html", runs, fitted, analysis=analysis, sources=[*logs, model])
    echo_lines((output / "summary.txt").read_text(encoding="utf-8"))
    say(f"{output}: {', '.join(path.name for path in written)}, report.html")
    say_lost(analysis.notes, runs.n_runs)


def write_figures(
    analysis: Analysis, model: Model, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Draw what an analysis says, as PDF and PNG; ``progress`` is called with (files written, files in all).

    The map, the raster, the profile of the states, the curves of the metrics that speak most for them; the choice of K
    if several were tried, the regression if enough runs converge, and convergence by visit of the detours or, without
    any, of the state with the strongest evidence.
    """
    from trajhmm import figures
    from trajhmm.dynamics import convergence_by_visit
    from trajhmm.figures.badge import stamp

    written: list[Path] = []
    with figures.print_style():
        drawings = {
            "map": figures.plot_training_map(analysis.map),
            "raster": figures.plot_state_raster(analysis.map, convergence=analysis.convergence_times),
            "profile": figures.plot_state_profile(model, training_map=analysis.map),
        }
        if len(model.curve) > 1:
            drawings["selection"] = figures.plot_selection_curve(model)
        if analysis.regression.r2 is not None:
            drawings["regression"] = figures.plot_regression(analysis.regression)
        for state in analysis.telling_states:
            visits = convergence_by_visit(analysis.map, analysis.convergence_times, state)
            drawings[f"convergence_{state}"] = figures.plot_convergence(visits)
        for metric in analysis.map.telling_metrics():
            drawings[_curves_of(metric, drawings)] = figures.plot_metric_curves(analysis.trajectories, metric)
        for name, axes in drawings.items():
            if name != "map":  # which says more of it
                stamp(axes, model.certificate)
            for suffix in (".pdf", ".png"):
                figures.save_figure(axes, folder / f"{name}{suffix}")
                written.append(folder / f"{name}{suffix}")
                if progress is not None:
                    progress(len(written), 2 * len(drawings))
    return written


def _curves_of(metric: str, taken: Container[str]) -> str:
    """A name for the file of a metric's curves, of letters, digits and ``_``, and none that is taken."""
    name = "curves_" + "".join(c if c.isalnum() else "_" for c in metric[:_LONGEST_NAME])
    others = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], others) if one not in taken)
