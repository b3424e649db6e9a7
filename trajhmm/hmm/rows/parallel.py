"""Independent fits side by side: threads, one BLAS thread each; the kernels release the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


def in_threads(
    run: Callable[[Task], Result], tasks: Sequence[Task], *, n_jobs: int = 1, progress: Progress | None = None
) -> list[Result]:
    """``[run(task) for task in tasks]`` in ``n_jobs`` threads; ``progress`` is told (done, all) after each."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    results: list[Result] = []
    with threadpool_limits(1):
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        for result in parallel(delayed(run)(task) for task in tasks):
            results.append(result)
            if progress is not None:
                progress(len(results), len(tasks))
    return results
