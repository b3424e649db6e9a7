"""What verbs print: names are a stranger's, terminals obey what they hold, and streams may be closed, full or gone."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from trajhmm import RunSet, fit
from trajhmm.cli import main
from trajhmm.cli.output.terminal import in_json
from trajhmm.cli.output.typeset import Column, as_csv, as_latex, escaped
from trajhmm.cli.warn.commands import AlarmCommands
from trajhmm.cli.warn.following import _Printed
from trajhmm.cli.warn.livetable import RunTable, Terminal
from trajhmm.files import unguarded
from trajhmm.naming import abridged, shown, shown_lines

EVIL = "\x1b[2J\x1b]0;own\x07\nerror: forged\r\x9b31m\u202e\x7f\u2028"
SHOWN = r"\x1b[2J\x1b]0;own\x07\nerror: forged\r\x9b31m\u202e\x7f\u2028"
# What a terminal would obey: controls but the end of a line, and what turns the direction of text around.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def logs():
    """Five runs with a name, a metric and an attribute that are hostile; the loss of all falls at once."""
    parts = []
    for seed, run in enumerate([EVIL, "=b", "<script>", "d", "$e^{"]):
        rng = np.random.default_rng(seed)
        level = np.repeat([3.0, 1.0], 15)
        columns = {"step": 10 * np.arange(30), f"lo{EVIL}ss": level + 0.1 * rng.normal(size=30)}
        columns |= {"norm": 4 - level + 0.1 * rng.normal(size=30), "accuracy": np.repeat([0.1, 0.95], 15)}
        parts.append(pd.DataFrame({"run": run, **columns, "group": f"{EVIL}{seed % 2}"}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Hostile logs and models of them: a map and one for warning."""
    folder = tmp_path_factory.mktemp("made")
    logs().to_parquet(folder / "logs.parquet")
    runs = RunSet.from_frame(logs())
    fit(runs, states=2, restarts=1, halves=0, seed=0).save(folder / "map.json")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_harmless(ended):
    for text in (ended.out, ended.err):
        assert not OBEYED.search(text), OBEYED.search(text)
    assert "\nerror: forged" not in ended.err + ended.out


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2067, 0x200F, 0xFEFF, 0xD800, 0xE0041])
def test_what_a_terminal_obeys_or_hides_is_shown_by_its_number(code):
    said = shown(f"a{chr(code)}b")
    number = {10: r"\n", 13: r"\r", 9: r"\t"}.get(code) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
    assert said == f"a{number}b"
    assert said.isprintable()


def test_ordinary_text_of_all_tongues_is_shown_as_it_is():
    for text in ("weight_l2/é", "中文", "עברית", "می\u200cخواهم", "👩\u200d🚀", "→ ½ µ", "a b", ""):
        assert shown(text) == text
    assert shown_lines("a\n\tb\x1b\n") == "a\n\tb\\x1b\n"
    assert all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in shown("".join(map(chr, range(0x3000)))))


VERBS = {
    "inspect": ["inspect", "logs.parquet"],
    "convert": ["convert", "logs.parquet", "-o", "out.csv"],
    "fit": ["fit", "logs.parquet", "-o", "m.json", "--states", "2", "--restarts", "1", "--halves", "0"],
    "decode": ["decode", "logs.parquet", "--model", "map.json", "-o", "s.parquet"],
    "warn": ["warn", "logs.parquet"],
    "warn --exec": ["warn", "logs.parquet", "--exec", "cat; printf 'a\\033[1m\\tb\\nc'"],
    "evaluate": ["evaluate", "logs.parquet", "--collapse", "accuracy < 0.5", "-o", "e"],
    "stability": ["stability", "logs.parquet", "--by", "group", "-o", "st"],
    "analyze": [
        "analyze", "logs.parquet", "--model", "map.json", "--converged", "accuracy > 0.9", "--refits", "0", "-o", "an"
    ],
    "report": ["report", "logs.parquet", "--model", "map.json", "-o", "r.html"],
    "table": ["table", "states", "logs.parquet", "--model", "map.json", "-o", "t.tex"],
    "no such metric": ["fit", "logs.parquet", "-o", "m.json", "--metrics", EVIL],
    "no such file": ["inspect", f"no{EVIL}"],
    "no such column": ["inspect", "logs.parquet", "--rename", f"{EVIL}=a"],
    "no such run": ["figure", "timeline", "logs.parquet", "--model", "map.json", "--run", EVIL, "-o", "f.svg"],
    "a model that is none": ["decode", "logs.parquet", "--model", f"{EVIL}.json", "-o", "out.parquet"],
    "a wrong condition": ["inspect", "logs.parquet", "--where", f"{EVIL} >"],
    "a wrong option": ["inspect", f"--{EVIL}"],
    "an output elsewhere": ["fit", "logs.parquet", "-o", f"logs.parquet/{EVIL}"],
}  # fmt: skip


