"""The stability profile: for each dimension and strength what became of its runs, each with an interval over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.pairing import Design
from trajhmm.dynamics.stability.intervals import UNDEFINED, Interval, mean_over_seeds, median_time, share

QUANTITIES = {
    "collapsed": "collapsed",
    "recovery_steps": "recovery",
    "area_ratio": "area",
    "deviation": "deviation",
    "lead_share": "lead",
}
"""Column of each quantity to what the columns of its bounds begin with."""


def profile_of(outcomes: pd.DataFrame, design: Design, rng: np.random.Generator) -> pd.DataFrame:
    """One row a dimension and strength of the plain arm.

    ``collapsed`` and ``lead_share`` (of runs that collapse, those whose deviation comes first) have Wilson's intervals
    over runs, ``recovery_steps`` is Kaplan and Meier's median, infinite where the logs end before half are back;
    ``area_ratio`` and ``deviation`` are means, with intervals that resample seeds. NaN where there is nothing to tell.

    Parameters
    ----------
    outcomes : one row a run, with deviations.
    design : what was done.
    rng : for the draws.
    """
    perturbed = outcomes.loc[design.perturbed().index]
    rows = []
    for dimension, strength in design.cells():
        cell = perturbed[(perturbed["dimension"] == dimension) & (perturbed["strength"] == strength)]
        seeds = cell["seed"].tolist()
        areas = cell["area_ratio"].to_numpy(dtype=np.float64)
        least = float(areas[~np.isnan(areas)].min(initial=0.0))
        known = cell[cell["recovery_steps"].notna()]
        observed = known["recovery_censored"].to_numpy() == False  # noqa: E712 (a column of objects)
        ahead = cell["preceded"].dropna()
        found = {
            "collapsed": share(int(cell["collapsed"].sum()), len(cell)),
            "recovery_steps": median_time(known["recovery_steps"].to_numpy(dtype=np.float64), observed),
            "area_ratio": mean_over_seeds(areas, seeds, rng).within(-np.inf if least < 0 else 0.0, np.inf),
            "deviation": mean_over_seeds(cell["deviation"].to_numpy(dtype=np.float64), seeds, rng).within(-1, 1)
            if cell["deviation"].notna().any()
            else UNDEFINED,
            "lead_share": share(int(ahead.sum()), len(ahead)),
        }
        row: dict[str, object] = {"dimension": dimension, "strength": strength, "n_runs": len(cell)}
        for name, interval in found.items():
            row |= _columns(name, interval)
            if name == "recovery_steps":
                row["n_censored"] = int((~observed).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(name: str, found: Interval) -> dict[str, float]:
    prefix = QUANTITIES[name]
    return {name: found.value, f"{prefix}_low": found.low, f"{prefix}_high": found.high}


def one_fate(profile: pd.DataFrame) -> tuple[int, int]:
    """In how many cells all runs collapse or none does, and how many there are of two runs or more."""
    some = profile[profile["n_runs"] > 1]
    return int(some["collapsed"].isin([0.0, 1.0]).sum()), len(some)
