"""Runs that diverge, or get to their goal exactly: what their rows before say of stability is not all."""

import numpy as np
import pytest

from trajhmm.dynamics.stability.exponents.finite_time import finite_time_exponent


def found(ends, *, slope=-0.1, n=20, rows=40):
    """Of n runs that shrink by ``slope`` a step; each of ``ends`` stands at the end of so many of them."""
    rng = np.random.default_rng(0)
    logs = np.cumsum(slope + 0.05 * rng.standard_normal((n, rows)), axis=1)
    run = 0
    for value, how_many in ends.items():
        logs[run : run + how_many, 30:] = value
        run += how_many
    steps = np.tile(np.arange(rows), n)
    return finite_time_exponent(logs.ravel(), steps, np.full(n, rows))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_runs_that_diverge_are_not_stable_whatever_they_did_before(value):
    most, few, none = (found({value: n}) for n in (15, 5, 0))
    assert most.exponent.value < 0  # of the rows before
    assert (most.n_diverged, most.probability_stable, most.l2_stable) == (15, False, False)
    assert (few.n_diverged, few.probability_stable, few.l2_stable) == (5, True, False)
    assert (none.n_diverged, none.probability_stable, none.l2_stable) == (0, True, True)


def test_runs_that_get_to_0_exactly_are_stable():
    there = found({-np.inf: 15}, slope=0.1)
    assert there.exponent.value > 0
    assert (there.n_at_zero, there.probability_stable) == (15, True)
    assert found({-np.inf: 5}, slope=0.1).probability_stable is False
