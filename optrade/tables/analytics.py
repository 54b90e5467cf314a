"""Declared schemas of the `analytics` group: what follows from a chain.

Belongs here: implied volatility, greeks, per-expiry metrics and open interest at each grain.
Does not belong here: participant figures, premium (see `premium`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from optrade.tables.common import (
    BUCKET_ALIAS,
    EXPIRY,
    EXPIRY_BUCKET,
    OPTION_TYPE,
    SOURCE,
    STRIKE,
    TRADE_DATE,
    UNDERLYING,
    count,
    price,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Column, Table

_CHAIN_KEY = (TRADE_DATE, UNDERLYING, EXPIRY, STRIKE, OPTION_TYPE)
_CHAIN_KEY_NAMES = tuple(c.name for c in _CHAIN_KEY)
IV_REASONS = (
    "no_trade",
    "no_forward",
    "below_intrinsic",
    "above_max",
    "expired",
    "out_of_domain",
)


def _walls(side: str, options: str) -> tuple[Column, ...]:
    """Where the open interest of one side stands and rose most; of equals nearest to spot."""
    return (
        price(f"{side}_wall_strike", f"Strike with the largest open interest in {options}"),
        count(f"{side}_wall_oi_units", "Open interest there", "units", nullable=True),
        price(
            f"{side}_oi_rise_strike", f"Strike where that of {options} rose most since yesterday"
        ),
        count(
            f"{side}_oi_rise_units", "Its rise; null where it rose nowhere", "units", nullable=True
        ),
    )


GREEKS_CLOSE = Table(
    group="analytics",
    name="greeks_close",
    row="implied volatility and greeks of one index option at the close",
    method=(
        "Black (1976) on the forward of the same expiry, solved from the closing price on the "
        "out-of-the-money side. A bad quote gives nulls and a reason."
    ),
    columns=(
        *_CHAIN_KEY,
        price("price", "The closing price used; null when it did not trade"),
        price("forward", "Forward used"),
        real("years_to_expiry", "Time used", "years", ge=0, nullable=False),
        real("iv", "Implied volatility", "fraction a year", ge=0),
        real("iv_error", "How much half a tick moves it: tick / 2 / vega", "fraction a year", ge=0),
        real("delta", "Price change per rupee of forward", "rupees per rupee", ge=-1, le=1),
        real("gamma", "Delta change per rupee of forward", "per rupee", ge=0),
        real("vega", "Price change per 1.00 of volatility", "rupees", ge=0),
        real("theta", "Price change per calendar day that passes", "rupees a day"),
        real("rho", "Price change per 1.00 of rate, forward held", "rupees"),
        word("reason", "Why it is null", *IV_REASONS, nullable=True),
        EXPIRY_BUCKET,
        count(
            "strike_offset",
            "Steps from the money on the listed ladder",
            "steps",
            nullable=True,
            ge=None,
        ),
        SOURCE,
    ),
    key=_CHAIN_KEY_NAMES,
)

CHAIN_METRICS_CLOSE = Table(
    group="analytics",
    name="chain_metrics_close",
    row="one expiry of one underlying at the close, over all its listed strikes",
    method="Sums and ratios over the chain; max pain minimises what writers pay at expiry.",
    columns=(
        TRADE_DATE,
        UNDERLYING,
        EXPIRY,
        EXPIRY_BUCKET,
        BUCKET_ALIAS,
        count("strikes", "Listed strikes", "strikes"),
        count("contracts_traded", "Options that traded", "contracts"),
        count("call_oi_units", "Open interest in calls", "units"),
        count("put_oi_units", "Open interest in puts", "units"),
        real("pcr_oi", "put_oi_units / call_oi_units; null without calls", "ratio", ge=0),
        count(
            "call_volume_units",
            "Calls traded; null when a lot size is unknown",
            "units",
            nullable=True,
        ),
        count(
            "put_volume_units",
            "Puts traded; null when a lot size is unknown",
            "units",
            nullable=True,
        ),
        real("pcr_volume", "put volume / call volume; null when no call traded", "ratio", ge=0),
        real("underlying_pcr_oi", "PCR by OI over all expiries of the underlying", "ratio", ge=0),
        real(
            "underlying_pcr_volume",
            "PCR by volume over all expiries of the underlying",
            "ratio",
            ge=0,
        ),
        price(
            "max_pain_strike",
            "Listed strike at which the options would pay out least; the "
            "lowest of equals; null without open interest",
        ),
        real("max_pain_payout_rupees", "What they would pay out there", "rupees", ge=0),
        price("spot", "The underlying's close"),
        price("forward", "Forward price for the expiry"),
        word(
            "forward_basis", "Where the forward is from", "parity", "future", "carry", nullable=True
        ),
        count("parity_pairs", "Call-put pairs the parity regression kept", "pairs", nullable=True),
        real(
            "years_to_expiry",
            "Calendar time to 15:30 of the expiry day",
            "years",
            ge=0,
            nullable=False,
        ),
        price("atm_strike", "Listed strike nearest to spot"),
        real(
            "atm_iv",
            "Implied volatility at the forward, interpolated between the two strikes "
            "around it in total variance",
            "fraction a year",
            ge=0,
        ),
        word("atm_iv_reason", "Why atm_iv is null", *IV_REASONS, nullable=True),
        price("atm_straddle", "CE + PE closing prices at atm_strike; null unless both traded"),
        price("expected_move_straddle", "The move to expiry as atm_straddle prices it, up or down"),
        price("expected_move_iv", "One standard deviation: forward x atm_iv x sqrt(years)"),
        real(
            "forward_iv",
            "Volatility between the expiry before and this one, from their total variances",
            "fraction a year",
            ge=0,
        ),
        word(
            "forward_iv_reason",
            "Why forward_iv is null",
            "first_expiry",
            "no_atm_iv",
            "variance_falls",
            nullable=True,
        ),
        *_walls("call", "calls"),
        *_walls("put", "puts"),
        count("iv_count", "Options with an implied volatility", "contracts"),
        real(
            "iv_coverage",
            "iv_count / contracts_traded; null when none traded",
            "fraction",
            ge=0,
            le=1,
        ),
        SOURCE,
    ),
    key=("trade_date", "underlying", "expiry"),
)

OPEN_INTEREST_CLOSE = Table(
    group="analytics",
    name="open_interest_close",
    row="what the open interest of one index option did over one day",
    method=(
        "Build-up from the signs of the OI change and of the price change since the previous "
        "session. The exchange states the OI change against the same expiry, so a contract it "
        "re-dates seems to start from nothing: there the previous session's row of the same "
        "contract is used and `oi_change_basis` says `held`. `buildup` speaks of the option, "
        "`underlying_view` of its underlying: a long build-up in a put is bearish."
    ),
    columns=(
        *_CHAIN_KEY,
        count("oi_units", "Open interest", "units"),
        count("oi_change_units", "Change since the previous close", "units", ge=None),
        word(
            "oi_change_basis",
            "published: as the exchange states it; held: from the previous session's row of the "
            "same contract, which says otherwise (the exchange re-dated it)",
            "published",
            "held",
        ),
        real(
            "oi_change_pct", "Change over the previous open interest; null from nothing", "percent"
        ),
        real(
            "oi_share",
            "Share of the expiry's open interest of the same option type",
            "fraction",
            ge=0,
            le=1,
        ),
        price("close_price", "Closing price; null when it did not trade"),
        price("price_change", "Closing price less the previous one", ge=None),
        word(
            "buildup",
            "The option's own story",
            "long_buildup",
            "short_buildup",
            "short_covering",
            "long_unwinding",
            "unchanged",
            nullable=True,
        ),
        word(
            "underlying_view",
            "What it says of the underlying",
            "bullish",
            "bearish",
            "neutral",
            nullable=True,
        ),
        word("reason", "Why the build-up is null", "no_trade", "no_previous_close", nullable=True),
        EXPIRY_BUCKET,
        count(
            "strike_offset",
            "Steps from the money on the listed ladder",
            "steps",
            nullable=True,
            ge=None,
        ),
        SOURCE,
    ),
    key=_CHAIN_KEY_NAMES,
)

_MINUTE = stamp("minute", "Start of the minute")


def minute_table(
    close: Table,
    row: str,
    method: str,
    *,
    nullable: Collection[str] = (),
    reasons: tuple[str, ...] = (),
    said: Mapping[str, str] = MappingProxyType({}),
    extra: tuple[Column, ...] = (),
) -> Table:
    """The minute grain of a table of the close: the same columns, a minute, and `extra`.

    `reasons` are more words for the column `reason`, `said` descriptions that differ.
    """
    columns = [
        replace(
            column,
            description=said.get(column.name, column.description),
            nullable=column.nullable or column.name in nullable,
            isin=column.isin + (reasons if column.name == "reason" else ()),
        )
        for column in close.columns
        if column.name not in {"trade_date", "source"}
    ]
    return Table(
        group=close.group,
        name=close.name.removesuffix("_close") + "_minute",
        row=row,
        method=method,
        columns=(TRADE_DATE, _MINUTE, *columns, *extra, SOURCE),
        key=("trade_date", "minute", *close.key[1:]),
        part="minute",
    )


_SPOT = {"spot": "The index at the end of the minute; null when it was not heard of"}

GREEKS_MINUTE = minute_table(
    GREEKS_CLOSE,
    "implied volatility and greeks of one index option at the end of one minute",
    "As `greeks_close`, on the middle of bid and ask where both stand, else on the last trade; "
    "`price_basis` says which.",
    said={"price": "The price used; null without a two-sided quote and without a trade today"},
    extra=(word("price_basis", "What price was solved", "mid", "last", nullable=True),),
)
CHAIN_METRICS_MINUTE = minute_table(
    CHAIN_METRICS_CLOSE,
    "one expiry of one underlying at the end of one minute, over its subscribed strikes",
    "As `chain_metrics_close`, over the options that were heard of by then.",
    nullable=("call_oi_units", "put_oi_units"),
    said=_SPOT
    | {
        "strikes": "Subscribed strikes that were heard of",
        "contracts_traded": "Options that traded today",
        "call_oi_units": "Open interest in calls; null when that of one is not known",
        "put_oi_units": "Open interest in puts; null when that of one is not known",
        "call_volume_units": "Calls traded today; null when that of one is not known",
        "put_volume_units": "Puts traded today; null when that of one is not known",
        "atm_straddle": "CE + PE last trades at atm_strike; null unless both traded today",
        "iv_coverage": "iv_count / options with a price to solve; null when none has",
    },
)
OPEN_INTEREST_MINUTE = minute_table(
    OPEN_INTEREST_CLOSE,
    "what the open interest of one index option has done since yesterday's close, by minute",
    "As `open_interest_close`, against yesterday's close as the exchange's file has it.",
    nullable=("oi_units", "oi_change_units", "oi_change_basis"),
    reasons=("no_previous_oi",),
    said={
        "oi_change_units": "Change since yesterday's close; null where that is not held",
        "oi_change_basis": "held: from yesterday's row of the same contract",
        "close_price": "Last trade; null when it did not trade today",
        "price_change": "Last trade less yesterday's closing price",
    },
)

TABLES = (
    GREEKS_CLOSE,
    CHAIN_METRICS_CLOSE,
    OPEN_INTEREST_CLOSE,
    GREEKS_MINUTE,
    CHAIN_METRICS_MINUTE,
    OPEN_INTEREST_MINUTE,
)
