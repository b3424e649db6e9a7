"""Whether training passes three phases in order: left-to-right HMMs against each other and against free ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.rates import Rate, rate_over_runs
from trajhmm.errors import AnalysisError
from trajhmm.features import Sequences, map_sequences
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows
from trajhmm.hmm.parameters import Topology
from trajhmm.logs import RunSet
from trajhmm.logs.runset import offsets_of

Verdict = Literal["three", "fewer", "more", "out of order", "not decided"]

TRIED: tuple[tuple[Topology, int], ...] = (
    ("left-right", 2),
    ("left-right", 3),
    ("left-right", 4),
    ("free", 3),
)
MARGIN = 0.05
"""Evidence, in nats a row, below which one more state or freedom counts as nothing."""
FOLDS = 4
_ROWS, _RESTARTS, _ITERATIONS = 150, 2, 40
_SENTENCES: dict[Verdict, str] = {
    "three": "Three phases in order: held-out runs are told better by three than by two, no better by four, and no "
    "better where runs may go back.",
    "fewer": "Fewer than three phases: a third tells held-out runs no better.",
    "more": "No three phases: a fourth tells held-out runs better still, as on any smooth road, on which every further "
    "stair does.",
    "out of order": "No three phases in order: held-out runs are told better where a state may be gone back to.",
    "not decided": "Not decided: the intervals hold differences that would count and ones that would not; more runs "
    "decide it.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """How well one kind of HMM tells runs that it was not fitted to: nats a row, with an interval over runs."""

    topology: Topology
    n_states: int
    nats: Rate


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreePhases:
    """Three phases put to the test.

    Attributes
    ----------
    evidence : of each kind of HMM.
    third, fourth : gain, in nats a row, of three states over two and of four over three, left to right.
    freedom : gain of three states between which runs may go to and fro over three left to right.
    starts : steps at which half of the runs have entered the second and the third phase; None where fewer than half do.
    metrics : that the phases are of.
    n_runs, n_rows : that they are told from.
    """

    evidence: tuple[Evidence, ...]
    third: Rate
    fourth: Rate
    freedom: Rate
    starts: tuple[int | None, int | None]
    metrics: tuple[str, ...]
    n_runs: int
    n_rows: int

    @property
    def verdict(self) -> Verdict:
        """In a word."""
        if self.third.ci_high < MARGIN:
            return "fewer"
        if self.freedom.ci_low > MARGIN:
            return "out of order"
        if self.fourth.ci_low > MARGIN:
            return "more"
        if self.third.ci_low > MARGIN > max(self.fourth.ci_high, self.freedom.ci_high):
            return "three"
        return "not decided"

    @property
    def sentence(self) -> str:
        """In words, with the evidence."""
        told = ", ".join(
            f"{name} {rate.value:+.3g} ({rate.ci_low:.3g} to {rate.ci_high:.3g})"
            for name, rate in (("a third phase", self.third), ("a fourth", self.fourth), ("going back", self.freedom))
        )
        return f"{_SENTENCES[self.verdict]} Nats a row: {told}."

    def to_dict(self) -> dict[str, object]:
        """What ``three_phases.json`` holds."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "margin": MARGIN,
            "gains": {name: _told(getattr(self, name)) for name in ("third", "fourth", "freedom")},
            "evidence": [
                {"topology": one.topology, "n_states": one.n_states, **_told(one.nats)} for one in self.evidence
            ],
            "phase_starts": list(self.starts),
            "metrics": list(self.metrics),
            "n_runs": self.n_runs,
            "n_rows": self.n_rows,
        }


