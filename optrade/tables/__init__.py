"""One declared schema per table: the only place where a column is named.

Belongs here: declarations and what is derived from them. From a declaration come the lake's
DDL, the validation model, Dagster's column schema, the checks and `docs/tables.md`.
Does not belong here: computing or storing rows.
"""

from __future__ import annotations

from optrade.tables import (
    analytics,
    candles,
    exposure,
    participants,
    premium,
    quality,
    raw,
    raw_live,
    reconciliation,
    signals,
    snapshots,
    surface,
    volatility,
)
from optrade.tables.schema import IST, TIMESTAMP, Column, Table

TABLES: dict[str, Table] = {
    table.full_name: table
    for module in (
        raw,
        raw_live,
        candles,
        snapshots,
        participants,
        analytics,
        premium,
        exposure,
        surface,
        volatility,
        signals,
        quality,
        reconciliation,
    )
    for table in module.TABLES
}
"""Every table by `group.name`, in lineage order."""

__all__ = ["IST", "TABLES", "TIMESTAMP", "Column", "Table"]
