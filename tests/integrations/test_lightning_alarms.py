"""The callback for Lightning, on small networks that are spoilt on the way."""

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import TrajHMMWarning

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
lightning = pytest.importorskip("lightning.pytorch", reason="not installed: pip install 'trajhmm[lightning]'")

from trajhmm.integrations.lightning import AlarmCallback, RunLoggerCallback  # noqa: E402

nn = torch.nn
pytestmark = [
    # Lightning asks PyTorch for what it is about to lose.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    # Lightning's advice, on machines with many cores, to load tiny data with many processes.
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
]
LAST, SPOILT = 20, 12
# What is known of a run, however its rows were dealt out.
KNOWN = ("last_step", "values", "streak", "memory", "largest", "alarm_step")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks as small as these only lose time to threads, and much where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Network(lightning.LightningModule):
    """Its weights blow up or break after a step, where it is told to."""

    def __init__(self, seed, *, spoilt=None, by=1e4, dies=None):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.spoilt, self.by, self.dies = spoilt, by, dies

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)

    def training_step(self, batch, index):
        if self.global_step == self.dies:
            raise KeyboardInterrupt
        if self.global_step == self.spoilt:
            with torch.no_grad():
                self.layers[2].weight *= self.by
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log("train_loss", loss)
        self.log("margin", self.layers(x).abs().mean())
        return loss


