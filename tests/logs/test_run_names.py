"""What runs are called, and in which order they stand."""

import pytest

from trajhmm import TrajHMMError, read_logs

ROWS = "step,loss\n0,3\n1,2\n2,1.5\n"
OTHER = "step,loss\n0,4\n1,2.5\n2,1\n"


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        (["seed_10.csv", "seed_2.csv", "seed_1.csv"], ("seed_1", "seed_2", "seed_10")),
        (["run.v2.csv", "run.v10.csv"], ("run.v2", "run.v10")),
        (["10.csv", "9.csv", "1.csv"], ("1", "9", "10")),
        (["x/log.csv", "y/log.csv"], ("x", "y")),
        (["x/log.csv", "x/eval.csv", "y/log.csv"], ("eval", "x/log", "y/log")),
        (["x/0.csv", "y/1.csv"], ("x", "y")),
        (["x/part-0.csv", "y/part-0.csv"], ("x", "y")),
        (["x/deep/part-00000-abc.csv"], ("x/deep",)),
        (["lr=1/seed=0/log.csv", "lr=1/seed=1/log.csv"], ("lr=1/seed=0", "lr=1/seed=1")),
        (["Läufe ✓/1.csv", "Läufe ✓ 2.csv"], ("Läufe ✓", "Läufe ✓ 2")),
        (["².csv", "٣.csv", "a.csv"], ("٣", "a", "²")),
    ],
)
def test_files_and_folders_name_runs_in_natural_order(files, runs, tmp_path):
    write(tmp_path, dict.fromkeys(files, ROWS))
    assert read_logs(tmp_path).runs == runs


def test_files_that_a_shell_listed_are_named_as_in_their_folder(tmp_path):
    write(tmp_path, {"x/log.csv": ROWS, "y/log.csv": "step,loss\n5,4\n6,2.5\n7,1\n"})
    assert read_logs(sorted(tmp_path.glob("*/log.csv"))).runs == ("x", "y")
    assert read_logs([tmp_path / "y", tmp_path / "x"]).runs == ("x", "y")


def test_folders_that_hold_names_made_of_digits_keep_them(tmp_path):
    write(tmp_path, {"id=12345678901234567890/seed=01/a.csv": ROWS, "id=12345678901234567891/seed=02/a.csv": OTHER})
    runs = read_logs(tmp_path, run_by="id")
    assert runs.runs == ("12345678901234567890", "12345678901234567891")
    assert runs.attributes["seed"].tolist() == ["01", "02"]


def test_part_files_of_one_folder_are_one_run(tmp_path):
    write(tmp_path, {"run_7/part-0.csv": ROWS, "run_7/part-1.csv": "step,loss\n3,1\n4,0.5\n"})
    runs = read_logs(tmp_path / "run_7")
    assert runs.runs == ("run_7",)
    assert runs.steps.tolist() == [0, 1, 2, 3, 4]


def test_a_file_named_twice_is_read_once(tmp_path):
    write(tmp_path, {"a.csv": ROWS})
    runs = read_logs([tmp_path / "a.csv", tmp_path, tmp_path / ".." / tmp_path.name / "a.csv"])
    assert (runs.runs, runs.steps.tolist(), runs.notes) == (("a",), [0, 1, 2], ())


def test_hidden_files_are_passed_over_in_folders_but_not_when_named(tmp_path):
    write(tmp_path, {"a.csv": ROWS, ".b.csv": OTHER, "_c.csv": OTHER, ".d/e.csv": OTHER})
    assert read_logs(tmp_path).runs == ("a",)
    assert read_logs([tmp_path / ".b.csv", tmp_path / "_c.csv"]).runs == (".b", "_c")


def test_the_column_run_names_runs_as_they_are_written(tmp_path):
    names = ["01", "1", "2024-01-02", "12:00:01", "2024-01-02 12:00:00", "1e3", "007", "ü, 1"]
    text = "run,step,loss\n" + "".join(f'"{name}",{step},{step / 7}\n' for name in names for step in range(3))
    write(tmp_path, {"all.csv": text})
    assert sorted(read_logs(tmp_path).runs) == sorted(names)


def test_a_run_without_a_name_is_called_after_its_file(tmp_path):
    write(tmp_path, {"f.csv": "run,step,loss\nx,0,1\nx,1,2\n,0,3\n,1,5\n", "g.csv": ROWS})
    assert read_logs(tmp_path).runs == ("f", "g", "x")


