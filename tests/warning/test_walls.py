"""What may see the future stays out of the room of early warning."""

import ast
from pathlib import Path

import pytest

import trajhmm.warning

SEES_THE_FUTURE = {"Smoothed", "smooth_rows", "decode_rows", "decode", "viterbi", "backward", "PerRunScaler"}
MODULES = sorted(Path(trajhmm.warning.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_neither_smoother_nor_viterbi_is_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not used & SEES_THE_FUTURE