@pytest.mark.sampled(6)
@pytest.mark.parametrize("line", VERBS)
def test_no_verb_hands_what_names_hold_to_the_terminal(line, here, trajhmm):
    (here / f"{EVIL}.json").write_text("{}")
    ended = trajhmm(*VERBS[line])
    assert_harmless(ended)
    failing = line.startswith(("no ", "a ", "an "))
    assert ended.code == (3 if line.startswith("warn") else 0 if not failing else 2 if "wrong" in line else 1)
    if ended.code == 1:
        assert len(ended.error) == 1
    if line in ("inspect", "fit", "warn", "no such file"):
        assert SHOWN in ended.out + ended.err
    for path in here.rglob("summary.txt"):
        assert not OBEYED.search(path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        ["inspect", "logs.parquet", "--json"],
        ["warn", "logs.parquet", "--json"],
        ["evaluate", "logs.parquet", "--collapse", "accuracy < 0.5", "--json"],
    ],
    ids=lambda line: line[0],
)
def test_json_stays_json_and_holds_the_names_themselves(line, here, trajhmm):
    ended = trajhmm(*line)
    assert ended.out.isascii()
    assert not OBEYED.search(ended.out)
    objects = [json.loads(one, parse_constant=pytest.fail) for one in ended.out.splitlines()]
    runs = objects if line[0] == "warn" else objects[0]["runs"]
    assert EVIL in [run["run"] for run in runs]


def test_what_is_not_finite_is_null_in_json():
    assert (
        in_json({"a": [float("nan"), float("inf"), 1.5], "b": (-float("inf"),)})
        == '{"a": [null, null, 1.5], "b": [null]}'
    )


def test_the_live_table_and_the_lines_above_it_hand_nothing_to_the_terminal():
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    table = RunTable(console, 1.0, Terminal(sys.stdout))
    alarm = SimpleNamespace(drivers=[SimpleNamespace(metric=EVIL)])
    table.show([SimpleNamespace(run=EVIL, last_step=3, last=None, alarm_step=2, alarm=alarm)], torn=0)
    console.print(table.render())
    table.above(f"alarm: run {EVIL} :bomb: [red]")
    printed = console.file.getvalue()
    assert not OBEYED.search(printed)
    assert f"alarm: run {SHOWN} :bomb: [red]\n" in printed


class Busy(io.StringIO):
    """A terminal that takes nothing for a moment."""

    busy = False

    def write(self, text):
        if self.busy:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return super().write(text)


def test_a_terminal_that_is_busy_for_a_moment_is_shown_the_alarm_with_the_next_table():
    screen = Busy()
    terminal = Terminal(screen)
    table = RunTable(Console(file=terminal, width=200, force_terminal=True, color_system=None), 1.0, terminal)
    screen.busy = True
    table.above("alarm: run a")
    table.above("alarm: run b")
    assert (screen.getvalue(), table.lost()) == ("", ["not all was shown: the terminal was busy"])
    screen.busy = False
    table.show([], torn=0)
    table.show([], torn=0)
    assert (screen.getvalue(), table.lost()) == ("alarm: run a\nalarm: run b\n", [])


def test_what_a_command_of_an_alarm_prints_is_said_line_by_line(capsys):
    commands = AlarmCommands("printf 'a\\033[1m\\n\\tb\\n'")
    commands.start("run", "{}")
    commands.finish(leave_running=False)
    assert capsys.readouterr().err == "a\\x1b[1m\n        b\n"


def test_warnings_are_said_in_a_line_without_code(trajhmm, monkeypatch):
    def warned(_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"odd {EVIL}", UserWarning, stacklevel=1)
        raise KeyboardInterrupt

    monkeypatch.setattr("trajhmm.hmm.load_model", warned)
    ended = trajhmm("warn", "logs", "--model", "model.json")
    assert (ended.code, ended.err) == (130, f"warning: odd {SHOWN}\n")


