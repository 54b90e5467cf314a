"""DuckDB without surprises: connections that install nothing, shipped extensions, transactions.

Belongs here: what every use of DuckDB here shares. Does not belong here: the lake (see `lake`).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

import duckdb

DUCKDB_CONFIG: Mapping[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


def extension_path(name: str) -> str:
    """Path of a DuckDB extension shipped as a Python package (no network at run time)."""
    package = importlib.resources.files(f"duckdb_extension_{name}")
    return str(package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension")


@contextmanager
def plain_connection(memory_limit: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that installs and loads nothing by itself."""
    limit = {"memory_limit": memory_limit} if memory_limit else {}
    connection = duckdb.connect(config={**DUCKDB_CONFIG, **limit})
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what is done inside, or roll all of it back."""
    cursor.execute("BEGIN")
    try:
        yield
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # A failed COMMIT has already ended the transaction.
            cursor.execute("ROLLBACK")
        raise
