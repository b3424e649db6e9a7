"""``trajhmm evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options.common import (
    Logs,
    Reading,
    Rename,
    RunBy,
    Seed,
    Step,
    TableName,
    WarningModel,
    Where,
    say_left_out,
)
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import FOLDER
from trajhmm.cli.options.truth import Collapse, Condition, Group, Onset, Sustained, Truth, TruthFile
from trajhmm.cli.output.terminal import echo, echo_json, progress_bar, say, say_notes
from trajhmm.files import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from trajhmm.hmm import Model
    from trajhmm.logs import RunSet
    from trajhmm.warning.evaluation import Comparison, Decision, Estimate, Report, RiskAt, RunOutcome
    from trajhmm.warning.runs import Trial

_TITLES = {
    "recall": "recall: collapsing runs named in time",
    "lead_steps": "lead in steps, median, a miss as 0",
    "lead_share": "lead as share of onset to collapse",
    "healthy_alarmed": "healthy runs that alarmed",
    "survived_alarmed": "perturbed survivors that alarmed",
    "precision": "precision",
    "precision_apart": "precision, survivors left out",
    "false_per_1000_steps": "false alarms per 1,000 healthy steps",
    "chance_recall": "recall of random alarms as frequent",
}


@options_of_kinds({**dict.fromkeys(("sustained", "onset"), For(beside="collapse")), "budgets": For(beside="baselines")})
def evaluate(
    logs: Logs,
    model: WarningModel = None,
    truth: TruthFile = None,
    collapse: Collapse = None,
    sustained: Sustained = 5,
    onset: Onset = None,
    lead: Annotated[
        int | None, typer.Option("--lead", min=0, help="Steps an alarm must come ahead; by default one logged row.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Every detector beside it, cross-fitted over these runs.")
    ] = False,
    budgets: Annotated[
        list[float] | None,
        typer.Option("--budget", min=0, max=1, help="With --baselines: share of healthy runs; by default 0.05, 0.1."),
    ] = None,
    group: Group = None,
    condition: Condition = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures."), FOLDER
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Say how well a model warns, on runs that it was not fitted to and whose end is known.

    Example: trajhmm evaluate logs/ --model reference.json --collapse 'drop(eval_accuracy) > 0.3'
    """
    ends = Truth(file=truth, collapse=collapse, sustained=sustained, onset=onset)
    if not ends.known:
        raise typer.BadParameter("say what became of the runs: --truth FILE or --collapse CONDITION")

    from trajhmm.hmm import load_model
    from trajhmm.hmm.model import with_metrics
    from trajhmm.warning.runs import trials_of

    fitted = None if model is None else load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    say_notes(runs.notes)
    known = ends.of(runs)
    if fitted is not None:
        runs = with_metrics(runs, fitted.metrics)
    trials = trials_of(
        runs,
        known,
        condition=condition,
        group=group,
        metrics=None if fitted is None else fitted.metrics,
    )
    outcomes, report, risks, decisions = _judged(fitted, runs, trials, lead=lead, seed=seed)
    beside = compared(trials, budgets or [0.05, 0.1], lead=lead, seed=seed) if baselines else None
    if output is not None:
        with together():
            written = _write(output, runs, fitted, trials, outcomes, beside, outcome=ends.outcome)
        say(f"{output}: {', '.join(path.name for path in written)}")
        if model is None:
            say("no timeline and no drivers: these are of a model's alarms; --model gives them")
    if as_json:
        whole: dict[str, Any] = {
            "report": report.to_dict(),
            "risk": [at.to_dict() for at in risks],
            "decisions": [one.to_dict() for one in decisions],
            "runs": [_of_run(outcome) for outcome in outcomes],
        }
        echo_json(whole if beside is None else {**whole, "detectors": beside.to_dict()["rows"]})
        say_left_out(runs.notes)
        return
    _print(report, risks)
    _print_decisions(decisions, report.collapsed, len(outcomes))
    if beside is not None:
        _print_table(beside)
    say_left_out(runs.notes)


def _judged(
    model: Model | None, runs: RunSet, trials: Sequence[Trial], *, lead: int | None, seed: int
) -> tuple[list[RunOutcome], Report, tuple[RiskAt, ...], tuple[Decision, ...]]:
    """What the model says of runs, held against what became of them."""
    import numpy as np

    from trajhmm.warning.evaluation import decide, evaluate_risk, first_alarm, judge, moments_after_onset, report_on
    from trajhmm.warning.monitor import Monitor

    monitor = Monitor(model)
    scored, threshold = monitor.score(runs), monitor.threshold
    alarms = {trial.run.run: first_alarm(scored[trial.run.run].score, threshold) for trial in trials}
    outcomes = [
        judge(trial.run.run, trial.run.steps, trial.truth, alarms[trial.run.run], lead=lead, group=trial.group)
        for trial in trials
    ]
    report = report_on(outcomes, rng=np.random.default_rng(seed))
    told = {run: part.risk for run, part in scored.items()}
    at = {one.run: one.alarm_step for one in outcomes}
    decisions = decide(trials, at, told, rng=np.random.default_rng(seed))
    if model is None:
        return outcomes, report, (), decisions[:1]  # risks are not known
    risks = evaluate_risk(trials, told, moments_after_onset(trials), rng=np.random.default_rng(seed))
    return outcomes, report, risks, decisions


