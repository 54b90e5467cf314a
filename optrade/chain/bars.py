"""What ticks say of each instrument minute by minute.

Belongs here: which tick counts in which minute and in which order, what is carried from one
minute to the next, and the sums inside a minute. Does not belong here: what the figures mean
for an option or an index (`minute`), decoding.

All sums are of whole numbers (paise, microseconds, units), so a minute has the same bits
whichever minutes are computed with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.division import quotient
from optrade.tables import IST, TIMESTAMP

Whole = npt.NDArray[np.int64]
Arrays = dict[str, Whole]

WILD: Final = timedelta(minutes=5)
"""A stamp of the exchange that is further than this from the arrival says nothing of the time."""
MAX_GAP_SECONDS: Final = 60.0
"""How long a price is held after its packet. Kite sends a packet when anything changes, so a
minute of silence is ordinary far from the money; longer, it may as well be a hole."""

MINUTE: Final = timedelta(minutes=1)
_LENGTH: Final = 60_000_000  # microseconds in a minute
_PAISE: Final = 100
_UNITS: Final = 2**40  # more than any volume: keeps the running volumes of instruments apart
_TOKEN: Final = "instrument_token"  # noqa: S105
OF_PACKET: Final = ("last_price",)
OF_QUOTE: Final = ("average_price", "volume_units", "open", "high", "low", "close")
OF_DEPTH: Final = ("oi_units", "bid", "ask", "bid_units", "ask_units")
"""What every packet says, what all but ltp packets say, and what only full packets say."""
_ORDER: Final = ("code", "at", "received", "segment", "sequence")


def moment() -> pl.Expr:
    """When a tick was: by the exchange's stamp, by its arrival where the packet has none."""
    return pl.coalesce("exchange_at", "received_at")


