"""The choice of instruments: buckets, width, limit, sockets and the file that keeps it."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.contracts import UNDERLYINGS
from optrade.errors import InputRefused
from optrade.formats.kite_instruments import COLUMNS, parse_instruments
from optrade.subscription import SCHEMA, LeftOut, Subscription, choose
from optrade.tables.common import EXPIRY_BUCKETS
from optrade.tables.raw_live import INSTRUMENTS

DAY = date(2026, 8, 18)
DUMP = (
    Path(os.environ.get("MARKET_FILES", Path(__file__).resolve().parents[2] / "shared"))
    / "data/kite/instruments/instruments_nfo_bfo_2026-08-18.csv"
)
needs_dump = pytest.mark.skipif(not DUMP.is_file(), reason=f"no real dump at {DUMP} (MARKET_FILES)")

NIFTY_EXPIRIES = ("2026-08-18", "2026-08-25", "2026-09-01", "2026-09-29", "2026-10-27")
BANK_EXPIRIES = ("2026-08-25", "2026-09-29", "2026-10-27")
FUTURES = ("2026-08-25", "2026-09-29", "2026-10-27", "2026-11-24")
STRIKES = {"NIFTY": range(24000, 26001, 100), "BANKNIFTY": range(53000, 59001, 500)}
SPOTS = {"NIFTY": 25000.0, "BANKNIFTY": 56000.0}
ALL: dict[str, Any] = {
    "underlyings": ("NIFTY", "BANKNIFTY"),
    "buckets": EXPIRY_BUCKETS,
    "width_pct": 100.0,
    "limit": 9000,
}


def dump(indices: tuple[str, ...] = ()) -> pl.DataFrame:
    """Two indices with futures and options, and what must never be chosen."""
    lines = [*indices, "1,1,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE"]

    def add(name: str, expiry: str, strike: int, kind: str) -> None:
        token = 256 * (len(lines) + 100) + 2
        segment = "NFO-FUT" if kind == "FUT" else "NFO-OPT"
        symbol = f"{name}{expiry}{strike}{kind}"
        lines.append(f"{token},1,{symbol},{name},0,{expiry},{strike},0.05,65,{kind},{segment},NFO")

    for name, expiries in (("NIFTY", NIFTY_EXPIRIES), ("BANKNIFTY", BANK_EXPIRIES)):
        for expiry in FUTURES:
            add(name, expiry, 0, "FUT")
        for expiry in expiries:
            for strike in STRIKES[name]:
                add(name, expiry, strike, "PE")
                add(name, expiry, strike, "CE")
    add("INFY", "2026-08-25", 0, "FUT")
    add("INFY", "2026-08-25", 1500, "CE")
    content = "\n".join([",".join(COLUMNS), *lines]).encode()
    return parse_instruments("instruments.csv", content, DAY, source="kite", sha256="0" * 64)


LISTED = dump()


def chosen(subscription: Subscription, kind: str, *columns: str) -> list[tuple[Any, ...]]:
    return subscription.frame.filter(pl.col("kind") == kind).select(columns).rows()


def test_everything_asked_for_is_there_once_and_nothing_else() -> None:
    got = choose(LISTED, SPOTS, **ALL)
    assert got.left_out == ()
    assert got.frame.schema == pl.Schema(SCHEMA)
    assert got.frame["instrument_token"].is_unique().all()
    assert set(got.frame["underlying"]) == {"NIFTY", "BANKNIFTY", "INDIAVIX"}
    columns = ("underlying", "expiry", "expiry_bucket", "bucket_alias")
    filled = {(u, str(e), b, a) for u, e, b, a in chosen(got, "option", *columns)}
    assert filled == {
        ("NIFTY", "2026-08-18", "this_week", False),
        ("NIFTY", "2026-08-25", "next_week", True),
        ("NIFTY", "2026-09-29", "next_month", False),
        ("BANKNIFTY", "2026-08-25", "this_week", True),
        ("BANKNIFTY", "2026-09-29", "next_month", False),
    }
    sizes = Counter(got.frame["kind"])
    assert sizes == {"index": 2, "vix": 1, "future": 6, "option": 2 * (3 * 21 + 2 * 13)}
    assert list(dict.fromkeys(got.frame["kind"])) == ["index", "vix", "future", "option"]


@pytest.mark.parametrize(
    ("buckets", "nifty", "bank"),
    [
        (("this_week",), {"2026-08-18"}, {"2026-08-25"}),
        (("next_week",), {"2026-08-25"}, set()),
        (("this_month",), {"2026-08-25"}, {"2026-08-25"}),
        (("next_week", "this_month"), {"2026-08-25"}, {"2026-08-25"}),
        (("next_month",), {"2026-09-29"}, {"2026-09-29"}),
    ],
)
def test_a_bucket_is_found_where_it_is_an_alias_too(
    buckets: tuple[str, ...], nifty: set[str], bank: set[str]
) -> None:
    got = choose(LISTED, SPOTS, **ALL | {"buckets": buckets})
    rows = chosen(got, "option", "underlying", "expiry")
    assert {str(expiry) for name, expiry in rows if name == "NIFTY"} == nifty
    assert {str(expiry) for name, expiry in rows if name == "BANKNIFTY"} == bank
    august = got.frame.filter(pl.col("expiry") == date(2026, 8, 25), kind="future")
    labels = dict(august.select("underlying", "expiry_bucket").iter_rows())
    assert labels == {"NIFTY": "next_week", "BANKNIFTY": "this_week"}


def test_futures_are_the_nearest_three_and_those_of_the_buckets() -> None:
    nearest = [str(e) for (e,) in chosen(choose(LISTED, SPOTS, **ALL), "future", "expiry")]
    assert nearest == [*FUTURES[:3], *FUTURES[:3]]
    # Options of no month but the last future's: that future is the fourth, and asked for.
    late = LISTED.filter(
        pl.col("instrument_type").is_in(["FUT", "EQ"]) | (pl.col("expiry") == date(2026, 10, 27))
    ).with_columns(
        expiry=pl.when(pl.col("instrument_type").is_in(["CE", "PE"]))
        .then(date(2026, 11, 24))
        .otherwise("expiry")
    )
    rows = chosen(choose(late, SPOTS, **ALL), "future", "underlying", "expiry", "expiry_bucket")
    assert [str(e) for name, e, _ in rows if name == "NIFTY"] == list(FUTURES)
    assert [bucket for *_, bucket in rows[:4]] == [None, None, None, "this_week"]


def test_indices_by_the_dump_where_it_has_them_else_by_the_permanent_tokens() -> None:
    columns = ("instrument_token", "underlying", "tradingsymbol", "exchange")
    both = ALL | {"underlyings": ("SENSEX", "NIFTY")}
    permanent = choose(LISTED, SPOTS, **both)
    assert chosen(permanent, "index", *columns) == [
        (256265, "NIFTY", "NIFTY 50", "NSE"),
        (265, "SENSEX", "SENSEX", "BSE"),
    ]
    assert chosen(permanent, "vix", *columns) == [(264969, "INDIAVIX", "INDIA VIX", "NSE")]
    moved = (
        "777,3,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE",
        "1033,4,INDIA VIX,INDIA VIX,0,,0,0,0,EQ,INDICES,NSE",
        "1289,5,SENSEX,SENSEX,0,,0,0,0,EQ,INDICES,NSE",  # not where SENSEX is listed
    )
    by_dump = choose(dump(moved), SPOTS, **both).frame
    tokens = by_dump.filter(pl.col("kind").is_in(["index", "vix"]))["instrument_token"]
    assert tokens.to_list() == [777, 265, 1033]


def test_the_width_is_in_percent_of_spot_with_both_ends() -> None:
    got = choose(LISTED, SPOTS, **ALL | {"width_pct": 2.0})
    strikes: dict[str, list[float]] = {}
    for name, strike in sorted(set(chosen(got, "option", "underlying", "strike"))):
        strikes.setdefault(name, []).append(strike)
    assert strikes["NIFTY"] == [float(k) for k in range(24500, 25501, 100)]
    assert strikes["BANKNIFTY"] == [float(k) for k in range(55000, 57001, 500)]
    assert got.left_out == ()


@pytest.mark.parametrize("unknown", [None, 0.0, math.nan, math.inf, -1.0])
def test_without_spot_every_strike_is_taken(unknown: float | None) -> None:
    spots = {"BANKNIFTY": 56000.0} | ({} if unknown is None else {"NIFTY": unknown})
    got = choose(LISTED, spots, **ALL | {"width_pct": 1.0})
    sizes = Counter(name for (name,) in chosen(got, "option", "underlying"))
    assert sizes == {"NIFTY": 3 * 21 * 2, "BANKNIFTY": 2 * 3 * 2}


def test_a_spot_far_from_every_strike_is_told() -> None:
    got = choose(LISTED, SPOTS | {"NIFTY": 2500.0}, **ALL | {"width_pct": 8.0})
    assert got.left_out == (LeftOut("NIFTY", 126, "no listed strike within 8 % of spot 2500"),)
    assert {name for (name,) in chosen(got, "future", "underlying")} == {"NIFTY", "BANKNIFTY"}


def test_an_underlying_without_contracts_is_told_and_its_index_collected() -> None:
    got = choose(LISTED, SPOTS, **ALL | {"underlyings": ("NIFTY", "SENSEX")})
    assert got.left_out == (LeftOut("SENSEX", 0, "the dump lists no contract of it"),)
    assert 265 in got.frame["instrument_token"]


def test_an_empty_dump_leaves_the_indices() -> None:
    got = choose(INSTRUMENTS.empty(), SPOTS, **ALL)
    assert (got.frame.height, len(got.left_out)) == (3, 2)


def test_over_the_limit_all_underlyings_get_the_same_narrower_width() -> None:
    got = choose(LISTED, SPOTS, **ALL | {"limit": 100})
    assert got.frame.height <= 100
    reach = dict.fromkeys(SPOTS, 0.0)
    for name, strike in chosen(got, "option", "underlying", "strike"):
        reach[name] = max(reach[name], abs(strike - SPOTS[name]) * 100 / SPOTS[name])
    first = LISTED.filter(pl.col("instrument_type").is_in(["CE", "PE"]))
    for name, widest in reach.items():
        strikes = first.filter(pl.col("underlying") == name)["strike"].unique()
        further = min(
            d for k in strikes if (d := abs(k - SPOTS[name]) * 100 / SPOTS[name]) > widest
        )
        assert further > max(reach.values())
    assert {item.underlying for item in got.left_out} == set(SPOTS)
    assert sum(item.contracts for item in got.left_out) + got.frame.height == 187
    nifty = next(item for item in got.left_out if item.underlying == "NIFTY")
    assert nifty.why == (
        f"over the limit of 100 instruments: collected within {reach['NIFTY']:.2f} % of spot"
    )


def test_an_underlying_without_spot_is_kept_whole_while_others_make_room() -> None:
    got = choose(LISTED, {"BANKNIFTY": 56000.0}, **ALL | {"limit": 150})
    assert len([1 for (name,) in chosen(got, "option", "underlying") if name == "NIFTY"]) == 126
    assert [item.underlying for item in got.left_out] == ["BANKNIFTY"]
    with pytest.raises(InputRefused, match="all strikes of NIFTY, whose spot is unknown"):
        choose(LISTED, {"BANKNIFTY": 56000.0}, **ALL | {"limit": 130})


def test_a_limit_below_the_nearest_strikes_is_refused() -> None:
    least = 3 + 6 + 2 * 5
    assert choose(LISTED, SPOTS, **ALL | {"limit": least}).frame.height == least
    for limit in (least - 1, 0):
        with pytest.raises(InputRefused) as caught:
            choose(LISTED, SPOTS, **ALL | {"limit": limit})
        assert (caught.value.rule, caught.value.field) == ("limit", "limit")
        assert "178 options" in caught.value.found
        assert "sockets" in caught.value.remedy


@given(
    limit=st.integers(19, 260),
    nifty=st.floats(20000, 30000),
    bank=st.floats(45000, 65000),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_any_limit_is_kept_in_pairs_whatever_the_order_of_the_dump(
    limit: int, nifty: float, bank: float, seed: int
) -> None:
    spots = {"NIFTY": nifty, "BANKNIFTY": bank}
    full = choose(LISTED, spots, **ALL)
    try:
        got = choose(LISTED, spots, **ALL | {"limit": limit})
    except InputRefused:  # spot halfway between two strikes: both are the nearest
        assert limit < 3 + 6 + 2 * 2 * 5
        return
    assert got.frame.height <= limit
    pairs = Counter(
        (u, e, k) for u, e, k in chosen(got, "option", "underlying", "expiry", "strike")
    )
    assert set(pairs.values()) == {2}
    assert len({(u, e) for u, e, _ in pairs}) == 5
    left = sum(item.contracts for item in got.left_out)
    assert got.frame.height + left == full.frame.height
    shuffled = choose(
        LISTED.sample(fraction=1, shuffle=True, seed=seed), spots, **ALL | {"limit": limit}
    )
    assert shuffled.frame.equals(got.frame)
    assert shuffled.left_out == got.left_out


@pytest.mark.parametrize("count", [1, 2, 3])
def test_sockets_are_balanced_and_hold_every_token_once(count: int) -> None:
    got = choose(LISTED, SPOTS, **ALL)
    dealt = got.sockets(count, 3000)
    assert sorted(chain.from_iterable(dealt)) == sorted(got.frame["instrument_token"])
    sizes = [len(tokens) for tokens in dealt]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert dealt == choose(LISTED, SPOTS, **ALL).sockets(count, 3000)


def test_sockets_that_are_too_small_or_too_many() -> None:
    got = choose(LISTED, SPOTS, **ALL)
    assert got.frame.height == 187
    assert [len(tokens) for tokens in got.sockets(3, 63)] == [63, 62, 62]
    assert Subscription(got.frame.head(2)).sockets(3, 9) == [[260105], [256265]]
    with pytest.raises(ValueError, match="187 instruments do not fit on 3 sockets of 62"):
        got.sockets(3, 62)


def test_what_is_written_is_read_again() -> None:
    got = choose(LISTED, SPOTS, **ALL | {"limit": 100})
    again = Subscription.from_json(got.to_json())
    assert again.frame.equals(got.frame)
    assert again.frame.schema == got.frame.schema
    assert again.left_out == got.left_out
    assert again.to_json() == got.to_json()
    none = Subscription.from_json(Subscription(got.frame.clear()).to_json())
    assert none.frame.schema == pl.Schema(SCHEMA)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-30],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"strike"', '"srike"'),
        lambda text: text.replace('"expiry": "2026-08-25"', '"expiry": "25 Aug"'),
        lambda text: text.replace('"instrument_token": 256265', '"instrument_token": "x"'),
        lambda text: text.replace('"left_out"', '"left"'),
    ],
)
def test_a_spoilt_file_is_refused(spoil: Any) -> None:
    text = spoil(choose(LISTED, SPOTS, **ALL).to_json())
    with pytest.raises(InputRefused) as caught:
        Subscription.from_json(text, "2026-08-18/subscription.json")
    assert caught.value.rule == "subscription"
    assert caught.value.file == "2026-08-18/subscription.json"


# The real dump, counted by the standard library alone.

REAL_SPOTS = dict(
    zip(UNDERLYINGS, (25000.0, 56000.0, 26500.0, 13000.0, 70000.0, 81000.0, 62000.0), strict=True)
)
"""Round values near the middle of the listed strikes: the dump has no prices."""

BUCKET_EXPIRIES = {
    "NIFTY": ("2026-08-18", "2026-08-25", "2026-08-25", "2026-09-29"),
    "SENSEX": ("2026-08-20", "2026-08-27", "2026-08-27", "2026-09-24"),
    "BANKEX": ("2026-08-27", None, "2026-08-27", "2026-09-24"),
    **dict.fromkeys(
        ("BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50"),
        ("2026-08-25", None, "2026-08-25", "2026-09-29"),
    ),
}
BUCKET_CONTRACTS = {
    "NIFTY": (210, 242, 242, 246),
    "SENSEX": (268, 352, 352, 320),
    "BANKNIFTY": (334, 0, 334, 286),
    "FINNIFTY": (238, 0, 238, 128),
    "MIDCPNIFTY": (302, 0, 302, 266),
    "NIFTYNXT50": (410, 0, 410, 370),
    "BANKEX": (382, 0, 382, 290),
}


@pytest.fixture(scope="module")
def real() -> tuple[pl.DataFrame, list[dict[str, str]]]:
    content = DUMP.read_bytes()
    frame = parse_instruments(DUMP.name, content, DAY, source="kite", sha256="0" * 64)
    return frame, list(csv.DictReader(content.decode().splitlines()))


@needs_dump
@pytest.mark.parametrize("bucket", EXPIRY_BUCKETS)
@pytest.mark.parametrize("underlying", UNDERLYINGS)
def test_real_buckets(
    underlying: str, bucket: str, real: tuple[pl.DataFrame, list[dict[str, str]]]
) -> None:
    frame, rows = real
    place = EXPIRY_BUCKETS.index(bucket)
    expiry = BUCKET_EXPIRIES[underlying][place]
    by_hand = {
        int(row["instrument_token"])
        for row in rows
        if (row["name"], row["expiry"]) == (underlying, expiry) and row["instrument_type"] != "FUT"
    }
    asked = {"underlyings": (underlying,), "buckets": (bucket,)}
    got = choose(frame, {}, **ALL | asked)
    tokens = {token for (token,) in chosen(got, "option", "instrument_token")}
    assert tokens == by_hand
    assert len(tokens) == BUCKET_CONTRACTS[underlying][place]
    if expiry and underlying in ("SENSEX", "BANKEX"):
        assert date.fromisoformat(expiry).strftime("%A") == "Thursday"


@needs_dump
def test_the_real_dump_as_it_would_be_collected(
    real: tuple[pl.DataFrame, list[dict[str, str]]],
) -> None:
    frame, rows = real
    five = ("NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "SENSEX")
    got = choose(frame, REAL_SPOTS, **ALL | {"underlyings": five, "width_pct": 8.0})
    by_hand = set()
    for row in rows:
        near = (
            row["name"] in five
            and row["expiry"] in BUCKET_EXPIRIES[row["name"]]
            and abs(float(row["strike"]) / REAL_SPOTS[row["name"]] - 1) <= 0.08 + 1e-12
        )
        future = row["name"] in five and row["instrument_type"] == "FUT"  # three of each
        if near or future:
            by_hand.add(int(row["instrument_token"]))
    indices = {256265, 260105, 257801, 288009, 265, 264969}
    assert set(got.frame["instrument_token"]) == by_hand | indices
    assert got.frame.height == len(by_hand) + 6 == 1925
    assert got.left_out == ()
    lots = set(got.frame.drop_nulls("lot_size").select("underlying", "lot_size").iter_rows())
    assert lots == set(zip(five, (65, 30, 60, 120, 20), strict=True))


@needs_dump
def test_the_real_dump_over_the_limit(real: tuple[pl.DataFrame, list[dict[str, str]]]) -> None:
    everything = ALL | {"underlyings": tuple(UNDERLYINGS)}
    full = choose(real[0], REAL_SPOTS, **everything)
    got = choose(real[0], REAL_SPOTS, **everything | {"limit": 3000})
    assert 2950 < got.frame.height <= 3000
    assert sum(item.contracts for item in got.left_out) == full.frame.height - got.frame.height
    assert {name for (name,) in chosen(got, "option", "underlying")} == set(UNDERLYINGS)
