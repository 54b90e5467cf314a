"""Where a lake lives: its place, its lock, durable files, and the exchange's own bytes.

Belongs here: what the lake knows of SQLite and local paths, bytes into durable files, and the
exchange's bytes kept for ever. Does not belong here: what a slice is (see `lake_slices`),
transactions and queries (see `lake`), the catalog's own tables (see `lake_catalog`).
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar

import filelock

from optrade.tables import Table
from resources.lake_slices import CATALOG, EncodedSlice, LakeError, Market, slice_path


@dataclass(frozen=True)
class LakeLocation:
    """A lake in a local folder: SQLite catalog, Parquet files beside it, one lock file.

    Everything that depends on those three is in this class; a lake on a server's catalog or an
    object store is another class with the same methods.
    """

    root: Path
    market: Market

    extensions: ClassVar[tuple[str, ...]] = ("ducklake", "sqlite_scanner")

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())
        if glob := sorted(set(str(self.root)) & set("*?[]")):
            raise LakeError(
                f"The lake's folder is {self.root}: found {' '.join(glob)} in its path, which "
                "DuckDB reads as a pattern. Choose an OPTRADE_HOME without them."
            )

    @property
    def catalog(self) -> Path:
        """The SQLite catalog."""
        return self.root / "catalog.sqlite"

    @property
    def catalog_url(self) -> str:
        """The catalog as DuckLake names it."""
        return f"sqlite:{self.catalog.as_posix()}"

    @property
    def data(self) -> Path:
        """Folder of the Parquet files."""
        return self.root / "data"

    @property
    def lock(self) -> Path:
        """The one writer lock."""
        return self.root / ".write.lock"

    def exists(self) -> bool:
        """Whether a lake was ever begun here."""
        return self.catalog.exists()

    def prepare(self) -> None:
        """Make room for a lake."""
        _make_folder(self.data)

    def attach(self, *, read_only: bool, as_known_at: datetime | int | None = None) -> str:
        """The statement that attaches this lake as `lake`, now, of a moment or of a snapshot.

        The data path given here counts, not the one noted at birth: a lake may be moved whole.
        """
        options = [
            f"DATA_PATH {_quoted(f'{self.data.as_posix()}/')}",
            "OVERRIDE_DATA_PATH true",
            "DATA_INLINING_ROW_LIMIT 0",
            "META_JOURNAL_MODE 'WAL'",
            "META_BUSY_TIMEOUT 10000",
            *(["READ_ONLY"] if read_only else []),
            *([_of(as_known_at)] if as_known_at is not None else []),
        ]
        url = _quoted(f"ducklake:{self.catalog_url}")
        return f"ATTACH {url} AS {CATALOG} ({', '.join(options)})"

    @contextmanager
    def writer_lock(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the one writer lock; the operating system frees it when a process dies."""
        lock = filelock.FileLock(self.lock, timeout=timeout_seconds)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise LakeError(
                f"Another writer held {self.lock} for over {timeout_seconds:.0f} s. Look for a "
                "hanging run in the UI, then retry."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def put(self, table: Table, encoded: EncodedSlice) -> str:
        """Store a slice durably under a fresh name; returns the name the catalog shall know."""
        path = slice_path(self.data, table, encoded)
        write_durably(path, encoded.content)
        return path.as_posix()

    def discard(self, names: Iterable[str]) -> None:
        """Remove stored slices that no catalog knows."""
        for name in names:
            Path(name).unlink(missing_ok=True)


def _of(as_known_at: datetime | int) -> str:
    if isinstance(as_known_at, int):
        return f"SNAPSHOT_VERSION {as_known_at}"
    return f"SNAPSHOT_TIME '{as_known_at.isoformat()}'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that after a crash the file is whole or absent.

    Raises `OSError` as the disk gives it (a full disk among them); the target is then as before.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents; a file in it outlives a crash only if they all do."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a crash."""
    if os.name == "nt":  # Windows cannot open a folder for syncing and does not need it.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_raw(root: Path, kind: str, day: date, name: str, content: bytes) -> tuple[str, str]:
    """Keep a fetched file for ever; returns (path relative to `root`, SHA-256).

    The path holds the hash, so a file once kept is never overwritten by another version; one
    that changed on disk is put right by the same content.
    """
    if re.search(r'[/\\:*?"<>|\x00-\x1f]', name) or name in {"", ".", ".."}:
        raise ValueError(f"found the file name {name!r}; expected one without path or wildcards")
    sha256 = hashlib.sha256(content).hexdigest()
    relative = Path("files") / kind / str(day.year) / day.isoformat() / f"{sha256[:16]}-{name}"
    target = root / relative
    if not target.exists() or target.read_bytes() != content:
        write_durably(target, content)
    return relative.as_posix(), sha256


class KeptFileDamaged(RuntimeError):
    """A file that was kept for ever is gone or changed on disk."""


def read_raw(root: Path, stored_as: str, sha256: str) -> bytes:
    """Read a kept file back and prove that it is what was fetched.

    Raises `KeptFileDamaged` when it is gone or its bytes changed.
    """
    path = root / stored_as
    if not path.exists():
        raise KeptFileDamaged(
            f"{path}: found no such file; expected the kept one. Restore it from a backup or "
            "fetch that day again."
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise KeptFileDamaged(
            f"{path}: found SHA-256 {found[:16]}…; expected {sha256[:16]}… as when it was fetched. "
            "The file changed on disk: restore it from a backup or fetch that day again."
        )
    return content
