"""How freezing goes with noise, and spikes with final performance: rank correlations with intervals over runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.dynamics.stability.instability.spikes import Spike
from trajhmm.dynamics.stability.instability.spread import Spread
from trajhmm.dynamics.stability.intervals import over_seeds, rank_correlation
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

if TYPE_CHECKING:
    import pandas as pd

NOISE_COLUMNS = ("quantity", "against", "censored_as", "n_runs", "n_censored", "correlation", "ci_low", "ci_high")
SPIKE_RELATION_COLUMNS = ("quantity", "metric", "n_runs", "correlation", "ci_low", "ci_high")
PLACEBO_COLUMNS = (
    "metric",
    "verdict",
    "n_spikes",
    "n_placebos",
    "share",
    "placebo_share",
    "difference",
    "ci_low",
    "ci_high",
)
RATES = ("learning_rate", "lr", "eta")
"""Names of learning rates; the first that runs have counts."""
_FEWEST = 5
_MOST = 600
_END, _FEWEST_END = 0.05, 5
_NONE = {"correlation": np.nan, "ci_low": np.nan, "ci_high": np.nan}


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """The noise of each run.

    Attributes
    ----------
    name : how it is told.
    values : (R,)
    """

    name: str
    values: NDArray[np.float64]


def noise_of(runs: RunSet) -> Noise | None:
    """Learning rate over batch size of each run; η · σ of simulated descents; None without such attributes."""
    rate = next((name for name in RATES if name in runs.attribute_names), None)
    if rate is not None and "batch_size" in runs.attribute_names:
        return Noise(name=f"{rate} / batch_size", values=_number(runs, rate) / _number(runs, "batch_size"))
    if {"eta", "sigma"} <= set(runs.attribute_names):
        return Noise(name="eta * sigma", values=_number(runs, "eta") * _number(runs, "sigma"))
    return None


def noise_relations(runs: RunSet, times: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of times with noise: one row for each, in steps, and in steps times learning rate.

    The latter is the time of the gradient flow, in which runs of different rates can be compared. A censored time is
    known to be no earlier than the run's last step, and counts as that (``censored_as`` ``end of log``); where more
    than half of the times are, how long the logs are would make the correlation, and there is none. Where times are
    censored a second row takes them as they stand, at the last change that was seen (``last seen``): what it says is of
    the logs, and not of what would come after them. Intervals resample runs.

    Parameters
    ----------
    runs : the logs.
    times : frames of one row a run by the name of what they hold: ``run``, ``censored``, and one column that ends in
        ``_step``, as `freezing_table` and `loss_proxy` make them.
    seed : of the intervals.

    Raises
    ------
    AnalysisError
        The runs tell nothing of their noise, or are too few.
    """
    import pandas as pd

    noise = noise_of(runs)
    if noise is None:
        raise AnalysisError(
            "the noise of these runs is not known; expected columns learning_rate and batch_size that are constant "
            "within each run"
        )
    rate = next((name for name in RATES if name in runs.attribute_names), None)
    number = {name: place for place, name in enumerate(runs.runs)}
    ends = runs.steps[runs.offsets[1:] - 1]
    rng = np.random.default_rng(seed)
    rows = []
    for name, frame in times.items():
        column = next(str(one) for one in frame.columns if str(one).endswith("_step"))
        who = np.array([number[run] for run in frame["run"]], dtype=np.int64)
        censored = frame["censored"].to_numpy(dtype=np.bool_)
        seen = frame[column].to_numpy(dtype=np.float64)
        treated = {"end of log": np.where(censored, ends[who], seen)}
        if (treated["end of log"] != seen).any():
            treated["last seen"] = seen
        scales = {"steps": np.ones(len(who))}
        if rate is not None:
            scales[f"steps * {rate}"] = _number(runs, rate)[who]
        for (treatment, steps), (unit, scale) in itertools.product(treated.items(), scales.items()):
            told = treatment == "last seen" or censored.mean() <= 0.5
            rows.append(
                {
                    "quantity": f"{name} ({unit})",
                    "against": noise.name,
                    "censored_as": treatment,
                    "n_runs": len(who),
                    "n_censored": int(censored.sum()),
                    **(_relation(noise.values[who], steps * scale, rng) if told else _NONE),
                }
            )
    return pd.DataFrame(rows, columns=list(NOISE_COLUMNS))


