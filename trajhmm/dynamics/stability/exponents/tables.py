"""Lyapunov exponents of logs, a row for each group of runs and each distance; phases of learning; how sure both are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.exponents.finite_time import FiniteTime, Line, finite_time_exponent
from trajhmm.dynamics.stability.exponents.quantities import Quantity, quantities_of
from trajhmm.dynamics.stability.groups import Group, groups_of
from trajhmm.dynamics.stability.rates import Rate
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

Phase = Literal["correct", "incorrect", "saddle", "unstable"]

LYAPUNOV_COLUMNS = ("quantity", "exponent", "ci_low", "ci_high", "n_runs", "l2_stable", "probability_stable")
PHASE_COLUMNS = ("exponent_plus", "exponent_minus", "phase")
NOTHING_LOGGED = (
    "no Lyapunov exponents: no distance is logged; log the separation of twin runs (one initialisation, another order "
    "of the data) as 'separation', a distance to a point as 'distance' or its logarithm as 'log_distance', or "
    "'weight_l2', a proxy"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupExponent:
    """The exponent of one distance in one group of runs."""

    group: Group
    quantity: Quantity
    finite_time: FiniteTime


def group_exponents(runs: RunSet, by: Sequence[str] = (), *, line: Line = "ends") -> tuple[GroupExponent, ...]:
    """The exponents of every distance that is logged, by group of runs.

    Separations that both twins of a pair log count once, see :func:`counted`.

    Parameters
    ----------
    runs : the logs.
    by : attributes whose values make the groups.
    line : see :func:`~trajhmm.dynamics.stability.exponents.finite_time.finite_time_exponent`.

    Raises
    ------
    AnalysisError
        The runs have no such attribute.
    """
    groups = groups_of(runs, by)
    members = {quantity: counted(runs, quantity, groups) for quantity in quantities_of(runs.metrics)}
    found = []
    for place, group in enumerate(groups):
        for quantity, of_groups in members.items():
            if len(of_groups[place]):
                finite_time = finite_time_exponent(*logged_rows(runs, quantity, of_groups[place]), line=line)
                found.append(GroupExponent(group=group, quantity=quantity, finite_time=finite_time))
    return tuple(found)


def lyapunov_table(exponents: Iterable[GroupExponent], by: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each group and distance: the attributes, then `LYAPUNOV_COLUMNS`.

    ``exponent`` is a step, with a 95% interval over ``n_runs`` runs. ``probability_stable`` is the sign of the
    exponent, whatever the interval; ``l2_stable`` is blank where no two rows are one step apart. How sure both are,
    :func:`exponent_remarks` says.
    """
    import pandas as pd

    rows = [
        {
            **{name: one.group.values[name] for name in by},
            "quantity": one.quantity.label,
            "exponent": one.finite_time.exponent.value,
            "ci_low": one.finite_time.exponent.ci_low,
            "ci_high": one.finite_time.exponent.ci_high,
            "n_runs": one.finite_time.exponent.n_runs,
            "l2_stable": one.finite_time.l2_stable,
            "probability_stable": one.finite_time.probability_stable,
        }
        for one in exponents
    ]
    table = pd.DataFrame(rows, columns=[*by, *LYAPUNOV_COLUMNS])
    return table.astype({"l2_stable": "boolean", "probability_stable": "boolean"})


