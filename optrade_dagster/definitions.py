"""The code location Dagster loads.

Belongs here: putting assets, checks, jobs and resources together from the settings. Does not
belong here: any of their code. Loading needs no network, no secrets and no data.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster_duckdb import DuckDBResource

from assets import analytics, participants, signals, snapshots, surface, volatility
from assets.building import Graph, Recipe, Refusals, build_asset
from assets.candles import build_candles
from assets.checks import build_checks
from assets.minute_work import Maths
from assets.minutes import build_minutes, kite_session
from assets.partitions import horizon, trading_days
from assets.premium import build_overlay
from assets.quality import Verdicts, build_record, health
from assets.raw import FILE_TABLES, build_raw
from assets.reconciliation import build_reconciliation
from optrade.calendar import TradingCalendar, load_calendar
from optrade.tables import IST, Table
from optrade.tables.candles import CANDLES
from optrade.tables.premium import PREMIUM_OVERLAY
from optrade.tables.raw import SOURCE_FILES
from optrade.tables.reconciliation import RECONCILIATION
from optrade_dagster.archive import archive_job, archive_schedule
from optrade_dagster.freshness_watch import session_on_time, session_watched
from optrade_dagster.heal_sensor import incidents_healed
from optrade_dagster.jobs import close_lane, day_closed, heal_minutes, logs_packed, minute_lane
from optrade_dagster.lake_watch import lake_intact
from optrade_dagster.market_broker import MarketBroker
from optrade_dagster.minute_sensor import minute_day_ended, tick_segments_sealed
from optrade_dagster.notice_sensor import incidents_told
from optrade_dagster.partitions_watch import no_partition_left_failed, partitions_watched
from optrade_dagster.schedules import close_lane_schedule, logs_packed_schedule
from optrade_dagster.sensors import exchange_files_published
from optrade_dagster.session_sensor import kite_session_watched
from resources.duckdb_connection import DUCKDB_CONFIG
from resources.lake_io import LakeResource, lake_io_manager
from resources.logs import configure_logging
from resources.memory import Budget
from resources.notify import Notifier
from resources.nse import ARCHIVE_FIELDS, ArchiveResource
from resources.recordings import Recordings
from resources.settings import Settings, load_settings
from resources.simulator import read_marker
from resources.step_fields import step_fields

SIMULATED_AHEAD = 5
"""Sessions after the last published one that a simulated broker may play."""


def build_graph(settings: Settings) -> Graph:
    """What all assets share, from the settings."""
    calendar = load_calendar(settings.calendar.extra_csv)
    days = trading_days(calendar, *_span(settings, calendar))
    return Graph(calendar, days, Budget.of(settings).days_per_run, settings.market)


def _span(settings: Settings, calendar: TradingCalendar) -> tuple[date, date]:
    """The days that get a partition: a simulated exchange's own and the next, or all so far."""
    if settings.market == "simulated" and Path(settings.archive_url).is_dir():
        marker = read_marker(Path(settings.archive_url))
        if marker is not None:
            last = date.fromisoformat(marker["last"])
            following = calendar.sessions(last, calendar.last)[: 1 + SIMULATED_AHEAD]
            return date.fromisoformat(marker["first"]), following[-1]
    today = datetime.now(ZoneInfo(IST)).date()
    return calendar.first, horizon(calendar, min(max(today, calendar.first), calendar.last))


def build_recipes(settings: Settings, graph: Graph) -> tuple[Recipe, ...]:
    """Every computed table, in lineage order."""
    assumed = settings.analytics
    return (
        *snapshots.recipes(graph, rate=assumed.risk_free_rate),
        *participants.recipes(graph),
        *analytics.recipes(graph, tick=assumed.tick_rupees, offsets=assumed.strike_offsets),
        *surface.recipes(repair=assumed.repair_surfaces),
        *volatility.recipes(graph, rate=assumed.risk_free_rate),
        *signals.recipes(graph),
    )


