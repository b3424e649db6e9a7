"""Model files of before, and of strangers."""

import json

import pytest

import trajhmm as th
from trajhmm.errors import ModelFileError
from trajhmm.hmm.modelfile import _checksum
from trajhmm.simulate import planted

METRICS = ("weight_l2", "trace", "singular_var")


@pytest.fixture(scope="module")
def fitted():
    logs = planted(n_runs=6, n_rows=40, seed=3).logs
    return logs, th.fit(logs, metrics=METRICS, states=2, restarts=1, iterations=5, halves=1)


@pytest.fixture
def content(fitted, tmp_path):
    fitted[1].save(tmp_path / "m.json")
    return json.loads((tmp_path / "m.json").read_text())


def loaded(content, tmp_path):
    """Read back what a stranger wrote, checksum and all."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    (tmp_path / "other.json").write_text(json.dumps({**content, "sha256": _checksum(content)}))
    return th.load_model(tmp_path / "other.json")


def changed(content, path, value):
    """A copy with what stands at ``path`` replaced."""
    copy = json.loads(json.dumps(content))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


@pytest.mark.once
def test_a_file_of_before_there_were_shifts_is_one_without(content, tmp_path, fitted):
    new = ("shift_variance", "scale_variance", "certificate")
    old = {key: value for key, value in content.items() if key not in new}
    old["settings"] = {k: v for k, v in old["settings"].items() if k not in ("shifts", "scales", "search", "topology")}
    old["curve"] = [{k: v for k, v in p.items() if k not in ("halves", "recovery")} for p in old["curve"]]
    old |= {"scaler": {"kind": "per-run"}, "criterion": "bic"}
    model = loaded(old, tmp_path)
    assert (model.scaling, model.certificate, model.parameters.shift_variance) == ("per-run", None, None)
    assert (model.settings.shifts, model.settings.scales, model.settings.search) == (False, False, "restarts")
    assert (model.curve[0].halves, model.curve[0].recovery) == (None, None)
    logs = fitted[0]
    assert len(model.decode(logs).path) == logs.n_rows
    assert model.hmm.shift_variance_ is None


@pytest.mark.once
def test_what_a_mixed_model_knows_comes_back_bit_for_bit(content, tmp_path, fitted):
    model = loaded(content, tmp_path)
    assert model.scaling == "mixed"
    assert model.certificate == fitted[1].certificate
    assert model.parameters.shift_variance.tolist() == content["shift_variance"]
    assert model.scaler.to_dict() == content["scaler"] == fitted[1].scaler.to_dict()
    assert model.hmm.get_params() == fitted[1].hmm.get_params()
    assert loaded(
        changed(content, ["scale_variance"], [0.1, 0.2, 0.3]), tmp_path
    ).parameters.scale_variance.tolist() == [
        0.1,
        0.2,
        0.3,
    ]


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["shift_variance"], [1.0, -1.0, 1.0], "shift_variance: expected positive"),
        (["shift_variance"], [1.0, 0.0, 1.0], "shift_variance: expected positive"),
        (["shift_variance"], [1.0, NAN, 1.0], "shift_variance: expected finite"),
        (["shift_variance"], [1.0, 1.0], "shift_variance has shape"),
        (["shift_variance"], "much", "could not convert"),
        (["shift_variance"], [[1.0], [1.0, 2.0], 1.0], "wrong shape"),
        (["scale_variance"], [0.1, 0.1, -0.1], "scale_variance: expected positive"),
        (["scale_variance"], [0.1, INFINITE, 0.1], "scale_variance: expected finite"),
        (["scale_variance"], 0.1, "scale_variance has shape"),
        (["startprob"], [0.5, 0.6], "startprob: expected probabilities"),
        (["startprob"], [], "at least one state"),
        (["transmat"], [[1.5, -0.5], [0.5, 0.5]], "transmat: expected probabilities"),
        (["means"], [[0.0, 0.0], [1.0, 1.0]], "means has shape"),
        (["means", 0, 0], NAN, "means: expected finite"),
        (["covars", 1, 2], -1.0, "covars: expected positive"),
        (["covars"], [1.0, 1.0], "covars has shape"),
        (["covariance_type"], "round", "covariance_type 'round'"),
        (["covariance_type"], "full", "covars has shape"),
        (["covariance_type"], ["diag"], "wrong shape"),
        (["metrics"], ["weight_l2", "trace"], "means has shape"),
        (["scaler", "spread"], [1.0, 0.0, 1.0], "positive spread"),
        (["scaler", "spread"], [1.0, NAN, 1.0], "spread: expected finite"),
        (["scaler", "centre"], [0.0], "centre has shape"),
        (["scaler", "logs"], [True], "logs has shape"),
        (["scaler", "least"], None, "least has shape"),
        (["scaler", "kind"], "other", "'other'"),
        (["scaler"], None, "wrong shape"),
        (["settings", "topology"], "ring", "topology 'ring'"),
        (["settings", "search"], "narrow", "search 'narrow'"),
        (["settings", "n_iter"], -1, "n_iter -1"),
        (["settings", "unknown"], 1, "unknown"),
        (["certificate", "states"], 3, "certificate of 3 states"),
        (["certificate", "states"], INFINITE, "wrong shape"),
        (["certificate", "halves", 0, "agreement"], [], "agreement or recovery of 2 states is missing"),
        (["certificate", "halves", 0, "recovery"], [0.5], "agreement or recovery of 2 states is missing"),
        (["certificate", "halves", 0, "recovery"], [0.5, NAN], "recovery: expected finite numbers"),
        (["certificate", "halves", 0, "seeds"], [7.0], "indices between -1 and 1"),
        (["certificate", "halves", 0, "seeds"], None, "wrong shape"),
        (["certificate", "halves", 0, "outliers"], 9, "outliers 9: expected a whole number"),
        (["certificate", "halves"], "none", "wrong shape"),
        (
            ["certificate", "residuals", "metrics", 0, "sd", "value"],
            INFINITE,
            r"residuals.metrics.0..sd.value inf: expected a finite",
        ),
        (["certificate", "residuals", "metrics", 0, "metric"], 7, r"residuals.metrics.0..metric 7: expected a text"),
        (["certificate", "residuals", "metrics", 0, "more"], 1, "wrong shape"),
        (["certificate"], [1], "wrong shape"),
        (["curve"], [{"states": 1}], "wrong shape"),
        (["status"], "good", "wrong shape"),
    ],
)
def test_what_a_stranger_wrote_is_refused_by_name(content, tmp_path, path, value, says):
    with pytest.raises(ModelFileError, match=says):
        loaded(changed(content, path, value), tmp_path)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_matrices_must_be_positive_definite(content, tmp_path, covariance):
    unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    many = (lambda matrix: [matrix, unit]) if covariance == "full" else (lambda matrix: matrix)
    content |= {"covariance_type": covariance, "covars": many(unit)}
    assert loaded(content, tmp_path).parameters.covariance_type == covariance
    for matrix in (
        [[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ):
        with pytest.raises(ModelFileError, match="symmetric, positive definite"):
            loaded({**content, "covars": many(matrix)}, tmp_path)
    with pytest.raises(ModelFileError, match="only beside shifts"):
        loaded({**content, "scale_variance": [0.1, 0.1, 0.1]}, tmp_path)
