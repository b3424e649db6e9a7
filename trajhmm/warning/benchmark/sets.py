"""The sets of the benchmark: which logs, what counts as collapse, what is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trajhmm.features.choose import default_metrics
from trajhmm.logs import RunSet, read_logs
from trajhmm.warning.evaluation.truth import attribute_onsets, derive_truth
from trajhmm.warning.runs import Kind, Trial, trials_of

# Rows that a collapse has to last.
SUSTAINED = 5


@dataclass(frozen=True, kw_only=True)
class BenchmarkSet:
    """Runs whose end is known.

    Attributes
    ----------
    name, title : of the set; what its runs are.
    situation : ``matched``, healthy runs of one configuration, or ``sweep``, of several.
    file : under ``data/``.
    where : rows that count.
    collapse : condition on the performance.
    condition, group : attributes; runs that share one are held out together.
    hard : values of the attribute ``kind`` of runs to which something happened that they survive, without an onset.
    """

    name: str
    title: str
    situation: str
    file: str
    collapse: str
    where: str | None = None
    condition: str | None = None
    group: str
    hard: tuple[str, ...] = ()

    def logs(self, data: Path) -> RunSet:
        """Its logs, from the folder ``data/``."""
        return read_logs(data / self.file, where=self.where)

    def digest(self, data: Path) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256((data / self.file).read_bytes()).hexdigest()

    def trials(self, data: Path, metrics: Sequence[str] | None = None) -> tuple[list[Trial], list[Trial]]:
        """Its runs with what became of them, and beside them those that are hard.

        Parameters
        ----------
        data : the folder.
        metrics : that detectors see; by default those that a model for warning would be fitted to.
        """
        runs = self.logs(data)
        truth = derive_truth(runs, self.collapse, sustained=SUSTAINED, onsets=attribute_onsets(runs))
        chosen = default_metrics(runs)[0] if metrics is None else metrics
        trials = trials_of(runs, truth, condition=self.condition, group=self.group, metrics=chosen)
        if not self.hard:
            return list(trials), []
        kinds = dict(zip(runs.runs, runs.attributes["kind"], strict=True))
        hard = {t.run.run for t in trials if t.truth.kind is Kind.HEALTHY and kinds[t.run.run] in self.hard}
        return [t for t in trials if t.run.run not in hard], [t for t in trials if t.run.run in hard]


def _matched(name: str, title: str, collapse: str) -> BenchmarkSet:
    return BenchmarkSet(
        name=name,
        title=title,
        situation="matched",
        file=f"audit_{name}/runs.parquet",
        where="buffer == 'none'",
        collapse=collapse,
        condition="dimension",
        group="seed",
    )


def _sweep(name: str, title: str, collapse: str) -> BenchmarkSet:
    return BenchmarkSet(
        name=f"{name}_sweep",
        title=f"{title}, 24 configurations",
        situation="sweep",
        file=f"sweeps/audit_{name}.parquet",
        collapse=collapse,
        group="configuration",
        hard=("hard_negative", "spontaneous"),
    )


_CLASSIFIER, _LANGUAGE, _AGENT = "a classifier of digits", "a language model of characters", "a policy-gradient agent"
SETS: dict[str, BenchmarkSet] = {
    one.name: one
    for one in (
        _matched("classifier", _CLASSIFIER, "eval_accuracy < 0.5"),
        _matched("lm", _LANGUAGE, "ratio(eval_accuracy) < 0.6"),
        _matched("rl", _AGENT, "ratio(episode_return) < 0.4"),
        _sweep("classifier", _CLASSIFIER, "eval_accuracy < 0.5 and best(eval_accuracy) >= 0.5"),
        _sweep("lm", _LANGUAGE, "ratio(eval_accuracy) < 0.6"),
        _sweep("rl", _AGENT, "ratio(episode_return) < 0.4"),
    )
}
