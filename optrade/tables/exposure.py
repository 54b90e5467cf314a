"""Declared schemas of gamma exposure, at each grain.

Belongs here: the exposure of a whole chain under each assumption. Does not belong here: one
option's greeks (see `analytics`).
"""

from __future__ import annotations

from optrade.tables.analytics import minute_table
from optrade.tables.common import SOURCE, TRADE_DATE, UNDERLYING, count, price, real, word
from optrade.tables.schema import Table

ASSUMPTIONS = ("calls_long", "calls_short", "participants")

GAMMA_EXPOSURE_CLOSE = Table(
    group="analytics",
    name="gamma_exposure_close",
    row="the gamma of one underlying at the close, under one assumption of who holds its options",
    method=(
        "Sum over all expiries of weight x open interest x gamma x forward^2 / 100. Nobody "
        "publishes who holds which side, so the weights are assumptions: dealers long calls and "
        "short puts; the other way round; or what PRO holds net of the whole market's index calls "
        "and puts. The label says where spot stands to the flip level, and only if all agree on it."
    ),
    columns=(
        TRADE_DATE,
        UNDERLYING,
        word("assumption", "Who is taken to hold which side", *ASSUMPTIONS),
        real(
            "call_weight", "Share of calls dealers hold: 1 long, -1 short", "fraction", ge=-1, le=1
        ),
        real("put_weight", "The same of puts", "fraction", ge=-1, le=1),
        price("spot", "The underlying's close"),
        real(
            "call_gamma_rupees",
            "Calls, unsigned: underlying to trade when it moves by one percent",
            "rupees",
            ge=0,
        ),
        real("put_gamma_rupees", "Puts likewise", "rupees", ge=0),
        real(
            "exposure_rupees",
            "Weighted sum of both: above 0 dealers trade against a move, below 0 with it",
            "rupees",
        ),
        price(
            "flip_level",
            "Spot nearest to this one at which the exposure changes sign, within 10 %, each "
            "option's volatility held; null where there is none",
        ),
        word(
            "label",
            "Where spot stands; indeterminate when the assumptions' flip levels are more than "
            "0.5 % apart",
            "above_flip",
            "below_flip",
            "no_flip",
            "indeterminate",
            nullable=True,
        ),
        count("options", "Options with open interest known and a volatility", "contracts"),
        real(
            "oi_share",
            "Their share of the open interest that has not expired; null when that is not known",
            "fraction",
            ge=0,
            le=1,
        ),
        word(
            "reason",
            "Why a figure is null",
            "no_volatility",
            "no_positions",
            "no_spot",
            "no_flip",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "underlying", "assumption"),
)

GAMMA_EXPOSURE_MINUTE = minute_table(
    GAMMA_EXPOSURE_CLOSE,
    "the gamma of one underlying at the end of one minute, under one assumption",
    "As `gamma_exposure_close`; what PRO holds is as of the evening before.",
    said={"spot": "The index at the end of the minute; null when it was not heard of"},
)

TABLES = (GAMMA_EXPOSURE_CLOSE, GAMMA_EXPOSURE_MINUTE)
