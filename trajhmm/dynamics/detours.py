"""Detours: states that some runs pass through and others do not, and that delay convergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trajhmm.dynamics.branches import Comparison, compare_visits
from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.regression import Regression
from trajhmm.dynamics.survival import (
    Delay,
    HazardRatio,
    cox_hazard_ratio,
    delay_of,
    logrank_p,
    stratified_rank_test,
)
from trajhmm.dynamics.training_map import TrainingMap

if TYPE_CHECKING:
    import pandas as pd

Rule = Literal["strict", "paper"]
RULES: tuple[Rule, ...] = ("strict", "paper")

PERMUTATIONS = 9999
BOOTSTRAPS = 2000
FEWEST_RUNS = 3
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Out of ``refits``, how often the matched state was a detour again, with a 95% Clopper–Pearson interval."""

    found: int
    refits: int

    @property
    def share(self) -> float:
        """Share of refits."""
        return self.found / self.refits

    @property
    def interval(self) -> tuple[float, float]:
        """95% Clopper–Pearson interval of the share."""
        interval = stats.binomtest(self.found, self.refits).proportion_ci(method="exact")
        return float(interval.low), float(interval.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class StateEvidence:
    """What speaks for and against one state being a detour.

    Attributes
    ----------
    state : number.
    runs_with, runs_without : runs that visit it before they converge, and runs that do not.
    converged_with, converged_without : how many of them converge.
    comparable_with, comparable_without : runs that take part in the branch test; see `trajhmm.dynamics.branches`.
    is_excursion : whether runs tend to come back to the state they left.
    coefficient : of the regression on the bag of states, in steps; NaN if no converged run visits the state.
    delay : effect on the time to convergence after the branch, in steps; None if nothing compares.
    p_value, p_adjusted : of the branch test, two-sided, and with Holm's correction over the states tested.
    logrank_p : of the plain comparison of visiting runs with the rest; biased by immortal time, for comparison only.
    hazard_ratio : Cox regression with the visit as a covariate that changes in time.
    is_strict, is_paper : a detour by either rule.
    survival : how often the matched state was a detour again, by the strict rule, in refits on resampled runs; None if
        there were no refits.
    """

    state: int
    runs_with: int
    runs_without: int
    converged_with: int
    converged_without: int
    comparable_with: int
    comparable_without: int
    is_excursion: bool
    coefficient: float
    delay: Delay | None
    p_value: float | None
    p_adjusted: float | None
    logrank_p: float | None
    hazard_ratio: HazardRatio | None
    is_strict: bool
    is_paper: bool
    survival: Survival | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class BranchTest:
    """The branch test of one state; None where nothing compares. ``converged`` (R,) says which runs converge."""

    comparison: Comparison
    delay: Delay | None
    p_value: float | None
    p_adjusted: float | None
    converged: NDArray[np.bool_]

    def members(self, *, visiting: bool) -> list[int]:
        """Runs that take part on one side."""
        strata = self.comparison.strata
        return sorted({int(r) for stratum in strata for r in stratum.runs[stratum.visiting == visiting]})

    @property
    def is_strict(self) -> bool:
        """Whether the state is a detour by the strict rule."""
        if self.delay is None or self.p_adjusted is None:
            return False
        without = self.members(visiting=False)
        return (
            self.p_adjusted <= LEVEL
            and self.delay.ci_low > 0
            and min(len(self.members(visiting=True)), len(without)) >= FEWEST_RUNS
            and bool(self.converged[without].any())
        )


def find_detours(
    training_map: TrainingMap,
    convergence: Convergence,
    regression: Regression,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    bootstraps: int = BOOTSTRAPS,
) -> tuple[StateEvidence, ...]:
    """Weigh every state, by the strict rule and by the paper's.

    Strict: the branch test has p ≤ 0.05 after Holm's correction over the states that can be tested, the 95% interval of
    the delay is above 0, and at least three runs stand on each side, one of which converged without the state.

    Paper (Hu et al. 2023): some run converges without visiting the state, the state's coefficient is positive, and the
    regression, with all runs, is significant.

    Parameters
    ----------
    training_map : decoded paths of R runs.
    convergence, regression : of the same runs.
    seed, permutations, bootstraps : of the branch test and the interval.
    """
    tests = branch_tests(training_map, convergence, seed=seed, permutations=permutations, bootstraps=bootstraps)
    return tuple(_evidence(test, training_map, convergence, regression) for test in tests)


def branch_tests(
    training_map: TrainingMap, convergence: Convergence, *, seed: int, permutations: int, bootstraps: int
) -> list[BranchTest]:
    """Test every state by the strict rule; see `find_detours`."""
    comparisons = [compare_visits(training_map, convergence, state) for state in range(training_map.n_states)]
    p_values: list[float | None] = []
    delays: list[Delay | None] = []
    for comparison in comparisons:
        rng = np.random.default_rng([seed, comparison.state])
        if comparison.strata:
            p_values.append(stratified_rank_test(comparison.strata, permutations=permutations, rng=rng)[1])
            delays.append(delay_of(comparison.strata, bootstraps=bootstraps, rng=rng))
        else:
            p_values.append(None)
            delays.append(None)
    adjusted = iter(holm([p for p in p_values if p is not None]).tolist())
    return [
        BranchTest(
            comparison=comparison,
            delay=delay,
            p_value=p_value,
            p_adjusted=None if p_value is None else next(adjusted),
            converged=convergence.converged,
        )
        for comparison, p_value, delay in zip(comparisons, p_values, delays, strict=True)
    ]


def holm(p_values: list[float]) -> NDArray[np.float64]:
    """Adjust p-values for several tests by Holm's step-down method (1979)."""
    if not p_values:
        return np.empty(0)
    from statsmodels.stats.multitest import multipletests

    adjusted: NDArray[np.float64] = multipletests(p_values, method="holm")[1]
    return adjusted


def detour_table(evidence: tuple[StateEvidence, ...], rule: Rule) -> pd.DataFrame:
    """The detour table: one row a state, as in ``detours.csv``."""
    import pandas as pd

    return pd.DataFrame(
        {
            "state": [e.state for e in evidence],
            "runs_with": [e.runs_with for e in evidence],
            "runs_without": [e.runs_without for e in evidence],
            "coefficient": [e.coefficient for e in evidence],
            "effect": [np.nan if e.delay is None else e.delay.effect for e in evidence],
            "ci_low": [np.nan if e.delay is None else e.delay.ci_low for e in evidence],
            "ci_high": [np.nan if e.delay is None else e.delay.ci_high for e in evidence],
            "p_value": [np.nan if e.p_value is None else e.p_value for e in evidence],
            "p_adjusted": [np.nan if e.p_adjusted is None else e.p_adjusted for e in evidence],
            "is_detour": [e.is_strict if rule == "strict" else e.is_paper for e in evidence],
        }
    )


def evidence_table(evidence: tuple[StateEvidence, ...]) -> pd.DataFrame:
    """Everything known of each state, as in ``evidence.csv``."""
    import pandas as pd

    return pd.DataFrame(
        {
            "state": [e.state for e in evidence],
            "converged_with": [e.converged_with for e in evidence],
            "converged_without": [e.converged_without for e in evidence],
            "comparable_with": [e.comparable_with for e in evidence],
            "comparable_without": [e.comparable_without for e in evidence],
            "is_excursion": [e.is_excursion for e in evidence],
            "logrank_p": [e.logrank_p for e in evidence],
            "hazard_ratio": [e.hazard_ratio.ratio if e.hazard_ratio else None for e in evidence],
            "hazard_ratio_low": [e.hazard_ratio.ci_low if e.hazard_ratio else None for e in evidence],
            "hazard_ratio_high": [e.hazard_ratio.ci_high if e.hazard_ratio else None for e in evidence],
            "survives_refits": [e.survival.share if e.survival else None for e in evidence],
            "survives_low": [e.survival.interval[0] if e.survival else None for e in evidence],
            "survives_high": [e.survival.interval[1] if e.survival else None for e in evidence],
            "detour_strict": [e.is_strict for e in evidence],
            "detour_paper": [e.is_paper for e in evidence],
        }
    )


def _evidence(
    test: BranchTest, training_map: TrainingMap, convergence: Convergence, regression: Regression
) -> StateEvidence:
    k, visited, converged = test.comparison.state, test.comparison.visited, convergence.converged
    times = convergence.steps.astype(np.float64)
    coefficient = float(regression.coefficients[k])
    visited_ever = _visited_ever(training_map, k)
    significant = regression.paper.f_p_value is not None and regression.paper.f_p_value < LEVEL
    is_paper = significant and coefficient > 0 and bool((converged & ~visited_ever).any()) and bool(visited_ever.any())
    return StateEvidence(
        state=k,
        runs_with=int(visited.sum()),
        runs_without=int((~visited).sum()),
        converged_with=int((visited & converged).sum()),
        converged_without=int((~visited & converged).sum()),
        comparable_with=len(test.members(visiting=True)),
        comparable_without=len(test.members(visiting=False)),
        is_excursion=test.comparison.is_excursion,
        coefficient=coefficient,
        delay=test.delay,
        p_value=test.p_value,
        p_adjusted=test.p_adjusted,
        logrank_p=logrank_p(times, converged, visited),
        hazard_ratio=cox_hazard_ratio(_entry_steps(training_map, k, visited), times, converged),
        is_strict=test.is_strict,
        is_paper=is_paper,
    )


def _visited_ever(training_map: TrainingMap, state: int) -> NDArray[np.bool_]:
    owner = np.repeat(np.arange(len(training_map.lengths)), training_map.lengths)
    return np.isin(np.arange(len(training_map.lengths)), owner[training_map.path == state])


def _entry_steps(training_map: TrainingMap, state: int, visited: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R,) step of first entry for the runs that visit before converging, infinite for the rest."""
    owner = np.repeat(np.arange(len(training_map.lengths)), training_map.lengths)
    rows = np.flatnonzero(training_map.path == state)
    first = np.full(len(training_map.lengths), np.inf)
    np.minimum.at(first, owner[rows], training_map.steps[rows].astype(np.float64))
    return np.where(visited, first, np.inf)
