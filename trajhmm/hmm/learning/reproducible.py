"""Which number of states comes back: maps of random halves of the runs, each decoding all runs, must agree.

Criteria on the likelihood take the rows of a run for independent. They are not, and a smooth road has no right number
of stairs, so they ask for ever more states. What comes back in other runs does not (stability selection for clusters:
Lange, Roth, Braun and Buhmann 2004; von Luxburg 2010). Agreement of the halves as a whole passes over a spare state
with few rows; so each state has to be found again as well (Hennig 2007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.hmm.certificate import AGREEMENT, FEWEST_RUNS, RECOVERY, Halves
from trajhmm.hmm.inference.matching import adjusted_rand, contingency, jaccard
from trajhmm.hmm.inference.outliers import outlier_states
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.inference.shifts import possible, strided_parameters, thinned, without_shifts
from trajhmm.hmm.learning.em import Restart, best_parameters
from trajhmm.hmm.learning.fitting import Data, Fit, Job, run_jobs
from trajhmm.hmm.parameters import Parameters, Topology
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import Tally, in_threads
from trajhmm.hmm.rows.source import Source
from trajhmm.hmm.settings import Settings

# After the first splits, and then after each, a number of states is given up whose mean falls short of the mark by more
# than this over the number of splits.
_FIRST_SPLITS = 2
_HOPE = 0.2
# Another seed's fit is kept if it is likelier by so many nats a row.
_LIKELIER = 1e-4
# Fits from other seeds that the map is compared with.
_SEEDS = 4
# Rows that paths are compared on: of more, one in so many of each run.
_ROWS = 16384
# Rows in which outlier states are looked for: of more, in some of the runs, as many as hold about so many.
_WHOLE_ROWS = 2**22


@dataclass(frozen=True, kw_only=True, eq=False)
class Halver:
    """Fits halves of the runs of some data, and says how far they agree.

    Attributes
    ----------
    source : all rows.
    settings : of every fit, save the number of states.
    splits : (S, R) bool, the runs of the first half of each split.
    n_jobs : threads; results do not depend on it.
    tally : what tells of the progress.
    whole : all runs.
    data : (S, 2) the halves.
    fitted : fits of both halves by number of states and split, as far as they were made.
    """

    source: Source
    settings: Settings
    splits: NDArray[np.bool_]
    n_jobs: int
    tally: Tally
    whole: Data
    data: tuple[tuple[Data, Data], ...]
    fitted: dict[tuple[int, int], tuple[Parameters | None, Parameters | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, whole: Data, settings: Settings, *, n_splits: int, n_jobs: int, tally: Tally) -> Halver:
        """Draw the splits: the same whatever the seed, so that fits of other seeds differ by their starts alone."""
        source = whole.source
        n_runs = len(source.lengths)
        rng = np.random.default_rng([0x4A1F, n_runs])
        splits = np.array([rng.permutation(n_runs) < n_runs // 2 for _ in range(n_splits)]).reshape(n_splits, n_runs)
        data = tuple(
            (
                Data(source=source, weights=first.astype(np.float64)),
                Data(source=source, weights=(~first).astype(np.float64)),
            )
            for first in splits
        )
        return cls(source=source, settings=settings, splits=splits, n_jobs=n_jobs, tally=tally, whole=whole, data=data)

    def halves(self, fit: Fit) -> Halves | None:
        """Fit the halves with as many states as ``fit`` has; None if some half cannot be fitted.

        Parameters
        ----------
        fit : of all runs.
        """
        k = fit.parameters.n_states
        agreement: list[float] = []
        recovery: list[NDArray[np.float64]] = []
        for first, last in pairwise((0, *range(_FIRST_SPLITS, len(self.data)), len(self.data))):
            fits = self._fits(k, range(first, min(last, len(self.data))))
            if any(one is None for pair in fits for one in pair):
                return None
            found = self._compared(fit.parameters, [one for pair in fits for one in pair if one is not None])
            agreement += found.agreement
            recovery += found.recovery
            hope = _HOPE / len(agreement)
            if np.mean(agreement) < AGREEMENT - hope or np.mean(recovery, axis=0).min() < RECOVERY - hope:
                break
        mean: NDArray[np.float64] = np.mean(recovery, axis=0)
        return Halves(states=k, agreement=tuple(agreement), recovery=tuple(mean.tolist()))

    def _fits(self, k: int, splits: Iterable[int]) -> list[tuple[Parameters | None, Parameters | None]]:
        """Fits of some splits, each made once: they do not depend on the map that they are compared with.

        Halves have seeds of their own: that both come from the same start must not be why they agree. These are the
        same whatever the seed of the fit, so that it decides nothing about the number of states.
        """
        missing = [split for split in splits if (k, split) not in self.fitted]
        jobs = [
            Job(settings=self.settings.anew(k, 0x4A1F, 2 * split + side), data=half, finals=1)
            for split in missing
            for side, half in enumerate(self.data[split])
        ]
        best = [best_parameters(restarts) for restarts in self._run(jobs)] if jobs else []
        for split, pair in zip(missing, zip(best[::2], best[1::2], strict=True), strict=True):
            self.fitted[k, split] = pair
        return [self.fitted[k, split] for split in splits]

    def seeds(self, fit: Fit) -> tuple[Fit, tuple[float, ...]]:
        """Fit all rows from other seeds as well.

        Returns
        -------
        fit : the likeliest of all, which is ``fit`` unless another is likelier by more than rounding.
        agreement : adjusted Rand index of its states with those of the others; 0 for a seed of which every fit
            degenerated, as that gives no map.
        """
        k = fit.parameters.n_states
        jobs = [
            Job(
                settings=replace(self.settings.anew(k, 0x5EED, number), tol=self.settings.tol),
                data=self.whole,
                finals=1,
            )
            for number in range(_SEEDS)
        ]
        fits = [fit]
        for job, restarts in zip(jobs, self._run(jobs), strict=True):
            with suppress(FitError):
                fits.append(job.choose(restarts))
        rows = int(self.source.lengths.sum())
        likelier = max(range(len(fits)), key=lambda number: fits[number].objective)
        best = likelier if fits[likelier].objective > fit.objective + _LIKELIER * rows else 0
        paths = self._paths([one.parameters for one in fits])
        others = [path for number, path in enumerate(paths) if number != best]
        agreement = [adjusted_rand(contingency(paths[best], path, k, k)) for path in others]
        return fits[best], (*agreement, *[0.0] * (len(jobs) - len(agreement)))

    def outliers(self, fit: Fit) -> int:
        """How many states of a map are single rows far off, from which runs go on where they were."""
        lengths = self.source.lengths
        # Drawn, as runs may stand in an order that repeats.
        order = np.random.default_rng(0).permutation(len(lengths))
        some = np.zeros(len(lengths), dtype=bool)
        enough = int(np.searchsorted(np.cumsum(lengths[order]), _WHOLE_ROWS, side="right"))
        some[order[: max(FEWEST_RUNS, enough)]] = True
        whole = partial(_whole_runs, fit=fit.parameters, some=some, topology=self.settings.topology)
        path = np.concatenate(list(self.source.map(whole)))
        return len(outlier_states(path, lengths[some], fit.parameters.n_states))

    def _run(self, jobs: Sequence[Job]) -> list[list[Restart]]:
        return run_jobs(jobs, n_jobs=self.n_jobs, progress=self.tally.of(len(jobs)))

    def _compared(self, whole: Parameters, halves: Sequence[Parameters]) -> _Compared:
        k = whole.n_states
        if not halves:
            return _Compared(agreement=[], recovery=[])
        paths = self._paths([whole, *halves])
        own, others = paths[0], paths[1:]
        pairs = zip(others[::2], others[1::2], strict=True)
        return _Compared(
            agreement=[adjusted_rand(contingency(one, other, k, k)) for one, other in pairs],
            recovery=[jaccard(contingency(own, path, k, k)) for path in others],
        )

    def _paths(self, fits: Sequence[Parameters]) -> list[NDArray[np.int64]]:
        """The likeliest path of all runs under each fit, on some of the rows."""
        every = max(1, -(-int(self.source.lengths.sum()) // _ROWS))

        def decoded(fit: Parameters) -> NDArray[np.int64]:
            return np.concatenate(
                list(self.source.map(partial(_decoded, fit=fit, every=every, topology=self.settings.topology)))
            )

        return in_threads(decoded, fits, n_jobs=1 if self.source.one_pass else self.n_jobs)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Compared:
    """Agreement of each pair of halves, and (K,) recovery of the map's states in each half."""

    agreement: list[float]
    recovery: list[NDArray[np.float64]]


def _whole_runs(chunk: Chunk, fit: Parameters, some: NDArray[np.bool_], topology: Topology) -> NDArray[np.int64]:
    """The likeliest path of those of all runs that ``some`` marks, every row of them."""
    own = some[chunk.first_run : chunk.first_run + chunk.n_runs]
    return _decoded(chunk.picked(own), fit, 1, topology) if own.any() else np.empty(0, dtype=np.int64)


def _decoded(chunk: Chunk, fit: Parameters, every: int, topology: Topology) -> NDArray[np.int64]:
    few = thinned(chunk, every)
    strided = strided_parameters(possible(fit, topology), every)
    values = without_shifts(few.values, few.offsets, strided)
    return decode_rows(values, few.offsets, strided)[0]
