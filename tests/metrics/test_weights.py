"""The 14 weight metrics against closed forms and plain numpy."""

import numpy as np
import pytest

from trajhmm.metrics import WEIGHT_METRICS, weight_metrics


def test_closed_forms_of_a_diagonal_and_a_rank_one_matrix():
    row = weight_metrics([np.diag([3.0, -4.0]), np.ones((2, 3))], [np.array([1.0, 2.0]), np.array([6.0])])
    assert row["weight_l1"] == pytest.approx((7 + 6) / 2)
    assert row["weight_l2"] == pytest.approx((5 + 6**0.5) / 2)
    assert row["weight_l1_over_l2"] == pytest.approx((7 / 5 + 6 / 6**0.5) / 2)
    assert row["trace"] == pytest.approx((-1 + 2) / 2)
    assert row["spectral_norm"] == pytest.approx((4 + 6**0.5) / 2)
    assert row["trace_over_spectral"] == pytest.approx((-1 / 4 + 2 / 6**0.5) / 2)
    assert row["singular_mean"] == pytest.approx((3.5 + 6**0.5 / 2) / 2)
    assert row["singular_var"] == pytest.approx((0.25 + (6**0.5 / 2) ** 2) / 2)
    entries = [3, 0, 0, -4, 1, 1, 1, 1, 1, 1]
    assert row["weight_mean"] == pytest.approx(np.mean(entries))
    assert row["weight_median"] == pytest.approx(np.median(entries))
    assert row["weight_var"] == pytest.approx(np.var(entries))
    assert (row["bias_mean"], row["bias_median"]) == pytest.approx((3, 2))
    assert row["bias_var"] == pytest.approx(np.var([1, 2, 6]))
    assert tuple(row) == WEIGHT_METRICS


def test_singular_values_under_the_threshold_count_as_zero():
    tiny = weight_metrics([np.diag([1.0, 9e-6])])
    kept = weight_metrics([np.diag([1.0, 2e-5])])
    assert (tiny["singular_mean"], tiny["singular_var"]) == pytest.approx((0.5, 0.25))
    assert kept["singular_mean"] == pytest.approx((1 + 2e-5) / 2, rel=1e-12)


def test_a_matrix_of_zeros_has_ratios_of_zero_and_one_that_is_not_finite_has_nan():
    zeros = weight_metrics([np.zeros((2, 2))])
    assert zeros["weight_l1_over_l2"] == zeros["trace_over_spectral"] == 0
    broken = weight_metrics([np.eye(2), np.array([[np.inf, 0], [0, 1]])])
    assert np.isnan(broken["weight_l2"])
    assert np.isnan(broken["spectral_norm"])


def test_no_matrix_is_an_error():
    with pytest.raises(ValueError, match="at least one weight matrix"):
        weight_metrics([])


def plain(weights, biases=()):
    """The definitions once more, a matrix at a time, with nothing clever."""
    rows = []
    for matrix in weights:
        singular = np.linalg.svd(matrix, compute_uv=False)
        l1, l2, trace = np.abs(matrix).sum(), np.linalg.norm(matrix), np.trace(matrix)
        kept = np.where(singular < 1e-5, 0, singular)
        rows.append([l1, l2, l1 / l2, trace, singular[0], trace / singular[0], kept.mean(), kept.var()])
    pooled = np.concatenate([matrix.ravel() for matrix in weights])
    row = [*np.mean(rows, axis=0), pooled.mean(), np.median(pooled), pooled.var()]
    if len(biases):
        pooled = np.concatenate(biases)
        row += [pooled.mean(), np.median(pooled), pooled.var()]
    else:
        row += [0, 0, 0]
    return dict(zip(WEIGHT_METRICS, row, strict=True))