def test_an_error_that_nobody_foresaw_is_told_in_a_line(trajhmm, monkeypatch):
    def fail(_):
        raise ZeroDivisionError(EVIL)

    monkeypatch.setattr("trajhmm.hmm.load_model", fail)
    with pytest.raises(ZeroDivisionError):
        trajhmm("warn", "logs", "--model", "model.json")
    monkeypatch.setenv("TRAJHMM_TRACEBACK", "")
    monkeypatch.setattr(sys, "argv", ["trajhmm", "warn", "logs", "--model", "model.json"])
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    expected = f"error: ZeroDivisionError: {SHOWN} (not foreseen; with TRAJHMM_TRACEBACK=1 it says where)\n"
    assert said.getvalue() == expected


def test_too_little_memory_is_told_in_words(trajhmm, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr("trajhmm.hmm.load_model", fail)
    ended = trajhmm("warn", "logs", "--model", "model.json")
    assert ended.error == ["error: not enough memory; take fewer runs or rows at a time, such as with --where"]


# ---------------------------------------------------------------- streams that are closed, full or gone


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("streams", "code"),
    [("2>&-", 0), (">&- 2>&- <&-", 0), (">/dev/full", 1), ("2>/dev/full >out", 0), ("| :", None)],
)
def test_streams_may_be_closed_full_or_gone(streams, code, here):
    """As a shell does it; what is written to a file must not get what is printed, whatever numbers are free."""
    script = f"'{sys.executable}' -m trajhmm inspect logs.parquet {streams}; exit ${{PIPESTATUS[0]}}"
    # What is kept back to be written later fails at the very end.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False, cwd=here, env=buffered
    )
    assert done.returncode in ((0, 1) if code is None else (code,))
    said = "error: output: No space left on device\n" if code == 1 else ""
    assert done.stderr == said
    if streams == "2>&-":
        assert done.stdout.startswith("5 runs, 150 rows")


def test_a_closed_standard_error_is_not_written_into_the_output(here):
    script = f"'{sys.executable}' -m trajhmm convert logs.parquet -o out.jsonl >&- 2>&- <&-"
    assert subprocess.run(["bash", "-c", script], timeout=120, check=False, cwd=here).returncode == 0
    assert all(json.loads(line)["step"] >= 0 for line in Path("out.jsonl").read_text().splitlines())


@pytest.mark.once
def test_a_terminal_that_knows_no_letters_but_ascii_gets_the_others_by_number(here):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    line = [sys.executable, "-m", "trajhmm", "warn", "logs.parquet"]
    done = subprocess.run(line, capture_output=True, timeout=120, check=False, cwd=here, env=environment)
    assert done.returncode == 3
    assert (done.stdout + done.stderr).isascii()
    assert b"Traceback" not in done.stderr
    assert rb"\u2193 (usual here " in done.stdout


class Gone(io.TextIOBase):
    """A stream that takes nothing."""

    def __init__(self, code):
        self.code = code

    def write(self, _):
        raise OSError(self.code, os.strerror(self.code))

    def flush(self):
        pass


