"""The callback for Keras, against numbers computed from the weights and the batches themselves."""

import os

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.metrics import WEIGHT_METRICS, RunLogger, weight_metrics

os.environ.setdefault("KERAS_BACKEND", "torch")
BACKEND = os.environ["KERAS_BACKEND"]
pytest.importorskip(BACKEND, reason=f"Keras's backend {BACKEND} is not installed: pip install 'trajhmm[keras]'")
keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'trajhmm[keras]'")

from trajhmm.integrations import keras as keras_module  # noqa: E402
from trajhmm.integrations.keras import RunLoggerCallback, keras_parameters  # noqa: E402

# Keras reads its variables in a way that numpy will give up.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)

layers = keras.layers
SIZE, BATCH = 28, 4  # 7 batches an epoch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks as small as these only lose time to threads, and much where the machine is busy."""
    if BACKEND != "torch":
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def values(array):
    array = getattr(array, "value", array)  # of a variable
    return np.array(array.detach().cpu().numpy() if BACKEND == "torch" else array)


def data(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 3)).astype("float32"), rng.integers(0, 2, size=size)


class Recorder(keras.callbacks.Callback):
    """Weights around each batch, and the loss and accuracy of the batch before the step."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y
        self.losses, self.correct, self.rates, self.around, self.epochs = [], [], [], [], []

    def weights(self):
        return [values(v) for v in self.model.trainable_variables]

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        part = slice(batch * BATCH, (batch + 1) * BATCH)
        out = self.model(self.x[part])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(self.y[part], out)
        self.losses.append(float(values(loss)))
        self.correct.append(np.mean(values(out).argmax(1) == self.y[part]))
        self.rates.append(float(values(self.model.optimizer.learning_rate)))
        self.before = self.weights()

    def on_train_batch_end(self, batch, logs=None):
        self.around.append((self.before, self.weights()))

    def update(self, *batches):
        """Norm of the change over batches, and of the weights before."""
        before, after = self.around[batches[0]][0], self.around[batches[-1]][1]
        change = np.concatenate([(b.astype(float) - a).ravel() for a, b in zip(before, after, strict=True)])
        return np.linalg.norm(change), np.linalg.norm(np.concatenate([a.ravel() for a in before]).astype(float))


@pytest.fixture
def fit(tmp_path):
    """Train a small network without shuffling; logs go to ``logs/`` under the test's folder."""

    def train(*callbacks, epochs=2, model=None, accumulate=None, validate=True, size=SIZE, **settings):
        keras.utils.set_random_seed(0)
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, decay_steps=1, decay_rate=0.9)
        model = model or keras.Sequential([layers.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(2)])
        if not model.compiled:
            optimizer = keras.optimizers.SGD(schedule, momentum=0.9, gradient_accumulation_steps=accumulate)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(optimizer, loss=loss, metrics=["accuracy"], **settings)
        x, y = data(1, size)
        recorder = Recorder(x, y)
        held_out = {"validation_data": data(2)} if validate else {}
        callbacks = [recorder, *callbacks]
        model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **held_out)
        return model, recorder

    return train


@pytest.fixture
def new_logger(tmp_path):
    return lambda **settings: RunLogger(tmp_path / "logs", "seed_0", attributes={"seed": 0}, **settings)