SHAPES = [(7, 5), (5, 7), (7, 5), (1, 9), (9, 1), (6, 6), (40, 3)]


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stacked_matrices_have_the_metrics_of_plain_numpy(scale, dtype):
    rng = np.random.default_rng(0)
    weights = [(scale * rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    biases = [(scale * rng.normal(size=n)).astype(dtype) for n in (3, 4)]
    double = [matrix.astype(float) for matrix in weights]
    expected = plain(double, [bias.astype(float) for bias in biases])
    found = weight_metrics(weights, biases)
    for name in WEIGHT_METRICS:
        # Moments that cancel are compared with the size of what cancels.
        size = scale**2 if name.endswith("_var") else scale
        assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12 * size), name


def test_matrices_of_low_rank_keep_their_zeros_however_large_they_are():
    rng = np.random.default_rng(1)
    for scale in (1.0, 30.0, 1e3, 1e6):
        low_rank = scale * rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
        singular = np.linalg.svd(low_rank, compute_uv=False)
        found = weight_metrics([low_rank])
        assert found["singular_mean"] == pytest.approx(singular[:2].sum() / 20, rel=1e-10), scale
        assert found["spectral_norm"] == pytest.approx(singular[0], rel=1e-12), scale


def test_a_large_group_is_measured_in_blocks(monkeypatch):
    rng = np.random.default_rng(2)
    weights = list(rng.normal(size=(11, 4, 6)))
    whole = weight_metrics(weights)
    monkeypatch.setattr("trajhmm.metrics.spectra._LARGEST_BLOCK", 50)
    assert weight_metrics(weights) == pytest.approx(whole, rel=1e-13)


def test_norms_of_a_convolution_are_those_of_its_kernels():
    rng = np.random.default_rng(3)
    kernels = rng.normal(size=(4, 3, 5, 5))
    found = weight_metrics([kernels])
    l1, l2 = np.abs(kernels).sum((2, 3)), np.sqrt((kernels**2).sum((2, 3)))
    assert found["weight_l1"] == pytest.approx(l1.mean())
    assert found["weight_l2"] == pytest.approx(l2.mean())
    assert found["weight_l1_over_l2"] == pytest.approx((l1 / l2).mean())
    flat = plain([kernels.reshape(4, 75)])
    for name in ("trace", "spectral_norm", "singular_mean", "singular_var", "weight_var"):
        assert found[name] == pytest.approx(flat[name]), name


def test_a_convolution_beside_a_matrix_of_its_shape_is_not_mistaken_for_it():
    rng = np.random.default_rng(6)
    kernels, matrix = 5 * rng.normal(size=(4, 3, 5, 5)), rng.normal(size=(4, 75))
    found = weight_metrics([kernels, matrix])
    expected = [weight_metrics([kernels]), weight_metrics([matrix])]
    for name in ("weight_l1", "weight_l2", "weight_l1_over_l2", "trace", "spectral_norm"):
        assert found[name] == pytest.approx((expected[0][name] + expected[1][name]) / 2), name


def test_layer_norms_are_those_of_whole_weights():
    rng = np.random.default_rng(4)
    named = {"fc.weight": rng.normal(size=(4, 3)), "fc.bias": np.ones(4), "block.W_Q": rng.normal(size=(2, 3, 4))}
    row = weight_metrics(named, layers=True)
    assert row["weight_l2/fc"] == pytest.approx(np.linalg.norm(named["fc.weight"]))
    assert row["weight_l2/block.W_Q"] == pytest.approx(np.linalg.norm(named["block.W_Q"].ravel()))
    assert set(row) == {*WEIGHT_METRICS, "weight_l2/fc", "weight_l2/block.W_Q"}


def test_infinite_weights_of_either_sign_are_nan_without_a_warning():
    for dtype in (np.float32, np.float64):
        broken = np.eye(3, dtype=dtype)
        broken[0, 1], broken[1, 0] = np.inf, -np.inf
        row = weight_metrics([broken], [np.array([np.inf, -np.inf], dtype=dtype)], layers=True)
        assert np.isnan(list(row.values())).all()
        kernels = np.full((1, 1, 2, 2), np.inf, dtype=dtype)
        assert not np.isfinite([weight_metrics([kernels])[name] for name in ("weight_l1", "weight_l2", "trace")]).any()


def test_vectors_are_no_weight_matrices():
    with pytest.raises(ValueError, match=r"weight 1 has shape \(3,\)"):
        weight_metrics([np.eye(2), np.ones(3)])


def test_tensors_are_measured_as_arrays_are_in_place_or_not():
    torch = pytest.importorskip("torch")
    from trajhmm.metrics.spectra import kernel_norms, matrix_metrics
    from trajhmm.metrics.weights import _moments, norm

    rng = np.random.default_rng(5)
    matrices = [rng.normal(size=shape) for shape in SHAPES]
    tensors = [torch.tensor(matrix) for matrix in matrices]
    np.testing.assert_allclose(matrix_metrics(tensors), matrix_metrics(matrices), rtol=1e-10)
    for n in (1, 2, 7, 8):
        entries = rng.normal(size=n).astype(np.float32)
        assert _moments([torch.tensor(entries)]) == pytest.approx(_moments([entries]), rel=1e-6)
        assert norm(torch.tensor(entries)) == pytest.approx(norm(entries))
    kernels = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_allclose(kernel_norms(torch.tensor(kernels)), kernel_norms(kernels))
    half = [tensor.to(torch.bfloat16) for tensor in tensors]
    assert weight_metrics(half) == pytest.approx(
        weight_metrics([one.to(torch.float64).numpy() for one in half]), rel=1e-6
    )
