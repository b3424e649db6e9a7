"""`audit`: everything that a perturbation audit tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.buffering import buffering, buffering_table, pairs_of, steps_gained
from trajhmm.dynamics.stability.audit.claims import Claim
from trajhmm.dynamics.stability.audit.decoupling import decoupling
from trajhmm.dynamics.stability.audit.deviation import STATES, Deviations, deviation_columns, deviations_of
from trajhmm.dynamics.stability.audit.outcomes import MADS, outcomes_of, sign_of, silent_runs
from trajhmm.dynamics.stability.audit.pairing import Columns, Design, design_of, seen
from trajhmm.dynamics.stability.audit.precedence import precedence
from trajhmm.dynamics.stability.audit.profile import profile_of
from trajhmm.errors import AnalysisError
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.logs import RunSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What a perturbation audit tells.

    Attributes
    ----------
    profile : one row a dimension and strength of the plain arm, see `profile_of`.
    runs : one row a run: what was done to it and what became of it, see `outcomes_of` and `deviation_columns`.
    pairs : buffered against plain runs, see `buffering_table`; None without a buffered arm.
    claims : decoupling, buffering, precedence.
    design : what was done to each run.
    deviations : of the latent states, or why there are none.
    performance, baseline, collapse : what was asked.
    mads : k of the recovery.
    silent : runs that never log performance as a number.
    """

    profile: pd.DataFrame
    runs: pd.DataFrame
    pairs: pd.DataFrame | None
    claims: tuple[Claim, ...]
    design: Design
    deviations: Deviations | str
    performance: str
    baseline: str
    collapse: str
    mads: float
    silent: tuple[str, ...]


def audit(
    runs: RunSet,
    *,
    performance: str,
    baseline: str,
    collapse: str,
    columns: Columns | None = None,
    sustained: int = 5,
    mads: float = MADS,
    metrics: Sequence[str] | None = None,
    states: int | Iterable[int] = STATES,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Audit:
    """Read a perturbation audit: training perturbed in several dimensions and strengths, seeds matched to baselines.

    Parameters
    ----------
    runs : the logs.
    performance : metric; more is better, unless it is a loss by its name.
    baseline : condition that holds for the healthy runs, such as ``condition == "baseline"``.
    collapse, sustained : condition, and for how many rows in a row it has to hold.
    columns : the attributes that say what was done.
    mads : performance has left its level before the onset where it is more than so many MAD below it.
    metrics, states : of the map of the baselines, see `deviations_of`.
    seed : of fits and draws; the same seed gives the same bytes.
    jobs : threads.
    progress : of the fit.

    Raises
    ------
    AnalysisError
        A column, a metric, the baselines or perturbed runs are missing, or what stands in a column is no onset.
    ConditionError
        A condition does not parse.
    """
    if not 0 < mads < np.inf:
        raise AnalysisError(f"performance cannot leave its level by {mads:g} MAD; expected a finite number above 0")
    design = seen(design_of(runs, baseline, columns or Columns()), runs, collapse)
    outcomes = outcomes_of(runs, design, performance=performance, collapse=collapse, sustained=sustained, mads=mads)
    deviations = deviations_of(
        runs, design, performance=performance, metrics=metrics, states=states, seed=seed, jobs=jobs, progress=progress
    )
    outcomes = deviation_columns(deviations, outcomes)
    rng = np.random.default_rng(seed)
    profile = profile_of(outcomes, design, rng, None if isinstance(deviations, str) else deviations)
    pairs = pairs_of(outcomes, design)
    arms = list(dict.fromkeys(design.perturbed(buffered=True)["buffer"]))
    gained = steps_gained(pairs, rng)
    buffered = buffering(pairs, arms, gained, rng)
    return Audit(
        profile=profile,
        runs=outcomes,
        pairs=buffering_table(pairs, buffered, gained, rng) if len(pairs) else None,
        claims=(
            decoupling(outcomes, design, rng, sign=sign_of(performance)),
            buffered,
            precedence(outcomes, design, deviations, rng),
        ),
        design=design,
        deviations=deviations,
        performance=performance,
        baseline=baseline,
        collapse=collapse,
        mads=mads,
        silent=silent_runs(runs, performance),
    )