def rows_of(tmp_path):
    """The log, a row a step: those that were written in pieces are joined, as `read_logs` does."""
    parts = sorted((tmp_path / "logs").rglob("part-*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts]).groupby("step").last()


def test_rows_hold_weights_update_and_keras_own_metrics(fit, new_logger, tmp_path):
    model, recorder = fit(RunLoggerCallback(new_logger(), every=1))
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == list(range(1, 15))
    for step in rows.index:
        row = rows.loc[step]
        update, size = recorder.update(step - 1)
        assert row["update_norm"] == pytest.approx(update, rel=1e-5)
        assert row["update_over_weight"] == pytest.approx(update / size, rel=1e-5)
        kernels = [array for array in recorder.around[step - 1][1] if array.ndim == 2]
        assert row["weight_l2"] == pytest.approx(np.mean([np.linalg.norm(kernel) for kernel in kernels]), rel=1e-6)
        assert row["learning_rate"] == pytest.approx(recorder.rates[step - 1], rel=1e-6)
        assert row["train_loss"] == pytest.approx(recorder.losses[step - 1], rel=1e-4)  # a difference of sums
        epoch_so_far = slice((step - 1) // 7 * 7, step)
        assert row["train_accuracy"] == pytest.approx(np.mean(recorder.correct[epoch_so_far]), rel=1e-6)
    evaluated = rows["eval_loss"].dropna()
    assert evaluated.index.tolist() == [7, 14]
    expected = model.evaluate(*data(2), verbose=0, return_dict=True)
    assert evaluated[14] == pytest.approx(expected["loss"], rel=1e-6)
    assert rows["eval_accuracy"][14] == pytest.approx(expected["accuracy"], rel=1e-6)
    ours = {"train_loss", "train_accuracy", "eval_loss", "eval_accuracy", "learning_rate"}
    assert set(rows) == {*WEIGHT_METRICS, *ours, "update_norm", "update_over_weight", "run", "seed"}


def test_rows_are_at_the_steps_asked_for_and_others_look_at_nothing(fit, new_logger, tmp_path, monkeypatch):
    looks = []
    original = keras_module._numpy
    monkeypatch.setattr(keras_module, "_numpy", lambda variable: looks.append(1) or original(variable))
    counts = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            counts.append(len(looks))

        on_train_batch_end = on_train_batch_begin

    first, last = Count(), Count()
    _, recorder = fit(first, RunLoggerCallback(new_logger(), every=5), last, validate=False)
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [5, 10]
    looked = np.diff(counts)[::2].reshape(14, 2) > 0
    due = [step in (5, 10) for step in range(1, 15)]
    assert looked.tolist() == [[one, one] for one in due]
    assert rows["update_norm"].tolist() == pytest.approx([recorder.update(4)[0], recorder.update(9)[0]], rel=1e-5)
    # Step 10 is the third of its epoch: the loss is the mean since that began.
    means = [np.mean(recorder.losses[0:5]), np.mean(recorder.losses[7:10])]
    assert rows["train_loss"].tolist() == pytest.approx(means, rel=1e-5)


def test_the_loss_is_the_mean_since_the_row_before_or_since_the_epoch_began(fit, new_logger, tmp_path):
    _, recorder = fit(RunLoggerCallback(new_logger(), every=3), epochs=1, size=26)  # the last batch holds 2
    rows = rows_of(tmp_path)
    means = [np.mean(recorder.losses[0:3]), np.mean(recorder.losses[3:6])]
    assert rows["train_loss"].dropna().tolist() == pytest.approx(means, rel=1e-5)
    logger = RunLogger(tmp_path / "apart" / "logs", "a")
    _, recorder = fit(RunLoggerCallback(logger, every=8), epochs=3, validate=False)
    rows = rows_of(tmp_path / "apart")  # the second batch of an epoch after the first of another
    means = [recorder.losses[7], np.mean(recorder.losses[14:16])]
    assert rows["train_loss"].tolist() == pytest.approx(means, rel=1e-5)


def test_accumulated_batches_are_one_step(fit, new_logger, tmp_path, monkeypatch):
    copies = []
    original = keras_module._weights
    monkeypatch.setattr(keras_module, "_weights", lambda model: copies.append(1) or original(model))
    model, recorder = fit(RunLoggerCallback(new_logger(), every=2), epochs=4, accumulate=2, validate=False)
    rows = rows_of(tmp_path)
    assert int(values(model.optimizer.iterations)) == 14
    assert rows.index.tolist() == [2, 4, 6, 8, 10, 12, 14]
    # Epochs of 7 batches: every other begins in the middle of a step.
    assert rows["update_norm"].tolist() == pytest.approx([recorder.update(2 * s - 1)[0] for s in rows.index], rel=1e-5)
    assert (rows["update_norm"] > 0).all()
    assert len(copies) == 2 * len(rows), "before and after, at no other batch"


def test_steps_that_mixed_precision_skips_are_no_steps(fit, new_logger, tmp_path):
    model = keras.Sequential([layers.Rescaling(100.0), layers.Dense(4, activation="relu"), layers.Dense(2)])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-4), initial_scale=2.0**126)
    model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(RunLoggerCallback(new_logger(), every=2), model=model, validate=False)
    taken = int(values(optimizer.inner_optimizer.iterations))
    assert 2 <= taken < 14, "else nothing was skipped"
    assert rows_of(tmp_path).index.tolist() == list(range(2, taken + 1, 2))


@pytest.mark.skipif(BACKEND == "torch", reason="on PyTorch Keras runs one step at a time")
def test_several_steps_at_once_give_the_row_of_the_last(fit, new_logger, tmp_path):
    fit(RunLoggerCallback(new_logger(), every=5), size=48, steps_per_execution=4, validate=False)
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == [8, 12, 16, 20]
    assert "update_norm" not in rows


def test_a_model_trained_further_counts_on(fit, new_logger, tmp_path):
    model, _ = fit(RunLoggerCallback(new_logger(), every=2), epochs=1)
    fit(RunLoggerCallback(new_logger(), every=2), epochs=1, model=model)
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == [2, 4, 6, 7, 8, 10, 12, 14]
    assert runs.column("eval_loss")[[3, 7]].tolist() == pytest.approx(runs.column("eval_loss")[[3, 7]])


def test_a_run_restored_from_a_backup_goes_on_without_a_gap(fit, new_logger, tmp_path, monkeypatch):
    """Killed in the third epoch with nothing but what was safe on disk, and restored from the second's end."""
    monkeypatch.setattr(th.RunLogger, "_end", lambda _: None)  # what is killed writes no more

    class Killed(BaseException):
        pass

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if recorded.get("epoch") == 2 and batch == 3:
                raise Killed

        def on_epoch_begin(self, epoch, logs=None):
            recorded["epoch"] = epoch

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    recorded = {}
    with pytest.raises(Killed):
        fit(RunLoggerCallback(new_logger(), every=1), backup(), Kill(), epochs=3)
    assert rows_of(tmp_path).index.tolist() == list(range(1, 15))
    _, recorder = fit(RunLoggerCallback(new_logger(), every=1), backup(), epochs=3)
    assert recorder.epochs == [2]
    runs = th.read_logs(tmp_path / "logs")
    assert runs.steps.tolist() == list(range(1, 22))
    assert runs.column("train_loss")[14:].tolist() == pytest.approx(recorder.losses, rel=1e-4)


def test_weights_that_are_not_finite_do_not_end_the_training(fit, new_logger, tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            kernel = values(self.model.trainable_variables[0])
            kernel[0, :2] = np.inf, -np.inf
            self.model.trainable_variables[0].assign(kernel)

    fit(Break(), RunLoggerCallback(new_logger(), every=1, layers=True))
    rows = rows_of(tmp_path)
    assert rows.index.tolist() == list(range(1, 15))
    assert rows["weight_l2"].isna().all()
    assert rows["update_norm"].isna().all()


def test_layers_are_named_by_their_path(fit, new_logger, tmp_path):
    class Twins(keras.Model):
        def __init__(self):
            super().__init__(name="twins")
            self.one, self.other = layers.Dense(3, name="same"), layers.Dense(2, name="same")

        def call(self, x):
            return self.other(self.one(x))

    _, recorder = fit(RunLoggerCallback(new_logger(), every=1, layers=True), model=Twins(), epochs=1)
    rows = rows_of(tmp_path)
    assert rows["update_norm"].tolist() == pytest.approx([recorder.update(s - 1)[0] for s in rows.index], rel=1e-5)
    assert {"weight_l2/twins.same", "update_norm/twins.same", "update_norm/twins.same.bias"} <= set(rows)


def test_models_without_matrices_and_nonsense_are_refused(fit, new_logger):
    with pytest.raises(ValueError, match="every = 0"):
        RunLoggerCallback(new_logger(), every=0)
    with pytest.raises(ValueError, match="at least one weight matrix"):
        fit(RunLoggerCallback(new_logger()), model=keras.Sequential([layers.Input((3,)), layers.BatchNormalization()]))


def parameters_by_name(model):
    return {parameter.name.removeprefix("model."): parameter for parameter in keras_parameters(model)}


def test_kernels_are_turned_to_out_in():
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(5, (2, 3), name="conv"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise"),
            layers.SeparableConv2D(4, 2, name="separable"),
            layers.Conv2DTranspose(6, 2, name="transpose"),
            layers.Reshape((-1, 6)),
            layers.Conv1D(7, 3, name="conv1"),
            layers.LayerNormalization(axis=(-2, -1)),
            layers.LSTM(4, name="lstm"),
            layers.Dense(2, name="dense"),
        ],
        name="model",
    )
    found = parameters_by_name(model)
    shapes = {name: (parameter.role, parameter.array.shape) for name, parameter in found.items()}
    assert shapes == {
        "conv.weight": ("kernels", (5, 3, 2, 3)),
        "conv.bias": ("bias", (5,)),
        "depthwise.weight": ("kernels", (10, 1, 2, 2)),
        "depthwise.bias": ("bias", (10,)),
        "separable.depthwise_kernel": ("kernels", (10, 1, 2, 2)),
        "separable.pointwise_kernel": ("kernels", (4, 10, 1, 1)),
        "separable.bias": ("bias", (4,)),
        "transpose.weight": ("kernels", (4, 6, 2, 2)),
        "transpose.bias": ("bias", (6,)),
        "conv1.weight": ("kernels", (7, 6, 3)),
        "conv1.bias": ("bias", (7,)),
        "lstm.lstm_cell.weight": ("matrix", (16, 7)),
        "lstm.lstm_cell.recurrent_kernel": ("matrix", (16, 4)),
        "lstm.lstm_cell.bias": ("bias", (16,)),
        "dense.weight": ("matrix", (2, 4)),
        "dense.bias": ("bias", (2,)),
    }
    kernel = values(model.get_layer("conv").kernel)
    assert found["conv.weight"].array[4, 1, 0, 2] == kernel[0, 2, 1, 4]
    kernel = values(model.get_layer("depthwise").kernel)
    assert found["depthwise.weight"].array[2 * 3 + 1, 0, 1, 0] == kernel[1, 0, 3, 1]
    kernel = values(model.get_layer("conv1").kernel)
    assert found["conv1.weight"].array[6, 5, 2] == kernel[2, 5, 6]


def test_attention_counts_a_head_at_a_time_and_embeddings_not_at_all():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(11, 8, name="tokens")(tokens)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=1, name="grouped")(x, x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", name="einsum")(x)
    x = layers.EinsumDense("abg,gh->abgh", output_shape=(None, 5, 2), name="outer")(x)
    x = layers.EinsumDense("...gh,ghi->...gi", output_shape=(5, 3), name="by_group")(x)
    model = keras.Model(tokens, x, name="model")
    found = parameters_by_name(model)
    shapes = {name: parameter.array.shape for name, parameter in found.items() if parameter.role == "matrix"}
    assert shapes == {
        "attention.query.weight": (2, 4, 8),
        "attention.key.weight": (2, 4, 8),
        "attention.value.weight": (2, 4, 8),
        "attention.attention_output.weight": (8, 8),
        "grouped.query.weight": (4, 3, 8),
        "grouped.key.weight": (1, 3, 8),
        "grouped.value.weight": (1, 3, 8),
        "grouped.attention_output.weight": (8, 12),
        "einsum.weight": (5, 8),
        "outer.weight": (5, 2, 1),
        "by_group.weight": (5, 3, 2),
    }
    attention = model.get_layer("attention")
    kernel = values(attention.query_dense.kernel)  # (in, heads, size)
    np.testing.assert_array_equal(found["attention.query.weight"].array[1], kernel[:, 1].T)
    kernel = values(attention.output_dense.kernel)  # (heads, size, out)
    np.testing.assert_array_equal(found["attention.attention_output.weight"].array, kernel.reshape(8, 8).T)
    kernel = values(model.get_layer("by_group").kernel)  # (group, in, out)
    np.testing.assert_array_equal(found["by_group.weight"].array[3], kernel[3].T)
    biases = {name for name, parameter in found.items() if parameter.role == "bias"}
    assert {"attention.query.bias", "attention.attention_output.bias", "einsum.bias"} <= biases


def test_a_network_of_keras_has_the_metrics_of_the_same_one_in_pytorch(new_logger, fit, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(12, activation="relu"),
            layers.Reshape((2, 2, 3)),
            layers.Conv2D(4, 2, padding="same"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    fit(RunLoggerCallback(new_logger(), every=7), model=model, epochs=1)
    twin = torch.nn.Sequential(
        torch.nn.Linear(3, 12), torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(16, 2)
    )
    dense, _, conv, _, _, last = model.layers
    with torch.no_grad():
        for theirs, ours in ((twin[0], dense), (twin[3], last)):
            theirs.weight.copy_(torch.tensor(values(ours.kernel).T))
            theirs.bias.copy_(torch.tensor(values(ours.bias)))
        twin[1].weight.copy_(torch.tensor(values(conv.kernel).transpose(3, 2, 0, 1)))
        twin[1].bias.copy_(torch.tensor(values(conv.bias)))
    row = rows_of(tmp_path).loc[7]
    assert {name: row[name] for name in WEIGHT_METRICS} == pytest.approx(weight_metrics(twin), rel=1e-6, abs=1e-9)
