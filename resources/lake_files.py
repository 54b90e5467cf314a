"""Files of the lake: sorted Parquet for slices, and the exchange's own bytes kept for ever.

Belongs here: turning frames into bytes, bytes into durable files, and names that tell their
content. Does not belong here: transactions and queries (see `lake`).
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from optrade.tables import Table

_HASH_CHARS = 32


@dataclass(frozen=True)
class ParquetFormat:
    """How slices are written: codec, level and rows in a row group."""

    compression_level: int = 3
    row_group_rows: int = 131_072


@dataclass(frozen=True)
class EncodedSlice:
    """One date of one table as Parquet bytes, named by their SHA-256."""

    day: date
    rows: int
    content: bytes
    sha256: str


def encode(day: date, frame: pl.DataFrame, style: ParquetFormat) -> EncodedSlice:
    """Encode one date's rows, sorted; the same rows give the same bytes and hash."""
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=style.compression_level,
        row_group_size=style.row_group_rows,
        statistics=True,
    )
    content = buffer.getvalue()
    return EncodedSlice(day, frame.height, content, hashlib.sha256(content).hexdigest())


def slice_path(data: Path, table: Table, encoded: EncodedSlice) -> Path:
    """A fresh path for a slice: `<group>/<table>/trade_date=D/<hash>-<unique>.parquet`.

    The name carries the content's hash, so that equal content is seen without opening a file,
    and a unique part, so that no name is ever used twice.
    """
    folder = data / table.group / table.name / f"trade_date={encoded.day.isoformat()}"
    return folder / f"{encoded.sha256[:_HASH_CHARS]}-{uuid.uuid4().hex[:8]}.parquet"


def content_hash(path: str) -> str:
    """The hash part of a slice's file name (the whole stem of a foreign file)."""
    return Path(path).stem.split("-")[0]


def same_content(path: str, encoded: EncodedSlice) -> bool:
    """Whether the file at `path` was written from the same content."""
    return content_hash(path) == encoded.sha256[:_HASH_CHARS]


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that after a crash the file is whole or absent.

    Raises `OSError` as the disk gives it (a full disk among them); the target is then absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for syncing and does not need it.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_raw(root: Path, kind: str, day: date, name: str, content: bytes) -> tuple[str, str]:
    """Keep a fetched file for ever; returns (path relative to `root`, SHA-256).

    The path holds the hash, so a file once kept is never overwritten by another version.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    relative = Path("files") / kind / str(day.year) / day.isoformat() / f"{sha256[:16]}-{name}"
    target = root / relative
    if not target.exists():
        write_durably(target, content)
    return relative.as_posix(), sha256


def read_raw(root: Path, stored_as: str, sha256: str) -> bytes:
    """Read a kept file back and prove that it is what was fetched.

    Raises `FileNotFoundError` when it is gone and `ValueError` when its bytes changed.
    """
    path = root / stored_as
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path}: found SHA-256 {found[:16]}…; expected {sha256[:16]}… as when it was fetched. "
            "The file changed on disk: restore it from a backup or fetch that day again."
        )
    return content
