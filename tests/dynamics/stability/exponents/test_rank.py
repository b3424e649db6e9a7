"""Proxies of rank are exact for one matrix."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.exponents.rank import participation_proxy, rank_proxies, stable_rank_proxy
from trajhmm.logs import RunSet


def metrics_of(matrix):
    singular = np.linalg.svd(matrix, compute_uv=False)
    return {
        "weight_l2": np.linalg.norm(matrix),
        "spectral_norm": singular[0],
        "singular_mean": singular.mean(),
        "singular_var": singular.var(),
    }


def matrix_of(rank, size=6, seed=0):
    """A matrix of that rank whose singular values other than 0 are alike."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    return 3.0 * left[:, :rank] @ right[:rank]


@pytest.mark.parametrize("rank", [1, 2, 6])
def test_of_one_matrix_with_like_singular_values_they_are_its_rank(rank):
    metrics = metrics_of(matrix_of(rank))
    assert stable_rank_proxy(metrics["weight_l2"], metrics["spectral_norm"]) == pytest.approx(rank)
    assert participation_proxy(metrics["singular_mean"], metrics["singular_var"]) == pytest.approx(rank / 6)


def test_of_any_matrix_they_are_the_stable_rank_and_the_participation():
    matrix = np.random.default_rng(1).standard_normal((5, 5))
    singular = np.linalg.svd(matrix, compute_uv=False)
    metrics = metrics_of(matrix)
    assert stable_rank_proxy(metrics["weight_l2"], metrics["spectral_norm"]) == pytest.approx(
        (singular**2).sum() / singular[0] ** 2
    )
    assert participation_proxy(metrics["singular_mean"], metrics["singular_var"]) == pytest.approx(
        singular.sum() ** 2 / (5 * (singular**2).sum())
    )


def test_weights_of_nothing_have_no_rank():
    assert np.isnan(stable_rank_proxy(np.zeros(2), np.zeros(2))).all()
    assert np.isnan(participation_proxy(np.zeros(2), np.zeros(2))).all()


def test_logs_get_the_proxies_that_their_metrics_allow():
    rows = [
        {"run": f"r{rank}", "step": step, **metrics_of((1 + step) * matrix_of(rank))}
        for rank in (1, 4)
        for step in (0, 5)
    ]
    table = rank_proxies(RunSet.from_frame(pd.DataFrame(rows)))
    assert table["stable_rank_proxy"].tolist() == pytest.approx([1, 1, 4, 4])
    assert table["participation_proxy"].tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6, 4 / 6])
    assert table["run"].tolist() == ["r1", "r1", "r4", "r4"]
    assert table["step"].tolist() == [0, 5, 0, 5]
    half = rank_proxies(RunSet.from_frame(pd.DataFrame(rows).drop(columns="spectral_norm")))
    assert half.columns.tolist() == ["run", "step", "participation_proxy"]
