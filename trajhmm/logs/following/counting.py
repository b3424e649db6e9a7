"""`StepCounter`: steps of a run that is followed, numbered on where they begin again with each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.epochs import RISES_ASKED, usual_spacing


@dataclass(kw_only=True, slots=True)
class StepCounter:
    """What is known of the steps of a run, as `trajhmm.logs.assembly.epochs.numbered_on` knows them of a finished log.

    Attributes
    ----------
    first, last : raw steps; None before the first row.
    epoch : of the last row that told one.
    offset : from the raw step to the one it counts as.
    spacing : how far steps are usually apart, once that is settled.
    rises : what that is told by, until steps first begin again behind one; then None.
    """

    first: int | None = None
    last: int = 0
    epoch: float = -np.inf
    offset: int = 0
    spacing: int = 1
    rises: list[int] | None = field(default_factory=list)

    def take(self, steps: NDArray[np.int64], epochs: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """(n,) steps of the next rows, numbered on.

        Parameters
        ----------
        steps : (n,) as they are written, n at least 1.
        epochs : (n,) NaN where blank; None if no column tells them.
        """
        if self.first is None:
            self.first = self.last = int(steps[0])
        numbered = steps + self.offset
        if epochs is None:
            self.last = int(steps[-1])
            return numbered
        for row, (step, epoch) in enumerate(zip(steps.tolist(), epochs.tolist(), strict=True)):
            anew = step <= self.last and epoch > self.epoch > -np.inf
            if anew and step <= self.first + (spacing := self._spacing()):
                self.offset += self.last + spacing - step
                numbered[row:] = steps[row:] + self.offset
            self._look(step, begins=anew or step < self.last)
            self.last = step
            if not math.isnan(epoch):
                self.epoch = epoch
        return numbered

    def _spacing(self) -> int:
        return usual_spacing(self.rises) if self.rises else self.spacing

    def _look(self, step: int, *, begins: bool) -> None:
        """What the next step says of how far they are apart."""
        if self.rises is None:
            return
        if len(self.rises) == RISES_ASKED or (begins and self.rises):
            self.spacing, self.rises = usual_spacing(self.rises), None
        elif step > self.last:
            self.rises.append(step - self.last)

    def to_list(self) -> list[Any]:
        """What a state file holds."""
        epoch = None if self.epoch == -np.inf else self.epoch
        return [self.first, self.last, epoch, self.offset, self.spacing, self.rises]

    @classmethod
    def of(cls, stored: Sequence[Any]) -> StepCounter:
        """Take what `to_list` gave; files of before hold no rises, and what comes next tells them."""
        first, last, epoch, offset, spacing, *rises = stored
        return cls(
            first=None if first is None else int(first),
            last=int(last or 0),
            epoch=-np.inf if epoch is None else epoch,
            offset=int(offset or 0),
            spacing=int(spacing or 1),
            rises=[int(rise) for rise in rises[0]] if rises and rises[0] is not None else None if rises else [],
        )
