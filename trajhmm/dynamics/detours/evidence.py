"""Detours: states that some runs pass through and others do not, and that delay convergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.branches import Comparison, compare_visits
from trajhmm.dynamics.detours.confounding import Association, associations
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.delays import Delay, delay_of, stratified_rank_test
from trajhmm.dynamics.detours.regression import Regression
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.dynamics.survival import HazardRatio, cox_hazard_ratio, holm, logrank_p
from trajhmm.logs.runset import offsets_of
from trajhmm.shares import exact_interval

if TYPE_CHECKING:
    import pandas as pd

Rule = Literal["strict", "paper"]
RULES: tuple[Rule, ...] = ("strict", "paper")

PERMUTATIONS = 9999
BOOTSTRAPS = 2000
FEWEST_RUNS = 4
"""On each side of the comparison: with fewer there is no test and no interval."""
LEVEL = 0.05
FOUND_AGAIN = 0.8
"""Share of refits, where there are any, in which the strict rule wants a detour to be found again."""


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
        return exact_interval(self.found, self.refits)


@dataclass(frozen=True, kw_only=True, eq=False)
class StateEvidence:
    """What speaks for and against one state being a detour.

    A run is *with* the state if it visits it before it converges, *without* it if not; `runs_ever` counts visits after
    convergence as well, as the training map does. *Comparable* are the runs that take part in the branch test, by what
    they do at one place (see `trajhmm.dynamics.detours.branches`): some of those without the state may visit it later,
    and where runs come back from it often, a run may be on both sides.

    Attributes
    ----------
    state : number.
    runs_ever : runs that visit it at all, before or after they converge.
    runs_with, runs_without : runs that visit it before they converge, and runs that do not.
    converged_with, converged_without : how many of them converge.
    comparable_with, comparable_without : runs on each side of the branch test.
    comparable_converged_with, comparable_converged_without : how many of them converge.
    watched_until : the last step at which one that is compared converges or is watched; None if all converge.
    is_excursion : whether runs tend to come back to the state they left.
    coefficient : of the regression on the bag of states, in steps; NaN if no converged run visits the state.
    delay : effect on the time to convergence after the branch, in steps; None with fewer than four runs on a side.
    p_value, p_adjusted : of the branch test, two-sided, and with Holm's correction over the states tested; None as the
        delay.
    logrank_p : of the plain comparison of visiting runs with the rest; biased by immortal time, for comparison only.
    hazard_ratio : Cox regression with the visit as a covariate that changes in time.
    passes_test : whether the branch test, on this decoding, finds a detour; see `find_detours`.
    is_paper : a detour by the rule of the paper.
    confounded_by : attributes of the runs that visiting goes with, among the comparable ones; none where the comparison
        is within the levels of that attribute.
    survival : how often the matched state passed the branch test again, in refits on resampled runs; None if there were
        no refits.
    """

    state: int
    runs_ever: int
    runs_with: int
    runs_without: int
    converged_with: int
    converged_without: int
    comparable_with: int
    comparable_without: int
    comparable_converged_with: int
    comparable_converged_without: int
    watched_until: int | None
    is_excursion: bool
    coefficient: float
    delay: Delay | None
    p_value: float | None
    p_adjusted: float | None
    logrank_p: float | None
    hazard_ratio: HazardRatio | None
    passes_test: bool
    is_paper: bool
    confounded_by: tuple[Association, ...] = ()
    survival: Survival | None = None

    @property
    def is_strict(self) -> bool:
        """Whether the state is a detour by the strict rule: it passes the branch test, and again in most refits."""
        return self.passes_test and (self.survival is None or self.survival.share >= FOUND_AGAIN)

    def is_detour(self, rule: Rule) -> bool:
        """Whether the state is a detour by ``rule``."""
        return self.is_strict if rule == "strict" else self.is_paper


@dataclass(frozen=True, kw_only=True, eq=False)
class BranchTest:
    """The branch test of one state; None with too few runs on a side."""

    comparison: Comparison
    delay: Delay | None
    p_value: float | None
    p_adjusted: float | None

    def members(self, *, visiting: bool) -> NDArray[np.int64]:
        """Runs that take part on one side."""
        return self.comparison.members(visiting=visiting)

    @property
    def is_strict(self) -> bool:
        """Whether the state passes the test, on this decoding; see `find_detours`."""
        return (
            self.delay is not None
            and self.p_adjusted is not None
            and self.p_adjusted <= LEVEL
            and self.delay.ci_low > 0
        )


def find_detours(
    training_map: TrainingMap,
    convergence: Convergence,
    regression: Regression,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    bootstraps: int = BOOTSTRAPS,
    within: NDArray[np.int64] | None = None,
    attributes: pd.DataFrame | None = None,
) -> tuple[StateEvidence, ...]:
    """Weigh every state, by the strict rule and by the paper's.

    Strict: at least four runs stand on each side of the branch test, p ≤ 0.05 after Holm's correction over the states
    that can be tested, and the 95% interval of the delay is above 0, which it cannot be if no run converges on the side
    without the state. Where the model was refitted, the state passes this test in at least 80% of the refits as well.

    Paper (Hu et al. 2023): some run converges without visiting the state, the state's coefficient is positive, and the
    regression, with all runs, is significant.

    Parameters
    ----------
    training_map : decoded paths of R runs.
    convergence, regression : of the same runs.
    seed, permutations, bootstraps : of the branch test and the interval.
    within : (R,) a level for each run, such as the codes of an attribute; only runs of one level are compared.
    attributes : a row for each run, in the same order; those that visiting goes with are named in the evidence.
    """
    tests = branch_tests(
        training_map, convergence, seed=seed, permutations=permutations, bootstraps=bootstraps, within=within
    )
    evidence = []
    for test in tests:
        sides = test.members(visiting=True), test.members(visiting=False)
        found = () if attributes is None else associations(*sides, attributes, within=within, seed=seed)
        evidence.append(_evidence(test, training_map, convergence, regression, found))
    return tuple(evidence)


def branch_tests(
    training_map: TrainingMap,
    convergence: Convergence,
    *,
    seed: int,
    permutations: int,
    bootstraps: int,
    within: NDArray[np.int64] | None = None,
) -> list[BranchTest]:
    """Test every state by the strict rule; see `find_detours`."""
    comparisons = [
        compare_visits(training_map, convergence, state, within=within) for state in range(training_map.n_states)
    ]
    p_values: list[float | None] = []
    delays: list[Delay | None] = []
    for comparison in comparisons:
        rng = np.random.default_rng([seed, comparison.state])
        if min(len(comparison.members(visiting=side)) for side in (True, False)) >= FEWEST_RUNS:
            p_values.append(stratified_rank_test(comparison.strata, permutations=permutations, rng=rng)[1])
            delays.append(delay_of(comparison.strata, bootstraps=bootstraps, rng=rng, within=within))
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
        )
        for comparison, p_value, delay in zip(comparisons, p_values, delays, strict=True)
    ]


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
            "share": [np.nan if e.survival is None else e.survival.share for e in evidence],
            "is_detour": [e.is_detour(rule) for e in evidence],
        }
    )


def evidence_table(evidence: tuple[StateEvidence, ...]) -> pd.DataFrame:
    """Everything known of each state, as in ``evidence.csv``."""
    import pandas as pd

    return pd.DataFrame(
        {
            "state": [e.state for e in evidence],
            "runs_ever": [e.runs_ever for e in evidence],
            "converged_with": [e.converged_with for e in evidence],
            "converged_without": [e.converged_without for e in evidence],
            "comparable_with": [e.comparable_with for e in evidence],
            "comparable_without": [e.comparable_without for e in evidence],
            "comparable_converged_with": [e.comparable_converged_with for e in evidence],
            "comparable_converged_without": [e.comparable_converged_without for e in evidence],
            "watched_until": [e.watched_until for e in evidence],
            "horizon": [e.delay.horizon if e.delay else None for e in evidence],
            "is_lower_bound": [e.delay.is_lower_bound if e.delay else None for e in evidence],
            "is_excursion": [e.is_excursion for e in evidence],
            "confounded_by": ["; ".join(a.describe() for a in e.confounded_by) for e in evidence],
            "logrank_p": [e.logrank_p for e in evidence],
            "hazard_ratio": [e.hazard_ratio.ratio if e.hazard_ratio else None for e in evidence],
            "hazard_ratio_low": [e.hazard_ratio.ci_low if e.hazard_ratio else None for e in evidence],
            "hazard_ratio_high": [e.hazard_ratio.ci_high if e.hazard_ratio else None for e in evidence],
            "survives_refits": [e.survival.share if e.survival else None for e in evidence],
            "survives_low": [e.survival.interval[0] if e.survival else None for e in evidence],
            "survives_high": [e.survival.interval[1] if e.survival else None for e in evidence],
            "passes_test": [e.passes_test for e in evidence],
            "detour_strict": [e.is_strict for e in evidence],
            "detour_paper": [e.is_paper for e in evidence],
        }
    )


def _evidence(
    test: BranchTest,
    training_map: TrainingMap,
    convergence: Convergence,
    regression: Regression,
    found: tuple[Association, ...],
) -> StateEvidence:
    comparable_with, comparable_without = test.members(visiting=True), test.members(visiting=False)
    compared = np.union1d(comparable_with, comparable_without)
    censored = compared[~convergence.converged[compared]]
    k, visited, converged = test.comparison.state, test.comparison.visited, convergence.converged
    times = convergence.steps.astype(np.float64)
    coefficient = float(regression.coefficients[k])
    slope = float(regression.paper.coefficients[k])
    visited_ever = _visited_ever(training_map, k)
    significant = regression.paper.f_p_value is not None and regression.paper.f_p_value < LEVEL
    is_paper = significant and slope > 0 and bool((converged & ~visited_ever).any()) and bool(visited_ever.any())
    return StateEvidence(
        state=k,
        runs_ever=int(visited_ever.sum()),
        runs_with=int(visited.sum()),
        runs_without=int((~visited).sum()),
        converged_with=int((visited & converged).sum()),
        converged_without=int((~visited & converged).sum()),
        comparable_with=len(comparable_with),
        comparable_without=len(comparable_without),
        comparable_converged_with=int(converged[comparable_with].sum()),
        comparable_converged_without=int(converged[comparable_without].sum()),
        watched_until=int(convergence.steps[compared].max()) if len(censored) else None,
        is_excursion=test.comparison.is_excursion,
        coefficient=coefficient,
        delay=test.delay,
        p_value=test.p_value,
        p_adjusted=test.p_adjusted,
        logrank_p=logrank_p(times, converged, visited),
        hazard_ratio=cox_hazard_ratio(_entry_steps(training_map, k, visited), times, converged),
        passes_test=test.is_strict,
        is_paper=is_paper,
        confounded_by=tuple(association for association in found if association.is_confounder),
    )


def _visited_ever(training_map: TrainingMap, state: int) -> NDArray[np.bool_]:
    owner = np.repeat(np.arange(len(training_map.lengths)), training_map.lengths)
    return np.isin(np.arange(len(training_map.lengths)), owner[training_map.path == state])


def _entry_steps(training_map: TrainingMap, state: int, visited: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R,) step of first entry for runs that visit before converging, 0 if they begin there; infinite for the rest."""
    n_runs = len(training_map.lengths)
    owner = np.repeat(np.arange(n_runs), training_map.lengths)
    rows = np.flatnonzero(training_map.settled(place=state) == state)
    first = np.full(n_runs, np.inf)
    np.minimum.at(first, owner[rows], training_map.steps[rows].astype(np.float64))
    begins = training_map.steps[offsets_of(training_map.lengths)[:-1]]
    return np.where(visited, np.where(first == begins, 0.0, first), np.inf)
