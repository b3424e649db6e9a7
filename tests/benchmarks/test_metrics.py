"""What a row of metrics costs beside a step of training, and for large networks.

``pytest tests/benchmarks/test_metrics.py -s``: ratios in one process of one thread each, the median of many.
"""

import statistics
import time

import numpy as np
import pytest

from trajhmm.metrics import gradient_metrics, snapshot, update_metrics, weight_metrics

torch = pytest.importorskip("torch")
nn = torch.nn
threadpoolctl = pytest.importorskip("threadpoolctl")


def median_ms(call, times=60):
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def mlp(width):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, dropout=0.0)
        self.encoder, self.head = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.encoder(x)[:, -1])


CASES = {
    "perceptron 64, batch 128": (mlp(64), (128, 64)),
    "perceptron 256, batch 128": (mlp(256), (128, 64)),
    "convolutions 16-32, 8 × 8, batch 64": (
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
        ),
        (64, 1, 8, 8),
    ),
    "transformer 2 × 64, 4 heads, 16 × 32 tokens": (Transformer(64, 2, 4), (16, 32, 64)),
    "transformer 4 × 128, 4 heads, 16 × 64 tokens": (Transformer(128, 4, 4), (16, 64, 128)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_beside_a_step_of_training(name):
    model, shape = CASES[name]
    x, y = torch.randn(shape), torch.randint(0, 10, shape[:1])
    model(x)
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def row():
        before = snapshot(model)
        gradient_metrics(model)
        update_metrics(before, model)
        return weight_metrics(model)

    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        training, weights, everything = median_ms(step), median_ms(lambda: weight_metrics(model)), median_ms(row)
    print(
        f"\n{name}: a step {training:.2f} ms; weights {weights / training:.2f}, all {everything / training:.2f} of it"
    )


def test_a_state_dict_of_a_hundred_million_parameters():
    rng = np.random.default_rng(0)
    shapes = {"attn.c_attn": (768, 2304), "attn.c_proj": (768, 768), "mlp.c_fc": (768, 3072), "mlp.c_proj": (3072, 768)}
    state = {
        f"h.{layer}.{name}.weight": rng.standard_normal(shape, dtype=np.float32)
        for layer in range(12)
        for name, shape in shapes.items()
    }
    state["wte.weight"] = rng.standard_normal((50257, 768), dtype=np.float32)
    with threadpoolctl.threadpool_limits(1):
        start = time.process_time()
        weight_metrics(state, heads=12)
        taken = time.process_time() - start
    count = sum(array.size for array in state.values())
    print(f"\n{count / 1e6:.0f} million parameters, 12 layers of width 768: {taken:.1f} s of one core")
