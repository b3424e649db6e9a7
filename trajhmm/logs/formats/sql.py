"""Tables of SQLite and DuckDB databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajhmm.errors import LogError
from trajhmm.logs.formats import mlflow, trackio
from trajhmm.logs.formats.database import fetched, is_sqlite, opened, quoted, rows_of, tables_in
from trajhmm.logs.formats.format import HEAD, Format
from trajhmm.logs.formats.table import RUN_NAME, Table, check_cells, table_from_arrow, table_from_cells
from trajhmm.logs.runset import Note
from trajhmm.naming import instead_of, listed

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes of a cell with a number.
_CELL = 8
# Seconds that a database of DuckDB may take, and bytes of it that take one more; bytes that may be read of it, and so
# many times those of the file, as they are compressed; rows at a time.
_SECONDS, _BYTES_A_SECOND = 4.0, 2e6
_MOST_READ, _TIMES_READ = 2**26, 64
_ROWS_AT_ONCE = 2048
# Where a database of DuckDB says so.
_DUCKDB_AT, _DUCKDB = slice(8, 12), b"DUCK"


def read_sql(path: Path, name: str, table: str | None = None) -> Table:
    """Read one table of a database file, which is opened for reading only.

    Databases of MLflow and trackio are known by their tables, and read as such if no table is named.

    Parameters
    ----------
    path, name : as for all formats.
    table : which table; None if there is but one.

    Raises
    ------
    LogError
        No or several tables, none of that name, the file cannot be read, or DuckDB is not installed.
    """
    head = _head(path)
    if head[_DUCKDB_AT] == _DUCKDB:
        return _read_duckdb(path, name, table)
    known = (one for one in (mlflow.MLFLOW, trackio.TRACKIO) if one.takes is not None and one.takes(path, head))
    if table is None and (found := next(known, None)) is not None:
        return found.read(path, name)
    return _read_sqlite(path, name, table)


def _read_sqlite(path: Path, name: str, wanted: str | None) -> Table:
    with opened(path) as connection:
        chosen = _chosen(path, _with_views(connection, wanted), wanted)
        connection.execute("BEGIN")  # so that no row comes between the next two
        (n_rows,) = connection.execute(f"SELECT count(*) FROM {quoted(chosen)}").fetchone()  # noqa: S608 (as in SQLite)
        cursor = rows_of(connection, chosen, ordered=False)
        columns = [str(column[0]) for column in cursor.description]
        # Columns that are worked out take no room in a file.
        check_cells(n_rows, len(columns), path.stat().st_size // _CELL, path)
        rows = fetched(cursor, n_rows, path)
    if len(set(columns)) < len(columns):
        raise LogError(f"{path}: table {chosen!r} has two columns of one name; rename one")
    cells = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)) if rows else {c: [] for c in columns}
    lines = range(1, len(rows) + 1)
    as_text = {column for column, values in cells.items() if column == RUN_NAME or _are_words(values)}
    found = table_from_cells(cells, lines=lines, path=path, name=name, attributes={}, as_text=as_text)
    if not found.present:
        return found
    text = f"{path}: SQLite keeps NaN as NULL: blanks of {', '.join(found.present)} may have been NaN"
    return replace(found, notes=(*found.notes, Note(kind="hidden", text=text)))


def _with_views(connection: Any, wanted: str | None) -> tuple[str, ...]:
    """The tables, and the view that was asked for."""
    views = connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' AND name = ?", (wanted,))
    return (*tables_in(connection), *(str(view) for (view,) in views))


def _are_words(cells: Sequence[object]) -> bool:
    """Whether a column was written as text, so that 007 stays what it is."""
    return any(isinstance(cell, str) for cell in cells) and all(isinstance(cell, str | None) for cell in cells)


def _read_duckdb(path: Path, name: str, wanted: str | None) -> Table:
    try:
        import duckdb
    except ImportError as error:
        raise LogError(
            f"{path}: a database of DuckDB, which is not installed; pip install 'trajhmm[duckdb]'"
        ) from error
    # A stranger's views may reach for no other file, and fetch no extension.
    config: dict[str, Any] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "threads": "1",
        "memory_limit": "768MB",
    }
    try:
        with duckdb.connect(str(path), read_only=True, config=config) as connection:
            listed = connection.execute(
                "SELECT table_schema, table_name, table_type FROM information_schema.tables"
                " WHERE table_catalog = current_database() ORDER BY table_schema, table_name"
            ).fetchall()
            named = {f"{schema}.{table}".removeprefix("main."): (schema, table, kind) for schema, table, kind in listed}
            # A view, which may tell anything, has to be asked for.
            names = {
                name: (schema, table)
                for name, (schema, table, kind) in named.items()
                if "VIEW" not in kind or name == wanted
            }
            schema, chosen = names[_chosen(path, tuple(names), wanted)]
            source = f"{quoted(schema)}.{quoted(chosen)}"
            size = path.stat().st_size
            with _interrupted(connection, _SECONDS + size / _BYTES_A_SECOND):
                (n_rows,) = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0]  # noqa: S608 (as in SQLite)
                result: Any = connection.sql(f"SELECT * FROM {source}")  # noqa: S608
                check_cells(n_rows, len(result.columns), size // _CELL, path)
                arrow = _arrow_of(result, _MOST_READ + _TIMES_READ * size, path)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "close it there, or COPY the table to Parquet" if "set lock" in reason else "copy it again"
        if isinstance(error, duckdb.InterruptException | duckdb.OutOfMemoryException):
            reason, remedy = "a view that goes on without end", "write what it tells to a table"
        raise LogError(f"{path}: cannot be read as a DuckDB database ({reason[:90]}); {remedy}") from error
    return replace(table_from_arrow(arrow, path=path, name=name), blanks_are_blank=True)


@contextmanager
def _interrupted(connection: Any, seconds: float) -> Iterator[None]:
    """Interrupt what a connection does after a time, as the views of a stranger may have no end."""
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _arrow_of(result: Any, most: int, path: Path) -> pa.Table:
    """The rows of a result, if they take no more than so many bytes.

    Raises
    ------
    LogError
        They take more.
    """
    import pyarrow as pa

    # The name of the method changed with version 1.4.
    reader = (result.to_arrow_reader if hasattr(result, "to_arrow_reader") else result.fetch_record_batch)(
        _ROWS_AT_ONCE
    )
    batches, n_bytes = [], 0
    for batch in reader:
        batches.append(batch)
        n_bytes += batch.nbytes
        if n_bytes > most:
            raise LogError(
                f"{path}: holds a view that tells far more than the file holds; write what it tells to a table"
            )
    return pa.Table.from_batches(batches, schema=reader.schema)


def _chosen(path: Path, tables: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted in tables:
        return wanted
    if not tables:
        raise LogError(f"{path}: this database has no tables; expected one of rows with a step")
    if wanted is not None:
        raise LogError(f"{path}: no table {wanted!r} in this database{instead_of(wanted, tables)}")
    if len(tables) > 1:
        raise LogError(f"{path}: {len(tables)} tables in this database ({listed(tables)}); name one with --table NAME")
    return tables[0]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error


SQL = Format(
    name="sql",
    title="SQLite, DuckDB",
    names=r"\.(db|sqlite|sqlite3|duckdb)",
    read=read_sql,
    takes=lambda _path, head: is_sqlite(head) or head[_DUCKDB_AT] == _DUCKDB,
)
