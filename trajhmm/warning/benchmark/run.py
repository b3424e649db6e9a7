"""Every detector on every set, by the protocol of `trajhmm.warning.evaluation`, with what others entered."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from trajhmm.errors import FitError, LogError, TrajHMMError
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.naming import instead_of
from trajhmm.warning.benchmark.sets import SETS
from trajhmm.warning.detectors import DETECTORS, make_detector
from trajhmm.warning.detectors.entered import Guest, entered_detectors, looks_ahead
from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.evaluation.comparison import ComparisonRow, compare
from trajhmm.warning.runs import Kind, Trial

if TYPE_CHECKING:
    import pandas as pd

BUDGETS = (0.05, 0.1)
# Healthy runs that a guest is fitted to, and runs that it is tried on, to see whether it looks ahead.
_FITTED, _TRIED = 8, 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A detector on a set: what came out, a row a budget, each as in ``results.csv``, and a row a run.

    Attributes
    ----------
    set, detector : names.
    rows, runs : as plain values.
    """

    set: str
    detector: str
    rows: tuple[dict[str, Any], ...]
    runs: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Result:
    """All entries.

    Attributes
    ----------
    entries : by set, then by detector.
    data : SHA-256 of the file of each set.
    seed : of splits and bootstraps.
    budgets : shares of healthy runs that may alarm.
    """

    entries: tuple[Entry, ...]
    data: Mapping[str, str]
    seed: int
    budgets: tuple[float, ...]

    def results(self) -> pd.DataFrame:
        """A row a set, detector and budget; without a budget at its own threshold, with no reference."""
        import pandas as pd

        return pd.DataFrame([row for entry in self.entries for row in entry.rows])

    def runs(self) -> pd.DataFrame:
        """A row a set, detector, budget and run: when it alarmed, and what that was."""
        import pandas as pd

        return pd.DataFrame([row for entry in self.entries for row in entry.runs])


