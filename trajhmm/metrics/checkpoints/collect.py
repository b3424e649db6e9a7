"""From a tree of checkpoints to one run log: the weight metrics of each."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import CheckpointError
from trajhmm.files import BLANKS_ARE_BLANK, write_parquet
from trajhmm.metrics.checkpoints.find import Checkpoint
from trajhmm.metrics.checkpoints.weightfiles import PYTORCH, StoredTensor, check_torch
from trajhmm.metrics.roles import ROLES, Heads, Parameter, parameters_of
from trajhmm.metrics.weights import WEIGHT_METRICS, metrics_of
from trajhmm.naming import Attribute, natural_key

Progress = Callable[[int, int], None]
Key = tuple[str, int]

# How metrics are defined; raised when the same weights would give other numbers.
_DEFINITION = 1
_SETTINGS, _STATES, _ATTRIBUTES = b"trajhmm.collect", b"trajhmm.collect.files", b"trajhmm.attributes"
_MOST_NAMED = 3
# Weights that may be said to be in a file, and more for each of its bytes: what is compressed shrinks to a sixteenth.
_MOST_WEIGHTS, _WEIGHTS_A_BYTE = 2**22, 4
# Matrices of one network; and what numpy takes for an array.
_MOST_MATRICES, _MOST_AXES, _MOST_ENTRIES = 2**18, 32, 2**60


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """What the run log holds now, and how it came there.

    ``new`` rows were computed, ``kept`` were there already; ``others`` are of checkpoints that were not asked for now.
    """

    runs: int
    rows: int
    metrics: int
    new: int
    kept: int
    others: int
    notes: tuple[str, ...]


class CollectError(CheckpointError):
    """Some checkpoints could not be read; the others are saved, and ``collected`` tells of them."""

    def __init__(self, message: str, collected: Collected) -> None:
        super().__init__(message)
        self.collected = collected


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """Metrics and attributes of one checkpoint, and the state of its files that they were computed from."""

    metrics: dict[str, float]
    attributes: Mapping[str, Attribute]
    files: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    checkpoint: Checkpoint
    row: _Row | None
    counted: tuple[Parameter, ...]
    left_out: tuple[str, ...]
    error: str


def collect(
    checkpoints: Iterable[Checkpoint],
    output: str | Path,
    *,
    heads: Heads | None = None,
    roles: Mapping[str, str] | None = None,
    layers: bool = False,
    jobs: int = 1,
    save_every: float = 15.0,
    progress: Progress | None = None,
    remark: Callable[[str], None] | None = None,
) -> Collected:
    """Compute the 14 weight metrics of each checkpoint and write them as one run log.

    Rows that are in ``output`` already are not computed again, unless the files have changed since: a collection that
    was interrupted goes on where it stopped. ``output`` is replaced whole, now and then and at the end.

    Parameters
    ----------
    checkpoints : from `find_checkpoints`.
    output : Parquet file.
    heads : number of attention heads, instead of what a ``config.json`` says; (query heads, key-value heads) where they
        differ. Where neither tells, query, key and value projections count whole.
    roles : which parameter counts as what, see `parameters_of`.
    layers : add ``weight_l2/LAYER`` for each weight.
    jobs : checkpoints measured side by side, each in a thread; as many are in memory at once.
    save_every : seconds between saves.
    progress : called with (done, all).
    remark : called with each note when it is made.

    Raises
    ------
    CollectError
        After all else: checkpoints are torn, refused or hold no weights. The others are saved.
    CheckpointError
        ``output`` is no collection, or one with other settings.
    """
    wanted = {(checkpoint.run, checkpoint.step): checkpoint for checkpoint in checkpoints}
    settings = _settings(heads, roles, layers=layers)
    target = Path(output)
    rows = _read_rows(target, settings) if target.exists() else {}
    _check_names(wanted.values())
    notes = _Notes(remark)
    to_do = []
    for key, checkpoint in wanted.items():
        one = replace(checkpoint, heads=heads) if heads is not None else checkpoint
        if key not in rows or rows[key].files != _state_of(one):
            to_do.append(one)
    if remeasured := sum((one.run, one.step) in rows for one in to_do):
        notes.add(f"{remeasured} checkpoints have changed since they were collected and are collected again")
    if (pytorch := next((one for one in to_do if one.path.suffix in PYTORCH), None)) is not None:
        notes.add(check_torch(pytorch.path))

    failures: dict[Path, str] = {}
    saved = time.monotonic()
    unsaved = 0
    try:
        for done, measured in enumerate(_measured(to_do, roles, layers=layers, jobs=jobs), start=1):
            if measured.row is None:
                failures[measured.checkpoint.path] = measured.error
            else:
                notes.on(measured)
                rows[measured.checkpoint.run, measured.checkpoint.step] = measured.row
                unsaved += 1
            if unsaved and time.monotonic() - saved >= save_every:
                _write_rows(rows, target, settings)
                saved, unsaved = time.monotonic(), 0
            if progress is not None:
                progress(done, len(to_do))
    finally:
        if unsaved:
            _write_rows(rows, target, settings)
    collected = Collected(
        runs=len({run for run, _ in rows}),
        rows=len(rows),
        metrics=len(_metrics_in(rows.values())),
        new=len(to_do) - len(failures),
        kept=len(wanted) - len(to_do),
        others=len(rows.keys() - wanted.keys()),
        notes=tuple(notes.made),
    )
    if failures:
        raise CollectError(_failed(failures), collected)
    return collected


def _failed(failures: Mapping[Path, str]) -> str:
    first, *others = failures.values()
    if not others:
        return first
    names = [str(path) for path in failures][1 : 1 + _MOST_NAMED]
    more = ", …" if len(others) > len(names) else ""
    return f"{first}\nand {len(others)} more checkpoints that cannot be measured: {', '.join(names)}{more}"


def _measured(
    checkpoints: Sequence[Checkpoint], roles: Mapping[str, str] | None, *, layers: bool, jobs: int
) -> Iterator[_Measured]:
    """Measure each checkpoint, in order; a thread holds one at a time."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    # The matrices of a network are small: threads within an operation wait for each other more than they help.
    with threadpool_limits(1):
        parallel = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
        yield from parallel(delayed(_measure)(one, roles, layers=layers) for one in checkpoints)


