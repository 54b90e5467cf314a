"""Files of the lake: names that tell content, durable writes, the exchange's bytes kept."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.tables import TABLES
from resources import lake_files
from resources.lake_files import KeptFileDamaged, keep_raw, read_raw, write_durably
from resources.lake_slices import (
    LakeError,
    ParquetFormat,
    content_hash,
    day_of,
    encode,
    same_content,
    slice_path,
)

OI = TABLES["raw.participant_oi"]
D1 = date(2026, 1, 1)


def test_a_slice_path_tells_its_day_and_content_and_is_never_used_twice(tmp_path, rows):
    encoded = encode(OI, D1, rows(OI, [D1]), ParquetFormat())
    first, second = (slice_path(tmp_path, OI, encoded) for _ in range(2))
    assert first != second
    assert first.parent == tmp_path / "raw" / "participant_oi" / "trade_date=2026-01-01"
    for path in (first.as_posix(), str(PureWindowsPath("C:/lake") / first.relative_to("/"))):
        assert day_of(path) == D1
        assert same_content(path, encoded)
        assert content_hash(path) == encoded.sha256[:32]
    assert not same_content("data/ducklake-0192.parquet", encoded)


def test_a_foreign_path_is_explained():
    with pytest.raises(LakeError, match="found no trade_date=YYYY-MM-DD folder"):
        day_of("s3://bucket/raw/x.parquet")


@given(content=st.binary(max_size=200))
def test_what_is_written_durably_is_there(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("d") / "a" / "b" / "c.bin"
    write_durably(path, content)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["c.bin"]  # noqa: PTH208 (hidden files count)


def test_a_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "x" / "f"
    write_durably(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lake_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["f"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no folder sync")
def test_every_new_folder_is_synced_into_its_parent(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(lake_files, "sync_folder", synced.append)
    write_durably(tmp_path / "a" / "b" / "f", b"x")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_kept_files_come_back_and_versions_live_side_by_side(tmp_path):
    first = keep_raw(tmp_path, "fo_bhavcopy", D1, "fo.csv", b"one")
    second = keep_raw(tmp_path, "fo_bhavcopy", D1, "fo.csv", b"two")
    assert first[0].startswith("files/fo_bhavcopy/2026/2026-01-01/")
    assert keep_raw(tmp_path, "fo_bhavcopy", D1, "fo.csv", b"one") == first
    assert [read_raw(tmp_path, *kept) for kept in (first, second)] == [b"one", b"two"]


def test_a_kept_file_that_changed_is_noticed_and_healed_by_fetching_again(tmp_path):
    stored_as, sha256 = keep_raw(tmp_path, "k", D1, "f.csv", b"content")
    (tmp_path / stored_as).write_bytes(b"c0ntent")
    with pytest.raises(KeptFileDamaged, match=r"changed on disk.*fetch that day again"):
        read_raw(tmp_path, stored_as, sha256)
    keep_raw(tmp_path, "k", D1, "f.csv", b"content")
    assert read_raw(tmp_path, stored_as, sha256) == b"content"
    (tmp_path / stored_as).unlink()
    with pytest.raises(KeptFileDamaged, match="Restore it from a backup or fetch"):
        read_raw(tmp_path, stored_as, sha256)


@pytest.mark.parametrize("name", ["../x", "a\\b", "c:x", "", "..", "a\nb"])
def test_a_file_name_that_is_a_path_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="expected one without path"):
        keep_raw(tmp_path, "k", D1, name, b"x")
    assert list(tmp_path.iterdir()) == []
