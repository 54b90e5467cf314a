"""Straddles and strangles by expiry bucket and offset from the money.

Belongs here: sums of two legs' prices. Does not belong here: which strike is the money
(`optrade.contracts`), premium's history and overlays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.contracts import fill_buckets
from optrade.division import quotient
from optrade.tables import TABLES

OFFSETS: Final = (-2, -1, 0, 1, 2)

_SUMS: Final = {
    "last_premium": "last_price",
    "close_premium": "close_price",
    "vwap_premium": "average_price",
    "settlement_premium": "settlement",
    "oi_units": "oi_units",
    "mid_premium": "mid_price",
    "twap_premium": "twap",
}
"""Which figure of the two legs adds up to which premium; each grain has those its chain has."""


def premium_close(chain: pl.DataFrame, offsets: Sequence[int] = OFFSETS) -> pl.DataFrame:
    """`analytics.premium_close` of rows of `snapshots.chain_close`, any number of days.

    One row per bucket an expiry fills and combination of which both legs are listed: a straddle
    at each of `offsets`, a strangle of each width from 1 to the largest offset. A premium is
    null where a leg's price is; `reason` is `no_trade` if a leg did not trade, else
    `not_published` if the last trades or the lot size (and so the VWAP) are not known.
    """
    premiums = _premiums(chain, fill_buckets(chain), offsets, CLOSE)
    return TABLES["analytics.premium_close"].conform(premiums)


def premium_minute(
    chain: pl.DataFrame,
    offsets: Sequence[int] = OFFSETS,
    listed: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """`analytics.premium_minute` of rows of `snapshots.chain_minute`, any number of minutes.

    As `premium_close`, with the legs' middles of bid and ask and their time-weighted prices.
    `listed` has trade_date, underlying and expiry of all options listed that day (rows of
    `raw.instruments` that are options, say), from which it follows which bucket an expiry
    fills; without it, those of `chain` count as all there are.
    """
    buckets = fill_buckets(chain if listed is None else listed)
    premiums = _premiums(chain, buckets, offsets, MINUTE)
    return TABLES["analytics.premium_minute"].conform(premiums)


def _premiums(
    chain: pl.DataFrame, buckets: pl.DataFrame, offsets: Sequence[int], grain: Grain
) -> pl.DataFrame:
    key = grain.expiry
    sums = {figure: leg for figure, leg in _SUMS.items() if leg in chain.columns}
    call, put = (
        chain.filter(pl.col("option_type") == side).select(
            *key,
            pl.col("strike_offset").alias(f"{name}_offset"),
            *(pl.col(column).alias(f"{name}_{column}") for column in ("strike", *sums.values())),
        )
        for side, name in (("CE", "call"), ("PE", "put"))
    )
    shared = chain.group_by(key).agg(pl.col("spot", "source").first())
    return (
        buckets.join(shared, on=CLOSE.expiry)
        .join(_combinations(offsets), how="cross")
        .join(call, on=[*key, "call_offset"])
        .join(put, on=[*key, "put_offset"])
        .with_columns(
            (pl.col(f"call_{leg}") + pl.col(f"put_{leg}")).alias(figure)
            for figure, leg in sums.items()
        )
        .with_columns(
            close_premium_pct=quotient(pl.col("close_premium"), pl.col("spot")) * 100,
            reason=_reason(),
        )
    )


def _combinations(offsets: Sequence[int]) -> pl.DataFrame:
    """kind, strike_offset and the offset of each leg."""
    straddles = [("straddle", n, n, n) for n in sorted(set(offsets))]
    strangles = [("strangle", n, n, -n) for n in range(1, max(offsets, default=0) + 1)]
    names = ("kind", "strike_offset", "call_offset", "put_offset")
    schema = dict(zip(names, (pl.String, pl.Int64, pl.Int64, pl.Int64), strict=True))
    return pl.DataFrame(straddles + strangles, schema=schema, orient="row")


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("close_premium").is_null())
        .then(pl.lit("no_trade"))
        .when(pl.col("last_premium").is_null() | pl.col("vwap_premium").is_null())
        .then(pl.lit("not_published"))
    )
