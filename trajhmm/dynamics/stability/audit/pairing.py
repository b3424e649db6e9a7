"""Who was perturbed, how, in which arm, and which healthy run is its match."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.cells import (
    PLAIN,
    Bools,
    Unpaired,
    arm_in,
    dimensions_in,
    keys_in,
    onsets_in,
    strength_order,
    strengths_in,
)
from trajhmm.errors import AnalysisError
from trajhmm.features import columns_by_run
from trajhmm.logs import RunSet, parse_condition
from trajhmm.naming import instead_of, listed

BASELINE, HEALTHY, PERTURBED, UNSEEN = "baseline", "healthy", "perturbed", "unseen"
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
    buffer : what buffers; ``none``, blank, false or 0 for plain runs. None for the column ``buffer``, if there is one.
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
    runs : one row a run, indexed by run: ``role`` (``baseline``, ``healthy``, ``perturbed``, or ``unseen``, see
        `seen`), ``dimension``, ``strength``, ``onset`` (-1 without), ``seed`` (what it is paired by, `Unpaired` where
        that is blank), ``buffer`` and ``baseline``: the healthy run of its own arm that it is matched with, or, where
        the arm has none, the plain one; None if there is none.
    columns : that told it.
    """

    runs: pd.DataFrame
    columns: Columns

    def perturbed(self, *, buffered: bool = False) -> pd.DataFrame:
        """Perturbed runs of the plain arm, or of the buffered ones."""
        return self.runs[(self.runs["role"] == PERTURBED) & ((self.runs["buffer"] != PLAIN) == buffered)]

    def unseen(self) -> pd.DataFrame:
        """Perturbed runs of either arm of which nothing tells what became of them."""
        return self.runs[self.runs["role"] == UNSEEN]

    def healthy(self) -> pd.DataFrame:
        """Runs of any arm to which nothing was done, baselines or not."""
        return self.runs[self.runs["role"].isin([BASELINE, HEALTHY])]

    def baselines(self) -> pd.DataFrame:
        """Baseline runs of the plain arm."""
        return self.runs[(self.runs["role"] == BASELINE) & (self.runs["buffer"] == PLAIN)]

    def unpaired(self) -> pd.DataFrame:
        """Runs that lack what they would be paired by."""
        return self.runs[[isinstance(key, Unpaired) for key in self.runs["seed"]]]

    def cells(self) -> list[_Cell]:
        """Dimensions in the order of the logs, each with its strengths from the least on, words after numbers."""
        perturbed = self.perturbed()
        found: list[_Cell] = []
        for dimension in dict.fromkeys(perturbed["dimension"]):
            strengths = set(perturbed.loc[perturbed["dimension"] == dimension, "strength"])
            found += [(dimension, strength) for strength in sorted(strengths, key=strength_order)]
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
        A column is missing, an onset is no step, no run is a baseline, one that is was perturbed, or no plain run was.
    ConditionError
        ``baseline`` does not parse.
    """
    _demand(runs, columns)
    attributes = runs.attributes
    buffer = columns.buffer or ("buffer" if "buffer" in attributes.columns else None)
    onset = onsets_in(attributes[columns.onset])
    perturbed = (onset >= 0).to_numpy()
    frame = pd.DataFrame(
        {
            "dimension": dimensions_in(attributes[columns.dimension], perturbed),
            "strength": strengths_in(attributes[columns.strength], perturbed),
            "onset": onset,
            "seed": keys_in(attributes[list(columns.pair_by)]),
            "buffer": PLAIN if buffer is None else [arm_in(value, buffer) for value in attributes[buffer]],
        },
        index=pd.Index(runs.runs, name="run"),
    )
    held = _baselines(runs, baseline, frame["onset"], columns.onset)
    frame.insert(0, "role", np.where(perturbed, PERTURBED, np.where(held, BASELINE, HEALTHY)))
    frame["baseline"] = pd.Series(_matches(frame), index=frame.index, dtype=object)
    design = Design(runs=frame, columns=columns)
    if not len(design.perturbed()):
        raise AnalysisError(_nobody(design))
    return design


def seen(design: Design, runs: RunSet, collapse: str) -> Design:
    """Set apart the perturbed runs of which nothing tells what became of them.

    Their log ends before the onset, or holds none of the metrics of ``collapse`` after it. They have neither collapsed
    nor survived, and count nowhere.

    Parameters
    ----------
    design : what was done.
    runs : the logs.
    collapse : condition.

    Raises
    ------
    AnalysisError
        No plain run is left.
    ConditionError
        ``collapse`` does not parse.
    """
    named = [name for name in parse_condition(collapse).columns if name in runs.metrics]
    if not named:
        return design  # which `derive_truth` refuses
    watched = runs.logged[:, [runs.metrics.index(name) for name in named]]
    told = [
        bool(watched[rows][runs.steps[rows] > onset].any())
        for (_, rows), onset in zip(runs.slices(), design.runs["onset"], strict=True)
    ]
    unseen = ~np.array(told, dtype=bool) & (design.runs["role"] == PERTURBED).to_numpy()
    found = replace(design, runs=design.runs.assign(role=design.runs["role"].mask(unseen, UNSEEN)))
    if not len(found.perturbed()):
        plain = design.perturbed()
        raise AnalysisError(
            f"none of {len(plain)} perturbed plain runs logs {listed(named, 3)} after its onset ({plain.index[0]}: "
            f"step {plain['onset'].iloc[0]}); name the step at which it began with --onset, or log on"
        )
    return found


def _demand(runs: RunSet, columns: Columns) -> None:
    """Raise `AnalysisError` for the first column that is no attribute."""
    named = [(_OPTIONS[one], getattr(columns, one)) for one in ("dimension", "strength", "onset")]
    if columns.buffer is not None:
        named.append((_OPTIONS["buffer"], columns.buffer))
    for option, name in [*named, *(("--pair-by", name) for name in columns.pair_by)]:
        if name in runs.attributes.columns:
            continue
        if name in runs.metrics:
            raise AnalysisError(
                f"column {name!r} was taken for a metric, as {_why_metric(runs, name)}; mend it, or name with {option} "
                "the one that is constant within each run"
            )
        raise AnalysisError(
            f"no column {name!r} that is constant within each run{instead_of(name, runs.attributes.columns)}; "
            f"name the one that holds it with {option}"
        )


def _why_metric(runs: RunSet, name: str) -> str:
    values = runs.column(name)
    for run, rows in runs.slices():
        told = values[rows][runs.logged[rows, runs.metrics.index(name)]]
        if not np.isfinite(told).all():
            return f"it is not finite in run {run}"
        if len(np.unique(told)) > 1:
            return f"it changes within run {run}"
    return "no run has a second row"


def _baselines(runs: RunSet, condition: str, onsets: pd.Series, column: str) -> Bools:
    """Whether a condition holds at all rows of each run (R,).

    Raises
    ------
    AnalysisError
        It does for one that was perturbed, or for none.
    """
    parsed = parse_condition(condition)
    held = np.array([bool(parsed.evaluate(found).all()) for _, _, found in columns_by_run(runs, parsed)], dtype=bool)
    both = onsets[held & (onsets >= 0).to_numpy()]
    if len(both):
        raise AnalysisError(
            f"baseline {condition!r} holds for run {both.index[0]}, which was perturbed at step {both.iloc[0]} by "
            f"column {column!r}; add to --baseline, or name another column with --onset"
        )
    if not held.any():
        raise AnalysisError(
            f"baseline {condition!r} holds for none of {runs.n_runs} runs; see their attributes with 'trajhmm inspect'"
        )
    return held


def _nobody(design: Design) -> str:
    """Why no plain run was perturbed."""
    if buffered := len(design.perturbed(buffered=True)):
        return (
            f"all {buffered} perturbed runs are buffered by column {design.columns.buffer or 'buffer'!r}, and none is "
            f"plain; name with --buffer the column that is {PLAIN!r}, blank, false or 0 in plain runs"
        )
    return (
        f"no plain run was perturbed: column {design.columns.onset!r} is negative or blank in all of them; name the "
        "step at which it began with --onset"
    )


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
