"""The files that an analysis leaves behind."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from trajhmm.dynamics.analysis import Analysis
from trajhmm.dynamics.detours.again import Refits
from trajhmm.dynamics.maps.training_map import MetricImportance, TrainingMap
from trajhmm.dynamics.summary import share_of_runs, summarize
from trajhmm.errors import AnalysisError
from trajhmm.files import write_csv, write_text
from trajhmm.hmm import Model
from trajhmm.hmm.statesfile import write_states
from trajhmm.naming import shown_lines


def write_analysis(analysis: Analysis, model: Model, folder: str | Path) -> list[Path]:
    """Write states, detours, evidence, convergence, visits, map, certificate, … and summary into ``folder``.

    Returns
    -------
    The files written, in that order.

    Raises
    ------
    AnalysisError
        ``folder`` is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise AnalysisError(f"{target}: is a file; expected the name of a folder")
    written = [target / "states.parquet"]
    write_states(analysis.smoothed, written[0])
    for name, frame in (
        ("detours.csv", analysis.detours),
        ("evidence.csv", analysis.evidence),
        ("convergence.csv", analysis.convergence),
        ("visits.csv", analysis.map.visits()),
    ):
        write_csv(frame, target / name)
        written.append(target / name)
    for name, content in (
        ("map.json", map_content(analysis.map, analysis.refits)),
        ("certificate.json", certificate_content(analysis, model)),
        ("regression.json", regression_content(analysis)),
        ("dissimilarity.json", dataclasses.asdict(analysis.dissimilarity)),
    ):
        write_text(target / name, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")
        written.append(target / name)
    write_text(target / "summary.txt", shown_lines(summarize(analysis, model)))
    return [*written, target / "summary.txt"]


def map_content(training_map: TrainingMap, refits: Refits | None = None) -> dict[str, Any]:
    """What ``map.json`` holds: states in the order in which runs first enter them, and the edges that runs take.

    Runs are counted that ever visit a state or take an edge; ``detours.csv`` counts visits before convergence.
    """
    certificate, n_runs = training_map.certificate, len(training_map.runs)
    own = None if certificate is None else certificate.at(training_map.n_states)
    return {
        "metrics": list(training_map.metrics),
        "n_runs": n_runs,
        "counted": "runs, ever",
        "reproducible": None if certificate is None else certificate.reproducible,
        "states": [
            {
                "state": state.state,
                "runs": state.runs,
                "rows": state.rows,
                "entry_step": state.entry_step,
                "is_detour": state.state in training_map.detours,
                "recovery": None if own is None else own.recovery[state.state],
                "forks_found": None if refits is None else refits.forks[state.state] / refits.n,
                "means": dict(zip(training_map.metrics, state.means.tolist(), strict=True)),
                "deviations": dict(zip(training_map.metrics, state.deviations.tolist(), strict=True)),
                "top_metrics": _importances(state.top_metrics, "mean"),
            }
            for state in training_map.states
        ],
        "edges": [
            {
                "from": edge.source,
                "to": edge.target,
                "probability": edge.probability,
                "runs": edge.runs,
                **dict(zip(("runs_low", "runs_high"), share_of_runs(edge.runs, n_runs), strict=True)),
                "times": edge.times,
                "found": None if refits is None else refits.edges[edge.source, edge.target] / refits.n,
                "top_metrics": _importances(edge.top_metrics, "movement"),
            }
            for edge in training_map.edges
        ],
    }


def certificate_content(analysis: Analysis, model: Model) -> dict[str, Any]:
    """What ``certificate.json`` holds: how far the map comes back in halves, from other seeds, and in the refits."""
    stored: dict[str, Any] = {"states": model.n_states, "reproducible": None, "halves": [], "residuals": None}
    if analysis.certificate is not None:
        stored = analysis.certificate.to_dict()
    return {**stored, "refits": None if analysis.refits is None else _refits_content(analysis.refits)}


def _refits_content(refits: Refits) -> dict[str, Any]:
    def found(times: int) -> dict[str, float]:
        low, high = refits.interval(times)
        return {"share": times / refits.n, "low": low, "high": high}

    return {
        "n": refits.n,
        "resampled": refits.resampled,
        "seeds": refits.seeds,
        "agreement": refits.agreement.tolist(),
        "states": [
            {"state": state, "detour": found(detour), "fork": found(fork)}
            for state, (detour, fork) in enumerate(zip(refits.detours.tolist(), refits.forks.tolist(), strict=True))
        ],
        "others": [{"states": k, "detours": list(states)} for k, states in sorted(refits.others.items())],
    }


def regression_content(analysis: Analysis) -> dict[str, Any]:
    """What ``regression.json`` holds."""
    regression = analysis.regression
    return {
        "r2": regression.r2,
        "f_p_value": regression.f_p_value,
        "loro_r2": regression.loro_r2,
        "permutation_p": regression.permutation_p,
        "coefficients": regression.coefficients.tolist(),
        "n_runs": regression.n_runs,
        "prefix_r2": [dataclasses.asdict(point) for point in analysis.prefix],
        "paper": {**dataclasses.asdict(regression.paper), "coefficients": regression.paper.coefficients.tolist()},
        "converged": analysis.convergence_times.condition,
    }


def _importances(top: tuple[MetricImportance, ...], movement: str) -> list[dict[str, Any]]:
    return [{"metric": t.metric, "importance": t.importance, movement: t.movement} for t in top]


def _finite(content: Any) -> Any:
    """JSON knows no NaN: what could not be computed is null."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
