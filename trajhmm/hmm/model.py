"""`Model`: everything that a fit leaves behind, and what the model file holds; `fit` makes one from logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, ModelFileError
from trajhmm.features import Departures, PerRunScaler, Sequences, map_sequences
from trajhmm.hmm.calibration import Calibration
from trajhmm.hmm.fitting import EngineName, FitStatus, Settings
from trajhmm.hmm.inference import Filtered, Smoothed, decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.outofcore import Rows, rows_on_cluster, rows_on_disk
from trajhmm.hmm.parallel import Progress
from trajhmm.hmm.parameters import CovarianceType, Parameters
from trajhmm.hmm.selection import CRITERIA, Criterion, SelectionPoint, select_states
from trajhmm.hmm.source import InMemory, Source
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import Note, RunSet, Scan

if TYPE_CHECKING:
    from trajhmm.hmm.estimator import GaussianHMM

DEFAULT_STATES = range(1, 9)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A fitted model of training runs.

    Attributes
    ----------
    metrics : D names, in the order of the parameters.
    scaler : what scales new runs.
    parameters : of the Gaussian HMM.
    settings : how it was fitted.
    criterion : what chose the number of states.
    curve : one point for each number of states tried.
    status : how the fit ended.
    purpose : ``map`` or ``warning``.
    seed : of the starts.
    n_runs, n_rows : what it was fitted to.
    versions : of the software that fitted it.
    notes : what was left out, aligned or cut for the fit; not kept in the model file.
    calibration : when to alarm; None for a map.
    """

    metrics: tuple[str, ...]
    scaler: PerRunScaler | Departures
    parameters: Parameters
    settings: Settings
    criterion: Criterion
    curve: tuple[SelectionPoint, ...]
    status: FitStatus
    purpose: str
    seed: int
    n_runs: int
    n_rows: int
    versions: dict[str, str]
    notes: tuple[Note, ...] = ()
    calibration: Calibration | None = None

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return self.parameters.n_states

    @cached_property
    def hmm(self) -> GaussianHMM:
        """The fitted estimator, for scikit-learn's ways; whoever only reads logs need not wait for that library."""
        from trajhmm.hmm.estimator import GaussianHMM

        return GaussianHMM(**vars(self.settings)).take(self.parameters, self.status)

    def sequences(self, runs: RunSet | Sequences) -> Sequences:
        """Align, cut and scale runs as this model needs them.

        Raises
        ------
        ModelFileError
            The logs lack a metric that the model was made for.
        """
        if isinstance(runs, Sequences):
            return runs
        runs = with_metrics(runs, self.metrics)
        if isinstance(self.scaler, Departures):
            return self.scaler.sequences(runs)
        return map_sequences(runs, self.metrics, scaler=self.scaler, keep_constant=True)

    def filter(self, runs: RunSet | Sequences) -> Filtered:
        """Filter runs: what each row and those before it say of the state."""
        sequences = self.sequences(runs)
        log_probs, predictive = filter_rows(sequences.values, sequences.offsets, self.parameters)
        return Filtered(
            runs=sequences.runs,
            lengths=sequences.lengths,
            steps=sequences.steps,
            probs=np.exp(log_probs),
            predictive_logpdf=predictive,
        )

    def decode(self, runs: RunSet | Sequences) -> Smoothed:
        """Decode runs: what the whole run says of the state at each row."""
        sequences = self.sequences(runs)
        return Smoothed(
            runs=sequences.runs,
            lengths=sequences.lengths,
            steps=sequences.steps,
            probs=smooth_rows(sequences.values, sequences.offsets, self.parameters),
            path=decode_rows(sequences.values, sequences.offsets, self.parameters)[0],
        )

    def save(self, path: str | Path) -> None:
        """Write the model file (JSON), whole or not at all."""
        from trajhmm.hmm.modelfile import save_model

        save_model(self, path)


