"""``trajhmm benchmark``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import ALL_CORES, Seed, split
from trajhmm.cli.options.paths import FOLDER, READS
from trajhmm.cli.output.terminal import echo, progress_bar, say
from trajhmm.files import together

if TYPE_CHECKING:
    from trajhmm.warning.benchmark import Result

# Detectors that are told of beside this project's.
_SHOWN = 3


def benchmark(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables and the page."), FOLDER
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The folder data/ of the project's source."), READS
    ] = Path("data"),
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="Sets, by default all; repeat or separate by commas."),
    ] = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option("--detector", metavar="NAME", help="Detectors, by default all; repeat or separate by commas."),
    ] = None,
    budgets: Annotated[
        list[float] | None,
        typer.Option("--budget", min=0, max=1, help="Share of healthy runs that may alarm; by default 0.05, 0.1."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Processes; the result does not depend on it.")
    ] = ALL_CORES,
    seed: Seed = 0,
) -> None:
    """Compare every detector on the sets of data/, by one protocol: results.csv, runs.csv and a page.

    Detectors of other packages enter by an entry point "trajhmm.detectors" of theirs. What is finished is kept in
    DIR/unfinished until all is, so that a benchmark that was cut off goes on.

    Example: trajhmm benchmark -o benchmark/ --set classifier,lm --detector portfolio,cusum
    """
    from trajhmm.files import write_csv, write_text
    from trajhmm.report.benchmark import render_benchmark
    from trajhmm.warning.benchmark import SETS, run_benchmark
    from trajhmm.warning.benchmark.run import BUDGETS, forget

    kept = output / "unfinished"
    chosen = tuple(budgets or BUDGETS)
    with progress_bar("benchmark") as progress:
        result = run_benchmark(
            data,
            sets=split(sets) or tuple(SETS),
            detectors=split(detectors) or None,
            budgets=chosen,
            seed=seed,
            jobs=jobs,
            kept=kept,
            progress=progress,
        )
    with together():
        write_csv(result.results(), output / "results.csv")
        write_csv(result.runs(), output / "runs.csv")
        write_text(output / "index.html", render_benchmark(result))
    forget(result, kept)
    say(f"{output}: results.csv, runs.csv, index.html")
    for line in _told(result, chosen[-1]):
        echo(line)


def _told(result: Result, budget: float) -> Iterator[str]:
    """On each set what trajhmm warns with and the three others of most recall; then how often it is near the top."""
    from trajhmm.report.benchmark import NEAR_LEAD, NEAR_RECALL, OURS, standings
    from trajhmm.warning.benchmark import SETS

    found, near = result.results(), []
    for name in result.data:
        rows = {
            detector: of[name]
            for detector, of in standings(found[found["set"] == name], SETS[name].situation, budget).items()
        }
        others = sorted((one for one in rows if one not in OURS), key=lambda one: (-rows[one]["recall"], one))
        for detector in [*(one for one in OURS if one in rows), *others[:_SHOWN]]:
            row = rows[detector]
            recall = f"recall {row['recall']:.2f} ({row['recall_low']:.2f}–{row['recall_high']:.2f})"
            price = f"lead {row['lead_share']:.2f}  healthy alarmed {row['healthy_alarmed']:.0%}"
            yield f"{name:<18}{detector:<22}{recall}  {price}"
        near += [rows[OURS[0]]["near"]] if OURS[0] in rows else []
    if near:
        top = f"recall within {NEAR_RECALL} and lead within {NEAR_LEAD} of the best"
        yield f"{OURS[0]}: {top} on {sum(near)} of {len(near)} sets, {budget:.0%} of healthy runs allowed"
