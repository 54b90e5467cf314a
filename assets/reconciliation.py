"""The evening's reconciliation: the asset `quality/reconciliation`.

Belongs here: reading each day's last minute beside its close. Does not belong here: the comparison
(`optrade.quality.reconcile`).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, cast

import dagster as dg
import polars as pl

from assets.building import Graph, Reads, asset_spec_arguments, gate, report_refusals
from assets.partitions import dates_of
from optrade.quality.reconcile import reconcile
from optrade.tables.reconciliation import RECONCILIATION
from optrade.tables.snapshots import CHAIN_CLOSE, CHAIN_MINUTE
from resources.lake_io import DATE_BY_DATE, Committed, LakeResource
from resources.lake_parts import held_minutes
from resources.lake_slices import Slice, SliceResult

CODE_VERSION = "1"


def build_reconciliation(graph: Graph) -> dg.AssetsDefinition:
    """The asset; not a recipe: of a day's minutes only the last one is read."""
    table = RECONCILIATION

    @dg.asset(  # type: ignore[untyped-decorator]
        name=table.name,
        key_prefix=table.group,
        ins={"close": Reads(CHAIN_CLOSE).asset_in()},
        deps=[dg.AssetKey(CHAIN_MINUTE.asset_path)],
        partitions_def=graph.partitions,
        backfill_policy=graph.backfill_policy,
        io_manager_key="lake_io",
        required_resource_keys={"lake", "refusals"},
        output_required=False,
        dagster_type=dg.Any,
        **asset_spec_arguments(graph, table, CODE_VERSION),
    )
    def asset(context: dg.AssetExecutionContext, close: pl.DataFrame) -> Iterator[Any]:
        lake: LakeResource = context.resources.lake
        days = dates_of(context.partition_keys)
        rows = reconcile(pl.concat([_last_minute(lake, day) for day in days]), close)
        accepted, refused = gate(table, rows, graph.calendar)
        report_refusals(context, table, refused)
        held = tuple(sorted(accepted["trade_date"].unique()))
        commit = lake.commit(
            [Slice(table, held, table.conform(accepted))] if held else [],
            run_id=context.run.run_id,
            code_versions={table.full_name: CODE_VERSION},
        )
        stored = commit.slices.get(table.full_name, {})
        nothing = SliceResult(0, None, changed=False)  # A day without minutes is done, too.
        results = {day: stored.get(day, nothing) for day in days if day not in refused}
        yield dg.Output(Committed(table, results), metadata=DATE_BY_DATE)

    return cast("dg.AssetsDefinition", asset)


def _last_minute(lake: LakeResource, day: date) -> pl.DataFrame:
    """The last minute held of a day; no rows where none was collected."""
    held = held_minutes(lake.lake, CHAIN_MINUTE, day)
    if not held:
        return CHAIN_MINUTE.empty()
    where = f"minute = TIMESTAMPTZ '{max(held).isoformat()}'"
    return lake.read(CHAIN_MINUTE, [day], where=where)
