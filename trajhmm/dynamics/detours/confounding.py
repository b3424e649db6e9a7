"""Whether runs that go into a state differ from those they are compared with in more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.survival import holm

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
PERMUTATIONS = 9999
MOST_LEVELS = 10
"""An attribute with more values, or with as many as half the runs, tells runs apart but does not group them."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """How visiting a state goes with an attribute of the runs, among those that are compared.

    Attributes
    ----------
    attribute : name.
    p_value, p_adjusted : of the permutation test, and with Holm's correction over the attributes.
    levels : value of the attribute, number of runs with it that visit, and number of runs with it.
    """

    attribute: str
    p_value: float
    p_adjusted: float
    levels: tuple[tuple[str, int, int], ...]

    @property
    def is_confounder(self) -> bool:
        """Whether visiting depends on it."""
        return self.p_adjusted <= LEVEL

    def describe(self) -> str:
        """The runs that visit, of those with each value: ``optimizer (plain: 40 of 40, stabilised: 10 of 40)``."""
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

    By permutation of who visits, of Pearson's statistic: with two values, as Fisher's exact test.

    Parameters
    ----------
    visiting, others : numbers of the runs on each side; a run on both counts as visiting.
    attributes : a row for each of R runs, text or numbers; columns with one value, or with too many, are left out.
    within : (R,) a level for each run; permutations stay within levels, so that what is left is association beyond it.
    seed, permutations : of the test.
    """
    runs = np.concatenate([visiting, np.setdiff1d(others, visiting)])
    visits = np.arange(len(runs)) < len(visiting)
    if visits.all() or not visits.any():
        return ()
    levels = np.zeros(len(runs), dtype=np.int64) if within is None else within[runs]
    found: list[tuple[str, float, tuple[tuple[str, int, int], ...]]] = []
    for position, name in enumerate(attributes.columns):
        column = attributes[name].iloc[runs]
        texts = np.where(column.isna(), "missing", column.astype(str)).astype(str)
        values, codes = np.unique(texts, return_inverse=True)
        if not 1 < len(values) <= min(MOST_LEVELS, len(runs) // 2):
            continue
        table = np.eye(len(values))[codes]
        p_value = _permutation_p(visits, table, levels, permutations, np.random.default_rng([seed, position]))
        if p_value is not None:
            counts = zip(values.tolist(), table[visits].sum(axis=0), table.sum(axis=0), strict=True)
            found.append((str(name), p_value, tuple((value, int(some), int(all_)) for value, some, all_ in counts)))
    adjusted = holm([p_value for _, p_value, _ in found])
    return tuple(
        Association(attribute=name, p_value=p_value, p_adjusted=float(p), levels=counts)
        for (name, p_value, counts), p in zip(found, adjusted, strict=True)
    )


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
