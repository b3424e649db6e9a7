"""The callback for Hugging Face's Trainer, against numbers that a subclass of the Trainer takes down beside it."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import TrajHMMWarning
from trajhmm.integrations import loops as loops_module
from trajhmm.metrics import WEIGHT_METRICS, RunLogger

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
transformers = pytest.importorskip("transformers", reason="not installed: pip install 'trajhmm[huggingface]'")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate: pip install 'trajhmm[huggingface]'")

from trajhmm.integrations.huggingface import RunLoggerCallback  # noqa: E402

# Pinned memory is asked for by default, and missed where there is no accelerator.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks as small as these only lose time to threads, and much where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Sentences(torch.utils.data.Dataset):
    def __init__(self, seed, size=24):
        self.tokens = torch.randint(0, 17, (size, 6), generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class Recorder(transformers.TrainerCallback):
    """Weights before and after each step of the optimizer, and its learning rate."""

    def __init__(self):
        self.rates, self.updates, self.weights = {}, {}, {}

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.before = {n: p.detach().double().numpy().copy() for n, p in model.named_parameters()}
        self.rates[state.global_step + 1] = optimizer.param_groups[0]["lr"]

    def on_step_end(self, args, state, control, model=None, **kwargs):
        after = {n: p.detach().double().numpy().copy() for n, p in model.named_parameters()}
        change = np.concatenate([(after[n] - self.before[n]).ravel() for n in after])
        self.updates[state.global_step] = np.linalg.norm(change)
        self.weights[state.global_step] = after


class RecordingTrainer(transformers.Trainer):
    """Takes down the loss and the gradient of each step before anything clips it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.losses, self.gradients = {}, {}

    def training_step(self, model, *args, **kwargs):
        loss = super().training_step(model, *args, **kwargs)
        step = self.state.global_step + 1
        self.losses[step] = self.losses.get(step, 0.0) + loss.item()
        self.gradients[step] = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
        return loss


def accuracy(predictions):
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


