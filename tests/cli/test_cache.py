"""What a model and logs already gave is found again by `figure`, `table`, `analyze` and `report`, byte for byte."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import trajhmm as th
from trajhmm.cache import Cache
from trajhmm.cache.store import Store
from trajhmm.dynamics.detours import refits
from trajhmm.hmm.model import Model
from trajhmm.logs import write_logs
from trajhmm.simulate import planted

CONVERGED = "eval_accuracy > 0.9"
# What figures and tables from the cache do without.
HEAVY = ("numba", "sklearn", "statsmodels", "scipy.stats", "scipy.linalg", "hmmlearn", "networkx", "matplotlib.pyplot")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Logs, a model of them, and a cache that one analysis filled."""
    folder = tmp_path_factory.mktemp("cached")
    logs = planted(n_runs=20, n_rows=60).logs
    write_logs(logs, folder / "logs.parquet")
    model = th.fit(logs, states=[4], scaling="per-run", restarts=1, halves=0)
    model.save(folder / "model.json")
    cache = Cache(store=Store(folder / "cache"))
    th.analyze(logs, model, converged=CONVERGED, refits=4, cache=cache)
    return folder


@pytest.fixture
def work(workshop, tmp_path, monkeypatch):
    """A copy of it, gone into, with the cache switched on."""
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAJHMM_CACHE", "on")
    monkeypatch.setenv("TRAJHMM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def nothing_is_worked_out(monkeypatch):
    """Decoding and refitting fail."""

    def fail(*_, **__):
        raise AssertionError("worked out anew")

    monkeypatch.setattr(Model, "decode", fail)
    monkeypatch.setattr(Model, "scaled", fail)
    monkeypatch.setattr(refits, "refit_map", fail)


def line(*words, refits="4"):
    return [*words, "logs.parquet", "--model", "model.json", "--converged", CONVERGED, "--refits", refits]


@pytest.mark.slow
def test_an_analysis_is_found_again_byte_for_byte(work, trajhmm, monkeypatch):
    assert trajhmm(*line("analyze"), "--no-cache", "-o", "anew").code == 0
    with monkeypatch.context() as patch:

        def fail(*_, **__):
            raise AssertionError("worked out anew")

        for place in ("trajhmm.dynamics.detours.refits.refit_map", "trajhmm.dynamics.detours.prefix.prefix_curve"):
            patch.setattr(place, fail)
        patch.setattr(Model, "decode", fail)
        for name in ("regress", "find_detours", "dissimilarity_of"):
            patch.setattr(f"trajhmm.dynamics.analysis.{name}", fail)
        done = trajhmm(*line("analyze"), "-o", "found")
    assert done.code == 0, done.err
    names = sorted(path.name for path in (work / "anew").iterdir())
    assert names == sorted(path.name for path in (work / "found").iterdir())
    assert len(names) > 15
    for name in names:
        assert (work / "anew" / name).read_bytes() == (work / "found" / name).read_bytes(), name


@pytest.mark.parametrize("kind", ["map", "raster", "curves", "profile", "regression", "convergence"])
@pytest.mark.sampled(2)
def test_figures_are_found_again_byte_for_byte(kind, work, trajhmm, request):
    beside = {"map": None, "convergence": None, "curves": -4, "profile": -4}.get(kind, -2)  # of converged and refits
    words = line("figure", kind)[:beside]
    assert trajhmm(*words, "--no-cache", "-o", "anew.pdf").code == 0
    request.getfixturevalue("nothing_is_worked_out")
    done = trajhmm(*words, "-o", "found.pdf")
    assert done.code == 0, done.err
    assert (work / "anew.pdf").read_bytes() == (work / "found.pdf").read_bytes()


@pytest.mark.parametrize("kind", ["states", "edges", "detours", "regression"])
@pytest.mark.sampled(1)
def test_tables_are_found_again_byte_for_byte(kind, work, trajhmm, request):
    words = line("table", kind) if kind != "regression" else line("table", kind)[:-2]
    assert trajhmm(*words, "--no-cache", "-o", "anew.csv").code == 0
    request.getfixturevalue("nothing_is_worked_out")
    assert trajhmm(*words, "-o", "found.csv").code == 0
    assert (work / "anew.csv").read_bytes() == (work / "found.csv").read_bytes()


@pytest.mark.slow
def test_a_report_is_found_again_byte_for_byte(work, trajhmm):
    assert trajhmm(*line("report"), "--no-cache", "-o", "anew.html").code == 0
    assert trajhmm(*line("report"), "-o", "found.html").code == 0
    assert (work / "anew.html").read_bytes() == (work / "found.html").read_bytes()


def test_names_of_files_and_times_do_not_matter_but_content_does(work, trajhmm, nothing_is_worked_out):
    (work / "logs.parquet").rename(work / "elsewhere.parquet")
    (work / "elsewhere.parquet").touch()
    words = ["figure", "map", "elsewhere.parquet", "--model", "model.json", "-o", "map.png"]
    assert trajhmm(*words).code == 0
    for other in (["--where", "step > 1"], ["--rename", "weight_l2=renamed"], ["--no-cache"]):
        with pytest.raises(AssertionError, match="worked out anew"):
            trajhmm(*words, *other)


def test_one_other_value_is_another_run_set():
    logs = planted(n_runs=4, n_rows=10).logs
    values = logs.values.copy()
    values[3, 1] = np.nextafter(values[3, 1], np.inf)
    from dataclasses import replace

    prints = {
        logs.fingerprint,
        replace(logs, values=values).fingerprint,
        replace(logs, steps=logs.steps + 1).fingerprint,
        replace(logs, runs=("x", *logs.runs[1:])).fingerprint,
        replace(logs, metrics=("x", *logs.metrics[1:])).fingerprint,
        replace(logs, attributes=logs.attributes.assign(seed=1)).fingerprint,
        replace(logs, logged=~logs.logged).fingerprint,
    }
    assert len(prints) == 7
    assert replace(logs, notes=(), files=()).fingerprint == logs.fingerprint


def test_the_fingerprint_of_a_model_is_the_checksum_of_its_file(work):
    told = re.search(r'"sha256": "(\w+)"', (work / "model.json").read_text())
    assert th.load_model(work / "model.json").fingerprint == told[1]


@pytest.mark.slow
def test_damaged_forged_and_foreign_entries_change_nothing(work, trajhmm):
    """Every entry is spoilt in each way: the same bytes come out, and no error."""
    words = [*line("figure", "map"), "-o"]
    assert trajhmm(*words, "right.png", "--no-cache").code == 0
    expected = (work / "right.png").read_bytes()

    def damaged(path):
        path.write_bytes(path.read_bytes()[:-30] + b"\0" * 30)

    def forged(path):
        """Another path and other counts, in an entry of the right form."""
        with np.load(path) as parts:
            members = {name: parts[name] for name in parts.files}
        changed = {name: np.zeros_like(array) if array.dtype == np.int64 else array for name, array in members.items()}
        changed["tree"] = np.frombuffer(members["tree"].tobytes().replace(b'"runs":20', b'"runs":19'), dtype=np.uint8)
        np.savez(path, **changed)

    def foreign(path):
        other = Store(work / "other")
        other.put(path.stem, Store(work / "cache").get(path.stem))
        path.write_bytes((work / "other" / path.name).read_bytes())

    for spoil in (damaged, forged, foreign):
        shutil.rmtree(work / "cache")
        trajhmm(*words, "first.png")
        entries = sorted((work / "cache").glob("*.npz"))
        assert len(entries) >= 4
        for path in entries:
            spoil(path)
        done = trajhmm(*words, "found.png")
        assert done.code == 0, done.err
        assert (work / "found.png").read_bytes() == expected, spoil.__name__


def test_a_cache_that_cannot_be_written_is_none(work, trajhmm, monkeypatch):
    (work / "file").write_text("")
    monkeypatch.setenv("TRAJHMM_CACHE_DIR", str(work / "file"))
    done = trajhmm("figure", "map", "logs.parquet", "--model", "model.json", "-o", "map.png")
    assert done.code == 0
    assert "cache" not in done.err


@pytest.mark.once
def test_figures_from_the_cache_load_little(work):
    for words in (["figure", "map", "-o", "map.pdf"], ["table", "states", "-o", "states.csv"]):
        program = (
            f"import sys; sys.argv = {['trajhmm', *words[:2], *line('')[1:], *words[2:]]!r}\n"
            "from trajhmm.cli import main\ntry: main()\nexcept SystemExit as end: print(end.code)\n"
            f"print(*[name for name in {HEAVY} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["0", ""], done.stderr