def _measure(checkpoint: Checkpoint, roles: Mapping[str, str] | None, *, layers: bool) -> _Measured:
    counted: list[Parameter] = []
    left_out: tuple[str, ...] = ()
    row, error = None, ""
    try:
        files = _state_of(checkpoint)
        with checkpoint.tensors() as tensors:
            counted = parameters_of({n: _outline(t) for n, t in tensors.items()}, heads=checkpoint.heads, roles=roles)
            _check_size(checkpoint, counted)
            names = {parameter.name for parameter in counted}
            left_out = tuple(name for name in tensors if name not in names)
            loaded = [replace(parameter, array=tensors[parameter.name].load()) for parameter in counted]
            metrics = metrics_of(loaded, layers=layers)
        row = _Row(metrics=metrics, attributes=checkpoint.attributes, files=files)
    except CheckpointError as torn:
        error = str(torn)
    except MemoryError:
        error = f"{checkpoint.path}: its weights take more memory than there is; measure it on a larger machine"
    except (ValueError, OSError) as wrong:
        error = f"{checkpoint.path}: {_on_the_command_line(str(wrong))}"
    except Exception as odd:  # noqa: BLE001 (a stranger's file fails in any way, and the others are to be measured)
        reason = (str(odd).strip() or type(odd).__name__).splitlines()[0][:90]
        error = (
            f"{checkpoint.path}: cannot be measured ({type(odd).__name__}: {reason}); save it again, or leave it out"
        )
    return _Measured(checkpoint=checkpoint, row=row, counted=tuple(counted), left_out=left_out, error=error)


