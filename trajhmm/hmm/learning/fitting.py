"""Fits of one or many numbers of states to the same rows: starts, restarts, and which one is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.hmm.inference.paths import paths_of
from trajhmm.hmm.inference.shifts import infer_shifts
from trajhmm.hmm.learning.em import Engine, NativeEngine, Restart, Start, best_of, climb
from trajhmm.hmm.learning.mstep import Prior
from trajhmm.hmm.learning.samples import Sample, take_sample
from trajhmm.hmm.learning.search import Found, Search
from trajhmm.hmm.learning.starts import sample_rows, shaken, start_parameters
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.results import FitStatus
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import Progress, in_threads
from trajhmm.hmm.rows.source import InMemory, Source, spread_of, spread_within
from trajhmm.hmm.settings import Settings
from trajhmm.hmm.shifts import Shifts, joined_shifts

# A search begins from at least so many starts. So many of its finds are tried for a few iterations on all rows, and so
# many of these go on to the end.
_FEWEST_STARTS, _CANDIDATES, _TRIAL, _FINALS = 8, 4, 5, 2
# Of the restarts, one in so many is a shaken copy of the best of the others.
_ONE_SHAKEN_IN = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """The best of the restarts.

    Attributes
    ----------
    parameters : states in the order in which runs first enter them.
    log_likelihood : in nats, each run times its weight.
    joint : log-probability of the likeliest paths and the values together, in nats.
    status : how it ended.
    """

    parameters: Parameters
    log_likelihood: float
    joint: float
    status: FitStatus

    @property
    def objective(self) -> float:
        """What EM maximised, in nats."""
        return self.status.log_likelihoods[self.status.chosen][-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """The rows of a fit, and what its starts are made from.

    Attributes
    ----------
    source : the rows.
    weights : (R,) of the runs; 0 leaves a run out.
    """

    source: Source
    weights: NDArray[np.float64]

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """(D,) variance of each metric; 1 if it does not vary."""
        return reduce(add, self.source.map(partial(spread_of, weights=self.weights))).variance

    @cached_property
    def variance_within(self) -> NDArray[np.float64]:
        """(D,) variance of each metric about the means of the runs; 1 if it does not vary."""
        return reduce(add, self.source.map(partial(spread_within, weights=self.weights))).variance

    @cached_property
    def rows(self) -> Chunk:
        """Some rows, for restarts."""
        return sample_rows(self.source, self.weights)

    @cached_property
    def sample(self) -> Sample:
        """Some rows of some runs, for a search."""
        return take_sample(self.source, self.weights)

    def prepare(self, settings: Settings) -> None:
        """Look at the rows now rather than when first asked."""
        _ = self.variance_within if settings.shifts else self.variance
        _ = self.sample if settings.search == "wide" else self.rows

    @property
    def n_rows(self) -> int:
        """Rows of the runs that are not left out."""
        return int(self.source.lengths[self.weights > 0].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One number of states to be fitted to some data.

    Attributes
    ----------
    settings, data : what is fitted to what.
    finals : how many finds of a search EM follows to the end on all rows.

    Raises
    ------
    FitError
        Fewer rows than states.
    """

    settings: Settings
    data: Data
    finals: int = _FINALS

    def __post_init__(self) -> None:
        states = self.settings.n_components
        if self.data.n_rows < states:
            raise FitError(f"{states} states need at least {states} rows, found {self.data.n_rows}")

    @property
    def n_shaken(self) -> int:
        """How many of the restarts, the last ones, begin at shaken copies of the best of the others."""
        n = self.settings.n_restarts
        return n - 1 if self.settings.start is not None else n // _ONE_SHAKEN_IN

    def start(self, restart: int, best: Parameters | None = None) -> Start:
        """Where a restart begins; ``best`` of the earlier ones for those that are shaken copies."""
        s = self.settings
        seed = np.random.SeedSequence([s.random_state, s.n_components, restart])
        if best is not None:
            keep_zeros = s.start is not None or s.topology != "free"
            parameters = shaken(best, np.random.default_rng(seed), keep_zeros=keep_zeros)
        elif s.start is not None:
            parameters = s.start
        else:
            parameters = start_parameters(
                self.data.rows,
                n_states=s.n_components,
                covariance_type=s.covariance_type,
                topology=s.topology,
                variance=self.data.variance,
                restart=restart,
                seed=seed,
            )
        return Start(parameters=parameters, weights=self.data.weights, prior=self.prior)

    @property
    def prior(self) -> Prior:
        """What keeps covariances away from zero; relative to what metrics vary within runs, if runs are shifted."""
        variance = self.data.variance_within if self.settings.shifts else self.data.variance
        return Prior(floor=self.settings.floor * variance, target=variance, rows=self.settings.shrinkage)

    def searched(self) -> list[Start]:
        """Where EM on all rows begins after a search, the most promising first; empty if the search found nothing."""
        s = self.settings
        search = Search(
            sample=self.data.sample,
            n_states=s.n_components,
            covariance_type=s.covariance_type,
            topology=s.topology,
            prior=self.prior,
            shifted=s.shifts,
            scaled=s.scales,
            n_starts=max(s.n_restarts, _FEWEST_STARTS),
        )
        found = search.run(np.random.SeedSequence([s.random_state, s.n_components]), keep=_CANDIDATES)
        return [self._on_all_rows(one) for one in found]

    def _on_all_rows(self, found: Found) -> Start:
        shifts = None
        if found.shifts is not None:
            sampled = np.zeros(len(self.data.weights), dtype=bool)
            sampled[self.data.sample.runs] = True
            nowhere = Shifts.none(len(sampled), self.data.source.n_metrics)
            shifts = nowhere.instead(found.shifts.spread(sampled), sampled)
            # Where a sample's rows put a run EM may go on; of runs that are not in it every side is looked at.
            if (self.data.weights[~sampled] > 0).any():
                look = partial(_shifts_of, parameters=found.parameters, known=shifts, weights=self.data.weights)
                shifts = joined_shifts(list(self.data.source.map(look)))
        return Start(parameters=found.parameters, weights=self.data.weights, prior=self.prior, shifts=shifts)

    def choose(self, restarts: Sequence[Restart]) -> Fit:
        """Keep the best of finished restarts and put its states in order.

        Raises
        ------
        FitError
            Every restart is degenerate.
        """
        chosen = best_of(restarts)
        if chosen is None:
            raise FitError(
                f"{self.settings.n_components} states: all {len(restarts)} restarts degenerated (an empty state or a "
                "singular covariance); ask for fewer states or more restarts"
            )
        usable = [index for index, restart in enumerate(restarts) if restart.outcome != "degenerate"]
        compared = [chosen, *(index for index in usable if index != chosen)]
        fits = [restarts[index].parameters for index in compared]
        paths = reduce(add, self.data.source.map(partial(paths_of, fits=fits, weights=self.data.weights)))
        agreement = dict(zip(compared, paths.agreement(), strict=True))
        parameters = restarts[chosen].parameters
        return Fit(
            # Left to right the order of the states is that of the transitions.
            parameters=parameters.permuted(paths.entry_order()) if self.settings.topology == "free" else parameters,
            log_likelihood=restarts[chosen].log_likelihood,
            joint=paths.joint,
            status=FitStatus(
                outcome=restarts[chosen].outcome,
                chosen=chosen,
                outcomes=tuple(restart.outcome for restart in restarts),
                log_likelihoods=tuple(restart.log_likelihoods for restart in restarts),
                agreement=tuple(agreement.get(index) for index in range(len(restarts))),
            ),
        )


