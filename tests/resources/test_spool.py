"""The spool gives back what was put in, whatever happened to the writer, the file or the disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.calendar import IST
from resources import spool
from resources.spool import (
    BINARY,
    TEXT,
    SpoolError,
    SpoolWriter,
    microseconds,
    moment,
    read_records,
    read_segment,
    recover,
    sealed_segments,
)
from resources.spool_segments import HEADER, record_head

OPEN = datetime(2026, 1, 23, 9, 15, tzinfo=IST)
T0 = microseconds(OPEN)
RECORDS = st.lists(
    st.tuples(
        st.sampled_from((BINARY, TEXT)),
        st.integers(0, 2),
        st.integers(T0, T0 + 10**9),
        st.binary(max_size=60),
    ),
    min_size=1,
    max_size=8,
)


def encode(records: list[tuple[int, int, int, bytes]]) -> tuple[bytes, list[int]]:
    """A segment's bytes, and where each record ends."""
    content, ends = HEADER, []
    for kind, socket, at, payload in records:
        content += record_head(at, kind, socket, payload) + payload
        ends.append(len(content))
    return content, ends


def decoded(content: bytes) -> list[tuple[int, int, int, bytes]]:
    return [(r.kind, r.socket, r.received_at, r.payload) for _, r in read_records(content, "x")]


