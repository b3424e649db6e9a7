"""TensorBoard's files, as its writers write them and its own reader reads them, whole, damaged, and as they grow."""

import csv
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import TrajHMMError, read_logs
from trajhmm.errors import LogError
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats import tensorboard as reader
from trajhmm.logs.formats.lines import GrowingFile, Lines, Place
from trajhmm.logs.formats.registry import recognised
from trajhmm.logs.settings import Settings

pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install 'trajhmm[tensorboard]'")
# TensorBoard's own modules warn of what they import.
pytestmark = pytest.mark.filterwarnings("default")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2  # noqa: E402
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c  # noqa: E402
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # noqa: E402
from tensorboard.plugins.scalar.summary_v2 import scalar_pb  # noqa: E402
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: E402
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto  # noqa: E402

FIRST = "events.out.tfevents.1700000000.host.1.0"
SECOND = "events.out.tfevents.1700000500.host.2.0.v2"


# Writing


def record(data):
    """Framed as the format says, by TensorBoard's own checksum."""
    length = struct.pack("<Q", len(data))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return length + next(checksums) + data + next(checksums)


def event(step, *values):
    return event_pb2.Event(wall_time=1e9 + step, step=step, summary=summary_pb2.Summary(value=values))


def simple(tag, value):
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def file_of(events):
    begin = event_pb2.Event(wall_time=1e9, file_version="brain.Event:2")
    return b"".join(record(one.SerializeToString()) for one in [begin, *events])


def points_file(points):
    """An event a point (tag, step, value), as most writers have it."""
    return file_of(event(step, simple(tag, value)) for tag, step, value in points)


def three_metrics(steps, *, attempt=0.0):
    """Points of two metrics at each step and one at every fourth; NaN and infinities among them."""
    for t in steps:
        yield "train/loss", t, {3: np.nan, 5: np.inf, 6: -np.inf}.get(t, attempt + 1 / (t + 1))
        yield "grad_norm", t, attempt + t / 7
        if t % 4 == 0:
            yield "eval/loss", t, attempt + t / 3