@pytest.mark.parametrize("line", ["inspect", "warn", "evaluate", "stability"])
def test_a_reader_that_went_away_ends_every_verb_with_1_and_no_word(line, here, monkeypatch, capsys):
    monkeypatch.setenv("TRAJHMM_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["trajhmm", *VERBS[line]])
    monkeypatch.setattr(sys, "stdout", Gone(errno.EPIPE))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert not re.search(r"^error|Traceback", capsys.readouterr().err, flags=re.MULTILINE)


@pytest.mark.parametrize("line", ["inspect", "fit", "warn"])
def test_that_nobody_hears_what_is_said_stops_no_verb(line, here, monkeypatch, capsys):
    monkeypatch.setenv("TRAJHMM_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["trajhmm", *VERBS[line]])
    monkeypatch.setattr(sys, "stderr", Gone(errno.ENOSPC))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == (3 if line == "warn" else 0)
    assert capsys.readouterr().out or line == "fit"


class Filling:
    """Standard output on a disk that is full for a while: what was written is kept, as Python keeps it."""

    def __init__(self):
        self.full, self.kept, self.taken = False, "", ""

    def write(self, text):
        self.kept += text

    def flush(self):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken, self.kept = self.taken + self.kept, ""


def test_a_watch_outlives_a_full_disk_and_prints_each_alarm_once(monkeypatch, capsys):
    out, printed = Filling(), _Printed()
    monkeypatch.setattr(sys, "stdout", out)
    printed.line("first")
    out.full = True
    printed.line("second")
    printed.line("third")
    printed.again()
    assert printed.lost() == ["not all was printed: standard output: No space left on device"]
    out.full = False
    printed.again()
    printed.line("fourth")
    assert printed.lost() == []
    assert out.taken == "first\nsecond\nthird\nfourth\n"
    assert capsys.readouterr().err == (
        "warning: standard output: No space left on device; alarms are kept, and printed as soon as it takes them\n"
    )


def test_a_watch_whose_reader_went_away_says_so_at_its_end(monkeypatch):
    printed = _Printed()
    monkeypatch.setattr(sys, "stdout", Gone(errno.EPIPE))
    with pytest.raises(BrokenPipeError):
        printed.line("alarm")
    monkeypatch.setattr(sys.stdout, "flush", lambda: sys.stdout.write(""))
    assert printed.lost() == ["not all was printed: standard output: Broken pipe"]


# ---------------------------------------------------------------- what is no file, to read

PIPES = {
    "logs": ["inspect", "pipe"],
    "logs to fit": ["fit", "pipe", "-o", "m.json"],
    "a model": ["decode", "logs.parquet", "--model", "pipe", "-o", "out.parquet"],
    "a model to warn": ["warn", "logs.parquet", "--model", "pipe"],
    "a truth": ["evaluate", "logs.parquet", "--truth", "pipe"],
    "checkpoints": ["collect", "pipe", "-o", "out.parquet"],
    "a table": ["figure", "phases", "pipe", "-o", "out.svg"],
    "a table in a folder": ["figure", "phases", "folder", "-o", "out.svg"],
    "what an audit wrote": ["report", "logs.parquet", "--model", "map.json", "--stability", "folder", "-o", "out.html"],
}


@pytest.mark.parametrize("line", PIPES)
def test_a_pipe_is_not_waited_for(line, here, trajhmm):
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name in ("phases.csv", "summary.txt"):
        os.mkfifo(Path("folder", name))
    ended = trajhmm(*PIPES[line])
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(
        r"error: \S+: is a named pipe, no file; write what comes out of it to a file, and name that", *ended.error
    )


def test_what_is_written_and_read_again_is_no_pipe_and_no_folder(here, trajhmm):
    os.mkfifo("pipe")
    Path("folder").mkdir()
    np.savez("step_1.npz", weight=np.ones((3, 3)))
    before = sorted(Path().iterdir())
    for line, what in (
        (["warn", "logs.parquet", "--follow", "--state"], "state file"),
        (["collect", "step_1.npz", "-o"], "run log"),
    ):
        ended = trajhmm(*line, "pipe")
        assert (ended.code, ended.error) == (1, [f"error: pipe: is no file; expected the name of a {what}"])
        ended = trajhmm(*line, "folder")
        assert ended.error == [f"error: folder: is a folder; expected the name of a {what} to write"]
    assert sorted(Path().iterdir()) == before


def test_a_device_and_a_folder_are_no_models(here, trajhmm):
    ended = trajhmm("decode", "logs.parquet", "--model", "/dev/zero", "-o", "out.parquet")
    assert ended.error == [
        "error: /dev/zero: is a device, no file; write what comes out of it to a file, and name that"
    ]
    ended = trajhmm("decode", "logs.parquet", "--model", ".", "-o", "out.parquet")
    assert ended.code == 1
    assert len(ended.error) == 1


# ---------------------------------------------------------------- tables for print


def test_latex_prints_names_letter_by_letter():
    assert escaped(r"a_b^c{d}$\%#&~") == (r"a\_b\textasciicircum{}c\{d\}\$\textbackslash{}\%\#\&\textasciitilde{}")
    assert escaped(EVIL) == SHOWN.replace("\\", r"\textbackslash{}")
    assert escaped("--x---y ``z''?`!`,,") == "-{}-x-{}-{}-y `{}`z'{}'?{}`!{}`,{},"
    assert escaped("weight-l2 1e-5") == "weight-l2 1e-5"


@pytest.mark.parametrize("name", ["[1cm] a", "*", "[x"])
def test_a_cell_that_begins_like_an_option_is_none_of_the_line_before(name):
    lines = as_latex([Column("name", "Name", [name, "b"]), Column("n", "n", [1, 2])]).splitlines()
    assert lines[5] == rf"{{}}{name} & 1 \\"
    assert lines[6] == r"b & 2 \\"


def test_a_table_in_full_is_guarded_too():
    text = as_csv([Column("=name", "Name", ["@a", "b\rc", "-1"]), Column("n", "n", [-1, 2.5, None])])
    table = pd.read_csv(io.StringIO(text))
    assert list(table) == ["'=name", "n"]
    assert table["'=name"].map(unguarded).tolist() == ["@a", "b\rc", "-1"]
    assert "\n" not in text.split("\r")[0].split("\n")[-1]
    assert table["n"].tolist()[:2] == [-1, 2.5]


# ---------------------------------------------------------------- tables that a verb wrote, and somebody changed

FINISHED = {
    "phases": "lr,exponent_plus,exponent_minus,phase\n0.1,-1,1,correct\n0.2,-1,1,saddle\n",
    "probability": "lr,quantity,step,share,ci_low,ci_high,log_second_moment\n"
    "0.1,d,1,0.5,0.4,0.6,-1\n0.1,d,2,0.5,0.4,0.6,1\n",
    "hazard": "lr,step,hazard,ci_low,ci_high\n0.1,1,0.5,0.4,0.6\n0.1,2,0.5,0.4,0.6\n",
    "spikes": "run,metric,start,net_effect,verdict\na,loss,1,0.1,helped\nb,loss,1,0.2,harmed\n",
    "lyapunov": "lr,quantity,exponent,ci_low,ci_high,n_runs,l2_stable,probability_stable\n"
    "0.1,d,-0.1,-0.2,0.1,4,True,\n",
    "stability": "dimension,strength,n_runs,collapsed,collapsed_low,collapsed_high,recovery_steps,"
    "recovery_low,recovery_high,area_ratio,area_low,area_high,deviation,deviation_low,deviation_high,lead_share,lead_low,lead_high\n"
    "noise,1,4,0.5,0.1,0.9,10,5,20,1,0.5,1.5,1,0.5,2,0.5,0.2,0.8\n",
}
ODD = ["", "x", "nan", "-inf", "1e400", "=a", "$x^{$", "9" * 400, "True", "\x1b"]


def damaged(text, rng):
    """The table with cells replaced, or a column or a line lost or doubled."""
    table = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.integers(1, 4)):
        kind, row, column = rng.integers(6), rng.integers(len(table)), rng.integers(len(table[0]) or 1)
        if kind == 0 and len(table) > 1:
            del table[row]
        elif kind == 1:
            table = [[cell for place, cell in enumerate(line) if place != column] for line in table]
        elif kind == 2:
            table.append(list(table[-1]))
        elif column < len(table[row]):
            table[row][column] = ODD[rng.integers(len(ODD))]
    return "\n".join(map(",".join, table)) + "\n"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", FINISHED)
def test_a_changed_table_is_drawn_or_refused_in_a_line(kind, tmp_path, trajhmm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verbs = {"lyapunov": ["table"], "stability": ["table", "figure"]}.get(kind, ["figure"])
    for seed in range(9):
        rng = np.random.default_rng(seed)
        Path("in.csv").write_text(damaged(FINISHED[kind], rng) if seed else FINISHED[kind])
        verb = verbs[seed % len(verbs)]
        ended = trajhmm(verb, kind, "in.csv", "-o", "out.tex" if verb == "table" else "out.svg")
        assert ended.code == 0 or (ended.code == 1 and len(ended.error) == 1 and seed), ended.err
        assert_harmless(ended)


@pytest.mark.parametrize("verb", ["inspect", "warn", "fit"])
@pytest.mark.parametrize("cell", ["word", ""])
def test_a_name_as_long_as_a_book_is_abridged(verb, cell, tmp_path, trajhmm):
    """What is wrong, where, and what to do stand at the beginning and at the end."""
    name = "x" * 20_000
    rows = "".join(f"{t},{1 / (t + 1)},{cell if t == 3 else t % 3}\n" for t in range(20))
    (tmp_path / "a.csv").write_text(f"step,loss,{name}\n{rows}")
    ended = trajhmm(verb, tmp_path / "a.csv", *(("-o", tmp_path / "model.json") if verb == "fit" else ()))
    assert max(map(len, ended.err.splitlines()), default=0) <= 4100
    if cell:
        assert ended.code == 1
        assert f"{tmp_path}/a.csv: " in ended.err
        assert "xx … xx" in ended.err
        assert ended.err.rstrip().endswith("leave it empty")


def test_short_words_are_not_abridged():
    assert abridged("a" * 30, 30) == "a" * 30
    assert abridged("a" * 20 + "b" * 11, 30) == "a" * 20 + " … " + "b" * 10
