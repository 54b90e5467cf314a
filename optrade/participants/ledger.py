"""Did positions move by what was traded? The residual of each class and segment.

Belongs here: identity 2 (change of net open interest = bought - sold) and which segments
expire. Does not belong here: identities inside one day (`identities`), expiry rules (they come
in as arguments), or verdicts (`optrade.quality`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

import polars as pl

from optrade.participants.positions import classes
from optrade.tables.common import SEGMENTS
from optrade.tables.participants import LEDGER

ROUNDING = 1
"""The published figures are rounded: a residual of so many contracts means nothing."""

_KEY = ("trade_date", "participant", "segment")
_SEGMENT_KEY = ("trade_date", "segment")


def expiring_segments(contracts: pl.DataFrame) -> pl.DataFrame:
    """Find the segments of which a listed contract expires: frame[trade_date, segment].

    `contracts` needs trade_date, underlying_class, instrument_type and expiry: the rows of
    `raw.fo_bhavcopy`, or their distinct values. Volatility futures count as index futures.
    """
    of = (
        pl.when(pl.col("underlying_class") == "stock")
        .then(pl.lit("stock"))
        .otherwise(pl.lit("index"))
    )
    kind = pl.col("instrument_type").replace_strict(
        {"FUT": "_future", "CE": "_call", "PE": "_put"}, return_dtype=pl.String()
    )
    return (
        contracts.filter(pl.col("expiry") == pl.col("trade_date"))
        .select("trade_date", segment=of + kind)
        .unique()
        .sort(_SEGMENT_KEY)
    )


def expiry_flags(
    dates: Collection[date],
    contracts: pl.DataFrame,
    by_rule: Mapping[date, Collection[str]],
) -> pl.DataFrame:
    """Tell what expires when: frame[trade_date, segment, expires, expiry_basis].

    One row per date and segment. Dates with rows in `contracts` (see `expiring_segments`) are
    read from them; the others from `by_rule`, the segments that expire by the published rule.

    Raises `KeyError` when a date is in neither.
    """
    held = set(contracts["trade_date"].unique())
    ruled = [(day, segment) for day in dates if day not in held for segment in by_rule[day]]
    schema = {"trade_date": pl.Date(), "segment": pl.String()}
    expiring = pl.concat(
        [expiring_segments(contracts), pl.DataFrame(ruled, schema=schema, orient="row")]
    ).with_columns(expires=pl.lit(value=True))
    basis = pl.DataFrame(
        [(day, "contract" if day in held else "rule") for day in sorted(set(dates))],
        schema={"trade_date": pl.Date(), "expiry_basis": pl.String()},
        orient="row",
    )
    return (
        basis.join(pl.DataFrame({"segment": SEGMENTS}), how="cross")
        .join(expiring.unique(), on=_SEGMENT_KEY, how="left")
        .select(*_SEGMENT_KEY, pl.col("expires").fill_null(value=False), "expiry_basis")
        .sort(_SEGMENT_KEY)
    )


def ledger(
    participant_oi: pl.DataFrame,
    participant_volume: pl.DataFrame,
    days: pl.DataFrame,
    expiries: pl.DataFrame,
) -> pl.DataFrame:
    """Return the `participants.ledger` rows of the `days` with an OI or a volume file held.

    `participant_oi` (`raw.participant_oi` rows) must span the days and their previous days;
    `days` is frame[trade_date, previous_date], `previous_date` the trading day before (or
    null); `expiries` is what `expiry_flags` returns for the days.

    Where several inputs are missing, `reason` names the day's own OI file first, then the
    previous day's, then the volume file. A residual within `ROUNDING` is `exact` or
    `rounding` on any day: on an expiry day it says that the class held next to nothing net in
    what expired. Only a larger one is `expiry` on such a day, and `broken` on any other.
    `expired_net_contracts` reads it: what expired left the book without a trade.

    Raises `ValueError` when `expiries` lacks a day that has a file.
    """
    oi = _net(participant_oi, "oi")
    before = oi.rename({"trade_date": "previous_date", "oi": "oi_before"}).drop("source")
    volume = _net(participant_volume, "net_volume")
    keys = pl.concat([oi.select(*_KEY, "source"), volume.select(*_KEY, "source")])
    rows = (
        keys.unique(list(_KEY), keep="first", maintain_order=True)
        .join(days.select("trade_date", "previous_date"), on="trade_date")
        .join(oi.drop("source"), on=_KEY, how="left")
        .join(before, on=("previous_date", "participant", "segment"), how="left")
        .join(volume.drop("source"), on=_KEY, how="left")
        .join(expiries, on=_SEGMENT_KEY, how="left")
        .with_columns(net_oi_change=pl.col("oi") - pl.col("oi_before"))
        .with_columns(residual=pl.col("net_oi_change") - pl.col("net_volume"))
        .with_columns(reason=_reason(), identity=_identity())
        .with_columns(expired_net_contracts=_expired(), expired_reason=_expired_reason())
    )
    if rows["expiry_basis"].has_nulls():
        day = rows.filter(pl.col("expiry_basis").is_null()).row(0, named=True)["trade_date"]
        raise ValueError(f"`expiries` says nothing of {day}; pass what `expiry_flags` returns")
    return LEDGER.conform(rows)


def _net(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    net = (pl.col("long_contracts") - pl.col("short_contracts")).alias(name)
    return classes(frame).select(*_KEY, net, "source")


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("oi").is_null())
        .then(pl.lit("oi_file_not_held"))
        .when(pl.col("oi_before").is_null())
        .then(pl.lit("previous_day_not_held"))
        .when(pl.col("net_volume").is_null())
        .then(pl.lit("volume_file_not_held"))
    )


def _identity() -> pl.Expr:
    size = pl.col("residual").abs()
    return (
        pl.when(size == 0)
        .then(pl.lit("exact"))
        .when(size <= ROUNDING)
        .then(pl.lit("rounding"))
        .when((size > ROUNDING) & pl.col("expires"))
        .then(pl.lit("expiry"))
        .when(size > ROUNDING)
        .then(pl.lit("broken"))
    )


def _expired() -> pl.Expr:
    return pl.when(pl.col("identity") == "expiry").then(-pl.col("residual"))


def _expired_reason() -> pl.Expr:
    return (
        pl.when(pl.col("identity").is_null())
        .then(pl.lit("residual_unknown"))
        .when(~pl.col("expires"))
        .then(pl.lit("nothing_expired"))
        .when(pl.col("identity") != "expiry")
        .then(pl.lit("within_rounding"))
    )
