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

ACTIVITY = Table(
    group="participants",
    name="activity",
    row="what one participant class held and traded in index derivatives on one day",
    method="Sums over the index call, put and future segments; volume columns are null with a "
    "reason on days whose volume file is not held.",
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
        word("reason", "Why a figure is null", "volume_file_not_held", nullable=True),
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

TABLES = (POSITIONS, ACTIVITY, CROSS, LEDGER)
