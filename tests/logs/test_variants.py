"""Logs as people have them, of the kinds that were misread once, written otherwise than the first that showed it."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm import TrajHMMError, read_logs
from trajhmm.features.choose import default_metrics
from trajhmm.logs.assembly.clocks import called_clock
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Monitor, Watch

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def written(path, text):
    path.write_text(text)
    return path


def test_thousands_between_quotes_are_an_error_that_names_the_line(tmp_path):
    rows = '1,"1,250.5",0.1\n2,900.5,0.2\n3,800.25,0.3\n'
    with pytest.raises(TrajHMMError, match=r"line 2, column 'loss': expected a number, found '1,250\.5'"):
        read_logs(written(tmp_path / "a.csv", "step,loss,acc\n" + rows))


def test_thousands_beside_numbers_of_three_decimals(tmp_path):
    rows = "".join(f"{t};{t},024;{2.345 - t / 1000:.3f}\n" for t in range(1, 9))
    runs = read_logs(written(tmp_path / "a.csv", "step;tokens;loss\n" + rows))
    assert runs.column("tokens").tolist() == [1000 * t + 24 for t in range(1, 9)]
    assert runs.column("loss")[0] == 2.344


@pytest.mark.parametrize("third", ["1e-3", "nan", ""])
def test_a_comma_is_decimal_unless_some_number_has_a_point(third, tmp_path):
    rows = "".join(f"{t};2,{300 + t};{third}\n" for t in range(3))
    runs = read_logs(written(tmp_path / "a.csv", "step;loss;lr\n" + rows))
    np.testing.assert_allclose(runs.column("loss"), [2.3, 2.301, 2.302])
    pointed = read_logs(written(tmp_path / "b.csv", "step;tokens;loss\n0;2,312;0.5\n1;3,201;0.25\n"))
    np.testing.assert_allclose(pointed.column("tokens"), [2312, 3201])


def test_between_quotes_a_comma_may_be_anything(tmp_path):
    """Two betas, or the shape of a kernel, of a run: an attribute in words, and no number."""
    rows = "".join(f'{t},{2 - t / 9},"0.9,0.95","3,3"\n' for t in range(5))
    runs = read_logs(written(tmp_path / "a.csv", "step,loss,betas,kernel\n" + rows))
    assert runs.metrics == ("loss",)
    assert runs.attributes.iloc[0].to_dict() == {"betas": "0.9,0.95", "kernel": "3,3"}


def test_a_decimal_comma_means_the_same_in_each_piece_that_is_followed(tmp_path):
    """One NaN was a number with a point, and 2,014 then two thousand: an alarm."""
    rng = np.random.default_rng(0)
    rows = [f"{t};{2 + 0.01 * rng.normal():.3f};{1 + 0.01 * rng.normal():.3f}\n".replace(".", ",") for t in range(60)]
    rows[40] = f"40;{rows[40].split(';')[1]};nan\n"
    log = written(tmp_path / "a.csv", "step;loss;grad_norm\n")
    watch = Watch(None, [tmp_path], HOW, metrics=["grad_norm", "loss"])
    for row in rows:
        with log.open("a") as file:
            file.write(row)
        assert not list(watch.poll())
    assert watch.monitor.trackers["a"].last_step == 59
    whole = Monitor(metrics=["grad_norm", "loss"])
    whole.score(read_logs(log))
    assert watch.monitor.trackers["a"].largest == whole.trackers["a"].largest


@pytest.mark.parametrize("clock", ["epoch", "time", "lr"])
@pytest.mark.parametrize("each", [3, 5])
def test_what_stands_in_every_row_is_no_companion_of_the_losses(clock, each, tmp_path):
    """Of few training rows an epoch the losses stand in most rows, clocks and schedules in all."""
    for run in range(3):
        rng = np.random.default_rng(run)
        rows = []
        for t in range(60):
            row = {
                clock: t // each if clock != "lr" else 0.1 / (1 + t),
                "step": t,
                "train_loss": None,
                "val_loss": None,
            }
            row["val_loss" if t % (each + 1) == each else "train_loss"] = rng.random()
            rows.append(row)
        pd.DataFrame(rows).to_csv(tmp_path / f"r{run}.csv", index=False)
    chosen, notes = default_metrics(read_logs(tmp_path))
    assert chosen == ("train_loss",)
    assert any(note.text.startswith("val_loss is not fitted: logged less often") for note in notes)


@pytest.mark.parametrize("name", ["batch", "batch_idx", "minibatch", "i", "step_in_epoch"])
def test_rows_of_an_epoch_are_not_averaged_where_a_counter_tells_them_apart(name, tmp_path):
    rows = "".join(f"{e},{b},{3 - e - b / 10}\n" for e in range(4) for b in range(10))
    log = written(tmp_path / "a.csv", f"epoch,{name},loss\n" + rows)
    with pytest.raises(TrajHMMError, match=f"'{name}' counts on within each step: --step {name} if"):
        read_logs(log)
    assert read_logs(log, step=name).steps.tolist() == list(range(40))


def test_steps_that_begin_again_with_epochs_and_otherwise_too_are_refused(tmp_path):
    """Resumed in the middle of an epoch; training and validation rows that count by themselves."""
    resumed = [*range(28), *range(20, 40)]
    rows = "".join(f"{t // 10},{t % 10},{5 - t / 10 + 0.01 * n}\n" for n, t in enumerate(resumed))
    with pytest.raises(TrajHMMError, match="steps begin again with each epoch, but at row 29 without a new one"):
        read_logs(written(tmp_path / "a.csv", "epoch,step,loss\n" + rows))
    both = [(e, s, kind) for e in range(4) for kind, n in (("t", 10), ("v", 3)) for s in range(n)]
    rows = "".join(f"{e},{s},{'' if kind == 'v' else s + e},{s if kind == 'v' else ''}\n" for e, s, kind in both)
    with pytest.raises(TrajHMMError, match="but at row 11 without a new one"):
        read_logs(written(tmp_path / "b.csv", "epoch,step,loss,val_loss\n" + rows))


@pytest.mark.parametrize("unknown", [10, 12, 19])
def test_a_metric_that_begins_late_in_all_healthy_runs_is_no_matter(unknown):
    frames = []
    for run in range(4):
        rng = np.random.default_rng(run)
        norm = np.where(np.arange(20) < unknown, np.nan, rng.lognormal(size=20))
        loss = 3 - np.arange(20) / 10 + 0.01 * rng.normal(size=20)
        frames.append(pd.DataFrame({"run": f"r{run}", "step": range(20), "loss": loss, "grad_norm": norm}))
    runs = read_logs(pd.concat(frames))
    model = th.fit_warning(runs, metrics=["loss", "grad_norm"], states=1, restarts=1, false_alarm=0.2)
    monitor = Monitor(model)
    monitor.score(runs)
    assert sum(tracker.alarm is not None for tracker in monitor.trackers.values()) <= 1


@pytest.mark.parametrize("how", ["tsv", "index", "more", "parquet"])
def test_a_chart_that_was_saved_anew_is_refused_by_what_it_is(how, tmp_path):
    columns = {f"{run} - loss{twin}": [1.0, 0.5, None] for run in ("a", "b") for twin in ("", "__MIN", "__MAX")}
    chart = pd.DataFrame({"Step": [0, 1, 2], **columns})
    if how == "parquet":
        chart.to_parquet(tmp_path / "chart.parquet")
    else:
        chart = chart.assign(notes="x") if how == "more" else chart
        chart.to_csv(tmp_path / f"chart.{'tsv' if how == 'tsv' else 'csv'}", index=how == "index",
                     sep="\t" if how == "tsv" else ",")  # fmt: skip
    with pytest.raises(TrajHMMError, match=r"chart exported by Weights & Biases, a column for each run \('a - loss'"):
        read_logs(tmp_path)


@pytest.mark.parametrize(
    "name", ["timesteps", "num_updates", "TotalEnvInteracts", "episodes", "globalStep", "itr", "frames"]
)
def test_what_may_count_steps_is_named_first(name, tmp_path):
    others = ",".join(f"m/{n}" for n in range(9))
    log = written(
        tmp_path / "a.csv", f"{others},{name},loss\n" + "".join(f"{'1,' * 9}{t},{2 - t / 9}\n" for t in range(5))
    )
    with pytest.raises(TrajHMMError, match=f"no column 'step'; {name} may count steps: name one with --step COLUMN"):
        read_logs(log)


@pytest.mark.parametrize("digits", [3, 4])
def test_a_clock_that_was_rounded_is_one(digits):
    frames = []
    for run in range(3):
        rng = np.random.default_rng(run)
        frame = {
            "run": f"r{run}",
            "step": range(60),
            "loss": rng.random(60),
            "norm": np.cumsum(rng.random(60)).round(3),
        }
        frames.append(pd.DataFrame({**frame, "progress": (np.arange(60) / 59).round(digits)}))
    assert default_metrics(read_logs(pd.concat(frames)))[0] == ("loss", "norm")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("tokens_processed", True), ("consumed_tokens", True), ("optimizer_step", True), ("consumed_samples", True),
     ("gradient_steps", True), ("update_step", True), ("episode_num", True), ("total_flops", True), ("t", True),
     ("T", False),
     ("update_norm", False), ("grad_norm_step", False), ("weight_t", False), ("optimizer_loss", False)],
)  # fmt: skip
def test_clocks_by_their_names(name, is_one):
    assert called_clock(name) is is_one


def test_interleaved_runs_are_told_by_what_tells_them_apart(tmp_path):
    rows = "".join(f"{e},{s},{3 - e + s}\n" for e in range(6) for s in range(4))
    for name in ("seed_index", "worker_idx"):
        with pytest.raises(TrajHMMError, match=f"--run-by {name}"):
            read_logs(written(tmp_path / "a.csv", f"epoch,{name},loss\n" + rows))


def test_columns_that_are_named_anew_in_another_order_end_the_sense_of_a_file(tmp_path):
    head = "step,loss,grad_norm\n" + "".join(f"{t},{2 - t / 40},1.{t % 7}\n" for t in range(20))
    log = written(tmp_path / "a.csv", head)
    watch = Watch(None, [tmp_path], HOW, metrics=["loss", "grad_norm"])
    list(watch.poll())
    with log.open("a") as file:
        file.write("step,grad_norm,loss\n" + "".join(f"{t},1.{t % 7},{2 - t / 40}\n" for t in range(20, 40)))
    assert not list(watch.poll())
    assert any("names the columns anew" in why for why in watch.follower.torn.values())
    with pytest.raises(TrajHMMError, match="line 22 names the columns anew, and otherwise than the first line does"):
        read_logs(log)


def test_a_header_that_is_repeated_with_a_mark_is_one(tmp_path):
    rows = "".join(f"{t},{2 - t / 40}\n" for t in range(5))
    again = "".join(f"{t},{2 - t / 40}\n" for t in range(5, 10))
    (tmp_path / "a.csv").write_text("step,loss\n" + rows + "\ufeffstep,loss\n" + again, encoding="utf-8")
    assert read_logs(tmp_path).steps.tolist() == list(range(10))


# A column for each run.


@pytest.mark.parametrize(
    ("names", "hinted"),
    [
        (["seed_0", "seed_1", "seed_2"], True),
        (["Run 1", "Run 2", "Run 10"], True),
        (["loss/seed0", "loss/seed1", "loss/seed2"], True),
        (["seed_0", "seed_1"], False),
        (["layer_0", "layer_1", "layer_2"], False),
        (["seed_0", "seed_1", "seed_2", "loss"], False),
        (["trust1", "brun2", "grep3"], False),
    ],
)
def test_a_column_for_each_run_is_told(names, hinted, tmp_path):
    frame = pd.DataFrame({"step": range(20), **{name: np.arange(20) % 7 + i for i, name in enumerate(names)}})
    frame.to_csv(tmp_path / "table.csv", index=False)
    told = [note.text for note in read_logs(tmp_path / "table.csv").notes if note.kind == "layout"]
    assert [("are called like runs" in text, "column 'run'" in text) for text in told] == [(True, True)] * hinted
