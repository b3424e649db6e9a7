"""``trajhmm demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options.common import ALL_CORES, NoCache, cache_of
from trajhmm.cli.options.paths import FOLDER
from trajhmm.cli.output.terminal import echo, echo_lines, progress_bar, say, shell_line
from trajhmm.files import reads, together

CONVERGED = "eval_accuracy > 0.9"
# Less than `fit` does by default: the demo is to take a minute. As `analyze` does, which then has its result.
_STATES = range(2, 7)
_RESTARTS = 3
_REFITS = 20


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and figures."), FOLDER
    ] = Path("trajhmm-demo"),
    no_cache: NoCache = False,
) -> None:
    """Analyse the bundled logs: 40 seeds of a network that learns sparse parities, some of them late or never.

    Example: trajhmm demo -o demo/
    """
    from trajhmm.cli.analyze import write_figures
    from trajhmm.cli.fit import report
    from trajhmm.dynamics import analyze
    from trajhmm.dynamics.files import write_analysis
    from trajhmm.hmm import fit
    from trajhmm.logs import read_logs
    from trajhmm.logs.bundled import bundled_logs
    from trajhmm.metrics import WEIGHT_METRICS
    from trajhmm.report import write_report

    say("40 seeds of a small network learning sparse parities; states 2 to 6 of its weight metrics …")
    reads([bundled_logs()])
    runs = read_logs(bundled_logs())
    with progress_bar("fitting") as progress:
        model = fit(runs, metrics=WEIGHT_METRICS, states=_STATES, restarts=_RESTARTS, jobs=ALL_CORES, progress=progress)
    report(model)
    say(f"which states delay '{CONVERGED}' …")
    with progress_bar("refitting") as progress:
        analysis = analyze(
            runs,
            model,
            converged=CONVERGED,
            refits=_REFITS,
            jobs=ALL_CORES,
            progress=progress,
            cache=cache_of(no_cache=no_cache),
        )
    with together():
        model.save(output / "model.json")
        written = write_analysis(analysis, model, output)
        with progress_bar("drawing") as progress:
            written += write_figures(analysis, model, output, progress=progress)
        sources = [bundled_logs(), output / "model.json"]
        write_report(output / "report.html", runs, model, analysis=analysis, sources=sources)
    echo()
    echo_lines((output / "summary.txt").read_text(encoding="utf-8"))
    echo()
    say(f"{output}/: model.json, {', '.join(path.name for path in written)}, report.html")
    say("a figure for a column of a paper, of these logs:")
    words = ["trajhmm", "figure", "map", str(bundled_logs()), "--model", str(output / "model.json"), "-o", "map.pdf"]
    say(f"  {shell_line([*words, '--style', 'icml', '--width', 'column'])}")
    say("the same on your logs, of all metrics that are logged throughout (here of weights alone: --metrics):")
    say("  trajhmm fit LOGS/ -o model.json")
    say(f"  trajhmm analyze LOGS/ --model model.json --converged '{CONVERGED}' -o analysis/")
