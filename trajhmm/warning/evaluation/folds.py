"""Which runs a detector may learn from and calibrate on when a run is tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trajhmm.errors import FitError
from trajhmm.warning.runs import Kind, Trial


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """Runs that are tested together, and what may be known to the detector that tests them.

    No run of ``reference``, ``calibration`` or ``labelled`` shares a group with a run of ``test``, nor a condition if
    there are others; and none of ``calibration`` shares a group with one of ``reference``.

    Attributes
    ----------
    test : runs of one condition.
    reference : healthy runs to fit on.
    calibration : healthy runs to set thresholds on.
    labelled : perturbed or collapsed runs to learn from.
    """

    test: tuple[Trial, ...]
    reference: tuple[Trial, ...]
    calibration: tuple[Trial, ...]
    labelled: tuple[Trial, ...]


def split_trials(
    trials: Sequence[Trial], *, folds: int, calibration: int, rng: np.random.Generator
) -> tuple[Cell, ...]:
    """Split runs so that each is tested once, by what was learnt from other groups and other conditions.

    Groups are dealt out to folds at random, those with perturbed runs first, so that they spread evenly. For each fold
    the healthy runs of the other folds are dealt to calibration, group by group, until ``calibration`` is reached, and
    the rest is the reference.

    Parameters
    ----------
    trials : runs.
    folds : parts that groups are dealt out to.
    calibration : healthy runs to calibrate on; but at least a third of what there is is left to fit on.

    Raises
    ------
    FitError
        Too few groups of healthy runs.
    """
    healthy_groups = list(dict.fromkeys(trial.group for trial in trials if trial.truth.kind is Kind.HEALTHY))
    if folds < 2 or len(healthy_groups) < folds + 1:
        raise FitError(
            f"{len(healthy_groups)} groups of healthy runs cannot be split into {folds} folds that leave some to fit "
            f"and some to calibrate on: at least {folds + 1} are needed; add healthy runs of other seeds, or judge one "
            "model with --model and without --baselines"
        )
    fold_of = _dealt(trials, folds, rng)
    cells: list[Cell] = []
    for fold in range(folds):
        others = [trial for trial in trials if fold_of[trial.group] != fold]
        turn = {group: int(place) for place, group in enumerate(rng.permutation(healthy_groups))}
        inside = [trial for trial in trials if fold_of[trial.group] == fold]
        conditions = dict.fromkeys(trial.condition for trial in inside)
        cells += [_cell(inside, others, condition, turn, calibration) for condition in conditions]
    return tuple(cells)


def _dealt(trials: Sequence[Trial], folds: int, rng: np.random.Generator) -> dict[str, int]:
    perturbed = list(dict.fromkeys(trial.group for trial in trials if trial.truth.kind is not Kind.HEALTHY))
    others = [group for group in dict.fromkeys(trial.group for trial in trials) if group not in set(perturbed)]
    order = [*rng.permutation(perturbed), *rng.permutation(others)]
    return {str(group): place % folds for place, group in enumerate(order)}


def _cell(
    inside: Sequence[Trial], others: Sequence[Trial], condition: str, turn: dict[str, int], calibration: int
) -> Cell:
    perturbed = [trial for trial in others if trial.truth.kind is not Kind.HEALTHY]
    labelled = [trial for trial in perturbed if trial.condition != condition] or perturbed
    healthy = [trial for trial in others if trial.truth.kind is Kind.HEALTHY]
    elsewhere = [trial for trial in healthy if trial.condition != condition]
    healthy = sorted(elsewhere or healthy, key=lambda trial: turn[trial.group])
    calibrated = _calibrated(healthy, min(calibration, 2 * len(healthy) // 3))
    return Cell(
        test=tuple(trial for trial in inside if trial.condition == condition),
        reference=tuple(trial for trial in healthy if trial.group not in calibrated),
        calibration=tuple(trial for trial in healthy if trial.group in calibrated),
        labelled=tuple(labelled),
    )


def _calibrated(healthy: Sequence[Trial], wanted: int) -> set[str]:
    """The first groups that hold ``wanted`` runs or more; the last group is always left to fit on."""
    sizes = Counter(trial.group for trial in healthy)
    chosen: set[str] = set()
    for group in list(sizes)[:-1]:
        if sum(sizes[one] for one in chosen) >= wanted:
            break
        chosen.add(group)
    return chosen
