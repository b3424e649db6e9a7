"""What ``warn --json`` and ``warn --scores`` say of runs."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trajhmm.warning.monitor import Monitor
    from trajhmm.warning.onmap.states import Place
    from trajhmm.warning.tracking import Scored, Tracker

# What is told beside the state if that is one of a map.
_ON_MAP = ("phase", "left", "healthy_states")


def object_of(tracker: Tracker, monitor: Monitor) -> dict[str, Any]:
    """What ``--json`` prints of a run."""
    alarm, last = tracker.alarm, tracker.last
    now: dict[str, Any] = dict.fromkeys(("score", "risk", "state"))
    if last is not None:
        state = int(last.state[-1])
        now = {
            "score": _finite(last.score[-1]),
            "risk": _finite(last.risk[-1]),
            "state": None if state < 0 else state,
        }
        if monitor.shows_map:
            now |= _on_map(int(last.phase[-1]), tracker.place)
    told = {} if alarm is None else _on_map(-1 if alarm.phase is None else alarm.phase, alarm.place)
    return {
        "run": tracker.run,
        "alarm": tracker.alarm_step is not None,
        "step": tracker.alarm_step,
        "score": now["score"],
        "threshold": monitor.threshold,
        "risk": now["risk"],
        "last_step": tracker.last_step,
        "state": now["state"],
        **{name: now[name] for name in _ON_MAP if name in now},
        "at_alarm": None
        if alarm is None
        else {
            "step": alarm.step,
            "score": _finite(alarm.score),
            "risk": alarm.risk,
            "state": alarm.state,
            **(told if monitor.shows_map else {}),
        },
        "drivers": [
            {**asdict(driver), "contribution": _finite(driver.contribution)}
            for driver in (alarm.drivers if alarm is not None else ())
        ],
        "situation": monitor.situation,
    }


def _on_map(phase: int, place: Place | None) -> dict[str, Any]:
    """What stands beside the state if that is one of a map: the phase of training, and where healthy runs are."""
    return {
        "phase": None if phase < 0 else phase,
        "left": None if place is None else place.left,
        "healthy_states": [] if place is None else list(place.healthy),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def write_scores(scored: dict[str, Scored], monitor: Monitor, path: Path) -> None:
    """Write the score of every row; with a map the phase of training beside the state."""
    import numpy as np
    import pyarrow as pa

    from trajhmm.files import write_csv, write_parquet

    runs, parts = list(scored), list(scored.values())
    lengths = [len(part.steps) for part in parts]
    table = pa.table(
        {
            "run": np.repeat(np.array(runs, dtype=object), lengths),
            "step": np.concatenate([part.steps for part in parts]),
            "score": np.concatenate([part.score for part in parts]),
            "threshold": np.full(sum(lengths), monitor.threshold),
            "risk": pa.array(np.concatenate([part.risk for part in parts]), from_pandas=True),
            "state": np.concatenate([part.state for part in parts]),
            **({"phase": np.concatenate([part.phase for part in parts])} if monitor.shows_map else {}),
        }
    )
    if path.suffix.lower() == ".csv":
        write_csv(table.to_pandas(), path)
    else:
        write_parquet(table, path)
