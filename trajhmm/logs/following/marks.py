"""`Marks`: by which rows, all along a run that was seen, it is known again where its file was written anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SIZE = 8
_MOST = 64

Fingerprint = Callable[[int], bytes]


class Marks(NamedTuple):
    """Fingerprints of rows ``every``, 2 ``every``, … of a run, of as many as 64 whatever its length, and of its end.

    A run that is started again may have the first row that it had, of the same seed, or all rows up to a checkpoint;
    from some row on it is another run. Another last row is no other run: some write it again and again, as long as an
    epoch goes on, before they begin the next.

    Attributes
    ----------
    every, prints : of rows up to the one before the last.
    end : of the last two rows, or of the last alone; empty in state files of before, which tell the first row alone.
    """

    every: int = 1
    prints: bytes = b""
    end: bytes = b""

    @classmethod
    def of(cls, every: int, prints: bytes, end: bytes) -> Marks:
        """Take what was stored.

        Raises
        ------
        ValueError
            These are none.
        """
        if every < 1 or len(prints) % SIZE or len(prints) > _MOST * SIZE or len(end) not in (0, SIZE, 2 * SIZE):
            raise ValueError("no fingerprints of rows")
        return cls(every, prints, end)

    def behind(self, rows: int, more: int, fingerprint: Fingerprint) -> Marks:
        """The same with ``more`` rows, at least 1, behind the first ``rows``; ``fingerprint`` of the row at a place."""
        every, prints, end = self
        if rows and not end:
            return self
        whole = rows + more

        def known(place: int) -> bytes:
            return end[-SIZE:] if place == rows - 1 else fingerprint(place)

        while (whole - 2) // every > _MOST:
            prints = b"".join(prints[at : at + SIZE] for at in range(SIZE, len(prints), 2 * SIZE))
            every *= 2
        regular = map(known, _places(every, max(rows - 1, 1), whole - 1))
        return Marks(every, prints + b"".join(regular), b"".join(map(known, range(max(whole - 2, 0), whole))))

    def differs(self, rows: int, begin: int, end: int, fingerprint: Fingerprint) -> int | None:
        """Of ``rows`` that were seen, the first from ``begin`` up to ``end`` that is another; None if none is known.

        The last of them does not count.
        """
        known = _places(self.every, max(begin, 1), min(end, self.reaches + 1))
        other = next((place for place in known if fingerprint(place) != self.at(place)), None)
        before = rows - 2
        if other is None and len(self.end) > SIZE and max(begin, 1) <= before < end:
            other = None if fingerprint(before) == self.end[:SIZE] else before
        return other

    @property
    def reaches(self) -> int:
        """The last row with a regular mark; 0 without one."""
        return self.every * (len(self.prints) // SIZE)

    def as_before(self, other: int) -> int:
        """How many rows are as they were, if the row ``other`` differs, of which no earlier mark does."""
        return self.every * ((other - 1) // self.every) + 1

    def of_first(self, rows: int, last: bytes) -> Marks:
        """Those of the first rows, at least 1, of which ``last`` is the fingerprint of the last."""
        return Marks(self.every, self.prints[: SIZE * (max(rows - 2, 0) // self.every)], last)

    def with_last(self, last: bytes) -> Marks:
        """The same with another fingerprint of the last row."""
        return self._replace(end=self.end[:-SIZE] + last) if self.end else self

    def at(self, place: int) -> bytes:
        """The fingerprint of a row with a regular mark."""
        begin = SIZE * (place // self.every - 1)
        return self.prints[begin : begin + SIZE]


def _places(every: int, begin: int, end: int) -> range:
    """Multiples of ``every`` from ``begin``, at least 1, up to ``end``."""
    return range(-(-begin // every) * every, end, every)
