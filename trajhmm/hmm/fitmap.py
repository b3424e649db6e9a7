"""`fit`: a training map from the logs of many runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Literal, cast, get_args

from trajhmm.errors import FitError
from trajhmm.features import SCALINGS, PerRunScaler, PooledScaler, Scaling, map_sequences
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.inference.residuals import residuals_over
from trajhmm.hmm.learning.autoregression import levels_of, select_with_autoregression
from trajhmm.hmm.learning.selection import Selection, select_states
from trajhmm.hmm.model import Model
from trajhmm.hmm.modelfile import check_room
from trajhmm.hmm.parameters import CovarianceType, Topology
from trajhmm.hmm.results import CRITERIA, Criterion
from trajhmm.hmm.rows.outofcore import Rows, rows_on_cluster, rows_on_disk
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.hmm.rows.source import InMemory, Source
from trajhmm.hmm.settings import EngineName, Settings
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import RunSet, Scan

EmissionsName = Literal["gaussian", "ar"]
EMISSIONS: tuple[EmissionsName, ...] = get_args(EmissionsName)
DEFAULT_STATES = range(1, 9)
DEFAULT_HALVES = 5


def fit(
    runs: RunSet | Scan,
    *,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] | None = None,
    covariance: CovarianceType = "diag",
    topology: Topology = "free",
    scaling: Scaling | None = None,
    emissions: EmissionsName = "gaussian",
    criterion: Criterion = "reproducible",
    halves: int = DEFAULT_HALVES,
    restarts: int = 5,
    iterations: int = 200,
    shrinkage: float = 0.0,
    seed: int = 0,
    jobs: int = 1,
    engine: EngineName = "native",
    dask: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a training map: a Gaussian HMM over the metrics of many runs.

    Parameters
    ----------
    runs : the logs; a `Scan` of logs that do not fit in memory is read piece by piece in each iteration.
    metrics : names; by default all that are logged at every row, save outcomes, schedules and clocks.
    states : a number of states, or several to choose from; by default 1 to 8, and no more than there are runs.
    covariance : ``diag``, ``full``, ``tied`` or ``spherical``.
    topology : ``free``, or ``left-right``: from a state only to itself or a later one; a run may begin in any.
    scaling : ``mixed``, one scale for all runs, each of which is shifted by an offset of its own that is learnt with
        the states (and has a scale of its own where no map is reproducible without, but one is with); ``own-start``,
        one scale, less each run's first rows; ``shared``, one scale; ``per-run``, z-scores within each run, as Hu et
        al. (2023). By default ``mixed``; with engine ``hmmlearn``, which knows no shifts, ``per-run``.
    emissions : ``gaussian``; or ``ar``, where each row remembers the one before: its departure from the level of its
        state is a share of that row's, the same in all states, and normal noise. For logs in memory.
    criterion : what chooses the number of states: ``reproducible``, the largest at which halves of the runs give the
        same map; ``bic``, ``aic``, ``icl`` or ``heldout``.
    halves : how often runs are split into halves; 0 for not at all, and then the map has no certificate.
    restarts, iterations : starts of the search, and iterations of EM, for each number of states.
    shrinkage : how many rows with the variances of the whole data each state is given beside its own.
    seed : of the starts; the same seed gives the same model.
    jobs : threads; the model does not depend on it.
    engine : ``native`` or ``hmmlearn``.
    dask : address of the scheduler of a Dask cluster, whose workers read the pieces of a `Scan` and hold their rows.
    progress : called with (fits done, fits in all).

    Raises
    ------
    LogError
        Unknown metrics, or none that changes.
    FitError
        Fewer runs or rows than states, or every restart degenerate; with ``dask``, no scheduler, or logs in memory;
        with ``emissions="ar"``, logs that are not in memory.
    """
    from trajhmm.hmm.estimator import GaussianHMM

    if criterion not in CRITERIA:
        raise FitError(f"criterion {criterion!r}: expected one of {', '.join(CRITERIA)}")
    if emissions not in EMISSIONS:
        raise FitError(f"emissions {emissions!r}: expected one of {', '.join(EMISSIONS)}")
    if emissions == "ar" and (isinstance(runs, Scan) or dask is not None):
        raise FitError("emissions 'ar' need all rows in memory: fit without --stream and --dask")
    if restarts < 1 or iterations < 1:
        raise FitError("restarts and iterations must be at least 1")
    scaling = scaling if scaling is not None else "mixed" if engine == "native" else "per-run"
    if scaling not in SCALINGS:
        raise FitError(f"scaling {scaling!r}: expected one of {', '.join(SCALINGS)}")
    with _rows(runs, metrics, scaling, dask) as rows:
        settings = GaussianHMM(
            covariance_type=covariance,
            topology=topology,
            n_restarts=restarts,
            n_iter=iterations,
            shrinkage=shrinkage,
            engine=engine,
            random_state=seed,
            shifts=scaling == "mixed",
            search="wide",
        ).settings
        tried = _states(states, rows.source)
        check_room(max(tried), len(rows.metrics), covariance)
        select = partial(
            _selected,
            settings=settings,
            states=tried,
            criterion=criterion,
            n_splits=halves,
            n_jobs=jobs,
            progress=progress,
        )
        if emissions == "ar":
            in_memory = cast("InMemory", rows.source)
            selection = select_with_autoregression(in_memory, settings, max(tried), select)
        else:
            selection = select(rows.source)
        parameters = selection.fit.parameters
        return Model(
            metrics=rows.metrics,
            scaler=rows.scaler,
            parameters=parameters,
            settings=replace(settings, n_components=parameters.n_states, scales=parameters.scale_variance is not None),
            criterion=criterion,
            curve=selection.curve,
            status=selection.fit.status,
            certificate=_with_residuals(selection, rows),
            purpose="map",
            seed=seed,
            n_runs=len(rows.source.lengths),
            n_rows=int(rows.source.lengths.sum()),
            versions=software_versions(),
            notes=rows.notes,
        )