def written(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def cells(runs, run, metric):
    """Step to value of what is logged of a metric."""
    rows = dict(runs.slices())[run]
    logged = runs.logged[rows][:, runs.metrics.index(metric)]
    return dict(zip(runs.steps[rows][logged].tolist(), runs.column(metric)[rows][logged].tolist(), strict=True))


def as_float32(points, metric):
    return {step: float(np.float32(value)) for tag, step, value in points if tag == metric}


def assert_points(runs, run, points):
    points = list(points)
    for metric in {tag for tag, _, _ in points}:
        np.testing.assert_equal(cells(runs, run, metric), as_float32(points, metric), err_msg=metric)


# What writers write


def writers():
    torch = pytest.importorskip("torch.utils.tensorboard", reason="needs PyTorch: pip install 'trajhmm[torch]'")
    other = pytest.importorskip("tensorboardX", reason="needs tensorboardX: pip install 'trajhmm[tensorboard]'")
    return {
        "torch": torch.SummaryWriter,
        "tensorboardX": lambda folder: other.SummaryWriter(str(folder)),
    }


def log_points(writer, points, **options):
    for tag, step, value in points:
        writer.add_scalar(tag, value, step, **options)


@pytest.mark.once
@pytest.mark.parametrize("name", ["torch", "tensorboardX"])
def test_what_a_writer_logged_is_read(name, tmp_path):
    points = list(three_metrics(range(40)))
    with writers()[name](tmp_path / "run_a") as writer:
        log_points(writer, points)
    runs = read_logs(tmp_path)
    assert runs.runs == ("run_a",)
    assert runs.lengths.tolist() == [40]
    assert runs.metrics == ("train/loss", "grad_norm", "eval/loss")
    assert_points(runs, "run_a", points)
    assert np.isnan(cells(runs, "run_a", "train/loss")[3])
    assert len(cells(runs, "run_a", "eval/loss")) == 10


@pytest.mark.once
def test_scalars_as_tensors_are_read_alike(tmp_path):
    points = list(three_metrics(range(20)))
    with writers()["torch"](tmp_path / "run_a") as writer:
        log_points(writer, points, new_style=True)
    assert_points(read_logs(tmp_path), "run_a", points)
    writer = EventFileWriter(str(tmp_path / "run_b"))
    for tag, step, value in points:
        writer.add_event(event_pb2.Event(step=step, summary=scalar_pb(tag, value)))
    writer.close()
    assert_points(read_logs(tmp_path), "run_b", points)


def test_a_resumed_writer_goes_on_in_a_file_of_its_own_and_its_rows_win(tmp_path):
    before, after = list(three_metrics(range(20))), list(three_metrics(range(11, 30), attempt=5.0))
    written(tmp_path / "a" / FIRST, points_file(before))
    written(tmp_path / "a" / SECOND, points_file(after))
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    assert_points(runs, "a", [point for point in before if point[1] < 11] + after)
    assert [note.text for note in runs.notes if note.kind == "resume"] == [
        "steps repeat or go back at step 11: resumed, 9 earlier rows replaced"
    ]


def test_a_resumed_writer_that_ends_before_the_first_one_did_wins_too(tmp_path):
    before, after = list(three_metrics(range(20))), list(three_metrics(range(11, 15), attempt=5.0))
    written(tmp_path / "a" / FIRST, points_file(before))
    written(tmp_path / "a" / SECOND, points_file(after))
    assert_points(read_logs(tmp_path), "a", [point for point in before if point[1] < 11] + after)


def test_a_run_that_is_resumed_within_one_file(tmp_path):
    before, after = list(three_metrics(range(20))), list(three_metrics(range(11, 15), attempt=5.0))
    written(tmp_path / "a" / FIRST, points_file(before + after))
    runs = read_logs(tmp_path)
    assert_points(runs, "a", [point for point in before if point[1] < 11] + after)
    assert [note.kind for note in runs.notes] == ["resume", "non-finite", "blank"]


def test_writers_side_by_side_in_one_folder_are_one_run(tmp_path):
    """Training and evaluation, each with a file of its own, at steps of which some are the same."""
    train = [("loss", t, 1 / (t + 1)) for t in range(30)]
    evaluation = [("accuracy", t, t / 30) for t in [0, 10, 20, 29, 35]]
    written(tmp_path / "a" / FIRST, points_file(train))
    written(tmp_path / "a" / SECOND, points_file(evaluation))
    runs = read_logs(tmp_path / "a")
    assert runs.lengths.tolist() == [31]
    assert_points(runs, "a", train + evaluation)


@pytest.mark.parametrize("named", ["", "a", "a/..", f"a/{FIRST}"])
def test_a_run_is_called_after_its_folder(named, tmp_path, monkeypatch):
    written(tmp_path / "a" / FIRST, points_file(three_metrics(range(3))))
    assert read_logs(tmp_path / named).runs == ("a",)
    monkeypatch.chdir(tmp_path / "a")
    assert read_logs(".").runs == ("a",)
    assert read_logs(FIRST).runs == ("a",)


def test_runs_of_one_name_in_several_folders_are_told_apart(tmp_path):
    for place in ("x/train", "y/train"):
        written(tmp_path / place / FIRST, points_file(three_metrics(range(3))))
    assert read_logs(tmp_path).runs == ("x/train", "y/train")


@pytest.mark.parametrize("order", ["by step", "by tag", "shuffled tags", "one event a step"])
def test_points_are_those_that_the_reader_of_tensorboard_keeps(order, tmp_path):
    rng = np.random.default_rng(3)
    points = [(f"m{d}", 10 * t, float(rng.normal())) for t in range(200) for d in range(5) if rng.random() < 0.7]
    if order == "by tag":
        points.sort(key=lambda point: point[0])
    if order == "shuffled tags":
        points = [point for _, point in sorted((t + d / 5, p) for p in points for t, d in [(p[1], rng.integers(5))])]
    raw = points_file(points)
    if order == "one event a step":
        steps = sorted({step for _, step, _ in points})
        raw = file_of(event(t, *(simple(tag, value) for tag, step, value in points if step == t)) for t in steps)
    path = written(tmp_path / "a" / FIRST, raw)
    theirs = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    runs = read_logs(path)
    assert runs.lengths.tolist() == [len({step for _, step, _ in points})]
    assert sorted(runs.metrics) == sorted(theirs.Tags()["scalars"]) == [f"m{d}" for d in range(5)]
    for tag in runs.metrics:
        assert cells(runs, "a", tag) == {one.step: one.value for one in theirs.Scalars(tag)}


def test_all_points_of_a_tag_are_read(tmp_path):
    """TensorBoard's own reader keeps 10,000."""
    written(tmp_path / "a" / FIRST, points_file([("loss", t, t) for t in range(12_000)]))
    assert list(cells(read_logs(tmp_path), "a", "loss")) == list(range(12_000))


def test_points_of_one_tag_at_one_step_are_rows_in_their_order(tmp_path):
    points = [("loss", 1, 0.5), ("acc", 1, 0.25), ("loss", 1, 0.75), ("loss", 1, 1.0), ("acc", 1, 2.0), ("acc", 2, 3.0)]
    table = reader.read_event_file(written(tmp_path / FIRST, points_file(points)), "a")
    np.testing.assert_array_equal(table.numbers["step"], [1, 1, 1, 2])
    np.testing.assert_array_equal(table.numbers["loss"], [0.5, 0.75, 1.0, np.nan])
    np.testing.assert_array_equal(table.numbers["acc"], [0.25, np.nan, 2.0, 3.0])
    np.testing.assert_array_equal(table.present["acc"], [True, False, True, True])
    assert table.blanks_are_blank


# Numbers

NUMBERS = {
    types_pb2.DT_FLOAT: ("<f4", "float_val", [0.1, -0.0, np.nan, np.inf, -np.inf, 1e-45]),
    types_pb2.DT_DOUBLE: ("<f8", "double_val", [0.1, 1e300, np.nan, 5e-324]),
    types_pb2.DT_HALF: ("<f2", "half_val", [0.1, -65504.0, np.nan, np.inf, 6e-8]),
    types_pb2.DT_INT8: ("<i1", "int_val", [-128, -1, 0, 127]),
    types_pb2.DT_UINT8: ("<u1", "int_val", [0, 200]),
    types_pb2.DT_INT16: ("<i2", "int_val", [-32768, 32767]),
    types_pb2.DT_UINT16: ("<u2", "int_val", [0, 65535]),
    types_pb2.DT_INT32: ("<i4", "int_val", [-(2**31), -1, 2**31 - 1]),
    types_pb2.DT_INT64: ("<i8", "int64_val", [-(2**63), -1, 2**53 + 1]),
    types_pb2.DT_UINT32: ("<u4", "uint32_val", [0, 2**32 - 1]),
    types_pb2.DT_UINT64: ("<u8", "uint64_val", [0, 2**64 - 1]),
    types_pb2.DT_BOOL: ("?", "bool_val", [True, False]),
}


@pytest.mark.parametrize("kind", NUMBERS, ids=types_pb2.DataType.Name)
@pytest.mark.parametrize("typed", [True, False], ids=["typed field", "tensor_content"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_numbers_of_every_type(kind, typed, shape, tmp_path):
    dtype, field, numbers = NUMBERS[kind]
    expected = np.array(numbers, dtype=dtype)
    events = []
    for t, number in enumerate(expected):
        tensor = tensor_pb2.TensorProto(dtype=kind)
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        if typed:
            getattr(tensor, field).append(int(number.view("<u2")) if field == "half_val" else number.item())
        else:
            tensor.tensor_content = number.tobytes()
        value = summary_pb2.Summary.Value(tag="x", tensor=tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        events.append(event(t, value))
    found = reader.read_event_file(written(tmp_path / FIRST, file_of(events)), "a").numbers["x"]
    # Bit for bit, the sign of zero and of NaN among them.
    assert found.tobytes() == expected.astype(np.float64).tobytes()


def test_bfloat16(tmp_path):
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_BFLOAT16, half_val=[0x3FC0])
    value = summary_pb2.Summary.Value(tag="x", tensor=tensor)
    table = reader.read_event_file(written(tmp_path / FIRST, file_of([event(0, value)])), "a")
    assert table.numbers["x"].tolist() == [1.5]


def test_tensors_that_are_no_single_number_are_left_out_and_said(tmp_path):
    tensors = {
        "vector": make_tensor_proto(np.arange(3.0)),
        "repeated": tensor_pb2.TensorProto(dtype=1, float_val=[1.0]),
        "empty": tensor_pb2.TensorProto(dtype=1),
        "text": make_tensor_proto("hello"),
        "complex": tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1.0, 2.0]),
        "short": tensor_pb2.TensorProto(dtype=2, tensor_content=b"1234"),
        "type 99": tensor_pb2.TensorProto(dtype=99, float_val=[1.0]),
    }
    tensors["repeated"].tensor_shape.dim.add(size=7)
    values = [summary_pb2.Summary.Value(tag=tag, tensor=tensor) for tag, tensor in tensors.items()]
    path = written(tmp_path / FIRST, file_of([event(0, *values, simple("loss", 1.0)), event(1, *values)]))
    table = reader.read_event_file(path, "a")
    assert list(table.numbers) == ["step", "loss"]
    assert table.n == 1
    (note,) = table.notes
    assert note.kind == "left-out"
    assert note.text == (f"{path}: 7 tags of text, histograms, images and the like, left out: {', '.join(tensors)}")


def test_text_histograms_and_images_are_left_out_and_said(tmp_path):
    with writers()["torch"](tmp_path) as writer:
        for t in range(3):
            writer.add_text("notes", "hello", t)
            writer.add_histogram("weights", np.arange(10.0), t)
            writer.add_image("picture", np.zeros((3, 4, 4)), t)
            writer.add_scalar("loss", t, t)
            writer.add_pr_curve("pr", np.array([0, 1]), np.array([0.2, 0.7]), t)
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    assert [note.text.partition(": ")[2] for note in runs.notes if note.kind == "left-out"] == [
        "4 tags of text, histograms, images and the like, left out: notes/text_summary, weights, picture, pr"
    ]


def test_hyperparameters_are_attributes(tmp_path):
    for seed in (1, 2):
        writer = EventFileWriter(str(tmp_path / f"seed_{seed}"))
        chosen = {"lr": 0.1 * seed, "optimizer": "adam", "nesterov": True, "loss": 5.0}
        writer.add_event(event_pb2.Event(summary=hparams_pb(chosen)))
        for t in range(3):
            writer.add_event(event(t, simple("loss", t * seed)))
        writer.close()
    runs = read_logs(tmp_path)
    assert runs.attributes["lr"].tolist() == [0.1, 0.2]
    assert runs.attributes["optimizer"].tolist() == ["adam", "adam"]
    assert runs.attributes["nesterov"].tolist() == [1, 1]
    assert runs.metrics == ("loss",)
    assert not [note for note in runs.notes if note.kind == "left-out"]


def test_add_hparams_of_torch(tmp_path):
    with writers()["torch"](tmp_path / "a") as writer:
        log_points(writer, three_metrics(range(5)))
        writer.add_hparams({"lr": 0.5, "opt": "sgd"}, {"hparam/best": 3.0}, run_name="session", global_step=4)
    runs = read_logs(tmp_path)
    assert runs.runs == ("a", "session")
    assert runs.attributes.loc["session", ["lr", "opt"]].tolist() == [0.5, "sgd"]
    assert runs.attributes.loc["session", "hparam/best"] == 3
    assert runs.steps[-1] == 4


def test_tags_called_as_columns_that_mean_something_else(tmp_path):
    points = [(tag, t, 10 * t) for t in range(3) for tag in ("step", "run", "epoch", "loss")]
    runs = read_logs(written(tmp_path / "a" / FIRST, points_file(points)))
    assert runs.runs == ("a",)
    assert runs.steps.tolist() == [0, 1, 2]
    assert runs.metrics == ("step (tag)", "run (tag)", "epoch", "loss")
    assert cells(runs, "a", "step (tag)") == {0: 0, 1: 10, 2: 20}
    assert any("tag 'step' is read as 'step (tag)'" in note.text for note in runs.notes)


def test_fields_in_any_order_split_and_unknown(tmp_path):
    """What protocol buffers allow: the step last, the summary in two, fields of the future."""
    tag, other = simple("loss", 1.5).SerializeToString(), simple("acc", 2.5).SerializeToString()
    data = b"".join(
        [
            b"\x2a" + bytes([len(tag) + 2]) + b"\x0a" + bytes([len(tag)]) + tag,
            b"\xfa\x07\x03abc",  # 127: bytes
            b"\x2a" + bytes([len(other) + 2]) + b"\x0a" + bytes([len(other)]) + other,
            b"\xf8\x07\x05",  # 127: number
            b"\x10\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # step: -7
        ]
    )
    assert event_pb2.Event.FromString(data).step == -7
    table = reader.read_event_file(written(tmp_path / FIRST, record(data)), "a")
    assert {name: column.tolist() for name, column in table.numbers.items()} == {
        "step": [-7.0],
        "loss": [1.5],
        "acc": [2.5],
    }


def test_thousands_of_tags(tmp_path):
    points = [(f"layer_{d}/norm", t, d + t / 2) for t in range(3) for d in range(3000)]
    runs = read_logs(written(tmp_path / "a" / FIRST, points_file(points)))
    assert runs.metrics == tuple(f"layer_{d}/norm" for d in range(3000))
    np.testing.assert_array_equal(runs.values, np.add.outer(np.arange(3) / 2, np.arange(3000)))


def test_too_many_tags_for_a_table_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_CELLS", 99)
    path = written(tmp_path / FIRST, points_file([(f"at {t}", t, 0.0) for t in range(10)]))
    with pytest.raises(TrajHMMError, match=r"tfevents.*: 10 tags at 10 steps make a table of"):
        read_logs(path)


# Damage

GOOD = [event(t, simple("loss", t + 0.5), simple("acc", -t)) for t in range(12)]


def read(path):
    return reader.read_event_file(path, "a")


def test_a_record_whose_checksum_is_wrong_is_left_out_and_said(tmp_path):
    records = [record(one.SerializeToString()) for one in GOOD]
    records[4] = records[4][:20] + bytes([records[4][20] ^ 1]) + records[4][21:]
    path = written(tmp_path / FIRST, b"".join(records))
    table = read(path)
    assert table.numbers["step"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [(note.kind, note.text) for note in table.notes] == [
        ("torn", f"{path}: 1 records whose checksum is wrong, left out")
    ]


def test_a_length_that_is_wrong_costs_its_record(tmp_path):
    records = [record(one.SerializeToString()) for one in GOOD]
    broken = b"\x01" + records[4][1:]
    path = written(tmp_path / FIRST, b"".join([*records[:4], broken, *records[5:7], bytes(5000), *records[7:]]))
    table = read(path)
    assert table.numbers["step"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [note.text for note in table.notes] == [
        f"{path}: {5000 + len(broken)} bytes between records that belong to none, left out"
    ]


def test_a_record_that_is_no_event_is_left_out_and_said(tmp_path):
    records = [record(one.SerializeToString()) for one in GOOD]
    # The first value of the summary is whole, the second is not.
    half = record(GOOD[4].SerializeToString()[:-3])
    table = read(written(tmp_path / FIRST, b"".join([*records[:4], half, *records[5:]])))
    assert table.numbers["step"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert "1 records that are no events" in table.notes[0].text


def test_a_file_that_ends_anywhere_holds_the_records_before(tmp_path):
    records = [record(one.SerializeToString()) for one in GOOD[:4]]
    raw = b"".join(records)
    ends = np.cumsum([len(one) for one in records])
    for end in range(1, len(raw) + 1):
        table = read(written(tmp_path / FIRST, raw[:end]))
        whole = int((ends <= end).sum())
        assert table.numbers["step"].tolist() == list(range(whole))
        torn = end - ([0, *ends])[whole]
        assert [note.text.partition(": ")[2] for note in table.notes] == (
            [f"last record is half-written, {torn} bytes, left out"] if torn else []
        )


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path_factory, data):
    raw = bytearray(file_of(GOOD[:6]) if data.draw(st.booleans()) else data.draw(st.binary(max_size=400)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = written(tmp_path_factory.mktemp("logs") / FIRST, bytes(raw))
    try:
        table = read(path)
    except LogError as error:
        refusal = str(error)
        table = None
    if table is None:
        assert str(path) in refusal
        assert "\n" not in refusal
    else:
        assert all(len(column) == table.n for column in table.numbers.values())


def test_a_graph_in_an_event_takes_the_place_of_its_summary(tmp_path):
    summary, graph = event_pb2.Event(step=9, summary=scalar_pb("loss", 2.0)), event_pb2.Event(graph_def=b"nodes")
    both = [
        summary.SerializeToString() + graph.SerializeToString(),
        graph.SerializeToString() + summary.SerializeToString(),
    ]
    assert [event_pb2.Event.FromString(raw).HasField("summary") for raw in both] == [False, True]
    table = read(written(tmp_path / FIRST, record(both[0]) + record(GOOD[3].SerializeToString())))
    assert sorted(table.numbers) == ["acc", "loss", "step"]
    assert table.numbers["loss"].tolist() == [3.5]
    assert read(written(tmp_path / FIRST, record(both[1]))).numbers["loss"].tolist() == [2.0]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_a_record_holds_it_is_read_or_left_out(tmp_path_factory, data):
    """The checksums are right, so that the bytes reach the reader of messages; TensorBoard's own is the judge."""
    summaries = (scalar_pb("new", 2.0), scalar_pb("newer", -1.0))
    raw = bytearray(b"".join(event_pb2.Event(step=9, summary=one).SerializeToString() for one in summaries))
    raw += GOOD[3].SerializeToString()
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    table = read(written(tmp_path_factory.mktemp("logs") / FIRST, record(bytes(raw))))
    try:
        parsed = event_pb2.Event.FromString(bytes(raw))
    except Exception:  # noqa: BLE001 (what it raises differs from version to version)
        return
    if any("no events" in note.text for note in table.notes):
        assert not table.n  # groups, which have not been written for twenty years
        return
    expected = [(one.tag, number) for one in parsed.summary.value if (number := number_in(one)) is not None]
    found = {name.removesuffix(" (tag)"): column for name, column in table.numbers.items() if name != "step"}
    assert {float(step) for step in table.numbers["step"]} == ({float(parsed.step)} if expected else set())
    assert sum(int(table.present.get(name, np.ones(table.n)).sum()) for name in found) == len(expected)
    for tag, number in expected:
        assert np.isin(np.float64(number).tobytes(), [value.tobytes() for value in found[tag]])


def number_in(value):
    """The number in a value as TensorBoard reads it; None if there is none."""
    which, plugin = value.WhichOneof("value"), value.metadata.plugin_data.plugin_name
    if not value.tag or plugin == "hparams":
        return None
    if which == "simple_value":
        return value.simple_value
    if (
        which != "tensor"
        or plugin not in ("", "scalars")
        or any(dim.size != 1 for dim in value.tensor.tensor_shape.dim)
    ):
        return None
    try:
        array = make_ndarray(value.tensor)
    except (TypeError, ValueError):
        return None
    return array.item() if array.size == 1 and array.dtype.kind in "fiub" else None


def test_random_bytes_of_many_sizes(tmp_path):
    for size in (12, 13, 300, 5_000_000):
        path = written(tmp_path / FIRST, np.random.default_rng(size).bytes(size))
        with pytest.raises(LogError, match=rf"no event file of TensorBoard: none of its {size} bytes"):
            read(path)
    with pytest.raises(LogError, match=r"none of its 20 bytes"):
        read(written(tmp_path / FIRST, bytes(20)))


def test_lengths_that_are_lies(tmp_path):
    good = record(GOOD[0].SerializeToString())
    for length in (2**63, 2**64 - 1, 2**62, 2**40, len(good)):
        packed = struct.pack("<Q", length)
        raw = good + packed + struct.pack("<I", masked_crc32c(packed)) + b"x" * 9
        table = read(written(tmp_path / FIRST, raw))
        assert table.n == 1
        assert table.notes


@pytest.mark.parametrize("raw", [b"", file_of([]), file_of([event(0, simple("x", 1.0))])[:5]])
def test_a_file_without_scalars_holds_no_rows(raw, tmp_path):
    written(tmp_path / "a" / FIRST, points_file(three_metrics(range(3))))
    path = written(tmp_path / "b" / FIRST, raw)
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    assert f"{path}: holds no rows, left out" in [note.text for note in runs.notes]
    with pytest.raises(TrajHMMError, match="holds no rows"):
        read_logs(path)


def test_a_file_that_is_called_like_events_but_holds_text_is_not_taken(tmp_path):
    written(tmp_path / "a" / FIRST, points_file(three_metrics(range(3))))
    written(tmp_path / "a" / "tfevents.csv", b"step,loss\n1,2\n2,3\n")
    assert read_logs(tmp_path).runs == ("a", "tfevents")


# Growth


def by_step(tables):
    """The bits of each cell by step and metric, of points that do not repeat; how many rows of their own they have."""
    found = {}
    for table in tables:
        for name, column in table.numbers.items():
            present = table.present.get(name, np.ones(table.n, dtype=bool))
            for step, value in zip(table.numbers["step"][present], column[present], strict=True):
                assert (name == "step") or ((step, name) not in found)
                found[step, name] = value.tobytes()
    return found


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_file_cut_anywhere_gives_the_same_bits(tmp_path_factory, data):
    points = list(three_metrics(range(20)))
    raw = points_file(points) if data.draw(st.booleans()) else file_of(GOOD)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=8)) | {len(raw)})
    path = tmp_path_factory.mktemp("logs") / FIRST
    place, tables, growth = Place(), [], reader.EVENTS.growth
    for cut in cuts:
        written(path, raw[:cut])
        with path.open("rb") as stream:
            growing = GrowingFile(stream, header=False, cut=growth.cut)
            assert not place.offset or growing.begins_as_before(place)
            for lines, behind in growing.lines_behind(place):
                place = behind
                tables.append(growth.read(lines, path, "a"))
    assert place.offset == len(raw)
    assert by_step(tables) == by_step([read(path)])


def test_records_are_read_some_at_a_time(tmp_path, monkeypatch):
    """Rows of a piece are as many as its points: with thousands of tags many of them would fill the memory."""
    points = [("loss", t, t) for t in range(20_000)]
    path = written(tmp_path / FIRST, points_file(points))
    with path.open("rb") as stream:
        growing = GrowingFile(stream, header=False, cut=reader.EVENTS.growth.cut)
        tables = [reader.read_some_events(lines, path, "a") for lines, _ in growing.lines_behind(Place())]
    assert [table.n for table in tables] == [8191, 8192, 3617]
    assert by_step(tables) == by_step([read(path)])


def test_damage_in_a_growing_file_is_passed_over(tmp_path):
    records = [record(one.SerializeToString()) for one in GOOD]
    broken = records[4][:25] + b"?" + records[4][26:]
    raw = b"".join([*records[:4], broken, bytes(100), *records[5:]])
    lines = Lines(header=b"", raw=raw, first=1)
    assert reader.read_some_events(lines, tmp_path, "a").numbers["step"].tolist() == [0, 1, 2, 3, *range(5, 12)]


def test_a_last_record_whose_checksum_is_wrong_waits(tmp_path):
    """On network file systems the length of a file may be there before what it holds."""
    records = [record(one.SerializeToString()) for one in GOOD[:2]]
    half = records[1][:20] + bytes(len(records[1]) - 20)
    cut = reader.EVENTS.growth.cut
    assert cut(records[0] + half, True) == len(records[0])
    assert cut(records[0] + half + records[0], True) == len(records[0] + half + records[0])
    assert cut(records[0] + bytes(50), True) == len(records[0])
    # A hole in the middle is no reason to wait, nor to read the rest of the file at once.
    assert cut(records[0] + bytes(50), False) == len(records[0]) + 50 - 11


def told(follower):
    """(run, step, metric) to value of all cells that a poll tells."""
    return [
        ((rows.run, int(step), metric), value)
        for rows in follower.poll()
        for step, values, logged in zip(rows.steps, rows.values, rows.logged, strict=True)
        for metric, value, there in zip(("train/loss", "grad_norm", "eval/loss"), values, logged, strict=True)
        if there
    ]


@pytest.mark.parametrize("replaced", [False, True], ids=["added to", "replaced by a longer copy"])
def test_a_run_that_is_followed_tells_each_point_once(replaced, tmp_path):
    """However the file grows, also where a copy takes its place, as rsync does; polls fall between tags of a step."""
    raw = points_file(three_metrics(range(30)))
    path = tmp_path / "a" / FIRST
    anything = Settings.of(run_by=(), rename=None, where=None, step=None)
    follower = Follower([tmp_path], ("train/loss", "grad_norm", "eval/loss"), anything)
    found, at = [], 0
    for end in [3, 40, *range(90, len(raw), 97), len(raw)]:
        if replaced:
            written(tmp_path / "new", raw[:end]).rename(written(path, b""))
        else:
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(raw[at:end])
        at = end
        found += told(follower)
        assert not follower.torn
    expected = [(("a", t, tag), float(np.float32(value))) for tag, t, value in three_metrics(range(30))]
    assert len(found) == len(expected)
    np.testing.assert_equal(dict(found), dict(expected))


def test_live_writers_are_followed_between_their_flushes(tmp_path):
    anything = Settings.of(run_by=(), rename=None, where=None, step=None)
    follower = Follower([tmp_path], ("train/loss", "grad_norm", "eval/loss"), anything)
    found, points = [], list(three_metrics(range(12)))
    with writers()["torch"](tmp_path / "a") as writer:
        for number, point in enumerate(points):
            log_points(writer, [point])
            if number % 4 == 0:
                writer.flush()
                found += told(follower)
    found += told(follower)
    assert [key for key, _ in found] == [("a", t, tag) for tag, t, _ in points]


# Downloads


def downloads(folder, run, tags):
    """What TensorBoard's own server gives for download, by name of the file."""
    from tensorboard import context
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugin = ScalarsPlugin(base_plugin.TBContext(data_provider=provider, logdir=str(folder)))
    for tag in tags:
        body, _ = plugin.scalars_impl(context.RequestContext(), tag, run, "", "csv")
        yield f"run-{run}-tag-{tag.replace('/', '_')}.csv", body


def test_downloads_of_several_metrics_are_one_run(tmp_path):
    points = list(three_metrics(range(20)))
    for run in ("seed-1", "seed-2"):
        written(tmp_path / "logs" / run / FIRST, points_file(points))
        for name, body in downloads(tmp_path / "logs", run, ["train/loss", "grad_norm", "eval/loss"]):
            written(tmp_path / "got" / name, body.encode())
    runs = read_logs(tmp_path / "got")
    assert runs.runs == ("seed-1", "seed-2")
    assert runs.lengths.tolist() == [20, 20]
    assert sorted(runs.metrics) == ["eval_loss", "grad_norm", "train_loss"]
    assert_points(runs, "seed-1", [(tag.replace("/", "_"), step, value) for tag, step, value in points])
    hidden = [note.text for note in runs.notes if note.kind == "hidden"]
    assert len(hidden) == 6
    assert hidden[0].endswith("run-seed-1-tag-eval_loss.csv: TensorBoard downloads a sample of the points, by default "
                              "at most 1,000 of a metric")  # fmt: skip


DOWNLOAD = "Wall time,Step,Value\r\n1000000000.0,0,0.5\r\n1000000001.0,10,nan\r\n1000000002.0,20,-inf\r\n"


@pytest.mark.parametrize(
    ("name", "run", "metric"),
    [
        ("run-a-tag-loss.csv", "a", "loss"),
        ("my_run-tag-loss.csv", "my_run", "loss"),
        ("run-lr-0.1-tag-train_loss.csv", "lr-0.1", "train_loss"),
        ("run-.-tag-loss.csv", "logs", "loss"),
        ("some.csv", "some", "value"),
        ("run-a-tag-step.csv", "a", "step (tag)"),
    ],
)
def test_a_download_is_named_after_its_file(name, run, metric, tmp_path):
    runs = read_logs(written(tmp_path / "logs" / name, DOWNLOAD.encode()))
    assert (runs.runs, runs.metrics) == ((run,), (metric,))
    np.testing.assert_equal(cells(runs, run, metric), {0: 0.5, 10: np.nan, 20: -np.inf})


def test_other_csv_files_are_no_downloads(tmp_path):
    for heading in ("wall,Step,Value", "Wall time,Step,Value,More", "step,Wall time"):
        path = written(tmp_path / "run-a-tag-loss.csv", (heading + DOWNLOAD[DOWNLOAD.index("\r") :]).encode())
        assert recognised(path).name == "csv"
    assert recognised(written(path, b"\xef\xbb\xbf" + DOWNLOAD.encode())).name == "tensorboard-csv"


def test_a_download_that_holds_words_is_refused(tmp_path):
    path = written(tmp_path / "run-a-tag-loss.csv", b"Wall time,Step,Value\n1,x,2\n2,y,3\n")
    with pytest.raises(TrajHMMError, match=r"run-a-tag-loss\.csv: column 'Step' holds no numbers"):
        read_logs(path)


# Cost


@pytest.mark.once
def test_nothing_is_compiled_until_an_event_file_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n1,2\n2,3\n")
    written(tmp_path / "b" / FIRST, points_file(three_metrics(range(3))))
    code = (
        "import sys, json, trajhmm\n"
        f"trajhmm.read_logs({str(tmp_path / 'a.csv')!r})\n"
        "before = 'numba' in sys.modules\n"
        f"trajhmm.read_logs({str(tmp_path / 'b')!r})\n"
        "print(json.dumps([before, 'numba' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True]


# A public log


def test_the_conformer_as_events_is_the_conformer_as_tables(public_data):
    """Float32 of what the tables hold, by step and metric, and nothing else."""
    folder = public_data("algoperf_conformer") / "study_2"
    (path,) = folder.glob("events.out.tfevents.*")
    expected = {}
    for name in ("measurements.csv", "eval_measurements.csv"):
        with (folder / name).open(newline="") as table:
            for row in csv.DictReader(table):
                step = int(row["global_step"])
                for metric, cell in row.items():
                    if cell:
                        expected.setdefault((step, metric), set()).add(np.float32(cell).item())
    assert max(map(len, expected.values())) == 1
    table = reader.read_event_file(path, "study_2")
    present = {metric: table.present.get(metric, np.ones(table.n, dtype=bool)) for metric in table.numbers}
    points = [
        ((int(step), metric), {value})
        for metric, column in table.numbers.items()
        for step, value in zip(table.numbers["step"][present[metric]], column[present[metric]], strict=True)
        if metric != "step"
    ]
    assert dict(points) == expected
    # One step was logged in two pieces, each with its global_step.
    assert (table.n, len(points)) == (1966, 9271)
    runs = read_logs(path)
    assert runs.runs == ("study_2",)
    assert runs.lengths.tolist() == [1965]
