"""The code location as Dagster sees it: complete, described, and loaded without any data."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.building import HEALTH, KITE_SESSION, OWNER
from optrade.quality import rules_for
from optrade.tables import TABLES
from optrade.tables.quality import RECORD
from optrade_dagster.definitions import build_defs
from optrade_dagster.jobs import WATCHES
from resources.settings import Settings

NEVER_MADE = {KITE_SESSION, HEALTH}


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / "not" / "made"


@pytest.fixture(scope="module")
def simulated(nowhere):
    return build_defs(Settings(home=nowhere, market="simulated"))


@pytest.fixture(scope="module")
def real(nowhere):
    return build_defs(Settings(home=nowhere, market="real"))


@pytest.fixture(scope="module")
def tables():
    return tuple(TABLES.values())


@pytest.fixture(scope="module")
def assets(simulated):
    graph = simulated.resolve_asset_graph()
    return {key: graph.get(key) for key in graph.get_all_asset_keys()}


def test_loading_makes_nothing_and_needs_nothing(real, simulated, nowhere):
    for defs in (real, simulated):
        dg.Definitions.validate_loadable(defs)
    assert not nowhere.exists()
    assert not nowhere.parent.exists()


def test_there_is_one_asset_per_declared_table(assets, tables):
    declared = {dg.AssetKey(table.asset_path) for table in tables}
    assert set(assets) == declared | NEVER_MADE
    assert not any(assets[key].is_materializable for key in NEVER_MADE)


def test_every_asset_says_what_it_is(assets, tables):
    for table in tables:
        asset = assets[dg.AssetKey(table.asset_path)]
        for words in (table.row, table.method, *(f"`{name}`" for name in table.key)):
            assert words in asset.description
        assert asset.owners == [OWNER]
        assert asset.code_version
        assert asset.group_name == table.group
        assert {"polars", "duckdb"} <= asset.kinds


def test_every_asset_shows_its_declared_columns(assets, tables):
    for table in tables:
        schema = assets[dg.AssetKey(table.asset_path)].metadata["dagster/column_schema"]
        schema = getattr(schema, "value", schema)
        shown = {c.name: (c.type, c.constraints.nullable) for c in schema.columns}
        assert shown == {c.name: (c.sql_type, c.nullable) for c in table.columns}
        assert [c.name for c in schema.columns] == list(table.schema)
        for column, declared in zip(schema.columns, table.columns, strict=True):
            assert column.description.startswith(declared.description)
            assert declared.unit in column.description
            for word in declared.isin:
                assert word in " ".join(column.constraints.other)


def test_a_simulated_market_is_marked_on_every_asset(assets, real):
    assert all("simulated" in asset.kinds for asset in assets.values())
    graph = real.resolve_asset_graph()
    assert not any("simulated" in graph.get(k).kinds for k in graph.get_all_asset_keys())


def test_every_rule_stands_in_a_check_with_its_remedy(simulated, tables):
    graph = simulated.resolve_asset_graph()
    described: dict[str, str] = {}
    for key in graph.asset_check_keys:
        if key in WATCHES:
            continue
        spec = graph.get_check_spec(key)
        assert key.name in {"contract", "consistent", "ordinary"}
        described.setdefault(".".join(key.asset_key.path), "")
        described[".".join(key.asset_key.path)] += spec.description
    judged = [table for table in tables if table not in RECORD]
    assert set(described) == {table.full_name for table in judged}
    rules = [rule for table in tables for rule in rules_for(table.full_name)]
    assert len(rules) > 50
    for rule in rules:
        line = next(text for text in described[rule.table].splitlines() if f"`{rule.name}`" in text)
        assert rule.description in line
        assert rule.remedy in line


def test_partitions_are_the_exchange_s_sessions(assets):
    of_tables = [asset for key, asset in assets.items() if key not in NEVER_MADE]
    (names,) = {tuple(asset.partitions_def.get_partition_keys()) for asset in of_tables}
    days = [date.fromisoformat(name) for name in names]
    assert days == sorted(set(days))
    assert days[0] == date(2000, 6, 12)
    ahead = [day for day in days if day > datetime.now(ZoneInfo("Asia/Kolkata")).date()]
    assert len(ahead) >= 20
    special = {
        date(2024, 11, 1): "Muhurat",
        date(2026, 2, 1): "budget on a Sunday",
        date(2024, 1, 20): "Saturday",
        date(2024, 3, 2): "Saturday",
    }
    assert special.keys() <= set(days)
    closed = {date(2026, 1, 26), date(2025, 8, 15), date(2024, 10, 2), date(2026, 1, 24)}
    assert closed.isdisjoint(days)


def test_computed_tables_depend_on_what_they_are_made_of(assets):
    def above(name):
        return {".".join(k.path) for k in assets[dg.AssetKey(name.split("."))].parent_keys}

    assert above("raw.fo_bhavcopy") == {"raw.source_files"}
    assert above("snapshots.chain_close") == {"raw.fo_bhavcopy", "raw.index_close"}
    assert above("analytics.chain_metrics_close") == {
        "snapshots.chain_close",
        "analytics.greeks_close",
    }
    assert above("raw.ticks") == {"raw.tick_segments", "raw.instruments"}
    assert above("snapshots.chain_minute") == {
        "raw.ticks",
        "raw.candles",
        "snapshots.index_minute",
    }
    assert above("raw.candles") == {"raw.kite_session"}
    assert above("quality.reconciliation") == {"snapshots.chain_close", "snapshots.chain_minute"}
    assert above("raw.tick_segments") == {"raw.kite_session"}
    assert above("participants.premium_flow") == {
        "raw.participant_volume",
        "snapshots.chain_close",
    }
    assert above("participants.activity") == {
        "raw.participant_oi",
        "raw.participant_volume",
        "participants.premium_flow",
    }
    assert above("analytics.vix_replica") == {
        "snapshots.chain_close",
        "raw.fo_bhavcopy",
        "raw.index_close",
    }
    assert above("analytics.volatility_history") == {
        "analytics.chain_metrics_close",
        "raw.index_close",
    }
    assert above("analytics.scorecard") == {
        "participants.activity",
        "participants.cross",
        "analytics.sentiment",
        "raw.index_close",
    }


@pytest.mark.parametrize("market", ["real", "simulated"])
def test_what_runs_by_itself_does_so_in_a_real_market_only(market, request):
    defs = request.getfixturevalue(market)
    running = market == "real"
    job = defs.resolve_job_def("close_lane")
    assert job.executor_def.name == "in_process"
    sensor = defs.resolve_sensor_def("exchange_files_published")
    assert sensor.job_name == "close_lane"
    assert sensor.default_status is dg.DefaultSensorStatus[("STOPPED", "RUNNING")[running]]
    schedule = defs.resolve_schedule_def("close_lane_at_dawn")
    assert schedule.job_name == "close_lane"
    assert schedule.default_status is dg.DefaultScheduleStatus[("STOPPED", "RUNNING")[running]]
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "Asia/Kolkata")