def _selected(
    source: Source,
    settings: Settings,
    *,
    states: Sequence[int],
    criterion: Criterion,
    n_splits: int,
    n_jobs: int,
    progress: Progress | None,
) -> Selection:
    """Choose a number of states; with scales of the runs where a map comes back with them, and none without."""
    select = partial(
        select_states,
        source,
        states=states,
        criterion=criterion,
        n_splits=n_splits,
        n_jobs=n_jobs,
        progress=progress,
    )
    selection = select(settings)
    if _may_be_scaled(settings, selection):
        with suppress(FitError):  # then there is a map all the same, the one without scales
            scaled = select(replace(settings, scales=True))
            if scaled.certificate is not None and scaled.certificate.reproducible:
                return scaled
    return selection


def _with_residuals(selection: Selection, rows: Rows) -> Certificate | None:
    """The certificate, with what the map did not expect of its rows."""
    if selection.certificate is None:
        return None
    source, parameters = rows.source, selection.fit.parameters
    if isinstance(source, InMemory) and parameters.autoregression is not None:
        source = levels_of(source, parameters.autoregression)
    return replace(selection.certificate, residuals=residuals_over(source, parameters, rows.metrics))


def _may_be_scaled(settings: Settings, selection: Selection) -> bool:
    """Whether to try if a map comes back once runs have scales of their own, as none does without.

    Not by default: runs that stop on their way would be stretched until they look as if they had arrived.
    """
    certificate = selection.certificate
    unsure = certificate is not None and certificate.reproducible is False
    return unsure and settings.shifts and settings.covariance_type in ("diag", "spherical")


def _rows(
    runs: RunSet | Scan, metrics: Sequence[str] | None, scaling: Scaling, dask: str | None
) -> AbstractContextManager[Rows]:
    if isinstance(runs, Scan):
        return rows_on_disk(runs, metrics, scaling) if dask is None else rows_on_cluster(runs, metrics, scaling, dask)
    if dask is not None:
        raise FitError("a cluster reads the files itself: give fit what scan_logs says of them, not logs in memory")
    sequences = map_sequences(runs, metrics, scaling=scaling)
    source = InMemory.of(sequences.values, sequences.offsets)
    scaler = cast("PerRunScaler | PooledScaler", sequences.scaler)
    return nullcontext(Rows(source=source, metrics=sequences.metrics, scaler=scaler, notes=sequences.notes))


def _states(states: int | Iterable[int] | None, source: Source) -> list[int]:
    n_runs, n_rows = len(source.lengths), int(source.lengths.sum())
    available = min(n_runs, n_rows)
    if states is None:
        return [k for k in DEFAULT_STATES if k <= available]
    tried = [int(states)] if isinstance(states, int | Integral) else sorted({int(k) for k in states})
    if not tried or tried[0] < 1:
        raise FitError(f"states {tried}: expected whole numbers from 1 on")
    if tried[-1] > available:
        what, found = ("runs", n_runs) if tried[-1] > n_runs else ("rows", n_rows)
        raise FitError(
            f"{tried[-1]} states need at least {tried[-1]} {what}, found {found}; "
            f"ask for at most {available} with --states"
        )
    return tried
