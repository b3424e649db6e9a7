"""Files beside logs that are no logs themselves: those that this package writes, and those that trackers keep."""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache
from pathlib import Path

from trajhmm.files import unguarded
from trajhmm.logs.formats.registry import head_of

_PROBABILITY = re.compile(r"p_\d+")
_EXACTLY = {
    frozenset({"run", "step", "state"}): "states",
    frozenset({"run", "step", "state", "probability"}): "states",
    frozenset({"run", "step", "converged"}): "convergence steps",
    frozenset({"run", "step", "score", "threshold", "risk", "state"}): "warning scores",
    frozenset({"quantity", "value"}): "a regression",
}
# Tables with other columns beside these, such as those that ``--by`` names.
_STABILITY, _EXPONENTS = "stability of perturbed runs", "Lyapunov exponents"
_AMONG_OTHERS = {
    frozenset({"run", "role", "baseline", "collapse_step", "preceded"}): "runs of an audit",
    frozenset({"run", "onset", "collapse_step"}): "a truth table",
    frozenset({"run", "freezing_step", "valley"}): "a truth table",
    frozenset({"run", "exponent", "second_moment", "l2_stable"}): "a truth table",
    frozenset({"state", "runs_with", "runs_without", "coefficient"}): "detours",
    frozenset({"state", "converged_with", "converged_without"}): "evidence for detours",
    frozenset({"state", "runs", "rows", "entry_step", "top_metrics"}): "states of a map",
    frozenset({"run", "state", "rows", "share", "times", "first_step", "last_step"}): "visits of states",
    frozenset({"source", "target", "runs", "times", "probability"}): "edges of a map",
    frozenset({"states", "log_likelihood", "outcome", "chosen"}): "a curve over numbers of states",
    frozenset({"dimension", "strength", "collapsed", "recovery_steps", "area_ratio"}): _STABILITY,
    frozenset({"dimension", "strength", "n_pairs", "collapsed_plain", "collapsed_buffered"}): _STABILITY,
    frozenset({"run", "kind", "outcome", "alarm_step", "lead_steps"}): "outcomes of warnings",
    frozenset({"detector", "budget", "attainable", "reason"}): "detectors beside each other",
    frozenset({"quantity", "exponent", "n_runs", "l2_stable", "probability_stable"}): _EXPONENTS,
    frozenset({"exponent_plus", "exponent_minus", "phase"}): "phases of learning",
    frozenset({"run", "freezing_step", "censored"}): "freezing times",
    frozenset({"run", "proxy_step", "censored"}): "freezing times",
    frozenset({"metric", "verdict", "n_spikes", "n_placebos"}): "spikes",
    frozenset({"run", "metric", "start", "peak", "net_effect", "verdict"}): "spikes",
    frozenset({"n_layers", "rise_and_fall", "peak_step", "verdict"}): "formation of layers",
    frozenset({"quantity", "n_runs", "correlation", "ci_low", "ci_high"}): "correlations",
}
# The same of tables that have a step.
_BY_STEP = {
    frozenset({"step", "hazard", "ci_low", "ci_high"}): "hazards of a change",
    frozenset({"step", "spread", "stop_step", "still_growing"}): "spread of runs",
    frozenset({"step", "quantity", "share", "log_first_moment", "log_second_moment"}): "convergence in probability",
}
# How lines of JSON begin that verbs print.
_PRINTED = {
    re.compile(r'\{"run": "(?:[^"\\]|\\.)*", "alarm": (?:true|false), "step": '): "alarms",
    re.compile(r'\{"report": \{"healthy": '): "an evaluation",
    re.compile(r'\{"n_runs": \d+, "n_rows": '): "a description of logs",
}
_TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
# What stands in the folder of a run of Weights & Biases beside its log, and in that of a run of MLflow.
_OF_WANDB = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(\w+)")
_BESIDE_WANDB, _BESIDE_MLFLOW = ("files", "logs", "tmp"), "artifacts"
_RUN_OF_MLFLOW = re.compile(r"[0-9a-f]{32}")


@lru_cache
def product_of(columns: tuple[str, ...]) -> str | None:
    """Say what a file with these columns holds if this package wrote it; None if it may be a log."""
    names = frozenset(name for name in columns if not _PROBABILITY.fullmatch(name))
    for among, product in (_BY_STEP if "step" in names else _AMONG_OTHERS).items():
        if among <= names:
            return product
    return _EXACTLY.get(names)


def no_log(path: Path) -> str | None:
    """Say why a file that was found in a folder is no log, by where it stands and how it begins; None if it may be one.

    What is told so need not be read, and may hold what no log does: words in place of numbers, no steps.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if tracker := _keeper_of(path):
        return f"kept by {tracker} beside the log of a run, left out"
    if not path.name.lower().removesuffix(".gz").endswith(_TEXTS):
        return None
    text = head_of(path).decode("utf-8-sig", errors="replace")
    product = next((product for begins, product in _PRINTED.items() if begins.match(text)), None)
    if product is None and (line := text.partition("\n")[0]):
        product = next(filter(None, (product_of(_names_in(line, mark)) for mark in ",;\t")), None)
    return None if product is None else f"{product} that trajhmm wrote, no log, left out"


def _names_in(line: str, mark: str) -> tuple[str, ...]:
    """The names in the first line of a table, of text that a spreadsheet may have saved anew."""
    try:
        cells = next(csv.reader(io.StringIO(line.rstrip("\r")), delimiter=mark), [])
    except csv.Error:
        return ()
    return tuple(str(unguarded(cell)) for cell in cells)


def _keeper_of(path: Path) -> str | None:
    """The tracker that keeps a file in the folder of a run whose log stands beside."""
    parts = path.parts
    for place in range(1, len(parts) - 1):
        before, folder = parts[place - 1], parts[place]
        tracker, log = "", ""
        if folder in _BESIDE_WANDB and (found := _OF_WANDB.fullmatch(before)):
            tracker, log = "Weights & Biases", f"run-{found[1]}.wandb"
        elif folder == _BESIDE_MLFLOW and _RUN_OF_MLFLOW.fullmatch(before):
            tracker, log = "MLflow", "meta.yaml"
        if log and Path(*parts[:place], log).exists():
            return tracker
    return None