def stop_relation(runs: RunSet, found: Sequence[Spread], *, seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of the step at which seeds stop parting with noise, over groups of runs.

    The columns are those of `noise_relations`, but ``n_runs`` counts groups, which are what is resampled, and
    ``n_censored`` those whose spread still grows; they stop no earlier than their last step, and count as that. In
    steps, and in steps times learning rate.

    Parameters
    ----------
    runs : the logs.
    found : spreads of groups whose runs share their noise.
    seed : of the intervals.

    Raises
    ------
    AnalysisError
        The runs tell nothing of their noise, or a group's differ in it.
    """
    import pandas as pd

    tables = []
    noise = noise_of(runs)
    for one in found:
        if noise is not None and np.ptp(noise.values[one.group.runs]) > 0.0:
            raise AnalysisError(
                f"{one.group}: runs differ in their noise, {noise.name}; group runs by its columns to set their "
                "spread against it"
            )
        tables.append(
            {
                "run": runs.runs[int(one.group.runs[0])],
                "stop_step": one.stop_step,
                "censored": one.still_growing,
            }
        )
    return noise_relations(
        runs, {"spread stops": pd.DataFrame(tables, columns=["run", "stop_step", "censored"])}, seed=seed
    )


def spike_relations(
    runs: RunSet, spikes: Iterable[Spike], final: str, by: Sequence[str] = (), *, seed: int = 0
) -> pd.DataFrame:
    """Spearman's correlation, over runs, of how spiky a run was with how it ended.

    One row for each group and quantity: the attributes, then `SPIKE_RELATION_COLUMNS`. Quantities are ``spikes``, a
    run's number of spikes, and ``net effect``, the mean over those of its spikes whose effect is known, of the metric
    that spikes were looked for in. Where runs of a group differ in their settings, these decide both: name them.

    Parameters
    ----------
    runs : the logs.
    spikes : of one metric or more.
    final : metric whose median over the last twentieth of a run's rows, at least five, is how it ended.
    by : attributes whose values make the groups.
    seed : of the intervals.

    Raises
    ------
    AnalysisError
        There is no such metric, or no such attribute.
    """
    import pandas as pd

    if final not in runs.metrics:
        raise AnalysisError(f"no metric {final!r} to tell how runs end; expected one of: {', '.join(runs.metrics)}")
    listed = list(spikes)
    ends = _ends(runs, final)
    rng = np.random.default_rng(seed)
    rows = []
    for group in groups_of(runs, by):
        names = [runs.runs[run] for run in group.runs.tolist()]
        for metric in dict.fromkeys(one.metric for one in listed):
            mine = [[one for one in listed if one.run == name and one.metric == metric] for name in names]
            counts = np.array([len(some) for some in mine], dtype=np.float64)
            effects = np.array([_mean([one.effect.value for one in some]) for some in mine])
            for quantity, values in (("spikes", counts), ("net effect", effects)):
                known = np.isfinite(values) & np.isfinite(ends[group.runs])
                relation = _relation(values[known], ends[group.runs][known], rng)
                rows.append(
                    {
                        **group.values,
                        "quantity": quantity,
                        "metric": metric,
                        "n_runs": int(known.sum()),
                        **relation,
                    }
                )
    return pd.DataFrame(rows, columns=[*by, *SPIKE_RELATION_COLUMNS])


def placebo_relation(spikes: Iterable[Spike], placebos: Iterable[Spike], *, seed: int = 0) -> pd.DataFrame:
    """How much more often spikes help, or harm, than the same steps of runs that had none; one row for each.

    Columns are `PLACEBO_COLUMNS`: ``share`` of the spikes that ended, ``placebo_share``, and their ``difference``, with
    a 95% interval that resamples runs.

    Parameters
    ----------
    spikes, placebos : as `find_spikes` and `placebos` of `trajhmm.dynamics.stability.instability.spikes` give them.
    seed : of the intervals.
    """
    import pandas as pd

    both = [[one for one in some if not one.censored] for some in (spikes, placebos)]
    rng = np.random.default_rng(seed)
    rows = []
    for metric in dict.fromkeys(one.metric for one in both[0]):
        mine = [[one for one in some if one.metric == metric] for some in both]
        names = list(dict.fromkeys(one.run for some in mine for one in some))
        for verdict in ("helped", "harmed"):
            # (R,) spikes of each run, and how many of them have this verdict; of placebos likewise.
            totals = [np.array([sum(one.run == run for one in some) for run in names], float) for some in mine]
            hits = [
                np.array([sum(one.run == run and one.verdict == verdict for one in some) for run in names], float)
                for some in mine
            ]

            def difference(
                counts: NDArray[np.int64],
                hits: list[NDArray[np.float64]] = hits,
                totals: list[NDArray[np.float64]] = totals,
            ) -> NDArray[np.float64]:
                with np.errstate(invalid="ignore", divide="ignore"):
                    own, other = (counts @ hit / (counts @ total) for hit, total in zip(hits, totals, strict=True))
                return np.asarray(own - other)

            found = over_seeds(difference, names, rng)
            shares = [
                hit.sum() / total.sum() if total.sum() else np.nan for hit, total in zip(hits, totals, strict=True)
            ]
            rows.append(
                {
                    "metric": metric,
                    "verdict": verdict,
                    "n_spikes": int(totals[0].sum()),
                    "n_placebos": int(totals[1].sum()),
                    "share": shares[0],
                    "placebo_share": shares[1],
                    "difference": found.value,
                    "ci_low": found.low,
                    "ci_high": found.high,
                }
            )
    return pd.DataFrame(rows, columns=list(PLACEBO_COLUMNS))


def _relation(x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> dict[str, float]:
    """Spearman's correlation with its interval; NaN of fewer than five runs, or where one side does not vary."""
    if len(x) < _FEWEST or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return _NONE
    if len(x) > _MOST:
        return _of_many(x, y)
    found = rank_correlation(x, y, [str(run) for run in range(len(x))], rng)
    return {"correlation": found.value, "ci_low": found.low, "ci_high": found.high}


def _of_many(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, float]:
    """As above, by Fisher's scale with the variance of Bonett and Wright (2000): as good, and no resampling."""
    from scipy import stats

    value = float(stats.spearmanr(x, y).statistic)
    reach = 1.959964 * np.sqrt((1.0 + value**2 / 2.0) / (len(x) - 3.0))
    middle = np.arctanh(np.clip(value, -0.9999, 0.9999))
    return {
        "correlation": value,
        "ci_low": float(np.tanh(middle - reach)),
        "ci_high": float(np.tanh(middle + reach)),
    }


def _ends(runs: RunSet, metric: str) -> NDArray[np.float64]:
    """(R,) median of the last rows that log a metric; NaN where they are none, or not finite."""
    column = runs.metrics.index(metric)
    found = np.full(runs.n_runs, np.nan)
    for run, (_, rows) in enumerate(runs.slices()):
        values = runs.values[rows, column][runs.logged[rows, column]]
        if len(values):
            found[run] = np.median(values[-max(_FEWEST_END, int(_END * len(values))) :])
    return found


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if np.isfinite(one)]
    return float(np.mean(known)) if known else np.nan


def _number(runs: RunSet, name: str) -> NDArray[np.float64]:
    return np.asarray(runs.attributes[name].to_numpy(dtype=np.float64))
