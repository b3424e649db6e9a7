"""``trajhmm analyze``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options import (
    ALL_CORES,
    Jobs,
    Logs,
    ModelFile,
    Reading,
    Rename,
    RunBy,
    Seed,
    Step,
    Where,
    usage_errors,
)
from trajhmm.cli.terminal import say, say_notes

if TYPE_CHECKING:
    from trajhmm.dynamics import Analysis

_CURVES = 4


class DetourRule(StrEnum):
    """What counts as a detour."""

    STRICT = "strict"
    PAPER = "paper"


def analyze(
    logs: Logs,
    model: ModelFile,
    converged: Annotated[
        str, typer.Option("--converged", metavar="CONDITION", help="When a run has converged: 'eval_accuracy > 0.9'.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures.")],
    rule: Annotated[DetourRule, typer.Option("--rule", help="What counts as a detour.")] = DetourRule.STRICT,
    refits: Annotated[
        int, typer.Option("--refits", min=0, help="Refits on resampled runs, to see how often a detour is found again.")
    ] = 20,
    seed: Seed = 0,
    jobs: Jobs = ALL_CORES,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
) -> None:
    """Say which states training passes through and which are detours; write the map, tables and figures.

    Example: trajhmm analyze logs/ --model model.json --converged 'eval_accuracy > 0.9' -o analysis/
    """
    from trajhmm import dynamics
    from trajhmm.dynamics.files import write_analysis
    from trajhmm.hmm import load_model
    from trajhmm.logs import parse_condition

    with usage_errors():
        parse_condition(converged)
    fitted = load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step).read(logs)
    with usage_errors():
        analysis = dynamics.analyze(
            runs, fitted, converged=converged, rule=rule.value, refits=refits, seed=seed, jobs=jobs
        )
    say_notes(analysis.notes)
    written = write_analysis(analysis, fitted, output) + write_figures(analysis, output)
    typer.echo((output / "summary.txt").read_text(encoding="utf-8"), nl=False)
    say(f"{output}: {', '.join(path.name for path in written)}")


def write_figures(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw the map, the raster and the curves of the metrics that speak most for the states, as PDF and PNG."""
    from trajhmm import figures

    written: list[Path] = []
    with figures.print_style():
        drawings = {
            "map": figures.plot_training_map(analysis.map),
            "raster": figures.plot_state_raster(analysis.map, convergence=analysis.convergence_times),
        }
        for metric in _telling_metrics(analysis):
            name = "curves_" + "".join(c if c.isalnum() else "_" for c in metric)
            drawings[name] = figures.plot_metric_curves(analysis.trajectories, metric)
        for name, axes in drawings.items():
            figure = axes.get_figure(root=True)
            if figure is None:  # never: the axes were made with their figure above
                continue
            for suffix in (".pdf", ".png"):
                figures.save_figure(figure, folder / f"{name}{suffix}")
                written.append(folder / f"{name}{suffix}")
    return written


def _telling_metrics(analysis: Analysis) -> list[str]:
    """The metrics with the largest importances over all states."""
    importance: dict[str, float] = {}
    for state in analysis.map.states:
        for top in state.top_metrics:
            importance[top.metric] = max(importance.get(top.metric, 0.0), top.importance)
    return sorted(importance, key=lambda metric: -importance[metric])[:_CURVES]
