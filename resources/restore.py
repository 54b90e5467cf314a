"""Putting a backup back: into an empty home, every byte proven, at any moment since the beginning.

Belongs here: restoring and verifying what was restored. Does not belong here: taking backups (see
`backup`), mending a home that is damaged (see `recovery`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from resources.backup import CATALOG_PATH, DAGSTER, DATA
from resources.backup_store import BackupError, BackupStore, Manifest
from resources.lake import Lake
from resources.lake_catalog import catalog_files, put_to_use, rewind, snapshots, statements
from resources.lake_files import LakeLocation, sync_folder
from resources.lake_slices import HASH_CHARS, content_hash, day_of

_SHOWN = 5


@dataclass(frozen=True)
class Restored:
    """What was put back; `bytes` without the catalog's.

    `rewound`: the lake is of an earlier moment than the backup. `lost` as in the manifest.
    """

    manifest: Manifest
    home: Path
    files: int
    bytes: int
    snapshot_id: int | None
    rewound: bool
    lost: dict[str, str]


def choose(store: BackupStore, at: datetime | None) -> Manifest:
    """The newest backup, or the first one that knows all of the moment `at` (timezone-aware).

    Raises `BackupError` when there is none, or none taken at or after `at`.
    """
    names = store.names()
    if not names:
        raise BackupError(
            f"{store.root}: found no backup there; expected one made by `optrade backup`. Give "
            "the folder that was given to it, and the market by OPTRADE_MARKET."
        )
    if at is None:
        return store.load(names[-1])
    for name in names:
        manifest = store.load(name)
        if manifest.taken_at >= at:
            return manifest
    raise BackupError(
        f"{store.root}: the newest backup is of {store.load(names[-1]).taken_at.isoformat()}; "
        f"found none taken since {at.isoformat()}, which alone would know that moment. Ask for an "
        "earlier one, or leave --at out for the newest."
    )


def restore(
    store: BackupStore, manifest: Manifest, home: Path, *, at: datetime | None = None
) -> Restored:
    """Put a backup back as the market's `home`, which must be empty or not there.

    With `at` the lake is that of its newest snapshot at or before that moment, and Dagster's
    databases, which tell of later runs, are left out. All is written beside `home`, verified
    there, and becomes `home` at the very end.

    Raises `BackupError` when `home` holds anything, or content of the backup is not what its
    manifest says, or the disk refuses; `home` is then as before.
    """
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(
            f"{home}: found files in it; expected nothing, because a restore never writes over "
            "what is there. Give another folder with --to, or move this one away."
        )
    draft = home.with_name(f".{home.name}.restoring")
    try:
        if draft.exists():
            shutil.rmtree(draft)  # Of a restore that was killed; nothing else has that name.
        draft.mkdir(parents=True)
        restored = replace(_fill(store, manifest, draft, at), home=home)
        for folder, _, _ in os.walk(draft, topdown=False):
            sync_folder(Path(folder))
        if home.exists():
            home.rmdir()
        draft.rename(home)
        sync_folder(home.parent)
    except OSError as error:
        raise BackupError(
            f"{home}: nothing was restored: {error}. If the disk is full, free some space; then "
            "run again."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return restored


def _fill(store: BackupStore, manifest: Manifest, draft: Path, at: datetime | None) -> Restored:
    files, lost, snapshot = dict(manifest.files), dict(manifest.lost), manifest.snapshot_id
    if CATALOG_PATH in files:
        catalog = draft / CATALOG_PATH
        store.fetch(files.pop(CATALOG_PATH), catalog)
        put_to_use(catalog)
        snapshot = _go_back(catalog, at)
        known = {f"{DATA}/{file.path}" for file in catalog_files(catalog)}
        lost = {path: why for path, why in lost.items() if _wanted(path, known)}
        files = {path: entry for path, entry in files.items() if _wanted(path, known)}
        if missing := sorted(known - set(files) - set(lost)):
            raise BackupError(f"{store.root}: the backup lacks {missing[:_SHOWN]}. Use another.")
    if rewound := snapshot != manifest.snapshot_id:
        files = {path: e for path, e in files.items() if not path.startswith(f"{DAGSTER}/")}
    for path, entry in files.items():
        store.fetch(entry, draft / path)
    if snapshot is not None:
        location = LakeLocation(draft / "lake", manifest.market)
        location.data.mkdir(parents=True, exist_ok=True)
        verify_lake(location, set(lost))
    return Restored(
        manifest=manifest,
        home=draft,
        files=len(files) + (snapshot is not None),
        bytes=sum(entry.bytes for entry in files.values()),
        snapshot_id=snapshot,
        rewound=rewound,
        lost=lost,
    )


def _go_back(catalog: Path, at: datetime | None) -> int:
    """Rewind a catalog to `at`; the id of its newest snapshot then."""
    found = snapshots(catalog)
    last = found[-1].id
    if at is None:
        return last
    then = [snapshot.id for snapshot in found if snapshot.at <= at]
    if not then:
        raise BackupError(
            f"Nothing was known yet at {at.isoformat()}: the lake's first snapshot is of "
            f"{found[0].at.isoformat()}. Ask for a later moment."
        )
    if then[-1] != last:
        rewind(catalog, then[-1])
    return then[-1]


def _wanted(path: str, known: set[str]) -> bool:
    return not path.startswith(f"{DATA}/") or path in known


def verify_lake(location: LakeLocation, lost: set[str]) -> None:
    """Hold a lake against what its commit messages state; `lost` paths are known to be missing.

    Every live file is opened and its rows are counted; a date's rows and content hash must be
    those that the newest commit about it states. Raises `BackupError` naming what differs.
    """
    counted = {
        f"{DATA}/{file.path}": file.rows
        for file in catalog_files(location.catalog)
        if file.ended_at is None and f"{DATA}/{file.path}" not in lost
    }
    held: dict[tuple[str, str], list[str]] = {}
    dates_lost = {_table_and_day(path) for path in lost if "/trade_date=" in path}
    with Lake.open(location, read_only=True) as lake:
        paths = [(location.root.parent / path).as_posix() for path in counted]
        rows = dict(
            lake.sql("SELECT file_name, num_rows FROM parquet_file_metadata(?)", [paths]).rows()
            if paths
            else []
        )
        for path, expected in counted.items():
            found = rows[(location.root.parent / path).as_posix()]
            if found != expected:
                raise BackupError(f"{path}: found {found} rows; expected {expected}.")
            if "/trade_date=" in path:
                held.setdefault(_table_and_day(path), []).append(path)
    for at, said in statements(location.catalog).items():
        files = held.get(at, [])
        if at in dates_lost or said.parts or (said.sha256 is None and not files):
            continue
        if [content_hash(path) for path in files] != [str(said.sha256)[:HASH_CHARS]]:
            raise BackupError(
                f"{at[0]} {at[1]}: found the files {files[:_SHOWN]}; expected one whose content "
                f"hash is {str(said.sha256)[:HASH_CHARS]}, as its commit states."
            )
        if counted[files[0]] != said.rows:
            raise BackupError(
                f"{at[0]} {at[1]}: found {counted[files[0]]} rows; its commit states {said.rows}."
            )


def _table_and_day(path: str) -> tuple[str, str]:
    _, _, group, table, *_ = path.split("/")
    return f"{group}.{table}", day_of(path).isoformat()
