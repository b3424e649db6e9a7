"""Rank correlations of freezing with noise, and of spikes with how runs end."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from trajhmm.dynamics.stability.freezing.changes import changes_of_sign
from trajhmm.dynamics.stability.freezing.times import freezing_table, loss_proxy
from trajhmm.dynamics.stability.instability.neteffect import NetEffect
from trajhmm.dynamics.stability.instability.spikes import Spike
from trajhmm.dynamics.stability.relations import (
    NOISE_COLUMNS,
    PLACEBO_COLUMNS,
    SPIKE_RELATION_COLUMNS,
    noise_of,
    noise_relations,
    placebo_relation,
    spike_relations,
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


@pytest.mark.once
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


UNKNOWN = [
    {"learning_rate": "warm"},
    {"learning_rate": None},
    {"learning_rate": np.inf},
    {"batch_size": 0},
    {"batch_size": -8},
    {"batch_size": None},
    {"batch_size": "all"},
]


@pytest.mark.parametrize("odd", UNKNOWN)
def test_runs_whose_noise_is_not_known_are_left_out_of_the_relation(odd):
    rng = np.random.default_rng(4)
    settings = [{"learning_rate": rate, "batch_size": size} for rate in (0.1, 0.2, 0.4) for size in (8, 32, 128)]
    runs = logs([*settings, *settings[:4]], np.ones(13))
    attributes = runs.attributes.astype(object)
    for name, value in odd.items():
        attributes.loc[runs.runs[9:], name] = value
    runs = replace(runs, attributes=attributes)
    noise = noise_of(runs)
    np.testing.assert_allclose(noise.values[:9], [row["learning_rate"] / row["batch_size"] for row in settings])
    assert np.isnan(noise.values[9:]).all()
    times = pd.DataFrame({"run": runs.runs, "proxy_step": rng.permutation(13) * 10, "censored": np.arange(13) > 7})
    found = noise_relations(runs, {"proxy": times})
    assert found["n_runs"].tolist() == [9] * 4
    assert found["n_censored"].tolist() == [1] * 4
    only = runs.select_runs(runs.runs[:9])
    pd.testing.assert_frame_equal(found, noise_relations(only, {"proxy": times.iloc[:9]}))
    assert found["correlation"].notna().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": "cosine", "batch_size": 32},
        {"learning_rate": 0.1, "batch_size": 0},
        {"learning_rate": 0.1, "batch_size": "all"},
        {"eta": 0.1, "sigma": "none"},
        {"eta": 0.1, "batch_size": None},
    ],
)
def test_where_no_run_tells_its_noise_in_numbers_that_is_said(settings):
    runs = logs([{**settings, "seed": n} for n in range(6)], np.ones(6))
    assert noise_of(runs) is None
    with pytest.raises(AnalysisError, match="the noise of these runs is not known"):
        noise_relations(runs, {"proxy": loss_proxy(runs, metric="loss")})


def test_noise_is_told_by_whatever_is_a_number():
    text = logs([{"learning_rate": "cosine", "lr": f"{n + 1}e-3", "batch_size": 4} for n in range(6)], np.ones(6))
    noise = noise_of(text)
    assert (noise.name, noise.rate) == ("lr / batch_size", "lr")
    np.testing.assert_allclose(noise.values, np.arange(1, 7) / 4000)
    descents = logs([{"learning_rate": 0.1 * n, "eta": 0.1, "sigma": 1.0 + n} for n in range(6)], np.ones(6))
    noise = noise_of(descents)
    assert (noise.name, noise.rate) == ("eta * sigma", "eta")
    np.testing.assert_allclose(noise.values, 0.1 * np.arange(1, 7))
    np.testing.assert_allclose(noise.rates, 0.1)


def test_runs_of_one_row_tell_no_time():
    runs = logs([{"learning_rate": 0.1 * (n + 1), "batch_size": 8} for n in range(8)], np.ones(8)).frame()
    runs = RunSet.from_frame(runs[(runs["run"] != "r07") | (runs["step"] == 0)])
    times = pd.DataFrame({"run": runs.runs, "proxy_step": [*range(7), 0], "censored": np.arange(8) == 7})
    found = noise_relations(runs, {"proxy": times})
    assert found["n_runs"].tolist() == [7, 7]
    assert found["n_censored"].tolist() == [0, 0]
    assert found["correlation"].tolist() == pytest.approx([1, 1], abs=0.01)
    few = noise_relations(runs, {"proxy": times.iloc[7:]})
    assert few["correlation"].isna().all()
    assert (few["n_runs"] == 0).all()


def test_an_attribute_that_is_a_step_is_not_taken_for_the_time():
    settings = [{"learning_rate": 0.1 * (n + 1), "batch_size": 8, "warmup_step": 10 - n} for n in range(8)]
    runs = logs(settings, np.linspace(0.05, 0.01, 8))
    times = loss_proxy(runs, ["warmup_step"], metric="loss")
    times["proxy_step"] = np.arange(8)
    found = noise_relations(runs, {"proxy": times})
    assert found["correlation"].tolist() == pytest.approx([1, 1], abs=0.01)


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


def test_few_spikes_say_little_however_alike_they_are():
    one = (
        placebo_relation([spike("a", 2.0)], [spike(f"b{i}", 0.0) for i in range(5)]).set_index("verdict").loc["harmed"]
    )
    assert one["difference"] == 1.0
    assert one["ci_low"] < 0.2
    none = placebo_relation([spike("a", 0.0)] * 3, [spike("b", 0.0)] * 3).set_index("verdict").loc["helped"]
    assert none["ci_low"] < -0.4
    assert none["ci_high"] > 0.4
    # What is not known is in no share.
    unknown = placebo_relation([spike("a", 2.0), spike("a", np.nan)], [spike("b", 0.0)]).set_index("verdict")
    assert (unknown.loc["harmed", "n_spikes"], unknown.loc["harmed", "share"]) == (1, 1.0)


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("what", ["spikes", "placebos"])
def test_twice_as_many_runs_take_twice_as_many_looks(what):
    looks = []
    for n_runs in (40, 80):
        runs = logs([{"seed": n} for n in range(n_runs)], np.ones(n_runs))
        spikes = [replace(spike("", 1.0), run=Counted(run)) for run in runs.runs for _ in range(2)]
        Counted.compared = 0
        if what == "spikes":
            spike_relations(runs, spikes, "loss")
        else:
            placebo_relation(spikes, spikes)
        looks.append(Counted.compared)
    assert looks[1] < 2.6 * looks[0]


def test_shares_are_those_of_a_count_by_hand():
    rng = np.random.default_rng(8)
    spikes, others = (
        [
            replace(spike(f"r{run}", value), metric=metric, censored=censored)
            for run, value, metric, censored in zip(
                rng.integers(6, size=60), rng.choice([-2.0, 0.0, 2.0], 60), rng.choice(["a", "b"], 60),
                rng.random(60) < 0.2, strict=True,
            )
        ]
        for _ in range(2)
    )  # fmt: skip
    found = placebo_relation(spikes, others).set_index(["metric", "verdict"])
    assert set(found.index) == {(metric, verdict) for metric in "ab" for verdict in ("helped", "harmed")}
    for (metric, verdict), row in found.iterrows():
        for some, name in ((spikes, "share"), (others, "placebo_share")):
            ended = [one.verdict == verdict for one in some if one.metric == metric and not one.censored]
            assert row[name] == pytest.approx(np.mean(ended))
        assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_net_effects_are_set_against_ends_run_by_run_and_metric_by_metric():
    ends = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    runs = logs([{"seed": n} for n in range(6)], ends)
    spikes = [replace(spike(f"r{n:02d}", value), metric="b") for n, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]
    spikes += [spike(f"r{n:02d}", -ends[n] + part) for n in (5, 1, 0, 2, 4, 3) for part in (-1.0, 1.0, np.nan)]
    found = spike_relations(runs, spikes, "loss").set_index(["metric", "quantity"])
    assert found.loc[("b", "net effect"), "correlation"] == pytest.approx(spearmanr(np.arange(6), ends).statistic)
    assert found.loc[("loss", "net effect"), "correlation"] == pytest.approx(-1, abs=0.01)
    assert found["n_runs"].tolist() == [6] * 4
    assert found.loc[("loss", "spikes"), "correlation"] != found.loc[("loss", "net effect"), "correlation"]


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
    long = pd.DataFrame({"run": "r00", "step": np.arange(120), "loss": np.tile([np.inf, -np.inf], 60)})
    lost = RunSet.from_frame(pd.concat([long.assign(run=f"r{n:02d}") for n in range(6)], ignore_index=True))
    assert (spike_relations(lost, [spike("r00", 1.0)], "loss")["n_runs"] == 0).all()
    flat = spike_relations(runs, [spike("r00", 1.0)], "loss")
    assert flat["correlation"].isna().all()
