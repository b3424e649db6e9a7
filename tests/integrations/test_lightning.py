"""The callback for Lightning, against numbers that the module under training takes down beside it."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.integrations import loops as loops_module
from trajhmm.integrations.loops import ModelLogger
from trajhmm.metrics import WEIGHT_METRICS, RunLogger

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
lightning = pytest.importorskip("lightning.pytorch", reason="not installed: pip install 'trajhmm[lightning]'")

from trajhmm.integrations.lightning import RunLoggerCallback  # noqa: E402

nn = torch.nn
pytestmark = [
    # Lightning asks PyTorch for what it is about to lose.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    # One module serves the tests with and without validation.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`:UserWarning"),
    # Lightning's advice, on machines with many cores, to load tiny data with many processes.
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks as small as these only lose time to threads, and much where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Module(lightning.LightningModule):
    """A small network that takes down its loss, gradient, update and learning rate at each step of the optimizer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.losses, self.gradients, self.updates, self.rates, self.weights = {}, {}, {}, {}, {}
        self.validated, self.epochs = {}, {}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def flat(self):
        return np.concatenate([p.detach().numpy().ravel().copy() for p in self.parameters()]).astype(float)

    def training_step(self, batch, index):
        x, y = batch
        out = self.net(x)
        loss = nn.functional.cross_entropy(out, y)
        step = self.global_step + 1
        self.losses[step] = loss.item()  # of the last batch that the step accumulates
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("margin", out.abs().mean(), on_step=True, on_epoch=False)
        correct = (out.argmax(1) == y).float().mean()
        self.epochs.setdefault(self.current_epoch, []).append(correct.item())
        self.log("train_acc", correct, on_step=False, on_epoch=True)
        return loss

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        before, step = self.flat(), self.global_step + 1
        self.rates[step] = optimizer.param_groups[0]["lr"]
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.updates[step] = (np.linalg.norm(self.flat() - before), np.linalg.norm(before))
        self.weights[step] = np.mean([np.linalg.norm(self.net[i].weight.detach().numpy()) for i in (0, 2)])

    def on_after_backward(self):
        gradients = [p.grad for p in self.parameters()]
        self.gradients[self.global_step + 1] = torch.nn.utils.get_total_norm(gradients).item()

    def validation_step(self, batch, index):
        x, y = batch
        out = self.net(x)
        self.log("val_loss", nn.functional.cross_entropy(out, y))
        self.log("acc", (out.argmax(1) == y).float().mean())

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            found = self.trainer.callback_metrics
            self.validated[self.global_step] = (found["val_loss"].item(), found["acc"].item())


