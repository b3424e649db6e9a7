"""Claim (a): final performance is decoupled from stability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.claims import Claim, Verdict, answer, unanswered
from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.dynamics.stability.intervals import Interval, rank_correlation

NEGLIGIBLE = 0.3
"""A rank correlation below this counts as none: it explains less than a tenth of the ranks' variance."""
_FEWEST = 6


def decoupling(outcomes: pd.DataFrame, design: Design, rng: np.random.Generator, *, sign: float = 1.0) -> Claim:
    """Rank correlation, over plain runs that survive, of final performance with how little the latent path was moved.

    Stability is less the deviation of the latent states after the onset, final performance the ratio to the matched
    baseline's, turned round where less is better. Yes where the interval lies within ±0.3, no where it holds no 0.

    Parameters
    ----------
    outcomes : one row a run, with deviations.
    design : what was done.
    rng : for the draws.
    sign : 1 where more performance is better, -1 where less is.
    """
    perturbed = outcomes.loc[design.perturbed().index]
    survivors = perturbed[~perturbed["collapsed"].astype(bool)]
    rows = survivors[survivors["deviation"].notna() & survivors["final_ratio"].notna()]
    if len(rows) < _FEWEST or rows["deviation"].nunique() < 2 or rows["final_ratio"].nunique() < 2:
        return unanswered("decoupling", f"Decoupling: depends. {_why_not(survivors, rows)}.")

    def estimate(some: pd.DataFrame, level: float) -> Interval:
        final, moved = some["final_ratio"].to_numpy(dtype=np.float64), some["deviation"].to_numpy(dtype=np.float64)
        return rank_correlation(sign * final, -moved, some["seed"].tolist(), rng, level)

    found = answer(rows, estimate, _decide)
    low, high = found.found.low, found.found.high
    told = {
        "yes": "So who ends well need not have been stable, nor the other way round",
        "no": "So final performance does tell of stability: runs whose states were moved more end "
        + ("worse" if found.found.value > 0 else "better"),
        "depends": "That leaves it open",
    }[found.verdict]
    sentence = (
        f"Decoupling: {found.verdict}. Over {len(rows)} runs that survive, the rank correlation of final performance, "
        f"relative to the baseline{' (less is better)' if sign < 0 else ''}, with stability, less latent deviation "
        f"after the onset, is {found.found.value:+.2f} "
        f"({low:+.2f} to {high:+.2f}). {told}; an interval within ±{NEGLIGIBLE} would say yes, one without 0 no."
    )
    return found.claim("decoupling", len(rows), sentence)


def _why_not(survivors: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Why runs that survive do not tell, and what would."""
    if not len(survivors):
        return "No plain run survives; milder strengths would tell"
    if len(rows) >= _FEWEST:
        alike = "end alike" if rows["final_ratio"].nunique() < 2 else "have states that were moved alike"
        return f"All of {len(rows)} plain runs that survive {alike}, so that there is nothing to correlate"
    told = (
        f"Of {len(survivors)} plain runs that survive {len(rows)} have both a final performance relative to that of "
        f"baselines and a latent path, and at least {_FEWEST} are needed"
    )
    unlogged = int(survivors["final"].isna().sum())
    matched = survivors["final_baseline"][survivors["final"].notna()]
    no_ratio, no_match = int((matched <= 0).sum()), int(matched.isna().sum())
    no_path = int(survivors["deviation"].isna().sum())
    reasons = [
        (unlogged, "log no performance at their end; log it until then"),
        (no_match, "are matched with a run that logs none; log it there too"),
        (
            no_ratio,
            "are matched with a final performance that is not above 0, to which there is no ratio; audit one that is",
        ),
        (no_path, "have no latent path; more baselines, or metrics that all runs log, would give it"),
    ]
    why = [f"{runs} {reason}" for runs, reason in reasons if runs]
    return f"{told}: {'. '.join(why)}" if why else f"{told}; milder strengths or more seeds would give them"


def _decide(found: Interval) -> Verdict:
    if found.low >= -NEGLIGIBLE and found.high <= NEGLIGIBLE:
        return "yes"
    return "no" if found.low > 0 or found.high < 0 else "depends"
