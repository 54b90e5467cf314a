"""What log lines say of the Dagster step they were written in.

Belongs here: naming the run, step, partition and table of the moment. Does not belong here: how a
line is written (see `logs`), what a step does.

A process carries out runs and steps one after the other, so the fields are asked for with each
line: nothing is left over from the step before, however it ended.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from resources.logs import trace_of


def step_fields() -> dict[str, str]:
    """The fields of `resources.logs.FIELDS` that the running step knows; none outside of steps.

    `asset` is missing where a step fills several tables, `partition` where its run has none.
    Threads that a step starts are outside (see `resources.logs.carried`).
    """
    try:
        step = dg.OpExecutionContext.get()
    except dg.DagsterInvariantViolationError:
        return {}
    tables = step.selected_asset_keys or {key.asset_key for key in step.selected_asset_check_keys}
    known = {
        "trace_id": trace_of(step.run.tags),
        "run_id": step.run.run_id,
        "step": step.op.name,
        "partition": _partition(step.run.tags),
        "asset": ".".join(next(iter(tables)).path) if len(tables) == 1 else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _partition(tags: Mapping[str, str]) -> str | None:
    """The run's trading day, or `first...last` of a range, as Dagster writes it."""
    first, last = (
        tags.get(name) for name in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
    )
    if first is None or first == last:
        return first or tags.get(PARTITION_NAME_TAG)
    return f"{first}...{last}"
