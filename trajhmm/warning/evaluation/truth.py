"""What became of each run: read from a file, or derived from a condition on its performance."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError, LogError
from trajhmm.features import columns_by_run
from trajhmm.logs import RunSet, parse_condition
from trajhmm.logs.sources.paths import check_regular
from trajhmm.naming import instead_of
from trajhmm.warning.runs import RunTruth

# As logs have them; and characters of a line, and of what a message shows of it.
_LARGEST_STEP = 2**53
_LONGEST_LINE, _SHOWN = 2**16, 100
COLUMNS = ("run", "onset", "collapse_step")


def read_truth(path: str | Path) -> dict[str, RunTruth]:
    """Read ``run, onset, collapse_step``; -1 where there is none.

    Raises
    ------
    LogError
        The file is missing, a column is, a step is not a whole number, a run stands there twice, or collapses before
        its onset; or it is no table at all.
    """
    if Path(path).exists() and not Path(path).is_dir():
        check_regular(Path(path))
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(_short_lines(file, path))
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ())[:_SHOWN] or "none"
                raise LogError(f"{path}: no column {missing[0]!r} (found: {found}); expected {', '.join(COLUMNS)}")
            truths: dict[str, RunTruth] = {}
            for row in reader:
                place = f"{path} line {reader.line_num}"
                run = row["run"] or ""
                if run in truths:
                    raise LogError(f"{place}: run {run[:_SHOWN]!r} stands there twice")
                truths[run] = _truth_of(row, place)
    except csv.Error as error:
        raise LogError(f"{path}: not a table of {', '.join(COLUMNS)} ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return truths


def _short_lines(file: TextIO, path: str | Path) -> Iterator[str]:
    """Yield lines; one of this table holds a name and two numbers."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise LogError(f"{path}: a line of {_LONGEST_LINE:,} characters and more; expected {', '.join(COLUMNS)}")
        yield line


def _truth_of(row: Mapping[str, str | None], place: str) -> RunTruth:
    onset, collapse = (_step_of(row, name, place) for name in COLUMNS[1:])
    if onset is not None and collapse is not None and collapse < onset:
        raise LogError(f"{place}: collapse_step {collapse} comes before the onset {onset}; leave the run out")
    return RunTruth(onset=onset, collapse_step=collapse)


def _step_of(row: Mapping[str, str | None], name: str, place: str) -> int | None:
    text = row[name] or ""
    try:
        step = int(text)
    except ValueError:
        step = _LARGEST_STEP
    if abs(step) >= _LARGEST_STEP:
        raise LogError(f"{place}: {name} must be a whole number, -1 for none; found {text[:_SHOWN]!r}")
    return step if step >= 0 else None


def derive_truth(
    runs: RunSet, condition: str, *, sustained: int = 5, onsets: Mapping[str, int] | None = None
) -> dict[str, RunTruth]:
    """Find collapses: ``condition`` holds for ``sustained`` logged rows in a row, or a value is not finite.

    The collapse step is the first row of the sustained stretch, or the row of the first non-finite value of a metric
    that the condition names, whichever comes first. Rows count where any of these metrics is logged; the others then
    carry their last value. A stretch that ends sooner is a spike and counted apart; one that the end of the log cuts
    short is neither. Nor is one that begins with the first row and ends, or that lasts over all rows up to the onset:
    the run had yet to learn. If it never ends, the run collapsed at its first row.

    Parameters
    ----------
    runs : the logs.
    condition : such as ``eval_accuracy < 0.5``, ``drop(val_accuracy) > 0.3`` (below the best so far) or
        ``ratio(val_accuracy) < 0.6`` (share of the best so far); the best counts from the first row of the run.
    sustained : rows in a row.
    onsets : step at which a run was perturbed, for those that were; their rows up to that step are not looked at.

    Raises
    ------
    AnalysisError
        The condition names a column that the logs do not have, or no metric; ``sustained`` is not positive.
    ConditionError
        It does not parse.
    """
    if sustained < 1:
        raise AnalysisError(f"sustained must be at least 1 row, found {sustained}")
    parsed = parse_condition(condition)
    onsets = {} if onsets is None else onsets
    truths = {}
    for run, rows, columns in columns_by_run(runs, parsed):
        named = [runs.metrics.index(name) for name in parsed.columns if name in runs.metrics]
        if not named:
            raise AnalysisError(f"condition {condition!r}: names no metric, so that no run can come to meet it")
        logged = runs.logged[rows][:, named]
        broken = np.any(logged & ~np.isfinite(runs.values[rows][:, named]), axis=1)
        looked_at, met = np.any(logged, axis=1), parsed.evaluate(columns)
        from_start = True
        if run in onsets:
            behind = runs.steps[rows] > onsets[run]
            from_start = bool(met[looked_at & ~behind].all())
            looked_at &= behind
        steps = runs.steps[rows][looked_at]
        collapse, spikes = find_collapse(met[looked_at], broken[looked_at], sustained, from_start=from_start)
        truths[run] = RunTruth(
            onset=onsets.get(run), collapse_step=None if collapse is None else int(steps[collapse]), spikes=spikes
        )
    return truths


def find_collapse(
    holds: NDArray[np.bool_], broken: NDArray[np.bool_], sustained: int, *, from_start: bool = True
) -> tuple[int | None, int]:
    """Find where a run collapses.

    Parameters
    ----------
    holds : (n,) whether the condition holds.
    broken : (n,) whether a value is not finite; such a row is part of no stretch.
    sustained : rows in a row for which it has to hold, at least 1.
    from_start : whether the condition held up to row 0, if there were rows: a stretch from there that ends is learning.

    Returns
    -------
    row : of the collapse; None if there is none.
    spikes : stretches before it that recovered.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], holds & ~broken, [False])).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    if from_start and len(starts) and starts[0] == 0 and stops[0] < len(holds):
        starts, stops = starts[1:], stops[1:]
    lasting = starts[stops - starts >= sustained]
    candidates = [int(rows[0]) for rows in (lasting, np.flatnonzero(broken)) if len(rows)]
    row = min(candidates, default=None)
    end = len(holds) if row is None else row
    return row, int((stops < end).sum())


def attribute_onsets(runs: RunSet, attribute: str = "onset") -> dict[str, int]:
    """The step at which each run was perturbed, from an attribute that is negative or blank where it was not.

    Raises
    ------
    LogError
        No such attribute, or it is text.
    """
    if attribute not in runs.attributes.columns:
        raise LogError(f"no attribute {attribute!r} in these logs{instead_of(attribute, runs.attributes.columns)}")
    known = runs.attributes[attribute].dropna()
    if known.dtype.kind not in "iuf":
        found = str(known.iloc[0])[:_SHOWN]
        raise LogError(f"attribute {attribute!r} is text ({found!r}); expected steps, name their column with --onset")
    return {str(run): int(onset) for run, onset in known.items() if 0 <= onset < np.inf}
