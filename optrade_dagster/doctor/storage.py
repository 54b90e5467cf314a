"""Probes of the lake: whether it opens, its catalog, its files, its lock.

Belongs here: what a lake must be before its rows matter. Does not belong here: the rows (see
`feed`), the disk (see `machine`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from optrade.tables import TABLES
from optrade_dagster.doctor.probe import Probe, Seen, Sight, amount, bad, ok, warning
from resources.lake_upkeep import LAYOUT
from resources.looking import birth, fault_of, look_into, stored_files
from resources.processes import LOCKS, halted, lives, lock_holder

NO_LAKE: Final = "no lake yet"
LOOKS, LOOK_SECONDS = 4, 0.5
"""A commit holds the lock for a moment: who holds it at each look, two seconds apart, hangs."""


def _lake(sight: Sight) -> Iterator[Seen]:
    location = sight.location
    if not location.exists():
        found = any(location.data.rglob("*.parquet")) if location.data.is_dir() else False
        made = f"{location.data} holds files, and {location.catalog.name} is not there"
        yield bad(made, "catalog") if found else ok("not set up yet")
        return
    with look_into(location.catalog) as catalog:
        born = birth(catalog, location)
        if born is None:
            yield bad("it was begun but never finished", "half_made")
            return
        market, layout = born
        known = {file.table for file in stored_files(catalog, location) if file.live}
    if market != location.market:
        yield bad(f"it was born {market}; asked for {location.market}", "markets")
    elif layout != LAYOUT:
        yield bad(f"it has layout {layout}; this optrade reads {LAYOUT}", "other_version")
    elif strange := sorted(known - set(TABLES) - {"optrade.birth"}):
        yield bad(f"it holds tables that are not declared: {', '.join(strange)}", "other_version")
    else:
        yield ok(f"{market}, rows in {len(known) - 1} of {len(TABLES)} tables")


def _catalog(sight: Sight) -> Iterator[Seen]:
    location = sight.location
    if not location.exists():
        yield ok(NO_LAKE)
        return
    with look_into(location.catalog) as catalog:
        fault = fault_of(catalog)
    size = amount(location.catalog.stat().st_size)
    yield bad(f"{location.catalog}: {fault}") if fault else ok(f"{size}, nothing found in it")


def _data_files(sight: Sight) -> Iterator[Seen]:
    location = sight.location
    if not location.exists():
        yield ok(NO_LAKE)
        return
    with look_into(location.catalog) as catalog:
        if birth(catalog, location) is None:
            yield ok("none yet")
            return
        files = [f for kind in ("data", "delete") for f in stored_files(catalog, location, kind)]
    sizes = {file: file.path.stat().st_size if file.path.is_file() else None for file in files}
    wrong = [file for file, size in sizes.items() if size != file.size_bytes]
    if not wrong:
        live = sum(file.live for file in files)
        stored = amount(sum(file.size_bytes for file in files))
        yield ok(f"{len(files):,} files, {live:,} of them live, {stored}")
        return
    first = wrong[0]
    gone = sum(sizes[file] is None for file in wrong)
    yield bad(
        f"{gone:,} missing and {len(wrong) - gone:,} of another size, of {len(files):,} "
        f"({sum(file.live for file in wrong):,} live), such as {first.path}"
    )


def _lock(sight: Sight) -> Iterator[Seen]:
    lock = sight.location.lock
    if not lock.exists():
        yield ok("free")
        return
    if not LOCKS.exists():
        yield ok("this system does not tell who holds it")
        return
    holder = lock_holder(lock)
    for _ in range(LOOKS):
        if holder is None:
            break
        if halted(holder) or not lives(holder):
            yield bad(f"process {holder} holds it and is halted or dead")
            return
        time.sleep(LOOK_SECONDS)
        if lock_holder(lock) != holder:
            holder = None
    held = f"process {holder} has held it for {LOOKS * LOOK_SECONDS:.0f} s or longer"
    yield ok("free, or held for a moment") if holder is None else warning(held)


PROBES: Final = (
    Probe("lake", "catalog", _lake),
    Probe("catalog", "catalog", _catalog),
    Probe("data files", "data_files", _data_files),
    Probe("writer lock", "lock", _lock),
)
