"""Archiving the spool: segments of old days become compressed files that hold the same bytes.

Belongs here: which segments, and swapping each for its proven copy. Does not belong here: the
format of an archived segment and reading one (see `spool_segments`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import filelock

from resources.lake_files import sync_folder, write_durably
from resources.spool_segments import ARCHIVED, SEALED, SpoolError, pack, unpack


@dataclass(frozen=True)
class ArchivedSegment:
    """What archiving a segment did; `refusal` says why it could not, and it stays as it was."""

    path: Path
    bytes_before: int
    bytes_after: int
    refusal: str | None = None


def archive_old_segments(root: Path, before: date, level: int) -> Iterator[ArchivedSegment]:
    """Archive the sealed segments of the days before a date, in place.

    The original goes only after the archived file was synced to disk, read back and found equal
    byte for byte. A day's folder that a collector writes to is refused whole.
    """
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not _is_before(folder.name, before):
            continue
        sealed = sorted(folder.glob(f"*{SEALED}"))
        if not sealed:
            continue
        try:
            with filelock.FileLock(folder / ".write.lock", timeout=0):
                yield from (_archived(path, level) for path in sealed)
        except filelock.Timeout:
            yield ArchivedSegment(
                folder, 0, 0, f"{folder}: found a collector writing there; expected none"
            )


def _archived(path: Path, level: int) -> ArchivedSegment:
    before = path.stat().st_size
    try:
        after = _archive(path, level)
    except (OSError, SpoolError) as error:
        return ArchivedSegment(path, before, before, f"{path} stays as it is: {error}")
    return ArchivedSegment(path, before, after)


def _archive(path: Path, level: int) -> int:
    """Replace a segment by its archived file, whose size it gives."""
    content, target = path.read_bytes(), path.with_suffix(ARCHIVED)
    if not target.exists() or _held(target) is None:  # Else a kill came before the last step.
        write_durably(target, pack(content, level))
    if _held(target) != content:
        raise SpoolError(
            f"{target.name} does not decode to its bytes. The disk or the memory is at fault, or "
            "one of the two was changed: compare them, and move the wrong one away."
        )
    path.unlink()
    sync_folder(path.parent)
    return target.stat().st_size


def _held(target: Path) -> bytes | None:
    """What an archived file decodes to; None when it is damaged."""
    try:
        return unpack(target.read_bytes(), target.name)
    except SpoolError:
        return None


def _is_before(name: str, before: date) -> bool:
    try:
        return date.fromisoformat(name) < before
    except ValueError:
        return False
