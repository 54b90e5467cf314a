"""Jobs: named selections of assets that schedules, sensors and people launch.

Belongs here: selections and their tags. Does not belong here: when they run.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.building import Graph

CLOSE_LANE = "close_lane"
AssetJob = UnresolvedAssetJobDefinition


def close_lane(graph: Graph) -> AssetJob:
    """Everything that follows from the exchange's daily files, for one trading day or many."""
    return dg.define_asset_job(
        CLOSE_LANE,
        selection=dg.AssetSelection.all(),
        description="Fetch the exchange's daily files of a trading day and derive every table "
        "from them, with all checks.",
        executor_def=dg.in_process_executor,
        tags={"optrade/lane": "close", "optrade/market": graph.market},
    )
