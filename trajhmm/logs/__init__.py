"""Reading, checking and writing the metric logs of training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trajhmm.lazily import found_lazily

if TYPE_CHECKING:
    from trajhmm.logs.conditions import Condition, parse_condition
    from trajhmm.logs.pieces.scan import Piece, Scan, scan_logs
    from trajhmm.logs.read import read_logs
    from trajhmm.logs.runset import Note, RunSet
    from trajhmm.logs.write import write_logs
else:
    __getattr__ = found_lazily(
        __name__,
        {
            "conditions": ("Condition", "parse_condition"),
            "pieces.scan": ("Piece", "Scan", "scan_logs"),
            "read": ("read_logs",),
            "runset": ("Note", "RunSet"),
            "write": ("write_logs",),
        },
    )

__all__ = [
    "Condition",
    "Note",
    "Piece",
    "RunSet",
    "Scan",
    "parse_condition",
    "read_logs",
    "scan_logs",
    "write_logs",
]
