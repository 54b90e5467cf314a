"""What every kind of file is refused for, whatever its columns."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.errors import InputRefused
from optrade.formats import market_activity
from optrade.tables import raw
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

GOOD = {
    "udiff": ("fo_bhavcopy", s.bhavcopy_zip(s.udiff(), s.DAY), s.DAY, 0),
    "legacy": ("fo_bhavcopy", s.bhavcopy_zip(s.legacy(), s.LEGACY_DAY), s.LEGACY_DAY, 0),
    "oi": ("participant_oi", s.participants().encode(), s.DAY, 0),
    "volume": (
        "participant_volume",
        s.participants(measure="Trading Volume").encode(),
        s.DAY,
        0,
    ),
    "xls": ("fii_stats", s.fii_xls(), s.DAY, 0),
    "fii_csv": ("fii_stats", s.fii_csv().encode(), s.DAY, 1),
    "index": ("index_close", s.index_close().encode(), s.DAY, 0),
    "activity": ("fo_market_activity", s.zipped(s.activity_members()), s.ACTIVITY_DAY, 0),
}
TABLES = {
    "fo_bhavcopy": raw.FO_BHAVCOPY,
    "participant_oi": raw.PARTICIPANT_OI,
    "participant_volume": raw.PARTICIPANT_VOLUME,
    "fii_stats": raw.FII_STATS,
    "index_close": raw.INDEX_CLOSE,
}
each = pytest.mark.parametrize("case", GOOD)


def unpacked(case: str) -> tuple[str, str, date, str]:
    """Kind, text, day and name of a good file, its zip taken off."""
    kind, data, day, position = GOOD[case]
    name = s.name_of(kind, day, position)
    texts = {"udiff": s.udiff(), "legacy": s.legacy()}
    return kind, texts.get(case) or data.decode(), day, name.removesuffix(".zip")


@each
def test_a_good_file_gives_its_declared_table(case: str, read: Read) -> None:
    kind, data, day, position = GOOD[case]
    frame = read(kind, data, day, f"https://host/path/{s.name_of(kind, day, position)}")
    assert set(frame["trade_date"]) == {day}
    assert set(frame["source"]) == {"exchange"}
    assert frame["source_sha256"].str.len_chars().unique().to_list() == [64]
    if table := TABLES.get(kind):
        table.pandera.validate(frame)
        assert frame.equals(frame.sort(table.order))
        assert not frame.select(table.key).is_duplicated().any()
    else:
        assert dict(frame.schema) == market_activity.SCHEMA


@each
def test_a_web_page_is_refused(case: str, refused: Refused) -> None:
    kind, _, day, position = GOOD[case]
    page = b"<!DOCTYPE html><html><title>Access Denied</title></html>"
    error = refused("html", kind, page, day, s.name_of(kind, day, position))
    assert error.found == "a web page instead of the file"
    assert "retry later" in error.remedy
    assert error.line is None


@each
@pytest.mark.parametrize("data", [b"", b"\n\r\n ", b"\xef\xbb\xbf"])
def test_nothing_is_refused(case: str, data: bytes, refused: Refused) -> None:
    kind, _, day, position = GOOD[case]
    error = refused("empty", kind, data, day, s.name_of(kind, day, position))
    assert error.found == f"an empty file ({len(data)} bytes)"
    assert "Fetch it again" in error.remedy


@each
def test_another_days_request_is_refused(case: str, refused: Refused) -> None:
    kind, data, day, position = GOOD[case]
    asked = day + timedelta(days=1)
    error = refused("date", kind, data, asked, s.name_of(kind, day, position))
    assert (error.field, error.found, error.expected) == (
        "file name",
        day.isoformat(),
        asked.isoformat(),
    )
    assert f"fetch the one of {asked.isoformat()}" in error.remedy


@pytest.mark.parametrize(
    ("case", "field", "line"),
    [
        ("udiff", "TradDt", 2),
        ("legacy", "TIMESTAMP", 2),
        ("oi", "title", 1),
        ("volume", "title", 1),
        ("fii_csv", "title", 1),
        ("index", "Index Date", 2),
    ],
)
def test_content_of_another_day_under_this_name_is_refused(
    case: str, field: str, line: int, refused: Refused
) -> None:
    kind, text, day, _ = unpacked(case)
    asked = day + timedelta(days=1)
    name = s.name_of(kind, asked, GOOD[case][3]).removesuffix(".zip")
    error = refused("date", kind, text, asked, name)
    assert (error.field, error.line) == (field, line)
    assert (error.found, error.expected) == (day.isoformat(), asked.isoformat())


@pytest.mark.parametrize("case", ["udiff", "legacy", "xls", "activity"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_a_cut_container_is_refused(case: str, share: float, refused: Refused) -> None:
    kind, data, day, position = GOOD[case]
    cut = data[: int(len(data) * share)]
    error = refused("container", kind, cut, day, s.name_of(kind, day, position))
    assert error.expected == "a complete container"


@pytest.mark.parametrize("case", ["udiff", "xls", "activity"])
def test_text_under_a_containers_name_is_refused(case: str, refused: Refused) -> None:
    kind, _, day, position = GOOD[case]
    error = refused("container", kind, b"a,b,c\n1,2,3\n", day, s.name_of(kind, day, position))
    assert "neither a zip nor an OLE2 workbook" in error.found


def test_a_zip_under_a_workbooks_name_is_refused(refused: Refused) -> None:
    name = s.name_of("fii_stats", s.DAY)
    error = refused("container", "fii_stats", s.zipped({"a": "b"}), s.DAY, name)
    assert "another kind of container" in error.found


def test_bytes_that_are_no_text_are_refused(refused: Refused) -> None:
    data = s.index_close().encode().replace(b"India", b"Ind\xffa")
    error = refused("encoding", "index_close", data, s.DAY)
    assert error.line == 5
    assert "0xff" in error.found


TEXTS = ["udiff", "legacy", "oi", "fii_csv", "index"]


@pytest.mark.parametrize("case", TEXTS)
def test_harmless_variants_read_the_same(case: str, read: Read) -> None:
    kind, text, day, name = unpacked(case)
    plain = read(kind, text, day, name).drop("source_sha256")
    variants = {
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "utf-16": text.encode("utf-16"),
        "windows lines": text.replace("\n", "\r\n").encode(),
        "no last newline": text.rstrip("\n").encode(),
        "blank lines after": (text + "\n\n \n,,,\n").encode(),
        "padding": text.replace(",", " ,\t").encode(),
    }
    for what, data in variants.items():
        assert read(kind, data, day, name).drop("source_sha256").equals(plain), what


@pytest.mark.parametrize("case", ["udiff", "legacy", "oi", "index"])
def test_a_line_with_too_few_fields_is_named(case: str, refused: Refused) -> None:
    kind, text, day, name = unpacked(case)
    lines = text.split("\n")
    lines[3] = ",".join(lines[3].split(",")[:5])
    error = refused("fields", kind, "\n".join(lines), day, name)
    assert error.line == 4
    assert error.found.startswith("5 fields: ")
    assert error.expected.endswith(" fields")
    assert "cut" in error.remedy


@pytest.mark.parametrize("case", ["udiff", "legacy", "oi", "index"])
def test_a_cut_last_line_is_named(case: str, refused: Refused) -> None:
    kind, text, day, name = unpacked(case)
    assert refused("fields", kind, text[:-25], day, name).line == text.count("\n")


@pytest.mark.parametrize("case", ["udiff", "legacy", "oi", "index"])
def test_a_header_alone_is_refused(case: str, refused: Refused) -> None:
    kind, text, day, name = unpacked(case)
    header = 2 if case == "oi" else 1
    only = "\n".join(text.split("\n")[:header])
    assert refused("empty", kind, only, day, name).found == "a header and no rows"


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_read_or_refused_but_never_crashes(read: Read, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([*TEXTS, "volume", "xls", "activity"]))
    kind, content, day, position = GOOD[case]
    name = s.name_of(kind, day, position)
    if case in TEXTS:
        kind, text, day, name = unpacked(case)
        content = text.encode()
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        size = data.draw(st.integers(0, 6))
        piece = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from(_PIECES)))
        damaged[at : at + size] = piece
    try:
        frame = read(kind, bytes(damaged), day, name)
    except InputRefused:
        return
    assert set(frame["trade_date"]) <= {day}


_PIECES = [b",", b"\n", b'"', b"-", b"nan", b"inf", b"1e400", b"99999999999999999999", b"\x00"]