def compared(trials: Sequence[Trial], budgets: list[float], *, lead: int | None, seed: int) -> Comparison:
    """Every detector on runs whose end is known, with a progress bar."""
    from trajhmm.warning.detectors import DETECTORS, make_detector
    from trajhmm.warning.detectors.entered import entered_detectors
    from trajhmm.warning.evaluation import compare

    guests, wrong = entered_detectors()
    for name, reason in wrong.items():
        say(f"warning: detector {name} of another package left out: {reason}")
    with progress_bar("detectors") as progress:
        return compare(
            trials,
            {name: make_detector(name) for name in DETECTORS} | guests,
            budgets=budgets,
            lead=lead,
            seed=seed,
            progress=progress,
        )


def _write(
    folder: Path,
    runs: RunSet,
    model: Model | None,
    trials: Sequence[Trial],
    outcomes: Sequence[RunOutcome],
    beside: Comparison | None,
    *,
    outcome: str | None,
) -> list[Path]:
    """A table of runs, a typical collapse and what drove its alarm; of detectors a table and figures."""
    import pandas as pd

    from trajhmm import figures
    from trajhmm.files import write_csv
    from trajhmm.warning.timeline import timeline_of

    tables = {"outcomes.csv": pd.DataFrame([_of_run(outcome) for outcome in outcomes])}
    drawings: dict[str, Axes] = {}
    with figures.print_style():
        typical = _typical(outcomes)
        if typical is not None and model is not None:
            truth = next(trial.truth for trial in trials if trial.run.run == typical)
            seen = timeline_of(runs, typical, model, truth=truth, outcome=outcome)
            drawings |= {"timeline": figures.plot_warning_timeline(seen), "drivers": figures.plot_drivers(seen)}
        if beside is not None:
            tables["detectors.csv"] = beside.frame()
            drawings["recall"] = figures.plot_recall_vs_false_alarms(beside)
            drawings["leads"] = figures.plot_lead_times(beside)
        written = [folder / name for name in tables]
        for name, table in tables.items():
            write_csv(table, folder / name)
        for name, axes in drawings.items():
            for suffix in (".pdf", ".png"):
                figures.save_figure(axes, folder / f"{name}{suffix}")
                written.append(folder / f"{name}{suffix}")
    return written


def _typical(outcomes: Sequence[RunOutcome]) -> str | None:
    """The collapsing run with the median lead; None if no run collapses."""
    collapsed = sorted((o for o in outcomes if o.kind.value == "collapsed"), key=lambda o: (o.lead_share, o.run))
    return collapsed[len(collapsed) // 2].run if collapsed else None


def _print(report: Report, risks: Sequence[RiskAt]) -> None:
    echo(
        f"{report.collapsed} runs collapsed, {report.survived} were perturbed and survived, "
        f"{report.healthy} stayed healthy"
    )
    for name, title in _TITLES.items():
        echo(f"  {title:<40}{getattr(report, name)}")
    for at in risks:
        ranked = f"rank of risk {at.after} steps after onset"
        untold = f"; too early to tell of {at.untold}" if at.untold else ""
        echo(f"  {ranked:<40}{at.auroc}  (AUROC; {at.collapsed} will collapse, {at.survived} will not{untold})")
    if report.early:
        echo(f"  {report.early} perturbed runs alarmed before their onset, which counts as false")
    if report.unwarnable:
        echo(f"  {report.unwarnable} collapses came too soon to be warned of, and count as missed")


def _print_decisions(decisions: Sequence[Decision], collapsed: int, runs: int) -> None:
    echo()
    echo(f"Stopping runs, against never stopping one ({collapsed} of {runs} collapse; time in steps):")
    echo(f"{'stop at':<16}{'collapses':<11}{'others':<8}{'saved':<10}{'run again':<11}net share of all steps")
    for one in decisions:
        cells = f"{one.rule:<16}{one.collapsed:<11}{one.others:<8}{one.saved:<10,}{one.wasted:<11,}"
        told = "" if math.isnan(one.net.low) else f" ({one.net.low:+.0%} to {one.net.high:+.0%})"
        echo(f"{cells}{one.net.value:+.0%}{told}")


def _print_table(beside: Comparison) -> None:
    echo()
    echo("All detectors, each fitted and calibrated on other groups and conditions than it is tested on:")
    echo(f"{'detector':<20}{'budget':<8}{'recall':<22}{'lead':<7}{'healthy':<22}{'survivors':<11}{'precision':<11}")
    for row in beside.rows:
        budget = "as is" if row.budget is None else f"{row.budget:.0%}"
        if row.report is None:
            echo(f"{row.detector:<20}{budget:<8}{row.reason}")
            continue
        report = row.report
        lead, precision = report.lead_share.value, report.precision.value
        echo(
            f"{row.detector:<20}{budget:<8}{_short(report.recall):<22}{lead:<7.2f}{_short(report.healthy_alarmed):<22}"
            f"{report.survived_alarmed.value:<11.2f}{precision:<11.2f}"
        )


def _short(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})"


def _of_run(outcome: RunOutcome) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: getattr(value, "value", value) for name, value in asdict(outcome).items()}
