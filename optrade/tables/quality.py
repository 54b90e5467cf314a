"""Declared schemas of the `quality` group: what is known to be missing or wrong.

Belongs here: faults of the data as data. Does not belong here: rules (see `optrade.quality`).
"""

from __future__ import annotations

from optrade.tables.common import SOURCE, TRADE_DATE, count, stamp, word
from optrade.tables.schema import Table

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
)
"""Why nothing was recorded: the collector began late, was killed, lost a connection, was connected
and heard nothing, an instrument stood still by exchange time while others moved, the access
token died, the broker refused the connection, the disk refused a write, someone stopped it."""

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
            "Minutes of its instruments that candles fill; null where the day has no candle",
            "instrument-minutes",
            nullable=True,
        ),
        count(
            "unfilled_minutes",
            "Those with neither ticks nor a candle; null where the day has no candle",
            "instrument-minutes",
            nullable=True,
        ),
        SOURCE,
    ),
    key=("trade_date", "gap"),
)

TABLES = (TICK_GAPS,)
