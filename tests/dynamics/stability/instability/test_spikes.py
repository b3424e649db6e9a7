"""Spikes that were planted are found, measured and judged; noise is left alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.instability.neteffect import FEWEST, net_effect
from trajhmm.dynamics.stability.instability.spikes import SPIKE_COLUMNS, find_spikes, placebos, spike_table
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet

ROWS, EVERY = 700, 5


def noise(rng, n_rows, phi=0.0, heavy=False):
    """Autocorrelated noise of variance 1."""
    drawn = rng.standard_t(4, n_rows + 60) / np.sqrt(2) if heavy else rng.standard_normal(n_rows + 60)
    for row in range(1, len(drawn)):
        drawn[row] = phi * drawn[row - 1] + np.sqrt(1 - phi**2) * drawn[row]
    return drawn[60:]


def falling(n_rows=ROWS):
    return 2.0 / np.sqrt(1 + np.arange(n_rows) / 40) + 0.2


def logs(curves, metric="train_loss", every=EVERY):
    return RunSet.from_frame(
        pd.concat(
            [
                pd.DataFrame({"run": f"r{n:03d}", "step": every * np.arange(len(curve)), metric: curve})
                for n, curve in enumerate(curves)
            ],
            ignore_index=True,
        )
    )


def planted(rng, net, *, start=400, rows=6, height=2.0, fades=False, phi=0.0, heavy=False, trend=None):
    """A loss with one spike and what it leaves behind; and its true net effect in the middle of the rows after it."""
    at = np.arange(ROWS) - start
    level = falling() if trend is None else trend
    shape = np.exp(-at / rows) if fades else (at < rows)
    extra = np.where(at >= 0, np.log(height) * shape + np.log1p(net) * (at >= rows), 0.0)
    back = rows * (np.log(np.log(height) / 0.15) if fades else 1.0)
    middle = int(start + 2 * back + 25)
    return level * np.exp(extra + 0.05 * noise(rng, ROWS, phi, heavy)), level[middle] * net


KINDS = [
    {"phi": 0.0},
    {"phi": 0.6},
    {"phi": 0.5, "heavy": True, "height": 3.0},
    {"phi": 0.3, "fades": True, "height": 4.0},
    {"phi": 0.3, "start": 160, "height": 5.0},
]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("net", [-0.08, 0.0, 0.08])
@pytest.mark.once
def test_intervals_hold_the_planted_net_effect(net):
    rng = np.random.default_rng(7)
    made = [planted(rng, net, **KINDS[n % len(KINDS)]) for n in range(200)]
    starts = [EVERY * KINDS[n % len(KINDS)].get("start", 400) for n in range(200)]
    found = {(spike.run, spike.start): spike for spike in find_spikes(logs([curve for curve, _ in made]))}
    keys = [(f"r{n:03d}", start) for n, start in enumerate(starts)]
    hit = [(found[key], truth) for key, (_, truth) in zip(keys, made, strict=True) if key in found]
    assert len(hit) >= 180
    held = np.mean([one.effect.ci_low <= truth <= one.effect.ci_high for one, truth in hit])
    assert 0.9 <= held <= 0.99
    verdicts = [one.verdict for one, _ in hit]
    if net == 0.0:
        assert verdicts.count("neutral") >= 0.9 * len(hit)
    else:
        right, wrong = ("helped", "harmed") if net < 0 else ("harmed", "helped")
        assert verdicts.count(wrong) <= 0.02 * len(hit)
        assert verdicts.count(right) >= 0.1 * len(hit)


def test_placebos_tell_a_loss_that_fell_anyway_from_one_that_a_spike_let_fall():
    rng = np.random.default_rng(13)
    falls = np.exp(-0.3 * (np.arange(ROWS) >= 400))
    everyone = [planted(rng, 0.0, height=2.5, trend=falls)[0] for _ in range(6)]
    everyone += [falls * np.exp(0.05 * noise(rng, ROWS)) for _ in range(10)]
    only = [planted(rng, -0.12, height=2.5, trend=np.ones(ROWS))[0] for _ in range(6)]
    only += [np.exp(0.05 * noise(rng, ROWS)) for _ in range(10)]
    for curves, fell in ((everyone, True), (only, False)):
        spikes = [spike for spike in find_spikes(logs(curves)) if spike.start == 400 * EVERY]
        others = placebos(logs(curves), spikes, each=3)
        assert len(spikes) == 6
        assert len(others) == 18
        assert {one.run for one in others} <= {f"r{n:03d}" for n in range(6, 16)}
        assert np.mean([one.verdict == "helped" for one in spikes]) >= 0.6
        share = np.mean([one.verdict == "helped" for one in others])
        assert share >= 0.9 if fell else share <= 0.12


def test_placebos_are_of_the_same_group_and_none_of_a_spike_that_never_ended():
    rng = np.random.default_rng(14)
    curves = [planted(rng, 0.0)[0], np.exp(0.05 * noise(rng, ROWS)), np.exp(0.05 * noise(rng, ROWS))]
    frame = logs(curves).frame()
    runs = RunSet.from_frame(frame.assign(arm=np.where(frame["run"] == "r001", "other", "same")))
    spikes = find_spikes(runs)
    assert {one.run for one in placebos(runs, spikes, ["arm"])} == {"r002"}
    assert {one.run for one in placebos(runs, spikes)} == {"r001", "r002"}
    assert placebos(runs, [replace(spikes[0], censored=True)]) == ()


def test_clear_effects_get_clear_verdicts():
    rng = np.random.default_rng(3)
    calm = np.full(ROWS, 1.0)
    for net, verdict in ((-0.12, "helped"), (0.1, "harmed")):
        curves = [planted(rng, net, trend=calm)[0] for _ in range(20)]
        verdicts = [spike.verdict for spike in find_spikes(logs(curves)) if spike.start == 400 * EVERY]
        assert verdicts.count(verdict) >= 16


def test_recovery_takes_as_long_as_it_was_made_to():
    rng = np.random.default_rng(0)
    lengths = [1, 3, 8, 20]
    curves = [planted(rng, 0.0, rows=lengths[n % 4], height=3.0)[0] for n in range(40)]
    table = spike_table(find_spikes(logs(curves)))
    table = table[table["start"] == 400 * EVERY]
    assert len(table) == 40
    assert table.columns.tolist() == ["run", *SPIKE_COLUMNS]
    right = table["recovery_steps"].to_numpy() == np.tile(lengths, 10) * EVERY
    # One of five rows beyond three spreads now and then makes it a row longer.
    assert right.mean() >= 0.8
    assert not table["censored"].any()
    assert ((table["peak"] >= table["start"]) & (table["peak"] < table["start"] + table["recovery_steps"])).all()
    # One that fades is back where what is left of it is three spreads.
    fading = [planted(rng, 0.0, rows=10, height=4.0, fades=True)[0] for _ in range(40)]
    found = [spike.recovery_steps / EVERY for spike in find_spikes(logs(fading)) if spike.start == 400 * EVERY]
    assert np.median(found) == pytest.approx(10 * np.log(np.log(4) / 0.15), abs=5)


def test_a_loss_that_stays_up_has_not_recovered():
    rng = np.random.default_rng(1)
    curve = falling() * np.exp(0.05 * noise(rng, ROWS) + np.where(np.arange(ROWS) >= 500, 1.0, 0.0))
    (spike,) = find_spikes(logs([curve]))
    assert (spike.start, spike.censored, spike.verdict) == (500 * EVERY, True, "never recovered")
    assert spike.recovery_steps == (ROWS - 1 - 500) * EVERY
    assert np.isnan(spike.effect.value)


def test_a_loss_that_is_infinite_for_a_while_is_a_spike_whatever_the_noise():
    curve = 1.0 + 0.05 * noise(np.random.default_rng(2), ROWS)
    curve[300:304] = np.inf
    (spike,) = find_spikes(logs([curve]))
    assert (spike.start, spike.peak, spike.recovery_steps) == (300 * EVERY, 300 * EVERY, 4 * EVERY)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
@pytest.mark.parametrize("until", [5, 19, 30])
def test_rows_lost_at_the_start_are_not_what_later_ones_are_judged_by(lost, until):
    curve = 1.0 + 0.05 * noise(np.random.default_rng(2), ROWS)
    curve[60:64] = np.inf
    whole = find_spikes(logs([curve[until:]]))
    curve[:until] = lost
    for score in ("robust", "olmo"):
        found = find_spikes(logs([curve]), score=score)
        assert [(one.start, one.recovery_steps) for one in found] == [(60 * EVERY, 4 * EVERY)]
    (first,) = whole
    assert (first.start, first.recovery_steps) == ((60 - until) * EVERY, 4 * EVERY)


@pytest.mark.parametrize("rows", [1, 5, 57, 60, 64, 65, 186, 190, 400])
def test_a_recovery_is_found_however_long_it_takes(rows):
    curve = 1.0 + 0.02 * noise(np.random.default_rng(9), ROWS)
    curve[120 : 120 + rows] += 2.0
    curve[[120 + rows + 4, -1]] += 2.0 * (rows > 5)  # four rows in a row are too few, and the end is no recovery
    (spike, *_) = find_spikes(logs([curve]))
    assert (spike.start, spike.censored) == (120 * EVERY, False)
    assert spike.recovery_steps == (rows + 5 * (rows > 5)) * EVERY
    (lasting,) = find_spikes(logs([curve[: 120 + rows]]))
    assert lasting.censored


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)


def test_twice_as_many_runs_take_twice_as_many_looks_for_placebos():
    rng = np.random.default_rng(18)
    curves = [planted(rng, 0.0, start=150 + 5 * n, height=3.0, trend=np.ones(ROWS))[0] for n in range(80)]
    looks = []
    for n_runs in (40, 80):
        runs = logs(curves[:n_runs])
        spikes = [replace(one, run=Counted(one.run)) for one in find_spikes(runs)]
        Counted.compared = 0
        assert len(placebos(runs, spikes, each=1)) >= n_runs
        looks.append(Counted.compared)
    assert looks[1] < 2.6 * looks[0]


def test_where_hardly_any_run_was_quiet_no_more_are_looked_at_than_so_many(monkeypatch):
    rng = np.random.default_rng(19)
    runs = logs([planted(rng, 0.0)[0] for _ in range(20)] + [np.exp(0.05 * noise(rng, ROWS))])
    spikes = [one for one in find_spikes(runs) if one.start == 400 * EVERY]
    assert {one.run for one in placebos(runs, spikes)} == {"r020"}
    assert len(placebos(runs, spikes)) == len(spikes)
    monkeypatch.setattr("trajhmm.dynamics.stability.instability.spikes.TRIES", 5)
    assert len(placebos(runs, spikes)) < len(spikes)


def test_placebos_are_the_same_steps_of_a_run_that_was_quiet_from_there_to_as_long_after():
    rng = np.random.default_rng(20)
    curves = [np.exp(0.05 * noise(rng, ROWS)) for _ in range(4)]
    curves[0][400:410] *= 3.0
    curves[1][:300] *= np.where(np.arange(300) == 290, 3.0, 1.0)  # before, and over
    curves[2][419] *= 3.0  # in the ten rows after
    curves[3][425] = np.nan  # what is left behind is told from the rows up to here
    runs = logs(curves)
    spike = next(one for one in find_spikes(runs) if (one.run, one.start) == ("r000", 400 * EVERY))
    found = {one.run: one for one in placebos(runs, find_spikes(runs)) if one.start == spike.start}
    assert found.keys() == {"r001", "r003"}
    calm = np.delete(np.arange(ROWS), np.flatnonzero(curves[1] > 2.0))
    before, after = calm[calm < 400][-100:], calm[calm >= 420][:50]
    told = [((EVERY * rows + 1.0), curves[1][rows]) for rows in (before, after)]
    assert found["r001"].effect.value == net_effect(*told, rng, logs=True).value
    assert np.isfinite(found["r003"].effect.value)


@pytest.mark.parametrize(
    ("kind", "most"), [("white", 0.05), ("autocorrelated", 0.15), ("walk", 0.3), ("smooth", 0.05), ("heavy", 1.2)]
)
def test_noise_without_spikes_is_left_alone(kind, most):
    rng = np.random.default_rng(4)
    curves = []
    for _ in range(15):
        drawn = {
            "white": 0.1 * noise(rng, ROWS),
            "autocorrelated": 0.1 * noise(rng, ROWS, 0.95),
            "walk": 0.01 * np.cumsum(noise(rng, ROWS)),
            "smooth": 1e-4 * noise(rng, ROWS),
            "heavy": 0.05 * rng.standard_t(3, ROWS),
        }[kind]
        curves.append(falling() * np.exp(drawn))
    assert len(find_spikes(logs(curves))) / (15 * ROWS / 1000) <= most


def test_the_robust_score_finds_small_spikes_that_olmos_does_not():
    rng = np.random.default_rng(5)
    curves = [planted(rng, 0.0, height=1.8)[0] for _ in range(20)]
    runs = logs(curves)
    robust, olmo = (
        {spike.run for spike in find_spikes(runs, score=score) if spike.start == 400 * EVERY}
        for score in ("robust", "olmo")
    )
    assert len(robust) >= 18
    assert len(olmo) <= 10


def test_a_spike_close_behind_another_is_its_own_and_not_hidden_by_it():
    curve = 1.0 + 0.02 * noise(np.random.default_rng(9), ROWS)
    curve[300:340] += 2.0
    curve[350:353] += 1.0
    found = find_spikes(logs([curve]))
    assert [(spike.start, spike.recovery_steps) for spike in found] == [
        (300 * EVERY, 40 * EVERY),
        (350 * EVERY, 3 * EVERY),
    ]


def test_a_long_spike_is_no_part_of_what_the_next_is_judged_by():
    curve = 1.0 + 0.02 * noise(np.random.default_rng(16), ROWS)
    curve[290:350] += 2.0
    curve[360:363] += 1.0
    found = find_spikes(logs([curve]))
    assert [(spike.start, spike.recovery_steps) for spike in found] == [
        (290 * EVERY, 60 * EVERY),
        (360 * EVERY, 3 * EVERY),
    ]
    for spike in found:
        assert spike.effect.value == pytest.approx(0.0, abs=0.02)
        assert spike.effect.ci_high - spike.effect.ci_low < 0.08


def test_what_is_left_of_a_spike_that_fades_is_not_its_net_effect():
    rng = np.random.default_rng(17)
    curves = [planted(rng, 0.0, rows=25, height=8.0, fades=True, trend=np.ones(ROWS))[0] for _ in range(20)]
    effects = [spike.effect.value for spike in find_spikes(logs(curves)) if spike.start == 400 * EVERY]
    assert len(effects) == 20
    assert np.mean(effects) == pytest.approx(0.0, abs=0.025)


def test_losses_below_0_have_spikes_too():
    curve = -5.0 + 0.05 * noise(np.random.default_rng(10), ROWS)
    curve[400:406] += 2.0
    curve[406:] -= 0.12
    (spike,) = find_spikes(logs([curve]))
    assert spike.start == 400 * EVERY
    assert spike.effect.value == pytest.approx(-0.12, abs=0.06)


def test_a_net_effect_needs_rows_on_both_sides():
    rng = np.random.default_rng(0)
    few = np.arange(1.0, FEWEST), np.ones(FEWEST - 1)
    many = np.arange(1.0, 100.0), 1 + rng.random(99)
    assert np.isnan(net_effect(few, many, rng, logs=True).value)
    assert np.isnan(net_effect(many, few, rng, logs=True).ci_low)
    flat = net_effect((many[0], np.ones(99)), (many[0] + 100, np.full(99, 2.0)), rng, logs=False)
    assert (flat.value, flat.ci_low, flat.ci_high) == (1.0, 1.0, 1.0)


def test_net_effects_are_in_the_unit_of_the_loss():
    rng = np.random.default_rng(15)
    at, values = np.arange(1.0, 161.0), np.exp(0.05 * noise(rng, 160))
    values[100:] *= 1.2

    def effect(unit):
        before, after = (at[:100], unit * values[:100]), (at[110:], unit * values[110:])
        return net_effect(before, after, np.random.default_rng(0), logs=True)

    one, thousand = effect(1.0), effect(1000.0)
    assert one.value == pytest.approx(0.2, abs=0.05)
    assert [thousand.ci_low, thousand.value, thousand.ci_high] == pytest.approx(
        [1000 * bound for bound in (one.ci_low, one.value, one.ci_high)]
    )


def test_net_effects_of_any_size_are_those_of_its_unit():
    rng = np.random.default_rng(21)
    at, values = np.arange(1.0, 161.0), rng.standard_normal(160)
    values[100:] -= 3.0

    def effect(unit):
        before, after = (at[:100], unit * values[:100]), (at[110:], unit * values[110:])
        found = net_effect(before, after, np.random.default_rng(0), logs=False)
        return np.array([found.ci_low, found.value, found.ci_high])

    assert effect(1.0)[2] < 0.0
    for power in (-1000, 3, 1015):
        np.testing.assert_array_equal(effect(2.0**power), 2.0**power * effect(1.0))
    ends = rng.choice([1e308, -1e308], 160)
    assert not np.isnan(net_effect((at[:100], ends[:100]), (at[110:], ends[110:]), rng, logs=False).value)


def test_the_same_seed_gives_the_same_intervals():
    runs = logs([planted(np.random.default_rng(11), 0.0)[0]])
    one, same, other = (find_spikes(runs, seed=seed)[0].effect for seed in (0, 0, 1))
    assert one == same
    assert one.value == other.value
    assert one.ci_low != other.ci_low


def test_what_is_no_loss_is_not_looked_at_unless_asked_for():
    runs = logs([planted(np.random.default_rng(12), 0.0)[0]], metric="wobble")
    with pytest.raises(AnalysisError, match="no metric is a loss by its name"):
        find_spikes(runs)
    with pytest.raises(AnalysisError, match="no metric 'other'"):
        find_spikes(runs, ["other"])
    assert find_spikes(runs, ["wobble"])[0].metric == "wobble"
