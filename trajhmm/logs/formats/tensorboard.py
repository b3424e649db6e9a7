"""TensorBoard: event files, and the CSV files that its pages offer for download."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.formats.delimited import read_csv
from trajhmm.logs.formats.format import Format, Growth
from trajhmm.logs.formats.lines import GrowingFile, Lines, Place
from trajhmm.logs.formats.table import RUN_NAME, Table, check_columns, most_cells
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute

if TYPE_CHECKING:
    from trajhmm.logs.formats.eventfiles import Ints

_STEP = "step"
_ALL = 2**62
# Records that are read at a time of a file that grows: each is a row of its own, however many tags there are.
_AT_ONCE = 2**13
# Rows times tags that a table may have, of 9 bytes each.
_MOST_CELLS, _MOST_APART = 2**29, 2**26
_MOST_TOLD = 8
# Bytes that may belong to no record; and what `Table.carry` says of them.
_MOST_LOST, _LOST = 2**26, "lost"


def read_event_file(path: Path, name: str) -> Table:
    """Read all scalars of an event file, a row a step and a column a tag.

    Points of one step are one row; where a tag goes back to an earlier step, or repeats one, as in a resumed run, rows
    begin anew. Values that are no single numbers are left out with a note, as are records whose checksum is wrong, and
    a last record that is half-written. Hyperparameters of the hparams plugin are attributes.

    Raises
    ------
    LogError
        The file cannot be read, is no event file, or has too many tags for a table.
    """
    points, place = _Points(), Place()
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            for lines, behind in GrowingFile(stream, header=False, cut=_whole_records).lines_behind(place):
                points.add(lines.raw)
                points.check_lost(path)
                place = behind
            stream.seek(place.offset)
            begins = _is_begun(stream.read(_BEGINNING))
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size and not points.n_records and not begins:
        raise LogError(
            f"{path}: no event file of TensorBoard: none of its {size} bytes begins a record (length and checksum); "
            "copy it again, or leave it out"
        )
    torn = size - place.offset
    notes = [Note(kind="torn", text=f"{path}: last record is half-written, {torn} bytes, left out")] if torn else []
    return points.table(path, name, notes, joined=True)


def read_some_events(lines: Lines, path: Path, name: str) -> Table:
    """Read some records of an event file, each a row: where reading stopped may be between the tags of a step."""
    points = _Points()
    points.add(lines.raw)
    points.n_lost += int(lines.carry.get(_LOST, 0))
    points.check_lost(path)
    table = points.table(path, name, [], joined=False)
    return replace(table, carry={**lines.carry, _LOST: points.n_lost})


def _whole_records(data: bytes | bytearray, ended: bool, most: int = _ALL) -> int:  # noqa: FBT001 (as `Cut` says)
    """How many bytes are whole records, at most so many."""
    from trajhmm.logs.formats.eventfiles import whole

    return int(whole(np.frombuffer(data, dtype=np.uint8), ended, most))


_BEGINNING = 12


def _is_begun(data: bytes) -> bool:
    """Whether the first bytes of a record may be these."""
    from trajhmm.logs.formats.eventfiles import length_at

    return len(data) < _BEGINNING or length_at(np.frombuffer(data, dtype=np.uint8), 0) >= 0


@dataclass(kw_only=True, eq=False)
class _Points:
    """Scalars of an event file in their order, from several stretches of records.

    Attributes
    ----------
    records, steps, tags, values : of each stretch, (n,) number of a point's record, its step, the number of its tag,
        and its value.
    names : tags that hold scalars, and their numbers.
    others : tags that hold anything else.
    attributes : hyperparameters.
    n_records, n_damaged, n_senseless, n_lost : as `trajhmm.logs.formats.eventfiles.Parsed` counts them.
    """

    records: list[Ints] = field(default_factory=list)
    steps: list[Ints] = field(default_factory=list)
    tags: list[Ints] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    n_records: int = 0
    n_damaged: int = 0
    n_senseless: int = 0
    n_lost: int = 0

    def add(self, raw: bytes) -> None:
        """Read some whole records, and what lies between them."""
        from trajhmm.logs.formats.eventfiles import hyperparameters, numbers_of, parse

        data = np.frombuffer(raw, dtype=np.uint8)
        parsed = parse(data)
        names = [data[start:stop].tobytes().decode(errors="backslashreplace") for start, stop in parsed.names.tolist()]
        logged = np.bincount(parsed.tags, minlength=len(names)) > 0
        # Only tags that hold numbers are columns, in order of appearance.
        columns = zip(names, logged, strict=True)
        number = [self.names.setdefault(name, len(self.names)) if has else -1 for name, has in columns]
        # Copies, as views would keep alive the room that was made for more points.
        self.records.append(parsed.records.copy())
        self.steps.append(parsed.steps.copy())
        self.tags.append(np.array(number, dtype=np.int64)[parsed.tags])
        self.values.append(numbers_of(parsed.kinds, parsed.bits))
        self.others |= {name: None for name, times in zip(names, parsed.others.tolist(), strict=True) if times}
        for start, stop in parsed.sessions.tolist():
            self.attributes |= hyperparameters(data, start, stop)
        self.n_records += parsed.n_records
        self.n_damaged += parsed.n_damaged
        self.n_senseless += parsed.n_senseless
        self.n_lost += parsed.n_lost

    def check_lost(self, path: Path) -> None:
        """Refuse a file that was made longer than what was written to it.

        Raises
        ------
        LogError
            Far more bytes belong to no record than damage explains.
        """
        if self.n_lost > _MOST_LOST:
            raise LogError(
                f"{path}: more than {_MOST_LOST >> 20} MiB belong to no record; cut them off, or copy it again"
            )

    def table(self, path: Path, name: str, notes: Sequence[Note], *, joined: bool) -> Table:
        """Put the points into rows: those of a record, or if ``joined`` of a step, see `rows_of`."""
        from trajhmm.logs.formats.eventfiles import rows_of

        all_steps, tags = _one(self.steps), _one(self.tags)
        apart = all_steps if joined else _one(self.records)
        rows, steps, stretches = rows_of(apart, all_steps, tags, len(self.names), joined)
        if joined:
            # Within a stretch no tag goes back, so that steps that do were logged tag by tag.
            order = np.lexsort((steps, stretches))
            rows, steps = np.argsort(order)[rows], steps[order]
        n, n_tags = len(steps), len(self.names)
        check_columns(n_tags, path)
        # Where reading goes on in the midst of a step, each point is a row.
        if n * n_tags > min(_MOST_CELLS, most_cells(len(tags)) if joined else _MOST_APART):
            raise LogError(
                f"{path}: {n_tags} tags at {n} steps make a table of {9e-9 * n * n_tags:.1f} GB, nearly all blank; log "
                "tags that are used once or twice to a folder of their own"
            )
        cells, stands = np.full((n_tags, n), np.nan), np.zeros((n_tags, n), dtype=bool)
        if len(tags):
            cells[tags, rows], stands[tags, rows] = np.concatenate(self.values), True
        columns = {tag: _column_of(tag) for tag in self.names}
        present = {columns[tag]: stands[i] for tag, i in self.names.items() if not stands[i].all()}
        return Table(
            path=path,
            name=name,
            n=n,
            numbers={_STEP: steps.astype(np.float64)} | {columns[tag]: cells[i] for tag, i in self.names.items()},
            present=present,
            texts={},
            attributes={key: value for key, value in self.attributes.items() if key not in _TAKEN},
            blanks_are_blank=True,
            # The file that was begun later goes on with the run, wherever it ends.
            numbered=True,
            notes=(*self._notes(path), *_renamed_notes(path, columns), *notes),
        )

    def _notes(self, path: Path) -> list[Note]:
        """What was left out."""
        notes = []
        if self.others:
            names = [name or "one without a name" for name in self.others]
            told = ", ".join(names[:_MOST_TOLD]) + (", …" if len(names) > _MOST_TOLD else "")
            text = f"{path}: {len(names)} tags of text, histograms, images and the like, left out: {told}"
            notes.append(Note(kind="left-out", text=text))
        for count, what in (
            (self.n_damaged, "records whose checksum is wrong"),
            (self.n_senseless, "records that are no events"),
            (self.n_lost, "bytes between records that belong to none"),
        ):
            if count:
                notes.append(Note(kind="torn", text=f"{path}: {count} {what}, left out"))
        return notes


def _one(parts: Sequence[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


# Columns that say something else of a row than a metric does.
_TAKEN = {_STEP, RUN_NAME}


def _column_of(tag: str) -> str:
    return f"{tag} (tag)" if tag in _TAKEN else tag


def _renamed_notes(path: Path, columns: dict[str, str]) -> Iterable[Note]:
    for tag, column in columns.items():
        if column != tag:
            text = f"{path}: tag {tag!r} is read as {column!r}: a column {tag!r} says something else of a row"
            yield Note(kind="left-out", text=text)


EVENTS = Format(
    name="tensorboard",
    title="TensorBoard event files",
    names=r"tfevents(\.[^/]*)?",
    # Lengths of 8 bytes are never without one.
    takes=lambda _path, head: b"\0" in head or len(head) < _BEGINNING,
    read=read_event_file,
    growth=Growth(read=read_some_events, cut=partial(_whole_records, most=_AT_ONCE), by_line=False),
    home=lambda path: path.parent,
)

_HEADER = "Wall time,Step,Value"
_NAME = re.compile(r"(?:run-)?(?P<run>.+?)-tag-(?P<tag>.+?)(?:\.csv)?(?:\.gz)?", re.IGNORECASE)


def read_download(path: Path, name: str) -> Table:
    """Read the points of one metric that TensorBoard gave for download.

    They are named after the file: ``run-NAME-tag-TAG.csv``; where it does not say, the metric is called ``value``.

    Raises
    ------
    LogError
        The file is torn, or holds words among its numbers.
    """
    table = read_csv(path, name)
    for column in ("Step", "Value"):
        if column not in table.numbers:
            raise LogError(f"{path}: column {column!r} holds no numbers; expected a download of TensorBoard, {_HEADER}")
    named = _NAME.fullmatch(path.name)
    tag = named["tag"] if named else "value"
    names = {"Step": _STEP, "Value": _column_of(tag)}
    sampled = "TensorBoard downloads a sample of the points, by default at most 1,000 of a metric"
    return replace(
        table,
        numbers={names[column]: table.numbers[column] for column in names},
        present={names[column]: table.present[column] for column in names if column in table.present},
        blanks_are_blank=True,
        notes=(
            *table.notes,
            Note(kind="hidden", text=f"{path}: {sampled}"),
            *_renamed_notes(path, {tag: _column_of(tag)}),
        ),
    )


def _is_download(_path: Path, head: bytes) -> bool:
    return head.decode("utf-8-sig", errors="replace").partition("\n")[0].strip() == _HEADER


def _run_of_download(path: Path) -> Path:
    """What the files of all metrics of a run have in common, as if it were a folder; a run ``.`` is the folder."""
    named = _NAME.fullmatch(path.name)
    return path.parent / named["run"] if named else path


DOWNLOAD = Format(
    name="tensorboard-csv",
    title="CSV from TensorBoard",
    names=r"\.csv(\.gz)?",
    takes=_is_download,
    read=read_download,
    home=_run_of_download,
)