def wait_for(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not what():
        assert time.monotonic() < limit, "it did not happen in 20 s"
        time.sleep(0.005)


def quick(folder: Path, session: str = "s1", **options: float) -> SpoolWriter:
    """A writer that hands over every frame at once."""
    chosen = {"flush_seconds": 0, "fsync_seconds": 60, **options}
    return SpoolWriter(folder, session, **chosen)  # type: ignore[arg-type]


def test_times_of_arrival_are_exact() -> None:
    at = datetime(2026, 1, 23, 9, 15, 0, 1, tzinfo=IST)
    assert moment(microseconds(at)) == at
    assert microseconds(at) - T0 == 1


@given(RECORDS)
def test_what_is_written_is_read(records: list[tuple[int, int, int, bytes]]) -> None:
    content, _ = encode(records)
    assert decoded(content) == records


@given(RECORDS, st.data())
def test_any_cut_leaves_the_whole_records_before_it(
    records: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    content, ends = encode(records)
    cut = data.draw(st.integers(0, len(content)))
    assert decoded(content[:cut]) == records[: sum(end <= cut for end in ends)]


@settings(max_examples=300)
@given(RECORDS, st.data())
def test_any_flipped_byte_is_detected(
    records: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    content, ends = encode(records)
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= data.draw(st.integers(1, 255))
    if place < len(HEADER):
        with pytest.raises(SpoolError, match="restore it from a backup"):
            decoded(bytes(flipped))
    else:
        assert decoded(bytes(flipped)) == records[: sum(end <= place for end in ends)]


def test_zeros_after_the_end_are_no_records() -> None:
    content, ends = encode([(BINARY, 0, T0, b"abc")])
    found = [end for end, _ in read_records(content + bytes(4096), "x")]
    assert found == ends


def test_a_segment_tells_frames_texts_and_torn_bytes(tmp_path: Path) -> None:
    path = tmp_path / "091500-s.open"
    content, _ = encode([(BINARY, 0, T0, b"\0"), (TEXT, 1, T0 + 1, b"{}"), (BINARY, 2, T0, b"ab")])
    path.write_bytes(content + b"torn")
    segment = read_segment(path)
    assert segment.frames == [(T0, b"\0"), (T0, b"ab")]
    assert segment.texts == [(T0 + 1, "{}")]
    assert (segment.valid_bytes, segment.torn_bytes) == (len(content), 4)
    path.write_bytes(HEADER[:7])
    assert (read_segment(path).valid_bytes, read_segment(path).torn_bytes) == (0, 7)


def test_frames_go_into_the_segment_of_their_minute(tmp_path: Path) -> None:
    minute = 60_000_000
    with quick(tmp_path) as writer:
        for at in (T0 + minute - 1, T0 + minute, T0 + minute + 5, T0 + 3 * minute):
            writer.append(BINARY, 0, at, b"frame")
        sealed = [writer.sealed.get(timeout=5) for _ in range(2)]
    names = [path.name for path in sealed_segments(tmp_path)]
    assert names == ["091500-s1.seg", "091600-s1.seg", "091800-s1.seg"]
    assert [(s.name, s.frames, s.session) for s in sealed] == [
        ("091500-s1", 1, "s1"),
        ("091600-s1", 2, "s1"),
    ]
    assert (sealed[1].first_received_at, sealed[1].last_received_at) == (
        T0 + minute,
        T0 + minute + 5,
    )
    assert sealed[0].path is not None
    assert sealed[0].bytes == sealed[0].path.stat().st_size
    assert not list(tmp_path.glob("*.open"))


def test_a_segment_whose_time_is_over_is_sealed_without_new_frames(tmp_path: Path) -> None:
    with quick(tmp_path) as writer:
        writer.append(BINARY, 0, T0 + 5, b"\0")
        writer.seal(T0 + 59_999_999)
        assert not sealed_segments(tmp_path)
        writer.seal(T0 + 60_000_000)
        assert [path.stem for path in sealed_segments(tmp_path)] == ["091500-s1"]
        writer.append(BINARY, 0, T0 + 6, b"\0")  # The clock was set back.
        writer.seal()
    assert [path.stem for path in sealed_segments(tmp_path)] == ["091500-s1", "091501-s1"]


def test_a_clock_set_back_does_not_split_a_segment(tmp_path: Path) -> None:
    with quick(tmp_path) as writer:
        for at in (T0, T0 - 1, T0 + 1):
            writer.append(BINARY, 0, at, b"x")
    (path,) = sealed_segments(tmp_path)
    assert [at for at, _ in read_segment(path).frames] == [T0, T0 - 1, T0 + 1]


def test_frames_are_flushed_though_no_others_follow(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "s1", flush_seconds=0.01, fsync_seconds=0.01) as writer:
        writer.append(BINARY, 0, T0, b"alone")
        (path,) = [tmp_path / "091500-s1.open"]
        wait_for(path.exists)
        wait_for(lambda: read_segment(path).frames == [(T0, b"alone")])


def test_threads_may_append_together(tmp_path: Path) -> None:
    def put(socket: int) -> None:
        for number in range(500):
            writer.append(BINARY, socket, T0 + number, number.to_bytes(2, "big"))

    with SpoolWriter(tmp_path, "s1", flush_seconds=0.001) as writer:
        threads = [threading.Thread(target=put, args=(socket,)) for socket in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (path,) = sealed_segments(tmp_path)
    found = [record for _, record in read_records(path.read_bytes(), path.name)]
    for socket in range(3):
        numbers = [int.from_bytes(r.payload, "big") for r in found if r.socket == socket]
        assert numbers == list(range(500))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with quick(tmp_path):
        with pytest.raises(SpoolError, match="another collector writing there"):
            quick(tmp_path, "s2")
        with pytest.raises(SpoolError, match="another collector"):
            recover(tmp_path)
    quick(tmp_path, "s2").close()


def test_a_closed_writer_takes_nothing(tmp_path: Path) -> None:
    writer = quick(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(SpoolError, match="writer closed"):
        writer.append(BINARY, 0, T0, b"late")


@settings(max_examples=40)
@given(records=RECORDS, data=st.data())
def test_recovery_keeps_every_byte_and_may_be_repeated(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, int, int, bytes]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("day")
    content, ends = encode(records)
    cut = data.draw(st.integers(0, len(content)))
    (folder / "091500-dead.open").write_bytes(content[:cut])
    whole = sum(end <= cut for end in ends)
    (found,) = recover(folder)
    assert recover(folder) == []
    kept = b"".join(
        path.read_bytes()
        for path in (folder / "091500-dead.seg", folder / "091500-dead.torn")
        if path.exists()
    )
    assert kept == content[:cut]
    assert found.frames + found.heartbeats + found.texts == whole
    assert found.lost_bytes == cut - (ends[whole - 1] if whole else 0)
    if whole:
        assert found.path == folder / "091500-dead.seg"
        assert found.last_received_at == records[whole - 1][2]
        assert read_segment(found.path).torn_bytes == 0
    else:
        assert (found.path, sealed_segments(folder)) == (None, [])


def test_recovery_killed_half_way_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, _ = encode([(BINARY, 0, T0, b"whole")])
    (tmp_path / "091500-dead.open").write_bytes(content + b"torn")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recover(tmp_path)
    (found,) = recover(tmp_path)
    assert (found.lost_bytes, found.bytes) == (4, len(content))
    assert (tmp_path / "091500-dead.torn").read_bytes() == b"torn"


def test_a_damaged_head_stops_no_collector(tmp_path: Path) -> None:
    (tmp_path / "091500-dead.open").write_bytes(b"no segment of ours at all")
    with quick(tmp_path) as writer:
        assert [(s.name, s.path, s.lost_bytes) for s in writer.recovered] == [
            ("091500-dead", None, 25)
        ]
    assert (tmp_path / "091500-dead.torn").read_bytes() == b"no segment of ours at all"


WRITER = """
import sys
from pathlib import Path
from resources.spool import BINARY, SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]), "dead", flush_seconds=0.001, fsync_seconds=60)
at = int(sys.argv[2])
for number in range(10**9):
    writer.append(BINARY, 0, at + number, number.to_bytes(8, "big") * 25)
    if number % 50 == 0:
        writer.flush()
        print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(T0)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        flushed = 0
        while flushed < 500:
            flushed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = process.stdout.read().split("\n")[:-1]
        flushed = max([flushed, *map(int, told)])
    with quick(tmp_path, "next") as writer:
        (found,) = writer.recovered
    assert found.path is not None
    frames = read_segment(found.path).frames
    assert len(frames) > flushed
    assert frames == [(T0 + n, n.to_bytes(8, "big") * 25) for n in range(len(frames))]
    assert moment(found.last_received_at or 0) == OPEN + timedelta(microseconds=len(frames) - 1)


FULL = """
import resource, sys
from pathlib import Path
from resources.spool import BINARY, SpoolError, SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]), "s1", flush_seconds=0, most_waiting=5000)
at = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for number in range(1000):
    try:
        writer.append(BINARY, 0, at + number, number.to_bytes(4, "big") * 10)
    except SpoolError as error:
        print(number)
        print(error)
        break
if sys.argv[3] == "more":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.close()
"""


@pytest.mark.parametrize("then", ["more", "killed"])
def test_a_full_disk_damages_nothing_flushed_and_loses_nothing_that_fits_in_memory(
    tmp_path: Path, then: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(T0), then],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taken, message = done.stdout.split("\n")[:2]
    assert "the disk refused frames (File too large)" in message
    assert "Make room" in message
    if then == "killed":
        (found,) = recover(tmp_path)
        assert 9_900 < found.bytes <= 10_000
    (path,) = sealed_segments(tmp_path)
    frames = read_segment(path).frames
    assert [int.from_bytes(payload[:4], "big") for _, payload in frames] == list(range(len(frames)))
    if then == "more":
        assert len(frames) == int(taken) > 200


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_trouble_is_told_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with SpoolWriter(tmp_path, "s1", flush_seconds=0.01, fsync_seconds=0.01) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(spool.os, call, refuse)
            writer.append(BINARY, 0, T0, b"one")
            wait_for(lambda: writer.trouble is not None)
            writer.append(BINARY, 0, T0 + 60_000_000, b"two")
            with pytest.raises(SpoolError, match="No space left on device"):
                writer.flush()
        wait_for(lambda: writer.trouble is None)
    first, second = sealed_segments(tmp_path)
    assert read_segment(first).frames == [(T0, b"one")]
    assert read_segment(second).frames == [(T0 + 60_000_000, b"two")]


def test_a_writer_that_cannot_close_frees_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, "s1", flush_seconds=60, fsync_seconds=60)
    writer.append(BINARY, 0, T0, b"one")
    writer.flush()
    writer.append(BINARY, 0, T0, b"two")

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "write", refuse)
        with pytest.raises(SpoolError, match="Input/output error"):
            writer.close()
    with quick(tmp_path, "s2") as next_:
        assert [(s.name, s.frames) for s in next_.recovered] == [("091500-s1", 1)]
