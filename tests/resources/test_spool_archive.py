"""Archived segments hold the same bytes, and the original goes only when that is proven."""

from __future__ import annotations

import errno
from contextlib import suppress
from datetime import date
from pathlib import Path

import filelock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources import lake_files, spool_archive
from resources.recordings import RecordedDay
from resources.spool import SpoolWriter
from resources.spool_archive import archive_old_segments
from resources.spool_segments import (
    BINARY,
    HEADER,
    SpoolError,
    kept_file,
    pack,
    read_segment,
    record_head,
    sealed_segments,
    segment_bytes,
    unpack,
)

OLD, NEW = date(2026, 1, 5), date(2026, 1, 6)


def segment(frames: int) -> bytes:
    said = [bytes([n % 250]) * 40 for n in range(frames)]
    return HEADER + b"".join(record_head(n, BINARY, 0, p) + p for n, p in enumerate(said))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    root = tmp_path / "spool"
    for day in (OLD, NEW):
        (root / f"{day}").mkdir(parents=True)
        for name in ("091500-a", "091600-a"):
            (root / f"{day}" / f"{name}.seg").write_bytes(segment(200))
    (root / f"{OLD}" / "091700-a.seg").write_bytes(b"no segment at all")
    (root / "notes").mkdir()
    return root


def run(spool: Path):
    return list(archive_old_segments(spool, NEW, 9))


def read_all(spool: Path, day: date = OLD):
    recorded = RecordedDay(spool.parent, spool / f"{day}", day)
    return [recorded.read(name) for name in recorded.sealed()]


def test_a_mapped_segment_is_read_the_same(spool: Path):
    (spool / f"{OLD}" / "091800-a.seg").write_bytes(b"")
    (spool / f"{OLD}" / "091900-a.seg").write_bytes(segment(200)[:-7])
    copied = read_all(spool)
    for state in ("sealed", "archived"):
        recorded = RecordedDay(spool.parent, spool / f"{OLD}", OLD, memory_map=True)
        assert [recorded.read(name) for name in recorded.sealed()] == copied, state
        run(spool)
    assert [one.refusal is None for one in copied] == [True, True, False, True, True]


@given(st.binary(max_size=2_000), st.integers(1, 22))
@settings(max_examples=30, deadline=None)
def test_any_bytes_come_back(content, level):
    assert unpack(pack(content, level), "x") == content


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_no_flipped_bit_gives_other_content(place, flip):
    """Some bits of a zstd frame mean nothing; any other one is noticed."""
    content = segment(40)
    packed = bytearray(pack(content, 9))
    packed[place % len(packed)] ^= flip
    with suppress(SpoolError):
        assert unpack(bytes(packed), "x.seg.zst") == content


@pytest.mark.parametrize("length", [0, 3, 48, 60])
def test_a_cut_file_is_refused(length):
    with pytest.raises(SpoolError, match=r"x\.seg\.zst: found .*restore it from a backup"):
        unpack(pack(segment(40), 9)[:length], "x.seg.zst")


def test_what_is_read_is_the_same_before_and_after_and_a_second_run_does_nothing(spool):
    before, young = read_all(spool), sorted((spool / f"{NEW}").iterdir())
    done = run(spool)
    assert [one.refusal for one in done] == [None] * 3
    assert read_all(spool) == before
    names = sorted(p.name for p in (spool / f"{OLD}").glob("*.seg*"))
    assert names == ["091500-a.seg.zst", "091600-a.seg.zst", "091700-a.seg.zst"]
    assert sorted((spool / f"{NEW}").iterdir()) == young
    assert done[0].bytes_after < done[0].bytes_before / 5
    assert done[0].bytes_after == kept_file(done[0].path).stat().st_size
    assert run(spool) == []


def test_a_damaged_archive_is_refused_like_a_damaged_segment(spool):
    run(spool)
    path = sealed_segments(spool / f"{OLD}")[0]
    kept = kept_file(path)
    content = bytearray(kept.read_bytes())
    content[30] ^= 1
    kept.write_bytes(content)
    with pytest.raises(SpoolError, match="restore it from a backup"):
        read_segment(path)
    damaged, whole, _ = read_all(spool)
    assert "091500-a.seg.zst: found" in str(damaged.refusal)
    assert damaged.segment.frames == []
    assert len(whole.segment.frames) == 200


def test_an_archive_that_does_not_decode_equal_keeps_the_original(spool, monkeypatch):
    before = read_all(spool)
    monkeypatch.setattr(spool_archive, "pack", lambda content, level: pack(content[:-1], level))
    done = run(spool)
    assert all("stays as it is" in str(one.refusal) for one in done)
    assert read_all(spool) == before
    assert len(list((spool / f"{OLD}").glob("*.seg"))) == 3


def test_a_full_disk_keeps_the_original(spool, monkeypatch):
    before = read_all(spool)

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lake_files.os, "fsync", full)
    assert all("No space left" in str(one.refusal) for one in run(spool))
    monkeypatch.undo()
    assert read_all(spool) == before
    assert not list(spool.rglob("*.part"))
    assert not list(spool.rglob("*.zst"))
    assert [one.refusal for one in run(spool)] == [None] * 3


def test_a_kill_before_the_original_is_removed_is_made_good(spool):
    path = spool / f"{OLD}" / "091500-a.seg"
    target = path.with_suffix(".seg.zst")
    target.write_bytes(pack(path.read_bytes(), 3))
    held = target.read_bytes()
    other = spool / f"{OLD}" / "091600-a.seg"
    other.with_suffix(".seg.zst").write_bytes(b"half of")
    before = read_all(spool)
    assert len(before) == 3
    assert [one.refusal for one in run(spool)] == [None] * 3
    assert target.read_bytes() == held
    assert read_all(spool) == before


def test_an_archive_of_other_bytes_beside_it_is_not_touched(spool):
    path = spool / f"{OLD}" / "091500-a.seg"
    path.with_suffix(".seg.zst").write_bytes(pack(b"other", 3))
    refusal = run(spool)[0].refusal
    assert "compare them" in str(refusal)
    assert path.read_bytes() == segment(200)
    assert unpack(path.with_suffix(".seg.zst").read_bytes(), "x") == b"other"


def test_a_folder_a_collector_writes_to_is_left_alone(spool):
    with filelock.FileLock(spool / f"{OLD}" / ".write.lock"):
        (refused,) = run(spool)
    assert "found a collector writing there" in str(refused.refusal)
    assert len(list((spool / f"{OLD}").glob("*.seg"))) == 3


def test_a_new_segment_never_takes_an_archived_ones_name(tmp_path):
    folder = tmp_path / f"{OLD}"
    for _ in range(2):
        with SpoolWriter(folder, "s") as writer:
            writer.append(BINARY, 0, 0, b"frame")
        assert run(tmp_path)[0].refusal is None
    assert [path.name for path in sealed_segments(folder)] == ["053000-s.seg", "053001-s.seg"]
    with pytest.raises(FileNotFoundError):
        segment_bytes(folder / "053002-s.seg")
