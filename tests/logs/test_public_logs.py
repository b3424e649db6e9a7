"""Real logs that nobody on this project wrote; see ``data/SOURCES.md`` beside them."""

import csv
import json

import numpy as np
import pytest

from trajhmm import TrajHMMError, read_logs
from trajhmm.features import map_sequences


def test_pythia_is_ten_seeds_of_fourteen_metrics(public_data):
    folder = public_data("pythia_160m")
    runs = read_logs(folder, run_by="seed")
    assert runs.runs == tuple(map(str, range(10)))
    assert runs.lengths.tolist() == [154] * 10
    assert len(runs.metrics) == 14
    assert {"L1/L2", "trace/lambda", "mu_b", "median_b", "sigma_b"} <= set(runs.metrics)
    assert runs.attributes["seed"].tolist() == list(range(10))
    assert runs.logged.all()
    assert not [note for note in runs.notes if note.kind in ("resume", "merged", "duplicate", "non-finite", "unsorted")]


def test_pythia_without_run_by_says_which_column_tells_the_seeds_apart(public_data):
    with pytest.raises(TrajHMMError, match=r"matrix_metrics_160m\.tsv: .* 9 times: .* --run-by seed"):
        read_logs(public_data("pythia_160m"))


def test_pythia_values_are_those_in_the_table(public_data):
    folder = public_data("pythia_160m")
    with (folder / "matrix_metrics_160m.tsv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["seed"] == "3"]
    runs = read_logs(folder, run_by="seed").select_runs(["3"])
    assert runs.steps.tolist() == [int(row["step"]) for row in rows]
    for metric in runs.metrics:
        assert runs.column(metric).tolist() == [float(row[metric]) for row in rows]


def test_a_metric_of_pythia_that_is_constant_at_first_is_fitted(public_data):
    sequences = map_sequences(read_logs(public_data("pythia_160m"), run_by="seed"))
    biases = [sequences.metrics.index(name) for name in ("mu_b", "median_b", "sigma_b")]
    first = sequences.values[sequences.offsets[:-1]][:, biases]
    np.testing.assert_array_equal(first, sequences.values[sequences.offsets[:-1] + 1][:, biases])
    assert (np.abs(sequences.values[:, biases]).max(axis=0) > 1).all()


def test_the_pythia_map_is_ten_seeds_of_which_two_return(public_data):
    runs = read_logs(public_data("polypythias_410m"), run_by="seed")
    assert runs.lengths.tolist() == [27] * 10
    assert runs.metrics == ("score", "state")
    state = {run: dict(zip(runs.steps[rows], runs.column("state")[rows], strict=True)) for run, rows in runs.slices()}
    assert (state["3"][73_000], state["3"][83_000]) == (4, 1)
    assert (state["4"][113_000], state["4"][123_000]) == (4, 0)
    back = {run for run, rows in runs.slices() if (np.diff(runs.column("state")[rows]) < -1).any()}
    assert back == {"3", "4"}


def test_grokking_is_thirty_runs_with_the_settings_of_their_meta_lines(public_data):
    folder = public_data("muon_grokking_s5")
    runs = read_logs(folder)
    assert runs.runs == tuple(sorted(path.stem for path in folder.glob("*.jsonl")))
    assert runs.n_runs == 30
    assert runs.attributes["optimizer"].value_counts().to_dict() == {"adamw": 10, "muon": 10, "sgdm": 10}
    assert sorted(runs.attributes["init_scale"].unique()) == [1, 3]
    for path, rows in zip(sorted(folder.glob("*.jsonl")), dict(runs.slices()).values(), strict=True):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        meta, records = lines[0]["_meta"], [line for line in lines if "step" in line]
        assert runs.attributes.loc[path.stem, ["lr", "seed", "optimizer"]].tolist() == [
            meta["lr"],
            meta["seed"],
            meta["optimizer"],
        ]
        assert runs.steps[rows].tolist() == [record["step"] for record in records]
        np.testing.assert_array_equal(runs.column("wn_total")[rows], [record["wn_total"] for record in records])
    assert not (runs.logged & ~np.isfinite(runs.values)).any()


def test_the_runs_that_forget_are_those_that_the_source_names(public_data):
    """Train accuracy falls below 0.9 after 0.99 in all sgdm runs, four adamw runs of init scale 1, and no muon run."""
    runs = read_logs(public_data("muon_grokking_s5"))
    forgets = []
    for run, rows in runs.slices():
        accuracy = runs.column("train_acc")[rows]
        learned = np.maximum.accumulate(accuracy >= 0.99)
        if (learned & (accuracy < 0.9)).any():
            forgets.append(run.rpartition("_s")[0])
    counted = {name: forgets.count(name) for name in forgets}
    assert counted == {"sgdm_sc1.0_wd0.01": 5, "sgdm_sc3.0_wd0.01": 5, "adamw_sc1.0_wd0.01": 4}


def test_one_optimizer_is_picked_by_a_condition(public_data):
    runs = read_logs(public_data("muon_grokking_s5"), where='optimizer == "muon" and init_scale > 2')
    assert runs.runs == tuple(f"muon_sc3.0_wd0.01_s{seed}" for seed in range(5))


@pytest.mark.parametrize("by", ["default", "named"])
def test_criteo_runs_diverge_where_the_tables_go_blank(by, public_data):
    """Steps of the first blank or infinite loss, read from the tables with the csv module."""
    folder = public_data("criteo_divergence")
    first = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as table:
            train = [row for row in csv.DictReader(table) if row["lr"]]
        assert [int(row["global_step"]) for row in train] == list(range(100))
        bad = [int(row["global_step"]) for row in train if row["loss"] in ("", "inf")]
        if bad:
            assert bad == list(range(bad[0], 100))
            first[path.stem] = bad[0]
    assert first == {"seed_0": 57, "seed_1": 73, "seed_2": 48, "seed_4": 80}

    sequences = map_sequences(read_logs(folder), None if by == "default" else ["loss", "grad_norm"])
    assert sorted(sequences.metrics) == ["grad_norm", "loss"]
    assert sequences.diverged == first
    assert sequences.lengths.tolist() == [57, 73, 48, 100, 80]
    cut = {note.run: note.text for note in sequences.notes if note.kind == "cut"}
    assert set(cut) == set(first)
    assert "not finite from step 73 on, cut there" in cut["seed_1"]


def test_the_evaluations_of_criteo_are_no_divergence_of_its_loss(public_data):
    """Evaluations stand on rows of their own, at two of the same steps, and go on after training stopped."""
    runs = read_logs(public_data("criteo_divergence"))
    rows = dict(runs.slices())["seed_3"]
    assert np.isfinite(runs.column("loss")[rows][runs.steps[rows] < 100]).all()
    train = runs.logged[rows][:, runs.metrics.index("loss")]
    assert train.sum() == 100
    assert sum(note.kind == "merged" for note in runs.notes) == 5


def test_the_speedrun_is_38_runs_with_a_shared_spike_and_no_divergence(public_data):
    runs = read_logs(public_data("nanogpt_speedrun"))
    assert runs.n_runs == 38
    sequences = map_sequences(runs)
    assert sequences.metrics == ("train_loss",)
    assert sequences.diverged == {}
    assert sequences.lengths.tolist() == [1530] * 38
    jump = [np.diff(runs.column("train_loss")[rows])[runs.steps[rows][1:] == 946].item() for _, rows in runs.slices()]
    assert min(jump) > 1.5
    assert np.mean(jump) == pytest.approx(1.65, abs=0.02)


def test_the_speedrun_may_be_aligned_to_its_evaluations(public_data):
    sequences = map_sequences(read_logs(public_data("nanogpt_speedrun")), ["train_loss", "val_loss"])
    assert sequences.diverged == {}
    assert sequences.lengths.tolist() == [13] * 38
    assert sequences.steps[:3].tolist() == [125, 250, 375]


def test_one_run_as_csv_and_as_events_is_read_once(public_data):
    """The event file holds the numbers of the tables in single precision."""
    folder = public_data("algoperf_conformer")
    runs = read_logs(folder)
    table = read_logs(folder / "study_2" / "measurements.csv")
    rows = dict(runs.slices())["study_2"]
    assert not [note for note in runs.notes if note.kind == "resume"]
    assert runs.steps[rows].tolist() == table.steps.tolist()
    np.testing.assert_allclose(runs.column("loss")[rows], table.column("loss"), rtol=1e-6)
