"""Declared schemas of the `participants` group: who holds and trades what.

Belongs here: end-of-day figures by participant class. Does not belong here: anything per
index or intraday, which the exchange does not publish.
"""

from __future__ import annotations

from optrade.tables.common import (
    PARTICIPANT,
    SEGMENT,
    SOURCE,
    TRADE_DATE,
    count,
    real,
    word,
)
from optrade.tables.schema import Column, Table


def _contracts(name: str, description: str, *, nullable: bool = False, net: bool = False) -> Column:
    return count(name, description, "contracts", nullable=nullable, ge=None if net else 0)


LABELS = ("BULLISH", "BEARISH", "NEUTRAL")
"""What a reading says of the index."""
FLOW_REASONS = ("volume_file_not_held", "no_trade", "premium_not_held", "volumes_disagree")
_FLOW = "Premium paid less premium received, estimate; above 0 is a net buyer: "


def _rupees(name: str, description: str, *, ge: float | None = None) -> Column:
    return real(name, description, "rupees", ge=ge)


_FLOWS = (
    _rupees("net_premium_flow_low_rupees", _FLOW + "the spread's lower end"),
    _rupees("net_premium_flow_mid_rupees", _FLOW + "net contracts x the market's mean premium"),
    _rupees("net_premium_flow_high_rupees", _FLOW + "the spread's upper end"),
)

POSITIONS = Table(
    group="participants",
    name="positions",
    row="the open positions of one participant class in one segment at the end of one day",
    method="`raw.participant_oi` without the TOTAL line.",
    columns=(
        TRADE_DATE,
        PARTICIPANT,
        SEGMENT,
        _contracts("long_contracts", "Held long"),
        _contracts("short_contracts", "Held short"),
        _contracts("net_contracts", "Long less short", net=True),
        real("long_share", "Share of the segment's long open interest", "fraction", ge=0, le=1),
        real("short_share", "Share of the segment's short open interest", "fraction", ge=0, le=1),
        SOURCE,
    ),
    key=("trade_date", "participant", "segment"),
)

PREMIUM_FLOW = Table(
    group="participants",
    name="premium_flow",
    row="the premium one participant class paid, net, for index calls, puts or both on one day",
    method="An estimate: the exchange does not say which strikes a class traded. Mid takes its "
    "net contracts at the market's mean premium, so that the classes add up to exactly 0; low "
    "and high are a spread round it; floor and ceiling are what no mix of "
    "contracts could exceed. Derivation: `docs/analytics.md`.",
    columns=(
        TRADE_DATE,
        PARTICIPANT,
        word("segment", "Calls, puts, or both", "index_call", "index_put", "total"),
        _contracts("bought_contracts", "Bought"),
        _contracts("sold_contracts", "Sold"),
        _contracts("net_contracts", "Bought less sold", net=True),
        _rupees(
            "mean_premium_rupees",
            "The market's mean premium of a contract, by volume, to 1/64 rupee; null in total",
            ge=0,
        ),
        _rupees(
            "flow_deviation_rupees",
            "Standard deviation of the estimate; null on a day on which contracts expired",
            ge=0,
        ),
        word(
            "spread_basis",
            "What low and high are: two standard deviations from mid, within the bounds; or, on "
            "a day on which contracts expired, the bounds themselves",
            "deviation",
            "bounds",
            nullable=True,
        ),
        _rupees("net_premium_flow_floor_rupees", "Least any mix of contracts allows"),
        *_FLOWS,
        _rupees("net_premium_flow_ceiling_rupees", "Most any mix of contracts allows"),
        real(
            "priced_share",
            "Lots with a known premium over contracts traded; flows are null when it is more "
            "than 0.1 from 1; null in total",
            "fraction",
            ge=0,
        ),
        word("reason", "Why the flows are null", *FLOW_REASONS[1:], nullable=True),
        SOURCE,
    ),
    key=("trade_date", "participant", "segment"),
)

