"""Who was perturbed, how, in which arm, and which healthy run is its match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trajhmm.errors import AnalysisError
from trajhmm.features import columns_by_run
from trajhmm.logs import RunSet, parse_condition

PLAIN = "none"
"""What the buffer's column says of runs without one."""
BASELINE, HEALTHY, PERTURBED = "baseline", "healthy", "perturbed"
_OPTIONS = {"dimension": "--dimension", "strength": "--strength", "onset": "--onset", "buffer": "--buffer"}
_Cell = tuple[str, Any]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The attributes that say what was done to a run.

    Attributes
    ----------
    dimension, strength : what was perturbed, and how much.
    onset : step at which it began; negative or blank where nothing was.
    pair_by : what a perturbed run shares with its baseline, and a buffered run with its plain one.
    buffer : what buffers; ``none`` for plain runs. None for the column ``buffer``, if there is one.
    """

    dimension: str = "dimension"
    strength: str = "strength"
    onset: str = "onset"
    pair_by: tuple[str, ...] = ("seed",)
    buffer: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What was done to each run.

    Attributes
    ----------
    runs : one row a run, indexed by run: ``role`` (``baseline``, ``healthy`` or ``perturbed``), ``dimension``,
        ``strength``, ``onset`` (-1 without), ``seed`` (what it is paired by), ``buffer`` and ``baseline``: the healthy
        run of its own arm that it is matched with, or, where the arm has none, the plain one; None if there is none.
    columns : that told it.
    has_buffer : whether any perturbed run is buffered.
    """

    runs: pd.DataFrame
    columns: Columns
    has_buffer: bool

    def perturbed(self, *, buffered: bool = False) -> pd.DataFrame:
        """Perturbed runs of the plain arm, or of the buffered ones."""
        return self.runs[(self.runs["role"] == PERTURBED) & ((self.runs["buffer"] != PLAIN) == buffered)]

    def baselines(self) -> pd.DataFrame:
        """Baseline runs of the plain arm."""
        return self.runs[(self.runs["role"] == BASELINE) & (self.runs["buffer"] == PLAIN)]

    def cells(self) -> list[_Cell]:
        """Dimensions in the order of the logs, each with its strengths from the least on."""
        perturbed = self.perturbed()
        found = []
        for dimension in dict.fromkeys(perturbed["dimension"]):
            strengths = perturbed.loc[perturbed["dimension"] == dimension, "strength"]
            found += [(dimension, strength) for strength in sorted(set(strengths))]
        return found


def design_of(runs: RunSet, baseline: str, columns: Columns) -> Design:
    """Read from the attributes what was done to each run.

    Parameters
    ----------
    runs : the logs.
    baseline : condition that holds for the healthy runs of the audit.
    columns : the attributes that say what was done.

    Raises
    ------
    AnalysisError
        A column is missing, no run is a baseline, one that is was perturbed, or no plain run was.
    ConditionError
        ``baseline`` does not parse.
    """
    attributes = runs.attributes
    named = {option: getattr(columns, option) for option in ("dimension", "strength", "onset")}
    if columns.buffer is not None:
        named["buffer"] = columns.buffer
    for option, name in [*named.items(), *(("pair-by", name) for name in columns.pair_by)]:
        if name not in attributes.columns:
            found = ", ".join(map(str, attributes.columns[:12])) or "none"
            raise AnalysisError(
                f"no column {name!r} that is constant within each run (found: {found}); "
                f"name the one that holds it with {_OPTIONS.get(option, '--pair-by')}"
            )
    buffer = columns.buffer or ("buffer" if "buffer" in attributes.columns else None)
    onset = pd.to_numeric(attributes[columns.onset], errors="coerce")
    frame = pd.DataFrame(
        {
            "dimension": attributes[columns.dimension].astype(str),
            "strength": _strengths(attributes[columns.strength]),
            "onset": onset.where(onset >= 0, -1).fillna(-1).astype(np.int64),
            "seed": _keys(attributes, columns.pair_by),
            "buffer": PLAIN if buffer is None else attributes[buffer].fillna(PLAIN).astype(str).replace("", PLAIN),
        },
        index=pd.Index(runs.runs, name="run"),
    )
    held = _holding(runs, baseline)
    frame.insert(0, "role", np.where(frame["onset"] >= 0, PERTURBED, np.where(held, BASELINE, HEALTHY)))
    both = frame.index[held & (frame["onset"] >= 0).to_numpy()]
    if len(both):
        step = int(frame["onset"][both[0]])
        raise AnalysisError(
            f"baseline {baseline!r} holds for run {both[0]}, which was perturbed at step {step} by column "
            f"{columns.onset!r}; add to --baseline, or name another column with --onset"
        )
    if not held.any():
        raise AnalysisError(
            f"baseline {baseline!r} holds for none of {runs.n_runs} runs; see their attributes with 'trajhmm inspect'"
        )
    frame["baseline"] = pd.Series(_matches(frame), index=frame.index, dtype=object)
    design = Design(runs=frame, columns=columns, has_buffer=False)
    if not len(design.perturbed()):
        raise AnalysisError(
            f"no plain run was perturbed: column {columns.onset!r} is negative or blank in all of them; name the step "
            f"at which it began with --onset, and with --buffer the column that is {PLAIN!r} for plain runs"
        )
    return Design(runs=frame, columns=columns, has_buffer=len(design.perturbed(buffered=True)) > 0)


def _strengths(column: pd.Series) -> pd.Series:
    """Numbers where all are, else text."""
    numbers = pd.to_numeric(column, errors="coerce")
    return column.astype(str) if numbers.isna().any() else numbers.astype(np.float64)


def _keys(attributes: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """What runs are paired by, one value a run."""
    if len(names) == 1:
        return attributes[names[0]]
    return pd.Series(list(attributes[list(names)].astype(str).agg(" ".join, axis=1)), index=attributes.index)


def _holding(runs: RunSet, condition: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(R,) whether a condition holds at all rows of each run."""
    parsed = parse_condition(condition)
    return np.array([bool(parsed.evaluate(columns).all()) for _, _, columns in columns_by_run(runs, parsed)])


def _matches(frame: pd.DataFrame) -> list[str | None]:
    """The healthy run that each perturbed one is matched with: of its arm, else a plain baseline."""
    known: dict[tuple[str, Any], str] = {}
    # Baselines come last, so that they take the place of other healthy runs.
    for role in (HEALTHY, BASELINE):
        some = frame[frame["role"] == role]
        known |= {
            (buffer, seed): run for run, buffer, seed in zip(some.index, some["buffer"], some["seed"], strict=True)
        }
    return [
        None if role != PERTURBED else known.get((buffer, seed), known.get((PLAIN, seed)))
        for role, buffer, seed in zip(frame["role"], frame["buffer"], frame["seed"], strict=True)
    ]