def _check_size(checkpoint: Checkpoint, counted: Sequence[Parameter]) -> None:
    """Refuse weights that are said to be far more than what was stored: one number, repeated, takes but a few bytes."""
    stored = sum(path.stat().st_size for path in checkpoint.files)
    weights = sum(math.prod(parameter.array.shape) for parameter in counted)
    if weights > _MOST_WEIGHTS + _WEIGHTS_A_BYTE * stored:
        raise CheckpointError(
            f"{checkpoint.path}: said to hold {weights:,} weights in {stored:,} bytes; save each of them uncompressed"
        )
    matrices = sum(
        parameter.heads if parameter.array.ndim == 2 else math.prod(parameter.array.shape[:-2])
        for parameter in counted
        if parameter.array.ndim > 1 and parameter.role != "kernels"
    )
    if matrices > _MOST_MATRICES:
        raise CheckpointError(
            f"{checkpoint.path}: {matrices:,} matrices; expected at most {_MOST_MATRICES:,}; see --role"
        )


def _outline(tensor: StoredTensor) -> Any:
    """An array of the same shape and kind that takes no memory, to tell what a parameter counts as."""
    if len(tensor.shape) > _MOST_AXES or math.prod(tensor.shape) >= _MOST_ENTRIES:
        raise ValueError(
            f"a tensor of the shape {str(tensor.shape)[:60]}, which no memory holds; save the weights again"
        )
    return np.broadcast_to(np.zeros((), dtype=np.float32 if tensor.floating else np.int8), tensor.shape)


def _on_the_command_line(error: str) -> str:
    if "do not divide" in error:
        return f"{error.partition(';')[0]}; give --heads, or --role 'NAME=matrix' where it is no attention"
    if "at least one weight matrix" in error:
        return "no weight matrix found; say which parameters are with --role 'NAME=matrix'"
    return error


class _Notes:
    """Notes made once each, told at once if somebody listens."""

    def __init__(self, remark: Callable[[str], None] | None) -> None:
        self.made: list[str] = []
        self._remark = remark
        self._layouts: set[frozenset[tuple[str, str, int]]] = set()
        self._whole = False

    def add(self, text: str | None) -> None:
        if text is not None and text not in self.made:
            self.made.append(text)
            if self._remark is not None:
                self._remark(text)

    def on(self, measured: _Measured) -> None:
        """Say what counts in a network of this layout, once, and where attention could not be split."""
        path, counted = measured.checkpoint.path, measured.counted
        layout = frozenset((parameter.name, parameter.role, parameter.heads) for parameter in counted)
        if layout in self._layouts:
            return
        self._layouts.add(layout)
        weights = [parameter for parameter in counted if parameter.role != "bias"]
        split = [parameter for parameter in weights if parameter.heads > 1]
        heads = f" ({len(split)} of them split into {sum(one.heads for one in split)} heads)" if split else ""
        text = f"{path}: measured {len(weights)} weights{heads} and {len(counted) - len(weights)} biases"
        if out := measured.left_out:
            more = ", …" if len(out) > _MOST_NAMED else ""
            text += f"; left out {len(out)} parameters: {', '.join(out[:_MOST_NAMED])}{more}"
        self.add(text)
        attention = any(parameter.role in ("heads", "fused_heads") for parameter in weights)
        if attention and measured.checkpoint.heads is None and not self._whole:
            self._whole = True
            self.add(
                f"{path}: no config.json tells the number of attention heads, so query, key and value "
                "projections count whole; give --heads N to split them"
            )


