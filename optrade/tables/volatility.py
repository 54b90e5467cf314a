"""Declared schemas of volatility seen over time: India VIX rebuilt, and volatility's own history.

Belongs here: figures of a whole underlying and day. Does not belong here: one expiry's volatility
(see `analytics`), the surface.
"""

from __future__ import annotations

import polars as pl

from optrade.tables.common import SOURCE, TRADE_DATE, UNDERLYING, count, price, real, word
from optrade.tables.schema import Column, Table

REPLICA_REASONS = ("no_pair", "no_forward", "too_few_quotes", "no_variance", "not_published")
NO_IV_REASONS = ("no_atm_iv", "not_bracketed")
REALISED_WINDOWS = (10, 20, 30)


def _day(name: str, description: str, *, nullable: bool = True) -> Column:
    return Column(name, pl.Date(), description, "date", nullable=nullable)


def _term(term: str, which: str) -> tuple[Column, ...]:
    """What one of the two months brings to the index."""
    return (
        _day(f"{term}_expiry", f"Monthly expiry {which}"),
        count(f"{term}_minutes", "Calendar minutes to 15:30 of it", "minutes", nullable=True),
        price(f"{term}_forward", "Forward index level of that month"),
        word(
            f"{term}_forward_basis",
            "The month's future; where that did not trade, the chain's own forward",
            *("future", "parity", "carry"),
            nullable=True,
        ),
        price(f"{term}_atm_strike", "Strike just below the forward"),
        price(f"{term}_lowest_strike", "Lowest strike used"),
        price(f"{term}_highest_strike", "Highest strike used"),
        count(f"{term}_strikes", "Strikes used, those of the spline too", "strikes", nullable=True),
        count(
            f"{term}_splined_strikes",
            "Of those, how many have their price from the spline",
            "strikes",
            nullable=True,
        ),
        real(f"{term}_variance", "Variance to that expiry", "variance a year", ge=0),
    )


VIX_REPLICA = Table(
    group="analytics",
    name="vix_replica",
    row="India VIX rebuilt from one day's closes, beside the published one",
    method="NSE's India VIX white paper: the Cboe (2003) formula over the out-of-the-money NIFTY "
    "options of the near and the next month, each month's future as forward, a natural cubic "
    "spline where quotes are inadequate, calendar minutes, linear in total variance to 30 days. "
    "Closing prices stand for the middle of bid and ask.",
    columns=(
        TRADE_DATE,
        UNDERLYING,
        real("replica", "The rebuilt index", "points", ge=0),
        real("published", "India VIX at the close, as published", "points", ge=0),
        real("error", "replica less published", "points"),
        word(
            "reason",
            "Why error is null: not_published says that only the published close is missing, the "
            "others why there is no replica",
            *REPLICA_REASONS,
            nullable=True,
        ),
        real("rate", "Configured rate, in place of MIBOR", "fraction a year", nullable=False),
        real(
            "near_weight",
            "The near month's weight at 30 days; outside 0 to 1 when both lie on one side",
            "fraction",
        ),
        *_term("near", "nearest of those two days or more away"),
        *_term("next", "after the near one"),
        SOURCE,
    ),
    key=("trade_date", "underlying"),
)


def _realised() -> tuple[Column, ...]:
    windows = [
        (
            real(
                f"realised_{window}",
                f"Close to close over {window} sessions",
                "fraction a year",
                ge=0,
            ),
            real(
                f"yang_zhang_{window}",
                f"From open, high, low and close over {window} sessions; null where one of them is",
                "fraction a year",
                ge=0,
            ),
        )
        for window in REALISED_WINDOWS
    ]
    return tuple(column for pair in windows for column in pair)


def _inside(kind: str, what: str) -> tuple[Column, ...]:
    return (
        real(
            f"inside_{kind}_share",
            f"Share of past expiries that ended within {what} stated 5 sessions before",
            "fraction",
            ge=0,
            le=1,
        ),
        count(f"inside_{kind}_n", "Expiries behind it, of the last 252 sessions", "expiries"),
    )


VOLATILITY_HISTORY = Table(
    group="analytics",
    name="volatility_history",
    row="one underlying's volatility on one day, against its own past",
    method="Implied volatility at the money interpolated to 30 days; its rank and percentile of "
    "252 sessions; realised volatility; what implied variance paid over realised; and how often "
    "expiries ended inside the move expected. A row uses nothing later than its own day.",
    columns=(
        TRADE_DATE,
        UNDERLYING,
        real("iv_30d", "At the money, 30 days to expiry", "fraction a year", ge=0),
        word("iv_30d_reason", "Why it is null", *NO_IV_REASONS, nullable=True),
        _day("iv_30d_near_expiry", "Expiry at or before 30 days it is taken from"),
        _day("iv_30d_next_expiry", "Expiry at or after 30 days it is taken from"),
        real("iv_30d_near", "At the money at the former", "fraction a year", ge=0),
        real("iv_30d_next", "At the money at the latter", "fraction a year", ge=0),
        real("iv_rank", "(iv_30d - least) / (most - least)", "fraction", ge=0, le=1),
        real("iv_percentile", "Share of the days below iv_30d", "fraction", ge=0, le=1),
        count(
            "iv_history_n",
            "Days with iv_30d among the last 252 sessions, the day itself one of them",
            "sessions",
        ),
        word(
            "iv_rank_reason",
            "Why the rank is null; the percentile is null for the first two only",
            *("no_iv", "too_few_days", "no_variation"),
            nullable=True,
        ),
        *_realised(),
        count(
            "realised_n",
            "Daily returns known without a gap up to the day, 30 at most: a window needs them all",
            "sessions",
        ),
        _day("window_start", "Last session 30 calendar days or more before"),
        real("iv_30d_then", "iv_30d as stated at window_start", "fraction a year", ge=0),
        real("realised_since_then", "Close to close since window_start", "fraction a year", ge=0),
        real("variance_premium_ex_ante", "iv_30d^2 - realised_since_then^2", "variance a year"),
        word("ex_ante_reason", "Why it is null", *("no_iv", "missing_closes"), nullable=True),
        real(
            "variance_premium_ex_post", "iv_30d_then^2 - realised_since_then^2", "variance a year"
        ),
        word("ex_post_reason", "Why it is null", *("no_iv", "missing_closes"), nullable=True),
        _day("nearest_expiry", "Nearest expiry that is not over"),
        price("expected_move_straddle", "The move to it as the straddle at the money prices it"),
        price("expected_move_iv", "One standard deviation to it, from the volatility at the money"),
        *_inside("straddle", "the straddle's move"),
        *_inside("iv", "one standard deviation"),
        SOURCE,
    ),
    key=("trade_date", "underlying"),
)

TABLES = (VIX_REPLICA, VOLATILITY_HISTORY)
