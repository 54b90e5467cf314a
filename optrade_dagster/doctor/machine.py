"""Probes of the machine: Python, packages, the home, its disk, the calendar, the archive, ports.

Belongs here: what must be right before any data matter. Does not belong here: the lake (see
`storage`), Dagster (see `running`), the live feed (see `feed`).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from optrade_dagster.doctor.probe import Probe, Seen, Sight, amount, bad, ok, warning
from optrade_dagster.supervisor import answers
from resources.duckdb_connection import extension_path

PYTHON: Final = (3, 11)
CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"
EXTENSIONS: Final = ("ducklake", "sqlite_scanner")
LEAST_BYTES: Final = 2_000_000_000
"""A commit of a full day and half an hour of a full feed's frames still fit."""
FEW_BYTES: Final = 10_000_000_000
LEAST_FILES: Final = 20_000
"""A session's minutes, runs and their logs: about 30 files a minute before they are compacted."""
MOST_LOG_BYTES: Final = 5_000_000_000
ENDS_WITHIN_DAYS: Final = 30
LOOPBACK_SECONDS: Final = 2.0


def _python(_: Sight) -> Iterator[Seen]:
    found = ".".join(map(str, sys.version_info[:3]))
    right = sys.version_info[:2] == PYTHON
    yield ok(found) if right else bad(f"found {found}; expected 3.11")


def _packages(_: Sight) -> Iterator[Seen]:
    if not CONSTRAINTS.is_file():
        yield warning(f"found no {CONSTRAINTS.name} beside the code, so no pins to compare with")
        return
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    have = {_plain(d.name): d.version for d in importlib.metadata.distributions() if d.name}
    other = [
        f"{name} {have[_plain(name)]} for {version}"
        for name, version in pins.items()
        if have.get(_plain(name), version) != version
    ]
    missing = [name for name in _needed() if _plain(name) not in have]
    missing += [name for name in EXTENSIONS if not Path(extension_path(name)).is_file()]
    if missing:
        yield bad(f"not installed: {', '.join(missing)}")
    elif other:
        yield warning(f"not as pinned: {_some(other)}")
    else:
        yield ok(f"{len(pins)} pins, none contradicted")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed() -> list[str]:
    """Names of the packages that optrade itself asks for."""
    asked = importlib.metadata.requires("optrade") or []
    return [re.split(r"[\[=<>~!; ]", line)[0] for line in asked if "extra ==" not in line]


def _some(words: list[str]) -> str:
    rest = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + rest


def _home(sight: Sight) -> Iterator[Seen]:
    home = sight.settings.home
    place = _existing(home)
    if not place.is_dir():
        yield bad(f"{place} is a file; expected a folder")
    elif not os.access(place, os.W_OK | os.X_OK):
        yield bad(f"{place} cannot be written by this user")
    else:
        yield ok(f"{home}" if place == home else f"{home}: not set up yet, can be made")


def _existing(path: Path) -> Path:
    """The path itself, or what there is of it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _free_space(sight: Sight) -> Iterator[Seen]:
    place = _existing(sight.settings.market_home)
    free = shutil.disk_usage(place).free
    days = sorted(sight.settings.spool_root.glob("????-??-??"))[-10:]
    largest = max(map(folder_bytes, days), default=0)
    told = f"{amount(free)} free" + (f", the largest day took {amount(largest)}" if largest else "")
    if free < LEAST_BYTES:
        yield bad(f"{told}; expected {amount(LEAST_BYTES)}")
    elif free < max(FEW_BYTES, 2 * largest):
        yield warning(f"{told}; expected {amount(max(FEW_BYTES, 2 * largest))}")
    else:
        yield ok(told)


def folder_bytes(folder: Path) -> int:
    """Size of the files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _inodes(sight: Sight) -> Iterator[Seen]:
    place = _existing(sight.settings.market_home)
    if not hasattr(os, "statvfs"):
        yield ok("this system does not count them")
        return
    disk = os.statvfs(place)
    if disk.f_files and disk.f_favail < LEAST_FILES:
        yield bad(f"room for {disk.f_favail:,} files; expected {LEAST_FILES:,}")
    else:
        yield ok(f"room for {disk.f_favail:,} files" if disk.f_files else "not limited")


