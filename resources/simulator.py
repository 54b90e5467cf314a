"""The simulated exchange on disk: an archive tree that stands in for the real host.

Belongs here: writing the files of `optrade.simulation` where the archive would keep them, and
the marker that keeps them from being taken for real ones. Does not belong here: the market
model, the files' contents, and reading them (`resources.nse` fetches from such a folder).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from optrade.calendar import TradingCalendar
from optrade.simulation import (
    GENERATOR_VERSION,
    UNDERLYINGS,
    SimulationError,
    Underlying,
    simulate,
)

MARKER = "SIMULATED.json"
"""Stands at the root of every simulated tree, from before its first file is written."""

Progress = Callable[[int, int, date], None]
"""Called after each day: days done, days in all, the day."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_exchange` did: days in the tree, files written and files left alone."""

    days: int
    written: int
    unchanged: int


def write_exchange(
    root: Path,
    days: Sequence[date],
    seed: int,
    *,
    underlyings: Sequence[Underlying] = UNDERLYINGS,
    calendar: TradingCalendar | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the exchange's files of `days` under `root`, at the archive host's paths.

    Run it again with the same first day and more days to extend the tree: the path continues,
    files already there with the same bytes are not touched, damaged ones are replaced. Each
    file appears whole or not at all.

    `days` and `underlyings` as in `optrade.simulation.market_days`. Raises `SimulationError`
    for the same faults, and when `root` holds files without a marker or those of another
    simulation; then nothing is written.
    """
    published = simulate(days, seed, underlyings=underlyings, calendar=calendar)
    marker = {
        "source": "simulated",
        "seed": seed,
        "generator_version": GENERATOR_VERSION,
        "first": days[0].isoformat(),
        "underlyings": [u.symbol for u in underlyings],
    }
    last = _check_root(root, marker)
    written = unchanged = 0
    for done, day in enumerate(published, 1):
        last = max(last, day.day.isoformat())
        _write(root / MARKER, (json.dumps({**marker, "last": last}, indent=2) + "\n").encode())
        for path, data in day.files.items():
            fresh = _write(root / path, data)
            written += fresh
            unchanged += not fresh
        if progress is not None:
            progress(done, len(days), day.day)
    return Written(len(days), written, unchanged)


def read_marker(root: Path) -> dict[str, Any] | None:
    """Return the marker of a simulated tree; None where there is none.

    Keys: source, seed, generator_version, first, last (the last day begun), underlyings.
    Raises `SimulationError` when a marker is there but is not one of ours.
    """
    path = root / MARKER
    if not path.exists():
        return None
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        if marker["source"] != "simulated":
            raise SimulationError(f"{path}: source {marker['source']!r}, expected 'simulated'")
    except (ValueError, KeyError, TypeError) as error:
        raise SimulationError(f"{path} can't be read ({error}): use another folder") from error
    return dict(marker)


def next_session(root: Path, calendar: TradingCalendar, otherwise: date) -> date:
    """The trading day after the last one published under `root`; `otherwise` where none was."""
    marker = read_marker(root)
    if marker is None:
        return otherwise
    last = date.fromisoformat(marker["last"])
    return calendar.sessions(last, calendar.last)[1]


def _check_root(root: Path, wanted: dict[str, Any]) -> str:
    """Return the last day already there (ISO, or nothing); refuse a folder that is not ours."""
    held = read_marker(root)
    if held is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise SimulationError(
                f"{root} holds files but no {MARKER}; simulated files never go among others: "
                "choose an empty folder"
            )
        return ""
    other = [name for name, value in wanted.items() if held.get(name) != value]
    if other:
        found = ", ".join(f"{name} {held.get(name)!r}" for name in other)
        asked = ", ".join(f"{name} {wanted[name]!r}" for name in other)
        raise SimulationError(
            f"{root} holds another simulation ({found}; asked for {asked}): ask for the same to "
            "extend it, or choose an empty folder"
        )
    return str(held.get("last", ""))


def _write(path: Path, data: bytes) -> bool:
    """Put the bytes there in one step unless they already are; True when written."""
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return True