def phase_table(exponents: Iterable[GroupExponent], by: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each group that logs ``log_plus`` and ``log_minus``: the attributes, then `PHASE_COLUMNS`."""
    import pandas as pd

    rows = [
        {
            **{name: group.values[name] for name in by},
            "exponent_plus": plus.value,
            "exponent_minus": minus.value,
            "phase": phase_of(plus.value, minus.value),
        }
        for group, plus, minus in _pairs(exponents)
    ]
    return pd.DataFrame(rows, columns=[*by, *PHASE_COLUMNS])


def phase_of(plus: float, minus: float) -> Phase | None:
    """What a net of two scalar weights learns by the signs of its exponents; None where one is not known.

    Of ℓ = (uwx − y)² with E xy > 0 (arXiv 2303.13093): u + w grows and u − w shrinks where the net learns what is
    ``correct``, the reverse is ``incorrect``; both shrink to the ``saddle``, both grow where it is ``unstable``.
    """
    if np.isnan(plus) or np.isnan(minus):
        return None
    if plus > 0.0:
        return "unstable" if minus > 0.0 else "correct"
    return "incorrect" if minus > 0.0 else "saddle"


def exponent_remarks(exponents: Sequence[GroupExponent]) -> tuple[str, ...]:
    """Sentences on what stands behind the tables: proxies, runs cut or left out, signs that the runs do not decide."""
    if not exponents:
        return (NOTHING_LOGGED,)
    proxies = {one.quantity.label: one.quantity.proxy for one in exponents if one.quantity.proxy is not None}
    remarks = [f"{label}: {proxy}" for label, proxy in proxies.items()]
    for one in exponents:
        where, rate = f"{one.quantity.label}, {one.group}", one.finite_time.exponent
        if one.finite_time.n_cut:
            remarks.append(f"{where}: {one.finite_time.n_cut} runs count up to their first value that is not finite")
        if one.finite_time.n_without:
            remarks.append(f"{where}: {one.finite_time.n_without} runs have not two finite values, and do not count")
        if rate.n_runs == 1:
            remarks.append(f"{where}: one run, so no interval; more seeds give one")
        elif rate.n_runs > 1 and not rate.sign_is_decided:
            remarks.append(
                f"{where}: exponent {_told(rate)} holds 0; its sign is {rate.confidence_of_sign:.0%} sure, and more or "
                "longer runs decide it"
            )
        if one.finite_time.levels_off is not None and rate.ci_low > 0.0:
            at = one.finite_time.levels_off
            remarks.append(
                f"{where}: levels off by step {at:,.0f}, so that the exponent is less the longer the log; --where "
                f"'step <= {at:.0f}' measures the growth"
            )
        second = one.finite_time.second_moment
        if second is not None and second.ci_low < 1.0 < second.ci_high:
            remarks.append(f"{where}: second moment a step {_told(second)} holds 1: L2 stability is not decided")
    sparse = sorted({one.quantity.label for one in exponents if one.finite_time.second_moment is None})
    if sparse:
        remarks.append(f"l2_stable is blank for {', '.join(sparse)}: no two rows are one step apart; log every step")
    return tuple(remarks)


def logged_rows(
    runs: RunSet, quantity: Quantity, members: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Logarithms (M,) of a distance, their steps (M,) and rows of each run (G,), without blanks, of some runs."""
    column = runs.metrics.index(quantity.column)
    starts, stops = runs.offsets[members].tolist(), runs.offsets[members + 1].tolist()
    rows = [start + np.flatnonzero(runs.logged[start:stop, column]) for start, stop in zip(starts, stops, strict=True)]
    chosen = np.concatenate(rows)
    lengths = np.array([len(one) for one in rows], dtype=np.int64)
    return quantity.logarithm(runs.values[chosen, column]), runs.steps[chosen], lengths


def counted(runs: RunSet, quantity: Quantity, groups: Sequence[Group]) -> list[NDArray[np.int64]]:
    """Of each group (G,) numbers of the runs that log a distance, and of the twins of a pair only one.

    Twins are runs that share all attributes but ``twin``, save those that tell no pair from another: that differ in
    every run, or go with ``twin``. The one with the least value of ``twin`` counts, numbers before text before blanks.
    Where attributes do not tell pairs apart, it is the value that most runs have, and the least of those.
    """
    rows = _rows_logged(runs, quantity)
    members = [group.runs[rows[group.runs] > 0] for group in groups]
    if not quantity.of_twins or "twin" not in runs.attribute_names:
        return members
    pairs, twins = _twins(runs)
    return [_one_of_each(some, pairs, twins) for some in members]


def _rows_logged(runs: RunSet, quantity: Quantity) -> NDArray[np.int64]:
    """(R,) int64: rows of each run that log a distance."""
    until = np.concatenate(([0], np.cumsum(runs.logged[:, runs.metrics.index(quantity.column)], dtype=np.int64)))
    return np.asarray(until[runs.offsets[1:]] - until[runs.offsets[:-1]])


def _twins(runs: RunSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(R,) numbers of the pairs that runs belong to, and (R,) of their values of ``twin``, in their order."""
    frame = runs.attributes.reset_index(drop=True).astype(object)
    values = [None if blank else value for value, blank in zip(frame["twin"], frame["twin"].isna(), strict=True)]
    number = {value: place for place, value in enumerate(sorted(set(values), key=_twin_order))}
    twins = np.array([number[value] for value in values], dtype=np.int64)
    telling = [
        name
        for name in frame.columns.drop("twin")
        if frame[name].nunique() < frame[name].notna().sum()
        and (frame.groupby(twins)[name].nunique(dropna=False) > 1).any()
    ]
    if not telling:
        return np.zeros(runs.n_runs, dtype=np.int64), twins
    pairs = frame.groupby(telling, dropna=False, sort=False).ngroup()
    return np.asarray(pairs.to_numpy(), dtype=np.int64), twins


def _twin_order(value: object) -> tuple[int, float, str]:
    """Numbers, as text too, before text before blanks."""
    told = "" if value is None else str(value).strip()
    with suppress(ValueError):
        if np.isfinite(float(told)):
            return 0, float(told), told
    return (1 if told else 2), 0.0, told


def _one_of_each(members: NDArray[np.int64], pairs: NDArray[np.int64], twins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of (G,) runs that have the value of ``twin`` that stands for their pair."""
    often = Counter(zip(pairs[members].tolist(), twins[members].tolist(), strict=True))
    standing: dict[int, tuple[int, int]] = {}
    for (pair, twin), count in often.items():
        standing[pair] = min(standing.get(pair, (0, 0)), (-count, twin))
    kept = [standing[pair][1] == twin for pair, twin in zip(pairs[members], twins[members], strict=True)]
    return members[np.array(kept, dtype=np.bool_)]


def _pairs(exponents: Iterable[GroupExponent]) -> Iterator[tuple[Group, Rate, Rate]]:
    """The exponents of ``log_plus`` and ``log_minus`` of the groups that have both."""
    by_group: dict[Group, dict[str, Rate]] = {}
    for one in exponents:
        by_group.setdefault(one.group, {})[one.quantity.column] = one.finite_time.exponent
    for group, rates in by_group.items():
        if "log_plus" in rates and "log_minus" in rates:
            yield group, rates["log_plus"], rates["log_minus"]


def _told(rate: Rate) -> str:
    return f"{rate.value:.3g} ({rate.ci_low:.3g} to {rate.ci_high:.3g})"
