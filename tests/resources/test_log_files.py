"""Finished log files are compressed or put aside, and never lost."""

from __future__ import annotations

import gzip
import os
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.calendar import IST
from resources import log_files, logs

DAY = date(2026, 1, 23)


def aged(root: Path, name: str, content: bytes) -> Path:
    root.mkdir(exist_ok=True, parents=True)
    (root / name).write_bytes(content)
    return root / name


def test_old_files_are_compressed_and_nothing_else_is_touched(tmp_path: Path) -> None:
    young = ("a-2026-01-23.jsonl", "a-2026-01-22.jsonl", "a.out", "a-2026-01-01.txt", "b.jsonl")
    for name in young:
        aged(tmp_path, name, b"young\n")
    old = {
        f"{stem}-2026-01-21{end}": os.urandom(3000) for stem in "ab" for end in (".jsonl", ".out")
    }
    for name, content in old.items():
        aged(tmp_path, name, content)
    done = logs.compress_old(tmp_path, 1, DAY)
    assert {path.name: gzip.decompress(path.read_bytes()) for path in done} == {
        f"{name}.gz": content for name, content in old.items()
    }
    kept = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert kept == {*young, *(path.name for path in done)}
    assert logs.compress_old(tmp_path, 1, DAY) == []
    assert logs.compress_old(tmp_path / "none yet", 1, DAY) == []
    with pytest.raises(ValueError, match="expected 1 or more"):
        logs.compress_old(tmp_path, 0)


@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_what_comes_late_is_added(tmp_path_factory, parts: list[bytes]) -> None:
    root = tmp_path_factory.mktemp("late")
    for number, part in enumerate(parts):
        aged(root, "a-2026-01-01.jsonl", b"%d " % number + part)
        (packed,) = logs.compress_old(root, 1, DAY)
        aged(root, "a-2026-01-01.jsonl", b"%d " % number + part)  # As after a crash in between.
        assert logs.compress_old(root, 1, DAY) == [packed]
    whole = b"".join(b"%d " % number + part for number, part in enumerate(parts))
    assert gzip.decompress(packed.read_bytes()) == whole
    assert [p.name for p in root.iterdir() if p.suffix != ".lock"] == [packed.name]


def test_a_damaged_archive_or_copy_keeps_the_plain_file(tmp_path, monkeypatch) -> None:
    plain = aged(tmp_path, "a-2026-01-01.jsonl", b"plain\n")
    packed = aged(tmp_path, "a-2026-01-01.jsonl.gz", gzip.compress(b"x" * 999)[:-5])
    fine = aged(tmp_path, "b-2026-01-01.jsonl", b"fine\n")
    with pytest.raises(logs.LogError, match=r"a-2026-01-01.jsonl stays .*\n.*compress again"):
        logs.compress_old(tmp_path, 1, DAY)
    assert plain.read_bytes() == b"plain\n"
    assert not fine.exists()
    packed.unlink()
    monkeypatch.setattr(
        log_files, "_write_packed", lambda out, *_: out.write(gzip.compress(b"other\n"))
    )
    with pytest.raises(logs.LogError, match="stays as it is: it changed while"):
        logs.compress_old(tmp_path, 1, DAY)
    assert plain.read_bytes() == b"plain\n"
    assert not packed.exists()
    assert not list(tmp_path.glob("*.part"))


def test_output_of_an_earlier_day_is_put_aside(tmp_path: Path) -> None:
    out = aged(tmp_path, "collect.out", b"today\n")
    logs.set_aside(out)
    assert out.read_bytes() == b"today\n"
    noon = datetime(2026, 1, 20, 12, 0, tzinfo=IST).timestamp()
    os.utime(out, (noon, noon))
    logs.set_aside(out)
    logs.set_aside(out)
    assert (tmp_path / "collect-2026-01-20.out").read_bytes() == b"today\n"
    assert not out.exists()
