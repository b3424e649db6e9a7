"""The model: from logs to file and back."""

import json
import warnings

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import FitError, ModelFileError
from trajhmm.hmm.statesfile import states_table
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def logs():
    return planted(n_runs=12, n_rows=60, seed=3).logs


@pytest.fixture(scope="module")
def model(logs):
    return th.fit(logs, states=range(2, 4), restarts=2, seed=4, covariance="full", halves=1)


def test_a_model_file_round_trips_bit_for_bit(model, tmp_path, logs):
    model.save(tmp_path / "a.json")
    loaded = th.load_model(tmp_path / "a.json")
    loaded.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        np.testing.assert_array_equal(getattr(loaded.hmm, name), getattr(model.hmm, name))
    np.testing.assert_array_equal(loaded.decode(logs).path, model.decode(logs).path)
    assert loaded.curve == model.curve
    assert loaded.status == model.status


@pytest.mark.once
def test_one_seed_gives_one_file_whatever_the_threads_and_another_seed_another(tmp_path):
    logs = planted(n_runs=6, n_rows=30, seed=3).logs
    for name, seed, jobs in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        th.fit(logs, states=2, restarts=2, seed=seed, jobs=jobs, iterations=5, halves=1).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text())["status"] != json.loads((tmp_path / "c").read_text())["status"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "truncated or not JSON"),
        (lambda text: text.replace('"seed": 4', '"seed": 5'), "edited or damaged"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "newer than 1"),
        (lambda text: f"[{len(text)}]", "not a model file"),
        (lambda text: text[:0], "truncated or not JSON"),
    ],
)
def test_a_damaged_model_file_is_refused_with_the_reason(model, tmp_path, damage, says):
    model.save(tmp_path / "m.json")
    (tmp_path / "m.json").write_text(damage((tmp_path / "m.json").read_text()))
    with pytest.raises(ModelFileError, match=says):
        th.load_model(tmp_path / "m.json")


def test_white_space_in_a_model_file_does_not_matter(model, tmp_path):
    model.save(tmp_path / "m.json")
    (tmp_path / "m.json").write_text(json.dumps(json.loads((tmp_path / "m.json").read_text()), indent=2))
    np.testing.assert_array_equal(th.load_model(tmp_path / "m.json").hmm.means_, model.hmm.means_)


def test_logs_without_the_models_metrics_are_refused_by_name(model, logs):
    frame = logs.frame().drop(columns=["weight_l2"])
    with pytest.raises(ModelFileError, match="lack weight_l2"):
        model.decode(th.RunSet.from_frame(frame))


def test_order_of_columns_does_not_matter(model, logs):
    frame = logs.frame()
    shuffled = frame[["run", "step", *reversed(logs.metrics)]]
    np.testing.assert_array_equal(model.decode(th.RunSet.from_frame(shuffled)).probs, model.decode(logs).probs)


def test_fewer_runs_or_rows_than_states_say_how_many_are_needed(logs):
    with pytest.raises(FitError, match="13 states need at least 13 runs, found 12"):
        th.fit(logs, states=13)
    frame = logs.frame()
    short = th.RunSet.from_frame(frame[frame["step"] < 20].groupby("run").head(1).assign(step=0))
    with pytest.raises(th.TrajHMMError):
        th.fit(short, states=2)


def test_filtered_is_causal_in_the_scaled_values_and_smoothed_is_not(model, logs):
    sequences = model.sequences(logs)
    filtered, smoothed = model.filter(sequences), model.decode(sequences)
    np.testing.assert_allclose(filtered.probs.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(smoothed.probs.sum(axis=1), 1, rtol=1e-12)
    last = sequences.offsets[1:] - 1
    np.testing.assert_allclose(filtered.probs[last], smoothed.probs[last], atol=1e-12)
    assert np.abs(filtered.probs - smoothed.probs).max() > 0.1


def test_states_table_holds_the_state_and_its_probability(model, logs):
    for decoded in (model.decode(logs), model.filter(logs)):
        table = states_table(decoded).to_pandas()
        assert list(table.columns) == ["run", "step", "state", "probability", "p_0", "p_1", "p_2"][: 4 + model.n_states]
        picked = table[[f"p_{k}" for k in range(model.n_states)]].to_numpy()[np.arange(len(table)), table["state"]]
        np.testing.assert_array_equal(picked, table["probability"])
    assert (model.filter(logs).probs.argmax(axis=1) == table["state"]).all()


@pytest.mark.parametrize("halves", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_pythia_fits_at_every_number_of_states_without_nan_or_warning(public_data, halves):
    runs = th.read_logs(public_data("pythia_160m"), run_by="seed")
    with warnings.catch_warnings(), np.errstate(divide="raise", over="raise", invalid="raise"):
        warnings.simplefilter("error")
        model = th.fit(runs, states=range(1, 11), covariance="diag", restarts=3, iterations=60, halves=halves)
    assert [point.outcome == "degenerate" for point in model.curve] == [False] * 10
    for point in model.curve:
        assert np.isfinite(point.log_likelihood)
    for trace in model.status.log_likelihoods:
        assert (np.diff(trace) >= 0).all()
    assert np.isfinite(model.hmm.means_).all()


@pytest.mark.once
def test_hmmlearn_engine_agrees_on_real_logs(public_data):
    runs = th.read_logs(public_data("pythia_160m"), run_by="seed")
    same = {"states": 8, "restarts": 2, "iterations": 32, "scaling": "per-run", "halves": 0}  # hmmlearn knows no shifts
    fits = [th.fit(runs, engine=engine, **same) for engine in ("native", "hmmlearn")]
    for ours, theirs in zip(*(fit.status.log_likelihoods for fit in fits), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_the_estimator_of_a_model_that_was_loaded_is_one_of_scikit_learns(model, tmp_path, logs):
    from sklearn.base import BaseEstimator, clone

    model.save(tmp_path / "m.json")
    hmm = th.load_model(tmp_path / "m.json").hmm
    assert isinstance(hmm, BaseEstimator)
    assert isinstance(hmm, th.GaussianHMM)
    assert clone(hmm).get_params() == hmm.get_params() == model.hmm.get_params()
    assert (hmm.n_components, hmm.covariance_type, hmm.random_state) == (model.n_states, "full", 4)
    assert f"n_components={model.n_states}" in repr(hmm)
    assert hmm.status_ == model.status
    values = model.sequences(logs).values
    assert hmm.score(values) == model.hmm.score(values)
