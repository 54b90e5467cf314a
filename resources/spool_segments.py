"""Segments of the spool: what a collector heard, byte for byte, as it lies in a file.

Belongs here: the format of a segment, reading one, finding those of a day. Does not belong here:
writing and recovering them (see `spool`), what a frame means (`optrade.formats.kite_frames`).

A file is a header of 16 bytes, then records: length of the payload, checksum, time of arrival
(microseconds since 1970, UTC), kind, number of the websocket; then the payload. It is called
`<HHMMSS>-<session>.open` while it is written and `.seg` once it is sealed.

Archived it is `.seg.zst`: one zstd frame, then a skippable frame (which `zstd -d` passes over)
with the length of the segment and its SHA-256, for zstd alone does not notice every flipped bit.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from optrade.calendar import IST

BINARY: Final = 0
TEXT: Final = 1
SEALED: Final = ".seg"
ARCHIVED: Final = ".seg.zst"
HEADER: Final = struct.pack("<8sII", b"OPTRSPL1", 1, 0)
_LEAD = struct.Struct("<II")
_TAIL = struct.Struct("<qBB")
HEAD_BYTES: Final = _LEAD.size + _TAIL.size
_PROOF: Final = struct.Struct("<IIQ32s")
_PROOF_HEAD: Final = (0x184D2A50, _PROOF.size - 8)
"""A zstd skippable frame: its mark, and the bytes that follow."""
_MOST_BYTES: Final = 1 << 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SpoolError(ValueError):
    """A spool that cannot be written or read; says what was found and what to do."""


class Record(NamedTuple):
    """One frame as it arrived; `kind` is `BINARY` or `TEXT`."""

    received_at: int
    kind: int
    socket: int
    payload: bytes


@dataclass(frozen=True)
class Segment:
    """What a segment holds: (microseconds since 1970 UTC, payload) in order of arrival.

    `frames` are binary, heartbeats included. `torn_bytes` follow the last whole record: above 0
    in a file that is still written or was torn; in a sealed one it means damage.
    """

    frames: list[tuple[int, bytes]]
    texts: list[tuple[int, str]]
    valid_bytes: int
    torn_bytes: int


@dataclass
class Sealed:
    """A segment that is now sealed, or saved from a dead collector, and a count of its frames.

    `lost_bytes` of a torn last record are kept beside it in `<name>.torn`. `path` is None where
    nothing but torn bytes was left.
    """

    name: str
    path: Path | None = None
    frames: int = 0
    heartbeats: int = 0
    texts: int = 0
    first_received_at: int | None = None
    last_received_at: int | None = None
    bytes: int = 0
    lost_bytes: int = 0

    @property
    def session(self) -> str:
        """The collector's session that wrote it."""
        return self.name.split("-", 1)[1]

    def add(self, received_at: int, kind: int, size: int) -> None:
        """Count one record whose payload has `size` bytes."""
        if kind == TEXT:
            self.texts += 1
        elif size == 1:
            self.heartbeats += 1
        else:
            self.frames += 1
        if self.first_received_at is None:
            self.first_received_at = received_at
        self.last_received_at = received_at


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds_: int) -> datetime:
    """The other way round: aware, Asia/Kolkata."""
    return (_EPOCH + timedelta(microseconds=microseconds_)).astimezone(IST)


def record_head(received_at: int, kind: int, socket: int, payload: bytes) -> bytes:
    """What stands before the payload of a record."""
    tail = _TAIL.pack(received_at, kind, socket)
    return _LEAD.pack(len(payload), zlib.crc32(payload, zlib.crc32(tail))) + tail


