"""Kite's instrument dump: every quirk read as meant, every fault named, real dumps by count."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.contracts import UNDERLYINGS
from optrade.errors import InputRefused
from optrade.formats.kite_instruments import COLUMNS, KITE_INDICES, parse_instruments
from optrade.tables.raw_live import INSTRUMENTS

DAY = date(2026, 8, 18)
SHA = "0" * 64
KITE = (
    Path(os.environ.get("MARKET_FILES", Path(__file__).resolve().parents[3] / "shared"))
    / "data"
    / "kite"
)
needs_kite = pytest.mark.skipif(not KITE.is_dir(), reason=f"no real files at {KITE} (MARKET_FILES)")

HEADER = ",".join(COLUMNS)
ROWS = (
    "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE",
    "264969,1035,INDIA VIX,INDIA VIX,0,,0,0,0,EQ,INDICES,NSE",
    "265,1,SENSEX,SENSEX,0,,0,0,0,EQ,INDICES,BSE",
    "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE",
    "14866434,58072,NIFTY26AUGFUT,NIFTY,0,2026-08-25,0,0.1,65,FUT,NFO-FUT,NFO",
    "10000386,39064,NIFTY2681825000CE,NIFTY,0,2026-08-18,25000,0.05,65,CE,NFO-OPT,NFO",
    "10000642,39065,NIFTY2681825000PE,NIFTY,0,2026-08-18,25000,0.05,65,PE,NFO-OPT,NFO",
    "290136325,1133345,SENSEX2682081000PE,SENSEX,0,2026-08-20,81000,0.05,20,PE,BFO-OPT,BFO",
    "10001154,39067,INFY26AUG1500CE,INFY,0,2026-08-25,1500,0.05,400,CE,NFO-OPT,NFO",
)
TEXT = "\n".join((HEADER, *ROWS)) + "\n"
OPTION_LINE = 7


def parse(text: str | bytes, day: date = DAY) -> pl.DataFrame:
    content = text.encode() if isinstance(text, str) else text
    frame = parse_instruments("instruments.csv", content, day, source="kite", sha256=SHA)
    INSTRUMENTS.pandera.validate(frame)
    return frame


def refused(rule: str, text: str | bytes, day: date = DAY) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        parse(text, day)
    error = caught.value
    assert error.rule == rule, str(error)
    assert error.file == "instruments.csv"
    assert error.found
    assert error.expected
    assert error.remedy
    return error


def spoil(line: int, field: str, value: str, text: str = TEXT) -> str:
    """The dump with one cell changed."""
    lines = text.split("\n")
    cells = lines[line - 1].split(",")
    cells[COLUMNS.index(field)] = value
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines)


def row_of(frame: pl.DataFrame, token: int) -> dict[str, Any]:
    return frame.row(by_predicate=pl.col("instrument_token") == token, named=True)


def test_columns_mean_what_they_say() -> None:
    frame = parse(TEXT)
    assert frame.height == len(ROWS)
    assert frame["instrument_token"].is_sorted()
    assert row_of(frame, 10000386) == {
        "trade_date": DAY,
        "instrument_token": 10000386,
        "exchange_token": 39064,
        "tradingsymbol": "NIFTY2681825000CE",
        "name": "NIFTY",
        "underlying": "NIFTY",
        "last_price": 0.0,
        "expiry": DAY,
        "strike": 25000.0,
        "tick_rupees": 0.05,
        "lot_size": 65,
        "instrument_type": "CE",
        "segment": "NFO-OPT",
        "exchange": "NFO",
        "source": "kite",
        "source_sha256": SHA,
    }
    nifty = row_of(frame, 256265)
    nothing = ("expiry", "strike", "tick_rupees", "lot_size")
    assert [nifty[name] for name in nothing] == [None] * 4
    assert row_of(frame, 14866434)["strike"] is None


def test_underlying_is_the_known_index_and_nothing_else() -> None:
    known = dict(parse(TEXT).select("instrument_token", "underlying").iter_rows())
    assert known == {
        265: "SENSEX",
        256265: "NIFTY",
        264969: "INDIAVIX",
        408065: None,
        14866434: "NIFTY",
        10000386: "NIFTY",
        10000642: "NIFTY",
        290136325: "SENSEX",
        10001154: None,
    }


@pytest.mark.parametrize(
    "row",
    [
        "1,1,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,BSE",  # the other exchange's
        "1,1,NIFTY,NIFTY,0,,0,0.01,1,EQ,NSE,NSE",  # a share called so
        "1,1,SENSEX26AUGFUT,SENSEX,0,2026-08-27,0,0.05,20,FUT,NFO-FUT,NFO",
        "1,1,SENSEX5026AUGFUT,SENSEX50,0,2026-08-27,0,0.05,75,FUT,BFO-FUT,BFO",
        "1,1,BANKNIFTY18JAN23500CE,,0,2026-08-25,23500,0.05,40,CE,NFO-OPT,NFO",
        "1,1,NIFTY26AUGFUT,NIFTY,0,2026-08-25,0,1,1,FUT,MCX-FUT,MCX",
    ],
)
def test_a_namesake_has_no_underlying(row: str) -> None:
    assert row_of(parse(TEXT + row), 1)["underlying"] is None


def test_the_table_of_indices() -> None:
    assert {name: index.token for name, index in KITE_INDICES.items()} == {
        "NIFTY": 256265, "BANKNIFTY": 260105, "FINNIFTY": 257801, "MIDCPNIFTY": 288009,
        "NIFTYNXT50": 270857, "SENSEX": 265, "BANKEX": 274441, "INDIAVIX": 264969,
    }  # fmt: skip
    assert all(index.token & 0xFF == 9 for index in KITE_INDICES.values())
    assert set(KITE_INDICES) == {*UNDERLYINGS, "INDIAVIX"}
    exchanges = {name: known.exchange for name, known in UNDERLYINGS.items()}
    assert {n: i.exchange for n, i in KITE_INDICES.items() if n in exchanges} == exchanges


def resaved(text: str) -> str:
    """As pandas writes it: an index column first, whole numbers as floats."""
    rows = list(csv.reader(io.StringIO(text)))
    lines = [["", *rows[0]]]
    for number, row in enumerate(rows[1:]):
        cells = dict(zip(COLUMNS, row, strict=True))
        whole = ("last_price", "strike", "lot_size", "exchange_token")
        lines.append([str(number), *(f"{v}.0" if k in whole else v for k, v in cells.items())])
    return "\n".join(",".join(line) for line in lines)


def reordered(text: str) -> str:
    return "\n".join(",".join(reversed(line.split(","))) for line in text.rstrip().split("\n"))


def quoted(text: str, fields: tuple[str, ...]) -> str:
    head, *rows = csv.reader(io.StringIO(text))
    return "\n".join(
        [",".join(head)]
        + [
            ",".join(f'"{v}"' if k in fields else v for k, v in zip(COLUMNS, row, strict=True))
            for row in rows
        ]
    )


@pytest.mark.parametrize(
    "same",
    [
        TEXT.rstrip("\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT + "\n\r\n ,,,,,,,,,,,\n",
        "\ufeff" + TEXT,
        TEXT.replace(",,", ",0.0,"),
        TEXT.replace(",,", ",-,"),
        TEXT.replace(",0,0.1,65,", ",,0.1,65,"),
        TEXT.replace(",", " , ").replace(" , , ", " ,, "),
        "\n".join(line + "," for line in TEXT.rstrip("\n").split("\n")),
        TEXT.replace("\n", ",\n").replace("exchange,\n", "exchange\n"),
        resaved(TEXT),
        reordered(TEXT),
        quoted(TEXT, ("name",)),
        quoted(TEXT, COLUMNS),
    ],
    ids=[
        "no last line end", "CRLF", "blank lines", "byte order mark", "0.0 for no expiry",
        "dash for no expiry", "blank strike", "padded", "commas at the ends", "commas at row ends",
        "saved by pandas", "columns reversed", "quoted names", "all quoted",
    ],
)  # fmt: skip
def test_quirks_change_nothing(same: str) -> None:
    assert same != TEXT
    assert parse(same).equals(parse(TEXT))


def test_a_name_may_hold_a_comma_and_quotes() -> None:
    text = TEXT.replace("INFOSYS", '"INFOSYS, ""THE"" COMPANY"')
    assert row_of(parse(text), 408065)["name"] == 'INFOSYS, "THE" COMPANY'
    assert parse(text).drop("name").equals(parse(TEXT).drop("name"))


def test_a_stray_quote_spoils_only_its_own_cell() -> None:
    text = TEXT.replace("INFOSYS", '"INFOSYS"THE')
    assert parse(text).filter(pl.col("instrument_token") != 408065).height == len(ROWS) - 1
    assert "INFOSYS" in row_of(parse(text), 408065)["name"]


def test_a_new_column_is_passed_over() -> None:
    text = "\n".join(line + ",x" for line in TEXT.rstrip().split("\n"))
    assert parse(text).equals(parse(TEXT))


@given(st.permutations(range(len(ROWS))), st.permutations(range(len(COLUMNS))))
@settings(max_examples=25, deadline=None)
def test_order_is_no_matter(rows: list[int], columns: list[int]) -> None:
    lines = [HEADER, *(ROWS[row] for row in rows)]
    text = "\n".join(",".join(line.split(",")[column] for column in columns) for line in lines)
    assert parse(text).equals(parse(TEXT))


def test_odd_rows_of_other_exchanges_are_kept() -> None:
    gold = "1,1,GOLD26JULFUT,GOLD,0,2026-07-30,0,1,0,FUT,MCX-FUT,MCX\n"
    dollar = "2,2,USDINR,USDINR,0,,0,0,0,SPREAD,BCD,BCD\n"
    frame = parse(TEXT + gold + dollar)
    assert row_of(frame, 1)["expiry"] == date(2026, 7, 30)
    assert [row_of(frame, token)["lot_size"] for token in (1, 2)] == [None, None]


@pytest.mark.parametrize(
    ("rule", "field", "value", "found", "expected"),
    [
        ("number", "instrument_token", "NIFTY", "'NIFTY'", "a whole number"),
        ("number", "instrument_token", "", "''", "a whole number"),
        ("number", "instrument_token", "10.5", "'10.5'", "a whole number"),
        ("negative", "instrument_token", "-5", "'-5'", "0 or more"),
        ("number", "exchange_token", "x", "'x'", "a whole number"),
        ("number", "strike", "25k", "'25k'", "a number"),
        ("number", "last_price", "inf", "'inf'", "a number"),
        ("number", "lot_size", "65.5", "'65.5'", "a whole number"),
        ("negative", "tick_size", "-0.05", "'-0.05'", "0 or more"),
        ("duplicate", "instrument_token", "14866434", "already on line 6", "each token"),
        ("duplicate", "instrument_token", "14866434.0", "already on line 6", "each token"),
        ("date_format", "expiry", "18-AUG-2026", "'18-AUG-2026'", "2026-08-25"),
        ("date_format", "expiry", "2026-02-30", "'2026-02-30'", "2026-08-25"),
        ("expiry", "expiry", "", "NIFTY2681825000CE", "an expiry date"),
        ("date", "expiry", "2026-08-17", "'2026-08-17'", "2026-08-18 or later"),
        ("strike", "strike", "0.0", "NIFTY2681825000CE", "a strike above 0"),
        ("strike", "strike", "", "NIFTY2681825000CE", "a strike above 0"),
        ("lot_size", "lot_size", "0", "NIFTY2681825000CE", "1 or more"),
        ("lot_size", "lot_size", "0.0", "NIFTY2681825000CE", "1 or more"),
        ("instrument_type", "instrument_type", "CA", "'CA'", "CE or PE"),
        ("instrument_type", "instrument_type", "FUT", "'NFO-OPT'", "CE or PE"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, field: str, value: str, found: str, expected: str
) -> None:
    error = refused(rule, spoil(OPTION_LINE, field, value))
    assert (error.line, error.field) == (OPTION_LINE, field)
    assert found in error.found
    assert expected in error.expected


def test_yesterdays_dump_is_refused_with_the_count() -> None:
    error = refused("date", TEXT, date(2026, 8, 19))
    assert error.line == OPTION_LINE
    assert "1 more line" in error.found
    assert "earlier day" in error.remedy


@pytest.mark.parametrize(
    ("rule", "body", "found"),
    [
        ("empty", b"", "an empty file (0 bytes)"),
        ("empty", b"\xef\xbb\xbf\r\n", "an empty file (5 bytes)"),
        ("empty", HEADER.encode() + b"\n", "a header and no rows"),
        ("html", b"<!DOCTYPE html><html><title>Bad gateway</title></html>", "a web page"),
        (
            "json",
            b'{"status":"error","message":"Incorrect `api_key`.","error_type":"TokenException"}',
            "an error of the API, TokenException: Incorrect `api_key`.",
        ),
        ("json", b'{"status": "error", "mess', 'JSON: \'{"status"'),
        ("json", b"[1, 2]", "JSON: '[1, 2]'"),
        ("header", b"Too many requests", "'Too many requests' without instrument_token"),
        ("encoding", HEADER.encode() + b"\n\xff\xfe", "byte 0xff"),
    ],
)
def test_what_is_no_dump_is_refused(rule: str, body: bytes, found: str) -> None:
    assert found in refused(rule, body).found


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_or_repeated_column_is_named(column: str) -> None:
    header = ",".join("other" if name == column else name for name in COLUMNS)
    assert refused("header", TEXT.replace(HEADER, header)).field == column
    twice = "\n".join(line + "," + line.split(",")[0] for line in TEXT.rstrip().split("\n"))
    error = refused("header", twice.replace("exchange,instrument_token", f"exchange,{column}", 1))
    assert (error.line, error.field) == (1, column)


@pytest.mark.parametrize(
    ("cut", "line"),
    [
        (TEXT[:-20], len(ROWS) + 1),
        (TEXT.replace(",INFOSYS", ",INFOSYS,LTD"), 5),
        (TEXT.replace("INFY,INFOSYS,0", "INFY,INFOSYS"), 5),
        (TEXT.replace(",INFOSYS", ',"INFOSYS'), 5),
        (TEXT + "\nOn the way", len(ROWS) + 3),
    ],
)
def test_a_cut_or_joined_line_is_named(cut: str, line: int) -> None:
    assert refused("fields", cut).line == line


# Real dumps, counted by the standard library alone.


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@needs_kite
def test_the_dump_of_2026_08_18() -> None:
    path = KITE / "instruments" / "instruments_nfo_bfo_2026-08-18.csv"
    frame, rows = parse(path.read_bytes()), rows_of(path)
    assert frame.height == len(rows) == 39941
    by_token = {row["instrument_token"]: row for row in rows}
    for row in frame.iter_rows(named=True):
        was = by_token[str(row["instrument_token"])]
        assert row["exchange_token"] == int(was["exchange_token"])
        assert row["tradingsymbol"] == was["tradingsymbol"]
        assert row["name"] == was["name"]
        assert str(row["expiry"]) == was["expiry"]
        assert (row["strike"] or 0.0) == float(was["strike"])
        assert row["tick_rupees"] == float(was["tick_size"])
        assert row["lot_size"] == int(was["lot_size"])
        assert row["underlying"] == (was["name"] if was["name"] in UNDERLYINGS else None)
        kind = (row["instrument_type"], row["segment"], row["exchange"])
        assert kind == (was["instrument_type"], was["segment"], was["exchange"])
    assert frame["underlying"].is_null().sum() == 31618
    known = frame.filter(pl.col("underlying").is_not_null())
    lots = known.group_by("underlying").agg(pl.col("lot_size").unique()).rows()
    assert {name: lot for name, (lot,) in lots} == {
        "NIFTY": 65, "BANKNIFTY": 30, "FINNIFTY": 60, "MIDCPNIFTY": 120, "NIFTYNXT50": 25,
        "SENSEX": 20, "BANKEX": 30,
    }  # fmt: skip
    assert set(frame["instrument_token"] % 256) == {2, 5}


@needs_kite
def test_the_list_of_bse_derivatives_of_2025_09_25() -> None:
    """The official client's list, written back as the CSV it was read from."""
    path = KITE / "instruments" / "instruments_universe_2025-09-25_BFO.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    frame = parse(text.getvalue(), date(2025, 9, 25))
    assert frame.height == len(rows) == 5033
    counted = frame.filter(pl.col("underlying").is_not_null()).select("underlying", "expiry")
    assert Counter((u, str(e)) for u, e in counted.iter_rows()) == Counter(
        (row["name"], row["expiry"]) for row in rows if row["name"] in UNDERLYINGS
    )
    sensex = counted.filter(pl.col("underlying") == "SENSEX")["expiry"].unique().sort()
    assert [str(day) for day in sensex[:5]] == [
        "2025-09-25", "2025-10-01", "2025-10-09", "2025-10-16", "2025-10-23",
    ]  # fmt: skip
    assert sensex[0].strftime("%A") == "Thursday"
    with pytest.raises(InputRefused, match="2025-09-25"):
        parse(text.getvalue(), date(2025, 9, 26))


@needs_kite
def test_the_brokers_own_sample() -> None:
    path = KITE / "mocks" / "instruments_all.csv"
    frame = parse(path.read_bytes(), date(2017, 11, 30))
    assert frame.height == len(rows_of(path)) == 99
    assert Counter(frame["instrument_type"]) == {"EQ": 74, "PE": 15, "CE": 10}
    assert frame["expiry"].null_count() == 74
    option = row_of(frame, 12073986)
    assert (option["tradingsymbol"], option["name"]) == ("BANKNIFTY18JAN23500CE", None)
    assert (option["strike"], option["last_price"], option["lot_size"]) == (23500.0, 2528.4, 40)
    assert refused("date", path.read_bytes(), date(2017, 12, 1)).field == "expiry"
