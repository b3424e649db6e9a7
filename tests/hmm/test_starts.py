"""Where restarts begin, and what a start rules out for good: transitions that are 0, by hand or from left to right."""

import json
from dataclasses import replace

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import FitError
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.shifts import possible
from trajhmm.hmm.learning.starts import consecutive_shares, in_time, shaken
from trajhmm.hmm.parameters import COVARIANCE_TYPES, Parameters, count_parameters
from trajhmm.logs import RunSet
from trajhmm.simulate import planted

from .made import random_parameters

CENTRES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


def mixture(seed, n):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(3, size=n)
    return CENTRES[drawn] + rng.normal(size=(n, 2)), drawn


def there_and_back(seed=0, *, runs=10, share=12):
    """Runs through states 0, 1, 2 that fall back to 1 for a while in the middle of 2."""
    rng = np.random.default_rng(seed)
    path = np.repeat([0, 1, 2, 1, 2], share)
    return np.concatenate([CENTRES[path] + rng.normal(size=(len(path), 2)) for _ in range(runs)]), np.full(
        runs, len(path)
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n", [30, 300, 20_000])
@pytest.mark.sampled(4)
def test_runs_of_one_row_are_a_mixture_that_every_restart_finds(covariance_type, n):
    """No run can be cut into shares: states that begin alike stay empty, or end as one state under three names."""
    values, drawn = mixture(0, n)
    for restarts in (1, 4):
        model = GaussianHMM(3, covariance_type=covariance_type, n_restarts=restarts, shrinkage=1.0)
        model.fit(values, np.ones(n, dtype=int))
        assert set(model.status_.outcomes) == {"converged"}
        found = model.predict(values, np.ones(n, dtype=int))
        table = np.bincount(3 * drawn + found, minlength=9).reshape(3, 3)
        assert table.max(axis=1).sum() > 0.99 * n
        assert sorted(table.argmax(axis=1)) == [0, 1, 2]


def test_runs_shorter_than_there_are_states_leave_no_state_without_a_start():
    values, _ = mixture(1, 60)
    model = GaussianHMM(3, n_restarts=1).fit(values, np.full(30, 2))
    assert model.status_.outcome == "converged"
    assert len(np.unique(np.round(model.means_, 6), axis=0)) == 3


def test_labels_are_put_in_order_of_time():
    offsets = np.array([0, 6, 10])
    labels = np.array([2, 2, 0, 0, 1, 1, 2, 0, 1, 1])
    np.testing.assert_array_equal(in_time(labels, offsets, 3), [0, 0, 1, 1, 2, 2, 0, 1, 2, 2])
    shares = consecutive_shares(offsets, 3)
    np.testing.assert_array_equal(in_time(shares, offsets, 3), shares)
    strayed = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1])  # the late label at the very first row
    np.testing.assert_array_equal(in_time(1 - strayed, offsets, 2), strayed)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("engine", ["native", "hmmlearn"])
def test_what_is_0_in_a_start_stays_0_in_every_restart(covariance_type, engine):
    values, lengths = there_and_back()
    start = random_parameters(np.random.default_rng(2), 3, 2, covariance_type, left_to_right=True)
    start = replace(start, startprob=np.array([0.5, 0.5, 0.0]), means=CENTRES + 1)
    model = GaussianHMM(3, covariance_type=covariance_type, start=start, engine=engine)
    for restarts in (1, 4):
        model.set_params(n_restarts=restarts).fit(values, lengths)
        np.testing.assert_array_equal(np.tril(model.transmat_, -1), 0)
        np.testing.assert_allclose(model.transmat_.sum(axis=1), 1)
        assert model.startprob_[2] == 0
        assert model.status_.outcomes == ("converged",) * restarts


def test_a_shaken_copy_keeps_zeros_only_if_asked():
    parameters = random_parameters(np.random.default_rng(0), 4, 2, "diag", left_to_right=True)
    kept, free = (shaken(parameters, np.random.default_rng(1), keep_zeros=keep) for keep in (True, False))
    np.testing.assert_array_equal(kept.transmat == 0, parameters.transmat == 0)
    np.testing.assert_allclose(kept.transmat.sum(axis=1), 1)
    assert (free.transmat > 0).all()
    assert not np.array_equal(kept.transmat, parameters.transmat)
    np.testing.assert_array_equal(kept.means, free.means)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.sampled(4)
def test_left_to_right_never_goes_back_whatever_the_restart(covariance_type, seed):
    values, lengths = there_and_back(seed)
    free = GaussianHMM(3, covariance_type=covariance_type).fit(values, lengths)
    assert free.transmat_[2, 1] > 0.01
    for restarts in (1, 2, 8):
        model = GaussianHMM(
            3, covariance_type=covariance_type, topology="left-right", n_restarts=restarts, random_state=seed
        ).fit(values, lengths)
        np.testing.assert_array_equal(np.tril(model.transmat_, -1), 0)
        np.testing.assert_allclose(model.transmat_.sum(axis=1), 1)
        assert (np.diff(model.predict(values, lengths).reshape(len(lengths), -1), axis=1) >= 0).all()
        for trace in model.status_.log_likelihoods:
            assert (np.diff(trace) >= 0).all()


