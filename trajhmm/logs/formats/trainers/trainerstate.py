"""``trainer_state.json`` of Hugging Face Transformers."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats.format import HEAD, Format
from trajhmm.logs.formats.jsonfiles import loaded, rows_of
from trajhmm.logs.formats.jsonlines import Records, Row
from trajhmm.logs.formats.table import Table, plain_cell
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_GLOBAL_STEP = re.compile(rb'"global_step": *"?(\d{1,40})\b')
_CLOSING = "train_runtime"
_SETTINGS = ("max_steps", "num_train_epochs", "train_batch_size")


def read_trainer_state(path: Path, name: str) -> Table:
    """Read the log of a ``Trainer``: rows of training, and of evaluation (``eval_…``), each with its step.

    The closing totals are left out with a note. The Trainer can hide losses that are NaN or infinite, which is said
    unless one is seen.

    Raises
    ------
    LogError
        It is half-written, or holds no log.
    """
    state = loaded(path)
    history = rows_of(state.get("log_history")) if isinstance(state, dict) else None
    if not isinstance(state, dict) or history is None:
        raise LogError(f"{path}: no list of rows in log_history; expected what a Hugging Face Trainer saves")
    rows = [row for row in history if _CLOSING not in row]
    notes = [_closing(path, row) for row in history if _CLOSING in row]
    if rows and not any(_is_lost(row.get("loss")) for row in rows):
        text = (
            f"{path}: unless logging_nan_inf_filter was off, the Trainer logged the mean of earlier losses, or 0, for "
            "a loss that was NaN or infinite"
        )
        notes.append(Note(kind="hidden", text=text))
    records = Records(
        rows=rows, lines=[*range(1, len(rows) + 1)], attributes=_settings(state), notes=tuple(notes), carry={}
    )
    return replace(records.table(path, name), blanks_are_blank=True)


def run_of(path: Path) -> Path:
    """The folder of a run, in which those of its checkpoints may be."""
    return path.parent.parent if _CHECKPOINT.fullmatch(path.parent.name) else path.parent


def global_step_of(path: Path) -> int:
    """The step up to which a file tells, which stands before its rows; else that of its folder, and 0 without one.

    A training that was resumed leaves the file of its first end beside checkpoints that came later.
    """
    with suppress(OSError), path.open("rb") as file:
        if (found := _GLOBAL_STEP.search(file.read(HEAD))) is not None:
            return int(found[1])
    named = _CHECKPOINT.fullmatch(path.parent.name)
    return int(named[1]) if named else 0


def _settings(state: Row) -> dict[str, Attribute]:
    return {name: value for name in _SETTINGS if isinstance(value := plain_cell(state.get(name)), (int, float))}


def _closing(path: Path, row: Row) -> Note:
    told = ", ".join(f"{key} {value:.6g}" for key, value in row.items() if isinstance(value, (int, float)))
    return Note(kind="left-out", text=f"{path}: the closing row holds totals, no step, left out ({told})")


def _is_lost(loss: object) -> bool:
    return isinstance(loss, float) and not math.isfinite(loss)


def _takes(_path: Path, head: bytes) -> bool:
    return b'"log_history"' in head


TRAINER_STATE = Format(
    name="trainer-state",
    title="Hugging Face trainer_state.json",
    names=r"\.json",
    read=read_trainer_state,
    takes=_takes,
    home=run_of,
    whole_history=True,
    reaches=global_step_of,
)
