"""``trajhmm report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import HTML, READS
from trajhmm.cli.output.terminal import progress_bar, say, say_lost, say_notes


@options_of_kinds(dict.fromkeys(("rule", "within", "refits", "seed", "jobs"), For(beside="converged")))
def report(
    logs: Logs,
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="report.html", help="The page to write."), HTML],
    converged: Annotated[
        str | None,
        typer.Option("--converged", metavar="CONDITION", help="Look for detours on a map: 'eval_accuracy > 0.9'."),
    ] = None,
    stability: Annotated[
        list[Path] | None,
        typer.Option("--stability", metavar="DIR", help="What 'trajhmm audit' or 'stability' wrote, to show as well."),
        READS,
    ] = None,
    collapse: Annotated[
        str | None,
        typer.Option(
            "--collapse", metavar="CONDITION", help="Mark which runs collapsed and when: 'eval_accuracy < 0.5'."
        ),
    ] = None,
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
    """Show runs under a model on one page that needs no network: the map, or the alarms of a model for warning.

    With --converged also which states delay convergence, as `trajhmm analyze` finds it.

    Example: trajhmm report logs/ --model model.json --converged 'eval_accuracy > 0.9' -o report.html
    """
    collect_seldom()
    from trajhmm.dynamics import analyze
    from trajhmm.hmm import load_model
    from trajhmm.logs import parse_condition
    from trajhmm.report import write_report

    if converged is not None:
        with usage_errors():
            parse_condition(converged)
    if collapse is not None:
        with usage_errors():
            parse_condition(collapse)
    fitted = load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    analysis, cache = None, cache_of(no_cache=no_cache)
    if converged is not None:
        with usage_errors(), progress_bar("refitting") as progress:
            analysis = analyze(
                runs,
                fitted,
                converged=converged,
                rule=rule.value,
                within=within,
                refits=refits,
                seed=seed,
                jobs=jobs,
                progress=progress,
                cache=cache,
            )
    if analysis is not None:
        say_unmet(analysis)
    say_notes(runs.notes if analysis is None else analysis.notes)
    say_left_out(runs.notes)
    say_lost(runs.notes if analysis is None else analysis.notes, runs.n_runs)
    write_report(
        output,
        runs,
        fitted,
        analysis=analysis,
        sources=[*logs, model],
        stability=stability or [],
        collapse=collapse,
    )
    say(f"{output}: written")