ACTIVITY = Table(
    group="participants",
    name="activity",
    row="what one participant class held and traded in index derivatives on one day",
    method="Sums over the index call, put and future segments; volume columns are null with a "
    "reason on days whose volume file is not held. The positioning is three votes of 1, 0 or -1: "
    "`future_long_share`, `option_lean` and `traded_lean` against the thresholds in "
    "`docs/analytics.md`; at least two of three decide.",
    columns=(
        TRADE_DATE,
        PARTICIPANT,
        _contracts("call_long_oi_contracts", "Index calls held long"),
        _contracts("call_short_oi_contracts", "Index calls held short"),
        _contracts("call_oi_contracts", "Index calls held, long and short"),
        _contracts("put_long_oi_contracts", "Index puts held long"),
        _contracts("put_short_oi_contracts", "Index puts held short"),
        _contracts("put_oi_contracts", "Index puts held, long and short"),
        _contracts("call_bought_contracts", "Index calls bought", nullable=True),
        _contracts("call_sold_contracts", "Index calls sold", nullable=True),
        _contracts("call_volume_contracts", "Index calls bought and sold", nullable=True),
        _contracts("put_bought_contracts", "Index puts bought", nullable=True),
        _contracts("put_sold_contracts", "Index puts sold", nullable=True),
        _contracts("put_volume_contracts", "Index puts bought and sold", nullable=True),
        real("pcr_oi", "put_oi_contracts / call_oi_contracts; null without calls", "ratio", ge=0),
        real(
            "pcr_volume",
            "put_volume_contracts / call_volume_contracts; null without calls",
            "ratio",
            ge=0,
        ),
        _contracts("net_index_future_contracts", "Index futures, long less short", net=True),
        _contracts(
            "net_index_future_volume_contracts",
            "Index futures bought less sold",
            net=True,
            nullable=True,
        ),
        real(
            "future_long_share",
            "Index futures long / (long + short); null without any",
            "fraction",
            ge=0,
            le=1,
        ),
        real(
            "option_lean",
            "(net calls - net puts) / index options held long and short; null without any",
            "fraction",
            ge=-1,
            le=1,
        ),
        real(
            "traded_lean",
            "(futures + calls - puts) bought less sold / index contracts held long and short",
            "fraction",
        ),
        word("positioning", "What it says of the index", *LABELS, nullable=True),
        word(
            "positioning_rule",
            "Version of the rule; null in rows stored before there was one",
            nullable=True,
        ),
        word(
            "positioning_reason",
            "Why the positioning is null",
            "volume_file_not_held",
            "no_positions",
            nullable=True,
        ),
        *_FLOWS,
        word("premium_flow_reason", "Why the premium flow is null", *FLOW_REASONS, nullable=True),
        word("reason", "Why a traded figure is null", "volume_file_not_held", nullable=True),
        SOURCE,
    ),
    key=("trade_date", "participant"),
)

CROSS = Table(
    group="participants",
    name="cross",
    row="the participant classes held against each other on one day",
    method="Open interest in index futures, calls and puts. A class's lean is (net futures + net "
    "calls - net puts) / its long and short contracts, between -1 and 1.",
    columns=(
        TRADE_DATE,
        real(
            "institutional_vs_retail_ratio",
            "Index contracts held by FII and DII over those held by CLIENT",
            "ratio",
            ge=0,
        ),
        real(
            "foreign_vs_domestic_ratio",
            "Index contracts held by FII over those held by CLIENT, DII and PRO",
            "ratio",
            ge=0,
        ),
        real("fii_lean", "FII's lean", "fraction", ge=-1, le=1),
        real("client_lean", "CLIENT's lean", "fraction", ge=-1, le=1),
        real(
            "smart_money_direction",
            "FII's lean: above 0 gains when indices rise",
            "fraction",
            ge=-1,
            le=1,
        ),
        real(
            "smart_money_direction_with_pro",
            "The same for FII and PRO together",
            "fraction",
            ge=-1,
            le=1,
        ),
        real("crowd_vs_smart_gap", "CLIENT's lean less FII's", "fraction", ge=-2, le=2),
        real(
            "crowd_vs_smart_divergence",
            "The gap in standard deviations from its own mean over "
            "the previous sessions held; null under 20",
            "standard deviations",
        ),
        count(
            "history_n",
            "Earlier sessions the divergence is measured against (of the last 60)",
            "sessions",
        ),
        word(
            "reason",
            "Why the divergence is null",
            "too_few_days",
            "no_variation",
            "no_positions",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date",),
)

LEDGER = Table(
    group="participants",
    name="ledger",
    row="one participant class in one segment: did the positions move by what was traded?",
    method=(
        "net_oi_change = change of (long - short) open interest since the previous trading day; "
        "net_volume = bought - sold; residual = net_oi_change - net_volume. On a day on which "
        "contracts of the segment expire the residual is minus the net inventory that expired. "
        "Over a missing day or file it is unknown."
    ),
    columns=(
        TRADE_DATE,
        PARTICIPANT,
        SEGMENT,
        _contracts(
            "net_oi_change",
            "Change of net open interest since the previous trading day",
            net=True,
            nullable=True,
        ),
        _contracts("net_volume", "Bought less sold", net=True, nullable=True),
        _contracts("residual", "net_oi_change - net_volume", net=True, nullable=True),
        word(
            "identity",
            "exact 0; rounding within 1; beyond that expiry when contracts of the "
            "segment expired that day, else broken; null when unknown",
            "exact",
            "rounding",
            "expiry",
            "broken",
            nullable=True,
        ),
        _contracts(
            "expired_net_contracts",
            "Net inventory that expired, long less short, estimate: minus the residual; null "
            "unless identity is expiry",
            net=True,
            nullable=True,
        ),
        word(
            "expired_reason",
            "Why that is null: nothing of the segment expired; next to nothing net did; or the "
            "residual is unknown",
            "nothing_expired",
            "within_rounding",
            "residual_unknown",
            nullable=True,
        ),
        word(
            "expiry_basis",
            "Whether the day's expiries were read from its contracts or from "
            "the published rule (no contract file held)",
            "contract",
            "rule",
        ),
        word(
            "reason",
            "Why the residual is unknown",
            "previous_day_not_held",
            "oi_file_not_held",
            "volume_file_not_held",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "participant", "segment"),
)

TABLES = (POSITIONS, PREMIUM_FLOW, ACTIVITY, CROSS, LEDGER)
