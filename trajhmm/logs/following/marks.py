"""`Marks`: by which rows, all along a run that was seen, it is known again where its file was written anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_SIZE = 8
_MOST = 64

Fingerprint = Callable[[int], bytes]


class Marks(NamedTuple):
    """Fingerprints of rows ``every``, 2 ``every``, … of a run, of as many as 64 whatever its length, and of the last.

    A run that is started again may have the first row that it had, of the same seed, or all rows up to a checkpoint;
    from some row on it is another run.
    """

    every: int = 1
    prints: bytes = b""
    last: bytes = b""

    @classmethod
    def of(cls, every: int, prints: bytes, last: bytes) -> Marks:
        """Take what was stored.

        Raises
        ------
        ValueError
            These are none.
        """
        if every < 1 or len(prints) % _SIZE or len(prints) > _MOST * _SIZE or len(last) not in (0, _SIZE):
            raise ValueError("no fingerprints of rows")
        return cls(every, prints, last)

    def behind(self, rows: int, more: int, fingerprint: Fingerprint) -> Marks:
        """The same with ``more`` rows, at least 1, behind the first ``rows``; ``fingerprint`` of the row at a place."""
        every, prints, _ = self
        if rows and len(prints) // _SIZE != (rows - 1) // every:
            return self  # of a state file of before, which has none
        while (rows + more - 1) // every > _MOST:
            prints = b"".join(prints[at : at + _SIZE] for at in range(_SIZE, len(prints), 2 * _SIZE))
            every *= 2
        regular = map(fingerprint, _places(every, max(rows, 1), rows + more))
        return Marks(every, prints + b"".join(regular), fingerprint(rows + more - 1))

    def differs(self, rows: int, begin: int, end: int, fingerprint: Fingerprint) -> int | None:
        """Of ``rows`` that were seen, the first from ``begin`` up to ``end`` that is another; None if none is known."""
        known = _places(self.every, max(begin, 1), min(end, self.reaches + 1))
        other = next((place for place in known if fingerprint(place) != self._at(place)), None)
        if other is None and self.last and begin < rows <= end and fingerprint(rows - 1) != self.last:
            other = rows - 1
        return other

    @property
    def reaches(self) -> int:
        """The last row with a regular mark; 0 without one."""
        return self.every * (len(self.prints) // _SIZE)

    def as_before(self, other: int) -> int:
        """How many rows are as they were, if the row ``other`` differs, of which no earlier mark does."""
        return self.every * ((other - 1) // self.every) + 1 if other else 0

    def of_first(self, rows: int) -> Marks:
        """Those of the first rows, at least 1."""
        return Marks(self.every, self.prints[: _SIZE * ((rows - 1) // self.every)])

    def _at(self, place: int) -> bytes:
        at = _SIZE * (place // self.every - 1)
        return self.prints[at : at + _SIZE]


def _places(every: int, begin: int, end: int) -> range:
    """Multiples of ``every`` from ``begin``, at least 1, up to ``end``."""
    return range(-(-begin // every) * every, end, every)
