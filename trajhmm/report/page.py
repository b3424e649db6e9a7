"""The page: one HTML file with everything in it, which loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from trajhmm.dynamics import Analysis, TrainingMap
from trajhmm.dynamics.maps.training_map import build_map
from trajhmm.dynamics.summary import describe_fit, describe_map
from trajhmm.errors import AnalysisError
from trajhmm.figures.maplabels import counted
from trajhmm.figures.style import FULL_WIDTH, POINTS, ink_on, state_colors
from trajhmm.files import write_text
from trajhmm.hmm import Model
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import Note, RunSet
from trajhmm.naming import shown_lines
from trajhmm.report import alarms as warnings_of
from trajhmm.report.choice import choice
from trajhmm.report.drawings import draw_map, draw_raster, visits
from trajhmm.report.evidence import evidence
from trajhmm.report.overview import Overview, overview, without_folders
from trajhmm.report.stability import stability_sections
from trajhmm.report.standing import standing
from trajhmm.report.states import profiles

# Widths that the map is laid out for, in points; on narrow screens the second, so that its text can be read.
_WIDE, _NARROW = FULL_WIDTH * POINTS, 200.0


def render_report(
    runs: RunSet,
    model: Model,
    *,
    analysis: Analysis | None = None,
    sources: Sequence[str | Path] = (),
    stability: Sequence[str | Path] = (),
) -> str:
    """The page as text; the same input gives the same bytes.

    Parameters
    ----------
    runs : the logs.
    model : a map, or a model for warning.
    analysis : of the runs under a map; without it the page shows the map and no detours.
    sources : files and folders that the runs and the model were read from; the page names them without what lies above.
    stability : folders that ``trajhmm audit`` or ``trajhmm stability`` wrote, to be shown as well.

    Raises
    ------
    AnalysisError
        There is an analysis although the model is for warning; a folder holds nothing of stability.
    ModelFileError
        The logs lack a metric of the model.
    """
    paths = [Path(source) for source in sources]
    if model.purpose == "map":
        content = _map_content(runs, model, analysis, paths)
    elif analysis is not None:
        raise AnalysisError("the model was fitted for warning; an analysis needs a map")
    else:
        content = _warning_content(runs, model, paths)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            **content,
            model=model,
            stability=stability_sections([Path(folder) for folder in stability]),
            sources=[path.resolve().name for path in paths],
            versions=software_versions(),
            state_styles=_state_styles(model.n_states),
        )
    )


def environment() -> Environment:
    """Where pages are made: what is put in is escaped, and a name that is missing is an error."""
    return Environment(
        loader=PackageLoader("trajhmm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )


def write_report(
    path: str | Path,
    runs: RunSet,
    model: Model,
    *,
    analysis: Analysis | None = None,
    sources: Sequence[str | Path] = (),
    stability: Sequence[str | Path] = (),
) -> None:
    """Write the page, whole or not at all; for parameters see `render_report`."""
    write_text(path, render_report(runs, model, analysis=analysis, sources=sources, stability=stability))


def _map_content(runs: RunSet, model: Model, analysis: Analysis | None, sources: Sequence[Path]) -> dict[str, Any]:
    training_map, notes = _mapped(runs, model) if analysis is None else (analysis.map, analysis.notes)
    convergence = None if analysis is None else analysis.convergence_times
    visited = {
        run: visits(path)
        for run, path in zip(
            training_map.runs, np.split(training_map.path, np.cumsum(training_map.lengths)[:-1]), strict=True
        )
    }
    seen = overview(runs, without_folders(notes, sources), visits=visited, convergence=convergence)
    tiles = [*_tiles(runs, seen), _tile(model.n_states, "state", "states")]
    if analysis is not None:
        converged = int(analysis.convergence_times.converged.sum())
        tiles += [
            (f"{converged} of {len(training_map.runs)}", "runs converge"),
            _tile(len(training_map.detours), "detour", "detours"),
        ]
    return {
        "title": f"Training map of {counted(runs.n_runs)}",
        "tiles": tiles,
        "overview": seen,
        "standing": standing(training_map, model, analysis),
        "fit": describe_fit(training_map, model, notes),
        "map_words": describe_map(training_map),
        "choice": choice(model),
        "maps": {"wide": draw_map(training_map, _WIDE), "narrow": draw_map(training_map, _NARROW)},
        "profiles": profiles(training_map),
        "raster": draw_raster(training_map, convergence),
        "evidence": None if analysis is None else evidence(analysis, model),
        "alarms": None,
    }


def _warning_content(runs: RunSet, model: Model, sources: Sequence[Path]) -> dict[str, Any]:
    found = warnings_of.alarms(runs, model)
    seen = overview(runs, without_folders(runs.notes, sources))
    return {
        "title": f"Warnings of {counted(runs.n_runs)}",
        "tiles": [*_tiles(runs, seen), (f"{found.alarmed} of {runs.n_runs}", "runs alarmed")],
        "overview": seen,
        "standing": None,
        "choice": choice(model),
        "alarms": found,
        "shown": warnings_of.SHOWN,
    }


def _plain(value: Any) -> Any:
    """What stands on the page, whatever a name holds: no control characters, nothing that turns its text around."""
    return shown_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _mapped(runs: RunSet, model: Model) -> tuple[TrainingMap, tuple[Note, ...]]:
    sequences = model.sequences(runs)
    training_map = build_map(model, sequences, model.filter(sequences), model.decode(sequences))
    return training_map, (*runs.notes, *sequences.notes)


def _tiles(runs: RunSet, seen: Overview) -> list[tuple[str, str]]:
    return [
        _tile(runs.n_runs, "run", "runs"),
        _tile(runs.n_rows, "row", "rows"),
        _tile(seen.troubled, "run with problems", "runs with problems"),
    ]


def _tile(n: int, one: str, many: str) -> tuple[str, str]:
    return f"{n:,}", one if n == 1 else many


def _state_styles(n_states: int) -> list[tuple[int, str, str]]:
    return [(k, color, ink_on(color)) for k, color in enumerate(state_colors(n_states))]
