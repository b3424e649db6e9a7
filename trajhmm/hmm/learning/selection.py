"""Choosing the number of states: restarts for each K, and a criterion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.hmm.certificate import FEWEST_RUNS, Certificate, Halves
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.inference.shifts import with_evidence
from trajhmm.hmm.learning.em import Restart, best_parameters
from trajhmm.hmm.learning.fitting import Data, Fit, Job, run_jobs
from trajhmm.hmm.learning.reproducible import Halver
from trajhmm.hmm.parameters import Parameters, count_parameters
from trajhmm.hmm.results import Criterion, SelectionPoint
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import Progress, Tally
from trajhmm.hmm.rows.source import Source
from trajhmm.hmm.settings import Settings

_FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The number of states that was chosen.

    Attributes
    ----------
    fit : with that number.
    curve : one point for each number that was tried.
    certificate : how far the map comes back; None if that was not asked for.
    """

    fit: Fit
    curve: tuple[SelectionPoint, ...]
    certificate: Certificate | None


def select_states(
    source: Source,
    settings: Settings,
    *,
    states: Sequence[int],
    criterion: Criterion,
    n_splits: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> Selection:
    """Fit every number of states and choose one.

    Parameters
    ----------
    source : the rows.
    settings : of every fit, save the number of states.
    states : numbers of states to try.
    criterion : ``reproducible``: the largest number, of at least 2, at which split halves of the runs agree, even if a
        smaller one fails (outlier states do not count); where none does the one whose halves agree best. ``bic``,
        ``aic``, ``icl``, or ``heldout``: log-likelihood of runs that were left out, in five folds.
    n_splits : how often runs are split into halves; 0 for not at all, and then ``reproducible`` falls back to BIC, as
        with fewer than four runs.
    n_jobs : threads; the result does not depend on it.
    progress : called with (restarts done, restarts in all).

    Raises
    ------
    FitError
        No number of states can be fitted.
    """
    n_runs = len(source.lengths)
    whole = Data(source=source, weights=np.ones(n_runs))
    folds = _folds(n_runs, settings.random_state) if criterion == "heldout" else []
    trained = [Data(source=source, weights=(fold == 0).astype(np.float64)) for fold in folds]
    jobs = [Job(settings=replace(settings, n_components=k), data=data) for data in (whole, *trained) for k in states]
    tally = Tally(progress)
    halving = n_splits > 0 and n_runs >= FEWEST_RUNS
    tell = tally.of(len(jobs))
    # About three numbers of states are tried in halves before one comes back.
    tally.expect((3 if criterion == "reproducible" and len(states) > 1 else 1) * 2 * n_splits if halving else 0)
    restarts = run_jobs(jobs, n_jobs=n_jobs, progress=tell)
    heldout = _heldout(source, folds, restarts[len(states) :], len(states))
    fits: dict[int, Fit] = {}
    for k, job, done in zip(states, jobs, restarts, strict=False):
        with suppress(FitError):
            fits[k] = job.choose(done)
    if not fits:
        raise FitError(
            f"every restart at every number of states ({', '.join(map(str, states))}) degenerated; "
            "give more rows, fewer states or fewer metrics"
        )

    def curve() -> tuple[SelectionPoint, ...]:
        return tuple(
            _point(job.settings, fits[k], done, whole.n_rows, scores) if k in fits else _no_point(k)
            for k, job, done, scores in zip(states, jobs, restarts, heldout, strict=False)
        )

    if not halving:
        chosen = _several(curve()) if criterion == "reproducible" else _best(curve(), criterion)
        return Selection(fit=fits[chosen], curve=curve(), certificate=None)
    halver = Halver.of(whole, settings, n_splits=n_splits, n_jobs=n_jobs, tally=tally)
    if criterion == "reproducible":
        found, tried = _reproducible(halver, fits)
        chosen = found if found is not None else _several(curve())
    else:
        chosen = _best(curve(), criterion)
        tried = _with_seeds(halver, fits, _halves(halver, fits, (chosen,)), chosen)
    return Selection(
        fit=fits[chosen],
        curve=tuple(_with_halves(point, tried) for point in curve()),
        certificate=Certificate(states=chosen, halves=tuple(tried[k] for k in sorted(tried))),
    )


def _reproducible(halver: Halver, fits: dict[int, Fit]) -> tuple[int | None, dict[int, Halves]]:
    """The largest number of states that comes back, and all that were tried: those above it, and the one below.

    None where no number of states could be tried in halves.

    Outlier states are no place that training passes through and do not count: of maps that come back and have as many
    other states the one with the fewest is taken.

    Where another seed's fit of a number turned out likelier, it takes its place in ``fits``.
    """
    several = sorted((k for k in fits if k > 1), reverse=True)
    tried: dict[int, Halves] = {}
    found, most = None, 0
    for k in several:
        if k < most:
            break
        tried |= _halves(halver, fits, (k,))
        if k in tried and tried[k].halves_agree:
            tried = _with_seeds(halver, fits, tried, k)
        if k not in tried or not tried[k].agree:
            continue
        outliers = halver.outliers(fits[k])
        tried[k] = replace(tried[k], outliers=outliers)
        if k - outliers >= most:
            found, most = k, k - outliers
    if found is not None:
        below = [k for k in several if k < found][:1]
        return found, tried | _halves(halver, fits, [k for k in below if k not in tried])
    if not tried:
        return None, tried
    best = max(tried, key=lambda k: (tried[k].mean, -k))
    return best, tried if tried[best].seeds else _with_seeds(halver, fits, tried, best)


def _with_seeds(halver: Halver, fits: dict[int, Fit], tried: dict[int, Halves], k: int) -> dict[int, Halves]:
    """``tried`` with fits of other seeds at k states, the likeliest of which is then that in ``fits``."""
    if k not in tried:
        return tried
    before = fits[k]
    fits[k], seeds = halver.seeds(before)
    if fits[k] is not before:  # then it is the states of this map that are to be found again
        tried = tried | _halves(halver, fits, (k,))
    return tried | {k: replace(tried[k], seeds=seeds)}


def _halves(halver: Halver, fits: dict[int, Fit], states: Iterable[int]) -> dict[int, Halves]:
    found = {k: halver.halves(fits[k]) for k in states if k > 1}
    return {k: halves for k, halves in found.items() if halves is not None}


def _with_halves(point: SelectionPoint, tried: dict[int, Halves]) -> SelectionPoint:
    halves = tried.get(point.states)
    return point if halves is None else replace(point, halves=halves.mean, recovery=halves.worst)


def _point(
    settings: Settings, fit: Fit, restarts: list[Restart], n_rows: int, heldout: NDArray[np.float64] | None
) -> SelectionPoint:
    p = fit.parameters
    n_parameters = count_parameters(
        p.n_states, p.n_metrics, p.covariance_type, topology=settings.topology, own=settings.shifts + settings.scales
    )
    usable = [restart.log_likelihood for restart in restarts if restart.outcome != "degenerate"]
    if fit.log_likelihood not in usable:  # from another seed
        usable.append(fit.log_likelihood)
    others = [a for index, a in enumerate(fit.status.agreement) if a is not None and index != fit.status.chosen]
    penalty = n_parameters * float(np.log(n_rows))
    return SelectionPoint(
        states=p.n_states,
        outcome=fit.status.outcome,
        log_likelihood=fit.log_likelihood,
        n_parameters=n_parameters,
        bic=penalty - 2 * fit.log_likelihood,
        aic=2 * n_parameters - 2 * fit.log_likelihood,
        icl=penalty - 2 * fit.joint,
        heldout=None if heldout is None else float(heldout.mean()),
        heldout_se=None if heldout is None else float(heldout.std(ddof=1) / np.sqrt(len(heldout))),
        restart_log_likelihoods=tuple(sorted(usable, reverse=True)),
        reached_best=fit.status.reached_best,
        agreement=float(np.mean(others)) if others else None,
    )


def _no_point(k: int) -> SelectionPoint:
    return SelectionPoint(
        states=k,
        outcome="degenerate",
        log_likelihood=None,
        n_parameters=None,
        bic=None,
        aic=None,
        icl=None,
        heldout=None,
        heldout_se=None,
        restart_log_likelihoods=(),
        reached_best=0,
        agreement=None,
    )


def _several(curve: Sequence[SelectionPoint]) -> int:
    """Where nothing can be told from halves: the number of states, 2 or more if that could be fitted, of least BIC."""
    more = [point for point in curve if point.states > 1 and point.bic is not None]
    return _best(more or curve, "bic")


def _best(points: Iterable[SelectionPoint], criterion: Criterion) -> int:
    scores = []
    for point in points:
        score: float | None = getattr(point, criterion)
        if score is not None:
            scores.append((-score if criterion == "heldout" else score, point.states))
    if not scores:
        raise FitError("no number of states could be fitted in every fold; use --criterion bic or fewer states")
    return min(scores)[1]


def _folds(n_runs: int, seed: int) -> list[NDArray[np.int64]]:
    """For each fold, (R,) 1 where the run is held out."""
    if n_runs < 2:
        raise FitError("criterion heldout needs at least 2 runs, found 1; use --criterion bic")
    order = np.random.default_rng([seed, 0xF01D]).permutation(n_runs)
    n_folds = min(_FOLDS, n_runs)
    return [(np.isin(np.arange(n_runs), order[fold::n_folds])).astype(np.int64) for fold in range(n_folds)]


def _heldout(
    source: Source, folds: Sequence[NDArray[np.int64]], restarts: Sequence[list[Restart]], n_states: int
) -> list[NDArray[np.float64] | None]:
    """For each number of states (R,) log-likelihood per row of each run under the fit that left it out.

    None where a fold could not be fitted. ``restarts`` are those of fold 0 for every number of states, then fold 1, …
    """
    if not folds:
        return [None] * n_states
    best = [best_parameters(done) for done in restarts]
    fold_of = np.argmax(folds, axis=0)
    result: list[NDArray[np.float64] | None] = []
    for index in range(n_states):
        fits = best[index::n_states]
        usable = [fit for fit in fits if fit is not None]
        if len(usable) < len(fits):
            result.append(None)
            continue
        result.append(np.concatenate(list(source.map(partial(_scores, fits=usable, fold_of=fold_of)))))
    return result


def _scores(chunk: Chunk, fits: Sequence[Parameters], fold_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) log-likelihood per row of the chunk's runs, each under the fit of its fold."""
    scores = np.empty(chunk.n_runs)
    own = fold_of[chunk.first_run : chunk.first_run + chunk.n_runs]
    for fold in np.unique(own):
        some = chunk.picked(own == fold)
        values, evidence = with_evidence(some.values, some.offsets, fits[fold])
        _, predictive = filter_rows(values, some.offsets, fits[fold])
        rows = np.add.reduceat(predictive, some.offsets[:-1])
        scores[own == fold] = (rows + evidence) / np.diff(some.offsets)
    return scores
