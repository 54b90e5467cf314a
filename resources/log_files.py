"""Log files: a file a day, whole lines from several processes, old days compressed.

Belongs here: how lines reach the disk, and what becomes of finished files. Does not belong here:
what a line says (see `logs`).
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
import uuid
import zlib
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

import filelock

from optrade.tables import IST

_DAY = re.compile(r".+-(\d{4}-\d{2}-\d{2})\.(?:jsonl|out)")
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
_CHUNK = 1 << 20


class LogError(ValueError):
    """A log that cannot be set up or compressed; the message says which and what to do."""


def day_of(seconds: float) -> date:
    """The day in India of a moment in seconds since 1970."""
    return datetime.fromtimestamp(seconds, ZoneInfo(IST)).date()


class DailyFile(logging.Handler):
    """Appends each record to `<root>/<component>-<day>.jsonl`, the day of the record in India.

    The file is opened for every line: a process that lives for months changes files at midnight,
    and a file that was moved away is begun anew. One line is one append, so that processes
    writing to one file never mix; a line torn by a crash is ended before the next one.
    """

    def __init__(self, root: Path, component: str) -> None:
        super().__init__()
        self.root, self.component = root, component
        self._begun: Path | None = None

    def path(self, day: date) -> Path:
        """The file of a day."""
        return self.root / f"{self.component}-{day}.jsonl"

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; trouble is told on standard error as by any handler."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            self._append(self.path(day_of(record.created)), line)
        except Exception:  # noqa: BLE001 (whoever logs must not fail; what went wrong is printed)
            self.handleError(record)

    def _append(self, path: Path, line: bytes) -> None:
        with _one_writer(path):
            if self._begun != path:
                path.parent.mkdir(parents=True, exist_ok=True)
                line = line if _ends_whole(path) else b"\n" + line
                self._begun = path
            handle = os.open(path, _APPEND, 0o644)
            try:
                written = os.write(handle, line)
            finally:
                os.close(handle)
        if written != len(line):
            self._begun = None
            raise OSError(f"{path}: only {written} of {len(line)} bytes were written")


def _one_writer(path: Path) -> AbstractContextManager[object]:
    """Only Windows needs a lock: elsewhere the operating system keeps appends apart."""
    if os.name != "nt":
        return nullcontext()
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _ends_whole(path: Path) -> bool:
    """Whether a file is absent, empty or ends with a line's end."""
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


def set_aside(path: Path) -> None:
    """Give `<name>.out` of an earlier day its date, `<name>-<day>.out`, so a new one begins."""
    if not path.exists():
        return
    day = day_of(path.stat().st_mtime)
    dated = path.with_name(f"{path.stem}-{day}{path.suffix}")
    if day < datetime.now(ZoneInfo(IST)).date() and not dated.exists():
        path.rename(dated)


def compress_old(log_root: Path, days: int, today: date | None = None) -> list[Path]:
    """Compress the files of days more than `days` before `today` (now in India unless given).

    Each `<name>-<day>.jsonl` or `.out` becomes `….gz`. The plain file goes only after the
    compressed one was synced to disk, read back and found equal byte for byte. Returns the
    compressed files. Raises `LogError` when some could not be (the others are done; nothing is
    lost), `ValueError` for fewer than one day.
    """
    if days < 1:
        raise ValueError(f"found {days} days; expected 1 or more, for today's files are in use")
    if not log_root.is_dir():
        return []
    now = today or datetime.now(ZoneInfo(IST)).date()
    done, failed = [], []
    with filelock.FileLock(log_root / ".compress.lock"):
        for plain in sorted(log_root.iterdir()):
            found = _DAY.fullmatch(plain.name)
            if found is None or (now - date.fromisoformat(found[1])).days <= days:
                continue
            try:
                done.append(_compress(plain))
            except (OSError, EOFError, zlib.error) as error:
                failed.append(f"{plain} stays as it is: {error}")
    if failed:
        failed.append("Free the disk, or move a damaged .gz file away, and compress again.")
        raise LogError("\n".join(failed))
    return done


def _compress(plain: Path) -> Path:
    """Replace a file by its compressed content, added to what is compressed of it already."""
    packed = plain.with_name(f"{plain.name}.gz")
    if not (packed.exists() and _holds(packed, plain)):
        part = packed.with_name(f".{packed.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with part.open("wb") as out:
                _write_packed(out, packed, plain)
            if not _holds(part, plain):
                raise OSError("it changed while it was compressed, or the disk is at fault")
            part.replace(packed)
        finally:
            part.unlink(missing_ok=True)
    plain.unlink()
    return packed


def _write_packed(out: BinaryIO, packed: Path, plain: Path) -> None:
    if packed.exists():
        with packed.open("rb") as before:
            shutil.copyfileobj(before, out, _CHUNK)
    with plain.open("rb") as content, gzip.GzipFile(plain.name, "wb", fileobj=out) as zipped:
        shutil.copyfileobj(content, zipped, _CHUNK)
    out.flush()
    os.fsync(out.fileno())


def _holds(packed: Path, plain: Path) -> bool:
    """Whether what `packed` holds, all of it readable, ends with the content of `plain`."""
    with gzip.open(packed) as inside, plain.open("rb") as outside:
        start = inside.seek(0, os.SEEK_END) - plain.stat().st_size
        if start < 0:
            return False
        inside.seek(start)
        pairs = zip_longest(
            iter(lambda: inside.read(_CHUNK), b""), iter(lambda: outside.read(_CHUNK), b"")
        )
        return all(one == other for one, other in pairs)