def read_records(content: bytes | mmap, name: str) -> Iterator[tuple[int, Record]]:
    """Whole records from the start on, each with the place where it ends.

    It stops before the first one that is cut off or does not agree with its checksum. Raises
    `SpoolError` where `content` does not begin like a segment; one that is cut inside the header
    has no records.
    """
    if content[: len(HEADER)] != HEADER[: len(content)]:
        raise SpoolError(
            f"{name}: found {content[: len(HEADER)]!r}; expected {HEADER!r} at its start. It is no "
            "segment of this version or it was damaged: restore it from a backup."
        )
    at, end = len(HEADER), len(content)
    while at + HEAD_BYTES <= end:
        length, crc = _LEAD.unpack_from(content, at)
        start, stop = at + HEAD_BYTES, at + HEAD_BYTES + length
        if stop > end:
            return
        payload = content[start:stop]
        if zlib.crc32(payload, zlib.crc32(content[at + _LEAD.size : start])) != crc:
            return
        received_at, kind, socket = _TAIL.unpack_from(content, at + _LEAD.size)
        yield stop, Record(received_at, kind, socket, payload)
        at = stop


def read_segment(path: Path) -> Segment:
    """Everything whole in a segment file, sealed or not.

    A sealed segment's path also finds it archived. Raises `SpoolError` for a file that is no
    segment or was damaged in the archive, `OSError` as the disk gives it.
    """
    return parse_segment(segment_bytes(path), path.name)


def parse_segment(content: bytes | mmap, name: str) -> Segment:
    """Everything whole in a segment's bytes. Raises `SpoolError` when they are not a segment's."""
    frames, texts = [], []
    valid = min(len(HEADER), len(content)) // len(HEADER) * len(HEADER)
    for end, record in read_records(content, name):
        if record.kind == BINARY:
            frames.append((record.received_at, record.payload))
        else:
            texts.append((record.received_at, record.payload.decode("utf-8", "replace")))
        valid = end
    return Segment(frames, texts, valid, len(content) - valid)


def sealed_segments(folder: Path) -> list[Path]:
    """The sealed segments of a day by name, archived or not; empty where there is no such folder.

    Each as it was sealed (`.seg`), which `read_segment` and `kept_file` take.
    """
    archived = (path.with_suffix("") for path in folder.glob(f"*{ARCHIVED}"))
    return sorted({*folder.glob(f"*{SEALED}"), *archived})


def kept_file(sealed: Path) -> Path:
    """The file that holds a sealed segment now: itself, or the archived one in its place."""
    archived = sealed.with_suffix(ARCHIVED)
    return archived if archived.exists() and not sealed.exists() else sealed


def segment_bytes(path: Path) -> bytes:
    """The bytes of a segment as it was sealed, wherever they are kept.

    Raises `SpoolError` for an archived file that was damaged.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        archived = path.with_suffix(ARCHIVED)
        if not archived.exists():
            raise
    return unpack(archived.read_bytes(), archived.name)


@contextmanager
def segment_content(path: Path, *, memory_map: bool = False) -> Iterator[bytes | mmap]:
    """What `segment_bytes` gives, for as long as the block lasts; mapped rather than copied.

    Only a file that was sealed and is not archived is mapped: nothing cuts it under a reader.
    """
    if not memory_map or not path.exists() or not path.stat().st_size:
        yield segment_bytes(path)
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        yield content


def pack(content: bytes, level: int) -> bytes:
    """A segment's bytes as an archived file's, at a zstd level of 1 to 22."""
    frame: bytes = pa.Codec("zstd", compression_level=level).compress(content, asbytes=True)
    sha256 = hashlib.sha256(content).digest()
    return frame + _PROOF.pack(*_PROOF_HEAD, len(content), sha256)


def unpack(packed: bytes, name: str) -> bytes:
    """The segment's bytes; `SpoolError` when they are not those that were archived."""
    frame, proof = packed[: -_PROOF.size], packed[-_PROOF.size :]
    *head, length, sha256 = _PROOF.unpack(proof) if frame else (None, 0, b"")
    found = "no proof of its content at its end"
    if tuple(head) == _PROOF_HEAD and length < _MOST_BYTES:
        try:
            content: bytes = pa.Codec("zstd").decompress(frame, length, asbytes=True)
        except OSError as error:
            found = str(error)
        else:
            if hashlib.sha256(content).digest() == sha256:
                return content
            found = f"content whose SHA-256 is not {sha256.hex()[:16]}…"
    raise SpoolError(
        f"{name}: found {found}; expected an archived segment, whole. It was damaged: restore it "
        "from a backup."
    )