def data(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 3, generator=generator), torch.randint(0, 2, (40,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)


def fit(folder, module, seed, *callbacks, ckpt_path=None, **settings):
    defaults = {"max_steps": LAST, "accelerator": "cpu", "devices": 1, "logger": False, "log_every_n_steps": 1}
    defaults |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(callbacks=[*callbacks], default_root_dir=folder, **(defaults | settings))
    trainer.fit(module, data(seed), ckpt_path=ckpt_path)
    return trainer


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Models fitted on the logs of eight healthy trainings: of what the module logs, and of weights beside it."""
    folder = tmp_path_factory.mktemp("healthy")
    for seed in range(8):
        fit(folder, Network(seed), seed, RunLoggerCallback(th.RunLogger(folder / "logs", f"seed_{seed}")))
    runs = th.read_logs(folder / "logs")
    how = {"states": 1, "restarts": 1, "iterations": 20}
    return {
        "logged": th.fit_warning(runs, metrics=["train_loss", "margin"], **how),
        "weights": th.fit_warning(runs, metrics=["train_loss", "weight_l2", "grad_norm"], **how),
    }


def test_on_alarm_the_run_is_saved_and_stopped_at_that_step(reference, tmp_path):
    alarms = []
    watched = AlarmCallback(reference["logged"], "seed_1", on_alarm=alarms.append, stop=True, save=True)
    trainer = fit(tmp_path, Network(1, spoilt=SPOILT), 1, watched)
    assert [(alarm.run, alarm.step) for alarm in alarms] == [("seed_1", SPOILT + 1)]
    assert trainer.global_step == SPOILT + 1
    saved = torch.load(tmp_path / "checkpoints" / f"alarm-step={SPOILT + 1}.ckpt", weights_only=True)
    assert saved["global_step"] == SPOILT + 1


def test_checkpoints_go_where_the_trainers_go(reference, tmp_path):
    saves = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / "mine", every_n_train_steps=LAST)
    watched = AlarmCallback(reference["logged"], on_alarm=[].append, save=True)
    trainer = fit(tmp_path, Network(1, spoilt=SPOILT), 1, watched, saves, enable_checkpointing=True)
    assert trainer.global_step == LAST
    assert (tmp_path / "mine" / f"alarm-step={SPOILT + 1}.ckpt").exists()


def test_without_an_action_an_alarm_is_a_warning_and_training_goes_on(reference, tmp_path):
    with pytest.warns(TrajHMMWarning, match=f"alarm: run run at step {SPOILT + 1}: .*score"):
        trainer = fit(tmp_path, Network(1, spoilt=SPOILT), 1, AlarmCallback(reference["logged"]))
    assert trainer.global_step == LAST


def test_a_healthy_run_is_left_alone(reference, tmp_path):
    watched = AlarmCallback(reference["logged"], stop=True, save=True)
    assert fit(tmp_path, Network(1), 1, watched).global_step == LAST
    assert not (tmp_path / "checkpoints").exists()


def test_rows_are_as_far_apart_as_asked(reference, tmp_path):
    alarms = []
    watched = AlarmCallback(reference["logged"], on_alarm=alarms.append, every=3, stop=True)
    trainer = fit(tmp_path, Network(1, spoilt=37), 1, watched, max_steps=60)
    assert trainer.global_step == 39
    assert [alarm.step for alarm in alarms] == [39]  # the thirteenth row


def test_weights_that_a_run_logger_logs_are_watched_and_judged_as_in_its_log(reference, tmp_path):
    alarms = []
    logger = th.RunLogger(tmp_path / "logs", "seed_1")
    watched = AlarmCallback(reference["weights"], logger, on_alarm=alarms.append, stop=True)
    trainer = fit(tmp_path, Network(1, spoilt=SPOILT), 1, RunLoggerCallback(logger), watched)
    finished = th.Monitor(reference["weights"])
    finished.score(th.read_logs(tmp_path / "logs"))
    assert trainer.global_step == SPOILT + 1
    assert alarms == [finished.trackers["seed_1"].alarm]
    ours, whole = watched.monitor.state_dict()["tracker"], finished.trackers["seed_1"].to_dict()
    assert {name: ours[name] for name in KNOWN} == {name: whole[name] for name in KNOWN}


def test_metrics_that_the_module_never_logs_are_named(reference, tmp_path):
    with pytest.warns(TrajHMMWarning, match="has not logged weight_l2, grad_norm so far"):
        fit(tmp_path, Network(1), 1, AlarmCallback(reference["weights"], on_alarm=[].append))


def test_a_loss_that_is_not_finite_is_an_alarm_at_its_step(reference, tmp_path):
    alarms = []
    watched = AlarmCallback(reference["logged"], on_alarm=alarms.append, stop=True)
    assert fit(tmp_path, Network(1, spoilt=5, by=np.nan), 1, watched).global_step == 6
    assert [(alarm.step, alarm.score) for alarm in alarms] == [(6, np.inf)]


def test_a_training_that_is_resumed_is_watched_as_one_that_was_not(reference, tmp_path):
    def callbacks():
        logger = th.RunLogger(tmp_path / "logs", "a")
        saves = lightning.callbacks.ModelCheckpoint(
            dirpath=tmp_path / "ckpt", every_n_train_steps=10, filename="{step}"
        )
        return RunLoggerCallback(logger), AlarmCallback(reference["weights"], logger), saves

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Network(1, dies=14), 1, *callbacks(), enable_checkpointing=True)
    logging, watched, saves = callbacks()
    checkpoint = tmp_path / "ckpt" / "step=10.ckpt"
    fit(tmp_path, Network(1), 1, logging, watched, saves, enable_checkpointing=True, ckpt_path=checkpoint)
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == list(range(1, LAST + 1))
    finished = th.Monitor(reference["weights"])
    finished.score(runs)
    ours, whole = watched.monitor.state_dict()["tracker"], finished.trackers["a"].to_dict()
    assert {name: ours[name] for name in KNOWN} == {name: whole[name] for name in KNOWN}


def test_other_processes_do_as_rank_zero_decides(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    monkeypatch.setattr(lightning.strategies.SingleDeviceStrategy, "reduce_boolean_decision", lambda *_, **__: True)
    watched = AlarmCallback(reference["logged"], stop=True)
    assert fit(tmp_path, Network(1), 1, watched).global_step == 1
    assert watched.monitor.state_dict()["tracker"] is None
