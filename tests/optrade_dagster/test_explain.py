"""Any number of either lane is traced to its files and comes out of their bytes again."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from optrade.explanation import Explanation
from optrade.tables import TABLES
from optrade_dagster.explain import explain
from optrade_dagster.explain_text import as_text
from optrade_dagster.home import open_lake
from resources.lake_history import equals
from resources.lake_upkeep import compact
from tests.assets.spooled_market import DAY, MINUTE_COUNT, OPEN, Market, whole_day

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
def both(filled: Any, lanes: Any, exchange: Path) -> Both:
    """Not to be written to."""
    lane = lanes(exchange, like=filled[0])
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


def test_a_minute_is_followed_through_its_compaction(
    both: Both, lanes: Any, exchange: Path
) -> None:
    lane = lanes(exchange, like=both.lane)
    shutil.copytree(both.lane.settings.spool_root, lane.settings.spool_root)
    table = TABLES["analytics.greeks_minute"]
    key = {
        "trade_date": DAY,
        "minute": OPEN + timedelta(minutes=2),
        "strike": 25000.0,
        "option_type": "PE",
    }
    asked = table.full_name, key, "iv"
    before = Both(both.lane, both.spooled).explain(*asked)
    with open_lake(lane.settings, read_only=False) as lake:
        for name in ("raw.ticks", "snapshots.chain_minute", table.full_name):
            assert compact(lake, TABLES[name], DAY).changed

    found = Both(lane, both.spooled).explain(*asked, verify=True)

    assert found.first_difference is None
    assert found.value == before.value
    assert found.steps[0].compacted_in == found.snapshot
    assert [step.commits for step in found.steps] == [step.commits for step in before.steps]
    kinds = {file.kind for file in found.raw_files}
    assert {"tick_segment", "fo_bhavcopy", "index_close"} <= kinds
    assert all(run.job == "minute_lane" for run in before.runs if run.job)


def test_a_damaged_segment_is_named_with_both_hashes(
    both: Both, lanes: Any, exchange: Path
) -> None:
    lane = lanes(exchange, like=both.lane)
    shutil.copytree(both.lane.settings.spool_root, lane.settings.spool_root)
    key = {"trade_date": DAY, "minute": OPEN, "instrument_token": 256265}
    asked = "snapshots.index_minute", key, "last_price"
    copied = Both(lane, both.spooled)
    file = next(f for f in copied.explain(*asked).raw_files if f.kind == "tick_segment")
    path = lane.settings.market_home / file.stored_as
    path.write_bytes(path.read_bytes() + b"x")

    first = copied.explain(*asked, verify=True).first_difference

    assert first is not None
    assert first.table == "raw.tick_segments"
    changed = hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(said in str(first.problem) for said in (str(path), changed, str(file.sha256)))