def run_jobs(jobs: Sequence[Job], *, n_jobs: int = 1, progress: Progress | None = None) -> list[list[Restart]]:
    """Run all restarts of jobs over one source: side by side in threads, or sharing passes where these are dear.

    Parameters
    ----------
    jobs : over one source, with the same engine and the same limits of iterations.
    n_jobs : threads; the result does not depend on it.
    progress : called with (restarts done, restarts in all).

    Returns
    -------
    The restarts of each job; fewer than asked for where nothing was left to shake.
    """
    data = {id(job.data): job.data for job in jobs}
    for one in data.values():  # made here, so that threads need not wait for each other
        one.prepare(jobs[0].settings)
    engine = _engine(jobs[0].settings.engine, jobs[0].data.source, n_jobs)
    restarts: list[list[Restart]] = [[] for _ in jobs]
    if jobs[0].settings.search == "wide":
        return _run_searches(jobs, engine, n_jobs, progress)
    total = sum(job.settings.n_restarts for job in jobs)
    for shake in (False, True):
        tasks = [task for index, job in enumerate(jobs) for task in _tasks(index, job, restarts[index], shake=shake)]
        done = sum(map(len, restarts))
        step = None if progress is None else partial(_report, progress, done, total)
        for (index, _), restart in zip(tasks, _climbed(tasks, jobs, engine, n_jobs, step), strict=True):
            restarts[index].append(restart)
    return restarts