def used(session_open: datetime, session_close: datetime) -> pl.Expr:
    """Whether a tick of `raw.ticks` enters a minute: in the session, and its stamp is not wild."""
    at = moment().to_physical()
    off = (pl.col("exchange_at").to_physical() - pl.col("received_at").to_physical()).abs()
    in_session = (at >= _micros(session_open)) & (at < _micros(session_close))
    return in_session & (off <= WILD // timedelta(microseconds=1)).fill_null(value=True)


def minutes_of(
    ticks: pl.DataFrame, session_open: datetime, session_close: datetime
) -> list[datetime]:
    """The starts of the minutes that rows of `raw.ticks` belong to, sorted, in India's time.

    A minute they touch and every later one held must be computed again: each starts from the
    state that the one before left.
    """
    found = (
        ticks.lazy()
        .filter(used(session_open, session_close))
        .select(minute=moment().to_physical() // _LENGTH)
        .unique()
        .sort("minute")
        .select((pl.col("minute") * _LENGTH).cast(TIMESTAMP))
        .collect()
    )
    return found["minute"].to_list()


def checked_day(minutes: Sequence[datetime]) -> date:
    """The trading day of consecutive whole minutes.

    Raises `ValueError` unless they follow one another without a hole inside one day of India.
    """
    first = minutes[0].astimezone(ZoneInfo(IST))
    whole = first.second == 0 and first.microsecond == 0
    wanted = [first + n * MINUTE for n in range(len(minutes))]
    if not whole or list(minutes) != wanted or wanted[-1].date() != first.date():
        raise ValueError(
            f"minutes from {first} to {minutes[-1]} are not {len(minutes)} whole minutes in a "
            "row of one day; give a range without a hole"
        )
    return first.date()


def minute_bars(
    ticks: pl.DataFrame,
    instruments: pl.DataFrame,
    state: pl.DataFrame,
    minutes: Sequence[datetime],
    *,
    session_open: datetime,
    session_close: datetime,
    max_gap_seconds: float = MAX_GAP_SECONDS,
) -> pl.DataFrame:
    """One row per instrument and minute, from the instrument's first tick of the day on.

    - `ticks`: rows of `raw.ticks`, any order; other instruments and other minutes are ignored
    - `instruments`: instrument_token and `counts_trades`, false for an index, whose last price
      is a value and needs no trade
    - `state`: the rows this gave for an earlier minute, the last one known; maybe none
    - `minutes`: starts of consecutive minutes of one day

    Columns: instrument_token, minute, ticks, last_tick_at, last_price and the figures of
    `OF_QUOTE` and `OF_DEPTH` as last heard (`volume_units` is the largest heard, so that a late
    packet counts nothing twice), first_price, high_price, low_price of the minute, twap,
    twap_seconds, vwap, volume_minute_units. Sorted by token and minute. Of an instrument that
    trades, a price counts once it traded today.
    """
    tokens = instruments.sort(_TOKEN).with_columns(code=pl.int_range(pl.len(), dtype=pl.Int64))
    span = _Span(
        first=_micros(minutes[0]) // _LENGTH,
        count=len(minutes),
        opening=_micros(session_open) // _LENGTH,
        gap=round(max_gap_seconds * 1_000_000),
    )
    packets = _packets(ticks, state, span)
    counted = pl.col("held") | used(session_open, session_close)
    rows = _rows(packets.lazy().with_row_index("row").filter(counted), tokens, span)
    rows = _with_volume(_in_order(rows, packets), tokens["counts_trades"].to_numpy(), span)
    heard = _heard(_sums(rows, span), rows, tokens.height, span)
    return _bars(heard, packets, tokens[_TOKEN])


@dataclass(frozen=True)
class _Span:
    """The minutes asked for, in minutes since 1970; `gap` in microseconds."""

    first: int
    count: int
    opening: int
    gap: int


def _micros(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, at.tzinfo)) // timedelta(microseconds=1)


def _packets(ticks: pl.DataFrame, state: pl.DataFrame, span: _Span) -> pl.DataFrame:
    """The ticks, after the state as one packet an instrument that is `held`."""
    late = state.filter(pl.col("minute").to_physical() // _LENGTH >= span.first)
    if late.height:
        raise ValueError(
            f"the state has {late.height} rows of minutes to compute or later ones; give the "
            "rows of the last minute before them"
        )
    said = (_TOKEN, *OF_PACKET, *OF_QUOTE, *OF_DEPTH)
    fresh = ticks.select(
        *said, "exchange_at", "received_at", "mode", "segment", "sequence", held=pl.lit(value=False)
    )
    if state.is_empty():
        return fresh
    kept = state.filter(pl.col("minute") == pl.col("minute").max()).select(
        *said,
        exchange_at="last_tick_at",
        received_at="last_tick_at",
        mode=pl.lit("full"),
        segment=pl.lit(""),
        sequence=pl.lit(0, pl.Int64),
        held=pl.lit(value=True),
    )
    return pl.concat([kept, fresh])


def _rows(packets: pl.LazyFrame, tokens: pl.DataFrame, span: _Span) -> Arrays:
    """The packets that count, in whole numbers; `row` is their place among all.

    `slot` is the minute, 1 for the first; 0 holds the state. `paise` is 0 where a packet has no
    price, `volume` -1 where it says none, `level` 0 to 2 how much its kind says.
    """
    at, mode = moment().to_physical(), pl.col("mode")
    minute = at // _LENGTH - span.first
    found = (
        packets.filter(pl.col("held") | minute.is_between(0, span.count - 1))
        .join(tokens.lazy(), on=_TOKEN, maintain_order="left")
        .select(
            "code",
            row=pl.col("row").cast(pl.Int64),
            at=at,
            received=pl.col("received_at").to_physical(),
            slot=pl.when("held").then(0).otherwise(minute + 1),
            paise=(pl.col("last_price").fill_null(0) * _PAISE).round().cast(pl.Int64),
            volume=pl.col("volume_units").fill_null(-1),
            level=pl.when(mode == "full")
            .then(2)
            .when(mode == "ltp")
            .then(0)
            .otherwise(1)
            .cast(pl.Int8),
        )
        .collect()
    )
    return {name: found[name].to_numpy() for name in found.columns}


def _in_order(rows: Arrays, packets: pl.DataFrame) -> Arrays:
    """The rows by instrument, time, arrival, segment and place in it.

    Ticks come from the lake or the feed in an order that is mostly this one inside an instrument,
    so only the instruments where it may not be are sorted by everything.
    """
    code = rows["code"]
    if (code[1:] < code[:-1]).any():
        few = code.astype(np.uint16) if code.max() < 2**16 else code
        order = np.argsort(few, kind="stable")  # of small numbers: by counting, not comparing
        rows = {name: values[order] for name, values in rows.items()}
    code, at, received = rows["code"], rows["at"], rows["received"]
    earlier = received[1:] <= received[:-1]
    unsure = (at[1:] < at[:-1]) | ((at[1:] == at[:-1]) & earlier)
    mixed = np.unique(code[1:][(code[1:] == code[:-1]) & unsure])
    if not mixed.size:
        return rows
    places = np.flatnonzero(np.isin(code, mixed))
    keys = packets.select(pl.col("segment", "sequence").gather(rows["row"][places]))
    by = [pl.Series(values[places]) for values in (code, at, received)]
    found = keys.select(pl.arg_sort_by(*by, "segment", "sequence")).to_series()
    rows = {name: np.require(values, requirements="W") for name, values in rows.items()}
    for values in rows.values():
        values[places] = values[places[found.to_numpy()]]
    return rows


def _with_volume(rows: Arrays, counts_trades: npt.NDArray[np.bool_], span: _Span) -> Arrays:
    """The rows with `volume` the largest so far, `units` traded since, and `price` if one counts.

    What traded before the first packet of the day belongs to it in the session's first minute
    only. `price` is in paise, 0 where none counts.
    """
    code = rows["code"]
    base = code * _UNITS
    volume = np.maximum.accumulate(rows["volume"] + base) - base
    before = np.full_like(volume, -1)
    before[1:] = np.where(code[1:] == code[:-1], volume[:-1], -1)
    opening = rows["slot"] == span.opening - span.first + 1
    start = np.where(opening, 0, volume)
    unpriced = counts_trades[code] & (volume <= 0)
    return rows | {
        "volume": volume,
        "units": np.maximum(volume, 0) - np.maximum(np.where(before >= 0, before, start), 0),
        "price": np.where(unpriced, 0, np.maximum(rows["paise"], 0)),
    }


def _sums(rows: Arrays, span: _Span) -> Arrays:
    """One element per instrument and minute with packets: places of the last ones, and sums."""
    code, slot, at, price, units = (rows[n] for n in ("code", "slot", "at", "price", "units"))
    begins = np.ones(code.size, np.bool_)
    begins[1:] = (code[1:] != code[:-1]) | (slot[1:] != slot[:-1])
    starts = np.flatnonzero(begins)
    ticks = np.diff(starts, append=code.size)
    place = np.arange(code.size)
    until = (slot + span.first) * _LENGTH
    until[:-1] = np.where(begins[1:], until[:-1], at[1:])
    priced = price > 0
    known = np.where(priced, np.minimum(until, at + span.gap) - at, 0)
    low = np.minimum.reduceat(np.where(priced, price, _UNITS), starts)

    def total(values: Whole) -> Whole:
        return np.add.reduceat(values, starts)

    def last(told: npt.NDArray[np.bool_]) -> Whole:
        return np.maximum.reduceat(np.where(told, place, -1), starts)

    return {
        "code": code[starts],
        "slot": slot[starts],
        "packet": starts + ticks - 1,
        "quote": last(rows["level"] >= 1),
        "depth": last(rows["level"] >= 2),
        "ticks": ticks,
        "first_at": at[starts],
        "known": total(known),
        "weighted": total(price * known),
        "units": total(units),
        "priced_units": total(np.where(priced, units, 0)),
        "paid": total(price * units),
        "first": np.append(price, 0)[
            np.minimum.reduceat(np.where(priced, place, code.size), starts)
        ],
        "high": np.maximum.reduceat(price, starts),
        "low": np.where(low < _UNITS, low, 0),
    }


def _heard(sums: Arrays, rows: Arrays, tokens: int, span: _Span) -> pl.DataFrame:
    """A row for every minute from an instrument's first packet on, with what it carries over.

    Places ascend within an instrument, so the largest so far is the last heard.
    """

    def laid(name: str, empty: int = 0) -> Whole:
        grid = np.full((tokens, span.count + 1), empty)
        grid[sums["code"], sums["slot"]] = sums[name]
        return grid

    places = {n: np.maximum.accumulate(laid(n, -1), axis=1) for n in ("packet", "quote", "depth")}
    code, before = np.nonzero(places["packet"][:, 1:] >= 0)
    now, start = (code, before + 1), (span.first + before) * _LENGTH
    packet, earlier = places["packet"][now], places["packet"][code, before]
    at_before = np.where(earlier >= 0, rows["at"][earlier], 0)
    first_at = np.where(laid("ticks")[now] > 0, laid("first_at")[now], start + _LENGTH)
    over = np.maximum(np.minimum(first_at, at_before + span.gap) - start, 0)
    price_before = np.where(earlier >= 0, rows["price"][earlier], 0)
    over = np.where(price_before > 0, over, 0)
    figures = ("ticks", "units", "priced_units", "paid", "first", "high", "low")
    return pl.DataFrame(
        {name: laid(name)[now] for name in figures}
        | {f"{name}_row": _row_of(rows, place[now]) for name, place in places.items()}
        | {name: rows[name][packet] for name in ("at", "price", "volume")}
        | {
            "code": code,
            "start": start,
            "known": laid("known")[now] + over,
            "weighted": laid("weighted")[now] + over * price_before,
        }
    )


def _row_of(rows: Arrays, places: Whole) -> pl.Series:
    """Places among the packets of places among the rows; null for -1."""
    return pl.Series(rows["row"][places]).set(pl.Series(places < 0), None)


def _bars(heard: pl.DataFrame, packets: pl.DataFrame, tokens: pl.Series) -> pl.DataFrame:
    """The figures of each minute, from whole numbers and the packets last heard."""

    def said(names: Sequence[str], kind: str) -> pl.DataFrame:
        return packets.select(pl.col(names).gather(heard[f"{kind}_row"]))

    def over(paise: str, weight: str) -> pl.Expr:
        return pl.when(pl.col(weight) > 0).then(quotient(pl.col(paise), pl.col(weight) * _PAISE))

    def rupees(paise: str) -> pl.Expr:
        return pl.when(pl.col(paise) > 0).then(quotient(pl.col(paise), _PAISE))

    quoted = [name for name in OF_QUOTE if name != "volume_units"]
    volume = pl.col("volume")
    figures = heard.select(
        minute=pl.col("start").cast(TIMESTAMP),
        ticks="ticks",
        last_tick_at=pl.col("at").cast(TIMESTAMP),
        last_price=rupees("price"),
        first_price=rupees("first"),
        high_price=rupees("high"),
        low_price=rupees("low"),
        twap=over("weighted", "known"),
        twap_seconds=quotient(pl.col("known"), 1_000_000),
        vwap=over("paid", "priced_units"),
        volume_units=pl.when(volume >= 0).then(volume),
        volume_minute_units=pl.when(volume >= 0).then("units"),
    )
    token = tokens.gather(heard["code"]).to_frame()
    parts = [token, figures, said(quoted, "quote"), said(OF_DEPTH, "depth")]
    return pl.concat(parts, how="horizontal")
