"""Declared schemas of the volatility surface, at each grain.

Belongs here: the slice fitted to each expiry, and points at constant maturities. Does not belong
here: the implied volatilities it is fitted to (see `analytics`).
"""

from __future__ import annotations

from optrade.tables.analytics import minute_table
from optrade.tables.common import (
    BUCKET_ALIAS,
    EXPIRY,
    EXPIRY_BUCKET,
    SOURCE,
    TRADE_DATE,
    UNDERLYING,
    count,
    flag,
    price,
    real,
    word,
)
from optrade.tables.schema import Column, Table

_VOLATILITY = "fraction a year"
_VARIANCE = "total variance"
_MONEYNESS = "ln(strike / forward)"

SLICE_REASONS = ("expired", "no_forward", "few_quotes")
POINT_REASONS = ("no_slice", "outside_quotes")
MATURITY_REASONS = ("no_slice", "before_first_expiry", "after_last_expiry", "outside_quotes")


def _points() -> tuple[Column, ...]:
    """What is read off one smile, whether of an expiry or between two."""
    return (
        real("atm_iv", "Volatility at the forward", _VOLATILITY, ge=0),
        real("put_25_iv", "Volatility of the put with forward delta -0.25", _VOLATILITY, ge=0),
        real("call_25_iv", "Volatility of the call with forward delta 0.25", _VOLATILITY, ge=0),
        real("put_25_log_moneyness", "Where that put is struck", _MONEYNESS),
        real("call_25_log_moneyness", "Where that call is struck", _MONEYNESS),
        real(
            "risk_reversal_25",
            "call_25_iv - put_25_iv: below 0 downside is dearer",
            _VOLATILITY,
        ),
        real("butterfly_25", "(call_25_iv + put_25_iv) / 2 - atm_iv", _VOLATILITY),
    )


SURFACE_CLOSE = Table(
    group="analytics",
    name="surface_close",
    row="the smile fitted to one expiry of one underlying at the close",
    method=(
        "Raw SVI in total variance (Gatheral and Jacquier, 2014), by weighted least squares on "
        "the out-of-the-money volatilities of `greeks_close`: w(k) = a + b (rho (k - m) + "
        "sqrt((k - m)^2 + sigma^2)), k = ln(strike / forward), volatility sqrt(w / years). "
        "Butterflies (Durrleman's g below 0) and calendars (total variance below an earlier "
        "expiry's) are sought between the lowest and the highest quote, where alone a slice is "
        "read. When asked to, a slice with any is fitted again under both constraints; what the "
        "first fit was like stands in the columns `fit_*`."
    ),
    columns=(
        TRADE_DATE,
        UNDERLYING,
        EXPIRY,
        EXPIRY_BUCKET,
        BUCKET_ALIAS,
        price("forward", "Forward used; null when nothing pins it"),
        real("years_to_expiry", "Time used", "years", ge=0, nullable=False),
        count("quotes", "Out-of-the-money strikes with a volatility", "strikes"),
        real("low_log_moneyness", "The lowest of them", _MONEYNESS),
        real("high_log_moneyness", "The highest of them", _MONEYNESS),
        real("a", "Level", _VARIANCE),
        real("b", "Steepness of the wings together", f"{_VARIANCE} per unit of k", ge=0, le=2),
        real("rho", "Tilt: below 0 the left wing is the steeper", "fraction", ge=-1, le=1),
        real("m", "Shift", _MONEYNESS),
        real("sigma", "Roundness of the bottom", _MONEYNESS, ge=0),
        real(
            "rmse",
            "Root mean square of fitted less quoted volatility, quotes alike",
            _VOLATILITY,
            ge=0,
        ),
        real("min_g", "Least value of Durrleman's g; -100 stands for anything lower", "g", ge=-100),
        count(
            "butterfly_violations",
            "Intervals of strikes where g is below 0",
            "intervals",
            nullable=True,
        ),
        count(
            "calendar_violations",
            "Intervals of strikes where it lies below an earlier expiry, each of those counted "
            "apart",
            "intervals",
            nullable=True,
        ),
        flag("repaired", "True where the slice is not the first fit: that one had arbitrage"),
        real("fit_rmse", "rmse of the first fit", _VOLATILITY, ge=0),
        real("fit_min_g", "min_g of the first fit", "g", ge=-100),
        real("fit_min_g_log_moneyness", "Where that is", _MONEYNESS),
        count(
            "fit_butterfly_violations",
            "butterfly_violations of the first fit",
            "intervals",
            nullable=True,
        ),
        count(
            "fit_calendar_violations",
            "calendar_violations among the first fits",
            "intervals",
            nullable=True,
        ),
        real(
            "fit_calendar_gap",
            "The most by which the first fit lies below that of an earlier expiry; null where it "
            "never does",
            _VARIANCE,
            ge=0,
        ),
        real("fit_calendar_gap_log_moneyness", "Where that is", _MONEYNESS),
        *_points(),
        word("points_reason", "Why a point is null", *POINT_REASONS, nullable=True),
        word("reason", "Why there is no slice", *SLICE_REASONS, nullable=True),
        SOURCE,
    ),
    key=("trade_date", "underlying", "expiry"),
)

SURFACE_POINTS_CLOSE = Table(
    group="analytics",
    name="surface_points_close",
    row="the smile of one underlying at one constant maturity at the close, by its points",
    method=(
        "Between the nearest expiries on either side that have a slice, total variance is linear "
        "in time at fixed ln(strike / forward). Nothing is read beyond the first or the last "
        "expiry, or beyond the quotes of either neighbour."
    ),
    columns=(
        TRADE_DATE,
        UNDERLYING,
        count("maturity_days", "Calendar days to expiry", "days"),
        Column("near_expiry", EXPIRY.dtype, "Expiry at or before it", "date", nullable=True),
        Column("far_expiry", EXPIRY.dtype, "Expiry at or after it", "date", nullable=True),
        *_points(),
        word("reason", "Why a point is null", *MATURITY_REASONS, nullable=True),
        SOURCE,
    ),
    key=("trade_date", "underlying", "maturity_days"),
)

SURFACE_MINUTE = minute_table(
    SURFACE_CLOSE,
    "the smile fitted to one expiry of one underlying at the end of one minute",
    "As `surface_close`, on the volatilities of `greeks_minute`.",
)
SURFACE_POINTS_MINUTE = minute_table(
    SURFACE_POINTS_CLOSE,
    "the smile of one underlying at one constant maturity at the end of one minute, by its points",
    "As `surface_points_close`, on the slices of `surface_minute`.",
)

TABLES = (SURFACE_CLOSE, SURFACE_POINTS_CLOSE, SURFACE_MINUTE, SURFACE_POINTS_MINUTE)
