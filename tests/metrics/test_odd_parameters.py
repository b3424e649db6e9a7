"""Parameters of layers that are called, made or kept in odd ways, against what they are."""

import warnings

import numpy as np
import pytest

from trajhmm.metrics import RunLogger, gradient_metrics, update_metrics, weight_metrics
from trajhmm.metrics import roles as roles_module
from trajhmm.metrics.changes import snapshot
from trajhmm.metrics.roles import parameters_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
nn = torch.nn


def roles(source, **options):
    return {parameter.name: parameter.role for parameter in parameters_of(source, **options)}


class Odd(nn.Module):
    """Linear layers under names of others."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5))
        self.normal_head = nn.Linear(5, 3)
        self.layer_norm = nn.LayerNorm(5)
        self.q_proj = nn.Linear(5, 5)
        self.lm_head = nn.Linear(5, 7)


def test_the_type_of_a_layer_decides_and_not_what_it_is_called():
    found = roles(Odd())
    matrices = {"shared.0.weight", "shared.2.weight", "normal_head.weight"}
    assert {name for name, role in found.items() if role == "matrix"} == matrices
    assert found["q_proj.weight"] == "heads"
    assert not any(name.startswith(("lm_head.weight", "layer_norm")) for name in found)
    state = roles(Odd().state_dict())
    assert {name for name, role in state.items() if role == "matrix"} == matrices
    assert "shared.weight" not in roles({"shared.weight": np.ones((9, 4)), "encoder.0.weight": np.ones((4, 4))})


def test_a_matrix_called_b_is_no_bias():
    found = roles(
        {"q.lora_A": np.ones((2, 8)), "q.lora_B": np.ones((8, 2)), "b_Q": np.ones((2, 4)), "fc.bias": np.ones(3)}
    )
    assert found == {"q.lora_A": "matrix", "q.lora_B": "matrix", "b_Q": "bias", "fc.bias": "bias"}


def test_a_weight_that_is_computed_is_measured_as_it_is():
    torch.manual_seed(0)
    plain = nn.Linear(6, 4)
    normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    with torch.no_grad():
        plain.weight.copy_(normed.weight)
        plain.bias.copy_(normed.bias)
    assert roles(normed) == {"weight": "matrix", "bias": "bias"}
    assert weight_metrics(normed) == pytest.approx(weight_metrics(plain), rel=1e-5)
    inner = nn.Sequential(normed)
    assert roles(inner) == {"0.weight": "matrix", "0.bias": "bias"}


def test_tied_weights_count_once_in_a_state_dict_too():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5))
    module[2].weight = module[0].weight
    assert weight_metrics(module.state_dict()) == pytest.approx(weight_metrics(module))
    one = np.random.default_rng(0).normal(size=(4, 4))
    assert list(roles({"a.weight": one, "b.weight": one, "c.weight": one.copy()})) == ["a.weight", "c.weight"]


class Config:
    def __init__(self, heads):
        self.num_attention_heads = heads


def test_heads_are_those_of_the_part_in_which_a_projection_lies():
    """Of a model that sees and reads, each part has a configuration of its own."""

    class Part(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.config = Config(heads)
            self.q_proj = nn.Linear(width, width)

    whole = nn.Module()
    whole.config = Config(4)
    whole.vision, whole.text, whole.k_proj = Part(12, 6), Part(8, 2), nn.Linear(8, 8)
    found = {parameter.name: parameter.heads for parameter in parameters_of(whole) if parameter.role == "heads"}
    assert found == {"vision.q_proj.weight": 6, "text.q_proj.weight": 2, "k_proj.weight": 4}
    told = {p.name: p.heads for p in parameters_of(whole, heads=2) if p.role == "heads"}
    assert set(told.values()) == {2}


def test_norms_are_those_of_torch_for_complex_and_sparse_and_empty_parameters():
    torch.manual_seed(0)
    complex_ = nn.ParameterDict({"w": nn.Parameter(torch.full((4,), 3 + 4j))})
    complex_["w"].grad = torch.full((4,), 3 + 4j)
    assert gradient_metrics(complex_)["grad_norm"] == pytest.approx(10.0)
    embedding = nn.Embedding(20, 4, sparse=True)
    embedding(torch.tensor([1, 1, 7])).pow(2).sum().backward()
    assert embedding.weight.grad.is_sparse
    dense = embedding.weight.grad.to_dense().norm().item()
    assert gradient_metrics(embedding)["grad_norm"] == pytest.approx(dense, rel=1e-6)
    assert gradient_metrics({"none": torch.zeros(4, 0), "b": torch.full((4,), 2.0)})["grad_norm"] == pytest.approx(4.0)


def test_codes_of_packed_weights_are_no_lengths():
    module = nn.Module()
    module.fc = nn.Linear(3, 3)
    module.codes = nn.Parameter(torch.full((1000,), 200, dtype=torch.uint8), requires_grad=False)
    before = snapshot(module)
    size = sum(p.detach().pow(2).sum().item() for p in module.fc.parameters()) ** 0.5
    with torch.no_grad():
        module.fc.weight += 0.1
    found = update_metrics(before, module)
    assert found["update_norm"] == pytest.approx(0.3, rel=1e-5)
    assert found["update_over_weight"] == pytest.approx(0.3 / size, rel=1e-5)


def test_a_device_without_double_precision_is_copied_from(monkeypatch):
    """What is copied lies in the main memory: the rest of measuring is as there."""
    copied = []
    monkeypatch.setattr(roles_module, "_SINGLE_ONLY", ("cpu",))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: copied.append(self) or self)
    module = nn.Linear(3, 4)
    found = weight_metrics(module)
    assert len(copied) >= 2
    monkeypatch.undo()
    assert found == weight_metrics(module)


def test_what_cannot_be_measured_ends_no_training(tmp_path, monkeypatch):
    from trajhmm.integrations import loops

    def fails(*_args, **_named):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    module = nn.Linear(3, 2)
    with RunLogger(tmp_path, "a") as logger:
        measured = loops.ModelLogger(logger, module)
        for name in ("gradient_metrics", "weight_metrics"):
            monkeypatch.setattr(loops, name, fails)
        module(torch.ones(1, 3)).sum().backward()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for step in (1, 2):
                measured.after_backward(step)
                measured.after_step(step, train_loss=1.0)
    (only,) = told
    assert "cannot be measured (Cannot convert a MPS" in str(only.message)


def test_a_model_that_is_sharded_under_its_own_names_is_refused(tmp_path):
    class FullyShardedDataParallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

    from trajhmm.integrations.loops import ModelLogger

    with pytest.raises(ValueError, match="sharded over processes"):
        ModelLogger(RunLogger(tmp_path, "a"), FullyShardedDataParallel())


def test_measuring_that_takes_most_of_the_time_is_told_once_with_what_would_not(tmp_path, monkeypatch):
    from trajhmm.integrations import loops

    clock = [0.0]
    monkeypatch.setattr(loops.time, "monotonic", lambda: clock[0])
    weights = loops.weight_metrics

    def slow(*args, **named):
        clock[0] += 3.0
        return weights(*args, **named)

    monkeypatch.setattr(loops, "weight_metrics", slow)
    module = nn.Linear(3, 2)
    measured = loops.ModelLogger(RunLogger(tmp_path, "a", seconds=1e9), module)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for step in range(1, 40):
            clock[0] += 1.0
            measured.after_step(step)
    (only,) = told
    assert str(only.message).endswith("takes 75% of the time, 3 s a row; every=57 would take 5%")


def test_looking_at_a_weight_that_is_computed_changes_nothing():
    """In training each look at a spectral norm is a step of its power iteration."""
    torch.manual_seed(0)
    module = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16)), nn.Linear(16, 4)).train()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    found = weight_metrics(module)
    assert found == weight_metrics(module)
    assert all(torch.equal(before[name], values) for name, values in module.state_dict().items())
    assert all(part.training for part in module.modules())


def test_numbers_of_other_libraries_are_numbers():
    types = pytest.importorskip("ml_dtypes")
    w, b = np.ones((3, 4), dtype=types.bfloat16), np.ones(4, dtype=np.float32)
    assert gradient_metrics({"w": w, "b": b})["grad_norm"] == pytest.approx(4.0)
    assert update_metrics({"w": w}, {"w": w * 2})["update_norm"] == pytest.approx(12**0.5)
