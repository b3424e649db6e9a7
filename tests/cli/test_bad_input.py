"""What bad input gets: exit code 1 and an error of one or two lines that names what is wrong; 2 for a wrong command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROWS = 30


def log(seed=0, /, rows=ROWS, **columns):
    """One run: a loss and a weight norm that change, and a learning rate that does not."""
    rng = np.random.default_rng(seed)
    half = rows // 2
    return pd.DataFrame(
        {
            "step": 10 * np.arange(rows),
            "loss": np.repeat([3.0, 1.0], [half, rows - half]) + 0.1 * rng.normal(size=rows),
            "norm": np.repeat([1.0, 2.0], [half, rows - half]) + 0.1 * rng.normal(size=rows),
            "accuracy": np.repeat([0.1, 0.95], [half, rows - half]),
            "lr": 0.1,
            **columns,
        }
    )


@pytest.fixture
def logs(tmp_path):
    """A folder with four runs."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for seed in range(4):
        log(seed).to_parquet(folder / f"seed_{seed}.parquet")
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model file of such runs."""
    from trajhmm import RunSet, fit

    frame = pd.concat(log(seed).assign(run=f"seed_{seed}") for seed in range(4))
    path = tmp_path_factory.mktemp("model") / "model.json"
    fit(RunSet.from_frame(frame), states=2, restarts=1, halves=0, seed=0).save(path)
    return path


@pytest.fixture
def model(fitted, tmp_path):
    """A copy of the model file, to spoil."""
    return shutil.copy(fitted, tmp_path / "model.json")


@pytest.fixture
def refused(trajhmm, tmp_path):
    """Run a command, check how it was refused, and give back what it said."""

    def check(*arguments, code=1):
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        ended = trajhmm(*arguments)
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err
        assert ended.out == ""
        if code == 1:
            assert 1 <= len(ended.error) <= 2, ended.err
            notes = ended.err.splitlines()[: -len(ended.error)]
            assert all(line.startswith("notes on the logs: ") for line in notes)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        return "\n".join(ended.error)

    return check


def verbs(logs, model, out):
    """The command line of every verb that reads logs."""
    return {
        "inspect": ["inspect", logs],
        "convert": ["convert", logs, "-o", out / "runs.parquet"],
        "fit": ["fit", logs, "-o", out / "fitted.json", "--states", "2", "--restarts", "1", "--halves", "0"],
        "decode": ["decode", logs, "--model", model, "-o", out / "states.parquet"],
        "analyze": ["analyze", logs, "--model", model, "--converged", "accuracy > 0.9", "-o", out / "analysis"],
    }


VERBS = sorted(verbs(Path(), Path(), Path()))


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_path(verb, model, tmp_path, refused):
    said = refused(*verbs(tmp_path / "nowhere", model, tmp_path)[verb])
    assert said == f"error: {tmp_path / 'nowhere'}: no such file or folder"


def test_a_path_that_no_file_system_takes(refused):
    assert refused("inspect", "x" * 300) == f"error: {'x' * 300}: File name too long"


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_folder(verb, model, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    said = refused(*verbs(tmp_path / "empty", model, tmp_path)[verb])
    assert said.startswith(f"error: {tmp_path / 'empty'}: no log files in this folder; expected .parquet")


@pytest.mark.parametrize("verb", VERBS)
def test_no_column_that_counts_steps(verb, logs, model, tmp_path, refused):
    log().rename(columns={"step": "tick"}).to_csv(logs / "seed_9.csv", index=False)
    said = refused(*verbs(logs, model, tmp_path)[verb])
    assert said.startswith(f"error: {logs / 'seed_9.csv'}: no column 'step' (found: tick, loss")
    assert said.endswith("--step COLUMN, or where there is none add one that counts the rows")


@pytest.mark.parametrize("verb", VERBS)
def test_no_numeric_metric(verb, logs, model, tmp_path, refused):
    shutil.rmtree(logs)
    logs.mkdir()
    log()[["step", "lr"]].to_csv(logs / "a.csv", index=False)
    said = refused(*verbs(logs, model, tmp_path)[verb])
    where = logs / "a.csv"
    assert said.startswith(f"error: {where}: no numeric metric besides 'step' (constant within each run: lr)")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("left", [1, 7, 0.5, 0.99])
@pytest.mark.sampled(6)
def test_torn_parquet(verb, left, logs, model, tmp_path, refused):
    whole = (logs / "seed_2.parquet").read_bytes()
    (logs / "seed_2.parquet").write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    said = refused(*verbs(logs, model, tmp_path)[verb])
    assert said.startswith(f"error: {logs / 'seed_2.parquet'}: not a whole Parquet file, torn or half-written (")


@pytest.mark.parametrize("verb", VERBS)
def test_two_runs_of_one_name_with_the_same_steps(verb, logs, model, tmp_path, refused):
    log(7, run="seed_1").to_csv(logs / "again.csv", index=False)
    log(8, run="seed_1").to_csv(logs / "other.csv", index=False)
    said = refused(*verbs(logs, model, tmp_path)[verb])
    assert said.startswith("error: run 'seed_1' is in ")
    assert str(logs / "again.csv") in said
    assert str(logs / "other.csv") in said
    assert "with the same steps 0…290 but other values" in said


@pytest.mark.parametrize("verb", VERBS)
def test_several_runs_that_nothing_names(verb, logs, model, tmp_path, refused):
    pd.concat(log(seed, seed=seed) for seed in range(3)).to_csv(logs / "all.csv", index=False)
    said = refused(*verbs(logs, model, tmp_path)[verb])
    assert said.startswith(f"error: {logs / 'all.csv'}: run 'all': steps go back from 290 to 0 where column 'seed'")
    assert said.endswith("tell them apart with --run-by seed")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("option", "argument", "complaint"),
    [
        ("--run-by", "arm", "no column 'arm' for --run-by (found: step, loss, norm, accuracy, lr)"),
        ("--step", "arm", "no column 'arm' for --step (found: step, loss, norm, accuracy, lr)"),
        ("--rename", "arm=leg", "--rename arm=leg: no column 'arm' (found: step, loss, norm, accuracy, lr)"),
        ("--rename", "norm=loss", "--rename gives 2 columns the name 'loss'; rename the other too"),
        ("--where", "arm == 1", "--where 'arm == 1': no column 'arm' (found: step, loss, norm, accuracy, lr)"),
        ("--where", "step > 999", "--where 'step > 999': none of 120 rows meets the condition"),
    ],
)
@pytest.mark.sampled(10)
def test_columns_that_are_not_there(verb, option, argument, complaint, logs, model, tmp_path, refused):
    assert complaint in refused(*verbs(logs, model, tmp_path)[verb], option, argument)


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        ("loss,nrom", "no metric 'nrom' in these logs; did you mean 'norm'? (found: loss, norm, accuracy)"),
        ("weight_l2", "no metric 'weight_l2' in these logs (found: loss, norm, accuracy)"),
        ("lr", "none of lr changes within a run; nothing is left to fit"),
    ],
)
def test_metrics_that_cannot_be_fitted(metrics, complaint, logs, tmp_path, refused):
    said = refused("fit", logs, "-o", tmp_path / "m.json", "--metrics", metrics)
    assert said == f"error: {complaint}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--states", "5"], "5 states need at least 5 runs, found 4; ask for at most 4 with --states"),
        (["--states", "2:6"], "6 states need at least 6 runs, found 4; ask for at most 4 with --states"),
        (["--where", "step < 5", "--states", "1"], "none of loss, norm changes within a run; nothing is left to fit"),
        (["--criterion", "heldout", "--where", "run == 'seed_0'"], "criterion heldout needs at least 2 runs, found 1"),
    ],
)
def test_too_little_to_fit(arguments, complaint, logs, tmp_path, refused):
    assert complaint in refused("fit", logs, "-o", tmp_path / "m.json", *arguments)


def test_fewer_rows_than_states(tmp_path, refused):
    pd.concat(log(seed, rows=2, run=f"r{seed}") for seed in range(3)).to_csv(tmp_path / "all.csv", index=False)
    said = refused("fit", tmp_path / "all.csv", "-o", tmp_path / "m.json", "--states", "7", "--metrics", "loss")
    assert "7 states need at least 7 " in said


NOT_FINITE = {
    "NaN in Parquet": ("parquet", np.nan),
    "infinity in Parquet": ("parquet", np.inf),
    "blank cells in CSV": ("csv", np.nan),
    "infinity in CSV": ("csv", np.inf),
    "minus infinity in TSV": ("tsv", -np.inf),
    "null in JSON lines": ("jsonl", np.nan),
}


@pytest.mark.parametrize("way", NOT_FINITE)
def test_a_run_that_is_not_finite_is_cut_there_and_the_user_is_told(way, logs, model, tmp_path, trajhmm):
    suffix, cell = NOT_FINITE[way]
    torn = log(2)
    torn.loc[20:, "loss"] = cell
    (logs / "seed_2.parquet").unlink()
    if suffix == "parquet":
        torn.to_parquet(logs / "seed_2.parquet")
    elif suffix == "jsonl":
        torn.to_json(logs / "seed_2.jsonl", orient="records", lines=True)
    else:
        torn.to_csv(logs / f"seed_2.{suffix}", index=False, sep="\t" if suffix == "tsv" else ",")

    inspected = trajhmm("inspect", logs, "--json")
    described = json.loads(inspected.out)
    assert [run["non_finite"] for run in described["runs"]] == [0, 0, ROWS - 20, 0]
    assert any(
        note["kind"] == "non-finite" and note["run"] == "seed_2" and "from step 200" in note["text"]
        for note in described["notes"]
    )

    decoded = trajhmm("decode", logs, "--model", model, "-o", tmp_path / "states.parquet")
    assert decoded.code == 0
    assert "cut there" in decoded.err
    assert "not finite" in decoded.err
    states = pd.read_parquet(tmp_path / "states.parquet")
    assert states.groupby("run").size().to_dict() == {"seed_0": ROWS, "seed_1": ROWS, "seed_2": 20, "seed_3": ROWS}
    assert states[states["run"] == "seed_2"]["step"].max() == 190


def test_metrics_logged_less_often_cut_nothing(logs, model, tmp_path, trajhmm):
    for seed in range(4):
        frame = log(seed, eval_loss=np.where(np.arange(ROWS) % 10 == 0, np.arange(ROWS) / 7, np.nan))
        frame.loc[0, "norm"] = np.nan
        frame.to_parquet(logs / f"seed_{seed}.parquet")
    decoded = trajhmm("decode", logs, "--model", model, "-o", tmp_path / "states.parquet")
    assert decoded.code == 0
    assert "cut" not in decoded.err
    assert len(pd.read_parquet(tmp_path / "states.parquet")) == 4 * (ROWS - 1)


def test_a_resumed_run_is_decoded_once_a_step_and_the_user_is_told(logs, model, tmp_path, trajhmm):
    pd.concat([log(1).iloc[:20], log(5).iloc[15:]]).to_parquet(logs / "seed_1.parquet")
    ended = trajhmm("decode", logs, "--model", model, "-o", tmp_path / "states.parquet")
    assert ended.code == 0
    assert "1 resume" in ended.err
    states = pd.read_parquet(tmp_path / "states.parquet")
    assert states[states["run"] == "seed_1"]["step"].tolist() == list(range(0, 10 * ROWS, 10))


def spoil(path, **changes):
    """Edit a model file without mending its checksum."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("verb", ["decode", "analyze"])
