"""The directive ``run``: an example that is run as its page is built, shown with what it said.

The examples of a page are run one after the other in one folder, empty at first, in which ``$DATA`` names ``data/``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PROJECT = Path(__file__).parents[2]
# Columns of a terminal that are as wide as the text.
_COLUMNS = 92
_SECONDS = 600
# In which pages have folders of their own; there before processes that share the pages are forked.
_all = Path(tempfile.mkdtemp(prefix="handbook-"))


class Run(SphinxDirective):
    """Lines of a shell, or of Python, and what they print.

    Options: ``exit``, the exit code that is right (0); ``says``, ``nothing`` to run it without showing what it prints,
    ``alone`` to show nothing else; ``picture``, a PNG that it writes, to be shown, and ``words``, what is on it.
    """

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "exit": directives.nonnegative_int,
        "says": lambda given: directives.choice(given, ("nothing", "alone")),
        "picture": directives.unchanged_required,
        "words": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Run it; what does not end as it should fails the build."""
        language = self.arguments[0] if self.arguments else "sh"
        code, says = "\n".join(self.content), self.options.get("says")
        printed = self._ran(code, language).replace(str(PROJECT / "data"), "$DATA")
        shown: list[nodes.Node] = []
        if says != "alone":
            shown.append(nodes.literal_block(code, code, language=language))
        if says != "nothing" and printed.strip():
            text = printed.strip("\n")
            shown.append(nodes.literal_block(text, text, language="none", classes=["printed"]))
        if "picture" in self.options:
            kept = PROJECT / "notebooks" / "handbook" / "drawn" / self.env.docname.replace("/", "-")
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(_folder_of(self.env.docname) / self.options["picture"], kept)
            name = f"/drawn/{kept.name}/{self.options['picture']}"
            relative, _ = self.env.relfn2path(name)
            self.env.note_dependency(relative)
            shown.append(nodes.image(uri=name, alt=self.options.get("words", "")))
        return shown

    def _ran(self, code: str, language: str) -> str:
        command = {"sh": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}[language]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(  # noqa: S603 (examples are the handbook's own)
            command,
            cwd=_folder_of(self.env.docname),
            env={
                **os.environ,
                "PATH": path,
                "DATA": str(PROJECT / "data"),
                "COLUMNS": str(_COLUMNS),
                "MPLBACKEND": "Agg",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != self.options.get("exit", 0):
            raise self.error(f"ended with {done.returncode}:\n{code}\n{done.stdout}")
        return done.stdout


def _folder_of(page: str) -> Path:
    folder = _all / page.replace("/", "-")
    folder.mkdir(exist_ok=True)
    return folder


def _clear(_app: Sphinx, _error: Exception | None) -> None:
    shutil.rmtree(_all, ignore_errors=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx know the directive."""
    app.add_directive("run", Run)
    app.connect("build-finished", _clear)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
