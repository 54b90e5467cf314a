"""Minutes of which the ticks are missing, filled from the broker's candles and marked.

Belongs here: which minutes of which instruments lie in a hole, and what a candle can tell of
one. Does not belong here: minutes of ticks (`bars`), asking for candles, what the figures mean
(`minute`).

A candle tells the trades and the open interest of its minute. It tells nothing of the book, of
how long each price stood, or of the average price paid: those stay null.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import polars as pl

from optrade.chain.bars import MINUTE, minute_bars, moment
from optrade.tables import TABLES, TIMESTAMP

FILLED: Final = "candles"
"""What `filled_from` says of a minute that a candle fills."""
_KEY: Final = ("instrument_token", "minute")
_HOLES: Final = {"gap": pl.String(), "instrument_token": pl.Int64(), "minute": TIMESTAMP}
_TOLD: Final = ("open", "high", "low", "close", "volume_units", "oi_units")
_NOT_TOLD: Final = ("average_price", "bid", "ask", "bid_units", "ask_units", "twap", "vwap")


def hole_minutes(
    gaps: pl.DataFrame,
    tokens: Sequence[int],
    ticks: pl.DataFrame,
    *,
    session_open: datetime,
    session_close: datetime,
) -> pl.DataFrame:
    """Which minutes of which instruments lie in a hole: frame[gap, instrument_token, minute].

    - `gaps`: rows of `quality.tick_gaps` of one day; an open one lasts until the close
    - `tokens`: all that were subscribed, meant where a gap names none
    - `ticks`: instrument_token, exchange_at, received_at of what was heard

    A minute that a gap touches is no hole for an instrument of which a packet of that minute
    arrived after the gap began: the last state of the minute is known. A minute that two gaps
    touch has a row for each.
    """
    ended = pl.coalesce("ended_at", pl.lit(session_close, TIMESTAMP))
    spans = gaps.select(
        "gap",
        "started_at",
        token=pl.col("instrument_tokens").str.split(",").cast(pl.List(pl.Int64)),
        first=pl.max_horizontal("started_at", pl.lit(session_open, TIMESTAMP)).dt.truncate("1m"),
        last=pl.min_horizontal(ended, pl.lit(session_close, TIMESTAMP)),
    ).filter(pl.col("first") < pl.col("last"))
    if spans.is_empty():
        return pl.DataFrame(schema=_HOLES)
    everyone = pl.lit(pl.Series([list(tokens)], dtype=pl.List(pl.Int64)))
    touched = (
        spans.with_columns(
            instrument_token=pl.coalesce("token", everyone),
            minute=pl.datetime_ranges("first", "last", "1m", closed="left"),
        )
        .explode("minute")
        .explode("instrument_token")
    )
    heard = (
        ticks.select("instrument_token", "received_at", minute=moment().dt.truncate("1m"))
        .group_by(_KEY)
        .agg(pl.col("received_at").max())
    )
    silent = ~(pl.col("received_at") > pl.col("started_at")).fill_null(value=False)
    return (
        touched.join(heard, on=_KEY, how="left")
        .filter(silent)
        .select(pl.col(name).cast(dtype) for name, dtype in _HOLES.items())
        .sort("instrument_token", "minute", "gap")
    )


def candles_in_holes(
    candles: pl.DataFrame, holes: pl.DataFrame, gaps: pl.DataFrame, session_open: datetime
) -> pl.DataFrame:
    """The rows of `raw.candles` that fill holes, with `from_open`.

    True of a candle in a gap that began no later than the session: nothing traded before it but
    what other candles tell.
    """
    early = gaps.filter(pl.col("started_at") <= session_open)["gap"]
    filling = holes.group_by(_KEY).agg(from_open=pl.col("gap").is_in(early.implode()).any())
    return candles.join(filling, on=_KEY, maintain_order="left")


def healed(gaps: pl.DataFrame, holes: pl.DataFrame, candles: pl.DataFrame) -> pl.DataFrame:
    """Rows of `quality.tick_gaps` with what candles made good of each gap.

    `filled_minutes` and `unfilled_minutes` count its instrument-minutes with and without a
    candle; `healed_from` and `healed_at` (the last answer's time) are null where no candle fills
    any.
    """
    table = TABLES["quality.tick_gaps"]
    got = pl.col("fetched_at").is_not_null()
    sums = (
        holes.join(candles.select(*_KEY, "fetched_at"), on=_KEY, how="left")
        .group_by("gap")
        .agg(
            healed_from=pl.when(got.any()).then(pl.lit(FILLED)),
            healed_at=pl.col("fetched_at").max(),
            filled_minutes=got.sum(),
            unfilled_minutes=(~got).sum(),
        )
    )
    nothing = (pl.col(name).fill_null(0) for name in ("filled_minutes", "unfilled_minutes"))
    rows = gaps.drop("healed_from", "healed_at", "filled_minutes", "unfilled_minutes")
    return table.conform(rows.join(sums, on="gap", how="left").with_columns(nothing))


def bars_with_candles(
    ticks: pl.DataFrame,
    instruments: pl.DataFrame,
    state: pl.DataFrame,
    minutes: Sequence[datetime],
    candles: pl.DataFrame,
    **session: Any,
) -> pl.DataFrame:
    """`minute_bars` with `filled_from`, and with what candles tell where one fills a minute.

    `candles`: rows of `candles_in_holes`; those of other instruments and minutes are ignored.
    The arguments and columns are else those of `minute_bars`. What a candle tells is carried on
    until the instrument is heard again.
    """
    wanted = candles.filter(pl.col("minute").is_in(minutes)).join(
        instruments, on="instrument_token"
    )
    filled = set(wanted["minute"])
    parts = []
    at = moment().cast(TIMESTAMP)
    for place, run in groupby(enumerate(minutes), lambda p: p[1] if p[1] in filled else None):
        span = [minute for _, minute in run]
        heard = ticks
        if filled:
            heard = ticks.filter((at >= span[0]) & (at < span[-1] + MINUTE))
        bars = minute_bars(heard, instruments, state, span, **session).with_columns(
            filled_from=pl.lit(None, pl.String)
        )
        if place is not None:
            last = state.filter(pl.col("minute") == pl.col("minute").max())
            bars = _fill(bars, wanted.filter(pl.col("minute") == place), last)
        parts.append(bars)
        if bars.height:
            state = bars.filter(pl.col("minute") == span[-1])
    return pl.concat(parts).sort(_KEY) if len(parts) > 1 else parts[0]


def _fill(bars: pl.DataFrame, candles: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The bars of one minute with the figures that its candles tell.

    `before`: the bars of the minute before, none where nothing was known yet.
    """
    told = candles.select(
        *_KEY, "counts_trades", "from_open", pl.col(_TOLD).name.prefix("candle_"),
        candle=pl.lit(FILLED),
    )  # fmt: skip
    earlier = before.select("instrument_token", volume_before="volume_units")
    rows = bars.join(told, on=_KEY, how="full", coalesce=True).join(
        earlier, on="instrument_token", how="left"
    )
    trades, units = pl.col("counts_trades"), pl.col("candle_volume_units")
    so_far = pl.coalesce("volume_before", pl.when("from_open").then(0)) + units
    rows = rows.with_columns(
        so_far=pl.when(trades).then(pl.max_horizontal("volume_units", so_far)),
        first_trade=pl.coalesce(pl.col("volume_before") == 0, "from_open"),
    )
    priced = ~trades | (units > 0) | (pl.col("so_far") > 0)
    value = {n: pl.when(priced & (pl.col(f"candle_{n}") > 0)).then(f"candle_{n}") for n in _TOLD}
    traded = units > 0
    known = {n: pl.when(pl.col(n) > 0).then(n) for n in ("open", "high", "low")}
    first = pl.when(traded & pl.col("first_trade"))
    ranged = traded & (known["high"].is_not_null() | pl.col("first_trade"))
    figures: dict[str, pl.Expr] = {
        "last_price": value["close"],
        "first_price": value["open"],
        "high_price": value["high"],
        "low_price": value["low"],
        "open": pl.coalesce(known["open"], first.then(value["open"])),
        "high": pl.when(ranged)
        .then(pl.max_horizontal(known["high"], value["high"]))
        .otherwise(known["high"]),
        "low": pl.when(ranged)
        .then(pl.min_horizontal(known["low"], value["low"]))
        .otherwise(known["low"]),
        "volume_units": pl.col("so_far"),
        "volume_minute_units": pl.when(trades).then(units),
        "oi_units": pl.when(trades).then("candle_oi_units"),
        "ticks": pl.col("ticks").fill_null(0),
        "last_tick_at": pl.col("last_tick_at").fill_null(pl.col("minute")),
        "twap_seconds": pl.lit(0.0),
        "filled_from": pl.col("candle"),
        **{name: pl.lit(None, bars.schema[name]) for name in _NOT_TOLD},
    }
    filled = pl.col("candle").is_not_null()
    return rows.select(
        pl.when(filled).then(figures[name]).otherwise(name).alias(name).cast(dtype)
        if name in figures
        else pl.col(name)
        for name, dtype in bars.schema.items()
    ).sort(_KEY)
