"""Taking a backup of a market's home while its writers go on.

Belongs here: what of a home is kept, in which order, and the proof that what is taken is whole.
Does not belong here: the store (see `backup_store`), putting back (see `restore`).

Order makes it consistent. Dagster's databases come first, so that a restored Dagster never claims
what the restored lake has not got. Then, under the lake's writer lock, the catalog alone is
copied. All files it names are immutable and on the disk already, and nothing is ever expired, so
they are copied after the lock is free; what arrives meanwhile is more than the catalog speaks of,
never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

from resources.backup_store import BackupError, BackupStore, BytesDiffer, Entry, Manifest
from resources.lake import Lake
from resources.lake_catalog import (
    CatalogFile,
    Snapshot,
    catalog_files,
    changed_history,
    damage,
    snapshots,
)
from resources.lake_files import LakeLocation
from resources.lake_slices import HASH_CHARS, bytes_hash

CATALOG_PATH: Final = "lake/catalog.sqlite"
DATA, DAGSTER = "lake/data", "dagster"
_TREES: Final = ("lake/files", "spool", "exchange")
_JOURNAL = ".jsonl"
_UNFINISHED = ".open"
_RAW_HASH = re.compile(r"([0-9a-f]{16})-.+")
_DATA_HASH = re.compile(rf"[0-9a-f]{{{HASH_CHARS}}}")


@dataclass(frozen=True)
class Taken:
    """What a backup did: files and bytes that were new to the store."""

    manifest: Manifest
    copied_files: int
    copied_bytes: int


@dataclass
class _Basket:
    """What is taken so far; `before` is the backup before this one."""

    store: BackupStore
    home: Path
    before: Manifest | None
    verify: bool
    files: dict[str, Entry] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def immutable(self, path: str) -> None:
        """Take a file that never changes; one that is not whole any more comes from before."""
        source, promised = self.home / path, promised_hash(path)
        entry = self.before.files.get(path) if self.before else None
        held = entry is not None and self.store.has(entry, verify=self.verify)
        try:
            if entry and held and _unchanged(source, entry):
                self.files[path] = entry
                return
            self.files[path] = self.store.put_file(source, promised, verify=self.verify)
        except (FileNotFoundError, BytesDiffer) as error:
            if entry and held and entry.sha256.startswith(promised):
                self.files[path] = entry
                return
            self.lost[path] = str(error) if isinstance(error, BytesDiffer) else "it is not there"

    def database(self, path: str) -> None:
        """Take a database of Dagster's."""
        with self.store.database(self.home / path) as copy:
            if found := damage(copy):
                raise BackupError(
                    f"{self.home / path}: found a damaged database ({found}). Run "
                    "`optrade recover` first; earlier backups stand."
                )
            self.files[path] = self.store.put_file(copy, verify=self.verify)


def promised_hash(path: str) -> str:
    """The start of a file's SHA-256 as its name tells it; empty where it does not."""
    name = PurePosixPath(path).name
    if path.startswith(f"{DATA}/"):
        found = bytes_hash(name)
        return found if _DATA_HASH.fullmatch(found) else ""
    kept = _RAW_HASH.fullmatch(name)
    return kept[1] if path.startswith("lake/files/") and kept else ""


def take_backup(
    home: Path, store: BackupStore, *, lock_timeout_seconds: float = 120.0, verify: bool = False
) -> Taken:
    """Back up a market's `home` into `store`; with `verify` every stored byte is read again.

    What the home lacks of its lake is taken from the backup before; what no backup has either is
    named in the manifest's `lost`.

    Raises `BackupError` when nothing is there, the catalog is damaged or the disk refuses,
    `LakeError` when the lake is of the other market or its writer lock cannot be had. There is
    no new backup then, and earlier ones stand.
    """
    if not home.is_dir():
        raise BackupError(f"{home}: found no such folder; expected a market's home to back up.")
    if store.root.is_relative_to(home):
        raise BackupError(
            f"{store.root}: found the backups inside {home}, which they are of; expected a folder "
            "outside of it, best on another disk."
        )
    with store.writing():
        basket = _Basket(store, home, store.newest(), verify)
        for path in sorted((home / DAGSTER).rglob("*.db")):
            basket.database(path.relative_to(home).as_posix())
        last = None
        location = LakeLocation(home / "lake", store.market)
        if location.exists():
            files, last = _take_catalog(basket, location, lock_timeout_seconds)
            for file in files:
                basket.immutable(f"{DATA}/{file.path}")
        elif location.data.is_dir():
            raise BackupError(
                f"{location.catalog}: found no catalog beside the tables' files; expected it. Run "
                "`optrade recover` first; earlier backups stand."
            )
        for name in kept_files(home):
            if name.endswith(_JOURNAL):
                basket.files[name] = store.put_bytes(_whole_lines(home / name))
            else:
                basket.immutable(name)
        manifest = Manifest(
            market=store.market,
            taken_at=datetime.now(UTC),
            optrade=version("optrade"),
            snapshot_id=last.id if last else None,
            snapshot_at=last.at if last else None,
            files=basket.files,
            lost=basket.lost,
        )
        store.publish(manifest)
    return Taken(manifest, store.copied_files, store.copied_bytes)


def _take_catalog(
    basket: _Basket, location: LakeLocation, lock_timeout_seconds: float
) -> tuple[list[CatalogFile], Snapshot]:
    """Take the catalog; gives the files it names and its newest snapshot.

    Only the copying holds the writer lock.
    """
    with Lake.open(location, read_only=True, lock_timeout_seconds=lock_timeout_seconds):
        pass  # A lake of the other market, or one that cannot be read, is refused here.
    with ExitStack() as stack:
        with location.writer_lock(lock_timeout_seconds):
            copy = stack.enter_context(basket.store.database(location.catalog))
        found = damage(copy)
        if not found and basket.before and (old := basket.before.files.get(CATALOG_PATH)):
            found = changed_history(copy, basket.store.object(old.sha256))
        if found:
            raise BackupError(
                f"{location.catalog}: found it damaged ({found}). Run `optrade recover` first; "
                "earlier backups stand."
            )
        basket.files[CATALOG_PATH] = basket.store.put_file(copy, verify=basket.verify)
        return catalog_files(copy), snapshots(copy)[-1]


def kept_files(home: Path) -> Iterator[str]:
    """What is kept beside lake tables and databases: raw files, the spool, a simulated exchange.

    Hidden files (locks, half-written ones) and segments still written are left out.
    """
    for tree in _TREES:
        for path in sorted((home / tree).rglob("*")):
            relative = path.relative_to(home)
            hidden = any(part.startswith(".") for part in relative.parts)
            if not hidden and path.suffix != _UNFINISHED and path.is_file():
                yield relative.as_posix()


def _unchanged(source: Path, entry: Entry) -> bool:
    stat = source.stat()
    return (stat.st_size, stat.st_mtime_ns) == (entry.bytes, entry.modified_ns)


def _whole_lines(path: Path) -> bytes:
    """A journal without the line that is being written."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]