def build_maths(settings: Settings) -> Maths:
    """What the minute lane's maths assumes."""
    assumed = settings.analytics
    return Maths(
        assumed.risk_free_rate,
        assumed.tick_rupees,
        assumed.strike_offsets,
        assumed.max_gap_seconds,
        assumed.repair_surfaces,
    )


def build_resources(settings: Settings) -> dict[str, Any]:
    """The adapters, from the settings."""
    budget = Budget.of(settings)
    lake = LakeResource(
        duckdb=DuckDBResource(
            database=":memory:",
            connection_config={**DUCKDB_CONFIG, "memory_limit": budget.duckdb_limit},
        ),
        root=str(settings.lake_root),
        market=settings.market,
        compression_level=settings.lake.compression_level,
        row_group_rows=settings.lake.row_group_rows,
        lock_timeout_seconds=settings.lake.lock_timeout_seconds,
        cache_mb=budget.cache_mb,
        soft_limit_bytes=budget.soft_limit_bytes,
    )
    nse = settings.nse.model_dump(include=set(ARCHIVE_FIELDS)) | {"base_url": settings.archive_url}
    return {
        "lake": lake,
        "lake_io": lake_io_manager(settings.calendar.extra_csv),
        "archive": ArchiveResource(**nse),
        "recordings": Recordings(
            home=str(settings.market_home),
            root=str(settings.spool_root),
            memory_map=settings.memory.map_segments,
        ),
        "refusals": Refusals(),
        "verdicts": Verdicts(),
        "broker": MarketBroker(settings),
        "notifier": Notifier(settings.notify),
    }


def build_defs(
    settings: Settings, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The whole code location; tests rebuild it with other settings or resources."""
    with warnings.catch_warnings():
        # Range runs (backfill policies) are a beta feature of Dagster that this project pins.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _build_defs(settings, resource_overrides or {})


def _build_defs(settings: Settings, resource_overrides: Mapping[str, Any]) -> dg.Definitions:
    graph = build_graph(settings)
    recipes = build_recipes(settings, graph)
    computed = [*(recipe.table for recipe in recipes), PREMIUM_OVERLAY, RECONCILIATION, CANDLES]
    tables: list[Table] = [SOURCE_FILES, *FILE_TABLES.values(), *computed]
    job, minutes, candles = close_lane(graph), minute_lane(graph), heal_minutes(graph)
    packed = logs_packed(settings)
    watched, watched_daily = partitions_watched(graph)
    archiving = archive_job(settings)
    return dg.Definitions(
        assets=[
            build_raw(graph),
            *(build_asset(graph, recipe) for recipe in recipes),
            build_minutes(graph, build_maths(settings)),
            build_overlay(graph),
            build_reconciliation(graph),
            build_candles(graph),
            build_record(graph),
            kite_session(graph),
            health(graph),
        ],
        asset_checks=[
            *(build_checks(graph, table) for table in tables),
            no_partition_left_failed(graph),
            session_on_time(settings),
            lake_intact(settings),
        ],
        jobs=[job, minutes, candles, day_closed, packed, archiving, watched],
        schedules=[
            close_lane_schedule(job, graph, settings),
            logs_packed_schedule(packed),
            watched_daily,
            archive_schedule(archiving),
        ],
        sensors=[
            exchange_files_published(job, graph, settings),
            tick_segments_sealed(),
            minute_day_ended(),
            kite_session_watched(),
            session_watched(settings),
            incidents_healed(settings, graph, [job, minutes, candles]),
            incidents_told(settings),
        ],
        resources={**build_resources(settings), **resource_overrides},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster calls: the code location of this environment's settings.

    It does so in every process that evaluates sensors or carries out runs: their logs begin here.
    """
    settings = load_settings()
    built = build_defs(settings)
    configure_logging(settings, "dagster", fields=step_fields)
    return built
