"""The likeliest paths of several fits over the same rows, summed up: when states are entered, how fits agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.matching import adjusted_rand, contingency
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.inference.shifts import with_evidence
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import Chunk


@dataclass(frozen=True, kw_only=True, eq=False)
class Paths:
    """What the likeliest paths (Viterbi) of F fits with K states over the same rows have in common.

    Attributes
    ----------
    entries, visits : (K,) of the first fit: sum over runs of the row of first entry, and runs that enter.
    joint : log-probability of the first fit's paths and the values together, in nats; shifts of runs integrated out.
    tables : (F, K, K) rows in which the first fit is in state i and fit f in state j.
    """

    entries: NDArray[np.float64]
    visits: NDArray[np.float64]
    joint: float
    tables: NDArray[np.float64]

    def __add__(self, other: Paths) -> Paths:
        return Paths(
            entries=self.entries + other.entries,
            visits=self.visits + other.visits,
            joint=self.joint + other.joint,
            tables=self.tables + other.tables,
        )

    def entry_order(self) -> NDArray[np.int64]:
        """(K,) states of the first fit by mean row of first entry over the runs that enter; never entered last."""
        mean = np.divide(self.entries, self.visits, out=np.full(len(self.entries), np.inf), where=self.visits > 0)
        return np.argsort(mean, kind="stable").astype(np.int64)

    def agreement(self) -> list[float]:
        """Adjusted Rand index of each fit's states with the first fit's: 1 is the same partition, 0 is chance."""
        return [adjusted_rand(table) for table in self.tables]


def paths_of(chunk: Chunk, fits: Sequence[Parameters], weights: NDArray[np.float64]) -> Paths:
    """Decode a chunk under several fits with as many states.

    Parameters
    ----------
    fits : the first is the one that the others are compared with.
    weights : (R,) of all runs of the data; a run of weight 0 is left out, others count alike.
    """
    k = fits[0].n_states
    entries, visits, tables, joint = np.zeros(k), np.zeros(k), np.zeros((len(fits), k, k)), 0.0
    for stretch in chunk.stretches(chunk.own(weights), rows=65536):
        values, evidence = zip(*(with_evidence(stretch.values, stretch.offsets, fit) for fit in fits), strict=True)
        reference, likelihood = decode_rows(values[0], stretch.offsets, fits[0])
        joint += likelihood + float(evidence[0].sum())
        for start, stop in pairwise(stretch.offsets):
            states, first = np.unique(reference[start:stop], return_index=True)
            entries[states] += first
            visits[states] += 1
        for number, parameters in enumerate(fits):
            path = decode_rows(values[number], stretch.offsets, parameters)[0] if number else reference
            tables[number] += contingency(reference, path, k, k)
    return Paths(entries=entries, visits=visits, joint=joint, tables=tables)
