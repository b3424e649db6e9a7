"""What runs there are, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.logs import Note, RunSet
from trajhmm.logs.inspect import describe
from trajhmm.report.tables import MISSING, Cell, Column, Row, Table, number, visited, whole, words


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Runs, a row each; how many have problems; and what was seen that concerns all of them."""

    table: Table
    troubled: int
    remarks: tuple[str, ...]


def overview(
    runs: RunSet,
    notes: Iterable[Note],
    *,
    visits: Mapping[str, tuple[int, ...]] | None = None,
    convergence: Convergence | None = None,
    collapses: Mapping[str, int | None] | None = None,
) -> Overview:
    """Make the table of runs.

    Parameters
    ----------
    runs : the logs.
    notes : what the reader and the model saw and did.
    visits : states that each run visits; runs that were left out are not in it. None where there is no map.
    convergence : of the runs, if that was asked for.
    collapses : step at which each run collapsed, or None, if that was asked for.
    """
    problems: dict[str, list[str]] = {run: [] for run in runs.runs}
    for note in notes:
        if note.run is not None:
            problems.setdefault(note.run, []).append(f"{note.kind}: {note.text}")
    attributes = [name for name in runs.attribute_names if runs.attributes[name].nunique(dropna=False) > 1]
    columns = [Column(title="Run", number=False), *(Column(title=name, number=False) for name in attributes)]
    columns += [Column(title=t) for t in ("Rows", "First step", "Last step", "Gaps", "Resumes", "Not finite")]
    extra: list[Callable[[str], Cell]] = []
    if convergence is not None:
        columns.append(Column(title="Converged at"))
        extra.append(_converged(convergence))
    if collapses is not None:
        columns.append(Column(title="Collapsed at"))
        extra.append(lambda run: whole(at) if (at := collapses.get(run)) is not None else Cell(text="never"))
    if visits is not None:
        columns.append(Column(title="States"))
        extra.append(lambda run: visited(visits.get(run, ())))
    columns.append(Column(title="Problems", number=False))
    rows = []
    for found in describe(runs)["runs"]:
        run = found["run"]
        counts = [found[key] for key in ("rows", "first_step", "last_step", "gaps", "resumes", "non_finite")]
        cells = [words(run), *(_attribute(found["attributes"][name]) for name in attributes), *map(whole, counts)]
        cells += [cell(run) for cell in extra]
        cells.append(Cell(text="; ".join(problems[run]) or MISSING, value="; ".join(problems[run]) or None))
        rows.append(Row(cells=tuple(cells), visits=None if visits is None else visits.get(run, ())))
    return Overview(
        table=Table(name="Runs", columns=tuple(columns), rows=tuple(rows)),
        troubled=sum(bool(found) for found in problems.values()),
        remarks=tuple(f"{note.kind}: {note.text}" for note in notes if note.run is None),
    )


def without_folders(notes: Iterable[Note], sources: Sequence[Path]) -> tuple[Note, ...]:
    """Notes that name the files and folders that were read, without the folders that those lie in."""
    kept = []
    for note in notes:
        text = note.text
        for path in sources:
            if path.parent == Path():
                continue
            text = text.replace(str(path), path.name)
        kept.append(Note(kind=note.kind, run=note.run, text=text))
    return tuple(kept)


def _converged(convergence: Convergence) -> Callable[[str], Cell]:
    met = {
        run: int(step)
        for run, step, converged in zip(convergence.runs, convergence.steps, convergence.converged, strict=True)
        if converged
    }
    return lambda run: whole(met[run]) if run in met else Cell(text="never" if run in convergence.runs else MISSING)


def _attribute(value: object) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(float(value))
    return Cell(text=MISSING) if value is None else words(str(value))
