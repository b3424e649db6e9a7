"""Claim (b): controlled stochasticity buffers the dynamics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.cells import strength_order
from trajhmm.dynamics.stability.audit.claims import Claim, Verdict, answer, unanswered
from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.dynamics.stability.intervals import Interval, mean_over_seeds, paired_shares
from trajhmm.shares import LEVEL

WORTHWHILE = 0.1
"""A buffer that saves fewer than so large a share of runs counts as none."""
_PAIR = ["dimension", "strength", "seed"]
_REPLICATE = "replicate"


def pairs_of(outcomes: pd.DataFrame, design: Design) -> pd.DataFrame:
    """One row a pair of a buffered and a plain run of one dimension, strength and seed.

    Runs that lack a seed are in no pair. Where an arm holds several of one seed, the first is paired with the first of
    the other, and so on, and those that are left over are in none; a plain run has a pair in each buffered arm.

    ``collapsed_plain``, ``collapsed_buffered``, ``saved`` (1 where only the plain run collapses, −1 where only the
    buffered one does), and ``gained``: steps that the buffered run lasts longer; a run that does not collapse lasts to
    the end of its log, or of its twin's where that does not collapse either.

    Parameters
    ----------
    outcomes : one row a run.
    design : what was done.
    """
    columns = [*_PAIR, "buffer", "onset", "collapsed", "lag", "last_step"]
    plain, buffered = (_numbered(outcomes.loc[design.perturbed(buffered=arm).index, columns]) for arm in (False, True))
    pairs = plain.merge(buffered, on=[*_PAIR, _REPLICATE], suffixes=("_plain", "_buffered")).drop(columns=_REPLICATE)
    arms = ("plain", "buffered")
    watched = [(pairs[f"last_step_{arm}"] - pairs[f"onset_{arm}"]).to_numpy(dtype=np.float64) for arm in arms]
    # A run that collapsed is known to have lasted no longer, wherever its log ends: many stop at their collapse.
    known = [np.where(pairs[f"collapsed_{arm}"], np.inf, end) for arm, end in zip(arms, watched, strict=True)]
    end = np.minimum(known[0], known[1])
    lasted = [np.fmin(pairs[f"lag_{arm}"].to_numpy(dtype=np.float64), end) for arm in arms]
    saved = pairs["collapsed_plain"].astype(int) - pairs["collapsed_buffered"].astype(int)
    return pairs.assign(saved=saved, gained=lasted[1] - lasted[0])


def _numbered(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of an arm, those of one cell and seed counted through."""
    return runs.astype({"collapsed": bool}).assign(
        **{_REPLICATE: runs.groupby([*_PAIR, "buffer"], sort=False).cumcount()}
    )


def buffering(pairs: pd.DataFrame, arms: list[str], gained: Interval, rng: np.random.Generator) -> Claim:
    """Share of plain runs that collapse less that of their buffered twins.

    Yes where the interval lies above 0, no where it lies below 0.1. The interval is the wider of that over seeds and
    that of Agresti and Min for pairs.

    Parameters
    ----------
    pairs : see `pairs_of`.
    arms : what buffers.
    gained : see `steps_gained`.
    rng : for the draws.
    """
    if not len(pairs):
        return unanswered("buffering", f"Buffering: depends. {_no_pairs(arms)} would tell.")
    found = answer(pairs, lambda some, level: saved_share(some, rng, level), _decide)
    only_plain, only_buffered = int((pairs["saved"] > 0).sum()), int((pairs["saved"] < 0).sum())
    plain, buffered = int(pairs["collapsed_plain"].sum()), int(pairs["collapsed_buffered"].sum())
    cells = pairs.groupby(["dimension", "strength"], sort=False)[["collapsed_plain", "collapsed_buffered"]].mean()
    decided = int(cells.isin([0.0, 1.0]).all(axis=1).sum())
    room = (
        f" In {decided} of {len(cells)} cells all runs of an arm share one fate: a buffer has room in the rest only."
        if 2 * decided > len(cells)
        else ""
    )
    sentence = (
        f"Buffering: {found.verdict}, as far as {' and '.join(arms)} goes. Of {len(pairs)} pairs, "
        f"{plain} plain and {buffered} buffered runs collapse, {only_plain} only plain and {only_buffered} only "
        f"buffered: the buffer saves a share of {found.found.value:+.2f} "
        f"({found.found.low:+.2f} to {found.found.high:+.2f}); buffered runs last {gained.value:+.0f} steps more"
        f"{'' if np.isnan(gained.low) else f' ({gained.low:+.0f} to {gained.high:+.0f})'}.{room} "
        f"An interval above 0 would say yes, one below {WORTHWHILE} no."
    )
    return found.claim("buffering", len(pairs), sentence)


