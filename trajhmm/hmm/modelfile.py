"""The model file: one JSON document, exact floats, a checksum, no code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from trajhmm.errors import FitError, ModelFileError
from trajhmm.features import LevelsAndInnovations, scaler_from_dict
from trajhmm.files import write_text
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.learning.fitting import FitStatus, Settings
from trajhmm.hmm.learning.selection import SelectionPoint
from trajhmm.hmm.model import Model
from trajhmm.hmm.modelchecks import check_certificate, check_parameters, check_scaler
from trajhmm.hmm.parameters import Parameters

SCHEMA = "trajhmm.model"
SCHEMA_VERSION = 1
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
_SETTINGS = (
    "topology",
    "shifts",
    "scales",
    "search",
    "n_restarts",
    "n_iter",
    "tol",
    "floor",
    "shrinkage",
    "engine",
    "random_state",
)


def save_model(model: Model, path: str | Path) -> None:
    """Write ``model`` to ``path``, whole or not at all; the same model gives the same bytes."""
    content = _content(model)
    content["sha256"] = _checksum(content)
    lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, edited, no model, or of a newer schema.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path}: {_NO_MODEL}") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelFileError(
            f"{path}: truncated or not JSON (line {error.lineno}: {error.msg}); fit the model again"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ModelFileError(f"{path}: {_NO_MODEL}")
    if not isinstance(content.get("schema_version"), int) or content["schema_version"] > SCHEMA_VERSION:
        raise ModelFileError(
            f"{path}: schema version {content.get('schema_version')}, newer than {SCHEMA_VERSION} which this trajhmm "
            "reads; upgrade trajhmm"
        )
    claimed = content.pop("sha256", None)
    if claimed != _checksum(content):
        raise ModelFileError(f"{path}: edited or damaged since it was written (its checksum differs); fit it again")
    try:
        return _model(content)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, FitError) as error:
        raise ModelFileError(
            f"{path}: a part is missing or of the wrong shape ({error}); fit the model again"
        ) from error


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
        "settings": {name: getattr(model.settings, name) for name in _SETTINGS},
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


def _model(content: dict[str, Any]) -> Model:
    own = {
        name: np.array(content[name], dtype=np.float64)
        for name in ("shift_variance", "scale_variance", "autoregression")
        if content.get(name) is not None
    }
    parameters = Parameters(
        startprob=np.array(content["startprob"], dtype=np.float64),
        transmat=np.array(content["transmat"], dtype=np.float64),
        means=np.array(content["means"], dtype=np.float64),
        covars=np.array(content["covars"], dtype=np.float64),
        covariance_type=content["covariance_type"],
        **own,
    )
    metrics, scaler = tuple(content["metrics"]), scaler_from_dict(content["scaler"])
    stored = content.get("certificate")
    certificate = None if stored is None else Certificate.from_dict(stored)
    check_parameters(parameters, scaler.n_features if isinstance(scaler, LevelsAndInnovations) else len(metrics))
    check_scaler(scaler, metrics)
    check_certificate(certificate, parameters.n_states)
    status = content["status"]
    settings = Settings(
        n_components=parameters.n_states,
        covariance_type=parameters.covariance_type,
        start=None,
        **content["settings"],
    )
    return Model(
        metrics=metrics,
        scaler=scaler,
        parameters=parameters,
        settings=settings,
        criterion=content["criterion"],
        curve=tuple(
            SelectionPoint(**{**point, "restart_log_likelihoods": tuple(point["restart_log_likelihoods"])})
            for point in content["curve"]
        ),
        status=FitStatus(
            outcome=status["outcome"],
            chosen=status["chosen"],
            outcomes=tuple(status["outcomes"]),
            log_likelihoods=tuple(tuple(trace) for trace in status["log_likelihoods"]),
            agreement=tuple(status["agreement"]),
        ),
        purpose=content["purpose"],
        seed=content["seed"],
        n_runs=content["n_runs"],
        n_rows=content["n_rows"],
        versions=content["versions"],
        certificate=certificate,
        sections={name: content[name] for name in content if name not in _OWN},
    )


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 of the content alone, so that white space does not matter."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