class TestModelFiles:
    """The model file is none, or not for these logs."""

    def refusal(self, verb, logs, model, tmp_path, refused):
        said = refused(*verbs(logs, model, tmp_path)[verb])
        assert said.startswith(f"error: {model}: ")
        return said

    def test_missing(self, verb, logs, tmp_path, refused):
        assert "cannot be read (No such file" in self.refusal(verb, logs, tmp_path / "no.json", tmp_path, refused)

    def test_a_folder(self, verb, logs, tmp_path, refused):
        assert "cannot be read (Is a directory)" in self.refusal(verb, logs, logs, tmp_path, refused)

    @pytest.mark.parametrize("share", [0, 0.3, 0.99])
    def test_truncated(self, verb, share, logs, model, tmp_path, refused):
        text = model.read_text()
        model.write_text(text[: int(share * len(text))])
        assert "truncated or not JSON" in self.refusal(verb, logs, model, tmp_path, refused)

    @pytest.mark.parametrize("content", ["[]", "{}", '{"schema": "other"}', '"trajhmm.model"', "null", "3"])
    def test_no_model(self, verb, content, logs, model, tmp_path, refused):
        model.write_text(content)
        assert "not a model file of trajhmm" in self.refusal(verb, logs, model, tmp_path, refused)

    def test_bytes(self, verb, logs, tmp_path, refused):
        said = self.refusal(verb, logs, logs / "seed_0.parquet", tmp_path, refused)
        assert "not UTF-8" in said
        assert "expected what 'trajhmm fit -o' writes" in said

    @pytest.mark.parametrize("version", [None, "1", 1.5, True])
    def test_a_schema_that_is_no_number(self, verb, version, logs, model, tmp_path, refused):
        spoil(model, schema_version=version)
        assert "not a model file of trajhmm" in self.refusal(verb, logs, model, tmp_path, refused)

    @pytest.mark.parametrize("version", [2, 99])
    def test_a_newer_schema(self, verb, version, logs, model, tmp_path, refused):
        spoil(model, schema_version=version)
        said = self.refusal(verb, logs, model, tmp_path, refused)
        assert f"schema version {version}, newer than 1 which this trajhmm reads; upgrade trajhmm" in said

    @pytest.mark.parametrize(
        "edit", [{"metrics": ["norm", "loss"]}, {"n_rows": 1}, {"means": [[0.0, 0.0], [1.0, 1.0]]}, {"sha256": "0"}]
    )
    def test_edited(self, verb, edit, logs, model, tmp_path, refused):
        spoil(model, **edit)
        assert "edited or damaged since it was written" in self.refusal(verb, logs, model, tmp_path, refused)

    def test_made_for_other_metrics(self, verb, logs, model, tmp_path, refused):
        for path in sorted(logs.glob("*.parquet")):
            pd.read_parquet(path).rename(columns={"norm": "weight_l2"}).to_parquet(path)
        said = refused(*verbs(logs, model, tmp_path)[verb])
        assert (
            "made for loss, norm; these logs lack norm (found: loss, weight_l2, accuracy); map names with --r" in said
        )

    @pytest.mark.sampled(1)
    def test_made_for_other_metrics_that_a_rename_brings_back(self, verb, logs, model, tmp_path, trajhmm):
        plain = verbs(logs, model, tmp_path / "plain")[verb]
        renamed = verbs(logs, model, tmp_path / "renamed")[verb]
        extra = ["--refits", "0"] if verb == "analyze" else []
        assert trajhmm(*plain, *extra).code == 0
        for path in sorted(logs.glob("*.parquet")):
            pd.read_parquet(path).rename(columns={"norm": "weight_l2"}).to_parquet(path)
        assert trajhmm(*renamed, *extra, "--rename", "weight_l2=norm").code == 0
        folder = "analysis" if verb == "analyze" else "."
        states = [pd.read_parquet(tmp_path / way / folder / "states.parquet") for way in ("plain", "renamed")]
        pd.testing.assert_frame_equal(*states)


