"""A store of backups: each file's content once, named by its SHA-256, and a manifest per backup.

Belongs here: what a store holds and how it becomes durable, reading it back with proof. Does not
belong here: what of a home is kept (see `backup`), putting it back (see `restore`).

    <root>/<market>/
      objects/3f/3fa1…                     content, by SHA-256; never changed
      manifests/20261123T071530.120304Z.json   one backup: every file's path, size and hash

A manifest is written last, whole or not at all, so a backup that was killed is not there; what
it had copied is found by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import filelock

from resources.lake_catalog import copy_database
from resources.lake_files import sync_folder, write_durably
from resources.lake_slices import LakeError, Market

FORMAT: Final = 1
_CHUNK = 2**20
_PART = ".part"


class BackupError(LakeError):
    """A backup that cannot be made, read or put back; says why and what to do."""


class BytesDiffer(RuntimeError):
    """A file whose bytes are not those that its name or a manifest promises."""


@dataclass(frozen=True)
class Entry:
    """One file of a backup; `modified_ns` tells whether the home's is still the same."""

    bytes: int
    sha256: str
    modified_ns: int


@dataclass(frozen=True)
class Manifest:
    """One backup. Paths are relative to the market's home.

    `snapshot_id` and `snapshot_at` are the newest of the lake in it, None without a lake. `lost`
    are files the lake speaks of that the home did not hold whole, each with what was found.
    """

    market: Market
    taken_at: datetime
    optrade: str
    snapshot_id: int | None
    snapshot_at: datetime | None
    files: Mapping[str, Entry]
    lost: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name in the store; names sort by time."""
        return f"{self.taken_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"

    def to_json(self) -> str:
        """As text, with a checksum over all of it; a file is a line."""
        body: dict[str, Any] = asdict(self) | {
            "format": FORMAT,
            "taken_at": self.taken_at.isoformat(),
            "snapshot_at": self.snapshot_at.isoformat() if self.snapshot_at else None,
            "files": {
                path: [entry.bytes, entry.sha256, entry.modified_ns]
                for path, entry in sorted(self.files.items())
            },
        }
        return json.dumps({"sha256": _sha256(body), "backup": body}, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back; `ValueError` when it is not as it was written."""
        whole = json.loads(text)
        if not isinstance(whole, dict) or set(whole) != {"sha256", "backup"}:
            raise ValueError("found no manifest in it")
        body = whole["backup"]
        if (found := _sha256(body)) != whole["sha256"]:
            raise ValueError(f"its checksum is {found[:16]}…, and it says {whole['sha256'][:16]}…")
        if (version := body.pop("format")) != FORMAT:
            raise ValueError(f"it has format {version}; this optrade reads {FORMAT}")
        at = body["snapshot_at"]
        body |= {
            "taken_at": datetime.fromisoformat(body["taken_at"]),
            "snapshot_at": datetime.fromisoformat(at) if at else None,
            "files": {path: Entry(*entry) for path, entry in body["files"].items()},
        }
        return cls(**body)