def run_benchmark(
    data: Path,
    *,
    sets: Sequence[str] = tuple(SETS),
    detectors: Sequence[str] | None = None,
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run the benchmark; the same input gives the same result, whatever ``jobs``.

    Parameters
    ----------
    data : the folder ``data/`` of the project.
    sets : names, see `SETS`.
    detectors : names of this package's and of those that are entered; by default all.
    budgets : shares of healthy runs that may alarm.
    seed : of splits and bootstraps.
    jobs : processes.
    kept : folder in which finished entries are kept, so that a run that was cut off goes on.
    progress : called with (entries done, entries in all).

    Raises
    ------
    LogError
        A file is not there, or a name is not known.
    """
    _check_names("set", sets, list(SETS))
    guests, wrong = entered_detectors()
    known = [*DETECTORS, *guests, *wrong]
    chosen = known if detectors is None else list(detectors)
    _check_names("detector", chosen, known)
    missing = [SETS[name].file for name in sets if not (data / SETS[name].file).is_file()]
    if missing:
        raise LogError(f"{data / missing[0]}: missing; --data names the folder data/ of the project's source")
    digests = {name: SETS[name].digest(data) for name in sets}
    tasks = [
        Task(data=str(data), set=name, detector=detector, budgets=tuple(budgets), seed=seed, digest=digests[name])
        for name in sets
        for detector in chosen
    ]
    entries = []
    for done, entry in enumerate(_finished(tasks, jobs, kept)):
        entries.append(entry)
        if progress is not None:
            progress(done + 1, len(tasks))
    return Result(entries=tuple(entries), data=digests, seed=seed, budgets=tuple(budgets))


@dataclass(frozen=True, kw_only=True)
class Task:
    """One detector on one set."""

    data: str
    set: str
    detector: str
    budgets: tuple[float, ...]
    seed: int
    digest: str


def _finished(tasks: Sequence[Task], jobs: int, kept: Path | None) -> Iterator[Entry]:
    """Entries in the order of the tasks."""
    known = {task: entry for task in tasks if (entry := _read(task, kept)) is not None}
    rest = [task for task in tasks if task not in known]
    if jobs == 1 or len(rest) < 2:
        made = map(enter, rest)
        yield from _in_order(tasks, known, made, kept)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from _in_order(tasks, known, pool.map(enter, rest), kept)


def _in_order(
    tasks: Sequence[Task], known: Mapping[Task, Entry], made: Iterator[Entry], kept: Path | None
) -> Iterator[Entry]:
    for task in tasks:
        entry = known.get(task)
        if entry is None:
            entry = next(made)
            _keep(task, entry, kept)
        yield entry


def enter(task: Task) -> Entry:
    """One detector on one set; one that cannot be used has a reason for a row."""
    trials, hard = _trials(task.data, task.set)
    common = {"set": task.set, "situation": SETS[task.set].situation, "detector": task.detector}
    try:
        detector = _detector(task.detector)
        if isinstance(detector, Guest):
            _check_causal(detector, trials)
        rows = compare(trials, {task.detector: detector}, hard=hard, budgets=task.budgets, seed=task.seed).rows
    except TrajHMMError as error:
        reason = {**common, "reason": str(error)}
        return Entry(set=task.set, detector=task.detector, rows=(reason,), runs=())
    return Entry(
        set=task.set,
        detector=task.detector,
        rows=tuple(_plain({**common, **_alone(row), **_numbers(row)}) for row in rows),
        runs=tuple(
            _plain({**common, **_alone(row), "budget": row.budget, **asdict(outcome)})
            for row in rows
            for outcome in row.outcomes
        ),
    )


def _alone(row: ComparisonRow) -> dict[str, str]:
    """At its own threshold a detector has seen no other run."""
    return {"situation": "alone"} if row.budget is None and row.report is not None else {}


def _numbers(row: ComparisonRow) -> dict[str, Any]:
    from trajhmm.warning.evaluation.comparison import Comparison

    (numbers,) = Comparison(rows=(row,)).frame().to_dict("records")
    return {str(name): value for name, value in numbers.items() if name != "detector"}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts, as JSON has them; None for what is not defined."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    found = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(found, float) and not np.isfinite(found) else found


def _detector(name: str) -> Detector:
    if name in DETECTORS:
        return make_detector(name)
    guests, wrong = entered_detectors()
    if name in wrong:
        raise FitError(wrong[name])
    return guests[name]


def _check_causal(guest: Guest, trials: Sequence[Trial]) -> None:
    healthy = [trial.run for trial in trials if trial.truth.kind is Kind.HEALTHY]
    others = [trial.run for trial in trials if trial.truth.kind is Kind.COLLAPSED]
    labelled = tuple(trial for trial in trials if trial.truth.kind is not Kind.HEALTHY) if guest.uses_labels else ()
    fitted = guest.fit(Reference(healthy=tuple(healthy[:_FITTED]), labelled=labelled))
    told = looks_ahead(fitted, [*healthy[-1:], *others[: _TRIED - 1]])
    if told is not None:
        raise FitError(told)


@lru_cache(maxsize=2)
def _trials(data: str, name: str) -> tuple[list[Trial], list[Trial]]:
    return SETS[name].trials(Path(data))


def _check_names(what: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise LogError(f"no {what} {unknown[0]!r}{instead_of(unknown[0], known)}")


def _place(task: Task, kept: Path) -> Path:
    return _file(task.set, task.detector, kept)


def forget(result: Result, kept: Path) -> None:
    """Remove what was kept of a result that is whole now; what else lies in the folder stays, and it too then."""
    for entry in result.entries:
        with suppress(OSError):
            _file(entry.set, entry.detector, kept).unlink()
    with suppress(OSError):
        kept.rmdir()


def _file(set_: str, detector: str, kept: Path) -> Path:
    return kept / f"{set_}.{quote(detector, safe='')}.json"


def _read(task: Task, kept: Path | None) -> Entry | None:
    if kept is None or not _place(task, kept).is_file():
        return None
    try:
        found = json.loads(_place(task, kept).read_text(encoding="utf-8"))
        if found["task"] != json.loads(json.dumps(_key(task))):
            return None
        return Entry(set=task.set, detector=task.detector, rows=tuple(found["rows"]), runs=tuple(found["runs"]))
    except (ValueError, KeyError, TypeError):
        return None


def _keep(task: Task, entry: Entry, kept: Path | None) -> None:
    if kept is None:
        return
    from trajhmm.files import write_text

    kept.mkdir(parents=True, exist_ok=True)
    write_text(_place(task, kept), json.dumps({"task": _key(task), "rows": entry.rows, "runs": entry.runs}))


def _key(task: Task) -> dict[str, Any]:
    from trajhmm.hmm.versions import software_versions

    return {**asdict(task), "data": None, "versions": software_versions()}
