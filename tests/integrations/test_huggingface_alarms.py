"""The callback for Hugging Face's Trainer, on small networks that are spoilt on the way."""

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import TrajHMMWarning

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
transformers = pytest.importorskip("transformers", reason="not installed: pip install 'trajhmm[huggingface]'")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate: pip install 'trajhmm[huggingface]'")

from trajhmm.integrations import huggingface as module  # noqa: E402
from trajhmm.integrations.huggingface import AlarmCallback, RunLoggerCallback  # noqa: E402

nn = torch.nn
# Pinned memory is asked for by default, and missed where there is no accelerator.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning"),
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


class Network(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x, labels):
        out = self.layers(x)
        return {"loss": nn.functional.cross_entropy(out, labels), "logits": out}


class Points(torch.utils.data.Dataset):
    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.x, self.y = torch.randn(40, 3, generator=generator), torch.randint(0, 2, (40,), generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": self.y[index]}


class Spoil(transformers.TrainerCallback):
    """Blow up the weights after a step, so that the loss of the next is out of all proportion."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == SPOILT:
            with torch.no_grad():
                model.layers[2].weight *= 1e4


def trainer(folder, seed, *callbacks, **settings):
    defaults = {"per_device_train_batch_size": 4, "max_steps": LAST, "learning_rate": 0.05, "logging_steps": 1}
    defaults |= {"save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True, "seed": seed}
    return transformers.Trainer(
        model=Network(seed),
        args=transformers.TrainingArguments(output_dir=folder / "out", **(defaults | settings)),
        train_dataset=Points(seed),
        callbacks=[*callbacks],
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Models fitted on the logs of eight healthy trainings: of what the Trainer logs, and of weights beside it."""
    folder = tmp_path_factory.mktemp("healthy")
    for seed in range(8):
        trainer(folder, seed, RunLoggerCallback(th.RunLogger(folder / "logs", f"seed_{seed}"))).train()
    runs = th.read_logs(folder / "logs")
    how = {"states": 1, "restarts": 1, "iterations": 20}
    return {
        "logged": th.fit_warning(runs, metrics=["train_loss", "grad_norm"], **how),
        "weights": th.fit_warning(runs, metrics=["train_loss", "weight_l2", "update_norm"], **how),
    }


@pytest.mark.once
def test_on_alarm_the_run_is_saved_and_stopped_at_that_step(reference, tmp_path):
    alarms = []
    watched = AlarmCallback(reference["logged"], "seed_1", on_alarm=alarms.append, stop=True, save=True)
    training = trainer(tmp_path, 1, Spoil(), watched)
    training.train()
    assert [(alarm.run, alarm.step) for alarm in alarms] == [("seed_1", SPOILT + 1)]
    assert training.state.global_step == SPOILT + 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"checkpoint-{SPOILT + 1}"]


def test_without_an_action_an_alarm_is_a_warning_and_training_goes_on(reference, tmp_path):
    training = trainer(tmp_path, 1, Spoil(), AlarmCallback(reference["logged"]))
    with pytest.warns(TrajHMMWarning, match=f"alarm: run run at step {SPOILT + 1}: .*score"):
        training.train()
    assert training.state.global_step == LAST
    assert not (tmp_path / "out" / f"checkpoint-{SPOILT + 1}").exists()


def test_a_healthy_run_is_left_alone(reference, tmp_path):
    training = trainer(tmp_path, 1, AlarmCallback(reference["logged"], stop=True, save=True))
    training.train()
    assert training.state.global_step == LAST


def test_weights_that_a_run_logger_logs_are_watched_and_judged_as_in_its_log(reference, tmp_path):
    alarms = []
    logger = th.RunLogger(tmp_path / "logs", "seed_1")
    watched = AlarmCallback(reference["weights"], logger, on_alarm=alarms.append, stop=True)
    training = trainer(tmp_path, 1, RunLoggerCallback(logger), watched, Spoil())
    training.train()
    finished = th.Monitor(reference["weights"])
    finished.score(th.read_logs(tmp_path / "logs"))
    # The loss of a step is of the weights before it, its weight metrics are of those after.
    assert training.state.global_step == SPOILT + 1
    assert alarms == [finished.trackers["seed_1"].alarm]
    ours, whole = watched.monitor.state_dict()["tracker"], finished.trackers["seed_1"].to_dict()
    assert {name: ours[name] for name in KNOWN} == {name: whole[name] for name in KNOWN}


def test_metrics_that_the_trainer_never_logs_are_named(reference, tmp_path):
    with pytest.warns(TrajHMMWarning, match="has not logged weight_l2, update_norm so far"):
        trainer(tmp_path, 1, AlarmCallback(reference["weights"], on_alarm=[].append)).train()


def test_a_loss_that_is_not_finite_is_an_alarm_at_its_step(reference, tmp_path):
    class Break(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 5:
                with torch.no_grad():
                    model.layers[2].bias[0] = np.nan

    alarms = []
    watched = AlarmCallback(reference["logged"], on_alarm=alarms.append, stop=True)
    trainer(tmp_path, 1, Break(), watched, logging_nan_inf_filter=False).train()
    assert [alarm.step for alarm in alarms] == [6]
    assert np.isinf(alarms[0].score)


def test_a_training_that_is_resumed_is_watched_as_one_that_was_not(reference, tmp_path):
    class Killed(BaseException):
        pass

    class Kill(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 8:
                raise Killed

    settings = {"save_strategy": "steps", "save_steps": 6}
    logger = th.RunLogger(tmp_path / "logs", "a")
    watched = AlarmCallback(reference["logged"], logger)
    with pytest.raises(Killed):
        trainer(tmp_path, 1, RunLoggerCallback(logger), watched, Kill(), **settings).train()
    logger = th.RunLogger(tmp_path / "logs", "a")
    watched = AlarmCallback(reference["logged"], logger)
    resumed = trainer(tmp_path, 1, RunLoggerCallback(logger), watched, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == list(range(1, LAST + 1))
    finished = th.Monitor(reference["logged"])
    finished.score(runs)
    ours, whole = watched.monitor.state_dict()["tracker"], finished.trackers["a"].to_dict()
    assert {name: ours[name] for name in KNOWN} == {name: whole[name] for name in KNOWN}


def test_other_processes_do_as_the_main_one_decides(reference, tmp_path, monkeypatch):
    class NotMain(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            state.is_world_process_zero = False

    monkeypatch.setattr(module, "broadcast_object_list", lambda _: [True])
    watched = AlarmCallback(reference["logged"], stop=True)
    training = trainer(tmp_path, 1, NotMain(), watched)
    training.train()
    assert training.state.global_step == 1
    assert watched.monitor.state_dict()["tracker"] is None


def test_evaluations_outside_training_are_not_judged(reference, tmp_path):
    watched = AlarmCallback(reference["logged"])
    training = trainer(tmp_path, 1, watched)
    training.evaluate(Points(3))
    assert watched.monitor.state_dict()["tracker"] is None


def test_the_summary_of_the_training_is_no_row(reference, tmp_path):
    watched = AlarmCallback(reference["logged"])
    trainer(tmp_path, 1, watched, logging_steps=3).train()
    assert watched.monitor.state_dict()["tracker"]["last_step"] == LAST - LAST % 3
