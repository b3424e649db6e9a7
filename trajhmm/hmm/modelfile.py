"""The model file: one JSON document, exact floats, a checksum, no code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from trajhmm.errors import ArrayError, FitError, ModelFileError
from trajhmm.features import LevelsAndInnovations
from trajhmm.files import write_text
from trajhmm.hmm.model import Model
from trajhmm.hmm.modelparts import (
    SETTINGS,
    certificate_of,
    check_scaler,
    curve_of,
    metrics_of,
    parameters_of,
    scaler_of,
    seed_of,
    settings_of,
    status_of,
    versions_of,
)
from trajhmm.hmm.parameters import CovarianceType
from trajhmm.hmm.results import CRITERIA, Criterion
from trajhmm.naming import shown
from trajhmm.stored import MOST_BYTES, Stored, StoredError, brief, parsed, read_bounded

SCHEMA = "trajhmm.model"
SCHEMA_VERSION = 1
# Letters of a number, to the last digit.
_LETTERS = 20
_NO_MODEL = "not a model file of trajhmm; expected what 'trajhmm fit -o' writes"

# What stands at the top of the file beside the sections of other rooms.
_OWN = frozenset(
    {
        "schema",
        "schema_version",
        "versions",
        "purpose",
        "seed",
        "n_runs",
        "n_rows",
        "metrics",
        "scaler",
        "n_states",
        "covariance_type",
        "settings",
        "startprob",
        "transmat",
        "means",
        "covars",
        "shift_variance",
        "scale_variance",
        "autoregression",
        "certificate",
        "criterion",
        "curve",
        "status",
    }
)


def save_model(model: Model, path: str | Path) -> None:
    """Write ``model`` to ``path``, whole or not at all; the same model gives the same bytes.

    Raises
    ------
    ModelFileError
        The model holds what `load_model` would refuse.
    """
    content = _content(model)
    try:
        content["sha256"] = _checksum(content)
        lines = [f"{json.dumps(key)}: {_text(value)}" for key, value in content.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        _model(Stored({name: value for name, value in parsed(text.encode()).items() if name != "sha256"}))
    except (TypeError, ValueError, FitError) as error:  # a number that is not finite, or too many of them
        raise ModelFileError(
            f"{shown(path)}: not written, as this model could not be read again ({_one_line(error)})"
        ) from error
    write_text(path, text)


def check_room(states: int, n_metrics: int, covariance: CovarianceType) -> None:
    """Refuse to fit what no model file could hold, before it is fitted.

    Raises
    ------
    FitError
        It is too large.
    """
    matrices = {"full": states * n_metrics**2, "tied": n_metrics**2}
    numbers = states**2 + states * n_metrics + matrices.get(covariance, states * n_metrics)
    if numbers * _LETTERS > MOST_BYTES:
        raise FitError(
            f"{states} states of {n_metrics} metrics with {covariance} covariances are {numbers} numbers, more than a "
            "model file holds; take fewer metrics or states, or diag covariances"
        )


def load_model(path: str | Path) -> Model:
    """Read a model file; whoever wrote it, what is given is a model that can be computed with, or there is an error.

    A file holds at most 32 MiB and 2 million values, and its model at most 50 states.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, edited, no model, of a newer schema, or holds what is none.
    """
    where = shown(path)
    try:
        raw = read_bounded(path)
    except StoredError as error:
        raise ModelFileError(f"{where}: {error}") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        content = parsed(raw)
    except StoredError as error:
        what = f"truncated or {error}" if str(error).startswith("not ") else str(error)
        raise ModelFileError(f"{where}: {what}; expected what 'trajhmm fit -o' writes, fit the model again") from error
    if type(content) is not dict or content.get("schema") != SCHEMA:
        raise ModelFileError(f"{where}: {_NO_MODEL}")
    version = content.get("schema_version")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{where}: {_NO_MODEL}")
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{where}: schema version {brief(version)}, newer than {SCHEMA_VERSION} which this trajhmm reads; upgrade "
            "trajhmm"
        )
    claimed = content.pop("sha256", None)
    if claimed != _checksum(content):
        raise ModelFileError(f"{where}: edited or damaged since it was written (its checksum differs); fit it again")
    try:
        return _model(Stored(content))
    except (StoredError, ArrayError, FitError) as error:
        raise ModelFileError(
            f"{where}: a part is missing or of the wrong shape ({_one_line(error)}); fit the model again"
        ) from error


def checksum_of(model: Model) -> str:
    """The ``sha256`` of the file of a model."""
    return _checksum(_content(model))


def _content(model: Model) -> dict[str, Any]:
    parameters = model.parameters
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "versions": model.versions,
        "purpose": model.purpose,
        "seed": model.seed,
        "n_runs": model.n_runs,
        "n_rows": model.n_rows,
        "metrics": list(model.metrics),
        "scaler": model.scaler.to_dict(),
        "n_states": model.n_states,
        "covariance_type": parameters.covariance_type,
        "settings": {name: getattr(model.settings, name) for name in SETTINGS},
        "startprob": parameters.startprob.tolist(),
        "transmat": parameters.transmat.tolist(),
        "means": parameters.means.tolist(),
        "covars": parameters.covars.tolist(),
        "shift_variance": None if parameters.shift_variance is None else parameters.shift_variance.tolist(),
        "scale_variance": None if parameters.scale_variance is None else parameters.scale_variance.tolist(),
        "autoregression": None if parameters.autoregression is None else parameters.autoregression.tolist(),
        "criterion": model.criterion,
        "curve": [dataclasses.asdict(point) for point in model.curve],
        "status": dataclasses.asdict(model.status),
        "certificate": None if model.certificate is None else model.certificate.to_dict(),
        **model.sections,
    }


def _model(content: Stored) -> Model:
    metrics = metrics_of(content)
    scaler = scaler_of(content)
    parameters = parameters_of(content, (2 if isinstance(scaler, LevelsAndInnovations) else 1) * len(metrics))
    check_scaler(scaler, metrics)
    criterion: Criterion = CRITERIA[CRITERIA.index(content["criterion"].one_of(CRITERIA))]
    sections = {name: value for name, value in content.members().items() if name not in _OWN}
    Stored(sections).check_plain()
    return Model(
        metrics=metrics,
        scaler=scaler,
        parameters=parameters,
        settings=settings_of(content, parameters),
        criterion=criterion,
        curve=curve_of(content),
        status=status_of(content),
        purpose=content["purpose"].text(),
        seed=seed_of(content),
        n_runs=content["n_runs"].whole(1),
        n_rows=content["n_rows"].whole(1),
        versions=versions_of(content),
        certificate=certificate_of(content, parameters.n_states, metrics),
        sections=sections,
    )


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 of the content alone, so that white space does not matter."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True, default=_plain)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """Numbers of numpy, as somebody may give for a seed, as those of Python."""
    if not isinstance(value, np.generic):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return value.item()


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
