"""Gradient and update norms against plain numpy and PyTorch's own count."""

import numpy as np
import pytest

from trajhmm.metrics import gradient_metrics, snapshot, update_metrics


def test_norms_of_arrays_are_those_of_all_entries():
    rng = np.random.default_rng(0)
    gradients = {"fc.weight": rng.normal(size=(3, 4)), "fc.bias": rng.normal(size=3)}
    row = gradient_metrics(gradients, layers=True)
    everything = np.concatenate([g.ravel() for g in gradients.values()])
    assert row["grad_norm"] == pytest.approx(np.linalg.norm(everything), rel=1e-12)
    assert row["grad_norm/fc"] == pytest.approx(np.linalg.norm(gradients["fc.weight"]), rel=1e-12)
    assert row["grad_norm/fc.bias"] == pytest.approx(np.linalg.norm(gradients["fc.bias"]), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_norms_neither_overflow_nor_vanish(scale):
    assert gradient_metrics([scale * np.array([3.0, 4.0]), np.zeros(2)])["grad_norm"] == pytest.approx(5 * scale)


def test_float32_gradients_do_not_overflow():
    assert gradient_metrics([np.full(4, 1e30, dtype=np.float32)])["grad_norm"] == pytest.approx(2e30, rel=1e-6)


def test_a_gradient_that_is_not_finite_is_nan():
    for value in (np.nan, np.inf):
        assert np.isnan(gradient_metrics([np.array([1.0, value])])["grad_norm"])


def test_update_is_measured_against_the_weights_before():
    before, after = [np.array([3.0, 4.0]), np.zeros((1, 1))], [np.array([3.0, 4.0]), np.array([[2.0]])]
    assert update_metrics(before, after) == {"update_norm": 2.0, "update_over_weight": 0.4}
    assert update_metrics([np.zeros(2)], [np.ones(2)])["update_over_weight"] == 0
    with pytest.raises(ValueError, match="different parameters: 1"):
        update_metrics([np.zeros(2)], after)


def test_weights_that_become_infinite_have_an_update_that_is_nan():
    broken = np.array([[np.inf, -np.inf]])
    for before, after in ((np.ones((1, 2)), broken), (broken, broken)):
        assert np.isnan(update_metrics([before], [after])["update_norm"])


def test_a_module_counts_as_torch_counts_and_its_snapshot_stays():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    with pytest.raises(ValueError, match="call this after backward"):
        gradient_metrics(model)
    model(torch.ones(2, 5)).pow(2).sum().backward()
    total = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert gradient_metrics(model)["grad_norm"] == pytest.approx(float(total), rel=1e-6)

    before = snapshot(model)
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    assert update_metrics(before, model)["update_norm"] == pytest.approx(float(total) / 2, rel=1e-5)
