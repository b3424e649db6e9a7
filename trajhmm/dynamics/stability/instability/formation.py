"""Whether layers break formation: how far their growth differs over training, and whether that rises and falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.bounds import student_bounds
from trajhmm.dynamics.stability.groups import Group, groups_of
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

FORMATION_COLUMNS = ("n_runs", "n_layers", "rise_and_fall", "ci_low", "ci_high", "peak_step", "p_value", "verdict")
LAYERS = "weight_l2/"
"""What the names of the columns of layers' norms begin with."""
BINS, PIECES = 24, 10
"""Bins of training in which growth is compared; pieces of each by which layers are shifted."""
PERMUTATIONS = 499
SIGNIFICANT = 0.05
_RESAMPLES = 500
_FEWEST_LAYERS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Formation:
    """How far layers differ in their growth, in one group of runs.

    Attributes
    ----------
    group : the runs.
    n_runs, n_layers : that count.
    steps : (B,) middles of bins of training, averaged over runs.
    dispersion : (B,) standard deviation over layers of the change of ln‖W_l‖ in a bin, in units of its mean over the
        run, averaged over runs.
    rise_and_fall : how far the highest of its running means of three bins lies above both ends; 0 or less where the
        highest is an end.
    ci_low, ci_high : 95% interval over runs; NaN with fewer than two.
    peak_step : middle of the bin of the highest.
    p_value : how often layers shifted in time, each by itself and in each run anew, rise and fall as much.
    """

    group: Group
    n_runs: int
    n_layers: int
    steps: Floats
    dispersion: Floats
    rise_and_fall: float
    ci_low: float
    ci_high: float
    peak_step: float
    p_value: float

    @property
    def verdict(self) -> str:
        """``breaks and rejoins``, or ``not told from chance``."""
        found = self.rise_and_fall > 0.0 and self.p_value <= SIGNIFICANT
        return "breaks and rejoins" if found else "not told from chance"


def formations(
    runs: RunSet, by: Sequence[str] = (), *, after: float = 0.0, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[Formation, ...]:
    """Whether layers break formation and rejoin, by group of runs.

    Layers keep formation where their norms grow alike. The null keeps each layer's own course, its swings and its
    autocorrelation, and takes from it only when they fall: each layer of each run is shifted round by a random time. So
    what is tested is that layers part at the same time of training in the runs of a group, and not that some layer
    swings at some time. A start at which layers differ most is no rise. Training that is quiet at both ends rises and
    falls as well.

    Parameters
    ----------
    runs : logs with three or more columns ``weight_l2/LAYER``.
    by : attributes whose values make the groups.
    after : share of each run's steps to leave out at its start, where layers part from their initial weights and hide
        what comes later.
    permutations : shifts drawn.
    seed : of the shifts and of the interval.

    Raises
    ------
    AnalysisError
        Fewer than three layers are logged, or the runs have no such attribute.
    """
    if not 0.0 <= after < 1.0:
        raise ValueError(f"after = {after:g}: expected a share of the steps, from 0 to below 1")
    layers = [column for column, name in enumerate(runs.metrics) if name.startswith(LAYERS)]
    if len(layers) < _FEWEST_LAYERS:
        raise AnalysisError(
            f"{len(layers)} columns {LAYERS}…; expected the norms of three layers or more, such as {LAYERS}fc1, which "
            "weight_metrics and 'trajhmm collect' log with layers"
        )
    rng = np.random.default_rng(seed)
    found = []
    for group in groups_of(runs, by):
        grown = [one for run in group.runs.tolist() if (one := _growth(runs, run, layers, after)) is not None]
        if grown:
            found.append(_formation(group, grown, permutations, rng))
    return tuple(found)


def formation_table(found: Sequence[Formation], by: Sequence[str] = ()) -> pd.DataFrame:
    """One row a group: the attributes, then `FORMATION_COLUMNS`."""
    import pandas as pd

    rows = [{**one.group.values, **{name: getattr(one, name) for name in FORMATION_COLUMNS}} for one in found]
    return pd.DataFrame(rows, columns=[*by, *FORMATION_COLUMNS])


def rise_and_fall(curves: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """How far the highest running mean of three bins lies above both ends of (…, B) curves, and its middle bin."""
    means = (curves[..., :-2] + curves[..., 1:-1] + curves[..., 2:]) / 3.0
    highest = means.argmax(axis=-1)
    over = means.max(axis=-1) - np.maximum(means[..., 0], means[..., -1])
    return np.asarray(over), highest + 1


def _growth(runs: RunSet, run: int, layers: Sequence[int], after: float) -> tuple[Floats, Floats] | None:
    """(B · P, L) changes of ln‖W_l‖ in pieces of training, and (B,) middles of the bins; None with too few rows."""
    rows = slice(int(runs.offsets[run]), int(runs.offsets[run + 1]))
    norms = runs.values[rows][:, layers]
    kept = (np.isfinite(norms) & (norms > 0.0)).all(axis=1)
    every = runs.steps[rows]
    kept &= every >= every[0] + after * (every[-1] - every[0])
    n_pieces = BINS * PIECES
    if kept.sum() <= 2 * BINS:
        return None
    steps = every[kept].astype(np.float64)
    cuts = np.linspace(steps[0], steps[-1], n_pieces + 1)
    # Rows further apart than pieces: growth between them is spread evenly.
    logs = np.stack([np.interp(cuts, steps, np.log(column)) for column in norms[kept].T], axis=1)
    edges = cuts[::PIECES]
    return np.diff(logs, axis=0), 0.5 * (edges[:-1] + edges[1:])


def _formation(
    group: Group, grown: Sequence[tuple[Floats, Floats]], permutations: int, rng: np.random.Generator
) -> Formation:
    pieces = np.stack([growth for growth, _ in grown])  # (R, B · P, L)
    steps = np.mean([middles for _, middles in grown], axis=0)
    curves = _dispersion(pieces)
    mean = curves.mean(axis=0)
    value, peak = rise_and_fall(mean)
    n_runs, n_pieces, n_layers = pieces.shape
    drawn = np.empty(permutations)
    for permutation in range(permutations):
        shifts = rng.integers(n_pieces, size=(n_runs, 1, n_layers))
        places = (np.arange(n_pieces)[:, np.newaxis] + shifts) % n_pieces
        drawn[permutation] = rise_and_fall(_dispersion(np.take_along_axis(pieces, places, axis=1)).mean(axis=0))[0]
    counts = rng.multinomial(n_runs, np.full(n_runs, 1.0 / n_runs), size=_RESAMPLES)
    low, high = student_bounds(float(value), rise_and_fall(counts @ curves / n_runs)[0], n_runs)
    return Formation(
        group=group,
        n_runs=n_runs,
        n_layers=n_layers,
        steps=steps,
        dispersion=mean,
        rise_and_fall=float(value),
        ci_low=low,
        ci_high=high,
        peak_step=float(steps[int(peak)]),
        p_value=float((1 + np.sum(drawn >= value)) / (1 + permutations)),
    )


def _dispersion(pieces: Floats) -> Floats:
    """(R, B) standard deviation over layers of growth in each bin, over its mean in the run."""
    n_runs, _, n_layers = pieces.shape
    growth = pieces.reshape(n_runs, BINS, PIECES, n_layers).sum(axis=2)
    apart = growth.std(axis=2, ddof=1)
    level = apart.mean(axis=1, keepdims=True)
    relative: Floats = np.divide(apart, level, out=np.ones_like(apart), where=level > 0.0)
    return relative
