"""Ticks and subscriptions of Friday 3 July 2026, worked by hand or drawn from a seed.

Belongs here: rows of `raw.ticks` and of a subscription that hold every rule of their tables. Does
not belong here: rows of the close tables (see `conftest.py`) and assertions.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from itertools import product

import numpy as np
import polars as pl

from optrade.calendar import IST
from optrade.subscription import SCHEMA
from optrade.tables import TABLES

Frame = pl.DataFrame
DAY = date(2026, 7, 3)
_TICK = {
    "instrument_token": 256,
    "mode": "full",
    "last_price": 100.0,
    "average_price": 100.0,
    "volume_units": 75,
    "open": 100.0,
    "high": 101.0,
    "low": 99.0,
    "close": 98.0,
    "oi_units": 750,
    "bid": 99.95,
    "ask": 100.05,
    "bid_units": 75,
    "ask_units": 150,
    "segment": "091500-a",
    "source": "simulated",
}
_INSTRUMENT = {
    "instrument_token": 256,
    "kind": "option",
    "underlying": "NIFTY",
    "expiry": date(2026, 7, 7),
    "strike": 24_000.0,
    "option_type": "CE",
    "lot_size": 75,
    "expiry_bucket": "this_week",
    "bucket_alias": False,
}
_NO_STRIKE = {"strike": None, "option_type": None, "expiry_bucket": None, "bucket_alias": None}
_SPOT = 24_000.0


def at(text: str) -> datetime:
    """A moment of the day: `at("09:15:30.5")`."""
    return datetime.combine(DAY, time.fromisoformat(text), IST)


def ticks(*rows: tuple[str, dict[str, object]]) -> Frame:
    """Each (time, changes) is a full packet of one option, 0.2 s under way."""
    schema = TABLES["raw.ticks"].schema
    data = []
    for n, (stamp, changes) in enumerate(rows):
        moment = at(stamp)
        under_way = {
            "trade_date": DAY,
            "exchange_at": moment,
            "received_at": moment + timedelta(milliseconds=200),
            "sequence": n,
        }
        data.append(dict.fromkeys(schema) | _TICK | under_way | changes)
    return TABLES["raw.ticks"].conform(pl.DataFrame(data, schema=schema))


def subscription(*rows: dict[str, object]) -> Frame:
    """Each argument overrides a NIFTY call of 24,000."""
    schema = {name: SCHEMA[name] for name in _INSTRUMENT}
    return pl.DataFrame([_INSTRUMENT | row for row in rows], schema=schema)


def random_feed(seed: int, minutes: int) -> tuple[Frame, Frame]:
    """Noisy ticks of some minutes and the subscription they are of.

    Silent spells, late and wild stamps, packets of every kind, one-sided and crossed books.
    """
    rng, chosen = np.random.default_rng(seed), _listed()
    frame = _arrivals(rng, chosen["instrument_token"].to_numpy(), minutes).join(
        chosen.select("instrument_token", "kind", "strike", "option_type"),
        on="instrument_token",
        maintain_order="left",
    )
    away = (_SPOT - pl.col("strike")) * (2 * (pl.col("option_type") == "CE").cast(pl.Int32) - 1)
    value = pl.coalesce(away.clip(lower_bound=0) + 60, pl.lit(_SPOT)) + pl.col("noise")
    index_like = pl.col("kind").is_in(["index", "vix"])
    frame = frame.with_columns(
        last_price=value.round(2),
        mode=pl.when(index_like).then(pl.lit("index_full")).otherwise("mode"),
    )
    full, quoted = pl.col("mode") == "full", pl.col("mode").is_in(["full", "quote"])
    prices = {name: pl.col("last_price") for name in ("average_price", "open", "high", "low")}
    return _ticks_of(
        frame.with_columns(
            exchange_at=pl.when(full | index_like).then("exchange_at"),
            volume_units=pl.when(quoted).then("volume_units"),
            oi_units=pl.when(full).then("oi_units"),
            bid=pl.when(full & (pl.col("bid") > 0)).then((value - pl.col("bid")).round(2)),
            ask=pl.when(full & (pl.col("ask") > 0)).then((value + pl.col("ask") - 1).round(2)),
            close=pl.when(pl.col("mode") != "ltp").then(pl.col("last_price") - 1),
            **{name: pl.when(quoted).then(price) for name, price in prices.items()},
        )
    ), chosen


def _listed() -> Frame:
    """An index, India VIX, a future, and nine strikes of three expiries."""
    expiries = (DAY, date(2026, 7, 7), date(2026, 7, 28))
    index = {"kind": "index", "instrument_token": 9 + 256, "expiry": None}
    vix = index | {"kind": "vix", "underlying": "INDIAVIX", "instrument_token": 9 + 512}
    future = {"kind": "future", "instrument_token": 2 + 768, "expiry": expiries[2]}
    options = [
        {"expiry": expiry, "strike": strike, "option_type": side, "instrument_token": 256 * n + 2}
        for n, (expiry, strike, side) in enumerate(
            product(expiries, _SPOT + 50 * np.arange(-4, 5), ("CE", "PE")), start=10
        )
    ]
    return subscription(*(row | _NO_STRIKE for row in (index, vix, future)), *options)


def _arrivals(rng: np.random.Generator, tokens: np.ndarray, minutes: int) -> Frame:
    """What came when, not yet cut down to what a packet of its mode holds."""
    n = 40 * minutes
    token = rng.choice(tokens, n)
    received = np.sort(rng.integers(-30_000_000, minutes * 60_000_000, n))
    stamp = (received - rng.integers(0, 3_000_000, n)) // 1_000_000 * 1_000_000
    stamp = np.where(rng.random(n) < 0.02, stamp - 10**12, stamp)
    start = int(at("09:15").timestamp()) * 1_000_000
    mode = rng.choice(["full", "quote", "ltp"], n, p=[0.85, 0.1, 0.05])
    return pl.DataFrame(
        {
            "instrument_token": token,
            "exchange_at": start + stamp,
            "received_at": start + received,
            "mode": mode,
            "noise": rng.normal(0, 3, n),
            "volume_units": np.cumsum(rng.integers(0, 3, n)) * 75 * (rng.random(n) < 0.9),
            "oi_units": rng.integers(1, 10_000, n),
            "sequence": np.arange(n),
            "segment": [f"{k // 60_000_000 + 1:04}-a" for k in received],
            "bid": rng.uniform(-1, 5, n),
            "ask": rng.uniform(-1, 5, n),
        }
    )


def _ticks_of(frame: Frame) -> Frame:
    schema = TABLES["raw.ticks"].schema
    frame = frame.with_columns(
        pl.col("exchange_at", "received_at").cast(pl.Datetime("us", "UTC")),
        trade_date=DAY,
        source=pl.lit("simulated"),
        bid_units=75,
        ask_units=75,
    )
    absent = [pl.lit(None, t).alias(n) for n, t in schema.items() if n not in frame.columns]
    return TABLES["raw.ticks"].conform(frame.with_columns(absent))
