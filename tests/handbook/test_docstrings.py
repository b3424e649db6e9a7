"""Examples in docstrings run, in a folder with logs and a reference, beside what a training loop has at hand."""

import doctest
import importlib
import importlib.util
import pkgutil
import shutil

import numpy as np
import pytest

import trajhmm as th
from trajhmm.simulate import planted

# Modules whose import needs what may not be installed.
NEEDS = {
    "trajhmm.integrations.huggingface": "transformers",
    "trajhmm.integrations.keras": "keras",
    "trajhmm.integrations.lightning": "lightning",
}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(th.__path__, "trajhmm.")
    if module.name != "trajhmm.__main__"
    and ">>> " in importlib.util.find_spec(module.name).loader.get_source(module.name)
)


def examples_of(name):
    module = th if name == "trajhmm" else importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with logs of runs that converge, and a reference for warning."""
    folder = tmp_path_factory.mktemp("shop")
    runs = planted(n_runs=8, n_rows=60, seed=1).logs
    (folder / "logs").mkdir()
    th.write_logs(runs, folder / "logs" / "runs.parquet")
    rng = np.random.default_rng(0)
    rows = [
        (run, step, 1 / (1 + step) + 0.01 * rng.random(), 1 + 0.1 * rng.random())
        for run in "abcdefgh"
        for step in range(60)
    ]
    healthy = th.read_logs(_frame(rows))
    th.fit_warning(healthy, false_alarm=0.2, seed=0).save(folder / "reference.json")
    return folder


def _frame(rows):
    import pandas as pd

    return pd.DataFrame(rows, columns=["run", "step", "train_loss", "grad_norm"])


def at_hand():
    """What stands in examples without being made there."""
    losses = iter(np.linspace(1, 0.1, 100_000))
    return {
        "train_step": lambda: next(losses),
        "weights": {"layer.weight": np.eye(4)},
        "save_checkpoint": lambda: None,
        "loss": 0.5,
        "norm": 1.0,
    } | {name: getattr(th, name) for name in th.__all__}


def of_torch():
    """The same of a loop of PyTorch."""
    torch = pytest.importorskip("torch", reason="the example is of PyTorch: pip install 'trajhmm[torch]'")
    model = torch.nn.Linear(3, 2)
    return {
        "model": model,
        "batches": [(torch.randn(5, 3), torch.randn(5, 2)) for _ in range(20)],
        "criterion": torch.nn.functional.mse_loss,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "clip_grad_norm_": lambda *_: None,
    }


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:alarm:trajhmm.TrajHMMWarning")
@pytest.mark.parametrize("name", ["trajhmm", *MODULES])
def test_examples_run(name, shop, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"the example is of {NEEDS[name]}")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shop, tmp_path, dirs_exist_ok=True)
    for test in examples_of(name):
        source = "".join(example.source for example in test.examples)
        test.globs = at_hand() | test.globs | (of_torch() if "ModelLogger" in source else {})
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        told = []
        runner.run(test, out=told.append)
        assert not runner.summarize(verbose=False).failed, "".join(told)


def test_no_example_is_passed_over():
    for name in MODULES:
        source = importlib.util.find_spec(name).loader.get_source(name)
        assert "+SKIP" not in source, name
