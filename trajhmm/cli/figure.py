"""``trajhmm figure``; a further kind is one function and one line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.asked import Asked, Converged, OptionalLogs, collect_seldom, kind_of
from trajhmm.cli.options.common import (
    DetourRule,
    NoCache,
    OptionalModel,
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
    split,
)
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import ANY
from trajhmm.cli.options.truth import Collapse, Condition, Group, Onset, Sustained, Truth, TruthFile
from trajhmm.cli.output.terminal import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trajhmm.warning.evaluation import Comparison
    from trajhmm.warning.timeline import Timeline


class Style(StrEnum):
    """Whose conventions of print to follow."""

    DEFAULT = "default"
    NEURIPS = "neurips"
    ICML = "icml"
    ICLR = "iclr"
    NATURE = "nature"


class PageWidth(StrEnum):
    """How wide a figure is."""

    COLUMN = "column"
    FULL = "full"


class StepScale(StrEnum):
    """How steps are spaced."""

    LINEAR = "linear"
    LOG = "log"
    SQRT = "sqrt"


class Since(StrEnum):
    """From where steps to convergence are counted."""

    BRANCH = "branch"
    START = "start"


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedFigure(Asked):
    """What the user asks of a figure.

    Attributes
    ----------
    width : of the figure.
    metrics : to draw; none for those that speak most for the states.
    state : to look at; None for a detour or the state with the strongest evidence.
    run : to look at; of curves, None for all.
    ends : what became of runs.
    group, condition : columns by which runs belong together.
    since : from where steps to convergence are counted.
    step_scale : how steps are spaced.
    """

    width: PageWidth
    metrics: list[str]
    state: int | None
    since: Since
    step_scale: StepScale
    run: str | None
    ends: Truth
    group: str | None
    condition: str | None

    @cached_property
    def timeline(self) -> Timeline:
        """The run under a model for warning, or by its own past; without its name, the command is wrong."""
        from trajhmm.warning.timeline import timeline_of

        if self.run is None:
            raise typer.BadParameter(f"{self.what} needs a run: --run NAME")
        truth = self.ends.of(self.runs).get(self.run) if self.ends.known else None
        model = None if self.model_file is None else self.model
        return timeline_of(self.runs, self.run, model, truth=truth, outcome=self.ends.outcome)

    @cached_property
    def comparison(self) -> Comparison:
        """Every detector on the runs; if their end is not known, the command is wrong."""
        from trajhmm.cli.evaluate import compared
        from trajhmm.warning.runs import trials_of

        if not self.ends.known:
            raise typer.BadParameter(f"{self.what} needs to know what became of the runs: --truth FILE or --collapse C")
        runs = self.runs
        trials = trials_of(
            runs, self.ends.of(runs), condition=self.condition, group=self.group, metrics=self.model.metrics
        )
        return compared(trials, [0.05, 0.1, 0.2], lead=None, seed=self.seed)


def _map(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_training_map

    return plot_training_map(asked.result.map, width=asked.width.value)


def _raster(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_state_raster

    training_map = asked.decoded.map
    times = None if asked.converged is None else asked.times(training_map.runs)
    return plot_state_raster(training_map, convergence=times, width=asked.width.value)


def _curves(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_metric_panels, plot_run_curves

    if asked.run is not None:
        alone = plot_run_curves(
            asked.decoded.trajectories,
            asked.run,
            asked.metrics,
            step_scale=asked.step_scale.value,
            width=asked.width.value,
        )
        return _stamped(alone, asked)
    metrics = asked.metrics or asked.decoded.map.telling_metrics()
    panels = plot_metric_panels(
        asked.decoded.trajectories, metrics, step_scale=asked.step_scale.value, width=asked.width.value
    )
    return _stamped(panels[0], asked)


def _selection(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_selection_curve

    return plot_selection_curve(asked.model, width=asked.width.value)


def _regression(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_regression

    return _stamped(plot_regression(asked.analysis.regression, width=asked.width.value), asked)


def _convergence(asked: AskedFigure) -> Axes:
    from trajhmm.dynamics import convergence_by_visit
    from trajhmm.errors import AnalysisError
    from trajhmm.figures import plot_convergence

    analysis, state = asked.analysis, asked.state
    if state is None:
        if not analysis.telling_states:
            raise AnalysisError(
                "no state can be tested as a detour: name one with --state K, and --since start to compare all runs"
            )
        state = analysis.telling_states[0]
        say(f"state {state}, {'a detour' if analysis.map.detours else 'with the strongest evidence, not a detour'}")
    visits = convergence_by_visit(analysis.map, analysis.convergence_times, state, since=asked.since.value)
    return _stamped(plot_convergence(visits, width=asked.width.value), asked)


def _stamped(axes: Axes, asked: AskedFigure) -> Axes:
    """Figures of parts of a map do not know how far it comes back; the model does."""
    from trajhmm.figures.badge import stamp

    stamp(axes, asked.model.certificate)
    return axes


def _profile(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_state_profile

    training_map = asked.decoded.map if asked.logs else None
    return plot_state_profile(asked.model, training_map=training_map, width=asked.width.value)


def _timeline(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_warning_timeline

    return plot_warning_timeline(asked.timeline, metrics=asked.metrics or None, width=asked.width.value)


def _drivers(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_drivers

    return plot_drivers(asked.timeline, width=asked.width.value)


def _recall(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_recall_vs_false_alarms

    return plot_recall_vs_false_alarms(asked.comparison, width=asked.width.value)


def _leads(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_lead_times

    return plot_lead_times(asked.comparison, width=asked.width.value)


def _stability(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_stability_profile

    return plot_stability_profile(asked.finished("profile.csv", "audit"), width=asked.width.value)[0]


def _phases(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_phase_diagram

    return plot_phase_diagram(asked.finished("phases.csv", "stability"), width=asked.width.value)


def _probability(asked: AskedFigure) -> Axes:
    from trajhmm.dynamics.stability.exponents.convergence_in_probability import CONVERGENCE_COLUMNS
    from trajhmm.figures import plot_convergence_in_probability

    found = asked.finished("convergence.csv", "stability")
    by = [str(name) for name in found.columns if name not in CONVERGENCE_COLUMNS]
    first = found[found["quantity"] == found["quantity"].iloc[0]] if len(found) else found
    return plot_convergence_in_probability(first, by=by, width=asked.width.value)


def _hazard(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_hazard

    return plot_hazard(asked.finished("hazard.csv", "stability"), width=asked.width.value)[0]


def _spikes(asked: AskedFigure) -> Axes:
    from trajhmm.figures import plot_spikes

    return plot_spikes(asked.finished("spikes.csv", "stability"), width=asked.width.value)[0]


KINDS: dict[str, Callable[[AskedFigure], Axes]] = {
    "map": _map,
    "raster": _raster,
    "curves": _curves,
    "selection": _selection,
    "regression": _regression,
    "convergence": _convergence,
    "profile": _profile,
    "timeline": _timeline,
    "drivers": _drivers,
    "recall": _recall,
    "leads": _leads,
    "stability": _stability,
    "phases": _phases,
    "probability": _probability,
    "hazard": _hazard,
    "spikes": _spikes,
}
# Kinds that show which states are detours: by the same refits as `trajhmm analyze`.
_OF_DETOURS = ("map", "convergence")
_OF_MAPS = ("map", "raster", "curves", "regression", "convergence", "profile")
_OF_RUNS, _OF_DETECTORS = ("timeline", "drivers"), ("recall", "leads")
# Options that not all kinds take.
OPTIONS = {
    "model": For((*_OF_MAPS, "selection", *_OF_RUNS, *_OF_DETECTORS)),
    "converged": For(("map", "raster", "regression", "convergence")),
    "metric": For(("curves", "timeline")),
    "state": For(("convergence",)),
    "since": For(("convergence",)),
    "step_scale": For(("curves",)),
    "run": For(("curves", *_OF_RUNS)),
    **dict.fromkeys(("truth", "collapse", "sustained", "onset"), For((*_OF_RUNS, *_OF_DETECTORS))),
    **dict.fromkeys(("group", "condition"), For(_OF_DETECTORS)),
    **dict.fromkeys(("rule", "within", "refits"), For(_OF_DETOURS, beside="converged")),
    "seed": For(("map", "regression", "convergence", *_OF_DETECTORS)),
    **dict.fromkeys(("run_by", "rename", "where", "step", "table"), For((*_OF_MAPS, *_OF_RUNS, *_OF_DETECTORS))),
    "no_cache": For(_OF_MAPS),
}


@options_of_kinds(OPTIONS)
def figure(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.", callback=kind_of(KINDS), show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FIGURE", help="A .pdf, .svg or .png to write."), ANY
    ],
    logs: OptionalLogs = None,
    model: OptionalModel = None,
    style: Annotated[Style, typer.Option("--style", help="Widths and type as the venue asks.")] = Style.DEFAULT,
    width: Annotated[
        PageWidth, typer.Option("--width", help="A column (half the text where it has one), or the whole text.")
    ] = PageWidth.FULL,
    converged: Converged = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="A panel each (of curves of one --run: one for all); repeat or separate by commas.",
        ),
    ] = None,
    state: Annotated[
        int | None, typer.Option("--state", metavar="K", help="By default a detour if there is one.")
    ] = None,
    since: Annotated[
        Since,
        typer.Option("--since", help="Count from where runs part, or from the start of training."),
    ] = Since.BRANCH,
    step_scale: Annotated[StepScale, typer.Option("--step-scale", help="How steps are spaced.")] = StepScale.LINEAR,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="The run to look at; of curves, its metrics on one panel."),
    ] = None,
    truth: TruthFile = None,
    collapse: Collapse = None,
    sustained: Sustained = 5,
    onset: Onset = None,
    group: Group = None,
    condition: Condition = None,
    rule: Rule = DetourRule.STRICT,
    within: Within = None,
    refits: Refits = 20,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
    no_cache: NoCache = False,
) -> None:
    """Draw one figure for print.

    Map, raster and curves need logs; regression and convergence --converged as well. Timeline and drivers show a --run
    under a model for warning, or without one by its own past, and what became of it if --truth or --collapse is given;
    recall and leads compare all detectors on runs whose end is known. Stability takes the folder that 'trajhmm audit'
    wrote, phases, probability, hazard and spikes that of 'trajhmm stability'; these need no model.

    Example: trajhmm figure map logs/ --model model.json --converged 'eval_accuracy > 0.9' -o map.pdf --style icml
    """
    collect_seldom()
    from trajhmm.figures import figure_format, print_style, save_figure

    figure_format(output)
    asked = AskedFigure(
        what=f"figure {kind}",
        model_file=model,
        logs=logs or [],
        reading=Reading(run_by=run_by, rename=rename, where=where, step=step, table=table),
        converged=converged,
        rule=rule,
        within=within,
        refits=refits if kind in _OF_DETOURS else 0,
        seed=seed,
        cache=cache_of(no_cache=no_cache),
        width=width,
        metrics=split(metric),
        state=state,
        since=since,
        step_scale=step_scale,
        run=run,
        ends=Truth(file=truth, collapse=collapse, sustained=sustained, onset=onset),
        group=group,
        condition=condition,
    )
    with print_style(style.value):
        save_figure(KINDS[kind](asked), output)
    say(f"{output}: written")
