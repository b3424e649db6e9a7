"""``trajhmm evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options import Logs, ModelFile, Reading, Rename, RunBy, Seed, Step, Where
from trajhmm.cli.terminal import say_notes

if TYPE_CHECKING:
    from trajhmm.logs import RunSet
    from trajhmm.warning.evaluation import Report, RunOutcome
    from trajhmm.warning.runs import RunTruth

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


def evaluate(
    logs: Logs,
    model: ModelFile,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="truth.csv", help="What became of runs: run, onset, collapse_step."),
    ] = None,
    collapse: Annotated[
        str | None, typer.Option("--collapse", metavar="CONDITION", help="Collapse, such as 'eval_accuracy < 0.5'.")
    ] = None,
    sustained: Annotated[int, typer.Option("--sustained", min=1, help="Rows in a row for which it has to hold.")] = 5,
    onset: Annotated[
        str | None, typer.Option("--onset", metavar="COLUMN", help="Step of perturbation; by default onset, if there.")
    ] = None,
    lead: Annotated[
        int | None, typer.Option("--lead", min=0, help="Steps an alarm must come ahead; by default one logged row.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
) -> None:
    """Say how well a model warns, on runs that it was not fitted to and whose end is known.

    Example: trajhmm evaluate logs/ --model reference.json --collapse 'drop(eval_accuracy) > 0.3'
    """
    if (truth is None) == (collapse is None):
        raise typer.BadParameter("give either --truth or --collapse")

    import numpy as np

    from trajhmm.hmm import load_model
    from trajhmm.warning.evaluation import first_alarm, judge, report_on
    from trajhmm.warning.monitor import Monitor

    fitted = load_model(model)
    monitor = Monitor(fitted)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step).read(logs)
    say_notes(runs.notes)
    known = _truth(runs, truth, collapse, sustained, onset)
    scored = monitor.score(runs)
    threshold = fitted.calibration.threshold if fitted.calibration is not None else np.inf
    outcomes = [
        judge(run, scored[run].steps, known[run], first_alarm(scored[run].score, threshold), lead=lead)
        for run in runs.runs
    ]
    report = report_on(outcomes, rng=np.random.default_rng(seed))
    if as_json:
        typer.echo(json.dumps({"report": report.to_dict(), "runs": [_of_run(outcome) for outcome in outcomes]}))
    else:
        _print(report)


def _truth(
    runs: RunSet, truth: Path | None, collapse: str | None, sustained: int, onset: str | None
) -> dict[str, RunTruth]:
    from trajhmm.cli.options import usage_errors
    from trajhmm.errors import LogError
    from trajhmm.warning.evaluation import attribute_onsets, derive_truth, read_truth

    if truth is not None:
        known = read_truth(truth)
        missing = [run for run in runs.runs if run not in known]
        if missing:
            others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            raise LogError(
                f"{truth}: does not name run {missing[0]!r}{others}; add them, or leave them out with --where"
            )
        return known
    name = onset if onset is not None else "onset" if "onset" in runs.attributes.columns else None
    onsets = None if name is None else attribute_onsets(runs, name)
    with usage_errors():
        return derive_truth(runs, collapse or "", sustained=sustained, onsets=onsets)


def _print(report: Report) -> None:
    typer.echo(
        f"{report.collapsed} runs collapsed, {report.survived} were perturbed and survived, "
        f"{report.healthy} stayed healthy"
    )
    for name, title in _TITLES.items():
        typer.echo(f"  {title:<40}{getattr(report, name)}")
    if report.early:
        typer.echo(f"  {report.early} perturbed runs alarmed before their onset, which counts as false")
    if report.unwarnable:
        typer.echo(f"  {report.unwarnable} collapses came too soon to be warned of, and count as missed")


def _of_run(outcome: RunOutcome) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: getattr(value, "value", value) for name, value in asdict(outcome).items()}
