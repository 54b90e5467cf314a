"""Prices of the chain: in line with one another, with spot and with the future.

Belongs here: rules of `snapshots.chain_close` about prices, spot and forward. Does not belong
here: what is listed (`chain`), or figures worked out from the chain (`analytics`).
"""

from __future__ import annotations

import polars as pl

from optrade.contracts import UNDERLYINGS
from optrade.quality import remedies
from optrade.quality.chain import BHAVCOPY, TABLE, near
from optrade.quality.rules import DAY, Inputs, Rule, largest, share, words

INDEX_CLOSE = "raw.index_close"
PARITY_REACH = 5
"""Steps from the money within which put-call parity is looked at."""

_EXPIRY = (DAY, "underlying", "expiry")
_OPTION = words("{} {} {} {}", "underlying", "expiry", "strike", "option_type")
_STRIKE = words("{} {} {}", "underlying", "expiry", "strike")
_TERM = words("{} {}", "underlying", "expiry")


def _terms(inputs: Inputs) -> pl.DataFrame:
    """One row per expiry that fills a bucket, with what is the same for all its options."""
    return (
        near(inputs)
        .group_by(_EXPIRY)
        .agg(pl.col("forward", "spot", "years_to_expiry").first())
        .sort(_EXPIRY)
    )


def _pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Calls beside puts of the same strike, where both are in `rows`."""
    side, key = pl.col("option_type"), [*_EXPIRY, "strike"]
    puts = rows.filter(side == "PE").select(*key, put_price="close_price")
    return rows.filter(side == "CE").join(puts, on=key, maintain_order="left")


def _parity_off(inputs: Inputs) -> pl.DataFrame:
    traded = near(inputs).filter(
        (pl.col("strike_offset").abs() <= PARITY_REACH) & pl.col("close_price").is_not_null()
    )
    held = pl.col("close_price") - pl.col("put_price")
    due = pl.col("discount_factor") * (pl.col("forward") - pl.col("strike"))
    off = (held - due).abs() / pl.col("forward")
    return share(_pairs(traded), off > 0.01, words("{}: {} % off", _STRIKE, (off * 100).round(2)))


def _below_intrinsic(inputs: Inputs) -> pl.DataFrame:
    away = pl.col("forward") - pl.col("strike")
    payoff = pl.when(pl.col("option_type") == "CE").then(away).otherwise(-away)
    short = payoff.clip(lower_bound=0) * pl.col("discount_factor") - pl.col("close_price")
    return share(
        near(inputs),
        short / pl.col("forward") > 0.005,
        words("{}: {} below", _OPTION, short.round(2)),
    )


def _swapped(inputs: Inputs) -> pl.DataFrame:
    """In the money by 1.5 % and more, an option costs more than its twin out of the money.

    Measured from spot, and for the nearest expiries only, so that a forward bent by the very
    swap is no excuse; the future's premium over spot stays well within 1.5 % there.
    """
    reference = pl.coalesce("spot", "forward")
    depth = pl.col("strike") / reference - 1
    rows = near(inputs).filter(
        (pl.col("expiry_bucket") != "next_month")
        & (depth.abs() >= 0.015)
        & pl.col("close_price").is_not_null()
    )
    dearer = pl.when(depth < 0).then("close_price").otherwise("put_price")
    cheaper = pl.when(depth < 0).then("put_price").otherwise("close_price")
    return share(
        _pairs(rows),
        dearer <= cheaper,
        words("{}: call {} put {}", _STRIKE, "close_price", "put_price"),
    )


def _forward_off_spot(inputs: Inputs) -> pl.DataFrame:
    """A year's carry implied by forward over spot; a week at least, or the last tick counts."""
    years = pl.max_horizontal(pl.col("years_to_expiry"), pl.lit(7 / 365))
    carry = (pl.col("forward") / pl.col("spot")).log() / years
    return largest(
        _terms(inputs),
        carry.abs(),
        words("{}: forward {} spot {}", _TERM, pl.col("forward").round(2), "spot"),
    )


