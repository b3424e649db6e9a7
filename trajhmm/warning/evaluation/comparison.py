"""Many detectors on the same runs, each at its own threshold and at common budgets, with whole conditions held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import TrajHMMError
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.evaluation.folds import Cell, split_trials
from trajhmm.warning.evaluation.intervals import RESAMPLES, Estimate, share
from trajhmm.warning.evaluation.protocol import RunOutcome, first_alarm, judge
from trajhmm.warning.evaluation.report import Report, report_on
from trajhmm.warning.evaluation.thresholds import conformal_threshold, runs_needed
from trajhmm.warning.runs import Trial

if TYPE_CHECKING:
    import pandas as pd

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One detector at one budget.

    Attributes
    ----------
    detector : its name in the table.
    budget : share of healthy runs that was allowed to alarm; None for the detector's published threshold.
    attainable : share that the thresholds promise; None for a published threshold. Above the budget where there were
        too few healthy runs to calibrate on.
    report : how it did; None where it cannot be used on these runs.
    reason : why it cannot.
    outcomes : what the report adds up, a run each.
    hard_alarmed : share of the hard runs that alarmed; None where there are none.
    """

    detector: str
    budget: float | None
    attainable: float | None = None
    report: Report | None = None
    reason: str | None = None
    outcomes: tuple[RunOutcome, ...] = ()
    hard_alarmed: Estimate | None = None

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "detector": self.detector,
            "budget": self.budget,
            "attainable": self.attainable,
            "report": None if self.report is None else self.report.to_dict(),
            "reason": self.reason,
        } | ({} if self.hard_alarmed is None else {"hard_alarmed": self.hard_alarmed.to_dict()})


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row a detector and budget."""

    rows: tuple[ComparisonRow, ...]

    def frame(self) -> pd.DataFrame:
        """The table: a row a detector and budget, a column a number or end of an interval."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "detector": row.detector,
                    "budget": row.budget,
                    "attainable": row.attainable,
                    **({} if row.report is None else row.report.row()),
                    **({} if row.hard_alarmed is None else row.hard_alarmed.row("hard_alarmed")),
                    "reason": row.reason,
                }
                for row in self.rows
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"rows": [row.to_dict() for row in self.rows]}


def compare(
    trials: Sequence[Trial],
    detectors: Mapping[str, Detector],
    *,
    hard: Sequence[Trial] = (),
    budgets: Sequence[float] = (0.05, 0.1),
    lead: int | None = None,
    folds: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> Comparison:
    """Compare detectors by cross-fitting over groups, with the condition of a tested run held out.

    Each run is tested once. What tests it was fitted and calibrated on runs of other groups and, where there are
    several, other conditions (`split_trials`). A threshold holds for one such fit; the table adds up the outcomes of
    all runs. The same seed gives the same table.

    Parameters
    ----------
    trials : runs with what became of them, their condition and group.
    detectors : by the name that the table shall show; not fitted.
    hard : runs to which something happened that they survive; tested with the others of their group and told of apart,
        and nothing is learnt from them.
    budgets : shares of healthy runs that may alarm; a row for each, and one for a published threshold.
    lead : steps that an alarm must come ahead of the collapse; by default one logged row.
    folds : parts that groups are dealt out to.
    seed : of splits and bootstraps.
    resamples : of each bootstrap.
    progress : called with (detectors done, detectors in all).

    Raises
    ------
    FitError
        Too few healthy runs.
    """
    rng = np.random.default_rng(seed)
    cells = split_trials(trials, folds=folds, calibration=max(map(runs_needed, budgets)), rng=rng)
    dealt = _dealt(cells, hard)
    rows: list[ComparisonRow] = []
    for done, (name, detector) in enumerate(detectors.items()):
        if progress is not None:
            progress(done, len(detectors))
        try:
            scored = held_out_scores(detector, cells, hard)
        except TrajHMMError as error:
            rows += [ComparisonRow(detector=name, budget=budget, reason=str(error)) for budget in budgets]
            continue
        for budget, attainable, thresholds in _rules(detector, cells, scored, budgets):
            outcomes = tuple(
                judge(
                    trial.run.run,
                    trial.run.steps,
                    trial.truth,
                    first_alarm(scores[trial.run.run], value),
                    lead=lead,
                    group=trial.group,
                )
                for cell, scores, value in zip(cells, scored, thresholds, strict=True)
                for trial in cell.test
            )
            report = report_on(outcomes, rng=np.random.default_rng(seed), resamples=resamples)
            alarmed = [
                first_alarm(scores[trial.run.run], value) is not None
                for beside, scores, value in zip(dealt, scored, thresholds, strict=True)
                for trial in beside
            ]
            rows.append(
                ComparisonRow(
                    detector=name,
                    budget=budget,
                    attainable=attainable,
                    report=report,
                    outcomes=outcomes,
                    hard_alarmed=share(sum(alarmed), len(alarmed)) if alarmed else None,
                )
            )
    return Comparison(rows=tuple(rows))


def _dealt(cells: Sequence[Cell], hard: Sequence[Trial]) -> list[list[Trial]]:
    """Hard runs by the cell that tests them: the first that tests their group; any, where none does."""
    dealt: list[list[Trial]] = [[] for _ in cells]
    for place, trial in enumerate(hard):
        own = [index for index, cell in enumerate(cells) if trial.group in {tested.group for tested in cell.test}]
        dealt[own[0] if own else place % len(cells)].append(trial)
    return dealt


def held_out_scores(detector: Detector, cells: Sequence[Cell], hard: Sequence[Trial] = ()) -> list[dict[str, Scores]]:
    """For each cell, run to (T,) scores, for the runs it calibrates on and tests; equal fits are made once.

    Raises
    ------
    TrajHMMError
        The detector cannot be used on these runs.
    """
    fits: dict[tuple[tuple[str, ...], ...], tuple[Detector, dict[str, Scores]]] = {}
    scored = []
    for cell, beside in zip(cells, _dealt(cells, hard), strict=True):
        labelled = cell.labelled if detector.uses_labels else ()
        key = tuple(tuple(trial.run.run for trial in part) for part in (cell.reference, labelled))
        if key not in fits:
            reference = Reference(healthy=tuple(trial.run for trial in cell.reference), labelled=labelled)
            fits[key] = detector.fit(reference), {}
        fitted, known = fits[key]
        for trial in (*cell.calibration, *cell.test, *beside):
            if trial.run.run not in known:
                known[trial.run.run] = fitted.scores(trial.run)
        scored.append(known)
    return scored


def _rules(
    detector: Detector, cells: Sequence[Cell], scored: Sequence[dict[str, Scores]], budgets: Sequence[float]
) -> Iterator[tuple[float | None, float | None, list[float]]]:
    """Yield each budget (None: as published), the share that is promised, and the threshold of each cell."""
    if detector.published_threshold is not None:
        yield None, None, [detector.published_threshold] * len(cells)
    maxima = [
        np.array([scores[trial.run.run].max() for trial in cell.calibration])
        for cell, scores in zip(cells, scored, strict=True)
    ]
    for budget in budgets:
        thresholds = [conformal_threshold(largest, budget) for largest in maxima]
        yield budget, max(found.attainable for found in thresholds), [found.value for found in thresholds]
