"""Any number of either lane is traced to its files and comes out of their bytes again."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from optrade.explanation import Explanation
from optrade.tables import TABLES
from optrade_dagster.explain import explain
from optrade_dagster.explain_text import as_text
from resources.lake_history import equals
from tests.assets.spooled_market import DAY, MINUTE_COUNT, Market, whole_day

SEED = 20_261_123
VALUES = 50 if os.environ.get("OPTRADE_STRESS") else 6
GROUPS = ("snapshots", "participants", "analytics")


@dataclass(frozen=True)
class Both:
    """A market with six days of the close lane and four minutes of the next day."""

    lane: Any
    spooled: Market

    def explain(self, table: str, key: dict[str, Any], column: str, **how: Any) -> Explanation:
        return explain(
            self.lane.settings, table, equals(key), column, instance=self.lane.instance, **how
        )


def with_minutes(lane: Any) -> Both:
    spooled = Market(lane.home, lane.instance)
    spooled.begin()
    for minute in range(MINUTE_COUNT):
        spooled.seal(minute, whole_day(minute))
        if minute != 1:  # Two segments make one run once.
            assert spooled.run().success
    return Both(lane, spooled)


@pytest.fixture(scope="module")
def both(lanes: Any, exchange: Path, sessions: list[date]) -> Both:
    """Not to be written to."""
    lane = lanes(exchange)
    for first, last in ((sessions[0], sessions[3]), (sessions[4], sessions[5])):
        assert lane.run(first, last).success
    made = with_minutes(lane)
    overlay = lane.job.execute_in_process(
        instance=lane.instance,
        partition_key=DAY.isoformat(),
        asset_selection=[dg.AssetKey(["analytics", "premium_overlay"])],
        raise_on_error=False,
    )
    assert overlay.success
    return made


def drawn(both: Both, count: int, seed: int) -> list[tuple[str, dict[str, Any], str]]:
    """Random values: each table that has rows in turn, a random row of it, a random column."""
    dice = random.Random(seed)
    values = []
    with both.lane.lake() as lake:
        held = {
            name: lake.read(table, sorted(lake.live_files(table)))
            for name, table in TABLES.items()
            if table.group in GROUPS
        }
        names = [name for name, rows in held.items() if rows.height]
        for place in range(count):
            name = names[place % len(names)]
            row = held[name].row(dice.randrange(held[name].height), named=True)
            key = {part: row[part] for part in TABLES[name].key if row[part] is not None}
            rest = [c for c in TABLES[name].schema if c not in TABLES[name].key]
            values.append((name, key, dice.choice(rest)))
    return values


def test_random_values_of_every_table_come_out_of_the_raw_bytes_again(both: Both) -> None:
    """Fifty values with OPTRADE_STRESS=1, a few of the same ones without."""
    values = drawn(both, 50, SEED)
    tables = {name for name, _, _ in values}
    assert len(tables) >= 24
    assert {"analytics.premium_minute", "analytics.scorecard"} <= tables
    for name, key, column in values[:: 50 // VALUES]:
        found = both.explain(name, key, column, verify=True)
        told = f"seed {SEED}: {name} {key} {column} = {found.value.value!r}"
        sys.stdout.write(f"{told}\n")
        assert found.first_difference is None, f"{told}\n" + "\n".join(as_text(found))
        assert found.raw_files, told
        assert len(found.verified) == len(found.steps)
        assert all(run.job for run in found.runs)