def test_run_by_one_column(tmp_path):
    write(tmp_path, {"all.csv": "seed,step,loss\n10,0,1\n10,1,2\n9,0,3\n9,1,5\n"})
    runs = read_logs(tmp_path, run_by="seed")
    assert runs.runs == ("9", "10")
    assert runs.attributes["seed"].tolist() == [9, 10]
    assert runs.values[:, 0].tolist() == [3, 5, 1, 2]


def test_run_by_several_columns_joins_numbers_and_text(tmp_path):
    rows = [f"{opt},{lr},{step},{step + lr}" for opt in ("sgd", "adam") for lr in (0.5, 3) for step in (0, 1)]
    write(tmp_path, {"all.csv": "opt,lr,step,loss\n" + "\n".join(rows)})
    runs = read_logs(tmp_path, run_by=["opt", "lr"])
    assert runs.runs == ("adam/0.5", "adam/3", "sgd/0.5", "sgd/3")
    assert runs.attributes["opt"].tolist() == ["adam", "adam", "sgd", "sgd"]
    assert runs.attributes["lr"].tolist() == [0.5, 3, 0.5, 3]


def test_run_by_overrides_the_column_run_and_the_file(tmp_path):
    write(
        tmp_path, {"f.csv": "run,seed,step,loss\nx,1,0,1\nx,1,1,2\n", "g.csv": "run,seed,step,loss\nx,2,0,1\nx,2,1,3\n"}
    )
    assert read_logs(tmp_path, run_by="seed").runs == ("1", "2")


def test_a_blank_in_a_column_that_names_runs_is_an_error(tmp_path):
    write(tmp_path, {"f.csv": "seed,step,loss\n1,0,1\n1,1,2\n,2,3\n"})
    with pytest.raises(TrajHMMError, match=r"f\.csv: column 'seed' is blank in 1 rows; it names the run \(--run-by\)"):
        read_logs(tmp_path, run_by="seed")


def test_one_name_may_be_a_number_here_and_text_there(tmp_path):
    write(tmp_path, {"f.csv": "v,step,loss\n1,0,1\n1,1,2\n", "g.csv": "v,step,loss\nbest,0,1\nbest,1,3\n"})
    runs = read_logs(tmp_path, run_by="v")
    assert runs.runs == ("1", "best")
    assert runs.attributes["v"].tolist() == ["1", "best"]


def test_what_trajhmm_wrote_beside_logs_is_left_out_and_said(tmp_path):
    write(
        tmp_path,
        {
            "a.csv": ROWS,
            "truth.csv": "run,onset,collapse_step\na,-1,-1\n",
            "states.csv": "run,step,state,probability,p_0,p_1\na,0,0,1,1,0\na,1,1,1,0,1\n",
            "true_states.csv": "run,step,state\na,0,0\na,1,1\n",
            "convergence.csv": "run,step,converged\na,1,True\n",
        },
    )
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    said = {note.text.partition(": ")[0].rpartition("/")[2] for note in runs.notes if note.kind == "left-out"}
    assert said == {"truth.csv", "states.csv", "true_states.csv", "convergence.csv"}


def test_a_states_file_that_is_named_itself_is_a_log(tmp_path):
    write(tmp_path, {"states.csv": "run,step,state\na,0,0\na,1,1\n"})
    assert read_logs(tmp_path / "states.csv").metrics == ("state",)


def test_spaces_around_a_name_are_no_part_of_it(tmp_path):
    write(tmp_path, {"f.csv": "run,step,loss\na,0,1\na ,1,2\n b,0,3\nb,1,4\n"})
    runs = read_logs(tmp_path)
    assert runs.runs == ("a", "b")
    assert runs.column("loss").tolist() == [1, 2, 3, 4]


def test_copies_of_a_run_under_another_name_are_said(tmp_path):
    write(
        tmp_path,
        {
            "a.csv": ROWS,
            "b.csv": ROWS,
            "later.csv": ROWS.replace("\n0,", "\n5,").replace("\n1,", "\n6,"),
        },
    )
    runs = read_logs(tmp_path)
    copies = [(note.run, note.text) for note in runs.notes if note.kind == "copy"]
    assert copies == [("b", "holds the same rows as run a: a copy, which counts twice")]
