"""Finding what of a market's home is damaged, and mending what can be mended.

Belongs here: holding every file against what proves it, putting back from a backup, naming what
has to be made anew. Does not belong here: making it anew (see `optrade_dagster.recover`), the
checks of a whole restore (see `restore`).

What is damaged is moved aside, never deleted: to `<market>/recovery/<time>/`, under its own path.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Final

import duckdb

from optrade.tables import TABLES
from optrade.tables.quality import RECORD
from optrade.tables.raw import SOURCE_FILES
from optrade.tables.raw_live import TICK_SEGMENTS
from resources.backup import CATALOG_PATH, DAGSTER, DATA, kept_files, promised_hash
from resources.backup_store import BackupError, BackupStore, Entry, Manifest, file_sha256
from resources.lake import Lake
from resources.lake_catalog import (
    CatalogFile,
    catalog_files,
    changed_history,
    damage,
    give_up,
    given_up,
    put_to_use,
)
from resources.lake_files import LakeLocation, write_durably
from resources.lake_slices import LakeError, day_of
from resources.lake_upkeep import WrongMarket
from resources.recovery_findings import Finding, Found, State
from resources.restore import verify_lake
from resources.spool_segments import (
    ARCHIVED,
    SpoolError,
    kept_file,
    read_segment,
    segment_bytes,
)

RECOVERY: Final = "recovery"
Reads = Callable[[str], bool]
"""Whether the bytes of a file (its path in the home) are read, or its size alone is looked at."""
_MAGIC = b"PAR1"
_ZST: Final = ".zst"


def _as_sealed(path: str) -> str:
    """The path a segment was sealed under, also of one that is archived since."""
    return path.removesuffix(_ZST) if path.endswith(ARCHIVED) else path


def recover(
    home: Path,
    store: BackupStore | None,
    location: LakeLocation,
    *,
    dry_run: bool = False,
    lock_timeout_seconds: float = 120.0,
) -> Found:
    """Verify every byte of a home that something can prove, and mend it unless `dry_run`.

    Without a `store` only what proves itself is checked, and nothing can be put back. Nothing
    else of this market should run meanwhile; the writer lock is held.

    Raises `BackupError` when there is no such home or the newest manifest is damaged,
    `WrongMarket` for a lake of the other market, `LakeError` when the writer lock cannot be had.
    """
    if not home.is_dir() or not any(home.iterdir()):
        raise BackupError(
            f"{home}: found nothing there; expected a market's home. Use `optrade restore`."
        )
    held = nullcontext() if dry_run else location.writer_lock(lock_timeout_seconds)
    if not dry_run:
        location.prepare()
    with held:
        work = _Recovery(home, store, location, dry_run)
        work.refuse_other_market()
        work.databases()
        catalog = work.catalog()
        if catalog is not None:
            work.data_files(catalog)
        work.kept(work.expected() if catalog == location.catalog else {})
        if catalog == location.catalog:
            work.lake()
    return work.found


def look(
    home: Path, store: BackupStore | None, location: LakeLocation, reads: Reads
) -> list[Finding]:
    """What of a home that works is damaged now: catalog, live data files, kept files, segments.

    Nothing is changed and no lock is held. Sizes are looked at always, bytes of the files that
    `reads` picks. With a damaged catalog nothing but that is told: it says what the rest should
    be. Raises as `recover`.
    """
    work = _Recovery(home, store, location, dry_run=True, reads=reads)
    catalog = work.catalog()
    if catalog is None or work.found.findings:
        return work.found.findings
    work.data_files(catalog, live_only=True)
    work.kept(work.expected(), all_=False)
    return work.found.findings


class _Recovery:
    """One recovery under way."""

    def __init__(
        self,
        home: Path,
        store: BackupStore | None,
        location: LakeLocation,
        dry_run: bool,
        reads: Reads = lambda _: True,
    ) -> None:
        self.home, self.store, self.location, self.dry_run = home, store, location, dry_run
        self._reads = reads
        self.found = Found()
        self._aside = home / RECOVERY / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._names = store.names()[::-1] if store else []
        self._loaded: dict[str, Manifest] = {}
        self._newest = next(self._manifests(), None)

    def refuse_other_market(self) -> None:
        """Leave a lake alone that was born in the other market; other trouble is looked at."""
        try:
            if self.location.exists() and damage(self.location.catalog) is None:
                with Lake.open(self.location, read_only=True, lock_timeout_seconds=0):
                    pass  # Whoever mends holds the lock, so that none can be waited for.
        except WrongMarket:
            raise
        except (LakeError, duckdb.Error):
            return  # What it is will be found file by file.

    def databases(self) -> None:
        """Dagster's databases."""
        for path in sorted((self.home / DAGSTER).rglob("*.db")):
            self.found.checked += 1
            if wrong := damage(path):
                name = path.relative_to(self.home).as_posix()
                if not self._put_back(name, wrong):
                    self._aside_with_journal(name)
                    self._tell(name, wrong, "moved aside; Dagster begins a new history", "lost")

    def catalog(self) -> Path | None:
        """A catalog to go by: the home's, mended if need be; None when there is none at all."""
        here = self.location.catalog
        self.found.checked += 1
        if not here.exists():
            known = self._newest is not None and CATALOG_PATH in self._newest.files
            if not known and not any(self.location.data.rglob("*.parquet")):
                return None  # There never was a lake.
            wrong: str | None = "it is not there"
        else:
            wrong = damage(here)
        entry = self._newest.files.get(CATALOG_PATH) if self._newest else None
        if entry and self.store and not self.store.has(entry, verify=True):
            raise BackupError(
                f"{self.store.root}: the newest backup's catalog was damaged. Give another copy "
                "of the backups with --from."
            )
        if not wrong and entry and self.store:
            wrong = changed_history(here, self.store.object(entry.sha256))
        if not wrong:
            return here
        if entry and self.store:
            self._mend_catalog(self.store, entry, wrong)
            return self.store.object(entry.sha256) if self.dry_run else here
        self._without_catalog(wrong)
        return None

    def _mend_catalog(self, store: BackupStore, entry: Entry, wrong: str) -> None:
        """Put the newest backup's catalog back; what was committed since is to be made anew."""
        self._aside_with_journal(CATALOG_PATH)
        if not self.dry_run:
            store.fetch(entry, self.location.catalog)
            put_to_use(self.location.catalog)
        told = f"from the backup {self._names[0]}; what was committed later is made anew"
        self._tell(CATALOG_PATH, wrong, told, "mended")
        known = {file.path for file in catalog_files(store.object(entry.sha256))}
        for path in sorted(self.location.data.rglob("trade_date=*/*.parquet")):
            name = path.relative_to(self.location.data).as_posix()
            table = ".".join(name.split("/")[:2])
            if name not in known and table in TABLES:
                self._again(table, f"{DATA}/{name}", "committed after the backup")

    def _without_catalog(self, wrong: str) -> None:
        """No catalog and no backup: the tables begin anew from what is kept."""
        self._aside_with_journal(CATALOG_PATH)
        self._move_aside(DATA)
        told = (
            "no backup has it: earlier states of the lake are lost; it is moved aside with the "
            "tables' files, and the tables are made anew from what is kept"
        )
        self._tell(CATALOG_PATH, wrong, told, "lost")
        for path in kept_files(self.home):
            tree, *rest = Path(path).parts
            if path.startswith("lake/files/"):
                self.found.again[SOURCE_FILES.full_name].add(date.fromisoformat(rest[-2]))
            elif tree == "spool" and path.removesuffix(_ZST).endswith(".seg"):
                self.found.again[TICK_SEGMENTS.full_name].add(date.fromisoformat(rest[0]))

    def data_files(self, catalog: Path, *, live_only: bool = False) -> None:
        """Every file of every snapshot; live ones that are lost are given up, to be made anew."""
        lost: list[CatalogFile] = []
        known = given_up(catalog)
        for file in catalog_files(catalog):
            if live_only and file.ended_at is not None:
                continue
            path = f"{DATA}/{file.path}"
            self.found.checked += 1
            wrong = self._wrong_bytes(path, size=file.bytes)
            if wrong is None or self._put_back(path, wrong) or file.path in known:
                continue
            self._move_aside(path)
            if file.ended_at is not None:
                text = "no backup has it; only earlier states of the lake (--as-known-at) miss it"
                self._tell(path, wrong, text, "lost")
            elif file.table not in TABLES:
                self._tell(path, wrong, "no backup has it, and nothing makes it anew", "lost")
            else:
                lost.append(file)
                self._again(file.table, path, wrong)
        if lost and not self.dry_run:
            give_up(catalog, lost, f"give up {len(lost)} lost files")

    def _again(self, table: str, path: str, found: str) -> None:
        """Rows of a live file that no backup has: made anew, where anything makes them."""
        if TABLES[table] in RECORD:  # Nothing makes what was judged then a second time.
            self._tell(path, found, "no backup has it: what was judged then is not known", "lost")
        else:
            self._tell(path, found, "no backup has it; its rows are made anew", "again")
            self.found.again[table].add(day_of(path))

    def expected(self) -> dict[str, tuple[str, date]]:
        """SHA-256 and date of each kept file that the lake speaks of, by path in the home."""
        found: dict[str, tuple[str, date]] = {}
        try:
            with Lake.open(self.location, read_only=True) as lake:
                for table, folder, column in (
                    (SOURCE_FILES, "lake/", "sha256"),
                    (TICK_SEGMENTS, "", "source_sha256"),
                ):
                    rows = lake.sql(
                        f"SELECT stored_as, {column}, trade_date FROM {table.full_name} "
                        "WHERE stored_as IS NOT NULL"
                    ).rows()
                    found |= {f"{folder}{path}": (sha256, day) for path, sha256, day in rows}
        except (LakeError, duckdb.Error) as error:
            if not (self.dry_run and self.found.findings):  # Then it is known why.
                self._tell(
                    "lake", str(error).splitlines()[0], "cannot be asked for its files", "lost"
                )
        return found

    def kept(self, expected: dict[str, tuple[str, date]], *, all_: bool = True) -> None:
        """Raw files and the spool: those of the lake; with `all_` of the last backup, on disk."""
        saved = self._newest.files if self._newest else {}
        others = ("lake/data/", f"{DAGSTER}/")
        beside = [path for path in saved if not path.startswith(others)]
        more = {_as_sealed(path) for path in (*kept_files(self.home), *beside)} if all_ else set()
        for path in sorted((more | set(expected)) - {CATALOG_PATH}):
            self.found.checked += 1
            if path.endswith(".jsonl"):
                self._journal(path, saved.get(path))
                continue
            sha256, day = expected.get(path, ("", None))
            if not sha256 and path in saved and path.endswith((".seg", ".torn")):
                sha256 = saved[path].sha256
            wrong = self._wrong_bytes(path, sha256=sha256) or self._wrong_frames(path)
            if wrong is None or self._put_back(path, wrong):
                continue
            self._move_aside(path)
            if path.startswith("lake/files/") and day is not None:
                self._tell(path, wrong, "no backup has it; it is fetched again", "again")
                self.found.again[SOURCE_FILES.full_name].add(day)
            elif day is not None:
                self._tell(path, wrong, "no backup has it; its rows stay in the lake", "lost")
            else:
                self._tell(path, wrong, "no backup has it", "lost")

    def lake(self) -> None:
        """The lake as a whole: DuckLake reads it, and it is what its commits state."""
        if self.dry_run and self.found.findings:
            return  # It is known to be damaged, and was not mended.
        gone = {finding.path for finding in self.found.lost}
        try:
            verify_lake(self.location, gone)
        except (LakeError, duckdb.Error) as error:
            self._tell("lake", str(error).splitlines()[0], "restore a backup elsewhere", "lost")

    def _journal(self, path: str, entry: Entry | None) -> None:
        """A journal only grows: the backup's must be its beginning."""
        if entry is None or self.store is None or not self.store.has(entry, verify=True):
            return
        here = self.home / path
        before = self.store.object(entry.sha256).read_bytes()
        now = here.read_bytes() if here.exists() else b""
        if now.startswith(before):
            return
        self._move_aside(path)
        if not self.dry_run:
            write_durably(here, before + now[len(before) :])
        found = "its beginning changed" if now else "it is not there"
        self._tell(path, found, "its beginning is the backup's again", "mended")

    def _wrong_bytes(self, path: str, *, size: int | None = None, sha256: str = "") -> str | None:
        here = kept_file(self.home / path) if path.endswith(".seg") else self.home / path
        if not here.is_file():
            return "it is not there"
        found = here.stat().st_size
        if size is not None and found != size:
            return f"it has {found:,} bytes, expected {size:,}"
        if not self._reads(path):
            return None
        if here.suffix == _ZST:
            return self._wrong_archived(path, sha256)
        promised = sha256 or promised_hash(path) or self._saved_hash(path)
        if promised and not (got := file_sha256(here)).startswith(promised):
            return f"its SHA-256 is {got[:16]}…, expected {promised[:16]}…"
        if size is not None and not promised and not here.read_bytes().endswith(_MAGIC):
            return "it is no Parquet file"
        return None

    def _wrong_archived(self, path: str, sha256: str) -> str | None:
        """What is wrong with the archived file in a segment's place."""
        try:
            content = segment_bytes(self.home / path)
        except SpoolError as error:
            return str(error)
        got = hashlib.sha256(content).hexdigest()
        told = f"it unpacks to SHA-256 {got[:16]}…, expected {sha256[:16]}…"
        return told if sha256 and got != sha256 else None

    def _saved_hash(self, path: str) -> str:
        """The hash a backup has of a data file whose name does not tell it."""
        if not path.startswith(f"{DATA}/"):
            return ""
        return next((m.files[path].sha256 for m in self._manifests() if path in m.files), "")

    def _wrong_frames(self, path: str) -> str | None:
        if not path.endswith(".seg") or not self._reads(path):
            return None
        try:
            torn = read_segment(self.home / path).torn_bytes
        except SpoolError as error:
            return str(error)
        return f"its last {torn:,} bytes do not agree with their checksums" if torn else None

    def _put_back(self, path: str, wrong: str) -> bool:
        """Put a file back from the newest backup that has it whole."""
        for manifest in self._manifests():
            name = f"{path}{_ZST}" if f"{path}{_ZST}" in manifest.files else path
            entry = manifest.files.get(name)
            if not entry or not self.store or not self.store.has(entry, verify=True):
                continue
            if not entry.sha256.startswith(promised_hash(path)):
                continue
            self._aside_with_journal(path, name)
            if not self.dry_run:
                self.store.fetch(entry, self.home / name)
            self._tell(path, wrong, f"from the backup {manifest.name}", "mended")
            return True
        return False

    def _manifests(self) -> Iterator[Manifest]:
        for name in self._names:
            if name not in self._loaded and self.store:
                self._loaded[name] = self.store.load(name)
            yield self._loaded[name]

    def _aside_with_journal(self, *paths: str) -> None:
        for path, tail in product(paths, ("", "-wal", "-shm", "-journal")):
            self._move_aside(path + tail)

    def _move_aside(self, path: str) -> None:
        here = self.home / path
        if self.dry_run or not here.exists():
            return
        there = self._aside / path
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(here, there)
        self.found.aside = self._aside

    def _tell(self, path: str, found: str, done: str, state: State) -> None:
        self.found.findings.append(Finding(path, found, done, state))
