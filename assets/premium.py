"""Premium beside its history: the overlay's asset, and the history that the minute lane reads.

Belongs here: reading earlier sessions at the same times of day, a part of the day at a time, and
the asset made of it. Does not belong here: the maths (`optrade.chain.premium_history`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast

import dagster as dg
import polars as pl

from assets.building import Graph, Reads, asset_spec_arguments, gate, notes_of, report_refusals
from assets.partitions import dates_of
from optrade.calendar import TradingCalendar
from optrade.chain.premium_history import HISTORY_SESSIONS, premium_overlay
from optrade.tables.premium import PREMIUM_CLOSE, PREMIUM_MINUTE, PREMIUM_OVERLAY
from resources.lake_io import DATE_BY_DATE, Produced, ReadLake
from resources.lake_parts import held_minutes

CODE_VERSION = "1"
RANKED = (
    "trade_date", "minute", "underlying", "expiry", "expiry_bucket", "strike_offset", "kind",
    "close_premium_pct", "sessions_to_expiry", "lot_size",
)  # fmt: skip
"""What of a premium by minute a percentile looks at."""
OVERLAID = (*RANKED, "spot", "close_premium", "fixed_premium", "source")
"""What the overlay looks at."""
_PART = 30
"""Minutes of the day that are read together: a bound on memory with a year of history."""
_DAY = 24 * 60
_KEPT: dict[tuple[str, int, tuple[str, ...]], pl.DataFrame] = {}
"""The parts read last, by lake, part and files: the minute lane's runs share a process, and a
year of files takes a second to read."""
_MOST_KEPT = 2


def minute_history(
    lake: ReadLake, calendar: TradingCalendar, day: date, minutes: Sequence[datetime]
) -> pl.DataFrame:
    """Rows of `analytics.premium_minute` of the sessions before a day, at those times of day."""
    held = _held(lake, _before(calendar, day))
    times = sorted({_minute_of_day(minute) for minute in minutes})
    parts = [_kept(lake, held, part) for part in sorted({time // _PART for time in times})]
    time = pl.col("minute").dt.epoch("s") // 60 % _DAY
    return pl.concat(parts).filter(time.is_between(times[0], times[-1]))


def _kept(lake: ReadLake, held: Mapping[date, list[str]], part: int) -> pl.DataFrame:
    """What is ranked of a part of those days, from memory where it was read before."""
    key = (lake.root, part, tuple(file for day in sorted(held) for file in held[day]))
    if key not in _KEPT:
        _KEPT[key] = _part(lake, sorted(held), part, RANKED)
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.pop(next(iter(_KEPT)))
    return _KEPT[key]


def _before(calendar: TradingCalendar, day: date) -> list[date]:
    return [d for d in calendar.sessions(calendar.first, day) if d < day][-HISTORY_SESSIONS:]


def _held(lake: ReadLake, days: Sequence[date]) -> dict[date, list[str]]:
    return lake.lake.live_files(PREMIUM_MINUTE, days)


def _part(lake: ReadLake, days: Sequence[date], part: int, columns: Sequence[str]) -> pl.DataFrame:
    """Rows of those days in one part of the day, counted from midnight UTC."""
    if not days:
        return PREMIUM_MINUTE.empty().select(columns)
    where = f"(epoch_us(minute) // 60000000) % {_DAY} // {_PART} = {part}"
    return lake.read(PREMIUM_MINUTE, days, columns=columns, where=where)


def _minute_of_day(moment: datetime) -> int:
    return int(moment.timestamp()) // 60 % _DAY


def build_overlay(graph: Graph) -> dg.AssetsDefinition:
    """The asset `analytics/premium_overlay`: both grains, the minutes a part of the day at a time.

    Not a recipe: a year of minutes as one input would not fit into memory.
    """
    table = PREMIUM_OVERLAY

    @dg.asset(  # type: ignore[untyped-decorator]
        name=table.name,
        key_prefix=table.group,
        ins={"close": Reads(PREMIUM_CLOSE, sessions_before=HISTORY_SESSIONS).asset_in()},
        deps=[dg.AssetKey(PREMIUM_MINUTE.asset_path)],
        partitions_def=graph.partitions,
        backfill_policy=graph.backfill_policy,
        io_manager_key="lake_io",
        required_resource_keys={"lake", "refusals"},
        output_required=False,
        dagster_type=dg.Any,
        **asset_spec_arguments(graph, table, CODE_VERSION),
    )
    def asset(context: dg.AssetExecutionContext, close: pl.DataFrame) -> Iterator[Any]:
        dates = dates_of(context.partition_keys)
        rows = overlay_rows(context.resources.lake, graph.calendar, dates, close)
        accepted, refused = gate(table, rows, graph.calendar)
        report_refusals(context, table, refused)
        yield dg.Output(
            Produced(table, accepted, notes_of(accepted, _notes)), metadata=DATE_BY_DATE
        )

    return cast("dg.AssetsDefinition", asset)


def overlay_rows(
    lake: ReadLake, calendar: TradingCalendar, dates: Sequence[date], close: pl.DataFrame
) -> pl.DataFrame:
    """`analytics.premium_overlay` of those dates; `close` are premiums at the close and before."""
    parts = [premium_overlay(close, dates, calendar), *_by_minute(lake, calendar, dates)]
    return PREMIUM_OVERLAY.conform(pl.concat(parts))


def _by_minute(
    lake: ReadLake, calendar: TradingCalendar, dates: Sequence[date]
) -> Iterator[pl.DataFrame]:
    """The overlay of each date that has minutes, a part of the day at a time."""
    for day in sorted(_held(lake, dates)):
        days = sorted(_held(lake, [*_before(calendar, day), day]))
        held = held_minutes(lake.lake, PREMIUM_MINUTE, day)
        for part in sorted({_minute_of_day(minute) // _PART for minute in held}):
            premiums = _part(lake, days, part, OVERLAID)
            yield premium_overlay(premiums, [day], calendar)


def _notes(rows: pl.DataFrame) -> pl.DataFrame:
    near = rows.filter(
        pl.col("grain") == "close",
        pl.col("underlying") == "NIFTY",
        pl.col("expiry_bucket") == "this_week",
        pl.col("kind") == "straddle",
        pl.col("strike_offset") == 0,
        pl.col("comparison") == "sessions_to_expiry",
        pl.col("variant") == "rolling_atm",
    )
    return near.select(
        "trade_date",
        nifty_straddle_pct="premium_pct",
        nifty_median_pct="median_pct",
        nifty_history_n="n",
    )
