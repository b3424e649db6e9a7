"""Independent fits side by side: threads, one BLAS thread each; the kernels release the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from trajhmm.errors import FitError

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


class Tally:
    """Tells a `Progress` of work whose extent becomes known on the way."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._ended = self._known = 0

    def of(self, tasks: int) -> Progress | None:
        """What to tell of so many more tasks."""
        if self._progress is None:
            return None
        before = self._ended
        self._known = max(self._known, before + tasks)
        self._ended = before + tasks
        return lambda done, _: self._tell(before + done)

    def expect(self, tasks: int) -> None:
        """Say that about so many more tasks are to come."""
        self._known = self._ended + tasks

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, max(self._known, done))


def in_threads(
    run: Callable[[Task], Result], tasks: Sequence[Task], *, n_jobs: int = 1, progress: Progress | None = None
) -> list[Result]:
    """``[run(task) for task in tasks]`` in ``n_jobs`` threads; ``progress`` is told (done, all) after each.

    Parameters
    ----------
    n_jobs : -1 for as many as there are cores, -2 for one less.

    Raises
    ------
    FitError
        ``n_jobs`` is no such number.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or not n_jobs:
        raise FitError(f"jobs={n_jobs!r:.60}: expected a whole number of threads, or -1 for as many as there are cores")
    results: list[Result] = []
    with threadpool_limits(1):
        # No more threads than there is work for: whoever asks for a million means all there are.
        parallel = Parallel(n_jobs=min(n_jobs, max(1, len(tasks))), prefer="threads", return_as="generator")
        for result in parallel(delayed(run)(task) for task in tasks):
            results.append(result)
            if progress is not None:
                progress(len(results), len(tasks))
    return results
