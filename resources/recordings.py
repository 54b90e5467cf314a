"""What the collector left of a day: segments, the instrument dump, the subscription, the journal.

Belongs here: finding and reading those files. Does not belong here: writing them (see `spool`,
`collector`), decoding frames (`optrade.formats.kite_frames`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from mmap import mmap
from pathlib import Path
from typing import Any

import dagster as dg

from optrade.calendar import IST
from optrade.subscription import Subscription
from resources.journal import read_journal
from resources.spool_segments import (
    SEALED,
    Segment,
    SpoolError,
    kept_file,
    parse_segment,
    sealed_segments,
    segment_content,
)

INSTRUMENTS = "instruments.csv"
SUBSCRIPTION = "subscription.json"
JOURNAL = "journal.jsonl"
_CLOCK_CHARS = len("HHMMSS")


class NothingRecorded(RuntimeError):
    """A day of which the collector left nothing, or too little to go on."""


@dataclass(frozen=True)
class Recorded:
    """One sealed segment: its frames, and what proves them.

    A file that is no segment has no frames, and says in `refusal` what was found.
    """

    name: str
    session: str
    segment: Segment
    refusal: str | None
    stored_as: str
    bytes: int
    lost_bytes: int
    sha256: str


@dataclass(frozen=True)
class RecordedDay:
    """The folder of one day; `home` is what stored paths are relative to.

    With `memory_map` segments are mapped while they are read, rather than copied.
    """

    home: Path
    folder: Path
    day: date
    memory_map: bool = False

    def sealed(self) -> list[str]:
        """Names of the sealed segments, in the order of their minutes."""
        return sorted(path.stem for path in sealed_segments(self.folder))

    def read(self, name: str) -> Recorded:
        """One segment, whole, with its hash: the same whether it is archived or not."""
        path = self.folder / f"{name}{SEALED}"
        torn = self.folder / f"{name}.torn"
        try:
            with segment_content(path, memory_map=self.memory_map) as content:
                size, sha256 = len(content), hashlib.sha256(content).hexdigest()
                segment, refusal = _parsed(content, path.name)
        except SpoolError as error:  # An archived file that is damaged.
            there = kept_file(path).read_bytes()
            size, sha256 = len(there), hashlib.sha256(there).hexdigest()
            segment, refusal = Segment([], [], 0, size), str(error)
        return Recorded(
            name=name,
            session=name.partition("-")[2],
            segment=segment,
            refusal=refusal,
            stored_as=path.relative_to(self.home).as_posix(),
            bytes=size,
            lost_bytes=segment.torn_bytes + (torn.stat().st_size if torn.exists() else 0),
            sha256=sha256,
        )

    def instruments(self) -> bytes | None:
        """The day's instrument dump as fetched; None where there is none."""
        path = self.folder / INSTRUMENTS
        return path.read_bytes() if path.exists() else None

    @property
    def subscribed(self) -> bool:
        """Whether the collector came so far as to say what it subscribed."""
        return (self.folder / SUBSCRIPTION).exists()

    def subscription(self) -> Subscription:
        """What was subscribed; `NothingRecorded` when the collector never came so far."""
        path = self.folder / SUBSCRIPTION
        if not self.subscribed:
            raise NothingRecorded(
                f"{path}: found no such file; expected the day's subscription. Ticks without it "
                "cannot be told apart: restore the folder from a backup, or collect that day."
            )
        return Subscription.from_json(path.read_text(encoding="utf-8"))

    def journal_bytes(self) -> int:
        """Size of the journal, which only grows: whether there is news in it."""
        path = self.folder / JOURNAL
        return path.stat().st_size if path.exists() else 0

    def journal(self) -> Sequence[dict[str, Any]]:
        """The collector's journal of the day, oldest first; empty where there is none."""
        path = self.folder / JOURNAL
        return read_journal(path) if path.exists() else []


def _parsed(content: bytes | mmap, name: str) -> tuple[Segment, str | None]:
    """A segment, or an empty one and why it is refused."""
    try:
        return parse_segment(content, name), None
    except SpoolError as error:
        return Segment([], [], 0, len(content)), str(error)


def heard_until(sealed: Sequence[str], day: date, seal_seconds: int) -> datetime | None:
    """The end of the last of a day's sealed segments, which are named by their beginning."""
    if not sealed:
        return None
    begun = datetime.strptime(max(sealed)[:_CLOCK_CHARS], "%H%M%S").time()  # noqa: DTZ007
    return datetime.combine(day, begun, IST) + timedelta(seconds=seal_seconds)


class Recordings(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The spool of one market."""

    home: str
    root: str
    memory_map: bool = False

    def day(self, day: date) -> RecordedDay:
        """What was left of a day, which may be nothing."""
        folder = Path(self.root) / day.isoformat()
        return RecordedDay(Path(self.home), folder, day, self.memory_map)

    @property
    def ending(self) -> Path:
        """A file that is there while the market is being stopped: nobody waits for more then."""
        return Path(self.home) / "ending"

    def days(self) -> list[date]:
        """Days of which there is a folder."""
        root = Path(self.root)
        names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        return [date.fromisoformat(name) for name in names if _is_day(name)]


def _is_day(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True
