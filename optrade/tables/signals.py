"""Declared schemas of the `analytics` tables that judge: the composite reading and the record.

Belongs here: the sentiment and the scorecard of every label. Does not belong here: the figures
they are made of (see `analytics` and `participants`).
"""

from __future__ import annotations

from optrade.tables.common import SOURCE, TRADE_DATE, UNDERLYING, count, flag, real, stamp, word
from optrade.tables.participants import LABELS
from optrade.tables.schema import Column, Table

PARTS = {
    "put_call_ratio": ("NIFTY's PCR by OI over all expiries", "ratio"),
    "india_vix": ("India VIX at the close", "points"),
    "future_long_share": ("FII's share of longs in its index futures", "fraction"),
    "smart_money_direction": ("FII's lean", "fraction"),
    "crowd_vs_smart_gap": ("CLIENT's lean less FII's", "fraction"),
    "premium_flow_rupees": (
        "FII's net premium for index calls less that for puts, mid estimates",
        "rupees",
    ),
}
"""What the sentiment is made of: description and unit."""


def _part(name: str) -> tuple[Column, ...]:
    description, unit = PARTS[name]
    return (
        real(name, description, unit),
        real(
            f"{name}_standardised",
            "The same in standard deviations from its mean over the previous sessions held",
            "standard deviations",
        ),
        count(f"{name}_history_n", "Those sessions, of the last 60", "sessions"),
        real(
            f"{name}_weight",
            "Its weight; negative where more is bearish",
            "fraction",
            ge=-1,
            le=1,
            nullable=False,
        ),
    )


SENTIMENT = Table(
    group="analytics",
    name="sentiment",
    row="one composite reading of the market on one day, with its parts and weights",
    method="Sum of weight x standardised part / 2, each part kept within -1 and 1. Only the PCR "
    "is NIFTY's own: the others are of the whole market. Null as soon as one part is: the "
    "weights are never spread over the others. Whether it was worth anything stands in "
    "`analytics.scorecard`.",
    columns=(
        TRADE_DATE,
        UNDERLYING,
        *(column for name in PARTS for column in _part(name)),
        real("score", "The composite: above 0 is bullish", "fraction", ge=-1, le=1),
        word(
            "label", "BULLISH from 0.25 on, BEARISH from -0.25 down, else NEUTRAL", *LABELS,
            nullable=True,
        ),
        word("rule", "Version of parts, weights and bounds"),
        word("missing_parts", "Parts without a standardised value, if any", nullable=True),
        word(
            "reason", "Why the score is null", "part_missing", "too_few_days", "no_variation",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "underlying"),
)  # fmt: skip

SIGNALS = (
    "positioning_client",
    "positioning_dii",
    "positioning_fii",
    "positioning_pro",
    "smart_money_direction",
    "crowd_vs_smart_divergence",
    "sentiment",
)
VERDICTS = ("too_few", "no_claim", "no_edge_shown", "edge_shown", "contrary_shown")

SCORECARD = Table(
    group="analytics",
    name="scorecard",
    row="what one label of one signal was worth so far, over one horizon, as known on one day",
    method="NIFTY's log return from the close of the session after the label's day (the first "
    "close at which it could be known) over the horizon, for the labels of the last 500 sessions "
    "whose return was realised by the day. The test holds the label's returns against those of "
    "all days with a label, with Hodrick's (1992) standard error, and is corrected over all "
    "tests of the day by Holm's (1979) method.",
    columns=(
        TRADE_DATE,
        word("signal", "What says it", *SIGNALS),
        word("rule", "Version of the rule behind it; each has a record of its own"),
        word("label", "What it says of the index", *LABELS),
        count("horizon_sessions", "Length of the return", "sessions", ge=1),
        flag("current", "True where this is what the signal says on the day itself"),
        stamp("available_from", "When the day's own label could be known"),
        count("n", "Days with this label whose return is realised", "sessions"),
        count("independent_n", "Of those, how many have returns that do not overlap", "sessions"),
        count("all_n", "Days with any label of the signal whose return is realised", "sessions"),
        real("mean_return", "Mean return after this label", "log return"),
        real("unconditional_return", "Mean return after any", "log return"),
        real("t_statistic", "Of the difference, Hodrick's standard error", "standard errors"),
        real("p_value", "Two-sided", "fraction", ge=0, le=1),
        real("p_adjusted", "The same, Holm's over all of the day", "fraction", ge=0, le=1),
        real("hit_rate", "Share of its days with a return to its side", "fraction", ge=0, le=1),
        real("base_rate", "Share of all days with a return to that side", "fraction", ge=0, le=1),
        real(
            "hit_p_value",
            "Exact binomial, two-sided: hits against the base rate over days whose returns do "
            "not overlap",
            "fraction",
            ge=0,
            le=1,
        ),
        real("hit_p_adjusted", "The same, Holm's over all of the day", "fraction", ge=0, le=1),
        word(
            "verdict",
            "From p_adjusted at 0.05 and the side; too_few under 30 independent days (or other "
            "days); no_claim for NEUTRAL",
            *VERDICTS,
        ),
        Column(
            "last_outcome_date", TRADE_DATE.dtype, "Last day any return used ends on", "date",
            nullable=True,
        ),
        real(
            "lead_hours",
            "Least time from a label's being known to the start of its return; above 0",
            "hours",
        ),
        SOURCE,
    ),
    key=("trade_date", "signal", "rule", "label", "horizon_sessions"),
)  # fmt: skip

TABLES = (SENTIMENT, SCORECARD)
