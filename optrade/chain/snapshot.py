"""The option chain at the close, from the exchange's end-of-day files.

Belongs here: turning raw rows into `snapshots.chain_close`: what traded, in which units, at
which spot and forward, how far from the money and from expiry. Does not belong here: reading
files (`optrade.formats`), trading sessions (`optrade.calendar`), anything solved from the
chain (`greeks`, `metrics`, `open_interest`, `premium`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

import polars as pl

from optrade.chain.grain import CLOSE
from optrade.chain.money import with_forwards, with_offsets, years_to_expiry
from optrade.contracts import UNDERLYINGS, expiry_buckets
from optrade.division import quotient
from optrade.pricing.forward import RATE
from optrade.tables import TABLES, TIMESTAMP

_DAY: Final = ("trade_date", "underlying")
_EXPIRY: Final = (*_DAY, "expiry")
_CUT: Final = 1000.0
"""The old format cuts turnover off to whole thousands of rupees (seen: always downwards)."""
_DUST: Final = 0.5  # rupees; keeps float dust from ruling out the very lot that fits exactly


def chain_close(
    bhavcopy: pl.DataFrame,
    index_close: pl.DataFrame,
    closes: Mapping[date, datetime],
    rate: float = RATE,
    activity_lots: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """`snapshots.chain_close` of every index option in `bhavcopy`, any number of days.

    - `bhavcopy`: rows of `raw.fo_bhavcopy`; its index futures back up the forward
    - `index_close`: rows of `raw.index_close`, maybe none; gives the spot where the bhavcopy
      has none
    - `closes`: the close of each trade_date's session, timezone-aware
    - `rate`: a year, continuously compounded
    - `activity_lots`: trade_date, underlying, expiry, lot_size as the market activity report
      publishes it (quantity / contracts), for days of the old format

    Raises `ValueError` when `closes` lacks a day of `bhavcopy` or a close has no timezone.
    """
    index = bhavcopy.filter(pl.col("underlying_class") == "index")
    options = index.filter(pl.col("instrument_type").is_in(["CE", "PE"])).rename(
        {"instrument_type": "option_type"}
    )
    options = (
        options.join(_moments(options, closes), on="trade_date")
        .join(_lots(options, activity_lots), on=_EXPIRY)
        .join(_spots(index, index_close), on=_DAY)
        .with_columns(years_to_expiry())
        .with_columns(*_prices())
        .with_columns(_average_price())
    )
    futures = index.filter(pl.col("instrument_type") == "FUT")
    options = with_forwards(
        options,
        options.select(
            *_EXPIRY, "strike", "option_type", price="close_price", volume="volume_lots"
        ),
        futures.select(*_EXPIRY, price="close", volume="volume_lots"),
        rate,
        CLOSE,
    )
    options = with_offsets(options, options, CLOSE)
    return TABLES["snapshots.chain_close"].conform(
        options.join(expiry_buckets(options), on=_EXPIRY)
    )


def _moments(options: pl.DataFrame, closes: Mapping[date, datetime]) -> pl.DataFrame:
    days = sorted(options["trade_date"].unique())
    missing = [str(day) for day in days if day not in closes]
    if missing:
        raise ValueError(f"no session close given for {', '.join(missing)}")
    naive = [str(day) for day in days if closes[day].tzinfo is None]
    if naive:
        raise ValueError(f"session closes need a timezone: {', '.join(naive)}")
    moments = pl.Series("snapshot_at", [closes[day] for day in days], pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {"trade_date": pl.Series(days, dtype=pl.Date), "snapshot_at": moments.cast(TIMESTAMP)}
    )


def _lots(options: pl.DataFrame, activity_lots: pl.DataFrame | None) -> pl.DataFrame:
    """Lot size and its basis, one row per (trade_date, underlying, expiry).

    Published if any file has it. Else the only whole number consistent with every turnover:
    turnover = (strike + average price) x lots x lot, with the average inside [low, high] and
    the published figure up to 1,000 rupees short.
    """
    traded = pl.col("volume_lots") > 0
    value, volume, strike = pl.col("turnover_rupees"), pl.col("volume_lots"), pl.col("strike")
    least = quotient(value - _DUST, (strike + pl.col("high")) * volume)
    most = quotient(value + _CUT, (strike + pl.col("low")) * volume)
    lots = options.group_by(_EXPIRY).agg(
        stated=pl.col("lot_size").max(),
        least=least.filter(traded).max().ceil(),
        most=most.filter(traded).min().floor(),
    )
    published = pl.col("stated")
    if activity_lots is not None:
        report = activity_lots.group_by(_EXPIRY).agg(reported=pl.col("lot_size").max())
        lots = lots.join(report, on=_EXPIRY, how="left")
        published = pl.coalesce("stated", "reported")
    only = pl.when((pl.col("least") == pl.col("most")) & (pl.col("least") >= 1)).then("least")
    return lots.select(
        *_EXPIRY,
        expiry_lot=pl.coalesce(published, only.cast(pl.Int64)),
        lot_size_basis=pl.when(published.is_not_null())
        .then(pl.lit("published"))
        .when(only.is_not_null())
        .then(pl.lit("turnover")),
    )


def _spots(index: pl.DataFrame, index_close: pl.DataFrame) -> pl.DataFrame:
    """Spot and its basis, one row per (trade_date, underlying)."""
    names = pl.DataFrame(
        [(u.symbol, u.index_name) for u in UNDERLYINGS.values()],
        schema={"underlying": pl.String, "index_name": pl.String},
        orient="row",
    )
    closes = index_close.select("trade_date", "index_name", index_spot="close")
    stated = pl.col("underlying_price")
    return (
        index.group_by(_DAY)
        .agg(stated=stated.filter(stated > 0).max())
        .join(names, on="underlying", how="left")
        .join(closes, on=["trade_date", "index_name"], how="left")
        .select(
            *_DAY,
            spot=pl.coalesce("stated", "index_spot"),
            spot_basis=pl.when(pl.col("stated").is_not_null())
            .then(pl.lit("bhavcopy"))
            .when(pl.col("index_spot").is_not_null())
            .then(pl.lit("index_close")),
        )
    )


def _prices() -> tuple[pl.Expr, ...]:
    """What the day's figures mean for one contract: null where it did not trade."""
    traded = pl.col("volume_lots") > 0
    lot = pl.coalesce("lot_size", "expiry_lot")
    final = pl.col("settlement")
    payoff = (
        pl.when(pl.col("option_type") == "CE")
        .then(final - pl.col("strike"))
        .otherwise(pl.col("strike") - final)
        .clip(lower_bound=0)
    )
    one_for_all = (final.n_unique().over(_EXPIRY) == 1) & (pl.len().over(_EXPIRY) > 1)
    expired = pl.col("expiry") == pl.col("trade_date")
    units = pl.when(traded).then(pl.col("volume_lots") * lot).otherwise(0)
    return (
        pl.when(pl.col("lot_size").is_null())
        .then(pl.col("turnover_rupees") + _CUT / 2)
        .otherwise("turnover_rupees")
        .alias("likely_turnover"),
        *(pl.when(traded).then(name).alias(name) for name in ("open", "high", "low")),
        pl.when(traded & (pl.col("last") > 0)).then("last").alias("last_price"),
        pl.when(traded).then("close").alias("close_price"),
        pl.when(expired & one_for_all).then(payoff).otherwise(final).alias("settlement"),
        lot.alias("lot_size"),
        units.alias("volume_units"),
    )


def _average_price() -> pl.Expr:
    """The day's VWAP; needs the columns of `_prices`."""
    units = pl.col("volume_units")
    paid = pl.coalesce(
        "premium_turnover_rupees", pl.col("likely_turnover") - pl.col("strike") * units
    )
    return (
        pl.when(units > 0)
        .then(quotient(paid, units).clip(pl.col("low"), pl.col("high")))
        .alias("average_price")
    )