def _logs(sight: Sight) -> Iterator[Seen]:
    root = sight.settings.log_root
    size = folder_bytes(root) if root.is_dir() else 0
    told = f"{amount(size)} in {root}"
    yield ok(told) if size <= MOST_LOG_BYTES else warning(f"{told}; over {amount(MOST_LOG_BYTES)}")


def _calendar(sight: Sight) -> Iterator[Seen]:
    calendar, today = sight.calendar, sight.clock.now().date()
    told = f"{calendar.first} to {calendar.last}"
    left = (calendar.last - today).days
    if not calendar.first <= today <= calendar.last:
        yield bad(f"it knows {told}; today is {today}")
    elif left < ENDS_WITHIN_DAYS:
        yield warning(f"it knows {told}: {left} days are left")
    elif calendar.provisional_from and today >= calendar.provisional_from:
        yield warning(f"holidays from {calendar.provisional_from} on are provisional")
    else:
        yield ok(told)


def _archive(sight: Sight) -> Iterator[Seen]:
    place = sight.settings.archive_url
    if not place.startswith(("http://", "https://")):
        ours = Path(place) == sight.settings.exchange_root
        if Path(place).is_dir():
            yield ok(place)
        elif ours and not sight.settings.lake_root.exists():
            yield ok(f"{place}: not set up yet")
        else:
            yield bad(f"{place}: found no such folder")
    elif not sight.network:
        yield ok(f"{place}: not asked (--network asks it)")
    else:
        yield _asked(sight, place)


def _asked(sight: Sight, place: str) -> Seen:
    nse = sight.settings.nse
    try:
        answer = httpx.get(
            place, headers={"User-Agent": nse.user_agent}, timeout=min(nse.timeout_seconds, 10)
        )
    except httpx.HTTPError as error:
        return bad(f"{place}: no answer ({type(error).__name__}: {error})")
    told = f"{place}: HTTP {answer.status_code}"
    refused = answer.status_code in (401, 403, 429) or answer.status_code >= 500
    return bad(told) if refused else ok(told)


def _ports(sight: Sight) -> Iterator[Seen]:
    settings = sight.settings
    wanted = [(sight.port, "the web UI", is_ours(sight))]
    if settings.market == "simulated":
        wanted.append((settings.simulator.port, "the broker", settings.clock_file.exists()))
    elif settings.kite.api_key:
        wanted.append((settings.kite.redirect_port, "the login's redirect", False))
    taken = [(number, user) for number, user, ours in wanted if not ours and answers(number)()]
    for number, user in taken:
        yield bad(f"somebody else listens on {number}, meant for {user}")
    if not taken:
        yield ok(", ".join(f"{number} {'ours' if ours else 'free'}" for number, _, ours in wanted))


def is_ours(sight: Sight) -> bool:
    """Whether a Dagster over this market's home answers on the web UI's port."""
    if not answers(sight.port)():
        return False
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{sight.port}/graphql",
            json={"query": "{ instance { info } }"},
            timeout=LOOPBACK_SECONDS,
            trust_env=False,
        )
    except httpx.HTTPError:  # Whatever listens there, it is no Dagster.
        return False
    return str(sight.settings.dagster_home) in answer.text


PROBES: Final = (
    Probe("python", "python", _python),
    Probe("packages", "python", _packages),
    Probe("home", "home", _home),
    Probe("free space", "disk", _free_space),
    Probe("inodes", "inodes", _inodes),
    Probe("calendar", "calendar", _calendar),
    Probe("exchange archive", "archive", _archive),
    Probe("ports", "port", _ports),
    Probe("logs", "logs", _logs),
)