def test_clusters_begin_in_order_of_time_so_that_left_to_right_finds_planted_states():
    rng = np.random.default_rng(3)
    path = np.repeat([0, 1, 2, 3], 15)
    centres = rng.normal(scale=6, size=(4, 3))
    values = np.concatenate([centres[path] + rng.normal(size=(60, 3)) for _ in range(8)])
    for seed in range(4):
        model = GaussianHMM(4, topology="left-right", n_restarts=4, random_state=seed).fit(values, np.full(8, 60))
        # Restart 0 cuts shares and finds them at once; so must each that clusters.
        assert model.status_.reached_best == 4
        np.testing.assert_array_equal(model.predict(values, np.full(8, 60)), np.tile(path, 8))


def test_left_to_right_may_begin_in_any_state_and_keeps_its_order():
    """Runs that begin late enter the last state before others have entered the middle one."""
    rng = np.random.default_rng(4)
    whole, late = np.repeat([0, 1, 2], 20), np.repeat([2], 20)
    paths = [*([whole] * 4), *([late] * 8)]
    values = np.concatenate([CENTRES[path] + rng.normal(size=(len(path), 2)) for path in paths])
    lengths = [len(path) for path in paths]
    model = GaussianHMM(3, topology="left-right").fit(values, lengths)
    np.testing.assert_array_equal(model.predict(values, lengths), np.concatenate(paths))
    np.testing.assert_allclose(model.startprob_, [1 / 3, 0, 2 / 3], atol=1e-3)
    np.testing.assert_array_equal(np.tril(model.transmat_, -1), 0)


def test_what_left_to_right_rules_out_is_no_parameter_and_no_start():
    assert count_parameters(4, 2, "diag") - count_parameters(4, 2, "diag", topology="left-right") == 6
    values, lengths = there_and_back()
    model = GaussianHMM(3, topology="left-right").fit(values, lengths)
    assert model.n_parameters == 2 + 3 + 12
    backwards = random_parameters(np.random.default_rng(0), 3, 2, "diag")
    with pytest.raises(FitError, match="transitions that topology left-right rules out"):
        GaussianHMM(3, topology="left-right", start=backwards).fit(values, lengths)
    with pytest.raises(FitError, match="topology 'ring': expected one of free, left-right"):
        GaussianHMM(3, topology="ring").fit(values, lengths)


@pytest.fixture(scope="module")
def logs():
    return planted(n_runs=8, n_rows=60, seed=3).logs


def test_a_map_from_left_to_right_says_so_in_its_file(logs, tmp_path):
    assert isinstance(logs, RunSet)
    model = th.fit(logs, states=range(2, 5), restarts=4, topology="left-right", halves=0)
    np.testing.assert_array_equal(np.tril(model.parameters.transmat, -1), 0)
    assert [point.n_parameters for point in model.curve] == [
        count_parameters(k, len(model.metrics), "diag", topology="left-right", own=1) for k in (2, 3, 4)
    ]
    model.save(tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["settings"]["topology"] == "left-right"
    loaded = th.load_model(tmp_path / "m.json")
    assert loaded.settings.topology == loaded.hmm.topology == "left-right"
    free = th.fit(logs, states=3, restarts=1, halves=0)
    assert free.settings.topology == "free"


def test_a_model_file_of_before_there_were_topologies_is_free(logs, tmp_path):
    from trajhmm.hmm.modelfile import _checksum

    th.fit(logs, states=2, restarts=1, halves=0).save(tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    del content["settings"]["topology"], content["sha256"]
    (tmp_path / "old.json").write_text(json.dumps({**content, "sha256": _checksum(content)}))
    assert th.load_model(tmp_path / "old.json").settings.topology == "free"


@pytest.mark.slow
def test_the_command_takes_a_topology_for_maps_alone(logs, tmp_path, trajhmm):
    th.write_logs(logs, tmp_path / "runs.parquet")
    line = ["fit", tmp_path / "runs.parquet", "-o", tmp_path / "m.json", "--states", "3", "--restarts", "2"]
    assert trajhmm(*line, "--topology", "left-right").code == 0
    np.testing.assert_array_equal(np.tril(th.load_model(tmp_path / "m.json").parameters.transmat, -1), 0)
    refused = trajhmm(*line, "--for", "warning", "--topology", "left-right")
    assert refused.code == 2
    assert "--topology" in refused.err


def test_where_none_leads_back_none_is_made_possible():
    """Refits, halves and shifts read runs that were not fitted: from left to right as well."""
    forth = np.triu(np.full((3, 3), 0.2)) + np.diag([0.4, 0.6, 0.8])
    parameters = Parameters(
        startprob=np.array([1.0, 0.0, 0.0]),
        transmat=forth / forth.sum(axis=1, keepdims=True),
        means=np.zeros((3, 1)),
        covars=np.ones((3, 1)),
        covariance_type="diag",
    )
    raised = possible(parameters, "left-right")
    assert not np.tril(raised.transmat, -1).any()
    assert (raised.startprob > 0).all()
    np.testing.assert_allclose(raised.transmat.sum(axis=1), 1)
    # Of a free one it is chance that no run went back.
    assert (possible(parameters).transmat > 0).all()
