"""Which log files are there, and which of them changed since they were last read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trajhmm.logs.following.seen import FileSeen, Stamp
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.registry import format_of, recognised
from trajhmm.logs.formats.sql import SQL
from trajhmm.logs.sources.paths import Home, LogFile, common_folder, partition_of, walk
from trajhmm.logs.sources.products import no_log
from trajhmm.naming import natural_key


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A file that is there: where it is without links, and what was seen of it."""

    real: str
    file: LogFile
    seen: FileSeen


class Listing:
    """Files and folders that are listed again and again; they need not exist yet.

    A listing takes one look at each file, and more only at those that are new.

    Attributes
    ----------
    seen : what was seen of each file by its path without links, those among them that are gone.
    refused : what could not be looked at the last time, and why.
    """

    def __init__(self, paths: Iterable[Path], table: str | None = None) -> None:
        self.seen: dict[str, FileSeen] = {}
        self.refused: dict[Path, str] = {}
        self._paths, self._table = tuple(paths), table
        self._listed: dict[str, Found] = {}
        self._real: dict[str, Found] = {}
        self._stems: Counter[str] = Counter()
        self._homes: dict[str, Home] = {}
        self._unknown: dict[str, Stamp] = {}  # files that no reader takes, so far

    @property
    def there(self) -> Mapping[str, Found]:
        """The files that were there the last time, by path without links."""
        return self._real

    def changed(self) -> list[tuple[Found, Stamp]]:
        """List again: files that are not as they were when they were last read, in natural order.

        Raises
        ------
        LogError
            A file that was named has a suffix that no reader takes.
        """
        changed: dict[Found, Stamp] = {}
        new: dict[str, tuple[bool, Stamp]] = {}
        listed: set[str] = set()
        together: dict[str, Stamp] = {}
        for path, searched, status in self._entries():
            listed.add(path)
            found, stamp = self._listed.get(path), _stamp_of(path, status)
            if found is None:
                if self._unknown.get(path) != stamp:
                    new.setdefault(path, (searched, stamp))
            elif found.file.format.together:
                together[found.real] = stamp.beside(together.get(found.real))
            elif found.file.format.whole_history and path != str(found.file.path):
                continue
            elif stamp not in (found.seen.stamp, found.seen.failed):
                changed[found if found.seen.runs else self._known_anew(found)] = stamp
        for real, stamp in together.items():
            found = self._real[real]
            if stamp not in (found.seen.stamp, found.seen.failed):
                changed[found] = stamp
        if len(listed) - len(new) < len(self._listed):
            self._forget_all_but(listed)
        if new:
            changed.update(self._first_found(new))
        return sorted(changed.items(), key=lambda one: natural_key(str(one[0].file.path)))

    def _entries(self) -> Iterator[tuple[str, bool, os.stat_result]]:
        """Path of each log file, whether it was searched for, and its status."""
        self.refused.clear()
        for root in self._paths:
            try:
                status = root.stat()
            except OSError as error:
                self._refuse(error)
                continue
            if stat.S_ISREG(status.st_mode):
                yield str(root), False, status
                continue
            if not stat.S_ISDIR(status.st_mode):  # which would be waited for, and all other runs with it
                self.refused[root] = f"{root}: no file but a folder, pipe, device or socket"
                continue
            for entry in walk(root, self._refuse):
                try:
                    status = entry.stat()
                except OSError as error:
                    self._refuse(error)
                else:
                    yield entry.path, True, status

    def _refuse(self, error: OSError) -> None:
        """Take note of what cannot be looked at; what is not there, yet or any more, is no matter."""
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            path = Path(error.filename)
            self.refused[path] = f"{path}: cannot be looked at ({error.strerror})"

    def _forget_all_but(self, listed: Container[str]) -> None:
        gone = {found.real for path, found in self._listed.items() if path not in listed}
        for real in gone:
            self._real.pop(real)
            home = self._homes.pop(real)
            self._stems[home.stem] -= home not in self._homes.values()
        self._stems = +self._stems
        self._listed = {path: found for path, found in self._listed.items() if found.real not in gone}

    def _first_found(self, new: Mapping[str, tuple[bool, Stamp]]) -> Iterator[tuple[Found, Stamp]]:
        """Find files that were not there before. A run is called as when its file was first seen.

        More files may make another name clearer, but a run does not change its name.
        """
        base = common_folder(path for path in self._paths if path.exists())
        formats: dict[str, Format] = {}
        for listed, (searched, stamp) in new.items():
            if (format_ := self._format(Path(listed), searched=searched)) is None:
                if Path(listed) not in self.refused:
                    self._unknown[listed] = stamp
            else:
                formats[listed] = format_
                self._unknown.pop(listed, None)
        real_paths = {listed: _real_path(Path(listed), formats[listed]) for listed in formats}
        in_order = sorted(formats, key=lambda listed: (formats[listed].reaches(Path(listed)), natural_key(listed)))
        last = {real_paths[listed]: listed for listed in in_order}
        files = {real: listed for real, listed in last.items() if real not in self._real}
        known = set(self._homes.values())
        for real, listed in files.items():
            self._homes[real] = Home.of(Path(listed), formats[listed], base)
        self._stems.update(home.stem for home in {self._homes[real] for real in files} - known)
        for real, listed in last.items():
            if real not in files and self._tells_more(listed, self._real[real]):
                before = self._real[real]
                self._real[real] = replace(before, file=replace(before.file, path=Path(listed)))
                yield self._real[real], new[listed][1]
        for real, listed in files.items():
            path, (searched, stamp) = Path(listed), new[listed]
            if real not in self.seen:
                self.seen[real] = FileSeen(name=self._homes[real].default_name(base, self._stems))
            seen = self.seen[real]
            file = LogFile(
                path=path,
                format=formats[listed],
                name=seen.name,
                partition=partition_of(path),
                searched=searched,
                table=self._table if formats[listed] is SQL else None,
            )
            self._real[real] = Found(real=real, file=file, seen=seen)
            if stamp != seen.stamp:
                yield self._real[real], stamp
        self._listed = {path: self._real[found.real] for path, found in self._listed.items()}
        self._listed |= {listed: self._real[real] for listed, real in real_paths.items()}

    @staticmethod
    def _tells_more(listed: str, found: Found) -> bool:
        """Whether a file that tells the whole of a run comes after the one that told it so far."""
        if not found.file.format.whole_history:
            return False
        reaches, before = found.file.format.reaches, found.file.path
        return (reaches(Path(listed)), natural_key(listed)) > (reaches(before), natural_key(str(before)))

    def _format(self, path: Path, *, searched: bool) -> Format | None:
        """The format of a file; None while no reader takes it, as it may not hold enough yet, or it is no log."""
        try:
            if self._table is not None and SQL.may_be(path.as_posix()):
                return SQL
            found = recognised(path)
            if found is None and not searched and path.stat().st_size:
                return format_of(path)
            if found is not None and searched and no_log(path):
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            self.refused[path] = f"{path}: cannot be read ({error.strerror or error})"
            return None
        return found

    def _known_anew(self, found: Found) -> Found:
        """The same file, of which no row was read so far, with the format that it has now."""
        format_ = self._format(found.file.path, searched=True)
        if format_ is None or format_ is found.file.format:
            return found
        anew = replace(found, file=replace(found.file, format=format_))
        self._real[found.real] = anew
        self._listed = {path: anew if one is found else one for path, one in self._listed.items()}
        return anew


def _stamp_of(path: str, status: os.stat_result) -> Stamp:
    """What tells that a file changed: of a SQLite database its write-ahead log too, where new rows wait."""
    stamp = Stamp.of(status)
    if SQL.may_be(path):
        with suppress(OSError):
            ahead = os.stat(f"{path}-wal")  # noqa: PTH116 (as fast as it can be)
            stamp = stamp._replace(
                size=stamp.size + ahead.st_size,
                written=max(stamp.written, ahead.st_mtime_ns),
                changed=max(stamp.changed, ahead.st_ctime_ns),
            )
    return stamp


def _real_path(path: Path, found: Format) -> str:
    """What a file is known by: its path without links, or of files that tell the same run again, that of the run."""
    if found.whole_history:
        return f"{found.home(path).resolve()}/:{found.name}"
    return str(path.resolve())
