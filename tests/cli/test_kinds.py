"""Options that say nothing to a kind are a wrong command; every option that the table names is told of in the help."""

import inspect
import re

import pytest

from trajhmm.cli import figure, fit, tables
from trajhmm.hmm import fit as fit_map
from trajhmm.warning.reference import fit_warning

VALUES = {
    "model": "m.json", "converged": "a > 1", "metric": "a", "state": "1", "since": "branch", "step_scale": "linear",
    "run": "a", "truth": "t.csv", "collapse": "a < 1", "sustained": "5", "onset": "a", "group": "a", "condition": "a",
    "rule": "strict", "within": "a", "refits": "20", "seed": "0", "run_by": "a", "rename": "a=b", "where": "a > 1",
    "step": "a", "table": "a", "no_cache": None, "jobs": "1",
}  # fmt: skip
BEYOND = [
    (verb, kind, name)
    for verb, room in (("figure", figure), ("table", tables))
    for name, option in room.OPTIONS.items()
    for kind in room.KINDS
    if kind not in option.kinds
]


def flag(name):
    return f"--{name.replace('_', '-')}"


def given(name):
    return [flag(name)] if VALUES[name] is None else [flag(name), VALUES[name]]


@pytest.mark.sampled(20)
@pytest.mark.parametrize(("verb", "kind", "name"), BEYOND)
def test_options_of_other_kinds_are_refused(verb, kind, name, trajhmm):
    """Also where the default is given, and before anything is read."""
    done = trajhmm(verb, kind, "logs", *given(name), "-o", "figure.pdf")
    assert done.code == 2
    assert re.search(rf"{flag(name)} is for [a-z, -]+; {verb} {kind} does not take it", done.err), done.err


@pytest.mark.parametrize(("room", "verb"), [(figure, "figure"), (tables, "table")])
def test_the_table_names_parameters_and_kinds_that_there_are(room, verb):
    parameters = inspect.signature(getattr(room, verb)).parameters
    for name, option in room.OPTIONS.items():
        assert name in parameters
        assert set(option.kinds) <= set(room.KINDS)
        assert not option.beside or option.beside in room.OPTIONS
    others = set(parameters) - set(room.OPTIONS)
    assert others <= {"kind", "output", "logs", "style", "width", "context"}, (
        "a new option is of all kinds, or in the table"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table", "states", "logs", "--within", "seed"], "--within says nothing without --converged"),
        (["table", "detours", "logs", "--refits", "20"], "--refits says nothing without --converged"),
        (["figure", "map", "logs", "--rule", "strict"], "--rule says nothing without --converged"),
        (["report", "logs", "--model", "m.json", "--within", "seed"], "--within says nothing without --converged"),
        (["report", "logs", "--model", "m.json", "--seed", "0"], "--seed says nothing without --converged"),
        (["fit", "logs", "--false-alarm", "0.05"], "--false-alarm is for warning; fit --for map does not take it"),
        (["fit", "logs", "--sustained", "5"], "--sustained is for warning; fit --for map does not take it"),
    ],
)
def test_options_that_need_another_one(words, said, trajhmm):
    done = trajhmm(*words, "-o", "out.json" if words[0] == "fit" else "out.html")
    assert done.code == 2
    assert said in done.err


def test_options_of_the_kind_are_taken(trajhmm):
    """As far as the logs, which are not there."""
    line = ["logs", "--model", "m.json", "--converged", "a > 1"]
    for words in (
        ["figure", "map", *line, "--rule", "strict", "--within", "a", "--refits", "0", "--seed", "0", "-o", "a.pdf"],
        ["figure", "convergence", *line, "--state", "1", "--since", "start", "-o", "a.pdf"],
        ["table", "states", *line, "--within", "a", "-o", "a.csv"],
        ["report", *line, "--jobs", "1", "-o", "a.html"],
        ["fit", "logs", "--for", "warning", "--false-alarm", "0.1", "-o", "m.json"],
    ):
        done = trajhmm(*words)
        assert (done.code, "no such file" in done.err or "cannot be read" in done.err) == (1, True), done.err


def test_the_help_tells_the_kinds(trajhmm):
    told = " ".join(trajhmm("figure", "--help").out.split())
    assert "--state K For convergence: by default" in told
    assert "For recall and leads: runs that belong together" in told
    assert re.search(r"--within COLUMN For map and convergence: compare only .* Beside --converged\.", told)


@pytest.mark.parametrize("function", [fit_warning, fit_map])
def test_fits_have_the_same_defaults_in_python(function):
    """What `fit` does without options, the function does: what is not given is not handed on, or is the same."""
    verb, known = (inspect.signature(one).parameters for one in (fit.fit, function))
    shared = set(verb) & set(known) - {"metrics", "states", "jobs", "truth", "map", "progress"}
    assert {"restarts", "iterations", "shrinkage", "seed", "covariance"} <= shared
    for name in shared:
        chosen = getattr(verb[name].default, "value", verb[name].default)
        assert chosen is None or chosen == known[name].default, name


@pytest.mark.parametrize(("function", "purpose"), [(fit_warning, "for warning"), (fit_map, "for a map")])
def test_the_help_of_fit_tells_those_defaults(function, purpose, trajhmm):
    known = inspect.signature(function).parameters
    told = " ".join(trajhmm("fit", "--help").out.split())
    for name in ("restarts", "iterations"):
        assert re.search(rf"--{name} <int range> [^-]*\b{known[name].default} {purpose}", told)
