"""What each state is: its means, when runs enter it, what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trajhmm.dynamics.maps.training_map import MapState, TrainingMap
from trajhmm.dynamics.maps.trajectories import Trajectories
from trajhmm.figures.raster import row_bounds
from trajhmm.report.tables import MISSING, Bar, Cell, Column, Row, Table, fixed, number, short, words


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One state in words and numbers."""

    state: int
    is_detour: bool
    facts: tuple[tuple[str, str], ...]
    table: Table


def profiles(training_map: TrainingMap, trajectories: Trajectories) -> tuple[Profile, ...]:
    """Describe every state that some run visits: in the scaled units of the model, and in those that were logged."""
    widest = max((float(np.abs(state.means).max()) for state in training_map.states), default=1.0)
    entries = _entries(training_map)
    return tuple(
        _profile(state, training_map, entries[state.state], widest, _logged(trajectories, training_map, state))
        for state in training_map.states
        if state.runs
    )


def _logged(trajectories: Trajectories, training_map: TrainingMap, state: MapState) -> list[tuple[float, float, float]]:
    """Median, and where nine of ten rows in the state begin and end, of each metric as logged; NaN without any."""
    columns = [trajectories.metrics.index(metric) for metric in training_map.metrics]
    rows = trajectories.values[trajectories.path == state.state][:, columns]
    found = []
    for column in rows.T:
        known = column[np.isfinite(column)]
        quantiles = np.quantile(known, [0.5, 0.05, 0.95]) if len(known) else np.full(3, np.nan)
        found.append((float(quantiles[0]), float(quantiles[1]), float(quantiles[2])))
    return found


def _range(low: float, high: float) -> Cell:
    return Cell(text=MISSING) if np.isnan(low) else Cell(text=f"{short(low)} to {short(high)}", value=low)


def _profile(
    state: MapState,
    training_map: TrainingMap,
    entries: list[int],
    widest: float,
    logged: list[tuple[float, float, float]],
) -> Profile:
    rows = state.rows / len(training_map.path)
    top = ", ".join(
        f"{part.metric} {'↑' if part.movement > 0 else '↓'} ({short(part.importance)})" for part in state.top_metrics
    )
    certificate = training_map.certificate
    own = None if certificate is None else certificate.at(training_map.n_states)
    facts = (
        ("Runs, ever", f"{state.runs} of {len(training_map.runs)}"),
        ("Comes back in halves", MISSING if own is None else f"{own.recovery[state.state]:.2f}"),
        ("Share of all rows", f"{rows:.0%}"),
        ("First entered at step", f"{np.median(entries):,.0f} (median; {min(entries):,} to {max(entries):,})"),
        ("Top metrics", top),
    )
    return Profile(
        state=state.state,
        is_detour=state.state in training_map.detours,
        facts=facts,
        table=Table(
            name=f"Profile of state {state.state}",
            columns=(
                Column(title="Metric", number=False),
                Column(title="Mean"),
                Column(title="Spread"),
                Column(title="Drawn", number=False, plain=True),
                Column(title="Logged, median"),
                Column(title="Nine of ten rows"),
            ),
            rows=tuple(
                Row(
                    cells=(
                        words(metric),
                        fixed(mean),
                        fixed(spread),
                        _drawn(mean, widest),
                        number(median),
                        _range(low, high),
                    )
                )
                for metric, mean, spread, (median, low, high) in zip(
                    training_map.metrics, state.means.tolist(), state.deviations.tolist(), logged, strict=True
                )
            ),
        ),
    )


def _drawn(mean: float, widest: float) -> Cell:
    return Cell(bar=Bar.on_scale((min(mean, 0.0), max(mean, 0.0)), (-widest, widest)))


def _entries(training_map: TrainingMap) -> list[list[int]]:
    """For each state, the steps at which runs first enter it."""
    entries: list[list[int]] = [[] for _ in training_map.states]
    for rows, steps in row_bounds(training_map):
        states, first = np.unique(training_map.path[rows], return_index=True)
        for state, row in zip(states.tolist(), first.tolist(), strict=True):
            entries[state].append(int(steps[row]))
    return entries