def test_columns_in_another_order_are_put_in_order_for_the_model(logs, model, tmp_path, trajhmm):
    assert trajhmm("decode", logs, "--model", model, "-o", tmp_path / "one.parquet").code == 0
    for path in sorted(logs.glob("*.parquet")):
        pd.read_parquet(path)[["norm", "accuracy", "lr", "loss", "step"]].to_parquet(path)
    assert trajhmm("decode", logs, "--model", model, "-o", tmp_path / "two.parquet").code == 0
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.mark.parametrize(
    ("condition", "code", "complaint"),
    [
        ("arm > 1", 1, "condition 'arm > 1': no column 'arm' in these logs"),
        ("accuracy >", 2, "condition 'accuracy >': expected a column, a number or a text in quotes, found its end"),
        ("accuracy = 1", 2, "write '=='"),
        ("accuracy > 'high'", 2, "> compares a text with a number"),
    ],
)
def test_what_converged_means_has_to_be_a_condition_on_the_logs(
    condition, code, complaint, logs, model, tmp_path, refused
):
    said = refused("analyze", logs, "--model", model, "--converged", condition, "-o", tmp_path / "a", code=code)
    assert complaint in said


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--where", "loss >"], "Invalid value: condition 'loss >': expected a column"),
        (["--where", "loss ~ 1"], "cannot read it from '~ 1' on"),
        (["--where", "loss > 'x'"], "> compares a text with a number"),
        (["--rename", "loss"], "Invalid value: --rename 'loss': expected OLD=NEW"),
        (["--rename", "=loss"], "Invalid value: --rename '=loss': expected OLD=NEW"),
        (["--bogus"], "No such option: --bogus"),
    ],
)
@pytest.mark.sampled(10)
def test_a_wrong_option_of_any_verb(verb, arguments, complaint, logs, model, tmp_path, refused):
    assert complaint in refused(*verbs(logs, model, tmp_path)[verb], *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--states", "0"], "--states '0': expected whole numbers from 1 on"),
        (["--states", "3:1"], "--states '3:1': expected whole numbers from 1 on, the smaller first"),
        (["--states", "few"], "--states 'few': expected a number such as 6, or a range such as 1:8"),
        (["--states", "1:2:3"], "--states '1:2:3': expected a number"),
        (["--states", "-2"], "--states '-2': expected a number"),
        (["--metrics", ","], "--metrics names no metric"),
        (["--criterion", "best"], "'best'"),
        (["--covariance", "round"], "'round'"),
        (["--engine", "steam"], "'steam'"),
        (["--scaling", "kitchen"], "'kitchen'"),
        (["--halves", "-1"], "'--halves'"),
        (
            ["--engine", "hmmlearn", "--scaling", "mixed"],
            "--engine hmmlearn knows no shifts of runs: --scaling own-start",
        ),
        (["--for", "warning", "--scaling", "shared"], "and --halves are for maps"),
        (["--for", "warning", "--criterion", "bic"], "and --halves are for maps"),
        (["--for", "warning", "--halves", "0"], "and --halves are for maps"),
        (["--for", "profit"], "'profit'"),
        (["--restarts", "0"], "'--restarts'"),
        (["--iterations", "many"], "'--iterations'"),
        (["--seed", "-1"], "'--seed'"),
        (["--jobs", "0"], "'--jobs'"),
    ],
)
def test_a_wrong_option_of_fit(arguments, complaint, logs, tmp_path, refused):
    assert complaint in refused("fit", logs, "-o", tmp_path / "m.json", *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--states", "2"], "not tested whether the map comes back: too few runs to halve (2; at least 4 needed)"),
        (["--states", "1:2"], "2 states, chosen by BIC, as no halves were compared, from 1 to 2; 2 runs"),
        (["--states", "2", "--engine", "hmmlearn"], "engine hmmlearn knows no shifts of runs: scaling per-run"),
    ],
    ids=["one number", "several", "hmmlearn"],
)
@pytest.mark.once
def test_a_map_of_two_runs_is_fitted_and_called_not_tested(arguments, said, logs, tmp_path, trajhmm):
    two = [logs / "seed_0.parquet", logs / "seed_1.parquet"]
    done = trajhmm("fit", *two, "-o", tmp_path / "m.json", "--restarts", "1", *arguments)
    assert (done.code, done.out) == (0, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["fit"], "Missing argument"),
        (["fit", "logs"], "Missing option '-o' / '--output'"),
        (["decode", "logs", "-o", "s.parquet"], "Missing option '--model'"),
        (["convert", "logs", "-o", "x.parquet", "--from", "xlsx"], "--from 'xlsx': expected one of parquet, "),
        (["simulate", "weather"], "No such command 'weather'"),
        (["simulate", "planted"], "Missing option '-o' / '--output'"),
        (["simulate", "planted", "-o", "x.parquet", "--rows", "1"], "'--rows'"),
    ],
)
def test_a_wrong_command(arguments, complaint, refused):
    assert complaint in refused(*arguments, code=2)