def _run_searches(jobs: Sequence[Job], engine: Engine, n_jobs: int, progress: Progress | None) -> list[list[Restart]]:
    """Search for each job; a few iterations on all rows from what was found; and from the best of these to the end."""

    def whole(job: Job) -> list[Restart]:
        tried = _tried(job, engine, job.searched())
        return [climb(engine, [start], n_iter=job.settings.n_iter, tol=job.settings.tol)[0] for start in tried]

    if not jobs[0].data.source.one_pass:
        return in_threads(whole, jobs, n_jobs=n_jobs, progress=progress)
    # All searches go over their samples side by side; the passes over all rows that follow are shared.
    found = in_threads(Job.searched, jobs, n_jobs=n_jobs)
    settings = jobs[0].settings
    flat = [(index, start) for index, starts in enumerate(found) for start in starts]
    short = climb(engine, [start for _, start in flat], n_iter=_TRIAL, tol=settings.tol)
    best = [
        (index, start)
        for index, job in enumerate(jobs)
        for start in _best_starts(job, [(s, r) for (i, s), r in zip(flat, short, strict=True) if i == index])
    ]
    ended = climb(engine, [start for _, start in best], n_iter=settings.n_iter, tol=settings.tol, progress=progress)
    restarts: list[list[Restart]] = [[] for _ in jobs]
    for (index, _), restart in zip(best, ended, strict=True):
        restarts[index].append(restart)
    return restarts


def _tried(job: Job, engine: Engine, starts: Sequence[Start]) -> list[Start]:
    return _best_starts(
        job, [(start, climb(engine, [start], n_iter=_TRIAL, tol=job.settings.tol)[0]) for start in starts]
    )


def _best_starts(job: Job, tried: Sequence[tuple[Start, Restart]]) -> list[Start]:
    """Where the best of short runs on all rows ended, at most as many as the job goes on from."""
    usable = [(start, run) for start, run in tried if np.isfinite(run.objective)]
    ranked = sorted(usable, key=lambda pair: -pair[1].objective)[: job.finals]
    return [replace(start, parameters=run.parameters, shifts=run.shifts) for start, run in ranked]


def _shifts_of(chunk: Chunk, parameters: Parameters, known: Shifts, weights: NDArray[np.float64]) -> Shifts:
    """Shifts of a chunk's runs, those of weight 0 left at none."""
    used = chunk.own(weights) > 0
    own = known.of(chunk)
    if not used.any():
        return own
    found = infer_shifts(chunk.picked(used), parameters, known=own.picked(used), settle=False)
    return own.instead(found.spread(used), used)


def _tasks(index: int, job: Job, done: Sequence[Restart], *, shake: bool) -> list[tuple[int, Callable[[], Start]]]:
    """The job's number, and what makes a start, for each of its restarts in this round."""
    first_shaken = job.settings.n_restarts - job.n_shaken
    if not shake:
        return [(index, partial(job.start, number)) for number in range(first_shaken)]
    best = best_of(done)
    if best is None:
        return []
    return [
        (index, partial(job.start, number, done[best].parameters))
        for number in range(first_shaken, job.settings.n_restarts)
    ]


def _climbed(
    tasks: Sequence[tuple[int, Callable[[], Start]]],
    jobs: Sequence[Job],
    engine: Engine,
    n_jobs: int,
    progress: Progress | None,
) -> list[Restart]:
    settings = jobs[0].settings

    def alone(task: tuple[int, Callable[[], Start]]) -> Restart:
        return climb(engine, [task[1]()], n_iter=settings.n_iter, tol=settings.tol)[0]

    if not tasks:
        return []
    if not jobs[0].data.source.one_pass:
        return in_threads(alone, tasks, n_jobs=n_jobs, progress=progress)
    starts = [start() for _, start in tasks]
    return climb(engine, starts, n_iter=settings.n_iter, tol=settings.tol, progress=progress)


def _report(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def _engine(name: str, source: Source, n_jobs: int) -> Engine:
    if name == "native":
        return NativeEngine(source, n_jobs=n_jobs if source.one_pass else 1)
    if name != "hmmlearn":
        raise FitError(f"engine {name!r}: expected native or hmmlearn")
    if not isinstance(source, InMemory):
        raise FitError("engine hmmlearn needs all rows in memory; use the native engine")
    from trajhmm.hmm.learning.hmmlearn_engine import HmmlearnEngine

    return HmmlearnEngine(source)