def _forward_off_future(inputs: Inputs) -> pl.DataFrame:
    futures = (
        inputs.frame(BHAVCOPY)
        .filter((pl.col("instrument_type") == "FUT") & (pl.col("volume_lots") > 0))
        .select(*_EXPIRY, future="close")
    )
    rows = _terms(inputs).join(futures, on=_EXPIRY, maintain_order="left")
    off = (pl.col("forward") / pl.col("future") - 1).abs() * 100
    return largest(
        rows,
        off,
        words("{}: forward {} future {}", _TERM, pl.col("forward").round(2), "future"),
    )


def _spots(inputs: Inputs) -> pl.DataFrame:
    return (
        inputs.frame(TABLE)
        .group_by(DAY, "underlying")
        .agg(pl.col("spot").first())
        .drop_nulls("spot")
        .sort(DAY, "underlying")
    )


def _spot_jumps(inputs: Inputs) -> pl.DataFrame:
    spots = _spots(inputs)
    both = spots.join(inputs.previous(), on=DAY).join(
        spots.select("underlying", previous_date=DAY, before="spot"),
        on=["previous_date", "underlying"],
        maintain_order="left",
    )
    move = (pl.col("spot") / pl.col("before") - 1).abs() * 100
    return largest(both, move, words("{}: {} after {}", "underlying", "spot", "before"))


def _spot_off_index(inputs: Inputs) -> pl.DataFrame:
    names = {u.symbol: u.index_name for u in UNDERLYINGS.values() if u.index_name is not None}
    named = _spots(inputs).with_columns(
        index_name=pl.col("underlying").replace_strict(
            names, default=None, return_dtype=pl.String()
        )
    )
    closes = inputs.frame(INDEX_CLOSE).select(DAY, "index_name", index_close="close")
    both = named.join(closes, on=[DAY, "index_name"], maintain_order="left")
    off = (pl.col("spot") / pl.col("index_close") - 1).abs() * 100
    return largest(both, off, words("{}: {} against {}", "underlying", "spot", "index_close"))


RULES: tuple[Rule, ...] = (
    Rule(
        name="parity_holds",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Within 5 steps of the money, call less put is the discounted forward less "
        "the strike within 1 % of the forward, but for 5 % of pairs that traded (none of "
        "1,439 on 18 real days is 1 % off; the worst is 0.95 %).",
        remedy=remedies.LOOK,
        threshold=0.05,
        unit="share of traded pairs",
        measure=_parity_off,
    ),
    Rule(
        name="not_below_intrinsic",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="At most 10 % of traded options closed below intrinsic value by more than "
        "0.5 % of the forward (1.1 % at most on 16 real days of 2020-26, 5.2 % on 2015-11-18): "
        "a closing price may be hours older than the spot.",
        remedy=remedies.LOOK,
        threshold=0.1,
        unit="share of traded options",
        measure=_below_intrinsic,
    ),
    Rule(
        name="calls_and_puts_not_swapped",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="1.5 % in the money an option costs more than its twin out of the money "
        "(as in all 4,107 traded pairs of 18 real days).",
        remedy=remedies.REPARSE,
        threshold=0.05,
        unit="share of traded pairs",
        measure=_swapped,
    ),
    Rule(
        name="forward_near_spot",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="The carry that forward over spot implies is below 30 % a year either way, "
        "in expiries that fill a bucket (15 % at most on 15 real days).",
        remedy=remedies.LOOK,
        threshold=0.3,
        unit="a year's carry, at most",
        measure=_forward_off_spot,
    ),
    Rule(
        name="forward_near_future",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="The forward is within 1 % of the future of the same expiry, where that "
        "traded (0.31 % at most on 18 real days).",
        remedy=remedies.LOOK,
        threshold=1,
        unit="percent off, at most",
        measure=_forward_off_future,
        needs=(BHAVCOPY,),
    ),
    Rule(
        name="spot_move_is_ordinary",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="No spot moved more than 10 % since the session before (2.4 % on 13 real pairs "
        "of days).",
        remedy=remedies.BACKFILL_PREVIOUS,
        threshold=10,
        unit="percent, at most",
        measure=_spot_jumps,
        looks_back=True,
    ),
    Rule(
        name="spot_is_the_index_close",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="The bhavcopy's spot is the index's close, within 0.05 % (equal on the 6 real "
        "days that have both).",
        remedy=remedies.REFETCH,
        threshold=0.05,
        unit="percent off, at most",
        measure=_spot_off_index,
        needs=(INDEX_CLOSE,),
    ),
)
