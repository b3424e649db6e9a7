"""Run logs from a known hidden Markov model, with a known detour that delays convergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.simulate.emissions import Emissions, spread_means
from trajhmm.simulate.paths import lay_out
from trajhmm.simulate.result import METRICS, SimulatedStates, observe

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("early", "plateau", "detour", "bystander", "late", "done")
EARLY, PLATEAU, DETOUR, BYSTANDER, LATE, DONE = range(len(NAMES))
_STAGES = 8
_INNER = 0.8


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What a layout takes where nothing else is asked for; units as in :func:`planted`."""

    n_metrics: int
    separation: float
    noise: float
    offset_sd: float | None
    scale_sd: float


_LAYOUTS = {
    # Seven pairs of metrics in which the outer states stand 1 off done.
    "ring": _Layout(n_metrics=len(METRICS), separation=math.sqrt(7), noise=1.0, offset_sd=None, scale_sd=0.3),
    "spread": _Layout(n_metrics=8, separation=2.5, noise=0.35, offset_sd=0.0, scale_sd=0.0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted(SimulatedStates):
    """Simulated logs and the truth behind them.

    States are numbered as runs enter them: early, plateau, detour, bystander, late and done, without those that no row
    is in, because none was planted or no run came by (see ``state_names``).

    Attributes
    ----------
    detour : the detour's state, or None.
    took_detour : (R,) bool.
    effect : expected delay of a run that takes the detour, in steps; 0 without one.
    bystander : the state that costs no time, or None.
    took_bystander : (R,) bool.
    """

    detour: int | None
    took_detour: NDArray[np.bool_]
    effect: float
    bystander: int | None
    took_bystander: NDArray[np.bool_]

    def truth_table(self) -> pd.DataFrame:
        """One row a run; beside the columns of all simulations with states, who took which way, and what it costs."""
        return (
            super()
            .truth_table()
            .assign(
                took_detour=self.took_detour,
                detour_state=-1 if self.detour is None else self.detour,
                detour_delay=self.effect,
                took_bystander=self.took_bystander,
                bystander_state=-1 if self.bystander is None else self.bystander,
            )
        )


def planted(
    *,
    n_runs: int = 40,
    n_rows: int = 120,
    stays: tuple[float, float, float] = (16.0, 14.0, 12.0),
    dwell_sd: float = 0.0,
    detour: bool = True,
    detour_share: float = 0.4,
    detour_stay: float = 36.0,
    bystander: bool = False,
    bystander_share: float = 0.4,
    never: float = 0.05,
    layout: Literal["ring", "spread"] = "ring",
    n_metrics: int | None = None,
    separation: float | None = None,
    noise: float | None = None,
    ar: float = 0.0,
    tails: float | None = None,
    growth: float = 0.0,
    offset_sd: float | None = None,
    scale_sd: float | None = None,
    step: int = 10,
    seed: int = 0,
) -> Planted:
    """Simulate runs that pass through early, plateau and late states until they are done.

    From the plateau a share of the runs takes the detour, and then goes on as the others do. On the way to late a share
    passes through the bystander, and spends there the first half of the time that it would spend in late: converged at
    the same step, and as long after leaving the plateau, as if it had not. A share ``never`` of the runs is slow,
    and still on the plateau when the log ends. Each row's metrics scatter around the means of its state; each run then
    has an offset and a scale of its own in each metric, as seeds do.

    Every state is a chain of eight stages with the same emissions, so that its dwell time is a sum of eight geometric
    ones: a hidden Markov model whose states keep their time better than single ones would.

    What an option adds is drawn apart: with the same seed, runs converge at the same steps whatever the metrics are,
    and with or without a bystander; offsets, scales and growth leave the noise as it is.

    Parameters
    ----------
    n_runs, n_rows : R runs of equal length, T.
    stays : mean number of rows in early, plateau and late; 8 or more each.
    dwell_sd : log standard deviation of the lognormal factors, of mean 1, by which a run's dwell times in each state
        are multiplied, independently for each run and state.
    detour : whether there is a detour.
    detour_share : probability of leaving the plateau for the detour.
    detour_stay : mean number of rows in the detour, 8 or more; the delay it causes.
    bystander : whether there is a state that costs no time.
    bystander_share : probability of passing through it, with or without a detour before.
    never : share of runs that never converge.
    layout : of the means. ``ring``: early, plateau and late at equal angles around done, so that scaling each run by
        itself leaves states comparable. ``spread``: in random directions, all equally far apart.
    n_metrics : D; even in a ring. 14 in a ring, 8 if spread.
    separation : Euclidean distance between means. Spread, of every two states (with fewer than five metrics, of the
        closest two): 2.5. In a ring, from done to early, plateau and late: √7 (the detour and the bystander stand
        closer, at 0.8 of it).
    noise : standard deviation of a metric around the mean of its state: 1 in a ring, 0.35 if spread.
    ar, tails, growth : of the noise and over training, see :class:`~trajhmm.simulate.Emissions`.
    offset_sd : standard deviation of each run's offset, in pooled standard deviations of the metric: 0 if spread. In a
        ring, where none is given, it is one standard deviation of the noise.
    scale_sd : log standard deviation of each run's scale: 0.3 in a ring, 0 if spread.
    step : training steps from one row to the next.
    seed : of everything.
    """
    _check(
        layout,
        {"never": never, "detour_share": detour_share, "bystander_share": bystander_share},
        (*stays, detour_stay),
        dwell_sd,
    )
    default = _LAYOUTS[layout]
    emissions = Emissions(
        noise=default.noise if noise is None else noise,
        ar=ar,
        tails=tails,
        growth=growth,
        offset_sd=default.offset_sd if offset_sd is None else offset_sd,
        scale_sd=default.scale_sd if scale_sd is None else scale_sd,
    )
    rng = np.random.default_rng(seed)
    # Children of rng: whether and what they draw does not move its own draws.
    for_means, for_dwells, for_bystander = rng.spawn(3)
    means = _means(
        layout,
        n_metrics=default.n_metrics if n_metrics is None else n_metrics,
        separation=default.separation if separation is None else separation,
        rng=for_means,
    )
    takes_detour = rng.random(n_runs) < (detour_share if detour else 0.0)
    dwells = _dwells(
        {EARLY: stays[0], PLATEAU: stays[1], DETOUR: detour_stay, LATE: stays[2]},
        takes_detour=takes_detour,
        takes_bystander=for_bystander.random(n_runs) < (bystander_share if bystander else 0.0),
        slow=rng.permutation(n_runs) < round(never * n_runs),
        factors=np.exp(dwell_sd * for_dwells.standard_normal((n_runs, len(NAMES))) - dwell_sd**2 / 2),
        n_rows=n_rows,
        rng=rng,
    )
    paths = lay_out(np.tile(np.arange(len(NAMES)), (n_runs, 1)), dwells, n_rows=n_rows)
    seen = observe(paths, means, NAMES, emissions=emissions, step=step, rng=rng)
    took_detour = (paths == DETOUR).any(axis=1)
    took_bystander = (paths == BYSTANDER).any(axis=1)
    return Planted(
        logs=seen.logs,
        convergence_steps=seen.convergence_steps,
        states=seen.states,
        state_names=seen.state_names,
        means=seen.means,
        detour=seen.state_names.index("detour") if took_detour.any() else None,
        took_detour=took_detour,
        effect=step * detour_stay if took_detour.any() else 0.0,
        bystander=seen.state_names.index("bystander") if took_bystander.any() else None,
        took_bystander=took_bystander,
    )


def _check(layout: str, shares: dict[str, float], stays: tuple[float, ...], dwell_sd: float) -> None:
    if layout not in _LAYOUTS:
        raise ValueError(f"layout = {layout!r}: expected one of {', '.join(_LAYOUTS)}")
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{name} = {share:g}: expected a share from 0 to 1")
    for state, stay in zip(("early", "plateau", "late", "the detour"), stays, strict=True):
        if not _STAGES <= stay < np.inf:
            raise ValueError(f"a mean stay of {stay:g} rows in {state}: expected {_STAGES} or more, a row a stage")
    if not 0.0 <= dwell_sd < np.inf:
        raise ValueError(f"dwell_sd = {dwell_sd:g}: expected a log standard deviation, 0 or more")


def _means(layout: str, *, n_metrics: int, separation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(K, D) means of all states."""
    if layout == "spread":
        return spread_means(n_states=len(NAMES), n_metrics=n_metrics, separation=separation, rng=rng)
    if n_metrics < 2 or n_metrics % 2:
        raise ValueError(
            f"n_metrics = {n_metrics}: expected an even number, a ring lies in pairs (or take layout 'spread')"
        )
    return _ring_means(n_metrics=n_metrics, separation=separation)


def _ring_means(*, n_metrics: int, separation: float) -> NDArray[np.float64]:
    """(K, D) means so laid out that scaling each run by itself leaves states comparable.

    A run's own mean depends on how long it stays where. Metrics come in pairs; in each pair early, plateau and late
    stand at equal angles around done, so that their shares hardly move the mean, however long a run takes. The
    detour stands between early and plateau, the bystander between plateau and late. Small differences in many metrics
    keep what remains beside the noise.
    """
    n_pairs = n_metrics // 2
    turn = 2 * np.pi * np.arange(n_pairs) / n_pairs
    angles = {EARLY: 0.0, DETOUR: np.pi / 3, PLATEAU: 2 * np.pi / 3, BYSTANDER: np.pi, LATE: 4 * np.pi / 3}
    means = np.zeros((len(NAMES), n_metrics))
    for state, angle in angles.items():
        radius = separation / math.sqrt(n_pairs) * (_INNER if state in {DETOUR, BYSTANDER} else 1.0)
        means[state, 0::2] = radius * np.cos(turn + angle)
        means[state, 1::2] = radius * np.sin(turn + angle)
    return means


def _dwells(
    stay: dict[int, float],
    *,
    takes_detour: NDArray[np.bool_],
    takes_bystander: NDArray[np.bool_],
    slow: NDArray[np.bool_],
    factors: NDArray[np.float64],
    n_rows: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(R, K) rows that each run spends in each state, 0 where it skips it; all arguments are (R,), factors (R, K)."""
    stages = np.zeros((len(slow), len(NAMES), _STAGES))
    begins = np.zeros(len(slow))
    for run in range(len(slow)):
        route = [EARLY, PLATEAU, *([DETOUR] if takes_detour[run] else []), LATE]
        ends = np.array([[_STAGES / stay[state]] for state in route])
        stages[run, route] = rng.geometric(ends, size=(len(route), _STAGES))
        if slow[run]:
            # The plateau begins before the log is half over, and does not end.
            begins[run] = int(rng.uniform(0.4, 0.5) * n_rows)
    whole = stages.sum(axis=2)
    # Two rows at least, so that late and the bystander can share.
    dwells = np.where(whole > 0, np.maximum(np.rint(factors * whole), 2), 0)
    half = np.rint(factors[:, LATE] * stages[:, LATE, : _STAGES // 2].sum(axis=1))
    dwells[:, BYSTANDER] = np.where(takes_bystander, np.clip(half, 1, dwells[:, LATE] - 1), 0)
    dwells[:, LATE] -= dwells[:, BYSTANDER]
    dwells[slow, EARLY] = begins[slow]
    dwells[slow, PLATEAU] = n_rows
    dwells[:, DONE] = n_rows
    return dwells.astype(np.int64)
