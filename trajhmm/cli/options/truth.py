"""Options that say what became of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.paths import READS

if TYPE_CHECKING:
    from trajhmm.logs import RunSet
    from trajhmm.warning.runs import RunTruth

TruthFile = Annotated[
    Path | None,
    typer.Option("--truth", metavar="truth.csv", help="What became of runs: run, onset, collapse_step (-1 for none)."),
    READS,
]
Collapse = Annotated[
    str | None, typer.Option("--collapse", metavar="CONDITION", help="Collapse, such as 'eval_accuracy < 0.5'.")
]
Sustained = Annotated[int, typer.Option("--sustained", min=1, help="Rows in a row for which it has to hold.")]
Onset = Annotated[
    str | None,
    typer.Option(
        "--onset", metavar="COLUMN", help="With --collapse: step of perturbation; by default onset, if there."
    ),
]

Group = Annotated[
    str | None, typer.Option("--group", metavar="COLUMN", help="Runs that belong together, such as seed.")
]
Condition = Annotated[
    str | None, typer.Option("--condition", metavar="COLUMN", help="Held out as a whole, with detectors side by side.")
]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """How what became of runs is to be found out."""

    file: Path | None
    collapse: str | None
    sustained: int
    onset: str | None

    @property
    def known(self) -> bool:
        """Whether it can be.

        Raises
        ------
        typer.BadParameter
            There are two ways.
        """
        if self.file is not None and self.collapse is not None:
            raise typer.BadParameter("give either --truth or --collapse")
        return self.file is not None or self.collapse is not None

    @property
    def outcome(self) -> str | None:
        """The column that --collapse names first, if it is given."""
        from trajhmm.logs.conditions import parse_condition

        return None if self.collapse is None else parse_condition(self.collapse).columns[0]

    def of(self, runs: RunSet) -> dict[str, RunTruth]:
        """What became of each run.

        Raises
        ------
        LogError
            The file does not name a run.
        """
        from trajhmm.cli.options.common import usage_errors
        from trajhmm.errors import LogError
        from trajhmm.warning.evaluation import attribute_onsets, derive_truth, read_truth

        if self.file is not None:
            known = read_truth(self.file)
            missing = [run for run in runs.runs if run not in known]
            if missing:
                others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
                raise LogError(
                    f"{self.file}: does not name run {missing[0]!r}{others}; add them, or leave them out with --where"
                )
            return known
        name = self.onset if self.onset is not None else "onset" if "onset" in runs.attributes.columns else None
        onsets = None if name is None else attribute_onsets(runs, name)
        with usage_errors():
            return derive_truth(runs, self.collapse or "", sustained=self.sustained, onsets=onsets)
