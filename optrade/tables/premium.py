"""Declared schemas of premium: straddles and strangles at each grain, and beside their history.

Belongs here: what two legs cost together, how that got there in the session, and where it stands
in its past. Does not belong here: one option's price (see `snapshots`) or greeks (see
`analytics`).
"""

from __future__ import annotations

from optrade.tables.analytics import minute_table
from optrade.tables.common import (
    EXPIRY,
    EXPIRY_BUCKETS,
    SOURCE,
    TRADE_DATE,
    UNDERLYING,
    count,
    flag,
    price,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Column, Table

KINDS = ("straddle", "strangle")
GRAINS = ("close", "minute")
COMPARISONS = ("sessions_to_expiry", "weekday")
VARIANTS = ("rolling_atm", "fixed_strike")
REGIME_CHANGES = ("expiry_weekday", "lot_size", "expiry_weekday_and_lot_size")

_COMBINATION = (
    UNDERLYING,
    EXPIRY,
    word("expiry_bucket", "Expiry bucket", *EXPIRY_BUCKETS),
    flag(
        "bucket_alias",
        "True on the rows of a bucket whose expiry also fills an earlier "
        "bucket: the same contracts, not others",
    ),
    count("strike_offset", "Straddle: steps from the money; strangle: its width", "steps", ge=None),
    word("kind", "Both legs at one strike, or +n call with -n put", *KINDS),
)
_SESSIONS = count(
    "sessions_to_expiry",
    "Sessions after this one up to the expiry, 0 on its day; null beyond the calendar",
    "sessions",
    nullable=True,
)
_LOT = count("lot_size", "Units in a lot; null when unknown", "units", nullable=True, ge=1)

PREMIUM_CLOSE = Table(
    group="analytics",
    name="premium_close",
    row="one straddle or strangle of one expiry bucket at the close",
    method=(
        "A straddle is CE + PE at one offset from the money; a strangle of width n pairs the "
        "+n call with the -n put. One row per bucket the expiry fills. `percentile` is among the "
        "last 250 sessions, as far as they are held."
    ),
    columns=(
        TRADE_DATE,
        *_COMBINATION,
        price("call_strike", "Strike of the call", nullable=False),
        price("put_strike", "Strike of the put", nullable=False),
        price("last_premium", "Sum of the legs' last trades of the day"),
        price("close_premium", "Sum of the legs' closing prices"),
        price("vwap_premium", "Sum of the legs' day VWAPs"),
        price(
            "settlement_premium",
            "Sum of the legs' settlement prices, theoretical where a leg did not trade",
            nullable=False,
        ),
        price("spot", "The underlying's close"),
        real("close_premium_pct", "close_premium over spot", "percent", ge=0),
        count("oi_units", "Open interest of both legs", "units"),
        word(
            "reason", "Why a premium is null", "no_trade", "expired", "not_published", nullable=True
        ),
        _SESSIONS,
        _LOT,
        price("day_twap_premium", "Null: the daily file does not say when it traded at what"),
        real("price_efficiency", "Null, as day_twap_premium", "fraction", ge=0, le=1),
        word(
            "efficiency_reason",
            "Why price_efficiency is null",
            "not_published",
            "too_few_prices",
            "no_move",
            nullable=True,
        ),
        real("intraday_volatility", "Null, as day_twap_premium", "fraction a year", ge=0),
        word(
            "volatility_reason",
            "Why intraday_volatility is null",
            "not_published",
            "too_few_returns",
            nullable=True,
        ),
        price("fixed_call_strike", "Call's strike at the previous close; null where not held"),
        price("fixed_put_strike", "Put's strike at the previous close; null where not held"),
        price(
            "fixed_premium", "Sum of the closing prices at those strikes; null unless both traded"
        ),
        real(
            "percentile",
            "Share of the earlier sessions with the same bucket, offset and sessions_to_expiry "
            "whose close_premium_pct was lower",
            "percent",
            ge=0,
            le=100,
        ),
        count("history_n", "Such sessions held", "sessions", nullable=True),
        count(
            "same_regime_n",
            "Those of them with today's expiry weekday and lot size",
            "sessions",
            nullable=True,
        ),
        word(
            "percentile_reason",
            "Why percentile is null",
            "no_premium",
            "calendar_ends",
            "too_few_sessions",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "underlying", "expiry_bucket", "kind", "strike_offset"),
)

_FROM_PATH: tuple[Column, ...] = (
    price("mid_premium", "Sum of the legs' middles of bid and ask"),
    price("twap_premium", "Sum of the legs' time-weighted prices of the minute"),
    real(
        "day_twap_seconds",
        "Seconds of the session that day_twap_premium speaks of",
        "seconds",
        ge=0,
    ),
    count(
        "moves_n",
        "Minutes so far at whose beginning and end the pair then current had a price",
        "minutes",
        nullable=True,
    ),
    price("net_move", "Sum of the pair's moves in those minutes", ge=None),
    price("path_length", "Sum of the sizes of those moves"),
    real("realised_variance", "Sum of the squared log returns of those minutes", "squared", ge=0),
)

PREMIUM_MINUTE = minute_table(
    PREMIUM_CLOSE,
    "one straddle or strangle of one expiry bucket at the end of one minute",
    "As `premium_close`, with the middle of bid and ask and the time-weighted premium of the "
    "minute and of the session so far. From the expiry's first tick on every combination has a "
    "row in every minute. Moves are those of the pair that is current, since the minute before, "
    "so that a change of strike is no move.",
    nullable=("call_strike", "put_strike", "settlement_premium", "oi_units"),
    reasons=("legs_not_heard",),
    said={
        "spot": "The index at the end of the minute; null when it was not heard of",
        "call_strike": "Strike of the call; null where no leg or no money is known",
        "put_strike": "Strike of the put; null where no leg or no money is known",
        "last_premium": "Sum of the legs' last trades of the day so far",
        "close_premium": "The same as last_premium",
        "vwap_premium": "Sum of the legs' VWAPs of the day so far, as the exchange has them",
        "settlement_premium": "Null: the exchange settles at the close",
        "day_twap_premium": "twap_premium weighted by the seconds both legs had a price, so far",
        "price_efficiency": "|net_move| / path_length: 1 when all moves went one way",
        "intraday_volatility": "sqrt(realised_variance / moves_n x 375 x 252); null under 30 moves",
        "fixed_call_strike": "Call's strike in the first minute that had the pair",
        "fixed_put_strike": "Put's strike in the first minute that had the pair",
        "fixed_premium": "Sum of the last trades at those strikes",
        "percentile": "As in `premium_close`, among the same minute of those sessions",
    },
    extra=_FROM_PATH,
)

PREMIUM_OVERLAY = Table(
    group="analytics",
    name="premium_overlay",
    row="one straddle or strangle of one expiry bucket at one time of day, beside its history",
    method=(
        "Median and quartiles (linear between order statistics) of the same bucket and offset over "
        "the earlier of the last 250 sessions that had as many sessions to expiry, or were the "
        "same weekday; null under 8 of them. Rows by minute where at least one of those has that "
        "minute."
    ),
    columns=(
        TRADE_DATE,
        word("grain", "Whether premiums at the close or by minute are compared", *GRAINS),
        stamp("snapshot_at", "The close of the session, or the end of the minute"),
        *(column for column in _COMBINATION if column.name != "bucket_alias"),
        word("comparison", "Which sessions count", *COMPARISONS),
        word(
            "variant",
            "rolling_atm: the offset from the money of that moment; fixed_strike: the strikes that "
            "offset had at the previous close, by minute in the session's first minute",
            *VARIANTS,
        ),
        _SESSIONS,
        price("premium", "Today's: closing prices; by minute last trades"),
        price("median_premium", "Median of the history"),
        price("lower_quartile_premium", "A quarter of the history is below"),
        price("upper_quartile_premium", "A quarter of the history is above"),
        real("premium_pct", "Today's, over spot", "percent", ge=0),
        real("median_pct", "Median of the history over its spot", "percent", ge=0),
        real("lower_quartile_pct", "A quarter of the history over spot is below", "percent", ge=0),
        real("upper_quartile_pct", "A quarter of the history over spot is above", "percent", ge=0),
        count("n", "Sessions of the history", "sessions"),
        count(
            "same_regime_n", "Those of them with today's expiry weekday and lot size", "sessions"
        ),
        count("other_weekday_n", "Those whose contracts expired on another weekday", "sessions"),
        count("other_lot_n", "Those with another lot size, or where one is unknown", "sessions"),
        flag("crosses_regime", "Whether the history holds sessions of another regime"),
        word("regime_change", "What was different in them", *REGIME_CHANGES, nullable=True),
        word(
            "reason",
            "Why a figure is null",
            "calendar_ends",
            "too_few_sessions",
            "no_premium",
            nullable=True,
        ),
        SOURCE,
    ),
    key=(
        "trade_date",
        "grain",
        "snapshot_at",
        "underlying",
        "expiry_bucket",
        "kind",
        "strike_offset",
        "comparison",
        "variant",
    ),
)

TABLES = (PREMIUM_CLOSE, PREMIUM_MINUTE, PREMIUM_OVERLAY)
