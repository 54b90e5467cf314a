"""The spool: files of what a collector heard that survive its death.

Belongs here: the files of one day, writing them, sealing them, saving what a dead collector left.
Does not belong here: the format of a file (see `spool_segments`), what happened meanwhile (see
`journal`).
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final, Self

import filelock

from resources.lake_files import sync_folder, write_durably
from resources.spool_segments import (
    BINARY,
    HEAD_BYTES,
    HEADER,
    SEALED,
    TEXT,
    Record,
    Sealed,
    Segment,
    SpoolError,
    kept_file,
    microseconds,
    moment,
    read_records,
    read_segment,
    record_head,
    sealed_segments,
)

__all__ = [
    "BINARY",
    "TEXT",
    "Record",
    "Sealed",
    "Segment",
    "SpoolError",
    "SpoolWriter",
    "microseconds",
    "moment",
    "read_records",
    "read_segment",
    "recover",
    "sealed_segments",
]

MOST_WAITING: Final = 64 * 2**20
"""So many bytes wait in memory for a disk that refuses them; a frame more is refused."""
_INDIA = 19_800_000_000
_BINARY_FILE = getattr(os, "O_BINARY", 0)


def recover(folder: Path) -> list[Sealed]:
    """Seal what a dead collector left open in `folder`; tells what was there.

    A torn tail is cut off and kept beside it as `<name>.torn`. May be killed and repeated at any
    point. Raises `SpoolError` when a collector is at work in that folder.
    """
    lock = _only_writer(folder)
    try:
        return _recover(folder)
    finally:
        lock.release()


def _recover(folder: Path) -> list[Sealed]:
    return [_recover_one(path) for path in sorted(folder.glob("*.open"))]


def _recover_one(path: Path) -> Sealed:
    content = path.read_bytes()
    sealed = Sealed(path.stem)
    valid = 0
    if content.startswith(HEADER):
        for end, record in read_records(content, path.name):
            sealed.add(record.received_at, record.kind, len(record.payload))
            valid = end
    torn = path.with_suffix(".torn")
    if valid < len(content):
        write_durably(torn, content[valid:])
        with path.open("r+b") as handle:
            handle.truncate(valid)
            os.fsync(handle.fileno())
    sealed.bytes = valid
    sealed.lost_bytes = torn.stat().st_size if torn.exists() else 0
    if valid:
        sealed.path = path.rename(path.with_suffix(SEALED))
    else:
        path.unlink()
    sync_folder(path.parent)
    return sealed


def _only_writer(folder: Path) -> filelock.BaseFileLock:
    """The lock of a day's folder, held; the operating system frees it when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".write.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise SpoolError(
            f"{folder}: found another collector writing there; expected none. One collector "
            "serves a market: stop the other one first (Ctrl-C in its terminal)."
        ) from error
    return lock


@dataclass
class _Part:
    """A segment that is being written. Only the thread that holds the disk touches the file."""

    path: Path
    slot: int
    told: Sealed
    waiting: bytearray = field(default_factory=lambda: bytearray(HEADER))
    file: int | None = None
    written: int = 0
    synced: int = 0

    def write(self, content: bytearray) -> None:
        """Write at the end of what is known to be whole: a half-done attempt is overwritten."""
        if self.file is None:
            self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | _BINARY_FILE, 0o644)
            sync_folder(self.path.parent)
        os.lseek(self.file, self.written, os.SEEK_SET)
        with memoryview(content) as view:
            done = 0
            while done < len(view):
                done += os.write(self.file, view[done:])
        self.written += done

    def sync(self) -> None:
        """Force what is written to the disk."""
        if self.file is not None and self.synced < self.written:
            os.fsync(self.file)
            self.synced = self.written

    def seal(self) -> Sealed:
        """Give it its final name."""
        self.close()
        self.told.path = self.path.with_suffix(SEALED)
        if not self.told.path.exists():
            self.path.rename(self.told.path)
        sync_folder(self.path.parent)
        self.told.bytes = self.written
        return self.told

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


