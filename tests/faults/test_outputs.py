"""What verbs write: never over what they read, whole or not at all, and what the name of the file says."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import typer

from trajhmm import RunSet, TrajHMMError, fit, read_logs
from trajhmm.cli import app
from trajhmm.cli.analyze import _curves_of
from trajhmm.cli.options.paths import marks_of
from trajhmm.files import read_csv, reads, together, write_csv, write_text, writing

OLD = b"the old file, whole"
CONVERGED = ["--converged", "accuracy > 0.9", "--refits", "0"]


def log(seed, rows=30):
    rng = np.random.default_rng(seed)
    level = np.repeat([3.0, 1.0], rows // 2)
    return pd.DataFrame(
        {
            "step": 10 * np.arange(rows),
            "loss": level + 0.1 * rng.normal(size=rows),
            "norm": 4 - level + 0.1 * rng.normal(size=rows),
            "accuracy": np.repeat([0.1, 0.95], rows // 2),
            "lr": 0.1,
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Logs of four runs in a folder, and a model of them."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "logs").mkdir()
    for seed in range(4):
        log(seed).to_parquet(folder / "logs" / f"seed_{seed}.parquet")
    frame = pd.concat(log(seed).assign(run=f"seed_{seed}") for seed in range(4))
    fit(RunSet.from_frame(frame), states=2, restarts=1, halves=0, seed=0).save(folder / "model.json")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of them to spoil, in the present folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(here, trajhmm):
    """Run a verb, see that it is refused in one line and that no file changed or came, and give back the line."""

    def check(*line, code=1):
        before = contents(here)
        ended = trajhmm(*line)
        assert (ended.code, ended.out) == (code, ""), ended.err
        assert len(ended.error) == 1, ended.err
        assert contents(here) == before
        return ended.error[0]

    return check


# Of each verb that writes one file, the line but for what is read and written, and a name for the latter.
FILES = {
    "convert": (["convert", "logs"], "out.parquet"),
    "fit": (["fit", "logs", "--states", "2", "--restarts", "1", "--halves", "0"], "out.json"),
    "decode": (["decode", "logs", "--model", "model.json"], "out.parquet"),
    "warn": (["warn", "logs"], "out.parquet"),
    "report": (["report", "logs", "--model", "model.json"], "out.html"),
    "figure": (["figure", "profile", "--model", "model.json"], "out.png"),
    "table": (["table", "states", "logs", "--model", "model.json"], "out.csv"),
}
OPTION = {"warn": "--scores"}
# Of each verb that writes into a folder, and one of the files that it writes there.
FOLDERS = {
    "analyze": (["analyze", "logs", "--model", "model.json", *CONVERGED], "map.json"),
    "stability": (["stability", "logs"], "summary.txt"),
    "evaluate": (["evaluate", "logs", "--collapse", "accuracy < 0"], "outcomes.csv"),
}


def linked(source, target, how):
    """Another name of the source: by a link, a hard link, or another spelling."""
    if how == "hard link":
        os.link(source, target)
    elif how == "link":
        target.symlink_to(source)
    elif how == "link to a link":
        target.with_name("between").symlink_to(source)
        target.symlink_to(target.with_name("between"))
    return target if how != "another spelling" else source.parent / ".." / source.parent.name / "." / source.name


@pytest.mark.parametrize("how", ["hard link", "link", "link to a link"])
@pytest.mark.parametrize("verb", FILES)
@pytest.mark.sampled(7)
def test_an_output_that_is_one_of_the_logs_or_the_model_is_refused(verb, how, here, refused):
    line, name = FILES[verb]
    source = here / "model.json" if verb == "figure" else here / "logs" / "seed_2.parquet"
    said = refused(*line, OPTION.get(verb, "-o"), linked(source, here / name, how))
    assert said.startswith(f"error: {here / name}: is being read as ")
    assert said.endswith(f"{source.name}, and would be lost; name another file to write")


@pytest.mark.parametrize("verb", ["convert", "decode", "warn"])
def test_an_output_among_the_logs_of_a_folder_is_refused_by_any_spelling(verb, here, refused):
    line, _ = FILES[verb]
    for path in ("logs/seed_1.parquet", here / "logs" / "seed_1.parquet", "./logs/../logs/seed_1.parquet"):
        assert "is being read" in refused(*line, OPTION.get(verb, "-o"), path)


def test_a_log_in_another_folder_that_a_link_leads_to_is_known(here, refused):
    (here / "elsewhere").mkdir()
    (here / "logs" / "seed_3.parquet").rename(here / "elsewhere" / "real.parquet")
    (here / "logs" / "seed_3.parquet").symlink_to(here / "elsewhere" / "real.parquet")
    assert "is being read" in refused("convert", "logs", "-o", "elsewhere/real.parquet")
    assert "is being read" in refused("convert", "logs", "-o", "logs/seed_3.parquet")


@pytest.mark.parametrize("logs", ["logs", "logs/caf\udce9.parquet"])
def test_a_log_whose_name_is_no_text_is_known(here, refused, logs):
    (here / "logs" / "seed_3.parquet").rename(here / "logs" / "caf\udce9.parquet")
    assert "is being read" in refused("convert", logs, "-o", "logs/caf\udce9.parquet")


def test_logs_that_are_fitted_from_disk_are_not_written_over_either(here, refused):
    os.link(here / "logs" / "seed_0.parquet", here / "out.json")
    assert "is being read" in refused("fit", "logs", "--stream", "--states", "2", "-o", "out.json")


def test_a_model_or_a_truth_is_not_written_over(here, refused):
    shutil.copy("model.json", "model.html")
    assert "is being read" in refused("report", "logs", "--model", "model.html", "-o", "model.html")
    shutil.copy("model.json", "model.csv")
    assert "is being read" in refused("table", "states", "logs", "--model", "model.csv", "-o", "model.csv")
    Path("truth.json").write_text("run,onset,collapse_step\n")
    assert "is being read" in refused("fit", "logs", "--for", "warning", "--truth", "truth.json", "-o", "truth.json")


def test_a_state_file_is_no_log_and_no_model(here, refused):
    for path in ("model.json", "logs/seed_0.parquet"):
        said = refused("warn", "logs/seed_0.parquet", "--model", "model.json", "--follow", "--state", path)
        assert said == f"error: {path}: is being read, and would be lost; name another file to write"


def test_checkpoints_are_not_written_over(here, refused):
    (here / "run").mkdir()
    np.savez(here / "run" / "step_1.npz", weight=np.ones((3, 3)))
    os.link(here / "run" / "step_1.npz", here / "logs.parquet")
    assert "is being read" in refused("collect", "run", "-o", "logs.parquet")


@pytest.mark.parametrize("verb", FOLDERS)
@pytest.mark.once
def test_a_folder_in_which_one_file_is_being_read_is_left_as_it_was(verb, here, refused):
    line, name = FOLDERS[verb]
    also = " as logs/seed_2.parquet"
    if name.endswith(".csv"):
        also = ""
        log(9).to_csv(here / "logs" / name)
    else:
        os.link(here / "logs" / "seed_2.parquet", here / "logs" / name)
    said = refused(*line, "-o", "logs")
    assert said == f"error: logs/{name}: is being read{also}, and would be lost; name another file to write"


def test_an_audit_of_a_report_is_not_written_over(here, refused):
    Path("audit").mkdir()
    Path("audit/summary.txt").write_text("told")
    os.link(here / "audit" / "summary.txt", here / "report.html")
    said = refused("report", "logs", "--model", "model.json", "--stability", "audit", "-o", "report.html")
    assert "is being read as audit/summary.txt" in said


def test_a_table_that_is_drawn_is_not_written_over(here, refused):
    Path("phases.csv").write_text("lr,exponent_plus,exponent_minus,phase\n0.1,-1,1,correct\n")
    os.link("phases.csv", "phases.svg")
    assert "is being read as phases.csv" in refused("figure", "phases", "phases.csv", "-o", "phases.svg")


def test_two_outputs_of_one_name_are_refused(refused):
    said = refused("simulate", "planted", "-o", "same", "--truth", "./same")
    assert said == "error: same: is to hold two different things; name another file for one of them"


@pytest.mark.once
def test_what_was_written_among_the_logs_may_be_written_again(here, trajhmm):
    for _ in range(2):
        for line in (
            ["decode", "logs", "--model", "model.json", "-o", "logs/states.parquet"],
            ["fit", "logs", "--states", "2", "--restarts", "1", "--halves", "0", "-o", "logs/model.json"],
            ["table", "selection", "--model", "model.json", "-o", "logs/table.tex"],
        ):
            ended = trajhmm(*line)
            assert ended.code == 0, ended.err


def leaves(command, words=()):
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*words, name))
    if not hasattr(command, "commands"):
        yield " ".join(words), command


@pytest.mark.parametrize("words", (verbs := dict(leaves(typer.main.get_command(app)))))
def test_every_verb_says_which_of_its_paths_it_reads_and_writes(words):
    verb = verbs[words].callback
    while not hasattr(verb, "__signature__"):
        verb = verb.__wrapped__
    parameters = verb.__signature__.parameters
    paths = {name for name, parameter in parameters.items() if "Path" in str(parameter.annotation)}
    assert paths
    assert paths == set(marks_of(verb.__signature__))


# ---------------------------------------------------------------- what the name says


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet", "pq", "CSV"])
def test_convert_writes_what_the_name_says_and_it_reads_back(ending, here, trajhmm, assert_same_logs):
    frame = log(0).assign(run='a,"b"', grad=[np.nan, np.inf, -np.inf, *[1 / 3] * 27])
    frame.loc[4:9, "norm"] = None
    frame.to_parquet("odd.parquet")
    ended = trajhmm("convert", "logs", "odd.parquet", "-o", f"out.{ending}")
    assert ended.code == 0, ended.err
    heads = {"p": b"PAR1", "c": b'"run","step"', "t": b'"run"\t"step"', "j": b'{"run": ', "n": b'{"run": '}
    assert Path(f"out.{ending}").read_bytes().startswith(heads[ending[0].lower()])
    assert_same_logs(read_logs(f"out.{ending}"), read_logs(["logs", "odd.parquet"]))


def test_in_text_a_name_stands_in_one_line(here, trajhmm):
    log(0).assign(run="two\nlines\x1b").to_parquet("odd.parquet")
    for ending in ("csv", "tsv"):
        assert trajhmm("convert", "odd.parquet", "-o", f"out.{ending}").code == 0
        assert len(Path(f"out.{ending}").read_text().splitlines()) == 31
        assert read_logs(f"out.{ending}").runs == (r"two\nlines\x1b",)
    assert trajhmm("convert", "odd.parquet", "-o", "out.jsonl").code == 0
    assert read_logs("out.jsonl").runs == ("two\nlines\x1b",)


@pytest.mark.parametrize("name", ["out.txt", "out.xlsx", "out.json", "out", "out.csv.gz"])
def test_convert_to_anything_else_is_refused(name, refused):
    said = refused("convert", "logs", "-o", name)
    assert said == (
        f"error: {name}: expected a name that ends in .parquet, .pq, .csv, .tsv, .jsonl or .ndjson, found {name!r}"
    )


@pytest.mark.parametrize(
    ("verb", "name", "expected"),
    [
        ("decode", "states.jsonl", ".parquet or .pq or .csv"),
        ("warn", "scores.jsonl", ".parquet or .pq or .csv"),
        ("fit", "model.parquet", ".json"),
        ("report", "report.pdf", ".html or .htm"),
        ("figure", "map.html", ".pdf, .svg or .png"),
        ("table", "table.parquet", ".tex or .csv"),
    ],
)
def test_a_name_that_says_something_else_is_refused(verb, name, expected, refused):
    said = refused(*FILES[verb][0], OPTION.get(verb, "-o"), name)
    assert said == f"error: {name}: expected a name that ends in {expected}, found {name!r}"


# ---------------------------------------------------------------- where nothing can be written


@pytest.mark.parametrize("verb", FILES)
def test_a_folder_for_a_file_or_a_file_for_a_folder_is_refused_before_anything_is_read(verb, here, refused):
    line, name = FILES[verb]
    line = [word if word != "logs" else "nowhere" for word in line]
    Path(name).mkdir()
    assert f"{name}: is a folder; expected the name of a " in refused(*line, OPTION.get(verb, "-o"), name)
    said = refused(*line, OPTION.get(verb, "-o"), Path("model.json") / name)
    assert said == f"error: {Path('model.json') / name}: cannot be written (Not a directory)"


@pytest.mark.parametrize("verb", FOLDERS)
def test_a_folder_that_is_a_file_or_below_one_is_refused_before_anything_is_read(verb, here, refused):
    line = [word if word != "logs" else "nowhere" for word in FOLDERS[verb][0]]
    assert refused(*line, "-o", "model.json") == "error: model.json: is a file; expected the name of a folder"
    assert refused(*line, "-o", "model.json/out") == "error: model.json/out: cannot be written (Not a directory)"


def test_where_nobody_may_write_is_told_before_anything_is_read(here, refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "closed")
    Path("closed").mkdir()
    for line, output in [(FILES["fit"][0], "closed/m.json"), (FOLDERS["analyze"][0], "closed/new/folder")]:
        assert refused(*line, "-o", output) == f"error: {output}: cannot be written (Permission denied)"
    shutil.copy("model.json", "closed.json")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "closed.json")
    assert refused(*FILES["fit"][0], "-o", "closed.json") == "error: closed.json: cannot be written (Permission denied)"


def test_missing_folders_are_made(here, trajhmm):
    assert trajhmm(*FILES["convert"][0], "-o", "new/and/newer/out.parquet").code == 0
    assert read_logs("new/and/newer/out.parquet").n_runs == 4


def test_names_as_long_as_they_may_be_are_written(here, trajhmm):
    name = "ü" * 123 + ".parquet"
    assert trajhmm(*FILES["convert"][0], "-o", name).code == 0
    assert read_logs(name).n_runs == 4


LIMITED = """
import io, json, resource, sys
from pathlib import Path
from unittest.mock import patch
import matplotlib.figure, numba  # what they keep between times is kept before the disk is full
from trajhmm.cli import main
lines = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for line in lines:
    sys.argv = ["trajhmm", *line]
    sys.stderr = io.StringIO()
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    print(json.dumps([code, [one for one in sys.stderr.getvalue().splitlines() if one.startswith("error: ")]]))
"""


@pytest.mark.slow
def test_on_a_full_disk_every_old_file_stands_whole_and_nothing_else_is_left(here):
    lines = {}
    for line, name in FILES.values():
        Path(name).write_bytes(OLD)
        lines[name] = [*line, OPTION.get(line[0], "-o"), name]
    Path("old").mkdir()
    for line, name in (FOLDERS["stability"], FOLDERS["evaluate"]):
        Path("old", name).write_bytes(OLD)
        lines[f"old/{name}"] = [*line, "-o", "old"]
    for ending in ("csv", "jsonl"):  # which are written piece by piece
        Path(f"text.{ending}").write_bytes(OLD)
        lines[f"text.{ending}"] = ["convert", "logs", "-o", f"text.{ending}"]
    before = contents(here)
    command = [sys.executable, "-c", LIMITED, json.dumps(list(lines.values()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(ends) == len(lines)
    for name, (code, errors) in zip(lines, ends, strict=True):
        assert (code, len(errors)) == (1, 1), (name, errors)
        assert "cannot be written (" in errors[0]
        assert "File too large" in errors[0]
    assert contents(here) == before


@pytest.mark.parametrize("size", [0, 2_000])
@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_a_figure_that_the_disk_has_no_room_for_is_not_written(tmp_path, ending, size):
    """Drawn to a file, a PDF that ran out of room came out as an AttributeError of matplotlib's."""
    resource = pytest.importorskip("resource")
    from trajhmm.figures.style import new_axes, save_figure

    ax = new_axes("column", 2.0)
    ax.plot([0, 1], [1, 0], label="one")
    ax.legend()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(TrajHMMError, match=rf"a\.{ending}: cannot be written \(File too large\)"):
            save_figure(ax, tmp_path / f"a.{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_figure_leaves_no_view_of_what_was_drawn(tmp_path):
    """Python 3.12 up to 3.12.1 dies when its collector meets such a view in a cycle, as a caught error makes one."""
    from trajhmm.figures.style import new_axes, save_figure

    ax = new_axes("column", 2.0)
    with (
        patch.object(Path, "write_bytes", _out_of_room),
        pytest.raises(TrajHMMError, match="cannot be written") as kept,
    ):
        save_figure(ax, tmp_path / "a.png")
    held = [value for frame in _frames(kept.value.__cause__) for value in frame.f_locals.values()]
    views = [value for value in held if isinstance(value, memoryview)]
    assert [type(view.obj) for view in views] == [bytes]


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _out_of_room(path: Path, data: object) -> int:
    held = memoryview(data)  # as `Path.write_bytes` has it
    raise OSError(27, f"File too large: {held.nbytes}")


def test_files_of_one_folder_are_written_together_or_not_at_all(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(OLD)

    def write_some_and_fail():
        with together():
            write_text(tmp_path / "a", "new")
            write_text(tmp_path / "c", "new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_some_and_fail()
    assert contents(tmp_path) == {Path("a"): OLD, Path("b"): OLD}
    with together():
        write_text(tmp_path / "a", "newer")
        assert (tmp_path / "a").read_bytes() == OLD
        write_text(tmp_path / "c", "new")
    assert contents(tmp_path) == {Path("a"): b"newer", Path("b"): OLD, Path("c"): b"new"}


def test_an_old_file_keeps_who_may_read_it(tmp_path):
    write_text(tmp_path / "secret", "old")
    (tmp_path / "secret").chmod(0o600)
    write_text(tmp_path / "secret", "new")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_what_is_no_text_is_written_by_its_number(tmp_path):
    write_text(tmp_path / "file", "half \ud800 of one")
    assert (tmp_path / "file").read_text() == r"half \ud800 of one"


def test_a_library_call_knows_nothing_of_what_others_read(tmp_path):
    write_text(tmp_path / "file", "old")
    reads([tmp_path / "file"])
    write_text(tmp_path / "file", "new")
    with writing([tmp_path / "other"]):
        reads([tmp_path / "file"])
        with pytest.raises(TrajHMMError, match="is being read"):
            write_text(tmp_path / "file", "newer")
        write_text(tmp_path / "other", "may be written")
    write_text(tmp_path / "file", "newest")


# ---------------------------------------------------------------- what is no file


def read_in_background(path):
    """Read a pipe to its end; the bytes come into the list that is given back."""
    got = []
    reader = threading.Thread(target=lambda: got.append(Path(path).read_bytes()), daemon=True)
    reader.start()
    time.sleep(0.05)
    return reader, got


def test_a_pipe_is_written_into_and_stays_one(here, trajhmm):
    os.mkfifo("out.parquet")
    reader, got = read_in_background("out.parquet")
    assert trajhmm(*FILES["convert"][0], "-o", "out.parquet").code == 0
    reader.join(10)
    assert Path("out.parquet").is_fifo()
    Path("got.parquet").write_bytes(got[0])
    assert read_logs("got.parquet").n_rows == 120


def test_a_pipe_that_nobody_reads_is_not_waited_for(here, refused):
    os.mkfifo("out.parquet")
    said = refused(*FILES["convert"][0], "-o", "out.parquet")
    assert said == "error: out.parquet: nobody reads this pipe; start its reader first"


def test_an_open_file_is_written_into_by_its_number_behind_what_it_held(here):
    # Not /dev/stdout itself: should this ever fail, that of the machine would be gone.
    Path("out.csv").symlink_to("/dev/fd/1")
    Path("log").write_bytes(b"first\n")
    with Path("log").open("ab") as log_file:
        line = [sys.executable, "-m", "trajhmm", *FILES["convert"][0], "-o", "out.csv"]
        done = subprocess.run(line, stdout=log_file, stderr=subprocess.PIPE, timeout=120, check=True, cwd=here)
    assert Path("log").read_bytes().startswith(b'first\n"run","step"')
    assert done.stderr.endswith(b"out.csv: 4 runs, 120 rows, 3 metrics\n")
    assert Path("out.csv").is_symlink()


def test_a_device_stays_one(here, trajhmm):
    try:
        os.mknod("null.parquet", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        Path("null.parquet").write_bytes(b"")
    except OSError:
        pytest.skip("devices cannot be made or used here")
    assert trajhmm(*FILES["convert"][0], "-o", "null.parquet").code == 0
    assert Path("null.parquet").is_char_device()
    os.mknod("full.parquet", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    ended = trajhmm(*FILES["convert"][0], "-o", "full.parquet")
    assert ended.error == ["error: full.parquet: cannot be written (No space left on device)"]
    assert Path("full.parquet").is_char_device()


def test_a_socket_is_refused(here, refused):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("out.parquet")
        said = refused(*FILES["convert"][0], "-o", "out.parquet")
    assert said == "error: out.parquet: is a socket; expected the name of a file to write"


def test_a_loop_of_links_is_an_error_of_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(TrajHMMError, match="cannot be written"):
        write_text(tmp_path / "a" / "file", "new")


def test_a_link_that_leads_to_itself_or_nowhere_gives_way_to_the_file(here, trajhmm):
    Path("loop.parquet").symlink_to("loop.parquet")
    Path("dangling.parquet").symlink_to("nowhere/at/all")
    for name in ("loop.parquet", "dangling.parquet"):
        assert trajhmm(*FILES["convert"][0], "-o", name).code == 0
        assert not Path(name).is_symlink()
        assert read_logs(name).n_runs == 4
    assert not Path("nowhere").exists()


def test_a_link_to_another_file_gives_way_and_leaves_that_file_alone(tmp_path):
    (tmp_path / "elsewhere").write_bytes(OLD)
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    write_text(tmp_path / "out", "new")
    assert contents(tmp_path) == {Path("elsewhere"): OLD, Path("out"): b"new"}


def test_curves_of_metrics_have_files_of_their_own():
    taken = {}
    for metric in ("a/b", "a_b", "a.b", "x" * 500, "x" * 501):
        taken[_curves_of(metric, taken)] = metric
    assert list(taken) == ["curves_a_b", "curves_a_b_2", "curves_a_b_3", f"curves_{'x' * 60}", f"curves_{'x' * 60}_2"]


# ---------------------------------------------------------------- what spreadsheets run

FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "＝1+1"]
PLAIN = ["a", "'a", "-1", "+2.5e3", "1", "", "a=1", "-", "nan"]


def test_text_that_a_spreadsheet_would_run_is_guarded_and_read_back_as_it_was(tmp_path):
    table = pd.DataFrame({"=name": [*FORMULAS, "plain"], "number": [-1.5] * 10, "flag": [True] * 10})
    write_csv(table, tmp_path / "table.csv")
    raw = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False)
    assert [str(name) for name in raw.columns] == ["'=name", "number", "flag"]
    assert raw["'=name"].tolist()[:-1] == [f"'{formula}" for formula in FORMULAS]
    assert set(raw["number"]) == {"-1.5"}
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv"), table, check_dtype=False)


def test_numbers_and_harmless_text_stay_as_they_are(tmp_path):
    write_csv(pd.DataFrame({"name": PLAIN}), tmp_path / "table.csv")
    raw = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False)
    assert raw["name"].tolist() == [f"'{cell}" if cell == "-" else cell for cell in PLAIN]


@pytest.mark.once
def test_tables_of_verbs_are_guarded_and_figures_of_them_are_not(here, trajhmm):
    log(9).assign(run="=HYPERLINK(1)").to_parquet("logs/evil.parquet")
    assert trajhmm(*FOLDERS["analyze"][0], "-o", "out").code == 0
    assert trajhmm(*FOLDERS["evaluate"][0], "-o", "out").code == 0
    for name in ("convergence.csv", "outcomes.csv"):
        assert "\n'=HYPERLINK(1)," in Path("out", name).read_text()
        assert "=HYPERLINK(1)" in read_csv(Path("out", name))["run"].tolist()
    Path("phases.csv").write_text("'=lr,exponent_plus,exponent_minus,phase\n'@a,-1,1,correct\n", newline="\n")
    assert trajhmm("figure", "phases", "phases.csv", "-o", "phases.svg").code == 0
    drawn = Path("phases.svg").read_text()
    assert "<!-- @a -->" in drawn
    assert "<!-- =lr -->" in drawn
