"""Declared schemas of the `quality` group: what is known to be missing or wrong.

Belongs here: faults of the data as data, and what was done about them. Does not belong here: rules
and causes (see `optrade.quality`).
"""

from __future__ import annotations

import polars as pl

from optrade.tables.common import SOURCE, TRADE_DATE, count, real, stamp, word
from optrade.tables.schema import Column, Table

GAP_CAUSES = (
    "not_started",
    "killed",
    "connection_lost",
    "mute_socket",
    "silent_instrument",
    "token_expired",
    "refused",
    "spool_failed",
    "stopped",
    "segment_lost",
)
"""Why nothing was recorded: the collector began late, was killed, lost a connection, was connected
and heard nothing, an instrument stood still by exchange time while others moved, the access
token died, the broker refused the connection, the disk refused a write, someone stopped it,
a sealed segment is gone from the disk or cut off."""

TICK_GAPS = Table(
    group="quality",
    name="tick_gaps",
    row="one hole in a day's ticks: when, which instruments, why",
    method=(
        "From the collector's journal and the seams between its segments. A gap is stated by "
        "whoever noticed it and never filled in silently: a minute that candles fill is marked, "
        "and counted here whenever the gaps are stated."
    ),
    columns=(
        TRADE_DATE,
        word("gap", "Name of the gap, unique in its day"),
        stamp("started_at", "From when nothing was heard"),
        stamp("ended_at", "When it was heard again; null while the gap is open", nullable=True),
        word("cause", "Why", *GAP_CAUSES),
        count("instruments", "How many instruments it concerns", "instruments"),
        word(
            "instrument_tokens",
            "Their tokens, comma-separated; null where the whole subscription is meant",
            nullable=True,
        ),
        word("session", "The collector session that noticed it", nullable=True),
        word("detail", "What was seen", nullable=True),
        word(
            "healed_from",
            "What fills minutes of it: the broker's candles; null where nothing does",
            "candles",
            nullable=True,
        ),
        stamp("healed_at", "When the last of those candles was asked for", nullable=True),
        count(
            "filled_minutes",
            "Minutes of its instruments that candles fill; null where those are not known",
            "instrument-minutes",
            nullable=True,
        ),
        count(
            "unfilled_minutes",
            "Those with neither ticks nor a candle; null as above",
            "instrument-minutes",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "gap"),
)

SEVERITIES = ("ERROR", "WARN")
HANDLINGS = ("automatic", "manual")
STATUSES = ("open", "escalated", "closed")
OUTCOMES = ("healed", "not_healed", "failed")
ACTIONS = ("refetch", "recompute", "replay", "candles")
"""What can be tried without a person: ask for the exchange's file again, here or elsewhere; make
the tables of the date again; feed the segments through again; fill the hole from the broker's
candles."""

_TABLE = word("table_name", "Table the finding is about, as `group.name`")
_INCIDENT = word("incident_id", "Name of the incident")

CHECK_RESULTS = Table(
    group="quality",
    name="check_results",
    row="one evaluation of one rule on one trading day",
    method=(
        "Written at the end of every run, with what the run judged. Nothing is replaced: a later "
        "evaluation stands beside the earlier ones, and the newest one counts."
    ),
    columns=(
        TRADE_DATE,
        stamp("evaluated_at", "When it was judged"),
        word("run_id", "Dagster run that judged it"),
        word("batch", "What was recorded together"),
        _TABLE,
        word(
            "rule", "Rule, as the table's checks list it; `accepted` says whether rows were stored"
        ),
        word("scope", "The minutes that were judged; null for the whole date", nullable=True),
        word("check_name", "Asset check the rule belongs to", "contract", "consistent", "ordinary"),
        word("severity", "ERROR is wrong, WARN is odd", *SEVERITIES),
        Column("passed", pl.Boolean(), "Null where it could not be judged", nullable=True),
        count("checked", "How many things were looked at", "things"),
        real("found", "The number that was held against the threshold"),
        real("threshold", "The largest number that passes"),
        word("detail", "The verdict in words", nullable=True),
        word("sample", "A few of the offending rows", nullable=True),
        word("cause", "Class of cause where it failed", nullable=True),
    ),
    key=("trade_date", "batch", "table_name", "check_name", "rule"),
    sort=("evaluated_at", "table_name", "rule"),
    part="batch",
)

INCIDENTS = Table(
    group="quality",
    name="incidents",
    row="one thing that is or was wrong with a trading day, from its finding to its end",
    method=(
        "Opened by a rule that fails, a hole in the ticks or a run that broke down; closed when "
        "the same is judged again and found well, or the hole is filled. One that comes back is a "
        "new incident. The causes are listed in docs/errors.md."
    ),
    columns=(
        TRADE_DATE,
        _INCIDENT,
        stamp("opened_at", "When it was first found"),
        word("component", "Part of the system it concerns"),
        word("severity", "ERROR is wrong, WARN is odd", *SEVERITIES),
        word("cause", "Class of cause"),
        _TABLE,
        word("subject", "The rule, hole or job, which with table and date tells incidents apart"),
        word("evidence", "What was found last, with a sample"),
        word(
            "instruments",
            "Tokens concerned, comma-separated, where it is about some",
            nullable=True,
        ),
        word("suggestion", "What to do, for a person"),
        word("handling", "Whether it is tried without a person first", *HANDLINGS),
        word("action", "What is tried", *ACTIONS, nullable=True),
        count("attempts", "How often that was tried", "attempts"),
        word("status", "`escalated`: the tries are used up, a person is needed", *STATUSES),
        stamp("closed_at", "When it was found well again", nullable=True),
        real("found_before", "The rule's number when it was opened"),
        real("found_after", "The rule's number when it was closed"),
    ),
    key=("trade_date", "incident_id"),
    sort=("opened_at", "incident_id"),
)

RECOVERIES = Table(
    group="quality",
    name="recoveries",
    row="one attempt to heal one incident",
    method="Written when the attempt's run ends, or when it is seen to have broken down.",
    columns=(
        TRADE_DATE,
        _INCIDENT,
        count("attempt", "Number of the attempt, from 1", "attempts", ge=1),
        word("action", "What was tried", *ACTIONS),
        word("tried_with", "Where the data were asked for, or what was made again"),
        word("run_id", "Dagster run that tried it"),
        stamp("started_at", "When the run began", nullable=True),
        stamp("ended_at", "When the attempt was judged"),
        word("outcome", "`failed`: the run broke down", *OUTCOMES),
        real("found_before", "The rule's number when the incident was opened"),
        real("found_after", "The rule's number after the attempt"),
        word("detail", "What was found after it", nullable=True),
    ),
    key=("trade_date", "incident_id", "attempt"),
)

RECORD = (CHECK_RESULTS, INCIDENTS, RECOVERIES)
"""What runs are remembered by; no rule judges them."""
TABLES = (TICK_GAPS, *RECORD)