class SpoolWriter:
    """The one writer of a day's folder; `append` may be called from any thread.

    A thread of its own hands frames to the operating system every `flush_seconds`, forces them to
    the disk every `fsync_seconds` and seals segments, whether frames arrive or not. A segment
    ends with the last frame that arrived before a multiple of `seal_seconds` past the hour.

    When the disk refuses, what was flushed stays whole, frames wait in memory (`trouble` says so)
    and are written once it takes them again. `recovered` is what a dead collector had left here.
    Raises `SpoolError` when another collector is at work in the folder.
    """

    def __init__(
        self,
        folder: Path,
        session: str,
        *,
        flush_seconds: float = 0.2,
        fsync_seconds: float = 1.0,
        seal_seconds: int = 60,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._folder, self._session = folder, session
        self._flush_seconds, self._fsync_seconds = flush_seconds, fsync_seconds
        self._seal_seconds = seal_seconds
        self._most_waiting = most_waiting
        self._lock = _only_writer(folder)
        try:
            self.recovered = _recover(folder)
        except BaseException:
            self._lock.release()
            raise
        self.sealed: queue.SimpleQueue[Sealed] = queue.SimpleQueue()
        """Each sealed segment, for who wants to know."""
        self.trouble: SpoolError | None = None
        """Why the disk refuses just now; None while all is well."""
        self._memory, self._disk = threading.Lock(), threading.Lock()
        self._parts: deque[_Part] = deque()
        self._waiting = 0
        self._next_sync = 0.0
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"spool-{session}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, kind: int, socket: int, received_at_us: int, payload: bytes) -> None:
        """Take one frame.

        Raises `SpoolError` when the writer is closed, or when the disk has refused for so long
        that memory is full: then this frame is lost and the caller has to say so.
        """
        head = record_head(received_at_us, kind, socket, payload)
        with self._memory:
            if self._closing.is_set() or not self._thread.is_alive():
                raise SpoolError(f"{self._folder}: found its writer closed; open a new one.")
            if self._waiting >= self._most_waiting:
                raise self.trouble or SpoolError(
                    f"{self._folder}: found {self._waiting:,} bytes waiting for a disk that is too "
                    "slow. Collect fewer instruments, or put the spool on a faster disk."
                )
            part = self._part(received_at_us)
            part.waiting += head
            part.waiting += payload
            part.told.add(received_at_us, kind, len(payload))
            self._waiting += HEAD_BYTES + len(payload)
        if not self._flush_seconds:
            with suppress(SpoolError):  # `trouble` tells; the frame waits.
                self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system; `SpoolError` when it refuses."""
        self._to_disk(self._flush)

    def seal(self, now_us: int | None = None) -> None:
        """Seal the open segment, if its time was over at `now_us`; None means at once.

        Raises `SpoolError` when the disk refuses; it is then tried again later.
        """
        with self._memory:
            if not self._parts or (
                now_us is not None and self._slot(now_us) <= self._parts[-1].slot
            ):
                return
            self._parts[-1].slot = -1
        self.flush()

    def close(self) -> None:
        """Seal the open segment and let others write here.

        Raises `SpoolError` when the disk refuses; what it took is then recovered by the next
        writer.
        """
        with self._memory:
            if self._closing.is_set():
                return
            self._closing.set()
        self._wake.set()
        self._thread.join()
        try:
            self.seal()
        finally:
            for part in self._parts:
                part.close()
            self._lock.release()

    def _part(self, received_at: int) -> _Part:
        """The segment this frame belongs to. A clock set back does not begin another one."""
        slot = self._slot(received_at)
        if self._parts and self._parts[-1].slot >= slot:
            return self._parts[-1]
        for extra in count():
            name = f"{moment(slot) + timedelta(seconds=extra):%H%M%S}-{self._session}"
            path = self._folder / f"{name}.open"
            taken = path.exists() or kept_file(path.with_suffix(SEALED)).exists()
            if not taken and all(part.path != path for part in self._parts):
                break
        self._parts.append(_Part(path, slot, Sealed(name)))
        self._waiting += len(HEADER)
        self._wake.set()
        return self._parts[-1]

    def _slot(self, at: int) -> int:
        """Start of a segment's time: a multiple of `seal_seconds` past the hour in India."""
        hour = (at + _INDIA) % 3_600_000_000
        return at - hour % (self._seal_seconds * 1_000_000)

    def _work(self) -> None:
        pause = min(filter(None, (self._flush_seconds, self._fsync_seconds)), default=1.0)
        while not self._closing.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self.flush()
            except SpoolError:
                self._closing.wait(min(pause, 0.2))  # `trouble` tells; the frames wait.

    def _to_disk(self, act: Callable[[], None]) -> None:
        with self._disk:
            try:
                act()
            except OSError as error:
                self.trouble = SpoolError(
                    f"{self._folder}: the disk refused frames ({error.strerror or error}); "
                    f"{self._waiting:,} bytes wait in memory. Make room: they are written then."
                )
                raise self.trouble from error
            self.trouble = None

    def _flush(self) -> None:
        """Write what waits, oldest segment first; seal those that are over."""
        while True:
            with self._memory:
                if not self._parts:
                    return
                part = self._parts[0]
                over = len(self._parts) > 1 or part.slot < 0
                chunk, part.waiting = part.waiting, bytearray()
            try:
                if chunk:
                    part.write(chunk)
            except OSError:
                with self._memory:
                    part.waiting = chunk + part.waiting
                raise
            with self._memory:
                self._waiting -= len(chunk)
            if not over:
                break
            part.sync()
            self.sealed.put(part.seal())
            with self._memory:
                self._parts.popleft()
        if time.monotonic() >= self._next_sync:
            part.sync()
            self._next_sync = time.monotonic() + self._fsync_seconds
