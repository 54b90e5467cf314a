"""What a lake is made of outside its catalog: its place, checked slices, durable files.

Belongs here: where a lake lives (the only code that knows SQLite and local paths), the contract
a slice must keep, turning frames into bytes, bytes into durable files, names that tell their
content, and the exchange's own bytes kept for ever. Does not belong here: transactions and
queries (see `lake`).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import filelock
import polars as pl

from optrade.tables import Table

Market = Literal["real", "simulated"]
CATALOG = "lake"
HASH_CHARS = 32
_SOURCES: dict[Market, frozenset[str]] = {
    "real": frozenset({"exchange", "kite"}),
    "simulated": frozenset({"simulated"}),
}


class LakeError(RuntimeError):
    """The lake cannot do what was asked; the message says what to do next."""


class SliceRefused(ValueError):
    """A frame that must not be committed: the lake is untouched."""


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


@dataclass(frozen=True)
class Slice:
    """What the rows of `dates` of one table shall be from now on.

    `frame` holds the rows of all those dates. A date without rows is refused unless
    `empties_dates` says that emptying it is meant.
    """

    table: Table
    dates: tuple[date, ...]
    frame: pl.DataFrame
    empties_dates: bool = False


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

    def attach(self, *, read_only: bool, as_known_at: datetime | None = None) -> str:
        """The statement that attaches this lake as `lake`, now or as it was known once.

        The data path given here counts, not the one noted at birth: a lake may be moved whole.
        """
        options = [
            f"DATA_PATH {_quoted(f'{self.data.as_posix()}/')}",
            "OVERRIDE_DATA_PATH true",
            "DATA_INLINING_ROW_LIMIT 0",
            "META_JOURNAL_MODE 'WAL'",
            "META_BUSY_TIMEOUT 10000",
            *(["READ_ONLY"] if read_only else []),
            *([f"SNAPSHOT_TIME '{as_known_at.isoformat()}'"] if as_known_at else []),
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


@dataclass(frozen=True)
class SliceResult:
    """What a commit did to one date of one table."""

    rows: int
    sha256: str | None
    changed: bool


@dataclass(frozen=True)
class CommitResult:
    """What a commit did; not `changed` when all content was already there."""

    slices: Mapping[str, Mapping[date, SliceResult]]
    changed: bool


@dataclass
class Plan:
    """One table's part of a commit: what stays, what is new, which dates empty."""

    table: Table
    kept: list[EncodedSlice]
    new: list[EncodedSlice]
    gone: list[date]
    paths: list[str] = field(default_factory=list)

    def results(self) -> dict[date, SliceResult]:
        """What the commit does to each date it changes or finds in place."""
        results = {e.day: SliceResult(e.rows, e.sha256, changed=False) for e in self.kept}
        results |= {e.day: SliceResult(e.rows, e.sha256, changed=True) for e in self.new}
        results |= {day: SliceResult(0, None, changed=True) for day in self.gone}
        return dict(sorted(results.items()))

    def story(self) -> dict[str, dict[str, Any]]:
        """The changed dates' row counts and hashes, for the commit message."""
        return {
            str(day): {"rows": result.rows, "sha256": result.sha256}
            for day, result in self.results().items()
            if result.changed
        }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def checked(part: Slice, market: Market) -> pl.DataFrame:
    """The slice's rows in their table's order, or `SliceRefused` saying what is wrong.

    Checks what the catalog does not: columns by name and type, rows inside the dates, no empty
    date unless meant, no duplicate key, and sources that belong to this market.
    """
    table, frame = part.table, part.frame
    where = table.full_name
    if part.dates:
        where += f" {min(part.dates)}..{max(part.dates)}"
    if dict(frame.schema) != table.schema:
        found = {n: str(t) for n, t in frame.schema.items() if table.schema.get(n) != t}
        missing = [n for n in table.schema if n not in frame.schema]
        raise SliceRefused(
            f"{where}: found columns {found} that are not declared so, and {missing} missing; "
            "expected exactly the table's columns and types. Use Table.conform()."
        )
    _check_dates(where, part)
    doubled = frame.filter(frame.select(table.key).is_duplicated())
    if doubled.height:
        sample = tuple(str(value) for value in doubled.select(table.key).row(0))
        raise SliceRefused(
            f"{where}: found {doubled.height} rows that share a key, such as {sample}; expected "
            f"one row per {', '.join(table.key)}."
        )
    if "source" in table.schema:
        foreign = sorted(map(str, set(frame["source"].unique()) - _SOURCES[market]))
        if foreign:
            raise SliceRefused(
                f"{where}: found rows whose source is {foreign}; a {market} lake accepts only "
                f"{sorted(_SOURCES[market])}. Real and simulated data never share a lake."
            )
    return canonical(table, frame)


def _check_dates(where: str, part: Slice) -> None:
    days = set(part.frame["trade_date"].unique())
    if outside := sorted(map(str, days - set(part.dates))):
        raise SliceRefused(
            f"{where}: found rows of {', '.join(outside[:3])}; expected only the slice's dates."
        )
    missing = sorted(map(str, set(part.dates) - days))
    if missing and not part.empties_dates:
        raise SliceRefused(
            f"{where}: found no rows for {', '.join(missing[:3])}; expected some. Leave the date "
            "out, or say that emptying it is meant."
        )


def canonical(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows in the one order they are stored in, whatever order they came in."""
    rest = [n for n in (*table.key, *table.schema) if n not in table.order]
    order = list(dict.fromkeys([*table.order, *rest]))
    return frame.select(list(table.schema)).sort(order, maintain_order=True).rechunk()


def encode(day: date, frame: pl.DataFrame, style: ParquetFormat) -> EncodedSlice:
    """Encode one date's rows; the same rows in the same order give the same bytes and hash."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
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
    return folder / f"{encoded.sha256[:HASH_CHARS]}-{uuid.uuid4().hex[:8]}.parquet"


def content_hash(path: str) -> str:
    """The hash part of a slice's file name (the whole stem of a foreign file)."""
    name = re.split(r"[/\\]", path)[-1]
    return name.removesuffix(".parquet").split("-")[0]


def same_content(path: str, encoded: EncodedSlice) -> bool:
    """Whether the file at `path` was written from the same content."""
    return content_hash(path) == encoded.sha256[:HASH_CHARS]


def day_of(path: str) -> date:
    """The date whose rows the file at `path` holds; `LakeError` when its name tells none."""
    found = re.search(r"[/\\]trade_date=(\d{4}-\d\d-\d\d)[/\\]", path)
    if found is None:
        raise LakeError(
            f"{path}: found no trade_date=YYYY-MM-DD folder in the path of a data file; expected "
            "one. Something other than optrade wrote to the lake: restore it from a backup."
        )
    return date.fromisoformat(found[1])


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
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents; a file in it outlives a crash only if they all do."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


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
