"""Which runs of a watch stand still while others go on."""

from __future__ import annotations

from collections.abc import Mapping

# Fewer runs tell nothing of one that stands still.
_FEWEST = 2


class Silence:
    """Runs that gained no row while the others gained so many in the median, each told once until it goes on.

    Parameters
    ----------
    rows : how many.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._gained: dict[str, int] = {}
        self._clock: dict[str, int] = {}
        self._told: set[str] = set()

    def after(self, gained: Mapping[str, int]) -> list[str]:
        """Which runs have become silent.

        Parameters
        ----------
        gained : rows that each run gained since this was asked last.
        """
        if not gained:
            return []
        for run, rows in gained.items():
            self._gained[run] = self._gained.get(run, 0) + rows
        self._told -= gained.keys()
        going = sorted(self._gained[run] for run in self._gained)
        clock = going[len(going) // 2]
        self._clock.update(dict.fromkeys(gained, clock))
        if len(going) < _FEWEST:
            return []
        silent = [run for run, last in self._clock.items() if clock - last >= self._rows and run not in self._told]
        self._told.update(silent)
        return silent
