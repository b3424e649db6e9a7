"""What the user asks of a figure or a table, worked out as far as that one needs it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options.common import ALL_CORES, DetourRule, Reading, say_left_out, usage_errors
from trajhmm.cli.options.paths import READS
from trajhmm.cli.output.terminal import progress_bar, say, say_lost, say_notes
from trajhmm.naming import listed, meant

if TYPE_CHECKING:
    import pandas as pd

    from trajhmm.cache import Cache
    from trajhmm.dynamics import Analysis, Convergence, Decoded
    from trajhmm.hmm import Model
    from trajhmm.logs import RunSet

# Of text and of numbers, in the tables of 'trajhmm stability'.
_COLUMNS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "phases.csv": (("phase",), ()),
    "convergence.csv": (("quantity",), ("step", "share", "ci_low", "ci_high", "log_second_moment")),
    "hazard.csv": ((), ("step", "hazard", "ci_low", "ci_high")),
    "spikes.csv": (("run", "metric", "verdict"), ("start", "net_effect")),
    "lyapunov.csv": (("quantity", "l2_stable", "probability_stable"), ("exponent", "ci_low", "ci_high", "n_runs")),
}

OptionalLogs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="LOGS", help="Log files or folders, where the kind needs them.", show_default=False),
    READS,
]
Converged = Annotated[
    str | None,
    typer.Option("--converged", metavar="CONDITION", help="When a run has converged: 'eval_accuracy > 0.9'."),
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The model, the logs and the condition that the user named; each is read when it is first needed.

    Attributes
    ----------
    what : figure or table, and its kind, for messages.
    model_file : from ``--model``; None where the kind needs none.
    logs : possibly none; or what ``trajhmm audit`` or ``trajhmm stability`` wrote.
    reading : how to read them.
    converged : condition of convergence, if given.
    rule : what counts as a detour.
    within : attribute within whose values runs are compared, if given.
    refits : that a detour has to come back in; 0 where what is asked for shows none.
    seed : of permutations, bootstraps and refits.
    cache : where what was worked out before is found again.
    """

    what: str
    model_file: Path | None
    logs: list[Path]
    reading: Reading
    converged: str | None
    rule: DetourRule
    within: str | None
    refits: int
    seed: int
    cache: Cache

    @cached_property
    def model(self) -> Model:
        """The model; without one, the command is wrong."""
        from trajhmm.hmm import load_model

        if self.model_file is None:
            raise typer.BadParameter(f"{self.what} needs a model: --model MODEL.json")
        return load_model(self.model_file)

    def finished(self, name: str, verb: str) -> pd.DataFrame:
        """A table that a verb wrote: named itself, or by its folder.

        Raises
        ------
        AnalysisError
            It is not there, is none, lacks a column, or has words where numbers are expected.
        """
        from trajhmm.errors import AnalysisError
        from trajhmm.files import read_csv, reads
        from trajhmm.logs.sources.paths import check_regular

        if len(self.logs) != 1:
            raise typer.BadParameter(f"{self.what} needs what 'trajhmm {verb}' wrote: name its folder, or its {name}")
        path = self.logs[0] / name if self.logs[0].is_dir() else self.logs[0]
        expected = f"expected the {name} of 'trajhmm {verb}'"
        try:
            if path.exists():
                check_regular(path)
            reads([path])
            found = read_csv(path)
        except (OSError, ValueError) as error:
            raise AnalysisError(f"{path}: cannot be read as a table; {expected}") from error
        texts, numbers = _columns_of(name)
        missing = [column for column in (*texts, *numbers) if column not in found]
        if missing:
            raise AnalysisError(f"{path}: no column {missing[0]!r} (found: {listed(found.columns)}); {expected}")
        for column in numbers:
            try:
                found[column] = found[column].astype(float)
            except (ValueError, TypeError, OverflowError) as error:
                raise AnalysisError(f"{path}: column {column!r} does not hold numbers alone; {expected}") from error
        return found

    @cached_property
    def runs(self) -> RunSet:
        """The logs, of which it is said what was mended or left out; without any, the command is wrong."""
        if not self.logs:
            raise typer.BadParameter(f"{self.what} needs logs: name their files or folders after the kind")
        runs = self.reading.read(self.logs)
        say_notes(runs.notes)
        say_left_out(runs.notes)
        return runs

    @cached_property
    def decoded(self) -> Decoded:
        """The runs under the model."""
        from trajhmm.dynamics import decode_runs

        decoded = decode_runs(self.runs, self.model, cache=self.cache)
        say_lost((*self.runs.notes, *decoded.notes), self.runs.n_runs)
        return decoded

    @cached_property
    def analysis(self) -> Analysis:
        """What delays convergence; without a condition, the command is wrong."""
        from trajhmm.dynamics import analyze
        from trajhmm.logs import parse_condition

        if self.converged is None:
            raise typer.BadParameter(
                f"{self.what} needs to know when a run has converged: --converged 'eval_accuracy > 0.9'"
            )
        with usage_errors():
            parse_condition(self.converged)
            runs = self.runs
            with progress_bar("refitting") as progress:
                analysis = analyze(
                    runs, self.model, converged=self.converged, rule=self.rule.value, within=self.within,
                    refits=self.refits, prefix=False, seed=self.seed, jobs=ALL_CORES, progress=progress,
                    cache=self.cache,
                )  # fmt: skip
        say_unmet(analysis)
        say_lost(analysis.notes, self.runs.n_runs)
        return analysis

    def times(self, only: Sequence[str]) -> Convergence:
        """When some of the runs converge, for what shows no more of it than that."""
        from trajhmm.dynamics.detours.convergence import convergence_of

        with usage_errors():
            times = convergence_of(self.runs, self.converged or "", only=only)
        _say_unmet(times)
        return times

    @property
    def result(self) -> Analysis | Decoded:
        """The analysis if there is a condition, else the decoded runs: map and trajectories either way."""
        return self.decoded if self.converged is None else self.analysis


def collect_seldom() -> None:
    """Have Python look for garbage less often.

    Libraries that are loaded leave much behind that stays; to look through it again and again takes a fifth of the time
    of a figure whose analysis is known.
    """
    gc.set_threshold(100_000, 20, 100)


def say_unmet(analysis: Analysis) -> None:
    """Say before all else that no run meets the condition, if so: what the logs hold, and what to try."""
    _say_unmet(analysis.convergence_times)


def _say_unmet(times: Convergence) -> None:
    if times.unmet:
        say(
            f"warning: no run meets --converged '{times.condition}', so nothing is said of what delays convergence; "
            f"the map and how runs move on it stand; {times.unmet}"
        )


def _columns_of(name: str) -> tuple[Sequence[str], Sequence[str]]:
    """Columns of text and of numbers that a finished table has to have."""
    if name == "profile.csv":
        from trajhmm.dynamics.stability.audit.profile import QUANTITIES

        bounds = [column for one in QUANTITIES.values() for column in (one.column, one.low, one.high)]
        return ("dimension", "strength"), ("n_runs", *bounds)
    return _COLUMNS[name]


def kind_of(kinds: dict[str, Any]) -> Callable[[str], str]:
    """A check that a kind is one of ``kinds``, for typer."""

    def check(kind: str) -> str:
        if kind not in kinds:
            raise typer.BadParameter(f"{kind!r}: expected one of {', '.join(kinds)}{meant(kind, kinds)}")
        return kind

    return check
