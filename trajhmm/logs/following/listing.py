"""Which log files are there, and which of them changed since they were last read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trajhmm.logs.following.seen import FileSeen, Stamp
from trajhmm.logs.formats.registry import format_of, stem_and_suffix
from trajhmm.logs.sources.paths import LogFile, common_folder, default_name, partition_of, relative_to, walk
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

    def __init__(self, paths: Iterable[Path]) -> None:
        self.seen: dict[str, FileSeen] = {}
        self.refused: dict[Path, str] = {}
        self._paths = tuple(paths)
        self._listed: dict[str, Found] = {}
        self._real: dict[str, Found] = {}
        self._stems: Counter[str] = Counter()

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
        for path, searched, status in self._entries():
            listed.add(path)
            found, stamp = self._listed.get(path), Stamp.of(status)
            if found is None:
                new.setdefault(path, (searched, stamp))
            elif stamp not in (found.seen.stamp, found.seen.failed):
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
            if not stat.S_ISDIR(status.st_mode):
                yield str(root), False, status
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
            self._stems[_stem(self._real.pop(real).file.path)] -= 1
        self._stems = +self._stems
        self._listed = {path: found for path, found in self._listed.items() if found.real not in gone}

    def _first_found(self, new: Mapping[str, tuple[bool, Stamp]]) -> Iterator[tuple[Found, Stamp]]:
        """Find files that were not there before. A run is called as when its file was first seen.

        More files may make another name clearer, but a run does not change its name.
        """
        real_paths = {path: str(Path(path).resolve()) for path in new}
        files = {real: path for path, real in real_paths.items() if real not in self._real}
        self._stems.update(_stem(Path(path)) for path in files.values())
        base = common_folder(path for path in self._paths if path.exists())
        for real, listed in files.items():
            path, (searched, stamp) = Path(listed), new[listed]
            format_ = format_of(path)
            if real not in self.seen:
                self.seen[real] = FileSeen(name=default_name(base, relative_to(base, path), self._stems))
            seen = self.seen[real]
            file = LogFile(path=path, format=format_, name=seen.name, partition=partition_of(path), searched=searched)
            self._real[real] = Found(real=real, file=file, seen=seen)
            if stamp != seen.stamp:
                yield self._real[real], stamp
        self._listed |= {path: self._real[real] for path, real in real_paths.items()}


def _stem(path: Path) -> str:
    return stem_and_suffix(path)[0]
