"""Logs as trainers write them, mostly by the real library, with NaN, a resume and metrics at two rates."""

import json
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import TrajHMMError, read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats.registry import format_of, recognised
from trajhmm.logs.settings import Settings

NAN = float("nan")


def table_of(path):
    return format_of(path).read(path, "run")


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hidden(table):
    return [note.text for note in table.notes if note.kind == "hidden"]


def left_out(table):
    return [note.text for note in table.notes if note.kind == "left-out"]


def grown(folder, name, raw, cuts, metrics):
    """Steps and (n, D) values of a file that grows up to each of ``cuts``, as they are told live."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    follower = Follower([path], metrics, Settings.of(run_by=(), rename=None, where=None, step=None))
    found, at = [], 0
    for cut in [*sorted(cuts), len(raw)]:
        with path.open("ab") as file:
            file.write(raw[at:cut])
        at = cut
        found += [(rows.steps, rows.values) for rows in follower.poll()]
        assert not follower.torn
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


# Hugging Face


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of three Trainers: 6 steps, saved each 2, evaluated each 3, NaN from step 3 on; one resumed at step 4."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, which writes the log")
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("accelerate", reason="needs accelerate, as the Trainer does")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.calls = 0

        def forward(self, x, labels=None):
            loss = ((self.layer(x)[:, 0] - labels) ** 2).mean()
            self.calls += self.training
            return {"loss": loss * (NAN if self.training and self.calls == 3 else 1), "logits": self.layer(x)}

    rows = [{"x": torch.randn(2), "labels": torch.tensor(1.0)} for _ in range(16)]

    def train(folder, *, nan_filter, resume=None):
        arguments = transformers.TrainingArguments(
            output_dir=str(folder), max_steps=6 if resume is None else 8, logging_steps=1, eval_strategy="steps",
            eval_steps=3, save_steps=2, per_device_train_batch_size=4, report_to=[], disable_tqdm=True, use_cpu=True,
            logging_nan_inf_filter=nan_filter, max_grad_norm=0, learning_rate=0.0, seed=0,
        )  # fmt: skip
        trainer = transformers.Trainer(model=Net(), args=arguments, train_dataset=rows, eval_dataset=rows)
        trainer.train(resume_from_checkpoint=resume)
        trainer.save_state()

    root = tmp_path_factory.mktemp("hf")
    train(root / "filtered", nan_filter=True)
    train(root / "plain", nan_filter=False)
    train(root / "resumed", nan_filter=True)
    (root / "resumed" / "trainer_state.json").unlink()
    train(root / "resumed", nan_filter=True, resume=str(root / "resumed" / "checkpoint-4"))
    return root


@pytest.mark.once
def test_trainer_state_of_a_real_trainer(trained):
    path = trained / "plain" / "trainer_state.json"
    table = table_of(path)
    history = json.loads(path.read_text())["log_history"]
    assert table.n == len(history) - 1 == 8  # six of training, two of evaluation, without the closing row
    losses = table.present["loss"]
    assert table.numbers["step"][losses].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isnan(table.numbers["loss"][losses]).tolist() == [step >= 3 for step in range(1, 7)]
    assert table.numbers["step"][table.present["eval_loss"]].tolist() == [3, 6]
    assert table.attributes["max_steps"] == 6
    assert table.blanks_are_blank
    assert not {"train_loss", "train_runtime", "total_flos"} & set(table.columns)
    assert "epoch" in table.columns
    (closing,) = left_out(table)
    assert "closing row" in closing
    assert "train_runtime" in closing
    assert "train_loss nan" in closing
    assert not hidden(table)  # as the NaN is there


def test_the_filter_of_nan_is_said_unless_one_is_seen(trained):
    table = table_of(trained / "filtered" / "trainer_state.json")
    assert table.numbers["loss"][table.present["loss"]][2:].tolist() == [0, 0, 0, 0]  # NaN, as the filter tells it
    assert ["logging_nan_inf_filter" in text for text in hidden(table)] == [True]


def test_of_checkpoints_the_last_tells_the_run(trained):
    runs = read_logs(trained)
    assert runs.runs == ("filtered", "plain", "resumed")
    steps = {run: runs.steps[rows].tolist() for run, rows in runs.slices()}
    assert steps["plain"] == [1, 2, 3, 4, 5, 6]
    assert steps["resumed"] == [1, 2, 3, 4, 5, 6, 7, 8]
    checkpoint = trained / "plain" / "checkpoint-4" / "trainer_state.json"
    assert recognised(checkpoint).home(checkpoint) == trained / "plain"


def test_checkpoints_that_come_are_followed_each_row_told_once(tmp_path):
    follower = Follower([tmp_path], ("loss",), Settings.of(run_by=(), rename=None, where=None, step=None))
    told = []
    for n in (2, 4, 10, 12):
        history = [{"step": step, "loss": 1 / step, "epoch": step / 10} for step in range(1, n + 1)]
        path = tmp_path / "RUN" / f"checkpoint-{n}" / "trainer_state.json"
        written(path, json.dumps({"log_history": history}))
        told.append([(rows.run, rows.steps.tolist()) for rows in follower.poll()])
        if n == 4:
            (tmp_path / "RUN" / "checkpoint-2" / "trainer_state.json").unlink()  # as save_total_limit has it
    told.append([(rows.run, rows.steps.tolist()) for rows in follower.poll()])
    assert [run for poll in told for run, _ in poll] == ["RUN"] * sum(map(len, told))
    assert [step for poll in told for _, steps in poll for step in steps] == list(range(1, 13))
    assert told[:2] == [[("RUN", [1, 2])], [("RUN", [3, 4])]]


def test_checkpoints_of_a_training_that_was_resumed_after_its_end_tell_more_than_its_end(tmp_path):
    follower = Follower([tmp_path], ("loss",), Settings.of(run_by=(), rename=None, where=None, step=None))
    told = []
    for folder, n in (("checkpoint-4", 4), (".", 4), ("checkpoint-6", 6)):
        history = [{"step": step, "loss": 1 / step, "epoch": step / 10} for step in range(1, n + 1)]
        state = {"epoch": n / 10, "global_step": n, "log_history": history}
        written(tmp_path / "RUN" / folder / "trainer_state.json", json.dumps(state, indent=2))
        told += [step for rows in follower.poll() for step in rows.steps]
    assert told == read_logs(tmp_path).steps.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("told", ['"20"', "null", str(10**30)])
def test_a_checkpoint_whose_step_is_odd_is_known_by_its_folder(told, tmp_path):
    for folder, step, n in (("checkpoint-10", "10", 10), ("checkpoint-20", told, 20), (".", "10", 10)):
        rows = ", ".join(f'{{"step": {step}, "loss": {1 / step}}}' for step in range(1, n + 1))
        text = f'{{"epoch": 1, "global_step": {step}, "log_history": [{rows}]}}'
        written(tmp_path / "RUN" / folder / "trainer_state.json", text)
    assert read_logs(tmp_path).n_rows == 20


@pytest.mark.parametrize(
    "text", ['{"log_history": 3}', '{"log_history": [1]}', '{"log_history": [{"st', '"log_history"']
)
def test_a_trainer_state_that_is_none_is_an_error(text, tmp_path):
    with pytest.raises(TrajHMMError, match=r"trainer_state\.json: ") as error:
        read_logs(written(tmp_path / "trainer_state.json", text))
    assert len(str(error.value).splitlines()) == 1


# Stable-Baselines3


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """A monitor file of a short environment, resumed once, its episodes and lengths."""
    gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium")
    monitor = pytest.importorskip("stable_baselines3.common.monitor", reason="needs stable-baselines3, which writes it")

    class Env(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = gymnasium.spaces.Discrete(2)
        left = 0

        def reset(self, *, seed=None, options=None):
            self.left = 1 + lengths[len(seen)] if len(seen) < len(lengths) else 1
            return 0, {}

        def step(self, action):
            self.left -= 1
            reward = NAN if len(seen) == 4 else 0.1 * len(seen)
            return 0, reward, self.left <= 0, False, {}

    lengths, seen = [4, 1, 7, 2, 9, 3, 5, 8], []
    folder = tmp_path_factory.mktemp("sb3")
    for override, n in ((True, 5), (False, 3)):
        env = monitor.Monitor(Env(), str(folder / "monitor.csv"), override_existing=override)
        for _ in range(n):
            env.reset()
            while not env.step(0)[2]:
                pass
            seen.append(1)
        env.close()
    return folder / "monitor.csv", np.cumsum(np.array(lengths) + 1)


def test_monitor_of_a_real_environment(monitored):
    path, steps = monitored
    table = table_of(path)
    assert table.numbers["step"].tolist() == steps.tolist()
    assert np.isnan(table.numbers["r"]).tolist() == [number == 4 for number in range(8)]
    assert set(table.columns) == {"step", "r", "l", "t"}
    assert "t_start" in left_out(table)[0]
    text = path.read_text().replace('"env_id": "None"', '"env_id": "CartPole-v1"')
    assert table_of(written(path.with_name("0.monitor.csv"), text)).attributes == {"env_id": "CartPole-v1"}


@settings(deadline=None, max_examples=40)
@given(data=st.data(), middle=st.sampled_from(["", '#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n', "0.3,\n", "\0\0\n"]))
def test_the_running_sum_goes_on_live(tmp_path_factory, data, middle):
    rows = [f"{step / 3},{step + 1},{step}\n" for step in range(9)]
    raw = ('#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n' + "".join(rows[:5]) + middle + "".join(rows[5:])).encode()
    folder = tmp_path_factory.mktemp("logs")
    cuts = data.draw(st.sets(st.integers(1, len(raw)), max_size=8))
    steps, values = grown(folder, "monitor.csv", raw, cuts, ("r", "l"))
    table = table_of(folder / "monitor.csv")
    assert steps.tolist() == table.numbers["step"].tolist() == np.cumsum(range(1, 10)).tolist()
    np.testing.assert_array_equal(values, np.transpose([table.numbers["r"], table.numbers["l"]]))


def test_the_running_sum_goes_on_after_a_restart(tmp_path):
    path = written(tmp_path / "monitor.csv", '#{"t_start": 1.0}\nr,l,t\n1,10,0\n2,10,0\n')
    how = Settings.of(run_by=(), rename=None, where=None, step=None)
    first = Follower([path], ("r",), how)
    assert [rows.steps.tolist() for rows in first.poll()] == [[10, 20]]
    stored = {
        name: type(seen).of(json.loads(json.dumps(seen.to_dict())), seen.runs) for name, seen, _ in first.unsaved()
    }
    with path.open("a") as file:
        file.write("3,5,0\n")
    again = Follower([path], ("r",), how)
    again.resume(stored)
    assert [rows.steps.tolist() for rows in again.poll()] == [[25]]


def test_progress_of_a_real_logger_that_adds_columns(tmp_path):
    logger = pytest.importorskip("stable_baselines3.common.logger", reason="needs stable-baselines3, which writes it")
    path = tmp_path / "a" / "progress.csv"
    path.parent.mkdir()
    output = logger.CSVOutputFormat(str(path))
    follower = Follower([tmp_path], ("rollout/ep_rew_mean", "train/loss"), Settings.of(
        run_by=(), rename=None, where=None, step="time/total_timesteps"))  # fmt: skip
    live = []
    for number in range(1, 7):
        values = {"time/total_timesteps": 100 * number, "rollout/ep_rew_mean": NAN if number == 4 else number / 3}
        output.write(
            values | ({"train/loss": 1 / number} if number % 2 == 0 else {}),
            dict.fromkeys([*values, "train/loss"], ()),
        )
        live += [step for rows in follower.poll() for step in rows.steps.tolist()]
    output.close()
    table = table_of(path)
    assert table.numbers["time/total_timesteps"].tolist() == live == [100, 200, 300, 400, 500, 600]
    np.testing.assert_array_equal(table.numbers["rollout/ep_rew_mean"] * 3, [1, 2, 3, NAN, 5, 6])
    assert table.present["train/loss"].tolist() == [False, True] * 3
    assert "rollout/ep_rew_mean" not in table.present
    assert table.blanks_are_blank
    assert "100 episodes" in hidden(table)[0]


# Lightning, Keras


def test_metrics_of_a_real_lightning_logger(tmp_path):
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="needs lightning, which writes the log")
    for version in (0, 3):
        logger = loggers.CSVLogger(tmp_path, version=version)
        for step in range(9):
            logger.log_metrics({"epoch": step // 3, "train_loss_step": NAN if step == 5 else 1 / (1 + step)}, step)
            if step % 3 == 2:
                logger.save()  # which writes the file again with a column that is new
                logger.log_metrics({"epoch": step // 3, "val_loss": step / 7, "train_loss_epoch": step / 9}, step)
        logger.save()
    path = tmp_path / "lightning_logs" / "version_3" / "metrics.csv"
    table = table_of(path)
    assert recognised(path).name == "lightning"
    assert table.n == 12
    assert table.blanks_are_blank
    stands = table.present["train_loss_step"]
    assert table.numbers["step"][stands].tolist() == list(range(9))
    assert np.flatnonzero(np.isnan(table.numbers["train_loss_step"][stands])).tolist() == [5]
    assert table.numbers["step"][table.present["val_loss"]].tolist() == [2, 5, 8]
    assert read_logs(tmp_path).runs == ("version_0", "version_3")


def test_a_resumed_training_of_the_real_lightning_is_two_logs_each_whole(tmp_path):
    pl = pytest.importorskip("lightning.pytorch", reason="needs lightning, which writes the log")
    torch = pytest.importorskip("torch", reason="needs PyTorch, as lightning does")

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, number):
            loss = self.layer(batch).square().mean()
            self.log("train_loss", loss * (NAN if self.global_step == 5 else 1))
            return loss

        def validation_step(self, batch, number):
            self.log("val_loss", float(self.global_step))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def train(epochs, path=None):
        logger = pl.loggers.CSVLogger(tmp_path / "logs")
        trainer = pl.Trainer(
            max_epochs=epochs, logger=logger, log_every_n_steps=1, enable_progress_bar=False, accelerator="cpu",
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        rows = torch.utils.data.DataLoader(torch.ones(8, 2), batch_size=2)
        trainer.fit(Net(), rows, torch.utils.data.DataLoader(torch.ones(2, 2)), ckpt_path=path)
        return trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning: few workers, no shuffling
        first = train(2)
        first.save_checkpoint(tmp_path / "last.ckpt")
        train(3, str(tmp_path / "last.ckpt"))
    runs = read_logs(tmp_path / "logs")
    assert runs.runs == ("version_0", "version_1")  # as nothing in the second says that it goes on from the first
    assert [runs.steps[rows].tolist() for _, rows in runs.slices()] == [list(range(8)), list(range(8, 12))]
    loss, evaluated = (runs.values[:, runs.metrics.index(name)] for name in ("train_loss", "val_loss"))
    assert np.flatnonzero(np.isnan(loss)).tolist() == [5]
    assert evaluated[[3, 7, 11]].tolist() == [4, 8, 12]


def test_csv_of_a_real_keras_logger_that_went_on(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="needs keras, which writes the log")
    path = tmp_path / "history.csv"
    for start, append in ((0, False), (3, True)):
        logger = keras.callbacks.CSVLogger(path, append=append)
        logger.set_model(keras.Sequential())
        logger.on_train_begin()
        for epoch in range(start, start + 3):
            loss = NAN if epoch == 4 else 1 / (1 + epoch)
            logger.on_epoch_end(epoch, {"loss": loss, "val_loss": epoch / 7})
        logger.on_train_end()
    table = table_of(path)
    assert table.numbers["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(table.numbers["loss"], [1, 1 / 2, 1 / 3, 1 / 4, NAN, 1 / 6])
    assert not table.notes
    header, *rows = path.read_text().splitlines()
    written(path, "\n".join([header, *rows[:3], header, *rows[3:]]) + "\n")  # as older ones did
    again = table_of(path)
    np.testing.assert_array_equal(again.numbers["loss"], table.numbers["loss"])
    assert [note.text.rpartition(": ")[2] for note in again.notes] == ["line 5 repeats the header"]


# By the shape of what tools write


def test_progress_of_spinning_up(tmp_path):
    header = ["Epoch", "AverageEpRet", "StdEpRet", "TotalEnvInteracts", "LossPi"]
    lines = ["\t".join(header), *("\t".join(map(str, [t, t / 3, 0.1, 4000 * (t + 1), NAN])) for t in range(4))]
    path = written(tmp_path / "ppo" / "ppo_s0" / "progress.txt", "\n".join(lines) + "\n")
    written(tmp_path / "ppo" / "ppo_s10" / "progress.txt", "\n".join(lines).replace("0.1", "0.2") + "\n")
    table = table_of(path)
    assert table.columns == tuple(header)
    assert table.numbers["TotalEnvInteracts"].tolist() == [4000, 8000, 12000, 16000]
    assert "AverageEpRet" in hidden(table)[0]
    assert read_logs(tmp_path).runs == ("ppo_s0", "ppo_s10")
    written(tmp_path / "progress.txt", "Epoch 3\tsome words\nand more\n")
    assert recognised(tmp_path / "progress.txt") is None


def rllib_result(number):
    return {
        "episode_reward_mean": NAN if number == 1 else number / 3,
        "hist_stats": {"episode_reward": [1.0] * number},
        "info": {"learner": {"default_policy": {"learner_stats": {"entropy": 1 / number}}}},
        "training_iteration": number,
        "timesteps_total": 4000 * number,
        "done": number == 4,
        "date": f"2024-01-01_00-00-0{number}",
        "config": {"lr": 5e-5, "gamma": 0.99, "hidden": [256, 256], "env": "CartPole-v1", "model": {"lstm": False},
                   "callbacks": None, "count": number, "filler": "x" * 6000},
    }  # fmt: skip


def test_results_of_rllib(tmp_path):
    lines = [json.dumps(rllib_result(number)) for number in range(1, 5)]
    lines.insert(2, lines[2][:100])
    path = written(tmp_path / "PPO" / "PPO_a" / "result.json", "\n".join(lines) + "\n")
    written(path.with_name("params.json"), json.dumps(rllib_result(1)["config"], indent=2))
    table = table_of(path)
    assert recognised(path).name == "rllib"
    assert table.numbers["training_iteration"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(table.numbers["episode_reward_mean"], np.array([NAN, 2, 3, 4]) / 3)
    assert "info/learner/default_policy/learner_stats/entropy" in table.columns
    assert table.attributes == {
        "config/lr": 5e-5, "config/gamma": 0.99, "config/env": "CartPole-v1", "config/model/lstm": 0,
        "config/filler": "x" * 6000,
    }  # fmt: skip
    said = " ".join(note.text for note in table.notes)
    for text in ("2 settings that are lists or change left out: config/count, config/hidden", "line 3", "hist_stats"):
        assert text in said
    raw = path.read_bytes()
    steps, values = grown(tmp_path / "live", "result.json", raw, {1, 7000, 9000, 20000},
                          ("info/learner/default_policy/learner_stats/entropy",))  # fmt: skip
    assert (steps.tolist(), values[:, 0].tolist()) == ([4000, 8000, 12000, 16000], [1 / n for n in range(1, 5)])


def test_files_of_the_real_ray_tune_tell_one_run(tmp_path):
    logger = pytest.importorskip("ray.tune.logger", reason="needs ray[tune], which writes the logs")

    class Trial:
        local_path, checkpoint, trial_id = str(tmp_path / "PPO_a"), None, "a"
        config = {"lr": 0.1, "model": {"hidden": [1, 2]}}  # noqa: RUF012 (as Ray has it)

        def init_local_path(self):
            (tmp_path / "PPO_a").mkdir(exist_ok=True)

    trial = Trial()
    trial.init_local_path()
    for callback in (logger.JsonLoggerCallback(), logger.CSVLoggerCallback()):
        callback.log_trial_start(trial)
        for number in range(1, 6):
            result = {"training_iteration": number, "loss": NAN if number == 2 else 1 / number, "config": trial.config}
            callback.log_trial_result(number, trial, result | ({"evaluation/loss": number} if number % 2 == 0 else {}))
        callback.log_trial_end(trial)
    results, progress = (table_of(tmp_path / "PPO_a" / name) for name in ("result.json", "progress.csv"))
    for table in (results, progress):
        assert table.numbers["training_iteration"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_array_equal(table.numbers["loss"], [1, NAN, 1 / 3, 1 / 4, 1 / 5])
    assert results.present["evaluation/loss"].tolist() == [False, True, False, True, False]
    assert results.attributes == {"config/lr": 0.1}
    assert "evaluation/loss" not in progress.columns
    assert "result.json holds all" in hidden(progress)[0]
    results.path.write_text(results.path.read_text().replace("NaN", "0.5"))
    progress.path.write_text(progress.path.read_text().replace("nan", "0.5"))
    runs = read_logs(tmp_path)
    assert runs.runs == ("PPO_a",)
    assert runs.n_rows == 5


def test_a_trial_of_the_real_ray_tune_that_was_restored_goes_on(tmp_path):
    logger = pytest.importorskip("ray.tune.logger", reason="needs ray[tune], which writes the logs")

    class Trial:
        local_path, checkpoint, trial_id, config = str(tmp_path / "PPO_a"), None, "a", {"lr": 0.1}

        def init_local_path(self):
            (tmp_path / "PPO_a").mkdir(exist_ok=True)

    trial = Trial()
    trial.init_local_path()
    for first, last, sign in ((1, 5, 1), (4, 6, -1)):  # a kill after 5, restored from what was saved after 3
        for callback in (logger.JsonLoggerCallback(), logger.CSVLoggerCallback()):
            callback.log_trial_start(trial)
            for number in range(first, last + 1):
                loss = NAN if (number, sign) == (2, 1) else sign / number
                callback.log_trial_result(number, trial, {"training_iteration": number, "loss": loss})
            callback.log_trial_end(trial)
    for name in ("result.json", "progress.csv"):
        runs = read_logs(tmp_path / "PPO_a" / name)
        assert runs.steps.tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(
            runs.values[:, runs.metrics.index("loss")], [1, NAN, 1 / 3, -1 / 4, -1 / 5, -1 / 6]
        )
        assert [note.kind for note in runs.notes].count("resume") == 1
    assert read_logs(tmp_path).runs == ("PPO_a",)


def test_metrics_of_detectron2(tmp_path):
    lines = [json.dumps({"data_time": 0.1, "iteration": 20 * t + 19, "total_loss": 1 / (t + 1)}) for t in range(3)]
    lines.append(json.dumps({"bbox/AP": 30.5, "iteration": 59}))
    path = written(tmp_path / "output" / "metrics.json", "\n".join(lines) + "\n")
    table = table_of(path)
    assert table.numbers["iteration"].tolist() == [19, 39, 59, 59]
    assert table.present["bbox/AP"].tolist() == [False, False, False, True]
    assert "medians over the last 20" in hidden(table)[0]


MMENGINE = [
    *({"lr": 0.1, "loss": 1 / t, "epoch": 1 + t // 4, "iter": 50 * t, "step": 50 * t} for t in range(1, 4)),
    {"coco/bbox_mAP": 0.25, "data_time": 0.1, "step": 1},
    *({"lr": 0.1, "loss": NAN, "epoch": 1 + t // 4, "iter": 50 * t, "step": 50 * t} for t in range(4, 7)),
    {"coco/bbox_mAP": 0.5, "data_time": 0.1, "step": 2},
]


@settings(deadline=None, max_examples=20)
@given(cuts=st.sets(st.integers(1, 700), max_size=8))
def test_scalars_of_mmengine(tmp_path_factory, cuts):
    raw = "".join(json.dumps(row) + "\n" for row in MMENGINE).encode()
    folder = tmp_path_factory.mktemp("mm") / "20240101_120000" / "vis_data"
    steps, values = grown(
        folder, "scalars.json", raw, {cut for cut in cuts if cut < len(raw)}, ("loss", "coco/bbox_mAP")
    )
    table = table_of(folder / "scalars.json")
    assert steps.tolist() == table.numbers["step"].tolist() == [50, 100, 150, 150, 200, 250, 300, 300]
    np.testing.assert_array_equal(values[:, 1], [NAN, NAN, NAN, 0.25, NAN, NAN, NAN, 0.5])
    assert table.numbers["epoch"][[3, 7]].tolist() == [1, 2]
    assert recognised(folder / "scalars.json").home(folder / "scalars.json") == folder.parent


def test_scalars_of_the_real_mmengine(tmp_path):
    pytest.importorskip("cv2", reason="needs opencv, as mmengine does")
    backend = pytest.importorskip("mmengine.visualization", reason="needs mmengine, which writes the log")
    folder = tmp_path / "20240101_120000" / "vis_data"
    writer = backend.LocalVisBackend(str(folder))
    for row in MMENGINE:
        values = {key: value for key, value in row.items() if key != "step"}
        writer.add_scalars(values, step=row["step"], file_path="20240101_120000.json")
    for name in ("scalars.json", "20240101_120000.json"):
        assert table_of(folder / name).numbers["step"].tolist() == [50, 100, 150, 150, 200, 250, 300, 300]
    runs = read_logs(tmp_path)
    assert runs.runs == ("20240101_120000",)
    assert runs.steps.tolist() == [50, 100, 150, 200, 250, 300]


def test_a_resumed_training_of_the_real_mmengine_is_two_logs_each_whole(tmp_path):
    pytest.importorskip("cv2", reason="needs opencv, as mmengine does")
    backend = pytest.importorskip("mmengine.visualization", reason="needs mmengine, which writes the log")
    for folder, steps in (("20240101_120000", (50, 100, 150)), ("20240101_130000", (150, 200))):
        writer = backend.LocalVisBackend(str(tmp_path / folder / "vis_data"))
        for step in steps:
            writer.add_scalars({"loss": NAN if step == 100 else 1 / step, "iter": step}, step=step)
            if step != 50:
                writer.add_scalars({"coco/bbox_mAP": step / 1000}, step=step)
    runs = read_logs(tmp_path)
    assert runs.runs == ("20240101_120000", "20240101_130000")
    assert [runs.steps[rows].tolist() for _, rows in runs.slices()] == [[50, 100, 150], [150, 200]]
    np.testing.assert_array_equal(runs.column("loss"), [1 / 50, NAN, 1 / 150, 1 / 150, 1 / 200])
    np.testing.assert_array_equal(runs.column("coco/bbox_mAP"), [NAN, 0.1, 0.15, 0.15, 0.2])


def test_results_of_the_real_ultralytics_that_went_on(tmp_path):
    trainer = pytest.importorskip("ultralytics.engine.trainer", reason="needs ultralytics, which writes the log")

    class Training:
        csv, train_time_start = tmp_path / "train2" / "results.csv", 0.0

    for epoch, sign in ((0, 1), (1, 1), (2, 1), (1, -1), (2, -1), (3, -1)):  # resumed from what was saved after one
        Training.epoch = epoch
        metrics = {"train/box_loss": sign / (epoch + 1), "metrics/mAP50(B)": NAN if epoch == 1 else epoch / 9}
        trainer.BaseTrainer.save_metrics(Training, metrics)
    runs = read_logs(tmp_path)
    assert runs.runs == ("train2",)
    assert runs.steps.tolist() == [1, 2, 3, 4]
    losses, scores = (runs.values[:, runs.metrics.index(name)] for name in ("train/box_loss", "metrics/mAP50(B)"))
    np.testing.assert_allclose(losses, [1, -1 / 2, -1 / 3, -1 / 4], rtol=1e-5)  # six digits are written
    np.testing.assert_allclose(scores, [0, NAN, 2 / 9, 3 / 9], rtol=1e-5)


def test_results_of_ultralytics(tmp_path):
    text = "                  epoch,         train/box_loss,      metrics/mAP50(B)\n"
    text += "".join(f"{t:>23},{1 / (t + 1):>23.5g},{'nan' if t == 2 else t / 9:>23}\n" for t in range(4))
    path = written(tmp_path / "train2" / "results.csv", text)
    table = table_of(path)
    assert table.columns == ("epoch", "train/box_loss", "metrics/mAP50(B)")
    np.testing.assert_array_equal(np.isnan(table.numbers["metrics/mAP50(B)"]), [False, False, True, False])


def test_measurements_of_algoperf(public_data):
    runs = read_logs(public_data("algoperf_deepspeech"))
    assert runs.runs == tuple(f"study_{number}" for number in range(5))
    table = table_of(public_data("algoperf_deepspeech") / "study_2" / "measurements.csv")
    assert (recognised(table.path).name, table.blanks_are_blank) == ("csv", False)
    assert table.n > 1000


# What runs are called


CSV_TEXT = "step,loss,acc\n" + "".join(f"{t},{random.Random(t).random()},{t / 7}\n" for t in range(4))  # noqa: S311


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        (["metrics.csv"], ("metrics",)),
        (["version_3/metrics.csv"], ("version_3",)),
        (["a/metrics.csv", "b/progress.csv", "c/results.csv", "d.csv"], ("a", "b", "c", "d")),
        (["x/s0/metrics.csv", "y/s0/metrics.csv", "z.csv"], ("x/s0", "y/s0", "z")),
        (["metrics.csv", "d.csv"], ("d", "metrics")),
        (["vis_data/log.csv", "b/log.csv"], ("b", "vis_data")),
    ],
)
def test_files_called_as_in_every_run_are_known_by_their_folder(files, runs, tmp_path):
    for number, name in enumerate(files):
        written(tmp_path / name, CSV_TEXT.replace("3,", f"{number + 3},"))
    assert read_logs(tmp_path).runs == runs
    follower = Follower([tmp_path], ("loss",), Settings.of(run_by=(), rename=None, where=None, step=None))
    assert tuple(sorted(rows.run for rows in follower.poll())) == runs


def test_a_file_named_alone_keeps_its_name(tmp_path):
    path = written(tmp_path / "version_3" / "metrics.csv", CSV_TEXT)
    assert read_logs(path).runs == ("metrics",)


# Whatever bytes they hold

SAMPLES = {
    "trainer_state.json": json.dumps(
        {"log_history": [{"step": t, "loss": 1 / t, "epoch": t / 9} for t in range(1, 9)]}
    ),
    "monitor.csv": '#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n' + "".join(f"{t / 3},{t + 1},{t}\n" for t in range(9)),
    "progress.csv": "time/total_timesteps,train/loss\n" + "".join(f"{t},{t / 7}\n" for t in range(9)),
    "progress.txt": "Epoch\tAverageEpRet\n" + "".join(f"{t}\t{t / 7}\n" for t in range(9)),
    "metrics.csv": CSV_TEXT.replace("acc", "epoch"),
    "results.csv": CSV_TEXT.replace(",", ";").replace(".", ","),
    "result.json": "".join(json.dumps(rllib_result(n)) + "\n" for n in range(1, 5)),
    "vis_data/scalars.json": "".join(json.dumps(row) + "\n" for row in MMENGINE),
    "metrics.json": "".join(json.dumps({"iteration": t, "total_loss": t / 3}) + "\n" for t in range(9)),
    "a.json": json.dumps({"step": list(range(9)), "loss": [t / 7 for t in range(9)]}),
}


@pytest.mark.once
@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-16"]),
    where=st.floats(0, 1),
    length=st.integers(0, 40),
    other=st.one_of(st.binary(max_size=30), st.sampled_from([b"\0" * 9, b"\n", b'"', b"{", b"[", b"1e999", b"\xff"])),
    cut=st.floats(0, 1),
)
def test_any_bytes_are_read_or_are_an_error_with_a_message(tmp_path_factory, name, encoding, where, length, other, cut):
    raw = SAMPLES[name].encode(encoding)
    at = int(where * len(raw))
    raw = raw[:at] + other + raw[at + length :]
    path = tmp_path_factory.mktemp("logs") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw[: int(cut * len(raw))] if cut < 0.5 else raw)
    said = None
    try:
        runs = read_logs(path)
    except TrajHMMError as error:
        said = str(error)
    assert len(said.splitlines()) <= 2 if said else runs.n_rows == len(runs.values) > 0
    list(Follower([path.parent], ("loss",), Settings.of(run_by=(), rename=None, where=None, step=None)).poll())
