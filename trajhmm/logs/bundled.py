"""The real logs that come with the package."""

from __future__ import annotations

from pathlib import Path

from trajhmm.errors import LogError


def bundled_logs() -> Path:
    """Path of 40 seeds of a network trained on sparse parities; see ``data/sparse_parities`` in the source.

    Raises
    ------
    LogError
        The installation lacks the file.
    """
    package = Path(__file__).parents[1]
    # An editable installation finds the original beside the package.
    for path in (package / "bundled/sparse_parities.parquet", package.parent / "data/sparse_parities/runs.parquet"):
        if path.exists():
            return path
    raise LogError(f"{package}/bundled/sparse_parities.parquet: missing; install trajhmm again")
