"""Print the results on the data card: how flatness, freezing, spikes and the separation of twins go with noise.

Intervals are Student's over the seeds, each of which is a whole grid of its own, all from one start. Run from
anywhere::

    python data/noise_sweep/results.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from outcomes import share

F64 = NDArray[np.float64]

TRAINED = 0.1  # the train loss that the published proxy of freezing waits for
EARLY, LATE = (1, 20), (100, 200)  # windows of flow time, learning rate × step
RISE, BEFORE, LEARNT = 2.0, 10, 20  # of spikes: times the median of so many rows before, from which row on
CELL = ["learning_rate", "batch_size"]
# What is set against noise.
QUANTITIES = {
    "flow time to loss 0.1": "flow_time",
    "sharpness where loss is 0.1": "sharpness_at",
    "Hessian trace where loss is 0.1": "trace_at",
    "sharpness at the end": "sharpness",
    "Hessian trace at the end": "trace",
    "train loss at the end": "train_loss",
    "held-out accuracy at the end": "eval_accuracy",
    "the same, of runs that trained": "accuracy",
    "units that still switch, late": "flips",
    "separation of twins at the end": "separation",
    "spread over seeds of weight_l2 at the end": "spread_weight_l2",
    "spread over seeds of held-out accuracy": "spread_eval_accuracy",
}
SPREAD = ("weight_l2", "eval_accuracy")
# Whether spikes help: what twins are compared in.
HELPED = {
    "train loss at the end": "train_loss",
    "sharpness at the end": "sharpness",
    "held-out accuracy at the end": "eval_accuracy",
}


def first_below(loss: ArrayLike, at: ArrayLike, limit: float) -> float:
    """Where the loss is first at or below the limit; infinite if never.

    Parameters
    ----------
    loss, at : (n,) the loss, and where: step or flow time.
    """
    hits = np.flatnonzero(np.asarray(loss) <= limit)
    return float(np.asarray(at)[hits[0]]) if len(hits) else np.inf


def at_loss(loss: ArrayLike, value: ArrayLike, limit: float) -> float:
    """A positive quantity where the loss first passes the limit, on the straight line of logarithms; NaN if never.

    Parameters
    ----------
    loss, value : (n,) at the same rows.
    """
    x, y = np.log(np.asarray(loss, dtype=float)), np.log(np.asarray(value, dtype=float))
    below = np.flatnonzero(x <= np.log(limit))
    if not len(below) or below[0] == 0:
        return np.nan
    i = below[0]
    part = (np.log(limit) - x[i - 1]) / (x[i] - x[i - 1])
    return float(np.exp(y[i - 1] + part * (y[i] - y[i - 1])))


def exponent(time: ArrayLike, distance: ArrayLike, window: tuple[float, float]) -> float:
    """Finite-time exponent: the least-squares slope of ln distance over the window, per unit of time.

    Parameters
    ----------
    time, distance : (n,).
    """
    at, apart = np.asarray(time, dtype=float), np.asarray(distance, dtype=float)
    inside = (at >= window[0]) & (at <= window[1]) & (apart > 0) & np.isfinite(apart)
    if inside.sum() < 3:
        return np.nan
    return float(np.polyfit(at[inside], np.log(apart[inside]), 1)[0])


def spikes(loss: ArrayLike) -> int:
    """How often the loss jumps to ``RISE`` times the median of the ``BEFORE`` rows before; a jump counts once.

    Parameters
    ----------
    loss : (n,) a row each.
    """
    series = pd.Series(np.asarray(loss, dtype=float))
    high = series >= RISE * series.shift().rolling(BEFORE).median()
    high[:LEARNT] = False
    return int((high & ~high.shift(fill_value=False)).sum())


def interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of a seed's values and its 95% interval by Student's t.

    Five seeds are too few for the percentile bootstrap, whose 95% interval then covers in 84% of cases.

    Parameters
    ----------
    values : (n,) one for each seed.
    """
    x = np.asarray(values, dtype=float)
    half = t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's; NaN where one does not vary."""
    a, b = (rankdata(np.asarray(values, dtype=float)) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else np.nan


def against(
    runs: pd.DataFrame, quantity: str, *, of: str = "noise", within: str | None = None
) -> tuple[float, float, float]:
    """Rank correlation with noise and its interval over seeds; within a learning rate or a batch size if asked for.

    Parameters
    ----------
    runs : a row each, with ``seed`` and the quantities, NaN where a run has none.
    of : another quantity in the place of noise.
    within : an attribute; the correlations at each of its values are averaged.
    """
    per_seed = []
    for _, of_seed in runs.dropna(subset=[quantity, of]).groupby("seed"):
        groups = [some for _, some in of_seed.groupby(within)] if within else [of_seed]
        found = [rank_correlation(some[of], some[quantity]) for some in groups if some[of].nunique() > 1]
        per_seed.append(np.nanmean(found))
    return _bounded(interval(per_seed))


def powers(runs: pd.DataFrame, quantity: str) -> dict[str, tuple[float, float, float]]:
    """How a positive quantity goes with learning rate and batch size, as powers of them, and their sum.

    If only their ratio mattered, the powers would be each other's negative and their sum 0.

    Parameters
    ----------
    runs : a row each, with ``seed``, the two attributes and the quantity, NaN where a run has none.
    """
    per_seed = []
    for _, some in runs.dropna(subset=[quantity]).groupby("seed"):
        design = np.column_stack([np.ones(len(some)), np.log(some[CELL])])
        per_seed.append(np.linalg.lstsq(design, np.log(some[quantity]), rcond=None)[0][1:])
    rate, size = np.array(per_seed).T
    return {"learning rate": interval(rate), "batch size": interval(size), "their sum": interval(rate + size)}


def spread(runs: pd.DataFrame, quantity: str) -> pd.Series:
    """How far each run is from the mean of its cell's runs of other seeds, a row each.

    Parameters
    ----------
    runs : a row each, with ``seed``, the attributes of a cell and the quantity.
    """
    cell, own = runs.groupby(CELL)[quantity], runs.groupby([*CELL, "seed"])[quantity]
    others = (cell.transform("sum") - own.transform("sum")) / (cell.transform("count") - own.transform("count"))
    return (runs[quantity] - others).abs()


def twins_compared(runs: pd.DataFrame, quantity: str) -> tuple[float, float, float]:
    """Rank correlation, over pairs of twins, of the difference in spikes with that in a quantity; interval over seeds.

    Twins share cell and start, so that neither can make spikes and quantity go together. Pairs with as many spikes each
    do not count.

    Parameters
    ----------
    runs : a row each, with ``seed``, ``twin``, the attributes of a cell, ``spikes`` and the quantity, NaN where a run
        has none.
    """
    pair = runs.pivot_table(index=["seed", *CELL], columns="twin", values=["spikes", quantity], dropna=False)
    apart = pd.DataFrame({name: pair[name, 1] - pair[name, 0] for name in ("spikes", quantity)}).dropna()
    apart = apart[apart["spikes"] != 0]
    found = [rank_correlation(some["spikes"], some[quantity]) for _, some in apart.groupby("seed")]
    return _bounded(interval(found))


def summary(run: pd.DataFrame) -> dict[str, float]:
    """What one run comes to, a number each.

    Parameters
    ----------
    run : its rows.
    """
    flow = run["step"] * run["learning_rate"]
    curved, late = run[run["sharpness"].notna()], run[flow > LATE[0]]
    loss, curved_loss, last = run["train_loss"], curved["train_loss"], run.iloc[-1]
    trained = bool(last["train_loss"] <= TRAINED)
    return {
        **run[[*CELL, "noise", "seed", "twin"]].iloc[0],
        "trained": trained,
        "flow_time": first_below(loss, flow, TRAINED),
        "sharpness_at": at_loss(curved_loss, curved["sharpness"], TRAINED),
        "trace_at": at_loss(curved_loss, curved["hessian_trace"], TRAINED),
        "sharpness": last["sharpness"] if trained else np.nan,
        "trace": last["hessian_trace"] if trained else np.nan,
        "train_loss": last["train_loss"],
        "weight_l2": last["weight_l2"],
        "eval_accuracy": last["eval_accuracy"],
        "accuracy": last["eval_accuracy"] if trained else np.nan,
        "edge": (curved["sharpness"] * curved["learning_rate"] / 2).max(),
        "flips": late["activation_flips"].median(),
        "spikes": spikes(loss),
        "separation": last["separation"],
        "early": exponent(flow, run["separation"], EARLY),
        "late": exponent(flow, run["separation"], LATE),
    }


def cells(runs: pd.DataFrame) -> list[str]:
    """The table of the card, a line each cell."""
    lines = []
    for _, cell in runs.groupby(CELL):
        twins, (rate, size, noise) = cell[cell["twin"] == 1], cell[[*CELL, "noise"]].iloc[0]
        time = cell["flow_time"].median()
        columns = [
            f"{rate:g}",
            f"{size:g}",
            f"{noise:.2g}",
            share(cell["trained"]),
            f"{time:.0f}" if np.isfinite(time) else "never",
            f"{cell['eval_accuracy'].mean():.3f} ± {cell['eval_accuracy'].std():.3f}",
            *(_number(cell[name].median()) for name in ("edge", "sharpness_at", "trace_at", "sharpness", "trace")),
            share(cell["spikes"] > 0),
            f"{twins['separation'].mean():.2f}",
            *("{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * v for v in interval(twins[w]))) for w in ("early", "late")),
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return lines


def correlations(runs: pd.DataFrame) -> list[str]:
    """The rank correlations of the card, a line each quantity."""
    lines = []
    for text, name in QUANTITIES.items():
        found = [against(runs, name, within=within) for within in (None, *CELL)]
        lines.append(f"| {text} | " + " | ".join(_signed(*values) for values in found) + " |")
    return lines


def flat_and_good(runs: pd.DataFrame) -> list[str]:
    """Whether runs that trained are the more accurate the more curved they are, a line each measure."""
    lines = []
    for text, name in list(QUANTITIES.items())[1:5]:
        found = [against(runs, "accuracy", of=name, within=within) for within in (None, *CELL)]
        lines.append(f"| {text} | " + " | ".join(_signed(*values) for values in found) + " |")
    return lines


def powers_of(runs: pd.DataFrame) -> list[str]:
    """The powers of the card, a line each quantity."""
    lines = []
    for text, name in QUANTITIES.items():
        positive = runs[(runs[name] > 0) & np.isfinite(runs[name])]
        lines.append(f"| {text} | " + " | ".join(_signed(*values) for values in powers(positive, name).values()) + " |")
    return lines


def helped(runs: pd.DataFrame) -> list[str]:
    """What twins with more spikes end with, a line each quantity."""
    trained = runs.where(runs["trained"].astype(bool), np.nan).assign(**runs[[*CELL, "seed", "twin"]])
    return [f"| {text} | {_signed(*twins_compared(trained, name))} |" for text, name in HELPED.items()]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"


def _bounded(values: tuple[float, float, float]) -> tuple[float, float, float]:
    """An interval within what a correlation can be."""
    middle, low, high = (min(max(value, -1.0), 1.0) for value in values)
    return middle, low, high


def _signed(middle: float, low: float, high: float) -> str:
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"


def summaries(logs: pd.DataFrame) -> pd.DataFrame:
    """What each run comes to, a row each."""
    runs = pd.DataFrame([summary(run) for _, run in logs.groupby("run", sort=False)])
    return runs.assign(**{f"spread_{name}": spread(runs, name) for name in SPREAD})


def lines(logs: pd.DataFrame) -> list[str]:
    """The tables of the card, one after the other."""
    runs = summaries(logs)
    return [*cells(runs), *correlations(runs), *powers_of(runs), *flat_and_good(runs), *helped(runs)]


if __name__ == "__main__":
    print("\n".join(lines(pd.read_parquet(Path(__file__).parent / "runs.parquet"))))
