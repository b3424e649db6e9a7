"""Names that there are not: errors ask which was meant, and lists of what there is end."""

import pytest

import trajhmm as th
from trajhmm.errors import AnalysisError, LogError, ModelFileError
from trajhmm.logs import write_logs
from trajhmm.naming import instead_of, listed
from trajhmm.simulate import planted

MANY = [f"layer_{n}/weight_norm" for n in range(60)]


TWO = ["eval_loss", "eval_accuracy"]


@pytest.mark.parametrize(
    ("wanted", "names", "meant"),
    [
        ("eval_acuracy", TWO, "; did you mean 'eval_accuracy'?"),
        ("accuracy", TWO, "; did you mean 'eval_accuracy'?"),
        ("Eval_Loss", TWO, "; did you mean 'eval_loss'?"),
        ("loss", ["eval/loss", "train/loss"], "; did you mean 'eval/loss' or 'train/loss'?"),
        ("colour", TWO, ""),
        ("x", [], ""),
        ("", ["a"], ""),
        ("lossx1b", ["loss\x1bx1b"], "; did you mean 'loss\\x1bx1b'?"),
    ],
)
def test_what_is_offered(wanted, names, meant):
    assert instead_of(wanted, names) == f"{meant} (found: {listed(names)})"


def test_lists_end():
    assert listed(["a", "b"]) == "a, b"
    assert listed(MANY) == f"{', '.join(MANY[:8])} and 52 more"
    assert listed(MANY, most=1) == f"{MANY[0]} and 59 more"
    assert listed([]) == "none"
    assert listed(["x" * 1000]) == "x" * 60
    assert "did you mean 'layer_37/weight_norm'" in instead_of("layer_37_weight_norm", MANY)


def test_a_hundred_thousand_names_are_not_all_looked_through():
    told = instead_of("run_99999", [f"run_{n}" for n in range(100_000)])
    assert "'run_9999'" in told, "of those that are looked at"
    assert "'run_99999'" not in told


@pytest.fixture(scope="module")
def logs():
    return planted(n_runs=6, n_rows=30).logs


@pytest.fixture(scope="module")
def model(logs):
    return th.fit(logs, states=2, scaling="per-run", restarts=1, halves=0)


def wide(logs):
    """The same with many more metrics."""
    frame = logs.frame()
    for n, name in enumerate(MANY):
        frame[name] = frame["weight_l2"] + n
    return th.RunSet.from_frame(frame)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda runs, _: th.fit(runs, metrics=["weight_l3"]), LogError),
        (lambda runs, model: th.analyze(runs, model, converged="weight_l3 > 1"), AnalysisError),
        (lambda runs, model: th.analyze(runs, model, converged="weight_l2 > 1", within="sed"), AnalysisError),
        (lambda runs, _: th.read_logs(runs.frame(), run_by="weight_l3"), LogError),
        (lambda runs, _: th.read_logs(runs.frame(), step="weight_l3"), LogError),
        (lambda runs, _: th.read_logs(runs.frame(), where="weight_l3 > 1"), LogError),
        (lambda runs, _: th.read_logs(runs.frame(), rename={"weight_l3": "a"}), LogError),
        (lambda runs, _: th.measure_stability(runs, by=["weight_l3"]), AnalysisError),
        (lambda runs, _: th.fit_warning(runs, metrics=["weight_l3"]), LogError),
    ],
)
def test_errors_about_names_ask_and_end(ask, error, logs, model):
    runs = wide(logs)
    with pytest.raises(error) as told:
        ask(runs, model)
    said = str(told.value)
    assert "did you mean 'weight_l2'" in said or "within" in said or "constant within each run" in said, said
    assert "(found: " in said
    assert len(said) < 400, said
    assert len([name for name in MANY if name in said]) < 9


def test_a_model_of_other_metrics_says_what_was_meant(logs, model):
    frame = wide(logs).frame().rename(columns={"weight_l2": "weight_L2"})
    with pytest.raises(
        ModelFileError, match=r"these logs lack weight_l2; did you mean 'weight_L2'\? \(found: .* more\)"
    ):
        model.decode(th.RunSet.from_frame(frame))


def test_no_run_of_that_name(logs):
    with pytest.raises(KeyError, match="did you mean"):
        logs[logs.runs[0] + "x"]


def test_the_command_line_asks_too(logs, model, tmp_path, trajhmm):
    write_logs(wide(logs), tmp_path / "logs.parquet")
    model.save(tmp_path / "model.json")
    line = ["analyze", tmp_path / "logs.parquet", "--model", tmp_path / "model.json", "-o", tmp_path / "out"]
    done = trajhmm(*line, "--converged", "eval_acuracy > 0.9")
    assert done.code == 1
    assert "did you mean 'eval_accuracy'?" in done.err
    assert done.err.endswith(" more)\n")
