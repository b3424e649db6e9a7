"""Whether runs that go into a state differ from those they are compared with in more than that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.survival import holm
from trajhmm.naming import called_seed

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
PERMUTATIONS = 9999
MOST_LEVELS = 10
"""An attribute with more values, or with as many as half the runs, does not group them: numbers are then ranked."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """How visiting a state goes with an attribute of the runs, among those that are compared.

    Attributes
    ----------
    attribute : name.
    p_value, p_adjusted : of the permutation test, and with Holm's correction over the attributes.
    levels : value of the attribute, number of runs with it that visit, and number of runs with it; none of an attribute
        of many numbers.
    medians : of such an attribute, of the runs that visit and of the others.
    """

    attribute: str
    p_value: float
    p_adjusted: float
    levels: tuple[tuple[str, int, int], ...] = ()
    medians: tuple[float, float] | None = None

    @property
    def is_confounder(self) -> bool:
        """Whether visiting depends on it."""
        return self.p_adjusted <= LEVEL

    def describe(self) -> str:
        """The runs that visit, of those with each value: ``optimizer (plain: 40 of 40, stabilised: 10 of 40)``.

        Of many numbers, where they lie: ``lr (median 0.02 of runs that visit, 0.005 of the others)``.
        """
        if self.medians is not None:
            visiting, others = self.medians
            return f"{self.attribute} (median {visiting:.3g} of runs that visit, {others:.3g} of the others)"
        counts = ", ".join(f"{value}: {visiting} of {runs}" for value, visiting, runs in self.levels)
        return f"{self.attribute} ({counts})"


def associations(
    visiting: NDArray[np.int64],
    others: NDArray[np.int64],
    attributes: pd.DataFrame,
    *,
    within: NDArray[np.int64] | None = None,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> tuple[Association, ...]:
    """Test whether runs that visit a state and runs that are compared with them differ in an attribute.

    By permutation of who visits, of Pearson's statistic: with two values, as Fisher's exact test. Numbers of too many
    values for that are ranked: Wilcoxon's rank sum, by permutation as well.

    Parameters
    ----------
    visiting, others : numbers of the runs on each side; a run on both counts as visiting.
    attributes : a row for each of R runs, text or numbers. Columns of one value are left out, and so are those of too
        many if they hold text, lack values or are called a seed.
    within : (R,) a level for each run; permutations stay within levels, so that what is left is association beyond it.
    seed, permutations : of the test.
    """
    runs = np.concatenate([visiting, np.setdiff1d(others, visiting)])
    visits = np.arange(len(runs)) < len(visiting)
    if visits.all() or not visits.any():
        return ()
    levels = np.zeros(len(runs), dtype=np.int64) if within is None else within[runs]
    found: list[Association] = []
    for position, name in enumerate(attributes.columns):
        column = attributes[name].iloc[runs]
        texts = np.where(column.isna(), "missing", column.astype(str)).astype(str)
        values, codes = np.unique(texts, return_inverse=True)
        if len(values) < 2:
            continue
        grouped = len(values) <= min(MOST_LEVELS, len(runs) // 2)
        numbers = None if grouped else _numbers(column)
        if not grouped and (numbers is None or called_seed(str(name))):
            continue
        table = np.eye(len(values))[codes] if numbers is None else _ranks(numbers)[:, np.newaxis]
        p_value = _permutation_p(visits, table, levels, permutations, np.random.default_rng([seed, position]))
        if p_value is None:
            continue
        one = Association(attribute=str(name), p_value=p_value, p_adjusted=p_value)
        if numbers is None:
            counts = zip(values.tolist(), table[visits].sum(axis=0), table.sum(axis=0), strict=True)
            found.append(replace(one, levels=tuple((value, int(some), int(all_)) for value, some, all_ in counts)))
        else:
            medians = float(np.median(numbers[visits])), float(np.median(numbers[~visits]))
            found.append(replace(one, medians=medians))
    adjusted = holm([one.p_value for one in found])
    return tuple(replace(one, p_adjusted=float(p)) for one, p in zip(found, adjusted, strict=True))


def _ranks(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) ranks from 1 on; equal numbers share theirs."""
    _, codes, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    return ranks


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64] | None:
    """(M,) values of an attribute, if all are numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_bool_dtype(column) or not is_numeric_dtype(column):
        return None
    numbers = column.to_numpy(dtype=np.float64)
    return numbers if np.isfinite(numbers).all() else None


def _permutation_p(
    visits: NDArray[np.bool_],
    table: NDArray[np.float64],
    levels: NDArray[np.int64],
    permutations: int,
    rng: np.random.Generator,
) -> float | None:
    """P-value of Pearson's statistic; None where visiting or the attribute is constant within every level."""
    observed, expected = visits @ table, np.zeros(table.shape[1])
    permuted = np.zeros((permutations, table.shape[1]))
    varies = False
    for level in np.unique(levels):
        within = levels == level
        some, part = visits[within], table[within]
        varies |= 0 < some.sum() < len(some) and bool((part != part[0]).any())
        expected += some.mean() * part.sum(axis=0)
        permuted += rng.permuted(np.tile(some, (permutations, 1)), axis=1) @ part
    if not varies:
        return None
    scale = np.maximum(expected, np.finfo(float).tiny)
    statistic = float(((observed - expected) ** 2 / scale).sum())
    extreme = ((permuted - expected) ** 2 / scale).sum(axis=1) >= statistic - 1e-9
    return float((1 + extreme.sum()) / (1 + permutations))