def _no_pairs(arms: list[str]) -> str:
    if not arms:
        return (
            "No perturbed run is buffered; runs with smaller batches, noise or dropout, named by a column for --buffer,"
        )
    return (
        f"No run with {' or '.join(arms)} shares dimension, strength and what runs are paired by with a plain one; "
        "runs of both arms, with the same values in the columns for --pair-by,"
    )


def saved_share(pairs: pd.DataFrame, rng: np.random.Generator, level: float) -> Interval:
    """Share of pairs that the buffer saves less that of those it costs, with its interval."""
    saved = pairs["saved"].to_numpy(dtype=np.float64)
    over_pairs = paired_shares(int((saved > 0).sum()), int((saved < 0).sum()), len(pairs), level)
    return mean_over_seeds(saved, pairs["seed"].tolist(), rng, level).united(over_pairs).within(-1.0, 1.0)


def steps_gained(pairs: pd.DataFrame, rng: np.random.Generator) -> Interval:
    """Steps that buffered runs last longer, in the mean over pairs."""
    return mean_over_seeds(pairs["gained"].to_numpy(dtype=np.float64), pairs["seed"].tolist(), rng)


def buffering_table(pairs: pd.DataFrame, claim: Claim, gained: Interval, rng: np.random.Generator) -> pd.DataFrame:
    """Pairs of each dimension and strength, of each dimension, and of all: collapses in either arm, and steps gained.

    Parameters
    ----------
    pairs : see `pairs_of`.
    claim, gained : of all pairs, so that what is said of them stands in the table too.
    rng : for the draws.
    """
    rows = []
    for dimension, of_dimension in pairs.groupby("dimension", sort=False):
        strengths = sorted(set(of_dimension["strength"]), key=strength_order)
        parts = [(one, of_dimension[of_dimension["strength"] == one]) for one in strengths] + [("all", of_dimension)]
        rows += [
            _row(dimension, strength, some, saved_share(some, rng, LEVEL), steps_gained(some, rng))
            for strength, some in parts
        ]
    saved = Interval(value=claim.effect, low=claim.ci_low, high=claim.ci_high)
    return pd.DataFrame([*rows, _row("all", "all", pairs, saved, gained)])


def _row(
    dimension: object, strength: object, some: pd.DataFrame, saved: Interval, gained: Interval
) -> dict[str, object]:
    return {
        "dimension": dimension,
        "strength": strength,
        "n_pairs": len(some),
        "collapsed_plain": int(some["collapsed_plain"].sum()),
        "collapsed_buffered": int(some["collapsed_buffered"].sum()),
        "only_plain": int((some["saved"] > 0).sum()),
        "only_buffered": int((some["saved"] < 0).sum()),
        "saved": saved.value,
        "saved_low": saved.low,
        "saved_high": saved.high,
        "steps_gained": gained.value,
        "steps_low": gained.low,
        "steps_high": gained.high,
    }


def _decide(found: Interval) -> Verdict:
    if found.low > 0:
        return "yes"
    return "no" if found.high < WORTHWHILE else "depends"
