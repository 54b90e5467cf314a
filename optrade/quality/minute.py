"""The chain by minute and what follows from it: without holes, in line, and adding up.

Belongs here: rules of `snapshots.chain_minute` and the `analytics` tables by minute. Does not
belong here: packets and indices (`ticks`), rules of the close (`chain`, `prices`, `analytics`),
of premium (`premium`).

A run of the lane judges the minutes it brought, so every rule holds for a few minutes as well as
for a day. Shares leave room for the opening minute and a reconnection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, missing, own_error, share, words
from optrade.tables import TABLES

CHAIN = "snapshots.chain_minute"
GREEKS, METRICS = "analytics.greeks_minute", "analytics.chain_metrics_minute"
OPEN_INTEREST = "analytics.open_interest_minute"
STALE_SECONDS = 300
"""An option at the money that says nothing for so long stands still."""
PARITY_REACH = 5
"""Steps from the money within which put-call parity is looked at."""

_EXPIRY = (DAY, "minute", "underlying", "expiry")
_AT = pl.col("minute").dt.to_string("%H:%M")
_OPTION = words("{} {} {} {} {}", _AT, "underlying", "expiry", "strike", "option_type")
_TERM = words("{} {} {}", _AT, "underlying", "expiry")


def _holes(inputs: Inputs) -> pl.DataFrame:
    spans = (
        inputs.frame(CHAIN)
        .group_by(DAY, "underlying", "expiry", "strike", "option_type")
        .agg(
            pl.col("minute").min(),
            rows=pl.len(),
            span=(pl.col("minute").max() - pl.col("minute").min()).dt.total_minutes() + 1,
        )
        .sort(DAY, "underlying", "expiry", "strike", "option_type")
    )
    text = words("{}: {} of {} minutes", _OPTION, "rows", "span")
    return counted(spans, pl.col("rows") != pl.col("span"), text)


def _no_spot(inputs: Inputs) -> pl.DataFrame:
    return share(inputs.frame(CHAIN), pl.col("spot").is_null(), _OPTION)


def _crossed(inputs: Inputs) -> pl.DataFrame:
    crossed = pl.col("bid") > pl.col("ask")
    text = words("{}: bid {} ask {}", _OPTION, "bid", "ask")
    return share(inputs.frame(CHAIN), crossed, text)


def _standing(inputs: Inputs) -> pl.DataFrame:
    """Options at the money of the nearest expiry, in minutes in which others were heard."""
    moving = (pl.col("ticks") > 0).any().over(DAY, "minute", "underlying")
    near = (pl.col("strike_offset").abs() <= 1) & (pl.col("expiry_bucket") == "this_week")
    age = (pl.col("snapshot_at") - pl.col("last_tick_at")).dt.total_seconds()
    rows = inputs.frame(CHAIN).filter(moving).filter(near, pl.col("filled_from").is_null())
    return share(rows, age > STALE_SECONDS, words("{}: since {}", _OPTION, "last_tick_at"))


def _outside_range(inputs: Inputs) -> pl.DataFrame:
    last = pl.col("last_price")
    outside = ~last.is_between(pl.col("low") - 0.001, pl.col("high") + 0.001)
    text = words("{}: {} not in {} to {}", _OPTION, last, "low", "high")
    return share(inputs.frame(CHAIN), outside, text)


def _parity_off(inputs: Inputs) -> pl.DataFrame:
    """In half the width of both books and 0.2 % of the forward."""
    key = (*_EXPIRY, "strike")
    near = inputs.frame(CHAIN).filter(
        (pl.col("strike_offset").abs() <= PARITY_REACH) & pl.col("expiry_bucket").is_not_null()
    )
    near = near.with_columns(width=pl.col("ask") - pl.col("bid"))
    puts = near.filter(pl.col("option_type") == "PE").select(
        *key, put_price="mid_price", put_width="width"
    )
    pairs = near.filter(pl.col("option_type") == "CE").join(puts, on=key, maintain_order="left")
    due = pl.col("discount_factor") * (pl.col("forward") - pl.col("strike"))
    off = (pl.col("mid_price") - pl.col("put_price") - due).abs()
    room = (pl.col("width") + pl.col("put_width")) / 2 + 0.002 * pl.col("forward")
    return share(pairs, off > room, words("{}: {} rupees off", _OPTION, off.round(2)))


def _carry_off(inputs: Inputs) -> pl.DataFrame:
    terms = (
        inputs.frame(CHAIN)
        .filter(pl.col("expiry_bucket").is_not_null())
        .group_by(_EXPIRY)
        .agg(pl.col("forward", "spot", "years_to_expiry").first())
        .sort(_EXPIRY)
    )
    years = pl.max_horizontal(pl.col("years_to_expiry"), pl.lit(7 / 365))
    carry = (pl.col("forward") / pl.col("spot")).log() / years
    text = words("{}: forward {} spot {}", _TERM, pl.col("forward").round(2), "spot")
    return share(terms, carry.abs() > 0.3, text)


def _uncovered(inputs: Inputs, table: str, text: pl.Expr) -> pl.DataFrame:
    key = TABLES[table].key
    return missing(inputs.frame(table), inputs.frame(CHAIN).select(key).unique().sort(key), text)


def _unexplained(inputs: Inputs, table: str, figure: str) -> pl.DataFrame:
    bad = pl.col(figure).is_null() != pl.col("reason").is_not_null()
    return counted(inputs.frame(table), bad, _OPTION)


def _wrong_sign(inputs: Inputs) -> pl.DataFrame:
    call, delta = pl.col("option_type") == "CE", pl.col("delta")
    right = pl.when(call).then(delta.is_between(0, 1)).otherwise(delta.is_between(-1, 0))
    return counted(inputs.frame(GREEKS), ~right, words("{}: delta {}", _OPTION, delta))


def _implausible_iv(inputs: Inputs) -> pl.DataFrame:
    """Of expiries with a bucket and more than a day to go: on the last one anything goes."""
    rows = inputs.frame(METRICS).filter(
        pl.col("expiry_bucket").is_not_null(), pl.col("years_to_expiry") > 1 / 365
    )
    known = pl.col("atm_iv").is_between(0.03, 1.5).fill_null(value=False)
    return share(rows, ~known, words("{}: atm_iv {}", _TERM, pl.col("atm_iv").round(4)))


def _sums_off(inputs: Inputs) -> pl.DataFrame:
    oi, side = pl.col("oi_units"), pl.col("option_type")
    sums = (
        inputs.frame(CHAIN)
        .group_by(_EXPIRY)
        .agg(calls=oi.filter(side == "CE").sum(), puts=oi.filter(side == "PE").sum())
    )
    rows = inputs.frame(METRICS).join(sums, on=_EXPIRY, how="left", maintain_order="left")
    differ = (pl.col("call_oi_units") != pl.col("calls")) | (
        pl.col("put_oi_units") != pl.col("puts")
    )
    text = words(
        "{}: {} and {} of {} and {}", _TERM, "call_oi_units", "put_oi_units", "calls", "puts"
    )
    return counted(rows, differ, text)


def _warning(
    table: str,
    name: str,
    description: str,
    threshold: float,
    measure: Callable[[Inputs], pl.DataFrame],
    remedy: str = remedies.LOOK,
) -> Rule:
    """A rule about the market and the feed: a share of the rows may be off."""
    return Rule(
        name=name,
        table=table,
        severity="WARN",
        blocking=False,
        description=description,
        remedy=remedy,
        threshold=threshold,
        unit="share of rows, at most",
        measure=measure,
    )


def _covers(table: str, what: str, text: pl.Expr) -> Rule:
    return own_error(
        table,
        "covers_chain",
        f"Every {what} of the chain has its row in every minute.",
        "rows missing",
        partial(_uncovered, table=table, text=text),
        CHAIN,
    )


def _explained(table: str, figure: str) -> Rule:
    return own_error(
        table,
        "nulls_explained",
        f"`{figure}` is null exactly where a reason is given.",
        "rows unexplained",
        partial(_unexplained, table=table, figure=figure),
    )


RULES: tuple[Rule, ...] = (
    own_error(
        CHAIN,
        "no_minute_missing",
        "From its first minute to its last an option has a row in every one.",
        "options with a hole",
        _holes,
    ),
    _warning(
        CHAIN,
        "spot_known",
        "The index is known in all but 2 % of rows.",
        0.02,
        _no_spot,
        remedies.FEED,
    ),
    _warning(
        CHAIN,
        "books_not_crossed",
        "The best bid is above the best offer in at most 1 % of rows.",
        0.01,
        _crossed,
        remedies.FEED,
    ),
    _warning(
        CHAIN,
        "money_moves",
        "Of the options at the money of the nearest expiry, and the next to it, at most 5 % said "
        "nothing for 5 minutes while others of the index did; a candle is not looked at.",
        0.05,
        _standing,
        remedies.FEED,
    ),
    _warning(
        CHAIN,
        "inside_day_range",
        "The last price lies between the day's low and high in all but 1 % of rows.",
        0.01,
        _outside_range,
    ),
    _warning(
        CHAIN,
        "parity_holds",
        "Within 5 steps of the money, call less put (middles) is the discounted forward less "
        "strike, but for half the width of the books and 0.2 % of the forward, in 95 % of pairs.",
        0.05,
        _parity_off,
    ),
    _warning(
        CHAIN,
        "forward_near_spot",
        "The carry that forward over spot implies is below 30 % a year either way (a week at "
        "least) in all but 2 % of expiries.",
        0.02,
        _carry_off,
    ),
    _covers(GREEKS, "option", _OPTION),
    _explained(GREEKS, "iv"),
    own_error(
        GREEKS,
        "delta_has_its_sign",
        "A call's delta is 0 to 1, a put's -1 to 0.",
        "deltas of the wrong sign",
        _wrong_sign,
    ),
    _covers(METRICS, "expiry", _TERM),
    own_error(
        METRICS,
        "agrees_with_chain",
        "Open interest in calls and puts is the chain's.",
        "expiries that differ",
        _sums_off,
        CHAIN,
    ),
    _warning(
        METRICS,
        "atm_iv_plausible",
        "With more than a day to go, the volatility at the money is known and between 3 % and "
        "150 % a year in 95 % of the expiries that fill a bucket.",
        0.05,
        _implausible_iv,
    ),
    _covers(OPEN_INTEREST, "option", _OPTION),
    _explained(OPEN_INTEREST, "buildup"),
)