def _sha256(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class BackupStore:
    """The backups of one market under `root`.

    Methods that write raise `OSError` or `sqlite3.Error` as the disk gives them; `writing` turns
    both into a `BackupError`.
    """

    def __init__(self, root: Path, market: Market) -> None:
        self.market: Market = market
        self.root = root.absolute() / market
        self._objects, self._manifests = self.root / "objects", self.root / "manifests"
        self._unsynced: set[Path] = set()
        self.copied_files = self.copied_bytes = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one that writes here; trouble with the disk is told as `BackupError`.

        Removes what a killed backup left half written.
        """
        try:
            for folder in (self._objects, self._manifests):
                folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.root / ".write.lock", timeout=0):
                for folder in (self._objects, self._manifests):
                    for part in folder.glob(f".*{_PART}*"):
                        part.unlink()
                self.copied_files = self.copied_bytes = 0
                yield
        except filelock.Timeout as error:
            raise BackupError(
                f"{self.root}: found another backup writing there; expected none. Wait for it."
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise BackupError(
                f"{self.root}: the backup was not made: {error}. Earlier backups stand. If the "
                "disk is full, free some space; then run again."
            ) from error

    def names(self) -> list[str]:
        """Names of the backups, oldest first."""
        return sorted(path.stem for path in self._manifests.glob("*.json"))

    def load(self, name: str) -> Manifest:
        """The manifest of a backup.

        Raises `BackupError` when it is damaged or of the other market.
        """
        path = self._manifests / f"{name}.json"
        try:
            manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BackupError(
                f"{path}: cannot be read as a backup's manifest: {error}. Use another backup: "
                f"{', '.join(n for n in self.names() if n != name) or 'there is none'}."
            ) from error
        if manifest.market != self.market:
            raise BackupError(
                f"{path}: found a backup of the {manifest.market} market; expected "
                f"{self.market}. Real and simulated data never share a home."
            )
        return manifest

    def newest(self) -> Manifest | None:
        """The last backup that was made; None where there is none."""
        names = self.names()
        return self.load(names[-1]) if names else None

    def object(self, sha256: str) -> Path:
        """Where content of that hash lies."""
        return self._objects / sha256[:2] / sha256

    def has(self, entry: Entry, *, verify: bool = False) -> bool:
        """Whether an entry's content is here; with `verify` every byte of it is read."""
        path = self.object(entry.sha256)
        if not path.is_file() or path.stat().st_size != entry.bytes:
            return False
        return not verify or file_sha256(path) == entry.sha256

    def put_file(self, source: Path, promised: str = "", *, verify: bool = False) -> Entry:
        """Take a file in.

        Raises `BytesDiffer` when its hash does not begin with `promised`, `FileNotFoundError`
        when it is not there.
        """
        stat = source.stat()
        part = self._part()
        try:
            with source.open("rb") as origin, part.open("wb") as copy:
                sha256, size = _pour(origin, copy)
            return self._adopt(part, Entry(size, sha256, stat.st_mtime_ns), promised, verify)
        finally:
            part.unlink(missing_ok=True)

    def put_bytes(self, content: bytes) -> Entry:
        """Take bytes in."""
        part = self._part()
        try:
            with part.open("wb") as copy:
                copy.write(content)
                copy.flush()
                os.fsync(copy.fileno())
            entry = Entry(len(content), hashlib.sha256(content).hexdigest(), 0)
            return self._adopt(part, entry, "", verify=False)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def database(self, source: Path) -> Iterator[Path]:
        """A copy of a database that others may be writing to, to be looked at and then put."""
        part = self._part()
        try:
            copy_database(source, part)
            yield part
        finally:
            for path in part.parent.glob(f"{part.name}*"):
                path.unlink()

    def publish(self, manifest: Manifest) -> None:
        """Make a backup be there, after all it names is on the disk."""
        for folder in sorted(self._unsynced):
            sync_folder(folder)
        sync_folder(self._objects)
        sync_folder(self.root)
        path = self._manifests / f"{manifest.name}.json"
        write_durably(path, manifest.to_json().encode())

    def fetch(self, entry: Entry, target: Path) -> None:
        """Write an entry's content durably to `target`, which appears only when it is proven.

        Raises `BackupError` when the store's bytes are gone or not those of the entry.
        """
        origin = self.object(entry.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{_PART}")
        try:
            with origin.open("rb") as content, part.open("wb") as copy:
                sha256, size = _pour(content, copy)
            if (size, sha256) != (entry.bytes, entry.sha256):
                raise BackupError(
                    f"{origin}: found {size:,} bytes with SHA-256 {sha256[:16]}…; expected "
                    f"{entry.bytes:,} with {entry.sha256[:16]}…, for {target.name}. The backup "
                    "was damaged: run `optrade backup --verify` where the file is still whole, "
                    "or use another copy of the backups."
                )
            if entry.modified_ns:
                os.utime(part, ns=(entry.modified_ns, entry.modified_ns))
            part.replace(target)
        except FileNotFoundError as error:
            raise BackupError(
                f"{origin}: found no such file; expected the content of {target.name}. The backup "
                "was damaged: use another copy of it."
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _part(self) -> Path:
        return self._objects / f".{uuid.uuid4().hex}{_PART}"

    def _adopt(self, part: Path, entry: Entry, promised: str, verify: bool) -> Entry:
        if not entry.sha256.startswith(promised):
            raise BytesDiffer(f"its SHA-256 is {entry.sha256[:32]}, expected {promised}")
        if not self.has(entry, verify=verify):
            target = self.object(entry.sha256)
            target.parent.mkdir(exist_ok=True)
            part.replace(target)
            self._unsynced.add(target.parent)
            self.copied_files += 1
            self.copied_bytes += entry.bytes
        return entry


def _pour(origin: BinaryIO, copy: BinaryIO) -> tuple[str, int]:
    """Copy to the disk; gives hash and size of what was copied."""
    digest, size = hashlib.sha256(), 0
    while chunk := origin.read(_CHUNK):
        copy.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    copy.flush()
    os.fsync(copy.fileno())
    return digest.hexdigest(), size


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
