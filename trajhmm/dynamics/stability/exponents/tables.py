"""Lyapunov exponents of logs, a row for each group of runs and each distance; phases of learning; how sure both are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

    Separations that both twins log count once: those of the runs with the least value of the attribute ``twin``.

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
    quantities = {quantity: _rows_logged(runs, quantity) for quantity in quantities_of(runs.metrics)}
    found = []
    for group in groups_of(runs, by):
        for quantity, rows in quantities.items():
            members = _members(runs, group, quantity, rows)
            if len(members) == 0:
                continue
            values, steps, lengths = logged_rows(runs, quantity, members)
            finite_time = finite_time_exponent(values, steps, lengths, line=line)
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


def _rows_logged(runs: RunSet, quantity: Quantity) -> NDArray[np.int64]:
    """(R,) int64: rows of each run that log a distance."""
    until = np.concatenate(([0], np.cumsum(runs.logged[:, runs.metrics.index(quantity.column)], dtype=np.int64)))
    return np.asarray(until[runs.offsets[1:]] - until[runs.offsets[:-1]])


def _members(runs: RunSet, group: Group, quantity: Quantity, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those runs of a group that log the distance, in (R,) ``rows``; one of two twins."""
    members = group.runs[rows[group.runs] > 0]
    if quantity.of_twins and "twin" in runs.attribute_names and len(members):
        twins = runs.attributes["twin"].to_numpy()[members]
        members = members[twins == min(twins.tolist())]
    return members


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
