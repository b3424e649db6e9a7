"""How freezing goes with noise, and spikes with final performance: rank correlations with intervals over runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.dynamics.stability.instability.spikes import Spike
from trajhmm.dynamics.stability.intervals import difference_of_shares, over_seeds, rank_correlation
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of

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
"""Names of learning rates; the first that is a number in any run counts."""
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
    values : (R,) NaN where a run does not tell it in numbers, or has no batch.
    rate : name of the learning rate.
    rates : (R,) learning rates; known where the noise is.
    """

    name: str
    values: NDArray[np.float64]
    rate: str
    rates: NDArray[np.float64]


def noise_of(runs: RunSet) -> Noise | None:
    """Learning rate over batch size of each run; η · σ of simulated descents; None where no run tells either."""
    rate = next((name for name in RATES if np.isfinite(_number(runs, name)).any()), "")
    rates, sizes = _number(runs, rate), _number(runs, "batch_size")
    eta, sigma = _number(runs, "eta"), _number(runs, "sigma")
    with np.errstate(over="ignore", invalid="ignore"):
        batched = np.divide(rates, sizes, out=np.full(runs.n_runs, np.nan), where=sizes > 0.0)
        simulated = eta * sigma
    for name, values, by, of in (
        (f"{rate} / batch_size", batched, rate, rates),
        ("eta * sigma", simulated, "eta", eta),
    ):
        known = np.isfinite(values)
        if known.any():
            return Noise(name=name, values=np.where(known, values, np.nan), rate=by, rates=of)
    return None


