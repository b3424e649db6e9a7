"""`Model`: everything that a fit leaves behind, and what the model file holds."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError
from trajhmm.features import LevelsAndInnovations, PerRunScaler, PooledScaler, Sequences, map_sequences
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.results import Criterion, Filtered, FitStatus, SelectionPoint, Smoothed
from trajhmm.hmm.settings import Settings
from trajhmm.logs import Note, RunSet
from trajhmm.naming import instead_of, listed, shown

if TYPE_CHECKING:
    from trajhmm.hmm.estimator import GaussianHMM

# Names that a model's short description holds.
_NAMED = 6


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
    certificate : how far the map comes back with other runs and other seeds; None if that was not asked for.
    sections : what the rooms above know of the model, by name: JSON that the file holds as it is, and that they read.
    """

    metrics: tuple[str, ...]
    scaler: PerRunScaler | PooledScaler | LevelsAndInnovations
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
    certificate: Certificate | None = None
    sections: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Model({self.n_states} states of {listed(self.metrics, most=_NAMED)}; for {self.purpose}, scaling "
            f"{self.scaling}; fitted to {self.n_runs} runs, {self.n_rows} rows: {self.status.outcome})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, and the states."""
        import pandas as pd

        columns = [shown(name) for name in self.metrics]
        if self.parameters.means.shape[1] != len(columns):  # levels and innovations of a model for warning
            columns += [f"{name}, moved" for name in columns]
        means = pd.DataFrame(self.parameters.means, columns=columns)
        means.index.name = "state: mean in scaled units"
        return f"<p>{html.escape(repr(self))}</p>{means.to_html(border=0, float_format='{:.3g}'.format)}"

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return self.parameters.n_states

    @cached_property
    def hmm(self) -> GaussianHMM:
        """The fitted estimator, for scikit-learn's ways; whoever only reads logs need not wait for that library."""
        from trajhmm.hmm.estimator import GaussianHMM

        return GaussianHMM(**vars(self.settings)).take(self.parameters, self.status)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the model file holds, as stands in it."""
        from trajhmm.hmm.modelfile import checksum_of

        return checksum_of(self)

    @property
    def scaling(self) -> str:
        """``mixed``, ``own-start``, ``shared`` or ``per-run``; ``levels`` of a model for warning."""
        return "mixed" if self.parameters.shift_variance is not None else self.scaler.kind

    def sequences(self, runs: RunSet | Sequences) -> Sequences:
        """Align, cut and scale runs as this model needs them, each less its own shift if the model knows shifts.

        A run's shift comes from all of its rows: a map is for finished runs.

        Raises
        ------
        ModelFileError
            The logs lack a metric that the model was made for.
        """
        if isinstance(runs, Sequences):
            return runs
        return self.unshifted(self.scaled(runs))

    def scaled(self, runs: RunSet) -> Sequences:
        """Align, cut and scale runs, shifts left in: what the model was fitted to.

        If rows remember the ones before them, these are the levels that each row tells of with the one before it, see
        `trajhmm.hmm.learning.autoregression`.

        Raises
        ------
        ModelFileError
            The logs lack a metric that the model was made for.
        """
        from trajhmm.hmm.inference.levels import whitened

        runs = with_metrics(runs, self.metrics)
        if isinstance(self.scaler, LevelsAndInnovations):
            return self.scaler.sequences(runs)
        scaled = map_sequences(runs, self.metrics, scaler=self.scaler, keep_constant=True)
        return replace(scaled, values=whitened(scaled.values, scaled.offsets, self.parameters.autoregression))

    def unshifted(self, scaled: Sequences) -> Sequences:
        """Take from each run its shift."""
        from trajhmm.hmm.inference.shifts import without_shifts

        if self.parameters.shift_variance is None:
            return scaled
        return replace(scaled, values=without_shifts(scaled.values, scaled.offsets, self.parameters))

    def filter(self, runs: RunSet | Sequences) -> Filtered:
        """Filter runs: what each row and those before it say of the state."""
        from trajhmm.hmm.inference.levels import log_jacobian
        from trajhmm.hmm.inference.posteriors import filter_rows

        sequences = self.sequences(runs)
        log_probs, predictive = filter_rows(sequences.values, sequences.offsets, self.parameters)
        if self.parameters.autoregression is not None:
            predictive += log_jacobian(sequences.offsets, self.parameters.autoregression)
        return Filtered(
            runs=sequences.runs,
            lengths=sequences.lengths,
            steps=sequences.steps,
            probs=np.exp(log_probs),
            predictive_logpdf=predictive,
        )

    def decode(self, runs: RunSet | Sequences) -> Smoothed:
        """Decode runs: what the whole run says of the state at each row."""
        from trajhmm.hmm.inference.posteriors import decode_rows, smooth_rows

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
            f"the model was made for {listed(metrics)}; these logs lack {listed(lacking)}"
            f"{instead_of(lacking[0], runs.metrics)}; map names with --rename OLD=NEW"
        )
    if not missing:
        return runs
    columns = [np.repeat(_constants(runs, metric), runs.lengths) for metric in missing]
    values = np.column_stack([runs.values, *columns])
    logged = np.column_stack([runs.logged, *(np.isfinite(column) for column in columns)])
    missed = runs.missed
    if missed is not None:
        missed = np.column_stack([missed, np.zeros((len(missed), len(missing)), dtype=np.int8)])
    return replace(runs, values=values, logged=logged, missed=missed, metrics=(*runs.metrics, *missing))


def _constants(runs: RunSet, metric: str) -> NDArray[np.float64]:
    """(R,) what a metric is in each run that never changes within one.

    Raises
    ------
    ModelFileError
        It is text.
    """
    given = runs.attributes[metric]
    try:
        return given.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        run, value = next((run, value) for run, value in given.items() if isinstance(value, str))
        raise ModelFileError(
            f"run {run}: column {metric!r} is text ({value!r}), and the model was made for numbers there; leave the "
            "run out with --where, or name another column with --rename"
        ) from error
