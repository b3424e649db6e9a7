"""Reading, checking and writing the metric logs of training runs."""

from trajhmm.logs.conditions import Condition, parse_condition
from trajhmm.logs.pieces.scan import Piece, Scan, scan_logs
from trajhmm.logs.read import read_logs
from trajhmm.logs.runset import Note, RunSet
from trajhmm.logs.write import write_logs

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
