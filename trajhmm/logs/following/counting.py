"""`StepCounter`: steps of a run that is followed, numbered on where they begin again with each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True, slots=True)
class StepCounter:
    """What is known of the steps of a run, as `trajhmm.logs.assembly.epochs.numbered_on` knows them of a finished log.

    Attributes
    ----------
    first, last : raw steps; None before the first row.
    epoch : of the last row that told one.
    offset : from the raw step to the one it counts as.
    spacing : how far steps are apart.
    """

    first: int | None = None
    last: int = 0
    epoch: float = -np.inf
    offset: int = 0
    spacing: int = 1

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
            if step <= self.last and epoch > self.epoch > -np.inf and step <= self.first + self.spacing:
                self.offset += self.last + self.spacing - step
                numbered[row:] = steps[row:] + self.offset
            elif step > self.last:
                self.spacing = step - self.last
            self.last = step
            if not math.isnan(epoch):
                self.epoch = epoch
        return numbered

    def to_list(self) -> list[float | None]:
        """What a state file holds."""
        return [self.first, self.last, None if self.epoch == -np.inf else self.epoch, self.offset, self.spacing]

    @classmethod
    def of(cls, stored: Sequence[float | None]) -> StepCounter:
        """Take what `to_list` gave."""
        first, last, epoch, offset, spacing = stored
        return cls(
            first=None if first is None else int(first),
            last=int(last or 0),
            epoch=-np.inf if epoch is None else epoch,
            offset=int(offset or 0),
            spacing=int(spacing or 1),
        )
