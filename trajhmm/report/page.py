"""The page: one HTML file with everything in it, which loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from trajhmm.dynamics import Analysis, Trajectories, decode_runs
from trajhmm.dynamics.summary import describe_fit, describe_map
from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.figures.maplabels import counted
from trajhmm.figures.style import FULL_WIDTH, POINTS, ink_on, line_colors, luminance, state_colors
from trajhmm.files import write_text
from trajhmm.hmm import Model
from trajhmm.hmm.versions import software_versions
from trajhmm.logs import RunSet
from trajhmm.naming import shown_lines
from trajhmm.report import alarms as warnings_of
from trajhmm.report.choice import choice
from trajhmm.report.curves import Curves, curves
from trajhmm.report.drawings import draw_map, draw_raster, visits
from trajhmm.report.evidence import evidence
from trajhmm.report.overview import Overview, overview, without_folders
from trajhmm.report.stability import stability_sections
from trajhmm.report.standing import standing
from trajhmm.report.states import profiles
from trajhmm.report.tables import Table
from trajhmm.warning.evaluation import attribute_onsets, derive_truth
from trajhmm.warning.runs import RunTruth

# Widths that the map is laid out for, in points; on narrow screens the second, so that its text can be read.
_WIDE, _NARROW = FULL_WIDTH * POINTS, 200.0
# Darker than this a line is not seen on a dark page; what it is drawn in there instead.
_DARKEST, _ON_DARK = 0.05, "#d9d9d9"


def render_report(
    runs: RunSet,
    model: Model,
    *,
    analysis: Analysis | None = None,
    sources: Sequence[str | Path] = (),
    stability: Sequence[str | Path] = (),
    collapse: str | None = None,
) -> str:
    """The page as text; the same input gives the same bytes.

    Parameters
    ----------
    runs : the logs.
    model : a map, or a model for warning.
    analysis : of the runs under a map; without it the page shows the map and no detours.
    sources : files and folders that the runs and the model were read from; the page names them without what lies above.
    stability : folders that ``trajhmm audit`` or ``trajhmm stability`` wrote, to be shown as well.
    collapse : condition such as ``eval_accuracy < 0.5``; runs for which it holds five rows in a row collapsed, and the
        page says when. Of runs with an attribute ``onset``, rows up to it do not count.

    Raises
    ------
    AnalysisError
        There is an analysis although the model is for warning; a folder holds nothing of stability.
    ModelFileError
        The logs lack a metric of the model.
    """
    paths = [Path(source) for source in sources]
    truths = None if collapse is None else _truths(runs, collapse)
    if model.purpose == "map":
        content = _map_content(runs, model, analysis, paths, truths)
    elif analysis is not None:
        raise AnalysisError("the model was fitted for warning; an analysis needs a map")
    else:
        content = _warning_content(runs, model, paths, collapse or "", truths)
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
    collapse: str | None = None,
) -> None:
    """Write the page, whole or not at all; for parameters see `render_report`."""
    page = render_report(runs, model, analysis=analysis, sources=sources, stability=stability, collapse=collapse)
    write_text(path, page)


def _truths(runs: RunSet, collapse: str) -> dict[str, RunTruth]:
    onsets = attribute_onsets(runs, "onset") if "onset" in runs.attributes.columns else None
    return derive_truth(runs, collapse, onsets=onsets)


def _map_content(
    runs: RunSet,
    model: Model,
    analysis: Analysis | None,
    sources: Sequence[Path],
    truths: Mapping[str, RunTruth] | None,
) -> dict[str, Any]:
    seen_as = decode_runs(runs, model) if analysis is None else analysis
    training_map, trajectories = seen_as.map, seen_as.trajectories
    notes = (*(note for note in runs.notes if note not in seen_as.notes), *seen_as.notes)
    collapses = _collapses(truths)
    convergence = None if analysis is None else analysis.convergence_times
    visited = {
        run: visits(path)
        for run, path in zip(
            training_map.runs, np.split(training_map.path, np.cumsum(training_map.lengths)[:-1]), strict=True
        )
    }
    seen = overview(runs, without_folders(notes, sources), visits=visited, convergence=convergence, collapses=collapses)
    tiles = [*_tiles(runs, seen), _tile(model.n_states, "state", "states")]
    if analysis is not None:
        converged = int(analysis.convergence_times.converged.sum())
        tiles += [
            (f"{converged} of {len(training_map.runs)}", "runs converge"),
            _tile(len(training_map.detours), "detour", "detours"),
        ]
    stands = standing(training_map, model, analysis)
    found = None if analysis is None else evidence(analysis, model)
    return {
        "headline": stands.sentence if found is None else found.sentences.headline,
        "curves": _curves(trajectories, training_map.telling_metrics(), seen),
        "title": f"Training map of {counted(runs.n_runs)}",
        "tiles": tiles,
        "overview": seen,
        "standing": stands,
        "fit": describe_fit(training_map, model, notes),
        "map_words": describe_map(training_map),
        "choice": choice(model),
        "maps": {"wide": draw_map(training_map, _WIDE), "narrow": draw_map(training_map, _NARROW)},
        "profiles": profiles(training_map, trajectories),
        "raster": draw_raster(training_map, convergence),
        "evidence": found,
        "alarms": None,
    }


def _warning_content(
    runs: RunSet, model: Model, sources: Sequence[Path], collapse: str, truths: Mapping[str, RunTruth] | None
) -> dict[str, Any]:
    found = warnings_of.alarms(runs, model, collapse=collapse, truths=truths)
    seen = overview(runs, without_folders(runs.notes, sources), collapses=_collapses(truths))
    return {
        "headline": found.headline,
        "curves": _curves(
            found.trajectories,
            (*sorted(model.metrics, key=lambda name: not is_loss(name))[:2], "score", *model.metrics),
            seen,
            found.table,
            found.quiet,
        ),
        "title": f"Warnings of {counted(runs.n_runs)}",
        "tiles": [*_tiles(runs, seen), (f"{found.alarmed} of {runs.n_runs}", "runs alarmed")],
        "overview": seen,
        "standing": None,
        "choice": choice(model),
        "alarms": found,
        "shown": warnings_of.SHOWN,
    }


def _collapses(truths: Mapping[str, RunTruth] | None) -> dict[str, int | None] | None:
    return None if truths is None else {run: truth.collapse_step for run, truth in truths.items()}


def _curves(trajectories: Trajectories, metrics: Sequence[str], seen: Overview, *tables: Table) -> Curves | None:
    """Curves of the runs, with what the tables of runs say of each."""
    facts: dict[str, list[tuple[str, str]]] = {}
    for table in (seen.table, *tables):
        for row in table.rows:
            told = zip(table.columns[1:], row.cells[1:], strict=True)
            own = facts.setdefault(row.cells[0].text, [])
            own += [(column.title, cell.text) for column, cell in told if cell.text and column.title not in dict(own)]
    return curves(trajectories, metrics, facts)


def _plain(value: Any) -> Any:
    """What stands on the page, whatever a name holds: no control characters, nothing that turns its text around."""
    return shown_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _tiles(runs: RunSet, seen: Overview) -> list[tuple[str, str]]:
    return [
        _tile(runs.n_runs, "run", "runs"),
        _tile(runs.n_rows, "row", "rows"),
        _tile(seen.troubled, "run with problems", "runs with problems"),
    ]


def _tile(n: int, one: str, many: str) -> tuple[str, str]:
    return f"{n:,}", one if n == 1 else many


def _state_styles(n_states: int) -> list[tuple[int, str, str, str, str]]:
    """Of each state the colour of patches, that of text on it, and those of lines on a light and on a dark page."""
    lines = line_colors(n_states)
    return [
        (k, color, ink_on(color), lines[k], color if luminance(color) > _DARKEST else _ON_DARK)
        for k, color in enumerate(state_colors(n_states))
    ]
