"""Rank correlations of freezing with noise, and of spikes with how runs end."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from trajhmm.dynamics.stability.freezing.changes import changes_of_sign
from trajhmm.dynamics.stability.freezing.times import freezing_table, loss_proxy
from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.dynamics.stability.instability.neteffect import NetEffect
from trajhmm.dynamics.stability.instability.spikes import Spike
from trajhmm.dynamics.stability.instability.spread import Spread
from trajhmm.dynamics.stability.relations import (
    NOISE_COLUMNS,
    PLACEBO_COLUMNS,
    SPIKE_RELATION_COLUMNS,
    noise_of,
    noise_relations,
    placebo_relation,
    spike_relations,
    stop_relation,
)
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.simulate import two_valley


def logs(settings, ends):
    """A run for each row of settings, whose loss ends where it is told to."""
    frames = [
        pd.DataFrame({"run": f"r{n:02d}", "step": 10 * np.arange(20), "loss": np.linspace(2, end, 20)}).assign(**row)
        for n, (row, end) in enumerate(zip(settings, ends, strict=True))
    ]
    return RunSet.from_frame(pd.concat(frames, ignore_index=True))


def test_freezing_of_the_two_valleys_comes_later_with_more_noise():
    made = two_valley(etas=[0.01, 0.03, 0.1], sigmas=[0.01, 0.1], n_runs=12, n_steps=6000, every=10, seed=2)
    frozen = freezing_table(made.logs, changes_of_sign(made.logs, "x"), ["eta", "sigma"])
    found = noise_relations(made.logs, {"freezing": frozen})
    assert found.columns.tolist() == list(NOISE_COLUMNS)
    assert found["quantity"].tolist() == ["freezing (steps)", "freezing (steps * eta)"] * 2
    assert found["censored_as"].tolist() == ["end of log"] * 2 + ["last seen"] * 2
    assert (found["against"] == "eta * sigma").all()
    assert (found["ci_low"] > 0.3).all()
    assert (found["n_censored"] == frozen["censored"].sum()).all()


def test_correlations_are_spearmans_and_what_is_censored_counts_as_the_end():
    rng = np.random.default_rng(0)
    settings = [{"learning_rate": rate, "batch_size": size} for rate in (0.1, 0.2, 0.4) for size in (8, 32, 128)]
    runs = logs(settings, rng.random(9))
    np.testing.assert_allclose(noise_of(runs).values[:2], [0.1 / 8, 0.1 / 32])
    steps = rng.permutation(9) * 10
    times = pd.DataFrame({"run": runs.runs, "proxy_step": steps, "censored": np.arange(9) == 4})
    table = noise_relations(runs, {"proxy": times})
    found = table[table["censored_as"] == "end of log"].set_index("quantity")
    seen = table[table["censored_as"] == "last seen"].set_index("quantity").loc["proxy (steps)", "correlation"]
    assert seen == pytest.approx(spearmanr(noise_of(runs).values, steps).statistic, abs=2e-3)
    late = np.where(np.arange(9) == 4, 190, steps)
    rates = np.array([row["learning_rate"] for row in settings])
    for quantity, y in (("proxy (steps)", late), ("proxy (steps * learning_rate)", late * rates)):
        expected = spearmanr(noise_of(runs).values, y).statistic
        row = found.loc[quantity]
        assert row["correlation"] == pytest.approx(expected, abs=2e-3)
        assert row["ci_low"] < expected < row["ci_high"]


def test_logs_that_end_too_soon_tell_no_correlation():
    runs = logs([{"learning_rate": 0.1 * (n + 1), "batch_size": 8} for n in range(8)], np.ones(8))
    times = pd.DataFrame({"run": runs.runs, "proxy_step": np.arange(8), "censored": np.arange(8) > 2})
    found = noise_relations(runs, {"proxy": times})
    whole, seen = (found[found["censored_as"] == how] for how in ("end of log", "last seen"))
    assert whole["correlation"].isna().all()
    assert whole["n_censored"].tolist() == [5, 5]
    assert seen["correlation"].tolist() == pytest.approx([1, 1], abs=0.01)
    assert noise_relations(runs, {"proxy": times.assign(censored=False)})["correlation"].tolist() == pytest.approx(
        [1, 1], abs=0.01
    )


@pytest.mark.parametrize("n_runs", [40, 700])
def test_intervals_hold_a_known_correlation(n_runs):
    from trajhmm.dynamics.stability.relations import _relation

    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.5 / 2)  # of normal pairs that correlate by .5
    held = []
    for _ in range(200 if n_runs > 600 else 60):
        x, z = rng.standard_normal((2, n_runs))
        found = _relation(x, 0.5 * x + np.sqrt(0.75) * z, rng)
        held.append(found["ci_low"] <= truth <= found["ci_high"])
    assert 0.88 <= np.mean(held) <= 1.0 - 0.005 * (n_runs > 600)


def test_the_stop_of_the_spread_is_set_against_the_noise_of_its_group():
    settings = [{"learning_rate": 0.1 * (n // 3 + 1), "batch_size": 8, "seed": n} for n in range(24)]
    runs = logs(settings, np.ones(24))
    blank = np.zeros(2)
    found = [
        Spread(
            group=group, n_runs=3, steps=np.array([0, 190]), spread=blank, ci_low=blank, ci_high=blank,
            stop_step=190 if place == 6 else 100 - 10 * place, stop_low=0.0, stop_high=190.0,
        )
        for place, group in enumerate(groups_of(runs, ["learning_rate"]))
    ]  # fmt: skip
    table = stop_relation(runs, found).set_index("quantity")
    assert (table["censored_as"] == "end of log").all()
    row = table.loc["spread stops (steps)"]
    expected = spearmanr(np.arange(8), [100, 90, 80, 70, 60, 50, 190, 30]).statistic
    assert (row["n_runs"], row["n_censored"]) == (8, 1)
    assert row["correlation"] == pytest.approx(expected, abs=2e-3)
    with pytest.raises(AnalysisError, match="all runs: runs differ in their noise"):
        stop_relation(runs, [replace(found[0], group=groups_of(runs)[0])])


def spike(run, value):
    return Spike(
        run=run,
        metric="loss",
        start=50,
        peak=50,
        recovery_steps=10,
        censored=False,
        effect=NetEffect(value=value, ci_low=value - 1, ci_high=value + 1),
    )


def test_spikes_that_help_no_more_than_placebos_are_told_from_those_that_do():
    rng = np.random.default_rng(3)

    def some(share, n_runs, each):
        return [spike(f"r{run}", -2.0 if rng.random() < share else 0.0) for run in range(n_runs) for _ in range(each)]

    held = []
    for _ in range(60):
        row = placebo_relation(some(0.3, 20, 2), some(0.3, 20, 6)).set_index("verdict").loc["helped"]
        held.append(row["ci_low"] <= 0.0 <= row["ci_high"])
    assert 0.88 <= np.mean(held) <= 1.0
    found = placebo_relation([*some(0.7, 20, 2), replace(spike("r0", np.nan), censored=True)], some(0.2, 20, 6))
    assert found.columns.tolist() == list(PLACEBO_COLUMNS)
    row = found.set_index("verdict").loc["helped"]
    assert (row["n_spikes"], row["n_placebos"]) == (40, 120)
    assert row["difference"] == pytest.approx(row["share"] - row["placebo_share"])
    assert row["ci_low"] > 0.2
    assert found.set_index("verdict").loc["harmed", "share"] == 0.0


def test_spiky_runs_that_end_worse_are_told_by_group():
    settings = [{"arm": "calm" if n < 10 else "wild", "seed": n} for n in range(20)]
    ends = np.concatenate([np.linspace(0.1, 1, 10), np.linspace(1, 0.1, 10)])
    runs = logs(settings, ends)
    spikes = [spike(f"r{n:02d}", ends[n]) for n in range(20) for _ in range(n % 10)]
    spikes.append(spike("r00", np.nan))
    found = spike_relations(runs, spikes, "loss", ["arm"])
    assert found.columns.tolist() == ["arm", *SPIKE_RELATION_COLUMNS]
    told = found.set_index(["arm", "quantity"])
    assert told.loc[("calm", "spikes"), "correlation"] > 0.95
    assert told.loc[("wild", "spikes"), "correlation"] == pytest.approx(-1, abs=0.01)
    assert told.loc[("wild", "net effect"), "correlation"] == pytest.approx(1, abs=0.01)
    assert told["n_runs"].tolist() == [10, 9, 10, 9]


def test_what_cannot_be_told_says_what_is_missing():
    runs = logs([{"seed": n} for n in range(6)], np.ones(6))
    assert noise_of(runs) is None
    with pytest.raises(AnalysisError, match="expected columns learning_rate and batch_size"):
        noise_relations(runs, {"proxy": loss_proxy(runs, metric="loss")})
    with pytest.raises(AnalysisError, match="no metric 'accuracy'"):
        spike_relations(runs, [], "accuracy")
    flat = spike_relations(runs, [spike("r00", 1.0)], "loss")
    assert flat["correlation"].isna().all()
