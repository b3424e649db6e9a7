"""The notebooks: stored without output, written with public names, run top to bottom, and right in their numbers."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURES = sorted((ROOT / "notebooks" / "pictures").glob("*.png"))
MOST_SECONDS = 400  # a cell; the notebooks take one or two minutes in all on two cores


def cells_of(path, kind="code"):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def code_of(path):
    """All code, without the lines that are IPython's own."""
    lines = [line for cell in cells_of(path) for line in "".join(cell["source"]).splitlines()]
    return "\n".join(line for line in lines if not line.startswith("%"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_output(path):
    for cell in cells_of(path):
        assert not cell["outputs"]
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_public_names_are_used(path):
    for node in ast.walk(ast.parse(code_of(path))):
        names = [node.attr] if isinstance(node, ast.Attribute) else []
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_pictures_are_small_and_a_notebook_makes_them(path):
    assert path.stat().st_size < 200_000
    assert 1500 <= int.from_bytes(path.read_bytes()[16:20], "big") <= 1800  # width in pixels, of the PNG's header
    assert any(f"pictures/{path.name}" in code_of(notebook) for notebook in NOTEBOOKS)


def test_all_pictures_and_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["01_latent_states", "02_pythia", "03_early_warning"]
    assert [path.stem for path in PICTURES] == ["map_sparse_parities", "warning_timeline"]


@pytest.fixture
def run_notebook(tmp_path, monkeypatch):
    """Run a notebook beside a link to ``data/``; gives what an expression is in it at the end, and all that it says."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks; it comes with trajhmm[test]")
    nbformat = pytest.importorskip("nbformat", reason="nbformat reads notebooks; it comes with trajhmm[test]")
    pytest.importorskip("ipykernel", reason="ipykernel runs notebooks; it comes with trajhmm[test]")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    # Nothing is written into the home folder of whoever runs the tests.
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))

    def run(name, expression):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder)
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        notebook.cells.append(
            nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({expression}, default=float))", id="asked")
        )
        settings = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=MOST_SECONDS, resources=settings).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.get("name") == "stderr"]
        said = [output["data"].get("text/plain", "") for output in outputs if "data" in output]
        return json.loads(outputs[-1]["text"]), said

    run.folder = folder
    return run


@pytest.mark.notebooks
def test_latent_states(run_notebook):
    """Held against data/*/README.md, whose fits have 20 starts where the notebook has 4."""
    found, _ = run_notebook(
        "01_latent_states",
        "{'table': ours.to_dict('index'), 'detours': parities.map.detours, 'six': parities.detours.runs_with.tolist(),"
        " 'ahead': [point.r2_states > point.r2_loss for point in parities.prefix + plain.prefix]}",
    )
    table = found["table"]
    # Convergence does not depend on the fit.
    assert {task: (row["converged"], row["median step"]) for task, row in table.items()} == {
        "sparse parities": (36, 4096),
        "modular addition": (39, 3360),
        "modular addition, stabilised": (40, 1976),
        "digits, diagonal": (40, 72),
        "digits, full": (40, 72),
    }
    assert [row["forks"] for row in table.values()] == ["yes", "yes", "no", "no", "yes"]
    # Five fits of sparse parities have R² 0.994 to 0.998; all starts agree on stabilised and on diagonal digits.
    assert table["sparse parities"]["R²"] == pytest.approx(0.996, abs=0.005)
    assert table["modular addition, stabilised"]["R²"] == pytest.approx(0.792, abs=0.005)
    assert table["digits, diagonal"]["R²"] == pytest.approx(0.066, abs=0.01)
    # Five fits of modular addition have R² 0.867 to 0.950; a sixth lies beyond the largest of them once in six.
    assert 0.85 < table["modular addition"]["R²"] < 0.98
    assert [row["p"] < 0.001 for row in table.values()] == [True, True, True, False, False]
    assert min(table["digits, diagonal"]["p"], table["digits, full"]["p"]) > 0.5
    # Within the cards' 95% intervals, or, where starts disagree most, with an interval that meets the card's.
    assert 0.462 <= table["sparse parities"]["dissimilarity"] <= 0.804
    assert 0.346 <= table["modular addition"]["dissimilarity"] <= 0.569
    assert 0.060 <= table["modular addition, stabilised"]["dissimilarity"] <= 0.105
    assert 0.025 <= table["digits, diagonal"]["dissimilarity"] <= 0.034
    assert table["digits, full"]["low"] <= 0.350
    # What the prose says of the map.
    assert found["detours"] == [2]
    assert found["six"][2] == 6
    assert sum(found["ahead"]) <= 2
    assert (run_notebook.folder / "pictures" / "map_sparse_parities.png").stat().st_size < 200_000


@pytest.mark.notebooks
def test_pythia(run_notebook, public_data, monkeypatch):
    """The published map is as data/SOURCES.md describes it; all seeds of ours follow one chain."""
    monkeypatch.setenv("TRAJHMM_PUBLIC_DATA", str(public_data("pythia_160m").parent.resolve()))
    public_data("polypythias_410m")
    found, _ = run_notebook(
        "02_pythia",
        "{'small': [(edge.source, edge.target, edge.runs) for edge in small.edges],"
        " 'spread': (small_entries.max() - small_entries.min()).max(),"
        " 'large': [(edge.source, edge.target, edge.runs) for edge in large.edges]}",
    )
    assert found["small"] == [[state, state + 1, 10] for state in range(4)]
    assert found["spread"] <= 5000
    assert found["large"] == [[0, 1, 10], [1, 2, 10], [2, 3, 8], [2, 4, 2], [3, 4, 8], [4, 0, 1], [4, 1, 1]]


@pytest.mark.notebooks
def test_pythia_without_its_data(run_notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAJHMM_PUBLIC_DATA", str(tmp_path / "absent"))
    at_hand, said = run_notebook("02_pythia", "at_hand")
    assert at_hand is False
    assert len(said) == 1
    assert "skipped: no public logs in" in said[0]


@pytest.mark.notebooks
def test_early_warning(run_notebook):
    """Held against data/audit_classifier/README.md and the README's table of the model as fitted, budget 5%."""
    found, _ = run_notebook(
        "03_early_warning",
        "{'kinds': kinds.value_counts().to_dict(), 'recall': report.recall.value, 'lead': report.lead_share.value,"
        " 'healthy': report.healthy_alarmed.value, 'survived': report.survived_alarmed.value,"
        " 'auroc': [at.auroc.value for at in risks], 'after': [at.after for at in risks],"
        " 'marks': list(marks.values()),"
        " 'simple': min(row.report.recall.value for row in compared.rows if row.detector.startswith('Gauss'))}",
    )
    assert found["kinds"] == {"collapsed": 48, "survived": 48, "healthy": 40}
    assert 0.93 <= found["recall"] <= 1
    assert 0.83 <= found["lead"] <= 0.89
    assert found["healthy"] <= 0.13
    assert found["survived"] == 1
    assert found["auroc"] == pytest.approx([0.73, 0.87, 0.87], abs=0.03)
    assert found["after"][1] == pytest.approx(450 / 2, abs=1)  # the card's median from onset to collapse is 450
    assert found["marks"] == sorted(found["marks"])
    assert found["simple"] > 0.9
    assert (run_notebook.folder / "pictures" / "warning_timeline.png").stat().st_size < 200_000
