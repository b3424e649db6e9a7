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
        # Rows that each run gained, as if it had begun with what the others had in the median when it came.
        self._gained: dict[str, int] = {}
        self._now = 0
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
        known = self._gained.keys() & gained.keys()
        self._gained.update({run: self._gained[run] + gained[run] for run in known})
        self._gained.update(dict.fromkeys(gained.keys() - known, self._now))
        self._told -= gained.keys()
        going = sorted(self._gained.values())
        self._now = going[len(going) // 2]
        self._clock.update(dict.fromkeys(gained, self._now))
        if len(going) < _FEWEST:
            return []
        silent = [run for run, last in self._clock.items() if self._now - last >= self._rows and run not in self._told]
        self._told.update(silent)
        return silent