def fit(
    runs: RunSet | Scan,
    *,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] | None = None,
    covariance: CovarianceType = "diag",
    criterion: Criterion = "bic",
    restarts: int = 5,
    iterations: int = 200,
    shrinkage: float = 0.0,
    seed: int = 0,
    jobs: int = 1,
    engine: EngineName = "native",
    dask: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a training map: a Gaussian HMM over the metrics of many runs, each scaled by itself.

    Parameters
    ----------
    runs : the logs; a `Scan` of logs that do not fit in memory is read piece by piece in each iteration.
    metrics : names; by default all that are logged at every row, save outcomes, schedules and clocks.
    states : a number of states, or several to choose from; by default 1 to 8, and no more than there are runs.
    covariance : ``diag``, ``full``, ``tied`` or ``spherical``.
    criterion : ``bic``, ``aic``, ``icl`` or ``heldout``.
    restarts, iterations : of EM for each number of states.
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
        Fewer runs or rows than states, or every restart degenerate; with ``dask``, no scheduler, or logs in memory.
    """
    from trajhmm.hmm.estimator import GaussianHMM

    if criterion not in CRITERIA:
        raise FitError(f"criterion {criterion!r}: expected one of {', '.join(CRITERIA)}")
    if restarts < 1 or iterations < 1:
        raise FitError("restarts and iterations must be at least 1")
    with _rows(runs, metrics, dask) as rows:
        settings = GaussianHMM(
            covariance_type=covariance,
            n_restarts=restarts,
            n_iter=iterations,
            shrinkage=shrinkage,
            engine=engine,
            random_state=seed,
        ).settings
        chosen, curve = select_states(
            rows.source,
            settings,
            states=_states(states, rows.source),
            criterion=criterion,
            n_jobs=jobs,
            progress=progress,
        )
        return Model(
            metrics=rows.metrics,
            scaler=PerRunScaler(),
            parameters=chosen.parameters,
            settings=replace(settings, n_components=chosen.parameters.n_states),
            criterion=criterion,
            curve=curve,
            status=chosen.status,
            purpose="map",
            seed=seed,
            n_runs=len(rows.source.lengths),
            n_rows=int(rows.source.lengths.sum()),
            versions=software_versions(),
            notes=rows.notes,
        )


def _rows(runs: RunSet | Scan, metrics: Sequence[str] | None, dask: str | None) -> AbstractContextManager[Rows]:
    if isinstance(runs, Scan):
        return rows_on_disk(runs, metrics) if dask is None else rows_on_cluster(runs, metrics, dask)
    if dask is not None:
        raise FitError("a cluster reads the files itself: give fit what scan_logs says of them, not logs in memory")
    sequences = map_sequences(runs, metrics)
    source = InMemory.of(sequences.values, sequences.offsets)
    return nullcontext(Rows(source=source, metrics=sequences.metrics, notes=sequences.notes))


def _states(states: int | Iterable[int] | None, source: Source) -> list[int]:
    n_runs, n_rows = len(source.lengths), int(source.lengths.sum())
    available = min(n_runs, n_rows)
    if states is None:
        return [k for k in DEFAULT_STATES if k <= available]
    tried = [states] if isinstance(states, int) else sorted(set(states))
    if not tried or tried[0] < 1:
        raise FitError(f"states {tried}: expected whole numbers from 1 on")
    if tried[-1] > available:
        what, found = ("runs", n_runs) if tried[-1] > n_runs else ("rows", n_rows)
        raise FitError(
            f"{tried[-1]} states need at least {tried[-1]} {what}, found {found}; "
            f"ask for at most {available} with --states"
        )
    return tried


def with_metrics(runs: RunSet, metrics: Sequence[str]) -> RunSet:
    """Bring back metrics that these runs hold as attributes, because they happen never to change here.

    Raises
    ------
    ModelFileError
        The logs lack one of ``metrics``, for which a model was made.
    """
    missing = [metric for metric in metrics if metric not in runs.metrics]
    lacking = [metric for metric in missing if metric not in runs.attributes.columns]
    if lacking:
        raise ModelFileError(
            f"the model was made for {', '.join(metrics)}; these logs lack {', '.join(lacking)} "
            "(map names with --rename OLD=NEW)"
        )
    if not missing:
        return runs
    columns: list[NDArray[np.float64]] = [
        np.repeat(runs.attributes[metric].to_numpy(dtype=np.float64), runs.lengths) for metric in missing
    ]
    values = np.column_stack([runs.values, *columns])
    logged = np.column_stack([runs.logged, *(np.isfinite(column) for column in columns)])
    return replace(runs, values=values, logged=logged, metrics=(*runs.metrics, *missing))
