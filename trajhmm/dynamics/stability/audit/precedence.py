"""Claim (c): deviations of the latent states precede collapse."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trajhmm.dynamics.stability.audit.claims import Claim, Verdict, answer, unanswered
from trajhmm.dynamics.stability.audit.deviation import Deviations
from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.dynamics.stability.intervals import Interval, mean_over_seeds, share

MOST = 0.5
"""Of collapses, the share that must be preceded, beyond what healthy runs show, for the claim to hold."""


def precedence(outcomes: pd.DataFrame, design: Design, deviations: Deviations | str, rng: np.random.Generator) -> Claim:
    """Share of collapses of plain runs before which the latent states deviate, less that of healthy runs which do.

    Healthy runs are looked at between the very steps that lie between onset and collapse of each run that collapses,
    under maps that they were not fitted to. Yes where the interval lies above one half; no where it lies below and
    holds 0, so that nothing is left beyond chance.

    Parameters
    ----------
    outcomes : one row a run, with deviations.
    design : what was done.
    deviations : of the latent states, or why there are none.
    rng : for the draws.
    """
    if isinstance(deviations, str):
        return unanswered("precedence", f"Precedence: depends. No latent path: {deviations}.")
    perturbed = outcomes.loc[design.perturbed().index]
    rows = perturbed[perturbed["preceded"].notna()]
    lost = int(perturbed["collapsed"].sum())
    if not len(rows):
        why = (
            f"{lost} plain runs collapse, but none of them has a latent path; metrics that all runs log would tell"
            if lost
            else "No plain run collapses, so nothing can precede it; stronger ones would tell"
        )
        return unanswered("precedence", f"Precedence: depends. {why}.")
    chance = np.array(
        [
            deviations.healthy_share(float(onset), float(collapse))
            for onset, collapse in zip(rows["onset"], rows["collapse_step"], strict=True)
        ]
    )
    rows = rows.assign(chance=list(chance))
    seeds = [deviations.seeds[run] for run in deviations.healthy]
    found = answer(rows, lambda some, level: _excess(some, seeds, rng, level), _decide)
    survivors = perturbed[~perturbed["collapsed"].astype(bool) & perturbed["deviation"].notna()]
    ahead = int(rows["preceded"].sum())
    leads = rows["lead_steps"][rows["preceded"] > 0]
    sentence = (
        f"Precedence: {found.verdict}. In {ahead} of {len(rows)} runs that collapse the latent states first deviate as "
        f"{deviations.passed} of {len(deviations.healthy)} healthy runs ever do, held out from map and threshold, and "
        f"as {chance.mean():.0%} of them do between the same steps: "
        f"an excess of {found.found.value:.2f} ({found.found.low:.2f} to {found.found.high:.2f})"
        f"{f', {leads.median():.0f} steps ahead in the median' if len(leads) else ''}. {_of_survivors(rows, survivors)}"
        f"{_before_performance(rows)}{_without_path(lost - len(rows))} An interval above {MOST} would say yes, one "
        f"that holds 0 and lies below {MOST} no."
    )
    return found.claim("precedence", len(rows), sentence)


def _excess(rows: pd.DataFrame, healthy: list[object], rng: np.random.Generator, level: float) -> Interval:
    """Share preceded less the share of healthy runs in the same windows; seeds of both resampled."""
    preceded = rows["preceded"].to_numpy(dtype=np.float64)
    chance = np.mean(np.stack(rows["chance"].tolist()), axis=0)
    null = mean_over_seeds(chance, healthy, rng, level).united(
        share(round(float(np.nansum(chance))), int(np.isfinite(chance).sum()), level)
    )
    over_runs = share(int(preceded.sum()), len(preceded), level)
    # Where all runs of all seeds do the same, resampling sees no variance; the interval of a share does.
    own = mean_over_seeds(preceded, rows["seed"].tolist(), rng, level).united(over_runs)
    return own.less(null).within(-1.0, 1.0)


def _decide(found: Interval) -> Verdict:
    if found.low > MOST:
        return "yes"
    return "no" if found.high < MOST and found.low <= 0 else "depends"


def survivors_within(rows: pd.DataFrame, survivors: pd.DataFrame) -> float:
    """Mean over collapses of the share of survivors that deviate as soon after their own onset as the collapse came."""
    after: NDArray[np.float64] = (survivors["deviation_step"] - survivors["onset"]).to_numpy(dtype=np.float64)
    return float(np.mean([(after < lag).mean() for lag in rows["lag"]]))


def _of_survivors(rows: pd.DataFrame, survivors: pd.DataFrame) -> str:
    if not len(survivors):
        return ""
    within = survivors_within(rows, survivors)
    told = f"Of {len(survivors)} perturbed runs that survive {within:.0%} deviate as soon after the onset"
    # What comes half as often without a collapse as before one says little of the collapse.
    if within > rows["preceded"].mean() / 2:
        return f"{told}, so that a deviation tells of the perturbation first, and of the collapse little. "
    return f"{told}. "


def _without_path(runs: int) -> str:
    return f" {runs} more collapse without a latent path." if runs else ""


def _before_performance(rows: pd.DataFrame) -> str:
    known = rows[rows["left_step"].notna() & (rows["preceded"] > 0)]
    first = int((known["deviation_step"] < known["left_step"]).sum())
    return (
        f"In {first} of these {len(known)} it also comes before performance itself leaves its level."
        if len(known)
        else ""
    )
