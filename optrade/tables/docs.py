"""`docs/tables.md`, written from the table declarations.

Belongs here: turning declarations into a page for people. Does not belong here: what a table
or a column means (see the declarations beside this module).

Run `python -m optrade.tables.docs` after changing a declaration; a test keeps both equal.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from optrade.tables import TABLES, Column, Table

FILE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"
MADE_BY = {
    "raw.source_files": "assets/raw.py",
    "raw.fo_bhavcopy": "optrade/formats/bhavcopy_udiff.py",
    "raw.participant_oi": "optrade/formats/participants.py",
    "raw.participant_volume": "optrade/formats/participants.py",
    "raw.fii_stats": "optrade/formats/fii_stats.py",
    "raw.index_close": "optrade/formats/index_close.py",
    "raw.instruments": "optrade/formats/kite_instruments.py",
    "raw.tick_segments": "assets/minute_work.py",
    "raw.ticks": "optrade/formats/kite_frames.py",
    "raw.candles": "resources/kite/candles.py",
    "snapshots.chain_close": "optrade/chain/snapshot.py",
    "snapshots.chain_minute": "optrade/chain/minute.py",
    "snapshots.index_minute": "optrade/chain/minute.py",
    "participants.positions": "optrade/participants/positions.py",
    "participants.premium_flow": "optrade/participants/premium_flow.py",
    "participants.activity": "optrade/participants/activity.py",
    "participants.cross": "optrade/participants/cross.py",
    "participants.ledger": "optrade/participants/ledger.py",
    "analytics.greeks_close": "optrade/chain/greeks.py",
    "analytics.chain_metrics_close": "optrade/chain/metrics.py",
    "analytics.open_interest_close": "optrade/chain/open_interest.py",
    "analytics.greeks_minute": "optrade/chain/greeks.py",
    "analytics.chain_metrics_minute": "optrade/chain/metrics.py",
    "analytics.open_interest_minute": "optrade/chain/open_interest.py",
    "analytics.premium_close": "optrade/chain/premium.py",
    "analytics.premium_minute": "optrade/chain/premium.py",
    "analytics.premium_overlay": "optrade/chain/premium_history.py",
    "analytics.gamma_exposure_close": "optrade/chain/exposure.py",
    "analytics.gamma_exposure_minute": "optrade/chain/exposure.py",
    "analytics.surface_close": "optrade/surface/frames.py",
    "analytics.surface_points_close": "optrade/surface/frames.py",
    "analytics.surface_minute": "optrade/surface/frames.py",
    "analytics.surface_points_minute": "optrade/surface/frames.py",
    "analytics.vix_replica": "optrade/volatility/vix_replica.py",
    "analytics.volatility_history": "optrade/volatility/history.py",
    "analytics.sentiment": "optrade/signals/sentiment.py",
    "analytics.scorecard": "optrade/signals/scorecard.py",
    "quality.tick_gaps": "resources/journal.py",
    "quality.check_results": "assets/quality.py",
    "quality.incidents": "optrade/quality/incidents.py",
    "quality.recoveries": "assets/quality.py",
    "quality.reconciliation": "optrade/quality/reconcile.py",
}
"""The module that makes a table's rows (of the bhavcopy, in the format in use today)."""

_HEAD = """\
# Tables

Written from `optrade/tables/` by `python -m optrade.tables.docs`; change it there.

A table is one Dagster asset and one table of the lake, all named `group.name`, and is \
partitioned by `trade_date`. A null in a column that may be null means "not known", never zero. \
Types are DuckDB's; instants have a timezone and are shown in India's time.
"""


def page() -> str:
    """The text of `docs/tables.md`: every table by group, in lineage order."""
    parts = [_HEAD]
    for group, tables in groupby(TABLES.values(), lambda table: table.group):
        parts.append(f"## {group}\n")
        parts += [_section(table) for table in tables]
    return "\n".join(parts)


def _section(table: Table) -> str:
    key = ", ".join(f"`{name}`" for name in table.key)
    lines = [
        f"### {table.full_name}",
        "",
        f"One row is {table.row}.",
        "",
        *([table.method, ""] if table.method else []),
        f"Key: {key}. Made by `{MADE_BY[table.full_name]}`.",
        "",
        "| column | type | unit | null | allowed | description |",
        "|---|---|---|---|---|---|",
        *(_row(column) for column in table.columns),
    ]
    return "\n".join(lines) + "\n"


def _row(column: Column) -> str:
    cells = (
        f"`{column.name}`",
        column.sql_type,
        column.unit,
        "yes" if column.nullable else "",
        allowed(column),
        column.description,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def allowed(column: Column) -> str:
    """The values a column takes, in words; nothing where its type says it all."""
    if column.isin:
        return ", ".join(f"`{word}`" for word in column.isin)
    bounds = [f"≥ {column.ge:g}"] if column.ge is not None else []
    bounds += [f"≤ {column.le:g}"] if column.le is not None else []
    return ", ".join(bounds)


def write() -> None:
    """Rewrite the page."""
    FILE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