def data(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(size, 3, generator=generator), torch.randint(0, 2, (size,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)


@pytest.fixture
def make(tmp_path):
    """Build a Trainer on the CPU, without bars, whose logs go to ``logs/`` under the test's folder."""

    def build(*callbacks, **settings):
        defaults = {"max_epochs": 2, "gradient_clip_val": 0.05, "accelerator": "cpu", "devices": 1, "logger": False}
        defaults |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        return lightning.Trainer(callbacks=[*callbacks], default_root_dir=tmp_path, **(defaults | settings))

    return build


@pytest.fixture
def new_logger(tmp_path):
    return lambda: RunLogger(tmp_path / "logs", "seed_0", attributes={"seed": 0})


def rows_of(tmp_path):
    """The log, a row a step: those that were written in pieces are joined, as `read_logs` does."""
    parts = sorted((tmp_path / "logs").rglob("part-*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts]).groupby("step").last()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_rows_hold_weights_gradient_update_and_what_the_module_logs(accumulation, make, new_logger, tmp_path):
    module = Module()
    settings = {"accumulate_grad_batches": accumulation, "check_val_every_n_epoch": 1}
    make(RunLoggerCallback(new_logger(), every=1), **settings).fit(module, data(1), data(2))
    rows = rows_of(tmp_path)
    per_epoch = 6 // accumulation
    assert rows.index.tolist() == list(range(1, 2 * per_epoch + 1))
    for step in rows.index:
        row = rows.loc[step]
        update, size = module.updates[step]
        assert row["grad_norm"] == pytest.approx(module.gradients[step], rel=1e-5)
        assert row["update_norm"] == pytest.approx(update, rel=1e-5)
        assert row["update_over_weight"] == pytest.approx(update / size, rel=1e-5)
        assert row["weight_l2"] == pytest.approx(module.weights[step], rel=1e-6)
        assert row["learning_rate"] == module.rates[step]
        assert row["train_loss"] == pytest.approx(module.losses[step], rel=1e-6)
    assert min(module.gradients.values()) > 0.05, "else clipping would not show"
    assert len(set(rows["learning_rate"])) == len(rows), "else the rate of another step would not show"
    ends = [per_epoch, 2 * per_epoch]
    for name in ("eval_loss", "eval_accuracy", "train_accuracy"):
        assert rows.index[rows[name].notna()].tolist() == ends, name
    assert list(zip(rows["eval_loss"][ends], rows["eval_accuracy"][ends], strict=True)) == [
        pytest.approx(module.validated[step]) for step in ends
    ]
    assert rows["train_accuracy"][ends].tolist() == pytest.approx([np.mean(module.epochs[epoch]) for epoch in (0, 1)])
    ours = {"grad_norm", "update_norm", "update_over_weight", "learning_rate", "train_loss", "margin"}
    evaluated = {"eval_loss", "eval_accuracy", "train_accuracy"}
    assert set(rows) == {*WEIGHT_METRICS, *ours, *evaluated, "run", "seed"}


def test_rows_are_at_the_steps_asked_for_and_others_copy_nothing(make, new_logger, tmp_path, monkeypatch):
    snapshots = []
    original = loops_module.snapshot
    monkeypatch.setattr(loops_module, "snapshot", lambda model: snapshots.append(1) or original(model))
    module = Module()
    make(RunLoggerCallback(new_logger(), every=5)).fit(module, data(1))
    rows = rows_of(tmp_path)
    assert rows.index[rows["weight_l2"].notna()].tolist() == [5, 10]
    assert rows["train_loss"][[5, 10]].tolist() == pytest.approx([module.losses[5], module.losses[10]], rel=1e-6)
    # The epochs end at steps that are not due, where only the metrics of the epoch are logged.
    assert rows.index.tolist() == [5, 6, 10, 12]
    assert rows.loc[6].dropna().index.tolist() == ["run", "train_accuracy", "seed"]
    assert len(snapshots) == 2


def test_by_default_rows_are_as_far_apart_as_the_trainers_logs(make, new_logger, tmp_path):
    make(RunLoggerCallback(new_logger()), log_every_n_steps=4).fit(Module(), data(1))
    rows = rows_of(tmp_path)
    assert rows.index[rows["weight_l2"].notna()].tolist() == [4, 8, 12]


def test_validations_within_an_epoch_are_logged_once_each(make, new_logger, tmp_path):
    module = Module()
    make(RunLoggerCallback(new_logger(), every=1), val_check_interval=2).fit(module, data(1), data(2))
    rows = rows_of(tmp_path)
    assert sorted(module.validated) == [2, 4, 6, 8, 10, 12]
    assert rows["eval_loss"].dropna().to_dict() == pytest.approx({s: v[0] for s, v in module.validated.items()})
    assert rows["eval_accuracy"].dropna().to_dict() == pytest.approx({s: v[1] for s, v in module.validated.items()})


def test_validations_outside_of_fit_are_not_logged(make, new_logger, tmp_path):
    logger = new_logger()
    make(RunLoggerCallback(logger, every=1)).validate(Module(), data(2), verbose=False)
    logger.close()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_loss_is_logged_where_the_module_logs_nothing(accumulation, make, new_logger, tmp_path):
    """As training_step returned it: Lightning hands on a third of it where three batches make a step."""

    class Silent(Module):
        def log(self, *args, **kwargs):
            pass

    module = Silent()
    make(RunLoggerCallback(new_logger(), every=1), accumulate_grad_batches=accumulation).fit(module, data(1))
    assert rows_of(tmp_path)["train_loss"].tolist() == pytest.approx(list(module.losses.values()), rel=1e-6)


def test_what_the_module_logs_at_the_end_of_an_epoch_joins_its_last_step(make, new_logger, tmp_path):
    """Lightning calls the module's own hook after those of callbacks."""

    class Ends(Module):
        def on_train_epoch_end(self):
            self.log("epoch_margin", float(self.current_epoch + 1))

    make(RunLoggerCallback(new_logger(), every=1), max_epochs=3).fit(Ends(), data(1), data(2))
    rows = rows_of(tmp_path)
    found = rows["epoch_margin"].dropna()
    assert found.index.tolist() == [6, 12, 18]
    assert found.tolist() == [1.0, 2.0, 3.0]
    assert rows["train_accuracy"].dropna().index.tolist() == [6, 12, 18]


def test_an_exception_leaves_the_rows_that_led_to_it(make, new_logger, tmp_path):
    class Breaks(Module):
        def training_step(self, batch, index):
            if self.global_step == 5:
                raise RuntimeError("out of memory")
            return super().training_step(batch, index)

    with pytest.raises(RuntimeError, match="out of memory"):
        make(RunLoggerCallback(new_logger(), every=1)).fit(Breaks(), data(1))
    assert rows_of(tmp_path).index.tolist() == [1, 2, 3, 4, 5]


def test_a_run_resumed_from_a_checkpoint_goes_on_without_a_gap(make, new_logger, tmp_path, monkeypatch):
    """Killed at step 8, with only what the checkpoint of step 6 wrote on disk, and resumed from there."""

    class Dies(Module):
        def training_step(self, batch, index):
            if self.global_step == 8:
                raise KeyboardInterrupt
            return super().training_step(batch, index)

    def saves():
        return lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / "ckpt", every_n_train_steps=6, filename="{step}")

    def fit(module, **settings):
        trainer = make(RunLoggerCallback(new_logger(), every=1), saves(), enable_checkpointing=True, max_steps=12)
        trainer.fit(module, data(1), **settings)

    monkeypatch.setattr(RunLoggerCallback, "on_exception", lambda *_: None)  # as a kill leaves no time for it
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(Dies())
    assert rows_of(tmp_path).index.tolist() == [1, 2, 3, 4, 5, 6]
    module = Module()
    fit(module, ckpt_path=tmp_path / "ckpt" / "step=6.ckpt")
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == list(range(1, 13))
    assert sorted(module.losses) == list(range(7, 13))
    assert runs.column("train_loss")[6:].tolist() == pytest.approx([module.losses[s] for s in range(7, 13)], rel=1e-6)
    assert runs.column("learning_rate")[-1] == pytest.approx(0.5 * 0.9**11)


def test_gradients_are_logged_without_the_scale_of_mixed_precision(make, new_logger, tmp_path):
    module = Module()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    plugin = lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)
    make(RunLoggerCallback(new_logger(), every=1), plugins=[plugin]).fit(module, data(1))
    rows = rows_of(tmp_path)
    scaled = np.array([module.gradients[step] for step in rows.index])  # taken down before Lightning unscales
    np.testing.assert_allclose(rows["grad_norm"] * 2**10, scaled, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`:UserWarning")  # on purpose
def test_a_batch_that_training_step_skips_does_not_end_the_training(make, new_logger, tmp_path):
    class Skips(Module):
        def training_step(self, batch, index):
            return None if index in (0, 2) else super().training_step(batch, index)

    module = Skips()
    make(RunLoggerCallback(new_logger(), every=1), max_epochs=1).fit(module, data(1))
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert rows["weight_l2"].tolist() == pytest.approx(list(module.weights.values()), rel=1e-6)
    assert rows.index[rows["grad_norm"].notna()].tolist() == [2, 4, 5, 6]


def test_an_optimizer_that_tries_weights_on_its_way_gives_the_update_of_the_whole_step(make, new_logger, tmp_path):
    class Newton(Module):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), max_iter=4)

    module = Newton()
    make(RunLoggerCallback(new_logger(), every=1), max_epochs=1, gradient_clip_val=None).fit(module, data(1))
    rows = rows_of(tmp_path)
    assert rows["update_norm"].tolist() == pytest.approx([module.updates[step][0] for step in rows.index], rel=1e-5)


def test_two_optimizers_give_a_row_a_batch(make, new_logger, tmp_path):
    class Two(Module):
        automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(self.net[index].parameters(), lr=0.1) for index in (0, 2)]

        def optimizer_step(self, *args, **kwargs):
            raise NotImplementedError

        def training_step(self, batch, index):
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
                optimizer.step()

    make(RunLoggerCallback(new_logger(), every=2), max_epochs=1, gradient_clip_val=None).fit(Two(), data(1))
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [2, 4, 6, 8, 10, 12]
    assert rows["update_norm"].notna().all()


def test_only_rank_zero_measures_and_writes(make, new_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(loops_module, "snapshot", None)
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    make(RunLoggerCallback(new_logger(), every=1)).fit(Module(), data(1), data(2))
    assert not (tmp_path / "logs").exists()


def test_a_loop_of_fabric_is_logged_as_any_other(new_logger, tmp_path):
    fabric = pytest.importorskip("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    module = Module()
    network, optimizer = fabric.setup(module.net, torch.optim.SGD(module.net.parameters(), lr=0.1))
    with new_logger() as logger:
        model_logger = ModelLogger(logger, network, layers=True)
        fabric.backward(network(torch.ones(1, 3)).sum())
        model_logger.after_backward(1)
        before = module.flat()
        optimizer.step()
        model_logger.after_step(1)
    row = rows_of(tmp_path).loc[1]
    assert row["update_norm"] == pytest.approx(np.linalg.norm(module.flat() - before), rel=1e-5)
    assert {name for name in row.index if name.startswith("weight_l2/")} == {"weight_l2/0", "weight_l2/2"}


def test_weights_that_are_not_finite_do_not_end_the_training(make, new_logger, tmp_path):
    class Breaks(Module):
        def on_train_batch_start(self, batch, index):
            with torch.no_grad():
                self.net[0].weight[0, :2] = torch.tensor([np.inf, -np.inf])

    make(RunLoggerCallback(new_logger(), every=1)).fit(Breaks(), data(1))
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == list(range(1, 13))
    for name in ("weight_l2", "weight_mean", "grad_norm", "update_norm"):
        assert rows[name].isna().all(), name
