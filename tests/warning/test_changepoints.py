"""The run-length filter against the sum over all ways to cut a series into regimes."""

import itertools
import math

import numpy as np
import pytest

from trajhmm.warning.detectors import Reference, make_detector
from trajhmm.warning.detectors.changepoints import run_length_filter

from .made import made_run

KAPPA, ALPHA, BETA = 0.7, 1.3, 0.9


def log_evidence(values):
    """Log marginal likelihood of one regime, in closed form (Murphy 2007, equation 95), prior mean 0."""
    n, mean = len(values), np.mean(values)
    kappa, alpha = KAPPA + n, ALPHA + n / 2
    beta = BETA + 0.5 * np.sum((values - mean) ** 2) + KAPPA * n * mean**2 / (2 * kappa)
    return (
        math.lgamma(alpha)
        - math.lgamma(ALPHA)
        + ALPHA * math.log(BETA)
        - alpha * math.log(beta)
        + 0.5 * math.log(KAPPA / kappa)
        - n / 2 * math.log(2 * math.pi)
    )


def probability_of_a_recent_change(values, hazard, recent):
    """Sum over all 2^(n−1) sets of change points: the share of those whose last lies within the last ``recent``."""
    n, total, hit = len(values), 0.0, 0.0
    for cuts in itertools.product([False, True], repeat=n - 1):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        log_p = sum(math.log(hazard) if cut else math.log(1 - hazard) for cut in cuts)
        log_p += sum(log_evidence(values[a:b]) for a, b in itertools.pairwise(bounds))
        total += math.exp(log_p)
        hit += math.exp(log_p) * (bounds[-2] > 0 and n - bounds[-2] <= recent)
    return hit / total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("hazard", "recent"), [(0.1, 1), (0.1, 3), (0.4, 2), (0.02, 5)])
def test_the_filter_is_the_sum_over_all_segmentations(seed, hazard, recent):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, 9) + 4 * (np.arange(9) > 5)
    found = run_length_filter(values, hazard, KAPPA, ALPHA, BETA, recent, 50)
    expected = [probability_of_a_recent_change(values[: t + 1], hazard, recent) for t in range(9)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found[0] == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_merged_regimes_change_little(seed):
    """All lengths told apart, or those up to 100: the same to a hundredth, though one regime lasts 180 rows."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, 300) + np.repeat([0, 3, 3, 3, -1], 60)
    exact = run_length_filter(values, 0.02, 1.0, 1.0, 1.0, 5, 400)
    merged = run_length_filter(values, 0.02, 1.0, 1.0, 1.0, 5, 100)
    assert np.abs(exact - merged).max() < 0.01
    assert all(merged[change - 5 : change + 5].max() > 0.5 for change in (60, 240))


def test_the_shortest_memory_is_that_of_the_filter_written_out():
    """Two lengths only, 1 and more: masses add up, and the likelier regime lends its values to both."""
    values = np.array([0.3, -0.2, 2.0, 1.9, 2.1, 2.0, -3.0, -3.1, -2.9])
    found = run_length_filter(values, 0.2, KAPPA, ALPHA, BETA, 1, 2)

    def ahead(before, value):
        return math.exp(log_evidence(np.append(before, value)) - log_evidence(before))

    new, longer, known_since = 1.0, 0.0, 0  # the longer regime is known to have begun there
    expected, moved = [0.0], 0
    for t, value in enumerate(values[1:], start=1):
        first = math.exp(log_evidence(values[t : t + 1])) * 0.2
        young = 0.8 * new * ahead(values[t - 1 : t], value)
        old = 0.8 * longer * ahead(values[known_since:t], value) if longer else 0.0
        if young > old and t > 1:
            known_since, moved = t - 1, moved + 1
        total = first + young + old
        new, longer = first / total, (young + old) / total
        expected.append(new)
    assert moved
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_values_are_scaled_by_health():
    rng = np.random.default_rng(0)
    healthy = tuple(made_run(50 + 10 * rng.normal(size=100)) for _ in range(3))
    fitted = make_detector("bayes_changepoint").fit(Reference(healthy=healthy))
    rows = np.concatenate([run.values[:, 0] for run in healthy])
    values = 50 + 10 * (rng.normal(size=80) + 5 * (np.arange(80) >= 60))
    expected = run_length_filter((values - rows.mean()) / rows.std(), 1 / 250, 1.0, 1.0, 1.0, 5, 400)
    np.testing.assert_allclose(fitted.scores(made_run(values)), expected, rtol=1e-9)
    assert np.flatnonzero(expected > 0.5)[0] in range(60, 63)