def three_phases(runs: RunSet, metrics: Sequence[str] | None = None, *, seed: int = 0) -> ThreePhases:
    """Fit left-to-right and free HMMs to some of the runs, and see how well they tell the others.

    Each run is told by fits to three quarters of the others. Metrics are on one scale for all runs: what they differ by
    from their first rows on asks for states of its own, and so does the taking off of these rows, which carries their
    noise through the run. No more than 150 rows of a run count, as rows that follow each other closely tell what one
    does. Gaussian emissions take rows to be independent, so that all evidence is more certain of fine distinctions
    than it should be: gains below 0.05 nats a row count as nothing.

    Parameters
    ----------
    runs : the logs.
    metrics : names; by default those that a map would use.
    seed : of the folds and of the starts.

    Raises
    ------
    AnalysisError
        Fewer than four runs, or too few rows.
    LogError
        Unknown metrics, or none that changes.
    """
    scaled = _thinned(map_sequences(runs, metrics, scaling="shared"))
    if scaled.n_runs < FOLDS or int(scaled.lengths.max()) < 10:
        raise AnalysisError(
            f"{scaled.n_runs} runs of at most {int(scaled.lengths.max())} rows: expected at least {FOLDS} runs of 10 "
            "rows to tell phases of training"
        )
    folds = np.random.default_rng(seed).permutation(scaled.n_runs) % FOLDS
    told = {kind: _held_out(scaled, folds, *kind, seed=seed) for kind in TRIED}
    spans = scaled.lengths.astype(np.float64)

    def gain(over: tuple[Topology, int], under: tuple[Topology, int]) -> Rate:
        return rate_over_runs(told[over] - told[under], spans)

    return ThreePhases(
        evidence=tuple(
            Evidence(topology=kind[0], n_states=kind[1], nats=rate_over_runs(totals, spans))
            for kind, totals in told.items()
        ),
        third=gain(("left-right", 3), ("left-right", 2)),
        fourth=gain(("left-right", 4), ("left-right", 3)),
        freedom=gain(("free", 3), ("left-right", 3)),
        starts=_starts(scaled, seed),
        metrics=scaled.metrics,
        n_runs=scaled.n_runs,
        n_rows=scaled.n_rows,
    )


def _thinned(scaled: Sequences) -> Sequences:
    """Every n-th row, so that no run has more than 150."""
    every = int(np.ceil(scaled.lengths.max() / _ROWS))
    kept = np.concatenate([np.arange(some.start, some.stop, every) for _, some in scaled.slices()])
    return replace(
        scaled,
        lengths=-(-scaled.lengths // every),
        steps=scaled.steps[kept],
        values=np.ascontiguousarray(scaled.values[kept]),
        rows=scaled.rows[kept],
    )


def _some(scaled: Sequences, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows and lengths of some of (R,) runs."""
    return scaled.values[np.repeat(chosen, scaled.lengths)], scaled.lengths[chosen]


def _fitted(
    values: NDArray[np.float64], lengths: NDArray[np.int64], kind: tuple[Topology, int], seed: int
) -> GaussianHMM:
    topology, n_states = kind
    model = GaussianHMM(
        n_states, topology=topology, n_restarts=_RESTARTS, n_iter=_ITERATIONS, tol=1e-4, random_state=seed
    )
    return model.fit(values, lengths)


def _held_out(
    scaled: Sequences, folds: NDArray[np.int64], topology: Topology, n_states: int, *, seed: int
) -> NDArray[np.float64]:
    """(R,) log-likelihood of each run under a fit to the other folds, in nats."""
    totals = np.empty(scaled.n_runs)
    for fold in range(FOLDS):
        model = _fitted(*_some(scaled, folds != fold), (topology, n_states), seed)
        values, lengths = _some(scaled, folds == fold)
        offsets = offsets_of(lengths)
        totals[folds == fold] = np.add.reduceat(filter_rows(values, offsets, model.parameters)[1], offsets[:-1])
    return totals


def _starts(scaled: Sequences, seed: int) -> tuple[int | None, int | None]:
    """Median steps at which runs enter the second and third of three phases, of a fit to all."""
    model = _fitted(scaled.values, scaled.lengths, ("left-right", 3), seed)
    path = decode_rows(scaled.values, scaled.offsets, model.parameters)[0]
    found: list[int | None] = []
    for phase in (1, 2):
        entered = np.full(scaled.n_runs, np.inf)
        for run, (_, rows) in enumerate(scaled.slices()):
            there = path[rows] >= phase
            if there.any():
                entered[run] = scaled.steps[rows][there.argmax()]
        middle = float(np.sort(entered)[(scaled.n_runs - 1) // 2])
        found.append(int(middle) if np.isfinite(middle) else None)
    return found[0], found[1]


def _told(rate: Rate) -> dict[str, float]:
    return {"nats_a_row": rate.value, "ci_low": rate.ci_low, "ci_high": rate.ci_high}