def _check_names(checkpoints: Iterable[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        for name in checkpoint.attributes:
            if name in ("run", "step", *WEIGHT_METRICS) or name.startswith("weight_l2/"):
                raise CheckpointError(
                    f"{checkpoint.path}: attribute {name!r} in its path is the name of a column of the log; rename it"
                )


def _settings(heads: Heads | None, roles: Mapping[str, str] | None, *, layers: bool) -> dict[str, Any]:
    for role in (roles or {}).values():
        if role not in ROLES:
            raise ValueError(f"role {role!r}: expected one of {', '.join(ROLES)}")
    given = list(heads) if isinstance(heads, tuple) else heads
    return {"heads": given, "roles": [list(pair) for pair in (roles or {}).items()], "layers": layers}


def _state_of(checkpoint: Checkpoint) -> str:
    """Size and time of the files, and what else decides the numbers; a missing shard counts as nothing yet."""
    states = [path.stat() if path.exists() else None for path in checkpoint.files]
    size = sum(state.st_size for state in states if state is not None)
    newest = max((state.st_mtime_ns for state in states if state is not None), default=0)
    return f"{size} {newest} {checkpoint.heads}"


def _metrics_in(rows: Iterable[_Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def _write_rows(rows: Mapping[Key, _Row], path: Path, settings: Mapping[str, Any]) -> None:
    ordered = sorted(rows.items(), key=lambda item: (natural_key(item[0][0]), item[0][1]))
    keys, values = [key for key, _ in ordered], [row for _, row in ordered]
    columns: dict[str, pa.Array] = {
        "run": pa.array([run for run, _ in keys], type=pa.string()),
        "step": pa.array([step for _, step in keys], type=pa.int64()),
    }
    for name in _metrics_in(values):
        columns[name] = pa.array([row.metrics.get(name) for row in values], type=pa.float64())
    attributes = list(dict.fromkeys(name for row in values for name in row.attributes))
    for name in attributes:
        columns[name] = _attribute_column([row.attributes.get(name) for row in values])
    says = BLANKS_ARE_BLANK | {
        _SETTINGS: json.dumps({"definition": _DEFINITION, **settings}).encode(),
        _STATES: json.dumps([row.files for row in values]).encode(),
        _ATTRIBUTES: json.dumps(attributes).encode(),
    }
    write_parquet(pa.table(columns).replace_schema_metadata(says), path)


def _attribute_column(values: Sequence[Attribute | None]) -> pa.Array:
    """Numbers where all are; else text."""
    if any(isinstance(value, str) for value in values):
        return pa.array([None if value is None else str(value) for value in values], type=pa.string())
    if any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    return pa.array(values, type=pa.int64())


def _read_rows(path: Path, settings: Mapping[str, Any]) -> dict[Key, _Row]:
    """Rows of an earlier collection with the same settings."""
    try:
        with path.open("rb") as stream:
            table = pq.ParquetFile(stream).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: exists and is no Parquet file; name another output") from error
    says = table.schema.metadata or {}
    if _SETTINGS not in says:
        raise CheckpointError(f"{path}: exists and was not written by 'trajhmm collect'; name another output")
    try:
        return _rows_in(table, says, path, settings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: exists and is a damaged collection; name another output") from error


def _rows_in(table: pa.Table, says: Mapping[bytes, bytes], path: Path, settings: Mapping[str, Any]) -> dict[Key, _Row]:
    stored = json.loads(says[_SETTINGS])
    now = {"definition": _DEFINITION, **settings}
    if stored != now:
        odd = next(name for name in now if stored.get(name) != now[name])
        raise CheckpointError(
            f"{path}: was collected {_shown(odd, stored.get(odd))}, now {_shown(odd, now[odd])}; collect with the same "
            "settings, or name another output"
        )
    states, attributes = json.loads(says[_STATES]), json.loads(says[_ATTRIBUTES])
    names = [name for name in table.column_names if name not in ("run", "step", *attributes)]
    rows = {}
    for record, files in zip(table.to_pylist(), states, strict=True):
        rows[record["run"], record["step"]] = _Row(
            metrics={name: record[name] for name in names if record[name] is not None},
            attributes={name: record[name] for name in attributes if record[name] is not None},
            files=files,
        )
    return rows


def _shown(name: str, setting: Any) -> str:
    if name == "definition":
        return f"by definition {setting} of the metrics"
    option = "--role" if name == "roles" else f"--{name}"
    if not setting:
        return f"without {option}"
    if name == "roles":
        return "with " + " ".join(f"{option} {pattern}={role}" for pattern, role in setting)
    if name == "heads":
        return f"with {option} {setting if isinstance(setting, int) else ','.join(map(str, setting))}"
    return f"with {option}"
