"""The number of states that comes back in halves of the runs, and the certificate of a map."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import trajhmm as th
from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.certificate import AGREEMENT, RECOVERY, SEEDS, Certificate, Halves
from trajhmm.hmm.inference.matching import contingency, counterparts, jaccard
from trajhmm.hmm.learning import reproducible, selection
from trajhmm.hmm.learning.fitting import Data
from trajhmm.hmm.learning.reproducible import Halver
from trajhmm.hmm.learning.selection import select_states
from trajhmm.hmm.rows.parallel import Tally
from trajhmm.hmm.rows.source import InMemory
from trajhmm.logs import RunSet
from trajhmm.simulate import drift, planted

# Few starts and short climbs: the states stand far apart.
QUICK = {"restarts": 1, "iterations": 15, "halves": 2}
# Some metrics; with tied covariances a map that does not come back is not tried with scales as well.
FEW = ("weight_l2", "trace", "singular_var")


def three_states(seed, *, runs=12, rows=40, apart=5.0):
    """Rows of runs through three states one after the other, and (R,) lengths; runs shifted."""
    rng = np.random.default_rng(seed)
    path = np.concatenate([np.sort(rng.integers(3, size=rows)) for _ in range(runs)])
    values = apart * np.array([[0.0, 0], [1, 0], [0, 1]])[path] + rng.normal(size=(runs * rows, 2))
    return values + np.repeat(rng.normal(size=(runs, 2)), rows, axis=0), np.full(runs, rows), path


def settings(**changed):
    return GaussianHMM(shifts=True, search="wide", n_restarts=2, n_iter=30, **changed).settings


def select(values, lengths, *, n_splits=2, criterion="reproducible", states=range(1, 5), n_jobs=1, **changed):
    source = InMemory.of(values, np.concatenate(([0], np.cumsum(lengths))))
    return select_states(
        source, settings(**changed), states=states, criterion=criterion, n_splits=n_splits, n_jobs=n_jobs
    )


def noise(seed, *, runs=12, rows=30):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(runs * rows, 3)), np.full(runs, rows)


# --- how far partitions agree


def test_the_jaccard_index_is_that_of_the_best_assignment():
    rng = np.random.default_rng(0)
    for k in (1, 2, 4):
        for _ in range(10):
            one, other = rng.integers(k, size=(2, 30))
            other = np.where(rng.random(30) < 0.6, (one + 1) % k, other)
            index = np.array(
                [
                    [((one == i) & (other == j)).sum() / max(((one == i) | (other == j)).sum(), 1) for j in range(k)]
                    for i in range(k)
                ]
            )
            best = max(
                permutations(range(k)), key=lambda order, index=index: sum(index[i, j] for i, j in enumerate(order))
            )
            found = jaccard(contingency(one, other, k, k))
            assert found.sum() == pytest.approx(sum(index[i, j] for i, j in enumerate(best)), abs=1e-12)
            if sum(index[i, j] for i, j in enumerate(best)) == pytest.approx(k):
                np.testing.assert_allclose(found, 1)
    np.testing.assert_array_equal(contingency(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, 2), [[0, 2], [1, 0]])
    # A state that the other path never enters is found again nowhere.
    np.testing.assert_allclose(jaccard(np.array([[5.0, 0.0], [2.0, 0.0]])), [5 / 7, 0])


def test_a_state_stands_for_the_one_it_shares_most_rows_with_and_spare_ones_for_none():
    np.testing.assert_array_equal(counterparts(np.array([[0.0, 9, 1], [8, 0, 0]])), [1, 0, 2])
    np.testing.assert_array_equal(counterparts(np.array([[0.0, 9], [8, 0], [3, 1]])), [1, 0])
    # By share of the rows that either has, not by their number: state 0 is large and shares little of itself.
    np.testing.assert_array_equal(counterparts(np.array([[60.0, 40], [0, 41]])), [0, 1])


def test_a_map_is_reproducible_if_halves_every_state_and_seeds_agree():
    good = Halves(states=2, agreement=(0.9, 0.7), recovery=(0.6, 0.9), seeds=(0.95, 0.95))
    assert (good.mean, good.worst, good.agree) == (pytest.approx(0.8), 0.6, True)
    for worse in ({"agreement": (0.9, 0.69)}, {"recovery": (0.59, 0.9)}, {"seeds": (0.94, 0.95)}):
        assert not replace(good, **worse).agree
    assert replace(good, seeds=()).agree  # not tried
    assert (AGREEMENT, RECOVERY, SEEDS) == (0.8, 0.6, 0.95)
    known = Certificate(states=2, halves=(good, replace(good, states=3)))
    assert known.reproducible is True
    assert Certificate(states=5, halves=(good,)).reproducible is None
    assert Certificate(states=5, halves=(good,)).seeds == ()
    assert Certificate.from_dict(json.loads(json.dumps(known.to_dict()))) == known


def test_a_certificate_tells_of_more_states_that_gave_way_as_some_are_outlier_states():
    own = Halves(states=2, agreement=(1.0,), recovery=(1.0, 1.0), seeds=(1.0,))
    more = Halves(states=3, agreement=(0.9,), recovery=(0.9,) * 3, seeds=(1.0,), outliers=1)
    known = Certificate(states=2, halves=(own, more))
    assert known.given_way == more
    assert Certificate.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    # One that does not come back gave no way, nor did one without outlier states, nor the map itself.
    for other in (replace(more, agreement=(0.7,)), replace(more, outliers=0), replace(more, outliers=None)):
        assert replace(known, halves=(own, other)).given_way is None
    assert replace(known, states=3).given_way is None
    # A file of before tells none.
    stored = json.loads(json.dumps(known.to_dict()))
    for halves in stored["halves"]:
        del halves["outliers"]
    assert [halves.outliers for halves in Certificate.from_dict(stored).halves] == [None, None]
    assert Certificate.from_dict(stored).given_way is None
    # Nor did one give way to a map that does not come back.
    assert replace(known, halves=(replace(own, agreement=(0.5,)), more)).given_way is None


# --- the number of states


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (3, 4))])
@pytest.mark.once
def test_the_planted_number_of_states_comes_back(seed):
    values, lengths, path = three_states(seed)
    found = select(values, lengths)
    assert found.fit.parameters.n_states == 3
    assert found.certificate.reproducible is True
    model = GaussianHMM.from_parameters(found.fit.parameters, shifts=True, search="wide")
    assert adjusted_rand_score(path, model.predict(values, lengths)) > 0.95
    # More states were tried, and did not come back; one fewer was tried as well.
    agree = {halves.states: halves.agree for halves in found.certificate.halves}
    assert (sorted(agree), agree[3], agree[4]) == ([2, 3, 4], True, False)
    tried = {point.states: point.halves for point in found.curve}
    assert tried[1] is None
    assert tried[3] == found.certificate.at(3).mean


def states_with_tails(seed, *, runs=12, rows=120, share=0.05, spread=12.0):
    """Three states one after the other, and single rows that are far off, about where their state is."""
    rng = np.random.default_rng(seed)
    path = np.concatenate([np.sort(rng.integers(3, size=rows)) for _ in range(runs)])
    wide = np.where(rng.random(runs * rows) < share, spread, 1.0)
    values = 8 * np.array([[0.0, 0], [1, 0], [0, 1]])[path] + wide[:, None] * rng.normal(size=(runs * rows, 2))
    return values, np.full(runs, rows), path


@pytest.mark.once
def test_of_maps_with_as_many_other_states_that_with_the_fewest_outlier_states_is_taken():
    values, lengths, _path = states_with_tails(0)
    found = select(values, lengths, states=range(2, 6))
    tried = {one.states: one for one in found.certificate.halves}
    assert sorted(tried) == [3, 4, 5]
    assert [(tried[k].agree, tried[k].outliers) for k in (4, 5)] == [(True, 1), (True, 2)]
    # Tails are such that three states do not come back (two in one, and a state of the tails).
    assert not tried[3].agree
    assert (found.fit.parameters.n_states, found.certificate.given_way) == (4, tried[5])
    # Where no map with fewer was tried, that is the map.
    assert select(values, lengths, states=[2, 5]).fit.parameters.n_states == 5


@pytest.mark.once
def test_a_map_without_outlier_states_is_taken_if_it_comes_back_as_well():
    values, lengths, _path = states_with_tails(0, share=0.02, spread=6.0)
    found = select(values, lengths, states=range(2, 5))
    tried = {one.states: (one.agree, one.outliers) for one in found.certificate.halves}
    assert (tried[3], tried[4]) == ((True, 0), (True, 1))
    assert found.fit.parameters.n_states == 3


def test_outlier_states_are_looked_for_in_whole_runs(monkeypatch):
    """Rows that are left out between others would make every stay short; so runs are left out, by their numbers."""
    values, lengths, _ = states_with_tails(1, rows=60)

    class Pieces(InMemory):
        def map(self, function):
            return (function(self.chunk.runs(first, first + 4)) for first in range(0, 12, 4))

    source = Pieces.of(values, np.concatenate(([0], np.cumsum(lengths))))
    whole = Data(source=source, weights=np.ones(len(lengths)))
    halver = Halver.of(whole, settings(), n_splits=1, n_jobs=1, tally=Tally(None))
    fit = select(values, lengths, states=[4], n_splits=0).fit
    looked = []
    monkeypatch.setattr(reproducible, "outlier_states", lambda *given: looked.append(given) or {3})
    assert halver.outliers(fit) == 1
    monkeypatch.setattr(reproducible, "_WHOLE_ROWS", 5 * 60)
    halver.outliers(fit)
    monkeypatch.setattr(reproducible, "_WHOLE_ROWS", 60)
    halver.outliers(fit)
    (path, rows, k), (some, five, _), (_, four, _) = looked
    assert (len(path), rows.tolist(), k) == (12 * 60, [60] * 12, 4)
    assert (len(five), len(four)) == (5, 4)  # no fewer than can be halved
    paths = [tuple(one) for one in path.reshape(12, 60).tolist()]
    numbers = [paths.index(tuple(one)) for one in some.reshape(5, 60).tolist()]
    assert numbers == sorted(set(numbers))
    assert len(set(np.diff(numbers))) > 1  # drawn: runs may stand in an order that repeats


@pytest.mark.slow
def test_pure_noise_has_no_reproducible_map_and_says_so():
    values, lengths = noise(0)
    found = select(values, lengths)
    assert found.certificate.reproducible is False
    means = {halves.states: halves.mean for halves in found.certificate.halves}
    assert sorted(means) == [2, 3, 4]
    assert found.fit.parameters.n_states == found.certificate.states == max(means, key=lambda k: (means[k], -k))


@pytest.mark.slow
def test_noise_ends_without_error_through_the_command(tmp_path, trajhmm):
    import pandas as pd

    values, lengths = noise(1, runs=8, rows=20)
    frame = pd.DataFrame(values, columns=list("abc"))
    frame.insert(0, "step", np.tile(np.arange(20), 8))
    frame.insert(0, "run", np.repeat([f"r{number}" for number in range(8)], lengths))
    frame.to_parquet(tmp_path / "noise.parquet")
    done = trajhmm(
        "fit",
        tmp_path / "noise.parquet",
        "-o",
        tmp_path / "m.json",
        "--states",
        "2:3",
        "--covariance",
        "tied",
        "--restarts",
        "1",
        "--halves",
        "2",
    )
    assert done.code == 0
    assert "no reproducible map" in (done.out + done.err).lower()
    model = th.load_model(tmp_path / "m.json")
    assert model.certificate.reproducible is False
    assert model.n_states >= 2


def test_splits_do_not_depend_on_the_seed_and_each_half_has_half_of_the_runs(monkeypatch):
    values, lengths, _ = three_states(0, runs=7)
    source = InMemory.of(values, np.concatenate(([0], np.cumsum(lengths))))
    whole = Data(source=source, weights=np.ones(7))
    one, other = (
        Halver.of(whole, settings(random_state=seed), n_splits=3, n_jobs=1, tally=Tally(None)) for seed in (0, 1)
    )
    np.testing.assert_array_equal(one.splits, other.splits)
    np.testing.assert_array_equal(one.splits.sum(axis=1), [3, 3, 3])
    assert len({tuple(split) for split in one.splits.tolist()}) == 3
    for split, (first, last) in zip(one.splits, one.data, strict=True):
        np.testing.assert_array_equal(first.weights, split)
        np.testing.assert_array_equal(first.weights + last.weights, 1)
    # The halves of a split begin from seeds of their own, the same whatever the seed of the fit.
    asked = []
    monkeypatch.setattr(reproducible, "run_jobs", lambda jobs, **_: asked.append(jobs) or [[] for _ in jobs])
    for halver in (one, other):
        halver._fits(3, [0])
        halver._fits(3, [0])  # made once, so that comparing another map with them costs no fit
    seeds = [[job.settings.random_state for job in jobs] for jobs in asked]
    assert len(seeds) == 2
    assert seeds[0] == seeds[1]
    assert seeds[0][0] != seeds[0][1]


@pytest.mark.once
def test_the_result_does_not_depend_on_threads():
    values, lengths, _ = three_states(1)
    one, other = (select(values, lengths, states=[2, 3], n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.fit.parameters.means, other.fit.parameters.means)
    assert one.certificate == other.certificate
    assert one.curve == other.curve


@pytest.mark.slow
def test_another_criterion_chooses_and_the_certificate_is_of_its_choice():
    values, lengths, _ = three_states(2)
    found = select(values, lengths, states=[2, 4], criterion="bic")
    assert found.certificate.states == found.fit.parameters.n_states == 4
    assert [halves.states for halves in found.certificate.halves] == [4]
    assert found.certificate.reproducible is False
    assert select(values, lengths, states=[2, 3], n_splits=0).certificate is None


def test_fewer_than_four_runs_cannot_be_halved_and_bic_chooses():
    values, lengths, _ = three_states(3, runs=3, rows=60)
    found, by_bic = (select(values, lengths, states=[1, 2, 3], criterion=c) for c in ("reproducible", "bic"))
    assert found.certificate is None
    assert found.fit.parameters.n_states == by_bic.fit.parameters.n_states


@pytest.mark.once
def test_where_no_half_can_be_fitted_bic_chooses_and_nothing_is_known(monkeypatch):
    monkeypatch.setattr(Halver, "halves", lambda *_: None)
    values, lengths, _ = three_states(4)
    found, by_bic = (select(values, lengths, states=[2, 3, 5], criterion=c) for c in ("reproducible", "bic"))
    assert found.fit.parameters.n_states == by_bic.fit.parameters.n_states
    assert found.certificate.reproducible is None


@pytest.mark.once
def test_a_likelier_fit_of_another_seed_takes_the_place_of_the_first_everywhere(monkeypatch):
    values, lengths, _ = three_states(0)
    fitted = selection.Job.choose

    def poor(self, restarts):
        """Of all runs, from the seed that was asked for, a fit far from the best."""
        fit = fitted(self, restarts)
        if self.settings.random_state or not self.data.weights.all():
            return fit
        status = replace(
            fit.status, log_likelihoods=tuple((*t[:-1], t[-1] - 400.0) for t in fit.status.log_likelihoods)
        )
        moved = replace(fit.parameters, means=fit.parameters.means[[0, 1, 1]])
        return replace(
            fit, parameters=moved, log_likelihood=fit.log_likelihood - 400.0, joint=fit.joint - 400.0, status=status
        )

    monkeypatch.setattr(selection.Job, "choose", poor)
    found = select(values, lengths, states=[3])
    (point,) = found.curve
    assert point.log_likelihood == found.fit.log_likelihood
    assert found.fit.log_likelihood == found.fit.objective
    assert point.bic == pytest.approx(
        point.n_parameters * np.log(len(values)) - 2 * found.fit.log_likelihood, rel=1e-12
    )
    # What is found again in halves is this map's states, not those of the one it replaced: that is one more seed.
    assert found.certificate.at(3).worst > 0.9
    assert found.certificate.seeds[0] < 0.8 < min(found.certificate.seeds[1:])


@pytest.mark.parametrize("failing", [1, 4])
def test_seeds_that_give_no_map_do_not_agree(failing, monkeypatch):
    """A seed of which all starts degenerate counts as 0; left out, those that fail would vouch for the map."""
    values, lengths, _ = three_states(0)
    fitted, failed = selection.Job.choose, []

    def degenerate(self, restarts):
        if self.settings.random_state and self.data.weights.all() and len(failed) < failing:
            failed.append(self)
            raise FitError("all restarts degenerated")
        return fitted(self, restarts)

    monkeypatch.setattr(selection.Job, "choose", degenerate)
    certificate = select(values, lengths, states=[3]).certificate
    assert len(failed) == failing
    assert sorted(certificate.seeds) == pytest.approx([0.0] * failing + [1.0] * (4 - failing), abs=0.05)
    assert certificate.at(3).halves_agree
    assert not certificate.at(3).agree


# --- logs


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("runs", "rows"), [(3, 40), (4, 3), (6, 2), (4, 40)])
def test_few_runs_and_short_runs_end_in_a_map_or_a_reason(runs, rows):
    logs = planted(n_runs=runs, n_rows=40, seed=1).logs.frame().groupby("run").head(rows)
    model = th.fit(th.RunSet.from_frame(logs), metrics=FEW, states=[1, 2], covariance="tied", **QUICK)
    assert model.parameters.is_finite
    assert (model.certificate is None) == (runs < 4)


def test_runs_of_one_row_have_nothing_to_fit():
    logs = planted(n_runs=6, n_rows=40, seed=1).logs.frame().groupby("run").head(1)
    with pytest.raises(th.TrajHMMError, match="changes within a run"):
        th.fit(th.RunSet.from_frame(logs), states=2)


@pytest.mark.once
def test_a_smooth_road_ends_in_a_map_with_its_verdict():
    model = th.fit(drift(n_runs=8, n_rows=50, n_metrics=4, seed=2).logs, states=[2, 3], **QUICK)
    assert model.certificate.reproducible in (True, False)
    assert model.n_states == model.certificate.states >= 2


@pytest.mark.once
def test_one_seed_gives_one_file_and_the_certificate_is_in_it(tmp_path):
    logs = planted(n_runs=8, n_rows=50, seed=5).logs
    for name, jobs in (("a", 1), ("b", 2)):
        th.fit(logs, metrics=FEW, states=2, covariance="tied", jobs=jobs, **QUICK).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for seed in (0, 1):
        assert th.fit(logs, metrics=FEW, states=2, seed=seed, restarts=1, iterations=2, halves=0).seed == seed
    model = th.load_model(tmp_path / "a")
    assert model.scaling == "mixed"
    assert model.certificate.at(model.n_states).seeds
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "a").read_bytes()
    np.testing.assert_array_equal(model.decode(logs).path, th.load_model(tmp_path / "b").decode(logs).path)


def test_states_and_shifts_of_planted_runs_are_recovered():
    common = {"n_runs": 24, "n_rows": 100, "layout": "spread", "seed": 3}
    simulated = planted(offset_sd=1 / 3, **common)
    model = th.fit(simulated.logs, states=simulated.n_states, restarts=3, halves=0)
    assert adjusted_rand_score(simulated.states, model.decode(simulated.logs).path) >= 0.95
    scaled = model.scaled(simulated.logs)
    inferred = (scaled.values - model.unshifted(scaled).values)[scaled.offsets[:-1]]
    # The same logs without offsets: what is between them is each run's offset, the same in all of its rows.
    without = planted(offset_sd=0.0, **common).logs
    true = np.column_stack([simulated.logs.column(m) - without.column(m) for m in model.metrics])[scaled.offsets[:-1]]
    for metric in range(len(model.metrics)):
        assert np.corrcoef(inferred[:, metric], true[:, metric])[0, 1] > 0.97
    tau = np.sqrt(model.parameters.shift_variance) * model.scaler.spread
    np.testing.assert_allclose(tau, true.std(axis=0), rtol=0.2)


@pytest.mark.once
def test_a_fit_with_scales_that_fails_leaves_the_map_without(monkeypatch):
    from trajhmm.hmm import fitmap

    plain = fitmap.select_states

    def fails_with_scales(source, settings_, **choice):
        if settings_.scales:
            raise FitError("every restart degenerated")
        return plain(source, settings_, **choice)

    monkeypatch.setattr(fitmap, "select_states", fails_with_scales)
    model = th.fit(
        planted(n_runs=6, n_rows=30, seed=0).logs,
        metrics=["trace", "weight_l2"],
        states=[2],
        covariance="spherical",
        **QUICK,
    )
    assert model.settings.scales is False


def test_where_nothing_comes_back_or_can_be_halved_there_are_two_states_at_least():
    """Three runs of noise, of which BIC would make one state."""
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"run": f"r{r}", "step": range(60), "a": rng.normal(size=60)}) for r in range(3)]
    logs = RunSet.from_frame(pd.concat(frames))
    model = th.fit(logs, seed=0)
    assert (model.n_states, model.certificate) == (2, None)
    assert th.fit(logs, criterion="bic", seed=0).n_states == 1