@pytest.fixture
def make(tmp_path):
    """Build a Trainer with a tiny Llama whose logs go to ``logs/`` under the test's folder."""

    def build(*callbacks, model=None, **settings):
        torch.manual_seed(0)
        shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 17}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8}
        model = model or transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **heads))
        defaults = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 0.05, "logging_steps": 3}
        defaults |= {
            "max_grad_norm": 0.1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return RecordingTrainer(
            model=model,
            args=transformers.TrainingArguments(output_dir=tmp_path / "out", **(defaults | settings)),
            train_dataset=Sentences(1),
            eval_dataset=Sentences(2),
            compute_metrics=accuracy,
            callbacks=[*callbacks],
        )

    return build


@pytest.fixture
def new_logger(tmp_path):
    return lambda: RunLogger(tmp_path / "logs", "seed_0", attributes={"seed": 0})


def rows_of(tmp_path):
    parts = sorted((tmp_path / "logs").rglob("part-*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True).set_index("step")


def heads_of(weights):
    """The matrices of the tiny Llama as its metrics count them: 4 query heads, 2 key-value heads."""
    layer = "model.layers.0."
    for name, count in {"q_proj": 4, "k_proj": 2, "v_proj": 2}.items():
        yield from np.split(weights[f"{layer}self_attn.{name}.weight"], count)
    yield weights[f"{layer}self_attn.o_proj.weight"]
    yield from (weights[f"{layer}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_rows_hold_weights_update_and_the_trainers_own_logs(accumulation, make, new_logger, tmp_path):
    recorder = Recorder()
    trainer = make(
        RunLoggerCallback(new_logger()),
        recorder,
        gradient_accumulation_steps=accumulation,
        eval_strategy="steps",
        eval_steps=6,
    )
    trainer.train()
    rows = rows_of(tmp_path)
    last = 12 // accumulation
    assert rows.index.tolist() == list(range(3, last + 1, 3))
    for step in rows.index:
        row = rows.loc[step]
        assert row["grad_norm"] == pytest.approx(trainer.gradients[step], rel=1e-5)
        assert row["update_norm"] == pytest.approx(recorder.updates[step], rel=1e-5)
        assert row["learning_rate"] == recorder.rates[step]
        window = [trainer.losses[one] for one in range(step - 2, step + 1)]
        assert row["train_loss"] == pytest.approx(np.mean(window), rel=1e-5)
        norms = [np.linalg.norm(matrix) for matrix in heads_of(recorder.weights[step])]
        assert len(norms) == 12
        assert row["weight_l2"] == pytest.approx(np.mean(norms), rel=1e-6)
        evaluated = [log for log in trainer.state.log_history if log["step"] == step and "eval_loss" in log]
        assert len(evaluated) == (step % 6 == 0)
        for log in evaluated:
            assert (row["eval_loss"], row["eval_accuracy"]) == (log["eval_loss"], log["eval_accuracy"])
    assert min(trainer.gradients.values()) > 0.1, "else clipping would not show"
    assert rows["eval_loss"].notna().sum() == last // 6
    ours = {
        "train_loss",
        "eval_loss",
        "eval_accuracy",
        "grad_norm",
        "update_norm",
        "update_over_weight",
        "learning_rate",
    }
    assert set(rows) == {*WEIGHT_METRICS, *ours, "run", "seed"}, "no clocks, no speeds, no summary of the run"


def test_every_measures_at_other_steps_than_the_trainer_logs(make, new_logger, tmp_path, monkeypatch):
    snapshots = []
    original = loops_module.snapshot
    monkeypatch.setattr(loops_module, "snapshot", lambda model: snapshots.append(1) or original(model))
    recorder = Recorder()
    trainer = make(RunLoggerCallback(new_logger(), every=5, layers=True), recorder, logging_steps=4)
    trainer.train()
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [4, 5, 8, 10, 12]
    assert rows.index[rows["weight_l2"].notna()].tolist() == [5, 10]
    assert len(snapshots) == 2
    assert not [name for name in rows if name.startswith("grad_norm/")], "they are clipped when a callback sees them"
    # Every row has a loss and a gradient of its own; the loss is the mean since the row before.
    assert rows["grad_norm"].tolist() == pytest.approx([trainer.gradients[step] for step in rows.index], rel=1e-5)
    assert rows["train_loss"][8] == pytest.approx(np.mean([trainer.losses[step] for step in (6, 7, 8)]), rel=1e-5)
    assert rows["train_loss"][5] == pytest.approx(trainer.losses[5], rel=1e-5)
    projection = "model.layers.0.mlp.up_proj"
    assert rows[f"weight_l2/{projection}"][10] == pytest.approx(
        np.linalg.norm(recorder.weights[10][f"{projection}.weight"]), rel=1e-6
    )


def test_what_is_logged_by_epoch_needs_every(make, new_logger, tmp_path):
    with pytest.raises(ValueError, match=r"logs by 'epoch'.*every"):
        make(RunLoggerCallback(new_logger()), logging_strategy="epoch").train()
    make(RunLoggerCallback(new_logger(), every=4), logging_strategy="epoch", eval_strategy="epoch").train()
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [4, 6, 8, 12]
    assert rows.index[rows["eval_loss"].notna()].tolist() == [6, 12]


def test_a_run_resumed_from_a_checkpoint_goes_on_without_a_gap(make, new_logger, tmp_path, monkeypatch):
    """Killed at step 8, with only what the checkpoint of step 6 wrote on disk, and resumed from there."""
    monkeypatch.setattr(th.RunLogger, "_end", lambda _: None)  # what is killed writes no more

    class Killed(BaseException):
        pass

    class Kill(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 8:
                raise Killed

    settings = {"logging_steps": 1, "save_strategy": "steps", "save_steps": 6}
    with pytest.raises(Killed):
        make(RunLoggerCallback(new_logger()), Kill(), **settings).train()
    assert rows_of(tmp_path).index.tolist() == [1, 2, 3, 4, 5, 6]
    logger = new_logger()
    assert logger.last_step == 6
    trainer = make(RunLoggerCallback(logger), **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == list(range(1, 13))
    assert runs.column("train_loss")[6:].tolist() == pytest.approx([trainer.losses[s] for s in range(7, 13)], rel=1e-5)
    assert runs.logged[:, runs.metrics.index("weight_l2")].all()


def test_steps_taken_again_are_replaced(make, new_logger, tmp_path):
    settings = {"logging_steps": 1, "save_strategy": "steps", "save_steps": 6}
    make(RunLoggerCallback(new_logger()), **settings).train()
    trainer = make(RunLoggerCallback(new_logger()), **settings, seed=1)
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    runs = th.read_logs(tmp_path / "logs")
    assert rows_of(tmp_path).index.tolist() == [*range(1, 13), *range(7, 13)]
    assert runs.steps.tolist() == list(range(1, 13))
    assert runs.column("train_loss")[6:].tolist() == pytest.approx([trainer.losses[s] for s in range(7, 13)], rel=1e-5)


def test_evaluations_outside_training_are_not_logged(make, new_logger, tmp_path):
    logger = new_logger()
    trainer = make(RunLoggerCallback(logger))
    trainer.evaluate()
    logger.close()
    assert not (tmp_path / "logs").exists()
    trainer.train()
    written = rows_of(tmp_path)
    trainer.evaluate()
    logger.close()
    pd.testing.assert_frame_equal(rows_of(tmp_path), written)
    assert "eval_loss" not in written


def test_only_the_main_process_writes_and_all_log_at_the_same_steps(make, new_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(loops_module, "snapshot", None)

    class NotMain(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            state.is_world_process_zero = False

    trainer = make(NotMain(), RunLoggerCallback(new_logger(), every=5), logging_steps=4)
    trainer.train()
    assert not (tmp_path / "logs").exists()
    assert [log["step"] for log in trainer.state.log_history if "loss" in log] == [4, 5, 8, 10, 12]


def test_weights_that_are_not_finite_do_not_end_the_training(make, new_logger, tmp_path):
    class Break(transformers.TrainerCallback):
        def on_optimizer_step(self, args, state, control, model=None, **kwargs):
            with torch.no_grad():
                model.model.layers[0].mlp.up_proj.weight[0, 0] = np.inf

    make(Break(), RunLoggerCallback(new_logger(), every=1)).train()
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == list(range(1, 13))
    assert rows["weight_l2"].isna().all()
    assert rows["update_norm"].isna().all()


def test_an_attribute_wins_over_a_metric_of_its_name(make, tmp_path):
    logger = RunLogger(tmp_path / "logs", "a", attributes={"learning_rate": 0.05})
    with pytest.warns(TrajHMMWarning, match="learning_rate is an attribute"):
        make(RunLoggerCallback(logger)).train()
    assert set(rows_of(tmp_path)["learning_rate"]) == {0.05}