@pytest.mark.parametrize("verb", ["convert", "fit", "decode"])
def test_output_that_cannot_be_written(verb, logs, model, tmp_path, refused):
    (tmp_path / "file").write_text("in the way")
    line = verbs(logs, model, tmp_path)[verb]
    place = line.index("-o") + 1
    for target in (logs, tmp_path / "file" / "below"):
        said = refused(*line[:place], target, *line[place + 1 :])
        assert said.startswith(f"error: {target}: ")


def test_a_convert_over_its_own_source_keeps_the_source(logs, refused):
    before = (logs / "seed_0.parquet").read_bytes()
    said = refused("convert", logs / "seed_0.parquet", "-o", logs / "seed_0.parquet")
    assert said == f"error: {logs / 'seed_0.parquet'}: is being read, and would be lost; name another file to write"
    assert (logs / "seed_0.parquet").read_bytes() == before


@pytest.mark.once
def test_what_an_analysis_leaves_among_the_logs_is_no_log(logs, model, trajhmm):
    """A user may well write into the folder of logs, and then read it again."""
    before = json.loads(trajhmm("inspect", logs, "--json").out)
    analyzed = trajhmm(*verbs(logs, model, logs)["analyze"], "--refits", "0")
    assert analyzed.code == 0, analyzed.err
    assert trajhmm("decode", logs, "--model", model, "-o", logs / "s.parquet").code == 0
    after = json.loads(trajhmm("inspect", logs, "--json").out)
    assert after["runs"] == before["runs"]
    assert after["metrics"] == before["metrics"]
    assert sum("that trajhmm wrote, no log, left out" in note["text"] for note in after["notes"]) >= 5