def noise_relations(runs: RunSet, times: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of times with noise: one row for each, in steps, and in steps times learning rate.

    The latter is the time of the gradient flow, in which runs of different rates can be compared. A censored time is
    known to be no earlier than the run's last step, and counts as that (``censored_as`` ``end of log``); where more
    than half of the times are, how long the logs are would make the correlation, and there is none. Where times are
    censored a second row takes them as they stand, at the last change that was seen (``last seen``): what it says is of
    the logs, and not of what would come after them. Intervals resample runs.

    Runs whose noise is not known, and runs of one row, which have no time to tell, are left out of ``n_runs``.

    Parameters
    ----------
    runs : the logs.
    times : frames of one row a run by the name of what they hold: ``run``, ``censored``, and as the last column that
        ends in ``_step`` the times, as `freezing_table` and `loss_proxy` make them.
    seed : of the intervals.

    Raises
    ------
    AnalysisError
        The runs tell nothing of their noise.
    """
    import pandas as pd

    noise = noise_of(runs)
    if noise is None:
        raise AnalysisError(
            "the noise of these runs is not known; expected columns learning_rate and batch_size, numbers that are "
            "constant within each run"
        )
    rng = np.random.default_rng(seed)
    rows = [row for name, frame in times.items() for row in _with_noise(runs, noise, name, frame, rng)]
    return pd.DataFrame(rows, columns=list(NOISE_COLUMNS))


def _with_noise(
    runs: RunSet, noise: Noise, name: str, frame: pd.DataFrame, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    """The rows of one frame of times: for each way to treat what is censored, and each unit of time."""
    number = {run: place for place, run in enumerate(runs.runs)}
    every = np.array([number[run] for run in frame["run"]], dtype=np.int64)
    counted = np.isfinite(noise.values[every]) & (runs.lengths[every] > 1)
    who = every[counted]
    column = [str(one) for one in frame.columns if str(one).endswith("_step")][-1]
    censored = frame["censored"].to_numpy(dtype=np.bool_)[counted]
    seen = frame[column].to_numpy(dtype=np.float64)[counted]
    treated = {"end of log": np.where(censored, runs.steps[runs.offsets[who + 1] - 1], seen)}
    if (treated["end of log"] != seen).any():
        treated["last seen"] = seen
    scales = {"steps": np.ones(len(who)), f"steps * {noise.rate}": noise.rates[who]}
    for (treatment, steps), (unit, scale) in itertools.product(treated.items(), scales.items()):
        told = treatment == "last seen" or 2 * int(censored.sum()) <= len(who)
        yield {
            "quantity": f"{name} ({unit})",
            "against": noise.name,
            "censored_as": treatment,
            "n_runs": len(who),
            "n_censored": int(censored.sum()),
            **(_relation(noise.values[who], steps * scale, rng) if told else _NONE),
        }


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
        raise AnalysisError(f"no metric {final!r} to tell how runs end{instead_of(final, runs.metrics)}")
    found: dict[str, dict[str, list[float]]] = {}  # effects by metric and run
    for one in spikes:
        found.setdefault(one.metric, {}).setdefault(one.run, []).append(one.effect.value)
    ends = _ends(runs, final)
    rng = np.random.default_rng(seed)
    rows = []
    for group in groups_of(runs, by):
        for metric, of_runs in found.items():
            mine = [of_runs.get(runs.runs[run], []) for run in group.runs.tolist()]
            counts = np.array([len(some) for some in mine], dtype=np.float64)
            effects = np.array([_mean(some) for some in mine])
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
    a 95% interval, the wider of one that resamples runs and one of two shares.

    Parameters
    ----------
    spikes, placebos : as `find_spikes` and `placebos` of `trajhmm.dynamics.stability.instability.spikes` give them.
    seed : of the intervals.
    """
    import pandas as pd

    # What a spike did is not known either where too few rows come before or after it.
    both = [[o for o in some if not o.censored and np.isfinite(o.effect.value)] for some in (spikes, placebos)]
    rng = np.random.default_rng(seed)
    rows = []
    for metric in dict.fromkeys(one.metric for one in both[0]):
        mine = [[one for one in some if one.metric == metric] for some in both]
        number = {run: place for place, run in enumerate(dict.fromkeys(one.run for some in mine for one in some))}
        totals = [_by_run(some, number) for some in mine]
        for verdict in ("helped", "harmed"):
            hits = [_by_run((one for one in some if one.verdict == verdict), number) for some in mine]
            (first, second), (n_first, n_second) = ([int(one.sum()) for one in some] for some in (hits, totals))
            # Where all runs agree, drawing them sees no variance; the interval of two shares does.
            found = over_seeds(partial(_difference, hits=hits, totals=totals), range(len(number)), rng).united(
                difference_of_shares(first, n_first, second, n_second)
            )
            share, placebo_share = (
                hit.sum() / total.sum() if total.sum() else np.nan for hit, total in zip(hits, totals, strict=True)
            )
            rows.append(
                {
                    "metric": metric,
                    "verdict": verdict,
                    "n_spikes": int(totals[0].sum()),
                    "n_placebos": int(totals[1].sum()),
                    "share": share,
                    "placebo_share": placebo_share,
                    "difference": found.value,
                    "ci_low": found.low,
                    "ci_high": found.high,
                }
            )
    return pd.DataFrame(rows, columns=list(PLACEBO_COLUMNS))


def _by_run(spikes: Iterable[Spike], number: Mapping[str, int]) -> NDArray[np.float64]:
    """(R,) how many of the spikes each run has, by the numbers of the runs."""
    who = np.array([number[one.run] for one in spikes], dtype=np.int64)
    return np.bincount(who, minlength=len(number)).astype(np.float64)


def _difference(
    counts: NDArray[np.int64], *, hits: Sequence[NDArray[np.float64]], totals: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """(B,) share of hits less that among placebos, of runs that count (B, R) times; NaN without any of either."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own, other = (counts @ hit / (counts @ total) for hit, total in zip(hits, totals, strict=True))
    return np.asarray(own - other)


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
            with np.errstate(invalid="ignore", over="ignore"):  # of infinities of both signs
                found[run] = np.median(values[-max(_FEWEST_END, int(_END * len(values))) :])
    return found


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if np.isfinite(one)]
    with np.errstate(over="ignore"):
        return float(np.mean(known)) if known else np.nan


def _number(runs: RunSet, name: str) -> NDArray[np.float64]:
    """(R,) an attribute as numbers; NaN where it is none, and throughout where there is no such attribute."""
    import pandas as pd

    if name not in runs.attribute_names:
        return np.full(runs.n_runs, np.nan)
    return np.asarray(pd.to_numeric(runs.attributes[name].astype(object), errors="coerce").to_numpy(dtype=np.float64))
