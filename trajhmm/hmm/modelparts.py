"""The parts of a model file, each checked before anything is computed with it: a stranger may have written anything."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_args

import numpy as np

from trajhmm.features import LevelsAndInnovations, PerRunScaler, PooledScaler, scaler_from_dict
from trajhmm.features.sequences import FARTHEST
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.parameters import COVARIANCE_TYPES, LARGEST_AUTOREGRESSION, MOST_STATES, Parameters
from trajhmm.hmm.results import FitStatus, Outcome, SelectionPoint
from trajhmm.hmm.settings import LARGEST_SEED, EngineName, Settings
from trajhmm.stored import Stored, StoredError

# What is scaled is within this, and varies by no less than one over it: so products of such numbers are finite.
_LARGEST = FARTHEST
# Indices are between -1 and 1, up to rounding.
_MOST = 1.0 + 1e-6
SETTINGS = (
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
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def metrics_of(content: Stored) -> tuple[str, ...]:
    """D names, each once."""
    names = tuple(name.text() for name in content["metrics"].items())
    if not names or len(set(names)) < len(names):
        raise content["metrics"].error("names of metrics, each once")
    return names


def check_scaler(scaler: PerRunScaler | PooledScaler | LevelsAndInnovations, metrics: tuple[str, ...]) -> None:
    """Refuse a scaler of other than these D metrics.

    Raises
    ------
    StoredError
        It is one.
    """
    if isinstance(scaler, LevelsAndInnovations) and scaler.metrics != metrics:
        raise StoredError("scaler.metrics: expected the metrics of the model, in their order")
    if isinstance(scaler, PooledScaler) and len(scaler.logs) != len(metrics):
        raise StoredError(f"scaler of {len(scaler.logs)} metrics: expected {len(metrics)}")


def scaler_of(content: Stored) -> PerRunScaler | PooledScaler | LevelsAndInnovations:
    """The scaler: one that looks back only in a model for warning, one of whole runs in a map."""
    scaler = scaler_from_dict(content["scaler"].members())
    is_causal, purpose = isinstance(scaler, LevelsAndInnovations), content["purpose"].one_of(("map", "warning"))
    if is_causal != (purpose == "warning"):
        raise content["purpose"].error("warning of a model with levels, map of any other")
    return scaler


def parameters_of(content: Stored, n_columns: int) -> Parameters:
    """Parameters over so many columns.

    Raises
    ------
    StoredError, ArrayError
        They are no Gaussian HMM of 1 to 50 states.
    """
    k, d = sum(1 for _ in content["startprob"].items()), n_columns
    if not 1 <= k <= MOST_STATES:
        raise StoredError(f"startprob: {k} states; expected at least one state, and at most {MOST_STATES}")
    if content["n_states"].whole() != k:
        raise content["n_states"].error(f"{k}, as startprob has it")
    covariance = COVARIANCE_TYPES[COVARIANCE_TYPES.index(content["covariance_type"].one_of(COVARIANCE_TYPES))]
    shapes = {"diag": (k, d), "full": (k, d, d), "tied": (d, d), "spherical": (k,)}
    startprob, transmat = content["startprob"].array((k,)), content["transmat"].array((k, k))
    means = content["means"].array((k, d), -_LARGEST, _LARGEST)
    covars = content["covars"].array(shapes[covariance], -_LARGEST, _LARGEST)
    own = {
        name: part.array((d,), -most, most)
        for name, most in (
            ("shift_variance", _LARGEST),
            ("scale_variance", _LARGEST),
            ("autoregression", LARGEST_AUTOREGRESSION),
        )
        if (part := content.get(name)) is not None
    }
    parameters = Parameters(
        startprob=startprob, transmat=transmat, means=means, covars=covars, covariance_type=covariance, **own
    )
    parameters.check()
    _check_inverses(parameters)
    return parameters


def _check_inverses(parameters: Parameters) -> None:
    """Refuse variances so small that what is divided by them may be too large for floats."""
    variances = {"shift_variance": parameters.shift_variance, "scale_variance": parameters.scale_variance}
    if parameters.is_diagonal:
        variances["covars"] = parameters.covars
    else:
        matrices = parameters.matrices()
        with np.errstate(all="ignore"):
            inverses = np.concatenate([np.linalg.inv(matrices), np.linalg.inv(np.linalg.cholesky(matrices))])
        if not (np.abs(inverses) <= _LARGEST).all():
            raise StoredError("covars: expected matrices that can be inverted")
    for name, some in variances.items():
        if some is not None and (some < 1.0 / _LARGEST).any():
            raise StoredError(f"{name}: {some.min():g}; expected variances of at least {1.0 / _LARGEST:g}")


def settings_of(content: Stored, parameters: Parameters) -> Settings:
    """How it was fitted."""
    piece = content["settings"]
    piece.members(known=SETTINGS)
    shifts, scales = (name in piece.members() and piece[name].flag() for name in ("shifts", "scales"))
    if shifts != (parameters.shift_variance is not None):
        raise StoredError(f"settings.shifts {shifts}: expected a variance of shifts where runs are shifted, else none")
    texts: dict[str, Any] = {name: piece[name].text() for name in ("topology", "search") if name in piece.members()}
    return Settings(
        n_components=parameters.n_states,
        covariance_type=parameters.covariance_type,
        start=None,
        n_restarts=piece["n_restarts"].whole(1),
        n_iter=piece["n_iter"].whole(1),
        tol=piece["tol"].number(),
        floor=piece["floor"].number(0.0),
        shrinkage=piece["shrinkage"].number(0.0),
        engine=_known(piece["engine"], get_args(EngineName)),
        random_state=piece["random_state"].whole(0, LARGEST_SEED),
        shifts=shifts,
        scales=scales,
        **texts,
    )


def seed_of(content: Stored) -> int:
    """The seed of the starts."""
    return content["seed"].whole(0, LARGEST_SEED)


def versions_of(content: Stored) -> dict[str, str]:
    """Versions by name of the software."""
    return {name: content["versions"][name].text() for name in content["versions"].members()}


def status_of(content: Stored) -> FitStatus:
    """How the fit ended: one of the restarts was chosen, which came to an end."""
    piece = content["status"]
    piece.members(known=[one.name for one in fields(FitStatus)])
    outcomes: list[Outcome] = [_known(one, _OUTCOMES) for one in piece["outcomes"].items()]
    traces = [tuple(trace.array((None,)).tolist()) for trace in piece["log_likelihoods"].items()]
    if not outcomes or len(traces) != len(outcomes):
        raise piece["log_likelihoods"].error(f"those of {len(outcomes)} restarts, one at least")
    agreement = piece["agreement"].array((len(outcomes),), -_MOST, _MOST, or_null=True).tolist()
    chosen = piece["chosen"].whole(0, len(outcomes) - 1)
    outcome: Outcome = _known(piece["outcome"], _OUTCOMES)
    if outcome == "degenerate" or outcomes[chosen] != outcome or not traces[chosen]:
        raise piece["chosen"].error(f"a restart that ended as the whole, which is {outcome}")
    return FitStatus(
        outcome=outcome,
        chosen=chosen,
        outcomes=tuple(outcomes),
        log_likelihoods=tuple(traces),
        agreement=tuple(None if np.isnan(one) else one for one in agreement),
    )


def curve_of(content: Stored) -> tuple[SelectionPoint, ...]:
    """What is known of each number of states that was tried, each once."""
    curve = tuple(_point(point) for point in content["curve"].items())
    if len({point.states for point in curve}) < len(curve):
        raise content["curve"].error("each number of states once")
    return curve


def _point(piece: Stored) -> SelectionPoint:
    known = fields(SelectionPoint)
    piece.members(known=[one.name for one in known], needed=[one.name for one in known if one.default is MISSING])
    shares = {
        name: None if (part := piece.get(name)) is None else part.number(-_MOST, _MOST)
        for name in ("agreement", "halves", "recovery")
    }
    numbers = {
        name: None if (part := piece.get(name)) is None else part.number()
        for name in ("log_likelihood", "bic", "aic", "icl", "heldout", "heldout_se")
    }
    n_parameters = piece.get("n_parameters")
    return SelectionPoint(
        states=piece["states"].whole(1, MOST_STATES),
        outcome=_known(piece["outcome"], _OUTCOMES),
        n_parameters=None if n_parameters is None else n_parameters.whole(),
        restart_log_likelihoods=tuple(piece["restart_log_likelihoods"].array((None,)).tolist()),
        reached_best=piece["reached_best"].whole(),
        **shares,
        **numbers,
    )


def certificate_of(content: Stored, n_states: int, metrics: tuple[str, ...]) -> Certificate | None:
    """How far the map of so many states comes back; None where the file does not tell."""
    piece = content.get("certificate")
    if piece is None:
        return None
    certificate = Certificate.from_dict(piece.members())
    if certificate.states != n_states:
        raise StoredError(f"certificate of {certificate.states} states, parameters of {n_states}")
    for one in certificate.halves:
        if not one.agreement or len(one.recovery) != one.states:
            raise StoredError(f"certificate: agreement or recovery of {one.states} states is missing")
    if certificate.residuals is not None and tuple(one.metric for one in certificate.residuals.metrics) != metrics:
        raise piece["residuals"].error("residuals of the metrics of the model, in their order")
    return certificate


def _known(piece: Stored, known: tuple[Any, ...]) -> Any:
    return piece.one_of(known)
