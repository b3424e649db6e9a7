"""`ModelLogger` in plain PyTorch loops, against numbers computed beside it."""

import copy
import importlib
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import trajhmm as th
from trajhmm.errors import TrajHMMWarning
from trajhmm.integrations import loops as loops_module
from trajhmm.integrations.loops import ModelLogger
from trajhmm.integrations.naming import loggable, metric_name
from trajhmm.metrics import WEIGHT_METRICS, RunLogger

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
nn = torch.nn


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks as small as these only lose time to threads, and much where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.fixture
def logger(tmp_path):
    return RunLogger(tmp_path / "logs", "seed_0", attributes={"seed": 0})


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, generator=generator), torch.randint(0, 2, (8,), generator=generator)


def train(model, model_logger, steps, *, clip=0.1):
    """Train with clipping; return what each step should log: gradient before clipping, update, L2 norm, loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    expected = {}
    for step in steps:
        x, y = batch(step)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        before = copy.deepcopy(model.state_dict())
        gradient = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
        model_logger.after_backward(step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        model_logger.after_step(step, train_loss=loss)
        after = model.state_dict()
        change = np.concatenate([(after[k].numpy() - before[k].numpy()).ravel() for k in after]).astype(float)
        old = np.concatenate([before[k].numpy().ravel() for k in before]).astype(float)
        expected[step] = {
            "grad_norm": gradient,
            "update_norm": np.linalg.norm(change),
            "update_over_weight": np.linalg.norm(change) / np.linalg.norm(old),
            "weight_l2": np.mean([np.linalg.norm(after[k].numpy()) for k in after if after[k].ndim == 2]),
            "bias_mean": np.concatenate([after[k].numpy() for k in after if after[k].ndim == 1]).mean(),
            "train_loss": loss.item(),
        }
    return expected


def rows_of(folder):
    """The rows as they were written, (part, row) in order; `read_logs` takes what never changes for an attribute."""
    return pd.concat([pd.read_parquet(part) for part in sorted(folder.rglob("part-*.parquet"))], ignore_index=True)


def assert_logged(folder, expected, *, rel=1e-5):
    """Compare the log with a row of numbers for each step; single precision on either side differs by less."""
    runs = th.read_logs(folder)
    assert runs.steps.tolist() == sorted(expected)
    for name in next(iter(expected.values())):
        found = runs.column(name).tolist()
        assert found == pytest.approx([expected[step][name] for step in runs.steps.tolist()], rel=rel, abs=1e-7), name
    return runs


def test_a_row_holds_weights_gradient_before_clipping_update_and_loss(model, logger, tmp_path):
    model_logger = ModelLogger(logger, model)
    expected = train(model, model_logger, range(1, 7))
    logger.close()
    runs = assert_logged(tmp_path / "logs", expected)
    assert set(WEIGHT_METRICS) < set(runs.metrics)
    assert min(row["grad_norm"] for row in expected.values()) > 0.1, "else clipping would not show"


def test_only_due_steps_are_logged_and_the_others_copy_and_look_at_nothing(model, logger, tmp_path, monkeypatch):
    calls = []
    for name in ("snapshot", "gradient_metrics", "update_metrics", "weight_metrics"):
        original = getattr(loops_module, name)
        monkeypatch.setattr(loops_module, name, lambda *a, _n=name, _f=original, **k: calls.append(_n) or _f(*a, **k))
    model_logger = ModelLogger(logger, model, every=4)
    expected = train(model, model_logger, range(1, 11))
    assert calls == ["gradient_metrics", "snapshot", "weight_metrics", "update_metrics"] * 2
    logger.close()
    assert_logged(tmp_path / "logs", {step: expected[step] for step in (4, 8)})

    class Unread:
        def __float__(self):
            raise AssertionError("a step that is not due waited for its loss")

    model_logger.after_step(9, train_loss=Unread())


def test_weights_before_training_and_rows_without_gradients(model, logger, tmp_path):
    ModelLogger(logger, model).after_step(0, eval_accuracy=0.5)
    logger.close()
    rows = rows_of(tmp_path / "logs")
    assert rows["step"].tolist() == [0]
    assert rows["eval_accuracy"].tolist() == [0.5]
    assert "weight_l2" in rows
    assert not {"grad_norm", "update_norm"} & set(rows)


def test_a_loop_that_knows_its_gradient_norm_saves_the_measurement(model, logger, tmp_path, monkeypatch):
    monkeypatch.setattr(loops_module, "gradient_metrics", None)
    model_logger = ModelLogger(logger, model, gradients=False)
    nn.functional.cross_entropy(model(batch(1)[0]), batch(1)[1]).backward()
    model_logger.after_backward(1)
    model_logger.after_step(1, {"grad_norm": 3.0})
    logger.close()
    rows = rows_of(tmp_path / "logs")
    assert rows["grad_norm"].tolist() == [3.0]
    assert rows["update_norm"].tolist() == [0.0]


def test_micro_batches_give_the_accumulated_gradient_and_the_whole_update(model, logger, tmp_path):
    model_logger = ModelLogger(logger, model)
    start = copy.deepcopy(model.state_dict())
    for seed in (1, 2, 3):
        x, y = batch(seed)
        nn.functional.cross_entropy(model(x), y).backward()
        model_logger.after_backward(1)
        with torch.no_grad():  # as a closure does that tries weights on its way
            model[0].bias += 0.25
    total = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
    model_logger.after_step(1)
    logger.close()
    rows = rows_of(tmp_path / "logs")
    moved = np.linalg.norm((model[0].bias.detach() - start["0.bias"]).numpy())
    assert rows["grad_norm"].tolist() == pytest.approx([total], rel=1e-5)
    assert rows["update_norm"].tolist() == pytest.approx([moved], rel=1e-5)
    assert moved == pytest.approx(0.75 * 2)


def test_wrapped_models_are_measured_as_what_they_wrap(model, logger, tmp_path):
    compiled = torch.compile(model, backend="eager")
    parallel = nn.DataParallel(nn.Sequential(model[0], torch.compile(nn.Sequential(model[2]), backend="eager")))
    plain_names = {"weight_l2/0", "weight_l2/2"}
    ModelLogger(logger, nn.DataParallel(compiled), layers=True).after_step(1)
    ModelLogger(logger, parallel, layers=True).after_step(2)
    ModelLogger(logger, model, layers=True).after_step(3)
    logger.close()
    rows = rows_of(tmp_path / "logs")
    by_layer = {name for name in rows if "/" in name}
    assert by_layer == plain_names | {"weight_l2/1.0"}
    assert rows["weight_l2"].nunique() == 1
    np.testing.assert_allclose(rows["weight_l2/0"], np.linalg.norm(model[0].weight.detach().numpy()), rtol=1e-6)


@pytest.mark.parametrize("values", [[math.inf], [math.inf, -math.inf], [math.nan], [3e38, 3e38, 3e38]])
def test_weights_that_are_not_finite_are_logged_and_never_end_a_training(values, logger, tmp_path):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(3, 3))
    model_logger = ModelLogger(logger, model, layers=True)
    model_logger.after_step(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.view(-1)[: len(values)] = torch.tensor(values)
            parameter.grad = parameter.detach().clone()
    model_logger.after_backward(1)
    model_logger.after_step(1)
    logger.close()
    table = pq.read_table(tmp_path / "logs")
    finite = all(map(math.isfinite, values))
    for name in ("weight_l2", "weight_mean", "bias_var", "grad_norm", "update_norm", "weight_l2/0"):
        assert math.isfinite(table[name][1].as_py()) == finite, name  # None were it left blank


def test_half_precision_is_measured_as_it_is(logger, tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(16, 16).to(torch.bfloat16)
    model_logger = ModelLogger(logger, model)
    model(torch.ones(1, 16, dtype=torch.bfloat16)).sum().backward()
    model_logger.after_backward(1)
    before = model.weight.detach().double().clone()
    with torch.no_grad():
        model.weight *= 2
    model_logger.after_step(1)
    logger.close()
    rows = rows_of(tmp_path / "logs")
    assert rows["update_norm"].tolist() == pytest.approx([before.norm().item()], rel=1e-6)
    assert rows["weight_l2"].tolist() == pytest.approx([2 * before.norm().item()], rel=1e-6)


def test_a_run_that_goes_on_takes_up_its_log(model, logger, tmp_path):
    model_logger = ModelLogger(logger, model, every=2)
    train(model, model_logger, range(1, 7))
    logger.close()
    again = RunLogger(tmp_path / "logs", "seed_0", attributes={"seed": 0})
    assert again.last_step == 6
    expected = train(model, ModelLogger(again, model, every=2), range(5, 11))
    again.close()
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == [2, 4, 6, 8, 10]
    assert runs.column("train_loss")[2:] == pytest.approx([expected[step]["train_loss"] for step in (6, 8, 10)])


def test_other_processes_neither_measure_nor_write_but_agree_on_what_is_due(model, monkeypatch):
    monkeypatch.setattr(loops_module, "snapshot", None)
    idle = ModelLogger(None, model, every=3)
    idle.after_backward(3)
    idle.after_step(3, train_loss=1.0)
    assert [step for step in range(7) if idle.due(step)] == [0, 3, 6]


def test_misuse_is_told(model, logger):
    with pytest.raises(ValueError, match="every = 0"):
        ModelLogger(logger, model, every=0)
    with pytest.raises(ValueError, match="at least one weight matrix"):
        ModelLogger(logger, nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4)))
    with pytest.raises(ValueError, match="do not divide into 3 heads"):
        ModelLogger(logger, nn.ModuleDict({"q_proj": nn.Linear(4, 4)}), heads=3)
    model_logger = ModelLogger(logger, model)
    with pytest.raises(ValueError, match="no gradients"):
        model_logger.after_backward(1)
    model(batch(1)[0]).sum().backward()
    model_logger.after_backward(1)
    with pytest.raises(ValueError, match=r"after_step\(2\) follows after_backward\(1\)"):
        model_logger.after_step(2)


def test_a_step_that_was_given_up_leaves_nothing_behind(model, logger, tmp_path):
    model_logger = ModelLogger(logger, model, every=2)
    model(batch(1)[0]).sum().backward()
    model_logger.after_backward(2)  # and the loop went on without a step
    model_logger.after_backward(3)
    model_logger.after_step(3)
    model_logger.after_step(4)
    logger.close()
    rows = rows_of(tmp_path / "logs")
    assert rows["step"].tolist() == [4]
    assert "update_norm" not in rows


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.distributed's own making
def test_sharded_parameters_are_refused(model, logger, tmp_path):
    distributed = pytest.importorskip("torch.distributed.tensor", reason="PyTorch without DTensor")
    if not torch.distributed.is_available():
        pytest.skip("PyTorch without torch.distributed")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        distributed.distribute_module(model, mesh)
        with pytest.raises(ValueError, match=r"0\.weight is sharded"):
            ModelLogger(logger, model)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("module", "needs"), [("huggingface", "transformers"), ("lightning", "lightning.pytorch"), ("keras", "keras")]
)
def test_a_framework_that_is_missing_is_named_with_its_extra(module, needs, monkeypatch):
    monkeypatch.setitem(sys.modules, needs, None)
    monkeypatch.delitem(sys.modules, f"trajhmm.integrations.{module}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'trajhmm\[{module}\]'"):
        importlib.import_module(f"trajhmm.integrations.{module}")


def test_no_framework_is_imported_by_what_the_callbacks_share():
    code = "import sys, trajhmm.integrations.loops; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "trajhmm.integrations.loops" in done.stdout.split()
    assert not {"torch", "transformers", "lightning", "keras"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("loss", "train_loss"),
        ("train_loss", "train_loss"),
        ("train/loss", "train_loss"),
        ("training_acc", "train_accuracy"),
        ("accuracy", "train_accuracy"),
        ("val_loss", "eval_loss"),
        ("val/acc", "eval_accuracy"),
        ("valid_f1", "eval_f1"),
        ("validation_loss", "eval_loss"),
        ("eval_accuracy", "eval_accuracy"),
        ("eval_test_loss", "eval_test_loss"),
        ("lr", "learning_rate"),
        ("grad_norm", "grad_norm"),
        ("value_loss", "value_loss"),
        ("trainable", "trainable"),
    ],
)
def test_names_of_frameworks_become_the_projects(theirs, ours):
    assert metric_name(theirs) == ours


def test_what_an_evaluation_logs_is_called_so():
    assert metric_name("loss", evaluated=True) == "eval_loss"
    assert metric_name("acc", evaluated=True) == "eval_accuracy"
    assert metric_name("f1", evaluated=True) == "eval_f1"
    assert metric_name("val_loss", evaluated=True) == "eval_loss"


def test_a_row_takes_numbers_and_leaves_attributes_and_all_else(tmp_path):
    logger = RunLogger(tmp_path, "a", attributes={"learning_rate": 0.1})
    logs = {"loss": torch.tensor(2.0), "count": np.int64(3), "flag": True, "text": "3", "none": None}
    assert loggable(logger, logs | {"several": torch.ones(2), "odd": object()}) == {
        "train_loss": 2.0,
        "count": 3.0,
        "flag": 1.0,
    }
    with pytest.warns(TrajHMMWarning, match="learning_rate is an attribute of run 'a'"):
        assert loggable(logger, {"lr": 0.1, "loss": 1}) == {"train_loss": 1.0}


def test_a_log_that_cannot_be_written_warns(tmp_path):
    (tmp_path / "file").write_text("")
    logger = RunLogger(tmp_path / "file", "a")
    logger.log(1, train_loss=1)
    with pytest.warns(TrajHMMWarning, match="rows of run 'a' are kept"):
        logger.flush_or_warn()
